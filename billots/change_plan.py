"""Which notes to change so that an amount can be paid: few given, and all of the rest kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from billots.network import ROWS_MAX
from billots.purse import choose

Counts = Mapping[int, int]


def plan_change(
    purse: Counts, offered: Counts, mils: int, fee: int = 0
) -> tuple[dict[int, int], dict[int, int]] | None:
    """What to give and what to get, as counts by value, so that `mils` can be paid after it.

    `purse` and `offered` have the count of each value; all values in mils. What is got makes the
    part that is missing, and the rest of what is given: so both the payment and what is left can be
    had from whole notes. None if no exchange that is looked for does it.
    """
    if sum(value * count for value, count in purse.items()) < mils + fee:
        return None
    for kept in _kept(purse, mils):
        missing = mils - _worth(kept)
        left = Counter({v: n - kept.get(v, 0) for v, n in purse.items() if n > kept.get(v, 0)})
        for give in _given(left, missing + fee):
            get = _got(offered, missing, _worth(give) - fee - missing)
            if get is None or get == give:
                continue
            payment = sum(kept.values()) + sum((choose(get, missing) or {}).values())
            if sum(get.values()) <= ROWS_MAX and payment <= ROWS_MAX:
                return give, get
    return None


def _kept(purse: Counts, mils: int) -> Iterator[dict[int, int]]:
    """Own notes that the payment begins with: the largest that fit, then fewer of them."""
    kept: dict[int, int] = {}
    left = mils
    for value in sorted(purse, reverse=True):
        count = min(purse[value], left // value)
        if count > 0:
            kept[value] = count
            left -= count * value
    while kept:
        if left:
            yield dict(kept)
        smallest = min(kept)
        left += smallest * kept.pop(smallest)
    yield {}


def _given(left: Counts, least: int) -> Iterator[dict[int, int]]:
    """Notes to give: one that is large enough, the smallest first; else small ones together."""
    enough = [value for value in sorted(left) if value >= least]
    for value in enough:
        yield {value: 1}
    if enough:
        return
    given: Counter[int] = Counter()
    missing = least
    for value in sorted(left, reverse=True):
        count = min(left[value], -(-missing // value))
        given[value] += count
        missing -= count * value
        if missing <= 0:
            break
    if missing <= 0 and given.total() <= ROWS_MAX:
        yield dict(given)


def _got(offered: Counts, missing: int, rest: int) -> dict[int, int] | None:
    """Notes that make the missing part, and others that make the rest."""
    first = choose(offered, missing)
    if first is None:
        return None
    if rest == 0:
        return first
    second = choose({v: n - first.get(v, 0) for v, n in offered.items()}, rest)
    return None if second is None else dict(Counter(first) + Counter(second))


def _worth(counts: Counts) -> int:
    return sum(value * count for value, count in counts.items())
