"""Those who follow: subscribers of our feed, and watchers of an owner (DESIGN, section 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from billots.jsonrpc import notification
from billots.messages import Subscribe, Transferred
from billots.node.outfeed import OutFeed, Signed, rows_of_kept
from billots.node.peers import Connection, Subscriber
from billots.store.interface import NewEntry, Store

if TYPE_CHECKING:
    from billots.node.node import Node

_PAGES_STEP = 4
_PAGE_ROWS = 256


class Subscriptions:
    """Sends our feed to each subscriber as fast as it reads, from where it left off."""

    def __init__(self, node: Node) -> None:
        limits = node.limits
        self._node = node
        self.outfeed = OutFeed(
            node.network.id,
            node.key,
            _last_row(node.ledger.store),
            feed_every_s=limits.feed_every_s,
            frame_bytes_max=limits.frame_bytes_max,
        )
        self._subscribers: dict[int, Connection] = {}
        self._behind: dict[int, Connection] = {}
        self._watchers: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def follow(self, connection: Connection, params: Subscribe) -> None:
        """Send the feed from a cursor on; a cursor that can't be ours is 0."""
        since, outfeed = params.since, self.outfeed
        cursor = since.lsn if since is not None and since.key == self._node.key.public_hex else 0
        if cursor > outfeed.position:
            cursor = 0
        connection.subscriber = Subscriber(cursor, params.me)
        self._subscribers[connection.id] = self._behind[connection.id] = connection

    def watch(self, connection: Connection, owner: str) -> None:
        """Tell of transfers to an owner: of one at a time on each connection."""
        self._unwatch(connection)
        connection.owner = owner
        self._watchers.setdefault(owner, set()).add(connection.id)

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._subscribers.pop(connection.id, None)
        self._behind.pop(connection.id, None)
        self._unwatch(connection)

    def _unwatch(self, connection: Connection) -> None:
        if connection.owner is not None:
            watchers = self._watchers[connection.owner]
            watchers.discard(connection.id)
            if not watchers:
                del self._watchers[connection.owner]

    # -- what is new --------------------------------------------------------------------------

    def add(self, entry: NewEntry, source: int | None, now: float) -> None:
        """An entry is on disk: its row goes with the next batch; watchers hear of it now.

        A trusted server that doesn't follow us is sent what a wallet brought here.
        """
        if self._subscribers:
            self.outfeed.add(entry, source)
        else:
            self.outfeed.skip(entry)
        transfer = entry.transfer
        watchers = self._watchers.get(transfer.to)
        if watchers:
            message = notification("transferred", Transferred(entry.lsn, transfer))
            for conn in watchers:
                self._node.send(conn, message)
        if entry.here and self._node.trust.n > 1:
            followers = {c.subscriber.me for c in self._subscribers.values() if c.subscriber}
            self._node.links.submit(transfer, followers, now)

    def spread(self, message: bytes, source: int | None) -> None:
        """A notification for all subscribers but the one from whom it came."""
        key = self._node.links.key_of(source)
        for conn, connection in self._subscribers.items():
            subscriber = connection.subscriber
            back = conn == source or (key is not None and subscriber and subscriber.me == key)
            if not connection.blocked and not back:
                self._node.send(conn, message)

    def feed(self, now: float, *, at_once: bool = False) -> int:
        """Send what is due to those who are up to date; the others get pages.

        Returns how many signatures that cost, here and at the subscribers.
        """
        due = self.outfeed.due(now, at_once=at_once, busy=self._node.has_work)
        if not due:
            return 0
        frames = [(signed, signed.frame(), signed.sources) for signed in due]
        for connection in self._subscribers.values():
            if connection.blocked:
                self._behind[connection.id] = connection
            else:
                self._send(connection, frames)
        return len(due) * (1 + len(self._subscribers))

    def _send(
        self, connection: Connection, due: Sequence[tuple[Signed, bytes, set[int | None]]]
    ) -> None:
        subscriber = connection.subscriber
        assert subscriber is not None, "it is one of the subscribers"
        if subscriber.cursor < due[0][0].after:
            self._behind[connection.id] = connection
            self.pump(connection)
            return
        conn = connection.id
        for signed, frame, sources in due:
            self._node.send(conn, signed.frame(conn) if conn in sources else frame)
            subscriber.cursor = signed.last

    # -- those who lag ------------------------------------------------------------------------

    def pump(self, connection: Connection) -> None:
        """Send a page of older rows to one who lags; the next when it has read this one.

        Not while a batch is on its way to disk: what it moves on would be in no page, and not
        in the feed yet.
        """
        if self._node.writing:
            return
        subscriber, position = connection.subscriber, self.outfeed.position
        if subscriber is None or connection.blocked:
            return
        if subscriber.cursor < position:
            entries = self._node.ledger.store.entries(subscriber.cursor, _PAGE_ROWS)
            signed = self.outfeed.page(subscriber.cursor, entries)
            if signed is None:
                subscriber.cursor = position
            else:
                self._node.send(connection.id, signed.frame())
                subscriber.cursor = signed.last
        if subscriber.cursor >= position:
            self._behind.pop(connection.id, None)

    def pump_some(self) -> None:
        """Go on with a few of those who lag and can take more; the others come next."""
        for connection in list(islice(self._ready(), _PAGES_STEP)):
            self.pump(connection)
            if self._behind.pop(connection.id, None) is not None:
                self._behind[connection.id] = connection

    def _ready(self) -> Iterator[Connection]:
        return (connection for connection in self._behind.values() if not connection.blocked)

    @property
    def lagging(self) -> bool:
        """Whether `pump_some` has something to do."""
        return bool(self._behind) and any(True for _ in self._ready())


def _last_row(store: Store) -> int:
    """The lsn of the last row that the feed of this store has: who reads it gets that far."""
    last = store.entry(store.last_lsn)
    return 0 if last is None else rows_of_kept(last)[-1].lsn
