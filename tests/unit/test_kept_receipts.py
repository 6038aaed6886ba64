"""The file of receipts: what is kept, what takes its place, and a file that can't be used."""

import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from itertools import chain

import msgspec
import pytest

from billots.crypto import PrivateKey
from billots.errors import JournalError
from billots.holding import Holding, Status
from billots.kept_receipts import KeptReceipt, KeptReceipts
from billots.network import Network
from billots.receipt import Receipt, SignedVote
from billots.statement import Statement
from billots.transfer import Transfer

TEST = Network.shipped("test")
ALICE, BOB, CAROL, *SERVERS = (PrivateKey(bytes([n]) * 32) for n in range(1, 20))
OTHER_NETWORK = "0" * 32


def vote(key, *rows, sender=ALICE, owner=BOB):
    said = [(b, Holding(seq, sender.owner, owner.owner, Status.SETTLED)) for b, seq in rows]
    made = Statement.make(TEST, key.public_hex, said).sign(key, "0123456789abcdef")
    return SignedVote(statement=made.signed())


def receipts(*rows, servers=SERVERS[:3], owner=BOB):
    """One receipt for each row, of one transfer and with statements on all rows."""
    transfer = Transfer.sign(TEST, ALICE, owner.owner, rows)
    votes = tuple(vote(key, *rows, owner=owner) for key in servers)
    return [KeptReceipt(billot, seq, Receipt(transfer, votes)) for billot, seq in rows]


def keys(*servers):
    return frozenset(key.public_hex for key in servers)


def counts(path):
    with closing(sqlite3.connect(path)) as database:
        tables = ("receipts", "transfers", "votes", "counted")
        return [database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]


def test_what_is_kept_is_found_again(tmp_path):
    kept = receipts(("a-1", 1), ("b-1", 4))
    KeptReceipts(tmp_path).keep(TEST.id, kept)
    again = KeptReceipts(tmp_path)
    assert again.find(TEST.id, ["a-1", "b-1", "c-1"]) == {"a-1": kept[0], "b-1": kept[1]}
    summary = again.summary(TEST.id)
    assert {billot: each.seq for billot, each in summary.items()} == {"a-1": 1, "b-1": 4}
    assert summary["a-1"].servers == keys(*SERVERS[:3])
    assert again.summary(TEST.id, ["b-1"]).keys() == {"b-1"}
    assert again.find(OTHER_NETWORK, ["a-1"]) == again.summary(OTHER_NETWORK) == {}
    assert stat.S_IMODE((tmp_path / "receipts.sqlite").stat().st_mode) == 0o600


def test_reading_makes_no_file(tmp_path):
    kept = KeptReceipts(tmp_path)
    assert kept.find(TEST.id, ["a-1"]) == kept.summary(TEST.id) == {}
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "receipts.sqlite").touch()  # a crash between making it and its first table
    assert kept.find(TEST.id, ["a-1"]) == kept.summary(TEST.id) == {}
    kept.keep(TEST.id, receipts(("a-1", 1)))
    assert kept.find(TEST.id, ["a-1"])


def test_statements_and_transfers_that_several_share_are_written_once(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(*((f"k-{n}", 1) for n in range(1, 17))))
    assert counts(kept.path) == [16, 1, 3, 48]


def test_many_ids_are_asked_for_at_once(tmp_path):
    kept = KeptReceipts(tmp_path)
    rows = [(f"k-{n}", 1) for n in range(1, 1201)]
    groups = (receipts(*rows[start : start + 16]) for start in range(0, 1200, 16))
    kept.keep(TEST.id, chain.from_iterable(groups))
    assert len(kept.find(TEST.id, [billot for billot, _ in rows])) == 1200
    assert len(kept.summary(TEST.id, [billot for billot, _ in rows])) == 1200


def test_a_later_seq_takes_the_place_and_what_nobody_needs_goes(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 1), ("b-1", 1)))
    (later,) = receipts(("a-1", 2))
    kept.keep(TEST.id, [later])
    assert kept.find(TEST.id, ["a-1"])["a-1"] == later
    assert counts(kept.path) == [2, 2, 6, 6]
    kept.keep(TEST.id, receipts(("b-1", 3)))
    assert counts(kept.path) == [2, 2, 6, 6], "the first transfer and its votes are gone"


def test_attack_an_older_receipt_never_takes_the_place_of_a_newer_one(tmp_path):
    kept = KeptReceipts(tmp_path)
    (newer,) = receipts(("a-1", 7))
    kept.keep(TEST.id, [newer])
    kept.keep(TEST.id, receipts(("a-1", 6)))
    assert kept.find(TEST.id, ["a-1"]) == {"a-1": newer}


def test_at_the_same_seq_the_votes_that_were_seen_last_are_kept(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 7)))
    kept.keep(TEST.id, receipts(("a-1", 7), servers=SERVERS[4:6]))
    assert kept.summary(TEST.id)["a-1"].servers == keys(*SERVERS[4:6])


def test_a_network_that_was_started_afresh_begins_again(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 7), ("b-1", 7)))
    kept.keep(TEST.id, receipts(("a-1", 1), ("b-1", 1)), afresh={"a-1"})
    seqs = {billot: each.seq for billot, each in kept.summary(TEST.id).items()}
    assert seqs == {"a-1": 1, "b-1": 7}


def test_one_that_can_not_be_kept_keeps_none(tmp_path):
    kept = KeptReceipts(tmp_path)
    good, bad = receipts(("a-1", 1), ("b-1", 1))

    def both():
        yield good
        raise JournalError("no more")

    with pytest.raises(JournalError):
        kept.keep(TEST.id, both())
    assert kept.summary(TEST.id) == {}
    kept.keep(TEST.id, [good, bad])
    assert len(kept.summary(TEST.id)) == 2


# -- a file that can't be used -----------------------------------------------------------------


def filled(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 1)))
    return kept


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "receipts.sqlite").write_bytes(b"receipts of the grocery store\n" * 100)
    for use in (
        lambda kept: kept.find(TEST.id, ["a-1"]),
        lambda kept: kept.keep(TEST.id, receipts(("a-1", 1))),
    ):
        with pytest.raises(JournalError, match=r"receipts.sqlite is damaged") as caught:
            use(KeptReceipts(tmp_path))
        assert "move it away" in caught.value.hint


def test_a_damaged_file_is_an_error_and_no_traceback(tmp_path):
    kept = filled(tmp_path)
    content = kept.path.read_bytes()
    told = 0
    for place in range(100, len(content), 331):
        damaged = bytearray(content)
        damaged[place : place + 64] = b"\xff" * 64
        kept.path.write_bytes(damaged)
        try:
            kept.find(TEST.id, ["a-1"])
            kept.summary(TEST.id)
            kept.keep(TEST.id, receipts(("a-1", 2)))
        except JournalError as error:
            told += error.hint is not None
    assert told


@pytest.mark.parametrize(
    ("column", "table"), [("body", "votes"), ("body", "transfers"), ("vote", "counted")]
)
def test_a_record_that_is_none_is_damage(tmp_path, column, table):
    kept = filled(tmp_path)
    with closing(sqlite3.connect(kept.path)) as database, database:
        database.execute(f"UPDATE OR IGNORE {table} SET {column} = {column} || 'x'")
    with pytest.raises(JournalError, match="is damaged"):
        kept.find(TEST.id, ["a-1"])


def test_files_of_others_and_of_newer_programs_are_left_alone(tmp_path):
    path = tmp_path / "receipts.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE songs (name)")
    for attempt in (lambda k: k.summary(TEST.id), lambda k: k.keep(TEST.id, [])):
        with pytest.raises(JournalError, match="is no file of receipts"):
            attempt(KeptReceipts(tmp_path))
    path.unlink()
    kept = filled(tmp_path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(JournalError, match="newer program"):
        kept.summary(TEST.id)


def test_a_directory_in_the_way_and_a_home_that_is_a_file(tmp_path):
    (tmp_path / "receipts.sqlite").mkdir()
    with pytest.raises(JournalError, match=r"receipts.sqlite"):
        KeptReceipts(tmp_path).keep(TEST.id, receipts(("a-1", 1)))
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="can't make directory"):
        KeptReceipts(tmp_path / "file").summary(TEST.id)


def test_a_file_that_another_keeps_locked_is_waited_for_and_then_named(tmp_path):
    kept = filled(tmp_path)
    with closing(sqlite3.connect(kept.path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match=r"another process keeps .*receipts.sqlite locked"):
            KeptReceipts(tmp_path, locked_s=0.01).keep(TEST.id, receipts(("a-1", 2)))


FULL = """
import sys, msgspec
from billots.kept_receipts import KeptReceipt, KeptReceipts
from billots.errors import JournalError
from billots.receipt import decode_receipt
try:
    receipt = decode_receipt(sys.stdin.buffer.read())
    KeptReceipts(sys.argv[1]).keep(receipt.transfer.network, [KeptReceipt("a-1", 1, receipt)])
except JournalError as error:
    print(error)
"""


def test_a_disk_that_is_full_is_a_clear_error(tmp_path):
    (kept,) = receipts(("a-1", 1))

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path],
        input=msgspec.json.encode(kept.receipt),
        capture_output=True,
        preexec_fn=small,
        check=True,
    )
    assert b"can't use" in done.stdout
    assert b"receipts.sqlite" in done.stdout
    assert KeptReceipts(tmp_path).summary(TEST.id) == {}


def test_what_was_paid_with_when_it_was_kept(tmp_path):
    kept = KeptReceipts(tmp_path)
    assert kept.payments(BOB.owner) == []
    first, second = receipts(("b-1", 4), ("a-1", 1)), receipts(("c-1", 2))
    kept.keep(TEST.id, first, at=1_700_000_000)
    kept.keep(TEST.id, second)
    kept.keep(TEST.id, receipts(("d-1", 1), owner=CAROL), at=1_700_000_001)
    told = KeptReceipts(tmp_path).payments(BOB.owner)
    assert [(each.transfer, each.at) for each in told] == [
        (first[0].receipt.transfer, 1_700_000_000),
        (second[0].receipt.transfer, None),
    ]
    assert [set(each.rows) for each in told] == [{("a-1", 1), ("b-1", 4)}, {("c-1", 2)}]


def test_what_is_kept_again_keeps_its_time(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 1)), at=100)
    kept.keep(TEST.id, receipts(("a-1", 1), servers=SERVERS[:5]), at=200)
    assert [each.at for each in kept.payments(BOB.owner)] == [100]


def test_a_billot_that_comes_again_was_received_twice(tmp_path):
    """Its receipt gives way, and the book of what came in loses no line."""
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 1), ("b-1", 1)), at=100)
    kept.keep(TEST.id, receipts(("a-1", 3)), at=300)
    assert [(each.rows, each.at) for each in kept.payments(BOB.owner)] == [
        ((("a-1", 1), ("b-1", 1)), 100),
        ((("a-1", 3),), 300),
    ]
    assert kept.summary(TEST.id)["a-1"].seq == 3


def test_a_file_of_before_has_no_book_and_gets_one(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 1)), at=100)
    with closing(sqlite3.connect(kept.path)) as database:
        database.execute("DROP TABLE received")
        database.commit()
    assert [each.at for each in kept.payments(BOB.owner)] == [None]
    kept.keep(TEST.id, receipts(("b-1", 1)), at=200)
    assert [each.at for each in kept.payments(BOB.owner)] == [None, 200]


def test_a_transfer_that_is_none_is_a_damaged_file(tmp_path):
    kept = KeptReceipts(tmp_path)
    kept.keep(TEST.id, receipts(("a-1", 1)), at=100)
    with closing(sqlite3.connect(kept.path)) as database:
        database.execute("UPDATE received SET body = ?", (b"{}",))
        database.commit()
    with pytest.raises(JournalError, match="is damaged"):
        kept.payments(BOB.owner)
