"""A trusted server that lies in its feed, or whose link breaks at a bad moment."""

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    EVE,
    MINT,
    SERVER_KEYS,
    Net,
    Peer,
    alone_with,
    fed,
    receipt,
    requests,
    row,
    sign,
    stated,
    submit,
)

from billots.crypto import verify
from billots.feed import AdoptedRow, TransferRow
from billots.holding import Status, Vote
from billots.host import Host
from billots.jsonrpc import notification
from billots.limits import Limits
from billots.node.memory import Phase
from billots.node.peers import Link
from billots.node.progress import Progress
from billots.node.votes import Ballot, Votes
from billots.node.wanted import GIVE_UP_S
from billots.receipt import Electorate, checks, decode_receipt, judge
from billots.store import Memory

FIRST, DOUBLE = sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-1 1")
SPEND = sign(ANN, CAT, "a-1 2")
OTHER = sign(MINT, BOB, "a-9 1")
LIARS = [Host("127.0.0.1", 8005), Host("127.0.0.1", 8006)]
PAIR = msgspec.json.encode({"first": FIRST, "second": DOUBLE})


def settles(server, billot="a-1"):
    """What a server's receipt for a billot settles for one who trusts the same servers."""
    given = server.client(exempt=True).says(billot, proof=True)["receipt"]
    shown = decode_receipt(msgspec.json.encode(given))
    held = [verify(*check) for check in checks(shown)]
    voters = {word.server: word.server for word in shown.words()}
    return judge(shown, Electorate(server.node.trust.n, voters), held, by_claims=False)


# Memory


def carry_but_feeds_to(net, server):
    for each in net.servers:
        each.step()
    for wire in list(net.wires):
        while wire.frames:
            frame = wire.frames.popleft()
            if not (wire.to is server and b'"method":"feed"' in frame):
                wire.to.receive(wire.conn, frame)


@pytest.mark.parametrize("disputed", [False, True])
def test_attack_an_old_copy_is_found_out_though_all_started_again_beside_a_dispute(disputed):
    """A dispute holds the cursors of feeds, and must not hold what was read last."""
    net = Net(4)
    net.mesh()
    if disputed:
        sides = [sign(MINT, owner, "a-7 1") for owner in (ANN, ANN, BOB, BOB)]
        for server, transfer in zip(net.servers, sides, strict=True):
            submit(server, transfer)
        net.run(2)
        assert net[0].shows("a-7")[2] == "disputed"
    submit(net[0], sign(MINT, ANN, "a-50 1"))
    net.run(3)
    old = Memory()
    old.write(dict(net[0].memory._values))
    submit(net[0], FIRST)
    net.run(3)
    assert net[3].shows("a-1") == (1, ANN.owner, "settled")
    for server in net.servers:
        batch = server.node.stopping()
        if batch is not None:
            server.store.commit(batch)
        server.crash()
    net[0].memory = old
    for server in net.servers:
        server.start()
    for server in net.servers[1:]:
        net.link(net[0], server)
    for _ in range(40):
        carry_but_feeds_to(net, net[0])
    assert net[0].node.outdated


def test_what_was_read_last_is_on_disk_though_a_row_before_it_is_open():
    net, server, (one, _) = alone_with(2)
    unsettled = sign(DAN, EVE, "a-7 9")
    one.feed(row(1, unsettled), bodies=[unsettled])
    for n in range(2, 12):
        transfer = sign(MINT, ANN, f"a-{n + 100} 1")
        one.feed(row(n, transfer), bodies=[transfer])
    net.run(5)
    server.crash()
    server.start()
    yours = server.client().ask("subscribe", {"me": one.key.public_hex})["yours"]
    assert yours["rows"][-1].startswith("11 ")


def test_attack_a_blank_server_whose_link_breaks_has_not_read_what_arrived():
    net, server, (one,) = alone_with(1, blank=True, follow=False)
    one.follow(lsn=5)
    one.feed(row(3, FIRST), row(5, OTHER), bodies=[OTHER])  # the body of row 3 is missing
    one.step()
    net.cut(server, one.conn)  # and a-1 moves on there: row 3 gives way to row 9
    again = Peer(net, server, 0, one.key, follow=False)
    again.follow(lsn=9)
    again.feed(row(5, OTHER), bodies=[OTHER])
    again.step()
    assert server.node.memory.phase is Phase.BLANK


def test_attack_a_position_of_the_stream_before_is_none_of_this_one():
    net, server, (one,) = alone_with(1, blank=True, follow=False)
    one.follow(lsn=5)
    one.lsn = None
    one.say(notification("feed", one.batch(row(3, FIRST), row(5, OTHER), bodies=[OTHER])))
    server.step()
    (position,) = requests(one.step(), "info")
    net.now += 0.11
    server.step()
    one.read()
    net.now += GIVE_UP_S
    server.step()
    (asked,) = requests(one.read(), "subscribe")
    one.reply(position, one.info(lsn=5))
    server.step()
    one.reply(asked, {"lsn": 9, "yours": None})
    server.step()
    one.say(notification("feed", one.batch(row(5, OTHER))))
    server.step()
    assert server.node.memory.phase is Phase.BLANK


def test_attack_two_sides_known_by_consults_first_are_read_again_after_a_crash():
    net, server, (x, y, _) = alone_with(3, blank=True, follow=False)
    for peer in (x, y):  # the third is down
        peer.follow(lsn=5)
    server.client().answer("who_owns", {"billots": ["a-1"]})
    for peer, transfer in ((x, FIRST), (y, DOUBLE)):
        for question in peer.asked():
            peer.states(question, {"a-1": (transfer, Status.HELD)})
    net.run(3.1)
    x.feed(row(3, FIRST), bodies=[FIRST])
    y.feed(row(3, DOUBLE), bodies=[DOUBLE])
    net.run(2)
    server.crash()
    server.start()
    for index, peer, transfer in ((0, x, FIRST), (1, y, DOUBLE)):
        again = Peer(net, server, index, peer.key, follow=False)
        assert again.follow(lsn=5)["since"]["lsn"] < 3
        again.feed(row(3, transfer), bodies=[transfer])
        again.feed(row(5, OTHER), bodies=[OTHER])
        again.step()
    net.run(0.1)
    assert "a-1" in server.node.memory.unread


def test_a_vote_that_a_statement_told_first_holds_the_cursor_below_its_row():
    votes, vote = Votes(100), Vote("s", "o")
    votes.add("p", "a-1", 1, Ballot(vote, 0, None))
    votes.add("p", "a-1", 1, Ballot(vote, 7, "t"))
    votes.read("p", 7)
    assert votes.cursor("p") == 6
    votes.resolve("a-1", 1)
    assert votes.cursor("p") == 7


# What would be stuck


@pytest.mark.parametrize("lie", [False, True])
def test_attack_a_feed_that_never_ends_does_not_put_consults_off(lie):
    net, server, (liar, *honest) = alone_with(3, follow=False)
    liar.follow(lsn=2**53 - 1 if lie else 1)
    for peer in honest:
        peer.follow()
    submit(server, FIRST)
    for peer in honest:  # they have moved on: their rows for seq 1 gave way
        peer.feed(row(2, SPEND), bodies=[SPEND])
    keys = [*(peer.key for peer in honest), server.key]
    shown = receipt(FIRST, *(stated(key, FIRST) for key in keys))
    liar.feed(row(1, OTHER), bodies=[OTHER])
    for n in range(2, 60):
        net.run(1)
        liar.feed(row(n, OTHER))
        for peer in honest:
            for question in peer.asked():
                peer.states(question, {"a-1": SPEND}, receipts={"a-1": shown})
    assert server.shows("a-1")[0] == 2


@pytest.mark.parametrize("lie", [False, True])
def test_attack_what_is_ours_is_not_asked_for_at_a_liars_cost(lie):
    net, server, (liar, honest) = alone_with(2, limits=Limits(consults_per_s=1))
    if lie:
        for start in range(1, 401, 100):
            numbers = range(start, start + 100)
            liar.feed(*(AdoptedRow(n, f"a-{n}", 9, DAN.owner, EVE.owner) for n in numbers))
        net.run(0.5)
    submit(server, sign(MINT, ANN, "a-399 1"))
    asked = []
    for _ in range(30):
        net.run(1)
        asked += [billot for m in honest.asked() for billot in m["params"]["billots"]]
        liar.asked()
    assert "a-399" in asked


def test_two_entries_of_one_server_are_both_read_again():
    net, server, (one, two, third) = alone_with(3, follow=False)
    two.key = one.key
    for peer in (one, two, third):
        peer.follow()
    lost, last = sign(MINT, BOB, "a-2 1"), sign(MINT, BOB, "a-3 1")
    one.feed(row(1, lost))
    two.feed(row(1, lost))
    net.now += 0.11
    server.step()
    one.read(), two.read()  # asked for the body, they say nothing
    net.now += GIVE_UP_S
    server.step()
    (asked_one,), (asked_two,) = (requests(peer.read(), "subscribe") for peer in (one, two))
    two.feed(row(2, last), bodies=[last])  # the other stream goes on
    one.reply(asked_one, {"lsn": 2, "yours": None})
    one.feed(row(1, lost), row(2, last), bodies=[lost, last])
    two.reply(asked_two, {"lsn": 2, "yours": None})
    assert server.shows("a-2")[2] == "settled"


def test_attack_votes_by_two_transfers_settle_once_they_can_be_shown_together():
    """Else a liar takes his row back, and who settled by it can prove it to nobody."""
    net, server, (one, two, _) = alone_with(3)
    other = sign(MINT, ANN, "a-1 1", "a-2 1")
    submit(server, FIRST)
    one.feed(row(1, other), bodies=[other])
    two.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "held")
    net.run(1.1)
    for peer, transfer in ((one, other), (two, FIRST)):
        for question in peer.asked():
            peer.states(question, dict.fromkeys([b for b, _ in transfer.billots], transfer))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    shown = decode_receipt(msgspec.json.encode(server.client().says("a-1", proof=True)["receipt"]))
    assert len(shown.words()) == len(shown.votes) >= 2


# What would grow


def test_attack_pairs_of_a_link_are_read_no_faster_than_they_are_judged():
    _, server, (liar, _) = alone_with(2)
    for _ in range(20):
        liar.say(notification("conflict", PAIR))
    assert server.node.busy(liar.conn)
    server.step()
    assert not server.node.busy(liar.conn)


def test_attack_a_row_that_stays_open_keeps_nothing_of_those_after_it():
    _, server, (one, _) = alone_with(2)
    unsettled = sign(DAN, EVE, "a-7 9")
    one.feed(row(1, unsettled), bodies=[unsettled])
    for n in range(2, 202):
        transfer = sign(MINT, ANN, f"a-{n + 100} 1")
        one.feed(row(n, transfer), bodies=[transfer])
    votes = server.node.rounds.feeds.votes
    assert len(votes._open_order[one.key.public_hex]) < 100
    assert votes.cursor(one.key.public_hex) == 0


def test_attack_one_open_row_does_not_keep_a_frame_full_of_others():
    _, server, (liar, _) = alone_with(2)
    done = sign(MINT, BOB, "a-3 1")
    liar.feed(row(1, done), bodies=[done])
    liar.feed(row(2, done))
    names = tuple(f"a-{n}" for n in range(10_001, 11_001))
    for lsn in range(3, 303, 15):
        rows = [AdoptedRow(lsn, f"a-{100 + lsn}", 9, DAN.owner, EVE.owner)]
        rows += [TransferRow(lsn + 1 + n, done.id, names) for n in range(14)]
        liar.feed(*rows)
    ballots = server.node.rounds.feeds.votes._ballots.values()
    proofs = [b.proof for by_seq in ballots for at in by_seq.values() for b in at.values()]
    assert len(proofs) == 20
    assert all(proof.batch.rows == () for proof in proofs)
    assert all(proof.vote(lsn) for proof, lsn in zip(proofs, range(3, 303, 15), strict=True))


def test_attack_who_asks_for_our_position_again_and_again_pays_for_the_batches():
    net = Net(1, limits=Limits(cost_per_address_max=20.0, feed_every_s=10.0))
    net[0].start()
    follower = net[0].client(exempt=True)
    follower.ask("subscribe", {})
    asker = net[0].client("192.0.2.7")
    asker.ask("subscribe", {})
    answers = []
    for n in range(1, 40):
        submit(net[0], sign(MINT, ANN, f"a-{n} 1"))
        answers.append("result" in asker.answer("info"))
    assert answers[:5] == [True] * 5
    assert answers[-5:] == [False] * 5
    other = net[0].client("192.0.2.8")
    for _ in range(40):  # when there is nothing new it costs nothing
        other.ask("info")


def test_who_only_asks_for_our_position_breaks_up_no_batch_and_pays_nothing():
    """Every wallet begins with `info`, and many of them may have one address."""
    net = Net(1, limits=Limits(cost_per_address_max=20.0, feed_every_s=10.0))
    net[0].start()
    follower, wallet = net[0].client(exempt=True), net[0].client("192.0.2.7")
    follower.ask("subscribe", {})
    for n in range(1, 60):
        submit(net[0], sign(MINT, ANN, f"a-{n} 1"))
        assert "result" in wallet.answer("info")
    assert len([m for m in follower.read() if m.get("method") == "feed"]) == 1


def test_attack_a_server_that_answers_nothing_is_not_waited_for_without_end():
    link = Link(0, 1)
    for number in range(2000):
        link.calls[number] = "fetch" if number % 2 else "consult"
        if number % 2:
            link.fetches[number] = ("t",)
        else:
            link.asks[number] = ("nonce", ("a-1",))
        link.forget_oldest()
    assert len(link.fetches) == len(link.asks) == 512
    assert link.calls.keys() == link.fetches.keys() | link.asks.keys()


def test_attack_equal_votes_by_other_transfers_do_not_swell_a_receipt():
    net, server, (liar, one, two) = alone_with(3)
    one.feed(row(1, FIRST), bodies=[FIRST])
    two.feed(row(1, FIRST))
    one.conflict(FIRST, DOUBLE)
    net.run(3)
    before = len(server.node.ledger.receipt("a-1"))
    same = sign(MINT, ANN, "a-1 1", "a-4 9")
    for start in range(1, 301, 100):
        rows = [row(n, same) for n in range(start, start + 100)]
        liar.feed(*rows, bodies=[same] if start == 1 else ())
    assert len(server.node.ledger.receipt("a-1")) == before
    assert settles(server) == [("a-1", 1)]


def test_attack_an_equal_vote_by_another_transfer_does_not_take_the_receipts_place():
    """The liar's row comes first, or last; others were told of a double spend meanwhile."""
    for first in (True, False):
        net, server, (liar, one, two) = alone_with(3)
        same = sign(MINT, ANN, "a-1 1", "a-4 9")
        if first:
            liar.feed(row(1, same), bodies=[same])
        one.feed(row(1, FIRST), bodies=[FIRST])
        one.conflict(FIRST, DOUBLE)
        two.feed(row(1, FIRST))
        if not first:
            liar.feed(row(1, same), bodies=[same])
        assert settles(server) == [("a-1", 1)]
        net.run(3)
        assert settles(server) == [("a-1", 1)]


def test_what_a_receipt_settled_is_shown_with_the_receipts_transfer():
    """Here the billot came by another transfer to the same owner."""
    net, server, peers = alone_with(3)
    other = sign(MINT, ANN, "a-1 1", "a-2 1")
    submit(server, other)
    peers[0].conflict(other, DOUBLE)
    assert server.shows("a-1")[2] == "contested"
    shown = receipt(FIRST, *(fed(peer.key, row(1, FIRST)) for peer in peers))
    assert "result" in server.client().settle(shown)
    assert settles(server) == [("a-1", 1)]
    net.run(3)
    assert settles(server) == [("a-1", 1)]


def test_statements_that_came_with_another_transfer_are_shown_with_the_rows():
    net, server, peers = alone_with(6)
    other = sign(MINT, ANN, "a-1 1", "a-2 1")
    submit(server, FIRST)
    net.run(1.1)
    for peer in peers[:3]:
        for question in peer.asked():
            peer.states(question, dict.fromkeys(("a-1", "a-2"), other))
    assert server.shows("a-1")[2] == "held"
    peers[3].feed(row(1, FIRST))
    assert server.shows("a-1")[2] == "settled"
    assert settles(server) == [("a-1", 1)]
    net.run(3)
    assert settles(server) == [("a-1", 1)]


def test_attack_a_row_by_another_transfer_leaves_nobody_behind():
    """One of seven settles by a liar's vote and is cut off; the other liar spoils its receipt."""
    net = Net(5, trusted=[[*(k for k in range(5) if k != n), *LIARS] for n in range(5)])
    net.mesh()
    liars = {
        (server.number, place): Peer(net, server, place, SERVER_KEYS[12 + place])
        for server in net.servers
        for place in (4, 5)
    }
    net.quiet()
    for number, server in enumerate(net.servers):
        submit(server, FIRST if number < 4 else DOUBLE)
    for server in net.servers:
        told = DOUBLE if server.number else FIRST
        liars[server.number, 4].feed(row(1, told), bodies=[told])
        if server.number:
            liars[server.number, 5].feed(row(1, DOUBLE), bodies=[DOUBLE])
    net.quiet()
    assert [server.shows("a-1")[2] for server in net.servers] == ["settled", *["disputed"] * 4]
    net.cut_all(net[0])
    spoiled = sign(MINT, ANN, "a-1 1", "a-4 9")
    for step in range(120):
        if step == 15:
            assert net[0].node.ledger.receipt("a-1") is not None
            liars[0, 5].feed(row(1, spoiled), bodies=[spoiled])
        if step == 20:
            for other in net.servers[1:]:
                net.link(net[0], other)
                net.link(other, net[0])
        net.run(0.25)
        for (number, _), liar in liars.items():
            for question in liar.asked() if liar.up else ():
                liar.states(question, {"a-1": DOUBLE} if number else {})
    assert [server.shows("a-1")[1:] for server in net.servers] == [(ANN.owner, "settled")] * 5


@pytest.mark.parametrize("alone", ["a-1", "a-2"])
def test_each_billot_is_adopted_with_the_transfer_that_its_votes_can_be_shown_with(alone):
    """Its owner signed it over to the same payee twice: alone, and then with another."""
    _, server, peers = alone_with(2)  # n = 3, q = 2
    submit(server, sign(MINT, BOB, "a-1 1", "a-2 1"))
    one, both = sign(MINT, ANN, f"{alone} 1"), sign(MINT, ANN, "a-1 1", "a-2 1")
    peers[0].feed(row(1, one), row(2, both), bodies=[one, both])
    peers[1].feed(row(1, one), row(2, both))
    assert server.shows("a-1") == server.shows("a-2") == (1, ANN.owner, "settled")
    assert settles(server, "a-1")
    assert settles(server, "a-2")


def test_feeds_are_believed_to_move_for_half_a_minute_together():
    read = {"one": 0, "two": 0}
    progress = Progress(read.__getitem__)
    for key in read:
        progress.follow(key, 0, 1000)
    moving = []
    for second in range(200):
        read["one"] += 1
        read["two"] += 1
        moving.append(progress.is_moving(float(second)))
    assert moving == [True] * 30 + [False] * 170
