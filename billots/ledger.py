"""Who owns what, and what may change it: the table of DESIGN section 5 over a store.

This is the only code that changes an owner in a server. It works in *rounds*: judgements and
changes of a round see each other; nobody outside sees them before the round's batch is on
disk. There is no await in here, so nothing comes between a check and its write.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from billots.holding import Holding, Status
from billots.network import Network
from billots.store.interface import Batch, EntryRow, Moved, NewEntry, Store
from billots.table import Outcome, judge
from billots.transfer import Transfer

_RECORDS_MAX = 8192
"""Records kept in memory, about 0.6 KB each: this process alone changes the store."""


@lru_cache(256)
def _unmoved(owner: str | None) -> Holding:
    return Holding(0, None, owner, Status.UNISSUED if owner is None else Status.SETTLED)


class Ledger:
    """The holdings of one server. `alone`: it trusts nobody, so all it takes is settled."""

    def __init__(self, network: Network, store: Store, *, alone: bool) -> None:
        self.network = network
        self.store = store
        self.alone = alone
        self.lsn = store.last_lsn
        self.moved_count = int(store.meta("moved") or b"0")
        self._unsettled: dict[int, dict[str, Status]] = store.unsettled()
        self._status: dict[str, Status] = {
            billot: status for rows in self._unsettled.values() for billot, status in rows.items()
        }
        self._before: dict[str, tuple[Moved | None, Status]] = {}
        """What is on disk of billots that this round has moved."""
        self._entered: dict[int, Transfer] = {}
        self._records: dict[str, Moved | None] = {}  # as this round sees them; see `_read`
        self._receipts = store.has_receipts
        self._batch = Batch.empty()

    # -- what is ------------------------------------------------------------------------------

    def holdings(self, billots: Sequence[str]) -> list[Holding]:
        """What may be said of these billots: only what is on disk."""
        return [
            self._holding(billot, record, self._status.get(billot, Status.SETTLED))
            if billot not in self._before
            else self._holding(billot, *self._before[billot])
            for billot, record in zip(billots, self._read(billots), strict=True)
        ]

    def _holding(self, billot: str, moved: Moved | None, status: Status) -> Holding:
        if moved is not None:
            return Holding(moved.seq, moved.sender, moved.owner, status)
        return _unmoved(self.network.first_owner(billot))

    def _read(self, billots: Sequence[str]) -> list[Moved | None]:
        """The records as this round sees them: those that aren't in memory are read together."""
        records = self._records
        try:
            return [records[billot] for billot in billots]
        except KeyError:
            self.look_up(billots)
        return [records[billot] for billot in billots]

    def _forget_records(self) -> None:
        """The older half of what is on disk as well."""
        records, before = self._records, self._before
        for billot in [b for b in islice(records, _RECORDS_MAX // 2) if b not in before]:
            del records[billot]

    def _moved(self, billot: str) -> Moved | None:
        """The record as this round sees it."""
        try:
            return self._records[billot]
        except KeyError:
            return self._read((billot,))[0]

    def present(self, billot: str) -> Holding:
        """A holding as this round sees it: for judging, not for saying."""
        return self._holding(billot, self._moved(billot), self.status(billot))

    def status(self, billot: str) -> Status:
        """How far the present holding of a moved billot has got."""
        return self._status.get(billot, Status.SETTLED)

    def statuses(self, billots: Sequence[str]) -> list[Status]:
        """The same of many."""
        if not self._status:
            return [Status.SETTLED] * len(billots)
        return [self._status.get(billot, Status.SETTLED) for billot in billots]

    def touched(self, rows: Sequence[tuple[str, int]]) -> bool:
        """Whether this round has moved one of these billots."""
        return bool(self._before) and not self._before.keys().isdisjoint([b for b, _ in rows])

    def settle_all(self) -> None:
        """Nobody is trusted any more whose word would be needed."""
        for billot in self.unsettled_billots:
            self.settle(billot)
            self.mark(billot)

    @property
    def unsettled_billots(self) -> list[str]:
        """All billots that are held, contested or disputed."""
        return list(self._status)

    # -- the table ----------------------------------------------------------------------------

    def judge(self, transfer: Transfer) -> list[Outcome]:
        """What the table says of each row. Changes nothing."""
        records = self._read([billot for billot, _ in transfer.billots])
        sender, to, status = transfer.sender, transfer.to, self._status.get
        first_owner, outcome, last = self.network.first_owner, None, None
        found: list[Outcome] = []
        for (billot, seq), record in zip(transfer.billots, records, strict=True):
            if record is None:
                case = (seq, first_owner(billot))
                if outcome is None or case != last:  # those that never moved are all alike
                    outcome, last = judge(seq, sender, to, _unmoved(case[1])), case
                found.append(outcome)
            else:
                at = self._holding(billot, record, status(billot, Status.SETTLED))
                found.append(judge(seq, sender, to, at))
        return found

    def look_up(self, billots: Sequence[str]) -> None:
        """These will be asked for in this round, one by one: read them together."""
        records = self._records
        if len(records) > _RECORDS_MAX:
            self._forget_records()
        missing = [billot for billot in billots if billot not in records]
        if missing:
            records.update(zip(missing, self.store.moved(missing), strict=True))

    # -- changes of this round ----------------------------------------------------------------

    def take(self, transfer: Transfer, billots: Sequence[str], *, here: bool) -> NewEntry:
        """Take these rows of a transfer, each judged `TAKE` in this round.

        `here`: a wallet brought it to this server.
        """
        seqs = dict(transfer.billots)
        rows: list[EntryRow] = []
        for billot, before in zip(billots, self._read(billots), strict=True):
            seq = seqs[billot]
            assert seq == (before.seq if before is not None else 0) + 1, "seq rises by one"
            assert billot not in self._status, "only settled billots are spent"
            rows.append(EntryRow(billot, seq, before))
            if before is not None:
                self._mark(billot, before.lsn)
        entry = self._enter(transfer, tuple(rows), here=here, adopted=False)
        if not self.alone:
            held = dict.fromkeys(billots, Status.HELD)
            self._set_unsettled(entry.lsn, held)
            self._status.update(held)
        return entry

    def adopt(self, transfer: Transfer, billots: Sequence[str]) -> NewEntry:
        """Adopt rows of a transfer that a quorum is known to have, in its order: settled.

        Only upwards: from a lower seq, or from an unsettled holding at the same seq. Each row
        has a line of the feed, so that an adopted entry takes as many lsns as its transfer
        has rows (`billots.node.outfeed`). On disk they are held until they are marked.
        """
        seqs = dict(transfer.billots)
        rows: list[EntryRow] = []
        for billot in billots:
            before, seq = self._moved(billot), seqs[billot]
            at = before.seq if before is not None else 0
            assert seq > at or (seq == at and billot in self._status), "seq never falls"
            rows.append(EntryRow(billot, seq, before))
        self.lsn += len(transfer.billots) - 1
        entry = self._enter(transfer, tuple(rows), here=False, adopted=True)
        for row in rows:
            self._status.pop(row.billot, None)
            if row.before is not None:
                self._mark(row.billot, row.before.lsn)
        self._set_unsettled(entry.lsn, dict.fromkeys(billots, Status.HELD))
        return entry

    def _enter(
        self, transfer: Transfer, rows: tuple[EntryRow, ...], *, here: bool, adopted: bool
    ) -> NewEntry:
        self.lsn += 1
        entry = NewEntry(self.lsn, transfer, rows, adopted, here)
        self._batch.entries.append(entry)
        self._entered[entry.lsn] = transfer
        sender, to, lsn = transfer.sender, transfer.to, entry.lsn
        before, records, status = self._before, self._records, self._status
        same: dict[int, Moved] = {}  # by seq: but for it, they are all alike
        for row in rows:
            billot, seq = row.billot, row.seq
            if billot not in before:
                before[billot] = (row.before, status.get(billot, Status.SETTLED))
            if seq not in same:
                same[seq] = Moved(seq, sender, to, lsn)
            records[billot] = same[seq]
            self.moved_count += row.before is None
        return entry

    def settle(self, billot: str) -> None:
        """A quorum has our holding: it may be spent. On disk it is held until it is marked."""
        self._status.pop(billot, None)

    def mark(self, billot: str) -> None:
        """Settled on disk as well: nobody needs the votes that settled it, or they are there too.

        The mark rides along with the next batch.
        """
        moved = self._moved(billot)
        assert moved is not None, "what never moved is settled"
        assert billot not in self._status, "it is settled"
        self._mark(billot, moved.lsn)

    def mark_entry(self, lsn: int) -> None:
        """The same for all billots that this entry moved, all of them settled, none moved on."""
        assert not any(b in self._status for b in self._unsettled[lsn]), "they are settled"
        self._set_unsettled(lsn, {})

    def _mark(self, billot: str, lsn: int) -> None:
        rows = self._unsettled.get(lsn)
        if rows is not None and billot in rows:
            self._set_unsettled(lsn, {b: status for b, status in rows.items() if b != billot})

    def contest(self, billot: str, *, hopeless: bool = False) -> bool:
        """A conflict with our holding is proven; `hopeless`: nobody can reach a quorum.

        A settled holding stands. Returns whether the status is another one now.
        """
        moved, status = self._moved(billot), Status.DISPUTED if hopeless else Status.CONTESTED
        if moved is None or self._status.get(billot, status) is status:
            return False
        self._status[billot] = status
        self._set_unsettled(moved.lsn, {**self._unsettled[moved.lsn], billot: status})
        return True

    def _set_unsettled(self, lsn: int, rows: dict[str, Status]) -> None:
        if rows:
            self._unsettled[lsn] = rows
        else:
            self._unsettled.pop(lsn, None)
        self._batch.unsettled[lsn] = rows

    # -- conflicts ----------------------------------------------------------------------------

    def taken(self, billots: Sequence[str]) -> list[Transfer | None]:
        """The transfers that moved billots last, as this round sees them."""
        known: dict[int, Transfer | None] = {}
        found: list[Transfer | None] = []
        for billot in billots:
            moved = self._moved(billot)
            if moved is None:
                found.append(None)
                continue
            lsn = moved.lsn
            if lsn in self._entered:
                known[lsn] = self._entered[lsn]
            elif lsn not in known:
                entry = self.store.entry(lsn)
                known[lsn] = None if entry is None else entry.transfer
            found.append(known[lsn])
        return found

    def proofs(self, billots: Sequence[str]) -> list[Transfer | None]:
        """The transfers behind what may be said of billots: only what is on disk."""
        before = self._before
        moved = [
            before[billot][0] if billot in before else record
            for billot, record in zip(billots, self._read(billots), strict=True)
        ]
        lsns = {record.lsn for record in moved if record is not None}
        entries = {lsn: self.store.entry(lsn) for lsn in lsns}
        found = (None if record is None else entries[record.lsn] for record in moved)
        return [None if entry is None else entry.transfer for entry in found]

    def evidence(self, billot: str) -> tuple[Transfer, Transfer] | None:
        """The pair kept for a billot."""
        return self._batch.evidence.get(billot) or self.store.evidence(billot)

    def keep_evidence(self, billot: str, first: Transfer, second: Transfer) -> bool:
        """Keep a verified pair, one per billot, that of the newest seq; False if it is no news."""
        if not self.is_newer_evidence(billot, dict(first.billots)[billot]):
            return False
        self._batch.evidence[billot] = (first, second)
        return True

    def is_newer_evidence(self, billot: str, seq: int) -> bool:
        """Whether no pair is kept for the billot at this seq or a later one."""
        kept = self._batch.evidence.get(billot)
        if kept is not None:
            return dict(kept[0].billots)[billot] < seq
        kept_seq = self.store.evidence_seq(billot)
        return kept_seq is None or kept_seq < seq

    # -- receipts -----------------------------------------------------------------------------

    def put_receipt(self, billot: str, data: bytes) -> None:
        """Keep the votes that settled a billot, as the node wrote them; empty: no longer."""
        self._batch.receipts[billot] = data
        self._receipts = True

    def receipt(self, billot: str) -> bytes | None:
        """The votes that are kept for a billot."""
        if not self._receipts:
            return None
        if billot in self._batch.receipts:
            return self._batch.receipts[billot] or None
        return self.store.receipt(billot)

    # -- the round's end ----------------------------------------------------------------------

    def put_meta(self, name: str, value: bytes) -> None:
        """A small named value to write with the next batch."""
        self._batch.meta[name] = value

    @property
    def urgent(self) -> bool:
        """Whether something waits for the disk that must be there before anything is said."""
        return bool(self._batch.entries or self._batch.evidence)

    @property
    def dirty(self) -> bool:
        """Whether anything at all waits to be written."""
        return bool(self._batch)

    def batch(self) -> Batch:
        """All changes since the last batch, for the store to commit.

        Call `committed` once they are on disk; until then nothing else may be changed.
        """
        if self._batch.entries:
            self._batch.meta["moved"] = b"%d" % self.moved_count
        return self._batch

    def committed(self) -> list[NewEntry]:
        """The batch is on disk: it may be said. Returns its entries."""
        entries = self._batch.entries
        self._batch = Batch.empty()
        self._before.clear()
        self._entered.clear()
        return entries
