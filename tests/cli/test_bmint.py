"""``bmint`` as it is typed."""

from __future__ import annotations

import json
import stat

import pytest
from test_bwallet import Terminal

from billots.crypto import load_public_key, owner_id
from billots.network import Network

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
    ],
)
def test_init_says_what_is_wrong_and_makes_nothing(terminal, tmp_path, words, message):
    (tmp_path / "wrong.toml").write_text('name = "x"\n')
    out, err = said(terminal.run("init", *words), status=2)
    assert message in err
    assert out == ""
    assert not [*tmp_path.glob("club*")]
