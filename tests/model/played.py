"""One real node whose trusted servers are played by the test: it says what the model says.

Every case of the model has a billot of its own, so that one node plays thousands of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
import rules as rule
from network import NET, SERVER_KEYS, Net, Peer, fields
from rules import Status, Vote
from translation import small, transfer

from billots.feed import AdoptedRow, FeedBatch, FeedRow, TransferRow
from billots.holding import Holding
from billots.host import Host
from billots.jsonrpc import notification
from billots.limits import Limits
from billots.messages import Pair, Settle
from billots.receipt import FeedVote, Receipt, SignedVote
from billots.statement import NULL, SignedStatement, Statement
from billots.transfer import Transfer

NO_BUDGET = Limits(
    consults_per_s=1e6,
    consults_own_per_s=1e6,
    consults_asked_max=100_000,
    pending_max=100_000,
    pending_per_connection_max=100_000,
)
"""Budgets are no part of the model: whatever may be asked about is asked about."""
ROWS_MAX = 24
"""Billots that one transfer moves into place: many share one signature, few cost little."""
NONCE = "0" * 32

Item = TypeVar("Item")


class Played:
    """A node that trusts n-1 played servers."""

    def __init__(self, n: int, *, limits: Limits = NO_BUDGET) -> None:
        hosts = [Host("127.0.0.1", 8000 + number) for number in range(n - 1)]
        self.n = n
        self.net = Net(1, trusted=[hosts], limits=limits)
        self.server = self.net[0]
        self.peers = [Peer(self.net, self.server, number) for number in range(n - 1)]
        self.lsns = dict.fromkeys(range(n - 1), 0)

    def holding(self, billot: str) -> rule.Holding:
        """What the node has on disk, as the model has it."""
        return small(self.server.holding(billot))

    def rest(self) -> None:
        """Let the node do all that it has to do now."""
        while self.server.step() or self.server.is_due:
            pass

    # -- own holdings -------------------------------------------------------------------------

    def stand(self, holding: rule.Holding, other: int, billots: Sequence[str]) -> None:
        """Bring the node to a holding of these billots, by messages alone.

        `other` is the owner that a contested holding is in conflict about.
        """
        seq, sender, _, status = holding
        for part in parts(billots):
            if status is Status.SETTLED:
                if seq:
                    self.settle(transfer(holding[:3], *part))
                continue
            if seq > 1:
                self.settle(transfer((seq - 1, 0, sender), *part))
            own = transfer(holding[:3], *part)
            assert self.server.client(exempt=True).transfer(own)["result"]["accepted"]
            if status is not Status.HELD:
                self.conflict(own, transfer((seq, sender, other), *part))
        assert {self.holding(billot) for billot in billots} <= {holding}

    def settle(self, settled: Transfer) -> None:
        """A receipt is shown, of a quorum's feed votes: the others', and of two also our own."""
        quorum = rule.DESIGN.quorum_of_servers(self.n)
        votes = [feed_vote(number, settled) for number in range(min(quorum, self.n - 1))]
        if len(votes) < quorum:
            votes.append(feed_vote(0, settled, own=True))
        self.show(Receipt(settled, tuple(votes)))

    def show(self, receipt: Receipt) -> bool:
        """Somebody shows a receipt: whether the node says that it is one."""
        answer = self.server.client(exempt=True).answer("settle", fields(Settle((receipt,))))
        return "result" in answer

    def conflict(self, first: Transfer, second: Transfer) -> None:
        """A stranger, whose word is no vote, shows a pair."""
        self.server.client(exempt=True).ask("conflict", fields(Pair(first, second)))

    # -- feeds --------------------------------------------------------------------------------

    def feed(self, number: int, row: Vote, *billots: str) -> None:
        """A trusted server's feed has one row more, with its body."""
        moved = transfer(row, *billots)
        self._feed(number, [TransferRow(self._lsn(number), moved.id)], [moved])

    def feed_all(self, number: int, rows: Sequence[tuple[str, Vote, bool]]) -> None:
        """Rows for single billots: votes come with bodies, claims are `adopted` rows without."""
        for part in parts(rows, 256):
            lines: list[FeedRow] = []
            bodies = []
            for billot, vote, claim in part:
                moved, lsn = transfer(vote, billot), self._lsn(number)
                if claim:
                    lines.append(AdoptedRow(lsn, billot, vote[0], moved.sender, moved.to))
                else:
                    lines.append(TransferRow(lsn, moved.id))
                    bodies.append(moved)
            self._feed(number, lines, bodies)

    def _lsn(self, number: int) -> int:
        self.lsns[number] += 1
        return self.lsns[number]

    def _feed(self, number: int, rows: Sequence[FeedRow], bodies: Sequence[Transfer]) -> None:
        peer = self.peers[number]
        peer.say(notification("feed", FeedBatch.sign(NET.id, peer.key, rows, bodies)))
        self.rest()

    # -- consults -----------------------------------------------------------------------------

    def asked(self) -> list[tuple[int, dict]]:
        """The questions of a consult that have come to the others, each with whom it came to."""
        self.rest()
        return [
            (number, message)
            for number, peer in enumerate(self.peers)
            for message in peer.read()
            if message.get("method") == "who_owns" and message["params"].get("consult")
        ]

    def state(self, number: int, request: dict, said: dict[str, Holding], bodies: dict) -> None:
        """A trusted server answers in a consult, with the transfers behind its holdings."""
        peer, params = self.peers[number], request["params"]
        holdings = [(billot, said[billot]) for billot in params["billots"]]
        proofs = [(bodies.get(billot), NULL) for billot in params["billots"]]
        statement = Statement.make(NET, peer.key.public_hex, holdings, proofs)
        signed = statement.sign(peer.key, params["nonce"])
        peer.reply(request, msgspec.Raw(msgspec.json.encode(signed)))
        self.rest()


def feed_vote(number: int, moved: Transfer, *, own: bool = False) -> SignedVote:
    """A vote as a row of a feed, by a played server or by the node itself."""
    key = SERVER_KEYS[0 if own else 10 + number]
    return SignedVote(feed=FeedVote.of(FeedBatch.sign(NET.id, key, [TransferRow(1, moved.id)]), 0))


def statement_vote(number: int, billot: str, holding: Holding, *, own: bool = False) -> SignedVote:
    """A vote as a statement."""
    key = SERVER_KEYS[0 if own else 10 + number]
    signed = Statement.make(NET, key.public_hex, [(billot, holding)]).sign(key, NONCE).signed()
    assert isinstance(signed, SignedStatement)
    return SignedVote(statement=signed)


def parts(items: Sequence[Item], count: int = ROWS_MAX) -> Iterable[Sequence[Item]]:
    """So many at a time."""
    for start in range(0, len(items), count):
        yield items[start : start + count]
