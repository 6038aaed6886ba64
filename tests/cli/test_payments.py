"""Amounts as they are typed: paying, planning, finishing and what there is; with a real server."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from servers import MOCK, TEST, USER1, USER2, Process, signed
from test_bwallet import NOBODY, Terminal, error

from billots.journal import Journal
from billots.owners import with_checksum


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with Process(folder) as running:
        yield running


@pytest.fixture
def terminal(tmp_path, server):
    """User1's: a-1, b-1 and c-1, which is 170."""
    shutil.copy(MOCK / "user1", tmp_path / "key")
    shutil.copy(MOCK / "user1.pub", tmp_path / "key.pub")
    made = Terminal(tmp_path)
    made.env["BWALLET_TRUSTED"] = server.address
    return made


def test_pay_says_when_it_is_final(terminal):
    out, err, status = terminal.run("--pay", "120", USER2.owner)
    assert (err, status) == ("", 0)
    first, second, third = out.splitlines()
    assert first == f"Paid: 120 to {USER2.owner}"
    assert re.fullmatch(r"1 of 1, final in \d\.\d\d s", second)
    assert re.fullmatch(r"transfer id: [0-9a-f]{64}, 2 billots", third)
    assert terminal.run("--balance")[0] == "           1 x 50       50\nTotal: 50\n"


def test_pay_as_one_document(terminal):
    out, err, status = terminal.run("--pay", "50", USER2.owner, "--json")
    assert (err, status) == ("", 0)
    (payment,) = json.loads(out)["payments"]
    assert (payment["amount"], payment["to"], payment["final"]) == ("50", USER2.owner, True)
    assert payment["billots"] == ["b-1"]


def test_a_dry_run_shows_the_plan_and_signs_nothing(terminal):
    out, err, status = terminal.run("--pay", "70", USER2.owner, "--dry-run")
    assert (err, status) == ("", 0)
    assert out == (
        f"Would pay: 70 to {USER2.owner} with 2 billots\n"
        "Billot: b-1 Value: 50\n"
        "Billot: c-1 Value: 20\n"
        "nothing was signed (--dry-run)\n"
    )
    assert terminal.run("--balance")[0].endswith("Total: 170\n")
    out, _, status = terminal.run("--pay", "70", USER2.owner, "--dry-run", "--json")
    assert status == 0
    assert [row["id"] for row in json.loads(out)["billots"]] == ["b-1", "c-1"]


def test_no_exact_set_says_what_is_near(terminal):
    out, err, status = terminal.run("--pay", "30", USER2.owner)
    assert (err, status) == ("", 1)
    assert out == (
        "No exact set: no billots of yours make 30\nnearest amounts: 20 and 50\nTotal: 170\n"
        "with change: the same command and --change-server HOST\n"
    )
    assert "--change-server" not in terminal.run("--pay", "171", USER2.owner)[0], "it can't help"
    out, _, status = terminal.run("--pay", "171", USER2.owner, "--json")
    assert status == 1
    document = json.loads(out)
    assert (document["error"], document["below"], document["above"]) == ("NotExact", "170", None)


def test_the_balance_by_denomination(terminal):
    out, err, status = terminal.run("--balance")
    assert (err, status) == ("", 0)
    assert out == (
        "           1 x 100      100\n"
        "           1 x 50       50\n"
        "           1 x 20       20\n"
        "Total: 170\n"
    )
    document = json.loads(terminal.run("--balance", "--json")[0])
    assert document["total"] == "170"
    assert document["denominations"][0] == {"value": "100", "count": 1, "total": "100"}


def test_pay_a_contact(terminal):
    checked = with_checksum(USER2.owner)
    assert terminal.run("--contact", "bob", checked) == (f"Contact: bob {checked}\n", "", 0)
    assert terminal.run("--contacts") == (f"Contact: bob {checked}\n", "", 0)
    out, err, status = terminal.run("--pay", "100", "bob")
    assert (err, status) == ("", 0)
    assert out.startswith(f"Paid: 100 to {USER2.owner}\n")
    assert terminal.run("--transfer", "b-1", "bob")[2] == 0
    out, err, status = terminal.run("--pay", "20", f"{USER2.owner}-aaaaaa")
    assert (out, status) == ("", 2)
    assert "wrong checksum" in err
    out, err, status = terminal.run("--contact", "bob", USER1.owner)
    assert (out, status) == ("", 2)
    assert f"bob is somebody else already: {checked}" in err
    changed = terminal.run("--contact", "bob", USER1.owner, "--yes")[0]
    assert changed.endswith(f"before: {USER2.owner}\n")
    document = json.loads(terminal.run("--contacts", "--json")[0])
    assert document == {"contacts": [{"name": "bob", "owner": USER1.owner}]}


def test_a_request_is_what_pay_takes(terminal):
    shutil.copy(MOCK / "user2.pub", terminal.directory / "bob.pub")
    shutil.copy(MOCK / "user2", terminal.directory / "bob")
    out, err, status = terminal.run("--request", "70", "--keyfile", "bob")
    assert (err, status) == ("", 0)
    uri = f"billots:{with_checksum(USER2.owner)}?amount=70&network={TEST.id}"
    assert out == f"{uri}\n"
    document = json.loads(terminal.run("--request", "--keyfile", "bob", "--json")[0])
    assert (document["amount"], document["network"]) == (None, TEST.id)
    out, err, status = terminal.run("--pay", uri)
    assert (err, status) == ("", 0)
    assert out.startswith(f"Paid: 70 to {USER2.owner}\n")
    out, err, status = terminal.run("--pay", "100", document["uri"])
    assert (err, status) == ("", 0)


def test_requests_that_cannot_be_paid(terminal):
    checked = with_checksum(USER2.owner)
    for words, message in (
        ((f"billots:{checked}",), "no amount is named"),
        (("50", f"billots:{checked}?amount=20"), "the request is for 20, not for 50"),
        ((f"billots:{USER2.owner}-aaaaaa?amount=20",), "wrong checksum"),
        ((f"billots:{checked}?amount=x",), "not an amount in a payment request: x"),
        ((f"billots:{checked}?amount=20&network={'0' * 32}",), "the request is for network 0000"),
    ):
        out, err, status = terminal.run("--pay", *words)
        assert (out, status) == ("", 2), words
        assert err.startswith(f"bwallet: error: {message}"), err
    assert terminal.run("--balance")[0].endswith("Total: 170\n")


def test_codes_to_be_scanned(terminal):
    plain = terminal.run("--hash")[0]
    out, err, status = terminal.run("--hash", "--qr", env={"PYTHONIOENCODING": "utf-8"})
    assert (err, status) == ("", 0)
    assert out.startswith(plain)
    code = out[len(plain) :].splitlines()
    assert len(code) > 20
    assert len({len(re.sub(r"\x1b\[[\d;]*m", "", row)) for row in code}) == 1, "it is a square"
    out, err, status = terminal.run("--qr")
    assert (out, status) == ("", 2)
    assert "--qr goes with --request or --hash" in err


def test_attack_who_was_not_told_pays_once_all_the_same(terminal):
    """The line that says so can't be written: it is not done with, and the next try is the same."""
    with Path("/dev/full").open("w") as full:
        for _ in range(3):
            _, err, status = terminal.run("--pay", "50", USER2.owner, stdout=full)
            assert status == 2
            assert "can't write output" in err
    out, err, status = terminal.run("--pay", "50", USER2.owner)
    assert (err, status) == ("", 0)
    assert "(signed before, sent again)" in out
    assert terminal.run("--balance")[0].endswith("Total: 120\n")
    assert terminal.run("--pay", "50", USER2.owner)[2] == 1, "told, and done with: another one"


def test_a_plan_of_what_is_pending(terminal):
    with Journal.open(USER1.owner, terminal.directory / "data" / "billots") as journal:
        journal.sign(signed(USER1, USER2, ("b-1", 1)), pays=50_000)
    out, err, status = terminal.run("--pay", "50", USER2.owner, "--dry-run")
    assert (err, status) == ("", 0)
    assert "Billot: b-1 Value: 50\nsigned before and not final" in out


def test_nobody_pays_himself(terminal):
    out, err, status = terminal.run("--pay", "50", USER1.owner)
    assert (out, status) == ("", 2)
    assert "that is your own owner id" in err


def test_contacts_that_cannot_be(tmp_path):
    terminal = Terminal(tmp_path)
    assert terminal.run("--contacts")[0].startswith("No contacts: ")
    for words in (("--contact", "1", USER2.owner), ("--contact", "bob", "me")):
        out, err, status = terminal.run(*words)
        assert (out, status) == ("", 2)
        assert err.startswith("bwallet: error: not a")


def test_resume_finishes_what_was_signed(terminal):
    assert terminal.run("--resume")[0] == "Nothing to resume: all that --pay signed is final.\n"
    with Journal.open(USER1.owner, terminal.directory / "data" / "billots") as journal:
        journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
    out, err, status = terminal.run("--resume")
    assert (err, status) == ("", 0)
    assert out.startswith(f"Paid: 100 to {USER2.owner}\n")
    assert out.endswith(", 1 billot (signed before, sent again)\n")


@pytest.mark.parametrize("amount", ["0", "1e3", "0.0001", "1,50", "", "x\x1b[2J"])
def test_wrong_amounts(tmp_path, amount):
    out, err, status = Terminal(tmp_path).run("--pay", amount, USER2.owner, *NOBODY)
    assert (out, status) == ("", 2)
    assert err.startswith("bwallet: error: ")
    assert "amount" in err
    assert "\x1b" not in err


def test_wrong_words(tmp_path):
    terminal = Terminal(tmp_path)
    out, err, status = terminal.run("--pay", "-1", USER2.owner, *NOBODY)
    assert (out, status) == ("", 2)
    assert "amount" in err or "option" in err
    assert terminal.run("--dry-run") == (
        "",
        error("--dry-run goes with --pay", "bwallet --help"),
        2,
    )
    _, err, status = terminal.run("--pay", "1", "nobody", *NOBODY)
    assert status == 2
    assert "not an owner id, nor one of your contacts: nobody" in err


def test_nobody_reached(tmp_path):
    shutil.copy(MOCK / "user1", tmp_path / "key")
    out, _, status = Terminal(tmp_path).run("--pay", "1", USER2.owner, *NOBODY)
    assert (out, status) == ("", 3)


def test_a_small_quorum_is_warned_about(terminal, server):
    trusted = ("--trusted", f"{server.address}, 127.0.0.1:1-2", "--quorum", "1")
    out, err, status = terminal.run("--pay", "50", USER2.owner, *trusted)
    assert (out.splitlines()[0], status) == (f"Paid: 50 to {USER2.owner}", 0)
    assert err == (
        "bwallet: warning: a quorum of 1 of 3 is less than a safe one of 2: "
        "one billot can pay two, without any liar\n"
        "hint: --quorum safe is never too small\n"
    )


def test_the_hint_to_start_a_server_names_the_network(terminal):
    """A server of another network would be of no use."""
    rows = '[[denominations]]\nprefix = "x-"\nvalue = "1"\ncirculation = 4\n'
    (terminal.directory / "tiny.toml").write_text(f'name = "tiny"\n{rows}')
    for network, command in (
        ((), "bserver 7333 test"),
        (("--network", "test"), "bserver 7333 test"),
        (("--network", "main"), "bserver 7333"),
        (("--network", "tiny.toml"), "bserver 7333 --network FILE"),
    ):
        _, err, status = terminal.run("--balance", *NOBODY, *network)
        assert status == 3
        assert err.endswith(f"hint: {command} starts a server here; --trusted names others\n")
