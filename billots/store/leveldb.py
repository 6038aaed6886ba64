"""The store on disk: LevelDB, embedded. The only module that knows plyvel."""

# ruff: noqa: D102 -- told where the method is declared
from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from billots.errors import StoreDamaged, StoreError, StoreFailed
from billots.network import Network, shown
from billots.store.folder import (
    HINTS,
    Held,
    commits_noted,
    finish,
    locked,
    note_commits,
    prepare,
    unusable,
)
from billots.store.keyvalue import Engine, KeyValueStore, View

if sys.version_info >= (3, 12):
    import plyvel_next as plyvel
else:
    import plyvel

# A server at rest has 50 MB in all, most of it Python's. Tables are mapped into memory, so
# their number counts as well. Below 16 MB of what was written last LevelDB puts its tables in order
# so often that it takes a third of a signature check per transfer, a tenth with them.
_OPTIONS = {
    "paranoid_checks": True,
    "write_buffer_size": 16 * 1024 * 1024,
    "lru_cache_size": 4 * 1024 * 1024,
    "bloom_filter_bits": 10,
    "max_open_files": 256,
    "compression": "snappy",
}


def open_leveldb(
    path: str | os.PathLike[str],
    network: Network,
    *,
    create: bool,
    database: Callable[..., LevelDB] | None = None,
) -> KeyValueStore:
    """Open the store in the folder `path`; see billots.store.open_store."""
    folder = Path(path)
    fresh = prepare(folder, create=create)
    engine = (database or LevelDB)(folder, create=fresh)
    try:
        store = _OnDisk(engine, network, folder, fresh=fresh)
        if fresh:
            finish(folder)
    except OSError as error:
        engine.close()
        raise unusable(folder, error) from error
    except BaseException:
        engine.close()
        raise
    return store


class _OnDisk(KeyValueStore):
    """A store that knows beside LevelDB how many commits must be in it.

    LevelDB takes a log that ends too early for one that a power cut ended, and drops what isn't
    whole without a word. Right after a power cut, or a kill, nobody can tell; but what was in it
    when it was last closed is in it for ever.
    """

    def __init__(self, engine: LevelDB, network: Network, folder: Path, *, fresh: bool) -> None:
        super().__init__(engine, network, fresh=fresh)
        self._folder = folder.absolute()
        self._noted = 0 if fresh else commits_noted(folder)
        if self._commits < self._noted:
            raise StoreDamaged(
                f"store {shown(str(folder), 200)} is damaged: "
                f"the last {self._noted - self._commits} of its commits are missing"
            )

    def close(self) -> None:
        with self._committing:
            if self._commits > self._noted:
                with contextlib.suppress(OSError, StoreError):  # an older note is true as well
                    self.check()
                    note_commits(self._folder, self._commits)
                    self._noted = self._commits
            self._engine.close()


class LevelDB(Engine):
    """One open database; `options` are LevelDB's own, in place of ours."""

    def __init__(self, folder: Path, *, create: bool, **options: Any) -> None:
        self._folder = folder
        self._name = shown(str(folder), 200)
        try:
            self._db = plyvel.DB(
                os.fsencode(folder), create_if_missing=create, **(_OPTIONS | options)
            )
        except plyvel.Error as error:
            raise self._open_error(error) from error
        self._held = Held(folder)

    def view(self) -> View:
        try:
            return _Snapshot(self, self._db.snapshot())
        except RuntimeError as error:
            raise self.read_error(error) from error

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except (plyvel.Error, RuntimeError) as error:
            raise self.read_error(error) from error
        return value

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        try:
            with self._db.write_batch(transaction=True, sync=True) as batch:
                for key, value in changes.items():
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
        except plyvel.Error as error:
            self.check()  # that the folder is gone is why it fails, then
            reason = _reason(error)
            raise StoreFailed(
                f"can't write to store {self._name}: {reason}", HINTS.get(reason)
            ) from error
        except RuntimeError as error:
            raise self.read_error(error) from error
        # LevelDB writes to the files that it has open, and syncs them, long after they were
        # deleted. After the write, so that what was there before it counts for nothing: 3 us.
        self.check()

    def compact(self) -> None:
        """Put all tables in order now, as LevelDB does by and by."""
        self._db.compact_range()

    def check(self) -> None:
        self._held.check()

    def close(self) -> None:
        self._db.close()

    def read_error(self, error: Exception) -> StoreError:
        """What an error of plyvel's means for a read."""
        if isinstance(error, RuntimeError):  # plyvel's word for a closed database
            return StoreError(f"store {self._name} is closed")
        if isinstance(error, plyvel.IOError):  # the disk, or too many open files: not the records
            return StoreFailed(f"can't read store {self._name}: {_reason(error)}")
        return StoreDamaged(f"can't read store {self._name}: {_reason(error)}")

    def _open_error(self, error: Exception) -> StoreError:
        if _text(error).startswith("IO error: lock "):
            return locked(self._folder)
        if isinstance(error, plyvel.IOError):
            reason = _reason(error)
            return StoreError(f"can't open store {self._name}: {reason}", HINTS.get(reason))
        return StoreDamaged(f"store {self._name} is damaged: {_reason(error)}")


class _Snapshot:
    """A snapshot of LevelDB's, with errors of ours."""

    def __init__(self, engine: LevelDB, snapshot: Any) -> None:
        self._engine = engine
        self._snapshot = snapshot

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._snapshot.close()

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._snapshot.get(key, verify_checksums=True)
        except (plyvel.Error, RuntimeError) as error:
            raise self._engine.read_error(error) from error
        return value

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        # Not plyvel's own iterator: over some flipped bits it ended early and without an error
        # (test_a_flipped_bit_in_a_table_is_seen_or_harmless). This one asks at every step.
        try:
            with contextlib.closing(self._snapshot.raw_iterator(verify_checksums=True)) as raw:
                raw.seek(start)
                while raw.valid():
                    item: tuple[bytes, bytes] = raw.item()
                    if item[0] >= stop:
                        return
                    yield item
                    raw.next()
        except (plyvel.Error, RuntimeError) as error:
            raise self._engine.read_error(error) from error

    def last(self, start: bytes, stop: bytes) -> bytes | None:
        try:
            with contextlib.closing(self._snapshot.raw_iterator(verify_checksums=True)) as raw:
                raw.seek(stop)
                if raw.valid():
                    raw.prev()
                else:
                    raw.seek_to_last()
                key: bytes | None = raw.key() if raw.valid() else None
        except (plyvel.Error, RuntimeError) as error:
            raise self._engine.read_error(error) from error
        return key if key is not None and key >= start else None


def _text(error: Exception) -> str:
    """LevelDB says what is wrong in bytes: `IO error: <file>: <reason>`."""
    first = error.args[0] if error.args else ""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


def _reason(error: Exception) -> str:
    reason = _text(error).rpartition(": ")[2].lower()
    return shown(reason, 200)
