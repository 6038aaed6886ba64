"""``bmint`` as it is typed."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from test_bwallet import Terminal

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from servers import until

from billots.crypto import load_public_key, owner_id
from billots.network import Network, parse_mils

NOBODY = "0" * 128


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path, "bmint")


# -- init --------------------------------------------------------------------------------------


def said(outcome, status=0):
    """What a command printed on stdout, and on stderr, if it ended with this status."""
    assert outcome[2] == status, outcome
    return outcome[:2]


def test_init_makes_a_currency_and_a_key_that_nobody_else_reads(terminal, tmp_path):
    out, _ = said(terminal.run("init", "club"))
    network = Network.load(tmp_path / "club.toml")
    assert out.splitlines()[0] == f"Network: club {network.id}"
    assert "135,380,000 billots, worth 10150000" in out
    assert stat.S_IMODE((tmp_path / "club-issuer").stat().st_mode) == 0o600
    assert network.issuer == owner_id(load_public_key(tmp_path / "club-issuer"))
    assert not network.faucet
    assert network.denominations == Network.shipped("main").denominations


def test_init_never_overwrites(terminal, tmp_path):
    said(terminal.run("init", "club"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    _, err = said(terminal.run("init", "club"), status=2)
    assert err == "bmint: error: club.toml is already there and is never overwritten\n"
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}


def test_init_takes_an_issuer_whose_key_is_elsewhere(terminal, tmp_path):
    out, _ = said(terminal.run("init", "club", "--issuer", NOBODY, "--json", "--faucet"))
    assert json.loads(out)["keyfile"] is None
    assert sorted(path.name for path in tmp_path.glob("club*")) == ["club.toml"]
    network = Network.load(tmp_path / "club.toml")
    assert (network.issuer, network.faucet) == (NOBODY, True)


def test_init_takes_denominations_from_a_file(terminal, tmp_path):
    rows = '[[denominations]]\nprefix = "x-"\nvalue = "2.5"\ncirculation = 4\n'
    (tmp_path / "notes.toml").write_text(rows)
    out, _ = said(terminal.run("init", "club", "--denominations", "notes.toml", "--json"))
    assert json.loads(out)["value"] == "10"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a/b"], "name must be 1 to 32"),
        (["club", "--denominations", "missing.toml"], "can't read missing.toml"),
        (["club", "--denominations", "wrong.toml"], "and nothing else"),
        (["club", "--issuer", "xyz"], "not an owner id"),
        (["club", "--issuer", NOBODY + "-aaaaaa"], "wrong checksum"),
        (["club", "--issuer", NOBODY, "--keyfile", "k"], "not both"),
        (["club", "--output", "nowhere/club.toml"], "can't write nowhere/club.toml"),
        (["main"], "main is a network that ships"),
        (["test"], "test is a network that ships"),
    ],
)
def test_init_says_what_is_wrong_and_makes_nothing(terminal, tmp_path, words, message):
    (tmp_path / "wrong.toml").write_text('name = "x"\n')
    out, err = said(terminal.run("init", *words), status=2)
    assert message in err
    assert out == ""
    assert not [*tmp_path.glob("club*")]


def test_a_command_alone_says_what_is_missing(terminal):
    out, err = said(terminal.run(), status=2)
    assert (out, err) == ("", "bmint: error: missing command\nhint: bmint --help\n")
    _, err = said(terminal.run("issue", "-1", NOBODY), status=2)
    assert err.endswith("hint: bmint issue --help\n")


# -- issue and audit ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def club(tmp_path_factory):
    """A currency on one real server; its folder, and the options that name it."""
    folder = tmp_path_factory.mktemp("club")
    said(Terminal(folder, "bmint").run("init", "club"))
    server = subprocess.Popen(
        [sys.executable, "-m", "billots.cli.bserver", "0", "--network", "club.toml",
         "--host", "127.0.0.1", "--log-level", "error"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    place = server.stdout.readline().split()[-1]
    options = ("--trusted", place, "--network", folder / "club.toml")
    yield folder, options
    server.terminate()
    server.communicate(timeout=20)


def at(club, tmp_path):
    """A terminal of one's own beside this server, and what is typed to issue there."""
    folder, options = club
    return Terminal(tmp_path, "bmint"), (*options, "--keyfile", folder / "club-issuer")


def test_issue_and_audit_agree_to_the_mil(club, tmp_path):
    terminal, options = at(club, tmp_path)
    before = json.loads(said(terminal.run("audit", *options, "--json"))[0])
    out, err = said(terminal.run("issue", "12.345", NOBODY, "--mixed", *options))
    assert out.splitlines()[0] == f"Issued: 12.345 to {NOBODY}"
    assert "with 1 signature" in out.splitlines()[1]
    assert err == ""
    out, _ = said(terminal.run("audit", *options))
    assert out.splitlines()[0] == "Supply: 10150000 in 135,380,000 billots, exact"
    after = json.loads(said(terminal.run("audit", *options, "--json"))[0])
    gone = [mils_of(report, "issued") for report in (before, after)]
    assert gone[1] - gone[0] == 12_345
    assert mils_of(before, "unmoved") - mils_of(after, "unmoved") == 12_345
    assert after["verdict"] == "exact"


def mils_of(report, kind):
    return parse_mils(report["totals"][kind]["value"])


def test_issue_shows_what_it_would_do(club, tmp_path):
    terminal, options = at(club, tmp_path)
    out, _ = said(terminal.run("issue", "k-900..k-1500", NOBODY, "--dry-run", *options))
    assert out.splitlines()[0] == f"Would issue: 3.005 to {NOBODY}"
    assert out.splitlines()[1] == "601 billots with 3 signatures"
    assert out.splitlines()[-1] == "nothing was signed (--dry-run)"


def test_issue_refuses_what_moved(club, tmp_path):
    terminal, options = at(club, tmp_path)
    said(terminal.run("issue", "b-100..b-102", NOBODY, *options))
    out, _ = said(terminal.run("issue", "b-102..b-104", "1" * 128, *options), status=1)
    assert out == "Not fresh: 1 of them moved or were issued before\nbillots: b-102\n"
    out, _ = said(terminal.run("issue", "b-102", "1" * 128, "--json", *options), status=1)
    assert json.loads(out) == {"verdict": "not fresh", "runs": [["b-", 102, 102]]}


def test_issue_holds_an_amount_against_the_request(club, tmp_path):
    terminal, options = at(club, tmp_path)
    asked = f"billots:{NOBODY}?amount=5"
    _, err = said(terminal.run("issue", "1", asked, *options, "--dry-run"), status=2)
    assert "the request is for 5, not for 1" in err
    out, _ = said(terminal.run("issue", "1", asked, "--times", 5, *options, "--dry-run"))
    assert out.startswith("Would issue: 5 to ")


@pytest.mark.slow
def test_ctrl_c_in_an_issue_says_how_to_go_on(club, tmp_path):
    terminal, options = at(club, tmp_path)

    async def play():
        process = await terminal.start("issue", "k-500000..k-560000", NOBODY, *options)
        journal = tmp_path / "data" / "billots"

        async def begun():
            return [p for p in journal.glob("journal-*") if b"ordered" in p.read_bytes()]

        await until(begun, bool)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        return err.decode(), process.returncode

    err, status = asyncio.run(asyncio.wait_for(play(), 60))
    assert status == 130
    assert err.startswith("bmint: note: interrupted: what is issued by now stays issued\nhint: ")
    out, _ = said(terminal.run("issue", "--resume", *options))
    assert out.startswith(f"Issued: 300.005 to {NOBODY}\n60,001 billots with 235 signatures")
    assert "(begun before)" in out


def test_issue_says_when_nothing_is_left_to_resume(club, tmp_path):
    terminal, options = at(club, tmp_path)
    out, _ = said(terminal.run("issue", "--resume", *options))
    assert out == "Nothing to resume: all that was begun is final.\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["0", NOBODY], 2, "an amount is more than nothing"),
        (["1e3", NOBODY], 2, "not an amount: 1e3"),
        (["0.0001", NOBODY], 2, "not an amount"),
        (["1,50", NOBODY], 2, "not an amount"),
        (["5"], 2, "name what to issue, and to whom: bmint issue 1000 OWNER"),
        (["5", "nobody"], 2, "nobody"),
        (["5", NOBODY + "-aaaaaa"], 2, "wrong checksum"),
        (["a-10001", NOBODY], 2, "no such billot"),
        (["a-1", NOBODY, "--mixed"], 2, "there is nothing to mix or repeat"),
        (["5", NOBODY, "--resume"], 2, "--resume goes on with all that was begun"),
        (["99999999", NOBODY], 1, None),
    ],
)
def test_issue_says_what_is_wrong(club, tmp_path, words, status, message):
    terminal, options = at(club, tmp_path)
    out, err = said(terminal.run("issue", *words, *options), status=status)
    if message is None:
        assert out.startswith("No exact set: 99999999 is more than what never moved\n")
    else:
        assert message in err
        assert out == ""


def test_audit_of_nobody_is_no_audit(terminal):
    out, err = said(terminal.run("audit", "--trusted", "127.0.0.1:1", "--json"), status=3)
    assert json.loads(out)["error"] == "Unreachable"
    assert err.startswith("bmint: error: ")
