"""One set of servers with something to see for all tests that only look."""

import asyncio
from types import SimpleNamespace

import pytest
from explored import Explored
from servers import MINT, OTHERS, USER1, USER2, USER3, signed, submit, until_info, until_settled

from billots.errors import Refused

EXTRA = OTHERS[7]
"""Has 120 small notes."""


async def history(hosts):
    """Payments, a double spend that was settled before it, and one that nobody can settle."""
    for host in hosts:
        await until_info(host, lambda info: info.counts["links_up"] == len(hosts) - 1)
    paid = signed(USER1, USER2, ("a-1", 1))
    await submit(hosts[0], paid)
    await submit(hosts[1], signed(MINT, EXTRA, *[(f"h-{n}", 1) for n in range(1000, 1120)]))
    for host in hosts:
        await until_settled(host, "a-1", 1, USER2)
        await until_settled(host, "h-1000", 1, EXTRA)
    two = signed(USER1, USER2, ("b-1", 1)), signed(USER1, USER3, ("b-1", 1))
    half = len(hosts) // 2

    async def send(index):
        try:
            await submit(hosts[index], two[index >= half])
        except Refused:
            return

    await asyncio.gather(*(send(index) for index in range(len(hosts))))
    late = signed(USER1, USER3, ("a-1", 1))
    with pytest.raises(Refused):
        await submit(hosts[2], late)
    return SimpleNamespace(paid=paid, late=late, two=two)


@pytest.fixture(scope="session")
def seen(tmp_path_factory):
    """Four servers, the pages of the first, and what has happened there."""
    with Explored(tmp_path_factory.mktemp("explored"), 4) as explored:
        explored.history = asyncio.run(history(explored.hosts))
        explored.until("/disputes", lambda text: "a-1" in text and ">disputed<" in text)
        explored.until("/", lambda text: "117 more" in text and text.count(">agrees<") == 4)
        yield explored
