"""Transfers that others may not have heard of yet: a wallet brought them here."""

from __future__ import annotations

from collections import deque

from billots.transfer import Transfer

_AFTER_S = 1.0
_COUNT_MAX = 4096


class Reminders:
    """When it is time to look whether somebody still has to be told. The oldest are forgotten."""

    def __init__(self) -> None:
        self._queue: deque[tuple[float, Transfer]] = deque(maxlen=_COUNT_MAX)

    def add(self, transfer: Transfer, now: float) -> None:
        """Look at it again in a second."""
        self._queue.append((now + _AFTER_S, transfer))

    @property
    def next_at(self) -> float | None:
        """When the next of them is due."""
        return self._queue[0][0] if self._queue else None

    def due(self, now: float) -> list[Transfer]:
        """Those whose time has come; they are kept no longer."""
        found: list[Transfer] = []
        while self._queue and self._queue[0][0] <= now:
            found.append(self._queue.popleft()[1])
        return found
