"""Votes counted once for a transfer come to what they come to one by one."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network import ANN, BOB, CAT, DAN, MINT, alone_with, row, sign

from billots.crypto import verify
from billots.receipt import Electorate, checks, decode_receipt, judge

TRANSFERS = (
    sign(MINT, ANN, "a-1 1", "a-2 1"),
    sign(MINT, BOB, "a-1 1"),
    sign(MINT, ANN, "a-1 1"),
    sign(MINT, ANN, "a-2 1"),
    sign(ANN, CAT, "a-1 2"),
    sign(ANN, CAT, "a-1 2", "a-2 2"),
    sign(BOB, DAN, "a-1 2"),
    sign(CAT, DAN, "a-2 3"),
)
PEERS = range(3)

numbers = st.integers(0, len(TRANSFERS) - 1)
EVENTS = st.one_of(
    st.tuples(st.just("submit"), numbers),
    st.tuples(st.just("feed"), numbers, st.sampled_from(PEERS), st.booleans()),
    st.tuples(st.just("feed"), numbers, st.sampled_from(PEERS), st.booleans()),
    st.tuples(st.just("conflict"), numbers, numbers, st.sampled_from(PEERS)),
    st.tuples(st.just("run"), st.sampled_from((0.05, 0.3, 1.1, 2.5))),
)


class Played:
    """One server of four and the three others; `named`: rows name each of their billots."""

    def __init__(self, *, named):
        self.named = named
        self.net, self.server, self.peers = alone_with(3)
        self.lsns = [0] * len(self.peers)

    def play(self, kind, *numbers):
        if kind == "submit":
            self.server.client(exempt=True).transfer(TRANSFERS[numbers[0]])
        elif kind == "feed":
            transfer, peer, with_body = TRANSFERS[numbers[0]], numbers[1], numbers[2]
            self.lsns[peer] += 1
            billots = [billot for billot, _ in transfer.billots] if self.named else []
            feed_row = row(self.lsns[peer], transfer, *billots)
            self.peers[peer].feed(feed_row, bodies=[transfer] if with_body else [])
        elif kind == "conflict":
            first, second, peer = numbers
            self.peers[peer].conflict(TRANSFERS[first], TRANSFERS[second])
        else:
            self.net.run(numbers[0])

    @property
    def tallies(self):
        return self.server.node.rounds.feeds.tallies

    def shown(self, billot):
        """The rows that its receipt for a billot settles."""
        given = self.server.client(exempt=True).says(billot, proof=True)["receipt"]
        if given is None:
            return None
        receipt = decode_receipt(msgspec.json.encode(given))
        voters = {word.server: word.server for word in receipt.words()}
        held = [verify(*check) for check in checks(receipt)]
        return judge(receipt, Electorate(4, voters), held)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=14))
def test_one_count_for_a_transfer_is_as_good_as_one_for_each_billot(events):
    together, apart = Played(named=False), Played(named=True)
    for event in [*events, ("run", 0.3)]:
        together.play(*event)
        apart.play(*event)
        assert together.server.state() == apart.server.state()
        assert not [t for t in apart.tallies.by_id.values() if t.votes]
    for billot in ("a-1", "a-2"):
        assert together.shown(billot) == apart.shown(billot)
    for played in (together, apart):
        played.net.run(5)
        assert not len(played.tallies)
    assert together.server.state() == apart.server.state()
    assert together.server.store.unsettled() == apart.server.store.unsettled()
    for billot in ("a-1", "a-2"):
        assert together.shown(billot) == apart.shown(billot)


@pytest.fixture
def played():
    return Played(named=False)


def test_a_transfer_settles_with_the_quorums_vote_and_is_let_go_with_the_last(played):
    played.play("submit", 0)
    states = []
    for peer in PEERS:
        played.play("feed", 0, peer, False)
        states.append((played.server.shows("a-1")[2], played.server.shows("a-2")[2]))
    assert states == [("held", "held"), ("settled", "settled"), ("settled", "settled")]
    assert not len(played.tallies)
    played.net.run(2)
    assert played.server.store.unsettled() == {}
    assert not played.server.store.has_receipts


def test_attack_a_server_that_votes_twice_counts_once(played):
    played.play("submit", 0)
    for _ in range(3):
        played.play("feed", 0, 0, False)
    assert played.server.shows("a-1")[2] == "held"


def test_what_is_not_settled_in_time_is_asked_about_with_its_votes_kept(played):
    played.play("submit", 0)
    played.play("feed", 0, 0, False)
    assert len(played.tallies) == 1
    played.net.run(1.1)
    assert not len(played.tallies)
    assert sorted(played.peers[1].asked()[0]["params"]["billots"]) == ["a-1", "a-2"]
    votes = played.server.node.rounds.feeds.votes
    assert [list(votes.at(billot, 1)) for billot in ("a-1", "a-2")] == [
        [played.peers[0].key.public_hex]
    ] * 2
    played.play("feed", 0, 1, False)
    assert played.server.shows("a-2")[2] == "settled"


def test_what_is_slow_everywhere_is_waited_for_longer(played):
    """Else who is asked has still more to do, and nothing gets through any more."""
    played.play("submit", 0)
    played.net.run(0.9)
    for peer in PEERS:
        played.play("feed", 0, peer, False)
    assert played.server.shows("a-1")[2] == "settled"
    played.play("submit", 5)
    played.net.run(1.5)
    assert len(played.tallies) == 1
    assert not played.peers[0].asked()


def test_a_double_spend_is_counted_one_by_one(played):
    played.play("submit", 0)
    played.play("feed", 0, 0, False)
    played.play("conflict", 0, 1, 1)
    assert played.server.shows("a-1")[2] == "contested"
    assert played.server.shows("a-2")[2] == "held"
    assert not len(played.tallies)
    played.play("feed", 0, 1, False)
    assert [played.server.shows(b)[2] for b in ("a-1", "a-2")] == ["settled", "settled"]


def test_its_receipt_is_shown_before_all_have_voted(played):
    played.play("submit", 0)
    assert played.shown("a-1") is None
    for peer in PEERS[:2]:
        played.play("feed", 0, peer, False)
    assert len(played.tallies) == 1
    assert ("a-1", 1) in played.shown("a-1")
    assert len(played.tallies) == 1, "to look changes nothing"


def test_who_moves_on_takes_along_what_shows_that_it_was_settled(played):
    played.play("submit", 0)
    for peer in PEERS[:2]:
        played.play("feed", 0, peer, False)
    played.play("submit", 4)
    assert played.server.shows("a-1") == (2, CAT.owner, "held")
    assert ("a-1", 1) in played.shown("a-1")
    assert ("a-2", 1) in played.shown("a-2")


# How far a feed is dealt with


OTHERS = [sign(MINT, ANN, f"a-{number} 1") for number in range(11, 21)]


def cursor(played, peer=0):
    feeds = played.server.node.rounds.feeds
    return feeds.cursor(played.peers[peer].key.public_hex)


def rows_of(transfers, first):
    return [row(lsn, transfer) for lsn, transfer in enumerate(transfers, first)]


def test_the_cursor_stays_below_a_batch_with_an_open_tally_and_follows(played):
    for transfer in OTHERS:
        played.server.client(exempt=True).transfer(transfer)
    one, two, _ = played.peers
    one.feed(*rows_of(OTHERS[:5], 1))
    one.feed(*rows_of(OTHERS[5:], 6))
    assert cursor(played) == 0
    two.feed(*rows_of(OTHERS[5:], 1))
    assert cursor(played) == 0
    two.feed(*rows_of(OTHERS[:4], 6))
    assert cursor(played) == 0, "the fifth is open"
    two.feed(*rows_of(OTHERS[4:5], 10))
    assert (cursor(played), cursor(played, 1)) == (10, 10)


def test_rows_that_are_read_again_from_an_earlier_one_hold_it_there(played):
    """As after a link that broke, when there was no room for a row before them."""
    for transfer in OTHERS[:2]:
        played.server.client(exempt=True).transfer(transfer)
    one, two, _ = played.peers
    key, feeds = one.key.public_hex, played.server.node.rounds.feeds
    one.feed(row(9, OTHERS[0]))
    feeds.votes.unread(key, 5)
    one.feed(row(5, OTHERS[1]), row(9, OTHERS[0]))
    assert feeds.tallies.cursor(key) == 4
    two.feed(row(1, OTHERS[1]))
    assert feeds.tallies.cursor(key) == 8
    two.feed(row(2, OTHERS[0]))
    assert cursor(played) == 9


def test_what_is_handed_over_holds_the_cursor_all_the_same(played):
    played.play("submit", 0)
    played.peers[0].feed(row(3, TRANSFERS[0]))
    played.net.run(1.1)
    assert not len(played.tallies)
    assert cursor(played) == 2


def test_attack_one_open_row_does_not_keep_what_came_after_it(played):
    """Its server names one that nobody else has; many others come and go."""
    played.play("submit", 0)
    played.peers[0].feed(row(1, TRANSFERS[0]))
    for number in range(2, 602):
        transfer = sign(MINT, BOB, f"a-{100 + number} 1")
        played.server.client(exempt=True).transfer(transfer)
        for peer in PEERS:
            played.peers[peer].feed(row(number, transfer))
    rows = played.tallies._rows[played.peers[0].key.public_hex]
    assert len(played.tallies) == 1
    assert len(rows) <= 70
    assert cursor(played) == 0
