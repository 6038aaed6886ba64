"""What pages show, worked out from what servers say. Signed votes are counted as a payee does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from billots.circle import Circle
from billots.errors import BillotsError, InputError, Refused
from billots.evidence import find_conflict
from billots.holding import Holding, Status
from billots.jsonrpc import INVALID_PARAMS
from billots.link import Problem
from billots.messages import Evidence, Fetch, Fetched, Info, ListBillots, Listed, Pair, WhoOwns
from billots.network import ROWS_MAX, Network, split_billot_id
from billots.poll import Answer, Poll, is_move, is_sound
from billots.quorum import Tally, Verdict, highest_seq
from billots.statement import Statement
from billots.transfer import Transfer, conflict
from billots.web.follower import Follower
from billots.web.upstream import CALL_S, Upstream

SAMPLE_MAX = 12
PAGE_ROWS = 50
_OWNER_PAGES_MAX = 5
_EVIDENCE_S = 1.0

_pair_or_none = msgspec.json.Decoder(Pair | None)


@dataclass(frozen=True)
class Peer:
    """One server of the list, and how its signed word stands to the others'.

    Of the newest billots that moved, those that a quorum stands for (`asked`): how many it has
    just so (`agrees`), as they were before (`behind`), and otherwise (`differs`). One that its
    owner signed over twice may have no quorum, and no server is to blame for that. `lsn` is
    its own count.
    """

    place: str
    key: str | None
    own: bool
    problem: Problem | None
    lsn: int
    new: bool
    asked: int
    agrees: int
    behind: int
    differs: int


@dataclass(frozen=True)
class BillotFound:
    """Everything on one billot. `pair` is a verified double spend at `pair_seq`."""

    id: str
    mils: int
    tally: Tally
    answers: tuple[Answer, ...]
    transfer: Transfer | None
    pair: Pair | None
    pair_seq: int

    @property
    def final(self) -> bool:
        """Whether a quorum names an owner."""
        return self.tally.verdict is Verdict.OWNER


@dataclass(frozen=True)
class Held:
    """What an owner has of one denomination, by the word of one server."""

    prefix: str
    mils: int
    count: int


@dataclass(frozen=True)
class OwnerFound:
    """What an owner has; `whole` is False where counting ended before the list did."""

    owner: str
    held: tuple[Held, ...]
    whole: bool
    page: Listed

    @property
    def mils(self) -> int:
        """What it is worth."""
        return sum(held.mils * held.count for held in self.held)


async def look_at_peers(upstream: Upstream, follower: Follower) -> list[Peer]:
    """How all servers of the list stand; raises Busy, and BillotsError if the own is down."""
    billots = _sample(upstream.network, follower)
    async with upstream.circle() as circle:
        poll = Poll(circle, billots, everyone=True, proof=False)
        await poll.run(CALL_S)
        return [_peer(upstream, circle, poll, index) for index in range(len(circle.links))]


def _sample(network: Network, follower: Follower) -> list[str]:
    newest = (billot for moved in follower.latest for billot, _ in moved.transfer.billots)
    found = list(dict.fromkeys(newest))[:SAMPLE_MAX]
    return found or [f"{prefix}1" for prefix in network.denominations][:SAMPLE_MAX]


def _peer(upstream: Upstream, circle: Circle, poll: Poll, index: int) -> Peer:
    link = circle.links[index]
    asked = agrees = behind = 0
    for billot, holding in poll.said[link].items():
        tally = poll.tally(billot)
        best = tally.holding
        if best is None or tally.verdict not in (Verdict.OWNER, Verdict.NO_OWNER):
            continue
        asked += 1
        agrees += (holding.seq, holding.vote) == (best.seq, best.vote)
        behind += holding.status is Status.UNKNOWN or holding.seq < best.seq
    return Peer(
        place=link.host.place,
        key=link.key or link.host.key,
        own=link.host.place == upstream.own.place,
        problem=link.problem,
        lsn=link.lsn,
        new=link.is_new,
        asked=asked,
        agrees=agrees,
        behind=behind,
        differs=max(0, asked - agrees - behind),
    )


async def look_at_billot(upstream: Upstream, billot: str) -> BillotFound:
    """One billot, counted; raises Busy and BillotsError."""
    async with upstream.circle() as circle:
        poll = Poll(circle, [billot], everyone=True)
        await poll.run(CALL_S)
        circle.require_one()
        holdings = list(poll.votes[billot].values())
        pair = await _own_evidence(upstream, billot)
        tally = poll.tally(billot)
        if pair is None and tally.verdict not in (Verdict.OWNER, Verdict.NO_OWNER):
            pair = await find_conflict(circle, billot, holdings, _EVIDENCE_S)
        seq = _seq_of(pair, billot)
        at_stake = seq >= highest_seq(holdings)
        tally = poll.tally(billot, conflict=pair is not None and at_stake)
        receipt = poll.receipt(billot)
        transfer = receipt.transfer if receipt is not None else None
        if transfer is None and tally.holding is not None and tally.holding.seq:
            transfer = await _last_transfer(upstream, billot, tally.holding)
        answers = tuple(poll.answer(link, billot) for link in circle.links)
        mils = upstream.network.mils(billot)
        return BillotFound(billot, mils, tally, answers, transfer, pair, seq)


async def _own_evidence(upstream: Upstream, billot: str) -> Pair | None:
    """The pair that the own server keeps, its signatures checked once more."""
    raw = await upstream.call("evidence", Evidence(billot), Raw)
    try:
        pair = _pair_or_none.decode(raw)
    except (msgspec.DecodeError, InputError):
        return None
    if pair is None or not _seq_of(pair, billot):
        return None
    network = upstream.network
    return pair if is_sound(pair.first, network) and is_sound(pair.second, network) else None


def _seq_of(pair: Pair | None, billot: str) -> int:
    """The seq at which a pair contradicts itself on a billot; 0 if it doesn't."""
    if pair is None:
        return 0
    return next((seq for row, seq in conflict(pair.first, pair.second) if row == billot), 0)


async def _last_transfer(upstream: Upstream, billot: str, holding: Holding) -> Transfer | None:
    said = await upstream.call("who_owns", WhoOwns((billot,), proof=True), Statement)
    for row in said.billots:
        found = row.transfer
        if isinstance(found, Transfer) and is_move(found, billot, holding):
            return found if is_sound(found, upstream.network) else None
    return None


async def look_at_owner(upstream: Upstream, owner: str, after: str | None) -> OwnerFound | None:
    """What one server lists as an owner's: sums, and one page of it from a cursor on.

    None for a cursor that isn't one. Raises Busy and BillotsError.
    """
    held, whole = await upstream.kept.get(
        ("held", owner), 5.0, lambda: _count_held(upstream, owner)
    )
    try:
        params = ListBillots(owner, after, PAGE_ROWS)
        page = await upstream.kept.get(
            ("list", owner, after), 1.0, lambda: upstream.call("list", params, Listed)
        )
    except Refused as error:
        if error.code == INVALID_PARAMS:
            return None
        raise
    return OwnerFound(owner, held, whole, page)


async def _count_held(upstream: Upstream, owner: str) -> tuple[tuple[Held, ...], bool]:
    counts: Counter[str] = Counter()
    cursor: str | None = None
    for _ in range(_OWNER_PAGES_MAX):
        page = await upstream.call("list", ListBillots(owner, cursor), Listed)
        counts.update(split_billot_id(row.id)[0] for row in page.billots)
        for found in page.unmoved:
            counts[found.prefix] += found.last - found.first + 1
        cursor = page.cursor
        if cursor is None:
            break
    denominations = upstream.network.denominations
    held = [Held(p, d.mils, counts[p]) for p, d in denominations.items() if counts[p]]
    return tuple(sorted(held, key=lambda each: -each.mils)), cursor is None


async def look_at_transfer(upstream: Upstream, transfer_id: str) -> Transfer | None:
    """A transfer that the own server still has; raises Busy and BillotsError."""
    fetched = await upstream.call("fetch", Fetch((transfer_id,)), Fetched)
    return next((found for found in fetched.transfers if found.id == transfer_id), None)


async def statuses(upstream: Upstream, billots: list[str]) -> dict[str, Holding]:
    """What the own server has on some billots, 256 at most; raises Busy and BillotsError."""
    if not billots:
        return {}
    said = await upstream.call("who_owns", WhoOwns(tuple(billots[:ROWS_MAX])), Statement)
    return {row.id: row.holding for row in said.billots}


async def is_healthy(upstream: Upstream) -> str | None:
    """None if the own server answers and serves the network; else what is wrong."""
    try:
        info: Info = await upstream.info()
    except BillotsError as error:
        return str(error)
    return None if info.network.id == upstream.network.id else "it serves another network"
