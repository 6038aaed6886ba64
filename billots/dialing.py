"""Dialling: links to trusted servers kept up, and those who announce themselves looked at."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from billots.connection import Client, reason
from billots.errors import BillotsError, HostError
from billots.host import Host
from billots.messages import Announce, Info
from billots.switchboard import Switchboard
from billots.wire import Wire, keep_alive

log = logging.getLogger("billots.links")

_TELL_AFTER_S = 0.5
_PROBES_MAX = 100
_PROBES_PER_ADDRESS_MAX = 8
_PROBE_BURST = 5.0


class LinkWire(Wire):
    """Our end of a link to a trusted server."""

    def __init__(self, board: Switchboard, index: int) -> None:
        super().__init__(board)
        self._index = index
        self.ended = asyncio.Event()
        self.was_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the node, which begins the conversation (asyncio calls this)."""
        super().connection_made(transport)
        keep_alive(transport)
        peer = transport.get_extra_info("peername")
        if peer:
            self.board.trusted_addresses.add(str(peer[0]))
        self.board.attach(self)
        self.board.node.links.opened(self.id, self._index)
        self.board.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the node (asyncio calls this)."""
        self.was_up = self.board.node.links.is_up(self.id)
        super().connection_lost(error)
        self.ended.set()


async def keep_link(board: Switchboard, index: int) -> None:
    """Dial a trusted server for ever, with back-off; its failures never leave this task."""
    limits, entry = board.limits, board.node.trust.entries[index]
    host, wait_s = entry.host, limits.dial_first_s
    redial = board.redial_event(index)
    told = False
    while not entry.own:
        redial.clear()
        link = LinkWire(board, index)
        try:
            await _connect(link, host, limits.dial_timeout_s)
            await link.ended.wait()
            if link.was_up:
                wait_s, told = limits.dial_first_s, False
        except (OSError, UnicodeError) as error:  # a time-out is an OSError too
            if not told and wait_s > _TELL_AFTER_S:  # not of those that are only just starting
                told = True
                log.warning("can't reach %s: %s; trying again", host.place, reason(error))
        # Anybody may claim to be it and have us dial: never more often than the first retry.
        await asyncio.sleep(limits.dial_first_s * _spread())
        await _wait(redial, (wait_s - limits.dial_first_s) * _spread())
        wait_s = limits.dial_first_s if redial.is_set() else min(2 * wait_s, limits.dial_max_s)


async def _connect(link: LinkWire, host: Host, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(lambda: link, host.address, host.port)
    except BaseException:
        # Ended just when it came up: uvloop closes the transport and doesn't tell the protocol.
        link.board.detach(link)
        raise


def _spread() -> float:
    """So that servers which lost sight of each other together don't dial together."""
    return random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class Prober:
    """Dials back those who announce themselves, slowly: a flood of lies costs us little."""

    def __init__(self, network_id: str, per_s: float, found: Callable[[Host], object]) -> None:
        self._network_id = network_id
        self._per_s = per_s
        self._found = found
        self._queue: asyncio.Queue[tuple[str, Announce]] = asyncio.Queue(_PROBES_MAX)
        self._waiting: dict[str, int] = {}

    def add(self, address: str, announce: Announce) -> None:
        """Somebody at `address` announced itself; forgotten if too many did."""
        waiting = self._waiting.get(address, 0)
        if waiting < _PROBES_PER_ADDRESS_MAX and not self._queue.full():
            self._waiting[address] = waiting + 1
            self._queue.put_nowait((address, announce))

    async def _next(self) -> tuple[str, Announce]:
        address, announce = await self._queue.get()
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]
        return address, announce

    async def run(self) -> None:
        """Dial back, at most a few at once and then `per_s` a second."""
        loop = asyncio.get_running_loop()
        tokens, at = _PROBE_BURST, loop.time()
        while True:
            address, announce = await self._next()
            tokens, at = min(_PROBE_BURST, tokens + (loop.time() - at) * self._per_s), loop.time()
            if tokens < 1:
                await asyncio.sleep((1 - tokens) / self._per_s)
                tokens = 1.0
            tokens -= 1
            await self._probe(address, announce)

    async def _probe(self, address: str, announce: Announce) -> None:
        try:
            bracketed = f"[{address}]" if ":" in address else address
            host = Host.parse(f"{bracketed}:{announce.port}#{announce.key}")
            async with await Client.connect(host, timeout_s=2) as client:
                info = await client.call("info", None, Info, timeout_s=2)
        except HostError:
            return
        except BillotsError as error:
            log.debug("announced but not there: %s", error)
            return
        if info.server == announce.key and info.network.id == self._network_id:
            self._found(host)
