"""How far a server has got with reading what it missed, for the log and for `info`."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("billots.links")

_STANDS_S = 2.0
"""A feed that brings nothing for so long is not waited for."""
_EVERY_S = 2.0
"""What takes less time than this isn't told."""
_TRUSTED_S, _AGAIN_S = 30.0, 300.0
"""How long a feed is believed that it moves, and after how long it is believed once more: where
it ends is only what its server says."""


class Progress:
    """Of each trusted server's feed (by key): from where, up to where, and how far now."""

    def __init__(self, newest: Callable[[str], int]) -> None:
        self._newest = newest
        self._spans: dict[str, tuple[int, int]] = {}
        self._tell_at: float | None = None
        self._left = 0
        self._moved_at = float("-inf")
        self._believed: dict[str, float] = {}

    def follow(self, key: str, start: int, end: int) -> None:
        """We follow a feed from the lsn `start` on; it goes up to `end` now."""
        if end > start:
            self._spans[key] = (start, end)

    @property
    def left(self) -> int:
        """Rows still to be read, at most: a feed has gaps."""
        self._spans = {k: (s, e) for k, (s, e) in self._spans.items() if self._newest(k) < e}
        return sum(end - max(start, self._newest(k)) for k, (start, end) in self._spans.items())

    def is_moving(self, now: float) -> bool:
        """Whether there are rows to be read, some came lately, and it hasn't gone on for long."""
        left = self.left
        if left != self._left:
            self._left, self._moved_at = left, now
        if not left or now >= self._moved_at + _STANDS_S:
            return False
        believed = [self._is_believed(key, now) for key in self._spans]  # all their times run
        return any(believed)

    def _is_believed(self, key: str, now: float) -> bool:
        since = self._believed.get(key)
        if since is None or now >= since + _AGAIN_S:
            self._believed[key] = since = now
        return now < since + _TRUSTED_S

    @property
    def next_at(self) -> float | None:
        """When `tell` has something to do."""
        return self._tell_at if self._spans else None

    def tell(self, now: float) -> None:
        """Say how far it has got, now and then."""
        if not self._spans:
            self._tell_at = None
        elif self._tell_at is None:
            self._tell_at = now + _EVERY_S
        elif now >= self._tell_at:
            self._tell_at = now + _EVERY_S
            whole = sum(end - start for start, end in self._spans.values())
            left = self.left
            if left:
                log.info("catching up: %d%%, %d rows to read", 100 * (whole - left) // whole, left)
