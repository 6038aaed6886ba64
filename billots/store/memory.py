"""A store that lives as long as the process: for tests, simulations and scripts."""

# ruff: noqa: D102 -- told where the method is declared
from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from typing import Self

from billots.network import Network
from billots.store.keyvalue import Engine, KeyValueStore, View


class Memory(Engine):
    """A dict, and its keys sorted by their first byte and then in whole.

    It stands for the disk: a `MemoryStore` that is opened over it again finds what the one
    before committed.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: dict[int, list[bytes]] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def view(self) -> View:
        return self

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See View."""
        keys = self._keys.get(start[0], [])
        for at in range(bisect_left(keys, start), bisect_left(keys, stop)):
            yield keys[at], self._values[keys[at]]

    def last(self, start: bytes, stop: bytes) -> bytes | None:
        """See View."""
        keys = self._keys.get(start[0], [])
        at = bisect_left(keys, stop)
        return keys[at - 1] if at and keys[at - 1] >= start else None

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        with self._lock:
            for key, value in changes.items():
                keys = self._keys.setdefault(key[0], [])
                if value is not None:
                    if key not in self._values:
                        insort(keys, key)
                    self._values[key] = value
                elif self._values.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryStore(KeyValueStore):
    """A store in memory; `memory` is what an earlier one left."""

    def __init__(self, network: Network, memory: Memory | None = None) -> None:
        super().__init__(memory or Memory(), network, fresh=True)
