"""Votes, and how far a feed is dealt with."""

import pytest

from billots.holding import Vote
from billots.node.votes import SEQS_MAX, Ballot, Votes

X, Y = Vote("from", "x"), Vote("from", "y")


@pytest.fixture
def votes():
    return Votes(100)


def add(votes, voter, vote=X, *, billot="a-1", seq=1, lsn=1, transfer_id="t", adopted=False):
    return votes.add(voter, billot, seq, Ballot(vote, lsn, transfer_id, claim=adopted))


def counted(votes, billot="a-1", seq=0):
    return [(at, vote, len(given)) for at, vote, given in votes.above(billot, seq)]


def test_equal_votes_are_counted_by_voter(votes):
    assert [add(votes, voter, vote) for voter, vote in [("p", X), ("q", X), ("r", Y)]] == [True] * 3
    assert counted(votes) == [(1, X, 2), (1, Y, 1)]
    assert (votes.equal("a-1", 1, X), votes.equal("a-1", 1, Y)) == (2, 1)
    assert (votes.equal("a-1", 2, X), votes.equal("a-2", 1, X)) == (0, 0)


def test_the_newest_seq_comes_first_and_older_ones_not_at_all(votes):
    for seq in (3, 1, 2):
        add(votes, "p", seq=seq)
    assert [seq for seq, *_ in counted(votes, seq=2)] == [3, 2]


def test_a_vote_equals_another_only_with_the_same_owner_before(votes):
    add(votes, "p", Vote("one", "x"))
    add(votes, "q", Vote("two", "x"))
    assert [count for *_, count in counted(votes)] == [1, 1]


def test_attack_a_voter_counts_once_and_by_its_first_word(votes):
    assert add(votes, "p", X)
    assert not add(votes, "p", X, lsn=2)
    assert not add(votes, "p", Y, lsn=3)
    assert counted(votes) == [(1, X, 1)]


def test_a_voter_that_adopted_another_owner_changes_its_vote(votes):
    add(votes, "p", X, lsn=4)
    assert add(votes, "p", Y, lsn=9, adopted=True)
    assert not add(votes, "p", Y, lsn=10, adopted=True)
    votes.read("p", 10)
    assert counted(votes) == [(1, Y, 1)]
    assert votes.cursor("p") == 8


def test_votes_name_the_transfers_that_can_show_them(votes):
    add(votes, "p", transfer_id=None, adopted=True)
    add(votes, "q", transfer_id="t1")
    ((_, _, given),) = votes.above("a-1", 1)
    named = [(voter, ballot.transfer_id) for voter, ballot in given.items()]
    assert named == [("p", None), ("q", "t1")]


def test_resolving_drops_votes_up_to_a_seq(votes):
    for seq in (1, 2, 3):
        add(votes, "p", seq=seq, lsn=seq)
    votes.resolve("a-1", 2)
    assert counted(votes) == [(3, X, 1)]
    votes.resolve("a-1", 3)
    votes.resolve("a-1", 3)
    assert votes.billots == []


def test_votes_are_bounded_for_each_voter():
    votes = Votes(2)
    for number in (1, 2, 3):
        assert add(votes, "p", billot=f"a-{number}", lsn=number) is (number < 3)
    assert add(votes, "q", billot="a-3")
    assert votes.billots == ["a-1", "a-2", "a-3"]
    votes.resolve("a-1", 1)
    assert add(votes, "p", billot="a-4", lsn=4)


def test_a_vote_too_many_is_read_again_after_a_restart():
    votes = Votes(1)
    add(votes, "p", billot="a-1", lsn=5)
    add(votes, "p", billot="a-2", lsn=6)
    votes.read("p", 7)
    votes.resolve("a-1", 1)
    assert (votes.newest("p"), votes.cursor("p")) == (7, 5)


def test_votes_too_many_take_no_room():
    votes = Votes(1)
    for number in range(1, 100):
        add(votes, "p", billot=f"a-{number}")
    assert votes.billots == ["a-1"]


def test_attack_a_voter_that_names_ever_new_seqs_of_one_billot(votes):
    for seq in range(1, SEQS_MAX + 11):
        add(votes, "p", seq=seq, lsn=seq)
    add(votes, "q", seq=2)
    assert [seq for seq, *_ in counted(votes)] == [*range(SEQS_MAX + 10, 10, -1), 2]
    votes.read("p", 1000)
    assert votes.cursor("p") == 10


def test_a_voter_is_forgotten(votes):
    add(votes, "p", lsn=3)
    add(votes, "q", lsn=3)
    add(votes, "p", billot="a-2", lsn=4)
    votes.read("p", 9)
    votes.forget("p")
    votes.forget("nobody")
    assert counted(votes) == [(1, X, 1)]
    assert votes.billots == ["a-1"]
    assert (votes.newest("p"), votes.cursor("p")) == (0, 0)
    assert add(votes, "p", lsn=1)


# The cursor


def test_the_cursor_stays_below_the_oldest_open_row(votes):
    add(votes, "p", billot="a-1", lsn=3)
    add(votes, "p", billot="a-2", lsn=5)
    votes.read("p", 8)
    assert (votes.newest("p"), votes.cursor("p")) == (8, 2)
    votes.resolve("a-1", 1)
    assert votes.cursor("p") == 4
    votes.resolve("a-2", 1)
    assert votes.cursor("p") == 8


def test_a_row_is_open_until_all_of_it_is_dealt_with(votes):
    for billot in ("a-1", "a-2"):
        add(votes, "p", billot=billot, lsn=3)
    votes.hold("p", 3)
    votes.read("p", 3)
    for deal_with in (
        lambda: votes.resolve("a-1", 1),
        lambda: votes.release("p", 3),
        lambda: votes.resolve("a-2", 1),
    ):
        assert votes.cursor("p") == 2
        deal_with()
    assert votes.cursor("p") == 3


def test_what_is_released_too_often_or_unknown_does_no_harm(votes):
    votes.release("p", 3)
    votes.hold("p", 3)
    for _ in range(3):
        votes.release("p", 3)
    votes.read("p", 3)
    assert votes.cursor("p") == 3


def test_reading_never_goes_back_but_on_purpose(votes):
    votes.read("p", 9)
    votes.read("p", 4)
    assert votes.newest("p") == 9
    votes.unread("p", 7)
    assert (votes.newest("p"), votes.cursor("p")) == (6, 6)
    votes.unread("p", 8)
    assert votes.newest("p") == 6
