"""Transfers to single owners as they come, for the pages that show them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw

from billots.connection import Client
from billots.errors import BillotsError
from billots.host import Host
from billots.messages import Subscribe, Subscribed, Transferred
from billots.web.follower import AGAIN_S, WRONG, Follower, Hub
from billots.web.streams import Event

WATCHES_MAX = 64
"""Owners that are watched at once: each takes one connection, however many pages show it."""

_transferred = msgspec.json.Decoder(Transferred)


@dataclass
class _Watch:
    task: asyncio.Task[None]
    hub: Hub
    pages: int = field(default=0)


class Watches:
    """One connection to the own server for each owner that some page shows."""

    def __init__(self, follower: Follower, own: Host) -> None:
        self._follower = follower
        self._own = own
        self._watches: dict[str, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def has_room(self, owner: str) -> bool:
        """Whether this owner can be watched, too."""
        return owner in self._watches or len(self._watches) < WATCHES_MAX

    async def events(self, owner: str) -> AsyncGenerator[Event]:
        """Transfers to `owner` from now on, until nobody asks any more."""
        watch = self._watches.get(owner)
        if watch is None:
            hub = Hub()
            watch = _Watch(asyncio.create_task(self._follow(owner, hub)), hub)
            self._watches[owner] = watch
        watch.pages += 1
        try:
            async with contextlib.aclosing(watch.hub.events()) as events:
                async for event in events:
                    yield event
        finally:
            watch.pages -= 1
            if not watch.pages:
                del self._watches[owner]
                watch.task.cancel()
                await asyncio.gather(watch.task, return_exceptions=True)

    async def _follow(self, owner: str, hub: Hub) -> None:
        failures = 0
        while True:
            with contextlib.suppress(BillotsError):
                async with await Client.connect(self._own) as client:
                    client.on_notification = lambda name, params: self._heard(hub, name, params)
                    await client.call("subscribe", Subscribe(owner=owner), Subscribed)
                    failures = 0
                    await client.closed.wait()
            await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
            failures += 1

    def _heard(self, hub: Hub, method: str, params: Raw) -> None:
        if method != "transferred":
            return
        with contextlib.suppress(*WRONG):
            said = _transferred.decode(params)
            moved = self._follower.moved(said.lsn, said.transfer)
            if moved is not None:
                hub.publish(moved.event)
