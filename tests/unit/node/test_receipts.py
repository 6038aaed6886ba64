"""The votes that settled a holding: how long they are kept, and what is shown of them."""

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    MINT,
    SERVER_KEYS,
    STRANGER,
    Net,
    Peer,
    adopted,
    alone_with,
    claimed,
    error,
    fields,
    receipt,
    row,
    sign,
    stated,
    submit,
)

from billots.crypto import verify
from billots.holding import Status
from billots.jsonrpc import call
from billots.messages import SendTransfer
from billots.receipt import Electorate, Receipt, checks, judge, server_of

OWN = SERVER_KEYS[0]
ONE, TWO, THREE = SERVER_KEYS[10:13]
FIRST = sign(MINT, ANN, "a-1 1")
DOUBLE = sign(MINT, BOB, "a-1 1")
SPEND = sign(ANN, CAT, "a-1 2")
LATER = sign(CAT, BOB, "a-1 7")


def kept(server):
    """Billots for which votes are kept in memory."""
    rounds = server.node.rounds
    return len(rounds.receipts) + rounds.feeds.tallies.kept_count


def four(**more):
    """One of four, q = 3, and the three that the test plays."""
    return alone_with(3, **more)


def shown(server, billot="a-1"):
    """The receipt that the server gives for a billot."""
    found = server.client(exempt=True).says(billot, proof=True)["receipt"]
    return None if found is None else msgspec.convert(found, Receipt)


def others_votes(server):
    """What is kept: ours is signed anew each time that it is shown."""
    given = shown(server)
    return given.transfer, [v for v in given.votes if server_of(v) != OWN.public_hex]


def signers(given):
    return {word.server for word in given.words()}


def settles(given, keys=(OWN, ONE, TWO, THREE)):
    """What a receipt settles for somebody else with the same list of four."""
    electorate = Electorate(len(keys), {key.public_hex: str(n) for n, key in enumerate(keys)})
    return judge(given, electorate, [verify(*check) for check in checks(given)])


def settled_by(server, peers, transfer=FIRST, lsn=1):
    submit(server, transfer)
    for peer in peers:
        peer.feed(row(lsn, transfer))
    assert server.shows("a-1")[2] == "settled"


# How long


def test_kept_until_all_have_voted():
    _, server, peers = four()
    settled_by(server, peers[:2])
    given = shown(server)
    assert settles(given) == [("a-1", 1)]
    assert kept(server) == 1
    peers[2].feed(row(1, FIRST))
    assert shown(server) is None
    assert kept(server) == 0


def test_nothing_is_kept_of_what_all_voted_for_at_once():
    _, server, peers = four()
    for peer in peers:
        peer.feed(row(1, FIRST))
    submit(server, FIRST)
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    assert kept(server) == 0
    assert shown(server) is None


def test_another_vote_does_not_count_as_one_of_all():
    _, server, peers = four()
    settled_by(server, peers[:2])
    peers[2].feed(row(1, DOUBLE), bodies=[DOUBLE])
    assert settles(shown(server)) == [("a-1", 1)]


def test_statements_complete_it_too():
    net, server, peers = four()
    submit(server, FIRST)
    net.run(1.1)
    for peer, kept in zip(peers, [None, 1, None], strict=True):
        (question,) = peer.asked()
        peer.states(question, {"a-1": FIRST})
        assert (shown(server) is None) == (kept is None)


def test_who_has_no_key_yet_has_not_voted():
    """All that are known is not all that are trusted."""
    _, server, peers = four(follow=False)
    for peer in peers[:2]:
        peer.follow()
    settled_by(server, peers[:2])
    assert settles(shown(server)) == [("a-1", 1)]


def test_who_trusts_nobody_keeps_nothing():
    server = Net(1)[0]
    submit(server, FIRST, SPEND)
    assert shown(server) is None
    assert kept(server) == 0


# On disk


def commits(net, server, seconds):
    """Every batch that is written meanwhile."""
    end, batches = net.now + seconds, []
    while net.now < end:
        net.now += 0.05
        server.node.tick(net.now)
        if server.node.has_work or server.node.flush_due:
            batch = server.begin()
            if batch is not None:
                batches.append((dict(batch.receipts), dict(batch.unsettled)))
            server.end(batch)
    return batches


def test_what_takes_longer_than_a_moment_goes_to_disk_and_the_mark_with_it():
    net, server, peers = four()
    settled_by(server, peers[:2])
    batches = commits(net, server, 3)
    marked = [(receipts.keys(), rows) for receipts, rows in batches if receipts or rows]
    assert marked == [({"a-1"}, {1: {}})]
    assert kept(server) == 0, "from now on it is on disk alone"
    assert settles(shown(server)) == [("a-1", 1)]


def test_what_is_settled_without_need_of_votes_is_marked_alone():
    net, server, peers = four()
    settled_by(server, peers)
    batches = commits(net, server, 3)
    assert [(receipts, rows) for receipts, rows in batches if receipts or rows] == [({}, {1: {}})]


def test_after_a_crash_it_is_shown_from_disk():
    net, server, peers = four()
    settled_by(server, peers[:2])
    net.run(2)
    before = others_votes(server)
    server.crash()
    server.start()
    for number, peer in enumerate(peers):
        Peer(net, server, number, peer.key)
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    assert others_votes(server) == before


def test_after_a_crash_between_settling_and_the_mark_it_is_held_and_settles_again():
    net, server, peers = four()
    settled_by(server, peers[:2])
    server.crash()
    server.start()
    assert server.shows("a-1") == (1, ANN.owner, "held")
    again = [Peer(net, server, number, peer.key, follow=False) for number, peer in enumerate(peers)]
    for peer in again:
        assert peer.follow()["since"]["lsn"] == 0, "what it had read is read again"
    again[0].feed(row(1, FIRST))
    assert server.shows("a-1")[2] == "held"
    again[1].feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    assert settles(shown(server)) == [("a-1", 1)]


def test_votes_that_come_later_are_added_on_disk_until_all_have_voted():
    net, server, peers = alone_with(4)  # n = 5, q = 4
    settled_by(server, peers[:3])
    net.run(2)
    assert len(signers(shown(server))) == 4
    peers[3].feed(row(1, FIRST))
    net.run(2)
    assert shown(server) is None
    assert server.store.receipt("a-1") is None


def test_votes_are_added_on_disk_that_do_not_complete_it():
    net, server, peers = alone_with(6)  # n = 7, q = 5
    settled_by(server, peers[:4])
    net.run(2)
    before = signers(shown(server))
    peers[4].feed(row(1, FIRST))
    peers[4].feed(row(2, FIRST))
    assert signers(shown(server)) == before - {OWN.public_hex} | {peers[4].key.public_hex}
    peers[5].feed(adopted(1, FIRST, "a-1"))
    assert shown(server) is None


@pytest.mark.parametrize("wait_s", [0, 2], ids=["in memory", "on disk"])
def test_who_says_the_same_again_hides_nobody_elses_vote(wait_s):
    """Its row may be read again after a restart of ours."""
    net, server, peers = four()
    settled_by(server, peers[:2])
    net.run(wait_s)
    peers[0].feed(row(2, FIRST))
    assert settles(shown(server)) == [("a-1", 1)]
    peers[2].feed(row(1, FIRST))
    assert shown(server) is None


def test_attack_votes_of_strangers_and_for_others_are_not_added():
    net, server, peers = alone_with(6)
    settled_by(server, peers[:4])
    net.run(2)
    before = others_votes(server)
    peers[4].feed(row(1, DOUBLE), bodies=[DOUBLE])
    peers[4].feed(adopted(2, sign(BOB, CAT, "a-1 1"), "a-1"))
    server.client().settle(receipt(FIRST, *[stated(STRANGER, FIRST)] * 5))
    assert others_votes(server) == before


# When it moves on


def test_kept_until_the_next_seq_is_settled():
    """Who stands at the next seq counts for nobody at this one, so that it has to show this."""
    net, server, peers = four()
    settled_by(server, peers[:2])
    submit(server, SPEND)
    for seconds in (0, 2, 20):
        net.run(seconds)
        row_ = server.client().says("a-1", proof=True)
        assert (row_["seq"], row_["status"]) == (2, "held")
        assert row_["transfer"]["to"] == CAT.owner
        assert settles(shown(server)) == [("a-1", 1)]
    for peer in peers[:2]:
        peer.feed(row(2, SPEND))
    assert shown(server).transfer == SPEND
    net.run(2)
    assert shown(server).transfer == SPEND
    peers[2].feed(row(2, SPEND))
    assert shown(server) is None


@pytest.mark.parametrize("rows", [1, 16, 17])
@pytest.mark.parametrize("crash", [False, True])
def test_what_all_had_is_still_said_by_us_while_the_next_is_not_settled(rows, crash):
    """With our own word: it is a settled claim for those who missed it."""
    net, server, peers = four()
    first = sign(MINT, ANN, *[(f"a-{n}", 1) for n in range(1, rows + 1)])
    settled_by(server, peers, first)
    net.run(3)
    assert shown(server) is None
    submit(server, SPEND)
    net.run(2 if rows > 16 or not crash else 0)
    if crash:
        server.crash()
        server.start()
        for number, peer in enumerate(peers):
            Peer(net, server, number, peer.key)
    assert server.shows("a-1") == (2, CAT.owner, "held")
    given = shown(server)
    assert (given.transfer, signers(given)) == (first, {OWN.public_hex})
    (word,) = given.words()
    assert word.claims == {("a-1", 1)}


def test_a_billot_that_never_moved_needs_no_receipt():
    _, server, _ = four()
    submit(server, FIRST)
    assert shown(server) is None


def test_receipts_of_two_moves_ago_are_let_go():
    net, server, peers = four()
    settled_by(server, peers[:2])
    net.run(2)
    settled_by(server, peers[:2], SPEND, lsn=2)
    third = sign(CAT, ANN, "a-1 3")
    settled_by(server, peers[:2], third, lsn=3)
    net.run(2)
    assert shown(server).transfer == third
    assert kept(server) == 0


def test_votes_for_the_last_move_count_while_the_next_is_held():
    """They complete it, and yet it is owed until the next is settled."""
    net, server, peers = four()
    settled_by(server, peers[:2])
    submit(server, SPEND)
    peers[2].feed(row(1, FIRST))
    assert shown(server).transfer == FIRST
    net.run(3)
    assert shown(server).transfer == FIRST


# What is in it


def test_it_has_no_more_votes_than_a_quorum_needs():
    net, server, peers = alone_with(6)  # n = 7, q = 5
    for peer in peers[:5]:
        peer.feed(row(1, FIRST))
    submit(server, FIRST)
    keys = [OWN, *(peer.key for peer in peers)]
    for _ in range(2):
        given = shown(server)
        assert len(given.votes) == 5
        assert settles(given, keys) == [("a-1", 1)]
        net.run(2)


def test_who_adopted_by_claims_gives_those_claims_and_its_own_word():
    _, server, peers = four()
    assert server.client().transfer(sign(BOB, ANN, "a-1 8")) is None
    for peer in peers[:2]:
        (question,) = peer.asked()
        peer.states(question, {"a-1": (LATER, Status.SETTLED)})
    assert server.shows("a-1")[:2] == (8, ANN.owner), "what waited went on"
    given = shown(server)
    assert settles(given) == [("a-1", 7)]
    claims = {word.server for word in given.words() if word.claims == {("a-1", 7)}}
    assert claims == {OWN.public_hex, ONE.public_hex, TWO.public_hex}


def test_what_a_receipt_settled_is_shown_with_its_votes():
    _, server, _ = four()
    given = receipt(LATER, claimed(ONE, LATER), stated(OWN, LATER), stated(THREE, LATER))
    server.client().settle(given)
    assert settles(shown(server)) == [("a-1", 7)]
    assert signers(shown(server)) == signers(given)


def test_our_own_vote_is_signed_when_it_is_shown():
    """It is not kept: of three with one down it makes the quorum."""
    _, server, peers = alone_with(2)
    settled_by(server, peers[:1])
    assert signers(shown(server)) == {OWN.public_hex, ONE.public_hex}
    assert settles(shown(server), (OWN, ONE, TWO)) == [("a-1", 1)]


def replaced(net, server, number):
    """A trusted server that was set up anew: its old key is retired."""
    again = Peer(net, server, number, STRANGER)
    assert again.key.public_hex in server.node.trust.keys
    return again


def test_a_retired_key_counts_in_a_receipt_as_one_of_the_f():
    net, server, _ = four()
    replaced(net, server, 0)
    votes = [stated(key, LATER) for key in (ONE, TWO, THREE)]
    assert "result" in server.client().settle(receipt(LATER, *votes))
    assert server.shows("a-1") == (7, BOB.owner, "settled")
    other = sign(MINT, ANN, "a-2 1")
    both = [stated(key, other) for key in (ONE, STRANGER, TWO)]
    assert error(server.client().settle(receipt(other, *both))) == "bad_receipt", "one entry"


@pytest.mark.parametrize("wait_s", [0, 2], ids=["in memory", "on disk"])
def test_the_vote_of_a_key_that_was_replaced_since_is_shown_where_it_is_needed(wait_s):
    """Others whose list has it replaced as well have but our word else, and stay behind."""
    net, server, peers = four()
    settled_by(server, peers[:2])
    anew = replaced(net, server, 0)
    net.run(wait_s)
    entries = {key.public_hex: key.public_hex for key in (OWN, anew.key, TWO, THREE)}
    others = Electorate(4, entries, {ONE.public_hex: anew.key.public_hex})
    given = shown(server)
    assert judge(given, others, [verify(*check) for check in checks(given)]) == [("a-1", 1)]


def test_attack_a_retired_key_counts_for_nothing_below_four():
    net, server, _ = alone_with(2)
    replaced(net, server, 0)
    given = receipt(LATER, stated(ONE, LATER), stated(OWN, LATER))
    assert error(server.client().settle(given)) == "bad_receipt"
    good = receipt(LATER, stated(STRANGER, LATER), stated(TWO, LATER))
    assert "result" in server.client().settle(good)


def test_attack_a_retired_key_in_an_answer_makes_no_second_vote_of_its_entry():
    net, server, peers = four()
    submit(server, FIRST)
    replaced(net, server, 0).feed(row(1, FIRST))
    net.run(1.1)
    (question,) = peers[1].asked()
    peers[1].states(question, receipts={"a-1": receipt(FIRST, stated(ONE, FIRST))})
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_attack_retired_keys_are_at_most_f_of_a_receipt():
    net, server, _ = four()
    replaced(net, server, 0)
    Peer(net, server, 1, SERVER_KEYS[19])
    old = receipt(LATER, *[stated(key, LATER) for key in (ONE, TWO, THREE)])
    assert error(server.client().settle(old)) == "bad_receipt"
    assert "result" in server.client().settle(
        receipt(LATER, *[stated(key, LATER) for key in (ONE, OWN, THREE)])
    )


def test_a_retired_key_takes_no_place_in_what_is_shown():
    net, server, _ = alone_with(2)  # n = 3, q = 2
    replaced(net, server, 0)
    votes = [stated(key, LATER) for key in (ONE, TWO, OWN)]
    assert "result" in server.client().settle(receipt(LATER, *votes))
    assert settles(shown(server), (OWN, STRANGER, TWO)) == [("a-1", 7)]


@pytest.mark.parametrize("others", [2, 3])
def test_old_and_new_key_of_one_entry_on_disk_do_not_take_our_own_votes_place(others):
    """It is set up anew after its vote was written, and votes for the same again."""
    net, server, peers = alone_with(others)
    settled_by(server, peers[: others - 1])
    net.run(2)
    anew = replaced(net, server, 0)
    anew.feed(row(1, FIRST))
    given = shown(server)
    assert {ONE.public_hex, anew.key.public_hex} <= signers(given)
    assert settles(given, (OWN, anew.key, TWO, THREE)[: others + 1]) == [("a-1", 1)]


def test_entries_of_one_key_count_once_in_a_receipt():
    _, server, peers = four(follow=False)
    peers[1].key = peers[0].key
    for peer in peers[:2]:
        peer.follow()
    assert server.node.trust.n == 3
    twice = receipt(LATER, stated(ONE, LATER), stated(ONE, LATER))
    assert error(server.client().settle(twice)) == "bad_receipt"
    assert "result" in server.client().settle(
        receipt(LATER, stated(ONE, LATER), stated(OWN, LATER))
    )


# Conflicts


def test_what_was_contested_is_kept_though_all_agree():
    net, server, peers = four()
    submit(server, FIRST)
    peers[0].conflict(FIRST, DOUBLE)
    assert server.shows("a-1")[2] == "contested"
    for peer in peers:
        peer.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    for seconds in (0, 2, 60):
        net.run(seconds)
        assert settles(shown(server)) == [("a-1", 1)]
    settled_by(server, peers, SPEND, lsn=2)
    net.run(2)
    assert shown(server) is None


def test_what_was_contested_is_kept_though_the_last_vote_settles_it():
    _, server, (peer,) = alone_with(1)  # n = 2, q = 2
    submit(server, FIRST)
    peer.conflict(FIRST, DOUBLE)
    peer.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    assert settles(shown(server), (OWN, ONE)) == [("a-1", 1)]


def test_a_receipt_on_disk_is_kept_while_there_is_evidence():
    net, server, peers = four()
    settled_by(server, peers[:2])
    net.run(2)
    peers[0].conflict(FIRST, DOUBLE)
    peers[2].feed(row(1, FIRST))
    net.run(2)
    assert settles(shown(server)) == [("a-1", 1)]


@pytest.mark.parametrize("wait_s", [0, 2], ids=["in memory", "on disk"])
def test_attack_late_conflicts_change_neither_state_nor_receipts(wait_s):
    net, server, peers = four()
    settled_by(server, peers[:2])
    net.run(wait_s)
    before, votes_before = server.state(), others_votes(server)
    follower = server.client(exempt=True)
    follower.ask("subscribe", {})
    follower.step()
    for to in (BOB, CAT, MINT):
        late = sign(MINT, to, "a-1 1")
        assert error(server.client().transfer(late)) == "conflicting_transfer"
        peers[0].conflict(FIRST, late)
        peers[1].feed(adopted(5, late, "a-1"))
    assert (server.state(), others_votes(server)) == (before, votes_before)
    pair = server.client().ask("evidence", {"billot": "a-1"})
    assert {pair["first"]["to"], pair["second"]["to"]} == {ANN.owner, BOB.owner}, "the first pair"
    assert len(follower.notifications("conflict")) == 1
    assert server.client().transfer(SPEND)["result"]["accepted"]


def test_evidence_is_kept_once_for_each_seq_and_the_newest_counts():
    net, server, peers = four()
    settled_by(server, peers)
    server.client().transfer(DOUBLE)
    settled_by(server, peers, SPEND, lsn=2)
    net.run(1)
    assert server.client().ask("evidence", {"billot": "a-1"})["second"] == fields(DOUBLE)
    newer = sign(ANN, BOB, "a-1 2")
    server.client().transfer(newer)
    assert server.client().ask("evidence", {"billot": "a-1"})["second"] == fields(newer)


# Only what is on disk


def test_proofs_say_nothing_of_what_is_not_on_disk_yet():
    net, server, peers = four()
    settled_by(server, peers[:2])
    before = server.client().says("a-1", proof=True)
    client = server.client()
    client.send(call(1, "transfer", SendTransfer.of(SPEND)))
    batch = server.begin()
    meanwhile = server.client()
    meanwhile.send(call(2, "who_owns", {"billots": ["a-1"], "proof": True}))
    (answer,) = meanwhile.read()
    (said,) = answer["result"]["billots"]
    assert (said["seq"], said["owner"], said["transfer"]) == (
        1, ANN.owner, before["transfer"]
    )  # fmt: skip
    assert said["receipt"] is None
    server.end(batch)
    assert server.client().says("a-1", proof=True)["seq"] == 2
    assert settles(shown(server)) == [("a-1", 1)]
    assert net.now == 1000.0


def test_proofs_of_what_is_adopted_wait_for_the_disk():
    _, server, _ = four()
    client = server.client()
    given = receipt(LATER, *[stated(key, LATER) for key in (ONE, TWO, OWN)])
    client.send(call(1, "settle", {"receipts": fields([given])}))
    batch = server.begin()
    meanwhile = server.client()
    meanwhile.send(call(2, "who_owns", {"billots": ["a-1"], "proof": True}))
    (said,) = meanwhile.read()[0]["result"]["billots"]
    assert (said["seq"], said["transfer"], said["receipt"]) == (0, None, None)
    server.end(batch)
    assert settles(shown(server)) == [("a-1", 7)]


# Among servers


def test_what_each_of_four_shows_settles_it_for_one_who_missed_all():
    """q receipts of any three are good for the fourth, by itself."""
    net = Net(4)
    net.mesh()
    away = net[3]
    for other in net.servers[:3]:
        for wire in net.between(other, away):
            wire.hold = True
    submit(net[0], FIRST)
    net.run(3)
    for server in net.servers[:3]:
        found = server.client().says("a-1", proof=True)["receipt"]
        fresh = Net(4)
        fresh.mesh()
        (said,) = fresh[3].client().ask("settle", {"receipts": [found]})["billots"]
        assert (said["seq"], said["owner"], said["status"]) == (1, ANN.owner, "settled")
