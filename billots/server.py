"""A server: the node on real TCP, with a real store (DESIGN, sections 7 and 8)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from billots.errors import BillotsError
from billots.host import Host, parse_hosts
from billots.limits import Limits
from billots.listening import listen, serve
from billots.lives import Lives
from billots.network import Network
from billots.node import Node, Settings
from billots.store import Store
from billots.version import __version__
from billots.wire import IncomingWire


class Server:
    """One server. Use it as a context manager in a script, `async with` or `run` elsewhere.

    >>> with Server("test") as server:             # doctest: +SKIP
    ...     Wallet(trusted=[server.address]).check_owner("a-1")

    `network` is a Network or the name of a shipped one; `store` an open Store, a path, or
    None for one in memory that ends with the server. Port 0 takes a free one. The server's key
    lives in its store: who loses the store is a new server. A trusted server whose key changed
    counts for nothing until it is named in `accept_keys`. `on_new_key` hears of the key with
    which the server goes on when its store is lost, damaged or an old copy while it runs.
    """

    def __init__(
        self,
        network: Network | str = "test",
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        store: Store | str | Path | None = None,
        trusted: str | Iterable[str] | Iterable[Host] = (),
        accept_keys: str | Iterable[str] | Iterable[Host] = (),
        name: str = "billots",
        limits: Limits | None = None,
        on_new_key: Callable[[str], None] | None = None,
    ) -> None:
        self.network = Network.shipped(network) if isinstance(network, str) else network
        self.limits = limits or Limits()
        self.host = host
        self.port = port
        self.name = name
        self._store = store
        self._on_new_key = on_new_key
        self._trusted = _hosts(trusted)
        self._accept = _hosts(accept_keys)
        self._thread: threading.Thread | None = None
        self._thread_error: BillotsError | None = None
        self._thread_stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._lives: Lives
        self._living: asyncio.Task[None]
        self._listener: asyncio.Server

    # -- for everybody ------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """``address:port`` to reach it at on this machine."""
        anywhere = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared
        return Host(anywhere.get(self.host, self.host), self.port).place

    @property
    def key(self) -> str:
        """The server's public key, hex."""
        return self.node.key.public_hex

    @property
    def dropped(self) -> list[str]:
        """Servers that this store trusted when it was last open, and that aren't trusted now."""
        return self._lives.dropped

    @property
    def node(self) -> Node:
        """What judges at present: another one once the store had to be opened again."""
        return self._lives.life.node

    async def start(self) -> None:
        """Open the store, listen, dial; raises ServerError or StoreError.

        A damaged store is moved aside and kept, and a new one with a new key takes its place, if
        others are trusted who know what was in it.
        """
        self._listener = await listen(self._incoming, self.host, self.port)
        try:
            wanted, self.port = self.port, self._listener.sockets[0].getsockname()[1]
            self._lives = Lives(
                self.network, self._store, self._settings(), self.host, self._on_new_key
            )
            try:
                await serve(self._listener, self.host, wanted)
            except BaseException:
                self._lives.close()
                raise
        except BaseException:
            self._listener.close()
            raise
        self._lives.life.begin()
        self._living = asyncio.create_task(self._lives.run(), name="server")
        self._living.add_done_callback(self._over)

    def _incoming(self) -> IncomingWire:
        return IncomingWire(self._lives.life.board)

    def _settings(self) -> Settings:
        return Settings(
            name=self.name,
            version=__version__,
            port=self.port,
            trusted=self._trusted,
            accept=self._accept,
            started=int(time.time()),
            limits=self.limits,
        )

    def _over(self, living: asyncio.Task[None]) -> None:
        self._listener.close()
        if not living.cancelled():
            living.exception()  # `wait` is who hears of it, if anybody does

    async def wait(self) -> None:
        """Serve until `stop`.

        Raises StoreError when the store can't be gone on with, nor opened again, ServerError for
        whatever else the server can't go on after.
        """
        await asyncio.shield(self._living)

    async def stop(self) -> None:
        """Take nothing new, finish what was begun, flush, close."""
        self._listener.close()
        await self._lives.stop()
        await asyncio.gather(self._living, return_exceptions=True)
        self._lives.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        """Run in a thread of its own until the block ends."""
        started: Future[None] = Future()

        def target() -> None:
            try:
                asyncio.run(self._live(started))
            except BillotsError as error:
                self._thread_error = error

        self._thread = threading.Thread(target=target, name="billots-server", daemon=True)
        self._thread.start()
        started.result()
        return self

    async def _live(self, started: Future[None]) -> None:
        try:
            await self.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other thread hears it
            started.set_exception(error)
            return
        stopping = asyncio.Event()
        self._thread_stop = (asyncio.get_running_loop(), stopping)
        started.set_result(None)
        asked = asyncio.create_task(stopping.wait())
        serving = asyncio.create_task(self.wait())
        await asyncio.wait({asked, serving}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        await self.stop()
        await serving

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._thread is not None
        assert self._thread_stop is not None
        loop, stopping = self._thread_stop
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(stopping.set)
        self._thread.join()
        if self._thread_error is not None and kind is None:
            raise self._thread_error


def _hosts(trusted: str | Iterable[str] | Iterable[Host]) -> list[Host]:
    if isinstance(trusted, str):
        return parse_hosts(trusted)
    return parse_hosts([str(host) for host in trusted])
