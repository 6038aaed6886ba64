"""``--watch`` as it is typed: one line for each payment, whatever servers do, until it is ended."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from fake_server import FakeServer
from servers import MINT, MOCK, TEST, USER1, USER2, Process, free_ports, fresh, signed, submit
from test_bwallet import Terminal, scenario

from billots.contacts import Contacts

CUT = f"{USER2.owner[:16]}…"


class Watched:
    """A running ``bwallet --watch``: lines of its stdout and stderr as they come."""

    def __init__(self, process):
        self.process = process

    async def said(self):
        return (await self.process.stdout.readline()).decode()

    async def noted(self, wanted):
        """Wait for a line on stderr."""
        while line := (await self.process.stderr.readline()).decode():
            if wanted in line:
                return line
        raise AssertionError(f"it ended, and never said {wanted}")

    async def end(self, number):
        """The exit status after a signal, and what it still said."""
        self.process.send_signal(number)
        out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def watching(terminal, *words):
    process = await terminal.start("--watch", *words)
    try:
        yield Watched(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
def terminal(tmp_path):
    """User2's, with the public key alone: d-1, e-1 and f-1, which is 16."""
    (tmp_path / "key.pub").write_bytes((MOCK / "user2.pub").read_bytes())
    return Terminal(tmp_path)


def test_a_line_for_each_payment_and_ctrl_c_ends_it(terminal, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    Contacts(tmp_path / "data" / "billots").keep("alice", USER1.owner)

    async def play(server):
        async with watching(terminal, "--trusted", server.address) as watched:
            assert await watched.noted("watching") == (
                f"bwallet: note: watching {CUT}: 16 now; Ctrl-C ends it\n"
            )
            (billot,) = fresh()
            first = signed(MINT, USER2, (billot, 1))
            second = signed(USER1, USER2, ("b-1", 1), ("c-1", 1))
            await submit(server.address, first)
            assert await watched.said() == (
                f"Received: 0.01 from {MINT.owner[:16]}…, {billot}, transfer id: {first.id}\n"
            )
            await submit(server.address, second)
            assert await watched.said() == (
                f"Received: 70 from alice ({USER1.owner[:16]}…), b-1, c-1, "
                f"transfer id: {second.id}\n"
            )
            status, out, err = await watched.end(signal.SIGINT)
            assert (status, out, err.strip()) == (130, "", "")

    with Process(folder) as server:
        scenario(play(server))


def test_as_documents_one_a_line_and_sigterm_ends_it(terminal, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()

    async def play(server):
        async with watching(terminal, "--trusted", server.address, "--json") as watched:
            await watched.noted("watching")
            transfer = signed(USER1, USER2, ("a-1", 1), ("b-1", 1))
            await submit(server.address, transfer)
            assert json.loads(await watched.said()) == {
                "amount": "150",
                "from": USER1.owner,
                "contact": None,
                "transfer_id": transfer.id,
                "network": {"name": "test", "id": TEST.id},
                "billots": [
                    {"id": "a-1", "seq": 1, "value": "100"},
                    {"id": "b-1", "seq": 1, "value": "50"},
                ],
            }
            status, out, err = await watched.end(signal.SIGTERM)
            assert (status, out, err) == (0, "", "")

    with Process(folder) as server:
        scenario(play(server))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_for_servers_and_says_so_once(terminal, tmp_path, number):
    port = free_ports(1)[0]
    folder = tmp_path / "server"
    folder.mkdir()

    async def play():
        async with watching(terminal, "--trusted", f"127.0.0.1:{port}") as watched:
            assert await watched.noted("needed") == (
                "bwallet: warning: none of 1 servers answer, 1 needed: trying until they do\n"
            )
            with Process(folder, port=port) as server:
                assert (await watched.noted("note:")).startswith("bwallet: note: watching ")
                server.end(signal.SIGKILL)
                gone = await watched.noted("note:")
                assert gone.startswith(f"bwallet: note: 127.0.0.1:{port} ")
                assert gone.endswith(": trying again\n")
            with Process(folder, port=port) as server:
                assert await watched.noted("note:") == (
                    f"bwallet: note: 127.0.0.1:{port} is back\n"
                )
                transfer = signed(USER1, USER2, ("a-1", 1))
                await submit(server.address, transfer)
                assert (await watched.said()).startswith("Received: 100 from ")
                status, *said = await watched.end(number)
                assert "".join(said).strip() == ""
                assert status == (130 if number == signal.SIGINT else 0)

    scenario(play())


def test_ctrl_c_while_nobody_is_there_and_while_nobody_answers(terminal):
    async def play():
        async with watching(terminal, "--trusted", "127.0.0.1:1") as watched:
            await watched.noted("needed")
            status, out, err = await watched.end(signal.SIGINT)
            assert (status, out, "Traceback" in err) == (130, "", False)
        async with FakeServer() as server:
            asked = asyncio.Event()
            server.gate = asyncio.Event()
            server.behaviour["info"] = lambda _, default: asked.set() or default
            server.gate.set()
            async with watching(terminal, "--trusted", server.host, "--timeout", "60") as watched:
                await asked.wait()
                server.gate.clear()
                assert (await watched.end(signal.SIGINT))[0] == 130

    scenario(play())


def test_a_small_quorum_is_warned_about(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--trusted", f"{server.host}, 127.0.0.1:1-3", "--quorum", "1")
            async with watching(terminal, *words) as watched:
                assert "a quorum of 1 of 4 is less than a safe one" in await watched.noted("quorum")
                await watched.noted("watching")

    scenario(play())


def test_who_reads_no_more_ends_it(terminal, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()

    async def play(server):
        reading, writing = os.pipe()
        process = await terminal.start("--watch", "--trusted", server.address, stdout=writing)
        os.close(writing)
        await Watched(process).noted("watching")
        os.close(reading)
        await submit(server.address, signed(USER1, USER2, ("a-1", 1)))
        assert (await process.communicate())[1] == b""
        assert process.returncode == 1

    with Process(folder) as server:
        scenario(play(server))


def test_without_a_key_there_is_nobody_to_watch_for(tmp_path):
    out, err, status = Terminal(tmp_path).run("--watch", "--trusted", "127.0.0.1:1")
    assert (out, status) == ("", 2)
    assert err.startswith("bwallet: error: no key file key\nhint: bwallet --genkeys")
