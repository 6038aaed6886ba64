"""Passphrases: typed on a terminal, twice for a new key and once to sign, or out of a file."""

import asyncio
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from fake_server import FakeServer
from servers import USER2, until_waiting
from test_bwallet import Terminal, scenario

from billots.crypto import PrivateKey
from billots.errors import KeyFileError

WORDS = "correct horse"
FILE_HINT = "BWALLET_PASSPHRASE_FILE=FILE names a file whose first line"


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path)


class Screen:
    """A command on a terminal of its own: what it shows, and a person who types."""

    def __init__(self, process, descriptor):
        self.process = process
        self.shown = ""
        self._descriptor = descriptor

    def _read(self):
        try:
            return os.read(self._descriptor, 4096)
        except OSError:  # the other end is closed
            return b""

    async def until(self, text):
        """Read on until a text is shown that was not before."""
        start = len(self.shown)
        while text not in self.shown[start:]:
            data = await asyncio.to_thread(self._read)
            assert data, f"it ended, and never showed {text}: {self.shown}"
            self.shown += data.decode()

    def type(self, text):
        os.write(self._descriptor, text.encode() + b"\n")

    async def end(self):
        while data := await asyncio.to_thread(self._read):
            self.shown += data.decode()
        status = await self.process.wait()
        os.close(self._descriptor)
        return status


async def on_screen(terminal, *words, env=None):
    """Run a command whose terminal, for input too, is a pty."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"billots.cli.{terminal.program}", *map(str, words)),
        cwd=terminal.directory,
        env={**terminal.env, "TERM": "xterm", **(env or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return Screen(process, ours)


def test_a_new_key_is_locked_by_what_is_typed_twice_and_shown_never(terminal):
    async def play():
        screen = await on_screen(terminal, "--genkeys", "--passphrase")
        await screen.until("New passphrase: ")
        screen.type(WORDS)
        await screen.until("The same once more: ")
        screen.type("wrong horse")
        await screen.until("New passphrase: ")  # the two differ: again
        screen.type(WORDS)
        await screen.until("The same once more: ")
        screen.type(WORDS)
        assert await screen.end() == 0
        assert "keys written to: key\r\n" in screen.shown
        assert "horse" not in screen.shown
        with pytest.raises(KeyFileError, match="needs a passphrase"):
            PrivateKey.load(terminal.directory / "key")
        PrivateKey.load(terminal.directory / "key", WORDS)

    scenario(play())


def test_ctrl_c_at_the_question_makes_no_key(terminal):
    async def play():
        screen = await on_screen(terminal, "--genkeys", "--passphrase")
        await screen.until("New passphrase: ")
        await until_waiting(screen.process)
        screen.process.send_signal(signal.SIGINT)
        assert await screen.end() == 130
        assert not (terminal.directory / "key").exists()

    scenario(play())


def test_ctrl_c_at_a_faucets_question_ends_it(tmp_path):
    pytest.importorskip("uvicorn")
    terminal = Terminal(tmp_path, "bmint")
    PrivateKey.generate().save(tmp_path / "purse", WORDS)
    words = ("faucet", "0", "--network", "test", "--trusted", "127.0.0.1:1", "--keyfile", "purse")

    async def play():
        screen = await on_screen(terminal, *words)
        await screen.until("Passphrase of purse")
        await until_waiting(screen.process)
        screen.process.send_signal(signal.SIGINT)
        assert await screen.end() == 130

    scenario(play())


def test_nobody_is_asked_for_a_key_that_is_there(terminal):
    terminal.run("--genkeys")

    async def play():
        screen = await on_screen(terminal, "--genkeys", "--passphrase")
        assert await screen.end() == 2
        assert "is already there and is never overwritten" in screen.shown
        assert "passphrase:" not in screen.shown

    scenario(play())


@pytest.mark.parametrize("action", ["--transfer", "--pay", "--resume"])
def test_every_action_that_signs_asks_once(terminal, action):
    key = PrivateKey.generate()
    key.save(terminal.directory / "key", WORDS)
    words = {"--transfer": ("g-7", USER2.owner), "--pay": ("0.25", USER2.owner), "--resume": ()}

    async def play():
        async with FakeServer() as server:
            server.own("g-7", 0, None, key.owner)
            named = (action, *words[action], "--trusted", server.host)
            screen = await on_screen(terminal, *named)
            await screen.until("Passphrase of key: ")
            screen.type(WORDS)
            assert await screen.end() == 0
            assert screen.shown.count("Passphrase") == 1
            assert WORDS not in screen.shown

    scenario(play())


def test_what_signs_nothing_asks_nothing(terminal):
    key = PrivateKey.generate()
    key.save(terminal.directory / "key", WORDS)

    async def play():
        async with FakeServer() as server:
            for words in (("--hash",), ("--history",), ("--list", "--trusted", server.host)):
                screen = await on_screen(terminal, *words)
                assert await screen.end() == 0
                assert "Passphrase" not in screen.shown

    scenario(play())


def test_a_wrong_passphrase_is_an_error_and_not_asked_for_again(terminal):
    PrivateKey.generate().save(terminal.directory / "key", WORDS)

    async def play():
        screen = await on_screen(terminal, "--resume", "--trusted", "127.0.0.1:1")
        await screen.until("Passphrase of key: ")
        screen.type("wrong horse")
        assert await screen.end() == 2
        assert "or the passphrase is wrong" in screen.shown

    scenario(play())


# -- without a terminal --------------------------------------------------------------------------


def test_a_file_holds_it(terminal):
    (terminal.directory / "words").write_text(f"{WORDS}\r\nnot this line\n")
    (terminal.directory / "words").chmod(0o600)
    env = {"BWALLET_PASSPHRASE_FILE": "words"}
    assert terminal.run("--genkeys", env=env)[1:] == ("", 0)
    key = PrivateKey.load(terminal.directory / "key", WORDS)

    async def play():
        async with FakeServer() as server:
            server.own("g-7", 0, None, key.owner)
            words = ("--pay", "0.25", USER2.owner, "--trusted", server.host)
            out, err, status = await terminal.type(*words, env=env)
            assert (err, status) == ("", 0)
            assert out.startswith("Paid: 0.25 ")
            more = {"BWALLET_PASSPHRASE": "wrong horse"}
            assert (await terminal.type("--resume", *words[3:], env=env | more))[2] == 2

    scenario(play())


def test_a_file_that_others_can_read_is_warned_about(terminal):
    (terminal.directory / "words").write_text(f"{WORDS}\n")
    (terminal.directory / "words").chmod(0o644)
    _, err, status = terminal.run("--genkeys", env={"BWALLET_PASSPHRASE_FILE": "words"})
    assert (err, status) == (
        "bwallet: warning: others can read words\nhint: chmod 600 words\n",
        0,
    )


def test_without_a_terminal_and_without_either_it_says_what_to_do(terminal):
    PrivateKey.generate().save(terminal.directory / "key", WORDS)
    out, err, status = terminal.run("--resume", "--trusted", "127.0.0.1:1")
    assert (out, status) == ("", 2)
    assert err.startswith(f"bwallet: error: key file key needs a passphrase\nhint: {FILE_HINT}")
    out, err, status = terminal.run("--genkeys", "new", "--passphrase")
    assert (out, status) == ("", 2)
    assert err.startswith("bwallet: error: --passphrase asks on a terminal, and there is none\n")
    assert f"hint: {FILE_HINT}" in err
    assert not (terminal.directory / "new").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read passphrase file words: No such file or directory"),
        (b"", "no passphrase in the first line of words"),
        (b"\nsecond\n", "no passphrase in the first line of words"),
        (b"x" * 5000, "a passphrase has 1 to 1023 bytes"),
    ],
)
def test_files_that_hold_none(terminal, content, message):
    if content is not None:
        (terminal.directory / "words").write_bytes(content)
        (terminal.directory / "words").chmod(0o600)
    out, err, status = terminal.run("--genkeys", env={"BWALLET_PASSPHRASE_FILE": "words"})
    assert (out, status) == ("", 2)
    assert err.startswith(f"bwallet: error: {message}\n")
    assert not (terminal.directory / "key").exists(), "never one that is not locked"


# -- the issuer's key ----------------------------------------------------------------------------


def test_the_issuers_key_the_same(tmp_path):
    terminal = Terminal(tmp_path, "bmint")

    async def play():
        screen = await on_screen(terminal, "init", "club", "--passphrase")
        for asked in ("New passphrase: ", "The same once more: "):
            await screen.until(asked)
            screen.type(WORDS)
        assert await screen.end() == 0
        PrivateKey.load(tmp_path / "club-issuer", WORDS)

    scenario(play())
    (tmp_path / "words").write_text(WORDS)
    (tmp_path / "words").chmod(0o640)
    _, err, status = terminal.run("init", "two", env={"BWALLET_PASSPHRASE_FILE": "words"})
    assert (err, status) == ("bmint: warning: others can read words\nhint: chmod 600 words\n", 0)
    PrivateKey.load(tmp_path / "two-issuer", WORDS)
    _, err, status = terminal.run("init", "three", "--passphrase")
    assert status == 2
    assert err.startswith("bmint: error: --passphrase asks on a terminal, and there is none\n")
    assert not list(tmp_path.glob("three*"))
    for words in (("--issuer", "0" * 128), ("--keyfile", "two-issuer")):
        _, err, status = terminal.run("init", "four", *words, "--passphrase")
        assert status == 2
        assert err.startswith("bmint: error: --passphrase is for a key that is made")
        assert not list(tmp_path.glob("four*"))
