"""A JSON-RPC client that isn't ours talks to a server: every method of DESIGN section 7."""

import asyncio

import pytest
from servers import MINT, OTHERS, TEST, USER1, USER2, fresh, run, signed, submit

aiorpcx = pytest.importorskip("aiorpcx")

from billots.errors import Refused  # noqa: E402
from billots.server import Server  # noqa: E402 - after the client that may be missing

ANN, BOB, CAT = OTHERS[:3]


class Session(aiorpcx.RPCSession):
    """Newline-framed JSON-RPC 2.0; notifications are kept."""

    def __init__(self, transport, **arguments):
        super().__init__(
            transport, connection=aiorpcx.JSONRPCConnection(aiorpcx.JSONRPCv2), **arguments
        )
        self.notified = asyncio.Queue()

    def default_framer(self):
        return aiorpcx.NewlineFramer(max_size=128 * 1024)

    async def handle_request(self, request):
        if isinstance(request, aiorpcx.Notification):
            self.notified.put_nowait((request.method, request.args))


def params(transfer):
    return {
        "network": transfer.network,
        "to": transfer.to,
        "billots": [list(row) for row in transfer.billots],
        "public_key": transfer.public_key,
        "signature": transfer.signature,
    }


def talk(conversation, tmp_path):
    async def main():
        async with Server("test", store=tmp_path / "test.db") as server:
            host, port = server.address.split(":")
            async with aiorpcx.connect_rs(host, int(port), session_factory=Session) as session:
                await conversation(session, server)

    run(main())


def test_ping_and_info(tmp_path):
    async def conversation(session, server):
        assert await session.send_request("ping") == "pong"
        assert await session.send_request("ping", {}) == "pong"
        info = await session.send_request("info")
        assert info["protocol"] == 1
        assert info["network"] == {"name": "test", "id": TEST.id}
        assert info["server"] == server.key
        assert info["trusted"] == []
        assert info["limits"]["frame_bytes"] == 128 * 1024

    talk(conversation, tmp_path)


def test_a_transfer_and_what_is_said_of_it(tmp_path):
    async def conversation(session, server):
        transfer = signed(USER1, ANN, ("a-1", 1), ("b-1", 1))
        taken = await session.send_request("transfer", params(transfer) | {"nonce": "0a" * 16})
        assert taken["accepted"] is True
        assert taken["transfer_id"] == transfer.id
        assert taken["statement"]["nonce"] == "0a" * 16
        assert taken["statement"]["server"] == server.key

        said = await session.send_request("who_owns", {"billots": ["a-1", "a-2"], "proof": True})
        first, second = said["billots"]
        assert (first["seq"], first["from"], first["owner"], first["status"]) == (
            1,
            USER1.owner,
            ANN.owner,
            "settled",
        )
        assert (second["seq"], second["owner"]) == (0, MINT.owner)
        assert first["transfer"]["signature"] == transfer.signature

        listed = await session.send_request("list", {"owner": ANN.owner})
        assert [(row["id"], row["seq"]) for row in listed["billots"]] == [("a-1", 1), ("b-1", 1)]
        assert listed["cursor"] is None
        listed = await session.send_request("list", {"owner": USER1.owner})
        assert listed["unmoved"] == [{"prefix": "c-", "first": 1, "last": 1}]

        changes = await session.send_request("changes", {"since": 0})
        assert [change["transfer"]["to"] for change in changes["changes"]] == [ANN.owner]
        assert changes["next"] == 1
        fetched = await session.send_request("fetch", {"transfer_ids": [transfer.id, "0" * 64]})
        assert fetched["transfers"] == [params(transfer)]

    talk(conversation, tmp_path)


def test_refusals_carry_code_name_and_details(tmp_path):
    async def conversation(session, _server):
        await session.send_request("transfer", params(signed(USER1, ANN, ("a-1", 1))))
        with pytest.raises(aiorpcx.RPCError) as refused:
            await session.send_request("transfer", params(signed(USER1, BOB, ("a-1", 1))))
        assert refused.value.code == -32008
        pair = await session.send_request("evidence", {"billot": "a-1"})
        assert {pair["first"]["to"], pair["second"]["to"]} == {ANN.owner, BOB.owner}
        for bad, code in [
            (signed(USER2, BOB, ("a-1", 2)), -32002),
            (signed(ANN, BOB, ("a-1", 4)), -32006),
        ]:
            with pytest.raises(aiorpcx.RPCError) as refused:
                await session.send_request("transfer", params(bad))
            assert refused.value.code == code
        with pytest.raises(aiorpcx.RPCError) as refused:
            await session.send_request("nonsense")
        assert refused.value.code == -32601

    talk(conversation, tmp_path)


def test_a_conflict_is_shown_to_a_server_that_had_neither(tmp_path):
    async def conversation(session, _server):
        (billot,) = fresh()
        pair = {
            "first": params(signed(MINT, ANN, (billot, 1))),
            "second": params(signed(MINT, BOB, (billot, 1))),
        }
        assert await session.send_request("evidence", {"billot": billot}) is None
        assert await session.send_request("conflict", pair) == {"kept": True}
        assert await session.send_request("conflict", pair) == {"kept": False}
        assert await session.send_request("evidence", {"billot": billot}) == pair

    talk(conversation, tmp_path)


def test_hosts_and_announce(tmp_path):
    async def conversation(session, server):
        assert await session.send_request("hosts") == {"hosts": []}
        async with Server("test") as other:
            announced = {"port": other.port, "key": other.key}
            assert await session.send_request("announce", announced) == {"hosts": []}
            async with asyncio.timeout(10):
                while not (await session.send_request("hosts"))["hosts"]:
                    pass
            hosts = await session.send_request("hosts")
        assert hosts == {"hosts": [f"127.0.0.1:{other.port}#{other.key}"]}

    talk(conversation, tmp_path)


def test_notifications_come_to_a_subscriber(tmp_path):
    async def conversation(session, server):
        subscribed = await session.send_request("subscribe")
        assert subscribed == {"lsn": 0, "yours": None}
        transfer = signed(USER1, ANN, ("a-1", 1))
        await submit(server.address, transfer)
        method, feed = await session.notified.get()
        assert method == "feed"
        assert feed["server"] == server.key
        assert feed["rows"] == [f"1 {transfer.id}"]
        double = signed(USER1, BOB, ("a-1", 1))
        with pytest.raises(Refused):
            await submit(server.address, double)
        method, pair = await session.notified.get()
        assert (method, pair) == (
            "conflict",
            {"first": params(transfer), "second": params(double)},
        )

    talk(conversation, tmp_path)


def test_an_owner_hears_of_what_comes_in(tmp_path):
    async def conversation(session, _server):
        await session.send_request("subscribe", {"owner": BOB.owner})
        await session.send_request("transfer", params(signed(USER1, ANN, ("a-1", 1))))
        await session.send_request("transfer", params(signed(ANN, BOB, ("a-1", 2))))
        method, told = await session.notified.get()
        assert method == "transferred"
        assert (told["lsn"], told["transfer"]["to"]) == (2, BOB.owner)
        assert session.notified.empty()

    talk(conversation, tmp_path)


def test_a_batch_is_answered_together(tmp_path):
    async def conversation(session, _server):
        transfer = signed(USER1, CAT, ("c-1", 1))
        async with session.send_batch() as batch:
            batch.add_request("ping")
            batch.add_request("transfer", params(transfer))
            batch.add_request("who_owns", {"billots": ["a-1"]})
            batch.add_notification("ping")
            batch.add_request("nonsense")
        pong, taken, said, nonsense = batch.results
        assert pong == "pong"
        assert taken["transfer_id"] == transfer.id
        assert said["billots"][0]["owner"] == USER1.owner
        assert isinstance(nonsense, aiorpcx.RPCError)

    talk(conversation, tmp_path)
