"""A server for the wallet's tests: real TCP, the real protocol, and told how to misbehave.

It keeps holdings in a dict and judges nothing but what a test needs. Unmoved billots are the
network's. Two ways to make it bad: `holdings` it lies about, and `behaviour`, a function for a
method that gets the params and a default answer and returns bytes to send instead.
"""

import asyncio
import copy
from pathlib import Path

import msgspec

import billots.mock
from billots.connection import FRAME_BYTES_MAX
from billots.crypto import PrivateKey
from billots.holding import Holding, Status
from billots.host import Host
from billots.jsonrpc import (
    CODES,
    answer,
    decode_params,
    decode_request,
    encode,
    error_answer,
    notification,
)
from billots.messages import (
    Accepted,
    Change,
    ChangeList,
    Fetched,
    Info,
    ListBillots,
    Listed,
    ListedBillot,
    NetworkName,
    Pair,
    Subscribed,
    Transferred,
    UnmovedRange,
)
from billots.network import Network, split_billot_id
from billots.statement import Statement
from billots.transfer import Transfer

TEST = Network.shipped("test")
_MOCK = Path(billots.mock.__file__).parent
OWNERS = {
    key.owner: key
    for key in (PrivateKey.load(_MOCK / name) for name in ("user1", "user2", "user3", "mint"))
}
SILENT = object()
"""Returned by a behaviour: no answer at all."""
CLOSE = object()
"""Returned by a behaviour: the connection ends."""


class FakeServer:
    """An async context manager; listens on a free port of `address` while it is entered."""

    def __init__(self, network=TEST, *, address="127.0.0.1", key=None, port=0):
        self.network = network
        self.address = address
        self.port = port
        self.key = key or PrivateKey.generate()
        self.holdings = {}
        self.evidence = {}
        self.behaviour = {}
        self.proofs = {}
        """(billot, seq, to): the transfer that a question with proofs is answered with."""
        self.receipts = {}
        """billot: the receipt, as JSON, that such an answer carries."""
        self.trusted = []
        self.feed = []
        """Batches that who subscribes is sent."""
        self.gate = None
        """An event that answers wait for."""
        self.requests = []
        """(method, params) in the order in which they came."""
        self._writers = set()
        self._watchers = set()

    @property
    def host(self):
        return Host(self.address, self.port)

    @property
    def pinned(self):
        return Host(self.address, self.port, self.key.public_hex)

    @property
    def transfers(self):
        """The transfers that were sent here, byte by byte as the wallet encodes them."""
        return [encode(p.transfer) for method, p in self.requests if method == "transfer"]

    def asked(self, method):
        return [params for name, params in self.requests if name == method]

    def holding(self, billot):
        if billot in self.holdings:
            return self.holdings[billot]
        owner = self.network.first_owner(billot)
        return Holding(0, None, owner, Status.SETTLED if owner else Status.UNISSUED)

    def own(self, billot, seq, sender, owner, status=Status.SETTLED):
        self.holdings[billot] = Holding(seq, sender, owner, status)
        if sender in OWNERS and (billot, seq, owner) not in self.proofs:
            self.prove(Transfer.sign(self.network, OWNERS[sender], owner, [(billot, seq)]))

    def prove(self, transfer):
        for billot, seq in transfer.billots:
            self.proofs[billot, seq, transfer.to] = transfer

    def announce(self, *transfers):
        """Tell everybody who watches an owner that these were taken, true or not."""
        for writer in self._watchers:
            for transfer in transfers:
                writer.write(notification("transferred", Transferred(9, transfer)) + b"\n")

    def drop(self):
        """End all connections; it goes on listening."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._serve, self.address, self.port, limit=FRAME_BYTES_MAX
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                request = decode_request(line)
                if self.gate is not None:
                    await self.gate.wait()
                said = self.reply(request)
                if said is CLOSE:
                    return
                if said is not SILENT:
                    writer.write(said + b"\n")
                if request.method == "subscribe":
                    if decode_params(request).owner is not None:
                        self._watchers.add(writer)
                    for batch in self.feed:
                        writer.write(notification("feed", batch) + b"\n")
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            self._watchers.discard(writer)
            writer.close()

    def reply(self, request):
        params = decode_params(request)
        self.requests.append((request.method, params))
        default = getattr(self, f"on_{request.method}")(params)
        if request.method in self.behaviour:
            default = self.behaviour[request.method](params, default)
        if isinstance(default, Refuse):
            return default.answer(request.id)
        return default if default in (SILENT, CLOSE) else answer(request.id, default)

    def on_info(self, _params):
        name = NetworkName(self.network.name, self.network.id)
        return Info("billots", "1", 1, name, self.key.public_hex, 0, 9, self.trusted, {}, {})

    def on_who_owns(self, params):
        return self.statement(params.billots, params.nonce, proof=params.proof)

    def statement(self, billots, nonce, *, proof=False):
        rows = [(billot, self.holding(billot)) for billot in billots]
        proofs = [self.proof(billot, holding) for billot, holding in rows] if proof else None
        statement = Statement.make(self.network, self.key.public_hex, rows, proofs)
        return statement if nonce is None else statement.sign(self.key, nonce)

    def proof(self, billot, holding):
        receipt = self.receipts.get(billot)
        transfer = self.proofs.get((billot, holding.seq, holding.owner))
        return transfer, msgspec.Raw(b"null" if receipt is None else receipt)

    def on_settle(self, params):
        rows = [row for receipt in params.receipts for row in receipt.transfer.billots]
        return self.statement([billot for billot, _ in rows], params.nonce)

    def on_evidence(self, params):
        first_second = self.evidence.get(params.billot)
        return None if first_second is None else Pair(*first_second)

    def on_transfer(self, params):
        transfer = params.transfer
        for billot, seq in transfer.billots:
            now = self.holding(billot)
            again = (now.seq, now.sender, now.owner) == (seq, transfer.sender, transfer.to)
            if not again and (now.seq + 1, now.owner) != (seq, transfer.sender):
                return Refuse("stale_seq", {"billot": billot, "holding": now})
        self.prove(transfer)
        for billot, seq in transfer.billots:
            self.own(billot, seq, transfer.sender, transfer.to)
        ids = [billot for billot, _ in transfer.billots]
        return Accepted(True, transfer.id, self.statement(ids, params.nonce))

    def on_changes(self, params):
        transfers = {transfer.id: transfer for transfer in self.proofs.values()}
        changes = [Change(lsn + 1, t) for lsn, t in enumerate(transfers.values())]
        return ChangeList(changes[: params.limit], len(changes))

    def on_subscribe(self, _params):
        return Subscribed(9 if self.feed else 0)

    def on_fetch(self, params):
        known = {transfer.id: transfer for transfer in self.proofs.values()}
        return Fetched([known[i] for i in params.transfer_ids if i in known])

    def on_list(self, params: ListBillots):
        moved = sorted(
            (b for b, h in self.holdings.items() if h.owner == params.owner), key=split_billot_id
        )
        start = int(params.cursor or 0)
        page = moved[start : start + params.limit]
        listed = [ListedBillot(b, self.holdings[b].seq, self.holdings[b].status, "0") for b in page]
        if start + len(page) < len(moved):
            return Listed(listed, [], str(start + len(page)))
        return Listed(listed, list(self._unmoved(params.owner)), None)

    def _unmoved(self, owner):
        for billot in self.network.allocated_to(owner):
            if billot not in self.holdings:
                prefix, number = split_billot_id(billot)
                yield UnmovedRange(prefix, number, number)
        if owner != self.network.issuer:
            return
        gone = {*self.network.allocations, *self.holdings}
        for prefix, denomination in self.network.denominations.items():
            start = 1
            numbers = sorted(n for p, n in map(split_billot_id, gone) if p == prefix)
            for number in [*numbers, denomination.circulation + 1]:
                if start < number:
                    yield UnmovedRange(prefix, start, number - 1)
                start = number + 1


class Refuse:
    """An application error as an answer; `message` is text of the server's own."""

    def __init__(self, name, data=None, message="as the server words it"):
        self.code = CODES.get(name, name)
        self.data = {"error": name, **(data or {})}
        self.message = message

    def answer(self, request_id):
        return error_answer(request_id, self.code, self.message, self.data)


def altered(struct, **changes):
    """A copy of a message with some fields changed, its signature left as it was."""
    if not changes:
        return copy.copy(struct)
    return msgspec.structs.replace(struct, **changes)
