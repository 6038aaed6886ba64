"""How a server ends: asked to, killed, or with a full disk. What it acknowledged stays."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest
from servers import (
    DEADLINE_S,
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

from billots.errors import BillotsError, Refused, ServerError, StoreError, Unreachable
from billots.limits import Limits
from billots.network import Network
from billots.server import Server
from billots.store import MemoryStore

TEST = Network.shipped("test")


async def pour(address, acknowledged, refused, *, enough=None):
    """Submit transfers, a hundred at a time, until the server is gone; note what it said.

    Yields once, when so many were acknowledged.
    """

    def submit_one():
        (billot,) = fresh()
        raw.write(transfer_request(billot, signed(MINT, USER1, (billot, 1))))

    async with await Raw.open(address) as raw:
        for _ in range(100):
            submit_one()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                answer = await raw.line()
                if "error" in answer:
                    refused.append(answer["error"]["data"]["error"])
                    continue
                acknowledged.append(answer["id"])
                if len(acknowledged) == enough:
                    yield
                submit_one()


async def is_kept(folder, billots):
    """Whether a server on this store has all of these billots with their new owner."""
    async with (
        Server("test", store=folder / "test.db") as server,
        await connect(server.address) as client,
    ):
        for start in range(0, len(billots), 256):
            rows = await holdings(client, *billots[start : start + 256])
            assert all((row.seq, row.owner) == (1, USER1.owner) for row in rows)


# -- asked to ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path, number):
    with Process(tmp_path) as process:
        status, out, err = process.end(number)
    assert status == 0
    assert out.splitlines()[-1] == "Stopped."
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_finishes_what_was_begun(tmp_path, number):
    acknowledged, refused = [], []

    async def main(process):
        async for _ in pour(process.address, acknowledged, refused, enough=200):
            process.signal(number)

    with Process(tmp_path) as process:
        run(main(process))
        status, out, err = process.end()
    assert (status, out.splitlines()[-1]) == (0, "Stopped.")
    assert "Traceback" not in err
    assert refused == []
    assert len(acknowledged) >= 200
    run(is_kept(tmp_path, acknowledged))


def test_a_second_ctrl_c_ends_it_at_once(tmp_path):
    """The first waits for a client that doesn't read what it asked for."""
    with Process(tmp_path) as process, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = process.address.split(":")
        slow.connect((host, int(port)))
        ask = request(1, "who_owns", billots=[f"j-{number}" for number in range(1, 257)])
        slow.sendall((ask + b"\n") * 80)
        run(until_info(process.address, lambda info: info.counts["connections"] == 2))
        process.signal(signal.SIGINT)
        run(until_refused(process.address))  # it has heard the first
        status, _, err = process.end(signal.SIGINT)
    assert status in (0, 128 + signal.SIGINT)
    assert "Traceback" not in err


async def until_refused(address):
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with await connect(address):
                    pass
            except Unreachable:
                return


def test_stopping_answers_what_was_asked_before(tmp_path):
    """A transfer that was read is answered, though the server is told to stop meanwhile."""

    async def main():
        server = Server("test", store=tmp_path / "test.db")
        await server.start()
        async with await Raw.open(server.address) as raw:
            billots = fresh(100)
            raw.write(
                *(transfer_request(billot, signed(MINT, USER1, (billot, 1))) for billot in billots)
            )
            first = await raw.line()
            in_flight = next(iter(server.node.connections.values())).in_flight
            await server.stop()
            answers = (await raw.ended()).splitlines()
            assert "result" in first
            assert len(answers) >= in_flight
        return billots[: 1 + len(answers)]

    run(is_kept(tmp_path, run(main())))


def test_stopping_lets_go_of_silent_and_slow_clients(tmp_path):
    async def main():
        limits = Limits(stop_s=0.2)
        server = Server("test", store=tmp_path / "test.db", limits=limits)
        await server.start()
        raws = [await Raw.open(server.address) for _ in range(10)]
        for raw in raws:
            raw.writer.transport.pause_reading()
            raw.write(*[b'{"jsonrpc":"2.0","id":1,"method":"info"}'] * 20_000)
        async with await connect(server.address) as client:
            await holdings(client, "a-1")
        async with asyncio.timeout(DEADLINE_S):
            await server.stop()
        for raw in raws:
            async with raw:
                pass

    run(main())


def test_stopping_while_transfers_wait_for_a_quorum(tmp_path):
    """Two of two are needed and one is away: the wallet's second move can't be settled."""

    async def main():
        async with Mesh(tmp_path, 2) as servers:
            await servers.start()
            await (
                servers.linked()
            )  # who has never met the other would wait with the first move, too
            await servers.stop(1)
            server = servers.servers[0]
            (billot,) = fresh()
            await submit(server.address, signed(MINT, USER1, (billot, 1)))
            async with await Raw.open(server.address) as raw:
                raw.write(transfer_request(1, signed(USER1, MINT, (billot, 2))))
                async with asyncio.timeout(DEADLINE_S):
                    await server.stop()
                servers.servers.clear()
                await raw.ended()

    run(main())


def test_a_server_in_a_thread_stops_with_its_block(tmp_path):
    with Server("test", store=tmp_path / "test.db") as server:
        (billot,) = fresh()
        run(submit(server.address, signed(MINT, USER1, (billot, 1))))
    with pytest.raises(Unreachable):
        run(submit(server.address, signed(MINT, USER1, (billot, 1))))
    run(is_kept(tmp_path, [billot]))


def test_a_server_in_a_thread_that_cannot_start_says_why(tmp_path):
    with Server("test", store=tmp_path / "test.db") as server:
        with pytest.raises(ServerError, match="address already in use"):
            Server("test", port=server.port).__enter__()
        with pytest.raises(StoreError):
            Server("test", store=tmp_path / "test.db").__enter__()


# -- killed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "enough", [1, 150, *(pytest.param(n, marks=pytest.mark.slow) for n in (400, 900, 1600, 3000))]
)
def test_attack_killed_under_load_it_has_all_that_it_acknowledged(tmp_path, enough):
    acknowledged, refused = [], []

    async def main(process):
        async for _ in pour(process.address, acknowledged, refused, enough=enough):
            process.signal(signal.SIGKILL)

    with Process(tmp_path) as process:
        run(main(process))
        assert process.end()[0] == -signal.SIGKILL
    assert len(acknowledged) >= enough
    with Process(tmp_path) as process:  # as a person would: the same command again
        assert process.address is not None
        assert process.end(signal.SIGTERM)[0] == 0
    run(is_kept(tmp_path, acknowledged))


# -- a full disk -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_attack_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    """It opens its store again and goes on, until even that can't be written."""
    acknowledged, refused = [], []

    async def main(process):
        while process.process.poll() is None:
            with contextlib.suppress(OSError):  # it lets nobody in while it opens its store
                async for _ in pour(process.address, acknowledged, refused):
                    pass
            await asyncio.sleep(0)

    with Process(tmp_path, file_bytes_max=64 * 1024) as process:
        run(main(process))
        status, out, err = process.end()
    assert status == 2
    assert "Stopped." not in out
    assert "Traceback" not in err
    *_, said, hint = err.splitlines()
    assert said.startswith(("bserver: error: can't write to store ", "bserver: error: can't open "))
    assert hint == "hint: make space on the disk, then start again"
    assert err.count("bserver: error: ") == 1
    assert err.count("opening the store again") > 1
    assert "the store is open again" in err
    assert set(refused) == {"store_failed"}
    assert len(acknowledged) > 100
    run(is_kept(tmp_path, acknowledged))


class FullStore(MemoryStore):
    """A store whose disk is full from a given commit on."""

    def __init__(self, network, commits):
        super().__init__(network)
        self._left = commits
        self.closed = False

    def commit(self, batch):
        if not self._left:
            raise StoreError("no space left on device")
        self._left -= 1
        super().commit(batch)

    def close(self):
        self.closed = True


def test_when_the_store_fails_everybody_who_waits_is_told(tmp_path):
    async def main():
        store = FullStore(TEST, commits=1)  # its key, nothing else
        server = Server("test", store=store)
        await server.start()
        billots = fresh(20)
        async with await Raw.open(server.address) as raw:
            for billot in billots:
                raw.write(transfer_request(billot, signed(MINT, USER1, (billot, 1))))
            with pytest.raises(StoreError, match="no space left"):
                await server.wait()
            await server.stop()
            lines = (await raw.ended()).splitlines()
        assert len(lines) == 20
        assert all(b'"store_failed"' in line for line in lines)
        assert store.closed

    run(main())


def test_a_server_in_a_thread_whose_store_failed_takes_no_more_and_says_so(tmp_path):
    server = Server("test", store=FullStore(TEST, commits=1)).__enter__()
    with pytest.raises(Refused) as refused:
        run(submit(server.address, signed(MINT, USER1, (fresh()[0], 1))))
    assert refused.value.name == "store_failed"
    run(until_refused(server.address))
    with pytest.raises(StoreError, match="no space left"):
        server.__exit__(None, None, None)


def test_a_server_whose_store_failed_lets_everybody_go(tmp_path):
    """Nobody awaits `wait`: clients are not left hanging all the same."""

    async def main():
        async with (
            Server("test", store=FullStore(TEST, commits=1)) as server,
            await Raw.open(server.address) as idle,
        ):
            with pytest.raises(Refused):
                await submit(server.address, signed(MINT, USER1, (fresh()[0], 1)))
            assert await idle.ended() == b""
            await until_refused(server.address)

    run(main())


class BrokenStore(MemoryStore):
    """A store with an error of the program's own in it."""

    broken = False

    def moved(self, billots):
        if self.broken:
            raise LookupError("a record that is\x1b[2J not there")
        return super().moved(billots)


def test_an_error_of_our_own_while_reading_ends_one_connection(tmp_path):
    async def main():
        store = BrokenStore(TEST)
        async with (
            Server("test", store=store) as server,
            await connect(server.address) as first,
            await connect(server.address) as second,
        ):
            store.broken = True
            with pytest.raises(BillotsError):
                await holdings(first, "a-1")
            store.broken = False
            assert (await holdings(second, "a-1"))[0].owner == USER1.owner

    run(main())


def test_an_error_of_our_own_while_judging_ends_the_server_in_words(tmp_path):
    async def main():
        store = BrokenStore(TEST)
        server = Server("test", store=store)
        await server.start()
        (billot,) = fresh()
        store.broken = True
        async with await Raw.open(server.address) as raw:
            raw.write(transfer_request(1, signed(MINT, USER1, (billot, 1))))
            with pytest.raises(ServerError, match="can't go on: LookupError") as error:
                await server.wait()
            await server.stop()
        assert "\x1b" not in str(error.value)

    run(main())


# -- odd ends ----------------------------------------------------------------------


def test_nobody_reads_its_output(tmp_path):
    """`bserver | head -1`: the server serves on, and ends without a traceback."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "billots.cli.bserver", "0", "test", "--data-dir", str(tmp_path)],
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    os.close(reading)
    _, err = process.communicate(timeout=30)
    assert b"Traceback" not in err
    with Process(tmp_path) as again:
        assert again.end(signal.SIGTERM)[0] == 0
