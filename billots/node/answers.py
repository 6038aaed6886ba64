"""Answers to the methods that only read. What they say is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec import Raw

from billots.crypto import PrivateKey
from billots.errors import BillotIdError
from billots.holding import Holding, Status
from billots.jsonrpc import INVALID_PARAMS, Malformed, Refusal, encode
from billots.ledger import Ledger
from billots.limits import Limits
from billots.messages import (
    Change,
    ChangeList,
    Changes,
    Fetched,
    ListBillots,
    Listed,
    ListedBillot,
    Pair,
    UnmovedRange,
    WhoOwns,
)
from billots.network import shown, split_billot_id
from billots.node.feeds import Feeds
from billots.node.memory import Memory, Phase
from billots.statement import NULL, PROOF_ROWS_MAX, Statement
from billots.transfer import Transfer

_ENVELOPE_BYTES = 2048
_LIST_ROW_BYTES = 128
"""More than a listed billot or range takes of a frame."""
_SCAN_MAX = 4096
"""Moved billots that one page of a list looks at in search of gaps."""

_UNKNOWN = Holding(0, None, None, Status.UNKNOWN)

Item = TypeVar("Item")


class Refused(Exception):
    """An application error, raised while an answer is made; the node sends it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Answers:
    """Reads the ledger for others."""

    def __init__(
        self,
        ledger: Ledger,
        memory: Memory,
        feeds: Feeds,
        key: PrivateKey,
        limits: Limits,
    ) -> None:
        self._network = ledger.network
        self._ledger = ledger
        self._memory = memory
        self._receipts = feeds.receipts
        self._body = feeds.body
        self._key = key
        self._limits = limits
        self._bytes_max = limits.frame_bytes_max - _ENVELOPE_BYTES

    def look(self, params: WhoOwns) -> None:
        """Raise Refused or Malformed for a question that can't be answered."""
        for billot in params.billots:
            self.check(billot)
        if len(set(params.billots)) != len(params.billots):
            raise Malformed(INVALID_PARAMS, "an id is asked twice")
        if params.proof and len(params.billots) > PROOF_ROWS_MAX:
            raise Malformed(INVALID_PARAMS, f"proofs are for at most {PROOF_ROWS_MAX} ids")

    def who_owns(self, params: WhoOwns) -> Statement:
        """A statement on the billots asked for, signed if a nonce came with the question."""
        proofs = self._proofs(params.billots, once=params.consult) if params.proof else None
        return self.statement(params.billots, params.nonce, proofs)

    def statement(
        self,
        billots: Sequence[str],
        nonce: str | None,
        proofs: Sequence[tuple[Transfer | None, Raw]] | None = None,
    ) -> Statement:
        """What may be said of these billots, signed if there is a nonce."""
        silent = set(self._memory.silent(billots))
        holdings = [
            (billot, _UNKNOWN if billot in silent and holding.owner is not None else holding)
            for billot, holding in zip(billots, self._ledger.holdings(billots), strict=True)
        ]
        statement = Statement.make(self._network, self._key.public_hex, holdings, proofs)
        return statement if nonce is None else statement.sign(self._key, nonce)

    def check(self, billot: str) -> None:
        """Raise Refused for an id that isn't one of this network's."""
        try:
            self._network.check(billot)
        except BillotIdError as error:
            data = {"billot": shown(billot)}
            raise Refused(Refusal("unknown_billot", str(error), data)) from None

    def _proofs(self, billots: Sequence[str], *, once: bool) -> list[tuple[Transfer | None, Raw]]:
        """The last transfer of each, and what is kept of the votes that settled it.

        Null where there is none or the frame is full; and, to a peer, where it stands with an
        earlier row (`once`).
        """
        told: set[str] = set()
        left = self._bytes_max - 512 * len(billots)
        silent = set(self._memory.silent(billots))
        proofs: list[tuple[Transfer | None, Raw]] = []
        for billot, found in zip(billots, self._ledger.proofs(billots), strict=True):
            transfer = None if billot in silent else found
            if transfer is not None and once:
                transfer = None if transfer.id in told else transfer
                told.add(found.id if found is not None else "")
            receipt = NULL if billot in silent else self._receipt(billot)
            left -= len(encode(transfer))
            shown = transfer if left > 0 else None
            left -= len(bytes(receipt))
            proofs.append((shown, receipt if left > 0 else NULL))
        return proofs

    def _receipt(self, billot: str) -> Raw:
        """The votes that settled a billot; none while what we hold is on its way to disk."""
        if self._ledger.touched(((billot, 0),)):
            return NULL
        receipt = self._receipts.receipt(billot)
        return NULL if receipt is None else Raw(encode(receipt))

    def list_billots(self, params: ListBillots) -> Listed:
        """A page of what an owner has: first what moved to it, then what never moved."""
        limit = min(params.limit, self._limits.list_max, max(1, self._bytes_max // _LIST_ROW_BYTES))
        phase, _, place = (params.cursor or "m:").partition(":")
        if phase not in ("m", "u") or (place and not self._is_place(place)):
            raise Malformed(INVALID_PARAMS, "not a cursor of this server")
        if phase == "m":
            page = self._ledger.store.owned(params.owner, place or None, limit)
            listed = self._listed(page.rows, params.owner)
            if page.after is not None:
                return Listed(listed, [], f"m:{page.after}")
            if self._memory.phase is not Phase.READY:
                return Listed(listed, [], None)  # what never moved isn't known here yet
            unmoved, cursor = self._unmoved(params.owner, None, limit - len(page.rows))
            return Listed(listed, unmoved, cursor)
        unmoved, cursor = self._unmoved(params.owner, place or None, limit)
        return Listed([], unmoved, cursor)

    def _is_place(self, place: str) -> bool:
        try:
            self._network.check(place)
        except BillotIdError:
            return False
        return True

    def _listed(self, page: Sequence[tuple[str, object]], owner: str) -> list[ListedBillot]:
        billots = [billot for billot, _ in page]
        return [
            ListedBillot(b, h.seq, h.status, self._network.value(b))
            for b, h in zip(billots, self._ledger.holdings(billots), strict=True)
            if h.owner == owner
        ]

    def _unmoved(
        self, owner: str, start: str | None, ranges_max: int
    ) -> tuple[list[UnmovedRange], str | None]:
        """Ranges of what never moved and is the owner's by the network's file, from `start` on.

        The cursor is where to go on: the page is full, or a long run of moved billots was
        passed over.
        """
        if owner != self._network.issuer:
            return self._allocated(owner, start, ranges_max)
        first = split_billot_id(start) if start is not None else ("", 1)
        ranges: list[UnmovedRange] = []
        for prefix, denomination in self._network.denominations.items():
            if prefix < first[0]:
                continue
            number = first[1] if prefix == first[0] else 1
            others = self._allocated_numbers(prefix)
            while number <= denomination.circulation:
                if len(ranges) >= ranges_max:
                    return ranges, f"u:{prefix}{number}"
                moved = self._ledger.store.numbers_moved(prefix, number, _SCAN_MAX)
                full = len(moved) == _SCAN_MAX
                end = moved[-1] if full else denomination.circulation
                found, number = _gaps(
                    prefix, number, end, sorted({*moved, *others}), ranges_max - len(ranges)
                )
                ranges += found
                if full and number <= denomination.circulation:
                    return ranges, f"u:{prefix}{number}"
        return ranges, None

    def _allocated_numbers(self, prefix: str) -> list[int]:
        """Numbers allocated to others than the issuer."""
        others = (b for b, who in self._network.allocations.items() if who != self._network.issuer)
        return [number for at, number in map(split_billot_id, others) if at == prefix]

    def _allocated(
        self, owner: str, start: str | None, ranges_max: int
    ) -> tuple[list[UnmovedRange], str | None]:
        after = split_billot_id(start) if start is not None else ("", 0)
        mine = [b for b in self._network.allocated_to(owner) if split_billot_id(b) >= after]
        ranges: list[UnmovedRange] = []
        for billot, moved in zip(mine, self._ledger.store.moved(mine), strict=True):
            if moved is None:
                if len(ranges) >= ranges_max:
                    return ranges, f"u:{billot}"
                prefix, number = split_billot_id(billot)
                ranges.append(UnmovedRange(prefix, number, number))
        return ranges, None

    def changes(self, params: Changes) -> ChangeList:
        """Transfers after an lsn, as many as fit the frame."""
        limit = min(params.limit, self._limits.changes_max)
        entries = self._ledger.store.entries(params.since, limit)
        changes = self._fitting(Change(entry.lsn, entry.transfer) for entry in entries)
        return ChangeList(changes, changes[-1].lsn if changes else params.since)

    def fetch(self, transfer_ids: Iterable[str]) -> Fetched:
        """The bodies that are here and fit the frame."""
        found = (self._body(transfer_id) for transfer_id in transfer_ids)
        return Fetched(self._fitting(transfer for transfer in found if transfer is not None))

    def evidence(self, billot: str) -> Pair | None:
        """The conflicting pair kept for a billot."""
        self.check(billot)
        pair = self._ledger.store.evidence(billot)
        return None if pair is None else Pair(*pair)

    def _fitting(self, items: Iterable[Item]) -> list[Item]:
        left = self._bytes_max
        taken: list[Item] = []
        for item in items:
            left -= len(encode(item)) + 1
            if left < 0:
                break
            taken.append(item)
        return taken

    def fits(self, texts: Iterable[str]) -> list[str]:
        """As many short texts as fit the frame."""
        return self._fitting(texts)


def _gaps(
    prefix: str, first: int, end: int, taken: Sequence[int], ranges_max: int
) -> tuple[list[UnmovedRange], int]:
    """Ranges between `first` and `end` without the `taken` numbers; and where to go on."""
    ranges: list[UnmovedRange] = []
    number = first
    for used in taken:
        if not number <= used <= end:
            continue
        if used > number:
            if len(ranges) == ranges_max:
                return ranges, number
            ranges.append(UnmovedRange(prefix, number, used - 1))
        number = used + 1
    if number <= end:
        if len(ranges) == ranges_max:
            return ranges, number
        ranges.append(UnmovedRange(prefix, number, end))
        number = end + 1
    return ranges, number
