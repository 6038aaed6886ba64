"""What waits for a round, and in which order it is taken up."""

from __future__ import annotations

import itertools
from collections import deque
from operator import itemgetter

from billots.node.work import Submission, Work

_PUT_OFF_MAX = 16
_ROWS_MAX = 2048
"""Rows of each kind that a round judges, give or take one item: some tens of milliseconds."""


class Backlog:
    """Three queues, for what one asks must not keep waiting what another shows.

    What trusted servers sent goes first; then, in the order in which they came, what others
    show (it may settle what is open) and wallets' new transfers, as many as there is room for.
    """

    def __init__(self) -> None:
        self._theirs: list[Work] = []
        self._shown: deque[tuple[int, Work]] = deque()
        self._asked: deque[tuple[int, Work]] = deque()
        self._numbers = itertools.count()
        self._put_off = 0

    def add(self, work: Work) -> None:
        """Queue an item for the next round."""
        if work.theirs:
            self._theirs.append(work)
        else:
            others = self._asked if isinstance(work, Submission) else self._shown
            others.append((next(self._numbers), work))

    @property
    def has_theirs(self) -> bool:
        """Whether there is something of trusted servers."""
        return bool(self._theirs)

    @property
    def has_shown(self) -> bool:
        """Whether others show something."""
        return bool(self._shown)

    @property
    def has_asked(self) -> bool:
        """Whether there are new transfers of wallets."""
        return bool(self._asked)

    def may_ask(self) -> bool:
        """Whether to ask for what is overdue, this time.

        It is likely to be among what trusted servers have sent and what isn't judged yet. But a
        flood of that puts nothing off for ever: it is counted how often somebody was told no.
        """
        if self._theirs and self._put_off < _PUT_OFF_MAX:
            self._put_off += 1
            return False
        self._put_off = 0
        return True

    def take(self, room: int) -> list[Work]:
        """As much as one round takes, of new transfers at most `room`; the rest has the next."""
        rows = 0
        group: list[Work] = []
        for work in self._theirs:
            group.append(work)
            rows += work.row_count
            if rows >= _ROWS_MAX:
                break
        del self._theirs[: len(group)]
        others: list[tuple[int, Work]] = []
        for waiting, count in ((self._shown, len(self._shown)), (self._asked, room)):
            rows = 0
            for _ in range(min(len(waiting), count)):
                others.append(waiting.popleft())
                rows += others[-1][1].row_count
                if rows >= _ROWS_MAX:
                    break
        return group + [work for _, work in sorted(others, key=itemgetter(0))]

    def abandon(self) -> list[Work]:
        """Nothing will be judged any more: all that waits."""
        left = [*self._theirs, *(work for _, work in (*self._shown, *self._asked))]
        self._theirs.clear()
        self._shown.clear()
        self._asked.clear()
        return left
