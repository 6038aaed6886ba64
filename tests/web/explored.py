"""Real servers with pages: `bserver … --web` processes, and an HTTP client of the library's."""

import contextlib
import http.client
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
from servers import Process, free_ports

DEADLINE_S = 30


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
