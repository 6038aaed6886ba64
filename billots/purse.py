"""Which notes make an amount exactly: as few as there can be, out of a purse that is finite."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd, lcm

AMOUNTS_MAX = 200_000
"""Amounts that are followed at once. Denominations that people use need some hundreds."""
_BITS_MAX = 1 << 27


def choose(purse: Mapping[int, int], amount: int) -> dict[int, int] | None:
    """How many notes of each value make `amount` exactly, as few notes as possible.

    `purse` has the count of each value; values and amount in mils. None if they can't make it.
    Values are gone through from the largest down, and what is left to be made is followed for
    each count that may still be best. Fewer of a value than would fit are worth a look only down
    to a bound: smaller notes that stand for more than that could be swapped for one of it. For
    values so odd that more than `AMOUNTS_MAX` are left at once only the most promising are
    followed: then what is found is exact all the same, but may not be the fewest.
    """
    values = sorted((value for value, count in purse.items() if count > 0), reverse=True)
    if amount <= 0 or not values:
        return None
    # By what is left to be made: how few notes were used, and how many of each value.
    left: dict[int, tuple[int, tuple[int, ...]]] = {amount: (0, ())}
    for at, value in enumerate(values):
        smaller = values[at + 1 :]
        rest, step = sum(v * purse[v] for v in smaller), gcd(*smaller)
        spare = sum(lcm(value, v) // value for v in smaller)
        following: dict[int, tuple[int, tuple[int, ...]]] = {}
        for open_, (count, used) in left.items():
            most = min(purse[value], open_ // value)
            for number in range(max(0, most - spare), most + 1):
                now = open_ - number * value
                if now > rest or (now % step if step else now):
                    continue
                best = following.get(now)
                if best is None or count + number < best[0]:
                    following[now] = (count + number, (*used, number))
        if len(following) > AMOUNTS_MAX:
            best_first = sorted(following.items(), key=lambda item: item[1][0] + item[0] / value)
            following = dict(best_first[:AMOUNTS_MAX])
        left = following
    found = left.get(0)
    if found is None:
        return None
    return {value: number for value, number in zip(values, found[1], strict=True) if number}


def nearest(purse: Mapping[int, int], amount: int) -> tuple[int | None, int | None]:
    """The largest sum below `amount` and the smallest above that the purse can make, in mils.

    None where there is none, or none is found: a sum of more than 2**27 steps isn't looked for.
    """
    counts = {value: count for value, count in purse.items() if count > 0}
    step = gcd(*counts) if counts else 0
    if not step:
        return None, None
    # Notes added one by one pass any amount by less than the largest of them.
    top = amount + max(counts)
    bits = top // step + 1
    if bits > _BITS_MAX:
        return None, None
    made, mask = 1, (1 << bits) - 1
    for value, count in counts.items():
        width, count_left, size = value // step, min(count, top // value), 1
        while count_left > 0:
            size = min(size, count_left)
            made = (made | made << size * width) & mask
            count_left -= size
            size *= 2
    below = made & ((1 << -(-amount // step)) - 1)
    above = made >> (amount // step + 1)
    low = (below.bit_length() - 1) * step if below > 1 else None
    high = None if not above else ((above & -above).bit_length() + amount // step) * step
    return low, high
