"""The votes that settled a holding, kept for servers that did not hear them (rule 5).

They are kept until equal votes of all trusted servers are known, or the next seq is settled.
Almost always that is a moment; what takes longer goes to disk. Only with it, or without need of
it, is the holding marked as settled on disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import Struct

from billots.holding import Holding, Status, Vote
from billots.ledger import Ledger
from billots.node.proofs import shown_vote
from billots.node.trust import Trust
from billots.node.votes import Ballot
from billots.receipt import Receipt, SignedVote, server_of
from billots.statement import SignedStatement
from billots.transfer import Transfer

Sign = Callable[[str, Holding], SignedStatement]
"""Our own signed word on one billot, for a receipt."""


class Kept(Struct):
    """Votes of others for one holding; `transfer` is the body that they are for, once needed."""

    seq: int
    vote: Vote
    ballots: dict[str, Ballot]
    transfer: Transfer | None
    for_good: bool
    """Its owner before signed it over twice: keep it though all agree."""


class Stored(Struct, frozen=True):
    """A receipt as it lies on disk. With too few votes in it ours is signed when it is shown."""

    transfer: Transfer
    votes: tuple[SignedVote, ...]


_decoder = msgspec.json.Decoder(Stored)
_ROWS_MAX = 16
"""Rows of a body that is written beside each billot of it that moves on."""


class Receipts:
    """By billot: what settled its newest settled holding."""

    def __init__(self, ledger: Ledger, trust: Trust, sign: Sign, *, after_s: float) -> None:
        self._ledger = ledger
        self._trust = trust
        self._sign = sign
        self._after_s = after_s
        self._kept: dict[str, Kept] = {}
        self._queue: deque[tuple[float, str, int]] = deque()
        self.elsewhere: Callable[[str], Kept | None] = lambda _: None
        """What `Tallies` has of a billot's votes."""

    def __len__(self) -> int:
        return len(self._kept)

    # -- in -----------------------------------------------------------------------------------

    def settled(
        self,
        billot: str,
        seq: int,
        vote: Vote,
        ballots: Mapping[str, Ballot],
        now: float,
        *,
        transfer: Transfer | None = None,
        for_good: bool = False,
    ) -> None:
        """These votes settled a holding; those for earlier seqs are let go.

        On disk those stay until the mark is there that makes them needless.
        """
        self._kept.pop(billot, None)
        if self.is_complete(ballots) and not for_good:
            self._let_go(billot)
            return
        self._kept[billot] = Kept(seq, vote, dict(ballots), transfer, for_good)
        self._queue.append((now + self._after_s, billot, seq))

    def also(self, voter: str, billot: str, seq: int, ballot: Ballot) -> bool:
        """One more vote for a holding that was settled here; False if nothing is kept for it."""
        kept = self._kept.get(billot)
        if kept is None:
            return self._also_on_disk(voter, billot, seq, ballot)
        if (kept.seq, kept.vote) != (seq, ballot.vote):
            return False
        kept.ballots.setdefault(voter, ballot)
        complete = self.is_complete(kept.ballots) and not kept.for_good
        if complete and self._is_at(billot, seq):
            del self._kept[billot]
            self._let_go(billot)
        return True

    def _let_go(self, billot: str) -> None:
        """Nobody needs the votes for what we hold."""
        self._ledger.mark(billot)
        if self._ledger.receipt(billot) is not None:
            self._ledger.put_receipt(billot, b"")

    def replaced(self, billot: str) -> None:
        """A later seq is settled: those for earlier ones are let go, in memory."""
        self._kept.pop(billot, None)

    def let_go_all(self, billots: Iterable[str], lsn: int) -> None:
        """Nobody needs the votes for what we hold, all of it one entry."""
        self._ledger.mark_entry(lsn)
        for billot in billots:
            if self._ledger.receipt(billot) is not None:
                self._ledger.put_receipt(billot, b"")

    def _also_on_disk(self, voter: str, billot: str, seq: int, ballot: Ballot) -> bool:
        stored = self._stored(billot)
        if stored is None or (billot, seq) not in stored.transfer.billots:
            return False
        if ballot.vote != (stored.transfer.sender, stored.transfer.to):
            return False
        vote = shown_vote(ballot.proof, ballot.lsn)
        voters = set(map(server_of, stored.votes))
        if voter in voters or vote is None:
            return True
        complete = self.is_complete(voters | {voter}) and self._ledger.evidence(billot) is None
        if complete and self._is_at(billot, seq):
            self._let_go(billot)
        elif ballot.shown_with in (None, stored.transfer.id):  # else it would take our own's place
            self._store(billot, stored.transfer, (*stored.votes, vote))
        return True

    def _is_at(self, billot: str, seq: int) -> bool:
        """Whether we still stand at this seq: else we owe what settled it until the next is."""
        return self._ledger.present(billot).seq == seq

    def leaving(self, billots: Iterable[str], now: float) -> None:
        """Billots are about to move on, and their entries to give way.

        Who stands at the next seq, not settled, counts for nobody at this one. So until it is
        settled we must be able to show that this one was: with the votes that are kept, or else
        with our own word. Both need the body; it is written beside the new entry, unless it is
        a big one, which would be written once for each of its billots.
        """
        if self._trust.n == 1:
            return
        for billot in billots:
            if not self._ledger.present(billot).seq:
                continue  # nobody has to be shown who owned it first
            kept = self._kept.get(billot)
            if kept is None and self._ledger.receipt(billot) is not None:
                continue
            transfer = kept.transfer if kept is not None else None
            transfer = transfer or self._ledger.taken((billot,))[0]
            assert transfer is not None, "what moved was moved by a transfer"
            if kept is None:
                seq, vote = dict(transfer.billots)[billot], Vote(transfer.sender, transfer.to)
                self._kept[billot] = kept = Kept(seq, vote, {}, transfer, for_good=True)
                self._queue.append((now + self._after_s, billot, seq))
            kept.transfer = transfer
            if len(transfer.billots) <= _ROWS_MAX:
                self._store(billot, transfer, self._votes(kept, transfer))

    def is_complete(self, voters: Iterable[str]) -> bool:
        """Whether all those that we trust have voted."""
        trust = self._trust
        return len(trust.keys) == trust.n - 1 and trust.keys.issubset(voters)

    # -- disk ---------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When something is to be written."""
        return self._queue[0][0] if self._queue else None

    def write(self, now: float) -> None:
        """What is still kept after a moment goes to disk, and the mark with it."""
        while self._queue and self._queue[0][0] <= now:
            _, billot, seq = self._queue.popleft()
            kept = self._kept.get(billot)
            if kept is None or kept.seq != seq:
                continue
            transfer = kept.transfer or self._ledger.taken((billot,))[0]
            if transfer is not None:
                self._store(billot, transfer, self._votes(kept, transfer))
            if self._is_at(billot, seq):
                self._ledger.mark(billot)
            del self._kept[billot]

    def _store(self, billot: str, transfer: Transfer, votes: tuple[SignedVote, ...]) -> None:
        self._ledger.put_receipt(billot, msgspec.json.encode(Stored(transfer, votes)))

    def _stored(self, billot: str) -> Stored | None:
        data = self._ledger.receipt(billot)
        return None if data is None else _decoder.decode(data)

    # -- out ----------------------------------------------------------------------------------

    def receipt(self, billot: str) -> Receipt | None:
        """What is kept for a billot, to be shown: a quorum's votes, or the claims there are."""
        kept = self._kept.get(billot) or self.elsewhere(billot)
        if kept is not None:
            transfer = kept.transfer or self._ledger.taken((billot,))[0]
            if transfer is None or (billot, kept.seq) not in transfer.billots:
                return None
            return self._with_ours(billot, transfer, self._votes(kept, transfer))
        stored = self._stored(billot)
        return None if stored is None else self._with_ours(billot, stored.transfer, stored.votes)

    def _with_ours(self, billot: str, transfer: Transfer, votes: tuple[SignedVote, ...]) -> Receipt:
        """These votes, and ours where they are too few.

        On disk an entry that was set up anew may stand with the vote of its old key as well.
        """
        if self._trust.electorate.count(map(server_of, votes)) < self._trust.quorum:
            seq = dict(transfer.billots)[billot]
            holding = Holding(seq, transfer.sender, transfer.to, Status.SETTLED)
            votes = (*votes, SignedVote(statement=self._sign(billot, holding)))
        return Receipt(transfer, votes)

    def _votes(self, kept: Kept, transfer: Transfer) -> tuple[SignedVote, ...]:
        """The others' votes that can be shown with a transfer, no more than a quorum needs.

        A row of a feed that names another one, to the same owner, counts as a vote and can't.
        A key that was replaced since counts where the others aren't enough.
        """
        trust, votes = self._trust, dict[str, SignedVote]()
        count = trust.electorate.count
        for voter in sorted(kept.ballots, key=lambda voter: voter not in trust.keys):
            ballot = kept.ballots[voter]
            fits = ballot.shown_with in (None, transfer.id) and len(votes) < trust.quorum
            vote = shown_vote(ballot.proof, ballot.lsn) if fits else None
            if vote is not None and (voter in trust.keys or count((*votes, voter)) > count(votes)):
                votes[voter] = vote
        return tuple(votes.values())
