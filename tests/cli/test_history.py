"""``--history`` as it is typed, and references: what was signed and received, read offline."""

import asyncio
import json
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from fake_server import SILENT, FakeServer
from servers import MOCK, TEST, USER1, USER2, Process, signed, submit
from test_bwallet import Terminal, scenario

from billots.journal import Journal

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def terminal(tmp_path):
    """User1's, with user2's key beside it as bob."""
    for name, file in (("user1", "key"), ("user2", "bob")):
        shutil.copy(MOCK / name, tmp_path / file)
        shutil.copy(MOCK / f"{name}.pub", tmp_path / f"{file}.pub")
    return Terminal(tmp_path)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with Process(folder) as running:
        yield running


def journal_of(terminal):
    return Journal.open(USER1.owner, terminal.directory / "data" / "billots")


def test_nothing_yet_and_to_look_writes_no_journal(terminal):
    told = "Nothing was signed or received with this key here.\n"
    assert terminal.run("--history") == (told, "", 0)
    assert json.loads(terminal.run("--history", "--json")[0])["payments"] == []
    assert not list(terminal.directory.glob("data/billots/journal*"))


def test_what_was_signed_and_received_is_told_offline(terminal, server):
    terminal.env["BWALLET_TRUSTED"] = server.address
    assert terminal.run("--contact", "bob", USER2.owner)[2] == 0
    uri = terminal.run("--request", "50", "--ref", "invoice 17", "--keyfile", "bob")[0].strip()
    assert uri.endswith("&ref=invoice%2017")
    out, err, status = terminal.run("--pay", uri)
    assert (err, status) == ("", 0)
    assert out.endswith("\nreference: invoice 17\n")
    assert terminal.run("--transfer", "c-1", "bob")[2] == 0
    asyncio.run(submit(server.address, signed(USER2, USER1, ("d-1", 1), ("e-1", 1))))
    assert terminal.run("--list")[0].endswith("Total: 115\n")
    server.end(signal.SIGKILL)
    out, err, status = terminal.run("--history")
    assert (err, status) == ("", 0)
    paid, sent, received = out.splitlines()
    bob = rf"bob \({USER2.owner[:16]}…\)"
    tail = "transfer id: [0-9a-f]{64}"
    assert re.fullmatch(
        rf'Paid: 50 to {bob}, {TIME}, final, reference "invoice 17", b-1, {tail}', paid
    )
    assert re.fullmatch(rf"Sent: 20 to {bob}, {TIME}, c-1, {tail}", sent)
    assert re.fullmatch(rf"Received: 15 from {bob}, {TIME}, final, d-1, e-1, {tail}", received)
    out, _, status = terminal.run("--history", "--json")
    assert status == 0
    document = json.loads(out)
    assert document["owner"] == USER1.owner
    first, second, third = document["payments"]
    assert first["at"] <= second["at"] <= third["at"]
    fields = ("kind", "amount", "contact", "final", "ref")
    assert [first[name] for name in fields] == ["paid", "50", "bob", True, "invoice 17"]
    assert [second[name] for name in fields] == ["sent", "20", "bob", None, None]
    assert [third[name] for name in fields] == ["received", "15", "bob", True, None]
    assert (third["from"], third["to"]) == (USER2.owner, USER1.owner)
    assert third["billots"] == [{"id": "d-1", "seq": 1}, {"id": "e-1", "seq": 1}]
    assert terminal.run("--history", "--network", "main")[0].startswith("Nothing was signed")
    out = terminal.run("--history", "--keyfile", "bob")[0]
    assert out == "Nothing was signed or received with this key here.\n", "nothing of others"


def test_a_payment_that_was_killed_is_there_and_not_final(terminal):
    async def play():
        async with FakeServer() as server:
            asked = asyncio.Event()
            server.behaviour["transfer"] = lambda *_: asked.set() or SILENT
            words = ("--trusted", server.host, "--timeout", "60", "--ref", "rent")
            process = await terminal.start("--pay", "100", USER2.owner, *words)
            await asked.wait()
            process.send_signal(signal.SIGKILL)
            await process.communicate()
        out, err, status = await terminal.type("--history")
        assert (err, status) == ("", 0)
        assert re.fullmatch(
            rf"Sent: 100 to {USER2.owner[:16]}…, {TIME}, not final yet: bwallet --resume, "
            r'reference "rent", a-1, transfer id: [0-9a-f]{64}\n',
            out,
        )

    scenario(play())


def test_a_crash_in_the_middle_of_a_line_costs_that_line_only(terminal):
    with journal_of(terminal) as journal:
        journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
        journal.sign(signed(USER1, USER2, ("b-1", 1)), pays=50_000)
        path = journal.path
    path.write_bytes(path.read_bytes()[:-20])
    out, err, status = terminal.run("--history")
    assert (err, status) == ("", 0)
    assert [line[:9] for line in out.splitlines()] == ["Sent: 100"]


def test_a_damaged_journal_is_an_error(terminal):
    with journal_of(terminal) as journal:
        journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
        path = journal.path
    path.write_bytes(path.read_bytes() + b"what is this\n")
    for words in ((), ("--json",)):
        _, err, status = terminal.run("--history", *words)
        assert status == 2
        assert "is damaged in line 3\nhint: " in err


def test_of_a_network_that_is_not_known_only_the_worth_is_missing(terminal):
    text = '[[denominations]]\nprefix = "zz-"\nvalue = "7"\ncirculation = 9\n'
    (terminal.directory / "odd.toml").write_text(f'name = "odd"\nissuer = "{USER1.owner}"\n{text}')
    from billots.network import Network

    odd = Network.load(terminal.directory / "odd.toml")
    with journal_of(terminal) as journal:
        journal.sign(signed(USER1, USER2, ("zz-1", 1), network=odd), at=1)
        journal.sign(signed(USER1, USER2, ("a-1", 1)), at=2)
    first, second = terminal.run("--history")[0].splitlines()
    assert first.startswith("Sent: ? to ")
    assert f"network {odd.id} (--network FILE tells" in first
    assert second.startswith("Sent: 100 to ")
    out = terminal.run("--history", "--network", "odd.toml")[0]
    assert out.startswith("Sent: 7 to ")
    assert len(out.splitlines()) == 1
    assert TEST.id not in out


def test_attack_references_and_names_that_would_draw_on_a_terminal(terminal):
    for words in (
        ("--request", "1", "--ref", "\x1b[2J", "--network", "test"),
        ("--request", "1", "--ref", "x" * 65, "--network", "test"),
        ("--pay", "1", USER2.owner, "--ref", "a\nb", "--trusted", "127.0.0.1:1"),
        ("--contact", "<b>bob</b>", USER2.owner),
        ("--contact", "\x1b[31mbob", USER2.owner),
    ):
        out, err, status = terminal.run(*words)
        assert (out, status) == ("", 2), words
        assert err.startswith("bwallet: error: not a ")
        assert "\x1b" not in err
    out, err, status = terminal.run("--hash", "--ref", "x")
    assert (out, status) == ("", 2)
    assert "--ref goes with --request or --pay" in err
    # What somebody wrote into the journal by hand is shown, and draws nothing.
    with journal_of(terminal) as journal:
        journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000, ref="<i>\x1b[2J\u202e")
    out, _, status = terminal.run("--history")
    assert status == 0
    assert r'reference "<i>\x1b[2J\u202e"' in out
