"""The node: every message of a server, without any I/O (DESIGN, sections 5 to 8).

A driver hands in what arrived and the time, and carries out what it finds in `out`, `hangups`,
`redial` and `probes`. A round goes `checks` → `judge` → (the driver commits the batch) →
`committed`. Nothing here waits, and nothing reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from billots.crypto import PrivateKey
from billots.holding import Holding
from billots.host import Host
from billots.hosts import Hosts
from billots.jsonrpc import Refusal, notification
from billots.ledger import Ledger
from billots.limits import Limits
from billots.messages import Accepted, Announce, Kept
from billots.network import Network
from billots.node.answers import Answers, Refused
from billots.node.costs import Costs
from billots.node.links import Links
from billots.node.memory import Memory, Phase
from billots.node.outfeed import OutFeed
from billots.node.peers import Connection
from billots.node.questions import Questions
from billots.node.requests import Requests
from billots.node.rounds import Rounds
from billots.node.subscriptions import Subscriptions
from billots.node.trust import Trust
from billots.node.verdicts import Decision
from billots.node.work import ReceiptsWork, Submission
from billots.receipt import Check
from billots.statement import SignedStatement, Statement, new_nonce
from billots.store.interface import Batch, Store

_BATCHES_STEP = 4
_FLUSH_S = 1.0
"""How long settled marks may wait for a batch to ride along with."""
_AT_ONCE = 0.0
_CHARGED = frozenset({"behind", "conflicting_transfer"})
"""Refusals after a signature that held: anybody can sign as many of these as he likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a node is told at its start.

    `started` is for `info`; nothing is decided by it. `accept` are trusted servers whose key
    may be another one than the one known: the one named, else the next that they show. `nonce`
    makes nonces that nobody can foresee.
    """

    name: str = "billots"
    version: str = "0"
    port: int = 0
    trusted: Sequence[Host] = ()
    accept: Sequence[Host] = ()
    started: int = 0
    limits: Limits = field(default_factory=Limits)
    nonce: Callable[[], str] = new_nonce


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
        self.memory = Memory(self.ledger, self.trust)
        self.rounds = Rounds(self.ledger, self.trust, self.memory, limits, self._sign)
        self.answers = Answers(self.ledger, self.memory, self.rounds.feeds, key, limits)
        self.questions = Questions(limits.questions_max, limits.question_s)
        self.hosts = Hosts(settings.trusted, limits.hosts_max)
        self.connections: dict[int, Connection] = {}
        self._batching: dict[int, Connection] = {}
        self.subscriptions = Subscriptions(self)
        self.links = Links(self)
        # What the driver is to do:
        self.out: dict[int, list[bytes]] = {}
        self.hangups: set[int] = set()
        self.redial: set[int] = set()
        self.probes: list[tuple[str, Announce]] = []
        self.writing = False
        """Whether a batch is on its way to disk."""
        self.outdated = False
        """Whether the store turned out to be an old copy: this node must end, its key with it."""

        self._requests = Requests(self)
        self._costs = Costs(limits.cost_per_address_max, limits.cost_decay_per_s)
        self._flush_at: float | None = None

    @property
    def outfeed(self) -> OutFeed:
        """Our own feed."""
        return self.subscriptions.outfeed

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
        self.hangups.discard(conn)
        if connection is not None:
            self.subscriptions.closed(connection)
            self._batching.pop(conn, None)

    def blocked(self, conn: int, *, blocked: bool) -> None:
        """The other side stopped reading what we send, or reads again."""
        connection = self.connections.get(conn)
        if connection is not None:
            connection.blocked = blocked
            self.subscriptions.pump(connection)

    def busy(self, conn: int) -> bool:
        """Whether nothing more is to be read from a connection for now."""
        connection = self.connections.get(conn)
        if connection is not None:
            return bool(connection.batch) or connection.in_flight >= self.limits.in_flight_max
        return self.links.busy(conn)

    def received(self, conn: int, frames: Sequence[bytes], now: float) -> None:
        """Frames arrived on a connection."""
        connection = self.connections.get(conn)
        if connection is None:
            self.links.received(conn, frames)
            return
        for frame in frames:
            self._requests.frame(connection, frame, now)
        if connection.batch:
            self._batching[conn] = connection

    def too_large(self, conn: int) -> None:
        """A line over the limit came: the one error after which a connection can't go on."""
        if conn in self.connections:
            limit = self.limits.frame_bytes_max
            refusal = Refusal("frame_too_large", f"a message has at most {limit} bytes")
            self.send(conn, refusal.answer(b"null"))
        self.hangups.add(conn)

    def _sign(self, billot: str, holding: Holding) -> SignedStatement:
        """Our vote on one billot, to be shown to others."""
        statement = Statement.make(self.network, self.key.public_hex, [(billot, holding)])
        signed = statement.sign(self.key, self.settings.nonce()).signed()
        assert signed is not None, "it has a nonce"
        return signed

    def send(self, conn: int, message: bytes) -> None:
        """Queue a message for the driver."""
        self.out.setdefault(conn, []).append(message)

    def check_cost(self, payer: str, now: float) -> None:
        """Raise Refused if an address has wasted too much of our time lately."""
        if self._costs.exceeded(payer, now):
            raise Refused(Refusal("rate_limited", "too many costly requests; wait a little"))

    # -- rounds -------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether a round is to be begun."""
        return self.memory.phase is not Phase.WAKING and self.rounds.has_work

    @property
    def can_wait(self) -> bool:
        """Whether trusted servers alone have sent something: more of it may come together."""
        return self.has_work and self.rounds.can_wait

    def checks(self) -> list[Check]:
        """Begin a round: the signatures that it turns on, as `crypto.verify` takes them."""
        return self.rounds.checks()

    def judge(self, results: Sequence[bool], now: float) -> Batch | None:
        """Judge the round. Returns what must be on disk before `committed` may be called."""
        self.rounds.judge(results, now)
        if self.ledger.urgent or (self._flush_at is not None and now >= self._flush_at):
            self.links.remembered.note()
            self._flush_at = None
            self.writing = True
            return self.ledger.batch()
        has_news = self.ledger.dirty or self.rounds.incoming.fed or self.links.remembered.has_keys
        if has_news and self._flush_at is None:
            self._flush_at = now + _FLUSH_S
        return None

    def committed(self, now: float, *, written: bool) -> None:
        """The round is on disk (or wrote nothing): say what it came to."""
        self.writing = False
        rounds, subscriptions = self.rounds, self.subscriptions
        sources = rounds.taking.sources
        for entry in self.ledger.committed() if written else ():
            subscriptions.add(entry, sources.get(entry.lsn), now)
        sources.clear()
        self.memory.committed()
        self._answer(now)
        conflicts, rounds.taking.conflicts = rounds.taking.conflicts, []
        for pair, source in conflicts:
            subscriptions.spread(notification("conflict", pair), source)
        fed, rounds.incoming.fed = rounds.incoming.fed, []
        for link in fed:
            self.links.dealt_with(link)
        wasted, rounds.incoming.wasted = rounds.incoming.wasted, []
        for conn, payer, what, cost in wasted:
            if payer:
                self.charge(payer, cost, now)
            self.links.misbehaved(conn, what)
        subscriptions.feed(now)

    def _answer(self, now: float) -> None:
        """Tell those who asked what this round came to."""
        rounds = self.rounds
        decided, rounds.decided = rounds.decided, []
        for work, decision in decided:
            self._say(work, decision, now)
        incoming = rounds.incoming
        paired, incoming.paired = incoming.paired, []
        for pair_work, kept in paired:
            if pair_work.reply is not None:
                self._requests.result(pair_work.reply, Kept(kept))
            else:
                self.links.dealt_with(pair_work.source)
        receipted, incoming.receipted = incoming.receipted, []
        for receipts_work in receipted:
            self._say_receipts(receipts_work)
        known, rounds.consulting.known = rounds.consulting.known, []
        self.questions.known(known)
        if self.memory.is_free:
            self.questions.all_known()

    def charge(self, payer: str, cost: float, now: float) -> None:
        """An address cost us this much (1 is a signature check)."""
        self._costs.charge(payer, cost, now)

    def failed(self) -> None:
        """The batch could not be written: nothing of it is said, and nothing more is taken."""
        for reply in self.rounds.abandon():
            refusal = Refusal("store_failed", "this server can't write; try another")
            self._requests.refuse(reply, refusal)

    def _say(self, work: Submission, decision: Decision, now: float) -> None:
        reply = work.reply
        if isinstance(decision, Refusal):
            if decision.name in _CHARGED and reply.payer:
                self.charge(reply.payer, 1.0, now)
            self._requests.refuse(reply, decision)
            return
        statement = Statement(self.network.id, self.key.public_hex, tuple(decision))
        if work.nonce is not None:
            statement = statement.sign(self.key, work.nonce)
        self._requests.result(reply, Accepted(True, work.transfer.id, statement))

    def _say_receipts(self, work: ReceiptsWork) -> None:
        assert work.reply is not None, "only what is to be answered is said"
        if work.bad is not None:
            refusal = Refusal(
                "bad_receipt",
                "not the signed votes of a quorum of those that this server trusts",
                {"receipt": work.bad},
            )
            self._requests.refuse(work.reply, refusal)
            return
        rows = (row for receipt in work.receipts for row in receipt.transfer.billots)
        billots = list(dict.fromkeys(billot for billot, _ in rows))
        self._requests.result(work.reply, self.answers.statement(billots, work.nonce))

    def pump(self, now: float) -> None:
        """Ask for what is overdue; go on with long batches, and with those who lag behind our feed.

        After a round, which may have brought what was overdue.
        """
        if self.memory.phase is Phase.WAKING or self.rounds.backlog.may_ask():
            self.links.fetch(now)
            self.links.consult(now)
            self.links.remind(now)
        for connection in list(self._batching.values())[:_BATCHES_STEP]:
            del self._batching[connection.id]
            self._requests.go_on(connection, now)
            if connection.batch:
                self._batching[connection.id] = connection  # behind the others
        self.subscriptions.pump_some()

    @property
    def lagging(self) -> bool:
        """Whether `pump` has something to do."""
        return bool(self._batching) or self.subscriptions.lagging

    # -- time ---------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When `tick` and `pump` are to be called at the latest; it may be in the past."""
        times = (
            self.outfeed.next_at,
            self.rounds.feeds.wanted.next_at,
            self.rounds.pending.next_at,
            self._flush_at,
            self.links.reminders.next_at,
            self.rounds.consults.next_at,
            self.rounds.receipts.next_at,
            self.rounds.feeds.tallies.next_at,
            self.questions.next_at,
            self.memory.next_at,
            self.links.progress.next_at,
            _AT_ONCE if self.lagging else None,
        )
        return min((at for at in times if at is not None), default=None)

    @property
    def flush_due(self) -> bool:
        """Whether marks wait for a batch that nobody else brings."""
        return self._flush_at is not None

    def tick(self, now: float) -> None:
        """Time has passed. A round may be due afterwards (`has_work`, `flush_due`)."""
        if self.memory.tick(now):
            self.rounds.look()
            self.questions.all_known()
        self.questions.expire(now)
        self.rounds.expire(now)
        self.links.progress.tell(now)
        self.subscriptions.feed(now)

    def stopping(self) -> Batch | None:
        """The last batch: marks and receipts that nothing carried to disk yet."""
        self.rounds.feeds.tallies.hand_over_all()  # what settled is written, or read again
        self.rounds.receipts.write(float("inf"))
        self.links.remembered.note()
        return self.ledger.batch() if self.ledger.dirty else None
