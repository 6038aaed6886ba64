"""What waits for a round: each item with the signatures that must hold before it counts."""

from __future__ import annotations

from msgspec import Struct

from billots.feed import FeedBatch, FeedRow
from billots.ledger import Outcome
from billots.node.peers import Link
from billots.node.reply import Reply
from billots.transfer import Transfer

Check = tuple[bytes, bytes, bytes]
"""Public key, message, signature."""


class Submission(Struct):
    """A wallet's transfer."""

    reply: Reply
    transfer: Transfer
    nonce: str | None
    outcomes: list[Outcome] | None = None
    checked: bool = False
    """Whether its signature is known to hold."""
    until: float | None = None
    """How long it may wait, once it does."""

    @property
    def row_count(self) -> int:
        """How many rows there are to judge."""
        return len(self.transfer.billots)


class Relayed(Struct):
    """A transfer that other servers have.

    `here` if a stranger showed it first to us. Such a one isn't `named` by anybody we trust
    and is kept only if it is taken: anybody can sign transfers of what isn't theirs.
    """

    transfer: Transfer
    source: int | None
    here: bool = False
    named: bool = True


class FeedWork(Struct):
    """A feed batch of a trusted server, rows parsed, root checked."""

    voter: str
    link: Link
    batch: FeedBatch
    rows: list[FeedRow]
    check: Check
    bodies: list[Transfer]

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return len(self.rows) + sum(len(body.billots) for body in self.bodies)


class BodiesWork(Struct):
    """Bodies that were fetched."""

    source: int
    bodies: list[Transfer]

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return sum(len(body.billots) for body in self.bodies)


class PairWork(Struct):
    """Two transfers that are said to conflict; `reply` if a stranger says so."""

    reply: Reply | None
    source: int
    first: Transfer
    second: Transfer

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return len(self.first.billots) + len(self.second.billots)


Work = Submission | FeedWork | BodiesWork | PairWork
