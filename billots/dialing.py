"""Dialling: links to trusted servers kept up, and those who announce themselves looked at."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from billots.connection import Client, FrameProtocol
from billots.errors import BillotsError, HostError
from billots.host import Host
from billots.messages import Announce, Info

if TYPE_CHECKING:
    from billots.server import Server

log = logging.getLogger("billots.links")

_PROBES_MAX = 100
_PROBE_BURST = 5.0


class LinkProtocol(FrameProtocol):
    """Our end of a link to a trusted server."""

    def __init__(self, server: Server, index: int) -> None:
        super().__init__(server.limits.frame_bytes_max)
        self._server = server
        self._index = index
        self.id = server.new_id()
        self.ended = asyncio.Event()
        self.was_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the node, which begins the conversation (asyncio calls this)."""
        super().connection_made(transport)
        self._server.attach(self)
        self._server.node.links.opened(self.id, self._index)
        self._server.flush()

    def frames_received(self, frames: list[bytes]) -> None:
        """Hand frames to the node."""
        self._server.hand_in(self, frames)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the node (asyncio calls this)."""
        del error
        self.was_up = self._server.node.links.is_up(self.id)
        self._server.detach(self)
        self.ended.set()


async def keep_link(server: Server, index: int) -> None:
    """Dial a trusted server for ever, with back-off; its failures never leave this task."""
    limits, entry = server.limits, server.node.trust.entries[index]
    host, wait_s = entry.host, limits.dial_first_s
    loop = asyncio.get_running_loop()
    redial = server.redial_event(index)
    while not entry.own:
        redial.clear()
        try:
            async with asyncio.timeout(limits.dial_timeout_s):
                _, link = await loop.create_connection(
                    lambda: LinkProtocol(server, index), host.address, host.port
                )
            await link.ended.wait()
            if link.was_up:
                wait_s = limits.dial_first_s
        except (OSError, UnicodeError) as error:  # a time-out is an OSError too
            log.debug("can't reach %s: %s", host.place, error)
        await _wait(redial, wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the dials
        wait_s = limits.dial_first_s if redial.is_set() else min(2 * wait_s, limits.dial_max_s)


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

    def add(self, address: str, announce: Announce) -> None:
        """Somebody at `address` announced itself; forgotten if too many did."""
        if not self._queue.full():
            self._queue.put_nowait((address, announce))

    async def run(self) -> None:
        """Dial back, at most a few at once and then `per_s` a second."""
        loop = asyncio.get_running_loop()
        tokens, at = _PROBE_BURST, loop.time()
        while True:
            address, announce = await self._queue.get()
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
