"""Transfers that hold but can't be taken yet: what they spend isn't settled here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from msgspec import Struct

Item = TypeVar("Item")


class Waiting(Struct, Generic[Item]):
    """One of them: who asked, which rows it waits for, until when."""

    item: Item
    conn: int | None
    rows: tuple[tuple[str, int], ...]
    until: float
    over: bool = False


class Pending(Generic[Item]):
    """Bounded in all, per connection and in time; one wallet's transfer per (id, seq).

    `conn` is None for a relayed transfer: those only count in all.
    """

    def __init__(self, pending_max: int, per_connection_max: int, pending_s: float) -> None:
        self._pending_max = pending_max
        self._per_connection_max = per_connection_max
        self._pending_s = pending_s
        self._queue: deque[Waiting[Item]] = deque()  # by time: all wait equally long
        self._by_billot: dict[str, list[Waiting[Item]]] = {}
        self._claimed: set[tuple[str, int]] = set()
        self._per_connection: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self, item: Item, conn: int | None, rows: Iterable[tuple[str, int]], now: float
    ) -> bool:
        """Keep an item until one of its billots changes; False if there is no room."""
        rows = tuple(rows)
        if self._count >= self._pending_max:
            return False
        if conn is not None:
            if self._per_connection.get(conn, 0) >= self._per_connection_max:
                return False
            if any(row in self._claimed for row in rows):
                return False
            self._claimed.update(rows)
            self._per_connection[conn] = self._per_connection.get(conn, 0) + 1
        waiting = Waiting(item, conn, rows, now + self._pending_s)
        self._count += 1
        self._queue.append(waiting)
        for billot, _ in rows:
            self._by_billot.setdefault(billot, []).append(waiting)
        return True

    def wake(self, billot: str) -> list[Item]:
        """The billot changed: what waited for it is to be judged again."""
        found = [w for w in self._by_billot.get(billot, ()) if not w.over]
        for waiting in found:
            self._end(waiting)
        return [waiting.item for waiting in found]

    def expired(self, now: float) -> list[Item]:
        """What has waited long enough."""
        items: list[Item] = []
        while self._queue and (self._queue[0].over or self._queue[0].until <= now):
            waiting = self._queue.popleft()
            if not waiting.over:
                self._end(waiting)
                items.append(waiting.item)
        return items

    def closed(self, conn: int) -> None:
        """A connection is gone: nobody waits for its answers."""
        if self._per_connection.get(conn):
            for waiting in [w for w in self._queue if w.conn == conn and not w.over]:
                self._end(waiting)

    @property
    def next_at(self) -> float | None:
        """When the oldest has waited long enough."""
        while self._queue and self._queue[0].over:
            self._queue.popleft()
        return self._queue[0].until if self._queue else None

    def _end(self, waiting: Waiting[Item]) -> None:
        waiting.over = True
        self._count -= 1
        for billot, _ in waiting.rows:
            others = self._by_billot.get(billot)
            if others is not None:
                others.remove(waiting)
                if not others:
                    del self._by_billot[billot]
        if waiting.conn is not None:
            self._claimed.difference_update(waiting.rows)
            left = self._per_connection[waiting.conn] - 1
            if left:
                self._per_connection[waiting.conn] = left
            else:
                del self._per_connection[waiting.conn]
