"""The journal: on disk before it is sent, never two owners for one (billot, seq)."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from billots import journal as journal_module
from billots.crypto import PrivateKey
from billots.errors import AlreadySigned, JournalError
from billots.journal import Journal
from billots.network import Network
from billots.order import Order
from billots.transfer import Transfer

TEST = Network.shipped("test")
KEY = PrivateKey(bytes(32))
ALICE, BOB = "a" * 128, "b" * 128
ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


def signed(to=ALICE, rows=(("a-1", 1),), key=KEY):
    return Transfer.sign(TEST, key, to, rows)


def opened(tmp_path, owner=KEY.owner):
    journal = Journal.open(owner, tmp_path)
    assert journal is not None
    return journal


def file_of(tmp_path):
    (path,) = tmp_path.glob("journal-*")
    return path


def test_what_was_signed_is_found_again_byte_by_byte(tmp_path):
    transfer = signed(rows=[("a-1", 1), ("b-7", 3)])
    with opened(tmp_path) as journal:
        journal.sign(transfer, [ONE])
    with opened(tmp_path) as journal:
        for row in transfer.billots:
            (entry,) = journal.find(TEST.id, [row])
            assert entry.transfer == transfer
            assert entry.servers == {ONE}
            assert not entry.answered
        assert len(journal.find(TEST.id, transfer.billots)) == 1
        assert journal.find(TEST.id, [("a-1", 2), ("b-7", 1), ("b-8", 3)]) == []
        assert journal.find("0" * 32, transfer.billots) == []


def test_a_second_owner_for_a_row_is_refused_and_the_hint_sends_the_first(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed(ALICE, [("a-1", 1), ("b-7", 3)]))
        with pytest.raises(AlreadySigned, match=r"already signed over.*a-1") as caught:
            journal.sign(signed(BOB, [("b-7", 3), ("c-1", 1)]))
        assert caught.value.hint == f"bwallet --transfer a-1,b-7 {ALICE} sends that one again"
        journal.sign(signed(BOB, [("b-7", 4)]))
        journal.sign(signed(ALICE, [("a-1", 1)]))
    with opened(tmp_path) as journal, pytest.raises(AlreadySigned):
        journal.sign(signed(BOB))


def test_the_file_and_its_directory_are_the_owners_alone(tmp_path):
    directory = tmp_path / "new"
    with opened(directory) as journal:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_attack_a_journal_without_end_is_full_before_it_can_not_be_read(tmp_path, monkeypatch):
    """A flood of small payments, from a faucet's page for example, ends in words, not in a lock."""
    monkeypatch.setattr("billots.journal._FILE_BYTES_MAX", 6_000)
    monkeypatch.setattr("billots.journal._SPARE_BYTES", 1_000)
    last = signed()
    with pytest.raises(JournalError, match="is full") as caught:  # noqa: PT012 - until it is
        for number in range(1, 100):
            with opened(tmp_path) as journal:
                last = signed(rows=[(f"k-{number}", 1)])
                journal.sign(last, [ONE])
    assert "move it away" in caught.value.hint
    with opened(tmp_path) as journal:  # what is signed is finished, and nothing else is signed
        whole = journal.entries
        assert len(whole) > 5
        assert last.id not in [entry.transfer.id for entry in whole]
        with pytest.raises(JournalError, match="is full"):
            journal.order(Order(TEST.id, ALICE, "amount 1", (("a-", 1, 9),)))
        assert journal.orders(TEST.id) == []
        journal.answered(whole[-1].transfer.id, ONE)
        journal.final(whole[-1].transfer.id)
    with opened(tmp_path) as journal:
        assert journal.entries[-1].final
        assert file_of(tmp_path).stat().st_size <= 6_000


def test_attack_a_long_journal_is_not_read_from_its_beginning_for_each_payment(
    tmp_path, monkeypatch
):
    """Or a faucet that has paid for some weeks would stand still for seconds at each claim."""
    read = []
    decode = journal_module.decode_line
    monkeypatch.setattr(
        journal_module, "decode_line", lambda line: read.append(line) or decode(line)
    )
    last = None
    for number in range(1, 30):
        with Journal.open(KEY.owner, tmp_path, last) as last:
            last.sign(signed(rows=[(f"k-{number}", 1)]), [ONE])
        with opened(tmp_path) as other:  # another process's
            other.answered(signed(rows=[(f"k-{number}", 1)]).id, TWO)
    with opened(tmp_path) as whole:
        before = len(read)
    with Journal.open(KEY.owner, tmp_path, last) as last:
        assert len(read) - before == 1, "the last one of the other"
        assert last.entries == whole.entries
        assert last.rows(TEST.id) == whole.rows(TEST.id)
        with pytest.raises(AlreadySigned):
            last.sign(signed(BOB, [("k-1", 1)]))


def _put_back(path, content):
    path.write_bytes(content)


def _replace(path, content):
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("change", [_put_back, _replace])
def test_attack_a_journal_that_was_changed_is_read_whole(tmp_path, change):
    """A copy of before was put back, maybe of the same length: nothing is known of it."""
    copies = []
    last = None
    for number in (1, 2, 3):
        with Journal.open(KEY.owner, tmp_path, last) as last:
            copies.append(file_of(tmp_path).read_bytes())
            last.sign(signed(rows=[(f"k-{number}", 1)]), [ONE])
    whole = file_of(tmp_path).read_bytes()
    change(file_of(tmp_path), copies[2])
    with Journal.open(KEY.owner, tmp_path, last) as last:
        assert last.rows(TEST.id) == {("k-1", 1), ("k-2", 1)}
    change(file_of(tmp_path), whole.replace(b"k-3", b"k-9"))
    with Journal.open(KEY.owner, tmp_path, last) as last:
        assert last.rows(TEST.id) == {("k-1", 1), ("k-2", 1), ("k-9", 1)}
    change(file_of(tmp_path), whole[:-20] + b"x" * 19 + b"\n")
    with pytest.raises(JournalError, match="damaged in line 4"):
        Journal.open(KEY.owner, tmp_path, last)
    change(file_of(tmp_path), whole)
    with Journal.open(KEY.owner, tmp_path, last) as last:
        assert last.rows(TEST.id) == {("k-1", 1), ("k-2", 1), ("k-3", 1)}


def test_after_a_write_that_could_not_be_taken_back_it_is_read_whole(tmp_path, monkeypatch):
    with opened(tmp_path) as last:
        last.sign(signed(), [ONE])

        def failing(*_):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as failed:
            failed.setattr("billots.journal.os.fsync", failing)
            failed.setattr("billots.journal.os.ftruncate", failing)
            with pytest.raises(JournalError):
                last.sign(signed(rows=[("k-1", 1)]), [ONE])
        last.answered(signed().id, TWO)
    with Journal.open(KEY.owner, tmp_path, last) as last:
        assert last.rows(TEST.id) == {("a-1", 1), ("k-1", 1)}
        assert last.entries[0].answered


def test_what_is_damaged_in_what_was_added_is_named_and_read_again(tmp_path):
    with opened(tmp_path) as last:
        last.sign(signed(), [ONE])
    good = file_of(tmp_path).read_bytes()
    with file_of(tmp_path).open("ab") as file:
        file.write(b'{"kind":"final","transfer_id":"' + b"0" * 64 + b'"}\n')
    for _ in range(2):
        with pytest.raises(JournalError, match="damaged in line 3"):
            Journal.open(KEY.owner, tmp_path, last)
    file_of(tmp_path).write_bytes(good + b'{"kind":"fin')  # a crash in the middle
    with Journal.open(KEY.owner, tmp_path, last) as last:
        last.final(signed().id)
    with opened(tmp_path) as whole:
        assert whole.entries[0].final
        assert len(file_of(tmp_path).read_bytes().splitlines()) == 3


def test_it_is_locked_while_it_is_open(tmp_path):
    with opened(tmp_path):
        assert Journal.open(KEY.owner, tmp_path) is None
        code = "import sys; from billots.journal import Journal; print(Journal.open(*sys.argv[1:]))"
        command = [sys.executable, "-c", code, KEY.owner, str(tmp_path)]
        other = subprocess.run(command, capture_output=True, check=True)
        assert other.stdout == b"None\n"
        with opened(tmp_path, ALICE):
            pass
    opened(tmp_path).close()


@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_crash_in_the_middle_of_an_append_costs_only_that_line(tmp_path, cut):
    with opened(tmp_path) as journal:
        journal.sign(signed())
        size = journal.path.stat().st_size
        journal.sign(signed(BOB, [("b-1", 1)]))
    os.truncate(file_of(tmp_path), file_of(tmp_path).stat().st_size - cut)
    with opened(tmp_path) as journal:
        assert journal.find(TEST.id, [("b-1", 1)]) == []
        assert len(journal.find(TEST.id, [("a-1", 1)])) == 1
        assert journal.path.stat().st_size == size
        journal.sign(signed(ALICE, [("b-1", 1)]))
    with opened(tmp_path) as journal:
        assert journal.find(TEST.id, [("b-1", 1)])[0].transfer.to == ALICE


def test_every_length_that_a_crash_can_leave_opens_again(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed())
        journal.answered(signed().id, ONE)
    path = file_of(tmp_path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with opened(tmp_path) as journal:
            whole = content[:length].count(b"\n")
            assert len(journal.find(TEST.id, [("a-1", 1)])) == (whole >= 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"somebody's notes", "is not a journal"),
        (b"somebody's\nnotes\n", "is not this owner's journal"),
        (b"\xff\xfe\n", "is not this owner's journal"),
    ],
)
def test_a_foreign_file_is_refused_and_left_as_it_is(tmp_path, content, message):
    opened(tmp_path).close()
    file_of(tmp_path).write_bytes(content)
    with pytest.raises(JournalError, match=message) as caught:
        Journal.open(KEY.owner, tmp_path)
    assert caught.value.hint
    assert file_of(tmp_path).read_bytes() == content


@pytest.mark.parametrize("line", [b"{}", b"{", b'{"kind":"answered"}', b"\xff"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path, line):
    with opened(tmp_path) as journal:
        journal.sign(signed())
    with file_of(tmp_path).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(JournalError, match="is damaged in line 3"):
        Journal.open(KEY.owner, tmp_path)


def test_a_journal_that_can_not_be_opened_is_a_clear_error(tmp_path):
    (tmp_path / f"journal-{KEY.owner[:32]}.jsonl").mkdir()
    with pytest.raises(JournalError, match=r"can't open journal.*Is a directory") as caught:
        Journal.open(KEY.owner, tmp_path)
    assert "XDG_DATA_HOME" in caught.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="can't make directory"):
        Journal.open(KEY.owner, tmp_path / "file" / "below")


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / f"journal-{KEY.owner[:32]}.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError):
        Journal.open(KEY.owner, tmp_path)


def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed())
        size = journal.path.stat().st_size
    code = """if True:
        import sys
        sys.path.insert(0, sys.argv[2])
        from test_journal import *
        with opened(Path(sys.argv[1])) as journal:
            try:
                journal.sign(signed(BOB, [("b-1", 1)]))
            except JournalError as error:
                print(error)
            assert journal.find(TEST.id, [("b-1", 1)]) == []
    """
    run = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        check=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, size + 20)),
    )
    assert "can't write journal" in run.stdout
    assert "File too large" in run.stdout
    assert file_of(tmp_path).stat().st_size == size
    with opened(tmp_path) as journal:
        assert len(journal.find(TEST.id, [("a-1", 1)])) == 1


def test_an_entry_lapses_once_all_who_knew_of_it_are_gone(tmp_path):
    transfer = signed()
    with opened(tmp_path) as journal:
        journal.sign(transfer, [ONE])
        (entry,) = journal.find(TEST.id, transfer.billots)
        assert not journal.lapse(entry, [THREE]), "nobody answered it yet: it may be on its way"
        journal.answered(transfer.id, TWO)
    with opened(tmp_path) as journal:
        (entry,) = journal.find(TEST.id, transfer.billots)
        assert entry.answered
        assert entry.servers == {ONE, TWO}
        assert not journal.lapse(entry, [])
        assert not journal.lapse(entry, [ONE, THREE])
        assert not journal.lapse(entry, [TWO, THREE])
        assert journal.lapse(entry, [THREE])
        journal.sign(signed(BOB), [THREE])
    with opened(tmp_path) as journal:
        (entry,) = journal.find(TEST.id, transfer.billots)
        assert entry.transfer.to == BOB
        assert not journal.lapse(entry, [ONE])


def test_an_entry_that_lapses_leaves_the_others_of_its_billots(tmp_path):
    both, alone = signed(rows=[("a-1", 1), ("b-7", 3)]), signed()
    with opened(tmp_path) as journal:
        for transfer, server in ((both, ONE), (alone, TWO)):
            journal.sign(transfer)
            journal.answered(transfer.id, server)
        first, second = journal.find(TEST.id, [("a-1", 1)])
        assert (first.transfer, second.transfer) == (both, alone)
        assert journal.lapse(second, [ONE])
        assert not journal.lapse(first, [ONE])
    with opened(tmp_path) as journal, pytest.raises(AlreadySigned):
        journal.sign(signed(BOB))


def test_an_answer_to_what_it_does_not_hold_is_not_written(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed())
        journal.answered(signed().id, ONE)
        size = journal.path.stat().st_size
        journal.answered(signed().id, ONE)
        journal.answered("0" * 64, ONE)
        assert journal.path.stat().st_size == size


# -- payments ----------------------------------------------------------------------------------


def test_a_payment_is_unfinished_until_it_is_seen_to_be_final(tmp_path):
    first, second = signed(), signed(BOB, [("b-1", 1)])
    with opened(tmp_path) as journal:
        journal.sign(first, [ONE], pays=100_000)
        journal.sign(second)  # no amount: a transfer of billots that somebody named
    with opened(tmp_path) as journal:
        (entry,) = journal.payments(TEST.id)
        assert (entry.transfer, entry.pays, entry.final) == (first, 100_000, False)
        assert journal.payments("0" * 32) == []
        journal.final(first.id)
        assert journal.payments(TEST.id) == []
    with opened(tmp_path) as journal:
        assert journal.payments(TEST.id) == []
        size = journal.path.stat().st_size
        journal.final(first.id)
        journal.final("0" * 64)
        assert journal.path.stat().st_size == size, "said once"


def test_all_that_is_signed_over(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed(rows=[("a-1", 1), ("b-7", 3)]), [ONE])
        assert journal.rows(TEST.id) == {("a-1", 1), ("b-7", 3)}
        assert journal.rows("0" * 32) == set()
        (entry,) = journal.find(TEST.id, [("a-1", 1)])
        journal.answered(entry.transfer.id, ONE)
        assert journal.lapse(entry, [TWO])
        assert journal.rows(TEST.id) == set()


def test_what_ends_an_open_leaves_no_lock(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_load", killed)
        with pytest.raises(Killed):
            Journal.open(KEY.owner, tmp_path)
    opened(tmp_path).close()


def test_what_it_was_for_and_when_it_was_signed(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed(), pays=5, ref="Rechnung 17 ✓", at=1_700_000_000)
    with opened(tmp_path) as journal:
        (entry,) = journal.entries
        assert (entry.pays, entry.ref, entry.at) == (5, "Rechnung 17 ✓", 1_700_000_000)


def test_lines_of_before_have_neither(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(signed(), [ONE], 5)
        line = journal.path.read_bytes().splitlines()[1]
    assert b'"ref"' not in line
    assert b'"at"' not in line
    with opened(tmp_path) as journal:
        (entry,) = journal.entries
        assert (entry.ref, entry.at) == (None, None)


@pytest.mark.parametrize("more", ['"ref":""', f'"ref":"{"x" * 65}"', '"at":-1', '"at":1.5'])
def test_a_line_with_what_no_wallet_writes_is_damaged(tmp_path, more):
    with opened(tmp_path) as journal:
        journal.sign(signed(), pays=5)
    path = file_of(tmp_path)
    path.write_text(path.read_text().replace('"pays":5', f'"pays":5,{more}'))
    with pytest.raises(JournalError, match="is damaged in line 2"):
        opened(tmp_path)
