"""Runs of billots: prefix, first and last number. What never moved comes in millions."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from billots.errors import InputError
from billots.network import NUMBER_MAX, shown

_RUN = re.compile(
    r"([a-z]{1,3}-)([1-9][0-9]{0,12})(?:\.\.([a-z]{1,3}-)?([1-9][0-9]{0,12}))?", re.ASCII
)
_HINT = "billots are named a-1,b-7 or as runs: a-1..a-500"

Run = tuple[str, int, int]
"""Prefix, first and last number."""


def parse_runs(text: str) -> tuple[Run, ...]:
    """``a-1,b-3..b-9`` as runs, in order and joined; raises InputError.

    >>> parse_runs("b-3..9, a-1,a-2")
    (('a-', 1, 2), ('b-', 3, 9))
    """
    runs: list[Run] = []
    for word in text.replace(",", " ").split():
        match = _RUN.fullmatch(word)
        prefix, first, again, last = match.groups() if match else ("", "0", None, None)
        run = (prefix, int(first), int(last or first))
        if not prefix or again not in (None, prefix) or run[2] < run[1]:
            raise InputError(f"not a billot or a run of them: {shown(word)}", _HINT)
        runs.append(run)
    joined: list[Run] = []
    for prefix, first, last in sorted(runs):
        before = joined[-1] if joined else ("", 0, 0)
        if before[0] == prefix and first <= before[2]:
            raise InputError(f"named twice: {prefix}{first}", _HINT)
        if before[0] == prefix and first == before[2] + 1:
            joined[-1] = (prefix, before[1], last)
        else:
            joined.append((prefix, first, last))
    if not joined:
        raise InputError("no billots are named", _HINT)
    return tuple(joined)


def runs_text(runs: Iterable[Run]) -> str:
    """Runs as they are typed."""
    return ",".join(
        f"{p}{first}" + (f"..{last}" if last > first else "") for p, first, last in runs
    )


def count_billots(runs: Iterable[Run]) -> int:
    """How many billots runs have."""
    return sum(last - first + 1 for _, first, last in runs)


def billots_of(runs: Iterable[Run]) -> Iterator[str]:
    """The ids in runs, one by one."""
    return (f"{prefix}{n}" for prefix, first, last in runs for n in range(first, last + 1))


def has(runs: Sequence[Run], prefix: str, number: int) -> bool:
    """Whether a billot is in one of these runs, which are in order and apart."""
    at = bisect_right(runs, (prefix, number, NUMBER_MAX + 1)) - 1
    return at >= 0 and runs[at][0] == prefix and number <= runs[at][2]


def without(runs: Iterable[Run], taken: Sequence[Run]) -> Iterator[Run]:
    """What is left of runs without the `taken` ones, which are in order and apart."""
    for prefix, first, last in runs:
        start = first
        at = max(0, bisect_right(taken, (prefix, first, NUMBER_MAX + 1)) - 1)
        while at < len(taken) and taken[at][:2] <= (prefix, last):
            gone, low, high = taken[at]
            at += 1
            if gone != prefix or high < start:
                continue
            if low > start:
                yield prefix, start, low - 1
            start = high + 1
        if start <= last:
            yield prefix, start, last


def merged(runs: Iterable[Run]) -> Iterator[Run]:
    """Runs in order, without overlaps, neighbours joined."""
    last: Run | None = None
    for prefix, first, end in sorted(runs):
        if first > end:
            continue
        if last is not None and last[0] == prefix and first <= last[2] + 1:
            last = (prefix, last[1], max(last[2], end))
            continue
        if last is not None:
            yield last
        last = (prefix, first, end)
    if last is not None:
        yield last


def swept(lists: Iterable[Iterable[Run]]) -> Iterator[tuple[Run, int]]:
    """Runs with how many of the lists have them, neighbours with equal counts as one."""
    steps: dict[str, dict[int, int]] = {}
    for runs in lists:
        for prefix, first, last in merged(runs):
            at = steps.setdefault(prefix, {})
            at[first] = at.get(first, 0) + 1
            at[last + 1] = at.get(last + 1, 0) - 1
    for prefix in sorted(steps):
        votes, start = 0, 0
        for place, step in sorted(steps[prefix].items()):
            if step == 0:
                continue
            if votes:
                yield (prefix, start, place - 1), votes
            votes, start = votes + step, place
