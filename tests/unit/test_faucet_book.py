"""A faucet's book: on disk before money leaves, and no limit that a crash or a clock lifts."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from billots.crypto import PrivateKey
from billots.errors import InputError, JournalError
from billots.faucet_book import FaucetBook, Record
from billots.network import Network
from billots.rationing import DAY_MS, HOUR_MS, Limit, Ration
from billots.transfer import Transfer

NETWORK = Network.shipped("test")
ALICE, BOB, CAROL = "a" * 128, "b" * 128, "c" * 128
KEY = PrivateKey(bytes(32))
NOON_MS = 1_800_000_000_000
RATION = Ration(gives=1_000, per_hour=3_000, per_owner=2, per_address=3)


def opened(folder, *, wall_ms=NOON_MS, steady_ms=0, ration=RATION):
    return FaucetBook.open(
        NETWORK.id, ration, wall_ms=wall_ms, steady_ms=steady_ms, directory=folder
    )


def file_of(folder):
    (path,) = folder.glob("faucet-*.jsonl")
    return path


def granted(book, *asked, at_ms=0):
    return [isinstance(book.grant(*each, at_ms), Record) for each in asked]


@pytest.fixture
def book(tmp_path):
    book = opened(tmp_path)
    yield book
    book.close()


def test_an_owner_is_given_so_much_a_day(book):
    assert granted(book, (ALICE, "1"), (ALICE, "2")) == [True, True]
    assert book.grant(ALICE, "3", 0) == (Limit.OWNER, DAY_MS)
    assert book.grant(ALICE, "3", DAY_MS - 1) == (Limit.OWNER, 1)
    assert isinstance(book.grant(ALICE, "3", DAY_MS), Record)


def test_an_address_is_given_so_much_a_day(book):
    for hour, owner in enumerate((ALICE, BOB, CAROL)):
        assert isinstance(book.grant(owner, "1", hour * HOUR_MS), Record)
    assert book.grant("d" * 128, "1", 3 * HOUR_MS) == (Limit.ADDRESS, DAY_MS - 3 * HOUR_MS)
    assert isinstance(book.grant("d" * 128, "2", 3 * HOUR_MS), Record)


def test_all_together_are_given_so_much_an_hour_and_it_slides(book):
    assert granted(book, (ALICE, "1"), at_ms=0) == [True]
    assert granted(book, (BOB, "2"), (CAROL, "3"), at_ms=1_000) == [True, True]
    assert book.left(1_000) == 0
    assert book.grant(ALICE, "4", 2_000) == (Limit.BUDGET, HOUR_MS - 2_000)
    assert book.left(HOUR_MS) == 1_000
    assert granted(book, (ALICE, "4"), (BOB, "5"), at_ms=HOUR_MS) == [True, False]


def test_what_was_taken_back_counts_no_more(book):
    for _ in range(10):
        record = book.grant(ALICE, "1", 0)
        assert isinstance(record, Record)
        book.void(record)
    assert book.left(0) == 3_000
    assert book.by_owner(ALICE) is None


def test_a_grant_is_on_disk_before_anybody_hears_of_it(tmp_path):
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); import test_faucet_book as t;"
        "from pathlib import Path; book = t.opened(Path(sys.argv[1]));"
        "book.grant(t.ALICE, '1', 0); book.grant(t.ALICE, '1', 0); os.kill(os.getpid(), 9)"
    )
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", script, tmp_path, here], check=False)
    assert done.returncode == -9
    book = opened(tmp_path, wall_ms=NOON_MS + 60_000)
    assert book.grant(ALICE, "9", 0) == (Limit.OWNER, DAY_MS - 60_000)
    assert len(book.open_records()) == 2
    book.close()


def test_attack_a_start_anew_lifts_no_limit(tmp_path):
    for minute in range(5):
        book = opened(tmp_path, wall_ms=NOON_MS + minute * 60_000)
        assert granted(book, (ALICE, "1")) == [minute < 2]
        book.close()


def test_attack_a_clock_that_is_put_back_lifts_no_limit(tmp_path):
    book = opened(tmp_path)
    granted(book, (ALICE, "1"), (ALICE, "2"))
    book.close()
    book = opened(tmp_path, wall_ms=NOON_MS - 400 * DAY_MS)
    assert book.grant(ALICE, "3", 0) == (Limit.OWNER, DAY_MS)
    book.close()


def test_a_clock_that_is_put_back_locks_nobody_out_for_ever(tmp_path):
    book = opened(tmp_path)
    granted(book, (ALICE, "1"), (ALICE, "2"))
    book.close()
    book = opened(tmp_path, wall_ms=NOON_MS - 400 * DAY_MS)
    assert granted(book, (ALICE, "3"), at_ms=DAY_MS) == [True]
    book.close()


def test_with_a_wrong_clock_time_goes_on_over_many_starts(tmp_path):
    book = opened(tmp_path)
    granted(book, (ALICE, "1"), (ALICE, "2"))
    book.close()
    for _ in range(25):  # for an hour each, in which somebody asks in vain
        book = opened(tmp_path, wall_ms=0)
        last = granted(book, (ALICE, "3"), at_ms=HOUR_MS)
        book.close()
        if last == [True]:
            return
    raise AssertionError("still locked out")


def test_a_clock_put_back_and_right_again_lifts_no_limit(tmp_path):
    """The wall clock is wrong while it is granted, and right at the next start."""
    book = opened(tmp_path)
    granted(book, (BOB, "1"))
    book.close()
    book = opened(tmp_path, wall_ms=NOON_MS - 100 * DAY_MS)
    granted(book, (ALICE, "1"), (ALICE, "2"))
    book.close()
    book = opened(tmp_path, wall_ms=NOON_MS + 1_000)
    assert granted(book, (ALICE, "3")) == [False]
    book.close()


def test_what_is_signed_and_paid_is_known_after_a_start(tmp_path):
    book = opened(tmp_path)
    first, second = book.grant(ALICE, "1", 0), book.grant(BOB, "2", 0)
    transfer = Transfer.sign(NETWORK, KEY, ALICE, [("a-1", 1), ("b-1", 1)])
    book.signed(first, transfer)
    book.paid(first)
    book.close()
    book = opened(tmp_path)
    record = book.by_transfer(transfer.id)
    assert (record.paid, record.billots) == (True, (("a-1", 1), ("b-1", 1)))
    assert [each.granted for each in book.open_records()] == [second.granted]
    book.close()


def test_the_file_stays_small_and_open_grants_stay_in_it(tmp_path):
    many = Ration(gives=1, per_hour=4_000, per_owner=1, per_address=10_000)
    book = opened(tmp_path, ration=many)
    first = book.grant(ALICE, "1", 0)
    for number in range(1, 1_200):
        record = book.grant(f"{number:0128x}", "1", number * HOUR_MS)
        book.paid(record)
    assert len(file_of(tmp_path).read_bytes().splitlines()) < 1_200
    book.close()
    book = opened(tmp_path, ration=many)
    assert [each.granted for each in book.open_records()] == [first.granted]
    book.close()


def test_no_address_is_in_the_file_and_it_is_nobody_elses(tmp_path, book):
    book.grant(ALICE, "203.0.113.77", 0)
    path = file_of(tmp_path)
    assert b"203.0.113" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_hash_of_an_address_is_the_books_own(tmp_path):
    hashes = set()
    for name in ("a", "b"):
        book = opened(tmp_path / name)
        hashes.add(book.grant(ALICE, "1", 0).granted.address)
        book.close()
    assert len(hashes) == 2


def test_a_line_that_a_crash_cut_off_is_none(tmp_path):
    book = opened(tmp_path)
    granted(book, (ALICE, "1"))
    book.close()
    with file_of(tmp_path).open("ab") as file:
        file.write(b'{"kind":"grant","number":9')
    book = opened(tmp_path)
    assert granted(book, (ALICE, "1"), (ALICE, "1")) == [True, False]
    book.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not the book of a faucet"),
        (b"notes of mine\n", "is not the book of a faucet"),
        (b'{"kind":"tick","at_ms":1}\n', "is not the book of this network's faucet"),
        (
            b'{"kind":"faucet","version":1,"network":"x","key":"' + b"0" * 64 + b'"}\n',
            "is not the book of this network's faucet",
        ),
    ],
)
def test_a_file_that_is_no_book_is_left_alone(tmp_path, content, message):
    opened(tmp_path).close()
    file_of(tmp_path).write_bytes(content)
    with pytest.raises(JournalError, match=message):
        opened(tmp_path)
    assert file_of(tmp_path).read_bytes() == content


def test_a_damaged_line_is_named(tmp_path):
    opened(tmp_path).close()
    with file_of(tmp_path).open("ab") as file:
        file.write(b'{"kind":"paid","number":7}\n')
    with pytest.raises(JournalError, match="is damaged in line 3"):
        opened(tmp_path)


def test_two_faucets_never_share_a_book(tmp_path, book):
    with pytest.raises(JournalError, match="another faucet has"):
        opened(tmp_path)


def test_attack_a_full_disk_lifts_no_limit(tmp_path):
    """What can't be written is not granted, and what a failed write left behind is taken back."""
    book = opened(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = file_of(tmp_path).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(JournalError, match="can't write"):
            book.grant(ALICE, "1", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file_of(tmp_path).stat().st_size == size
    assert book.left(0) == 3_000
    assert granted(book, (ALICE, "1"), (ALICE, "1"), (ALICE, "1")) == [True, True, False]
    book.close()


def test_a_book_is_closed_for_good_when_a_failed_write_cannot_be_taken_back(tmp_path):
    book = opened(tmp_path)
    os.close(book._descriptor)
    book._descriptor = os.open(file_of(tmp_path), os.O_RDONLY)
    for _ in range(2):
        with pytest.raises(JournalError):
            book.grant(ALICE, "1", 0)
    book.close()


@pytest.mark.parametrize(
    "numbers",
    [(0, 10, 1, 1), (10, 9, 1, 1), (10, 10, 0, 1), (10, 10, 1, 0), (1, 4_001, 1, 1)],
)
def test_rations_that_make_no_sense(numbers):
    with pytest.raises(InputError):
        Ration(*numbers)
