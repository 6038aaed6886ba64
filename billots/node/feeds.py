"""What trusted servers' votes come to: holdings settled, adopted and disputed.

Votes come as rows of feeds, as statements in consults, and in receipts; they are counted
together (DESIGN, section 5, rule 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from billots.feed import AdoptedRow, FeedBatch, FeedRow, TransferRow
from billots.holding import SILENT, Holding, Status, Vote
from billots.ledger import Ledger
from billots.limits import Limits
from billots.node.bodies import Bodies
from billots.node.proofs import ReadBatch, bodies_of, is_proof
from billots.node.receipts import Receipts
from billots.node.trust import Trust
from billots.node.votes import Ballot, Votes, shown_together
from billots.node.wanted import Named, Wanted
from billots.notifications import Notifications
from billots.receipt import Receipt, Word
from billots.statement import Statement
from billots.transfer import Row, Transfer

Watch = Callable[[str, str, float], None]
"""Told of a billot with news that isn't settled here, whose vote it is, and the time."""


class Feeds:
    """Counts votes against the ledger; `to_count` are billots whose votes are news."""

    def __init__(
        self, ledger: Ledger, trust: Trust, receipts: Receipts, limits: Limits, watch: Watch
    ) -> None:
        self.votes = Votes(limits.votes_per_peer_max)
        self.wanted = Wanted(limits.fetch_after_s)
        self.receipts = receipts
        self.to_count: list[str] = []
        self.newest: dict[str, FeedBatch] = {}
        """The newest batch of each voter whose signature held, without bodies."""
        self._ledger = ledger
        self._trust = trust
        self._limits = limits
        self.watch = watch
        self._done = Notifications(limits.seen_max)
        self._bodies = Bodies(limits.bodies_max)
        self._shown: set[int] = set()

    # -- rows ---------------------------------------------------------------------------------

    def read(self, voter: str, batch: FeedBatch, rows: Sequence[FeedRow], now: float) -> None:
        """A batch whose signature held. Rows that were read before are passed over."""
        proof = ReadBatch(self.keep_newest(voter, batch, rows))
        for row in rows:
            if row.lsn > self.votes.newest(voter):
                self._row(voter, row, proof, now)
                self.votes.read(voter, row.lsn)
        shown, self._shown = self._shown, set()
        lsns = (row.lsn for row in rows)
        proof.keep({lsn for lsn in lsns if lsn in shown or self.votes.holds(voter, lsn)})

    def keep_newest(self, voter: str, batch: FeedBatch, rows: Sequence[FeedRow]) -> FeedBatch:
        """Remember that the voter signed this, to be shown to it should it lose its store."""
        without = FeedBatch(batch.server, batch.rows, batch.root, batch.signature)
        known = self.newest.get(voter)
        if known is None or known.last_lsn <= rows[-1].lsn:
            self.newest[voter] = without
        return without

    def _row(self, voter: str, row: FeedRow, proof: ReadBatch, now: float) -> None:
        if isinstance(row, AdoptedRow):
            vote = Vote(row.sender, row.owner)
            ballot = Ballot(vote, row.lsn, None, claim=True, proof=proof)
            self._vote(voter, row.billot, row.seq, ballot, now)
            return
        if row.transfer_id in self._done:
            return
        transfer = self.body(row.transfer_id)
        if transfer is not None:
            self._count(voter, row, transfer, proof, now)
        else:
            self._want(voter, row, proof, now)

    def _want(self, voter: str, row: TransferRow, proof: ReadBatch | None, now: float) -> None:
        if self.wanted.name(row.transfer_id, voter, row, proof, now):
            self.votes.hold(voter, row.lsn)
        else:
            self.votes.lose(voter, row.lsn)

    def _count(
        self, voter: str, row: TransferRow, transfer: Transfer, proof: ReadBatch | None, now: float
    ) -> None:
        vote = Vote(transfer.sender, transfer.to)
        ballot = Ballot(vote, row.lsn, transfer.id, proof=proof)
        named = set(row.billots)
        news = False
        for billot, seq in transfer.billots:
            if not named or billot in named:
                news |= self._vote(voter, billot, seq, ballot, now)
        if not news and not named:
            self._done.add(transfer.id)

    def _vote(self, voter: str, billot: str, seq: int, ballot: Ballot, now: float) -> bool:
        """Count one vote; False if it can change nothing here any more, and nobody misses it."""
        present = self._ledger.present(billot)
        if seq < present.seq or (seq == present.seq and present.status is Status.SETTLED):
            is_kept = self.receipts.also(voter, billot, seq, ballot)
            if is_kept:
                self._shown.add(ballot.lsn)
            return is_kept
        if self.votes.add(voter, billot, seq, ballot):
            self.to_count.append(billot)
            self.watch(billot, voter, now)
        return True

    def stated(self, voter: str, statement: Statement, now: float) -> None:
        """A statement of a consult whose signature held: each row of it is a vote."""
        signed, bodies = statement.signed(), bodies_of(statement)
        for row in statement.billots:
            if row.status in SILENT or not row.seq:
                continue
            fitting = (body.id for body in bodies if is_proof(body, row.id, row.holding))
            transfer_id = next(fitting, None)
            claim = row.status is Status.SETTLED
            ballot = Ballot(row.holding.vote, 0, transfer_id, claim, signed)
            self._vote(voter, row.id, row.seq, ballot, now)

    def shown(self, transfer: Transfer, words: Iterable[Word], now: float) -> None:
        """Votes that somebody else kept, whose signatures held."""
        vote = Vote(transfer.sender, transfer.to)
        for word in words:
            if word.server in self._trust.keys:
                for billot, seq in word.rows:
                    claim = (billot, seq) in word.claims
                    ballot = Ballot(vote, 0, transfer.id, claim, word.vote)
                    self._vote(word.server, billot, seq, ballot, now)

    # -- what they come to --------------------------------------------------------------------

    def consider(self, billot: str, now: float) -> list[str]:
        """Settle or adopt what votes or claims are enough for; the billots that changed."""
        present = self._ledger.present(billot)
        settled = present.status is Status.SETTLED
        for seq, vote, ballots in self.votes.above(billot, present.seq):
            if (settled and seq == present.seq) or not self._is_enough(present, seq, vote, ballots):
                continue
            if (seq, vote) == (present.seq, present.vote):
                self._settle(billot, ballots, now)
                return [billot]
            changed = self._adopt(billot, ballots, now)
            if changed:
                return changed
        if settled:
            self.votes.resolve(billot, present.seq)
        elif present.status is not Status.HELD:
            self.judge_conflict(billot)
        return []

    def _is_enough(
        self, present: Holding, seq: int, vote: Vote, ballots: Mapping[str, Ballot]
    ) -> bool:
        """Whether a quorum voted so, we among them, or enough others say that it is settled."""
        ours = (seq, vote) == (present.seq, present.vote)
        if len(shown_together(ballots)[0]) + ours >= self._trust.quorum:
            return True
        return sum(ballot.claim for ballot in ballots.values()) >= self._trust.claims_needed

    def _settle(
        self, billot: str, ballots: Mapping[str, Ballot], now: float, shown: Transfer | None = None
    ) -> None:
        present = self._ledger.present(billot)
        self._ledger.settle(billot)
        self.receipts.settled(
            billot,
            present.seq,
            present.vote,
            ballots,
            now,
            transfer=shown or self.body(shown_together(ballots)[1]),
            for_good=present.status is not Status.HELD,
        )
        self.votes.resolve(billot, present.seq)

    def _adopt(self, billot: str, ballots: Mapping[str, Ballot], now: float) -> list[str]:
        """Adopt what these voters name, if its body is here; else ask for it once more.

        With it all other rows of that transfer that may be adopted: they lie in one entry.
        """
        named = (ballot.transfer_id or "" for ballot in ballots.values())
        for transfer_id in dict.fromkeys((shown_together(ballots)[1], *named)):
            transfer = self.body(transfer_id)
            if transfer is None:
                continue
            rows = transfer.billots
            standing = {row[0]: found for row in rows if (found := self._adoptable(row, transfer))}
            if billot in standing:
                self._take_over(transfer, standing, now)
                return list(standing)
        for voter, ballot in ballots.items():
            if self.body(ballot.transfer_id or "") is None:
                self._want_again(voter, billot, ballot, now)
        return []

    def _adoptable(self, row: Row, transfer: Transfer) -> dict[str, Ballot]:
        """Those whose votes for a row can be shown with it, if enough and it isn't here."""
        (billot, seq), present = row, self._ledger.present(row[0])
        vote = Vote(transfer.sender, transfer.to)
        at_seq = seq == present.seq and present.status is not Status.SETTLED
        if not (seq > present.seq or at_seq) or (seq, vote) == (present.seq, present.vote):
            return {}
        equal = {
            voter: ballot
            for voter, ballot in self.votes.at(billot, seq).items()
            if ballot.vote == vote and ballot.shown_with in (None, transfer.id)
        }
        return equal if self._is_enough(present, seq, vote, equal) else {}

    def _take_over(
        self, transfer: Transfer, standing: Mapping[str, dict[str, Ballot]], now: float
    ) -> None:
        before = {billot: self._ledger.present(billot) for billot in standing}
        self._ledger.adopt(transfer, tuple(standing))
        vote, seqs = Vote(transfer.sender, transfer.to), dict(transfer.billots)
        for billot, ballots in standing.items():
            # Who changes its vote owes what made it do so for as long as that can be asked.
            seq, changed = seqs[billot], before[billot].seq == seqs[billot]
            self.receipts.settled(
                billot, seq, vote, ballots, now, transfer=transfer, for_good=changed
            )
            self.votes.resolve(billot, seqs[billot])

    def by_receipt(
        self, receipt: Receipt, words: Iterable[Word], rows: Iterable[Row], now: float
    ) -> list[str]:
        """A receipt whose signatures held: adopt or settle these rows; the billots that changed.

        Raises nothing for a row that stands already, or that is past.
        """
        transfer, words = receipt.transfer, list(words)
        vote = Vote(transfer.sender, transfer.to)
        adopted: dict[str, dict[str, Ballot]] = {}
        changed: list[str] = []
        for row in rows:
            (billot, seq), present = row, self._ledger.present(row[0])
            if seq < present.seq or (seq == present.seq and present.status is Status.SETTLED):
                continue
            ballots = {
                word.server: Ballot(vote, 0, transfer.id, row in word.claims, word.vote)
                for word in words
                if row in word.rows and word.server != self._trust.electorate.own
            }
            changed.append(billot)
            if (seq, vote) == (present.seq, present.vote):
                self._settle(billot, ballots, now, transfer)
            else:
                adopted[billot] = ballots
        if adopted:
            self._take_over(transfer, adopted, now)
        return changed

    def judge_conflict(self, billot: str) -> bool:
        """Contested, or disputed: nobody can reach a quorum though all undecided joined him.

        Later votes change it again. Returns whether they did.
        """
        present = self._ledger.present(billot)
        votes = [ballot.vote for ballot in self.votes.at(billot, present.seq).values()]
        votes.append(present.vote)
        undecided = self._trust.n - len(votes)
        most = max(votes.count(vote) for vote in set(votes))
        return self._ledger.contest(billot, hopeless=most + undecided < self._trust.quorum)

    def next_moves(self, billot: str, now: float) -> list[Transfer]:
        """What trusted servers took next of a billot that is settled here.

        A body that is here no more is asked for.
        """
        present = self._ledger.present(billot)
        if present.status is not Status.SETTLED:
            return []
        moves: dict[str, Transfer] = {}
        for voter, ballot in self.votes.at(billot, present.seq + 1).items():
            if ballot.vote.sender == present.owner and ballot.transfer_id is not None:
                transfer = self.body(ballot.transfer_id)
                if transfer is not None:
                    moves[transfer.id] = transfer
                else:
                    self._want_again(voter, billot, ballot, now)
        return list(moves.values())

    def _want_again(self, voter: str, billot: str, ballot: Ballot, now: float) -> None:
        if ballot.transfer_id is None or not ballot.lsn:
            self.watch(billot, voter, now)  # only a consult can bring its body
        elif ballot.transfer_id not in self.wanted:
            proof = ballot.proof if isinstance(ballot.proof, ReadBatch) else None
            row = TransferRow(ballot.lsn, ballot.transfer_id, (billot,))
            self._want(voter, row, proof, now)

    def is_open(self, transfer: Transfer) -> bool:
        """Whether a transfer that was taken here isn't settled yet."""
        billot, seq = transfer.billots[0]
        present = self._ledger.present(billot)
        return present.seq == seq and present.status is not Status.SETTLED

    # -- bodies -------------------------------------------------------------------------------

    def body(self, transfer_id: str) -> Transfer | None:
        """A transfer whose signature held, if it is here."""
        known = self._bodies.get(transfer_id)
        return known or (self._ledger.store.transfer(transfer_id) if transfer_id else None)

    def arrived(self, transfer: Transfer, now: float) -> None:
        """A body whose signature held: what was said of it before counts now."""
        self._bodies.add(transfer)
        named = self.wanted.arrived(transfer.id)
        for voter, rows in named.items():
            for row, proof in rows:
                self._count(voter, row, transfer, proof, now)
                self.votes.release(voter, row.lsn)
        if named:
            self.to_count += [billot for billot, _ in transfer.billots]

    def give_up(self, named: Named) -> None:
        """Nobody can show the body that these rows name."""
        for voter, rows in named.items():
            for row, _ in rows:
                self.votes.release(voter, row.lsn)

    def put_off(self, named: Named) -> None:
        """Whoever was asked for the body that these rows name is slow: they are read again."""
        self.give_up(named)
        for voter, rows in named.items():
            self.votes.lose(voter, min(row.lsn for row, _ in rows))

    # -- voters -------------------------------------------------------------------------------

    def unreachable(self, voter: str) -> None:
        """Nobody can be asked for bodies that only it named: its rows are to be read again."""
        rows = self.wanted.gone(voter)
        for row, _ in rows:
            self.votes.release(voter, row.lsn)
        if rows:
            self.votes.unread(voter, min(row.lsn for row, _ in rows))

    def forget(self, voter: str) -> None:
        """This voter counts no more: its key was replaced."""
        self.wanted.gone(voter)
        self.votes.forget(voter)
        self.newest.pop(voter, None)
