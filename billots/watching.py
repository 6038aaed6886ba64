"""Watching for payments: servers say that something came, and a quorum's signed votes that it did.

Each trusted server is asked to tell of transfers to the owner (`subscribe`), and after each new
connection for its list, so that what it could not tell is found as well. Neither is signed: it
only says which billots to ask for. Those are asked of all servers, and what a quorum of signed
votes names the owner for is told once its receipt is on disk, once for each (billot, seq).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from billots.announced import ASK_AGAIN_S, Announced
from billots.arrivals import (
    NotYetWatching,
    Received,
    ServerChange,
    Unkept,
    Watching,
    WatchNote,
)
from billots.circle import Circle
from billots.errors import BillotIdError, BillotsError, InputError, JournalError, WrongNetwork
from billots.host import Host
from billots.keeping import Keeper
from billots.kept_receipts import KeptReceipt
from billots.link import Problem
from billots.listing import list_billots, pages
from billots.network import Network, split_billot_id
from billots.outcomes import Listing
from billots.poll import Poll
from billots.quorum import Quorum, Verdict
from billots.transfer import Transfer

DIAL_AGAIN_S = (0.1, 5.0)
"""The first pause before a server is dialled again, and the longest; each is twice the last."""
STEADY_S = 30.0
"""A connection that lasted as long begins with the first pause again."""
PING_EVERY_S = 60.0
"""Servers end connections on which nothing is asked; and who has gone without a word is noticed."""
QUIET_S = (0.01, 0.5)
"""Pauses after rounds that found nothing: who announces what never was can't keep us busy."""
PARTIAL_S = 2.0
"""How long the rest of a transfer is waited for, when not all of its billots are final."""

_TO_BE_SAID = (Problem.CHANGED_KEY, Problem.OTHER_NETWORK, Problem.BROKEN, Problem.REFUSED)
"""What is wrong with a server that waiting alone won't put right."""

Tell = Callable[[WatchNote], None]


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """Whom to watch for, and by which servers; `circle` makes one of some of them."""

    owner: str
    hosts: Sequence[Host]
    quorum: Quorum
    keeper: Keeper
    timeout_s: float
    circle: Callable[[list[Host], Quorum, Host | None, Network | None], Circle]


@dataclass(slots=True)
class _Found:
    """What a round came to: receipts that are new, and how far the others are, by billot."""

    taken: dict[str, KeptReceipt] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)

    @property
    def moves(self) -> list[Transfer]:
        """The transfers that those receipts are of, each once."""
        moves = (kept.receipt.transfer for kept in self.taken.values())
        return list({move.id: move for move in moves}.values())


class Watch:
    """One watch, from its `payments` being asked for to their being closed."""

    def __init__(self, plan: WatchPlan, tell: Tell) -> None:
        self._plan = plan
        self._tell = tell
        self._seen: dict[str, int] = {}
        self._kept_before: dict[str, int] = {}
        self._announced = Announced(self._seen)
        self._partial: dict[str, float] = {}
        self._unkept: set[str] = set()
        self._problems: dict[str, Problem | None] = {}
        self._wake = asyncio.Event()

    async def payments(self) -> AsyncGenerator[Received, None]:
        """What comes in from now on, each once it is final; see `AsyncWallet.watch`."""
        network = await self._begin()
        followers = [asyncio.create_task(self._follow(h, network)) for h in self._plan.hosts]
        for task in followers:
            task.add_done_callback(lambda _: self._wake.set())
        quiet = _doubling(QUIET_S)
        try:
            while True:
                if not self._announced:
                    quiet = _doubling(QUIET_S)
                await self._until_due()
                for task in followers:
                    if task.done():
                        task.result()  # only what must end a watch ends a follower
                received = await self._round(network)
                for each in received:
                    yield each
                await asyncio.sleep(0 if received else next(quiet))
        finally:
            for task in followers:
                task.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    # -- the beginning --------------------------------------------------------------------------

    async def _begin(self) -> Network:
        """Wait for a quorum of servers, and note what is there: that was not received now."""
        pauses, told = _doubling(DIAL_AGAIN_S), False
        while True:
            async with self._circle(self._plan.hosts, self._plan.quorum) as circle:
                listing = await self._look(circle)
                answering, needed = _knowing(circle), circle.quorum.needed(circle.n)
                if listing is not None and answering >= needed:
                    await self._note(circle, listing)
                    return circle.network
                for link in circle.links:
                    if link.problem in _TO_BE_SAID:
                        self._change(link.host, link.problem)
            if not told:
                self._tell(NotYetWatching(answering, needed, circle.n))
                told = True
            await asyncio.sleep(next(pauses))

    async def _look(self, circle: Circle) -> Listing | None:
        try:
            return await list_billots(circle, self._plan.owner)
        except (InputError, JournalError):
            raise
        except WrongNetwork:
            # One server alone may say what it likes of its network.
            if sum(link.reached for link in circle.links) >= circle.quorum.needed(circle.n):
                raise
        except BillotsError:
            pass
        return None

    async def _note(self, circle: Circle, listing: Listing) -> None:
        finals = {b.id: b.tally.holding for b in listing.billots if b.tally.holding is not None}
        await self._plan.keeper.keep(circle, finals)
        self._seen.update({billot: holding.seq for billot, holding in finals.items()})
        kept = self._plan.keeper.store.summary(circle.network.id)
        self._kept_before = {billot: each.seq for billot, each in kept.items()}
        needed = circle.quorum.needed(circle.n)
        self._tell(Watching(self._plan.owner, circle.network, listing.total_mils, needed, circle.n))

    # -- what servers say -----------------------------------------------------------------------

    async def _follow(self, host: Host, network: Network) -> None:
        """Keep a connection to one server, and take up what it names."""
        loop, pauses = asyncio.get_running_loop(), _doubling(DIAL_AGAIN_S)
        owner, place = self._plan.owner, host.place
        while True:
            begun = loop.time()
            async with self._circle([host], Quorum("1"), network) as circle:
                (link,) = circle.links
                try:
                    await circle.greet(link)
                    if link.problem is None:
                        await link.follow(owner, partial(self._heard, place, network))
                        listed = await pages(circle, link, owner)
                        self._name(place, listed.moved.items())
                        circle.save_keys()
                        self._change(host, None)
                        await link.until_closed(PING_EVERY_S)
                        link.problem = Problem.UNREACHABLE
                except JournalError:
                    raise
                except BillotsError as error:
                    link.fail(error)
                self._change(host, link.problem)
            if loop.time() - begun > STEADY_S:
                pauses = _doubling(DIAL_AGAIN_S)
            await asyncio.sleep(next(pauses))

    def _change(self, host: Host, problem: Problem | None) -> None:
        """Say so when a server goes away or comes back, once."""
        before = self._problems.get(host.place)
        self._problems[host.place] = problem
        if (before is None) != (problem is None):
            self._tell(ServerChange(host, problem))

    def _heard(self, place: str, network: Network, transfer: Transfer) -> None:
        if (transfer.to, transfer.network) != (self._plan.owner, network.id):
            return
        try:
            for billot, _ in transfer.billots:
                network.check(billot)
        except BillotIdError:
            return
        self._name(place, transfer.billots)

    def _name(self, place: str, rows: Iterable[tuple[str, int]], after_s: float = 0.0) -> None:
        """Somebody says that these (billot, seq) are ours; what was told of already is no news."""
        now = asyncio.get_running_loop().time()
        self._announced.add(place, rows, now + after_s)
        self._wake.set()

    # -- what a quorum says ---------------------------------------------------------------------

    async def _until_due(self) -> None:
        """Wait until there is something to ask for, or a follower has ended."""
        loop = asyncio.get_running_loop()
        while not self._wake.is_set():
            due = self._announced.next_due()
            left = None if due is None else due - loop.time()
            if left is not None and left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                break
        self._wake.clear()

    async def _round(self, network: Network) -> list[Received]:
        """Ask for some of what was named, as much of each server's; what of it is final."""
        loop = asyncio.get_running_loop()
        asked = self._announced.due(loop.time())
        if not asked:
            return []
        async with self._circle(self._plan.hosts, self._plan.quorum, network) as circle:
            found = await self._finals(circle, asked)
            rest = {
                billot
                for move in found.moves
                for billot, seq in move.billots
                if billot not in asked and seq > self._seen.get(billot, 0)
            }
            if rest:
                more = await self._finals(circle, rest)
                found.taken |= more.taken
                found.seqs |= more.seqs
        received = [
            payment
            for move in found.moves
            if (payment := self._received(network, move, found)) is not None
        ]
        self._give_up(self._announced.asked(asked, loop.time()))
        return [payment for payment in received if payment.sender != self._plan.owner]

    async def _finals(self, circle: Circle, billots: Collection[str]) -> _Found:
        """The receipts, on disk, of those that a quorum says are ours since the last we saw."""
        owner, keeper, network = self._plan.owner, self._plan.keeper, circle.network
        poll = Poll(circle, sorted(billots, key=split_billot_id))
        await poll.run(self._plan.timeout_s)
        tallies = {billot: poll.tally(billot) for billot in billots}
        stand = {
            billot: tally.holding
            for billot, tally in tallies.items()
            if tally.verdict is Verdict.OWNER and tally.holding is not None
        }
        finals = {
            billot: holding
            for billot, holding in stand.items()
            if holding.owner == owner and holding.seq > self._seen.get(billot, 0)
        }
        unkept = await keeper.keep(circle, finals, poll)
        self._unkept = self._unkept.difference(finals).union(unkept)
        kept = keeper.store.find(network.id, [b for b in finals if b not in unkept])
        taken = {b: each for b, each in kept.items() if each.seq == finals[b].seq}
        spent = self._spent(circle, {b: h.seq for b, h in stand.items() if h.owner != owner})
        taken |= keeper.store.find(network.id, spent) if spent else {}
        ours = {b: each for b, each in taken.items() if each.receipt.transfer.to == owner}
        return _Found(ours, {billot: holding.seq for billot, holding in stand.items()})

    def _spent(self, circle: Circle, seqs: dict[str, int]) -> list[str]:
        """Billots that were final for another process of this wallet, which has passed them on.

        Only what it kept since the watch began: an old payment that a liar names is none.
        """
        store, electorate = self._plan.keeper.store, circle.electorate()
        needed = circle.quorum.needed(circle.n)
        kept = store.summary(circle.network.id, list(seqs)) if seqs else {}
        return [
            billot
            for billot, each in kept.items()
            if self._seen.get(billot, 0) < each.seq < seqs[billot]
            and each.seq > self._kept_before.get(billot, 0)
            and electorate.count(each.servers) >= needed
        ]

    def _received(self, network: Network, move: Transfer, found: _Found) -> Received | None:
        """One transfer's billots that are final; None if the others may be in a moment."""
        rows = tuple(
            (billot, seq)
            for billot, seq in move.billots
            if (kept := found.taken.get(billot)) is not None
            and (kept.seq, kept.receipt.transfer.id) == (seq, move.id)
        )
        missing = [
            (billot, seq)
            for billot, seq in move.billots
            if (billot, seq) not in rows
            and seq > max(self._seen.get(billot, 0), found.seqs.get(billot, 0))
        ]
        now = asyncio.get_running_loop().time()
        if missing and now < self._partial.setdefault(move.id, now + PARTIAL_S):
            self._name("", [*rows, *missing], ASK_AGAIN_S[0])
            return None
        self._partial.pop(move.id, None)
        self._seen.update(rows)
        return Received(network, move, rows, network.total_mils(billot for billot, _ in rows))

    def _give_up(self, billots: Collection[str]) -> None:
        """Say of which of these a quorum said that they came, with no transfer to show for it."""
        lost = sorted(self._unkept.intersection(billots), key=split_billot_id)
        self._unkept.difference_update(lost)
        if lost:
            self._tell(Unkept(tuple(lost)))

    def _circle(
        self, hosts: Sequence[Host], quorum: Quorum, network: Network | None = None
    ) -> Circle:
        # A new one each time: its keys are those that are known now, and it has failed at nothing.
        return self._plan.circle(list(hosts), quorum, None, network)


def _knowing(circle: Circle) -> int:
    """How many servers answer and know of all billots."""
    return sum(k.reached and k.problem is None and not k.is_new for k in circle.links)


def _doubling(ends: tuple[float, float]) -> Iterator[float]:
    """Pauses from the first to the longest, each twice the last."""
    pause_s, longest_s = ends
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, longest_s)
