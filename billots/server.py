"""A server: the node on real TCP, with a real store (DESIGN, sections 7 and 8)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from billots.connection import FrameProtocol
from billots.crypto import PrivateKey
from billots.dialing import Prober, keep_link
from billots.engine import Engine
from billots.errors import ServerError
from billots.host import Host, is_loopback, parse_hosts
from billots.limits import Limits
from billots.network import Network
from billots.node import Node, Settings
from billots.store import Batch, MemoryStore, Store, open_store
from billots.version import __version__

log = logging.getLogger("billots.server")

_SWEEP_S = 1.0


class ServerConnection(FrameProtocol):
    """A connection that came to us."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.limits.frame_bytes_max)
        self._server = server
        self.id = server.new_id()
        self.address = ""
        self.refused = False
        self.heard_at = 0.0
        self.begun_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the server know (asyncio calls this)."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self.heard_at = self._server.now
        self._server.welcome(self)

    def data_received(self, data: bytes) -> None:
        """Note when a frame was begun, for its deadline (asyncio calls this)."""
        super().data_received(data)
        self.heard_at = self._server.now
        if not self.frame_begun:
            self.begun_at = None
        elif self.begun_at is None:
            self.begun_at = self.heard_at

    def frames_received(self, frames: list[bytes]) -> None:
        """Hand frames to the node. A frame that ended sets the deadline of the next anew."""
        self.begun_at = None
        self._server.hand_in(self, frames)

    def frame_too_large(self) -> None:
        """Say so, then hang up: nothing after such a line can be read."""
        if self.transport is not None:
            self.transport.pause_reading()
        self._server.node.too_large(self.id)
        self._server.flush()

    def pause_writing(self) -> None:
        """The other side reads too slowly (asyncio calls this)."""
        self._server.node.blocked(self.id, blocked=True)

    def resume_writing(self) -> None:
        """The other side has caught up (asyncio calls this)."""
        self._server.node.blocked(self.id, blocked=False)
        self._server.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Let the server know (asyncio calls this)."""
        del error
        self._server.detach(self)


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
        self._ids = itertools.count(1)
        self._connections: dict[int, FrameProtocol] = {}
        self._per_address: dict[str, int] = {}
        self._redial: dict[int, asyncio.Event] = {}
        self._detached = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._engine_task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._thread_stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self.node: Node
        self._engine: Engine
        self._store: Store
        self._prober: Prober
        self._listener: asyncio.Server
        self._loop: asyncio.AbstractEventLoop

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
        self._loop = asyncio.get_running_loop()
        self._listener = await self._listen()
        try:
            self._store = self._open()
        except BaseException:
            self._listener.close()
            raise
        try:
            key = _server_key(self._store)
        except BaseException:
            self._listener.close()
            self._store.close()
            raise
        self.port = self._listener.sockets[0].getsockname()[1]
        settings = Settings(
            name=self.name,
            version=__version__,
            port=self.port,
            trusted=self._trusted,
            started=int(time.time()),
            limits=self.limits,
        )
        self.node = Node(self.network, self._store, key, settings)
        self._engine = Engine(self.node, self.flush)
        self._engine_task = asyncio.create_task(self._engine.run(), name="engine")
        self._prober = Prober(
            self.network.id, self.limits.announce_dials_per_s, self.node.hosts.add_host
        )
        jobs = [self._sweep(), self._prober.run()]
        jobs += [keep_link(self, index) for index in range(len(self._trusted))]
        self._tasks = [asyncio.create_task(job) for job in jobs]
        await self._listener.start_serving()

    async def wait(self) -> None:
        """Serve until `stop`; raises StoreFailed when the store can't be written any more."""
        assert self._engine_task is not None
        await asyncio.shield(self._engine_task)

    async def stop(self) -> None:
        """Take nothing new, finish what was begun, flush, close."""
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections.values()):
            if connection.transport is not None:
                connection.transport.pause_reading()
        self._engine.stop()
        assert self._engine_task is not None
        with contextlib.suppress(Exception):  # `wait` is who hears of a failed store
            async with asyncio.timeout(self.limits.stop_s):
                await self._engine_task
        for connection in list(self._connections.values()):
            connection.close()
        with contextlib.suppress(TimeoutError):  # what is queued goes out, if it is read
            async with asyncio.timeout(self.limits.stop_s):
                while self._connections:
                    self._detached.clear()
                    await self._detached.wait()
        for connection in list(self._connections.values()):
            connection.abort()
        await asyncio.sleep(0)
        self._store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        """Run in a thread of its own until the block ends."""
        started: list[BaseException | None] = []
        ready = threading.Event()

        async def main() -> None:
            try:
                await self.start()
            except BaseException as error:
                started.append(error)
                raise
            finally:
                ready.set()
            stop = asyncio.Event()
            self._thread_stop = (asyncio.get_running_loop(), stop)
            started.append(None)
            await stop.wait()
            await self.stop()

        def target() -> None:
            with contextlib.suppress(BaseException):
                asyncio.run(main())

        self._thread = threading.Thread(target=target, name="billots-server", daemon=True)
        self._thread.start()
        ready.wait()
        if started and started[0] is not None:
            raise started[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._thread is not None
        if self._thread_stop is not None:
            loop, stop = self._thread_stop
            loop.call_soon_threadsafe(stop.set)
        self._thread.join()

    # -- for its connections ------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The loop's clock, which never goes back."""
        return self._loop.time()

    def new_id(self) -> int:
        """A number that no other connection of this server has."""
        return next(self._ids)

    def welcome(self, connection: ServerConnection) -> None:
        """Take a new connection in, or turn it away at once if there are too many."""
        address = connection.address
        exempt = self._exempt(address)
        here = self._per_address.get(address, 0)
        crowded = len(self._connections) >= self.limits.connections_max
        if crowded or (not exempt and here >= self.limits.connections_per_address_max):
            connection.refused = True
            connection.abort()
            return
        self._per_address[address] = here + 1
        assert connection.transport is not None
        connection.transport.set_write_buffer_limits(self.limits.out_bytes_max // 4)
        self.attach(connection)
        self.node.opened(connection.id, address, exempt=exempt)

    def attach(self, connection: FrameProtocol) -> None:
        """From now on `flush` sends to it."""
        self._connections[_id(connection)] = connection

    def detach(self, connection: FrameProtocol) -> None:
        """It is gone."""
        conn = _id(connection)
        if self._connections.pop(conn, None) is None:
            return
        if isinstance(connection, ServerConnection):
            left = self._per_address[connection.address] - 1
            if left:
                self._per_address[connection.address] = left
            else:
                del self._per_address[connection.address]
        self.node.closed(conn)
        self._engine.wake()
        self._detached.set()

    def hand_in(self, connection: FrameProtocol, frames: list[bytes]) -> None:
        """Frames for the node; what it can answer at once goes out at once."""
        conn = _id(connection)
        self.node.received(conn, frames, self.now)
        if self.node.busy(conn) and connection.transport is not None:
            connection.transport.pause_reading()
        self.flush()
        if self.node.has_work or self.node.next_at is not None:
            self._engine.wake()

    def flush(self) -> None:
        """Carry out what the node wants done."""
        node = self.node
        if node.out:
            out, node.out = node.out, {}
            for conn, messages in out.items():
                self._send(conn, messages)
        if node.hangups:
            hangups, node.hangups = node.hangups, set()
            for conn in hangups:
                connection = self._connections.get(conn)
                if connection is not None:
                    connection.close()
        if node.redial:
            redial, node.redial = node.redial, set()
            for index in redial:
                self.redial_event(index).set()
        if node.probes:
            probes, node.probes = node.probes, []
            for address, announce in probes:
                self._prober.add(address, announce)

    def redial_event(self, index: int) -> asyncio.Event:
        """Set when a trusted server shows that it is up again."""
        return self._redial.setdefault(index, asyncio.Event())

    def _send(self, conn: int, messages: list[bytes]) -> None:
        connection = self._connections.get(conn)
        if connection is None:
            return
        connection.send(messages)
        if connection.queued_bytes > self.limits.out_bytes_max:
            log.info("connection %d doesn't read what it is sent; dropped", conn)
            connection.abort()
        elif (
            connection.transport is not None
            and not self.node.busy(conn)
            and not connection.transport.is_reading()
            and not connection.transport.is_closing()
        ):
            connection.transport.resume_reading()

    async def _sweep(self) -> None:
        """Once a second: frames that don't end, connections that sleep, readers to resume."""
        limits = self.limits
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self.now
            for conn, connection in list(self._connections.items()):
                if isinstance(connection, ServerConnection):
                    begun = connection.begun_at
                    slow = begun is not None and now - begun > limits.frame_s
                    node_side = self.node.connections.get(conn)
                    follows = node_side is not None and node_side.follows
                    if slow or (now - connection.heard_at > limits.idle_s and not follows):
                        connection.abort()
                        continue
                self._send(conn, [])

    # -- starting -----------------------------------------------------------------------------

    def _open(self) -> Store:
        if isinstance(self._given_store, Store):
            return self._given_store
        if self._given_store is None:
            return MemoryStore(self.network)
        return open_store(self._given_store, self.network)

    async def _listen(self) -> asyncio.Server:
        try:
            return await self._loop.create_server(
                lambda: ServerConnection(self),
                self.host,
                self.port,
                backlog=1024,
                start_serving=False,
            )
        except OSError as error:
            place = Host(self.host, self.port).place if self.host else f"port {self.port}"
            raise ServerError(
                f"can't listen on {place}: {_reason(error)}",
                f"try another port, such as {self.port + 1}" if self.port else None,
            ) from error

    def _exempt(self, address: str) -> bool:
        """Loopback and trusted addresses are exempt from the limits per address."""
        if is_loopback(address):
            return self.limits.exempt_loopback
        return any(host.address == address for host in self._trusted)


def _id(connection: FrameProtocol) -> int:
    conn = getattr(connection, "id", None)
    assert isinstance(conn, int)
    return conn


def _hosts(trusted: str | Iterable[str] | Iterable[Host]) -> list[Host]:
    if isinstance(trusted, str):
        return parse_hosts(trusted)
    return parse_hosts([str(host) for host in trusted])


def _reason(error: OSError) -> str:
    """Why, in words; asyncio's own text repeats the address."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


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
