"""Votes that trusted servers' feeds brought, for billots that aren't settled here yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from heapq import heappop, heappush

from msgspec import UNSET, Struct

from billots.holding import Vote
from billots.node.proofs import Proof
from billots.receipt import SignedVote
from billots.statement import SignedStatement

_LINGER_MAX = 64
SEQS_MAX = 16
"""Seqs of one billot at which one voter's votes are kept: its newest ones."""


class Ballot(Struct, frozen=True):
    """One server's vote at one (id, seq), and what it signed that says so.

    `lsn` is that of the row of its feed, 0 if a statement says so; `transfer_id` names the
    transfer, if the vote does. `claim`: it says that this is settled. `proof` is to be shown
    to others.
    """

    vote: Vote
    lsn: int
    transfer_id: str | None
    claim: bool = False
    proof: Proof | None = None

    @property
    def shown_with(self) -> str | None:
        """The transfer that it can be shown with, if it is but one: a feed's row names it.

        A claim names billot and owner, be it a row or a statement, and fits any that says so.
        """
        if self.claim or isinstance(self.proof, SignedStatement):
            return None
        if isinstance(self.proof, SignedVote) and self.proof.feed is UNSET:
            return None
        return self.transfer_id


class Votes:
    """By billot, seq and voter (a server key); and how far each voter's feed is dealt with.

    A voter's first vote at (id, seq) is the one that counts, unless it says since that another
    is *settled*: then it took over what a quorum had.

    A row is *open* while something may still come of it: its body is missing, or the billot
    isn't settled here. The cursor that goes to disk stays below the oldest open row, so that
    after a crash the same rows are read again.
    """

    def __init__(self, votes_per_voter_max: int) -> None:
        self._ballots: dict[str, dict[int, dict[str, Ballot]]] = {}
        self._count: dict[str, int] = {}
        self._votes_per_voter_max = votes_per_voter_max
        self._read: dict[str, int] = {}
        self._open: dict[str, dict[int, int]] = {}
        self._open_order: dict[str, list[int]] = {}  # heaps; what isn't open any more lingers
        self._lost: dict[str, int] = {}

    @property
    def billots(self) -> list[str]:
        """All billots with votes that may still change something."""
        return list(self._ballots)

    def __contains__(self, billot: str) -> bool:
        return billot in self._ballots

    def is_silent_on(self, billots: Collection[str]) -> bool:
        """Whether there is no vote on any of these that may still change something."""
        return self._ballots.keys().isdisjoint(billots)

    def add(self, voter: str, billot: str, seq: int, ballot: Ballot) -> bool:
        """Count a vote; False if it is no news, or one too many of this voter."""
        before = self._ballots.get(billot, {}).get(seq, {}).get(voter)
        if before is not None:
            if before.vote == ballot.vote:
                equal = [b for b in self.at(billot, seq).values() if b.vote == ballot.vote]
                mixed = len({b.shown_with for b in equal} - {None}) > 1
                ballot = _together(before, ballot, freer=mixed and ballot.shown_with is None)
            if ballot == before or not (ballot.claim or before.vote == ballot.vote):
                return False
            if before.lsn != ballot.lsn:
                self.release(voter, before.lsn)
        elif self._count.get(voter, 0) >= self._votes_per_voter_max:
            if ballot.lsn:
                self.lose(voter, ballot.lsn)
            return False
        else:
            self._count[voter] = self._count.get(voter, 0) + 1
        self._ballots.setdefault(billot, {}).setdefault(seq, {})[voter] = ballot
        if before is None or before.lsn != ballot.lsn:
            self.hold(voter, ballot.lsn)
        if before is None:
            self._trim(voter, billot)
        return True

    def _trim(self, voter: str, billot: str) -> None:
        """Whoever votes at many seqs of one billot makes none of them dear to count."""
        by_seq = self._ballots[billot]
        if len(by_seq) > SEQS_MAX:
            mine = [seq for seq, ballots in by_seq.items() if voter in ballots]
            if len(mine) > SEQS_MAX:
                self._drop(voter, billot, min(mine))

    def _drop(self, voter: str, billot: str, seq: int) -> None:
        by_seq = self._ballots[billot]
        ballot = by_seq[seq].pop(voter)
        self._count[voter] -= 1
        self.release(voter, ballot.lsn)
        if not by_seq[seq]:
            del by_seq[seq]
        if not by_seq:
            del self._ballots[billot]

    def has(self, voter: str, billot: str, seq: int) -> bool:
        """Whether this voter has a vote at (id, seq)."""
        return voter in self._ballots.get(billot, {}).get(seq, {})

    def at(self, billot: str, seq: int) -> dict[str, Ballot]:
        """The ballots at (id, seq), by voter."""
        return self._ballots.get(billot, {}).get(seq, {})

    def newest_of(self, billot: str) -> dict[str, tuple[int, Vote]]:
        """Each voter's newest vote on a billot."""
        by_seq = self._ballots.get(billot, {})
        return {
            voter: (seq, ballot.vote)
            for seq in sorted(by_seq)
            for voter, ballot in by_seq[seq].items()
        }

    def equal(self, billot: str, seq: int, vote: Vote) -> int:
        """How many voters gave just this vote."""
        return sum(ballot.vote == vote for ballot in self.at(billot, seq).values())

    def above(self, billot: str, seq: int) -> Iterator[tuple[int, Vote, dict[str, Ballot]]]:
        """Votes at `seq` or higher, newest seq first: (seq, vote, those who gave it)."""
        by_seq = self._ballots.get(billot, {})
        for at in sorted((s for s in by_seq if s >= seq), reverse=True):
            ballots = dict(by_seq[at])
            for vote in dict.fromkeys(ballot.vote for ballot in ballots.values()):
                yield at, vote, {v: ballot for v, ballot in ballots.items() if ballot.vote == vote}

    def resolve(self, billot: str, seq: int) -> None:
        """The billot is settled here at `seq`: votes up to it can change nothing any more."""
        by_seq = self._ballots.get(billot, {})
        for at in [s for s in by_seq if s <= seq]:
            for voter in list(by_seq[at]):
                self._drop(voter, billot, at)

    def forget(self, voter: str) -> None:
        """This voter counts no more: its key was replaced."""
        for billot, by_seq in list(self._ballots.items()):
            for at in [seq for seq, ballots in by_seq.items() if voter in ballots]:
                self._drop(voter, billot, at)
        for table in (self._open, self._open_order, self._read, self._count, self._lost):
            table.pop(voter, None)

    def has_lost(self, voter: str) -> bool:
        """Whether votes of this voter were one too many."""
        return voter in self._lost

    def lose(self, voter: str, lsn: int) -> None:
        """There is no room for this row of a voter's: it is to be read again, later."""
        self._lost[voter] = min(lsn, self._lost.get(voter, lsn))

    def found_room(self, is_ready: Callable[[str], bool]) -> dict[str, int]:
        """Voters with lost votes for which there is room again; the lsn from which to read."""
        room = self._votes_per_voter_max // 2
        found = {
            voter: lsn
            for voter, lsn in self._lost.items()
            if self._count.get(voter, 0) <= room and is_ready(voter)
        }
        for voter, lsn in found.items():
            del self._lost[voter]
            self.unread(voter, lsn)
        return found

    # -- how far each feed is read ------------------------------------------------------------

    def hold(self, voter: str, lsn: int) -> None:
        """Something of this row is open; a statement (lsn 0) is no row."""
        if not lsn:
            return
        rows = self._open.setdefault(voter, {})
        if lsn not in rows:
            order = self._open_order.setdefault(voter, [])
            if len(order) > 2 * len(rows) + _LINGER_MAX:
                order[:] = sorted(rows)
            heappush(order, lsn)
        rows[lsn] = rows.get(lsn, 0) + 1

    def holds(self, voter: str, lsn: int) -> bool:
        """Whether something of this row is open."""
        return lsn in self._open.get(voter, ())

    def release(self, voter: str, lsn: int) -> None:
        """Something of this row is dealt with."""
        rows = self._open.get(voter, {})
        if lsn in rows:
            rows[lsn] -= 1
            if not rows[lsn]:
                del rows[lsn]

    def read(self, voter: str, lsn: int) -> None:
        """Rows of this voter up to `lsn` have been read."""
        self._read[voter] = max(lsn, self._read.get(voter, 0))

    def unread(self, voter: str, lsn: int) -> None:
        """The row `lsn` of this voter, and those after it, are to be read again."""
        self._read[voter] = min(lsn - 1, self._read.get(voter, 0))

    def newest(self, voter: str) -> int:
        """The lsn up to which this voter's rows have been read."""
        return self._read.get(voter, 0)

    def cursor(self, voter: str) -> int:
        """The lsn up to which nothing of this voter is open."""
        rows, order = self._open.get(voter, {}), self._open_order.get(voter, [])
        while order and order[0] not in rows:
            heappop(order)
        cursor = min(order[0] - 1, self.newest(voter)) if order else self.newest(voter)
        return min(cursor, self._lost[voter] - 1) if voter in self._lost else cursor


def shown_together(ballots: Mapping[str, Ballot]) -> tuple[Mapping[str, Ballot], str]:
    """Those of equal votes that can be shown with one transfer, which is what a receipt needs.

    And the id of that transfer, empty if none is named. An owner may sign a billot over to the same
    payee in two transfers. Who settled by rows of both could prove it to nobody, and those whom a
    liar told something else would stay behind. A statement counts with any; in a consult we get
    one.
    """
    bound = [name for ballot in ballots.values() if (name := ballot.shown_with)]
    told = bound or [name for ballot in ballots.values() if (name := ballot.transfer_id)]
    best = max(told, key=told.count, default="")
    if len(set(bound)) < 2:
        return ballots, best
    return {voter: b for voter, b in ballots.items() if b.shown_with in (None, best)}, best


def _together(before: Ballot, ballot: Ballot, *, freer: bool) -> Ballot:
    """The same vote told twice: a claim says more, and so does one that names the transfer.

    `freer`: others name another, and this one counts with any.
    """
    best = ballot if ballot.claim and not before.claim else before
    free = freer and before.shown_with is not None and ballot.claim >= before.claim
    proof = ballot.proof if free else best.proof
    transfer_id = before.transfer_id or ballot.transfer_id
    lsn = best.lsn or before.lsn or ballot.lsn  # a statement is no row, and holds no cursor
    return Ballot(best.vote, lsn, transfer_id, best.claim, proof)
