"""Signed votes as they came, kept so that they can be shown to others."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from billots.feed import FeedBatch
from billots.holding import Holding
from billots.lazy import lazy
from billots.merkle import Tree
from billots.receipt import FeedVote, SignedVote
from billots.statement import SignedStatement, Statement
from billots.transfer import Transfer

_SHARE_BYTES = 4096
"""How much of a batch a row of it that is kept may keep as well."""


class ReadBatch(Struct, dict=True):
    """A feed batch whose signature held, without the bodies that travelled with it.

    All ballots of its rows share it. One of which little is kept is cut down to that.
    """

    batch: FeedBatch
    few: dict[int, SignedVote | None] | None = None

    @lazy
    def tree(self) -> Tree:
        """Its hashes: made once, for many of its rows are shown or none."""
        return Tree([row.encode() for row in self.batch.rows])

    def is_long(self, kept: int) -> bool:
        """Whether that is much for as many rows of it as are kept."""
        return sum(map(len, self.batch.rows)) > _SHARE_BYTES * (1 + kept)

    def keep(self, lsns: Collection[int]) -> None:
        """Only rows with these lsns are kept: the rest, if it is much, is let go."""
        if lsns and self.is_long(len(lsns)):
            self.few = {lsn: self.vote(lsn) for lsn in lsns}
            self.batch = FeedBatch(self.batch.server, (), self.batch.root, self.batch.signature)
            self.__dict__.pop("tree", None)

    def vote(self, lsn: int) -> SignedVote | None:
        """The row with this lsn as a vote that can be shown; None if it was not kept."""
        if self.few is not None:
            return self.few.get(lsn)
        start = f"{lsn} "
        for index, row in enumerate(self.batch.rows):
            if row.startswith(start):
                return SignedVote(feed=FeedVote.of(self.batch, index, self.tree))
        return None


Proof = ReadBatch | SignedStatement | SignedVote


def shown_vote(proof: Proof | None, lsn: int) -> SignedVote | None:
    """A proof as a vote of a receipt; `lsn` says which row of a batch it is."""
    match proof:
        case ReadBatch():
            return proof.vote(lsn)
        case SignedStatement():
            return SignedVote(statement=proof)
        case _:
            return proof


def bodies_of(statement: Statement) -> list[Transfer]:
    """The transfers that came with a statement; one that moved several of its billots once."""
    found = (row.transfer for row in statement.billots if isinstance(row.transfer, Transfer))
    return list({transfer.id: transfer for transfer in found}.values())


def is_proof(transfer: Transfer, billot: str, holding: Holding) -> bool:
    """Whether a transfer is the one that a holding is said to come from; unverified."""
    moved = (transfer.sender, transfer.to) == (holding.sender, holding.owner)
    return moved and (billot, holding.seq) in transfer.billots
