"""The two books: what a crash can leave, what is refused, and steps in an order that can't be."""

import fcntl
import stat

import pytest

from billots.change_book import ChangeBook
from billots.crypto import PrivateKey
from billots.errors import JournalError
from billots.exchange_book import ExchangeBook
from billots.network import Network
from billots.quote import Quote
from billots.transfer import Transfer
from billots.user_data import replace_file

TEST = Network.shipped("test")
TILL, CUSTOMER, FRESH = (PrivateKey(bytes([number]) * 32) for number in range(1, 4))
ASKED = "ab" * 32


def quote(number=1):
    return Quote.sign(
        TILL,
        network_id=TEST.id,
        customer=CUSTOMER.owner,
        pay=FRESH.owner,
        until=number,
        give=[("c-1", number)],
        get=[("d-1", number), ("d-2", 1)],
    )


PAID = Transfer.sign(TEST, CUSTOMER, FRESH.owner, quote().give)
CHANGE = Transfer.sign(TEST, TILL, CUSTOMER.owner, quote().get)
REFUND = Transfer.sign(TEST, FRESH, CUSTOMER.owner, [("c-1", 2)])
SWEEP = Transfer.sign(TEST, FRESH, TILL.owner, [("c-1", 2)])


def filled(tmp_path):
    book = ChangeBook.open(TILL.owner, tmp_path)
    entry = book.quoted(quote(), ASKED, FRESH)
    book.paid(entry, PAID)
    book.paid(entry, PAID)
    book.answer(entry, "change", CHANGE)
    book.given(entry)
    book.given(entry)
    book.sweep(entry, SWEEP)
    book.closed(entry)
    return book


def file_of(tmp_path):
    (path,) = tmp_path.glob("*.jsonl")
    return path


def test_all_steps_are_read_again(tmp_path):
    filled(tmp_path).close()
    book = ChangeBook.open(TILL.owner, tmp_path)
    (entry,) = book
    assert (entry.quote, entry.paid, entry.answer, entry.sweep) == (quote(), PAID, CHANGE, SWEEP)
    assert (entry.what, entry.given, entry.closed) == ("change", True, True)
    assert entry.key.owner == FRESH.owner
    assert book.asked(ASKED) is entry
    assert book.find("0" * 64) is None
    assert len(file_of(tmp_path).read_text().splitlines()) == 7, "nothing is written twice"
    book.close()


def test_attack_the_keys_in_a_book_are_read_by_nobody_else(tmp_path):
    filled(tmp_path / "new").close()
    path = file_of(tmp_path / "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_every_length_that_a_crash_can_leave_opens_again(tmp_path):
    filled(tmp_path).close()
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        ChangeBook.open(TILL.owner, tmp_path).close()
        lines = whole[:length].count(b"\n")
        assert path.read_bytes().count(b"\n") == max(1, lines)
        assert whole.startswith(path.read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"something else\n" + whole,
        lambda whole: whole.replace(b'"quoted"', b'"quotes"'),
        lambda whole: whole.replace(b'"seed":"0', b'"seed":"x'),
        lambda whole: b"\n".join([*whole.split(b"\n")[:1], *whole.split(b"\n")[2:]]),
        lambda whole: b"a stranger's file",
    ],
)
def test_what_is_damaged_is_refused_and_left_alone(tmp_path, damage):
    filled(tmp_path).close()
    path = file_of(tmp_path)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(JournalError):
        ChangeBook.open(TILL.owner, tmp_path)
    assert path.read_bytes() == damaged


def test_one_process_at_a_time(tmp_path):
    book = ChangeBook.open(TILL.owner, tmp_path)
    with pytest.raises(JournalError, match="locked"):
        ChangeBook.open(TILL.owner, tmp_path)
    book.close()
    ChangeBook.open(TILL.owner, tmp_path).close()
    with ExchangeBook.open(CUSTOMER.owner, tmp_path):
        assert ExchangeBook.open(CUSTOMER.owner, tmp_path) is None


def test_attack_a_link_in_the_place_of_a_book(tmp_path):
    target = tmp_path / "target"
    target.write_text("")
    (tmp_path / f"change-{TILL.owner[:32]}.jsonl").symlink_to(target)
    with pytest.raises(JournalError):
        ChangeBook.open(TILL.owner, tmp_path)


def test_attack_a_change_that_left_never_becomes_a_refund(tmp_path):
    book = ChangeBook.open(TILL.owner, tmp_path)
    entry = book.quoted(quote(), ASKED, FRESH)
    book.answer(entry, "change", CHANGE)
    book.answer(entry, "refund", REFUND)  # it never left: what its notes were for is signed away
    with pytest.raises(AssertionError):
        book.answer(entry, "change", CHANGE)
    with pytest.raises(AssertionError):
        book.sweep(entry, SWEEP)
    book.given(entry)
    with pytest.raises(AssertionError):
        book.answer(entry, "refund", REFUND)
    book.close()


def test_steps_that_would_lose_money_are_not_written(tmp_path):
    book = ChangeBook.open(TILL.owner, tmp_path)
    entry = book.quoted(quote(), ASKED, FRESH)
    with pytest.raises(AssertionError):
        book.quoted(quote(2), ASKED, TILL)
    with pytest.raises(AssertionError):
        book.paid(entry, CHANGE)
    with pytest.raises(AssertionError):
        book.answer(entry, "change", SWEEP)
    book.answer(entry, "change", CHANGE)
    with pytest.raises(AssertionError):
        book.sweep(entry, SWEEP)  # before its customer has the change
    book.close()


def test_a_wallets_exchanges(tmp_path):
    assert not ExchangeBook.path(CUSTOMER.owner, tmp_path).exists()
    with ExchangeBook.open(CUSTOMER.owner, tmp_path) as book:
        book.quoted(quote(), "a.org:7340")
        book.quoted(quote(), "a.org:7340")
        book.quoted(quote(2), "a.org:7340")
        book.taken(quote(), ())
        book.over(quote(2))
        book.over(quote(2))
    with ExchangeBook.open(CUSTOMER.owner, tmp_path) as book:
        (one,) = book.open_ones(TEST.id)
        assert (one.quote, one.host, one.receipts) == (quote(), "a.org:7340", ())
        assert book.open_ones("0" * 32) == []


def test_a_book_that_is_nearly_full_takes_the_steps_of_old_quotes(tmp_path, monkeypatch):
    book = ChangeBook.open(TILL.owner, tmp_path)
    entry = book.quoted(quote(), ASKED, FRESH)
    monkeypatch.setattr("billots.change_book.QUOTES_BYTES_MAX", 10)
    with pytest.raises(JournalError, match="no more quotes"):
        book.quoted(quote(2), ASKED, FRESH)
    book.paid(entry, PAID)
    book.answer(entry, "change", CHANGE)
    book.close()


def test_attack_exchanges_without_end_do_not_fill_the_book_for_ever(tmp_path, monkeypatch):
    """At a start the oldest of those that are at their end are dropped, and nothing else."""
    book = ChangeBook.open(TILL.owner, tmp_path)
    for number in range(1, 6):
        entry = book.quoted(quote(number), f"{number:064x}", FRESH)
        if number == 2:
            continue  # never paid: money may still come
        book.answer(entry, "change", CHANGE)
        if number != 3:
            book.given(entry)
            book.closed(entry)
    before = {entry.quote.id: entry for entry in book}
    book.close()
    monkeypatch.setattr("billots.change_book.CLOSED_KEPT", 1)
    ChangeBook.open(TILL.owner, tmp_path).close()
    whole = file_of(tmp_path).read_bytes()
    monkeypatch.setattr("billots.change_book.SHORTENED_BYTES", 0)
    book = ChangeBook.open(TILL.owner, tmp_path)
    kept = [quote(number).id for number in (2, 3, 5)]
    assert [entry.quote.id for entry in book] == kept
    assert [*book] == [before[quote_id] for quote_id in kept]
    assert len(file_of(tmp_path).read_bytes()) < len(whole)
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    book.quoted(quote(9), ASKED, FRESH)
    with pytest.raises(JournalError, match="locked"):
        ChangeBook.open(TILL.owner, tmp_path)
    book.close()
    again = ChangeBook.open(TILL.owner, tmp_path)
    assert [entry.quote.id for entry in again] == [*kept, quote(9).id]
    again.close()


def test_attack_a_book_that_was_shortened_meanwhile_is_not_kept_twice(tmp_path, monkeypatch):
    """Who opened the old file just before has its lock now, and would write for nobody."""
    filled(tmp_path).close()
    path = file_of(tmp_path)
    lock = fcntl.flock

    def later(descriptor, how):
        replace_file(path, path.read_bytes())
        lock(descriptor, how)

    with monkeypatch.context() as patch:
        patch.setattr("billots.appended.fcntl.flock", later)
        with pytest.raises(JournalError, match="locked"):
            ChangeBook.open(TILL.owner, tmp_path)
    ChangeBook.open(TILL.owner, tmp_path).close()


def test_a_full_file_takes_nothing_more(tmp_path, monkeypatch):
    book = ChangeBook.open(TILL.owner, tmp_path)
    before = file_of(tmp_path).read_bytes()
    monkeypatch.setattr("billots.appended.FILE_BYTES_MAX", len(before) + 10)
    with pytest.raises(JournalError, match="is full"):
        book.quoted(quote(), ASKED, FRESH)
    assert [*book] == []
    assert file_of(tmp_path).read_bytes() == before
    book.close()
