"""A handful of notes: an amount in small mixed notes, for one who has none yet to pay with.

Paying wants few notes; whoever is given his first money wants such that pay most amounts below
it. The notes are taken from the smallest value up: of each just so many that, with those before,
they reach the next value without a gap. What is then left of the amount is made as `purse.choose`
makes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from billots.purse import choose

NOTES_MAX = 48
"""Notes of a handful more than the fewest that make the amount."""


def handful(purse: Mapping[int, int], amount: int) -> dict[int, int] | None:
    """How many notes of each value make `amount` exactly, in mixed notes where there are some.

    `purse` has the count of each value; values and amount in mils. None if no notes make it.

    >>> handful({1000: 9, 250: 9, 100: 9, 50: 9}, 1000)
    {50: 1, 100: 2, 250: 3}
    """
    fewest = choose(purse, amount)
    if fewest is None:
        return None
    notes_max = NOTES_MAX + sum(fewest.values())
    values = sorted(value for value, count in purse.items() if count > 0 and value <= amount)
    for start in range(len(values)):
        core = _reaching(purse, values[start:], amount)
        rest = amount - sum(value * count for value, count in core.items())
        left = {value: count - core.get(value, 0) for value, count in purse.items()}
        more = choose(left, rest) if rest else {}
        if more is None:
            continue
        found = Counter(core) + Counter(more)
        if found.total() <= notes_max:
            return dict(sorted(found.items()))
    return fewest


def _reaching(purse: Mapping[int, int], values: list[int], amount: int) -> dict[int, int]:
    """Notes that reach from the smallest value up without a gap, worth at most `amount`."""
    core: dict[int, int] = {}
    reach = 0
    for value, above in zip(values, [*values[1:], amount + values[0]], strict=True):
        missing = above - values[0] - reach
        count = min(max(0, -(-missing // value)), purse[value], (amount - reach) // value)
        if count:
            core[value] = count
            reach += value * count
    return core
