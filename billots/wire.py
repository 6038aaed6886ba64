"""A server's end of one connection: when it is read, when it is not, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING

from billots.connection import FrameProtocol
from billots.errors import StoreDamaged, StoreFailed

if TYPE_CHECKING:
    from billots.switchboard import Switchboard


_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Notice within a minute that the other machine is gone: who only listens never would."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError):  # it may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            option = getattr(socket, name, None)  # not every system has each of them
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Wire(FrameProtocol):
    """One connection of a server, whoever began it."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__(board.limits.frame_bytes_max)
        self.board = board
        self.id = board.new_id()
        self.heard_at = board.now
        self.begun_at: float | None = None
        self.blocked_at: float | None = None
        self.closing_at: float | None = None
        self.inbox: deque[bytes] = deque()
        self.has_turn = False
        """Whether it will go on by itself, later in this round of the loop."""
        self.half_closed = False
        self.unreadable = False

    def data_received(self, data: bytes) -> None:
        """Note when a frame was begun, for its deadline (asyncio calls this)."""
        if self.closing_at is not None or self.unreadable or self.board.deaf:
            return
        self.heard_at = self.board.now
        self.board.heard(self)
        super().data_received(data)
        if not self.frame_begun:
            self.begun_at = None
        elif self.begun_at is None:
            self.begun_at = self.heard_at

    def frames_received(self, frames: list[bytes]) -> None:
        """Hand frames in. A frame that ended sets the deadline of the next anew."""
        self.begun_at = None
        self.inbox.extend(frames)
        if not self.has_turn:
            self.board.work(self)

    def frame_too_large(self) -> None:
        """Say so, then hang up: nothing after such a line can be read."""
        self.unreadable = True
        if not self.inbox:
            self.board.too_large(self)

    def pause_writing(self) -> None:
        """The other side reads too slowly (asyncio calls this)."""
        self.blocked_at = self.board.now
        self._blocked(blocked=True)
        self.board.go_on(self)

    def resume_writing(self) -> None:
        """The other side has caught up (asyncio calls this)."""
        self.blocked_at = None
        self._blocked(blocked=False)
        self.board.wake()
        self.board.flush()
        self.board.go_on(self)

    def _blocked(self, *, blocked: bool) -> None:
        try:
            self.board.node.blocked(self.id, blocked=blocked)
        except (StoreDamaged, StoreFailed) as error:  # it went on with a long page
            self.board.broken(error)

    def eof_received(self) -> bool:
        """The other side writes no more; it may still read what we owe it (asyncio calls this)."""
        self.half_closed = True
        return self.closing_at is None and self.board.owes(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Let the board know (asyncio calls this)."""
        del error
        self.inbox.clear()
        self.board.detach(self)

    def pause_reading(self) -> None:
        """Take nothing more from the socket; `board.go_on` decides when to go on."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, unless the other side has said its last word."""
        transport = self.transport
        if transport is None or transport.is_closing() or self.half_closed:
            return
        if not transport.is_reading():
            if self.begun_at is not None:
                self.begun_at = self.board.now  # the pause was ours
            transport.resume_reading()

    def send(self, messages: list[bytes]) -> None:  # type: ignore[override]
        """Queue messages, unless it has heard our last word."""
        if self.closing_at is None:
            super().send(messages)

    def close(self) -> None:
        """End the connection once what is queued has gone out."""
        if self.unreadable:
            self.finish()
        elif self.closing_at is None:
            self.closing_at = self.board.now
            self.inbox.clear()
            super().close()

    def finish(self) -> None:
        """End the connection and see to it that our last words are heard.

        The other side may still be sending. Closed now, the kernel would answer that with a
        reset, which overtakes what we said: so what comes is read and thrown away until the
        other side ends as well, or for a moment (`Switchboard.sweep`, `Server.stop`).
        """
        transport = self.transport
        if self.closing_at is not None or transport is None:
            return
        self.closing_at = self.board.now
        self.inbox.clear()
        if self.half_closed or transport.is_closing():
            super().close()
        else:
            try:
                transport.write_eof()
            except (OSError, RuntimeError):  # it has just gone
                transport.abort()
            else:
                transport.resume_reading()


class IncomingWire(Wire):
    """A connection that came to us."""

    def __init__(self, board: Switchboard) -> None:
        super().__init__(board)
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the board know (asyncio calls this)."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        keep_alive(transport)
        self.board.welcome(self)
