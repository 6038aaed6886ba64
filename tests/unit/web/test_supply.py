"""How much has moved, from lists of every shape."""

import asyncio
from types import SimpleNamespace

import pytest

from billots.messages import Listed, UnmovedRange
from billots.network import Network
from billots.web.supply import Counting, Share, count_supply
from billots.web.upstream import Kept

OWNER, OTHER = "0" * 128, "1" * 128


def network(issuer=OWNER, allocations=None):
    rows = [("a-", "1", 100), ("b-", "0.5", 1000)]
    fields = {
        "name": "club",
        "denominations": [{"prefix": p, "value": v, "circulation": c} for p, v, c in rows],
        "allocations": allocations or {},
    }
    return Network.from_fields(fields | ({"issuer": issuer} if issuer else {}))


class Asked:
    """The upstream, as far as counting needs one: pages of a list, and seqs of billots."""

    def __init__(self, which, pages, seqs=()):
        self.network = which
        self.pages = iter(pages)
        self.seqs = dict(seqs)
        self.calls = 0

    async def call(self, method, params, _result):
        self.calls += 1
        if method == "list":
            return next(self.pages)
        rows = [SimpleNamespace(id=b, seq=self.seqs.get(b, 0)) for b in params.billots]
        return SimpleNamespace(billots=rows)


def counted(asked, **more):
    supply = asyncio.run(count_supply(asked, **more))
    return supply, {share.prefix: share.moved for share in supply.shares}


def test_ranges_over_several_pages_are_added_up():
    pages = [
        Listed([], [UnmovedRange("a-", 1, 40), UnmovedRange("a-", 42, 100)], "u:b-1"),
        Listed([], [UnmovedRange("b-", 11, 1000)], None),
    ]
    supply, moved = counted(Asked(network(), pages))
    assert moved == {"a-": 1, "b-": 10}
    assert supply.complete
    assert supply.moved_mils == 1000 + 10 * 500
    assert supply.issued_mils == 100_000 + 500_000


def test_what_is_allocated_to_others_counts_as_well():
    which = network(allocations={"a-1": OTHER, "a-2": OTHER})
    pages = [Listed([], [UnmovedRange("a-", 3, 100), UnmovedRange("b-", 1, 1000)], None)]
    _, moved = counted(Asked(which, pages, {"a-2": 3}))
    assert moved == {"a-": 1, "b-": 0}


def test_without_an_issuer_only_what_is_allocated_is_there():
    which = network(issuer=None, allocations={"a-1": OTHER, "a-2": OTHER})
    supply, moved = counted(Asked(which, [], {"a-1": 1}))
    assert moved == {"a-": 1, "b-": 0}
    assert [share.issued for share in supply.shares] == [2, 0]


def test_attack_a_list_that_never_ends_is_given_up():
    endless = (Listed([], [UnmovedRange("b-", 1, 1)], "u:b-2") for _ in iter(int, 1))
    asked = Asked(network(), endless)
    supply, moved = counted(asked, pages_max=30)
    assert moved == {"a-": 100, "b-": None}  # what comes before the place it got to is known
    assert not supply.complete
    assert asked.calls == 30


@pytest.mark.parametrize(
    ("moved", "permille"), [(0, 0), (1, 6.0), (500, 500.0), (1000, 1000.0), (None, 0)]
)
def test_a_bar_shows_what_little_there_is(moved, permille):
    assert Share("b-", 500, 1000, moved).permille == permille


def test_a_count_that_takes_long_goes_on_behind_what_is_shown():
    class Slow(Asked):
        def __init__(self, pages):
            super().__init__(network(), pages)
            self.kept = Kept()
            self.gate = asyncio.Event()

        async def call(self, method, params, result):
            await self.gate.wait()
            return await super().call(method, params, result)

    async def play():
        ranges = [UnmovedRange("a-", 2, 100), UnmovedRange("b-", 1, 1000)]
        upstream = Slow([Listed([], ranges, None)])
        counting = Counting(upstream, shown_after_s=0.0)
        assert await counting.latest() is None
        assert await counting.latest() is None
        upstream.gate.set()
        supply = None
        for _ in range(1000):
            supply = supply or await counting.latest()
        assert supply.moved_mils == 1000
        assert await counting.latest() is supply
        assert upstream.calls == 1, "once for all who asked meanwhile"
        await upstream.kept.close()

    asyncio.run(asyncio.wait_for(play(), 20))
