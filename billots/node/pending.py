"""Transfers that hold but can't be taken yet: what they spend isn't settled here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from msgspec import Struct

Item = TypeVar("Item")


class Waiting(Struct, Generic[Item], eq=False):
    """One of them: who brought it, which rows it waits for."""

    number: int
    item: Item
    conn: int
    rows: tuple[tuple[str, int], ...]
    over: bool = False


class Pending(Generic[Item]):
    """Bounded in all, per connection and, by those who add to it, in time."""

    def __init__(self, pending_max: int) -> None:
        self._pending_max = pending_max
        self._queue: list[tuple[float, int, Waiting[Item]]] = []
        self._by_billot: dict[str, dict[int, Waiting[Item]]] = {}
        self._claimed: set[tuple[str, int]] = set()
        self._by_connection: dict[int, dict[int, Waiting[Item]]] = {}
        self._numbers = itertools.count()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def waits_for(self, billots: Iterable[str]) -> bool:
        """Whether anything waits for one of these."""
        return bool(self._count) and not self._by_billot.keys().isdisjoint(billots)

    def __contains__(self, billot: str) -> bool:
        return billot in self._by_billot

    def add(
        self,
        item: Item,
        rows: Iterable[tuple[str, int]],
        until: float,
        *,
        conn: int,
        conn_max: int,
    ) -> bool:
        """Keep an item until one of its billots changes or `until`; False if there is no room.

        Nothing else may wait for the same (id, seq). It ends with its connection, which has at
        most `conn_max` waiting.
        """
        rows = tuple(rows)
        if self._count >= self._pending_max:
            return False
        if len(self._by_connection.get(conn, ())) >= conn_max:
            return False
        if any(row in self._claimed for row in rows):
            return False
        self._claimed.update(rows)
        waiting = Waiting(next(self._numbers), item, conn, rows)
        self._count += 1
        heappush(self._queue, (until, waiting.number, waiting))
        self._by_connection.setdefault(conn, {})[waiting.number] = waiting
        for billot, _ in rows:
            self._by_billot.setdefault(billot, {})[waiting.number] = waiting
        return True

    def wake(self, billot: str) -> list[Item]:
        """The billot changed: what waited for it, to be judged again. It waits no more."""
        found = list(self._by_billot.get(billot, {}).values())
        for waiting in found:
            self._end(waiting)
        return [waiting.item for waiting in found]

    def expired(self, now: float) -> list[Item]:
        """What has waited long enough."""
        items: list[Item] = []
        while self._queue and (self._queue[0][2].over or self._queue[0][0] <= now):
            waiting = heappop(self._queue)[2]
            if not waiting.over:
                self._end(waiting)
                items.append(waiting.item)
        return items

    def closed(self, conn: int) -> None:
        """A connection is gone: nobody waits for its answers."""
        for waiting in list(self._by_connection.get(conn, {}).values()):
            self._end(waiting)

    @property
    def next_at(self) -> float | None:
        """When the first of them has waited long enough."""
        while self._queue and self._queue[0][2].over:
            heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _end(self, waiting: Waiting[Item]) -> None:
        waiting.over = True
        self._count -= 1
        for billot, _ in waiting.rows:
            _drop(self._by_billot, billot, waiting.number)
        self._claimed.difference_update(waiting.rows)
        _drop(self._by_connection, waiting.conn, waiting.number)


Key = TypeVar("Key")


def _drop(table: dict[Key, dict[int, Waiting[Item]]], key: Key, number: int) -> None:
    others = table[key]
    del others[number]
    if not others:
        del table[key]
