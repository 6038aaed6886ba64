"""The feed of the own server, followed as any client may: what is new, for pages that are open.

Nothing is counted here and nobody's money depends on it: it is one server's word, shown as
that. Under load pages get the newest few transfers four times a second, not all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from billots.connection import Client
from billots.errors import BillotsError, InputError, ProtocolError, WrongNetwork
from billots.feed import FeedBatch, TransferRow
from billots.holding import Status
from billots.host import Host
from billots.messages import (
    ChangeList,
    Changes,
    Cursor,
    Evidence,
    Fetch,
    Fetched,
    Info,
    Pair,
    Subscribe,
    Subscribed,
    WhoOwns,
)
from billots.network import ROWS_MAX, Network, format_mils
from billots.poll import batched
from billots.statement import Statement
from billots.transfer import Transfer, conflict
from billots.web.streams import Event

log = logging.getLogger("billots.web")

LATEST_MAX = 12
DISPUTES_MAX = 200
_TICK_S = 0.25
_TICK_ITEMS_MAX = 8
_QUEUE_MAX = 32
AGAIN_S = (0.1, 0.3, 1.0, 3.0)
_LOOK_BACK = (64, 512, 4096)
_pair = msgspec.json.Decoder(Pair)
_pair_or_none = msgspec.json.Decoder(Pair | None)
_batch = msgspec.json.Decoder(FeedBatch)
WRONG = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InputError)


@dataclass(frozen=True)
class Moved:
    """A transfer as lists show it."""

    lsn: int
    transfer: Transfer
    mils: int

    @property
    def key(self) -> str:
        """What tells its row from others."""
        return self.transfer.id

    @property
    def fields(self) -> dict[str, object]:
        """The texts of its row, and where its links go: see ``live.js``."""
        transfer = self.transfer
        return {
            "id": transfer.id[:12] + "…",
            "id_link": f"/transfer/{transfer.id}",
            "from": transfer.sender[:12] + "…",
            "from_link": f"/owner/{transfer.sender}",
            "to": transfer.to[:12] + "…",
            "to_link": f"/owner/{transfer.to}",
            "billots": billots_text(transfer),
            "value": format_mils(self.mils),
        }

    @property
    def event(self) -> Event:
        """The same for pages that are open."""
        fields: dict[str, object] = {
            "list": "transfers",
            "key": self.key,
            "fields": self.fields,
        }
        return Event("item", fields)


def billots_text(transfer: Transfer, most: int = 3) -> str:
    """Which billots, in a few words: ``a-1, b-7 and 3 more``."""
    names = [billot for billot, _ in transfer.billots]
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


class Hub:
    """Events for all pages of one kind; one that doesn't keep up misses the oldest."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event]] = set()

    def __len__(self) -> int:
        return len(self._queues)

    def publish(self, event: Event) -> None:
        """Hand an event to all that listen."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def events(self, first: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        """`first`, and then all that is published from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE_MAX)
        self._queues.add(queue)
        try:
            for event in first:
                yield event
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)


class Follower:
    """Follows the feed for as long as `run` does, through every loss of the connection."""

    def __init__(self, own: Host, network: Network) -> None:
        self.hub = Hub()
        self.latest: deque[Moved] = deque(maxlen=LATEST_MAX)
        """The newest first."""
        self.disputes: dict[str, Pair] = {}
        """Pairs of transfers that contradict each other, by billot, the newest last."""
        self.lsn = 0
        self.connected = False
        self._own = own
        self._network = network
        self._new: deque[tuple[int, str]] = deque(maxlen=_TICK_ITEMS_MAX)
        self._bodies: dict[str, Transfer] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Connect, follow, and begin again when the connection ends; for ever."""
        failures = 0
        while True:
            try:
                async with await Client.connect(self._own) as client:
                    await self._follow(client)
                failures = 0
            except BillotsError as error:
                log.debug("not following: %s", error)
            finally:
                self.connected = False
            await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
            failures += 1

    def note(self, pair: Pair) -> None:
        """Keep a pair that was verified, or that the own server has verified."""
        for billot, _ in conflict(pair.first, pair.second):
            if self.disputes.pop(billot, None) is None:
                self.hub.publish(Event("set", {"disputes": str(len(self.disputes) + 1)}))
            self.disputes[billot] = pair
        while len(self.disputes) > DISPUTES_MAX:
            del self.disputes[next(iter(self.disputes))]

    def moved(self, lsn: int, transfer: Transfer) -> Moved | None:
        """A transfer as it is shown; None if it is not of this network."""
        try:
            return Moved(lsn, transfer, self._network.total_mils(b for b, _ in transfer.billots))
        except InputError:
            return None

    async def _follow(self, client: Client) -> None:
        info = await client.call("info", None, Info)
        if info.network.id != self._network.id:
            raise WrongNetwork(f"{self._own.place} serves another network")
        client.on_notification = self._heard
        self.lsn = info.lsn
        await self._look_back(client, info)
        since = Cursor(info.server, self.lsn)
        await client.call("subscribe", Subscribe(since), Subscribed)
        self.connected = True
        self.hub.publish(Event("set", {"lsn": str(self.lsn)}))
        closed = asyncio.create_task(client.closed.wait())
        try:
            while not closed.done():
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({news, closed}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                self._news.clear()
                await self._tell(client)
                await asyncio.sleep(_TICK_S)
        finally:
            closed.cancel()

    async def _look_back(self, client: Client, info: Info) -> None:
        """The newest transfers before now, and conflicts among them."""
        found: list[Moved] = []
        for back in _LOOK_BACK:
            found = []
            since, end = max(0, info.lsn - back), info.lsn
            while since < end:
                page = await client.call("changes", Changes(since), ChangeList)
                if page.next <= since:
                    break
                since = page.next
                shown = (self.moved(change.lsn, change.transfer) for change in page.changes)
                found += [moved for moved in shown if moved is not None]
            if len(found) >= LATEST_MAX or back >= info.lsn:
                break
        self.latest.clear()
        self.latest.extend(sorted(found, key=lambda moved: -moved.lsn)[:LATEST_MAX])
        billots = {billot for moved in found for billot, _ in moved.transfer.billots}
        for chunk in batched(sorted(billots), ROWS_MAX):
            said = await client.call("who_owns", WhoOwns(tuple(chunk)), Statement)
            for row in said.billots:
                if row.status in (Status.CONTESTED, Status.DISPUTED):
                    await self._ask_evidence(client, row.id)

    async def _ask_evidence(self, client: Client, billot: str) -> None:
        try:
            pair = _pair_or_none.decode(await client.call("evidence", Evidence(billot), Raw))
        except WRONG as error:
            raise ProtocolError("evidence of another shape") from error
        if pair is not None:
            self.note(pair)

    def _heard(self, method: str, params: Raw) -> None:
        with contextlib.suppress(*WRONG):
            if method == "conflict":
                self.note(_pair.decode(params))
            elif method == "feed":
                self._heard_feed(_batch.decode(params))
            self._news.set()

    def _heard_feed(self, batch: FeedBatch) -> None:
        rows = batch.parsed()
        self._bodies.update({transfer.id: transfer for transfer in batch.transfers})
        self._new.extend((r.lsn, r.transfer_id) for r in rows if isinstance(r, TransferRow))
        if rows:
            self.lsn = max(self.lsn, rows[-1].lsn)

    async def _tell(self, client: Client) -> None:
        """What is new, to all pages: the newest few, with the bodies that only others had."""
        new, bodies = list(self._new), self._bodies
        self._new.clear()
        self._bodies = {}
        missing = tuple(dict.fromkeys(name for _, name in new if name not in bodies))
        if missing:
            fetched = await client.call("fetch", Fetch(missing), Fetched)
            bodies.update({transfer.id: transfer for transfer in fetched.transfers})
        for lsn, name in new:
            moved = self.moved(lsn, bodies[name]) if name in bodies else None
            if moved is not None:
                self.latest.appendleft(moved)
                self.hub.publish(moved.event)
        self.hub.publish(Event("set", {"lsn": str(self.lsn)}))
