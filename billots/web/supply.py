"""How much of each denomination has moved, counted from what one server lists.

What never moved is listed as ranges of the issuer's, so counting 135 million billots takes a
few questions; a network whose moved billots lie scattered takes more of them, and there is an
end to that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass

from billots.errors import BillotsError
from billots.messages import ListBillots, Listed, WhoOwns
from billots.network import ROWS_MAX, split_billot_id
from billots.poll import batched
from billots.statement import Statement
from billots.web.upstream import Busy, Upstream

_PAGES_MAX = 400
"""Each has up to 4,096 billots that moved, or 1,000 ranges between them."""
_SHOWN_AFTER_S = 0.5
_KEPT_S = 30.0
_KEPT_TIMES = 10
"""Between two counts so many times as long as the last one took, that pages cost servers little."""
_ALLOCATED_MAX = 16 * ROWS_MAX
_PAUSE_S = 0.02
"""Between pages of a list, so that counting never has a server to itself."""


@dataclass(frozen=True)
class Share:
    """One denomination: how many of it there are, and how many have moved.

    `moved` is None where it could not be counted; `issued` are those that somebody owns.
    """

    prefix: str
    mils: int
    issued: int
    moved: int | None

    @property
    def unmoved(self) -> int | None:
        """How many never moved."""
        return None if self.moved is None else self.issued - self.moved

    @property
    def permille(self) -> float:
        """How far the bar of what moved reaches, of 1000; what is there can be seen."""
        if not self.moved or not self.issued:
            return 0
        return max(6.0, round(1000 * self.moved / self.issued, 1))


@dataclass(frozen=True)
class Supply:
    """All denominations, the most valuable first."""

    shares: tuple[Share, ...]
    complete: bool

    @property
    def issued_mils(self) -> int:
        """What all billots that somebody owns are worth."""
        return sum(share.mils * share.issued for share in self.shares)

    @property
    def moved_mils(self) -> int:
        """What those are worth that have moved, as far as they were counted."""
        return sum(share.mils * (share.moved or 0) for share in self.shares)


class Counting:
    """The supply as it was last counted, counted again now and then behind what is shown."""

    def __init__(self, upstream: Upstream, shown_after_s: float = _SHOWN_AFTER_S) -> None:
        self._upstream = upstream
        self._shown_after_s = shown_after_s
        self._last: Supply | None = None
        self._kept_s = _KEPT_S

    async def latest(self) -> Supply | None:
        """None if it has never been counted yet: that may take some seconds."""
        with contextlib.suppress(TimeoutError, Busy, BillotsError):
            async with asyncio.timeout(self._shown_after_s):
                await self._upstream.kept.get("supply", self._kept_s, self._count)
        return self._last

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._last = await count_supply(self._upstream)
        self._kept_s = max(_KEPT_S, _KEPT_TIMES * (loop.time() - begun))


async def count_supply(upstream: Upstream, pages_max: int = _PAGES_MAX) -> Supply:
    """Ask the own server for at most so many pages; raises Busy and BillotsError."""
    network = upstream.network
    unmoved, counted = await _issuers_unmoved(upstream, pages_max)
    others = [b for b, who in network.allocations.items() if who != network.issuer]
    allocated = Counter(split_billot_id(billot)[0] for billot in others)
    for chunk in batched(others[:_ALLOCATED_MAX], ROWS_MAX):
        said = await upstream.call("who_owns", WhoOwns(tuple(chunk)), Statement)
        unmoved.update(split_billot_id(row.id)[0] for row in said.billots if row.seq == 0)
    all_asked = len(others) <= _ALLOCATED_MAX
    shares = []
    for prefix, denomination in network.denominations.items():
        issued = denomination.circulation if network.issuer else allocated[prefix]
        known = all_asked and prefix in counted
        moved = issued - unmoved[prefix] if known else None
        shares.append(Share(prefix, denomination.mils, issued, moved))
    shares.sort(key=lambda share: (-share.mils, share.prefix))
    return Supply(tuple(shares), all(share.moved is not None for share in shares))


async def _issuers_unmoved(upstream: Upstream, pages_max: int) -> tuple[Counter[str], set[str]]:
    """How many of each denomination never left the issuer; and for which that is the end of it."""
    network = upstream.network
    unmoved: Counter[str] = Counter()
    if network.issuer is None:
        return unmoved, set(network.denominations)
    first = next(iter(network.denominations))
    cursor: str | None = f"u:{first}1"
    for _ in range(pages_max):
        page = await upstream.call("list", ListBillots(network.issuer, cursor), Listed)
        for found in page.unmoved:
            unmoved[found.prefix] += found.last - found.first + 1
        cursor = page.cursor
        if cursor is None:
            return unmoved, set(network.denominations)
        await asyncio.sleep(_PAUSE_S)
    reached = cursor.partition(":")[2].partition("-")[0] if cursor else ""
    return unmoved, {p for p in network.denominations if p < f"{reached}-"}
