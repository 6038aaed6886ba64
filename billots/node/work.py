"""What waits for a round: each item with the signatures that must hold before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct, field

from billots.feed import AdoptedRow, FeedBatch, Table
from billots.node.peers import Link
from billots.node.reply import Reply
from billots.receipt import Check, Receipt, Word
from billots.statement import Statement
from billots.table import Outcome
from billots.transfer import Transfer


class Submission(Struct):
    """A wallet's transfer."""

    theirs: ClassVar[bool] = False
    """Whether a trusted server sent it (and so for each kind of item)."""

    reply: Reply
    transfer: Transfer
    nonce: str | None
    outcomes: list[Outcome] | None = None
    checked: bool = False
    """Whether its signature is known to hold."""
    until: float | None = None
    """How long it may wait, once it does."""
    consulted: set[str] = field(default_factory=set)
    """Billots that others were asked about since it came."""

    @property
    def brings(self) -> Sequence[Transfer]:
        """The transfers that may be taken if their signatures hold (and so for each kind)."""
        return (self.transfer,)

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
    """A feed batch of a trusted server, rows parsed, root checked; the stream that it is of.

    `adopted` are those of the rows that say so.
    """

    theirs: ClassVar[bool] = True

    voter: str
    link: Link
    stream: int
    batch: FeedBatch
    rows: Table
    adopted: list[AdoptedRow]
    check: Check
    bodies: list[Transfer]

    @property
    def brings(self) -> Sequence[Transfer]:
        """The bodies that came along."""
        return self.bodies

    @property
    def is_current(self) -> bool:
        """Whether its link goes on with this stream.

        Else there may be rows before these that are to be read once more, and that would be
        taken for read.
        """
        return not self.link.closed and self.stream == self.link.streams_asked

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return len(self.rows) + sum(len(body.billots) for body in self.bodies)


class BodiesWork(Struct):
    """Bodies that were fetched."""

    theirs: ClassVar[bool] = True

    source: int
    bodies: list[Transfer]

    @property
    def brings(self) -> Sequence[Transfer]:
        """The same."""
        return self.bodies

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

    brings: ClassVar[Sequence[Transfer]] = ()
    """Seldom any."""

    @property
    def theirs(self) -> bool:
        """Whether a trusted server sent it."""
        return self.reply is None

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return len(self.first.billots) + len(self.second.billots)


class Shown(Struct):
    """A receipt that would change something here, if the signatures of its words hold."""

    receipt: Receipt
    words: list[Word]
    index: int = 0


class ReceiptsWork(Struct):
    """Receipts that somebody shows; `reply` if the answer is to say what they came to.

    `shown` are those of them that are worth their signatures, once the round has begun.
    """

    theirs: ClassVar[bool] = False
    brings: ClassVar[Sequence[Transfer]] = ()

    source: int
    payer: str
    receipts: tuple[Receipt, ...]
    reply: Reply | None = None
    nonce: str | None = None
    shown: list[Shown] = field(default_factory=list)
    bad: int | None = None
    """Which of them is none."""

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return sum(len(receipt.transfer.billots) for receipt in self.receipts)


class ConsultWork(Struct):
    """A trusted server's answer in a consult: its statement, with proofs."""

    theirs: ClassVar[bool] = True
    brings: ClassVar[Sequence[Transfer]] = ()

    key: str
    link: Link
    asked: tuple[str, ...]
    statement: Statement
    check: Check
    bodies: list[Transfer] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        """How many rows there are to judge, at most."""
        return len(self.asked)


Incoming = FeedWork | BodiesWork | PairWork | ReceiptsWork | ConsultWork
"""What others bring: all but wallets' transfers."""
Work = Submission | Incoming
