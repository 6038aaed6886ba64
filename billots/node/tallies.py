"""Votes for whole transfers that were taken here: how almost all votes come.

A feed's row that names a transfer says the same of all its billots. As long as nothing else is
said of any of them, such votes are counted once for the transfer, and not once for each billot.
What settles, and when, is as in `Votes` and `Receipts`. These take over, with one ballot for each
billot and voter, as soon as anything else comes up: a conflict, another vote, a next move, a
receipt, a change of whom we trust, or when it takes longer than a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct, field

from billots.feed import FeedRow, Table
from billots.holding import Vote
from billots.ledger import Ledger
from billots.limits import Limits
from billots.node.patience import Patience
from billots.node.proofs import ReadBatch
from billots.node.receipts import Kept, Receipts
from billots.node.trust import Trust
from billots.node.votes import Ballot, Votes
from billots.notifications import Notifications
from billots.transfer import SEQ_MAX, Transfer

_TURN_ROWS_MAX = 2048
"""Billots that a round hands over, give or take one transfer."""


class Tally(Struct, eq=False):
    """A transfer that was taken whole; by voter the row that names it, and in which batch."""

    transfer: Transfer
    lsn: int
    taken_at: float
    votes: dict[str, tuple[int, ReadBatch | None]] = field(default_factory=dict)
    settled_at: float | None = None
    is_open: bool = True
    """Neither settled nor handed over: after a crash the same rows are to be read again."""

    @property
    def ballots(self) -> dict[str, Ballot]:
        """The same votes as each of its billots has them."""
        transfer = self.transfer
        vote = Vote(transfer.sender, transfer.to)
        return {
            voter: Ballot(vote, lsn, transfer.id, proof=proof)
            for voter, (lsn, proof) in self.votes.items()
        }


class Tallies:
    """By transfer id, and by billot.

    Since somebody looked: `changed` are billots that were settled, `handed` those that were handed
    over unsettled, and `overdue` those among them that took too long.
    """

    def __init__(
        self, ledger: Ledger, trust: Trust, votes: Votes, receipts: Receipts, limits: Limits
    ) -> None:
        self._ledger = ledger
        self._trust = trust
        self._votes = votes
        self._receipts = receipts
        self._settling = Patience(limits.consult_after_s, limits.patience_s_max)
        self._agreeing = Patience(limits.receipt_after_s, limits.receipt_after_s_max)
        self._kept_rows_max = limits.receipt_rows_max
        self._kept: deque[Tally] = deque()  # settled, oldest first; those that ended linger
        self._kept_rows = 0
        self._turn_rows = 0
        self.by_id: dict[str, Tally] = {}
        self._by_billot: dict[str, Tally] = {}
        self._queue: deque[tuple[float, Tally]] = deque()
        self._rows: dict[str, list[tuple[int, list[Tally]]]] = {}
        """By voter: rows from this lsn on name these, some of which are open."""
        self.done = Notifications(limits.seen_max)
        """Transfers (by id) of which more votes could change nothing."""
        self.open_count = 0
        """Transfers that are not settled yet."""
        self.open_rows = 0
        """Billots in them."""
        self.changed: list[str] = []
        self.handed: list[str] = []
        self.overdue: list[str] = []
        receipts.elsewhere = self.kept

    def __len__(self) -> int:
        return len(self.by_id)

    @property
    def kept_count(self) -> int:
        """Billots that are settled and whose votes are kept."""
        return sum(tally.settled_at is not None for tally in self._by_billot.values())

    def open(self, transfer: Transfer, lsn: int, now: float) -> bool:
        """All rows of a transfer were taken, as entry `lsn`; False if that is not all there is."""
        billots = [billot for billot, _ in transfer.billots]
        if not self._votes.is_silent_on(billots):
            return False
        tally = self.by_id[transfer.id] = Tally(transfer, lsn, now)
        self._by_billot.update(dict.fromkeys(billots, tally))
        self.open_count += 1
        self.open_rows += len(billots)
        self._queue.append((now + self._settling.seconds(now), tally))
        return True

    def get(self, transfer_id: str) -> Tally | None:
        """The tally of a transfer, if it has one."""
        return self.by_id.get(transfer_id)

    def read(
        self, voter: str, rows: Table, proof: ReadBatch | None, now: float
    ) -> tuple[list[FeedRow], list[int]]:
        """Count rows of one batch: those that are for others, and the lsns of those that counted.

        In one loop, for with n servers each of them comes here n - 1 times for each transfer.
        """
        others: list[FeedRow] = []
        held: list[Tally] = []
        quorum, all_others = self._trust.quorum - 1, self._trust.n - 1
        tally_of = self.by_id.get
        for lsn, name in zip(rows.lsns, rows.ids, strict=True):
            tally = tally_of(name)
            if tally is None:
                others.append(rows.row(lsn, name))
                continue
            votes = tally.votes
            if voter in votes:
                continue
            votes[voter] = (lsn, proof)
            if tally.is_open:
                held.append(tally)
                if len(votes) >= quorum:
                    self._settle(tally, now)
            elif len(votes) >= all_others:
                self._look(tally, now)
        if held:
            self._hold(voter, rows.lsns[0], held)
        left = {row.lsn for row in others}
        return others, [lsn for lsn in rows.lsns if lsn not in left] if left else rows.lsns

    def _settle(self, tally: Tally, now: float) -> None:
        tally.settled_at = now
        self._close(tally)
        self._settling.took(now - tally.taken_at, now)
        for billot, _ in tally.transfer.billots:
            self._ledger.settle(billot)
            self._receipts.replaced(billot)
            self.changed.append(billot)
        self._keep(tally)
        if len(tally.votes) >= self._trust.n - 1:
            self._look(tally, now)

    def _keep(self, tally: Tally) -> None:
        """Its votes stay in memory until all have voted, or for a moment; not too many of them."""
        kept = self._kept
        while kept and self.by_id.get(kept[0].transfer.id) is not kept[0]:
            kept.popleft()
        kept.append(tally)
        self._kept_rows += len(tally.transfer.billots)
        while self._kept_rows > self._kept_rows_max and len(kept) > 1:
            oldest = kept.popleft()
            if self.by_id.get(oldest.transfer.id) is oldest:
                self._hand_over(oldest)

    def _look(self, tally: Tally, now: float) -> None:
        """Once all whom we trust have voted, nobody needs the votes any more."""
        if self._receipts.is_complete(tally.votes):
            self._agreeing.took(now - (tally.settled_at or now), now)
            self._end(tally)
            self._receipts.let_go_all([billot for billot, _ in tally.transfer.billots], tally.lsn)
            self.done.add(tally.transfer.id)

    def _end(self, tally: Tally) -> None:
        del self.by_id[tally.transfer.id]
        if tally.settled_at is not None:
            self._kept_rows -= len(tally.transfer.billots)
        for billot, _ in tally.transfer.billots:
            del self._by_billot[billot]

    # -- how far each feed is dealt with ------------------------------------------------------

    def _hold(self, voter: str, lsn: int, held: list[Tally]) -> None:
        """Rows from `lsn` on name these, which are open."""
        self._rows.setdefault(voter, []).append((lsn, held))

    def _close(self, tally: Tally) -> None:
        tally.is_open = False
        self.open_count -= 1
        self.open_rows -= len(tally.transfer.billots)

    def cursor(self, voter: str) -> int:
        """An lsn up to which no row of this voter is that of an open tally."""
        rows = self._rows.get(voter)
        if not rows:
            return SEQ_MAX
        rows[:] = [row for row in rows if _has_open(row[1])]
        return min([lsn for lsn, _ in rows], default=SEQ_MAX + 1) - 1

    def forget(self, voter: str) -> None:
        """This voter counts no more."""
        self.hand_over_all()
        self._rows.pop(voter, None)

    # -- handed over --------------------------------------------------------------------------

    def hand_over(self, billots: Sequence[str]) -> None:
        """Something else is said of these billots: count their votes one by one from now on."""
        if not self._by_billot.keys().isdisjoint(billots):
            for billot in billots:
                tally = self._by_billot.get(billot)
                if tally is not None:
                    self._hand_over(tally)

    def begin_turn(self) -> None:
        """A round begins."""
        self._turn_rows = 0

    @property
    def is_spent(self) -> bool:
        """Whether so much was handed over in this round that more of it is to wait.

        It takes 10 µs and more for each billot, and one row may have 256 of them handed over.
        """
        return self._turn_rows >= _TURN_ROWS_MAX

    def hand_over_all(self) -> None:
        """Another list may come to something else."""
        for tally in list(self.by_id.values()):
            self._hand_over(tally)

    def _hand_over(self, tally: Tally) -> None:
        self._end(tally)
        self._turn_rows += len(tally.transfer.billots)
        transfer, ballots = tally.transfer, tally.ballots
        vote, at = Vote(transfer.sender, transfer.to), tally.settled_at
        if at is None:
            self._close(tally)
        for billot, seq in transfer.billots:
            if at is not None:
                self._receipts.settled(billot, seq, vote, ballots, at, transfer=transfer)
                continue
            self.handed.append(billot)
            for voter, ballot in ballots.items():
                self._votes.add(voter, billot, seq, ballot)

    def kept(self, billot: str) -> Kept | None:
        """What settled a billot, as `Receipts` would have it."""
        tally = self._by_billot.get(billot)
        if tally is None or tally.settled_at is None:
            return None
        transfer = tally.transfer
        seq, vote = dict(transfer.billots)[billot], Vote(transfer.sender, transfer.to)
        return Kept(seq, vote, tally.ballots, transfer, for_good=False)

    # -- time ---------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When `expire` has something to do."""
        queue = self._queue
        while queue and self.by_id.get(queue[0][1].transfer.id) is not queue[0][1]:
            queue.popleft()
        return queue[0][0] if queue else None

    def expire(self, now: float) -> None:
        """What takes longer than a moment is handed over: to be asked about, or written down.

        What is left when the round is spent has the next one.
        """
        while not self.is_spent and (at := self.next_at) is not None and at <= now:
            _, tally = self._queue.popleft()
            if tally.settled_at is not None:
                until = tally.settled_at + self._agreeing.seconds(now)
            else:
                until = tally.taken_at + self._settling.seconds(now)
            if until > now:
                self._queue.append((until, tally))
                continue
            if tally.settled_at is None:
                self.overdue += [billot for billot, _ in tally.transfer.billots]
            self._hand_over(tally)


def _has_open(held: list[Tally]) -> bool:
    """Whether any of these is open; those that aren't are let go."""
    if held and not held[-1].is_open:
        held[:] = [tally for tally in held if tally.is_open]
    return bool(held)
