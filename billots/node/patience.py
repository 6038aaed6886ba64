"""How long to wait for what normally comes by itself, before asking for it.

Asking costs all who are asked. When servers have more to do than they can, everything comes
later, and who asks after a fixed time adds to it until nothing gets through: so patience follows
what it has seen, like the retransmission timer of TCP (RFC 6298).
"""

from __future__ import annotations

_TIMES = 4.0
_SHARE = 8.0
_HALF_LIFE_S = 10.0


class Patience:
    """At least `least_s`, at most `most_s`; four times as long as it took lately."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s = least_s
        self._most_s = max(least_s, most_s)
        self._lately_s = 0.0
        self._at = 0.0

    def took(self, seconds: float, now: float) -> None:
        """Something came after so long. What takes longer counts at once, what doesn't slowly."""
        lately_s = self._faded(now)
        if seconds < lately_s:
            seconds = lately_s + (seconds - lately_s) / _SHARE
        self._lately_s, self._at = seconds, now

    def _faded(self, now: float) -> float:
        age_s = now - self._at
        return self._lately_s if age_s <= 1.0 else self._lately_s * 0.5 ** (age_s / _HALF_LIFE_S)

    def seconds(self, now: float) -> float:
        """How long to wait as things are."""
        return min(self._most_s, max(self._least_s, _TIMES * self._faded(now)))
