"""CPU time of this thread by what it was spent on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Laps:
    """`with laps("name"):` adds to `seconds["name"]`, if it is `timed` at all."""

    def __init__(self, *, timed: bool = True) -> None:
        self.timed = timed
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is in the block; blocks don't nest."""
        if not self.timed:
            yield
            return
        begun = time.thread_time()
        yield
        self.seconds[name] += time.thread_time() - begun

    def clear(self) -> None:
        """Begin anew."""
        self.seconds.clear()
