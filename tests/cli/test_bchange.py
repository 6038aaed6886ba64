"""``bchange``, and ``bwallet --pay`` with it, as they are typed: real servers, real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from servers import MOCK, TEST, USER1, USER2, Mesh, Process, free_ports, until_waiting
from test_bwallet import NOBODY, Terminal
from test_change_liars import keeps, lying
from till import SMALL, owner_of, place, till

from billots.journal import Journal
from billots.transfer import Transfer

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with Process(folder) as running:
        yield running


def home(tmp_path, address):
    """User1's, who has 100, 50 and 20; and the mock mint, which has all the change there is."""
    for key in ("user1", "mint"):
        shutil.copy(MOCK / key, tmp_path / key)
        shutil.copy(MOCK / f"{key}.pub", tmp_path / f"{key}.pub")
    terminals = Terminal(tmp_path), Terminal(tmp_path, "bchange")
    for made in terminals:
        made.env |= {"BWALLET_TRUSTED": address, "BCHANGE_TRUSTED": address}
    terminals[0].env["BWALLET_KEYFILE"] = "user1"
    return terminals


@pytest.fixture
def terminals(tmp_path, server):
    return home(tmp_path, server.address)


@contextlib.asynccontextmanager
async def serving(bchange, *words):
    """A `bchange serve` that listens: its process, its first lines, and where it is."""
    process = await bchange.start(
        "serve", "0", "--keyfile", "mint", "--log-level", "error", *words, env={}
    )
    try:
        lines = [(await process.stdout.readline()).decode() for _ in range(5)]
        if not lines[0].startswith("Listening on "):
            raise AssertionError((lines, (await process.stderr.read()).decode()))
        yield process, lines, lines[0].removeprefix("Listening on ").strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def scenario(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_pay_with_change(terminals):
    bwallet, bchange = terminals

    async def play():
        async with serving(bchange) as (process, lines, at):
            assert re.fullmatch(r"Network: test [0-9a-f]{32}\n", lines[1])
            assert re.fullmatch(r"Change server key: [0-9a-f]{64}\n", lines[2])
            assert re.fullmatch(r"Float: [0-9,]+ billots, worth [0-9.]+\n", lines[3])
            assert lines[4] == "Fee: none\n"
            words = ("--pay", "0.35", USER2.owner, "--change-server", at)
            out, err, status = await bwallet.type(*words, "--yes")
            assert (err, status) == ("", 0)
            said = out.splitlines()
            assert re.fullmatch(rf"Quote: from {at}, holds for \d+ s", said[0])
            assert said[1] == "you give: 1 x 20, 20 in all"
            assert said[2].endswith(", 20 in all")
            assert said[3] == "fee: none"
            assert said[5].startswith("Until the change is final you trust it with 20: ")
            assert said[6].startswith("Changed: 1 x 20 into 1 x 10, 1 x 5, ")
            assert said[7] == f"Paid: 0.35 to {USER2.owner}"
            out, err, status = await bwallet.type(*words, "--yes")
            assert (err, status) == ("", 0)
            assert out.startswith("Paid: 0.35 "), "there is small money now, so that none is asked"
            out = (await bwallet.type("--balance"))[0]
            assert out.endswith("Total: 169.3\n")
            process.send_signal(signal.SIGINT)
            assert (await process.stdout.read()).decode() == "Stopped.\n"
            assert await process.wait() == 0

    scenario(play())


def test_pay_with_change_as_one_document(terminals):
    bwallet, bchange = terminals

    async def play():
        async with serving(bchange) as (_, _, at):
            words = ("--pay", "0.35", USER2.owner, "--change-server", at, "--json")
            out, err, status = await bwallet.type(*words)
            assert (json.loads(out)["error"], status) == ("InputError", 2)
            assert err.startswith("bwallet: error: no terminal to ask on: --yes exchanges")
            out, err, status = await bwallet.type(*words, "--yes")
            assert (err, status) == ("", 0)
            assert json.loads(out)["payments"][0]["amount"] == "0.35"
            words = ("--pay", "1000", USER2.owner, "--change-server", at, "--json", "--yes")
            out, err, status = await bwallet.type(*words)
            assert status == 1
            assert json.loads(out)["error"] == "NoExchange"

    scenario(play())


def test_without_a_terminal_and_a_yes_nothing_is_given(terminals):
    bwallet, bchange = terminals

    async def play():
        async with serving(bchange) as (_, _, at):
            words = ("--pay", "0.35", USER2.owner, "--change-server", at)
            out, err, status = await bwallet.type(*words)
            assert (out, status) == ("", 2)
            assert err == (
                "bwallet: error: no terminal to ask on: --yes exchanges without asking\n"
                "hint: a change server is trusted with what it is given, until it is back\n"
            )
            assert (await bwallet.type("--balance"))[0].endswith("Total: 170\n")

    scenario(play())


async def answered(bwallet, at, answer):
    """What a person sees who answers the question on a terminal; and the exit status."""
    ours, theirs = pty.openpty()
    words = ("--pay", "0.35", USER2.owner, "--change-server", at)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "billots.cli.bwallet", *words),
        cwd=bwallet.directory,
        env={**bwallet.env, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while b"Exchange? [y/N]" not in said:
            said += await asyncio.to_thread(os.read, ours, 4096)
        if answer is None:
            await until_waiting(process)
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, answer)
        with contextlib.suppress(OSError):  # the other end has closed
            while more := await asyncio.to_thread(os.read, ours, 4096):
                said += more
    finally:
        os.close(ours)
    return ANSI.sub("", said.decode()), await process.wait()


@pytest.mark.slow
def test_a_person_is_asked(terminals):
    bwallet, bchange = terminals

    async def play():
        async with serving(bchange) as (_, _, at):
            said, status = await answered(bwallet, at, b"n\n")
            assert "Nothing was given." in said
            assert status == 1
            assert (await bwallet.type("--balance"))[0].endswith("Total: 170\n")
            said, status = await answered(bwallet, at, None)
            assert status == 130
            assert "Traceback" not in said
            assert (await bwallet.type("--balance"))[0].endswith("Total: 170\n")
            said, status = await answered(bwallet, at, b"y\n")
            assert f"Paid: 0.35 to {USER2.owner}" in said
            assert status == 0

    scenario(play())


@pytest.mark.slow
def test_a_fee_is_paid_without_asking_only_up_to_a_limit(terminals):
    bwallet, bchange = terminals

    async def play():
        async with serving(bchange, "--fee", "0.05", "--valid", "30") as (_, lines, at):
            assert lines[4] == "Fee: 0.05\n"
            words = ("--pay", "0.35", USER2.owner, "--change-server", at, "--yes")
            out, err, status = await bwallet.type(*words)
            assert status == 1
            assert "fee: 0.05\n" in out
            assert "the fee is 0.05, and without asking at most 0 is paid" in err
            assert (await bwallet.type("--balance"))[0].endswith("Total: 170\n")
            out, err, status = await bwallet.type(*words, "--max-fee", "0.05")
            assert (err, status) == ("", 0)
            assert (await bwallet.type("--balance"))[0].endswith("Total: 169.6\n")
            out, err, status = await bwallet.type(*words, "--max-fee", "x\x1b[2J")
            assert "\x1b" not in err

    scenario(play())


@pytest.mark.slow
def test_left_without_change_there_is_a_proof(tmp_path):
    async def play():
        async with Mesh(tmp_path, 2) as mesh:
            await mesh.start()
            await mesh.linked()
            bwallet, bchange = home(tmp_path, ", ".join(mesh.hosts))
            (tmp_path / "float").write_bytes((MOCK / "mint").read_bytes())
            words = ["--pay", "0.35", USER2.owner, "--yes", "--timeout", "1", "--change-server"]
            async with till(tmp_path, mesh, lying(redeem=keeps)) as listener:
                words.append(place(listener))
                out, err, status = await bwallet.type(*words)
                assert status == 1
                said = out.splitlines()[6:]
                assert said[0] == "No change: 1 x 20 given, nothing has come yet"
                assert said[1] == "why: the change server can't go on now"
                (proof,) = tmp_path.glob("quote-*.json")
                assert said[2] == f"proof: {proof.name}"
                assert err.endswith(f"bchange verify-proof {proof.name}\n")
                before = proof.read_bytes()
                out, err, status = await bwallet.type(*words, "--json")
                assert status == 1
                assert json.loads(out)["outcome"] == "open"
                assert json.loads(out)["proof"] == proof.name
                out, err, status = await bwallet.type("--resume", "--timeout", "1")
                assert (out.splitlines()[0], status) == (said[0], 1)
                assert proof.read_bytes() == before
                key, port = listener.server.key.public_hex, listener.port
            pinned = ("--trusted", ", ".join(f"{s.address}#{s.key}" for s in mesh.servers.values()))
            await read_a_proof(bchange, proof, key, pinned)
            await come_back(tmp_path, bwallet, bchange, port)
            out, err, status = await bchange.type("verify-proof", proof.name, *pinned, "--json")
            assert status == 1
            fields = json.loads(out)
            assert (fields["valid"], fields["became"]) == (True, "changed")

    scenario(play())


@pytest.mark.slow
def test_attack_a_change_server_that_keeps_the_money_stops_no_payment_and_no_other(tmp_path):
    """What it owes is told each time; --resume and exchanges with others go on."""

    async def play():
        async with Mesh(tmp_path, 1) as mesh:
            await mesh.start()
            bwallet, _ = home(tmp_path, ", ".join(mesh.hosts))
            (tmp_path / "float").write_bytes((MOCK / "mint").read_bytes())
            await owner_of(mesh, tmp_path / "honest" / "float", SMALL | {"d-": 12})
            words = ("--pay", "0.35", USER2.owner, "--yes", "--timeout", "1", "--change-server")
            async with till(tmp_path, mesh, lying(redeem=keeps)) as liar:
                out, err, status = await bwallet.type(*words, place(liar))
                assert "No change: 1 x 20 given" in out
                with Journal.open(USER1.owner, tmp_path / "data" / "billots") as journal:
                    signed = Transfer.sign(TEST, USER1, USER2.owner, [("a-1", 1)])
                    journal.sign(signed, pays=100_000)
                out, err, status = await bwallet.type("--resume", "--timeout", "1")
                assert out.startswith("No change: 1 x 20 given, ")
                assert status == 1
                assert f"Paid: 100 to {USER2.owner}" in out
                async with till(tmp_path / "honest", mesh) as honest:
                    out, err, status = await bwallet.type(*words, place(honest), "--json")
                    assert status == 0
                    assert json.loads(out)["payments"][0]["amount"] == "0.35"
                    assert "the change server owes you what its quote says" in err

    scenario(play())


async def read_a_proof(bchange, proof, key, pinned):
    out, err, status = await bchange.type("verify-proof", proof.name, *pinned)
    assert (err, status) == ("", 0)
    assert out.startswith(f"Valid: change server {key} owes 20\n")
    assert "a quorum of your servers signed that the transfer was taken\n" in out
    assert "--change-server HOST\n" in out
    assert out.endswith(
        "Kept: the servers have neither the change nor what was given as the customer's\n"
    )
    out, err, status = await bchange.type("verify-proof", proof.name, "--offline")
    assert (err, status) == ("", 1), "to who knows no key nothing proves that it was paid"
    assert out.startswith(f"Valid: change server {key} promised 20\n")
    assert "no receipt here proves to you that the transfer was taken: no key of" in out
    told = await bchange.type("verify-proof", proof.name, *pinned, "--change-server", "127.0.0.1:1")
    assert told[2] == 0
    assert "the change server was shown it: can't reach 127.0.0.1:1" in told[0]
    told = await bchange.type("verify-proof", proof.name, "--offline", "--change-server", "a:1")
    assert told[2] == 2
    before = proof.read_bytes()
    altered = proof.with_name("altered.json")
    altered.write_bytes(before.replace(b'"until": ', b'"until": 1', 1))
    assert altered.read_bytes() != before
    told = await bchange.type("verify-proof", "altered.json", *pinned)
    assert told == ("Not valid: the change server's signature does not hold\n", "", 1)


async def come_back(tmp_path, bwallet, bchange, port):
    """The same book in another process, which does not lie."""
    shutil.copytree(tmp_path / "data", tmp_path / "moved" / "billots")
    process = await bchange.start(
        *("serve", port, "--keyfile", "mint", "--log-level", "error"),
        env={"XDG_DATA_HOME": str(tmp_path / "moved")},
    )
    assert (await process.stdout.readline()).startswith(b"Listening on ")
    out, err, status = await bwallet.type("--resume")
    assert (err, status) == ("", 0)
    assert out.splitlines()[0].startswith("Changed: 1 x 20 into ")
    assert out.splitlines()[0].endswith(" (begun before)")
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.slow
def test_what_is_wrong_with_a_command_line(terminals, tmp_path):
    bwallet, bchange = terminals
    (tmp_path / "strange").write_bytes(b"\x1b[2J")
    for words, status, message in (
        (("serve",), 2, "missing argument 'PORT'"),
        (("serve", "0", "--fee", "x"), 2, "--fee: not a value"),
        (("serve", "0", "--json"), 2, "prints lines, and no document"),
        (("serve", "0", "--keyfile", "none"), 2, "no key file none"),
        (("serve", "0", "--keyfile", "mint", *NOBODY), 3, "can't reach 127.0.0.1:1"),
        (("verify-proof", "none"), 2, "can't read none"),
        (("verify-proof", "strange", "--offline"), 2, "not a proof of an exchange"),
    ):
        out, err, found = bchange.run(*words)
        assert (out, found) == ("", status), words
        assert err.startswith("bchange: error: "), words
        assert message in err
        assert "\x1b" not in err
    pay = ("--pay", "0.35", USER2.owner)
    for words, status, message in (
        (("--balance", "--yes"), 2, "--yes goes with --pay"),
        ((*pay, "--max-fee", "1"), 2, "--max-fee goes with --change-server"),
        ((*pay, "--yes", "--change-server", "a b"), 2, "not a host"),
        ((*pay, "--yes", "--change-server", "127.0.0.1:1"), 3, "can't reach 127.0.0.1:1"),
    ):
        out, err, found = bwallet.run(*words)
        assert (out, found) == ("", status), words
        assert message in err


@pytest.mark.slow
def test_a_change_server_that_can_not_start(terminals):
    bwallet, bchange = terminals
    (port,) = free_ports(1)

    async def play():
        async with serving(bchange) as (_, _, at):
            _, err, status = await bchange.type("serve", "0", "--keyfile", "mint")
            assert status == 2
            assert "another process keeps " in err
            taken = at.rpartition(":")[2]
            _, err, status = await bchange.type("serve", taken, "--keyfile", "mint")
            assert status == 2
            assert f"can't listen on 127.0.0.1:{taken}: address already in use" in err
        assert (await bwallet.type("--genkeys", "empty"))[2] == 0
        process = await bchange.start("serve", str(port), "--keyfile", "empty")
        lines = [(await process.stdout.readline()).decode() for _ in range(6)]
        assert lines[3] == "Float: 0 billots, worth 0\n"
        assert lines[5].startswith("There is nothing to give: transfer billots to ")
        process.terminate()
        assert await process.wait() == 0

    scenario(play())
