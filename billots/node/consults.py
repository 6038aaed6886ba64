"""Consults: which billots to ask trusted servers about, when, and how much of that we afford.

A consult asks each trusted server for a signed statement with proofs on some billots (DESIGN,
section 5, rule 4). One at a time for each billot; asked again with growing pauses for as long
as something is open. What others make us ask for is bounded by cause: each trusted feed, rows
in conflict, and wallets together have a budget of their own.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from msgspec import Struct, field

from billots.holding import Holding
from billots.limits import Limits

ANSWER_S = 3.0
"""How long the others may take; who says nothing by then is silent."""
OWN, START, CONTESTED, WALLETS = "own", "start", "contested", "wallets"
"""Causes; all others are the keys of servers whose votes are news."""
_OURS = frozenset((OWN, START, CONTESTED))
_CAUSES = frozenset((*_OURS, WALLETS))
_BURST_S = 4.0
_STRANGERS_AGAIN_S = 10.0
_STRANGERS_MAX = 8192
_DUE_MAX = 1024
_TRY_AGAIN_S = 0.1
_TRIES_MAX = 5
"""How often a question of a wallet's is tried while nobody can be asked."""

Said = dict[str, Holding | None]
"""What each server that was asked says now, by key; None: nothing."""


class Want(Struct):
    """A billot that is to be asked about: from when on, for whom, and the next pause."""

    at: float
    cause: str
    pause_s: float
    tries: int = 0


class Asked(Struct):
    """A consult on its way."""

    until: float
    pause_s: float
    waiting: set[str]
    said: Said = field(default_factory=dict)


class Finished(Struct, frozen=True):
    """A consult that came to its end; `pause_s` is how long to wait before the next one."""

    billot: str
    said: Said
    pause_s: float


class Budget:
    """Billots that each cause may have us ask about: so many a second, some of them at once."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, cause: str, now: float, per_s: float) -> bool:
        """Spend one; False if there is none left for this cause."""
        burst = per_s * _BURST_S
        left, at = self._left.get(cause, (burst, now))
        left = min(burst, left + (now - at) * per_s)
        if left < 1.0:
            self._left[cause] = (left, now)
            return False
        self._left[cause] = (left - 1.0, now)
        return True


class Consults:
    """What is to be asked, what has been, and what came of it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.reading = False
        """Whether what the feeds bring is asked about on our own account."""
        self._budget = Budget()
        self._wants: dict[str, Want] = {}
        self._count: dict[str, int] = {}
        self._queue: list[tuple[float, int, str]] = []
        self._asked: dict[str, Asked] = {}
        self._strangers: OrderedDict[str, float] = OrderedDict()
        self._numbers = itertools.count()
        self._finished: list[Finished] = []
        self.overflowed = False
        """Whether something could not be wanted, for there was too much of it."""

    def __len__(self) -> int:
        return len(self._asked)

    # -- wanted -------------------------------------------------------------------------------

    def want(self, billot: str, cause: str, at: float) -> None:
        """Ask about a billot at this time, unless it is to be asked about earlier."""
        want = self._wants.get(billot)
        if want is None:
            want = self._new(billot, at, cause, self._limits.consult_again_s)
            if want is None:
                return
        elif want.at <= at:
            # Wallets have paid for it, and what is ours must not wait at a liar's cost.
            if cause == WALLETS or (cause in _OURS and want.cause not in _CAUSES):
                self._charge(want, cause)
            return
        else:
            want.at = at
            self._charge(want, cause)
        heappush(self._queue, (at, next(self._numbers), billot))

    def _new(self, billot: str, at: float, cause: str, pause_s: float) -> Want | None:
        """Something new is wanted; None if this cause wants too much already."""
        if self._count.get(cause, 0) >= self._limits.consults_wanted_max:
            self.overflowed = True
            return None
        want = self._wants[billot] = Want(at, cause, pause_s)
        self._count[cause] = self._count.get(cause, 0) + 1
        return want

    def _charge(self, want: Want, cause: str) -> None:
        self._count[want.cause] -= 1
        self._count[cause] = self._count.get(cause, 0) + 1
        want.cause = cause

    def _drop(self, billot: str) -> None:
        want = self._wants.pop(billot)
        self._count[want.cause] -= 1

    def news(self, billot: str, voter: str, now: float) -> None:
        """A feed has news of a billot: if it isn't settled soon, its voter pays for asking.

        Who reads them without its memory (`reading`) asks on its own account.
        """
        if billot not in self._wants:
            cause = OWN if self.reading else voter
            self.want(billot, cause, now + self._limits.consult_after_s)

    def for_wallets(self, billots: Iterable[str], now: float, at: float) -> bool:
        """Ask because a wallet asks; False if any of them can't be: there was too much of it.

        The same billot is asked about for strangers once in 10 s.
        """
        for billot in billots:
            if billot in self._asked:
                continue
            last = self._strangers.get(billot)
            if last is not None and now < last + _STRANGERS_AGAIN_S:
                return False
            if not self._budget.take(WALLETS, now, self._limits.consults_per_s):
                return False
            self._strangers.pop(billot, None)
            self._strangers[billot] = now
            if len(self._strangers) > _STRANGERS_MAX:
                self._strangers.popitem(last=False)
            self.want(billot, WALLETS, at)
        return True

    @property
    def next_at(self) -> float | None:
        """When `due` or `expire` has something to do."""
        until = next((asked.until for asked in self._asked.values()), None)
        at = self._queue[0][0] if self._queue else None
        return min((t for t in (until, at) if t is not None), default=None)

    def due(
        self,
        now: float,
        reachable: Sequence[str],
        is_open: Callable[[str], bool],
        *,
        put_off: bool = False,
    ) -> list[str]:
        """Billots to ask every reachable server about now; those not open any more are dropped.

        `put_off`: the feeds are being read, and settle most of it by themselves; only what
        wallets wait for, or what is in conflict, is asked about now.
        """
        found: list[str] = []
        while self._queue and self._queue[0][0] <= now and len(found) < _DUE_MAX:
            at, _, billot = heappop(self._queue)
            want = self._wants.get(billot)
            if want is None or want.at != at:
                continue
            if billot in self._asked or (want.cause != WALLETS and not is_open(billot)):
                self._drop(billot)
                continue
            if put_off and want.cause not in (WALLETS, CONTESTED):
                want.at = now + self._limits.consult_after_s
                heappush(self._queue, (want.at, next(self._numbers), billot))
                continue
            limits = self._limits
            own = want.cause == START or (want.cause == OWN and self.reading)
            per_s = limits.consults_own_per_s if own else limits.consults_per_s
            paid = want.cause == WALLETS or self._budget.take(want.cause, now, per_s)
            if not paid or len(self._asked) >= limits.consults_asked_max or not reachable:
                self._later(billot, want, now)
                continue
            self._drop(billot)
            self._asked[billot] = Asked(now + ANSWER_S, want.pause_s, set(reachable))
            found.append(billot)
        return found

    def _later(self, billot: str, want: Want, now: float) -> None:
        """Nobody can be asked now, or there is too much of it."""
        if want.cause == WALLETS:  # it waits, but not for long
            if want.tries == _TRIES_MAX:
                self._drop(billot)
                self._finished.append(Finished(billot, {}, want.pause_s))
                return
            want.tries += 1
            want.at = now + _TRY_AGAIN_S
        else:
            want.at = now + want.pause_s
            want.pause_s = min(2 * want.pause_s, self._limits.consult_again_s_max)
        heappush(self._queue, (want.at, next(self._numbers), billot))

    def again(self, billot: str, cause: str, now: float, pause_s: float) -> None:
        """It is still open after a consult: ask once more after a pause, longer each time."""
        longer = min(2 * pause_s, self._limits.consult_again_s_max)
        if billot not in self._wants and self._new(billot, now + pause_s, cause, longer):
            heappush(self._queue, (now + pause_s, next(self._numbers), billot))

    # -- answers ------------------------------------------------------------------------------

    def answered(self, key: str, billot: str, holding: Holding | None) -> None:
        """What a server says of a billot; None if it says nothing."""
        asked = self._asked.get(billot)
        if asked is None or key not in asked.waiting:
            return
        asked.waiting.discard(key)
        asked.said[key] = holding
        if not asked.waiting:
            self._end(billot, asked)

    def gone(self, key: str) -> None:
        """A server can't answer any more."""
        for billot, asked in list(self._asked.items()):
            if key in asked.waiting:
                self.answered(key, billot, None)

    def expire(self, now: float) -> None:
        """Who has said nothing by now is silent."""
        for billot, asked in list(
            itertools.takewhile(lambda i: i[1].until <= now, self._asked.items())
        ):
            self._end(billot, asked)

    def _end(self, billot: str, asked: Asked) -> None:
        del self._asked[billot]
        self._finished.append(Finished(billot, asked.said, asked.pause_s))

    @property
    def has_finished(self) -> bool:
        """Whether a consult came to its end."""
        return bool(self._finished)

    def finished(self) -> list[Finished]:
        """The consults that came to their end since."""
        found, self._finished = self._finished, []
        return found
