"""What trusted servers sign, as votes.

They come as rows of feeds, as statements in consults, and in receipts; they are counted
together (DESIGN, section 5, rule 1), in `Tallies` and `Settling`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from billots.feed import AdoptedRow, FeedBatch, FeedRow, Table, TransferRow
from billots.holding import SILENT, Status, Vote
from billots.ledger import Ledger
from billots.limits import Limits
from billots.node.bodies import Bodies
from billots.node.proofs import ReadBatch, bodies_of, is_proof
from billots.node.receipts import Receipts
from billots.node.settling import Settling
from billots.node.tallies import Tallies
from billots.node.trust import Trust
from billots.node.votes import Ballot, Votes
from billots.node.wanted import Named, Wanted
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
        self.tallies = Tallies(ledger, trust, self.votes, receipts, limits)
        self._settling = Settling(
            ledger, trust, self.votes, receipts, body=self.body, want_again=self._want_again
        )
        self._done = self.tallies.done
        self._bodies = Bodies(limits.bodies_max)
        self._shown: set[int] = set()

    # -- rows ---------------------------------------------------------------------------------

    def read(self, voter: str, batch: FeedBatch, rows: Table, now: float) -> None:
        """A batch whose signature held. Rows that were read before are passed over."""
        proof = ReadBatch(self.keep_newest(voter, batch, rows))
        rows = rows.after(self.votes.newest(voter))
        others, counted = self.tallies.read(voter, rows, proof, now)
        for row in others:
            if self.tallies.is_spent:
                self.votes.lose(voter, row.lsn)  # it is read again later
            else:
                self._row(voter, row, proof, now)
        if rows:
            self.votes.read(voter, rows.lsns[-1])
        shown, self._shown = self._shown, set()
        if proof.is_long(len(shown) + len(counted)):
            shown.update(counted)
            proof.keep({lsn for lsn in rows.lsns if lsn in shown or self.votes.holds(voter, lsn)})

    def keep_newest(self, voter: str, batch: FeedBatch, rows: Table) -> FeedBatch:
        """Remember that the voter signed this, to be shown to it should it lose its store."""
        without = FeedBatch(batch.server, batch.rows, batch.root, batch.signature)
        known = self.newest.get(voter)
        if known is None or known.last_lsn <= rows.lsns[-1]:
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
        # What is wanted isn't here: the store need not be asked for each who names it.
        transfer = None if row.transfer_id in self.wanted else self.body(row.transfer_id)
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
        tally = self.tallies.get(transfer.id)
        if tally is not None and not row.billots:
            self.tallies.read(voter, Table([row.lsn], [row.transfer_id]), proof, now)
            return
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
        self.tallies.hand_over((billot,))
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

    def taken(self, transfer: Transfer, lsn: int, now: float) -> bool:
        """All of a transfer was taken; whether its votes are counted by themselves."""
        return self.tallies.open(transfer, lsn, now)

    def consider(self, billot: str, now: float) -> list[str]:
        """Settle or adopt what votes or claims are enough for; the billots that changed."""
        self.tallies.hand_over((billot,))
        return self._settling.consider(billot, now)

    def by_receipt(
        self, receipt: Receipt, words: Iterable[Word], rows: Iterable[Row], now: float
    ) -> list[str]:
        """A receipt whose signatures held: adopt or settle these rows; the billots that changed.

        Raises nothing for a row that stands already, or that is past.
        """
        rows = list(rows)
        self.tallies.hand_over([billot for billot, _ in rows])  # what settles nothing costs nothing
        return self._settling.by_receipt(receipt, words, rows, now)

    def judge_conflict(self, billot: str) -> bool:
        """Contested, or disputed: see `Settling`."""
        self.tallies.hand_over((billot,))
        return self._settling.judge_conflict(billot)

    def is_counted(self, transfer: Transfer) -> bool:
        """Whether votes for a transfer are still coming by themselves."""
        return self.tallies.get(transfer.id) is not None

    def has_voted(self, voter: str, transfer: Transfer) -> bool:
        """Whether a server's vote on a transfer that is open here is known."""
        tally = self.tallies.get(transfer.id)
        return self.votes.has(voter, *transfer.billots[0]) or (
            tally is not None and voter in tally.votes
        )

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
        if not transfer_id:
            return None
        return self._bodies.get(transfer_id) or self._ledger.store.transfer(transfer_id)

    def arrived(self, transfer: Transfer, now: float) -> None:
        """A body whose signature held: what was said of it before counts now."""
        self._bodies.add(transfer)
        named = self.wanted.arrived(transfer.id)
        for voter, rows in named.items():
            for row, proof in rows:
                self._count(voter, row, transfer, proof, now)
                self.votes.release(voter, row.lsn)
        if named and self.tallies.get(transfer.id) is None:
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

    def cursor(self, voter: str) -> int:
        """The lsn up to which nothing of this voter is open."""
        return min(self.votes.cursor(voter), self.tallies.cursor(voter))

    def forget(self, voter: str) -> None:
        """This voter counts no more: its key was replaced."""
        self.tallies.forget(voter)
        self.wanted.gone(voter)
        self.votes.forget(voter)
        self.newest.pop(voter, None)
