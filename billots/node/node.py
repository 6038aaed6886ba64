"""The node: every message of a server, without any I/O (DESIGN, sections 5 to 8).

A driver hands in what arrived and the time, and carries out what it finds in `out`, `hangups`,
`redial` and `probes`. A round goes `checks` → `judge` → (the driver commits the batch) →
`committed`. Nothing here waits, and nothing reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from billots.crypto import PrivateKey
from billots.errors import BillotIdError, InputError
from billots.host import Host
from billots.hosts import Hosts
from billots.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    Malformed,
    Refusal,
    answer,
    check_text,
    decode_params,
    decode_request,
    error_answer,
    is_batch,
    notification,
    split_batch,
)
from billots.ledger import Ledger
from billots.limits import Limits
from billots.messages import (
    PROTOCOL,
    Accepted,
    Announce,
    HostList,
    Info,
    Kept,
    NetworkName,
    Pair,
    SendTransfer,
    Subscribe,
    Subscribed,
    Transferred,
)
from billots.network import Network
from billots.node.answers import Answers, Refused
from billots.node.costs import Costs
from billots.node.links import Links
from billots.node.outfeed import OutFeed
from billots.node.peers import Connection, Subscriber
from billots.node.rounds import Rounds
from billots.node.trust import Trust
from billots.node.work import BatchReply, Check, PairWork, Reply, Submission
from billots.statement import Statement
from billots.store.interface import Batch, NewEntry, Store
from billots.transfer import Transfer

_NO_ID = b""
_FLUSH_S = 1.0
"""How long settled marks may wait for a batch to ride along with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a node is told at its start. `started` is for `info`; nothing is decided by it."""

    name: str = "billots"
    version: str = "0"
    port: int = 0
    trusted: Sequence[Host] = ()
    started: int = 0
    limits: Limits = field(default_factory=Limits)


class Node:
    """One server's mind. All times are seconds of any clock that never goes back."""

    def __init__(self, network: Network, store: Store, key: PrivateKey, settings: Settings) -> None:
        limits = settings.limits
        self.network = network
        self.key = key
        self.settings = settings
        self.limits = limits
        self.trust = Trust(settings.trusted, key.public_hex)
        self.ledger = Ledger(network, store, alone=self.trust.n == 1)
        self.rounds = Rounds(self.ledger, self.trust, limits)
        self.answers = Answers(network, self.ledger, key, limits)
        self.hosts = Hosts(settings.trusted, limits.hosts_max)
        self.connections: dict[int, Connection] = {}
        self.outfeed = OutFeed(
            network.id,
            key,
            self.ledger.lsn,
            feed_every_s=limits.feed_every_s,
            frame_bytes_max=limits.frame_bytes_max,
        )
        self.links = Links(self)
        # What the driver is to do:
        self.out: dict[int, list[bytes]] = {}
        self.hangups: set[int] = set()
        self.redial: set[int] = set()
        self.probes: list[tuple[str, Announce]] = []

        self._subscribers: dict[int, Connection] = {}
        self._watchers: dict[str, set[int]] = {}
        self._costs = Costs(limits.cost_per_address_max, limits.cost_decay_per_s)
        self._flush_at: float | None = None
        self._methods: dict[str, Callable[[Connection, Reply, Any], Any]] = {
            "info": self._info,
            "ping": lambda *_: "pong",
            "who_owns": lambda _conn, _reply, params: self.answers.who_owns(params),
            "transfer": self._transfer,
            "list": lambda _conn, _reply, params: self.answers.list_billots(params),
            "hosts": lambda *_: HostList(self.answers.fits(self._host_texts())),
            "announce": self._announce,
            "changes": lambda _conn, _reply, params: self.answers.changes(params),
            "subscribe": self._subscribe,
            "fetch": lambda _conn, _reply, params: self.answers.fetch(params.transfer_ids),
            "conflict": self._conflict,
            "evidence": lambda _conn, _reply, params: self.answers.evidence(params.billot),
        }

    # -- connections --------------------------------------------------------------------------

    def opened(self, conn: int, address: str, *, exempt: bool = False) -> None:
        """Somebody connected to us."""
        self.connections[conn] = Connection(conn, address, exempt)

    def closed(self, conn: int) -> None:
        """A connection ended, whoever began it."""
        connection = self.connections.pop(conn, None)
        self.links.closed(conn)
        self.rounds.pending.closed(conn)
        self.out.pop(conn, None)
        if connection is not None:
            self._subscribers.pop(conn, None)
            self._unwatch(connection)

    def blocked(self, conn: int, *, blocked: bool) -> None:
        """The other side stopped reading what we send, or reads again."""
        connection = self.connections.get(conn)
        if connection is not None:
            connection.blocked = blocked
            if not blocked:
                self._pump(connection)

    def busy(self, conn: int) -> bool:
        """Whether nothing more is to be read from a connection for now."""
        connection = self.connections.get(conn)
        if connection is not None:
            return connection.in_flight >= self.limits.in_flight_max
        return self.links.busy(conn)

    def received(self, conn: int, frames: Sequence[bytes], now: float) -> None:
        """Frames arrived on a connection."""
        connection = self.connections.get(conn)
        if connection is None:
            self.links.received(conn, frames)
            return
        for frame in frames:
            self._request_frame(connection, frame, now)

    def too_large(self, conn: int) -> None:
        """A line over the limit came: the one error after which a connection can't go on."""
        if conn in self.connections:
            limit = self.limits.frame_bytes_max
            refusal = Refusal("frame_too_large", f"a message has at most {limit} bytes")
            self.send(conn, refusal.answer(b"null"))
        self.hangups.add(conn)

    # -- requests -----------------------------------------------------------------------------

    def _request_frame(self, connection: Connection, frame: bytes, now: float) -> None:
        batch = is_batch(frame)
        try:
            check_text(frame, self.limits.depth_max + (2 if batch else 1))
            requests = split_batch(frame, self.limits.batch_max) if batch else [frame]
        except Malformed as error:
            self.send(connection.id, error_answer(error.request_id, error.code, str(error)))
            return
        gather = BatchReply(len(requests)) if batch else None
        connection.in_flight += len(requests)
        for request in requests:
            self._request(connection, bytes(request), gather, now)

    def _request(
        self, connection: Connection, frame: bytes, gather: BatchReply | None, now: float
    ) -> None:
        reply = Reply(connection.id, _NO_ID, gather)
        try:
            request = decode_request(frame)
            reply = Reply(connection.id, bytes(request.id), gather)
            params = decode_params(request)
            self._check_cost(connection, now)
            result = self._methods[request.method](connection, reply, params)
        except Malformed as error:
            identifier = reply.id or error.request_id
            if reply.id or error.code in (INVALID_REQUEST, -32700):
                self._answer(reply, error_answer(identifier, error.code, str(error)))
            else:
                self._answer(reply, b"")
        except Refused as error:
            self._answer(reply, error.refusal.answer(reply.id) if reply.id else b"")
        else:
            if result is not _LATER:
                self._result(reply, result)

    def _check_cost(self, connection: Connection, now: float) -> None:
        if not connection.exempt and self._costs.exceeded(connection.address, now):
            raise Refused(Refusal("rate_limited", "too many costly requests; wait a little"))

    def _result(self, reply: Reply, result: Any) -> None:
        self._answer(reply, answer(reply.id, result) if reply.id else b"")

    def _answer(self, reply: Reply, message: bytes) -> None:
        """Send an answer, or nothing for a notification; a batch's go out together."""
        connection = self.connections.get(reply.conn)
        if connection is None:
            return
        connection.in_flight -= 1
        gather = reply.batch
        if gather is None:
            if message:
                self.send(reply.conn, message)
            return
        gather.left -= 1
        if message:
            gather.answers.append((reply.id or b"null", message))
        if not gather.left and gather.answers:
            self.send(reply.conn, _joined(gather.answers, self.limits.frame_bytes_max))

    def send(self, conn: int, message: bytes) -> None:
        """Queue a message for the driver."""
        self.out.setdefault(conn, []).append(message)

    def _info(self, *_: object) -> Info:
        ledger, trust, rounds = self.ledger, self.trust, self.rounds
        counts = {
            "billots_moved": ledger.moved_count,
            "unsettled": len(ledger.unsettled_billots),
            "pending": len(rounds.pending),
            "wanted": len(rounds.wanted),
            "connections": len(self.connections),
            "subscribers": len(self._subscribers),
            "links_up": self.links.up_count,
            "n": trust.n,
            "quorum": trust.quorum,
        }
        trusted = [
            str(Host(entry.host.address, entry.host.port, entry.key))
            for entry in trust.entries
            if not entry.own
        ]
        settings = self.settings
        return Info(
            settings.name,
            settings.version,
            PROTOCOL,
            NetworkName(self.network.name, self.network.id),
            self.key.public_hex,
            settings.started,
            self.outfeed.position,
            self.answers.fits(trusted),
            counts,
            self.limits.public,
        )

    def _host_texts(self) -> list[str]:
        keys = {entry.host.place: entry.key for entry in self.trust.entries}
        hosts = self.hosts.get_hosts()
        return [str(Host(h.address, h.port, keys.get(h.place) or h.key)) for h in hosts]

    def _announce(self, connection: Connection, _reply: Reply, params: Announce) -> HostList:
        if params.key != self.key.public_hex:
            self.probes.append((connection.address, params))
        return HostList(self.answers.fits(self._host_texts()))

    def _subscribe(self, connection: Connection, reply: Reply, params: Subscribe) -> object:
        if params.owner is not None:
            self._unwatch(connection)
            connection.owner = params.owner
            self._watchers.setdefault(params.owner, set()).add(connection.id)
            return Subscribed(self.outfeed.position)
        since = params.since
        cursor = since.lsn if since is not None and since.key == self.key.public_hex else 0
        if cursor > self.outfeed.position:
            cursor = 0
        connection.subscriber = Subscriber(cursor, params.me)
        self._subscribers[connection.id] = connection
        if params.me is not None:
            self.redial.update(self.links.down_with(params.me))
        yours = None if params.me is None else self.links.newest(params.me)
        self._result(reply, Subscribed(self.outfeed.position, yours))
        self._pump(connection)
        return _LATER

    def _unwatch(self, connection: Connection) -> None:
        if connection.owner is not None:
            watchers = self._watchers.get(connection.owner, set())
            watchers.discard(connection.id)
            if not watchers:
                self._watchers.pop(connection.owner, None)

    def _transfer(self, _connection: Connection, reply: Reply, params: SendTransfer) -> object:
        transfer = params.transfer
        self._check_transfer(transfer)
        self.rounds.add(Submission(reply, transfer, params.nonce))
        return _LATER

    def _conflict(self, connection: Connection, reply: Reply, params: Pair) -> object:
        for transfer in (params.first, params.second):
            self._check_transfer(transfer)
        self.rounds.add(PairWork(reply, connection.id, params.first, params.second, here=True))
        return _LATER

    def _check_transfer(self, transfer: Transfer) -> None:
        """Raise Refused for another network or an id not of it, Malformed for rows out of order."""
        if transfer.network != self.network.id:
            raise Refused(
                Refusal(
                    "wrong_network",
                    "this server serves another network",
                    {"network": self.network.id},
                )
            )
        try:
            transfer.check(self.network)
        except BillotIdError:
            for billot, _ in transfer.billots:
                self.answers.check(billot)
        except InputError as error:
            raise Malformed(INVALID_PARAMS, str(error)) from None

    # -- rounds -------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether a round is to be begun."""
        return self.rounds.has_work

    def checks(self) -> list[Check]:
        """Begin a round: the signatures that it turns on, as `crypto.verify` takes them."""
        return self.rounds.checks()

    def judge(self, results: Sequence[bool], now: float) -> Batch | None:
        """Judge the round. Returns what must be on disk before `committed` may be called."""
        self.rounds.judge(results, now)
        self.links.note_cursors()
        if self.ledger.urgent or (self._flush_at is not None and now >= self._flush_at):
            self._flush_at = None
            return self.ledger.batch()
        if self.ledger.dirty and self._flush_at is None:
            self._flush_at = now + _FLUSH_S
        return None

    def committed(self, now: float, *, written: bool) -> None:
        """The round is on disk (or wrote nothing): say what it came to."""
        rounds = self.rounds
        entries = self.ledger.committed() if written else []
        for entry in entries:
            self.outfeed.add(entry, rounds.sources.get(entry.lsn))
            self._tell(entry)
        rounds.sources.clear()
        decided, rounds.decided = rounds.decided, []
        for work, decision in decided:
            self._say(work, decision)
        paired, rounds.paired = rounds.paired, []
        for work_, kept in paired:
            if work_.reply is not None:
                self._result(work_.reply, Kept(kept))
        conflicts, rounds.conflicts = rounds.conflicts, []
        for pair, source in conflicts:
            self._spread(notification("conflict", pair), source)
        fed, rounds.fed = rounds.fed, []
        for link in fed:
            self.links.dealt_with(link)
        wasted, rounds.wasted = rounds.wasted, []
        for conn, what in wasted:
            self._charge(conn, what, now)
        self._feed(now)

    def failed(self) -> None:
        """The batch could not be written: nothing of it is said, and nothing more is taken."""
        decided, self.rounds.decided = self.rounds.decided, []
        for work, _ in decided:
            refusal = Refusal("store_failed", "this server can't write; try another")
            self._answer(work.reply, refusal.answer(work.reply.id) if work.reply.id else b"")

    def _say(self, work: Submission, decision: Refusal | list[Any]) -> None:
        reply = work.reply
        if isinstance(decision, Refusal):
            self._answer(reply, decision.answer(reply.id) if reply.id else b"")
            return
        statement = Statement.make(self.network, self.key.public_hex, decision)
        if work.nonce is not None:
            statement = statement.sign(self.key, work.nonce)
        self._result(reply, Accepted(True, work.transfer.id, statement))

    def _tell(self, entry: NewEntry) -> None:
        """Who follows the new owner hears of it; who trusts us without following us gets it."""
        transfer = entry.transfer
        watchers = self._watchers.get(transfer.to)
        if watchers:
            message = notification("transferred", Transferred(entry.lsn, transfer))
            for conn in watchers:
                self.send(conn, message)
        if entry.here:
            followers = {c.subscriber.me for c in self._subscribers.values() if c.subscriber}
            self.links.submit(transfer, followers)

    def _spread(self, message: bytes, source: int | None) -> None:
        for conn, connection in self._subscribers.items():
            if conn != source and not connection.blocked:
                self.send(conn, message)

    def _charge(self, conn: int, what: str, now: float) -> None:
        connection = self.connections.get(conn)
        if connection is None:
            self.links.misbehaved(conn, what)
        elif not connection.exempt:
            self._costs.charge(connection.address, 1.0, now)

    # -- our feed -----------------------------------------------------------------------------

    def _feed(self, now: float) -> None:
        for signed in self.outfeed.due(now):
            frame = signed.frame()
            sources = {line.source for line in signed.lines if line.body is not None}
            for conn, connection in self._subscribers.items():
                subscriber = connection.subscriber
                if subscriber is not None and not connection.blocked:
                    if subscriber.cursor >= signed.after:
                        self.send(conn, signed.frame(conn) if conn in sources else frame)
                        subscriber.cursor = signed.last
                    else:
                        self._pump(connection)

    def _pump(self, connection: Connection) -> None:
        """Send a page of older rows to one who lags; the next when it has read this one."""
        subscriber = connection.subscriber
        if subscriber is None or connection.blocked:
            return
        if subscriber.cursor < self.outfeed.position:
            entries = self.ledger.store.entries(subscriber.cursor, 256)
            signed = self.outfeed.page(subscriber.cursor, entries)
            if signed is None:
                subscriber.cursor = self.outfeed.position
            else:
                self.send(connection.id, signed.frame())
                subscriber.cursor = signed.last

    def pump(self) -> None:
        """Go on with those who lag and can take more."""
        for connection in list(self._subscribers.values()):
            self._pump(connection)

    @property
    def lagging(self) -> bool:
        """Whether `pump` has something to do."""
        position = self.outfeed.position
        return any(
            c.subscriber is not None and not c.blocked and c.subscriber.cursor < position
            for c in self._subscribers.values()
        )

    # -- time ---------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When `tick` is to be called at the latest."""
        times = (
            self.outfeed.next_at,
            self.rounds.wanted.next_at,
            self.rounds.pending.next_at,
            self._flush_at,
        )
        return min((at for at in times if at is not None), default=None)

    @property
    def flush_due(self) -> bool:
        """Whether marks wait for a batch that nobody else brings."""
        return self._flush_at is not None

    def tick(self, now: float) -> None:
        """Time has passed. A round may be due afterwards (`has_work`, `flush_due`)."""
        self.rounds.expire(now)
        self.links.fetch(now)
        self._feed(now)

    def stopping(self) -> Batch | None:
        """The last batch: marks that nothing carried to disk yet."""
        self.links.note_cursors()
        return self.ledger.batch() if self.ledger.dirty else None


class _Later(Struct):
    """The answer comes with a round."""


_LATER = _Later()


def _joined(answers: Sequence[tuple[bytes, bytes]], frame_bytes_max: int) -> bytes:
    """A batch's answers as one array; those that don't fit are to be asked again alone."""
    left = frame_bytes_max - 2
    kept: list[bytes] = []
    for index, (identifier, message) in enumerate(answers):
        too_large = Refusal("frame_too_large", "no room in the batch's answer; ask again alone")
        short = too_large.answer(identifier)
        reserved = (len(answers) - index - 1) * (len(short) + 64)
        kept.append(message if len(message) + 1 + reserved <= left else short)
        left -= len(kept[-1]) + 1
    return b"[" + b",".join(kept) + b"]"
