"""A trusted server that lies: a key of its own, the real protocol, and another story for each.

It is believed to be one of them, for it signs what it says. Who asks on a link is known by the
key that it subscribed with; everybody else is a wallet.
"""

import asyncio
import contextlib

import msgspec

from billots.connection import FRAME_BYTES_MAX
from billots.crypto import PrivateKey
from billots.feed import FeedBatch
from billots.holding import Holding, Status
from billots.host import Host
from billots.jsonrpc import (
    METHOD_NOT_FOUND,
    answer,
    decode_params,
    decode_request,
    encode,
    error_answer,
    notification,
)
from billots.messages import Accepted, Fetched, Info, NetworkName, Subscribed
from billots.network import Network
from billots.receipt import Receipt, SignedVote
from billots.statement import NULL, Statement

TEST = Network.shipped("test")
WALLETS = "wallets"
_ANSWERED = frozenset({"info", "ping", "who_owns", "transfer", "subscribe", "fetch"})


class Story:
    """What somebody is told: of each billot a transfer that moved it last, and its status."""

    def __init__(self):
        self.told = {}
        self.receipts = {}

    def tell(self, transfer, status=Status.SETTLED, receipt=None):
        for billot, seq in transfer.billots:
            self.told[billot] = (transfer, Holding(seq, transfer.sender, transfer.to, status))
            self.receipts[billot] = receipt

    def row(self, billot):
        if billot in self.told:
            return billot, self.told[billot][1]
        return billot, Holding(0, None, TEST.first_owner(billot), Status.SETTLED)

    def proof(self, billot):
        receipt = self.receipts.get(billot)
        raw = NULL if receipt is None else msgspec.Raw(encode(receipt))
        return self.told.get(billot, (None,))[0], raw


class Liar:
    """Listens while it is entered. `stories` by who asks; `bodies` are what can be fetched."""

    def __init__(self):
        self.key = PrivateKey.generate()
        self.stories = {WALLETS: Story()}
        self.bodies = {}
        self.followers = {}
        self.mute = False
        self._lsn = 0
        self._writers = set()
        self._tasks = set()

    @property
    def host(self):
        return Host("127.0.0.1", self.port, self.key.public_hex)

    async def __aenter__(self):
        self._listener = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=FRAME_BYTES_MAX
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.vanish()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- silence ------------------------------------------------------------------------------

    def vanish(self):
        """From now on nobody is there."""
        self._listener.close()
        for writer in self._writers:
            writer.transport.abort()

    def fall_silent(self):
        """From now on it takes every word and says none."""
        self.mute = True

    # -- lies ---------------------------------------------------------------------------------

    def story(self, asker):
        return self.stories.setdefault(asker, Story())

    def know(self, *transfers):
        self.bodies |= {transfer.id: transfer for transfer in transfers}

    def feed(self, asker, *make_rows, transfers=()):
        """Sign rows, each made of an lsn, for this follower alone."""
        rows = []
        for make in make_rows:
            self._lsn += 1
            rows.append(make(self._lsn))
        batch = FeedBatch.sign(TEST.id, self.key, rows, transfers)
        self.followers[asker].write(notification("feed", encode(batch)) + b"\n")

    def vote(self, transfer, billot, status=Status.SETTLED):
        """Its signed word on what a transfer did to a billot."""
        story = Story()
        story.tell(transfer, status)
        statement = Statement.make(TEST, self.key.public_hex, [story.row(billot)])
        return SignedVote(statement=statement.sign(self.key, "0" * 32).signed())

    def receipt(self, transfer, billot, *others):
        """A receipt with as many votes as it has."""
        return Receipt(transfer, (self.vote(transfer, billot), *others))

    # -- the protocol -------------------------------------------------------------------------

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        self._tasks.add(asyncio.current_task())
        asker = WALLETS
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                request = decode_request(line)
                if request.method == "subscribe":
                    asker = decode_params(request).me or WALLETS
                if self.mute:
                    continue
                if request.method in _ANSWERED:
                    said = getattr(self, f"_on_{request.method}")(decode_params(request), asker)
                    writer.write(answer(request.id, said) + b"\n")
                elif bytes(request.id):
                    writer.write(error_answer(request.id, METHOD_NOT_FOUND, "no") + b"\n")
                if request.method == "subscribe":
                    self.followers[asker] = writer
        writer.close()

    def _on_info(self, _params, _asker):
        name = NetworkName(TEST.name, TEST.id)
        return Info("billots", "1", 1, name, self.key.public_hex, 0, self._lsn, [], {}, {})

    def _on_ping(self, _params, _asker):
        return "pong"

    def _on_who_owns(self, params, asker):
        return self._statement(params.billots, params.nonce, asker, proof=params.proof)

    def _on_transfer(self, params, asker):
        self.know(params.transfer)
        billots = [billot for billot, _ in params.billots]
        said = Story()
        said.tell(params.transfer)
        statement = self._statement(billots, params.nonce, asker, story=said)
        return Accepted(True, params.transfer.id, statement)

    def _on_subscribe(self, _params, _asker):
        return Subscribed(self._lsn)

    def _on_fetch(self, params, _asker):
        found = (self.bodies.get(each) for each in params.transfer_ids)
        return Fetched([body for body in found if body is not None])

    def _statement(self, billots, nonce, asker, *, story=None, proof=False):
        story = story or self.story(asker)
        rows = [story.row(billot) for billot in billots]
        proofs = [story.proof(billot) for billot in billots] if proof else None
        statement = Statement.make(TEST, self.key.public_hex, rows, proofs)
        return statement if nonce is None else statement.sign(self.key, nonce)
