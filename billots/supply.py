"""The whole supply of a currency, counted: every billot once, exact to the mil.

What never moved takes no room at a server, and comes as runs: a quorum's lists, over the network's
file. Lists aren't signed, so some of these billots, picked at random, are asked for. Everything
else is asked for one by one, and counted by a quorum of signed statements. What moves while this
runs is counted as it was when its turn came.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from billots.circle import Circle
from billots.errors import Unreachable
from billots.issuing import unmoved_runs
from billots.listing import allocated_runs
from billots.network import Denomination, Network
from billots.poll import Answer, Poll
from billots.quorum import Tally, Verdict
from billots.runs import Run, billots_of, count_billots, merged, without
from billots.sampling import sample_runs

ASKED_MAX = 20_000_000
"""Billots that are asked for one by one; beyond it the servers' lists are no good."""
_AT_ONCE = 4096
"""Billots asked together: sixteen questions to each server."""
SAMPLE = 1024
_NAMED_MAX = 100

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Count:
    """One denomination's billots: each of its circulation is in one of the others.

    `unmoved` are the issuer's, or whom the file gives them to, for they never moved; `returned`
    moved, and are the issuer's again; `issued` are everybody else's. `unissued`: the network has
    no issuer who could own them. Whose the last two are can't be said.
    """

    denomination: Denomination
    unmoved: int = 0
    issued: int = 0
    returned: int = 0
    unissued: int = 0
    disputed: int = 0
    undecided: int = 0

    @property
    def counted(self) -> int:
        """All of them together."""
        owned = self.unmoved + self.issued + self.returned
        return owned + self.unissued + self.disputed + self.undecided


KINDS = ("unmoved", "issued", "returned", "unissued", "disputed", "undecided")


@dataclass(frozen=True, slots=True)
class SupplyReport:
    """The supply by denomination, and who said so.

    `asked` billots were counted by signed statements. Of `sampled` more, picked from what never
    moved by the lists, `moved` had a quorum for something else: while this ran, or the lists lied.
    `open` names some of the billots that are disputed or undecided.
    """

    network: Network
    counts: tuple[Count, ...]
    answers: tuple[Answer, ...]
    needed: int
    n: int
    asked: int
    sampled: int
    moved: tuple[str, ...]
    open: tuple[str, ...]

    def billots(self, kind: str | None = None) -> int:
        """How many billots there are, or of a kind (a field of `Count`)."""
        return sum(each.counted if kind is None else getattr(each, kind) for each in self.counts)

    def mils(self, kind: str | None = None) -> int:
        """What they are worth."""
        return sum(
            each.denomination.mils * (each.counted if kind is None else getattr(each, kind))
            for each in self.counts
        )

    @property
    def is_exact(self) -> bool:
        """Whether every billot that circulates was counted once, with a verdict."""
        right = all(each.counted == each.denomination.circulation for each in self.counts)
        return right and not self.billots("undecided") and not self.moved


async def count_supply(circle: Circle, on_progress: OnProgress | None = None) -> SupplyReport:
    """Count every billot of the network. Raises Unreachable, WrongNetwork, JournalError."""
    await _require_quorum(circle)
    network = circle.network
    unmoved = await unmoved_runs(circle)
    rest = list(_rest(network, unmoved))
    asked = count_billots(rest)
    if asked > ASKED_MAX:
        raise Unreachable(
            f"a quorum's lists leave {asked:,} billots open: too many to ask for one by one",
            "bwallet --audit tells which servers disagree",
        )
    sample = sample_runs(unmoved, SAMPLE)
    kinds: dict[str, Counter[str]] = {prefix: Counter() for prefix in network.denominations}
    for run in unmoved:
        kinds[run[0]]["unmoved"] += count_billots([run])

    def tell(done: int) -> None:
        if on_progress is not None:
            on_progress(done, asked + len(sample))

    open_ = await _count_each(circle, rest, kinds, tell)
    moved = [b for b, tally in (await _ask(circle, sample)).items() if _has_moved(tally)]
    tell(asked + len(sample))
    if network.issuer is None:
        for prefix, each in network.denominations.items():
            kinds[prefix]["unissued"] = each.circulation - sum(kinds[prefix].values())
    counts = tuple(Count(d, **kinds[prefix]) for prefix, d in network.denominations.items())
    answers = tuple(Answer(k.host, k.key, None, k.problem) for k in circle.links)
    told = (asked, len(sample), tuple(moved), tuple(open_))
    return SupplyReport(network, counts, answers, circle.quorum.needed(circle.n), circle.n, *told)


async def _require_quorum(circle: Circle) -> None:
    await asyncio.gather(*(circle.greet(link) for link in circle.links))
    circle.require_one()
    answering, needed = len(circle.answering_keys), circle.quorum.needed(circle.n)
    if answering < needed:
        raise Unreachable(
            f"{answering} of {circle.n} servers answer, and {needed} are needed",
            "the same command tries again",
        )


async def _count_each(
    circle: Circle,
    runs: Iterable[Run],
    kinds: dict[str, Counter[str]],
    tell: Callable[[int], None],
) -> list[str]:
    """Ask for each of these billots, count it, and name some of those without a sure owner."""
    open_: list[str] = []
    ids, done = billots_of(runs), 0
    while part := list(islice(ids, _AT_ONCE)):
        for billot, tally in (await _ask(circle, part)).items():
            kind = kind_of(circle.network, tally)
            kinds[billot[: billot.index("-") + 1]][kind] += 1
            if kind in ("disputed", "undecided") and len(open_) < _NAMED_MAX:
                open_.append(billot)
        done += len(part)
        tell(done)
    return open_


def _rest(network: Network, unmoved: Sequence[Run]) -> Iterable[Run]:
    """Everything that circulates but these; what nobody ever owned isn't asked for."""
    if network.issuer is None:
        return allocated_runs(network)
    everything = ((p, 1, each.circulation) for p, each in network.denominations.items())
    return without(everything, list(merged(unmoved)))


async def _ask(circle: Circle, billots: Sequence[str]) -> dict[str, Tally]:
    if not billots:
        return {}
    poll = Poll(circle, billots, proof=False)
    await poll.run(circle.timeout_s * 4)
    return {billot: poll.tally(billot) for billot in billots}


def kind_of(network: Network, tally: Tally) -> str:
    """Where a count puts a billot: one of `KINDS`."""
    if tally.verdict is Verdict.DISPUTED:
        return "disputed"
    if tally.verdict is Verdict.NO_OWNER:
        return "unissued"
    if tally.verdict is not Verdict.OWNER or tally.holding is None:
        return "undecided"
    if tally.holding.seq == 0:
        return "unmoved"
    return "returned" if tally.owner == network.issuer else "issued"


def _has_moved(tally: Tally) -> bool:
    return tally.holding is None or tally.holding.seq > 0 or tally.verdict is not Verdict.OWNER
