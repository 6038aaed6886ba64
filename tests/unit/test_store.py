"""What every engine holds, and what only a disk can do to a store."""

import os
import random
import shutil
import subprocess
import sys
import textwrap
import threading

import pytest

from billots.crypto import PrivateKey
from billots.errors import (
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreForeign,
    StoreLocked,
    StoreOutdated,
)
from billots.holding import Status
from billots.network import Network
from billots.store import (
    Batch,
    EntryRow,
    Memory,
    MemoryStore,
    Moved,
    NewEntry,
    open_store,
    set_aside,
)
from billots.transfer import Transfer

TEST, MAIN = Network.shipped("test"), Network.shipped("main")
KEYS = [PrivateKey(bytes([number]) * 32) for number in range(4)]
ANN, BOB, CAT, DAN = KEYS
BILLOTS = ["a-1", "a-2", "a-300", "b-1", "c-1", "k-50000000"]


class Place:
    """Somewhere to keep a store: what `open` opens again is what was committed there."""

    def __init__(self, folder):
        self.path = folder
        self._memory = Memory()
        self._open = []

    def open(self, network=TEST):
        if self.path is None:
            return MemoryStore(network, self._memory)
        self._open.append(open_store(self.path, network))
        return self._open[-1]

    def close(self):
        for store in self._open:
            store.close()


@pytest.fixture(params=["memory", "leveldb"])
def place(request, tmp_path):
    place = Place(None if request.param == "memory" else tmp_path / "live.db")
    yield place
    place.close()


@pytest.fixture
def store(place):
    return place.open()


def sign(key, to, *rows):
    return Transfer.sign(TEST, key, to.owner, rows)


def entry(store, lsn, transfer, only=None, before=None, **flags):
    """An entry of a transfer; what it moves is judged on what `store` (or `before`) has."""
    rows = [row for row in transfer.billots if only is None or row[0] in only]
    known = dict(zip([b for b, _ in rows], store.moved([b for b, _ in rows]), strict=True))
    known.update(before or {})
    moved = tuple(EntryRow(billot, seq, known[billot]) for billot, seq in rows)
    return NewEntry(lsn, transfer, moved, **flags)


def batch(*entries, **parts):
    return Batch(list(entries), **({"unsettled": {}, "evidence": {}, "meta": {}} | parts))


def commit(store, lsn, transfer, only=None, **flags):
    store.commit(batch(entry(store, lsn, transfer, only, **flags)))


def dump(store):
    """All that a store shows."""
    billots = [
        f"{prefix}{number}"
        for prefix in TEST.denominations
        for number in store.numbers_moved(prefix, 1, 10_000)
    ]
    moved = store.moved(billots)
    return (
        store.last_lsn,
        dict(zip(billots, moved, strict=True)),
        store.entries(0, 10_000),
        [store.owned(key.owner, None, 10_000).rows for key in KEYS],
        store.unsettled(),
        {billot: store.evidence(billot) for billot in store.evidence_billots(None, 10_000)},
    )


# What every engine holds


def test_a_new_store_is_empty(store):
    assert store.network_id == TEST.id
    assert dump(store) == (0, {}, [], [[], [], [], []], {}, {})
    assert store.moved(BILLOTS) == [None] * 6
    assert store.entry(1) is None
    assert store.transfer("00" * 32) is None
    assert store.evidence("a-1") is None
    assert store.meta("key") is None
    store.commit(Batch.empty())
    assert store.last_lsn == 0


def test_a_transfer_is_found_in_every_way(place):
    store = place.open()
    transfer = sign(ANN, BOB, ("b-1", 1), ("a-2", 1))
    commit(store, 7, transfer, here=True)
    store.close()
    store = place.open()
    moved = Moved(1, ANN.owner, BOB.owner, 7)
    assert store.last_lsn == 7
    assert store.moved(["b-1", "a-1", "a-2", "b-1"]) == [moved, None, moved, moved]
    assert store.owned(BOB.owner, None, 9).rows == [("a-2", moved), ("b-1", moved)]
    assert store.owned(ANN.owner, None, 9).rows == []
    kept = store.entry(7)
    assert (kept.lsn, kept.transfer, kept.live) == (7, transfer, ("a-2", "b-1"))
    assert (kept.whole, kept.adopted, kept.here) == (True, False, True)
    assert store.entries(0, 9) == [kept]
    assert store.transfer(transfer.id) == transfer
    assert store.transfer(transfer.id).verify()
    assert moved.vote == (ANN.owner, BOB.owner)


def test_an_entry_gives_way_to_newer_ones(store):
    first = sign(ANN, BOB, ("a-1", 1), ("a-2", 1))
    second, third = sign(BOB, CAT, ("a-1", 2)), sign(BOB, ANN, ("a-2", 2))
    commit(store, 1, first)
    commit(store, 2, second)
    assert store.entry(1).live == ("a-2",)
    assert not store.entry(1).whole
    assert store.transfer(first.id) == first
    commit(store, 3, third)
    assert store.entry(1) is None
    assert store.transfer(first.id) is None
    assert [kept.lsn for kept in store.entries(0, 9)] == [2, 3]
    assert store.owned(BOB.owner, None, 9).rows == []
    assert store.last_lsn == 3


def test_a_batch_may_hold_a_chain(store):
    first, second = sign(ANN, BOB, ("a-1", 1), ("b-1", 1)), sign(BOB, CAT, ("a-1", 2))
    third = sign(CAT, ANN, ("a-1", 3))
    before = [Moved(1, ANN.owner, BOB.owner, 1), Moved(2, BOB.owner, CAT.owner, 2)]
    store.commit(
        batch(
            entry(store, 1, first),
            entry(store, 2, second, before={"a-1": before[0]}),
            entry(store, 3, third, before={"a-1": before[1]}),
        )
    )
    assert store.moved(["a-1"]) == [Moved(3, CAT.owner, ANN.owner, 3)]
    assert [(kept.lsn, kept.live) for kept in store.entries(0, 9)] == [(1, ("b-1",)), (3, ("a-1",))]
    assert store.transfer(second.id) is None
    assert [len(store.owned(key.owner, None, 9).rows) for key in KEYS] == [1, 1, 0, 0]


def test_a_batch_may_take_apart_one_old_entry(store):
    first = sign(ANN, BOB, ("a-1", 1), ("a-2", 1), ("b-1", 1))
    commit(store, 1, first)
    moves = [sign(BOB, CAT, (billot, 2)) for billot, _ in first.billots]
    store.commit(batch(*[entry(store, 2 + at, move) for at, move in enumerate(moves)]))
    assert [kept.lsn for kept in store.entries(0, 9)] == [2, 3, 4]
    assert store.transfer(first.id) is None


def test_a_transfer_may_come_in_two_parts(store):
    transfer = sign(ANN, BOB, ("a-1", 1), ("a-2", 1), ("b-1", 1))
    commit(store, 1, transfer, only={"a-1", "b-1"})
    commit(store, 5, transfer, only={"a-2"}, adopted=True)
    assert [kept.live for kept in store.entries(0, 9)] == [("a-1", "b-1"), ("a-2",)]
    assert [kept.adopted for kept in store.entries(0, 9)] == [False, True]
    store.commit(batch(entry(store, 6, sign(BOB, CAT, ("a-1", 2), ("b-1", 2)))))
    assert store.entry(1) is None
    assert store.transfer(transfer.id) == transfer
    commit(store, 7, sign(BOB, CAT, ("a-2", 2)))
    assert store.transfer(transfer.id) is None


def test_a_vote_may_be_changed_at_its_seq_by_adopting(store):
    taken, settled = sign(ANN, BOB, ("a-1", 1)), sign(ANN, CAT, ("a-1", 1))
    commit(store, 1, taken)
    commit(store, 2, settled, adopted=True)
    assert store.moved(["a-1"]) == [Moved(1, ANN.owner, CAT.owner, 2)]
    assert store.entry(1) is None
    assert store.owned(BOB.owner, None, 9).rows == []


def test_a_billot_may_go_to_its_owner(store):
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    commit(store, 2, sign(BOB, BOB, ("a-1", 2)))
    assert store.owned(BOB.owner, None, 9).rows == [("a-1", Moved(2, BOB.owner, BOB.owner, 2))]


@pytest.mark.parametrize(
    ("lsn", "rows", "before"),
    [
        (2, [("a-1", 1)], None),  # it has moved
        (2, [("a-1", 2)], Moved(2, ANN.owner, BOB.owner, 1)),  # another seq
        (2, [("a-1", 2)], Moved(1, ANN.owner, BOB.owner, 2)),  # another entry
        (2, [("b-1", 2)], Moved(1, ANN.owner, BOB.owner, 1)),  # it never moved
        (1, [("a-1", 2)], Moved(1, ANN.owner, BOB.owner, 1)),  # an lsn that is taken
        (0, [("a-1", 2)], Moved(1, ANN.owner, BOB.owner, 1)),  # an lsn that is past
    ],
)
def test_nothing_is_written_unless_all_is_as_it_was_judged_on(store, lsn, rows, before):
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    was = dump(store)
    good = entry(store, 2, sign(ANN, CAT, ("k-1", 1)))
    bad = NewEntry(
        lsn if lsn < 2 else 3,
        sign(BOB, CAT, *rows),
        tuple(EntryRow(billot, seq, before) for billot, seq in rows),
    )
    pair = (sign(ANN, BOB, ("a-1", 1)), sign(ANN, CAT, ("a-1", 1)))
    with pytest.raises(StoreFailed, match="not written"):
        store.commit(batch(good, bad, evidence={"a-1": pair}, meta={"name": b"x"}))
    assert dump(store) == was
    assert store.meta("name") is None
    store.commit(batch(good))  # nothing failed that would need a look
    assert store.last_lsn == 2


def test_nothing_is_written_that_could_not_be_read(store):
    transfer = sign(ANN, BOB, ("a-1", 1), ("a-2", 1))
    for rows in (
        (),
        (EntryRow("a-1", 2, None),),
        (EntryRow("b-1", 1, None),),
        (EntryRow("a-2", 1, None), EntryRow("a-1", 1, None)),
        (EntryRow("a-1", 1, None), EntryRow("a-1", 1, None)),
    ):
        with pytest.raises(StoreFailed, match="not written"):
            store.commit(batch(NewEntry(1, transfer, rows)))
    for name in ("network", "format", "commits"):
        with pytest.raises(StoreFailed, match="not written"):
            store.commit(batch(meta={name: b"x"}))
    assert dump(store)[0] == 0


def test_an_lsn_is_given_once(store):
    commit(store, 3, sign(ANN, BOB, ("a-1", 1)))
    for lsn in (3, 2):
        with pytest.raises(StoreFailed, match="not above 3"):
            commit(store, lsn, sign(ANN, BOB, ("b-1", 1)))
    with pytest.raises(StoreFailed, match="not above 4"):
        store.commit(
            batch(*[entry(store, 4, sign(ANN, BOB, (billot, 1))) for billot in ("b-1", "c-1")])
        )
    assert store.last_lsn == 3


def test_a_seq_never_falls(store):
    commit(store, 1, sign(ANN, BOB, ("a-1", 5)))
    with pytest.raises(StoreFailed, match="would fall"):
        commit(store, 2, sign(BOB, CAT, ("a-1", 4)), adopted=True)


def test_pages_of_an_owner_are_in_order_and_whole(store):
    for lsn, billot in enumerate(reversed(BILLOTS), 1):
        commit(store, lsn, sign(ANN, CAT if billot in ("a-2", "c-1") else BOB, (billot, 1)))
    expected = ["a-1", "a-300", "b-1", "k-50000000"]
    for limit in range(1, 6):
        pages, after = [], None
        while page := store.owned(BOB.owner, after, limit).rows:
            assert len(page) <= limit
            pages += [billot for billot, _ in page]
            after = pages[-1]
        assert pages == expected
    assert [b for b, _ in store.owned(BOB.owner, "a-299", 9).rows] == expected[1:]
    assert store.owned(BOB.owner, None, 0).rows == []


def test_owners_with_the_same_first_bytes_are_kept_apart(store):
    """The index has 8 bytes of an owner; the record decides, and pages stay full."""
    twin = BOB.owner[:16] + "0" * 112
    for number in range(1, 7):
        to = BOB.owner if number % 2 else twin
        commit(store, number, Transfer.sign(TEST, ANN, to, [(f"a-{number}", 1)]))
    assert [b for b, _ in store.owned(BOB.owner, None, 2).rows] == ["a-1", "a-3"]
    assert [b for b, _ in store.owned(BOB.owner, "a-3", 2).rows] == ["a-5"]
    assert [b for b, _ in store.owned(twin, None, 9).rows] == ["a-2", "a-4", "a-6"]


def test_transfer_ids_with_the_same_first_bytes_are_kept_apart(store):
    transfer = sign(ANN, BOB, ("a-1", 1))
    commit(store, 1, transfer)
    assert store.transfer(transfer.id[:16] + "0" * 48) is None


def test_numbers_that_moved_and_pages_of_the_feed(store):
    for lsn, number in enumerate([300, 2, 70_000, 255, 256], 1):
        commit(store, lsn, sign(ANN, BOB, (f"k-{number}", 1)))
    assert store.numbers_moved("k-", 1, 9) == [2, 255, 256, 300, 70_000]
    assert store.numbers_moved("k-", 255, 2) == [255, 256]
    assert store.numbers_moved("k-", 70_001, 2) == []
    assert store.numbers_moved("j-", 1, 2) == []
    assert store.numbers_moved("k-", 1, 0) == []
    assert [kept.lsn for kept in store.entries(1, 3)] == [2, 3, 4]
    assert store.entries(5, 3) == store.entries(0, 0) == []


def test_marks_of_what_is_not_settled(place):
    store = place.open()
    first = sign(ANN, BOB, ("a-1", 1), ("a-2", 1))
    marks = {1: {"a-1": Status.HELD, "a-2": Status.CONTESTED}}
    store.commit(batch(entry(store, 1, first), unsettled=marks))
    store.close()
    store = place.open()
    assert store.unsettled() == marks
    store.commit(batch(entry(store, 2, sign(BOB, CAT, ("a-1", 2)))))
    assert store.unsettled() == {1: {"a-2": Status.CONTESTED}}
    store.commit(batch(unsettled={1: {"a-2": Status.DISPUTED}, 2: {"a-1": Status.HELD}}))
    assert store.unsettled() == {1: {"a-2": Status.DISPUTED}, 2: {"a-1": Status.HELD}}
    store.commit(batch(unsettled={1: {}}))
    assert store.unsettled() == {2: {"a-1": Status.HELD}}
    third = entry(store, 3, sign(CAT, ANN, ("a-1", 3)))
    store.commit(batch(third, unsettled={2: {"a-1": Status.HELD}, 9: {"b-1": Status.HELD}}))
    assert store.unsettled() == {}
    with store._engine.view() as view:
        assert list(view.scan(b"u", b"v")) == []


def test_evidence_and_meta_are_replaced(place):
    store = place.open()
    pairs = [
        tuple(sign(ANN, to, ("a-2", seq), ("a-300", seq + 4), ("b-1", seq)) for to in (BOB, CAT))
        for seq in (1, 2)
    ]
    for pair in pairs:
        evidence = {"a-2": pair, "b-1": pair, "a-300": pair}
        store.commit(batch(evidence=evidence, meta={"näme": b"\0x", "empty": b"1"}))
    store.commit(batch(meta={"empty": b""}))
    store.close()
    store = place.open()
    assert store.evidence("a-2") == pairs[1]
    seqs = [store.evidence_seq(billot) for billot in ("a-2", "a-300", "b-1", "a-1")]
    assert seqs == [2, 6, 2, None]
    assert store.evidence_billots(None, 9) == ["a-2", "a-300", "b-1"]
    assert store.evidence_billots("a-2", 1) == ["a-300"]
    assert store.meta("näme") == b"\0x"
    assert store.meta("empty") is None


def test_receipts_are_replaced_and_removed_and_outlive_a_move(place):
    store = place.open()
    assert not store.has_receipts
    assert not Batch.empty()
    assert batch(receipts={"a-1": b""})
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    store.commit(batch(receipts={"a-1": b"old", "k-50000000": b"\0\xff"}))
    store.commit(batch(receipts={"a-1": b"new"}))
    commit(store, 2, sign(BOB, CAT, ("a-1", 2)))
    store.close()
    store = place.open()
    assert store.has_receipts
    assert [store.receipt(b) for b in ("a-1", "a-2", "k-50000000")] == [b"new", None, b"\0\xff"]
    store.commit(batch(receipts={"a-1": b"", "a-2": b""}))
    assert store.receipt("a-1") is None
    assert store.has_receipts
    store.commit(batch(receipts={"k-50000000": b""}))
    assert not store.has_receipts
    assert dump(store)[0] == 2


def test_a_transfer_of_256_moves_as_one_and_apart(store):
    rows = [(f"k-{number}", 1) for number in range(1, 257)]
    transfer = sign(ANN, BOB, *rows)
    commit(store, 1, transfer)
    assert store.entry(1).whole
    parts = [sign(BOB, CAT, *[(b, 2) for b, _ in rows[at : at + 64]]) for at in range(0, 256, 64)]
    store.commit(batch(*[entry(store, 2 + at, part) for at, part in enumerate(parts)]))
    assert [kept.lsn for kept in store.entries(0, 9)] == [2, 3, 4, 5]
    assert len(store.owned(CAT.owner, None, 999).rows) == 256


def test_another_network_is_refused(place):
    place.open().close()
    with pytest.raises(StoreForeign, match="another network") as caught:
        place.open(MAIN)
    assert "--prefix" in caught.value.hint
    assert place.open().network_id == TEST.id


def test_reads_beside_a_committing_thread_see_whole_batches(store):
    """Each batch moves both billots, and deletes the entry that a reader may be at."""
    owners, errors, started = [ANN, BOB, CAT], [], threading.Event()

    def commits():
        try:
            for seq in range(1, 60):
                sender, to = owners[(seq - 1) % 3], owners[seq % 3]
                store.commit(
                    batch(
                        *[
                            entry(store, 2 * seq + at, sign(sender, to, (billot, seq)))
                            for at, billot in enumerate(["a-1", "b-1"])
                        ]
                    )
                )
                started.set()
        except BaseException as error:
            errors.append(error)
            raise

    thread = threading.Thread(target=commits)
    thread.start()
    assert started.wait(20)
    while thread.is_alive():
        one, two = store.moved(["a-1", "b-1"])
        assert (one.seq, one.owner, one.lsn + 1) == (two.seq, two.owner, two.lsn)
        assert one.owner == owners[one.seq % 3].owner
        assert [kept.live for kept in store.entries(0, 9)] == [("a-1",), ("b-1",)]
    thread.join()
    assert errors == []
    assert store.moved(["a-1"])[0].seq == 59


# What only a disk can do


def run_child(tmp_path, body, *arguments, **options):
    """A second process; it has TEST, KEYS and what this module imports of the package."""
    script = """
        import os, sys
        from billots.crypto import PrivateKey
        from billots.errors import StoreError, StoreFailed
        from billots.network import Network
        from billots.store import Batch, EntryRow, NewEntry, open_store
        from billots.transfer import Transfer
        TEST = Network.shipped("test")
        ANN, BOB = [PrivateKey(bytes([number]) * 32) for number in range(2)]
        def one(number):
            billot = f"k-{number}"
            transfer = Transfer.sign(TEST, ANN, BOB.owner, [(billot, 1)])
            return Batch([NewEntry(number, transfer, (EntryRow(billot, 1, None),))], {}, {}, {})
    """
    path = tmp_path / "child.py"
    path.write_text(textwrap.dedent(script) + textwrap.dedent(body))
    return subprocess.Popen(
        [sys.executable, str(path), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "live.db"


def test_the_interface_loads_no_engine():
    code = "import sys, billots.store; sys.exit('plyvel' in str(sorted(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_store_open_elsewhere_is_locked(tmp_path, folder):
    child = run_child(
        tmp_path,
        """
        store = open_store(sys.argv[1], TEST)
        print("open", flush=True)
        sys.stdin.read()
        """,
        folder,
    )
    with child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked) as caught:
            open_store(folder, TEST)
        assert "--prefix" in caught.value.hint
        child.communicate()
    store = open_store(folder, TEST)
    with pytest.raises(StoreLocked):
        open_store(folder, TEST)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.moved(["a-1"])
    with pytest.raises(StoreError, match="closed"):
        store.meta("name")
    open_store(folder, TEST).close()


def test_a_store_is_made_only_when_asked(folder):
    with pytest.raises(StoreError, match="no store"):
        open_store(folder, TEST, create=False)
    assert not folder.exists()
    open_store(folder, TEST).close()
    assert folder.stat().st_mode & 0o77 == 0, "it holds the server's key"
    open_store(folder, TEST, create=False).close()


def test_an_empty_folder_may_become_a_store(folder):
    folder.mkdir()
    open_store(folder, TEST).close()
    open_store(folder, TEST, create=False).close()


def test_nothing_is_written_to_what_is_not_ours(tmp_path, folder):
    leveldb = tmp_path / "foreign.db"
    open_store(leveldb, TEST).close()
    (leveldb / "BILLOTS").unlink()  # now it is anybody's LevelDB
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("dear")
    folder.write_text("a file")
    for path in (leveldb, letters, folder):
        was = snapshot(tmp_path)
        with pytest.raises(StoreForeign, match="no billots store") as caught:
            open_store(path, TEST)
        assert "--prefix" in caught.value.hint
        assert snapshot(tmp_path) == was


def snapshot(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_a_store_of_another_version_is_left_alone(folder):
    open_store(folder, TEST).close()
    (folder / "BILLOTS").write_bytes(b"billots store 2\n")
    was = snapshot(folder)
    with pytest.raises(StoreForeign, match="another version") as caught:
        open_store(folder, TEST)
    assert "--prefix" in caught.value.hint
    assert snapshot(folder) == was


@pytest.mark.parametrize(
    "mark",
    [b"", bytes(16), b"billots st", b"\xff\0garbage", b"billots store x\n", b"billots store 1\n\n"],
)
def test_attack_a_store_whose_mark_is_garbage_is_damaged_not_made_again(folder, mark):
    """Nor is it another version's, nor cleared like one that was never finished."""
    store = open_store(folder, TEST)
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    store.close()
    (folder / "BILLOTS").write_bytes(mark)
    was = snapshot(folder)
    for create in (True, False):
        with pytest.raises(StoreDamaged, match="its file BILLOTS is not what was written"):
            open_store(folder, TEST, create=create)
    assert snapshot(folder) == was


@pytest.mark.parametrize("how", ["deleted", "moved", "another one in its place"])
def test_attack_what_is_written_to_a_folder_that_is_gone_is_not_written(folder, how):
    """LevelDB doesn't notice: it writes to files that it has open, and syncs them."""
    store = open_store(folder, TEST)
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    store.check()
    if how == "deleted":
        shutil.rmtree(folder)
    else:
        folder.rename(folder.with_name("elsewhere"))
    if how == "another one in its place":
        open_store(folder.with_name("other"), TEST).close()
        folder.with_name("other").rename(folder)
    for _ in range(2):
        with pytest.raises(StoreOutdated, match="moved, deleted or replaced"):
            store.check()
    with pytest.raises(StoreOutdated, match="moved, deleted or replaced"):
        commit(store, 2, sign(ANN, BOB, ("a-2", 1)))
    store.close()


def test_a_store_is_held_by_its_place_not_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("live.db", TEST)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    store.check()
    store.close()


def test_a_folder_that_can_not_be_made(tmp_path):
    with pytest.raises(StoreError, match="no such file") as caught:
        open_store(tmp_path / "missing" / "live.db", TEST)
    assert str(tmp_path / "missing") in caught.value.hint
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="not a directory"):
        open_store(tmp_path / "file" / "live.db", TEST)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="permission denied") as caught:
        open_store(tmp_path / "live.db", TEST)
    assert "--data-dir" in caught.value.hint


@pytest.mark.parametrize(
    "mark", [b"", bytes(30), b"billots st", b"billots store 1", b"billots store 1, not yet made\n"]
)
def test_a_store_half_made_is_made_again(folder, mark):
    folder.mkdir()
    (folder / "BILLOTS").write_bytes(mark)
    open_store(folder, TEST).close()
    # The crash came later: the network was written, after the whole mark.
    (folder / "BILLOTS").write_bytes(b"billots store 1, not yet made\n")
    open_store(folder, MAIN).close()
    assert (folder / "BILLOTS").read_bytes() == b"billots store 1\n"


def test_a_store_half_made_that_looks_damaged_is_made_again(folder):
    """The power went while it was made: LevelDB names its first manifest before it syncs it."""
    open_store(folder, TEST).close()
    (folder / "BILLOTS").write_bytes(b"billots store 1, not yet made\n")
    (manifest,) = folder.glob("MANIFEST-*")
    manifest.write_bytes(b"")
    open_store(folder, TEST).close()
    open_store(folder, TEST, create=False).close()


@pytest.mark.parametrize("mark", ["billots store 1, not yet made\\n", "garbage"])
def test_a_store_that_another_process_has_open_is_left_alone_whatever_its_mark(
    tmp_path, folder, mark
):
    child = run_child(
        tmp_path,
        f"""
        store = open_store(sys.argv[1], TEST)
        store.commit(one(1))
        open(sys.argv[1] + "/BILLOTS", "wb").write(b"{mark}")
        print("making", flush=True)
        sys.stdin.read()
        """,
        folder,
    )
    with child:
        assert child.stdout.readline() == "making\n"
        was = snapshot(folder)
        with pytest.raises(StoreLocked):
            open_store(folder, TEST)
        assert snapshot(folder) == was
        child.communicate()


def test_a_store_that_lost_all_is_damaged_not_new(folder):
    open_store(folder, TEST).close()
    for path in folder.iterdir():
        if path.name != "BILLOTS":
            path.unlink()
    with pytest.raises(StoreDamaged):
        open_store(folder, TEST)


@pytest.mark.parametrize("commits", [2, 7])
def test_a_log_that_was_cut_after_the_store_was_closed_is_damage(folder, commits):
    """LevelDB takes it for a power cut's, and opens it without a word."""
    store = open_store(folder, TEST)
    for lsn in range(1, commits + 1):
        commit(store, lsn, sign(ANN, BOB, (f"a-{lsn}", 1)))
    store.close()
    (log,) = folder.glob("*.log")
    content = log.read_bytes()
    log.write_bytes(content[:-300])
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="of its commits are missing"):
            open_store(folder, TEST)


def test_a_log_that_was_cut_before_the_store_was_closed_is_a_power_cut(folder):
    """Then the end of it was never synced, so that nothing of it was said."""
    store = open_store(folder, TEST)
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    store.close()
    store = open_store(folder, TEST)
    commit(store, 2, sign(ANN, BOB, ("a-2", 1)))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    store.close()
    (log,) = copy.glob("*.log")
    log.write_bytes(log.read_bytes()[:-1])
    store = open_store(copy, TEST)
    assert store.last_lsn == 1
    store.close()


def test_what_nobody_can_have_noted_is_damage(folder):
    store = open_store(folder, TEST)
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    store.close()
    assert (folder / "COMMITS").read_bytes() == b"1\n"
    for noted in (b"", b"\xff", b"-1\n", b"1"):
        (folder / "COMMITS").write_bytes(noted)
        with pytest.raises(StoreDamaged, match="its file COMMITS is not what was written"):
            open_store(folder, TEST)
    (folder / "COMMITS").unlink()
    open_store(folder, TEST).close()


def test_a_store_that_forgot_its_network_is_damaged_not_new(folder):
    open_store(folder, TEST).close()
    (log,) = folder.glob("*.log")
    log.write_bytes(b"")  # LevelDB opens this without a word
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="network"):
            open_store(folder, TEST)


def test_a_table_that_is_gone_is_damage(folder):
    store = open_store(folder, TEST)
    commit(store, 1, sign(ANN, BOB, ("a-1", 1)))
    store.close()
    open_store(folder, TEST).close()  # makes a table of the log
    for path in folder.glob("*.ldb"):
        path.unlink()
    with pytest.raises(StoreDamaged):
        open_store(folder, TEST)


def test_a_store_set_aside_is_kept_and_overwrites_nothing(tmp_path, folder):
    for number in (1, 2, 3):
        store = open_store(folder, TEST)
        commit(store, number, sign(ANN, BOB, ("a-1", 1)))
        store.close()
        if number == 2:
            (tmp_path / "live.db.damaged-2").touch()  # in the way
        kept = set_aside(folder, "damaged")
        assert kept == tmp_path / f"live.db.damaged-{number if number == 1 else number + 1}"
        assert not folder.exists()
        store = open_store(kept, TEST, create=False)
        assert store.last_lsn == number
        store.close()
    open_store(folder, TEST).close()
    assert set_aside(folder, "outdated").name == "live.db.outdated-1"
    with pytest.raises(StoreError, match=r"can't move .* aside: no such file") as caught:
        set_aside(folder, "damaged")
    assert "move it away" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"live.db.damaged-{number}" for number in (1, 2, 3, 4)),
        "live.db.outdated-1",
    ]


def test_of_a_link_to_a_store_the_store_is_set_aside(tmp_path, folder):
    disk = tmp_path / "disk"
    disk.mkdir()
    folder.symlink_to(disk / "real.db")
    (disk / "real.db").mkdir()
    open_store(folder, TEST).close()
    assert set_aside(folder, "damaged") == disk / "real.db.damaged-1"
    store = open_store(folder, TEST)
    assert (disk / "real.db" / "BILLOTS").exists()
    store.close()


def fill(folder):
    """A store of 30 billots, and what it showed after each of its commits."""
    store = open_store(folder, TEST)
    shown = [dump(store)]
    for lsn in range(1, 16):
        owners = [KEYS[(lsn + step) % 4] for step in range(2)]
        rows = [(f"a-{number}", lsn) for number in (lsn, 100 + lsn)]
        commit(store, lsn, sign(*owners, *rows))
        shown.append(dump(store))
    store.close()
    return shown


def flipped(folder, copy, name, count):
    """Copies of a store with one bit of the file `name` flipped, seeded."""
    dice = random.Random(7)
    content = (folder / name).read_bytes()
    for at in sorted(dice.sample(range(len(content)), min(count, len(content)))):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        changed = bytearray(content)
        changed[at] ^= 1 << dice.randrange(8)
        (copy / name).write_bytes(changed)
        yield copy


def outcome(copy, shown):
    """None for damage seen, else which of the states that were committed it shows."""
    try:
        store = open_store(copy, TEST, create=False)
    except StoreDamaged:
        return None
    try:
        return shown.index(dump(store))
    except StoreDamaged:
        return None
    finally:
        store.close()


def test_a_flipped_bit_in_a_table_is_seen_or_harmless(tmp_path, folder):
    shown = fill(folder)
    open_store(folder, TEST).close()
    tables = [path.name for path in folder.glob("*.ldb")]
    assert tables
    outcomes = [
        outcome(copy, shown)
        for name in tables
        for copy in flipped(folder, tmp_path / "copy.db", name, 150)
    ]
    assert set(outcomes) <= {None, 15}
    assert outcomes.count(None) > 100


def test_a_flipped_bit_in_the_log_is_seen_or_cuts_its_end(tmp_path, folder):
    """LevelDB takes a length that reaches past the end of its log for a write cut by a crash.

    What follows is gone then and nothing says so; the state is one that was committed. That
    an old copy speaks again is what the server's own feed at its peers tells it.
    """
    shown = fill(folder)
    (log,) = folder.glob("*.log")
    copies = flipped(folder, tmp_path / "copy.db", log.name, 150)
    outcomes = [outcome(copy, shown) for copy in copies]
    assert outcomes.count(None) > 130


def test_a_failed_write_is_told_in_words_and_is_the_last(tmp_path, folder):
    child = run_child(
        tmp_path,
        """
        import resource
        store = open_store(sys.argv[1], TEST)
        store.commit(one(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        done = 1
        try:
            while True:
                store.commit(one(done + 1))
                done += 1
        except StoreFailed as error:
            print(done, store.last_lsn, error, error.hint, sep="|")
        try:
            store.commit(Batch([], {}, {}, {"name": b"x"}))
        except StoreFailed as error:
            print(error)
        print(store.moved([f"k-{done}", f"k-{done + 1}"])[0].lsn)
        """,
        folder,
    )
    output, _ = child.communicate()
    failed, refused, readable = output.splitlines()
    done, last, error, hint = failed.split("|")
    assert child.returncode == 0
    assert int(done) > 50
    assert last == done == readable
    assert error == f"can't write to store {folder}: file too large"
    assert "space" in hint
    assert "opened again" in refused
    store = open_store(folder, TEST)
    assert store.last_lsn in (int(done), int(done) + 1), "a write that failed may have happened"
    assert all(store.moved([f"k-{number + 1}" for number in range(int(done))]))
    store.close()


def test_what_was_acknowledged_survives_kill_9(tmp_path, folder):
    """Again and again, so that recovery is killed too and what it made is recovered."""
    for acknowledged_min in range(40, 200, 40):
        child = run_child(
            tmp_path,
            """
            store = open_store(sys.argv[1], TEST)
            for number in range(store.last_lsn + 1, 10_000):
                store.commit(one(number))
                print(number, flush=True)
            """,
            folder,
        )
        acknowledged = 0
        with child:
            for line in child.stdout:
                acknowledged = int(line) if line.endswith("\n") else acknowledged
                if acknowledged == acknowledged_min:
                    child.kill()
        assert acknowledged >= acknowledged_min
        store = open_store(folder, TEST, create=False)
        assert store.last_lsn >= acknowledged
        assert all(store.moved([f"k-{number}" for number in range(1, store.last_lsn + 1)]))
        assert len(store.entries(0, 10_000)) == store.last_lsn
        store.close()


# -- records that can't be --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "read"),
    [
        (b"f", lambda store: store.moved(["a-1"])),
        (b"b", lambda store: store.owned(BOB.owner, None, 10).rows),
        (b"f", lambda store: store.transfer(sign(ANN, BOB, ("a-1", 1)).id)),
    ],
)
def test_a_record_whose_other_half_is_gone_is_damage(gone, read):
    memory = Memory()
    store = MemoryStore(TEST, memory)
    rows = (EntryRow("a-1", 1, None),)
    store.commit(Batch([NewEntry(1, sign(ANN, BOB, ("a-1", 1)), rows)], {}, {}, {}))
    with memory.view() as view:
        keys = [key for key, _ in view.scan(gone, gone + b"\xff")]
    memory.write(dict.fromkeys(keys))
    with pytest.raises(StoreDamaged):
        read(store)


def test_a_store_of_another_version():
    memory = Memory()
    MemoryStore(TEST, memory)
    memory.write({b"mformat": b"2"})
    with pytest.raises(StoreForeign, match="another version"):
        MemoryStore(TEST, memory)


def many(store, to, transfers):
    for lsn in range(1, transfers + 1):
        rows = [(f"k-{256 * lsn + n}", 1) for n in range(256)]
        transfer = Transfer.sign(TEST, ANN, to, rows)
        entries = tuple(EntryRow(billot, seq, None) for billot, seq in transfer.billots)
        store.commit(Batch([NewEntry(lsn, transfer, entries)], {}, {}, {}))


def test_attack_an_owner_id_like_a_rich_ones_makes_no_endless_page(store):
    """The index holds only the first bytes of an owner id, and anybody may pay to any id."""
    many(store, BOB.owner, 9)
    twin = BOB.owner[:16] + "0" * 112
    page, pages = store.owned(twin, None, 10), 1
    while page.after is not None:
        assert page.rows == []
        page, pages = store.owned(twin, page.after, 10), pages + 1
    assert pages == 2
    assert store.owned(BOB.owner, None, 5000).after is not None


def test_a_page_of_entries_is_bounded_by_their_rows(store):
    many(store, BOB.owner, 6)
    assert [entry.lsn for entry in store.entries(0, 100, rows_max=300)] == [1, 2]
    assert [entry.lsn for entry in store.entries(2, 100, rows_max=1)] == [3]
    assert [entry.lsn for entry in store.entries(0, 100)] == [1, 2, 3, 4]
