"""The store over any engine that keeps sorted keys: `Engine` is all that it asks for."""

# ruff: noqa: D102 -- told where the method is declared
from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, Self

from billots.errors import StoreDamaged, StoreFailed, StoreForeign
from billots.holding import Status
from billots.network import Network
from billots.store.interface import (
    ROWS_READ_MAX,
    Batch,
    Entry,
    Moved,
    OwnedPage,
    Store,
)
from billots.store.plan import plan
from billots.store.records import (
    FORMAT,
    SHORT,
    billot_key,
    count_key,
    damaged,
    entry_key,
    entry_parties,
    head,
    key_lsn,
    owner_prefix,
    read_billot,
    read_count,
    read_entry,
    read_evidence_seq,
    read_head,
    read_pair,
    read_unsettled,
    unsettled_key,
)
from billots.transfer import Transfer

_END = b"\xff"
"""Above all that may follow in a key: letters, and lsns below 2**63."""

_LOOK_MAX = 2048
"""Index entries that a page of an owner's billots looks at."""

_Get = Callable[[bytes], bytes | None]


class View(Protocol):
    """What the engine held at one moment; good until the ``with`` block ends."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys from `start` up to but without `stop`, in order, with their values."""

    def last(self, start: bytes, stop: bytes) -> bytes | None:
        """The last key that `scan` would give."""


class Engine(ABC):
    """Sorted keys and values. Raises the errors of billots.errors, never its own."""

    @abstractmethod
    def view(self) -> View:
        """All that is durable now; safe in any thread while another writes."""

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """The value of a key as it is now."""

    @abstractmethod
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put, or (None) delete, all or nothing; durable when it returns."""

    @abstractmethod
    def check(self) -> None:
        """Raise StoreOutdated if what is written isn't there for who opens it next."""

    @abstractmethod
    def close(self) -> None:
        """Let go; a second call does nothing."""


class KeyValueStore(Store):
    """`Store` over an `Engine`; `fresh` is an engine that may not know its network yet."""

    def __init__(self, engine: Engine, network: Network, *, fresh: bool) -> None:
        self._engine = engine
        self._network_id = network.id
        self._committing = threading.Lock()
        self._failed = False
        known = engine.get(b"mnetwork")
        if known is None:
            if not fresh:
                raise StoreDamaged("the store is damaged: it doesn't know its network any more")
            engine.write({b"mnetwork": network.id.encode(), b"mformat": b"%d" % FORMAT})
        elif known != network.id.encode():
            raise StoreForeign(
                f"the store belongs to another network than {network.name}",
                "name the network that it was made for, or another --prefix",
            )
        elif engine.get(b"mformat") != b"%d" % FORMAT:
            raise StoreForeign(
                "the store was written by another version of this program",
                "start it with the version that made it, or name another --prefix",
            )
        with engine.view() as view:
            newest = view.last(b"f", b"f" + _END)
        self._last_lsn = 0 if newest is None else key_lsn(newest)
        self._commits = int(engine.get(b"mcommits") or b"0")

    @property
    def network_id(self) -> str:
        return self._network_id

    @property
    def last_lsn(self) -> int:
        return self._last_lsn

    def commit(self, batch: Batch) -> None:
        with self._committing:
            if self._failed:
                raise StoreFailed("an earlier write failed: the store must be opened again")
            changes, last_lsn = plan(batch, self._last_lsn, self._engine.get)
            if not changes:
                return
            changes[b"mcommits"] = b"%d" % (self._commits + 1)
            self._failed = True
            self._engine.write(changes)
            self._failed = False
            self._last_lsn = last_lsn
            self._commits += 1

    def moved(self, billots: Sequence[str]) -> list[Moved | None]:
        seen: dict[int, tuple[str, str]] = {}
        with self._engine.view() as view:
            get = view.get
            values = [get(b"b" + billot_key(billot)) for billot in billots]
            return [v if v is None else _moved(v, get, seen) for v in values]

    def owned(self, owner: str, after: str | None, limit: int) -> OwnedPage:
        prefix = owner_prefix(owner)
        seen: dict[int, tuple[str, str]] = {}
        found: list[tuple[str, Moved]] = []
        with self._engine.view() as view:
            last = after
            scan = view.scan(_after(prefix, after), prefix + _END)
            for looked_at, (key, _) in enumerate(scan):
                if len(found) >= limit or looked_at == _LOOK_MAX:
                    return OwnedPage(found, last)
                last = read_billot(key, 1 + SHORT)[0]
                value = view.get(b"b" + key[1 + SHORT :])
                if value is None:
                    raise damaged("billot of an owner")
                moved = _moved(value, view.get, seen)
                if moved.owner == owner:  # the key has only the first bytes of it
                    found.append((last, moved))
        return OwnedPage(found, None)

    def numbers_moved(self, prefix: str, first: int, limit: int) -> list[int]:
        start, stop = b"b" + billot_key(f"{prefix}{first}"), b"b" + prefix.encode() + _END
        skip = len(prefix) + 2
        with self._engine.view() as view:
            scan = view.scan(start, stop)
            return [int.from_bytes(key[skip:], "big") for key in _keys(scan, limit)]

    def entries(self, after_lsn: int, limit: int, rows_max: int = ROWS_READ_MAX) -> list[Entry]:
        found: list[Entry] = []
        if limit <= 0:
            return found
        with self._engine.view() as view:
            for key, value in view.scan(entry_key(after_lsn + 1), b"f" + _END):
                found.append(self._entry(key_lsn(key), value, view.get))
                rows_max -= len(found[-1].transfer.billots)
                if len(found) == limit or rows_max <= 0:
                    break
        return found

    def entry(self, lsn: int) -> Entry | None:
        with self._engine.view() as view:
            value = view.get(entry_key(lsn))
            return None if value is None else self._entry(lsn, value, view.get)

    def transfer(self, transfer_id: str) -> Transfer | None:
        prefix = b"t" + bytes.fromhex(transfer_id[: 2 * SHORT])
        with self._engine.view() as view:
            for key, _ in view.scan(prefix, prefix + _END):
                value = view.get(entry_key(key_lsn(key)))
                if value is None:
                    raise damaged("transfer id")
                transfer = read_entry(value, self._network_id)[0]
                if transfer.id == transfer_id:  # the key has only the first bytes of it
                    return transfer
        return None

    def unsettled(self) -> dict[int, dict[str, Status]]:
        found: dict[int, dict[str, Status]] = {}
        with self._engine.view() as view:
            for key, value in view.scan(unsettled_key(0), b"u" + _END):
                lsn = key_lsn(key)
                statuses = {
                    billot: status
                    for billot, status in read_unsettled(value).items()
                    if _lsn_of(billot, view.get) == lsn  # else it has moved on since
                }
                if statuses:
                    found[lsn] = statuses
        return found

    def evidence(self, billot: str) -> tuple[Transfer, Transfer] | None:
        value = self._engine.get(b"e" + billot_key(billot))
        return None if value is None else read_pair(value, self._network_id)

    def evidence_seq(self, billot: str) -> int | None:
        value = self._engine.get(b"e" + billot_key(billot))
        return None if value is None else read_evidence_seq(value)

    def evidence_billots(self, after: str | None, limit: int) -> list[str]:
        with self._engine.view() as view:
            scan = view.scan(_after(b"e", after), b"e" + _END)
            return [read_billot(key, 1)[0] for key in _keys(scan, limit)]

    def receipt(self, billot: str) -> bytes | None:
        return self._engine.get(b"r" + billot_key(billot))

    @property
    def has_receipts(self) -> bool:
        with self._engine.view() as view:
            return any(True for _ in view.scan(b"r", b"r" + _END))

    def meta(self, name: str) -> bytes | None:
        return self._engine.get(b"m" + name.encode())

    def check(self) -> None:
        self._engine.check()

    def close(self) -> None:
        with self._committing:  # a commit in another thread ends first
            self._engine.close()

    def _entry(self, lsn: int, value: bytes, get: _Get) -> Entry:
        transfer, adopted, here = read_entry(value, self._network_id)
        rows = transfer.billots
        live = tuple([billot for billot, _ in rows])
        if len(rows) > 1:
            count = get(count_key(lsn))
            if count is None or read_count(count)[0] != len(rows):
                live = tuple(b for b, seq in rows if _is_live(b, seq, lsn, get))
        return Entry(lsn, transfer, live, adopted, here)


def _moved(value: bytes, get: _Get, seen: dict[int, tuple[str, str]]) -> Moved:
    """A billot's record from its ``b``; `seen` spares reading an entry for each of its rows."""
    seq, lsn = read_head(value)
    parties = seen.get(lsn)
    if parties is None:
        entry = get(entry_key(lsn))
        if entry is None:
            raise damaged("billot without its entry")
        parties = seen[lsn] = entry_parties(entry)
    return Moved(seq, parties[0], parties[1], lsn)


def _is_live(billot: str, seq: int, lsn: int, get: _Get) -> bool:
    value = get(b"b" + billot_key(billot))
    return value is not None and value.startswith(head(seq, lsn))


def _lsn_of(billot: str, get: _Get) -> int | None:
    value = get(b"b" + billot_key(billot))
    return None if value is None else read_head(value)[1]


def _after(prefix: bytes, billot: str | None) -> bytes:
    """Where a scan starts that goes on after a billot."""
    return prefix if billot is None else prefix + billot_key(billot) + b"\0"


def _keys(scan: Iterator[tuple[bytes, bytes]], limit: int) -> list[bytes]:
    return [key for _, (key, _) in zip(range(limit), scan, strict=False)]
