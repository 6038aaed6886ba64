"""A server: the node on real TCP, with a real store (DESIGN, sections 7 and 8)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from billots.crypto import PrivateKey
from billots.dialing import Prober, keep_link
from billots.engine import Engine
from billots.errors import BillotsError, ServerError
from billots.host import Host, parse_hosts
from billots.limits import Limits
from billots.listening import listen, serve
from billots.network import Network, shown
from billots.node import Node, Settings
from billots.store import Batch, MemoryStore, Store, open_store
from billots.switchboard import Switchboard
from billots.version import __version__
from billots.wire import IncomingWire

log = logging.getLogger("billots.server")

_LINGER_S = 0.5
"""How long a stopping server waits for others to end connections on which all is said."""


class Server:
    """One server. Use it as a context manager in a script, `async with` or `run` elsewhere.

    >>> with Server("test") as server:             # doctest: +SKIP
    ...     Wallet(trusted=[server.address]).check_owner("a-1")

    `network` is a Network or the name of a shipped one; `store` an open Store, a path, or
    None for one in memory that ends with the server. Port 0 takes a free one. The server's key
    lives in its store: who loses the store is a new server.
    """

    def __init__(
        self,
        network: Network | str = "test",
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        store: Store | str | Path | None = None,
        trusted: str | Iterable[str] | Iterable[Host] = (),
        name: str = "billots",
        limits: Limits | None = None,
    ) -> None:
        self.network = Network.shipped(network) if isinstance(network, str) else network
        self.limits = limits or Limits()
        self.host = host
        self.port = port
        self.name = name
        self._given_store = store
        self._trusted = _hosts(trusted)
        self._tasks: list[asyncio.Task[None]] = []
        self._engine_task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._thread_error: BillotsError | None = None
        self._thread_stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self.node: Node
        self._engine: Engine
        self._store: Store
        self._board: Switchboard
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

    async def start(self) -> None:
        """Open the store, listen, dial; raises ServerError or StoreError."""
        self._listener = await listen(lambda: IncomingWire(self._board), self.host, self.port)
        try:
            self._store = self._open()
            try:
                await self._begin()
            except BaseException:
                self._store.close()
                raise
        except BaseException:
            self._listener.close()
            raise

    async def _begin(self) -> None:
        """Listening and store are there: put the rest together and let others in."""
        limits = self.limits
        key = _server_key(self._store)
        wanted, self.port = self.port, self._listener.sockets[0].getsockname()[1]
        settings = Settings(
            name=self.name,
            version=__version__,
            port=self.port,
            trusted=self._trusted,
            started=int(time.time()),
            limits=limits,
        )
        self.node = node = Node(self.network, self._store, key, settings)
        self._engine = Engine(node)
        prober = Prober(self.network.id, limits.announce_dials_per_s, node.hosts.add_host)
        self._board = board = Switchboard(
            node, limits, wake=self._engine.wake, announced=prober.add
        )
        await serve(self._listener, self.host, wanted)
        self._engine_task = asyncio.create_task(self._engine.run(board.round_over), name="engine")
        self._engine_task.add_done_callback(self._engine_over)
        jobs = [board.sweep(), prober.run()]
        jobs += [keep_link(board, index) for index in range(len(self._trusted))]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    def _engine_over(self, engine: asyncio.Task[None]) -> None:
        """A server that judges no more takes no more: whoever asks is to try another."""
        if engine.cancelled() or engine.exception() is not None:
            self._listener.close()
            self._board.deaf = True
            for wire in self._board.wires:
                wire.finish()

    async def wait(self) -> None:
        """Serve until `stop`.

        Raises StoreFailed when the store can't be written any more, ServerError for whatever
        else the server can't go on after.
        """
        assert self._engine_task is not None
        jobs = {self._engine_task, *self._tasks}
        try:
            while not self._engine_task.done():
                done, jobs = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                for job in done:
                    if not job.cancelled():
                        job.result()
            self._engine_task.result()
        except BillotsError:
            raise
        except Exception as error:
            log.debug("the server ended by", exc_info=error)
            reason = f"{type(error).__name__}: {shown(str(error), 100)}"
            raise ServerError(
                f"the server can't go on: {reason}",
                "start it again; with --log-level debug it says more",
            ) from error

    async def stop(self) -> None:
        """Take nothing new, finish what was begun, flush, close."""
        board = self._board
        self._listener.close()
        board.deaf = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._engine.stop()
        assert self._engine_task is not None
        with contextlib.suppress(Exception):  # `wait` is who hears of a failed store
            async with asyncio.timeout(self.limits.stop_s):
                await self._engine_task
        for wire in board.wires:
            wire.finish()
        await board.gone_within(min(_LINGER_S, self.limits.stop_s))
        for wire in board.wires:
            if not wire.queued_bytes:
                wire.abort()  # it has heard all and doesn't go by itself
        await board.gone_within(self.limits.stop_s)
        for wire in board.wires:
            wire.abort()
        await board.all_gone()
        self._store.close()

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

    # -- starting -----------------------------------------------------------------------------

    def _open(self) -> Store:
        if isinstance(self._given_store, Store):
            return self._given_store
        if self._given_store is None:
            return MemoryStore(self.network)
        return open_store(self._given_store, self.network)


def _hosts(trusted: str | Iterable[str] | Iterable[Host]) -> list[Host]:
    if isinstance(trusted, str):
        return parse_hosts(trusted)
    return parse_hosts([str(host) for host in trusted])


def _server_key(store: Store) -> PrivateKey:
    """The key in the store; a store without one gets it before anything is said."""
    seed = store.meta("key")
    if seed is None:
        key = PrivateKey.generate()
        batch = Batch.empty()
        batch.meta["key"] = key.seed
        store.commit(batch)
        return key
    return PrivateKey(seed)
