"""What a server bears from strangers: slow, silent, many, greedy. Limits are handed in small."""

import asyncio
import contextlib
import resource
import signal
from pathlib import Path

import pytest
from servers import (
    MINT,
    USER1,
    Mesh,
    Process,
    Raw,
    connect,
    fresh,
    holdings,
    request,
    run,
    signed,
    submit,
    transfer_request,
    until_info,
)

from billots.crypto import PrivateKey
from billots.errors import Refused
from billots.holding import Status
from billots.host import group_of
from billots.limits import Limits
from billots.messages import HostList
from billots.server import Server
from billots.transfer import Transfer

PING = request(1, "ping")


def talk(conversation, tmp_path, server=None, **limits):
    """Run a conversation with a server of these limits."""

    async def main():
        handed = Limits(**limits)
        async with Server("test", store=tmp_path / "t.db", limits=handed, **(server or {})) as it:
            await conversation(it)

    run(main())


async def answers_honest_work(server):
    """A transfer is taken, by a newcomer."""
    (billot,) = fresh()
    (taken,) = await submit(server.address, signed(MINT, USER1, (billot, 1)))
    assert taken.accepted


# -- time ----------------------------------------------------------------------------------------


def test_attack_a_frame_that_does_not_end_ends_the_connection(tmp_path):
    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            raw.write(PING)
            await raw.line()
            raw.writer.write(PING[:10])
            assert await raw.ended() == b""

    talk(conversation, tmp_path, frame_s=0.1)


def test_attack_a_frame_that_trickles_ends_the_connection(tmp_path):
    """The deadline is the whole frame's: bytes that come in time don't put it off."""

    async def conversation(server):
        async with await Raw.open(server.address) as raw:

            async def trickle():
                while not raw.writer.is_closing():
                    raw.writer.write(b"x")
                    await raw.writer.drain()
                    await asyncio.sleep(0)

            trickling = asyncio.create_task(trickle())
            assert await raw.ended() == b""
            await asyncio.gather(trickling, return_exceptions=True)

    talk(conversation, tmp_path, frame_s=0.1)


def test_frames_one_after_another_have_a_deadline_each(tmp_path):
    """A busy connection is never cut in the middle of a frame, however long it lives."""

    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            begin = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < begin + 0.4:
                raw.writer.write(PING[:10])
                await raw.writer.drain()
                await asyncio.sleep(0)
                raw.writer.write(PING[10:] + b"\n")
                assert (await raw.line())["result"] == "pong"

    talk(conversation, tmp_path, frame_s=0.1)


def test_who_sleeps_is_let_go_and_who_listens_is_not(tmp_path):
    async def conversation(server):
        async with (
            await Raw.open(server.address) as sleeper,
            await Raw.open(server.address) as listener,
        ):
            listener.write(request(1, "subscribe", owner=USER1.owner))
            await listener.line()
            assert await sleeper.ended() == b""
            await answers_honest_work(server)
            assert (await listener.line())["method"] == "transferred"

    talk(conversation, tmp_path, idle_s=0.1)


# -- numbers ---------------------------------------------------------------------------------------


def test_connections_of_one_address_are_bounded_and_others_get_in(tmp_path):
    async def conversation(server):
        many = [await Raw.open(server.address) for _ in range(4)]
        for raw in many:
            raw.write(PING)
            await raw.line()
        async with await Raw.open(server.address) as one_more:
            assert await one_more.ended() == b""
        async with await Raw.open(server.address, source="127.0.0.2") as other:
            other.write(PING)
            assert (await other.line())["result"] == "pong"
        async with many.pop():
            pass
        await until_info(server.address, lambda info: info.counts["connections"] == 4)
        for raw in many:
            async with raw:
                pass

    talk(conversation, tmp_path, connections_per_address_max=4, exempt_loopback=False)


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.17", "192.0.2.17"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_attack_addresses_of_one_ipv6_network_count_as_one(address, group):
    assert group_of(address) == group


def test_attack_1024_silent_connections_lock_nobody_out(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("too few files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))

    async def conversation(server):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        silent = [await Raw.open(server.address) for _ in range(1024)]
        await answers_honest_work(server)
        assert server.node.connections.keys() <= {
            wire.id for wire in server._lives.life.board.wires
        }
        assert len(server._lives.life.board.wires) <= 1000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
        for raw in silent:
            async with raw:
                pass

    try:
        talk(conversation, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_longest_silent_one_makes_room_and_nobody_who_waits(tmp_path):
    async def conversation(server):
        first, second, third = [await Raw.open(server.address) for _ in range(3)]
        for raw in (second, third, first):
            raw.write(PING)
            await raw.line()
        async with await Raw.open(server.address) as newcomer:
            newcomer.write(PING)
            await newcomer.line()
            assert await second.ended() == b""
            for raw in (first, third):
                raw.write(PING)
                await raw.line()
        for raw in (first, second, third):
            async with raw:
                pass

    talk(conversation, tmp_path, connections_max=3)


def test_attack_followers_without_end_do_not_push_out_a_trusted_server(tmp_path):
    async def main():
        limits = Limits(connections_max=8)
        async with Mesh(tmp_path, 2, limits=limits) as servers:
            a, b = await servers.start(0, 1)
            await servers.linked()
            followers = [await Raw.open(a.address) for _ in range(20)]
            for raw in followers:
                raw.write(request(1, "subscribe", owner=USER1.owner))
                await asyncio.sleep(0)
            (billot,) = fresh()
            await submit(b.address, signed(MINT, USER1, (billot, 1)))
            await servers.settled(billot, 1, USER1)
            assert a.node.links.up_count == b.node.links.up_count == 1
            for raw in followers:
                async with raw:
                    pass

    run(main())


def test_attack_who_all_claim_a_trusted_key_keep_one_place_not_all(tmp_path):
    async def main():
        limits = Limits(connections_max=8)
        async with Mesh(tmp_path, 2, limits=limits) as servers:
            a, b = await servers.start(0, 1)
            await servers.linked()
            claimants = []
            for _ in range(7):  # with the true one the table is full
                raw = await Raw.open(a.address)
                raw.write(request(1, "subscribe", me=b.key))
                await raw.line()
                claimants.append(raw)
            (billot,) = fresh()
            await submit(a.address, signed(MINT, USER1, (billot, 1)))
            await servers.settled(billot, 1, USER1)
            assert a.node.links.up_count == b.node.links.up_count == 1
            for raw in claimants:
                async with raw:
                    pass

    run(main())


def test_attack_more_connections_than_files_may_be_open_leave_the_store_its_own(tmp_path):
    async def main(process):
        silent = [await Raw.open(process.address) for _ in range(700)]
        for _ in range(3):
            await submit(process.address, *(signed(MINT, USER1, (b, 1)) for b in fresh(100)))
        for raw in silent:
            async with raw:
                pass

    with Process(tmp_path, files_max=512) as process:
        run(main(process))
        status, _, err = process.end(signal.SIGTERM)
    assert (status, err) == (0, "")


@pytest.mark.slow
def test_attack_5000_slow_connections_cost_little_memory(tmp_path):
    """Each sends half a frame; an honest wallet is served all the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6000:
        pytest.skip("too few files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))

    def resident(process):
        status = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    async def main(process):
        async def slow(number):
            with contextlib.suppress(OSError):
                source = f"127.0.{number % 100}.{1 + number // 100}"
                raw = await Raw.open(process.address, source=source)
                held.append(raw)
                raw.writer.write(b'{"jsonrpc"' + b" " * 20_000)

        held = []
        await submit(process.address, signed(MINT, USER1, (fresh()[0], 1)))
        before = resident(process)
        for start in range(0, 5000, 100):
            await asyncio.gather(*(slow(start + number) for number in range(100)))
            if start % 1000 == 0:
                await submit(process.address, signed(MINT, USER1, (fresh()[0], 1)))
        await submit(process.address, signed(MINT, USER1, (fresh()[0], 1)))
        assert resident(process) - before < 64 * 1024
        for raw in held:
            async with raw:
                pass

    try:
        with Process(tmp_path) as process:
            run(main(process))
            assert process.end(signal.SIGTERM)[0] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- in flight ---------------------------------------------------------------------------------


def test_reading_stops_at_many_requests_in_flight_and_goes_on(tmp_path):
    billots = fresh(400)

    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            peaks = []
            transfers = [signed(MINT, USER1, (billot, 1)) for billot in billots]
            raw.write(*(transfer_request(n, t) for n, t in enumerate(transfers)))
            for _ in transfers:
                assert (await raw.line())["result"]["accepted"]
                peaks += [peer.in_flight for peer in server.node.connections.values()]
            assert max(peaks) <= 8

    talk(conversation, tmp_path, in_flight_max=8)


def test_requests_without_an_id_do_not_stop_reading_for_good(tmp_path):
    """Nothing is sent for them: it isn't an answer that makes the server read on."""
    billots = fresh(100)

    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            for billot in billots:
                message = transfer_request(0, signed(MINT, USER1, (billot, 1)))
                raw.write(message.replace(b'"id": 0, ', b""))
            raw.write(PING)
            assert (await raw.line())["result"] == "pong"
            await until_info(server.address, lambda info: info.lsn == 100)

    talk(conversation, tmp_path, in_flight_max=8)


# -- slow readers ----------------------------------------------------------------------------------


def test_attack_a_reader_that_does_not_read_is_dropped_and_costs_little(tmp_path):
    ask = request(1, "who_owns", billots=[f"j-{n}" for n in range(1, 257)])

    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            raw.writer.transport.pause_reading()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(2000):  # 180 MB of answers
                raw.write(ask)
            await until_info(server.address, lambda info: info.counts["connections"] == 2)
            await answers_honest_work(server)
            queued = max(wire.queued_bytes for wire in server._lives.life.board.wires)
            assert queued <= 4 * 1024 * 1024
            await until_info(server.address, lambda info: info.counts["connections"] == 1)
            # Our own requests, not yet sent, are in this process as well.
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024

    talk(conversation, tmp_path, frame_s=0.5)


def test_a_slow_reader_that_reads_gets_everything(tmp_path):
    ask = [request(n, "who_owns", billots=[f"j-{n}" for n in range(1, 257)]) for n in range(200)]

    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            raw.write(*ask)
            await answers_honest_work(server)
            assert [line["id"] for line in await raw.lines(200)] == list(range(200))

    talk(conversation, tmp_path)


def test_a_follower_that_lags_gets_the_whole_feed(tmp_path):
    """It stops reading for a while; what it missed comes when it reads again."""
    billots = fresh(1500)
    ask = [request(n, "who_owns", billots=[f"j-{n}" for n in range(1, 257)]) for n in range(160)]

    async def conversation(server):
        async with await Raw.open(server.address) as raw:
            raw.write(request(-1, "subscribe"))
            await raw.line()
            raw.writer.transport.pause_reading()
            raw.write(*ask)
            async with await Raw.open(server.address) as wallet:
                while not any(wire.blocked_at for wire in server._lives.life.board.wires):
                    wallet.write(PING)
                    await wallet.line()
                for billot in billots:
                    wallet.write(transfer_request(billot, signed(MINT, USER1, (billot, 1))))
                await wallet.lines(len(billots))
            raw.writer.transport.resume_reading()
            lsns, answers = [], []
            while len(lsns) < len(billots) or len(answers) < len(ask):
                line = await raw.line()
                if "id" in line:
                    answers.append(line["id"])
                else:
                    lsns += [int(row.split()[0]) for row in line["params"]["rows"]]
            assert answers == list(range(160))
            assert lsns == list(range(1, len(billots) + 1))

    talk(conversation, tmp_path)


# -- costs -----------------------------------------------------------------------------------------


def forged(billot):
    good = signed(MINT, USER1, (billot, 1))
    return Transfer(good.network, good.to, good.billots, good.public_key, "00" * 64)


def test_attack_bad_signatures_are_charged_and_others_are_served(tmp_path):
    async def conversation(server):
        names = []
        for billot in fresh(12):
            with pytest.raises(Refused) as refused:
                await submit(server.address, forged(billot))
            names.append(refused.value.name)
        assert names[:10] == ["bad_signature"] * 10
        assert names[-1] == "rate_limited"
        async with await Raw.open(server.address, source="127.0.0.2") as other:
            (billot,) = fresh()
            other.write(transfer_request(1, signed(MINT, USER1, (billot, 1))))
            assert (await other.line())["result"]["accepted"]

    limits = {"cost_per_address_max": 9.5, "cost_decay_per_s": 0.001}
    talk(conversation, tmp_path, exempt_loopback=False, **limits)


def test_loopback_is_exempt_from_what_an_address_may_cost(tmp_path):
    async def conversation(server):
        for billot in fresh(5):
            with pytest.raises(Refused) as refused:
                await submit(server.address, forged(billot))
            assert refused.value.name == "bad_signature"

    talk(conversation, tmp_path, cost_per_address_max=1.0)


# -- announcements ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_attack_a_flood_of_announcements_dials_little_and_keeps_trusted_hosts(tmp_path):
    async def main():
        trusted = [f"127.0.0.1:{port}" for port in range(1, 4)]
        async with Server("test", store=tmp_path / "t.db", trusted=trusted) as server:
            dialled = []

            async def lurk(reader, writer):
                dialled.append(1)
                await reader.read()
                writer.close()

            listener = await asyncio.start_server(lurk, "127.0.0.1", 0)
            port = listener.sockets[0].getsockname()[1]
            key = PrivateKey.generate().public_hex
            async with (
                await connect(server.address) as client,
                await Raw.open(server.address) as raw,
            ):
                raw.write(
                    *(request(n, "announce", port=port, key=f"{n:064x}") for n in range(5000)),
                    request(5000, "announce", port=65535, key=key),
                )
                await raw.lines(5001)
                known = await client.call("hosts", None, HostList)
                assert known.hosts == trusted
                (said,) = await holdings(client, "a-1")  # those it trusts were never there
                assert said.status is Status.UNKNOWN
            assert len(dialled) <= 6
            listener.close()
            await listener.wait_closed()

    run(main())


def test_the_list_of_hosts_never_outgrows_its_limit(tmp_path):
    async def main():
        async with Server("test") as known, Server("test") as other:
            limits = Limits(hosts_max=1, announce_dials_per_s=1000)
            async with (
                Server(
                    "test", store=tmp_path / "t.db", trusted=[known.address], limits=limits
                ) as server,
                await connect(server.address) as client,
                await Raw.open(server.address) as raw,
            ):
                raw.write(request(1, "announce", port=other.port, key=other.key))
                await raw.line()
                await until_info(other.address, lambda info: info.counts["connections"] == 1)
                hosts = (await client.call("hosts", None, HostList)).hosts
                assert [host.split("#")[0] for host in hosts] == [known.address]

    run(main())
