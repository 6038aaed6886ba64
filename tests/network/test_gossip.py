"""Real servers among each other: what one takes, all settle; who lies or is away harms nobody."""

import asyncio
import contextlib
import json
import shutil
import socket
from itertools import pairwise

import pytest
from servers import (
    MINT,
    OTHERS,
    TEST,
    USER1,
    USER2,
    Mesh,
    Raw,
    connect,
    free_ports,
    fresh,
    mesh,
    request,
    run,
    send,
    signed,
    submit,
    transfer_request,
    until,
    until_info,
    until_settled,
)

from billots.crypto import PrivateKey
from billots.errors import Refused
from billots.feed import FeedBatch, TransferRow
from billots.holding import Holding, Status
from billots.jsonrpc import answer, encode, notification
from billots.messages import ChangeList, Changes, Evidence, Info, NetworkName, Pair
from billots.network import Network
from billots.server import Server
from billots.statement import Statement

ANN, BOB, CAT = OTHERS[:3]


async def move_on(servers, billot, owners, indexes):
    """Move a billot along `owners`, each move at the next of `indexes` once it is settled."""
    for seq, (sender, to) in enumerate(pairwise(owners), 1):
        index = indexes[seq % len(indexes)]
        if seq > 1:
            await servers.settled(billot, seq - 1, sender, index)
        await submit(servers.servers[index].address, signed(sender, to, (billot, seq)))
    return len(owners) - 1, owners[-1]


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_a_transfer_is_settled_everywhere(tmp_path, count):
    async def main():
        async with mesh(tmp_path, count) as servers:
            (billot,) = fresh()
            await submit(servers.servers[0].address, signed(MINT, ANN, (billot, 1)))
            await servers.settled(billot, 1, ANN)

    run(main())


@pytest.mark.parametrize("count", [4, 7])
def test_chains_of_moves_are_settled_everywhere(tmp_path, count):
    async def main():
        async with mesh(tmp_path, count) as servers:
            billots = fresh(5)
            owners = [MINT, ANN, BOB, CAT, ANN, MINT]
            indexes = list(range(count))
            await asyncio.gather(*(move_on(servers, b, owners, indexes) for b in billots))
            for billot in billots:
                await servers.settled(billot, 5, MINT)

    run(main())


def test_a_payment_is_passed_on_before_it_is_settled(tmp_path):
    """The payee spends at once at another server: its transfer waits there, and is taken."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            (billot,) = fresh()
            a, b = servers.servers[0].address, servers.servers[1].address
            await submit(a, signed(MINT, ANN, (billot, 1)))
            async with await connect(a) as client:
                await send(client, signed(ANN, BOB, (billot, 2)))
            await servers.settled(billot, 2, BOB)
            await submit(b, signed(BOB, CAT, (billot, 3)))
            await servers.settled(billot, 3, CAT)

    run(main())


def test_each_body_travels_at_most_once_to_each_server(tmp_path):
    """A feed carries the body of what a wallet brought there, and only ids of all else."""

    async def main():
        async with mesh(tmp_path, 4) as servers, contextlib.AsyncExitStack() as stack:
            wires = []
            for server in servers.servers.values():
                raw = await stack.enter_async_context(await Raw.open(server.address))
                raw.write(request(1, "subscribe"))
                await raw.line()
                wires.append(raw)
            billots = fresh(20)
            for index, billot in enumerate(billots):
                address = servers.servers[index % 4].address
                await submit(address, signed(MINT, ANN, (billot, 1)))
            bodies, rows = [], 0
            for raw in wires:
                seen = 0
                while seen < len(billots):
                    feed = (await raw.line())["params"]
                    seen += len(feed["rows"])
                    bodies += [body["billots"][0][0] for body in feed["transfers"]]
                rows += seen
            assert rows == 4 * len(billots)
            assert sorted(bodies) == sorted(billots)

    run(main())


# -- away and back -----------------------------------------------------------------------------


def test_a_server_that_was_down_catches_up(tmp_path):
    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(3)
            for billot in billots:
                await submit(servers.servers[3].address, signed(MINT, ANN, (billot, 1)))
                await servers.settled(billot, 1, ANN)
            key = servers.servers[3].key
            await servers.stop(3)
            owners = [ANN, BOB, CAT, ANN, BOB]
            for billot in billots:
                for seq, (sender, to) in enumerate(pairwise(owners), 2):
                    await servers.settled(billot, seq - 1, sender, 0)
                    await submit(servers.servers[0].address, signed(sender, to, (billot, seq)))
                await servers.settled(billot, 5, BOB)
            (back,) = await servers.start(3)
            assert back.key == key
            for billot in billots:
                await servers.settled(billot, 5, BOB, 3)

    run(main())


def test_three_of_four_go_on_and_the_fourth_joins_later(tmp_path):
    async def main():
        async with Mesh(tmp_path, 4) as servers:
            await servers.start(0, 1, 2)
            await servers.linked(links=2)
            (billot,) = fresh()
            await submit(servers.servers[0].address, signed(MINT, ANN, (billot, 1)))
            await servers.settled(billot, 1, ANN)
            await servers.start(3)
            await servers.settled(billot, 1, ANN, 3)
            await until_info(servers.servers[0].address, lambda info: info.counts["links_up"] == 3)
            await submit(servers.servers[3].address, signed(ANN, BOB, (billot, 2)))
            await servers.settled(billot, 2, BOB)

    run(main())


def test_a_restart_reads_on_where_it_was(tmp_path):
    """With its store a server keeps its key, and how far it has read each feed."""

    async def main():
        async with mesh(tmp_path, 2) as servers:
            billots = fresh(10)
            for billot in billots:
                await submit(servers.servers[0].address, signed(MINT, ANN, (billot, 1)))
                await servers.settled(billot, 1, ANN)
            feeder = servers.servers[0]
            await servers.stop(1)
            (again,) = await servers.start(1)
            await servers.linked()
            cursors = [wire.subscriber for wire in feeder.node.connections.values()]
            assert [c.me for c in cursors if c is not None] == [again.key]
            assert again.node.links.remembered.cursor(feeder.key) == len(billots)
            async with await connect(again.address) as client:
                changes = await client.call("changes", Changes(), ChangeList)
            assert len(changes.changes) == len(billots)

    run(main())


def test_a_wiped_server_is_a_new_server_and_learns_all(tmp_path):
    """On loopback its new key counts at once, and in the old one's place."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(5)
            for billot in billots:
                await submit(servers.servers[3].address, signed(MINT, ANN, (billot, 1)))
                await servers.settled(billot, 1, ANN)
            before = servers.servers[3].key
            await servers.stop(3)
            shutil.rmtree(tmp_path / "3.db")
            (wiped,) = await servers.start(3)
            assert wiped.key != before
            await servers.linked()
            for billot in billots:
                await servers.settled(billot, 1, ANN, 3)
            for server in servers.servers.values():
                await until_info(server.address, lambda info: info.counts["n"] == 4)
            await submit(wiped.address, signed(ANN, BOB, (billots[0], 2)))
            await servers.settled(billots[0], 2, BOB)

    run(main())


def test_everybody_restarts_at_once(tmp_path):
    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(20)
            for index, billot in enumerate(billots):
                address = servers.servers[index % 4].address
                await submit(address, signed(MINT, ANN, (billot, 1)))
            await servers.stop()  # some of it may not have reached everybody
            await servers.start()
            await servers.linked()
            for billot in billots:
                await servers.settled(billot, 1, ANN)

    run(main())


# -- lists that are odd --------------------------------------------------------------------------


def test_a_server_in_its_own_list_counts_once(tmp_path):
    async def main():
        async with Mesh(tmp_path, 3) as servers:
            await servers.start(trusted=servers.hosts)
            await servers.linked(links=2)
            for server in servers.servers.values():
                await until_info(server.address, lambda info: info.counts["n"] == 3)
            (billot,) = fresh()
            await submit(servers.servers[0].address, signed(MINT, ANN, (billot, 1)))
            await servers.settled(billot, 1, ANN)

    run(main())


def test_a_server_that_trusts_only_itself_is_alone(tmp_path):
    async def main():
        async with Mesh(tmp_path, 1) as servers:
            (server,) = await servers.start(0, trusted=servers.hosts)
            await until_info(server.address, lambda info: info.counts["n"] == 1)
            (billot,) = fresh()
            await submit(server.address, signed(MINT, ANN, (billot, 1)))
            await servers.settled(billot, 1, ANN)

    run(main())


def test_what_one_takes_is_sent_to_a_trusted_server_that_does_not_follow_it(tmp_path):
    async def main():
        async with Mesh(tmp_path, 2) as servers:
            await servers.start(1, trusted=())
            (a,) = await servers.start(0)
            await until_info(a.address, lambda info: info.counts["links_up"] == 1)
            (billot,) = fresh()
            await submit(a.address, signed(MINT, ANN, (billot, 1)))
            await servers.settled(billot, 1, ANN)

    run(main())


# -- who is bad to others ------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stranger(conversation, port=0):
    """Something else where a server should be: `conversation` gets reader and writer."""
    held, writers = set(), set()

    async def met(reader, writer):
        held.add(asyncio.current_task())
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await conversation(reader, writer)

    listener = await asyncio.start_server(met, "127.0.0.1", port)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*held, return_exceptions=True)


async def three_go_on(servers, bad):
    """Three servers, `bad` their fourth trusted one, settle what is brought to one of them."""
    everybody = [*servers.hosts, bad]
    await servers.start(trusted=everybody)
    await servers.linked(links=2)
    for index in range(3):
        (billot,) = fresh()
        begin = asyncio.get_running_loop().time()
        await submit(servers.servers[index].address, signed(MINT, ANN, (billot, 1)))
        await servers.settled(billot, 1, ANN)
        assert asyncio.get_running_loop().time() - begin < 2


@pytest.mark.slow
def test_a_black_hole_among_the_trusted_slows_nobody(tmp_path):
    async def silent(reader, _writer):
        await reader.read()

    async def main():
        async with stranger(silent) as port, Mesh(tmp_path, 3) as servers:
            await three_go_on(servers, f"127.0.0.1:{port}")

    run(main())


def test_a_trusted_server_that_refuses_slows_nobody(tmp_path):
    async def main():
        async with Mesh(tmp_path, 3) as servers:
            await three_go_on(servers, f"127.0.0.1:{free_ports(1)[0]}")

    run(main())


def test_a_trusted_server_with_a_full_backlog_slows_nobody(tmp_path):
    """Not even the handshake ends: the kernel drops what it can't queue."""

    async def main():
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for sock in (first, second):
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            async with Mesh(tmp_path, 3) as servers:
                await three_go_on(servers, f"127.0.0.1:{full.getsockname()[1]}")

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0" * 300_000,
        b"[" * 50_000 + b"\n",
        b'{"jsonrpc":"2.0","id":1,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"\\u001b[2J"}}\n',
        b'{"jsonrpc":"2.0","method":"feed","params":{"server":"zz"}}\n',
        b'{"jsonrpc":"2.0","id":[1],"result":17}\n',
        b'{"method":5}\n',
        b'{"method":"conflict","params":{}}\n',
        b"\xff\xff\n",
    ],
)
def test_garbage_from_a_trusted_server_ends_that_link_only(tmp_path, garbage):
    async def talk(reader, writer):
        writer.write(garbage)
        await reader.read()

    async def main():
        async with stranger(talk) as port, Mesh(tmp_path, 3) as servers:
            await three_go_on(servers, f"127.0.0.1:{port}")

    run(main())


class Liar:
    """Answers as a trusted server does, then says what `say` makes."""

    def __init__(self, say, *, key=None, network=TEST):
        self.key = key or PrivateKey.generate()
        self.network = network
        self.followed = 0
        self._say = say

    async def __call__(self, reader, writer):
        while True:
            asked = json.loads(await reader.readuntil(b"\n"))
            if asked["method"] == "info":
                name = NetworkName(self.network.name, self.network.id)
                info = Info("x", "0", 1, name, self.key.public_hex, 0, 0, [], {}, {})
                writer.write(answer(b"%d" % asked["id"], info) + b"\n")
            elif asked["method"] == "who_owns":
                params = asked["params"]
                settled = Holding(0, None, TEST.issuer, Status.SETTLED)
                rows = [(billot, settled) for billot in params["billots"]]
                proof = Statement.make(TEST, self.key.public_hex, rows)
                signed = proof.sign(self.key, params["nonce"])
                writer.write(answer(b"%d" % asked["id"], signed) + b"\n")
            elif asked["method"] == "subscribe":
                self.followed += 1
                writer.write(answer(b"%d" % asked["id"], {"lsn": 0, "yours": None}) + b"\n")
                for message in self._say(self.key):
                    writer.write(message + b"\n")
            else:
                writer.write(answer(b"%d" % asked["id"], {"transfers": []}) + b"\n")

    def batch(self, *rows, transfers=()):
        return FeedBatch.sign(TEST.id, self.key, rows, transfers)


def feed(batch):
    return notification("feed", encode(batch))


def with_bad_signature(key):
    batch = FeedBatch.sign(TEST.id, key, [TransferRow(1, "0" * 64, ())])
    return [feed(FeedBatch(batch.server, batch.rows, batch.root, "00" * 64))]


def of_somebody_else(_key):
    return [feed(FeedBatch.sign(TEST.id, ANN, [TransferRow(1, "0" * 64, ())]))]


def with_forged_bodies(key):
    good = signed(MINT, BOB, ("a-77", 1))
    forged = type(good)(good.network, good.to, good.billots, good.public_key, "11" * 64)
    return [feed(FeedBatch.sign(TEST.id, key, [TransferRow(1, good.id, ())], [forged]))]


def of_ids_that_nobody_has(key):
    rows = [TransferRow(n, f"{n:064x}", ()) for n in range(1, 257)]
    return [feed(FeedBatch.sign(TEST.id, key, rows))]


def of_numbers_at_the_end(key):
    rows = [TransferRow(2**53 - 1, "0" * 64, ("zzz-999999999999",))]
    return [feed(FeedBatch.sign(TEST.id, key, rows))]


def of_unknown_billots_adopted(key):
    from billots.feed import AdoptedRow

    rows = [
        AdoptedRow(1, "zzz-17", 5, ANN.owner, BOB.owner),
        AdoptedRow(2, "a-1", 0, ANN.owner, BOB.owner),
        AdoptedRow(3, "a-999999", 2**53 - 1, ANN.owner, BOB.owner),
    ]
    return [feed(FeedBatch.sign(TEST.id, key, rows))]


def of_pairs_that_are_none(_key):
    first, other = signed(USER1, ANN, ("a-1", 1)), signed(USER1, ANN, ("b-1", 1))
    forged = type(first)(first.network, BOB.owner, first.billots, first.public_key, "0" * 128)
    return [notification("conflict", Pair(first, b)) for b in (first, other, forged)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "say",
    [
        with_bad_signature,
        of_somebody_else,
        with_forged_bodies,
        of_ids_that_nobody_has,
        of_numbers_at_the_end,
        of_unknown_billots_adopted,
        of_pairs_that_are_none,
    ],
)
def test_attack_a_lying_trusted_server_changes_nothing(tmp_path, say):
    liar = Liar(say)

    async def main():
        async with stranger(liar) as port, Mesh(tmp_path, 3) as servers:
            await three_go_on(servers, f"127.0.0.1:{port}")
            for server in servers.servers.values():
                assert not server._lives.life.engine_task.done()
                for billot, owner in (("a-77", MINT), ("a-1", USER1)):
                    await until_settled(server.address, billot, 0, owner)

    run(main())
    assert liar.followed  # it was believed to be one of them, and said it


def test_attack_a_server_with_another_key_than_the_pinned_one_is_not_followed(tmp_path):
    liar = Liar(lambda _key: [])

    async def main():
        async with stranger(liar) as port, Mesh(tmp_path, 3) as servers:
            pinned = f"127.0.0.1:{port}#{ANN.public_hex}"
            await three_go_on(servers, pinned)
            for server in servers.servers.values():
                assert server.node.links.up_count == 2
                assert liar.key.public_hex not in server.node.trust.keys

    run(main())


def test_a_server_of_another_network_is_not_followed(tmp_path):
    other = Network("other", TEST.denominations, TEST.issuer, {})

    async def main():
        async with Server(other) as foreign, Mesh(tmp_path, 3) as servers:
            await three_go_on(servers, foreign.address)
            for server in servers.servers.values():
                assert server.node.links.up_count == 2
                assert foreign.key not in server.node.trust.keys

    run(main())


# -- double spends -------------------------------------------------------------------------------


def test_attack_a_double_spend_at_two_servers_is_shown_to_all(tmp_path):
    """Two servers take one each; the pair is at every server, and all else goes on."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            (billot,) = fresh()
            pair = [signed(MINT, to, (billot, 1)) for to in (ANN, BOB)]
            wires = [await Raw.open(servers.servers[i].address) for i in (0, 1)]
            for raw, transfer in zip(wires, pair, strict=True):
                raw.write(transfer_request(1, transfer))
            for raw in wires:
                async with raw:
                    await raw.line()
            for server in servers.servers.values():
                async with await connect(server.address) as client:
                    kept = await until(
                        lambda client=client: client.call(
                            "evidence", Evidence(billot), Pair | None
                        ),
                        lambda kept: kept is not None,
                    )
                assert {kept.first.to, kept.second.to} == {ANN.owner, BOB.owner}
            (other,) = fresh()
            await submit(servers.servers[2].address, signed(MINT, CAT, (other, 1)))
            await servers.settled(other, 1, CAT)

    run(main())


def test_attack_a_late_double_spend_changes_nothing(tmp_path):
    async def main():
        async with mesh(tmp_path, 4) as servers:
            (billot,) = fresh()
            await submit(servers.servers[0].address, signed(MINT, ANN, (billot, 1)))
            await servers.settled(billot, 1, ANN)
            for server in list(servers.servers.values()):
                with pytest.raises(Refused) as refused:
                    await submit(server.address, signed(MINT, BOB, (billot, 1)))
                assert refused.value.name == "conflicting_transfer"
            await servers.settled(billot, 1, ANN)
            await submit(servers.servers[1].address, signed(ANN, CAT, (billot, 2)))
            await servers.settled(billot, 2, CAT)

    run(main())


@pytest.mark.slow
def test_seven_servers_under_load_agree(tmp_path):
    async def main():
        async with mesh(tmp_path, 7) as servers:
            billots = fresh(500)

            async def bring(index):
                async with await connect(servers.servers[index].address) as client:
                    mine = billots[index::7]
                    await asyncio.gather(*(send(client, signed(MINT, USER2, (b, 1))) for b in mine))

            await asyncio.gather(*(bring(index) for index in range(7)))
            for billot in billots[::25]:
                await servers.settled(billot, 1, USER2)
            for index in range(7):
                await until_info(
                    servers.servers[index].address,
                    lambda info: (
                        info.counts["unsettled"] == 0 and info.counts["billots_moved"] == 500
                    ),
                )

    run(main())
