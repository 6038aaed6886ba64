"""Handing out what never moved: an order in the journal, then its transfers (ADR 0028)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from billots.circle import Circle
from billots.errors import InputError, Refused, Unreachable
from billots.handful import handful
from billots.listing import Found, allocated_runs, ask_all, within
from billots.network import Network, format_mils
from billots.order import ORDER_MAX, Order
from billots.outcomes import NotExact
from billots.paying import Paid, names_payee, payee_has, until_final
from billots.poll import Poll
from billots.purse import choose, nearest
from billots.quorum import liars_max
from billots.refusals import refusal
from billots.runs import Run, count_billots, merged, runs_text, swept, without
from billots.sending import Sender, Signed, submit
from billots.transfer import Transfer

PARTS_MAX = 4
"""Transfers under way at once: more of them would only wait at the servers."""
_AGAIN_AFTER_S = 0.05
_GONE = ("not_owner", "stale_seq", "conflicting_transfer")
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be issued: runs of billots, or an amount in mils, `mixed` with small notes.

    The amount so many `times`, each time in the same notes: a purse for a faucet.
    """

    mils: int | None = None
    runs: tuple[Run, ...] = ()
    mixed: bool = False
    times: int = 1

    @property
    def text(self) -> str:
        """The same in words that tell one from another."""
        if self.mils is None:
            return f"billots {runs_text(self.runs)}"
        more = " mixed" if self.mixed else ""
        more += f" times {self.times}" if self.times > 1 else ""
        return f"amount {format_mils(self.mils)}{more}"


@dataclass(frozen=True, slots=True)
class Issue:
    """An order, and how far it is carried out: `final` of its billots are the owner's by a quorum.

    `seconds` is how long that took from the first transfer on; `resumed`: it was begun before.
    `planned`: nothing was written or signed, this is what would be.
    """

    network: Network
    order: Order
    final: int = 0
    seconds: float = 0.0
    resumed: bool = False
    planned: bool = False

    @property
    def mils(self) -> int:
        """What it is worth."""
        return worth(self.network, self.order.runs)

    @property
    def is_final(self) -> bool:
        """Whether a quorum names the owner for all of it."""
        return self.final == self.order.count


@dataclass(frozen=True, slots=True)
class NotFresh:
    """Billots that were to be issued and can't be: they moved, or were issued before."""

    network: Network
    runs: tuple[Run, ...]


def worth(network: Network, runs: Sequence[Run]) -> int:
    """What runs of billots are worth, in mils."""
    return sum(network.denominations[run[0]].mils * count_billots([run]) for run in runs)


async def unmoved_runs(circle: Circle) -> list[Run]:
    """What never moved and is the issuer's, by the lists of a quorum; they aren't signed.

    As many lists count as there are keys that signed something. Servers that have only just started
    say nothing of it: they are waited for a moment. Raises Unreachable if fewer than a quorum tell.
    """
    network, needed = circle.network, circle.quorum.needed(circle.n)
    if network.issuer is None:
        return []
    loop = asyncio.get_running_loop()
    end, pause_s = loop.time() + circle.timeout_s, _AGAIN_AFTER_S
    while True:
        found = _telling(await ask_all(circle, network.issuer))
        if len(found) >= needed:
            break
        if loop.time() + pause_s > end:
            raise Unreachable(
                f"{len(found)} of {circle.n} servers tell what never moved, "
                f"and {needed} are needed",
                "the same command tries again",
            )
        await asyncio.sleep(pause_s)
        pause_s *= 2
        await asyncio.gather(*(link.look_again() for link in circle.links))
    agreed = (
        run for run, votes in swept(within(network, f.unmoved) for f in found) if votes >= needed
    )
    return list(merged(without(agreed, allocated_runs(network))))


def _telling(found: Iterable[Found]) -> list[Found]:
    """The lists that count: of each key one, and of no server that doesn't know all itself yet."""
    lists: dict[str, Found] = {}
    for each in found:
        link = each.link
        if link.key is not None and link.problem is None and not link.is_new:
            lists.setdefault(link.key, each)
    return list(lists.values())


async def issue(
    sender: Sender, circle: Circle, wanted: Wanted, to: str, on_progress: OnProgress | None = None
) -> Issue | NotFresh | NotExact:
    """Issue it, or go on with the same that was begun before and isn't done with."""
    order = _same(await unfinished(sender, circle), wanted, to)
    resumed = order is not None
    while order is None:
        planned = await plan(sender, circle, wanted, to)
        if not isinstance(planned, Issue):
            return planned
        with await sender.journal() as journal:
            order = _same(journal.orders(circle.network.id, unfinished=True), wanted, to)
            resumed = order is not None  # another process was faster with the same
            others = journal.first_moves(circle.network.id)
            runs = list(planned.order.runs)
            if order is None and list(without(runs, others)) == runs:
                order = planned.order
                journal.order(order)
        # If another one took some of these, what is left is looked at again.
    return await carry_out(sender, circle, order, on_progress, resumed=resumed)


def _same(orders: Iterable[Order], wanted: Wanted, to: str) -> Order | None:
    return next((o for o in orders if (o.asked, o.to) == (wanted.text, to)), None)


async def unfinished(sender: Sender, circle: Circle) -> list[Order]:
    """Orders that were begun and aren't done with.

    On the test network on this machine, all orders of one whose servers are gone are dropped.
    """
    with await sender.journal() as journal:
        if circle.passing:
            for order in journal.orders(circle.network.id):
                journal.drop(order, circle.answering_keys)
        return journal.orders(circle.network.id, unfinished=True)


async def plan(
    sender: Sender, circle: Circle, wanted: Wanted, to: str
) -> Issue | NotFresh | NotExact:
    """What would be issued, of what never moved and nothing here gives to anybody."""
    network = circle.network
    if network.issuer != sender.key.owner:
        raise InputError(
            f"this key is not the issuer's of network {network.name}",
            "--keyfile names the issuer's key, --network the network",
        )
    unmoved = await unmoved_runs(circle)
    with await sender.journal() as journal:
        fresh = list(without(unmoved, journal.first_moves(network.id)))
    if wanted.mils is None:
        runs = wanted.runs
        gone = tuple(without(runs, fresh))
        if gone:
            return NotFresh(network, gone)
    else:
        counts: Counter[int] = Counter()
        for run in fresh:
            counts[network.denominations[run[0]].mils] += count_billots([run])
        once = {mils: count // wanted.times for mils, count in counts.items()}
        chosen = (handful if wanted.mixed else choose)(once, wanted.mils)
        if chosen is None:
            return NotExact(
                network, wanted.mils, worth(network, fresh), *nearest(once, wanted.mils)
            )
        chosen = {mils: count * wanted.times for mils, count in chosen.items()}
        runs = tuple(merged(_picked(network, fresh, chosen)))
    if count_billots(runs) > ORDER_MAX:
        raise InputError(f"over {ORDER_MAX:,} billots at once", "issue them in parts")
    keys = tuple(sorted(circle.answering_keys))
    order = Order(network.id, to, wanted.text, runs, keys)
    return Issue(network, order, planned=True)


def _picked(network: Network, fresh: Sequence[Run], chosen: Mapping[int, int]) -> Iterator[Run]:
    """The first billots of each value, as many as were chosen."""
    left = dict(chosen)
    for prefix, first, last in fresh:
        mils = network.denominations[prefix].mils
        number = min(left.get(mils, 0), last - first + 1)
        if number:
            left[mils] -= number
            yield prefix, first, first + number - 1


async def carry_out(
    sender: Sender,
    circle: Circle,
    order: Order,
    on_progress: OnProgress | None = None,
    *,
    resumed: bool = False,
) -> Issue:
    """Send the transfers of an order that are missing, and wait until each is final.

    Raises what `Wallet.transfer` does; what is done by then stays done. Billots that are somebody
    else's by now keep those of their own transfer back, and no others.
    """
    loop = asyncio.get_running_loop()
    begun, total = loop.time(), order.count
    parts, done, final = order.parts(), 0, 0
    lost: list[Refused] = []

    async def work() -> None:
        nonlocal done, final
        for part in parts:
            try:
                stands = await _part(sender, circle, order, part, again=resumed)
            except Refused as refused:
                if refused.name not in _GONE:
                    raise
                lost.append(refused)  # it will never be; the others wait for nothing
                continue
            final += len(part) if stands else 0
            done += len(part)
            if on_progress is not None:
                on_progress(done, total)

    workers = [asyncio.ensure_future(work()) for _ in range(min(PARTS_MAX, -(-total // 256)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if lost:
        raise lost[0]
    return Issue(circle.network, order, final, loop.time() - begun, resumed)


async def _part(
    sender: Sender, circle: Circle, order: Order, part: Sequence[str], *, again: bool
) -> bool:
    """See one transfer of an order through; whether it is final. Looks first, then signs.

    `again`: it may have been sent before.
    """
    loop = asyncio.get_running_loop()
    poll = Poll(circle, part, proof=False)
    await poll.run(sender.timeout_s)
    circle.require_one()
    if all(payee_has(poll, billot, 1, order.to) for billot in part):
        return True
    for billot in part:
        others = [h for h in poll.votes[billot].values() if not names_payee(h, 1, order.to)]
        if sum(h.seq > 0 for h in others) > liars_max(circle.n):
            raise refusal("not_owner", billot, others[0], sender.command)
    transfer = Transfer.sign(circle.network, sender.key, order.to, [(b, 1) for b in part])
    begun = loop.time()
    await submit(sender, circle, Signed(transfer, resent=again, noted=False))
    mils = circle.network.total_mils(part)
    return (await until_final(sender, circle, Paid(transfer, mils, begun))).is_final
