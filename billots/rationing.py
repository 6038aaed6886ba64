"""How much a faucet gives to whom: counts of what it gave lately, and what they leave.

No clock and no file in here. Times are milliseconds on a scale of the caller's that never goes
back; `billots.faucet_book` has it, and keeps the grants on disk.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from enum import StrEnum

from billots.errors import InputError

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
GRANTS_PER_HOUR_MAX = 4_000
"""So that the grants of a day, which are kept in memory and on disk, are bounded."""


@dataclass(frozen=True, slots=True)
class Ration:
    """What a faucet gives: amounts in mils, `per_owner` and `per_address` in grants a day."""

    gives: int
    per_hour: int
    per_owner: int
    per_address: int

    def __post_init__(self) -> None:
        if self.gives <= 0 or self.per_owner <= 0 or self.per_address <= 0:
            raise InputError("a faucet gives more than nothing")
        if self.per_hour < self.gives:
            raise InputError(
                "--per-hour is less than what is given at once", "then nobody is ever given it"
            )
        if self.per_hour // self.gives > GRANTS_PER_HOUR_MAX:
            raise InputError(
                f"that is more than {GRANTS_PER_HOUR_MAX:,} payments in an hour",
                "give more at once, or less in an hour",
            )


class Limit(StrEnum):
    """Why somebody is given nothing now."""

    OWNER = "owner"
    ADDRESS = "address"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class Granted:
    """What was given: when, to which owner, asked for from which address (a keyed hash)."""

    number: int
    at_ms: int
    owner: str
    address: str
    mils: int


class Rationing:
    """The grants of the last day, counted.

    Any span of a day has at most `per_owner` grants of an owner and `per_address` of an address,
    any hour at most `per_hour` mils in all: spans slide, they don't begin at midnight.
    """

    def __init__(self, ration: Ration) -> None:
        self.ration = ration
        self._day: deque[Granted] = deque()
        self._hour: deque[Granted] = deque()
        self._owners: defaultdict[str, deque[Granted]] = defaultdict(deque)
        self._addresses: defaultdict[str, deque[Granted]] = defaultdict(deque)
        self._spent = 0

    def refuses(self, owner: str, address: str, now_ms: int) -> tuple[Limit, int] | None:
        """Which limit speaks against a grant now, and in how many ms it won't; None if none."""
        self._forget(now_ms)
        for limit, given, most in (
            (Limit.OWNER, self._owners.get(owner), self.ration.per_owner),
            (Limit.ADDRESS, self._addresses.get(address), self.ration.per_address),
        ):
            if given is not None and len(given) >= most:
                return limit, given[len(given) - most].at_ms + DAY_MS - now_ms
        over = self._spent + self.ration.gives - self.ration.per_hour
        if over <= 0:
            return None
        for granted in self._hour:
            over -= granted.mils
            if over <= 0:
                return Limit.BUDGET, granted.at_ms + HOUR_MS - now_ms
        return Limit.BUDGET, HOUR_MS  # less is given in an hour now than this grant alone

    def left(self, now_ms: int) -> int:
        """How much of the hour's budget is left, in mils."""
        self._forget(now_ms)
        return max(0, self.ration.per_hour - self._spent)

    def grant(self, granted: Granted) -> None:
        """Count a grant; they come in the order of their times."""
        assert not self._day or self._day[-1].at_ms <= granted.at_ms, "grants come in order"
        self._day.append(granted)
        self._hour.append(granted)
        self._owners[granted.owner].append(granted)
        self._addresses[granted.address].append(granted)
        self._spent += granted.mils

    def void(self, granted: Granted) -> None:
        """Take back a grant of which nothing was given."""
        if granted in self._hour:
            self._hour.remove(granted)
            self._spent -= granted.mils
        if granted in self._day:
            self._day.remove(granted)
            _take(self._owners, granted.owner, granted)
            _take(self._addresses, granted.address, granted)

    def __len__(self) -> int:
        return len(self._day)

    def counted(self) -> list[Granted]:
        """The grants that still count, the oldest first."""
        return list(self._day)

    def _forget(self, now_ms: int) -> None:
        while self._hour and self._hour[0].at_ms <= now_ms - HOUR_MS:
            self._spent -= self._hour.popleft().mils
        while self._day and self._day[0].at_ms <= now_ms - DAY_MS:
            gone = self._day.popleft()
            _take(self._owners, gone.owner, gone)
            _take(self._addresses, gone.address, gone)


def _take(many: defaultdict[str, deque[Granted]], name: str, granted: Granted) -> None:
    many[name].remove(granted)
    if not many[name]:
        del many[name]
