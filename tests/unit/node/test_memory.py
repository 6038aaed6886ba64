"""What a server says that lost its memory, is new, or starts over a copy of its store."""

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    MINT,
    NET,
    NO_ISSUER,
    SERVER_KEYS,
    Net,
    Peer,
    Server,
    adopted,
    alone_with,
    error,
    fields,
    held,
    receipt,
    requests,
    row,
    sign,
    stated,
    submit,
)

from billots.feed import AdoptedRow, FeedBatch, TransferRow
from billots.holding import Holding, Status, Vote
from billots.jsonrpc import call, notification
from billots.limits import Limits
from billots.node.memory import WAKE_S, Phase, Word
from billots.store import Batch

ONE, TWO, THREE = SERVER_KEYS[10:13]
FIRST = sign(MINT, ANN, "a-1 1")
DOUBLE = sign(MINT, BOB, "a-1 1")
SPEND = sign(ANN, CAT, "a-1 2")
LATER = sign(CAT, DAN, "a-1 7")
OTHER = sign(MINT, BOB, "a-9 1")


def blank(others=3, *, lsn=5, **more):
    """A new server; each of the others has a feed up to `lsn`, of which nothing was read."""
    net, server, peers = alone_with(others, blank=True, follow=False, **more)
    for peer in peers:
        peer.follow(lsn=lsn)
    return net, server, peers


def phase(server):
    return server.node.memory.phase


def read(peer, *rows, bodies=(), lsn=5):
    """The peer's feed up to where it stood at the start, and still stands."""
    peer.feed(*rows, row(lsn, OTHER), bodies=[*bodies, OTHER])
    peer.step()


def status(answer):
    (said,) = answer["result"]["billots"]
    return said["status"]


def asking(client, *billots, **more):
    """A question that may wait for its answer."""
    return client.answer("who_owns", {"billots": list(billots)} | more)


def answer_all(peers, known=None):
    """All answer what they were asked; `known` is what each of them has."""
    for number, peer in enumerate(peers):
        for question in peer.asked():
            peer.states(question, known[number] if known else None)


# A new server: what it says


def test_a_new_server_asks_before_it_first_speaks_of_a_billot():
    _, server, peers = blank()
    client = server.client()
    assert asking(client, "a-1", nonce="ab" * 8) is None
    answer_all(peers[:1])
    assert client.step() == []
    answer_all(peers[1:])
    (answer,) = client.step()
    assert status(answer) == "settled"
    assert answer["result"]["nonce"] == "ab" * 8
    assert status(asking(server.client(), "a-1")) == "settled", "it is known now"
    assert server.client().ask("info")["counts"]["blank"] == 1


def test_a_new_server_says_unknown_after_three_seconds():
    net, server, _ = blank()
    client = server.client()
    assert asking(client, "a-1", "a-2") is None
    net.run(2.9)
    assert client.read() == []
    net.run(0.2)
    (answer,) = client.read()
    assert [r["status"] for r in answer["result"]["billots"]] == ["unknown"] * 2
    assert [(r["seq"], r["from"], r["owner"]) for r in answer["result"]["billots"]] == [
        (0, None, None)
    ] * 2


def test_what_is_known_of_some_is_said_with_unknown_for_the_others():
    net, server, peers = blank()
    client = server.client()
    assert asking(client, "a-1") is None
    answer_all(peers)
    client.step()
    assert asking(client, "a-1", "a-2") is None
    net.run(3.1)
    (answer,) = client.read()
    assert [r["status"] for r in answer["result"]["billots"]] == ["settled", "unknown"]


def test_a_peer_that_consults_is_told_unknown_at_once():
    net, server, peers = blank()
    assert status(asking(server.client(), "a-1", consult=True)) == "unknown"
    assert status(asking(server.client(), "a-1", consult=True, proof=True)) == "unknown"
    net.run(2)
    assert [peer.asked() for peer in peers] == [[]] * 3


def test_attack_strangers_have_a_new_server_ask_within_the_budget():
    """Beyond it they are told at once that it is unknown."""
    net, server, peers = blank(limits=Limits(consults_per_s=2))
    answers = [asking(server.client(), f"a-{n}") for n in range(1, 21)]
    assert [answer is None for answer in answers] == [True] * 8 + [False] * 12
    assert {status(answer) for answer in answers[8:]} == {"unknown"}
    net.run(4)
    for peer in peers:
        peer.asked()
    assert status(asking(server.client(), "a-1")) == "unknown", "once in 10 s for the same"
    assert all(peer.asked() == [] for peer in peers)


def test_what_was_adopted_is_spoken_of_at_once():
    _, server, peers = blank()
    for peer in peers:
        peer.feed(row(2, LATER), bodies=[LATER])
    assert phase(server) is Phase.BLANK
    (said,) = asking(server.client(), "a-1", proof=True)["result"]["billots"]
    assert (said["seq"], said["status"]) == (7, "settled")


def test_what_is_adopted_while_somebody_waits_is_told():
    _, server, peers = blank()
    client = server.client()
    assert asking(client, "a-1") is None
    for peer in peers:
        peer.feed(row(2, LATER), bodies=[LATER])
    (answer,) = client.step()
    assert answer["result"]["billots"][0]["seq"] == 7


def test_what_a_new_server_has_not_read_is_in_no_list():
    _, server, peers = blank()
    assert server.client().ask("list", {"owner": MINT.owner})["unmoved"] == []
    for peer in peers:
        peer.feed(row(2, LATER), bodies=[LATER])
    listed = server.client().ask("list", {"owner": DAN.owner})["billots"]
    assert [billot["id"] for billot in listed] == ["a-1"]


def test_unissued_billots_are_unissued_also_for_a_new_server():
    net, _, _ = blank(1)
    server = Server(net, 0, net[0].key, net[0].settings, network=NO_ISSUER, blank=True)
    assert server.node.memory.phase is Phase.BLANK
    assert server.client().says("a-1", consult=True)["status"] == "unissued"
    assert server.client().says("b-3", consult=True)["status"] == "unknown"


# A new server: what it takes


def test_a_new_server_takes_a_transfer_once_the_others_were_asked():
    net, server, peers = blank()
    client = server.client()
    assert client.transfer(FIRST) is None
    answer_all(peers[:2])
    assert client.step() == []
    net.run(3.1)
    (answer,) = client.read()
    assert answer["result"]["accepted"], "all but f have answered, and the third had its time"
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_a_new_server_that_nobody_answers_takes_nothing():
    net, server, _ = blank()
    client = server.client()
    assert client.transfer(FIRST) is None
    net.run(6)
    assert error(client.read()[0]) == "not_settled"
    assert server.state() == {}


def test_servers_that_know_nothing_themselves_say_nothing():
    _, server, peers = blank()
    client = server.client()
    assert client.transfer(FIRST) is None
    nothing = {"a-1": Holding(0, None, None, Status.UNKNOWN)}
    answer_all(peers, [nothing] * 3)
    assert client.step() == []
    assert server.state() == {}


def test_it_joins_the_one_side_that_has_votes():
    """Whatever it may have said under its old key, it said it to them."""
    _, server, peers = blank()
    client = server.client()
    assert client.transfer(DOUBLE) is None
    answer_all(peers, [{"a-1": FIRST}, {}, {}])
    assert error(client.step()[0]) == "conflicting_transfer"
    assert server.shows("a-1")[:2] == (1, ANN.owner)


def test_it_joins_nobody_before_the_body_is_here():
    """There would be nothing to take."""
    net, server, peers = blank()
    client = server.client()
    assert client.transfer(DOUBLE) is None
    answer_all(peers, [{"a-1": held(FIRST, "a-1")}] * 2 + [{}])
    assert client.step() == []
    assert server.state() == {}
    assert server.client().says("a-1", consult=True)["status"] == "unknown"
    net.run(3.1)
    answer_all(peers, [{"a-1": FIRST}] * 2 + [{}])
    assert error(client.step()[0]) == "conflicting_transfer"
    assert server.shows("a-1")[:2] == (1, ANN.owner)


def test_one_of_f_that_alone_says_so_may_be_left_out():
    """With all three heard, one may lie; joining it is as good as any."""
    _, server, peers = blank()
    client = server.client()
    assert asking(client, "a-1") is None
    answer_all(peers, [{"a-1": FIRST}, {"a-1": FIRST}, {"a-1": DOUBLE}])
    client.step()
    assert server.shows("a-1")[:2] == (1, ANN.owner)


def test_it_joins_neither_of_two_sides_until_it_can_adopt_one():
    net, server, peers = blank(4)  # n = 5, f = 1: all but one are read
    client = server.client()
    assert client.transfer(FIRST) is None
    answer_all(peers, [{"a-1": FIRST}] * 2 + [{"a-1": DOUBLE}] * 2)
    net.run(6)
    assert error(client.read()[0]) == "not_settled"
    assert server.state() == {}
    assert server.client().says("a-1", consult=True)["status"] == "unknown"
    peers[2].feed(adopted(2, FIRST, "a-1"))
    peers[3].feed(adopted(2, FIRST, "a-1"))
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_attack_two_sides_are_joined_neither_though_one_says_settled():
    _, server, peers = blank(2)  # n = 3: both are heard
    client = server.client()
    assert client.transfer(FIRST) is None
    answer_all(peers, [{"a-1": (FIRST, Status.SETTLED)}, {"a-1": DOUBLE}])
    assert server.state() == {}


def test_a_new_server_adopts_by_a_receipt_and_votes_on_the_next_after_asking():
    _, server, peers = blank()
    whole = receipt(FIRST, *[stated(key, FIRST) for key in (ONE, TWO, THREE)])
    client = server.client()
    assert client.transfer(SPEND, receipts=fields([whole])) is None
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    answer_all(peers, [{"a-1": (FIRST, Status.SETTLED)}] * 3)
    (answer,) = client.step()
    assert answer["result"]["accepted"]


def test_a_new_server_joins_what_others_took_after_what_it_adopts():
    _, server, peers = blank()
    whole = receipt(FIRST, *[stated(key, FIRST) for key in (ONE, TWO, THREE)])
    double = sign(ANN, DAN, "a-1 2")
    client = server.client()
    assert client.transfer(SPEND, receipts=fields([whole])) is None
    answer_all(peers, [{"a-1": double}] * 3)
    assert error(client.step()[0]) == "conflicting_transfer"
    assert server.shows("a-1")[:2] == (2, DAN.owner)


# Reading


@pytest.mark.parametrize(("others", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (6, 4)])
def test_it_votes_once_it_has_read_all_but_f_of_the_feeds(others, needed):
    _, server, peers = blank(others)
    for number, peer in enumerate(peers[:needed], 1):
        assert phase(server) is Phase.BLANK
        assert server.client().ask("info")["counts"]["feeds_read"] == number - 1
        read(peer)
    assert phase(server) is Phase.READY
    submit(server, FIRST)
    assert server.client().says("a-7")["status"] == "settled"
    assert server.client().ask("info")["counts"]["blank"] == 0


def test_who_has_not_been_up_has_not_been_read():
    """n < 4: all must have been up once."""
    _, server, peers = alone_with(2, blank=True, follow=False)
    peers[0].follow(lsn=0)
    assert phase(server) is Phase.BLANK
    peers[1].follow(lsn=0)
    server.step()
    assert phase(server) is Phase.READY


def test_lsn_0_everywhere_is_a_fresh_network():
    net = Net(4, blank=range(4))
    net.mesh()
    assert [phase(server) for server in net.servers] == [Phase.READY] * 4
    submit(net[0], FIRST)
    net.run(1)
    assert {server.shows("a-1") for server in net.servers} == {(1, ANN.owner, "settled")}


def test_it_reads_up_to_where_they_stood_and_not_less():
    _, server, peers = blank(1)
    peers[0].feed(row(4, FIRST), bodies=[FIRST])
    assert phase(server) is Phase.BLANK
    read(peers[0])
    assert phase(server) is Phase.READY


def test_what_comes_while_it_reads_is_read_as_well():
    """A billot that moves meanwhile gives way to a row further on, and its vote with it."""
    _, server, (one,) = blank(1)
    read(one)
    assert phase(server) is Phase.READY
    _, server, (one,) = blank(1)
    one.lsn = 9
    one.say(notification("feed", one.batch(row(5, OTHER), bodies=[OTHER])))
    one.step()
    one.step()
    assert phase(server) is Phase.BLANK, "its feed goes up to 9 by now"
    one.feed(row(9, FIRST), bodies=[FIRST])
    one.step()
    assert phase(server) is Phase.READY


def test_adopting_is_not_reading():
    _, server, peers = blank()
    for peer in peers:
        peer.feed(row(2, LATER), bodies=[LATER])
    assert server.shows("a-1")[0] == 7
    assert phase(server) is Phase.BLANK
    client = server.client()
    assert asking(client, "a-2") is None


def test_rows_whose_bodies_are_not_here_are_not_read():
    net, server, (one, *_) = blank(1)
    one.feed(row(3, FIRST), row(5, OTHER), bodies=[OTHER])
    one.step()
    net.run(0.11)
    assert phase(server) is Phase.BLANK
    (request,) = requests(one.read(), "fetch")
    one.reply(request, {"transfers": [fields(FIRST)]})
    server.step()
    assert phase(server) is Phase.READY


def test_attack_bodies_that_nobody_has_do_not_stop_it_for_ever():
    net, server, (one, *_) = blank(1)
    one.feed(TransferRow(3, "ab" * 32), row(5, OTHER), bodies=[OTHER])
    assert phase(server) is Phase.BLANK
    net.run(0.11)
    (request,) = [r for r in one.step() if r["method"] == "fetch"]
    one.reply(request, {"transfers": []})
    net.run(1)
    one.step()
    assert phase(server) is Phase.READY


def test_after_reading_it_joins_where_one_side_has_votes():
    _, server, peers = blank(2)
    read(peers[0], row(2, FIRST), bodies=[FIRST])
    assert server.state() == {}
    read(peers[1])
    assert phase(server) is Phase.READY
    assert server.shows("a-1") == (1, ANN.owner, "settled"), "its own vote makes the quorum"


def unread_of(server):
    return list(server.node.memory.unread)


def two_sides():
    """A new server of three that has read both others, and they don't agree about a-1."""
    net, server, peers = blank(2)
    read(peers[0], row(2, FIRST), bodies=[FIRST])
    read(peers[1], row(2, DOUBLE), bodies=[DOUBLE])
    assert phase(server) is Phase.READY
    assert unread_of(server) == ["a-1"]
    return net, server, peers


@pytest.mark.slow
def test_attack_two_sides_about_very_many_billots_leave_it_asking():
    """Their list has a bound: beyond it, it consults on, as if it had not read."""
    count = 10_001
    _, server, peers = blank(2, lsn=count)
    for peer, to in zip(peers, (ANN, BOB), strict=True):
        for first in range(1, count + 1, 256):
            numbers = range(first, min(first + 256, count + 1))
            peer.feed(*[AdoptedRow(n, f"a-{n}", 1, MINT.owner, to.owner) for n in numbers])
        peer.step()
    assert server.node.memory.is_through
    assert phase(server) is Phase.BLANK
    assert status(asking(server.client(), "a-20000", consult=True)) == "unknown"


def test_after_reading_it_joins_neither_of_two_sides():
    net, server, peers = two_sides()
    assert server.shows("a-1")[0] == 0
    client = server.client()
    assert asking(client, "a-1") is None
    answer_all(peers, [{"a-1": FIRST}, {"a-1": DOUBLE}])
    net.run(3.1)
    assert status(client.read()[0]) == "unknown"
    assert server.client().says("a-2")["status"] == "settled", "of all others it speaks"
    submit(server, sign(MINT, CAT, "a-2 1"))
    waiting = server.client()
    assert waiting.transfer(FIRST) is None
    net.run(6)
    assert error(waiting.read()[0]) == "not_settled"


def test_it_speaks_again_once_it_adopts_one_of_them():
    _, server, peers = two_sides()
    peers[1].feed(adopted(6, FIRST, "a-1"))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    assert unread_of(server) == []
    submit(server, SPEND)


def test_two_sides_are_remembered_over_a_restart():
    net, server, peers = two_sides()
    net.run(2)
    server.crash()
    server.start()
    assert unread_of(server) == ["a-1"]
    for number, peer in enumerate(peers):
        Peer(net, server, number, peer.key)
    assert phase(server) is Phase.READY
    assert server.client().says("a-1", consult=True)["status"] == "unknown"


def test_that_it_has_read_is_on_disk():
    net, server, peers = blank(2)
    for peer in peers:
        read(peer)
    net.run(2)
    server.crash()
    server.start()
    assert phase(server) in (Phase.READY, Phase.WAKING)
    assert server.store.meta("read") is not None


def test_what_it_learned_is_not_said_before_it_is_on_disk():
    _, server, (one, two) = blank(2)
    read(one, row(2, FIRST), bodies=[FIRST])
    batch = batch_with(server, two, "read")
    assert phase(server) is Phase.READY
    for billot in ("a-1", "a-7"):
        assert asking_meanwhile(server, billot) == "unknown"
    server.end(batch)
    assert server.client().says("a-7")["status"] == "settled"
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def batch_with(server, peer, name):
    """What is to be committed with this value, once the peer's feed is read."""
    info = peer.info(lsn=5)
    peer.say(notification("feed", peer.batch(row(5, OTHER))))
    peer.lsn = None  # the test answers by itself, so that no round comes in between
    for _ in range(10):
        server.node.tick(server.net.now)
        batch = server.begin()
        if batch is not None and name in batch.meta:
            return batch
        server.end(batch)
        server.node.pump(server.net.now)
        for request in requests(peer.read(), "info"):
            peer.reply(request, info)
    raise AssertionError(name)


def asking_meanwhile(server, billot):
    """What is said while a round is on its way to disk."""
    client = server.client()
    client.send(call(3, "who_owns", {"billots": [billot], "consult": True}))
    server.flush()
    (frame,) = client.frames
    return status(msgspec.json.decode(frame))


def restarted(net, server, peers):
    """The server after a crash; those who are to be followed again."""
    net.run(2)
    server.crash()
    server.start()
    return [Peer(net, server, number, peer.key, follow=False) for number, peer in enumerate(peers)]


def test_a_restart_in_the_middle_of_reading_begins_with_the_oldest_open_row():
    net, server, peers = blank()  # two are to be read
    read(peers[0])
    peers[1].feed(row(3, OTHER), bodies=[OTHER])
    again = restarted(net, server, peers)
    assert [peer.follow(lsn=5)["since"]["lsn"] for peer in again[:2]] == [4, 2]
    assert phase(server) is Phase.BLANK
    for peer in again[:2]:
        assert server.client().says("a-7", consult=True)["status"] == "unknown"
        read(peer)
    assert phase(server) is Phase.READY


def test_a_restart_in_the_middle_of_reading_does_not_read_again_what_is_dealt_with():
    net, server, peers = blank()
    for peer, lsn in zip(peers, (5, 2, 2), strict=True):
        peer.feed(row(lsn, LATER), bodies=[LATER])
    assert server.shows("a-1")[0] == 7
    again = restarted(net, server, peers)
    assert [peer.follow(lsn=5)["since"]["lsn"] for peer in again[:2]] == [5, 2]
    net.run(0.01)
    assert phase(server) is Phase.BLANK
    assert server.client().says("a-7", consult=True)["status"] == "unknown"
    read(again[1])
    assert phase(server) is Phase.READY, "the first has nothing new to say"


def test_who_trusts_nobody_has_nothing_to_read():
    net = Net(1, blank=[0])
    assert phase(net[0]) is Phase.READY
    submit(net[0], FIRST)
    net[0].crash()
    net[0].settings = alone_with(1)[1].settings
    net[0].start()
    assert phase(net[0]) is Phase.WAKING, "it has a store: it asks whether it is the newest"
    Peer(net, net[0], 0)
    net.run(0.01)
    assert phase(net[0]) is Phase.READY


def test_attack_a_wiped_server_never_contradicts_what_it_may_have_said():
    """Four servers; one is wiped between a vote that only a payee saw and the double spend."""
    net = Net(4)
    net.mesh()
    submit(net[3], FIRST)  # with its word, one liar's and another's a payee has a receipt
    net.run(1)
    assert net[0].shows("a-1") == (1, ANN.owner, "settled")
    net[3].crash()
    wiped = Server(net, 3, SERVER_KEYS[9], net[3].settings, blank=True)
    net.servers[3] = wiped
    client = wiped.client()
    assert client.transfer(DOUBLE) is None, "before it has heard anybody"
    for other in net.servers[:3]:
        net.link(wiped, other)
        net.link(other, wiped)
    net.run(1)
    assert error(client.read()[0]) == "conflicting_transfer"
    assert wiped.shows("a-1") == (1, ANN.owner, "settled")


# Waking


def asleep(others=3, **more):
    """A server that has records and starts; nobody was heard yet."""
    net, server, peers = alone_with(others, **more)
    submit(server, FIRST)
    server.crash()
    server.start()
    peers = [Peer(net, server, n, peer.key, follow=False) for n, peer in enumerate(peers)]
    server.step()
    return net, server, peers


@pytest.mark.parametrize(("others", "needed"), [(1, 1), (2, 2), (3, 2), (6, 4)])
def test_at_its_start_a_server_signs_nothing_before_it_heard_all_but_f(others, needed):
    net, server, peers = asleep(others)
    client = server.client()
    assert client.transfer(sign(MINT, BOB, "a-2 1")) is None
    for peer in peers[:needed]:
        assert phase(server) is Phase.WAKING
        assert server.node.checks() == []
        assert client.step() == []
        assert server.client().says("a-1", consult=True)["status"] == "unknown"
        peer.follow(lsn=0)
    net.run(0.01)
    assert phase(server) is Phase.READY
    assert client.read()[0]["result"]["accepted"]


@pytest.mark.parametrize(
    ("others", "heard", "wakes"),
    [
        (2, 1, True),
        (3, 1, False),
        (6, 3, False),
    ],
)
def test_after_three_seconds_those_are_enough_without_whom_nothing_settles(others, heard, wakes):
    net, server, peers = asleep(others)
    for peer in peers[:heard]:
        peer.follow()
    net.run(WAKE_S - 0.1)
    assert phase(server) is Phase.WAKING
    net.run(0.2)
    assert phase(server) is (Phase.READY if wakes else Phase.WAKING)
    net.now += 60
    server.step()
    assert phase(server) is (Phase.READY if wakes else Phase.WAKING)
    if not wakes:
        peers[heard].follow()
        net.run(0.01)
        assert phase(server) is Phase.READY


def test_attack_an_empty_store_may_be_an_old_copy_too():
    """Copied before the first transfer: nothing is in it but that all was read, and a key."""
    net, server, peers = alone_with(3)
    server.crash()
    batch = Batch.empty()
    batch.meta["key"] = server.key.seed
    server.store.commit(batch)
    server.start()
    assert phase(server) is Phase.WAKING
    newer = server.net[0].key  # it signed under this key what isn't here
    votes = FeedBatch.sign(NET.id, newer, [TransferRow(1, FIRST.id)])
    Peer(net, server, 0, peers[0].key, follow=False).follow(lsn=1, yours=votes)
    assert server.node.outdated


def test_who_waits_for_others_is_not_due_all_the_time():
    """A driver calls `tick` whenever something is due: this one would do nothing else."""
    net, server, _ = asleep()
    net.now += WAKE_S + 1
    server.step()
    assert phase(server) is Phase.WAKING
    at = server.node.next_at
    assert at is None or at > net.now


@pytest.mark.parametrize(("others", "heard", "needed"), [(3, 1, 2), (6, 3, 4), (1, 0, 1)])
def test_who_waits_for_others_says_for_how_many_once(caplog, others, heard, needed):
    caplog.set_level("INFO", "billots.memory")
    net, _server, peers = asleep(others)
    asked = f"it signs nothing until {needed} of {others} have answered"
    assert [asked in line for line in caplog.messages[-1:]] == [True]
    for peer in peers[:heard]:
        peer.follow()
    net.run(WAKE_S - 0.1)
    before = len(caplog.records)
    net.run(9)
    told = [(record.levelname, record.getMessage()) for record in caplog.records[before:]]
    said = f"signs nothing yet: {heard} of the {needed} trusted servers that it needs answer"
    assert told == [("WARNING", f"this server {said}")]


def test_a_new_server_says_how_many_feeds_it_has_still_to_read(caplog):
    caplog.set_level("INFO", "billots.memory")
    net, _server, peers = blank()
    assert "before it votes, 2 of 3" in caplog.text
    read(peers[0])
    net.run(WAKE_S + 9)
    (said,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said.endswith("votes only with others yet: it has read 1 of the 2 feeds it needs")


def test_a_new_server_that_has_read_enough_doesnt_say_that_it_waits(caplog):
    net, _, peers = blank()
    for peer in peers:
        read(peer)
    net.run(WAKE_S + 9)
    assert "votes only" not in caplog.text


def test_attack_one_server_under_two_keys_wakes_nobody():
    net, server, peers = asleep()
    peers[0].follow()
    Peer(net, server, 0, SERVER_KEYS[19])
    net.run(5)
    assert phase(server) is Phase.WAKING
    peers[1].follow()
    net.run(0.01)
    assert phase(server) is Phase.READY


def test_who_is_just_starting_shows_no_proofs():
    net, server, peers = alone_with(3)
    submit(server, FIRST)
    for peer in peers[:2]:
        peer.feed(row(1, FIRST))
    net.run(2)
    assert server.client().says("a-1", proof=True)["receipt"] is not None
    server.crash()
    server.start()
    said = server.client().says("a-1", proof=True, consult=True)
    assert (said["status"], said["transfer"], said["receipt"]) == ("unknown", None, None)


def test_transfers_wait_for_it_three_seconds():
    net, server, _ = asleep()
    client = server.client()
    assert client.transfer(sign(MINT, BOB, "a-2 1")) is None
    net.run(2.9)
    assert client.read() == []
    net.run(0.2)
    assert error(client.read()[0]) == "not_settled"


@pytest.mark.parametrize("method", ["settle", "conflict"])
def test_receipts_and_pairs_wait_too(method):
    net, server, peers = asleep()
    client = server.client()
    whole = receipt(FIRST, *[stated(key, FIRST) for key in (SERVER_KEYS[0], ONE, TWO)])
    pair = {"first": fields(FIRST), "second": fields(DOUBLE)}
    params = {"receipts": fields([whole])} if method == "settle" else pair
    assert client.answer(method, params) is None
    for peer in peers[:2]:
        peer.follow()
    net.run(0.01)
    (answer,) = client.read()
    assert "result" in answer
    late = asleep()[1].client()
    assert late.answer(method, params) is None
    late.server.net.run(3.1)
    assert error(late.read()[0]) == "not_settled"


def test_questions_wait_for_it_and_are_answered_unknown_if_it_takes_too_long():
    net, server, peers = asleep()
    early, late = server.client(), server.client()
    assert asking(early, "a-1") is None
    net.run(3.1)
    assert status(early.read()[0]) == "unknown"
    assert asking(late, "a-1") is None
    for peer in peers[:2]:
        peer.follow()
    net.run(0.01)
    assert status(late.read()[0]) == "held"


def test_attack_those_who_wait_for_it_are_bounded():
    _, server, _ = asleep(limits=Limits(questions_max=2))
    for number in (1, 2):
        assert server.client().transfer(sign(MINT, BOB, f"a-{number + 1} 1")) is None
    assert error(server.client().transfer(sign(MINT, BOB, "a-9 1"))) == "not_settled"
    assert status(asking(server.client(), "a-1")) == "unknown"


def test_who_hung_up_meanwhile_is_not_answered():
    net, server, peers = asleep()
    client = server.client()
    assert client.transfer(sign(MINT, BOB, "a-2 1")) is None
    client.close()
    for peer in peers:
        peer.follow()
    net.run(1)
    assert client.frames == []


def test_a_server_without_records_has_signed_nothing_and_need_not_wait():
    _, server, _ = alone_with(3, follow=False)
    assert phase(server) is Phase.READY
    submit(server, FIRST)


def test_feeds_that_come_before_it_woke_are_read_then():
    net, server, peers = asleep()
    peers[0].follow()
    peers[0].feed(row(1, OTHER), bodies=[OTHER])
    assert server.shows("a-9")[0] == 0
    peers[1].follow()
    net.run(0.01)
    assert server.shows("a-9") == (1, BOB.owner, "held")


# The first word, by itself


MINTS = Holding(0, None, MINT.owner, Status.SETTLED)
TO_ANN, TO_BOB = (1, Vote(MINT.owner, ANN.owner)), (1, Vote(MINT.owner, BOB.owner))
AHEAD = (7, Vote(CAT.owner, DAN.owner))


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ([], Word.WAIT),
        ([None], Word.WAIT),
        ([None, None], Word.FREE),
        ([None, None, None], Word.FREE),
        ([TO_ANN, None], TO_ANN[1]),
        ([TO_ANN, TO_ANN], TO_ANN[1]),
        ([TO_ANN, None, None], TO_ANN[1]),
        ([TO_ANN, TO_BOB], Word.WAIT),
        ([TO_ANN, TO_ANN, TO_BOB], TO_ANN[1]),
        ([TO_ANN, TO_BOB, None], "either"),
        ([AHEAD, None], Word.WAIT),
        ([AHEAD, None, None], Word.FREE),
        ([AHEAD, TO_ANN, None], TO_ANN[1]),
        ([AHEAD, AHEAD, None], Word.WAIT),
        ([(0, Vote(None, MINT.owner)), None], Word.FREE),
    ],
)
def test_the_first_word_of_four(said, word):
    """All but f, two of three others, have to be heard; f of those who spoke may lie."""
    memory = alone_with(3, blank=True)[1].node.memory
    found = memory.first_word(MINTS, {f"{n}": vote for n, vote in enumerate(said)})
    assert found == word or (word == "either" and found in (TO_ANN[1], TO_BOB[1]))


def test_nothing_is_joined_on_top_of_what_is_not_settled():
    memory = alone_with(3, blank=True)[1].node.memory
    said = {"p": (2, Vote(ANN.owner, BOB.owner)), "q": None}
    unsettled = held(FIRST, "a-1")
    assert memory.first_word(unsettled, said) is Word.WAIT
    settled = held(FIRST, "a-1", Status.SETTLED)
    assert memory.first_word(settled, said) == (ANN.owner, BOB.owner)


def test_memory_of_what_was_asked_is_bounded():
    memory = blank()[1].node.memory
    for number in range(100_010):
        memory.clear(f"a-{number}")
    assert not memory.may_vote("a-5")
    assert memory.may_vote("a-100009")
    assert len(memory._cleared) == 100_000


def test_with_too_many_two_sided_billots_it_goes_on_asking():
    _, server, _ = blank()
    memory = server.node.memory
    assert not memory.finish(f"a-{n}" for n in range(10_001))
    assert memory.phase is Phase.BLANK
    assert memory.finish(f"a-{n}" for n in range(10_000))


def test_attack_a_feed_while_it_wakes_leaves_it_nothing_to_do_in_vain():
    """It starts with something held, and too few others are up: what is due is no busy loop."""
    net = Net(4)
    net.mesh()
    for server in net.servers:
        net.cut_all(server)
    submit(net[0], FIRST)
    submit(net[1], OTHER)
    net.run(2.0)
    for number in (0, 2, 3):
        net[number].crash()
    net[0].start()
    net.link(net[0], net[1])
    for _ in range(50):
        net[0].step()
        net[1].step()
        for wire in net.wires:
            wire.deliver()
    assert phase(net[0]) is Phase.WAKING
    for _ in range(5):
        steps = 0
        while net[0].is_due:
            net[0].step()
            steps += 1
            assert steps < 50, "it is due for ever"
        net.now += 1.0
