"""Server-sent events: what is new, to pages that are open (HTML standard, section 9.2).

A stream costs a connection and a task as long as its page is open, so there are only so many,
in all and for each address. It ends when the browser goes, when these pages stop, and after
an hour; a browser comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from billots.host import group_of, is_loopback
from billots.web.kit import refuse

STREAM_S_MAX = 3600.0


@dataclass(frozen=True)
class Event:
    """`fields` go as one JSON object; `id` comes back in Last-Event-ID when a browser does."""

    name: str
    fields: dict[str, object]
    id: str | None = None

    def encode(self) -> bytes:
        """The event's lines. JSON has no line ends in it, so nothing in it can end one."""
        head = f"id: {self.id}\n" if self.id is not None else ""
        data = msgspec.json.encode(self.fields).decode()
        return f"{head}event: {self.name}\ndata: {data}\n\n".encode()


class Streams:
    """The streams that are open.

    This machine's own are counted in all only: behind a proxy, everybody comes from here.
    """

    def __init__(
        self, streams_max: int = 200, per_address_max: int = 8, heartbeat_s: float = 15.0
    ) -> None:
        self._streams_max = streams_max
        self._per_address_max = per_address_max
        self._heartbeat_s = heartbeat_s
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def __len__(self) -> int:
        return self._open.total()

    def close(self) -> None:
        """End all of them; no other is begun."""
        self._closing.set()

    def respond(self, request: Request, events: AsyncGenerator[Event]) -> Response:
        """A stream of these events. `events` is closed when it ends, however it ends.

        Raises 503 when there are too many, and 429 for too many from one address; check before
        `events` is made with `check`, or it is never begun and never closed.
        """
        self.check(request)
        return _EventResponse(self, _address(request), events)

    def check(self, request: Request) -> None:
        """Raise what `respond` raises."""
        if self._closing.is_set() or len(self) >= self._streams_max:
            raise refuse(503, "Too many pages are open here just now.")
        address = _address(request)
        if not is_loopback(address) and self._open[address] >= self._per_address_max:
            raise refuse(429, "Too many pages are open at your address.")

    @contextlib.contextmanager
    def place(self, address: str) -> Iterator[None]:
        """One of the places, for as long as the block lasts."""
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            self._open += Counter()  # drops those at zero

    async def run(self, events: AsyncGenerator[Event], send: Send) -> None:
        """Send events, and something now and then so that a dead connection is noticed."""
        waiting: asyncio.Task[Event] | None = None
        closing = asyncio.create_task(self._closing.wait())
        try:
            async with asyncio.timeout(STREAM_S_MAX):
                await _send(send, b"retry: 2000\n\n")
                while not self._closing.is_set():
                    waiting = waiting or asyncio.create_task(_next(events))
                    await asyncio.wait(
                        {waiting, closing},
                        timeout=self._heartbeat_s,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if waiting.done():
                        event, waiting = waiting.result(), None
                        await _send(send, event.encode())
                    elif not closing.done():
                        await _send(send, b":\n\n")
        except (TimeoutError, StopAsyncIteration):
            pass  # the browser comes back if it still wants to know
        finally:
            for task in (closing, *([waiting] if waiting else [])):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            await events.aclose()


class _EventResponse(Response):
    media_type = "text/event-stream"

    def __init__(self, streams: Streams, address: str, events: AsyncGenerator[Event]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        self._streams = streams
        self._address = address
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.place(self._address):  # nothing was awaited since `check`
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        stream = asyncio.create_task(self._streams.run(self._events, send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({stream, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stream, gone):
                task.cancel()
            await asyncio.gather(stream, gone, return_exceptions=True)
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Return when the browser has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next(events: AsyncGenerator[Event]) -> Event:
    return await anext(events)


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _address(request: Request) -> str:
    return group_of(request.client.host) if request.client is not None else ""
