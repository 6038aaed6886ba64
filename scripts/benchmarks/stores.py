"""Disk, memory and time by the number of billots that have moved, loaded through the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Table
from benchmarks.loads import MINT, NETWORK, USER, connected, send_all, transfers
from benchmarks.servers import Running, alone
from billots.connection import Client
from billots.messages import ListBillots, Listed
from billots.store import Batch, Store, open_store
from billots.store.interface import EntryRow, NewEntry
from billots.store.leveldb import LevelDB
from billots.transfer import Transfer

NAME = "test.db"
_BATCH_ROWS = 2048
_MORE = 100_000
_REST_S, _REST_CPU_S = 0.5, 0.02
MILLION = 1_000_000
Told = Callable[[str, int, int], None]
"""What is being done, and how much of how much is done."""


@dataclass(frozen=True)
class Layout:
    """How billots come to have owners: `rows` in each transfer, `each` to the same owner.

    Without `proof` all transfers have one key and signature, which compress away.
    """

    name: str
    rows: int
    each: int
    proof: bool = True


ONE_OWNER = Layout("one owner", 1, MILLION)
DISTINCT = Layout("all owners distinct", 1, 1)
TEN_EACH = Layout("10 of each owner", 1, 10)
BULK = Layout("bulk", 256, MILLION)


def load(folder: str | Path, count: int, layout: Layout, told: Told | None = None) -> Path:
    """A store in which `count` billots (k- and on) have moved once, as servers write it.

    The store doesn't check signatures, so that random ones will do: they compress as badly.
    """
    path = Path(folder) / NAME
    store = open_store(path, NETWORK, create=True)
    _commit(store, _transfers(0, count, layout), lambda done: told and told("loading", done, count))
    store.commit(Batch([], {}, {}, {"moved": b"%d" % count}))
    store.close()
    return path


def _commit(
    store: Store, work: Iterable[Transfer], told: Callable[[int], object] = lambda _: None
) -> None:
    batch, rows, done = Batch.empty(), 0, 0
    for number, transfer in enumerate(work, store.last_lsn + 1):
        entry_rows = tuple(EntryRow(billot, seq, None) for billot, seq in transfer.billots)
        batch.entries.append(NewEntry(number, transfer, entry_rows, here=True))
        rows += len(entry_rows)
        if rows >= _BATCH_ROWS:
            store.commit(batch)
            done += rows
            batch, rows = Batch.empty(), 0
            told(done)
    store.commit(batch)


def _transfers(first: int, count: int, layout: Layout) -> Iterator[Transfer]:
    key, signature = MINT.public_hex, os.urandom(64).hex()
    for start in range(first, first + count, layout.rows):
        owner = start // layout.each
        to = USER.owner if layout.each >= MILLION else _owner(owner)
        if layout.proof:
            key = MINT.public_hex if layout.each >= MILLION else os.urandom(32).hex()
            signature = os.urandom(64).hex()
        numbers = range(start + 1, min(start + layout.rows, first + count) + 1)
        rows = tuple((f"k-{number}", 1) for number in numbers)
        yield Transfer(NETWORK.id, to, rows, key, signature)


def _owner(number: int) -> str:
    import hashlib

    return hashlib.sha512(b"%d" % number).hexdigest()


def disk_bytes(path: Path) -> int:
    """Bytes of its files, once LevelDB has put them in order."""
    _compact(path)
    return disk_bytes_of(path)


def _compact(path: Path) -> None:
    """LevelDB does so by itself in time; here it is not waited for."""
    with contextlib.closing(LevelDB(path, create=False)) as engine:
        engine.compact()


def disk(count: int, told: Told) -> Table:
    """Bytes a moved billot, with index, feed and proof, for three ways to own them."""
    figures = [_unmoved()]
    for layout, bar in ((ONE_OWNER, None), (TEN_EACH, None), (DISTINCT, 280.0)):
        figures.append(_bytes_each(count, layout, bar, told))
    for name, rows, each, bar in (
        ("all owners distinct, less proof", 1, 1, 190.0),
        ("one owner, less proof", 1, MILLION, 25.0),
        ("one owner, 256 in a transfer", 256, MILLION, None),
        ("one owner, 256 in a transfer, less proof", 256, MILLION, 25.0),
    ):
        proof = not name.endswith("less proof")
        figures.append(_bytes_each(count, Layout(name, rows, each, proof=proof), bar, told))
    return Table(f"Bytes on disk for each of {count:,} moved billots", tuple(figures))


def _unmoved() -> Figure:
    """A store that was asked for many billots that never moved: reads never write."""
    count = 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        store = open_store(path, NETWORK, create=True)
        before = disk_bytes_of(path)
        for first in range(1, count, 256):
            store.moved([f"k-{number}" for number in range(first, first + 256)])
        grown = disk_bytes_of(path) - before
        store.close()
    return Figure("never moved, and asked for", grown / count, "B", None, 0)


def disk_bytes_of(path: Path) -> int:
    """Bytes of its files as they are."""
    return sum(file.stat().st_size for file in path.iterdir())


def _bytes_each(count: int, layout: Layout, bar: float | None, told: Told) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        size = disk_bytes(load(folder, count, layout, told))
    return Figure(layout.name, size / count, "B", None, bar)


def growth(counts: tuple[int, ...], told: Told) -> Table:
    """A server over ever more moved billots: start, memory, and what a transfer costs it.

    LevelDB puts what is written in order later, and more often the more there is. So that is
    measured over many writes, until it rests, and added to what a transfer costs at once.
    """
    figures: list[Figure] = []
    first_cpu = first_all = 0.0
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            load(folder, count, DISTINCT, told)
            behind = _behind(Path(folder) / NAME, count)
            with alone(folder) as server:
                started, idle = server.started_s, server.memory_mb
                _rest(lambda server=server: server.cpu_s)
                cpu = asyncio.run(_cost(server))
                loaded = server.memory_mb
            first_cpu, first_all = first_cpu or cpu, first_all or cpu + behind
        most = {MILLION: 150.0}.get(count, 50.0 if count == counts[0] else None)
        figures += [
            Figure(f"{count:>12,} moved: start", started, "s", None, 2.0),
            Figure("resident memory, idle", idle, "MB", None, most),
            Figure("resident memory, after 4,000 transfers", loaded, "MB"),
            Figure("CPU per transfer", cpu * 1e6, "us", first_cpu * 1e6, 1.5),
            Figure(
                "  with LevelDB's in the background",
                (cpu + behind) * 1e6,
                "us",
                first_all * 1e6,
                1.5,
            ),
        ]
    return Table("Growth, one server alone", tuple(figures))


def _behind(path: Path, count: int) -> float:
    """CPU seconds a transfer that LevelDB takes in threads of its own, after `count` of them."""
    work = list(_transfers(count, _MORE, DISTINCT))
    with contextlib.closing(open_store(path, NETWORK, create=False)) as store:
        _rest(time.process_time)
        before, own = time.process_time(), time.thread_time()
        _commit(store, work)
        own = time.thread_time() - own
        _rest(time.process_time)
        return max(0.0, time.process_time() - before - own) / _MORE


def _rest(cpu_s: Callable[[], float]) -> None:
    """Wait until what takes CPU in the background has come to its end."""
    before = float("-inf")
    while cpu_s() - before > _REST_CPU_S:
        before = cpu_s()
        time.sleep(_REST_S)


async def _cost(server: Running) -> float:
    count = 4000
    async with contextlib.AsyncExitStack() as stack:
        clients = await connected(stack, [server.host] * 8)
        await send_all(clients, transfers("h-", 200), 32)
        work = transfers("j-", count)
        before = server.cpu_s
        await send_all(clients, work, 32)
        return (server.cpu_s - before) / count


def listing(told: Told) -> Table:
    """Pages of the lists of owners of 10, 1,000 and 100,000 billots."""
    figures = []
    for count in (10, 1000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            load(folder, count, BULK, told)
            with alone(folder) as server:
                page, whole = asyncio.run(_listed(server))
        bar = 20.0 if count == 100_000 else None
        figures += [
            Figure(f"a page of {min(count, 1000):,} of {count:,}", page * 1000, "ms", None, bar),
            Figure(f"the whole list of {count:,}", whole * 1000, "ms"),
        ]
    return Table("An owner's list", tuple(figures))


async def _listed(server: Running) -> tuple[float, float]:
    async with await Client.connect(server.host) as client:
        cursor, pages, begun = None, [], time.perf_counter()
        while True:
            at = time.perf_counter()
            params = ListBillots(USER.owner, cursor)
            page = await client.call("list", params, Listed, timeout_s=60)
            if page.billots:
                pages.append(time.perf_counter() - at)
            cursor = page.cursor
            if cursor is None:
                break
        return sorted(pages)[len(pages) // 2], time.perf_counter() - begun
