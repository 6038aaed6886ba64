"""Real faucets for tests: servers, a purse, a `bmint faucet` process, and a browser."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "web"))
from browser import MISSING, Browser
from servers import MOCK, Process, free_ports, run, until_info

from billots.crypto import PrivateKey


@contextlib.contextmanager
def four_servers(folder, count=4):
    """Processes of the test network that trust each other, all links up."""
    ports = free_ports(count)
    hosts = [f"127.0.0.1:{port}" for port in ports]
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                Process(folder / str(port), "--trusted", ", ".join(hosts), port=port)
            )
            for port in ports
            if not (folder / str(port)).mkdir()
        ]

        async def linked():
            for host in hosts:
                await until_info(host, lambda info: info.counts["links_up"] >= count - 1)

        run(linked())
        yield hosts, processes


@dataclass
class Reply:
    status: int
    headers: dict
    text: str

    @property
    def place(self):
        return self.headers.get("location")


class Faucet:
    """`bmint faucet` in a process of its own. Entered, it has said where it is."""

    def __init__(self, folder, hosts, *words, keyfile=MOCK / "mint", place="127.0.0.1:0"):
        self.folder = folder
        self.words = ["faucet", place, "--keyfile", str(keyfile), "--network", "test"]
        self.words += ["--trusted", ", ".join(hosts), "--data-dir", str(folder / "faucet")]
        self.words += map(str, words)
        self.url = None

    def __enter__(self):
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "billots.cli.bmint", *self.words],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        self.first = self.process.stdout.readline()
        if self.first.startswith("Faucet: "):
            self.url = self.first.removeprefix("Faucet: ").strip()
        return self

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read().decode())
        finally:
            connection.close()

    def get(self, path="/"):
        return self.ask("GET", path)

    def claim(self, owner, **headers):
        owner = owner.owner if isinstance(owner, PrivateKey) else owner
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", "/claims", urlencode({"owner": owner}), **(kind | headers))

    def end(self, number=signal.SIGTERM):
        """(exit status, stdout, stderr) once it has ended."""
        self.process.send_signal(number)
        out = self.first + self.process.stdout.read()
        status = self.process.wait(30)
        self._errors.seek(0)
        return status, out, self._errors.read()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._errors.close()


# -- a browser -----------------------------------------------------------------------------------


@contextlib.contextmanager
def chromium(*, javascript=True):
    """A browser's driver; skips where there is no browser."""
    if MISSING:
        pytest.skip("chromium and chromedriver are not installed: pages were NOT seen in a browser")
    with tempfile.TemporaryDirectory() as folder, Browser(folder, script=javascript) as browser:
        yield browser.driver


def resize(window, width, height=900, *, dark=False):
    """Show pages as a window of this width does, or a phone's."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def is_clean(window, *, statuses=(), but="(?!)"):
    """No overflow to the side, and nothing on the console but answers with these statuses.

    `but` is a pattern of what else may be there.
    """
    wide = window.execute_script("return document.documentElement.scrollWidth")
    assert wide <= window.execute_script("return window.innerWidth")
    said = [entry["message"] for entry in window.get_log("browser")]
    expected = re.compile("|".join([but, *(f"status of {status} " for status in statuses)]))
    unexpected = [message for message in said if not expected.search(message)]
    assert not unexpected, unexpected


def photograph(window, name):
    """A picture of the whole page, where BILLOTS_TEST_PICTURES names a folder for them."""
    folder = os.environ.get("BILLOTS_TEST_PICTURES")
    if folder:
        window.save_screenshot(str(Path(folder) / f"{name}.png"))
