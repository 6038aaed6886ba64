"""Votes counted once for a transfer come to what they come to one by one."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    MINT,
    STRANGER,
    Peer,
    alone_with,
    fields,
    receipt,
    row,
    sign,
    stated,
    submit,
)

from billots.crypto import verify
from billots.jsonrpc import call, notification
from billots.limits import Limits
from billots.messages import SendTransfer
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


# -- what is handed over, and how much of it at once ----------------------------------------------


def big(count, each=64):
    """Transfers of many billots, none twice."""
    return [
        sign(MINT, ANN, *[f"a-{each * at + n} 1" for n in range(1, each + 1)])
        for at in range(count)
    ]


def test_a_clean_stop_keeps_what_settled():
    """Two of three others voted, the third is slow: the mark and its votes go to disk."""
    _, server, peers = alone_with(3)
    transfer = sign(MINT, ANN, "a-1 1", "a-2 1")
    submit(server, transfer)
    for peer in peers[:2]:
        peer.feed(row(1, transfer))
    assert server.shows("a-1")[2] == "settled"
    server.store.commit(server.node.stopping())
    server.crash()
    server.start()
    for billot in ("a-1", "a-2"):
        assert server.shows(billot)[2] == "settled"
        assert server.node.rounds.receipts.receipt(billot) is not None


def test_a_clean_stop_reads_again_what_had_not_settled():
    _, server, peers = alone_with(3)
    transfer = sign(MINT, ANN, "a-1 1")
    submit(server, transfer)
    peers[0].feed(row(1, transfer))
    server.store.commit(server.node.stopping())
    server.crash()
    server.start()
    assert server.shows("a-1")[2] == "held"
    assert server.node.links.remembered.cursor(peers[0].key.public_hex) == 0


def test_attack_a_receipt_without_one_good_vote_hands_nothing_over():
    _, server, peers = alone_with(3)
    transfers = big(8)
    submit(server, *transfers)
    forged_one = sign(STRANGER, STRANGER, *[f"a-{64 * at + 1} 1000" for at in range(8)])
    votes = [stated(peer.key, forged_one) for peer in peers]
    bad = [
        msgspec.structs.replace(
            vote, statement=msgspec.structs.replace(vote.statement, signature="0" * 128)
        )
        for vote in votes
    ]
    _, data = server.client().fails("settle", {"receipts": fields([receipt(forged_one, *bad)])})
    assert data["error"] == "bad_receipt"
    assert len(server.node.rounds.feeds.tallies) == len(transfers)


def test_what_took_too_long_is_handed_over_a_part_at_a_time():
    """No quorum for a second: what is open then is not all dealt with in one round."""
    net, server, _ = alone_with(3)
    transfers = big(70)
    submit(server, *transfers)
    tallies = server.node.rounds.feeds.tallies
    assert len(tallies) == len(transfers)
    net.now += 1.01
    left = []
    while len(tallies):
        server.node.tick(net.now)
        assert server.node.has_work
        server.end(server.begin())
        left.append(len(tallies))
    steps = [before - after for before, after in itertools.pairwise([len(transfers), *left])]
    assert max(steps) * 64 <= 2048 + 64
    assert len(server.node.ledger.unsettled_billots) == 70 * 64


def test_attack_one_batch_that_names_a_billot_of_each_open_transfer():
    """A trusted liar has them handed over: a part at a time, and its other rows wait."""
    net, server, (liar, *honest) = alone_with(3)
    transfers = big(70)
    submit(server, *transfers)
    tallies = server.node.rounds.feeds.tallies
    rows = [row(n, transfer, transfer.billots[0][0]) for n, transfer in enumerate(transfers, 1)]
    liar.say(notification("feed", liar.batch(*rows)))
    server.node.tick(net.now)
    server.end(server.begin())
    assert len(tallies) >= 70 - 2048 // 64 - 1
    for peer in honest:
        peer.feed(*(row(n, transfer) for n, transfer in enumerate(transfers, 1)))
    assert not server.node.ledger.unsettled_billots, "it held up nobody"


def test_what_is_settled_is_kept_in_memory_only_so_long_and_so_much_of_it():
    """One of the others votes late: the oldest votes go to disk instead."""
    net, server, peers = alone_with(3, limits=Limits(receipt_rows_max=128, receipt_after_s=1.0))
    tallies, receipts = server.node.rounds.feeds.tallies, server.node.rounds.receipts
    transfers = big(4)
    submit(server, *transfers)
    for peer in peers[:2]:
        peer.feed(*(row(n, transfer) for n, transfer in enumerate(transfers, 1)))
    assert tallies.kept_count <= 128
    assert len(receipts) + tallies.kept_count == 4 * 64
    net.run(1.1)
    assert not len(receipts)
    assert server.store.has_receipts
    assert all(receipts.receipt(billot) for t in transfers for billot, _ in t.billots)


def test_patience_with_those_who_vote_late_ends_after_three_seconds():
    net, server, peers = alone_with(3)
    tallies = server.node.rounds.feeds.tallies
    for number, late_s in enumerate((0.9, 2.9, 2.9, 2.9), 1):
        transfer = sign(MINT, ANN, f"a-{number} 1")
        submit(server, transfer)
        for peer in peers[:2]:
            peer.feed(row(number, transfer))
        net.run(late_s)
        peers[2].feed(row(number, transfer))
    last = sign(MINT, ANN, "a-9 1")
    submit(server, last)
    for peer in peers[:2]:
        peer.feed(row(9, last))
    net.run(3.1)
    assert not len(tallies)
    assert server.node.rounds.receipts.receipt("a-9")


def test_a_replaced_key_changes_no_batch_that_is_being_written():
    net, server, peers = alone_with(3)
    transfer = sign(MINT, ANN, "a-1 1")
    submit(server, transfer)
    for peer in peers[:2]:
        peer.feed(row(1, transfer))
    wallet = server.client(exempt=True)
    wallet.send(call(7, "transfer", SendTransfer.of(sign(MINT, BOB, "a-9 1"))))
    batch = server.begin()
    before = msgspec.msgpack.encode([batch.unsettled, batch.meta, batch.receipts])
    net.cut(server, peers[2].conn)
    again = Peer(net, server, 2, key=peers[1].key, follow=False)
    server.flush()
    (request,) = [msgspec.json.decode(frame) for frame in again.frames]
    again.frames.clear()
    peers[2].frames.clear()
    info = server.node.network
    again.reply(request, told(again, info))
    server.flush()
    (request,) = [msgspec.json.decode(frame) for frame in again.frames]
    again.reply(request, again.proof(request))
    assert server.node.trust.n == 3, "two entries have one key now"
    assert msgspec.msgpack.encode([batch.unsettled, batch.meta, batch.receipts]) == before
    server.end(batch)
    server.step()
    assert server.shows("a-1")[2] == "settled"


def told(peer, network):
    """What `info` says, without a round."""
    return {
        "name": "x",
        "version": "0",
        "protocol": 1,
        "network": {"name": network.name, "id": network.id},
        "server": peer.key.public_hex,
        "started": 0,
        "lsn": 1,
        "trusted": [],
        "counts": {},
        "limits": {},
    }
