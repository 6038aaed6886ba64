"""Killed at every step, an exchange is gone on with, and nothing is given twice or lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from servers import DEADLINE_S, TEST, Mesh, free_ports, run, until
from till import SMALL, owner_of, place, till, wallet

from billots.errors import BillotsError
from billots.exchanging import Exchanged, Outcome
from billots.journal import Journal

HERE = Path(__file__).parent


class Till:
    """A `bchange serve` in a process of its own, which may be killed at a step."""

    def __init__(self, home, mesh, port, last=0):
        self.process = subprocess.Popen(
            [
                *(sys.executable, HERE / "killed.py", "bchange", str(last), "serve", str(port)),
                *("--keyfile", home / "float", "--trusted", ", ".join(mesh.hosts)),
                *("--timeout", "3", "--log-level", "error"),
            ],
            env={**os.environ, "XDG_DATA_HOME": str(home / "data")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def listens(self):
        """Wait for it; False if it was killed before."""
        line = await asyncio.to_thread(self.process.stdout.readline)
        return line.startswith("Listening on ")

    def end(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        said = self.process.communicate(timeout=DEADLINE_S)[1]
        assert "Traceback" not in said, said
        return self.process.returncode


def book(home):
    """The kinds of lines in the change server's book, and the transfers in it."""
    (path,) = (home / "data" / "billots").glob("change-*")
    return [json.loads(line) for line in path.read_text().splitlines()]


async def total(mesh, path, home):
    there = wallet(path.parent, mesh, path.name, data_dir=home / "look")
    return (await there.list_billots()).total_mils


async def exchanged(mine, at):
    """One try, and then what was begun; None while nothing was given."""
    try:
        found = await mine.finish_exchanges()
        if not found:
            found = [await mine.change("0.35", at, lambda _: True)]
    except BillotsError:
        return None
    return found[-1] if isinstance(found[-1], Exchanged) else None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_attack_a_change_server_killed_at_every_step_gives_change_once(tmp_path):
    async def play(mesh, step):
        home = tmp_path / f"home{step}"
        await owner_of(mesh, home / "float", SMALL)
        await owner_of(mesh, home / "key", {"d-": 1})
        (port,) = free_ports(1)
        first = Till(home, mesh, port, step)
        mine = wallet(home, mesh, timeout_s=1.0)
        found = None
        if await first.listens():
            found = await exchanged(mine, f"127.0.0.1:{port}")
        if found is not None and found.outcome is Outcome.CHANGED:
            kinds = lambda: asyncio.to_thread(lambda: [line["kind"] for line in book(home)])  # noqa: E731
            await until(kinds, lambda k: "closed" in k or first.process.poll() is not None)
        elif found is None or found.outcome is not Outcome.CHANGED:
            await asyncio.to_thread(first.process.wait, DEADLINE_S)  # it is being killed
        killed = first.end(signal.SIGTERM) != 0
        second = Till(home, mesh, port)
        assert await second.listens()
        if found is None or found.outcome is not Outcome.CHANGED:
            found = await exchanged(mine, f"127.0.0.1:{port}")
        assert found is not None
        assert found.outcome is Outcome.CHANGED
        await until(lambda: asyncio.to_thread(lambda: book(home)), ends)
        second.end()
        answers = {line["quote_id"] for line in book(home) if line["kind"] == "answer"}
        assert len(answers) == 1
        bodies = [line["transfer"] for line in book(home) if line["kind"] in ("answer", "sweep")]
        assert len({json.dumps(body) for body in bodies}) == len(bodies) == 2
        assert await total(mesh, home / "float", home) == 71_200
        assert await total(mesh, home / "key", home) == 10_000
        return killed

    def ends(lines):
        paid = {line["quote_id"] for line in lines if line["kind"] == "paid"}
        closed = {line["quote_id"] for line in lines if line["kind"] == "closed"}
        return paid and paid <= closed

    async def whole():
        async with Mesh(tmp_path, 1) as mesh:
            await mesh.start()
            step = 1
            while await play(mesh, step):
                step += 1
            assert step > 18, "each line of the books, and each transfer"

    run(whole(), 280)


async def pay(home, mesh, at, payee, last=0):
    """`bwallet --pay` with change, in a process of its own that may be killed at a step."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, HERE / "killed.py", "bwallet", str(last), "--pay", "0.35", payee),
        *("--change-server", at, "--yes", "--keyfile", home / "key"),
        *("--trusted", ", ".join(mesh.hosts), "--timeout", "3"),
        env={**os.environ, "XDG_DATA_HOME": str(home / "wallet")},
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_attack_a_wallet_killed_at_every_step_gives_once_and_pays_once(tmp_path):
    async def play(mesh, step, listener):
        home = tmp_path / f"home{step}"
        key, (note,) = await owner_of(mesh, home / "key", {"d-": 1})
        payee, _ = await owner_of(mesh, home / "payee", {})
        at = place(listener)
        status, out = await pay(home, mesh, at, payee.owner, step)
        ended = status == 0
        if not ended:
            assert status == -signal.SIGKILL, out
            listener.server._tokens.give_back("127.0.0.1")
            status, out = await pay(home, mesh, at, payee.owner)
            # Killed after it was told and before its end: then this is another payment.
            assert status == 0, out
        paid = await total(mesh, home / "payee", home)
        assert await total(mesh, home / "key", home) == 10_000 - paid
        with Journal.open(key.owner, home / "wallet" / "billots") as journal:
            given = {row for row in journal.rows(TEST.id) if row[0] == note}
            payments = [e for e in journal._entries.values() if e.pays is not None]
        assert given == {(note, 2)}, "one note, given once"
        assert paid == 350 * len(payments)
        return ended, len(payments)

    async def whole():
        async with Mesh(tmp_path, 1) as mesh:
            await mesh.start()
            for counts in ({"f-": 200, "e-": 50}, {"g-": 130, "h-": 90, "i-": 36}):
                await owner_of(mesh, tmp_path / "float", counts)
            async with till(tmp_path, mesh) as listener:
                step, ended, twice = 0, False, 0
                while not ended:
                    step += 1
                    ended, payments = await play(mesh, step, listener)
                    twice += payments - 1
                assert step > 16
                assert twice <= 1, "only where it was done with, and said so"

    run(whole(), 280)
