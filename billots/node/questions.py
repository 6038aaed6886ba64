"""Questions that wait until this server knows what it may say (DESIGN, section 5, rule 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct


class Question(Struct, eq=False):
    """Waits for these billots until then; `go_on` answers it, knowing more or giving up."""

    until: float
    billots: set[str]
    go_on: Callable[[], None]


class Questions:
    """Bounded in number and time; each is gone on with exactly once."""

    def __init__(self, questions_max: int, question_s: float) -> None:
        self._questions_max = questions_max
        self._question_s = question_s
        self._waiting: list[Question] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, billots: Iterable[str], go_on: Callable[[], None], now: float) -> bool:
        """Let a question wait until all of its billots are known; False if there is no room.

        One that waits for no billot waits until `all_known`.
        """
        if len(self._waiting) >= self._questions_max:
            return False
        self._waiting.append(Question(now + self._question_s, set(billots), go_on))
        return True

    def known(self, billots: Iterable[str]) -> None:
        """More may be said of these billots now."""
        if not self._waiting:
            return
        known = set(billots)
        ready = [q for q in self._waiting if q.billots and q.billots <= known]
        for question in self._waiting:
            question.billots -= known
        self._end(ready)

    def all_known(self) -> None:
        """Nothing is in the way any more."""
        self._end(list(self._waiting))

    def expire(self, now: float) -> None:
        """Who has waited long enough gets what can be said."""
        self._end([question for question in self._waiting if question.until <= now])

    @property
    def next_at(self) -> float | None:
        """When `expire` has something to do; each waits equally long."""
        return self._waiting[0].until if self._waiting else None

    def _end(self, questions: list[Question]) -> None:
        if questions:
            self._waiting = [q for q in self._waiting if q not in questions]
            for question in questions:
                question.go_on()
