"""The demonstration behind ``scripts/demo``: real servers, the real commands, real crashes.

Every step's exit status is checked, so that what you see is also a test.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from billots.mock import mock_key
from billots.network import Network
from billots.transfer import Transfer

COUNT = 5
BIN = Path(sys.executable).parent


class Failed(Exception):
    """A step came out otherwise than it must."""


def title(text: str) -> None:
    """Begin a step."""
    click.secho(f"\n— {text}", bold=True)


def note(text: str) -> None:
    """Explain what is seen."""
    click.secho(f"  {text}", dim=True)


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on."""
    # Each process begins somewhere else, so that two don't find the same ones free.
    for base in range(20000 + os.getpid() * count % 10000, 32000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(base, base + count))
    raise Failed("no free ports")


class Demo:
    """Five servers in a temporary folder, and the commands that are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(COUNT)
        self.trusted = f"localhost:{self.ports[0]}-{self.ports[-1]}"
        self.servers: list[subprocess.Popen[str]] = []
        self.environment = {
            **os.environ,
            "XDG_DATA_HOME": str(folder / "data"),
            "BWALLET_TRUSTED": self.trusted,
            "BWALLET_SERVER": f"localhost:{self.ports[0]}",
        }
        shutil.copy(Path(__file__).parent.parent / "mock" / "user1", folder / "user1")
        shutil.copy(Path(__file__).parent.parent / "mock" / "user1.pub", folder / "user1.pub")
        (folder / "user1").chmod(0o600)

    def type(self, line: str, *, expect: tuple[int, ...] = (0,), quiet: bool = False) -> str:
        """Run a command as a user would type it; raises Failed for another exit status."""
        click.echo(click.style("  $ ", fg="green") + _short(line))
        words = shlex.split(line)
        live = sys.stdout.isatty() and not quiet
        done = subprocess.run(
            [BIN / words[0], *words[1:]],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=None if live else subprocess.PIPE,
            stderr=None if live else subprocess.STDOUT,
            check=False,
        )
        if not live and not quiet:
            for text in done.stdout.splitlines():
                click.echo("    " + _short(text))
        if done.returncode not in expect:
            due = " or ".join(map(str, expect))
            raise Failed(f"exit status {done.returncode} where {due} was due: {line}")
        return done.stdout or ""

    def owner(self, keyfile: str) -> str:
        """The owner id of a key."""
        done = subprocess.run(
            [BIN / "bwallet", "--hash", "--keyfile", keyfile],
            cwd=self.folder,
            env=self.environment,
            text=True,
            capture_output=True,
            check=True,
        )
        return done.stdout.split()[-1]

    def start(self) -> None:
        """Start the servers and wait until each says that it listens."""
        for port in self.ports:
            line = f"bserver {port} test --prefix {port} --trusted {self.trusted}"
            click.echo(click.style("  $ ", fg="green") + line + " &")
            words = line.split()
            self.servers.append(
                subprocess.Popen(
                    [BIN / words[0], *words[1:], "--log-level", "error"],
                    cwd=self.folder,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for server in self.servers:
            assert server.stdout is not None
            first = server.stdout.readline().strip()
            if not first.startswith("Listening"):
                raise Failed("a server did not start")
            click.echo(f"    {first}")

    def kill(self, index: int) -> None:
        """What a power cut does to a process."""
        self.servers[index].send_signal(signal.SIGKILL)
        self.servers[index].wait()

    def stop(self) -> None:
        """Ctrl-C for all; raises Failed if one doesn't stop cleanly."""
        for server in self.servers:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
        statuses = [server.wait(10) for server in self.servers]
        for server in self.servers:
            if server.stdout is not None:
                server.stdout.close()
        if any(status not in (0, -signal.SIGKILL) for status in statuses):
            raise Failed(f"exit statuses of the servers: {statuses}")

    def say(self, message: dict[str, object]) -> dict[str, object]:
        """One line of JSON to the first server, one back: all there is to the wire."""
        with socket.create_connection(("localhost", self.ports[0]), timeout=10) as connection:
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer: dict[str, object] = json.loads(connection.makefile("rb").readline())
        return answer


def play(demo: Demo) -> None:
    """The story."""
    title("Five servers that need not trust each other's operators")
    demo.start()

    title("Alice and Bob make their keys")
    demo.type("bwallet --genkeys alice")
    demo.type("bwallet --genkeys bob")
    alice, bob = demo.owner("alice"), demo.owner("bob")

    title("Somebody pays Alice with a billot of 100; she asks all five servers")
    demo.type(f"bwallet --transfer a-1 {alice} --keyfile user1")
    demo.type("bwallet --check-owner a-1")

    title("Two more billots, one signature")
    demo.type(f"bwallet --transfer b-1,c-1 {alice} --keyfile user1")
    demo.type("bwallet --list --keyfile alice")

    title("Alice pays Bob. Then the first payment to her is replayed, signature and all")
    network, user1 = Network.shipped("test"), mock_key("user1")
    replayed = Transfer.sign(network, user1, alice, [("a-1", 1)])
    demo.type(f"bwallet --transfer a-1 {bob} --keyfile alice")
    params = {name: getattr(replayed, name) for name in replayed.__struct_fields__}
    answer = demo.say({"jsonrpc": "2.0", "id": 1, "method": "transfer", "params": params})
    error = answer.get("error")
    if not isinstance(error, dict):
        raise Failed("the replay was taken")
    click.echo(f"    refused: {error['data']['error']} ({error['message']})")
    demo.type("bwallet --check-owner a-1")

    title("A double spend: d-1 signed over to five owners, one at each server, at once")
    demo.type(f"mock_disputed --billot d-1 --ports {demo.ports[0]}-{demo.ports[-1]}")
    # On a busy machine one of the five can be passed on to a quorum before the others are read.
    demo.type("bwallet --check-owner d-1", expect=(0, 1))
    note("Mostly nobody has it, so nobody delivers for it; both signatures prove who cheated.")
    note("Or one was quicker, and all servers name the same owner. Never two.")

    title("Bob pays Alice, and a server loses power in the middle of it")
    keyfile = demo.folder / "bob"
    paying = subprocess.Popen(
        [BIN / "bwallet", "--transfer", "a-1", alice, "--keyfile", keyfile],
        env=demo.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    click.echo(
        click.style("  $ ", fg="green") + _short(f"bwallet --transfer a-1 {alice} --keyfile bob &")
    )
    demo.kill(COUNT - 1)
    click.echo(click.style("  $ ", fg="red") + f"kill -9 the server on port {demo.ports[-1]}")
    out, _ = paying.communicate(timeout=10)
    if paying.returncode != 0:
        raise Failed("the payment did not go through")
    click.echo("    " + out.splitlines()[0])
    demo.type("bwallet --check-owner a-1")
    note("Four of five agree, and four are enough: the payment is final all the same.")

    title("Stop")
    demo.stop()
    click.echo("  All servers stopped cleanly.")


def _short(line: str) -> str:
    """Owner ids cut, so that a line fits a terminal."""
    words = line.split(" ")
    return " ".join(w[:12] + "…" if len(w) == 128 else w for w in words)


def main() -> int:
    """Play the story in a temporary folder; 0 if all went as it must."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="billots-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            play(demo)
        except Failed as failed:
            click.secho(f"demo: error: {failed}", fg="red", err=True)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            for server in demo.servers:
                if server.poll() is None:
                    server.kill()
                    server.wait()
    click.echo(f'\nDone in {time.monotonic() - begun:.1f} s. Next: the README\'s "Run a server".')
    return 0


if __name__ == "__main__":
    sys.exit(main())
