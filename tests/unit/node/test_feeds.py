"""What trusted servers' votes come to: settled, adopted, in conflict."""

import pytest
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    MINT,
    SERVER_KEYS,
    Net,
    Peer,
    adopted,
    alone_with,
    fields,
    held,
    receipt,
    requests,
    row,
    sign,
    stated,
    submit,
)

from billots.feed import AdoptedRow, FeedBatch
from billots.holding import Status
from billots.jsonrpc import notification
from billots.limits import Limits
from billots.node.feeds import is_proof

ONE, TWO, THREE = SERVER_KEYS[10:13]
FIRST = sign(MINT, ANN, "a-1 1")
DOUBLE = sign(MINT, BOB, "a-1 1")
SPEND = sign(ANN, CAT, "a-1 2")
LATER = sign(CAT, DAN, "a-1 7")
SETTLED = Status.SETTLED


def four(**more):
    """One of four, q = 3, and the three that the test plays."""
    return alone_with(3, **more)


def status(server, *billots):
    return [server.shows(billot)[2] for billot in billots]


# Counting


@pytest.mark.parametrize(
    ("rows", "settles"),
    [
        (["transfer", "transfer"], True),
        (["transfer", "adopted"], True),
        (["adopted", "adopted"], True),
        (["transfer"], False),
        (["adopted"], False),
    ],
)
def test_a_quorum_of_rows_settles(rows, settles):
    _, server, peers = four()
    submit(server, FIRST)
    forms = {"transfer": row(1, FIRST), "adopted": adopted(1, FIRST, "a-1")}
    for peer, form in zip(peers, rows, strict=False):
        peer.feed(forms[form])
    assert status(server, "a-1") == ["settled" if settles else "held"]


def test_attack_a_server_counts_once_whatever_it_says():
    _, server, (one, two, _) = four()
    submit(server, FIRST)
    for form in (row(1, FIRST), adopted(2, FIRST, "a-1"), row(3, FIRST), row(4, FIRST, "a-1")):
        one.feed(form)
    assert status(server, "a-1") == ["held"]
    two.feed(row(1, FIRST))
    assert status(server, "a-1") == ["settled"]


def test_attack_a_liars_first_vote_is_the_one_that_counts():
    _, server, (liar, one, _) = four()
    submit(server, FIRST)
    liar.feed(row(1, DOUBLE), bodies=[DOUBLE])
    liar.feed(row(2, FIRST))
    one.feed(row(1, FIRST))
    assert status(server, "a-1") == ["contested"]


def test_votes_for_another_owner_before_are_other_votes():
    _, server, peers = four()
    submit(server, FIRST)
    for peer in peers[:2]:
        peer.feed(AdoptedRow(1, "a-1", 1, CAT.owner, ANN.owner))
    assert status(server, "a-1") == ["held"]


def test_votes_at_different_seqs_are_not_added_up():
    _, server, (one, two, three) = four()
    submit(server, FIRST)
    one.feed(row(1, FIRST))
    two.feed(row(1, SPEND), bodies=[SPEND])
    three.feed(row(1, LATER), bodies=[LATER])
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_the_newest_seq_that_a_quorum_has_is_adopted():
    _, server, peers = four()
    submit(server, FIRST)
    older = sign(BOB, CAT, "a-1 6")
    for peer in peers:
        peer.feed(row(1, older), row(2, LATER), bodies=[older, LATER])
    assert server.shows("a-1") == (7, DAN.owner, "settled")


def test_next_moves_are_taken_when_the_one_before_settles():
    _, server, (one, two, three) = four()
    submit(server, FIRST)
    one.feed(row(1, SPEND), bodies=[SPEND])
    assert server.shows("a-1") == (1, ANN.owner, "held")
    two.feed(row(1, FIRST))
    three.feed(row(1, FIRST))
    assert server.shows("a-1") == (2, CAT.owner, "held")


def test_a_body_that_is_gone_when_its_time_comes_is_asked_for_again():
    net, server, (one, two, three) = four(limits=Limits(bodies_max=1))
    submit(server, FIRST)
    one.feed(row(1, SPEND), bodies=[SPEND])
    other = sign(MINT, BOB, "a-5 1")
    one.feed(row(2, other), bodies=[other])
    two.feed(row(1, FIRST))
    three.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    net.run(0.11)
    (request,) = requests(one.read(), "fetch")
    assert request["params"]["transfer_ids"] == [SPEND.id]
    one.reply(request, {"transfers": [fields(SPEND)]})
    server.step()
    assert server.shows("a-1") == (2, CAT.owner, "held")


# Claims and bodies


@pytest.mark.parametrize("first", ["rows", "answers without proofs"])
def test_claims_are_adopted_once_their_body_comes(first):
    """The first answers may have had no room for it, and a feed row `adopted` names none."""
    net, server, peers = four()
    if first == "rows":
        for peer in peers[:2]:
            peer.feed(adopted(1, LATER, "a-1"))
    else:
        server.client().transfer(sign(DAN, ANN, "a-1 8"))
        for peer in peers[:2]:
            (question,) = peer.asked()
            peer.states(question, {"a-1": held(LATER, "a-1", SETTLED)})
    for _ in range(3):
        net.run(4)
        for peer in peers[:2]:
            for question in peer.asked():
                peer.states(question, {"a-1": (LATER, SETTLED)})
    assert server.shows("a-1")[0] >= 7


def test_claims_without_a_body_adopt_nothing():
    """There would be nothing to show to others."""
    net, server, peers = four()
    for peer in peers:
        peer.feed(adopted(1, LATER, "a-1"))
    net.run(1.1)
    for peer in peers:
        for question in peer.asked():
            peer.states(question, {"a-1": held(LATER, "a-1", SETTLED)})
    assert server.shows("a-1") == (0, MINT.owner, "settled")


def test_attack_a_body_that_says_something_else_proves_nothing():
    _, server, peers = four()
    assert server.client().transfer(sign(DAN, ANN, "a-1 8")) is None
    for peer in peers:
        (question,) = peer.asked()
        statement = peer.statement(question, {"a-1": held(LATER, "a-1", SETTLED)})
        statement["billots"][0]["transfer"] = fields(sign(CAT, BOB, "a-1 7"))
        peer.reply(question, statement)
        server.step()
    assert server.shows("a-1") == (0, MINT.owner, "settled")
    assert all(peer.up for peer in peers), "the statement itself is sound"


def test_attack_a_body_that_was_not_asked_for_is_not_even_looked_at():
    _, server, (one, *_) = four()
    assert server.client().transfer(sign(DAN, ANN, "a-1 8")) is None
    (question,) = one.asked()
    statement = one.statement(question, {"a-1": held(LATER, "a-1", SETTLED)})
    statement["billots"][0]["transfer"] = fields(sign(MINT, BOB, "a-2 1"))
    one.reply(question, statement)
    assert len(server.node.checks()) == 1, "that of the statement"
    server.node.judge([True], server.net.now)
    assert server.shows("a-2") == (0, MINT.owner, "settled")


def test_attack_a_body_with_rows_that_do_not_exist_is_passed_over():
    _, server, peers = four()
    assert server.client().transfer(sign(DAN, ANN, "a-1 8")) is None
    for peer in peers:
        (question,) = peer.asked()
        statement = peer.statement(question, {"a-1": (LATER, SETTLED)})
        statement["billots"][0]["transfer"]["billots"] = [["a-1", 7], ["a-20001", 1]]
        peer.reply(question, statement)
        server.step()
    assert server.shows("a-1") == (0, MINT.owner, "settled")
    assert all(peer.up for peer in peers)


@pytest.mark.parametrize(
    ("transfer", "proves"),
    [
        (LATER, True),
        (sign(CAT, DAN, "a-1 7", "a-2 3"), True),
        (sign(CAT, DAN, "a-2 7"), False),
        (sign(CAT, DAN, "a-1 8"), False),
        (sign(CAT, BOB, "a-1 7"), False),
        (sign(BOB, DAN, "a-1 7"), False),
    ],
)
def test_what_proves_a_holding(transfer, proves):
    assert is_proof(transfer, "a-1", held(LATER, "a-1")) == proves


# Adopted rows


MANY = sign(CAT, DAN, *[(f"a-{n}", 7) for n in range(1, 6)])


def feed_of(server, since=0):
    """All rows of a server's feed, as one who begins there reads them."""
    client = server.client(exempt=True)
    key = server.key.public_hex
    found = [client.ask("subscribe", {"since": {"key": key, "lsn": since}}), *client.others]
    found += client.step() + client.step()
    client.close()
    return [text for m in found if m.get("method") == "feed" for text in m["params"]["rows"]]


def test_the_adopted_rows_of_a_transfer_lie_in_one_entry():
    _, server, peers = four()
    for peer in peers:
        peer.feed(row(1, MANY), bodies=[MANY])
    assert {server.shows(billot) for billot, _ in MANY.billots} == {(7, DAN.owner, "settled")}
    assert server.node.ledger.lsn == 5, "each row of its feed has its lsn"
    assert server.store.entry(5).live == tuple(billot for billot, _ in MANY.billots)
    assert server.committed == 1
    assert feed_of(server) == [f"{n} adopted a-{n} 7 {CAT.owner} {DAN.owner}" for n in range(1, 6)]


def test_rows_that_stand_later_are_an_entry_of_their_own():
    net, server, peers = four()
    for peer in peers[:2]:
        peer.feed(row(1, MANY, "a-1", "a-2"), bodies=[MANY])
    peers[2].feed(row(1, MANY), bodies=[MANY])
    assert feed_of(server) == [f"{n} adopted a-{n} 7 {CAT.owner} {DAN.owner}" for n in (1, 2)]
    for peer in peers[:2]:
        peer.feed(row(2, MANY))
    net.run(0.1)
    rows = feed_of(server)
    assert [text.split()[2] for text in rows] == ["a-1", "a-2", "a-3", "a-4", "a-5"]
    lsns = [int(text.split()[0]) for text in rows]
    assert lsns == sorted(set(lsns))


def test_adopted_rows_keep_their_lsns_when_others_move_on_and_over_a_restart():
    net, server, peers = four()
    for peer in peers:
        peer.feed(row(1, MANY), bodies=[MANY])
    net.run(2)
    before = feed_of(server)
    submit(server, sign(DAN, ANN, "a-1 8", "a-4 8"))
    net.run(2)
    server.crash()
    server.start()
    for number, peer in enumerate(peers):
        Peer(net, server, number, peer.key)
    net.run(1)
    left = [text for n, text in enumerate(before, 1) if n not in (1, 4)]
    assert feed_of(server)[:3] == left
    assert [text.split()[0] for text in feed_of(server)] == ["2", "3", "5", "6"]
    assert feed_of(server, since=3)[0] == left[2], "one may begin in the middle of it"
    assert [text.split()[0] for text in feed_of(server, since=5)] == ["6"]


def test_a_reader_that_has_half_of_the_rows_goes_on_with_the_others():
    """Whoever reads them in two parts counts each once."""
    net, server, peers = four()
    texts = [AdoptedRow(n, f"a-{n}", 7, CAT.owner, DAN.owner) for n in range(1, 6)]
    for peer in peers[:2]:
        peer.feed(*texts[:3])
        net.cut(server, peer.conn)
    again = [Peer(net, server, number, peer.key, follow=False) for number, peer in enumerate(peers)]
    for peer in again[:2]:
        assert peer.follow()["since"]["lsn"] == 3
        peer.feed(*texts[3:])
    again[2].follow()
    again[2].feed(row(1, MANY), bodies=[MANY])
    assert {server.shows(billot) for billot, _ in MANY.billots} == {(7, DAN.owner, "settled")}


@pytest.mark.parametrize("size", [4, 7])
def test_what_one_server_adopted_another_adopts_from_it(size):
    """A chain of receipts and adopted rows, over a restart of everybody in between."""
    net = Net(size)
    net.mesh()
    away = net[size - 1]
    away.crash()
    rows = [(f"a-{n}", 1) for n in range(1, 41)]
    submit(net[0], sign(MINT, ANN, *rows))
    net.run(0.5)
    submit(net[1], sign(ANN, BOB, *[(b, 2) for b, _ in rows]))
    net.run(0.5)
    net.rejoin(away)
    net.run(1)
    assert away.state() == net[0].state()
    assert len(feed_of(away)) == 40
    for server in net.servers[1:]:
        server.crash()
        net.rejoin(server)
    net.run(5)
    submit(away, sign(BOB, CAT, *[(b, 3) for b, _ in rows[:20]]))
    net.run(1)
    states = [server.state() for server in net.servers]
    assert all(state == states[0] for state in states)
    assert states[0]["a-1"] == (3, CAT.owner, "settled")


# Voters


def test_the_newest_batch_of_each_is_kept_without_bodies():
    _, server, (one, *_) = four()
    second = sign(MINT, BOB, "a-2 1")
    one.feed(row(1, FIRST), bodies=[FIRST])
    one.feed(row(2, second), bodies=[second])
    newest = server.node.rounds.feeds.newest[one.key.public_hex]
    assert (newest.last_lsn, newest.transfers) == (2, ())
    asked = server.client().ask("subscribe", {"me": one.key.public_hex})["yours"]
    assert asked["rows"] == [row(2, second).text]


def test_the_last_words_of_a_link_are_remembered_though_they_will_come_again():
    """Its server may have lost its store: then nobody else can tell it what it signed."""
    net, server, (one, *_) = four()
    one.feed(row(1, FIRST), bodies=[FIRST])
    second = sign(MINT, BOB, "a-2 1")
    one.say(notification("feed", one.batch(row(2, second), bodies=[second])))
    net.cut(server, one.conn)
    server.step()
    assert server.node.rounds.feeds.votes.newest(one.key.public_hex) == 1
    asked = server.client().ask("subscribe", {"me": one.key.public_hex})["yours"]
    assert asked["rows"] == [row(2, second).text]


def test_attack_an_old_batch_said_again_is_not_the_newest():
    _, server, (one, *_) = four()
    old = one.batch(row(1, FIRST))
    one.feed(row(1, FIRST), bodies=[FIRST])
    one.feed(row(2, DOUBLE))
    one.say(notification("feed", old))
    server.step()
    newest = server.node.rounds.feeds.newest[one.key.public_hex]
    assert isinstance(newest, FeedBatch)
    assert newest.last_lsn == 2


def test_a_forgotten_voters_votes_leave_every_count():
    net, server, (one, two, _) = four()
    submit(server, FIRST)
    one.feed(row(1, FIRST))
    unknown = sign(MINT, BOB, "a-9 1")
    one.feed(row(2, unknown))
    again = Peer(net, server, 0, SERVER_KEYS[19])
    feeds = server.node.rounds.feeds
    assert one.key.public_hex not in feeds.newest
    assert feeds.wanted.rows_of(one.key.public_hex) == 0
    two.feed(row(1, FIRST))
    assert status(server, "a-1") == ["held"]
    again.feed(row(1, FIRST))
    assert status(server, "a-1") == ["settled"]


def test_votes_of_a_receipt_and_of_feeds_count_once_for_each_key():
    _, server, (one, two, _) = four()
    submit(server, FIRST)
    one.feed(row(1, FIRST))
    answer = server.client().settle(receipt(FIRST, stated(ONE, FIRST)))
    assert answer["error"]["data"]["error"] == "bad_receipt"
    assert status(server, "a-1") == ["held"]
    two.feed(row(1, FIRST))
    assert status(server, "a-1") == ["settled"]
