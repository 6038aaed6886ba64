"""Links to trusted servers: who they are, their feeds, and what we ask of them (section 8).

The driver dials; here is what is said on such a connection: `info` and a statement under a
fresh nonce to learn whose it is, `subscribe` from the last lsn that we had of it, then its
feed, and `fetch` for bodies.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from billots.errors import InputError
from billots.feed import FeedBatch
from billots.jsonrpc import Incoming, call, decode_incoming
from billots.messages import (
    Cursor,
    Fetch,
    Fetched,
    Info,
    Pair,
    SendTransfer,
    Subscribe,
    Subscribed,
    WhoOwns,
)
from billots.network import shown
from billots.node.greeting import Greeting
from billots.node.peers import Link
from billots.node.progress import Progress
from billots.node.remembered import Remembered
from billots.node.reminders import Reminders
from billots.node.work import BodiesWork, ConsultWork, FeedWork, PairWork
from billots.statement import PROOF_ROWS_MAX, Statement
from billots.transfer import Transfer

if TYPE_CHECKING:
    from billots.node.node import Node

log = logging.getLogger("billots.links")

_BACKLOG_MAX = 8
_WANTED_MAX = 4096
"""Rows of one feed that wait for bodies, before we stop reading it."""
_FETCHES_MAX = 8
"""Questions for bodies to one server at a time."""
_CALLS_MAX = 256
_UNANSWERED_MAX = 8
_DECODE_ERRORS = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class Links:
    """All links of a node. One link's trouble ends that link and nothing else."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._links: dict[int, Link] = {}
        self.remembered = Remembered(node.ledger, node.rounds.feeds)
        for host in node.settings.accept:
            self.remembered.accept(host)
        for entry in node.trust.entries:
            for key in self.remembered.retired(entry.host):
                node.trust.retire(entry.host.place, key)
        self.reminders = Reminders()
        self.progress = Progress(node.rounds.feeds.votes.newest)
        self._greeting = Greeting(node, self)
        self._next_call = 1
        self.bodies_count = 0
        """Bodies of transfers that they have sent, good or not: one of each is enough."""

    # -- connections --------------------------------------------------------------------------

    def opened(self, conn: int, index: int) -> None:
        """The driver reached the trusted server number `index`."""
        link = self._links[conn] = Link(index, conn)
        self.call(link, "info", None)

    def closed(self, conn: int) -> None:
        """A link ended; the driver dials again."""
        link = self._links.pop(conn, None)
        if link is None:
            return
        link.closed = True
        others = {other.key for other in self._links.values() if other.up}
        if link.key is not None and link.key not in others:
            self._node.memory.forget(link.key)  # rows that had arrived may give way meanwhile
            self._node.rounds.feeds.unreachable(link.key)
            self._node.rounds.consults.gone(link.key)
        if link.up:
            log.info("link to %s ended", self.place(link))

    def busy(self, conn: int) -> bool:
        """Whether to stop reading a link until what it brought has been dealt with."""
        link = self._links.get(conn)
        if link is None:
            return False
        # Answers to what we fetch come on the same stream: then we have to read on.
        wants = self._node.rounds.feeds.wanted.rows_of(link.key or "")
        return link.backlog >= _BACKLOG_MAX or (wants > _WANTED_MAX and not link.fetches)

    def key_of(self, conn: int | None) -> str | None:
        """Whose link this is, if it is one of ours and has said so."""
        link = self._links.get(conn) if conn is not None else None
        return None if link is None else link.key

    def is_up(self, conn: int) -> bool:
        """Whether this link got as far as following the feed."""
        link = self._links.get(conn)
        return link is not None and link.up

    @property
    def up_count(self) -> int:
        """How many trusted servers' feeds we follow."""
        return sum(link.up for link in self._links.values())

    def down_with(self, key: str) -> set[int]:
        """Places in the list of servers with this key that we are not linked to."""
        linked = {link.index for link in self._links.values()}
        entries = enumerate(self._node.trust.entries)
        return {i for i, entry in entries if entry.key == key and i not in linked}

    def misbehaved(self, conn: int, what: str) -> None:
        """A link brought something that no honest server sends: hang up."""
        link = self._links.get(conn)
        if link is not None:
            log.warning("%s sent %s; hanging up", self.place(link), what)
            self._node.hangups.add(conn)

    def place(self, link: Link) -> str:
        """Where a link leads, as configured."""
        return self._node.trust.entries[link.index].host.place

    # -- messages -----------------------------------------------------------------------------

    def received(self, conn: int, frames: Sequence[bytes]) -> None:
        """Frames arrived on a link."""
        link = self._links.get(conn)
        for frame in frames:
            if link is None or conn in self._node.hangups:
                return
            try:
                self._incoming(link, decode_incoming(frame))
            except _DECODE_ERRORS:
                self.misbehaved(conn, "a message of another shape")
            except InputError as error:
                self.misbehaved(conn, f"a malformed message ({shown(str(error), 80)})")

    def _incoming(self, link: Link, incoming: Incoming) -> None:
        if isinstance(incoming.method, str):
            self._notified(link, incoming.method, incoming.params)
            return
        number = incoming.id if isinstance(incoming.id, int) else 0
        what, result = link.calls.pop(number, None), incoming.result
        if what == "fetch":
            self._fetched(link, link.fetches.pop(number), result)
        elif what == "consult":
            self._stated(link, link.asks.pop(number), result)
        elif what == "position":
            self._positioned(link, result)
        elif what in ("info", "who_owns", "subscribe"):
            self._greeted(link, what, result)

    def _greeted(self, link: Link, what: str, result: msgspec.Raw) -> None:
        """An answer to our first words."""
        if not bytes(result):
            self.misbehaved(link.id, f"an error to {what}")
        elif what == "info":
            self._greeting.introduced(link, msgspec.json.decode(result, type=Info))
        elif what == "who_owns":
            self._greeting.proved(link, msgspec.json.decode(result, type=Statement))
        else:
            self._greeting.subscribed(link, msgspec.json.decode(result, type=Subscribed))

    def _positioned(self, link: Link, result: msgspec.Raw) -> None:
        """How far a feed goes at this moment, by its own server; or an error: to be asked again."""
        link.asks_position = False
        if bytes(result) and link.is_current:  # else it arrived here in another stream
            info = msgspec.json.decode(result, type=Info)
            self._node.memory.follow(link.key or "", info.lsn, link.received_lsn)
            self._node.rounds.look()

    def _fetched(self, link: Link, asked: tuple[str, ...], result: msgspec.Raw) -> None:
        """An answer with bodies, or an error: then it has none of them."""
        bodies: list[Transfer] = []
        if bytes(result):
            fetched = msgspec.json.decode(result, type=Fetched)
            bodies = [transfer for transfer in fetched.transfers if self._sound(transfer)]
            self.bodies_count += len(bodies)
            self._node.rounds.add(BodiesWork(link.id, bodies))
        wanted = self._node.rounds.feeds.wanted
        wanted.answered(link.key or "", asked, [transfer.id for transfer in bodies])

    def _notified(self, link: Link, method: str, params: msgspec.Raw) -> None:
        if method == "feed" and link.key is not None:
            self._feed(link, msgspec.json.decode(params, type=FeedBatch))
        elif method == "conflict" and link.key is not None:
            pair = msgspec.json.decode(params, type=Pair)
            if self._sound(pair.first) and self._sound(pair.second):
                link.backlog += 1
                self._node.rounds.add(PairWork(None, link.id, pair.first, pair.second))

    def _feed(self, link: Link, batch: FeedBatch) -> None:
        if batch.server != link.key or not batch.rows:
            raise InputError("a feed of another server")
        check = batch.check_arguments(self._node.network.id)
        if check is None:
            raise InputError("a feed batch with another root")
        rows = batch.table()
        adopted = rows.adopted
        for row in adopted:
            self._node.network.check(row.billot)
        bodies = [transfer for transfer in batch.transfers if self._sound(transfer)]
        self.bodies_count += len(bodies)
        link.backlog += 1
        if link.is_current:
            link.received_lsn = max(link.received_lsn, rows.lsns[-1])
        stream = link.streams_begun
        work = FeedWork(batch.server, link, stream, batch, rows, adopted, check, bodies)
        self._node.rounds.add(work)

    def dealt_with(self, conn: int) -> None:
        """A feed batch or a pair of this link was judged."""
        link = self._links.get(conn)
        if link is not None and link.backlog:
            link.backlog -= 1

    def _sound(self, transfer: Transfer) -> bool:
        """Whether a body that came along is one of this network, well formed."""
        try:
            transfer.check(self._node.network)
        except InputError:
            return False
        return transfer.network == self._node.network.id

    # -- what we ask --------------------------------------------------------------------------

    def call(
        self, link: Link, method: str, params: msgspec.Struct | None, what: str | None = None
    ) -> int:
        """Send a request; `what` says what its answer is to, if not the method."""
        number, self._next_call = self._next_call, self._next_call + 1
        link.calls[number] = what or method
        self._node.send(link.id, call(number, method, params))
        return number

    def fetch(self, now: float) -> None:
        """Ask for bodies that are overdue."""
        feeds, size = self._node.rounds.feeds, self._node.limits.fetch_max
        by_key = {link.key: link for link in self._links.values() if link.up and link.key}
        asks, given_up = feeds.wanted.due(now, by_key, size * _FETCHES_MAX)
        for voter, transfer_ids in asks.items():
            link = by_key[voter]
            for start in range(0, len(transfer_ids), size):
                part = tuple(transfer_ids[start : start + size])
                link.fetches[self.call(link, "fetch", Fetch(part))] = part
                link.forget_oldest()
        unanswered, feeds.wanted.unanswered = feeds.wanted.unanswered, []
        for named in unanswered:
            feeds.put_off(named)
        for named in given_up:
            feeds.give_up(named)
            for voter in named:
                self._node.memory.forget(voter)  # what it named may have moved on by now
        self._read_again()

    def _read_again(self) -> None:
        """Follow feeds from the row for which there was no room, or no body in time."""
        feeds = self._node.rounds.feeds
        for key in feeds.votes.found_room(feeds.wanted.is_idle):
            self._node.memory.forget(key)
            for link in self._links.values():
                if link.up and link.key == key:  # else it begins there when the link is up
                    self.follow(link)

    def follow(self, link: Link) -> None:
        """Ask for its feed from where we have read it."""
        key = link.key or ""
        link.since = self.remembered.cursor(key)
        self._node.rounds.feeds.votes.read(key, link.since)  # before a restart, if not since
        link.streams_asked += 1
        if link.streams_asked - link.streams_begun > _UNANSWERED_MAX:
            self.misbehaved(link.id, "no answer to what it was asked")
            return
        self.call(link, "subscribe", Subscribe(Cursor(key, link.since), self._node.key.public_hex))

    def consult(self, now: float) -> None:
        """Ask about billots whose time has come, and how far feeds go that are read."""
        rounds = self._node.rounds
        rounds.consulting.sweep(now)
        by_key = {link.key: link for link in self._links.values() if link.up and link.key}
        positions, rounds.consulting.positions = rounds.consulting.positions, []
        for key in positions:
            if key in by_key and not by_key[key].asks_position:
                by_key[key].asks_position = True
                self.call(by_key[key], "info", None, what="position")
        reachable = [key for key, link in by_key.items() if key in self._node.trust.keys]
        put_off = self.progress.is_moving(now)
        billots = rounds.consults.due(now, reachable, rounds.consulting.is_open, put_off=put_off)
        for start in range(0, len(billots), PROOF_ROWS_MAX):
            part = tuple(billots[start : start + PROOF_ROWS_MAX])
            for key in reachable:
                link, nonce = by_key[key], self._node.settings.nonce()
                question = WhoOwns(part, nonce, proof=True, consult=True)
                link.asks[self.call(link, "who_owns", question, what="consult")] = nonce, part
                link.forget_oldest()

    def _stated(self, link: Link, asked: tuple[str, tuple[str, ...]], result: msgspec.Raw) -> None:
        """An answer in a consult, or an error: then it has nothing to say."""
        nonce, billots = asked
        key = link.key or ""
        if bytes(result):
            statement = msgspec.json.decode(result, type=Statement)
            check = statement.check_arguments(self._node.network.id, nonce, billots)
            if check is not None and statement.server == key:
                self._node.rounds.add(ConsultWork(key, link, billots, statement, check))
                return
            self.misbehaved(link.id, "a statement that answers another question")
        for billot in billots:
            self._node.rounds.consults.answered(key, billot, None)
        self._node.rounds.look()

    def submit(self, transfer: Transfer, followers: set[str | None], now: float) -> None:
        """Send a transfer that a wallet brought to those trusted servers that don't follow us.

        Anybody may say that he is one who does, and a burst may be more than a link takes. So
        while it isn't settled, it is sent again to whoever has not voted on it.
        """
        for link in self._links.values():
            if link.up and link.key not in followers and len(link.calls) < _CALLS_MAX:
                self.call(link, "transfer", SendTransfer.of(transfer))
        self.reminders.add(transfer, now)

    def remind(self, now: float) -> None:
        """Send what is overdue to those who have not voted on it."""
        for transfer in self.reminders.due(now):
            if self._node.rounds.feeds.is_open(transfer):
                if not self._node.rounds.feeds.is_counted(transfer):
                    self._remind(transfer)
                self.reminders.add(transfer, now)

    def _remind(self, transfer: Transfer) -> None:
        feeds = self._node.rounds.feeds
        for link in self._links.values():
            voted = link.key is not None and feeds.has_voted(link.key, transfer)
            if link.up and not voted and len(link.calls) < _CALLS_MAX:
                self.call(link, "transfer", SendTransfer.of(transfer))
