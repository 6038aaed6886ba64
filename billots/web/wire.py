"""A browser's connection: how long it may take, and how many there may be.

uvicorn waits for ever for a request that doesn't come, and for a browser that doesn't read;
here both end. What is answered without a page (no HTTP at all, no room) is marked as safely as
pages are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from billots.host import group_of, is_loopback
from billots.web.guard import SECURITY_HEADERS


@dataclass
class Patience:
    """Limits, and the connections that count against them; one for each listener."""

    connections_max: int = 400
    per_address_max: int = 32
    """Not for this machine's own: behind a proxy, everybody comes from here."""
    request_s: float = 10.0
    """From an open connection, or the answer before, to a whole head of a request."""
    read_s: float = 20.0
    """How long a browser may leave unread what we have sent."""
    open: Counter[str] = field(default_factory=Counter)


class BrowserProtocol(H11Protocol):
    """One connection. Subclasses have a `patience`, which uvicorn has no way to hand in."""

    patience: Patience

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._address = ""
        self._request_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it; one too many hears so, and goes (asyncio calls this)."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that whatever is left unread is noticed
        patience = self.patience
        self._address = group_of(self.client[0]) if self.client else ""
        patience.open[self._address] += 1
        strange = not is_loopback(self._address)
        if patience.open.total() > patience.connections_max or (
            strange and patience.open[self._address] > patience.per_address_max
        ):
            self._say(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over (asyncio calls this)."""
        self.patience.open[self._address] -= 1
        if not self.patience.open[self._address]:
            del self.patience.open[self._address]
        for timer in (self._request_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; the first whole head stops the clock (asyncio calls this)."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._request_timer is not None and self._answering:
            self._request_timer.cancel()
            self._request_timer = None

    def on_response_complete(self) -> None:
        """The next request is waited for (uvicorn calls this)."""
        self._await_request()
        super().on_response_complete()
        if self._answering and self._request_timer is not None:  # it was here already
            self._request_timer.cancel()
            self._request_timer = None

    def pause_writing(self) -> None:
        """What we sent waits to be read (asyncio calls this)."""
        super().pause_writing()
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(self.patience.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It was read (asyncio calls this)."""
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def send_400_response(self, msg: str) -> None:
        """What came is no request that can be read (uvicorn calls this)."""
        del msg
        self._say(HTTPStatus.BAD_REQUEST)

    @property
    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _await_request(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
        self._request_timer = self.loop.call_later(self.patience.request_s, self._too_late)

    def _too_late(self) -> None:
        self._request_timer = None
        if not self._answering:
            self.transport.abort()

    def _say(self, status: HTTPStatus) -> None:
        """A last word, without the application."""
        body = f"{status.phrase}\n".encode()
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Cache-Control": "no-store",
            **SECURITY_HEADERS,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n"
        if not self._answering:  # else it would end up in the middle of another answer
            self.transport.write(head.encode() + body)
        self.transport.close()
