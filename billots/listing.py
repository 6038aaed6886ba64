"""What an owner has: every server's list joined, and each billot of it counted.

A `list` answer is not signed and proves nothing: it only says which billots to ask for. A
billot that any server names is asked of all, and is the owner's if a quorum of signed
statements says so. One that a liar leaves out is named by the others.

What never moved comes as ranges. The network's file must give them to the owner; short ones
are taken apart and counted like the rest. An issuer's long ones (135,380,000 billots at the
start) stay ranges: a number is in one if as many servers as make a quorum say that it never
moved. That is the servers' unsigned word over the network's file, and shown as such.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from billots.circle import Circle
from billots.errors import BillotIdError, BillotsError, JournalError, ProtocolError, WrongNetwork
from billots.link import Link, OtherNetwork
from billots.messages import ListBillots, Listed
from billots.network import ROWS_MAX, Network, split_billot_id
from billots.outcomes import Listing, OwnedBillot, UnmovedBillots
from billots.poll import Answer, Poll
from billots.quorum import Verdict
from billots.runs import Run, billots_of, count_billots, merged, swept, without

PAGES_MAX = 2_000
"""Pages of 1,000 billots that one server may send before it is taken for a liar."""
EXPANDED_MAX = 65_536
"""Ids of short ranges that are counted one by one; ranges beyond them stay ranges."""
OTHERS_AFTER_S = 0.5
"""How long lists are waited for once as many as make a quorum are here: those name it all."""


class Found:
    """What one server names: billots that moved, with their seq, and ranges that did not."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.moved: dict[str, int] = {}
        self.unmoved: list[Run] = []


async def list_billots(
    circle: Circle, owner: str, on_progress: Callable[[int, int], None] | None = None
) -> Listing:
    """The billots of `owner`; see the module for how they are found and counted."""
    found = await ask_all(circle, owner)
    circle.require_one()
    if not found:
        raise next(iter(circle.problems())).error or ProtocolError("no server sent a list")
    network = circle.network
    short, long = _ranges(network, owner, found, circle.quorum.needed(circle.n))
    named = {billot for answer in found for billot in answer.moved}
    named.update(billot for billot in short if network.first_owner(billot) == owner)
    billots = sorted(named, key=split_billot_id)
    gone = [link for link in circle.links if link.problem is not None and not link.reached]
    poll = Poll(circle, billots, on_progress=on_progress, without=gone)
    if billots:
        await poll.run()
    mine: list[OwnedBillot] = []
    undecided: list[OwnedBillot] = []
    for billot in billots:
        tally = poll.tally(billot)
        owned = OwnedBillot(billot, network.mils(billot), tally)
        if tally.verdict is Verdict.OWNER:
            if tally.owner == owner:
                mine.append(owned)
        elif any(holding.owner == owner for holding in poll.votes[billot].values()):
            undecided.append(owned)
    answers = tuple(Answer(k.host, k.key, None, k.problem) for k in circle.links)
    unmoved = tuple(
        UnmovedBillots(prefix, first, last, network.denominations[prefix].mils)
        for prefix, first, last in long
    )
    new = tuple(link.host for link in circle.links if link.is_new)
    knowing = [k for k in circle.links if k.reached and k.problem is None and not k.is_new]
    return Listing(
        owner,
        network,
        tuple(mine),
        unmoved,
        tuple(undecided),
        answers,
        new=new,
        is_complete=not new or len(knowing) >= circle.quorum.needed(circle.n),
    )


async def ask_all(
    circle: Circle, owner: str, others_after_s: float = OTHERS_AFTER_S
) -> list[Found]:
    """Every server's list; not waiting long for the last once a quorum's are here."""
    tasks = {asyncio.create_task(pages(circle, link, owner)): link for link in circle.links}
    found: list[Found] = []
    waiting = set(tasks)
    try:
        while waiting:
            enough = len(found) >= circle.quorum.needed(len(circle.links))
            done, waiting = await asyncio.wait(
                waiting,
                timeout=others_after_s if enough else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                break
            for task in done:
                try:
                    found.append(task.result())
                except OtherNetwork as error:
                    tasks[task].fail(error)
                except (WrongNetwork, JournalError):
                    raise
                except BillotsError as error:
                    tasks[task].fail(error)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return found


async def pages(circle: Circle, link: Link, owner: str) -> Found:
    """One server's list, whole; raises what `Circle.open` and `Link.call` do."""
    await circle.open(link)
    found = Found(link)
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        asked = ListBillots(owner, cursor)
        page = await link.call("list", asked, Listed)
        if len(page.billots) + len(page.unmoved) > asked.limit:
            raise ProtocolError(f"{link.host.place} sends more of a list than was asked for")
        for billot in page.billots:
            with contextlib.suppress(BillotIdError):
                circle.network.check(billot.id)
                found.moved[billot.id] = billot.seq
        found.unmoved += [(r.prefix, r.first, r.last) for r in page.unmoved]
        if page.cursor is None:
            return found
        if page.cursor == cursor:
            break
        cursor = page.cursor
    raise ProtocolError(f"{link.host.place} sends a list without an end")


def _ranges(
    network: Network, owner: str, found: Iterable[Found], needed: int
) -> tuple[list[str], list[Run]]:
    """The unmoved billots: ids of short ranges that any server names, long ranges of `needed`.

    For all but the issuer the network's file itself names them one by one.
    """
    if owner != network.issuer:
        return list(network.allocated_to(owner)), []
    short: list[str] = []
    long: list[Run] = []
    allocated = allocated_runs(network)
    for run, votes in swept(within(network, answer.unmoved) for answer in found):
        for part in without([run], allocated):
            if count_billots([part]) <= ROWS_MAX and len(short) < EXPANDED_MAX:
                short += billots_of([part])
            elif votes >= needed:
                long.append(part)
    return short, long


def allocated_runs(network: Network) -> list[Run]:
    """What the network's file gives away by name."""
    return list(merged((p, n, n) for p, n in map(split_billot_id, network.allocations)))


def within(network: Network, ranges: Iterable[Run]) -> list[Run]:
    """Ranges cut to what circulates."""
    return [
        (prefix, max(first, 1), min(last, network.denominations[prefix].circulation))
        for prefix, first, last in ranges
        if prefix in network.denominations
    ]
