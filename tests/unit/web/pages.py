"""Pages served on a real port of this machine, and a client that says what it likes."""

import asyncio
import contextlib

from billots.host import Host
from billots.web.kit import Site, application
from billots.web.serving import serving

SITE = Site("Pages", "test", links=(("/", "First"),))


class Answer:
    def __init__(self, head, body):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in self.headers, f"{name} is there twice"
            self.headers[name.lower()] = value
        self.body = body

    @property
    def text(self):
        return self.body.decode()


@contextlib.asynccontextmanager
async def served(*routes, rules=None, site=SITE, patience=None, before_stop=lambda: None):
    app = application(site, routes, rules=rules)
    async with serving(
        app, Host("127.0.0.1", 0), patience=patience, before_stop=before_stop
    ) as host:
        yield host


async def exchange(host, data):
    """Send bytes, and read until the other side closes or a whole answer is here."""
    reader, writer = await asyncio.open_connection(host.address, host.port)
    try:
        writer.write(data)
        return await answer(reader, head_only=data.startswith(b"HEAD"))
    finally:
        writer.transport.abort()


async def answer(reader, *, head_only=False):
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    found = Answer(head, b"")
    if not head_only and found.status != 304:
        found.body = await reader.readexactly(int(found.headers.get("content-length", "0")))
    return found


async def get(host, path="/", method="GET", body=b"", **headers):
    headers = {"Host": host.place} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    if body:
        headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return await exchange(host, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)


async def until(holds):
    """Wait until something is so; whoever waits in vain has a deadline around all of it."""
    while True:
        if holds():
            return
        await asyncio.sleep(0)
