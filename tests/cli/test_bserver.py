"""The command `bserver`, as a person at a terminal meets it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import billots.mock
from billots.crypto import PrivateKey
from billots.network import Network
from billots.store import open_store
from billots.version import __version__

MOCK = Path(billots.mock.__file__).parent
TEST, MAIN = Network.shipped("test"), Network.shipped("main")
SETTINGS = ("LC_ALL", "PATH", "PYTHONPATH", "SYSTEMROOT", "HOME")
CLUB = """
name = "club"
issuer = "{owner}"
[[denominations]]
prefix = "x-"
value = "2.5"
circulation = 10
"""


def command(folder, *words, environment=None):
    """What starts the command in `folder`, as subprocess takes it."""
    settings = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    return {
        "args": [sys.executable, "-m", "billots.cli.bserver", *words],
        "cwd": folder,
        "env": settings | (environment or {}),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def bserver(folder, *words, environment=None):
    """Run it to its end: (exit status, stdout, stderr)."""
    start = command(folder, *words, environment=environment)
    done = subprocess.run(**start, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def serving(folder, *words, environment=None, ask=None, number=signal.SIGINT):
    """Run it until it listens, ask it, stop it: (exit status, lines of stdout, stderr)."""
    with tempfile.TemporaryFile("w+") as said:
        start = command(folder, *words, environment=environment) | {"stderr": said}
        with subprocess.Popen(**start) as process:
            try:
                first = process.stdout.readline()
                if ask is not None:
                    ask(first.split()[-1])
                process.send_signal(number)
                out = first + process.stdout.read()
                process.wait(30)
            finally:
                process.kill()
        said.seek(0)
        return process.returncode, out.splitlines(), said.read()


def ask(address, method):
    """The result of one call, without any code of ours."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as sock:
        sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"%s"}\n' % method.encode())
        with sock.makefile("rb") as lines:
            return json.loads(lines.readline())["result"]


def files(folder):
    """What is in a folder, less the files that LevelDB renames when it is but looked at."""
    stores = {path.parent for path in folder.rglob("CURRENT")}
    return sorted(path for path in folder.rglob("*") if path.parent not in stores)


def refused(folder, *words, environment=None):
    """What it says when it can't start: (the error, the hint). Nothing else, and status 2."""
    before = files(folder)
    status, out, err = bserver(folder, *words, environment=environment)
    assert (status, out) == (2, "")
    assert files(folder) == before
    error, *hints = err.splitlines()
    assert error.startswith("bserver: error: ")
    assert all(hint.startswith("hint: ") for hint in hints)
    assert len(hints) < 2
    return error.removeprefix("bserver: error: "), "".join(hints).removeprefix("hint: ")


def test_a_list_that_was_forgotten_is_told_once(tmp_path):
    """A store that trusted others, and is started without them."""
    words = ("0", "test", "--log-level", "error")
    assert serving(tmp_path, *words, "--trusted", "127.0.0.1:1, 127.0.0.1:2")[2] == ""
    err = serving(tmp_path, *words, "--trusted", "127.0.0.1:1")[2]
    assert err.startswith("bserver: warning: with this store 127.0.0.1:2 was trusted before, and ")
    _, out, err = serving(tmp_path, *words)
    assert "Trusted: nobody; this server's word is enough for itself" in out
    assert err.startswith("bserver: warning: with this store 127.0.0.1:1 was trusted before, and ")
    assert serving(tmp_path, *words)[2] == ""


# -- what it says --------------------------------------------------------------------------------


def test_version(tmp_path):
    assert bserver(tmp_path, "--version") == (0, f"bserver {__version__}\n", "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(tmp_path, option):
    status, out, err = bserver(tmp_path, option)
    assert (status, err) == (0, "")
    assert out.startswith("Usage: bserver [OPTIONS] PORT [test]\n")
    for word in ("--prefix", "--host", "--trusted", "--network", "--data-dir", "--log-level"):
        assert word in out
    assert "bserver 7333 test\n" in out


def test_a_server_of_the_test_network(tmp_path):
    def talk(address):
        assert ask(address, "info")["network"]["name"] == "test"

    status, lines, err = serving(tmp_path, "0", "test", ask=talk)
    assert (status, err) == (0, "")
    listening, network, key, store, trusted, stopped = lines
    assert listening.startswith("Listening on 127.0.0.1:")
    assert network == f"Network: test {TEST.id}"
    assert key.startswith("Server key: ")
    assert store == "Store: test.db"
    assert trusted == "Trusted: nobody; this server's word is enough for itself"
    assert stopped == "Stopped."


def test_the_same_folder_is_the_same_server(tmp_path):
    _, first, _ = serving(tmp_path, "0", "test")
    _, second, _ = serving(tmp_path, "0", "test", number=signal.SIGTERM)
    assert first[2] == second[2]
    _, other, _ = serving(tmp_path, "0", "test", "--prefix", "second")
    assert other[2] != first[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secondtest.db", "test.db"]


def test_the_live_network_says_that_it_is_unissued_and_what_to_try(tmp_path):
    status, lines, err = serving(tmp_path, "0", "--host", "127.0.0.1")
    assert (status, err) == (0, "")
    assert f"Network: main {MAIN.id}" in lines
    assert "Store: live.db" in lines
    assert lines[-4:-1] == [
        "Network main has no issuer: every billot is unissued until one is set.",
        "To play, try: bserver 7333 test",
        "For a currency of your own: bserver 7333 --network FILE",
    ]


def test_a_currency_of_ones_own_on_all_addresses(tmp_path):
    owner = PrivateKey.load(MOCK / "user1").owner
    (tmp_path / "club.toml").write_text(CLUB.format(owner=owner))

    def talk(addresses):
        assert addresses == "addresses"

    status, lines, _ = serving(tmp_path, "0", "--network", "club.toml", ask=talk)
    assert status == 0
    assert lines[0].startswith("Listening on port ")
    assert lines[0].endswith(" of all addresses")
    assert lines[1].startswith("Network: club ")
    status, again, _ = serving(tmp_path, "0", environment={"BSERVER_NETWORK": "club.toml"})
    assert again[1:] == lines[1:]


@pytest.mark.parametrize(
    "words",
    [
        ["--trusted", "localhost:1, localhost:2, localhost:3"],
        ["--trusted", "localhost:1,", "localhost:2,", "localhost:3"],
        ["--trusted", "localhost:1", ",", "localhost:2", ",localhost:3"],
        ["--trusted=localhost:1,", "localhost:2,", "localhost:3"],
        ["--trusted", "localhost:1-3"],
    ],
)
def test_trusted_servers_may_be_several_words(tmp_path, words):
    status, lines, _ = serving(tmp_path, "0", "test", *words, "--prefix", "x")
    assert status == 0
    assert "Trusted: 3 servers; 3 of 4 make a quorum" in lines
    assert "Store: xtest.db" in lines


def test_its_own_place_in_the_list_is_not_counted(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = (port, "test", "--trusted", f"localhost:{port}, localhost:1-2")
    status, lines, _ = serving(tmp_path, *words)
    assert status == 0
    assert "Trusted: 2 servers; 2 of 3 make a quorum" in lines


def test_settings_come_from_the_environment_and_options_before_them(tmp_path):
    (tmp_path / "data").mkdir()
    environment = {
        "BSERVER_TRUSTED": "localhost:1, localhost:2",
        "BSERVER_PREFIX": "env",
        "BSERVER_HOST": "127.0.0.2",
        "BSERVER_DATA_DIR": "data",
        "BSERVER_LOG_LEVEL": "error",
        "BSERVER_VERSION": "3",
    }
    words = ("0", "test", "--prefix", "option")
    status, lines, err = serving(tmp_path, *words, environment=environment)
    assert (status, err) == (0, "")
    assert lines[0].startswith("Listening on 127.0.0.2:")
    assert "Store: data/optiontest.db" in lines
    assert "Trusted: 2 servers; 2 of 3 make a quorum" in lines


def test_log_level(tmp_path):
    def until_itself(address):
        while ask(address, "info")["counts"]["n"] != 1:
            pass

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    words = (port, "test", "--trusted", f"localhost:{port}")  # itself, which it says
    loud, quiet = (
        serving(tmp_path, *words, "--log-level", level, ask=until_itself)[2]
        for level in ("info", "error")
    )
    assert f" INFO billots.links: localhost:{port} is this server itself\n" in loud
    assert quiet == ""


def test_a_folder_whose_name_is_no_text(tmp_path):
    folder = os.fsdecode(b"\xff\x1b[2J")
    (tmp_path / folder).mkdir()
    status, lines, err = serving(tmp_path, "0", "test", "--data-dir", folder)
    assert (status, err) == (0, "")
    assert "Store: \\udcff\\x1b[2J/test.db" in lines
    assert (tmp_path / folder / "test.db").is_dir()


# -- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "missing argument 'PORT'"),
        (["seven"], "invalid value for 'PORT': 'seven' is not a valid integer range"),
        (["65536"], "invalid value for 'PORT': 65536 is not in the range 0<=x<=65535"),
        (["-1"], "no such option '-1'"),
        (["0", "live"], "invalid value for '[test]': 'live' is not 'test'"),
        (["0", "test", "more"], "got unexpected extra argument (more)"),
        (["0", "test", "\x1b[2J"], "got unexpected extra argument (\\x1b[2J)"),
        (["0", "test", "--nonsense"], "no such option '--nonsense'"),
        (["0", "test", "--trusted"], "option '--trusted' requires an argument"),
        (
            ["0", "test", "--checkers", "-1"],
            "invalid value for '--checkers': -1 is not in the range 0<=x<=64",
        ),
    ],
)
def test_wrong_words(tmp_path, words, error):
    assert refused(tmp_path, *words) == (error, "bserver --help")


@pytest.mark.parametrize("prefix", ["a/b", "../a", "/a", ".", "..", "-a", "a b", "a\n", "x" * 33])
def test_attack_a_prefix_names_no_other_folder(tmp_path, prefix):
    error, hint = refused(tmp_path, "0", "test", f"--prefix={prefix}")
    assert error.startswith("not a prefix: ")
    assert hint.startswith("a prefix is up to 32 of ")


@pytest.mark.parametrize(
    "trusted", ["a:0", "a b c:99999", "http://a", "a:1-", "a#12", ",,", "\x1b"]
)
def test_wrong_trusted_servers(tmp_path, trusted):
    if trusted == ",,":  # an empty list: nobody
        assert serving(tmp_path, "0", "test", "--trusted", trusted)[0] == 0
        return
    error, _ = refused(tmp_path, "0", "test", "--trusted", trusted)
    assert error.startswith("not a ")
    assert "\x1b" not in error


def test_test_and_network_together(tmp_path):
    error, _ = refused(tmp_path, "0", "test", "--network", "club.toml")
    assert error == "either test or --network, not both"


@pytest.mark.parametrize(
    "content", [None, "", "name = ", 'name = "club"', b"\xff\xfe", "a = " * 99]
)
def test_a_network_file_that_cannot_be_used(tmp_path, content):
    if content is not None:
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "club.toml").write_bytes(raw)
    error, _ = refused(tmp_path, "0", "--network", "club.toml")
    assert "network file" in error


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.77", "a..b", "x" * 64, "\x1b[2J"])
def test_a_host_that_is_not_here(tmp_path, host):
    error, hint = refused(tmp_path, "0", "test", "--host", host)
    assert error.startswith("can't listen on ")
    assert "\x1b" not in error
    assert hint == "--host takes an address of this machine, such as 127.0.0.1"


def test_a_port_in_use(tmp_path):
    def second(address):
        port = address.rpartition(":")[2]
        assert refused(tmp_path, port, "test", "--prefix", "second") == (
            f"can't listen on 127.0.0.1:{port}: address already in use",
            f"try another port, such as {int(port) + 1}",
        )

    serving(tmp_path, "0", "test", ask=second)


def test_a_store_in_use(tmp_path):
    def second(_address):
        assert refused(tmp_path, "0", "test") == (
            "store test.db is open in another process",
            "stop the other server, or name another --prefix",
        )

    assert serving(tmp_path, "0", "test", ask=second)[0] == 0


def test_a_store_of_another_network(tmp_path):
    open_store(tmp_path / "test.db", MAIN).close()
    error, hint = refused(tmp_path, "0", "test")
    assert "network" in error
    assert hint
    open_store(tmp_path / "test.db", MAIN).close()  # as it was


def test_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "test.db").mkdir()
    (tmp_path / "test.db" / "thesis.txt").write_text("the only copy")
    error, hint = refused(tmp_path, "0", "test")
    assert error == "test.db is there already and is no billots store"
    assert hint == "name another --prefix"
    assert [path.name for path in (tmp_path / "test.db").iterdir()] == ["thesis.txt"]


def test_a_file_where_the_store_should_be(tmp_path):
    (tmp_path / "test.db").write_text("the only copy")
    error, _ = refused(tmp_path, "0", "test")
    assert error == "test.db is there already and is no billots store"
    assert (tmp_path / "test.db").read_text() == "the only copy"


def test_a_data_folder_that_is_not_there(tmp_path):
    assert refused(tmp_path, "0", "test", "--data-dir", "nowhere") == (
        "can't open store nowhere/test.db: no such file or directory",
        "make the folder nowhere first",
    )


def test_a_damaged_store(tmp_path):
    serving(tmp_path, "0", "test")
    for path in (tmp_path / "test.db").glob("MANIFEST-*"):
        path.write_bytes(b"\0" * 100)
    before = sorted(tmp_path.rglob("*"))
    status, out, err = bserver(tmp_path, "0", "test")
    assert (status, out) == (2, "")
    assert err.startswith("bserver: error: store test.db is damaged: ")
    assert set(before) <= set(tmp_path.rglob("*"))


def test_a_trusted_server_that_is_not_there_is_told_once(tmp_path):
    words = [sys.executable, "-m", "billots.cli.bserver", "0", "test", "--trusted", "localhost:1"]
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        told = [server.stderr.readline(), server.stderr.readline()]
        server.terminate()
        out, err = server.communicate(timeout=20)
    assert "INFO billots.memory: a new server: it reads the trusted servers' feeds" in told[0]
    assert "WARNING billots.links: can't reach localhost:1: connection refused" in told[1]
    assert "Trusted: 1 server; 2 of 2 make a quorum" in out
    assert err == ""


@pytest.mark.parametrize("command", ["bserver", "bwallet", "mock_bservers", "mock_disputed"])
def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_word(tmp_path, command):
    code = (
        "import signal, sys, billots.cli.start as start\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"start.{command}()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False, timeout=20
    )
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", -signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["bserver", "bwallet", "mock_bservers", "mock_disputed"])
def test_ctrl_c_at_any_moment_of_a_command_leaves_no_traceback(tmp_path, command):
    """At one call of a function or another, from the entry point to the interpreter's end."""
    code = (
        "import signal, sys, billots.cli.start as start\n"
        "at, count = sys.argv.pop(), 0\n"
        "def trace(frame, *_):\n"
        "    global count\n"
        "    count += 1\n"
        "    if at in (str(count), frame.f_code.co_name):\n"
        "        sys.settrace(None)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "def begin(name, run=start._run):\n"
        "    sys.settrace(trace)\n"
        "    run(name)\n"
        "start._run = begin\n"
        "try:\n"
        f"    start.{command}()\n"
        "finally:\n"
        "    sys.settrace(None)\n"
        "    print(count, file=sys.stderr)\n"
    )

    def interrupted(at):
        words = [sys.executable, "-c", code, "--help", str(at)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False, timeout=60)
        return done.returncode, done.stderr.decode()

    status, count = interrupted(0)
    assert status == 0
    last = int(count)
    seen = set()
    begun = ["main", "run_command"]  # it listens, and nothing catches it yet
    for at in [*begun, 12, *range(last // 7, last, last // 7), *range(last - 60, last, 9)]:
        status, err = interrupted(at)
        assert err == "" or err.strip().isdigit(), err
        seen.add(status)
    assert seen <= {0, 130, -signal.SIGINT}
    assert -signal.SIGINT in seen


@pytest.mark.slow
def test_stopped_just_when_a_link_comes_up(tmp_path):
    """Uvloop closes such a transport and doesn't tell the protocol: it must not be used."""
    for number in range(15):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        words = (
            port,
            "test",
            "--prefix",
            f"p{number}",
            "--trusted",
            f"localhost:{port}, localhost:1",
        )
        status, _, err = serving(tmp_path, *words)
        assert (status, "Traceback" in err) == (0, False)


def test_show_key_is_the_key_that_it_serves_with(tmp_path):
    status, out, err = bserver(tmp_path, "0", "test", "--show-key")
    assert (status, err) == (0, "")
    _, lines, _ = serving(tmp_path, "0", "test")
    assert out.strip() in lines
    assert bserver(tmp_path, "0", "test", "--show-key") == (0, out, "")


def test_show_key_of_a_server_that_runs(tmp_path):
    def ask(*_):
        status, out, err = bserver(tmp_path, "0", "test", "--show-key")
        assert (status, out) == (2, "")
        assert err.splitlines()[0] == "bserver: error: store test.db is open in another process"

    serving(tmp_path, "0", "test", ask=ask)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--accept-key", "localhost:1"), "--accept-key localhost:1 is not one of --trusted"),
        (("--accept-key", "nonsense:x"), "not a host"),
        (
            ("--trusted", f"a:1#{'0' * 64}", "--accept-key", f"a:1#{'1' * 64}"),
            "--trusted pins a:1 to another key",
        ),
    ],
)
def test_keys_that_cannot_be_accepted(tmp_path, words, error):
    status, out, err = bserver(tmp_path, "0", "test", *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"bserver: error: {error}")
    assert "hint: " in err
