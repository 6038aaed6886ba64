"""Votes that trusted servers' feeds brought, for billots that aren't settled here yet."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from billots.holding import Vote


class Ballot(Struct, frozen=True, gc=False):
    """One server's vote at one (id, seq), and the row of its feed that says so."""

    vote: Vote
    lsn: int
    transfer_id: str | None


class Votes:
    """By billot, seq and voter (a server key); and how far each voter's feed is dealt with.

    A voter's first vote at (id, seq) is the one that counts, unless it *adopted* another since:
    then it took over what a quorum had.

    A row is *open* while something may still come of it: its body is missing, or the billot
    isn't settled here. The cursor that goes to disk stays below the oldest open row, so that
    after a crash the same rows are read again.
    """

    def __init__(self, votes_per_voter_max: int) -> None:
        self._ballots: dict[str, dict[int, dict[str, Ballot]]] = {}
        self._open: dict[str, dict[int, int]] = {}
        self._read: dict[str, int] = {}
        self._count: dict[str, int] = {}
        self._votes_per_voter_max = votes_per_voter_max

    def add(self, voter: str, billot: str, seq: int, ballot: Ballot, *, adopted: bool) -> bool:
        """Count a vote; False if it is no news, or one too many of this voter."""
        at = self._ballots.setdefault(billot, {}).setdefault(seq, {})
        before = at.get(voter)
        if before is not None and (before.vote == ballot.vote or not adopted):
            return False
        if before is not None:
            self.release(voter, before.lsn)
        elif self._count.get(voter, 0) >= self._votes_per_voter_max:
            return False
        else:
            self._count[voter] = self._count.get(voter, 0) + 1
        at[voter] = ballot
        self.hold(voter, ballot.lsn)
        return True

    def equal(self, billot: str, seq: int, vote: Vote) -> int:
        """How many voters gave just this vote."""
        ballots = self._ballots.get(billot, {}).get(seq, {})
        return sum(ballot.vote == vote for ballot in ballots.values())

    def above(self, billot: str, seq: int) -> Iterator[tuple[int, Vote, int, str | None]]:
        """Votes at `seq` or higher, newest seq first: (seq, vote, how many, a transfer id)."""
        by_seq = self._ballots.get(billot, {})
        for at in sorted((s for s in by_seq if s >= seq), reverse=True):
            ballots = list(by_seq[at].values())
            for vote in dict.fromkeys(ballot.vote for ballot in ballots):
                equal = [ballot for ballot in ballots if ballot.vote == vote]
                known = next((b.transfer_id for b in equal if b.transfer_id is not None), None)
                yield at, vote, len(equal), known

    def resolve(self, billot: str, seq: int) -> None:
        """The billot is settled here at `seq`: votes up to it can change nothing any more."""
        by_seq = self._ballots.get(billot)
        if by_seq is None:
            return
        for at in [s for s in by_seq if s <= seq]:
            for voter, ballot in by_seq.pop(at).items():
                self._count[voter] -= 1
                self.release(voter, ballot.lsn)
        if not by_seq:
            del self._ballots[billot]

    def forget(self, voter: str) -> None:
        """This voter counts no more: its key was replaced."""
        for billot in list(self._ballots):
            by_seq = self._ballots[billot]
            for at in list(by_seq):
                by_seq[at].pop(voter, None)
                if not by_seq[at]:
                    del by_seq[at]
            if not by_seq:
                del self._ballots[billot]
        for table in (self._open, self._read, self._count):
            table.pop(voter, None)

    # -- how far each feed is read ------------------------------------------------------------

    def hold(self, voter: str, lsn: int) -> None:
        """Something of this row is open."""
        rows = self._open.setdefault(voter, {})
        rows[lsn] = rows.get(lsn, 0) + 1

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

    def newest(self, voter: str) -> int:
        """The lsn up to which this voter's rows have been read."""
        return self._read.get(voter, 0)

    def cursor(self, voter: str) -> int:
        """The lsn up to which nothing of this voter is open."""
        rows = self._open.get(voter)
        return min(rows) - 1 if rows else self.newest(voter)
