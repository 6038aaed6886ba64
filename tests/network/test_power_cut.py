"""A power cut after any system call: what was said is on disk, and it opens as it was committed.

A store is written under strace, and for each call of it the folder rebuilt as the disk might be
if the power went just then. That the same finds losses without ``sync=True`` shows that it looks.
"""

import subprocess
import sys
import textwrap

import pytest
from traced import VARIANTS, Disk, calls, tracing

from billots.crypto import PrivateKey
from billots.errors import StoreError
from billots.holding import Status
from billots.network import Network
from billots.store import open_store

TEST = Network.shipped("test")
ANN, BOB = [PrivateKey(bytes([number]) * 32) for number in range(2)]
COMMITS = 48

CHILD = """
    import os, random, sys
    from billots.crypto import PrivateKey
    from billots.holding import Status
    from billots.network import Network
    from billots.store import Batch, EntryRow, NewEntry
    from billots.store.leveldb import LevelDB, open_leveldb
    from billots.transfer import Transfer

    TEST = Network.shipped("test")
    OWNERS = [PrivateKey(bytes([number]) * 32) for number in range(2)]

    class Small(LevelDB):
        "With a buffer so small that tables are written and merged every few commits."
        def __init__(self, folder, **options):
            super().__init__(folder, write_buffer_size=64 * 1024, **options)

    class Unsynced(Small):
        "What would be if batches were not synced."
        def write(self, changes):
            with self._db.write_batch(transaction=True, sync=False) as batch:
                for key, value in changes.items():
                    batch.delete(key) if value is None else batch.put(key, value)

    def move(store, lsn, billot, seq):
        sender, to = OWNERS[seq % 2], OWNERS[(seq + 1) % 2]
        transfer = Transfer.sign(TEST, sender, to.owner, [(billot, seq)])
        return NewEntry(lsn, transfer, (EntryRow(billot, seq, *store.moved([billot])),))

    folder, marks, kind, commits = sys.argv[1:]
    database = {"synced": Small, "unsynced": Unsynced}[kind]
    said = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    dice = random.Random(1)
    store = open_leveldb(folder, TEST, create=True, database=database)
    os.write(said, b"0 ")
    for number in range(1, int(commits) + 1):
        if number % 16 == 0:
            store.close()
            store = open_leveldb(folder, TEST, create=False, database=database)
        entries = [move(store, 2 * number - 1, f"k-{number}", 1)]
        entries.append(move(store, 2 * number, "a-1", number))
        marked = {2 * number: {"a-1": Status.HELD}}
        meta = {"last": b"%d" % number, "pad": dice.randbytes(8000)}
        store.commit(Batch(entries, marked, {}, meta, {f"k-{number}": b"receipt"}))
        os.write(said, b"%d " % number)
    store.close()
"""


def traced(tmp_path, kind, commits):
    """Run the child; returns its disk and its calls."""
    folder, marks, log = tmp_path / "live.db", tmp_path / "marks", tmp_path / "trace"
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    words = [sys.executable, tmp_path / "child.py", folder, marks, kind, commits]
    subprocess.run([*tracing(log), *map(str, words)], check=True)
    return Disk(folder, marks), list(calls(log))


def number_in(store):
    """Which commit the store shows, all of it and nothing of the next."""
    number = int(store.meta("last") or b"0")
    assert store.last_lsn == 2 * number
    assert store.numbers_moved("k-", 1, 999) == list(range(1, number + 1))
    rows = store.moved(["a-1", *(f"k-{n}" for n in range(1, number + 1))])
    if number:
        sender, to = (ANN, BOB) if number % 2 == 0 else (BOB, ANN)
        hot, *others = rows
        assert (hot.seq, hot.sender, hot.owner) == (number, sender.owner, to.owner)
        assert [row.lsn for row in others] == list(range(1, 2 * number, 2))
        assert store.unsettled() == {2 * number: {"a-1": Status.HELD}}
        assert store.receipt(f"k-{number}") == b"receipt"
    lsns = [entry.lsn for entry in store.entries(0, 999)]
    assert lsns == [*range(1, 2 * number, 2), *([2 * number] if number else [])]
    owned = [len(store.owned(key.owner, None, 999).rows) for key in (ANN, BOB)]
    assert sum(owned) == number + bool(number)
    return number


def cuts(tmp_path, disk, happened):
    """For each cut: what was said before it (None: not even that there is a store), and what is
    found: the number of a commit, or what is wrong.
    """
    copy = tmp_path / "copy.db"
    for name, arguments, result in happened:
        if not disk.call(name, arguments, result):
            continue
        said = int(disk.said[-1]) if disk.said else None
        for variant in VARIANTS:
            disk.left(copy, variant)
            try:
                store = open_store(copy, TEST, create=said is None)
                try:
                    yield variant, said, number_in(store)
                finally:
                    store.close()
            except (StoreError, AssertionError) as error:
                yield variant, said, error


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_attack_a_power_cut_at_any_call_loses_nothing_that_was_said(tmp_path):
    disk, happened = traced(tmp_path, "synced", COMMITS)
    seen = list(cuts(tmp_path, disk, happened))
    wrong = [
        (variant, said, found)
        for variant, said, found in seen
        if isinstance(found, Exception) or not (said or 0) <= found <= (said or 0) + 1
    ]
    assert wrong == []
    assert disk.said == [str(number) for number in range(COMMITS + 1)]
    names = [name for name, _, _ in happened]
    assert names.count("rename") > 3, "CURRENT was replaced"
    assert names.count("unlink") > 5, "logs and tables were dropped"
    assert len(seen) > len(VARIANTS) * 3 * COMMITS
    assert {found - (said or 0) for _, said, found in seen} == {0, 1}


@pytest.mark.slow
def test_without_sync_the_same_finds_losses(tmp_path):
    disk, happened = traced(tmp_path, "unsynced", 12)
    lost = [
        variant
        for variant, said, found in cuts(tmp_path, disk, happened)
        if said and (isinstance(found, Exception) or found < said)
    ]
    assert {"synced", "names"} <= set(lost)
    assert len(lost) > 12
