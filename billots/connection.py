"""Frames over TCP with asyncio: what a server's connections and a client's have in common."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Self, TypeVar, cast

import msgspec
from msgspec import Struct

from billots.errors import ProtocolError, Unreachable
from billots.framing import FrameDecoder
from billots.host import Host
from billots.jsonrpc import Incoming, call, decode_incoming

FRAME_BYTES_MAX = 128 * 1024

Result = TypeVar("Result")


class FrameProtocol(asyncio.Protocol):
    """One end of a connection. Subclasses say what becomes of frames, and of the end.

    Frames are handed over together as they arrived, so that what came together can be worked
    on together.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(frame_bytes_max)

    @property
    def frame_begun(self) -> bool:
        """Whether part of a frame is here and its end is not."""
        return self._decoder.begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's has no base in common

    def data_received(self, data: bytes) -> None:
        """Cut what arrived into frames (asyncio calls this)."""
        frames, too_large = self._decoder.feed(data)
        if frames:
            self.frames_received(frames)
        if too_large:
            self.frame_too_large()

    def frames_received(self, frames: list[bytes]) -> None:
        """Frames arrived, without their LFs."""
        raise NotImplementedError

    def frame_too_large(self) -> None:
        """The other side sent a line over the limit: nothing after it can be read."""
        self.abort()

    def send(self, messages: Sequence[bytes]) -> None:
        """Queue messages, each without its LF, in one write."""
        if self.transport is None or self.transport.is_closing() or not messages:
            return
        self.transport.write(b"\n".join(messages) + b"\n")

    @property
    def queued_bytes(self) -> int:
        """Bytes that the other side has not read yet."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """End the connection now."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """End the connection once what is queued has gone out."""
        if self.transport is not None:
            self.transport.close()


class Client(FrameProtocol):
    """A connection to a server, with calls that may be answered in any order.

    >>> client = await Client.connect(Host("localhost", 7333))  # doctest: +SKIP
    >>> await client.call("ping", None, str)                    # doctest: +SKIP
    'pong'
    """

    def __init__(self, host: Host, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        super().__init__(frame_bytes_max)
        self.host = host
        self.closed = asyncio.Event()
        self.on_notification: Callable[[str, msgspec.Raw], None] | None = None
        self._calls: dict[int, asyncio.Future[Incoming]] = {}
        self._ids = itertools.count(1)

    @classmethod
    async def connect(
        cls,
        host: Host,
        *,
        timeout_s: float = 5.0,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> Client:
        """Connect, or raise Unreachable."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, client = await loop.create_connection(
                    lambda: cls(host, frame_bytes_max), host.address, host.port
                )
        except TimeoutError:
            raise Unreachable(f"{host.place} did not answer in {timeout_s:g} s") from None
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"can't reach {host.place}: {reason(error)}") from error
        return client

    async def call(
        self,
        method: str,
        params: Struct | None,
        result: type[Result],
        *,
        timeout_s: float = 5.0,
    ) -> Result:
        """Call a method and return its decoded result.

        Raises Refused for an error answer, Unreachable when the connection ends or time runs
        out, ProtocolError for a result of another shape.
        """
        number = next(self._ids)
        future: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        if self.closed.is_set():
            raise Unreachable(f"{self.host.place} closed the connection")
        self._calls[number] = future
        self.send([call(number, method, params)])
        try:
            async with asyncio.timeout(timeout_s):
                incoming = await future
        except TimeoutError:
            raise Unreachable(f"{self.host.place} did not answer in {timeout_s:g} s") from None
        finally:
            self._calls.pop(number, None)
        return self._result(incoming, result)

    def _result(self, incoming: Incoming, result: type[Result]) -> Result:
        if isinstance(incoming.error, Struct):
            raise incoming.error.refused()
        try:
            return msgspec.json.decode(incoming.result, type=result)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise ProtocolError(f"{self.host.place} sent a result of another shape") from error

    def frames_received(self, frames: list[bytes]) -> None:
        """Answers go to their calls, notifications to `on_notification`."""
        for frame in frames:
            try:
                incoming = decode_incoming(frame)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                self.abort()  # not our protocol: nothing after it can be trusted to be
                return
            if isinstance(incoming.method, str):
                if self.on_notification is not None:
                    self.on_notification(incoming.method, incoming.params)
                continue
            future = self._calls.get(incoming.id) if isinstance(incoming.id, int) else None
            if future is not None and not future.done():
                future.set_result(incoming)

    def connection_lost(self, error: Exception | None) -> None:
        """Every call that waits ends with Unreachable (asyncio calls this)."""
        del error
        self.closed.set()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(Unreachable(f"{self.host.place} closed the connection"))
                with contextlib.suppress(Exception):
                    future.exception()  # somebody may have stopped waiting: don't complain

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()


def reason(error: Exception) -> str:
    """Why, in words; asyncio's own text repeats the address, a resolver's has its own codes."""
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer in time"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number and number > 0 else "no such address"
