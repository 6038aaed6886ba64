"""The whole story of a currency, as the README tells it: real commands, and a real browser.

A currency is made, three servers run it, 1,000 are issued in mixed notes, a faucet gives some to
who asks, 0.35 of it is paid to somebody who watches, the explorer shows it, and the supply is
counted to the last mil.
"""

import contextlib
import json
import os
import re
import subprocess
import sys

import pytest
from browser import MISSING, Browser
from servers import free_ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(MISSING, reason="no Chromium here: apt install chromium chromium-driver"),
]
COMMANDS = {"bserver", "bwallet", "bmint"}


class Desk:
    """A folder, a terminal in it, and what was left running."""

    def __init__(self, folder, running):
        self.folder = folder
        self._running = running
        self.env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
        self.env["PYTHONWARNINGS"] = "error"

    def type(self, line):
        """What a command prints on stdout; it has to succeed."""
        done = subprocess.run(
            self._words(line),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def leave(self, line, *, notes=False):
        """Start a command and leave it running; with `notes` stderr comes with stdout."""
        process = subprocess.Popen(
            self._words(line),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if notes else subprocess.DEVNULL,
            text=True,
        )
        self._running.enter_context(process)
        self._running.callback(process.terminate)
        return process

    @staticmethod
    def _words(line):
        command, *words = line.split()
        assert command in COMMANDS
        return [sys.executable, "-m", f"billots.cli.{command}", *words]


def said(process, pattern):
    """The match of the first line to come that has it."""
    for line in process.stdout:
        found = re.search(pattern, line)
        if found:
            return found
    raise AssertionError(f"it ended without {pattern}")


def mils(value):
    whole, _, rest = value.partition(".")
    return int(whole) * 1000 + int(rest.ljust(3, "0") or 0)


def owner_of(desk, name):
    desk.type(f"bwallet --genkeys {name}")
    return desk.type(f"bwallet --hash --keyfile {name}").split()[1]


def test_from_a_currency_of_ones_own_to_a_payment_and_a_count(tmp_path):
    with contextlib.ExitStack() as running, Browser(tmp_path / "browser") as browser:
        desk = Desk(tmp_path, running)
        made = desk.type("bmint init club --faucet")
        assert "135,380,000 billots, worth 10150000" in made

        ports = free_ports(3)
        trusted = ",".join(f"localhost:{port}" for port in ports)
        servers = [
            desk.leave(
                f"bserver {port} --network club.toml --prefix {port} --trusted {trusted} "
                "--host 127.0.0.1 --log-level error" + (" --web 0" if port == ports[0] else "")
            )
            for port in ports
        ]
        explorer = said(servers[0], r"Pages: (\S+)/")[1]
        for server in servers[1:]:
            said(server, "Trusted: 2 servers; 2 of 3 make a quorum")
        club = f"--network club.toml --trusted {trusted}"

        purse, bob, carol = (owner_of(desk, name) for name in ("purse", "bob", "carol"))
        issued = desk.type(f"bmint issue 1000 {purse} --mixed --keyfile club-issuer {club}")
        assert issued.startswith(f"Issued: 1000 to {purse}\n")
        faucet = said(
            desk.leave(f"bmint faucet 0 --keyfile purse --explorer {explorer} {club}"),
            r"Faucet: (\S+)",
        )[1]

        browser.open(faucet)
        browser.one("#owner").send_keys(bob)
        browser.one("form.claim button:not([type])").click()
        browser.until(lambda: browser.all("#state") and browser.one("#state").text == "final")
        browser.until(lambda: browser.one("#servers").text.count("settled") == 3)
        assert desk.type(f"bwallet --balance --keyfile bob {club}").endswith("Total: 1\n")
        browser.one("a.button").click()
        browser.until(lambda: browser.driver.current_url == f"{explorer}/owner/{bob}")
        assert "Worth\n1\n" in browser.text

        browser.open(f"{explorer}/owner/{carol}")
        browser.until(lambda: "Live" in browser.text)
        watch = desk.leave(f"bwallet --watch --json --keyfile carol {club}", notes=True)
        said(watch, "watching")
        said_by_bob = desk.type(f"bwallet --pay 0.35 {carol} --keyfile bob {club}")
        assert said_by_bob.startswith(f"Paid: 0.35 to {carol}\n")
        final = re.search(r"(\d) of 3, final in", said_by_bob)
        assert int(final[1]) >= 2
        received = json.loads(watch.stdout.readline())
        paid = re.search(r"transfer id: (\w+)", said_by_bob)[1]
        assert (received["amount"], received["transfer_id"]) == ("0.35", paid)
        browser.until(lambda: paid[:12] in browser.text)  # without a reload
        assert browser.complaints() == []
        browser.open(f"{explorer}/transfer/{paid}")
        assert "0.35" in browser.text

        report = json.loads(desk.type(f"bmint audit --json {club}"))
        assert report["verdict"] == "exact"
        totals = {kind: mils(told["value"]) for kind, told in report["totals"].items()}
        assert totals.pop("issued") == 1_000_000
        assert totals.pop("unmoved") == 10_149_000_000
        assert set(totals.values()) == {0}
        assert mils(report["value"]) == 10_150_000_000
