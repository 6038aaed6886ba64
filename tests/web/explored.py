"""Real servers with pages: `bserver … --web` processes, and an HTTP client of the library's."""

import asyncio
import contextlib
import http.client
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from servers import (
    MINT,
    OTHERS,
    USER1,
    USER2,
    USER3,
    Process,
    free_ports,
    signed,
    submit,
    until_info,
    until_settled,
)

from billots.errors import Refused

DEADLINE_S = 30
EXTRA = OTHERS[7]
"""Has 120 small notes."""


class Explored:
    """Servers that trust each other, in processes of their own; the first has pages."""

    def __init__(self, folder, count=4, *arguments):
        self.folder = folder
        self.ports = free_ports(count)
        self.hosts = [f"127.0.0.1:{port}" for port in self.ports]
        self._arguments = arguments
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        trusted = ["--trusted", ", ".join(self.hosts)] if len(self.hosts) > 1 else []
        self.processes = []
        with contextlib.ExitStack() as stack:
            for index, port in enumerate(self.ports):
                folder = self.folder / str(index)
                folder.mkdir(exist_ok=True)
                more = ["--web", "0", *self._arguments] if index == 0 else []
                process = Process(folder, "--checkers", "0", *trusted, *more, port=port)
                self.processes.append(stack.enter_context(process))
            self.url = self._url()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _url(self):
        for line in self.processes[0].process.stdout:
            if line.startswith("Pages: "):
                return line.removeprefix("Pages: ").strip().rstrip("/")
        raise AssertionError(self.processes[0].end())

    @property
    def port(self):
        """Where the pages are."""
        return int(self.url.rpartition(":")[2])

    @property
    def pages_pid(self):
        """The process that serves them."""
        parent = self.processes[0].process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
        (found,) = (
            int(pid)
            for pid in children
            if b"billots.web" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        return found

    def get(self, path, method="GET", **headers):
        """(status, text) of a page; redirects are not followed."""
        status, text, _ = self.ask(path, method, **headers)
        return status, text

    def ask(self, path, method="GET", **headers):
        """(status, text, headers) of a page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

    def until(self, path, holds):
        """Ask for a page until its text is what is waited for."""
        return until(lambda: self.get(path), lambda found: found[0] == 200 and holds(found[1]))[1]

    @contextlib.contextmanager
    def stream(self, path):
        """A stream of events: a file of lines, from which `next_event` reads."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            with answer:
                yield answer


def next_event(stream, name):
    """The data of the next event of this name."""
    event = None
    for line in stream:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            event = text.removeprefix("event: ")
        if text.startswith("data: ") and event == name:
            return text.removeprefix("data: ")
    raise AssertionError("the stream ended")


def until(ask, holds):
    """Ask until the answer is what is waited for; what a refused connection says is None."""
    end = time.monotonic() + DEADLINE_S
    found = None
    while time.monotonic() < end:
        try:
            found = ask()
        except (ConnectionError, http.client.HTTPException):
            found = None
        if found is not None and holds(found):
            return found
    raise AssertionError(f"still {found}")


def words(html):
    """The text of a page, without its tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", html.replace("\u00a0", "")).split())


async def history(hosts):
    """Payments, a double spend that was settled before it, and one that nobody can settle."""
    for host in hosts:
        await until_info(host, lambda info: info.counts["links_up"] == len(hosts) - 1)
    paid = signed(USER1, USER2, ("a-1", 1))
    await submit(hosts[0], paid)
    await submit(hosts[1], signed(MINT, EXTRA, *[(f"h-{n}", 1) for n in range(1000, 1120)]))
    for host in hosts:
        await until_settled(host, "a-1", 1, USER2)
        await until_settled(host, "h-1000", 1, EXTRA)
    two = signed(USER1, USER2, ("b-1", 1)), signed(USER1, USER3, ("b-1", 1))
    half = len(hosts) // 2

    async def send(index):
        try:
            await submit(hosts[index], two[index >= half])
        except Refused:
            return

    await asyncio.gather(*(send(index) for index in range(len(hosts))))
    late = signed(USER1, USER3, ("a-1", 1))
    with contextlib.suppress(Refused):
        await submit(hosts[2], late)
    return SimpleNamespace(paid=paid, late=late, two=two)
