"""What the feeds of trusted servers come to: votes counted, holdings settled and adopted."""

from __future__ import annotations

from collections.abc import Sequence

from billots.feed import AdoptedRow, FeedBatch, FeedRow, TransferRow
from billots.holding import Status, Vote
from billots.ledger import Ledger
from billots.limits import Limits
from billots.node.trust import Trust
from billots.node.votes import Ballot, Votes
from billots.node.wanted import Wanted
from billots.notifications import Notifications
from billots.transfer import Transfer


class Feeds:
    """Counts votes against the ledger; `to_count` are billots whose votes are news."""

    def __init__(self, ledger: Ledger, trust: Trust, limits: Limits) -> None:
        self.votes = Votes(limits.votes_per_peer_max)
        self.wanted = Wanted(limits.fetch_after_s)
        self.to_count: list[str] = []
        self.newest: dict[str, FeedBatch] = {}
        """The newest batch of each voter whose signature held, without bodies."""
        self._ledger = ledger
        self._trust = trust
        self._limits = limits
        self._done = Notifications(limits.seen_max)
        self._bodies: dict[str, Transfer] = {}

    # -- rows ---------------------------------------------------------------------------------

    def read(self, voter: str, batch: FeedBatch, rows: Sequence[FeedRow], now: float) -> None:
        """A batch whose signature held. Rows that were read before are passed over."""
        known = self.newest.get(voter)
        if known is None or known.last_lsn <= rows[-1].lsn:
            bare = FeedBatch(batch.server, batch.rows, batch.root, batch.signature)
            self.newest[voter] = bare
        for row in rows:
            if row.lsn > self.votes.newest(voter):
                self._row(voter, row, now)
                self.votes.read(voter, row.lsn)

    def _row(self, voter: str, row: FeedRow, now: float) -> None:
        if isinstance(row, AdoptedRow):
            ballot = Ballot(Vote(row.sender, row.owner), row.lsn, None)
            self._vote(voter, row.billot, row.seq, ballot, adopted=True)
            return
        if row.transfer_id in self._done:
            return
        transfer = self.body(row.transfer_id)
        if transfer is not None:
            self._count(voter, row, transfer)
        else:
            self._want(voter, row, now)

    def _want(self, voter: str, row: TransferRow, now: float) -> None:
        if self.wanted.name(row.transfer_id, voter, row, now):
            self.votes.hold(voter, row.lsn)

    def _count(self, voter: str, row: TransferRow, transfer: Transfer) -> None:
        ballot = Ballot(Vote(transfer.sender, transfer.to), row.lsn, transfer.id)
        named = set(row.billots)
        news = False
        for billot, seq in transfer.billots:
            if not named or billot in named:
                news |= self._vote(voter, billot, seq, ballot, adopted=False)
        if not news and not named:
            self._done.add(transfer.id)

    def _vote(self, voter: str, billot: str, seq: int, ballot: Ballot, *, adopted: bool) -> bool:
        """Count one vote; False if the billot is settled here at that seq or a later one."""
        present = self._ledger.present(billot)
        if seq < present.seq or (seq == present.seq and present.status is Status.SETTLED):
            return False
        if self.votes.add(voter, billot, seq, ballot, adopted=adopted):
            self.to_count.append(billot)
        return True

    # -- what they come to --------------------------------------------------------------------

    def consider(self, billot: str, now: float) -> bool:
        """Settle or adopt what a quorum of us and those we trust has voted for, if there is."""
        present = self._ledger.present(billot)
        settled = present.status is Status.SETTLED
        for seq, vote, votes, named in self.votes.above(billot, present.seq):
            ours = seq == present.seq and vote == present.vote
            if votes + ours < self._trust.quorum or (settled and seq == present.seq):
                continue
            if ours:
                self._ledger.settle(billot)
            elif not self._adopt(billot, named, now):
                continue
            self.votes.resolve(billot, seq)
            return True
        if settled:
            self.votes.resolve(billot, present.seq)
        return False

    def next_moves(self, billot: str, now: float) -> list[Transfer]:
        """What trusted servers took next of a billot that is settled here.

        A body that is here no more is asked for.
        """
        present = self._ledger.present(billot)
        if present.status is not Status.SETTLED:
            return []
        moves: dict[str, Transfer] = {}
        for seq, vote, _, named in self.votes.above(billot, present.seq + 1):
            if seq == present.seq + 1 and vote.sender == present.owner:
                for voter, ballot in named:
                    transfer = self.body(ballot.transfer_id or "")
                    if transfer is not None:
                        moves[transfer.id] = transfer
                    elif ballot.transfer_id is not None:
                        self._want_again(voter, billot, ballot, now)
        return list(moves.values())

    def _adopt(self, billot: str, named: Sequence[tuple[str, Ballot]], now: float) -> bool:
        """Adopt what these voters name, if its body is here; else ask for it once more."""
        for transfer_id in dict.fromkeys(ballot.transfer_id for _, ballot in named):
            transfer = self.body(transfer_id or "")
            if transfer is not None:
                self._ledger.adopt(transfer, billot)
                return True
        for voter, ballot in named:
            self._want_again(voter, billot, ballot, now)
        return False

    def _want_again(self, voter: str, billot: str, ballot: Ballot, now: float) -> None:
        transfer_id = ballot.transfer_id or ""
        if transfer_id not in self.wanted:
            self._want(voter, TransferRow(ballot.lsn, transfer_id, (billot,)), now)

    def is_open(self, transfer: Transfer) -> bool:
        """Whether a transfer that was taken here isn't settled yet."""
        billot, seq = transfer.billots[0]
        present = self._ledger.present(billot)
        return present.seq == seq and present.status is not Status.SETTLED

    # -- bodies -------------------------------------------------------------------------------

    def body(self, transfer_id: str) -> Transfer | None:
        """A transfer whose signature held, if it is here."""
        return self._bodies.get(transfer_id) or self._ledger.store.transfer(transfer_id)

    def arrived(self, transfer: Transfer) -> None:
        """A body whose signature held: what was said of it before counts now."""
        self._bodies[transfer.id] = transfer
        if len(self._bodies) > self._limits.bodies_max:
            del self._bodies[next(iter(self._bodies))]
        named = self.wanted.arrived(transfer.id)
        for voter, rows in named.items():
            for row in rows:
                self._count(voter, row, transfer)
                self.votes.release(voter, row.lsn)
        if named:
            self.to_count += [billot for billot, _ in transfer.billots]

    def give_up(self, named: dict[str, list[TransferRow]]) -> None:
        """Nobody can show the body that these rows name."""
        for voter, rows in named.items():
            for row in rows:
                self.votes.release(voter, row.lsn)

    # -- voters -------------------------------------------------------------------------------

    def unreachable(self, voter: str) -> None:
        """Nobody can be asked for bodies that only it named: its rows are to be read again."""
        rows = self.wanted.gone(voter)
        for row in rows:
            self.votes.release(voter, row.lsn)
        if rows:
            self.votes.unread(voter, min(row.lsn for row in rows))

    def forget(self, voter: str) -> None:
        """This voter counts no more: its key was replaced."""
        self.wanted.gone(voter)
        self.votes.forget(voter)
        self.newest.pop(voter, None)
