"""Requests of those who connect to us, and their answers: one frame, one batch or one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from billots.errors import BillotIdError, InputError
from billots.host import Host
from billots.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Malformed,
    Refusal,
    answer,
    check_text,
    decode_params,
    decode_request,
    error_answer,
    is_batch,
    split_batch,
)
from billots.messages import (
    PROTOCOL,
    Announce,
    HostList,
    Info,
    NetworkName,
    Pair,
    SendTransfer,
    Settle,
    Subscribe,
    Subscribed,
    WhoOwns,
)
from billots.network import ROWS_MAX
from billots.node.answers import Refused
from billots.node.memory import Phase
from billots.node.peers import Connection
from billots.node.reply import BatchReply, Reply
from billots.node.work import PairWork, ReceiptsWork, Submission, Work
from billots.transfer import Transfer

if TYPE_CHECKING:
    from billots.node.node import Node

_NO_ID = b""
_BATCH_STEP = 4
"""Requests of a batch at a time: each may take a few milliseconds."""
_LATER: Final = object()
"""What a method returns whose answer comes with a round, or has gone out."""


class Requests:
    """Every request gets one answer, notifications none; what is wrong with one ends there."""

    def __init__(self, node: Node) -> None:
        answers = node.answers
        self._node = node
        self._now = 0.0
        self._methods: dict[str, Callable[[Connection, Reply, Any], Any]] = {
            "info": self._info,
            "ping": lambda *_: "pong",
            "who_owns": self._who_owns,
            "settle": self._settle,
            "transfer": self._transfer,
            "list": lambda _conn, _reply, params: answers.list_billots(params),
            "hosts": lambda *_: self._hosts(),
            "announce": self._announce,
            "changes": lambda _conn, _reply, params: answers.changes(params),
            "subscribe": self._subscribe,
            "fetch": lambda _conn, _reply, params: answers.fetch(params.transfer_ids),
            "conflict": self._conflict,
            "evidence": lambda _conn, _reply, params: answers.evidence(params.billot),
        }

    # -- frames -------------------------------------------------------------------------------

    def frame(self, connection: Connection, frame: bytes, now: float) -> None:
        """One line: a request or a batch of them."""
        limits = self._node.limits
        batch = is_batch(frame)
        try:
            check_text(frame, limits.depth_max + (2 if batch else 1))
            requests = split_batch(frame, limits.batch_max) if batch else ()
        except Malformed as error:
            self._node.send(connection.id, error_answer(error.request_id, error.code, str(error)))
            return
        if batch:
            connection.in_flight += len(requests)
            gather = BatchReply(len(requests))
            connection.batch.extend((bytes(request), gather) for request in requests)
            self.go_on(connection, now)
        else:
            connection.in_flight += 1
            self._request(connection, frame, None, now)

    def go_on(self, connection: Connection, now: float) -> None:
        """Some more of a connection's batch: others get their turn in between."""
        for _ in range(min(_BATCH_STEP, len(connection.batch))):
            request, gather = connection.batch.popleft()
            self._request(connection, request, gather, now)

    def _request(
        self, connection: Connection, frame: bytes, gather: BatchReply | None, now: float
    ) -> None:
        self._now = now
        payer = connection.payer
        try:
            request = decode_request(frame)
        except Malformed as error:
            self._malformed(Reply(connection.id, _NO_ID, gather, payer), error)
            return
        reply = Reply(connection.id, bytes(request.id), gather, payer)
        try:
            params = decode_params(request)
            if payer:
                self._node.check_cost(payer, now)
            result = self._methods[request.method](connection, reply, params)
        except Malformed as error:
            self._malformed(reply, error)
        except Refused as error:
            self.refuse(reply, error.refusal)
        else:
            if result is not _LATER:
                self.result(reply, result)

    def _malformed(self, reply: Reply, error: Malformed) -> None:
        """Say what is wrong, except of a notification that could be read as one."""
        identifier = reply.id or error.request_id
        if reply.id or error.code in (INVALID_REQUEST, PARSE_ERROR):
            self.answer(reply, error_answer(identifier, error.code, str(error)))
        else:
            self.answer(reply, b"")

    # -- answers ------------------------------------------------------------------------------

    def result(self, reply: Reply, result: Any) -> None:
        """The answer to a call that went well."""
        self.answer(reply, answer(reply.id, result) if reply.id else b"")

    def refuse(self, reply: Reply, refusal: Refusal) -> None:
        """The answer to a call that was refused."""
        self.answer(reply, refusal.answer(reply.id) if reply.id else b"")

    def answer(self, reply: Reply, message: bytes) -> None:
        """Send an answer, or nothing for a notification; a batch's go out together."""
        connection = self._node.connections.get(reply.conn)
        if connection is None:
            return
        connection.in_flight -= 1
        frame_bytes_max = self._node.limits.frame_bytes_max
        gather = reply.batch
        if gather is None:
            if message:
                self._node.send(reply.conn, _fitting(reply.id, message, frame_bytes_max))
            return
        gather.left -= 1
        if message:
            gather.answers.append((reply.id or b"null", message))
        if not gather.left and gather.answers:
            self._node.send(reply.conn, _joined(gather.answers, frame_bytes_max))

    # -- methods ------------------------------------------------------------------------------

    def _feed_all(self, connection: Connection) -> None:
        """Send what there is: who follows us, asks for our lsn and reads up to it, had everything.

        It breaks up what would go out together, so that it has its price.
        """
        cost = self._node.subscriptions.feed(self._now, at_once=True)
        if cost and connection.payer:
            self._node.charge(connection.payer, cost, self._now)

    def _info(self, connection: Connection, *_: object) -> Info:
        node = self._node
        if connection.subscriber is not None:
            self._feed_all(connection)
        ledger, trust, rounds, settings = node.ledger, node.trust, node.rounds, node.settings
        counts = {
            "billots_moved": ledger.moved_count,
            "unsettled": len(ledger.unsettled_billots),
            "pending": len(rounds.pending),
            "wanted": len(rounds.feeds.wanted),
            "connections": len(node.connections),
            "subscribers": len(node.subscriptions),
            "links_up": node.links.up_count,
            "bodies_from_links": node.links.bodies_count,
            "n": trust.n,
            "quorum": trust.quorum,
            "consults": len(rounds.consults),
            "rows_to_read": node.links.progress.left,
            **node.memory.counts,
        }
        trusted = [
            str(Host(entry.host.address, entry.host.port, entry.key))
            for entry in trust.entries
            if not entry.own
        ]
        return Info(
            settings.name,
            settings.version,
            PROTOCOL,
            NetworkName(node.network.name, node.network.id),
            node.key.public_hex,
            settings.started,
            node.outfeed.position,
            node.answers.fits(trusted),
            counts,
            node.limits.public,
        )

    def _hosts(self) -> HostList:
        node = self._node
        keys = {entry.host.place: entry.key for entry in node.trust.entries}
        texts = [
            str(Host(host.address, host.port, keys.get(host.place) or host.key))
            for host in node.hosts.get_hosts()
        ]
        return HostList(node.answers.fits(texts))

    def _announce(self, connection: Connection, _reply: Reply, params: Announce) -> HostList:
        if params.key != self._node.key.public_hex:
            self._node.probes.append((connection.address, params))
        return self._hosts()

    def _subscribe(self, connection: Connection, _reply: Reply, params: Subscribe) -> object:
        node = self._node
        self._feed_all(connection)
        if params.owner is not None:
            node.subscriptions.watch(connection, params.owner)
            return Subscribed(node.outfeed.position)
        node.subscriptions.follow(connection, params)
        yours = None
        if params.me is not None:
            node.redial.update(node.links.down_with(params.me))
            yours = node.links.remembered.newest(params.me)
        return Subscribed(node.outfeed.position, yours)

    def _who_owns(self, _connection: Connection, reply: Reply, params: WhoOwns) -> object:
        node = self._node
        node.answers.look(params)
        silent = node.memory.silent(params.billots)
        if silent and not params.consult:  # a peer that consults never waits
            asked = node.memory.phase is Phase.WAKING or node.rounds.consulting.clear(
                silent, self._now
            )
            known = [] if node.memory.phase is Phase.WAKING else silent

            def go_on() -> None:
                self.result(reply, node.answers.who_owns(params))

            if asked and node.questions.add(known, go_on, self._now):
                return _LATER
        return node.answers.who_owns(params)

    def _transfer(self, connection: Connection, reply: Reply, params: SendTransfer) -> object:
        try:
            transfer = params.transfer
        except InputError as error:
            raise Malformed(INVALID_PARAMS, str(error)) from None
        self._check_transfer(transfer)
        works: list[Work] = []
        if params.receipts:
            works.append(ReceiptsWork(connection.id, reply.payer, params.receipts))
        works.append(Submission(reply, transfer, params.nonce))
        return self._once_awake(reply, works)

    def _settle(self, connection: Connection, reply: Reply, params: Settle) -> object:
        billots = {b for receipt in params.receipts for b, _ in receipt.transfer.billots}
        if len(billots) > ROWS_MAX:
            message = f"receipts of at most {ROWS_MAX} billots in all"
            raise Malformed(INVALID_PARAMS, message)
        for receipt in params.receipts:
            self._check_transfer(receipt.transfer)
        work = ReceiptsWork(connection.id, reply.payer, params.receipts, reply, params.nonce)
        return self._once_awake(reply, [work])

    def _once_awake(self, reply: Reply, works: Sequence[Work]) -> object:
        """Queue them now; in the first moments of a server, as soon as it may sign anything.

        Refused as not settled yet if that takes too long.
        """
        node = self._node
        if node.memory.phase is not Phase.WAKING:
            for work in works:
                node.rounds.add(work)
            return _LATER
        refusal = Refusal("not_settled", "this server is just starting; try again")

        def when_over() -> None:
            if node.memory.phase is Phase.WAKING:
                self.refuse(reply, refusal)
            else:
                for work in works:
                    node.rounds.add(work)

        if not node.questions.add((), when_over, self._now):
            raise Refused(refusal)
        return _LATER

    def _conflict(self, connection: Connection, reply: Reply, params: Pair) -> object:
        for transfer in (params.first, params.second):
            self._check_transfer(transfer)
        work = PairWork(reply, connection.id, params.first, params.second)
        return self._once_awake(reply, [work])

    def _check_transfer(self, transfer: Transfer) -> None:
        """Raise Refused for another network or an id not of it, Malformed for rows out of order."""
        network = self._node.network
        if transfer.network != network.id:
            message = "this server serves another network"
            raise Refused(Refusal("wrong_network", message, {"network": network.id}))
        try:
            transfer.check(network)
        except BillotIdError:
            for billot, _ in transfer.billots:
                self._node.answers.check(billot)
        except InputError as error:
            raise Malformed(INVALID_PARAMS, str(error)) from None


def _no_room(identifier: bytes) -> bytes:
    refusal = Refusal("frame_too_large", "the answer doesn't fit a frame; ask for less, or alone")
    return refusal.answer(identifier)


def _fitting(identifier: bytes, message: bytes, frame_bytes_max: int) -> bytes:
    """The answer itself if it fits a frame; else that it doesn't. An id may be long, too."""
    if len(message) <= frame_bytes_max:
        return message
    short = _no_room(identifier)
    return short if len(short) <= frame_bytes_max else _no_room(b"null")


def _joined(answers: Sequence[tuple[bytes, bytes]], frame_bytes_max: int) -> bytes:
    """A batch's answers as one array; those that don't fit are to be asked again alone."""
    shorts = [_no_room(identifier) for identifier, _ in answers]
    reserved = sum(len(short) + 1 for short in shorts)
    left = frame_bytes_max - 1
    if reserved > left:
        return _no_room(b"null")
    kept: list[bytes] = []
    for (_, message), short in zip(answers, shorts, strict=True):
        reserved -= len(short) + 1
        kept.append(message if len(message) + 1 + reserved <= left else short)
        left -= len(kept[-1]) + 1
    return b"[" + b",".join(kept) + b"]"
