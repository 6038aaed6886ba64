"""`bwallet` as it is typed: what it prints, where, and its exit status. No traceback, ever."""

import asyncio
import json
import os
import pty
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from fake_server import CLOSE, SILENT, TEST, FakeServer, Refuse

import billots.mock
from billots.crypto import PrivateKey
from billots.errors import BillotsError
from billots.holding import Holding, Status
from billots.network import Network
from billots.owners import with_checksum
from billots.transfer import Transfer

MOCK = Path(billots.mock.__file__).parent
USER1, USER2, USER3, MINT = (
    PrivateKey.load(MOCK / name) for name in ("user1", "user2", "user3", "mint")
)
MAIN = Network.shipped("main")
NOBODY = ("--trusted", "127.0.0.1:1")


class Terminal:
    """Runs commands in a directory of its own, with a home of its own."""

    def __init__(self, directory, program="bwallet"):
        self.directory = directory
        self.program = program
        self.env = {
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory / "data"),
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "error",
        }

    async def start(self, *words, stdout=asyncio.subprocess.PIPE, stderr=None, env=None):
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"billots.cli.{self.program}", *map(str, words)),
            cwd=self.directory,
            env={**self.env, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE if stderr is None else stderr,
        )

    async def type(self, *words, **settings):
        """(stdout, stderr, exit status), both as text."""
        process = await self.start(*words, **settings)
        out, err = await process.communicate()
        told = (out or b"").decode(), (err or b"").decode()
        assert "Traceback" not in told[1]
        return *told, process.returncode

    def run(self, *words, **settings):
        return asyncio.run(asyncio.wait_for(self.type(*words, **settings), 60))


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path)


def scenario(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 60))


def error(message, hint=None):
    return f"bwallet: error: {message}\n" + (f"hint: {hint}\n" if hint else "")


def split(servers, *owners):
    for number, server in enumerate(servers):
        owner = owners[number % len(owners)].owner
        server.own("a-1", 1, USER1.owner, owner, Status.CONTESTED)


# -- keys --------------------------------------------------------------------------------------


def test_genkeys_then_hash(terminal):
    out, err, status = terminal.run("--genkeys")
    key = PrivateKey.load(terminal.directory / "key")
    assert out.splitlines() == [
        "keys written to: key",
        "public key: key.pub",
        f"your owner id: {key.owner}",
    ]
    assert (err, status) == ("", 0)
    assert (terminal.directory / "key").stat().st_mode & 0o777 == 0o600
    assert terminal.run("--hash") == (f"Hash: {key.owner}\n", "", 0)
    out, err, status = terminal.run("--json", "--hash")
    assert json.loads(out) == {"owner": key.owner, "checked": with_checksum(key.owner)}
    assert (err, status) == ("", 0)
    before = (terminal.directory / "key").read_bytes()
    out, err, status = terminal.run("--genkeys")
    assert (out, status) == ("", 2)
    assert "is already there and is never overwritten\nhint: bwallet --genkeys OTHERFILE" in err
    assert (terminal.directory / "key").read_bytes() == before


def test_genkeys_takes_a_file_a_keyfile_and_json(terminal):
    assert terminal.run("--genkeys", "one")[0].startswith("keys written to: one\n")
    assert terminal.run("--keyfile", "two", "--genkeys")[0].startswith("keys written to: two\n")
    out, _, status = terminal.run("--genkeys", "--json", "--keyfile", "three")
    document = json.loads(out)
    assert (document["key"], document["public_key"], status) == ("three", "three.pub", 0)
    out, err, status = terminal.run("--genkeys", "no/where")
    assert (out, status) == ("", 2)
    assert err.startswith("bwallet: error: can't write key file no/where: No such file")


def test_a_passphrase_locks_the_key(terminal):
    env = {"BWALLET_PASSPHRASE": "open sesame"}
    terminal.run("--genkeys", env=env)
    assert "ENCRYPTED" in (terminal.directory / "key").read_text()

    async def play():
        async with FakeServer() as server:
            words = ("--server", server.host, "--transfer", "a-1", USER2.owner)
            _, err, status = await terminal.type(*words)
            assert (err.splitlines()[0], status) == (
                "bwallet: error: key file key needs a passphrase",
                2,
            )
            server.own(
                "a-1", 0, None, PrivateKey.load(terminal.directory / "key", "open sesame").owner
            )
            assert (await terminal.type(*words, env=env))[2] == 0

    scenario(play())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no key file key\nhint: bwallet --genkeys"),
        (b"", "not a private key file: key\nhint: a damaged key"),
        (b"\x00\xff" * 500, "not a private key file: key\nhint: a damaged key"),
        ("mint.pub", "not a private key file: key\nhint: a damaged key"),
    ],
)
def test_key_files_that_can_not_be_used(terminal, content, message):
    if isinstance(content, str):
        shutil.copy(MOCK / content, terminal.directory / "key")
    elif content is not None:
        (terminal.directory / "key").write_bytes(content)
    out, err, status = terminal.run("--hash")
    assert (out, status) == ("", 2)
    assert err.startswith(f"bwallet: error: {message}")


def test_a_key_that_others_can_read_is_warned_about_but_not_a_public_one(terminal):
    terminal.run("--genkeys", "mine")
    (terminal.directory / "mine").chmod(0o644)
    out, err, status = terminal.run("--hash", "--keyfile", "mine")
    assert err == "bwallet: warning: others can read mine\nhint: chmod 600 mine\n"
    assert (out[:6], status) == ("Hash: ", 0)
    shutil.copy(MOCK / "user1", terminal.directory / "copy")
    (terminal.directory / "copy").chmod(0o644)
    assert terminal.run("--hash", "--keyfile", "copy") == (f"Hash: {USER1.owner}\n", "", 0)


def test_hash_loads_no_more_than_it_needs(terminal):
    terminal.run("--genkeys")
    code = (
        "import sys, runpy; sys.argv = ['bwallet', '--hash']\n"
        "try: runpy.run_module('billots.cli.bwallet', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sys.modules)"
    )

    async def play():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code),
            cwd=terminal.directory,
            env=terminal.env,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        loaded = set(out.decode().splitlines()[-1].split())
        heavy = {"asyncio", "msgspec", "rich", "nacl", "plyvel", "platformdirs", "tomllib"}
        heavy.add("sqlite3")
        assert "billots.crypto" in loaded
        assert not heavy & loaded

    scenario(play())


# -- whose it is -------------------------------------------------------------------------------


def test_check_owner_names_the_owner(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two, FakeServer() as three:
            trusted = [f"{server.host}," for server in (one, two)] + [three.host]
            words = ("--check-owner", "a-1", "--trusted", *trusted)
            # The words of the list end where the next option begins.
            (out, err, status), (document, _, also) = await asyncio.gather(
                terminal.type(*words, "--timeout", "9"), terminal.type(*words, "--json")
            )
            assert (out.splitlines()[0], err, status) == (f"Owner: {USER1.owner}", "", 0)
            assert out.splitlines()[1] == "billot: a-1 value 100"
            assert "of 3, 2 needed" in out.splitlines()[2]
            fields = json.loads(document)
            assert len(document.splitlines()) == 1
            assert (fields["verdict"], fields["owner"], also) == ("owner", USER1.owner, 0)
            assert (fields["needed"], fields["n"], len(fields["answers"])) == (2, 3, 3)

    scenario(play())


def test_a_quorum_below_the_safe_one_is_warned_about(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--check-owner", "a-1", "--trusted", f"{server.host}, 127.0.0.1:1-6")
            _, err, status = await terminal.type(*words, "--quorum", "1")
            assert err == (
                "bwallet: warning: a quorum of 1 of 7 is less than a safe one of 5: "
                "one billot can pay two, without any liar\n"
                "hint: --quorum safe is never too small\n"
            )
            assert status == 0
            _, err, _ = await terminal.type(*words, "--quorum", "majority")
            assert "4 of 7 is less than a safe one of 5: it survives no liar instead of 2" in err
            assert (await terminal.type(*words, "--quorum", "6"))[1] == ""

    scenario(play())


def test_who_owns_and_settings_from_the_environment(terminal):
    async def play():
        async with FakeServer() as server:
            env = {"BWALLET_SERVER": str(server.host), "BWALLET_NETWORK": "test"}
            words = ("--who-owns", "d-1")
            out, err, status = await terminal.type(*words, env=env)
            assert (out.splitlines()[0], err, status) == (f"Owner: {USER2.owner}", "", 0)
            env["BWALLET_NETWORK"] = "main"
            assert (await terminal.type(*words, env=env))[2] == 2
            out = (await terminal.type(*words, "--network", "test", env=env))[0]
            assert out.startswith("Owner: ")
            env = {"BWALLET_TRUSTED": f"{server.host}, 127.0.0.1:1", "BWALLET_QUORUM": "1"}
            assert (await terminal.type("--check-owner", "d-1", env=env))[2] == 0

    scenario(play())


def test_the_other_answers_and_their_status(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two, FakeServer(network=MAIN) as empty:
            pair = ("--check-owner", "a-1", "--trusted", f"{one.host},{two.host}")
            one.own("a-1", 0, None, USER1.owner)
            two.own("a-1", 0, None, USER2.owner)
            out, _, status = await terminal.type(*pair)
            assert out.splitlines()[0].startswith("Undecided: 1 of 2 name ")
            assert out.splitlines()[0].endswith(", 2 needed")
            assert status == 1
            split((one, two), USER2, USER3)
            one.evidence["a-1"] = [
                Transfer.sign(TEST, USER1, to.owner, [("a-1", 1)]) for to in (USER2, USER3)
            ]
            out, err, status = await terminal.type(*pair)
            assert (out.splitlines()[0], err, status) == ("Disputed owner", "", 1)
            assert f"signed twice by {USER1.owner}: to " in out
            document, _, status = await terminal.type(*pair, "--json")
            assert (json.loads(document)["verdict"], status) == ("disputed", 1)
            words = ("--check-owner", "a-1", "--trusted", empty.host)
            out, err, status = await terminal.type(*words)
            assert (out.splitlines()[0], err, status) == ("No owner", "", 1)
            one.behaviour["who_owns"] = two.behaviour["who_owns"] = lambda *_: CLOSE
            out, _, status = await terminal.type(*pair)
            assert out.splitlines()[0] == "Undecided: 0 of 2 name an owner, 2 needed"
            assert status == 1

    scenario(play())


def test_a_changed_key_is_warned_about(terminal):
    async def play():
        async with FakeServer() as server:
            pinned = f"{server.host}#{'0' * 64}"
            out, err, status = await terminal.type("--check-owner", "a-1", "--trusted", pinned)
            assert out.startswith("Undecided: 0 of 1")
            assert f"bwallet: warning: {server.host} shows another key than the one it" in err
            assert status == 1
            _, err, status = await terminal.type("--who-owns", "a-1", "--server", pinned)
            assert err.startswith(f"bwallet: error: {server.host} shows another key")
            assert status == 1

    scenario(play())


# -- lists and transfers -----------------------------------------------------------------------


def test_a_list_and_its_total(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--server", server.host, "--list")
            keys = ("user1", "user3", "mint")
            runs = (terminal.type(*words, "--keyfile", MOCK / key) for key in keys)
            first, third, mint = await asyncio.gather(*runs)
            assert first[0].splitlines() == [
                "Billot: a-1 Value: 100",
                "Billot: b-1 Value: 50",
                "Billot: c-1 Value: 20",
                "Total: 170",
            ]
            assert first[1:] == ("", 0)
            assert third[0].splitlines()[-1] == "Total: 0.4"
            assert mint[0].splitlines()[0] == (
                "Billots: a-2 to a-10000 Value: 100 each (never moved, by the network's file)"
            )
            assert mint[0].splitlines()[-1] == "Total: 10149813.6"
            assert (mint[1], mint[2]) == ("", 0)
            document, _, _ = await terminal.type(*words, "--json", "--keyfile", MOCK / "user1")
            assert json.loads(document)["total"] == "170"

    scenario(play())


def test_a_transfer_and_its_repeat(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--transfer", "a-1,b-1", USER2.owner, "--keyfile", MOCK / "user1")
            words = (*words, "--server", server.host)
            out, err, status = await terminal.type(*words)
            (transfer,) = set(server.transfers)
            lines = out.splitlines()
            assert lines[:2] == ["Transfer broadcasted.", f"a-1, b-1: value 150, to {USER2.owner}"]
            assert lines[2].startswith("transfer id: ")
            assert lines[3] == f"accepted by {server.host}: settled"
            assert (err, status) == ("", 0)
            document, _, status = await terminal.type(*words, "--json")
            assert set(server.transfers) == {transfer}
            fields = json.loads(document)
            assert (fields["resent"], fields["accepted"], status) == (True, True, 0)

    scenario(play())


def test_refused_transfers(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--keyfile", MOCK / "user1", "--server", server.host, "--transfer")
            out, err, status = await terminal.type(*words, "d-1", USER3.owner)
            assert (out, status) == ("", 1)
            command = f"bwallet --keyfile {MOCK / 'user1'} --server {server.host}"
            assert err == error(
                f"d-1 is not yours: its owner is {USER2.owner}", f"{command} --list shows what is"
            )
            evil = Refuse("stale_seq", {"billot": "\x1b[2J"}, "\x1b[31mvisit evil.example")
            server.behaviour["transfer"] = lambda *_: evil
            out, err, status = await terminal.type(*words, "b-1", USER3.owner)
            assert (out, err, status) == (
                "",
                error("b-1 has moved on", f"{command} --check-owner b-1"),
                1,
            )
            out, err, status = await terminal.type(*words, "c-1", USER3.owner, "--json")
            assert (json.loads(out)["error"], status) == ("stale_seq", 1)
            server.holdings.clear()
            _, err, status = await terminal.type(*words, "b-1", USER2.owner)
            assert err == error(
                f"already signed over to another owner: b-1 (seq 1) to {USER3.owner}",
                f"{command} --transfer b-1 {USER3.owner} sends that one again",
            )
            assert status == 1

    scenario(play())


def test_several_billots_may_be_several_words(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--keyfile", MOCK / "user1", "--server", server.host)
            out, err, status = await terminal.type(
                "--transfer", "a-1,", "b-1,", "c-1", USER2.owner, *words
            )
            assert (out.splitlines()[:1], err, status) == (["Transfer broadcasted."], "", 0)
            assert out.splitlines()[1].startswith("a-1, b-1, c-1: value 170")

    scenario(play())


def test_a_lapsed_entry_is_told_on_stderr(terminal):
    async def play():
        words = ("--keyfile", MOCK / "user1", "--transfer", "a-1")
        async with FakeServer() as server:
            await terminal.type(*words, USER2.owner, "--server", server.host)
        async with FakeServer() as server:
            out, err, status = await terminal.type(*words, USER3.owner, "--server", server.host)
            assert (out.splitlines()[0], status) == ("Transfer broadcasted.", 0)
            assert err == (
                f"bwallet: note: an earlier transfer of a-1 to {USER2.owner} is given up: "
                "no server that knew of it answers, and this is the test network on this machine\n"
            )

    scenario(play())


def test_a_journal_that_can_not_be_used(terminal):
    async def play():
        async with FakeServer() as server:
            (terminal.directory / "data").touch()
            words = ("--keyfile", MOCK / "user1", "--transfer", "a-1", USER2.owner)
            out, err, status = await terminal.type(*words, "--server", server.host)
            assert (out, status) == ("", 2)
            assert err.startswith("bwallet: error: can't make directory ")
            assert server.transfers == []

    scenario(play())


# -- where one is ------------------------------------------------------------------------------


def test_without_an_action_it_tells_who_and_where_one_is(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--trusted", f"{server.host},", "127.0.0.1:1")
            out, err, status = await terminal.type(*words, "--keyfile", MOCK / "user1")
            assert out.splitlines() == [
                f"Owner: {USER1.owner}",
                f"to give away, with a checksum: {with_checksum(USER1.owner)}",
                f"key file: {MOCK / 'user1'}",
                f"network: test {TEST.id}",
                f"server: {server.host} answers, key {server.key.public_hex[:16]}…",
                "server: 127.0.0.1:1 can't be reached",
                "quorum: 2 of 2 needed, and only 1 answer now",
            ]
            assert (err, status) == ("", 0)
            out, _, status = await terminal.type(*words, "--json")
            assert (json.loads(out)["owner"], status) == (None, 0)
            out, _, _ = await terminal.type(*words, env={"PYTHONIOENCODING": "ascii"})
            assert "key file: key (no key: bwallet --genkeys makes one)" in out

    scenario(play())


def test_without_an_action_and_without_a_server(terminal):
    out, err, status = terminal.run(*NOBODY)
    assert out.splitlines()[0] == "Owner: -"
    assert err == error("no server could be reached", "--trusted h:p, h:p names other servers")
    assert status == 3


# -- receipts and keys -------------------------------------------------------------------------


def pinned(*servers):
    return ("--trusted", ",".join(str(server.pinned) for server in servers))


@pytest.mark.slow
def test_a_receipt_is_written_and_checked_offline(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two, FakeServer() as three:
            servers = (one, two, three)
            for server in servers:
                server.own("a-5", 1, MINT.owner, USER2.owner)
            out, err, status = await terminal.type("--receipt", "a-5", *pinned(*servers))
            lines = out.splitlines()
            assert lines[:3] == [
                "Receipt: receipt-a-5.json",
                "billot: a-5 value 100, seq 1",
                f"owner: {USER2.owner}",
            ]
            assert lines[3].startswith("signed by: 127.0.0.1:")
            assert (err, status) == ("", 0)
            fields = json.loads((terminal.directory / "receipt-a-5.json").read_text())
            assert fields.keys() == {"transfer", "votes"}
            out, err, status = await terminal.type("--receipt", "a-5", *pinned(*servers))
            assert (out, status) == ("", 2)
            assert err == error(
                "receipt-a-5.json is already there and is never overwritten",
                "--output FILE names another file, --output - prints it",
            )
            words = ("--receipt", "a-5", *pinned(*servers), "--output")
            out, err, status = await terminal.type(*words, "-")
            assert (json.loads(out).keys(), err, status) == (fields.keys(), "", 0)
            document, _, status = await terminal.type(*words, "other.json", "--json")
            told = json.loads(document)
            assert (told["file"], told["seq"], told["owner"]) == ("other.json", 1, USER2.owner)
            assert (told["kept"], len(told["signed"]) >= 2, status) == (False, True, 0)
            _, err, status = await terminal.type(*words, "no/where")
            assert err.startswith("bwallet: error: can't write no/where: No such file")
            assert status == 2
            _, err, status = await terminal.type(*words, "/dev/full")
            assert err.startswith("bwallet: error: can't write /dev/full: not a regular file\n")
            assert status == 2
        return servers

    servers = asyncio.run(play())
    words = ("--verify-receipt", "receipt-a-5.json")
    out, err, status = terminal.run(*words, *pinned(*servers))
    lines = out.splitlines()
    assert lines[0] == f"Valid: a-5 1 {USER2.owner}"
    assert lines[1] == (
        "it was paid to that owner then, and may have been paid on since: "
        "bwallet --check-owner a-5 tells"
    )
    assert lines[2] == f"network: test {TEST.id}"
    assert lines[3] in [f"billot: a-5 value 100, votes: {n} of 3, 2 needed" for n in (2, 3)]
    assert all(" signed it" in line for line in lines[4:])
    assert (err, status) == ("", 0)
    others = [FakeServer(port=7001 + number) for number in range(3)]
    out, err, status = terminal.run(*words, *pinned(*others))
    assert out.splitlines()[0] == "Not valid: 2 of 3 votes needed, none count for a-5 1"
    assert "is of none of the trusted servers" in out
    assert (err, status) == ("", 1)
    document, _, status = terminal.run(*words, *pinned(*servers), "--json")
    told = json.loads(document)
    assert (told["valid"], told["needed"], told["n"], status) == (True, 2, 3, 0)
    assert told["billots"][0]["id"] == "a-5"
    out, err, status = terminal.run(*words, "--trusted", "localhost:7333-7335")
    assert (out, status) == ("", 2)
    assert err.startswith("bwallet: error: no key of the trusted servers is known here\nhint: pin")


@pytest.mark.slow
def test_a_receipt_of_a_past_owner_is_given_with_a_warning(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            for server in (one, two):
                server.own("a-5", 1, MINT.owner, USER1.owner)
            words = ("--receipt", "a-5", *pinned(one, two), "--keyfile", MOCK / "user1")
            assert (await terminal.type(*words, "--output", "-"))[1:] == ("", 0)
            two.own("a-5", 2, USER1.owner, USER2.owner)
            out, err, status = await terminal.type(*words)
            assert "this is the receipt that was kept" in out
            assert err == (
                f"bwallet: warning: a-5 was paid on since, by what servers say: "
                f"{two.host} seq 2 settled, owner {USER2.owner}\n"
                "hint: bwallet --check-owner a-5\n"
            )
            assert status == 0
            words = (*words, "--output", "other", "--json")
            (later,) = json.loads((await terminal.type(*words))[0])["later"]
            assert (later["server"], later["seq"]) == (str(two.host), 2)

    scenario(play())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read receipt: No such file or directory"),
        (b"", "not a receipt"),
        (b"\x00" * 100, "not a receipt"),
        (b"[" * 100_000, "not a receipt"),
        (b'{"transfer": 5}', "not a receipt"),
    ],
)
def test_a_file_that_is_no_receipt(terminal, content, message):
    if content is not None:
        (terminal.directory / "receipt").write_bytes(content)
    words = ("--verify-receipt", "receipt", "--trusted", f"a.org:1#{'0' * 64}")
    out, err, status = terminal.run(*words)
    assert (out, err, status) == ("", error(message), 2)


def test_no_receipt_of_what_never_moved(terminal):
    async def play():
        async with FakeServer() as server:
            words = ("--receipt", "a-1", "--trusted", server.host)
            out, err, status = await terminal.type(*words)
            told = "a-1 never moved: the network's file says whose it is"
            assert (out, err, status) == ("", error(told), 1)
            document, _, status = await terminal.type(*words, "--json")
            assert (json.loads(document)["receipt"], status) == (None, 1)
            assert list(terminal.directory.glob("receipt*")) == []

    scenario(play())


@pytest.mark.slow
def test_what_is_final_is_kept_first_or_it_is_an_error(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            for server in (one, two):
                server.own("a-5", 1, MINT.owner, USER1.owner)
            trusted = ("--trusted", f"{one.host},", two.host)
            words = ("--check-owner", "a-5", "--keyfile", MOCK / "user1", *trusted)
            home = terminal.directory / "data" / "billots"
            out, err, status = await terminal.type(*words)
            assert (out.splitlines()[0], err, status) == (f"Owner: {USER1.owner}", "", 0)
            path = home / "receipts.sqlite"
            assert path.stat().st_mode & 0o777 == 0o600
            path.write_bytes(b"nonsense" * 1000)
            for action in (words, ("--list", *words[2:])):
                out, err, status = await terminal.type(*action)
                assert (out, status) == ("", 2)
                assert err.startswith("bwallet: error: ")
                assert "receipts.sqlite is damaged\nhint: put it right" in err
            path.unlink()
            one.proofs.clear()
            two.proofs.clear()
            out, err, status = await terminal.type(*words)
            assert (out.splitlines()[0], status) == (f"Owner: {USER1.owner}", 0)
            assert err == (
                "bwallet: warning: no receipt of a-5 is kept: no server gave the transfer that "
                "moved it\nhint: the same command tries again\n"
            )

    scenario(play())


@pytest.mark.slow
def test_a_new_key_is_accepted_by_hand(terminal):
    async def play():
        async with FakeServer(address="0.0.0.0") as first:
            words = ("--check-owner", "a-1", "--trusted", first.host)
            assert (await terminal.type(*words))[2] == 0
        async with FakeServer(address="0.0.0.0", port=first.port) as second:
            out, err, status = await terminal.type(*words)
            assert out.startswith("Undecided: 0 of 1")
            assert err == (
                f"bwallet: warning: {first.host} shows another key than the one remembered for "
                f"it\nhint: ask who runs it; if its key is new, bwallet --accept-key {first.host}\n"
            )
            assert status == 1
            bad = f"{second.host}#{first.key.public_hex}"
            _, err, status = await terminal.type("--accept-key", bad)
            assert err.startswith(f"bwallet: error: {second.host} shows another key")
            assert status == 1
            out, err, status = await terminal.type("--accept-key", second.host)
            assert out.splitlines() == [
                f"Accepted: {second.host} {second.key.public_hex}",
                f"in the place of: {first.key.public_hex}",
            ]
            assert (err, status) == ("", 0)
            assert (await terminal.type(*words))[0].startswith("Owner: ")
            out, _, _ = await terminal.type("--accept-key", second.host)
            assert out.splitlines()[1] == "it was remembered already"
        async with FakeServer() as local:
            out, err, status = await terminal.type("--accept-key", local.host)
            assert "nothing is remembered for servers on this machine" in out
            assert (err, status) == ("", 0)
            document, _, _ = await terminal.type("--accept-key", local.host, "--json")
            assert json.loads(document)["remembered"] is False
        out, err, status = await terminal.type("--accept-key", local.host)
        assert err.startswith(f"bwallet: error: can't reach {local.host}")
        assert (out, status) == ("", 3)

    scenario(play())


def test_ctrl_c_in_a_transfer_says_that_it_is_kept(terminal):
    async def play():
        async with FakeServer() as server:
            asked = asyncio.Event()
            server.behaviour["transfer"] = lambda *_: asked.set() or SILENT
            words = ("--transfer", "a-1", USER2.owner, "--keyfile", MOCK / "user1")
            words = (*words, "--server", server.host, "--timeout", "60")
            process = await terminal.start(*words)
            await asked.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            assert out == b""
            assert err.decode().strip() == (
                "bwallet: note: interrupted: the transfer is signed and kept, and may have been "
                "taken\nhint: the same command sends it again, and only once"
            )
            assert process.returncode == 130
            del server.behaviour["transfer"]
            out, _, status = await terminal.type(*words)
            assert "sent again, as it was signed before" in out
            assert status == 0
            assert len(set(server.transfers)) == 1

    scenario(play())


def test_ctrl_c_before_a_transfer_says_that_nothing_was_signed(terminal):
    async def play():
        async with FakeServer() as server:
            asked = asyncio.Event()
            server.behaviour["who_owns"] = lambda *_: asked.set() or SILENT
            words = ("--transfer", "a-1", USER2.owner, "--keyfile", MOCK / "user1", "--json")
            process = await terminal.start(*words, "--server", server.host, "--timeout", "60")
            await asked.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            assert err.decode().strip() == (
                "bwallet: note: interrupted: nothing was signed or sent now\n"
                "hint: the same command begins again"
            )
            fields = json.loads(out)
            assert (fields["error"], fields["transfer_id"]) == ("Interrupted", None)
            assert process.returncode == 130
            server.behaviour.clear()
            server.behaviour["transfer"] = lambda *_: asked.set() or SILENT
            asked.clear()
            process = await terminal.start(*words, "--server", server.host, "--timeout", "60")
            await asked.wait()
            process.send_signal(signal.SIGINT)
            out, _ = await process.communicate()
            (sent,) = server.asked("transfer")
            assert json.loads(out)["transfer_id"] == sent.transfer.id

    scenario(play())


# -- audits and lists --------------------------------------------------------------------------


@pytest.mark.slow
def test_an_audit_and_a_liar_caught_with_both_votes(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two, FakeServer() as three:
            servers = (one, two, three)
            for server in servers:
                server.own("a-5", 1, MINT.owner, USER2.owner)
            trusted = ("--trusted", ",".join(str(server.host) for server in servers))
            out, err, status = await terminal.type("--audit", "a-5,", "b-1", *trusted)
            lines = out.splitlines()
            assert lines[0] == "Audit: 2 billots, 3 of 3 servers answer, all agree"
            assert lines[1].split() == [
                *("server", "key", "agreeing", "behind", "disagreeing", "contradicting"),
            ]
            assert lines[2].split() == [
                *(str(one.host), f"{one.key.public_hex[:16]}…", "2", "0", "0", "0"),
            ]
            assert (len(lines), err, status) == (5, "", 0)
            out, err, status = await terminal.type("--audit", *trusted, "--count", "8")
            assert out.startswith("Audit: 8 billots, 3 of 3 servers answer, all agree\n")

            def lie(params, said):
                if len(two.asked("who_owns")) % 2:
                    two.own("a-5", 1, MINT.owner, USER3.owner)
                else:
                    two.own("a-5", 1, MINT.owner, USER2.owner)
                return two.on_who_owns(params)

            two.behaviour["who_owns"] = lie
            out, err, status = await terminal.type("--audit", "a-5", *trusted)
            head = "Audit: 1 billot, 3 of 3 servers answer"
            assert out.splitlines()[0] == f"{head}, {two.host} contradicted itself"
            assert f"{two.host} signed two owners of a-5 at seq 1" in out
            assert (err, status) == ("", 1)
            (path,) = terminal.directory.glob("contradiction-*.json")
            assert path.name == f"contradiction-{two.key.public_hex[:16]}-a-5-1.json"
            proof = json.loads(path.read_text())
            named = {vote["statement"]["billots"][0]["owner"] for vote in proof["votes"]}
            assert named == {USER2.owner, USER3.owner}
            document, err, status = await terminal.type("--audit", "a-5", *trusted, "--json")
            fields = json.loads(document)
            assert (fields["clean"], status) == (False, 1)
            (found,) = fields["servers"][1]["contradictions"]
            assert (found["server"], found["seq"]) == (two.key.public_hex, 1)
            _, err, status = await terminal.type("--audit", "a-5", *trusted)
            assert f"{path.name} is already there and is never overwritten" in err
        out, err, status = await terminal.type("--audit", "a-5", *trusted)
        assert (out, status) == ("", 3)

    scenario(play())


def test_an_audit_names_an_owner_who_signed_twice(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            split((one, two), USER2, USER3)
            pair = [Transfer.sign(TEST, USER1, to.owner, [("a-1", 1)]) for to in (USER2, USER3)]
            one.evidence["a-1"] = tuple(pair)
            words = ("--audit", "a-1", "--trusted", f"{one.host},{two.host}")
            out, err, status = await terminal.type(*words)
            assert out.splitlines()[0] == (
                "Audit: 1 billot, 2 of 2 servers answer, signed twice by the owner: a-1"
            )
            signed = f"a-1 was signed twice by {USER1.owner}: to {USER2.owner} and to {USER3.owner}"
            assert signed in out
            assert "disagrees" not in out
            assert (err, status) == ("", 1)
            fields = json.loads((await terminal.type(*words, "--json"))[0])
            assert (fields["clean"], fields["agreed"]) == (True, False)
            assert fields["signed_twice"] == [
                {"id": "a-1", "owner": USER1.owner, "to": [USER2.owner, USER3.owner]}
            ]

    scenario(play())


def test_an_audit_without_a_quorum_establishes_nothing(terminal):
    async def play():
        async with FakeServer() as one:
            words = ("--audit", "a-1,b-1", "--trusted", f"{one.host}, 127.0.0.1:1")
            out, _, status = await terminal.type(*words)
            assert out.splitlines()[0] == (
                "Audit: 2 billots, 1 of 2 servers answer, "
                "nothing established: no billot has a quorum of 2"
            )
            assert status == 1
            one.holdings["a-1"] = Holding(0, None, None, Status.UNKNOWN)
            out, _, status = await terminal.type("--audit", "a-1,b-1", "--trusted", one.host)
            assert out.splitlines()[0] == (
                "Audit: 2 billots, 1 of 1 server answers, "
                "not all established: some have no quorum of 1"
            )
            assert status == 1

    scenario(play())


def test_on_a_terminal_an_audit_is_a_table_and_shows_how_far_it_is(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            words = ("--audit", "--trusted", f"{one.host},{two.host}")
            shown, status = await on_a_terminal(terminal, *words)
            assert status == 0
            assert "asking the servers" in shown
            assert "Audit: 64 billots, 2 of 2 servers answer, all agree\r\n" in shown
            assert f"{one.host}" in shown

    scenario(play())


@pytest.mark.slow
def test_check_trust_says_what_a_list_is_good_for(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two, FakeServer() as three:
            servers = (one, two, three)
            hosts = [str(server.host) for server in servers]
            for server in servers:
                server.trusted = hosts
            trusted = ("--trusted", ",".join(hosts))
            out, err, status = await terminal.type("--check-trust", *trusted)
            assert out.splitlines() == [
                "Trust: 3 servers, quorum 2: survives 1 server down, but no liar",
                "liars that two payees survive (-: one billot can pay both, without any):",
                f"  0  yourself, {hosts[0]}, {hosts[1]}, {hosts[2]}: 2 of 3",
            ]
            assert (err, status) == ("", 0)
            other = ("--check-trust", f"{hosts[2]},", "x.example.org:1,", "y.example.org:2")
            out, err, status = await terminal.type(*other, *trusted, "--timeout", "2")
            assert "  -  yourself, " in out
            assert " + the other: 1 in common" in out
            assert "  x.example.org:1 " in out
            assert err == (
                f"bwallet: warning: the lists of yourself, {hosts[0]}, {hosts[1]}, {hosts[2]}, "
                "and of the other, share 1 server: one billot can pay two, without any liar\n"
                "hint: trust more of the servers that others trust\n"
            )
            assert status == 1
            document, _, status = await terminal.type("--check-trust", *trusted, "--json")
            fields = json.loads(document)
            assert (fields["n"], fields["needed"], fields["liars"], status) == (3, 2, 0, 0)
            assert fields["pairs"][0]["liars"] == 0
            words = ("--check-trust", *trusted, "--quorum", "1")
            _, err, status = await terminal.type(*words)
            assert "a quorum of 1 of 3 is too small for yourself" in err
            assert status == 1
            three.trusted = []
            _, err, status = await terminal.type(*trusted)
            assert "one billot can pay two, without any liar" in err
            assert status == 0
        out, err, status = await terminal.type("--check-trust", *trusted)
        assert out.startswith("Trust: 3 servers, quorum 2: survives 1 server down, but no liar\n")
        assert err.startswith("bwallet: error: no server could be reached\nhint: --trusted")
        assert status == 3

    scenario(play())


# -- what is wrong -----------------------------------------------------------------------------

UNREACHABLE = (
    "can't reach 127.0.0.1:1: connection refused",
    "bserver 7333 test starts a server here; --trusted names others",
)


@pytest.mark.parametrize(
    "words",
    [
        ("--check-owner", "a-1"),
        ("--who-owns", "a-1"),
        ("--list", "--keyfile", MOCK / "user1"),
        ("--transfer", "a-1", USER2.owner, "--keyfile", MOCK / "user1"),
    ],
    ids=lambda words: words[0],
)
def test_no_server_that_could_be_reached(terminal, words):
    out, err, status = terminal.run(*words, *NOBODY)
    assert (out, err, status) == ("", error(*UNREACHABLE), 3)
    out, err, status = terminal.run(*words, *NOBODY, "--json")
    fields = json.loads(out)
    assert (fields["error"], fields["message"], status) == ("Unreachable", UNREACHABLE[0], 3)


WRONG = {
    "two actions": (("--hash", "--list"), "one action at a time, not --hash and --list"),
    "no such option": (("--hsah",), "no such option '--hsah'"),
    "no id": (("--check-owner",), "option '--check-owner' requires an argument"),
    "no receiver": (("--transfer", "a-1"), "TO is missing after --transfer a-1"),
    "no receiver, and an option": (("--pay", "5", "--json"), "TO is missing after --pay 5"),
    "no amount": (("--pay",), "AMOUNT and TO are missing after --pay"),
    "no amount, and an option": (("--pay", "--json"), "AMOUNT and TO are missing after --pay"),
    "no owner": (("--contact", "bob"), "OWNER is missing after --contact bob"),
    "an escape and no owner": (
        ("--contact", "\x1b[2J"),
        r"OWNER is missing after --contact \x1b[2J",
    ),
    "passphrase of nothing": (("--hash", "--passphrase"), "--passphrase goes with --genkeys"),
    "a stray word": (("--hash", "me"), "got unexpected extra argument (me)"),
    "bad id": (("--check-owner", "a-01"), "not a billot id: a-01"),
    "bad id in other digits": (("--check-owner", "a-１"), r"not a billot id: a-\uff11"),
    "bad id with an escape": (("--who-owns", "\x1b[2Ja"), r"not a billot id: \x1b[2Ja"),
    "empty id": (("--check-owner", ""), "not a billot id: "),
    "bad owner": (
        ("--transfer", "a-1", "bob"),
        "not an owner id, nor one of your contacts: bob",
    ),
    "owner in capitals": (("--transfer", "a-1", "A" * 128), f"not an owner id: {'A' * 39}"),
    "twice the same": (("--transfer", "a-1,a-1", USER2.owner), "a billot is named twice"),
    "nothing to send": (("--transfer", ",", USER2.owner), "a transfer moves 1 to 256 billots"),
    "bad list": (("--check-owner", "a-1", "--trusted", "h:p"), "not a host: h:p"),
    "bad port": (("--check-owner", "a-1", "--trusted", "h:70000"), "not a port or range"),
    "empty list": (("--check-owner", "a-1", "--trusted", " "), "no server to ask"),
    "bad server": (("--who-owns", "a-1", "--server", "h:1-2"), "one host, not a range: h:1-2"),
    "bad quorum": (("--check-owner", "a-1", "--quorum", "most"), "not a quorum: most"),
    "large quorum": (
        ("--check-owner", "a-1", "--quorum", "2", *NOBODY),
        "a quorum of 2 can't be had from 1 server",
    ),
    "no network": (
        ("--check-owner", "a-1", "--network", "gold", *NOBODY),
        "can't read network file gold: No such file or directory",
    ),
    "bad timeout": (("--hash", "--timeout", "nan"), "invalid value for '--timeout': must be"),
    "no timeout": (("--hash", "--timeout", "0"), "invalid value for '--timeout': must be"),
    "no key": (("--list", *NOBODY), "no key file key"),
    "output of nothing": (("--hash", "--output", "x"), "--output goes with --receipt"),
    "bad id of a receipt": (("--receipt", "../a-1"), "not a billot id: ../a-1"),
    "bad ids of an audit": (("--audit", "a-1,b-0", *NOBODY), "not a billot id: b-0"),
    "no count": (("--audit", "--count", "0"), "invalid value for '--count': 0 is not in the range"),
    "bad other list": (("--check-trust", "h:p", *NOBODY), "not a host: h:p"),
    "bad host of a key": (("--accept-key", "h:p"), "not a host: h:p"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_usage_and_local_files(terminal, words, message):
    out, err, status = terminal.run(*words)
    assert (out, status) == ("", 2)
    assert err.startswith(f"bwallet: error: {message}")
    assert "\nhint: " in err or len(err.splitlines()) == 1
    assert not err.splitlines()[0].endswith(".")


def test_ids_and_networks_that_do_not_exist(terminal):
    async def play():
        async with FakeServer() as server, FakeServer(network=MAIN) as other:
            one = ("--check-owner", "a-10001", "--trusted", server.host)
            two = ("--check-owner", "a-1", "--trusted", f"{server.host},", other.host)
            three = ("--check-owner", "a-1", "--trusted", other.host, "--network", "test")
            bad_id, mixed, wrong = await asyncio.gather(
                *(terminal.type(*words) for words in (one, two, three))
            )
            told = error("no such billot in network test: a-10001")
            assert bad_id == ("", told + "hint: its a- billots are numbered 1 to 10000\n", 2)
            assert mixed[1].startswith("bwallet: error: servers of different networks")
            assert wrong[1].startswith(f"bwallet: error: {other.host} does not serve network test")
            assert (mixed[2], wrong[2]) == (2, 2)

    scenario(play())


def test_what_is_no_server_of_ours(terminal):
    async def play():
        async with FakeServer() as server:
            server.behaviour["info"] = lambda *_: b"{}"
            words = ("--who-owns", "a-1", "--server", server.host)
            out, err, status = await terminal.type(*words)
            assert (out, status) == ("", 3)
            assert err.startswith("bwallet: error: ")

    scenario(play())


# -- terminals ---------------------------------------------------------------------------------


def test_ctrl_c_is_quiet(terminal):
    async def play():
        async with FakeServer() as server:
            asked = asyncio.Event()
            server.behaviour["info"] = lambda *_: asked.set() or SILENT
            process = await terminal.start(
                "--check-owner", "a-1", "--trusted", server.host, "--timeout", "60"
            )
            await asked.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            assert (out, err.strip()) == (b"", b"")
            assert process.returncode == 130

    scenario(play())


def test_a_pipe_that_nobody_reads_and_a_disk_that_is_full(terminal):
    terminal.run("--genkeys")

    async def play():
        reading, writing = os.pipe()
        os.close(reading)
        _, err, status = await terminal.type("--hash", stdout=writing)
        os.close(writing)
        assert (err, status) == ("", 1)
        full = os.open("/dev/full", os.O_WRONLY)
        _, err, status = await terminal.type("--hash", stdout=full)
        os.close(full)
        assert err.startswith("bwallet: error: can't write output: No space left on device")
        assert status == 2

    scenario(play())


def test_an_output_that_is_closed(terminal):
    terminal.run("--genkeys")

    async def play():
        command = f"exec {sys.executable} -m billots.cli.bwallet --hash >&-"
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command),
            cwd=terminal.directory,
            env=terminal.env,
            stderr=asyncio.subprocess.PIPE,
        )
        assert await process.communicate() == (None, b"")
        assert process.returncode == 0

    scenario(play())


async def on_a_terminal(terminal, *words):
    """What a terminal shows of a command, and its exit status."""
    ours, theirs = pty.openpty()
    env = {"TERM": "xterm", "COLUMNS": "120"}
    process = await terminal.start(*words, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown, status = await asyncio.gather(asyncio.to_thread(read_all, ours), process.wait())
    os.close(ours)
    return shown, status


def test_on_a_terminal_the_servers_are_seen_answering(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            words = ("--check-owner", "a-1", "--trusted", f"{one.host},{two.host}")
            shown, status = await on_a_terminal(terminal, *words)
            assert status == 0
            assert f"{one.host}  seq 0 settled {USER1.owner[:16]}" in shown
            assert f"Owner: {USER1.owner}\r\n" in shown
            assert "\x1b[2K" in shown, "what moved is gone again"

    scenario(play())


def test_on_a_terminal_a_long_list_shows_how_far_it_is(terminal):
    async def play():
        async with FakeServer() as server:
            for number in range(2, 1202):
                server.own(f"k-{number}", 1, USER2.owner, USER1.owner)
            words = ("--list", "--server", server.host, "--keyfile", MOCK / "user1")
            shown, status = await on_a_terminal(terminal, *words)
            assert status == 0
            assert "counting votes" in shown
            assert "Total: 176\r\n" in shown

    scenario(play())


def read_all(descriptor):
    shown = b""
    while True:
        try:
            shown += os.read(descriptor, 4096)
        except OSError:  # the other end of a terminal is closed
            return shown.decode()


def test_help_and_version(terminal):
    out, err, status = terminal.run("--help")
    assert (err, status) == ("", 0)
    for words in (
        "--check-owner ID",
        "--transfer ID TO",
        "Examples:",
        "Exit status:",
        "130 Ctrl-C",
    ):
        assert words in out
    out, err, status = terminal.run("--version")
    assert (out, err, status) == (f"bwallet {billots.__version__}\n", "", 0)


def test_actions_are_never_taken_from_the_environment(terminal):
    terminal.run("--genkeys")
    env = {"BWALLET_HASH": "1", "BWALLET_GENKEYS": "x", "BWALLET_CHECK_OWNER": "a-1"}
    env |= {"BWALLET_OUTPUT": "x", "BWALLET_COUNT": "0", "BWALLET_AUDIT": ""}
    out, _, status = terminal.run("--hash", env=env)
    assert (out[:6], status) == ("Hash: ", 0)


def test_every_error_has_a_status():
    from billots.cli.bwallet import STATUSES

    assert set(STATUSES.values()) == {1, 2, 3}
    assert list(STATUSES)[-1] is BillotsError


def test_holdings_of_others_are_told_as_they_are(terminal):
    async def play():
        async with FakeServer() as server:
            server.holdings["a-1"] = Holding(0, None, None, Status.UNKNOWN)
            out, err, status = await terminal.type("--who-owns", "a-1", "--server", server.host)
            assert out.splitlines()[0] == "Undecided: 0 of 1 name an owner, 1 needed"
            assert out.splitlines()[-1] == f"  {server.host} unknown"
            assert err == (
                f"bwallet: note: unknown, say {server.host}: a server that is new and reads what "
                "the others have, or waits for enough of them to answer\n"
                "hint: the same command asks again\n"
            )
            assert status == 1

    scenario(play())


def test_a_list_that_is_not_all_counted_is_no_yes(terminal):
    async def play():
        async with FakeServer() as one, FakeServer() as two:
            one.own("a-1", 1, USER1.owner, USER2.owner)
            words = ("--list", "--keyfile", MOCK / "user1", "--trusted", f"{one.host},", two.host)
            out, _, status = await terminal.type(*words)
            assert "Not counted: a-1 Value: 100 (undecided" in out
            assert status == 1

    scenario(play())
