"""Rounds: what came together is checked together, judged in order and committed together.

`checks` names the signatures to verify; the driver verifies them wherever it likes. `judge`
takes the results and lets the ledger decide. Nothing of a round is said before its batch is on
disk (`Node.committed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from billots.feed import AdoptedRow, FeedBatch, FeedRow, TransferRow
from billots.holding import Holding, Status, Vote
from billots.jsonrpc import Refusal, refuse
from billots.ledger import Ledger, Outcome
from billots.limits import Limits
from billots.messages import Pair
from billots.node.pending import Pending
from billots.node.trust import Trust
from billots.node.votes import Ballot, Votes
from billots.node.wanted import Wanted
from billots.node.work import BodiesWork, Check, FeedWork, PairWork, Relayed, Submission, Work
from billots.notifications import Notifications
from billots.transfer import Transfer, conflict

_TAKEN = {Outcome.TAKE}
_PASSING = frozenset({Outcome.TAKE, Outcome.SAME})
_WAITING = frozenset({Outcome.NOT_SETTLED, Outcome.CONTESTED, Outcome.DISPUTED})
_HARD = frozenset({Outcome.UNISSUED, Outcome.NOT_OWNER, Outcome.STALE, Outcome.BEHIND})
_DEALT_WITH = frozenset({Outcome.TAKE, Outcome.SAME, Outcome.STALE})
_MESSAGES = {
    Outcome.UNISSUED: "this billot is not issued",
    Outcome.NOT_OWNER: "the signer does not own this billot",
    Outcome.STALE: "this billot has moved on",
    Outcome.BEHIND: "moves of this billot before this one are not known here",
    Outcome.NOT_SETTLED: "the move of this billot before this one is not settled yet",
    Outcome.CONTESTED: "the owner before signed this billot over twice",
    Outcome.DISPUTED: "the owner before signed this billot over twice and nobody can have it",
}


class Rounds:
    """The node's judgement: transfers, votes and conflicts in, decisions out."""

    def __init__(self, ledger: Ledger, trust: Trust, limits: Limits) -> None:
        self.ledger = ledger
        self.trust = trust
        self.votes = Votes(limits.votes_per_peer_max)
        self.wanted = Wanted(limits.fetch_after_s)
        self.pending: Pending[Submission | Relayed] = Pending(
            limits.pending_max, limits.pending_per_connection_max, limits.pending_s
        )
        self.seen = Notifications(limits.seen_max)
        self._limits = limits
        self._done = Notifications(limits.seen_max)
        self._bodies: dict[str, Transfer] = {}
        self._queue: list[Work] = []
        self._group: list[Work] = []
        self._woken: list[str] = []
        # What a round came to, for the node to say once it is on disk:
        self.decided: list[tuple[Submission, Refusal | list[tuple[str, Holding]]]] = []
        self.paired: list[tuple[PairWork, bool]] = []
        self.conflicts: list[tuple[Pair, int | None]] = []
        self.sources: dict[int, int | None] = {}
        self.wasted: list[tuple[int, str]] = []
        self.fed: list[int] = []
        self.newest: dict[str, FeedBatch] = {}
        """The newest batch of each voter whose signature held, without bodies."""

    @property
    def has_work(self) -> bool:
        """Whether a round is to be begun."""
        return bool(self._queue or self._woken or self.decided)

    def add(self, work: Work) -> None:
        """Queue an item for the next round."""
        self._queue.append(work)

    # -- what to verify -----------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """Begin a round with all that is queued; the signatures that it turns on, in order.

        State comes before signatures: what the ledger refuses whoever signed it is refused
        without a check, unless an earlier item of this round may change that.
        """
        queue, self._queue = self._queue, []
        group: list[Work] = []
        checks: list[Check] = []
        claimed: set[str] = set()
        for work in queue:
            if isinstance(work, Submission):
                if not self._needs_check(work, claimed):
                    continue
                if not work.checked:
                    checks.append(work.transfer.check_arguments)
                claimed.update(billot for billot, _ in work.transfer.billots)
            elif isinstance(work, FeedWork):
                work.bodies = [body for body in work.bodies if body.id not in self.seen]
                checks.append(work.check)
                checks += [body.check_arguments for body in work.bodies]
            elif isinstance(work, BodiesWork):
                work.bodies = [body for body in work.bodies if body.id in self.wanted]
                checks += [body.check_arguments for body in work.bodies]
            else:
                checks += [work.first.check_arguments, work.second.check_arguments]
            group.append(work)
        self._group = group
        return checks

    def _needs_check(self, work: Submission, claimed: set[str]) -> bool:
        """False if the submission could be refused at once; notes a signature known to hold."""
        transfer = work.transfer
        work.outcomes = outcomes = self.ledger.judge(transfer)
        if not all(outcome is Outcome.TAKE for outcome in outcomes):
            unclaimed = not any(billot in claimed for billot, _ in transfer.billots)
            hard = any(outcome in _HARD for outcome in outcomes)
            if unclaimed and hard and Outcome.CONFLICT not in outcomes:
                self._decide(work, self._refusal(transfer, outcomes))
                return False
            if all(outcome is Outcome.SAME for outcome in outcomes):
                taken = self.ledger.taken(transfer.billots[0][0])
                work.checked = taken is not None and (
                    taken.id == transfer.id and taken.signature == transfer.signature
                )
        return True

    # -- judging ------------------------------------------------------------------------------

    def judge(self, results: Sequence[bool], now: float) -> None:
        """Judge the round, given which of its signatures held."""
        held = iter(results)
        group, self._group = self._group, []
        for work in group:
            if isinstance(work, Submission):
                if work.checked or next(held):
                    work.checked = True
                    self._submission(work, now)
                else:
                    self.wasted.append((work.reply.conn, "a bad signature"))
                    self._decide(work, Refusal("bad_signature", "the signature does not hold"))
            elif isinstance(work, FeedWork):
                self._feed(work, held, now)
            elif isinstance(work, BodiesWork):
                self._arrived(work.bodies, held, work.source, now)
            else:
                self._pair(work, next(held) & next(held), now)
            self._wake(now)
        self._wake(now)

    def _submission(self, work: Submission, now: float) -> None:
        """A wallet's transfer with a good signature: whole or not at all, but for conflicts."""
        transfer = work.transfer
        outcomes = work.outcomes
        if outcomes is None or self.ledger.touched(transfer.billots) or set(outcomes) != _TAKEN:
            outcomes = self.ledger.judge(transfer)
        if Outcome.CONFLICT in outcomes:
            self._conflicting(work, outcomes, now)
        elif any(outcome in _HARD for outcome in outcomes):
            self._decide(work, self._refusal(transfer, outcomes))
        elif any(outcome in _WAITING for outcome in outcomes):
            rows = self._rows(transfer, outcomes, _WAITING)
            if not self.pending.add(work, work.reply.conn, rows, now):
                self._decide(work, self._refusal(transfer, outcomes))
        else:
            self._take(transfer, outcomes, source=work.reply.conn, here=True)
            self._decide(work, self._passed(transfer))

    def _passed(self, transfer: Transfer) -> list[tuple[str, Holding]]:
        sender, to, status = transfer.sender, transfer.to, self.ledger.status
        return [(b, Holding(seq, sender, to, status(b))) for b, seq in transfer.billots]

    def _conflicting(self, work: Submission, outcomes: list[Outcome], now: float) -> None:
        """A proven conflict: the other rows are judged each by itself."""
        transfer = work.transfer
        self._relay(Relayed(transfer, work.reply.conn, here=True), now, outcomes)
        at = outcomes.index(Outcome.CONFLICT)
        billot, _ = transfer.billots[at]
        rows = [
            {"billot": billot, "outcome": "taken" if outcome is Outcome.TAKE else outcome.value}
            for (billot, _), outcome in zip(transfer.billots, outcomes, strict=True)
        ]
        data: dict[str, Any] = {
            "billot": billot,
            "holding": self.ledger.present(billot),
            "to": transfer.to,
            "rows": rows,
        }
        message = "its owner signed this billot over to somebody else"
        self._decide(work, Refusal("conflicting_transfer", message, data))

    def _refusal(self, transfer: Transfer, outcomes: Sequence[Outcome]) -> Refusal:
        """Why a transfer was refused, by its first row that can't pass."""
        at = next(i for i, outcome in enumerate(outcomes) if outcome not in _PASSING)
        billot, outcome = transfer.billots[at][0], outcomes[at]
        return refuse(outcome.value, billot, _MESSAGES[outcome], self.ledger.present(billot))

    def _decide(self, work: Submission, decision: Refusal | list[tuple[str, Holding]]) -> None:
        self.decided.append((work, decision))

    def _relay(self, work: Relayed, now: float, outcomes: list[Outcome] | None = None) -> None:
        """A transfer that other servers took, its signature good: judged row by row."""
        transfer = work.transfer
        if outcomes is None:
            outcomes = self.ledger.judge(transfer)
        for billot, _ in self._rows(transfer, outcomes, {Outcome.CONFLICT}):
            self._conflict(billot, transfer, work.source)
        self._take(transfer, outcomes, source=work.source, here=work.here)
        waiting = self._rows(transfer, outcomes, _WAITING | {Outcome.BEHIND})
        if waiting:
            self.pending.add(work, None, waiting, now)

    def _rows(
        self,
        transfer: Transfer,
        outcomes: Sequence[Outcome],
        among: frozenset[Outcome] | set[Outcome],
    ) -> list[tuple[str, int]]:
        pairs = zip(transfer.billots, outcomes, strict=True)
        return [row for row, outcome in pairs if outcome in among]

    def _take(
        self,
        transfer: Transfer,
        outcomes: Sequence[Outcome],
        *,
        source: int | None,
        here: bool,
    ) -> None:
        """Take the rows that may be taken; then count what was said of this transfer before."""
        billots = [billot for billot, _ in self._rows(transfer, outcomes, {Outcome.TAKE})]
        if billots:
            entry = self.ledger.take(transfer, billots, here=here)
            self.sources[entry.lsn] = source
            self._woken += billots
        if all(outcome in _DEALT_WITH for outcome in outcomes):
            self.seen.add(transfer.id)
        if self.trust.n > 1:
            self._remember(transfer)
            for voter, rows in self.wanted.arrived(transfer.id).items():
                for row in rows:
                    self._count(voter, row, transfer)
                    self.votes.release(voter, row.lsn)

    def _wake(self, now: float) -> None:
        """Holdings changed: count their votes again, and judge again what waited for them."""
        while self._woken:
            billot = self._woken.pop()
            if self.trust.n > 1:
                self._consider(billot)
            for item in self.pending.wake(billot):
                if isinstance(item, Submission):
                    item.outcomes = None
                    self._submission(item, now)
                else:
                    self._relay(item, now)

    def expire(self, now: float) -> None:
        """Refuse what has waited long enough. A relayed transfer may come again with votes."""
        for item in self.pending.expired(now):
            if isinstance(item, Submission):
                outcomes = self.ledger.judge(item.transfer)
                if all(outcome in _PASSING for outcome in outcomes):
                    item.outcomes = None
                    self.add(item)  # settled at the last moment: its signature is known to hold
                else:
                    self._decide(item, self._refusal(item.transfer, outcomes))

    # -- conflicts ----------------------------------------------------------------------------

    def _conflict(self, billot: str, second: Transfer, source: int | None) -> None:
        """The owner signed `billot` over twice. Both signatures held, so this is proven."""
        first = self.ledger.taken(billot)
        if first is None or not conflict(first, second):
            return
        if self.ledger.keep_evidence(billot, first, second):
            self.conflicts.append((Pair(first, second), source))
        self.ledger.contest(billot)

    def _pair(self, work: PairWork, held: int, now: float) -> None:
        """Somebody shows two transfers: each is judged as if relayed, in turn."""
        before = len(self.conflicts)
        if held and conflict(work.first, work.second):
            for transfer in (work.first, work.second):
                self._relay(Relayed(transfer, work.source, here=work.here), now)
                self._wake(now)
        elif not held:
            self.wasted.append((work.source, "a bad signature"))
        self.paired.append((work, len(self.conflicts) > before))

    # -- feeds and votes ----------------------------------------------------------------------

    def _feed(self, work: FeedWork, held: Iterator[bool], now: float) -> None:
        self.fed.append(work.source)
        if not next(held):
            for _ in work.bodies:
                next(held)
            self.wasted.append((work.source, "a feed batch with a bad signature"))
            return
        batch = work.batch
        self.newest[work.voter] = FeedBatch(batch.server, batch.rows, batch.root, batch.signature)
        self._arrived(work.bodies, held, work.source, now)
        for row in work.rows:
            if row.lsn > self.votes.newest(work.voter):
                self._row(work.voter, row, now)
                self.votes.read(work.voter, row.lsn)

    def _arrived(
        self, bodies: Sequence[Transfer], held: Iterator[bool], source: int, now: float
    ) -> None:
        for transfer in bodies:
            if next(held):
                self._relay(Relayed(transfer, source), now)
                self._wake(now)
            else:
                self.wasted.append((source, "a transfer with a bad signature"))

    def _row(self, voter: str, row: FeedRow, now: float) -> None:
        """One vote of a trusted server's feed."""
        if isinstance(row, AdoptedRow):
            ballot = Ballot(Vote(row.sender, row.owner), row.lsn, None)
            self._vote(voter, row.billot, row.seq, ballot, adopted=True)
            return
        if row.transfer_id in self._done:
            return
        transfer = self._body(row.transfer_id)
        if transfer is None:
            self.wanted.name(row.transfer_id, voter, row, now)
            self.votes.hold(voter, row.lsn)
        else:
            self._count(voter, row, transfer)

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
        present = self.ledger.present(billot)
        if present.seq >= seq and present.status is Status.SETTLED:
            return False
        if self.votes.add(voter, billot, seq, ballot, adopted=adopted):
            self._woken.append(billot)
        return True

    def _consider(self, billot: str) -> None:
        """Settle or adopt what a quorum of us and those we trust has voted for."""
        present = self.ledger.present(billot)
        settled = present.status is Status.SETTLED
        quorum = self.trust.quorum
        for seq, vote, votes, transfer_id in self.votes.above(billot, present.seq):
            ours = seq == present.seq and vote == present.vote
            if votes + ours < quorum or (settled and seq == present.seq):
                continue
            if ours:
                self.ledger.settle(billot)
            else:
                transfer = None if transfer_id is None else self._body(transfer_id)
                if transfer is None:
                    continue
                entry = self.ledger.adopt(transfer, billot)
                self.sources[entry.lsn] = None
            self._woken.append(billot)
            self.votes.resolve(billot, seq)
            return
        if settled:
            self.votes.resolve(billot, present.seq)

    def recount(self) -> None:
        """The list's n changed, or a key: a quorum may stand now that didn't before."""
        self.ledger.alone = self.trust.n == 1
        for billot in self.ledger.unsettled_billots:
            if self.ledger.alone:
                self.ledger.settle(billot)
            self._woken.append(billot)

    def _remember(self, transfer: Transfer) -> None:
        self._bodies[transfer.id] = transfer
        if len(self._bodies) > self._limits.bodies_max:
            del self._bodies[next(iter(self._bodies))]

    def _body(self, transfer_id: str) -> Transfer | None:
        return self._bodies.get(transfer_id) or self.ledger.store.transfer(transfer_id)
