"""Which billots an audit asks about, if it isn't told: nobody can know beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from itertools import islice

from billots.circle import Circle
from billots.errors import BillotIdError, BillotsError
from billots.keeping import Keeper
from billots.link import Link
from billots.messages import ChangeList, Changes
from billots.network import Network, split_billot_id
from billots.runs import Run, count_billots

CHANGES_MAX = 64
"""Of one server's newest or older changes; one of them may name 256 billots."""


async def sample(circle: Circle, own: Sequence[str], count: int) -> list[str]:
    """`count` billots of the network: up to a quarter one's own, half that moved, and any.

    The servers have been greeted. What they say has moved is unsigned, and only names ids.
    """
    random = secrets.SystemRandom()
    network = circle.network
    moved: set[str] = set()
    for link in circle.links:
        if link.key is not None:
            moved |= await _changed(link, network, random.randrange(link.lsn + 1))
    picked = set(random.sample(sorted(own), min(len(own), count // 4)))
    picked |= set(random.sample(sorted(moved), min(len(moved), count // 2)))
    rows = list(network.denominations.items())
    in_all = sum(row.circulation for _, row in rows)
    while len(picked) < min(count, in_all):
        prefix, row = random.choice(rows)
        picked.add(f"{prefix}{1 + random.randrange(row.circulation)}")
    return sorted(picked, key=split_billot_id)


async def _changed(link: Link, network: Network, since: int) -> set[str]:
    changed: set[str] = set()
    with contextlib.suppress(BillotsError):
        page = await link.call("changes", Changes(since, CHANGES_MAX), ChangeList)
        for change in page.changes[:CHANGES_MAX]:
            for billot, _ in change.transfer.billots:
                with contextlib.suppress(BillotIdError):
                    network.check(billot)
                    changed.add(billot)
    return changed


def sample_runs(runs: Sequence[Run], count: int) -> list[str]:
    """Up to `count` of the billots in runs, each as likely as any other; in order."""
    total = count_billots(runs)
    random = secrets.SystemRandom()
    places = sorted(random.sample(range(total), min(count, total)))
    picked: list[str] = []
    at, passed = 0, 0
    for place in places:
        while place >= passed + count_billots([runs[at]]):
            passed += count_billots([runs[at]])
            at += 1
        prefix, first, _ = runs[at]
        picked.append(f"{prefix}{first + place - passed}")
    return picked


async def sample_own(circle: Circle, keeper: Keeper, count: int) -> list[str]:
    """`count` billots with one's own first: those that receipts are kept of, and the allocated."""
    await asyncio.gather(*(circle.greet(link) for link in circle.links))
    circle.require_one()
    network, owner = circle.network, keeper.owner
    own = {*keeper.store.summary(network.id)} if owner is not None else set[str]()
    own |= {*islice(network.allocated_to(owner or ""), count)}
    return await sample(circle, sorted(own), count)
