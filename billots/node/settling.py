"""When votes are enough: holdings settled, adopted and disputed (DESIGN, section 5, rule 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from billots.holding import Holding, Status, Vote
from billots.ledger import Ledger
from billots.node.receipts import Receipts
from billots.node.trust import Trust
from billots.node.votes import Ballot, Votes, shown_together
from billots.receipt import Receipt, Word
from billots.transfer import Row, Transfer


class Settling:
    """Holds votes against the ledger, and lets it settle and adopt.

    `body` finds a transfer by its id; `want_again` is told of one that is here no more.
    """

    def __init__(
        self,
        ledger: Ledger,
        trust: Trust,
        votes: Votes,
        receipts: Receipts,
        *,
        body: Callable[[str], Transfer | None],
        want_again: Callable[[str, str, Ballot, float], None],
    ) -> None:
        self._ledger = ledger
        self._trust = trust
        self._votes = votes
        self._receipts = receipts
        self._body = body
        self._want_again = want_again

    def consider(self, billot: str, now: float) -> list[str]:
        """Settle or adopt what votes or claims are enough for; the billots that changed."""
        present = self._ledger.present(billot)
        settled = present.status is Status.SETTLED
        for seq, vote, ballots in self._votes.above(billot, present.seq):
            if (settled and seq == present.seq) or not self._is_enough(present, seq, vote, ballots):
                continue
            if (seq, vote) == (present.seq, present.vote):
                self._settle(billot, ballots, now)
                return [billot]
            changed = self._adopt(billot, ballots, now)
            if changed:
                return changed
        if settled:
            self._votes.resolve(billot, present.seq)
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
        self._receipts.settled(
            billot,
            present.seq,
            present.vote,
            ballots,
            now,
            transfer=shown or self._body(shown_together(ballots)[1]),
            for_good=present.status is not Status.HELD,
        )
        self._votes.resolve(billot, present.seq)

    def _adopt(self, billot: str, ballots: Mapping[str, Ballot], now: float) -> list[str]:
        """Adopt what these voters name, if its body is here; else ask for it once more.

        With it all other rows of that transfer that may be adopted: they lie in one entry.
        """
        named = (ballot.transfer_id or "" for ballot in ballots.values())
        for transfer_id in dict.fromkeys((shown_together(ballots)[1], *named)):
            transfer = self._body(transfer_id)
            if transfer is None:
                continue
            rows = transfer.billots
            standing = {row[0]: found for row in rows if (found := self._adoptable(row, transfer))}
            if billot in standing:
                self._take_over(transfer, standing, now)
                return list(standing)
        for voter, ballot in ballots.items():
            if self._body(ballot.transfer_id or "") is None:
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
            for voter, ballot in self._votes.at(billot, seq).items()
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
            self._receipts.settled(
                billot, seq, vote, ballots, now, transfer=transfer, for_good=changed
            )
            self._votes.resolve(billot, seqs[billot])

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
        votes = [ballot.vote for ballot in self._votes.at(billot, present.seq).values()]
        votes.append(present.vote)
        undecided = self._trust.n - len(votes)
        most = max(votes.count(vote) for vote in set(votes))
        return self._ledger.contest(billot, hopeless=most + undecided < self._trust.quorum)
