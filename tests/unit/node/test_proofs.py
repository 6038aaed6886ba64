"""Signed votes kept to be shown to others."""

import pytest
from network import ANN, BOB, MINT, NET, SERVER_KEYS, adopted, claimed, fed, row, sign, stated

from billots.crypto import verify
from billots.feed import FeedBatch, TransferRow
from billots.node.proofs import ReadBatch, shown_vote
from billots.receipt import Receipt, checks

KEY = SERVER_KEYS[0]
FIRST = sign(MINT, ANN, "a-1 1", "a-2 1")


def batch(*rows):
    return ReadBatch(FeedBatch.sign(NET.id, KEY, rows))


def holds(vote, transfer=FIRST):
    """The rows of the transfer that a vote is for, if what it was signed with holds."""
    given = Receipt(transfer, (vote,))
    assert all(verify(*check) for check in checks(given))
    return [row for word in given.words() for row in sorted(word.rows)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 255, 256])
def test_any_row_of_a_batch_is_a_vote_by_itself(count):
    around = [TransferRow(lsn, f"{lsn:064x}") for lsn in range(1, count + 1)]
    for place in {0, count // 2, count - 1}:
        rows = list(around)
        rows[place] = row(place + 1, FIRST)
        vote = batch(*rows).vote(place + 1)
        assert (vote.feed.index, vote.feed.count) == (place, count)
        assert holds(vote) == [("a-1", 1), ("a-2", 1)]


def test_attack_a_batch_of_which_little_is_kept_is_cut_down_to_that():
    """Else one open row would keep a frame full of others in memory."""
    others = [TransferRow(lsn, f"{lsn:064x}", ("a-1",) * 50) for lsn in range(2, 60)]
    read = batch(row(1, FIRST), *others)
    size = sum(map(len, read.batch.rows))
    read.keep({1, 2})
    assert size > 10_000
    assert read.batch.rows == ()
    assert holds(read.vote(1)) == [("a-1", 1), ("a-2", 1)]
    assert read.vote(3) is None


@pytest.mark.parametrize("lsns", [set(), {1, 2, 3}, set(range(1, 101))])
def test_a_batch_that_is_small_or_needed_is_kept_as_it_is(lsns):
    count = 100 if len(lsns) != 3 else 3
    read = batch(*(TransferRow(lsn, f"{lsn:064x}") for lsn in range(1, count + 1)))
    read.keep(lsns)
    assert len(read.batch.rows) == count


def test_the_row_with_this_very_lsn():
    """Not one that only begins with the same digits."""
    read = batch(row(1, sign(MINT, BOB, "a-9 1")), row(10, FIRST), row(100, FIRST, "a-2"))
    assert holds(read.vote(10)) == [("a-1", 1), ("a-2", 1)]
    assert holds(read.vote(100)) == [("a-2", 1)]
    assert read.vote(1000) is None
    assert read.vote(0) is None
    assert batch(row(10, FIRST)).vote(1) is None


def test_the_hashes_of_a_batch_are_made_once():
    read = batch(row(1, FIRST), row(2, FIRST))
    assert read.tree is read.tree


def test_an_adopted_row_is_shown_as_a_claim():
    vote = batch(adopted(3, FIRST, "a-2")).vote(3)
    (word,) = Receipt(FIRST, (vote,)).words()
    assert (word.rows, word.claims) == ({("a-2", 1)}, {("a-2", 1)})


@pytest.mark.parametrize("status", [stated, claimed])
def test_a_statement_is_shown_as_it_is(status):
    vote = status(KEY, FIRST)
    assert shown_vote(vote.statement, 0) == vote
    assert holds(shown_vote(vote.statement, 0)) == [("a-1", 1), ("a-2", 1)]


def test_a_vote_that_was_shown_is_shown_again():
    for vote in (stated(KEY, FIRST), fed(KEY, row(5, FIRST))):
        assert shown_vote(vote, 0) is vote


def test_a_row_of_a_batch_by_its_lsn():
    assert shown_vote(batch(row(4, FIRST)), 4).feed.row == row(4, FIRST).text
    assert shown_vote(batch(row(4, FIRST)), 5) is None


def test_what_was_kept_without_proof_is_not_shown():
    assert shown_vote(None, 4) is None
