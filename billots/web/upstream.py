"""What pages ask servers, through the public protocol: few questions at a time, none twice at once.

Whoever loads pages loads the servers behind them. So answers are kept for a moment, who asks
for the same meanwhile waits for the same answer, and beyond a small number of questions the
answer is "too busy" at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from billots.circle import Circle
from billots.errors import HostError, WrongNetwork
from billots.host import Host
from billots.known_servers import PassingServers
from billots.link import Link
from billots.messages import Info
from billots.network import Network
from billots.quorum import Quorum

Result = TypeVar("Result")

CALL_S = 3.0
_KEPT_MAX = 512


class Busy(Exception):
    """Too many questions are being asked just now."""


class Gate:
    """Lets so many in at once, and so many wait."""

    def __init__(self, at_once: int, waiting_max: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._waiting_max = waiting_max
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a place, or raise Busy."""
        if self._waiting >= self._waiting_max:
            raise Busy
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


class Kept:
    """Answers kept for a moment by what was asked, errors too; at most a few hundred."""

    def __init__(self) -> None:
        self._answers: dict[object, tuple[float, asyncio.Task[Any]]] = {}

    async def get(
        self, key: object, keep_s: float, make: Callable[[], Awaitable[Result]]
    ) -> Result:
        """The answer to `key`, made by `make` unless one is on its way or fresh.

        `make` must not ask for the same `key`: it would wait for itself.
        """
        loop = asyncio.get_running_loop()
        found = self._answers.get(key)
        if found is None or (found[1].done() and loop.time() - found[0] >= keep_s):
            task: asyncio.Task[Any] = asyncio.ensure_future(make())
            self._answers.pop(key, None)  # the newest is the last
            self._answers[key] = found = (loop.time(), task)
            task.add_done_callback(lambda done: self._stamp(key, done))
            self._forget()
        assert found[1] is not asyncio.current_task(), "it would wait for itself"
        result: Result = await asyncio.shield(found[1])  # others may wait for it
        return result

    def _stamp(self, key: object, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # nobody may be left to look at it
        found = self._answers.get(key)
        if found is not None and found[1] is task:
            self._answers[key] = (asyncio.get_running_loop().time(), task)

    def _forget(self) -> None:
        for key in list(self._answers)[: max(0, len(self._answers) - _KEPT_MAX)]:
            if self._answers[key][1].done():
                del self._answers[key]

    async def close(self) -> None:
        """End what is being asked."""
        tasks = [task for _, task in self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Upstream:
    """The server that the pages are about, and with it those that it trusts.

    Its own word comes over one connection that is kept; signed votes of all of them over new
    ones each time, as a wallet's do. Whom it trusts, and under which keys, it says itself.
    """

    def __init__(self, own: Host, network: Network) -> None:
        self.own = own
        self.network = network
        self.kept = Kept()
        self._link = Link(own, PassingServers(), CALL_S)
        self._calls = Gate(16, 64)
        self._circles = Gate(3, 12)

    async def call(self, method: str, params: Struct | None, result: type[Result]) -> Result:
        """A method of the own server. Raises Busy, and what `Link.call` and `Link.open` do."""
        async with self._calls.enter():
            await self._open()
            return await self._link.call(method, params, result)

    async def info(self, keep_s: float = 1.0) -> Info:
        """What the own server says of itself; raises as `call`."""
        return await self.kept.get("info", keep_s, lambda: self.call("info", None, Info))

    @contextlib.asynccontextmanager
    async def circle(self) -> AsyncIterator[Circle]:
        """The own server and those that it trusts, to be asked together; raises as `call`."""
        async with self._circles.enter():
            info = await self.info(keep_s=10.0)
            own = Host(self.own.address, self.own.port, info.server)
            async with Circle(
                [own, *trusted_hosts(info)],
                quorum=Quorum("safe"),
                known=PassingServers(),
                network=self.network,
                timeout_s=CALL_S,
            ) as circle:
                yield circle

    async def close(self) -> None:
        """End all connections and questions."""
        await self.kept.close()
        self._link.close()

    async def _open(self) -> None:
        if await self._link.open() != self.network.id:
            raise WrongNetwork(f"{self.own.place} serves another network")


def trusted_hosts(info: Info) -> list[Host]:
    """Whom a server says that it trusts, as far as that can be read."""
    found = []
    for text in info.trusted:
        with contextlib.suppress(HostError):
            found.append(Host.parse(text))
    return found
