"""Billots that servers say are somebody's, until a quorum was asked: whose word, and when to ask.

What is announced is not signed. A server that announces what never was costs questions, at most
so many for each billot, and never takes the place of what another one named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from billots.network import ROWS_MAX

ASK_AGAIN_S = (0.02, 5.0)
"""The first pause before a billot is asked for again, and the longest; each is twice the last."""
TRIES_MAX = 18
"""About a minute: servers that take it later tell of it then, and those that were away list it."""
OPEN_MAX = 65_536
"""Billots to ask for that one server may have named; beyond it, its oldest ones are dropped."""


@dataclass(slots=True)
class _Open:
    """From which seq on it is somebody's, and when to ask for it."""

    seq: int
    due: float
    tries: int = 0


class Announced:
    """What each server named. `seen` is how far each billot is known already: that is no news."""

    def __init__(self, seen: Mapping[str, int]) -> None:
        self._seen = seen
        self._by_server: dict[str, dict[str, _Open]] = {}

    def __bool__(self) -> bool:
        return any(self._by_server.values())

    def add(self, server: str, rows: Iterable[tuple[str, int]], due: float) -> None:
        """A server names (billot, seq) rows; they are to be asked for when it is `due`."""
        named = self._by_server.setdefault(server, {})
        for billot, seq in rows:
            if seq > self._seen.get(billot, 0):
                named.pop(billot, None)
                named[billot] = _Open(seq, due)
        while len(named) > OPEN_MAX:
            del named[next(iter(named))]

    def next_due(self) -> float | None:
        """When there is something to ask for; None if there is nothing at all."""
        each = (each for named in self._by_server.values() for each in named.values())
        return min((one.due for one in each), default=None)

    def due(self, now: float) -> set[str]:
        """What to ask for now: of each server's as many as one question holds."""
        found: set[str] = set()
        for named in self._by_server.values():
            found.update(islice((b for b, each in named.items() if each.due <= now), ROWS_MAX))
        return found

    def asked(self, billots: Collection[str], now: float) -> set[str]:
        """Put off those that are not known by now; returns those asked for often enough."""
        given_up: set[str] = set()
        first_s, longest_s = ASK_AGAIN_S
        for named in self._by_server.values():
            for billot in [each for each in billots if each in named]:
                each = named[billot]
                each.tries += 1
                each.due = max(each.due, now + min(first_s * 2**each.tries, longest_s))
                if self._seen.get(billot, 0) >= each.seq:
                    del named[billot]
                elif each.tries > TRIES_MAX:
                    del named[billot]
                    given_up.add(billot)
        return given_up
