"""How a link begins, and what it tells of an old copy of our own store."""

import logging

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    MINT,
    NET,
    OTHER,
    SERVER_KEYS,
    STRANGER,
    Net,
    Peer,
    adopted,
    alone_with,
    row,
    sign,
    submit,
)

from billots.feed import FeedBatch
from billots.node.memory import Phase
from billots.store import Memory

FIRST = sign(MINT, ANN, "a-1 1")
SECOND = sign(MINT, ANN, "a-2 1")
DOUBLE = sign(MINT, BOB, "a-1 1")
OWN = SERVER_KEYS[0]


def waking(others=1):
    """A server with two records, lsn 1 and 2, that starts."""
    net, server, peers = alone_with(others)
    submit(server, FIRST, SECOND)
    server.crash()
    server.start()
    server.step()
    return net, server, [Peer(net, server, n, p.key, follow=False) for n, p in enumerate(peers)]


def ours(*rows, network=NET.id, key=OWN):
    return FeedBatch.sign(network, key, rows)


# An old copy


@pytest.mark.parametrize(
    "batch",
    [
        ours(row(3, DOUBLE)),
        ours(row(1, FIRST), row(2, SECOND), row(9, DOUBLE)),
        ours(row(1, DOUBLE)),
        ours(row(1, FIRST), row(2, DOUBLE)),
        ours(adopted(7, DOUBLE, "a-1")),
    ],
    ids=["beyond the last", "beyond, among others", "other at 1", "other at 2", "adopted beyond"],
)
def test_attack_an_old_copy_of_the_store_is_found_out(batch, caplog):
    """What we signed and don't know of was forgotten: this key must sign nothing more."""
    _, server, (peer,) = waking()
    with caplog.at_level(logging.ERROR, "billots.links"):
        peer.follow(yours=batch)
    assert server.node.outdated
    assert server.node.memory.phase is Phase.WAKING, "it never spoke"
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize(
    "batch",
    [
        None,
        ours(row(2, SECOND)),
        ours(row(1, FIRST), row(2, SECOND)),
        ours(row(1, FIRST, "a-1")),
        ours(row(3, DOUBLE), key=STRANGER),
        msgspec.structs.replace(ours(row(3, DOUBLE)), signature="0" * 128),
        msgspec.structs.replace(ours(row(3, DOUBLE), key=STRANGER), server=OWN.public_hex),
        msgspec.structs.replace(ours(row(2, SECOND)), rows=(row(9, DOUBLE).text,)),
        ours(row(3, DOUBLE), network=OTHER.id),
        FeedBatch(OWN.public_hex, (), "0" * 64, "0" * 128),
    ],
    ids=[
        "none", "the newest", "all of it", "a part", "another's", "forged", "under our name",
        "other rows", "another network", "empty",
    ],
)  # fmt: skip
def test_attack_what_we_did_not_sign_beyond_our_store_proves_nothing(batch):
    net, server, (peer,) = waking()
    peer.follow(yours=batch)
    net.run(0.01)
    assert not server.node.outdated
    assert peer.up
    assert server.node.memory.phase is Phase.READY


def test_attack_a_bare_number_proves_nothing():
    net, server, (peer,) = waking()
    peer.follow(lsn=9_999)
    net.run(0.01)
    assert not server.node.outdated
    assert server.node.memory.phase is Phase.READY


def test_a_malformed_batch_ends_the_link():
    _, server, (peer,) = waking()
    peer.follow(yours=msgspec.structs.replace(ours(row(3, DOUBLE)), rows=("nonsense",)))
    assert not server.node.outdated
    assert not peer.up


def copy_of(memory):
    """What somebody has who copies the files of a store."""
    copy = Memory()
    copy._values.update(memory._values)
    copy._keys.update({kind: list(keys) for kind, keys in memory._keys.items()})
    return copy


def test_an_old_copy_is_found_out_among_servers():
    """A copy put back after the server had gone on: the others have what it signed since."""
    net = Net(3)
    net.mesh()
    server = net[0]
    submit(server, FIRST)
    net.run(2)
    copy = copy_of(server.memory)
    submit(server, SECOND)
    net.run(2)
    server.crash()
    server.memory = copy
    server.start()
    client = server.client()
    assert client.transfer(sign(MINT, BOB, "a-2 1")) is None
    net.link(server, net[1])
    net.quiet()
    assert server.node.outdated
    assert client.frames == []


def test_who_comes_back_over_the_newest_store_goes_on():
    net = Net(3)
    net.mesh()
    submit(net[0], FIRST, SECOND)
    net.run(2)
    net[0].crash()
    net.rejoin(net[0])
    assert not net[0].node.outdated
    assert net[0].node.memory.phase is Phase.READY
    submit(net[0], sign(ANN, BOB, "a-1 2"))
    net.run(1)
    assert {server.shows("a-1") for server in net.servers} == {(2, BOB.owner, "settled")}


# The first words


def test_it_proves_its_key_over_a_statement_that_never_waits():
    _, _, (peer,) = alone_with(1, follow=False)
    question = peer.introduce()["params"]
    assert question["consult"]
    assert question["billots"] == ["a-1"]


def test_two_servers_that_wake_each_other_prove_their_keys():
    """Each answers that it knows nothing yet, and signs that."""
    net = Net(2)
    net.mesh()
    submit(net[0], FIRST)
    net.run(2)
    for server in net.servers:
        server.crash()
    for server in net.servers:
        server.start()
    net.mesh()
    net.run(0.1)
    assert [server.node.memory.phase for server in net.servers] == [Phase.READY] * 2
    assert {server.shows("a-1") for server in net.servers} == {(1, ANN.owner, "settled")}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda peer, request: peer.proof(request) | {"signature": "0" * 128},
        lambda peer, request: peer.proof(
            request | {"params": request["params"] | {"nonce": "ef" * 16}}
        ),
        lambda peer, request: peer.proof(
            request | {"params": request["params"] | {"billots": ["a-2"]}}
        ),
        lambda peer, request: peer.proof(request) | {"network": OTHER.id},
        lambda peer, request: peer.proof(request) | {"server": STRANGER.public_hex},
    ],
    ids=["forged", "another nonce", "another billot", "another network", "another's key"],
)  # fmt: skip
def test_attack_a_statement_that_proves_no_key_ends_the_link(spoil):
    _, server, (peer,) = alone_with(1, follow=False)
    request = peer.introduce()
    peer.reply(request, spoil(peer, request))
    peer.step()
    assert not peer.up
    assert server.node.trust.keys == frozenset()


@pytest.mark.parametrize("what", ["foreign", "changed"])
def test_the_same_trouble_is_logged_once_and_not_at_every_redial(what, caplog):
    net, server, peers = alone_with(1, domain="s.example")
    net.cut(server, peers[0].conn)
    with caplog.at_level(logging.ERROR, "billots.links"):
        for _ in range(3):
            if what == "foreign":
                peer = Peer(net, server, 0, follow=False)
                (request,) = peer.read()
                peer.reply(request, peer.info(network={"name": "unit", "id": OTHER.id}))
            else:
                peer = Peer(net, server, 0, STRANGER, follow=False)
                request = peer.introduce()
                peer.reply(request, peer.proof(request))
            peer.step()
            assert not peer.up
    assert len(caplog.records) == 1


def test_who_serves_our_network_again_is_followed():
    net, server, (peer,) = alone_with(1, follow=False)
    (request,) = peer.read()
    peer.reply(request, peer.info(network={"name": "unit", "id": OTHER.id}))
    peer.step()
    again = Peer(net, server, 0)
    assert again.up
    assert server.node.trust.keys == {again.key.public_hex}


def test_it_tells_who_it_is_and_from_where_it_reads():
    _, server, (peer,) = alone_with(1, follow=False)
    asked = peer.follow()
    assert asked == {
        "since": {"key": peer.key.public_hex, "lsn": 0}, "me": server.key.public_hex
    }  # fmt: skip
