"""A server's connections: bytes in to the node, its answers out, and who has to go.

A peer's error never leaves its own connection, and nobody's work takes long: frames are handed
in a few at a time, so that what one client pipelines doesn't keep others waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable

from billots.errors import StoreDamaged, StoreError, StoreFailed
from billots.host import group_of, is_loopback
from billots.limits import Limits
from billots.messages import Announce
from billots.node import Node
from billots.wire import IncomingWire, Wire

log = logging.getLogger("billots.server")

_SWEEP_S = 1.0
_LINGER_S = 2.0
"""How long a connection that we end may take to read our last words."""
_TURN_FRAMES = 64
_TURN_BYTES = 64 * 1024
"""Frames handed in, and bytes answered, before it is the next connection's turn."""
_STRANGER_BYTES = 64 * 1024
"""Bytes that a stranger may leave unread before we stop reading its requests."""


class Switchboard:
    """All connections of one server.

    `wake` tells the engine that something arrived, `broken` that the store can't be read.
    """

    def __init__(
        self,
        node: Node,
        limits: Limits,
        *,
        wake: Callable[[], None],
        announced: Callable[[str, Announce], None],
        broken: Callable[[StoreError], None],
    ) -> None:
        self.node = node
        self.limits = limits
        self.wake = wake
        self.deaf = False
        """Whether nothing new is taken any more."""
        self.trusted_addresses = {entry.host.address for entry in node.trust.entries}
        """As configured, and as they turned out when we dialled them."""
        self._announced = announced
        self.broken = broken
        self._loop = asyncio.get_running_loop()
        self._next_id = 1
        self._wires: OrderedDict[int, Wire] = OrderedDict()  # the longest silent one first
        self._per_address: dict[str, int] = {}
        self._stalled: set[Wire] = set()
        self._redial: dict[int, asyncio.Event] = {}
        self._detached = asyncio.Event()

    @property
    def now(self) -> float:
        """The loop's clock, which never goes back."""
        return self._loop.time()

    def new_id(self) -> int:
        """A number that no other connection of this server has."""
        number, self._next_id = self._next_id, self._next_id + 1
        return number

    @property
    def wires(self) -> list[Wire]:
        """All connections, those we dialled among them."""
        return list(self._wires.values())

    # -- come and gone ------------------------------------------------------------------------

    def welcome(self, wire: IncomingWire) -> None:
        """Take a new connection in; the longest silent one makes room if there are too many."""
        address = wire.address
        exempt = self._exempt(address)
        group = group_of(address)
        here = self._per_address.get(group, 0)
        crowded = not exempt and here >= self.limits.connections_per_address_max
        full = len(self._wires) >= self.limits.connections_max
        if self.deaf or crowded or (full and not self._make_room()):
            wire.abort()
            return
        self._per_address[group] = self._per_address.get(group, 0) + 1
        assert wire.transport is not None
        mine = self.limits.out_bytes_max // 4
        wire.transport.set_write_buffer_limits(mine if exempt else min(mine, _STRANGER_BYTES))
        self.attach(wire)
        self.node.opened(wire.id, address, exempt=exempt)

    def _exempt(self, address: str) -> bool:
        """Loopback and trusted addresses are exempt from the limits per address."""
        if is_loopback(address):
            return self.limits.exempt_loopback
        return address in self.trusted_addresses

    def _make_room(self) -> bool:
        """Drop the longest silent connection that waits for nothing; never a trusted server's.

        Otherwise who opens enough connections and says nothing would lock everyone out.
        """
        followers: list[IncomingWire] = []
        for wire in self._wires.values():
            if not isinstance(wire, IncomingWire):
                continue
            if self.owes(wire) and wire.blocked_at is None:
                continue
            if wire.address in self.trusted_addresses and not is_loopback(wire.address):
                continue
            if self._follows(wire):
                followers.append(wire)
                continue
            self._drop(wire)
            return True
        peers = self._peers(followers)
        strangers = [wire for wire in followers if wire not in peers]
        if strangers:
            self._drop(strangers[0])
        return bool(strangers)

    def _drop(self, wire: IncomingWire) -> None:
        wire.abort()
        self.detach(wire)

    def attach(self, wire: Wire) -> None:
        """From now on `flush` sends to it."""
        self._wires[wire.id] = wire

    def detach(self, wire: Wire) -> None:
        """It is gone."""
        self._stalled.discard(wire)
        if self._wires.pop(wire.id, None) is None:
            return
        if isinstance(wire, IncomingWire):
            group = group_of(wire.address)
            left = self._per_address[group] - 1
            if left:
                self._per_address[group] = left
            else:
                del self._per_address[group]
        self.node.closed(wire.id)
        self.wake()
        self._detached.set()

    async def all_gone(self) -> None:
        """Wait until no connection is left."""
        while self._wires:
            self._detached.clear()
            await self._detached.wait()

    async def gone_within(self, seconds: float) -> None:
        """Wait until no connection is left, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.all_gone()

    def redial_event(self, index: int) -> asyncio.Event:
        """Set when a trusted server shows that it is up again."""
        return self._redial.setdefault(index, asyncio.Event())

    # -- in -----------------------------------------------------------------------------------

    def heard(self, wire: Wire) -> None:
        """Bytes came from it."""
        if wire.id in self._wires:
            self._wires.move_to_end(wire.id)

    def owes(self, wire: Wire) -> bool:
        """Whether the other side still waits for an answer of ours."""
        peer = self.node.connections.get(wire.id)
        return bool(wire.inbox) or (peer is not None and peer.in_flight > 0)

    def _follows(self, wire: Wire) -> bool:
        peer = self.node.connections.get(wire.id)
        return peer is not None and peer.follows

    def _peers(self, wires: list[IncomingWire]) -> list[IncomingWire]:
        """For each trusted key the oldest of those who say that it is theirs.

        Anybody may say so: that keeps one place, not all of them.
        """
        found: dict[str, IncomingWire] = {}
        for wire in sorted(wires, key=lambda wire: wire.id):
            peer = self.node.connections.get(wire.id)
            me = peer.subscriber.me if peer is not None and peer.subscriber else None
            if me in self.node.trust.keys:
                found.setdefault(me, wire)
        return list(found.values())

    def _is_stalled(self, wire: Wire) -> bool:
        """Whether nothing more is to be read for now.

        Who doesn't read our answers is asked for no more questions. Our own links are read
        all the same: if both ends did that, neither would ever read again.
        """
        unread = wire.blocked_at is not None and isinstance(wire, IncomingWire)
        return unread or self.node.busy(wire.id)

    def work(self, wire: Wire) -> None:
        """Hand in some of its frames; what can be answered at once is answered at once."""
        wire.has_turn = False
        if wire.id not in self._wires or self.deaf:
            return
        if self.node.outdated:  # not a word more under this key
            self.wake()
            return
        try:
            self._hand_in(wire)
        except Exception as error:  # whatever it is, it ends this one connection
            if isinstance(error, StoreDamaged | StoreFailed):
                self.broken(error)
            log.warning("connection %d ended by an error: %s", wire.id, type(error).__name__)
            log.debug("the error was", exc_info=error)
            wire.abort()
        self.flush()
        if wire.unreadable and not wire.inbox and wire.closing_at is None:
            self.too_large(wire)
        self.go_on(wire)
        if self.node.has_work or self.node.next_at is not None or self.node.outdated:
            self.wake()

    def _hand_in(self, wire: Wire) -> None:
        node, conn, inbox, now = self.node, wire.id, wire.inbox, self.now
        size = said = 0
        for _ in range(_TURN_FRAMES):
            if not inbox or size > _TURN_BYTES or self._is_stalled(wire):
                return
            node.received(conn, (inbox.popleft(),), now)
            answers = node.out.get(conn)
            if answers is not None:
                size += sum(map(len, answers[said:]))
                said = len(answers)

    def go_on(self, wire: Wire) -> None:
        """Read on, take the next turn, wait, or end: whatever is its state now."""
        if wire.closing_at is not None or wire.id not in self._wires:
            self._stalled.discard(wire)
        elif self._is_stalled(wire):
            wire.pause_reading()
            if self.node.busy(wire.id):
                self._stalled.add(wire)  # who is blocked hears of it by `resume_writing`
        elif wire.inbox:
            wire.pause_reading()
            self._stalled.discard(wire)
            if not wire.has_turn:
                wire.has_turn = True
                self._loop.call_soon(self.work, wire)
        else:
            self._stalled.discard(wire)
            if wire.half_closed and not self.owes(wire):
                wire.close()
            elif not wire.unreadable:
                wire.resume_reading()

    def too_large(self, wire: Wire) -> None:
        """It sent a line over the limit, and all before that has been handed in."""
        self.node.too_large(wire.id)
        self.flush()

    # -- out ----------------------------------------------------------------------------------

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
                wire = self._wires.get(conn)
                if wire is not None:
                    wire.close()
        redial, node.redial = node.redial, set()
        for index in redial:
            self.redial_event(index).set()
        probes, node.probes = node.probes, []
        for address, announce in probes:
            if announce.key not in node.trust.keys:
                self._announced(address, announce)

    def _send(self, conn: int, messages: list[bytes]) -> None:
        wire = self._wires.get(conn)
        if wire is None:
            return
        wire.send(messages)
        if wire.queued_bytes > self.limits.out_bytes_max:
            log.info("connection %d doesn't read what it is sent; dropped", conn)
            wire.abort()
        elif wire.half_closed:
            self.go_on(wire)

    def round_over(self) -> None:
        """A round was judged: say what it came to, and read on where that was waited for."""
        self.flush()
        for wire in list(self._stalled):
            self.go_on(wire)

    # -- time ---------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Once a second: frames that don't end, readers that don't read, connections that sleep."""
        every_s = min(_SWEEP_S, self.limits.frame_s / 4, self.limits.idle_s / 4)
        while True:
            await asyncio.sleep(every_s)
            now = self.now
            for wire in self.wires:
                if self._overdue(wire, now):
                    wire.abort()
                else:
                    self.go_on(wire)

    def _overdue(self, wire: Wire, now: float) -> bool:
        limits = self.limits
        if wire.closing_at is not None:
            return now - wire.closing_at > _LINGER_S
        if wire.blocked_at is not None:
            return now - wire.blocked_at > limits.frame_s
        reading = wire.transport is not None and wire.transport.is_reading()
        if reading and wire.begun_at is not None and now - wire.begun_at > limits.frame_s:
            return True
        if isinstance(wire, IncomingWire):
            sleeps = now - wire.heard_at > limits.idle_s
            return sleeps and not self._follows(wire) and not self.owes(wire)
        # A trusted server that says nothing at first is dialled again later.
        return not self.node.links.is_up(wire.id) and now - wire.heard_at > limits.frame_s
