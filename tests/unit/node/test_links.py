"""Links to trusted servers, one of them played by the test."""

import dataclasses

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    MINT,
    OTHER,
    SERVER_KEYS,
    STRANGER,
    Net,
    Peer,
    alone_with,
    fields,
    forged,
    requests,
    row,
    sign,
    submit,
)

from billots.feed import AdoptedRow, FeedBatch, TransferRow
from billots.host import Host
from billots.jsonrpc import notification
from billots.limits import Limits
from billots.node.wanted import GIVE_UP_S

FIRST = sign(MINT, ANN, "a-1 1")
DOUBLE = sign(MINT, BOB, "a-1 1")


@pytest.fixture
def played():
    return alone_with(2)


def wanted_ids(said):
    return [request["params"]["transfer_ids"] for request in requests(said, "fetch")]


# How a link begins


def test_info_then_subscribe_then_the_feed(played):
    _, server, (peer, _) = played
    (announced,) = peer.announced
    assert announced["method"] == "announce"
    assert announced["params"] == {"port": 7000, "key": server.key.public_hex}
    assert server.client().ask("info")["counts"]["links_up"] == 2
    peer.feed(row(1, FIRST), bodies=[FIRST])
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_a_link_is_up_once_its_feed_is_followed():
    _, server, (peer,) = alone_with(1, follow=False)
    assert not server.node.links.is_up(peer.conn)
    peer.follow()
    assert server.node.links.is_up(peer.conn)
    assert not server.node.links.is_up(4711)


def test_it_subscribes_from_the_last_row_that_it_had():
    net, server, (peer,) = alone_with(1)
    peer.feed(row(5, FIRST), bodies=[FIRST])
    net.cut(server, peer.conn)
    again = Peer(net, server, 0, follow=False)
    assert again.follow() == {
        "since": {"key": again.key.public_hex, "lsn": 5}, "me": server.key.public_hex
    }  # fmt: skip


def test_it_subscribes_from_the_last_row_on_disk_after_a_restart():
    net, server, (peer,) = alone_with(1)
    open_row = sign(DAN, BOB, "a-9 7")
    peer.feed(row(5, FIRST), bodies=[FIRST])
    peer.feed(row(8, open_row), bodies=[open_row])
    peer.feed(row(9, second := sign(ANN, BOB, "a-1 2")), bodies=[second])
    net.run(2)
    server.crash()
    server.start()
    again = Peer(net, server, 0, follow=False)
    assert again.follow()["since"]["lsn"] == 7


def test_a_server_without_a_port_does_not_announce_itself():
    net = Net(1, trusted=[[Host("127.0.0.1", 8000)]])
    net[0].settings = type(net[0].settings)(trusted=net[0].settings.trusted, port=0)
    net[0].start()
    assert Peer(net, net[0], 0).announced == []


@pytest.mark.parametrize(
    "changes", [{"network": {"name": "unit", "id": OTHER.id}}, {"protocol": 2}]
)
def test_a_server_of_another_network_or_protocol_is_not_trusted(changes):
    _net, server, (peer,) = alone_with(1, follow=False)
    (request,) = peer.read()
    peer.reply(request, peer.info(**changes))
    assert peer.step() == []
    assert not peer.up
    assert server.node.trust.keys == frozenset()
    assert server.node.trust.n == 2


def test_a_pinned_key_that_another_shows():
    net = Net(1, trusted=[[Host("127.0.0.1", 8000, SERVER_KEYS[1].public_hex)]])
    peer = Peer(net, net[0], 0, STRANGER, follow=False)
    request = peer.introduce()
    peer.reply(request, peer.proof(request))
    peer.step()
    assert not peer.up
    good = Peer(net, net[0], 0, SERVER_KEYS[1])
    assert good.up


def test_a_changed_key_counts_for_nothing_elsewhere_than_on_loopback():
    net, server, (peer,) = alone_with(1, domain="s.example")
    submit(server, sign(MINT, BOB, "a-2 1"))
    net.run(1.1)
    for _ in range(2):
        other = Peer(net, server, 0, STRANGER, follow=False)
        request = other.introduce()
        other.reply(request, other.proof(request))
        other.step()
        assert not other.up
        assert STRANGER.public_hex not in server.node.trust.keys
        server.crash()
        server.start()  # it is remembered on disk
    assert Peer(net, server, 0, peer.key).up


@pytest.mark.parametrize("named", [None, STRANGER.public_hex], ids=["the next", "the named one"])
def test_an_accepted_key_takes_the_place_of_the_one_known(named):
    net, server, (peer,) = alone_with(1, domain="s.example")
    submit(server, sign(MINT, BOB, "a-2 1"))
    net.run(1.1)
    server.crash()
    host = Host("s.example", server.node.trust.entries[0].host.port, named)
    server.settings = dataclasses.replace(server.settings, accept=(host,))
    server.start()
    assert Peer(net, server, 0, STRANGER).up
    assert server.node.trust.keys == {STRANGER.public_hex}
    assert server.node.trust.electorate.retired == {peer.key.public_hex: host.place}
    submit(server, sign(MINT, BOB, "a-3 1"))
    net.run(3.1)
    server.crash()
    server.settings = dataclasses.replace(server.settings, accept=())
    server.start()  # who is known now, and who was, is on disk
    old = Peer(net, server, 0, peer.key, follow=False)
    request = old.introduce()
    old.reply(request, old.proof(request))
    old.step()
    assert not old.up
    assert server.node.trust.electorate.retired == {peer.key.public_hex: host.place}


@pytest.mark.parametrize("place", ["127.0.0.1", "s.example"])
def test_accepting_what_is_known_or_on_this_machine_changes_nothing(place):
    net, server, (peer,) = alone_with(1, domain=place)
    submit(server, sign(MINT, BOB, "a-2 1"))
    net.run(3.1)
    server.crash()
    host = Host(place, 8000, peer.key.public_hex)
    server.settings = dataclasses.replace(server.settings, accept=(host,))
    server.start()
    assert server.node.trust.electorate.retired == {}
    assert Peer(net, server, 0, peer.key).up
    assert server.node.trust.keys == {peer.key.public_hex}


def test_a_key_is_remembered_before_it_is_on_disk():
    net, server, (peer,) = alone_with(1, domain="s.example")
    net.cut(server, peer.conn)
    other = Peer(net, server, 0, STRANGER, follow=False)
    request = other.introduce()
    other.reply(request, other.proof(request))
    other.step()
    assert not other.up


def test_a_changed_key_counts_on_loopback_at_once_and_the_old_ones_votes_leave():
    net, server, (one, two, _) = alone_with(3)
    other_side = sign(MINT, BOB, "a-1 1")
    submit(server, FIRST)
    one.feed(row(1, other_side), bodies=[other_side])
    net.cut(server, one.conn)
    again = Peer(net, server, 0, STRANGER)
    assert again.key.public_hex in server.node.trust.keys
    assert one.key.public_hex not in server.node.trust.keys
    again.feed(row(1, FIRST))
    two.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")


@pytest.mark.parametrize("shown", [0, 1], ids=["our own key", "another server's key"])
def test_attack_a_key_that_is_only_shown_takes_nobody_out_of_n(shown):
    net, server, (one, two) = alone_with(2)
    assert server.node.trust.n == 3
    net.cut(server, two.conn)
    liar = Peer(net, server, 1, STRANGER, follow=False)
    key = server.key if shown == 0 else one.key
    request = liar.introduce(server=key.public_hex)
    forged_proof = liar.proof(request) | {"server": key.public_hex}
    liar.reply(request, forged_proof)
    liar.step()
    assert not liar.up
    assert server.node.trust.n == 3
    assert {one.key.public_hex, two.key.public_hex} == server.node.trust.keys


def test_our_own_entry_is_recognised_and_dropped():
    net = Net(2, trusted=[[Host("127.0.0.1", 7000), Host("127.0.0.1", 7001)], [0]])
    server = net[0]
    submit(server, FIRST)
    mine, theirs = net.dial(server, 0, server)
    net.quiet()
    assert server.node.trust.n == 2
    assert server.node.trust.entries[0].own
    assert mine not in server.ends
    assert theirs not in server.ends
    net.mesh()
    net.run(1)
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    assert server.client().ask("info")["trusted"] == [f"127.0.0.1:7001#{net[1].key.public_hex}"]


def test_who_turns_out_to_trust_only_itself_settles_what_it_held():
    net = Net(1, trusted=[[0]])
    server, client = net[0], net[0].client()
    submit(server, FIRST)
    assert client.transfer(sign(ANN, BOB, "a-1 2")) is None
    net.dial(server, 0, server)
    net.quiet()
    assert server.node.trust.n == 1
    assert client.read()[0]["result"]["accepted"]
    assert server.shows("a-1") == (2, BOB.owner, "settled")


def test_who_trusts_nobody_any_more_settles_what_it_held():
    net = Net(2)
    server = net[0]
    submit(server, FIRST)
    server.crash()
    server.settings = type(server.settings)(port=7000)
    server.start()
    submit(server, sign(ANN, BOB, "a-1 2"))
    assert server.shows("a-1") == (2, BOB.owner, "settled")


def test_two_entries_of_one_key_count_once():
    _net, server, (one, two, three) = alone_with(3, follow=False)
    two.key = one.key
    submit(server, FIRST)
    one.follow()
    assert (server.node.trust.n, server.node.trust.quorum) == (4, 3)
    two.follow()
    assert (server.node.trust.n, server.node.trust.quorum) == (3, 2)
    one.feed(row(1, sign(MINT, BOB, "a-1 1")), bodies=[sign(MINT, BOB, "a-1 1")])
    two.feed(row(2, sign(MINT, BOB, "a-1 1")))
    assert server.shows("a-1") == (1, ANN.owner, "contested")
    three.follow()
    three.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_a_quorum_that_stands_once_n_is_smaller():
    _net, server, (one, two, _three) = alone_with(3, follow=False)
    submit(server, FIRST)
    one.follow()
    one.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "held")
    two.key = one.key
    two.follow()
    assert server.shows("a-1") == (1, ANN.owner, "settled")


# What no honest server sends


def batch_of(peer, *rows, **changes):
    return msgspec.structs.replace(peer.batch(*rows), **changes)


def notified(method, params):
    return notification(method, msgspec.json.encode(params))


@pytest.mark.parametrize(
    "bad",
    [
        lambda peer: notification("feed", batch_of(peer, row(1, FIRST), root="0" * 64)),
        lambda peer: notification("feed", batch_of(peer, row(1, FIRST), signature="0" * 128)),
        lambda peer: notification(
            "feed", batch_of(peer, row(1, FIRST), signature="0" * 128, transfers=(FIRST,))
        ),
        lambda peer: notification("feed", batch_of(peer, row(1, FIRST), rows=())),
        lambda peer: notification("feed", peer.batch(row(2, FIRST), row(1, FIRST))),
        lambda peer: notification("feed", peer.batch(row(1, FIRST), key=STRANGER)),
        lambda peer: notification(
            "feed", batch_of(peer, row(1, FIRST), server=STRANGER.public_hex)
        ),
        lambda peer: notification("feed", FeedBatch.sign(OTHER.id, peer.key, [row(1, FIRST)])),
        lambda peer: notification(
            "feed", peer.batch(AdoptedRow(1, "z-1", 1, ANN.owner, BOB.owner))
        ),
        lambda peer: notification(
            "feed", peer.batch(AdoptedRow(1, "a-20001", 1, ANN.owner, BOB.owner))
        ),
        lambda peer: notified("feed", {"rows": []}),
        lambda peer: notified("conflict", {"first": 1}),
        lambda peer: notified("conflict", {"first": FIRST, "second": forged(DOUBLE)}),
        lambda peer: notification(
            "feed", peer.batch(row(1, FIRST), bodies=[forged(sign(MINT, BOB, "a-1 1"))])
        ),
        lambda peer: b"nonsense",
        lambda peer: b'{"jsonrpc":"2.0","id":{}}',
        lambda peer: b"[]",
    ],
)  # fmt: skip
def test_attack_who_sends_what_no_honest_server_does_is_hung_up_on(played, bad):
    """And its trouble ends that link alone: another still settles."""
    _, server, (liar, honest) = played
    submit(server, sign(MINT, CAT, "a-5 1"))
    liar.say(bad(liar))
    server.step()
    liar.say(notification("feed", liar.batch(row(3, sign(MINT, CAT, "a-5 1")))))
    server.step()
    assert not liar.up
    assert server.shows("a-5") == (1, CAT.owner, "held")
    honest.feed(row(1, sign(MINT, CAT, "a-5 1")))
    assert server.shows("a-5") == (1, CAT.owner, "settled")
    assert honest.up


@pytest.mark.parametrize("answers", [0, 1])
def test_an_error_to_info_or_subscribe_ends_the_link(answers):
    _net, _server, (peer,) = alone_with(1, follow=False)
    (request,) = peer.read()
    if answers:
        peer.reply(request, peer.info())
        (request,) = peer.step()
    peer.fail(request)
    peer.step()
    assert not peer.up


def test_answers_and_notifications_that_mean_nothing_do_no_harm(played):
    _, _server, (peer, _) = played
    peer.fail({"id": peer.announced[0]["id"]})
    peer.reply({"id": 999}, {})
    peer.reply({"id": "x"}, {})
    peer.say(notified("transferred", {}))
    assert peer.step() == []
    assert peer.up


def test_a_feed_before_it_said_who_it_is_counts_nothing():
    _net, server, (peer,) = alone_with(1, follow=False)
    peer.say(notification("feed", peer.batch(row(1, FIRST), bodies=[FIRST])))
    server.step()
    assert server.shows("a-1") == (0, MINT.owner, "settled")


def test_attack_a_bad_copy_does_not_make_the_good_one_look_seen(played):
    _net, server, (liar, honest) = played
    liar.feed(row(1, FIRST), bodies=[forged(FIRST)])
    assert not liar.up
    honest.feed(row(1, FIRST), bodies=[FIRST])
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_bodies_of_another_network_or_of_no_billot_are_passed_over(played):
    _net, server, (peer, _) = played
    foreign = sign(MINT, ANN, "a-1 1", network=OTHER)
    unknown = msgspec.structs.replace(FIRST, billots=(("a-0", 1),))
    peer.feed(row(1, FIRST), bodies=[foreign, unknown, FIRST])
    assert peer.up
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_a_conflict_with_a_foreign_transfer_is_passed_over(played):
    _, _, (peer, _) = played
    peer.conflict(FIRST, sign(MINT, BOB, "a-1 1", network=OTHER))
    assert peer.up


def test_a_conflict_that_a_trusted_server_shows(played):
    _net, server, (peer, _) = played
    submit(server, FIRST)
    follower = server.client(exempt=True)
    follower.ask("subscribe", {})
    follower.step()
    peer.conflict(FIRST, sign(MINT, BOB, "a-1 1"))
    assert server.shows("a-1") == (1, ANN.owner, "contested")
    assert len(follower.notifications("conflict")) == 1
    peer.conflict(FIRST, sign(MINT, BOB, "a-1 1"))
    assert follower.notifications("conflict") == []


# Votes


def test_votes_of_rows_read_before_are_passed_over(played):
    _net, server, (peer, _) = played
    late = sign(MINT, ANN, "a-2 1")
    submit(server, late)
    peer.feed(row(5, FIRST), bodies=[FIRST])
    peer.feed(row(4, late))
    assert server.shows("a-2") == (1, ANN.owner, "held")
    assert server.node.rounds.feeds.newest[peer.key.public_hex].last_lsn == 5
    peer.feed(row(6, late))
    assert server.shows("a-2") == (1, ANN.owner, "settled")


def test_only_named_billots_count(played):
    _net, server, (peer, _) = played
    transfer = sign(MINT, ANN, "a-1 1", "a-2 1")
    submit(server, transfer)
    peer.feed(row(1, transfer, "a-2", "a-7"))
    assert [server.shows(billot)[2] for billot in ("a-1", "a-2")] == ["held", "settled"]


def test_an_adopted_row_is_a_vote(played):
    _net, server, (peer, _) = played
    submit(server, FIRST)
    peer.feed(AdoptedRow(1, "a-1", 1, MINT.owner, ANN.owner))
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_adopting_by_q_votes_with_the_body(played):
    _net, server, (one, two) = played
    later = sign(CAT, DAN, "a-1 7")
    one.feed(row(1, later), bodies=[later])
    assert server.shows("a-1") == (0, MINT.owner, "settled")
    two.feed(AdoptedRow(1, "a-1", 7, CAT.owner, DAN.owner))
    assert server.shows("a-1") == (7, DAN.owner, "settled")
    follower = server.client()
    follower.ask("subscribe", {})
    assert follower.others[0]["params"]["rows"] == [f"1 adopted a-1 7 {CAT.owner} {DAN.owner}"]
    assert follower.others[0]["params"]["transfers"] == []


def test_adopting_waits_for_a_body(played):
    _net, server, (one, two) = played
    for peer in (one, two):
        peer.feed(AdoptedRow(1, "a-1", 7, CAT.owner, DAN.owner))
    assert server.shows("a-1") == (0, MINT.owner, "settled")


def test_a_body_that_was_forgotten_is_asked_for_again_when_it_is_adopted():
    net, server, (one, two) = alone_with(2, limits=Limits(bodies_max=1))
    later, other = sign(CAT, DAN, "a-1 7"), sign(CAT, DAN, "a-2 7")
    one.feed(row(1, later), bodies=[later])
    one.feed(row(2, other), bodies=[other])
    two.feed(AdoptedRow(1, "a-1", 7, CAT.owner, DAN.owner))
    assert server.shows("a-1")[0] == 0
    net.now += 0.11
    (request,) = requests(one.step(), "fetch")
    assert request["params"]["transfer_ids"] == [later.id]
    one.reply(request, {"transfers": [fields(later)]})
    server.step()
    assert server.shows("a-1") == (7, DAN.owner, "settled")


def test_attack_no_quorum_of_servers_that_are_not_trusted():
    """Who only subscribes, or announces itself, votes for nobody."""
    _net, server, (peer,) = alone_with(1)
    submit(server, FIRST)
    stranger = server.client()
    stranger.ask("subscribe", {"me": peer.key.public_hex})
    stranger.send(notification("feed", peer.batch(row(1, FIRST))))
    stranger.step()
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_a_batch_of_a_link_that_ended_before_the_round_is_read_again(played):
    net, server, (peer, _) = played
    submit(server, FIRST)
    peer.say(notification("feed", peer.batch(row(1, FIRST))))
    net.cut(server, peer.conn)
    server.step()
    assert server.shows("a-1") == (1, ANN.owner, "held")
    again = Peer(net, server, 0, follow=False)
    assert again.follow()["since"]["lsn"] == 0
    again.feed(row(1, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")


# Bodies that are missing


def test_a_missing_body_is_fetched_after_100_ms_from_one_who_named_it_then_the_next(played):
    net, server, (one, two) = played
    assert requests(one.feed(row(1, FIRST)), "fetch") == []
    two.feed(row(1, FIRST))
    net.now += 0.09
    assert requests(one.step() + two.step(), "fetch") == []
    net.now += 0.01
    (request,) = requests(one.step(), "fetch")
    assert request["params"] == {"transfer_ids": [FIRST.id]}
    one.reply(request, {"transfers": []})
    net.now += 0.1
    server.step()
    (request,) = requests(two.read(), "fetch")
    two.reply(request, {"transfers": [fields(FIRST)]})
    server.step()
    assert server.shows("a-1") == (1, ANN.owner, "settled")


@pytest.mark.parametrize("answer", ["error", "empty", "never"])
def test_a_body_that_nobody_has_is_given_up_and_delays_nothing(played, answer):
    net, server, (liar, honest) = played
    nobody = sign(DAN, CAT, "a-8 1")
    liar.feed(row(1, nobody))
    honest.feed(row(1, FIRST), bodies=[FIRST])
    liar.feed(row(2, FIRST))
    assert server.shows("a-1") == (1, ANN.owner, "settled")
    net.now += 0.11
    (request,) = requests(liar.step(), "fetch")
    if answer == "error":
        liar.fail(request)
    elif answer == "empty":
        liar.reply(request, {"transfers": []})
    net.now += 0.11 if answer != "never" else GIVE_UP_S
    asked = requests(liar.step(), "subscribe")
    assert len(server.node.rounds.feeds.wanted) == 0
    # Who says that nobody has it is done with; who says nothing is to show it again.
    dealt_with = 2 if answer != "never" else 0
    assert server.node.rounds.feeds.votes.cursor(liar.key.public_hex) == dealt_with
    assert [request["params"]["since"]["lsn"] for request in asked] == [0] * (answer == "never")
    assert liar.up


def test_what_it_names_while_its_link_breaks_is_asked_for_on_the_next(played):
    net, server, (one, two) = played
    one.feed(row(4, sign(MINT, BOB, "a-2 1")), bodies=[sign(MINT, BOB, "a-2 1")])
    one.feed(row(5, FIRST), row(6, FIRST))
    two.feed(row(1, FIRST))
    net.cut(server, one.conn)
    again = Peer(net, server, 0, follow=False)
    assert again.follow()["since"]["lsn"] == 4
    again.feed(row(5, FIRST), bodies=[FIRST])
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_attack_a_feed_that_goes_on_while_it_is_read_again_hides_no_row(played):
    """A pipelined row of the stream before would pass for all that came before it."""
    net, server, (one, two) = played
    key, votes = one.key.public_hex, server.node.rounds.feeds.votes
    lost, last = sign(MINT, BOB, "a-2 1"), sign(MINT, BOB, "a-3 1")
    one.feed(row(1, FIRST), bodies=[FIRST])
    net.now += 0.11
    one.feed(row(2, lost))
    net.now += 0.11
    one.step()  # it is asked for the body, and says nothing
    net.now += GIVE_UP_S
    (again,) = requests(one.step(), "subscribe")
    assert again["params"]["since"]["lsn"] == 1
    one.feed(row(3, last), bodies=[last])
    assert votes.newest(key) == 1, "a row of the old stream"
    one.reply(again, {"lsn": 3, "yours": None})
    one.feed(row(2, lost), row(3, last), bodies=[lost])
    assert votes.newest(key) == 3
    two.feed(row(1, FIRST), row(2, lost), row(3, last))
    for billot in ("a-1", "a-2", "a-3"):
        assert server.shows(billot)[2] == "settled"


def test_what_is_to_be_read_again_while_a_link_comes_up_is_asked_for(played):
    net, server, (one, _) = played
    key, votes = one.key.public_hex, server.node.rounds.feeds.votes
    unsettled = sign(DAN, BOB, "a-9 7")
    one.feed(row(1, unsettled), bodies=[unsettled])
    net.cut(server, one.conn)
    again = Peer(net, server, 0, follow=False)
    request = again.introduce()
    again.reply(request, again.proof(request))
    (asked,) = requests(again.step(), "subscribe")
    assert asked["params"]["since"]["lsn"] == 1
    votes.unread(key, 1)  # meanwhile something of it is to be read once more
    again.reply(asked, {"lsn": 1, "yours": None})
    (asked,) = requests(again.step(), "subscribe")
    assert asked["params"]["since"]["lsn"] == 0
    assert not server.node.links.is_up(again.conn)
    again.reply(asked, {"lsn": 1, "yours": None})
    server.step()
    assert server.node.links.is_up(again.conn)


def test_bodies_are_asked_for_64_at_a_time_and_those_cut_again(played):
    net, server, (peer, _) = played
    transfers = [sign(MINT, ANN, f"a-{n} 1") for n in range(1, 101)]
    peer.feed(*[row(n, transfer) for n, transfer in enumerate(transfers, 1)])
    net.now += 0.11
    first, second = requests(peer.step(), "fetch")
    assert [len(first["params"]["transfer_ids"]), len(second["params"]["transfer_ids"])] == [64, 36]
    peer.reply(first, {"transfers": [fields(transfer) for transfer in transfers[:30]]})
    peer.reply(second, {"transfers": [fields(transfer) for transfer in transfers[64:]]})
    server.step()
    net.now += 0.11
    assert wanted_ids(peer.step()) == [[transfer.id for transfer in transfers[30:64]]]


def test_a_fetched_body_with_a_bad_signature_ends_the_link(played):
    net, server, (liar, honest) = played
    liar.feed(row(1, FIRST))
    honest.feed(row(1, FIRST))
    net.now += 0.11
    (request,) = requests(liar.step(), "fetch")
    liar.reply(request, {"transfers": [fields(forged(FIRST))]})
    server.step()
    assert not liar.up
    net.now += 0.11
    server.step()
    assert wanted_ids(honest.read()) == [[FIRST.id]]


def test_bodies_that_were_not_asked_for_are_not_even_looked_at(played):
    net, server, (peer, _) = played
    peer.feed(row(1, FIRST))
    net.now += 0.11
    (request,) = requests(peer.step(), "fetch")
    unasked = sign(MINT, BOB, "a-2 1")
    peer.reply(request, {"transfers": [fields(unasked), fields(FIRST)]})
    server.step()
    assert server.shows("a-2") == (0, MINT.owner, "settled")
    assert server.shows("a-1")[0] == 1


def test_seen_bodies_cost_no_check(played):
    _, server, (one, two) = played
    one.feed(row(1, FIRST), bodies=[FIRST])
    assert FIRST.id in server.node.rounds.seen
    two.say(notification("feed", two.batch(row(1, FIRST), bodies=[FIRST])))
    assert len(server.node.checks()) == 1


# Reading and sending


def test_attack_a_flooding_feed_is_not_read_on_until_it_was_dealt_with(played):
    _, server, (peer, other) = played
    for lsn in range(1, 9):
        assert not server.node.busy(peer.conn)
        peer.say(notification("feed", peer.batch(row(lsn, FIRST))))
    assert server.node.busy(peer.conn)
    assert not server.node.busy(other.conn)
    server.step()
    assert not server.node.busy(peer.conn)
    assert not server.node.busy(4711)


def test_attack_who_names_thousands_of_bodies_is_read_only_for_its_answers(played):
    net, server, (liar, honest) = played
    for start in range(1, 4400, 256):
        rows = [TransferRow(lsn, f"{lsn:064x}") for lsn in range(start, start + 256)]
        liar.feed(*rows)
    assert server.node.busy(liar.conn)
    assert not server.node.busy(honest.conn)
    net.now += 0.11
    asked = requests(liar.step(), "fetch")
    assert len(asked) == 8
    assert not server.node.busy(liar.conn)
    for request in asked:
        liar.reply(request, {"transfers": []})
    assert server.node.busy(liar.conn)


def test_what_a_wallet_brings_goes_also_to_who_does_not_follow(played):
    _net, server, (one, two) = played
    follower = server.client(exempt=True)
    follower.ask("subscribe", {"me": two.key.public_hex})
    submit(server, FIRST)
    (request,) = requests(one.read(), "transfer")
    assert request["params"] == fields(FIRST)
    assert requests(two.read(), "transfer") == []
    one.feed(row(1, relayed := sign(MINT, BOB, "a-2 1")), bodies=[relayed])
    assert requests(one.read() + two.read(), "transfer") == []


def test_attack_bodies_that_come_too_early_take_no_room_and_no_work():
    """A liar sends what can't be judged, for somebody else's many billots to wake."""
    _, server, (liar, honest) = alone_with(2)
    rows = [f"a-{n}" for n in range(1, 257)]
    bodies = [sign(DAN, CAT, *(f"{billot} {9 + n}" for billot in rows)) for n in range(8)]
    liar.feed(row(1, bodies[0]), bodies=bodies)
    assert len(server.node.rounds.pending) == 0
    moved = sign(MINT, ANN, *(f"{billot} 1" for billot in rows))
    honest.feed(row(1, moved), bodies=[moved])
    assert server.shows("a-256") == (1, ANN.owner, "settled")
    assert len(server.node.rounds.pending) == 0


def test_what_waits_for_a_move_before_it_is_taken_after_it(played):
    _net, server, (one, two) = played
    second = sign(ANN, BOB, "a-1 2")
    one.feed(row(2, second), bodies=[second])
    assert server.shows("a-1") == (0, MINT.owner, "settled")
    two.feed(row(1, FIRST), bodies=[FIRST])
    assert server.shows("a-1") == (2, BOB.owner, "settled")


def test_attack_votes_do_not_put_off_the_time_limit_of_what_waits():
    net, server, (one, _two, _three) = alone_with(3)
    client = server.client()
    submit(server, FIRST)
    assert client.transfer(sign(ANN, CAT, "a-1 2")) is None
    for lsn in range(1, 7):
        net.run(0.9)
        one.feed(AdoptedRow(lsn, "a-1", 1, MINT.owner, CAT.owner if lsn % 2 else BOB.owner))
    (answer,) = client.read()
    assert answer["error"]["data"]["error"] == "not_settled"


def test_attack_what_came_too_early_is_not_remembered_as_seen(played):
    """Its time ran out; when it comes again, it is looked at again."""
    net, server, (one, two) = played
    second = sign(ANN, BOB, "a-1 2")
    one.feed(row(2, second), bodies=[second])
    net.run(6)
    assert len(server.node.rounds.pending) == 0
    assert second.id not in server.node.rounds.seen
    two.say(notification("feed", two.batch(row(1, FIRST), bodies=[FIRST, second])))
    assert len(server.node.checks()) == 3


def test_what_still_waits_after_a_part_settled_has_no_more_time(played):
    net, server, (one, _) = played
    client = server.client()
    other = sign(MINT, ANN, "a-2 1")
    submit(server, FIRST, other)
    assert client.transfer(sign(ANN, CAT, "a-1 2", "a-2 2")) is None
    net.run(4)
    one.feed(row(1, FIRST))
    assert client.read() == []
    net.run(1.1)
    (answer,) = client.read()
    assert answer["error"]["data"]["billot"] == "a-2"


def test_what_a_key_said_that_is_replaced_before_the_round_counts_for_nothing():
    _, server, (one,) = alone_with(1)
    submit(server, FIRST)
    again = Peer(one.net, server, 0, STRANGER, follow=False)
    request = again.introduce()
    one.say(notification("feed", one.batch(row(1, FIRST))))
    again.reply(request, again.proof(request))
    server.step()
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_attack_who_only_says_that_he_follows_stops_no_transfer():
    """A trusts B, and B follows nobody. A stranger says at A that he is B."""
    net = Net(2, trusted=[[1], []])
    trusting, trusted = net.servers
    net.link(trusting, trusted)
    net.quiet()
    trusting.client().ask("subscribe", {"me": trusted.key.public_hex})
    submit(trusting, FIRST)
    net.quiet()
    assert trusted.shows("a-1") == (0, MINT.owner, "settled")
    net.run(3)
    assert trusted.shows("a-1") == trusting.shows("a-1") == (1, ANN.owner, "settled")
    assert trusting.node.links.reminders.next_at is None


def test_attack_who_hangs_up_and_comes_back_has_nothing_counted_again():
    net, server, (one, _) = alone_with(2)
    server.step()
    assert not server.node.has_work
    net.cut(server, one.conn)
    Peer(net, server, 0, one.key)
    assert not server.node.has_work
