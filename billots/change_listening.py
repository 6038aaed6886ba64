"""A change server's connections: one request at a time from each, and limits on everything."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any

from msgspec import Struct

from billots.change_limits import ChangeLimits
from billots.change_wire import CODES, Drop, NoParams, Redeem, Refusal, decode_params
from billots.change_work import log
from billots.changing import ChangeServer
from billots.connection import FrameProtocol
from billots.host import group_of
from billots.jsonrpc import (
    INVALID_REQUEST,
    Malformed,
    answer,
    check_text,
    decode_request,
    error_answer,
    is_batch,
)
from billots.listening import listen, serve
from billots.quote import Asking
from billots.wire import keep_alive

_SWEEP_S = 1.0


class ChangeListener:
    """A change server on TCP. An async context manager; `address` is where it listens."""

    def __init__(self, server: ChangeServer, host: str, port: int) -> None:
        self.server = server
        self.host = host
        self.port = port
        self.wires: set[ChangeWire] = set()
        self.addresses: Counter[str] = Counter()
        self._listener: asyncio.Server
        self._sweeping: asyncio.Task[None]

    @property
    def limits(self) -> ChangeLimits:
        """The change server's."""
        return self.server.limits

    async def start(self) -> None:
        """Listen, once the change server has started; raises ServerError and what that raises."""
        self._listener = await listen(lambda: ChangeWire(self), self.host, self.port)
        try:
            wanted, self.port = self.port, self._listener.sockets[0].getsockname()[1]
            await self.server.start()
            try:
                await serve(self._listener, self.host, wanted)
            except BaseException:
                await self.server.stop()
                raise
        except BaseException:
            self._listener.close()
            raise
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """End all connections, and the change server."""
        self._listener.close()
        self._sweeping.cancel()
        for wire in list(self.wires):
            wire.abort()
        await asyncio.gather(self._sweeping, return_exceptions=True)
        await self.server.stop()

    async def answer(self, frame: bytes, address: str) -> bytes | None:
        """The answer to one frame; None to a notification, which is not carried out."""
        if is_batch(frame):
            return error_answer(b"null", INVALID_REQUEST, "no batches here")
        try:
            check_text(frame, self.limits.depth_max + 1)
            request = decode_request(frame)
            if not bytes(request.id):
                return None
            params = decode_params(request)
        except Malformed as error:
            return error_answer(error.request_id, error.code, str(error))
        try:
            return answer(request.id, await self._result(request.method, params, address))
        except Refusal as refusal:
            return refusal.answer(request.id)

    async def _result(self, method: str, params: Struct, address: str) -> Any:
        match params:
            case Asking():
                return await self.server.quote(params, address)
            case Redeem():
                return await self.server.redeem(params)
            case Drop():
                return self.server.drop(params)
            case NoParams() if method == "info":
                return self.server.info
            case NoParams() if method == "offer":
                return self.server.offer(address)
            case _:
                return "pong"

    async def _sweep(self) -> None:
        """Hang up on who began a frame and does not end it, or says nothing."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = loop.time()
            for wire in list(self.wires):
                late = wire.begun_at is not None and now - wire.begun_at > self.limits.frame_s
                if late or (wire.is_idle and now - wire.heard_at > self.limits.idle_s):
                    wire.abort()


class ChangeWire(FrameProtocol):
    """One connection."""

    def __init__(self, listener: ChangeListener) -> None:
        super().__init__(listener.limits.frame_bytes_max)
        self.listener = listener
        self.address = ""
        self.heard_at = asyncio.get_running_loop().time()
        self.begun_at: float | None = None
        self._inbox: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None
        self._unreadable = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing that it asked is being worked on."""
        return self._task is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, or hang up on one too many (asyncio calls this)."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = group_of(str(peer[0])) if peer else ""
        keep_alive(transport)
        listener, limits = self.listener, self.listener.limits
        full = len(listener.wires) >= limits.connections_max
        if full or listener.addresses[self.address] >= limits.connections_per_address_max:
            self.send([error_answer(b"null", CODES["rate_limited"], "too many connections")])
            self.close()
            return
        listener.wires.add(self)
        listener.addresses[self.address] += 1

    def connection_lost(self, error: Exception | None) -> None:
        """Stop working for it; what a quote needs goes on without (asyncio calls this)."""
        del error
        if self in self.listener.wires:
            self.listener.wires.discard(self)
            self.listener.addresses[self.address] -= 1
            self.listener.addresses += Counter()  # who has none left is forgotten
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Note when a frame was begun (asyncio calls this)."""
        if self._unreadable or self not in self.listener.wires:
            return
        self.heard_at = asyncio.get_running_loop().time()
        super().data_received(data)
        if not self.frame_begun:
            self.begun_at = None
        elif self.begun_at is None:
            self.begun_at = self.heard_at

    def frames_received(self, frames: list[bytes]) -> None:
        """They wait for their turn; beyond a limit nothing more is read."""
        self.begun_at = None
        self._inbox.extend(frames)
        if len(self._inbox) > self.listener.limits.inbox_max and self.transport is not None:
            self.transport.pause_reading()
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def frame_too_large(self) -> None:
        """Say so, then hang up: nothing after such a line can be read."""
        self._unreadable = True
        code = CODES["frame_too_large"]
        self.send([error_answer(b"null", code, f"over {self.frame_bytes_max} bytes")])
        self.close()

    async def _work(self) -> None:
        try:
            while self._inbox:
                said = await self.listener.answer(self._inbox.popleft(), self.address)
                if said is not None:
                    self.send([said])
                if self.queued_bytes > self.listener.limits.out_bytes_max:
                    self.abort()  # it asks and never reads
                    return
                await asyncio.sleep(0)  # the others have their turn
                self._go_on()
        except Exception:  # noqa: BLE001 - it never leaves its connection
            log.exception("a request of %s", self.address)
            self.abort()
        finally:
            self._task = None
            self.heard_at = asyncio.get_running_loop().time()

    def _go_on(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or transport.is_reading():
            return
        if len(self._inbox) <= self.listener.limits.inbox_max:
            transport.resume_reading()
