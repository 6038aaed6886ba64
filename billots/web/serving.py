"""Serving pages: uvicorn on a host and a port, inside of an asyncio program."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from billots.host import Host
from billots.listening import cannot_listen
from billots.web.wire import BrowserProtocol, Patience

STOP_S = 2
"""How long a stop waits for answers that were begun."""
_HEAD_BYTES_MAX = 16 * 1024
_BACKLOG = 256


class _Quiet(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it is done (uvicorn calls this)."""
        await super().startup(sockets)
        self.begun.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the program that we are a part of."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    place: Host,
    *,
    before_stop: Callable[[], None] = lambda: None,
    patience: Patience | None = None,
    option: str = "--web",
) -> AsyncIterator[Host]:
    """Serve `app` at `place` for as long as the block lasts; gives the host, its port known.

    Then `before_stop` is called, which ends what would go on for ever, such as streams; other
    answers have two seconds. Raises ServerError, which names `option`, if the port can't be had.
    """
    sock = _bind(place, option)
    limits = patience or Patience()

    class Protocol(BrowserProtocol):
        patience = limits

    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="error",  # what strangers send isn't worth a line each
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=2 * limits.connections_max,  # never met: `limits` comes first
        backlog=_BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=_HEAD_BYTES_MAX,
    )
    server = _Quiet(config)
    running = asyncio.create_task(server.serve([sock]))
    try:
        begun = asyncio.create_task(server.begun.wait())
        await asyncio.wait({begun, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            begun.cancel()
            await running
        yield Host(place.address, sock.getsockname()[1])
    finally:
        before_stop()
        server.should_exit = True
        await running


def _bind(place: Host, option: str) -> socket.socket:
    try:
        found = socket.getaddrinfo(place.address, place.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(place.address, place.port, error, option) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise cannot_listen(place.address, place.port, error, option) from error
    sock.setblocking(False)
    return sock
