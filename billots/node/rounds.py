"""Rounds: what came together is checked together, judged in order and committed together.

`checks` names the signatures to verify; the driver verifies them wherever it likes. `judge`
takes the results and lets the ledger decide. Nothing of a round is said before its batch is on
disk (`Node.committed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from billots.feed import AdoptedRow
from billots.holding import Holding
from billots.jsonrpc import Refusal
from billots.ledger import Ledger, Outcome
from billots.limits import Limits
from billots.messages import Pair
from billots.node.feeds import Feeds
from billots.node.pending import Pending
from billots.node.reply import Reply
from billots.node.trust import Trust
from billots.node.verdicts import (
    DEALT_WITH,
    HARD,
    TAKEN,
    WAITING,
    Row,
    double_spend,
    refusal,
    rows_among,
)
from billots.node.work import (
    BodiesWork,
    Check,
    FeedWork,
    PairWork,
    Relayed,
    Submission,
    Work,
)
from billots.notifications import Notifications
from billots.transfer import Transfer, conflict

_NEVER = float("inf")
_ROWS_MAX = 2048
"""Rows that a round judges, give or take one item: some tens of milliseconds."""

Decision = Refusal | list[tuple[str, Holding]]
"""A refusal, or the holdings that a transfer that passed comes to."""


class Rounds:
    """The node's judgement: transfers, votes and conflicts in, decisions out."""

    def __init__(self, ledger: Ledger, trust: Trust, limits: Limits) -> None:
        self.ledger = ledger
        self.trust = trust
        self.feeds = Feeds(ledger, trust, limits)
        self.pending: Pending[Submission] = Pending(limits.pending_max)
        self.seen = Notifications(limits.seen_max)
        self._limits = limits
        self._queue: list[Work] = []
        self._group: list[Work] = []
        self._changed: list[str] = []
        self._recount = False
        # What a round came to, for the node to say once it is on disk:
        self.decided: list[tuple[Submission, Decision]] = []
        self.paired: list[tuple[PairWork, bool]] = []
        self.conflicts: list[tuple[Pair, int | None]] = []
        self.sources: dict[int, int | None] = {}
        self.wasted: list[tuple[int, str, str]] = []
        """Connection, the address that pays (or none), what it sent."""
        self.fed: list[int] = []
        if ledger.alone:
            ledger.settle_all()  # it may have had company before

    @property
    def has_work(self) -> bool:
        """Whether a round is to be begun."""
        return bool(self._queue or self.feeds.to_count or self.decided or self._recount)

    def add(self, work: Work) -> None:
        """Queue an item for the next round."""
        self._queue.append(work)

    def recount(self) -> None:
        """The list's n changed, or a key: a quorum may stand now that didn't before."""
        self._recount = True

    # -- what to verify -----------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """Begin a round with all that is queued; the signatures that it turns on, in order.

        State comes before signatures: what the ledger refuses whoever signed it is refused
        without a check, unless an earlier item of this round may change that.
        """
        queue = self._next_group()
        group: list[Work] = []
        checks: list[Check] = []
        claimed: set[str] = set()
        for work in queue:
            transfers: Sequence[Transfer] = ()
            if isinstance(work, Submission):
                if not self._needs_check(work, claimed):
                    continue
                if not work.checked:
                    checks.append(work.transfer.check_arguments)
                claimed.update(billot for billot, _ in work.transfer.billots)
            elif isinstance(work, FeedWork):
                checks.append(work.check)
                claimed.update(row.billot for row in work.rows if isinstance(row, AdoptedRow))
                work.bodies = [body for body in work.bodies if body.id not in self.seen]
                transfers = work.bodies
            elif isinstance(work, BodiesWork):
                work.bodies = [body for body in work.bodies if body.id in self.feeds.wanted]
                transfers = work.bodies
            elif self._is_news(work, claimed):
                transfers = (work.first, work.second)
            else:
                self.paired.append((work, False))
                continue
            for transfer in transfers:
                checks.append(transfer.check_arguments)
                claimed.update(billot for billot, _ in transfer.billots)
            group.append(work)
        self._group = group
        return checks

    def _next_group(self) -> list[Work]:
        """As much of the queue as one round takes; the rest has the next one."""
        rows = 0
        group: list[Work] = []
        for work in self._queue:
            group.append(work)
            rows += work.row_count
            if rows >= _ROWS_MAX:
                break
        del self._queue[: len(group)]
        return group

    def _needs_check(self, work: Submission, claimed: set[str]) -> bool:
        """False if the submission could be refused at once; notes a signature known to hold."""
        transfer = work.transfer
        work.outcomes = outcomes = self.ledger.judge(transfer)
        if all(outcome is Outcome.TAKE for outcome in outcomes):
            return True
        unclaimed = not any(billot in claimed for billot, _ in transfer.billots)
        hard = any(outcome in HARD for outcome in outcomes)
        if unclaimed and hard and Outcome.CONFLICT not in outcomes:
            self.decided.append((work, refusal(transfer, outcomes, self.ledger.present)))
            return False
        if all(outcome is Outcome.SAME for outcome in outcomes):
            taken = self.ledger.taken((transfer.billots[0][0],))[0]
            if taken is not None and taken.id == transfer.id:
                work.checked |= taken.signature == transfer.signature
        return True

    def _is_news(self, work: PairWork, claimed: set[str]) -> bool:
        """Whether a pair would change anything here, if both signatures held."""
        rows = set(conflict(work.first, work.second))
        news = {Outcome.TAKE, Outcome.SAME, Outcome.CONFLICT}
        if work.reply is None:
            news |= WAITING | {Outcome.BEHIND}
        outcomes = self.ledger.judge(work.first)
        return any(
            row in rows
            and (outcome in news or row[0] in claimed)
            and self.ledger.is_newer_evidence(*row)
            for row, outcome in zip(work.first.billots, outcomes, strict=True)
        )

    # -- judging ------------------------------------------------------------------------------

    def judge(self, results: Sequence[bool], now: float) -> None:
        """Judge the round, given which of its signatures held."""
        if self._recount:
            self._count_again()
        held = iter(results)
        group, self._group = self._group, []
        for work in group:
            if isinstance(work, Submission):
                if work.checked or next(held):
                    work.checked = True
                    self._submission(work, now)
                else:
                    reply = work.reply
                    self.wasted.append((reply.conn, reply.payer, "a bad signature"))
                    self.decided.append(
                        (work, Refusal("bad_signature", "the signature does not hold"))
                    )
            elif isinstance(work, FeedWork):
                self._feed(work, held, now)
            elif isinstance(work, BodiesWork):
                self._arrived(work.bodies, held, work.source, now)
            else:
                self._pair(work, next(held) & next(held), now)
            self._wake(now)
        self._wake(now)

    def _count_again(self) -> None:
        self._recount = False
        self.ledger.alone = self.trust.n == 1
        self._changed += self.ledger.unsettled_billots
        if self.ledger.alone:
            self.ledger.settle_all()
        else:
            self.feeds.to_count += self.feeds.votes.billots

    def _submission(self, work: Submission, now: float) -> None:
        """A wallet's transfer with a good signature: whole or not at all, but for conflicts."""
        transfer, outcomes = work.transfer, work.outcomes
        if outcomes is None or self.ledger.touched(transfer.billots) or set(outcomes) != TAKEN:
            outcomes = self.ledger.judge(transfer)
        if Outcome.CONFLICT in outcomes:
            self._conflicting(work, outcomes)
        elif any(outcome in HARD for outcome in outcomes):
            self.decided.append((work, refusal(transfer, outcomes, self.ledger.present)))
        elif any(outcome in WAITING for outcome in outcomes):
            if not self._wait(work, rows_among(transfer, outcomes, WAITING), now):
                self.decided.append((work, refusal(transfer, outcomes, self.ledger.present)))
        else:
            self._take(transfer, outcomes, source=work.reply.conn, here=True)
            self.decided.append((work, self._passed(transfer)))

    def _wait(self, work: Submission, rows: Iterable[Row], now: float) -> bool:
        """Let a wallet's transfer wait for its rows, no longer in all than one may."""
        limits = self._limits
        if work.until is None:
            work.until = now + limits.pending_s
        conn_max = limits.pending_per_connection_max
        return self.pending.add(work, rows, work.until, conn=work.reply.conn, conn_max=conn_max)

    def _passed(self, transfer: Transfer) -> list[tuple[str, Holding]]:
        sender, to, status = transfer.sender, transfer.to, self.ledger.status
        return [(b, Holding(seq, sender, to, status(b))) for b, seq in transfer.billots]

    def _conflicting(self, work: Submission, outcomes: list[Outcome]) -> None:
        """A proven conflict: the other rows are judged each by itself."""
        transfer = work.transfer
        self._relay(Relayed(transfer, work.reply.conn, here=True, named=False))
        self.decided.append((work, double_spend(transfer, outcomes, self.ledger.present)))

    def _relay(self, work: Relayed) -> None:
        """A transfer with a good signature that others have, judged row by row.

        What can't be taken yet doesn't wait: who named it in a feed voted for it, and these
        votes bring it back when the move before it settles (`Feeds.next_moves`).
        """
        transfer = work.transfer
        outcomes = self.ledger.judge(transfer)
        self._conflict(transfer, rows_among(transfer, outcomes, {Outcome.CONFLICT}), work.source)
        self._take(transfer, outcomes, source=work.source, here=work.here, keep=work.named)

    def _take(
        self,
        transfer: Transfer,
        outcomes: Sequence[Outcome],
        *,
        source: int | None,
        here: bool,
        keep: bool = True,
    ) -> None:
        """Take the rows that may be taken; then count what was said of this transfer before."""
        billots = [billot for billot, _ in rows_among(transfer, outcomes, TAKEN)]
        if billots:
            entry = self.ledger.take(transfer, billots, here=here)
            self.sources[entry.lsn] = source
            self._changed += billots
            if self.trust.n > 1:
                self.feeds.to_count += billots
        if all(outcome in DEALT_WITH for outcome in outcomes):
            self.seen.add(transfer.id)
        if self.trust.n > 1 and (billots or keep or transfer.id in self.feeds.wanted):
            self.feeds.arrived(transfer)

    def _wake(self, now: float) -> None:
        """Count votes that are news, and judge again what waited for billots that changed."""
        to_count, changed = self.feeds.to_count, self._changed
        while to_count or changed:
            if to_count:
                billot = to_count.pop()
                if self.feeds.consider(billot, now):
                    to_count.append(billot)
                    changed.append(billot)
                continue
            billot = changed.pop()
            for item in self.pending.wake(billot):
                item.outcomes = None
                self._submission(item, now)
            for transfer in self.feeds.next_moves(billot, now) if self.trust.n > 1 else ():
                self._relay(Relayed(transfer, None))

    def expire(self, now: float) -> None:
        """Refuse what has waited long enough."""
        for item in self.pending.expired(now):
            outcomes = self.ledger.judge(item.transfer)
            if WAITING & set(outcomes) and not (HARD | {Outcome.CONFLICT}) & set(outcomes):
                self.decided.append((item, refusal(item.transfer, outcomes, self.ledger.present)))
            else:  # another of its rows has changed meanwhile
                item.outcomes = None
                self.add(item)

    def abandon(self) -> list[Reply]:
        """Nothing can be decided any more: who waits for an answer."""
        works: list[Work] = [work for work, _ in self.decided]
        works += [work for work, _ in self.paired]
        works += self._queue + self._group
        works += self.pending.expired(_NEVER)
        self.decided, self.paired, self._queue, self._group = [], [], [], []
        replies = [work.reply for work in works if isinstance(work, Submission | PairWork)]
        return [reply for reply in replies if reply is not None]

    # -- conflicts ----------------------------------------------------------------------------

    def _conflict(self, second: Transfer, rows: Sequence[Row], source: int | None) -> None:
        """The owner signed these over twice. Both signatures held, so this is proven."""
        billots = [billot for billot, _ in rows]
        told: set[str] = set()
        for billot, first in zip(billots, self.ledger.taken(billots), strict=True):
            assert first is not None, "what moved was moved by a transfer"
            if self.ledger.keep_evidence(billot, first, second) and first.id not in told:
                told.add(first.id)
                self.conflicts.append((Pair(first, second), source))
            self.ledger.contest(billot)

    def _pair(self, work: PairWork, held: int, now: float) -> None:
        """Somebody shows two transfers: each is judged as if relayed, in turn."""
        stranger = work.reply is not None
        before = len(self.conflicts)
        if held:
            for transfer in (work.first, work.second):
                self._relay(Relayed(transfer, work.source, here=stranger, named=not stranger))
                self._wake(now)
        else:
            payer = work.reply.payer if work.reply is not None else ""
            self.wasted.append((work.source, payer, "a bad signature"))
        self.paired.append((work, len(self.conflicts) > before))

    # -- feeds --------------------------------------------------------------------------------

    def _feed(self, work: FeedWork, held: Iterator[bool], now: float) -> None:
        """A batch of a trusted server. Of a link that has ended it will come again."""
        link = work.link
        self.fed.append(link.id)
        if not next(held):
            for _ in work.bodies:
                next(held)
            self.wasted.append((link.id, "", "a feed batch with a bad signature"))
            return
        self._arrived(work.bodies, held, link.id, now)
        if not link.closed and work.voter in self.trust.keys:
            self.feeds.read(work.voter, work.batch, work.rows, now)

    def _arrived(
        self, bodies: Sequence[Transfer], held: Iterator[bool], source: int, now: float
    ) -> None:
        for transfer in bodies:
            if next(held):
                self._relay(Relayed(transfer, source))
                self._wake(now)
            else:
                self.wasted.append((source, "", "a transfer with a bad signature"))
