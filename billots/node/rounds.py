"""Rounds: what came together is checked together, judged in order and committed together.

`checks` names the signatures to verify; the driver verifies them wherever it likes. `judge`
takes the results and lets the ledger decide. Nothing of a round is said before its batch is on
disk (`Node.committed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from billots.holding import Holding
from billots.jsonrpc import Refusal
from billots.ledger import Ledger
from billots.limits import Limits
from billots.node.checking import Checking
from billots.node.consulting import Consulting
from billots.node.consults import Consults
from billots.node.feeds import Feeds
from billots.node.memory import Memory
from billots.node.pending import Pending
from billots.node.receipts import Receipts, Sign
from billots.node.reply import Reply
from billots.node.showing import Showing
from billots.node.taking import Taking
from billots.node.trust import Trust
from billots.node.verdicts import (
    HARD,
    PASSING,
    UNTIL_ASKED,
    WAITING,
    Decision,
    all_taken,
    double_spend,
    refusal,
    rows_among,
)
from billots.node.work import (
    BodiesWork,
    ConsultWork,
    FeedWork,
    PairWork,
    ReceiptsWork,
    Relayed,
    Shown,
    Submission,
    Work,
)
from billots.receipt import Check
from billots.table import Outcome
from billots.transfer import Transfer

_NEVER = float("inf")
_ROWS_MAX = 2048
"""Rows that a round judges, give or take one item: some tens of milliseconds."""


class Rounds:
    """The node's judgement: transfers, votes and conflicts in, decisions out."""

    def __init__(
        self, ledger: Ledger, trust: Trust, memory: Memory, limits: Limits, sign: Sign
    ) -> None:
        self.ledger = ledger
        self.trust = trust
        self.memory = memory
        self.consults = Consults(limits)
        self.receipts = Receipts(ledger, trust, sign, after_s=limits.receipt_after_s)
        self.feeds = Feeds(ledger, trust, self.receipts, limits, self.consults.news)
        self.taking = Taking(ledger, trust, memory, self.feeds, limits.seen_max)
        self.showing = Showing(ledger, trust, self.feeds)
        self._checking = Checking(self.taking, self.showing)
        self.consulting = Consulting(self.taking, self.consults, limits)
        self.pending: Pending[Submission] = Pending(limits.pending_max)
        self.seen = self.taking.seen
        self._limits = limits
        self._queue: list[Work] = []
        self._group: list[Work] = []
        self._recount = self._look = False
        # What a round came to, for the node to say once it is on disk:
        self.decided: list[tuple[Submission, Decision]] = []
        self.paired: list[tuple[PairWork, bool]] = []
        self.receipted: list[ReceiptsWork] = []
        self.wasted: list[tuple[int, str, str, float]] = []
        """Connection, the address that pays (or none), what it sent, and what that cost."""
        self.fed: list[int] = []
        if ledger.alone:
            ledger.settle_all()  # it may have had company before

    @property
    def has_work(self) -> bool:
        """Whether a round is to be begun."""
        said = self._queue or self.decided or self.feeds.to_count or self.consults.has_finished
        return bool(said or self._recount or self._look)

    def add(self, work: Work) -> None:
        """Queue an item for the next round."""
        self._queue.append(work)

    def recount(self) -> None:
        """The list's n changed, or a key: a quorum may stand now that didn't before."""
        self._recount = True

    def look(self) -> None:
        """Something happened that no work says, such as a feed that has nothing to be read."""
        self._look = True

    # -- what to verify -----------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """Begin a round with all that is queued; the signatures that it turns on, in order.

        State comes before signatures: what the ledger refuses whoever signed it is refused
        without a check, unless an earlier item of this round may change that.
        """
        group = self._next_group()
        checks, self._group = self._checking.checks(group)
        self.decided += self._checking.refused()
        self.paired += [(work, False) for work in self._checking.old()]
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

    # -- judging ------------------------------------------------------------------------------

    def judge(self, results: Sequence[bool], now: float) -> None:
        """Judge the round, given which of its signatures held."""
        if self._recount:
            self._count_again()
        held = iter(results)
        self._look = False
        group, self._group = self._group, []
        for work in group:
            if isinstance(work, Submission):
                self._submitted(work, now, held=work.checked or next(held))
            elif isinstance(work, FeedWork):
                self._feed(work, held, now)
            elif isinstance(work, BodiesWork):
                self._arrived(work.bodies, held, work.source, now)
            elif isinstance(work, ConsultWork):
                self._consulted(work, held, now)
            elif isinstance(work, ReceiptsWork):
                self._receipts(work, held, now)
            else:
                self._pair(work, next(held) & next(held), now)
            self._wake(now)
        self._wake(now)
        self.receipts.write(now)

    def _count_again(self) -> None:
        self._recount = False
        self.ledger.alone = self.trust.n == 1
        self.taking.changed += self.ledger.unsettled_billots
        if self.ledger.alone:
            self.ledger.settle_all()
        else:
            self.feeds.to_count += self.feeds.votes.billots

    def _submitted(self, work: Submission, now: float, *, held: bool) -> None:
        work.checked = held
        if held:
            self._submission(work, now)
            return
        self.wasted.append((work.reply.conn, work.reply.payer, "a bad signature", 1.0))
        self.decided.append((work, Refusal("bad_signature", "the signature does not hold")))

    def _submission(self, work: Submission, now: float) -> None:
        """A wallet's transfer with a good signature: whole or not at all, but for conflicts."""
        transfer, outcomes = work.transfer, work.outcomes
        if outcomes is None or self.ledger.touched(transfer.billots) or not all_taken(outcomes):
            outcomes = self.taking.outcomes(transfer)
        if PASSING.issuperset(outcomes):
            self._pass(work, outcomes, now)
        elif Outcome.CONFLICT in outcomes:
            # Proven: the other rows are judged each by itself.
            self.taking.relay(Relayed(transfer, work.reply.conn, here=True, named=False), now)
            self.decided.append((work, double_spend(transfer, outcomes, self.ledger.present)))
        elif not HARD.isdisjoint(outcomes) or not self._wait(work, outcomes, now):
            self.decided.append((work, refusal(transfer, outcomes, self.ledger.present)))

    def _pass(self, work: Submission, outcomes: Sequence[Outcome], now: float) -> None:
        transfer, status = work.transfer, self.ledger.status
        self.taking.take(transfer, outcomes, now, source=work.reply.conn, here=True)
        by, to, rows = transfer.sender, transfer.to, transfer.billots
        self.decided.append((work, [(b, Holding(seq, by, to, status(b))) for b, seq in rows]))

    def _wait(self, work: Submission, outcomes: Sequence[Outcome], now: float) -> bool:
        """Let a wallet's transfer wait for its rows while the others are asked about them."""
        limits = self._limits
        rows = rows_among(work.transfer, outcomes, WAITING)
        asked = [b for b, _ in rows_among(work.transfer, outcomes, UNTIL_ASKED)]
        if self.trust.n == 1 or not work.consulted.isdisjoint(asked):
            return False
        if work.until is None:
            work.until = now + limits.pending_s
            if not self.consulting.ask(work.transfer, outcomes, now):
                return False
        conn_max = limits.pending_per_connection_max
        return self.pending.add(work, rows, work.until, conn=work.reply.conn, conn_max=conn_max)

    def _wake(self, now: float) -> None:
        """Count votes that are news, and judge again what waited for billots that changed."""
        to_count, changed = self.feeds.to_count, self.taking.changed
        if self.ledger.alone and not len(self.pending):
            changed.clear()  # nobody waits
        while True:
            if to_count:
                found = self.feeds.consider(to_count.pop(), now)
                to_count += found
                changed += found
            elif changed:
                self._has_changed(changed.pop(), now)
            elif self.consults.has_finished:
                for billot in self.consulting.finish(now):
                    self._has_changed(billot, now, consulted=True)
            elif not self.consulting.is_through or not self.consulting.read(now):
                break
        self.consulting.watch_fresh(now)

    def _has_changed(self, billot: str, now: float, *, consulted: bool = False) -> None:
        """Judge again what waited for this billot, and what others took of it next."""
        for item in self.pending.wake(billot):
            if consulted:
                item.consulted.add(billot)
            item.outcomes = None
            self._submission(item, now)
        if self.trust.n > 1:
            for transfer in self.consulting.changed(billot, now):
                self.taking.relay(Relayed(transfer, None), now)

    def expire(self, now: float) -> None:
        """Refuse what has waited long enough, and end consults; a round may be due then."""
        self.consults.expire(now)
        write_at = self.receipts.next_at
        self._look |= write_at is not None and write_at <= now
        for item in self.pending.expired(now):
            outcomes = self.taking.outcomes(item.transfer)
            if WAITING & set(outcomes) and not (HARD | {Outcome.CONFLICT}) & set(outcomes):
                self.decided.append((item, refusal(item.transfer, outcomes, self.ledger.present)))
            else:  # another of its rows has changed meanwhile
                item.outcomes = None
                self.add(item)

    def abandon(self) -> list[Reply]:
        """Nothing can be decided any more: who waits for an answer."""
        works: list[Work] = [work for work, _ in self.decided]
        works += [work for work, _ in self.paired]
        works += [*self.receipted, *self._queue, *self._group]
        works += self.pending.expired(_NEVER)
        self.decided, self.paired, self.receipted = [], [], []
        self._queue, self._group = [], []
        waiting = (Submission, PairWork, ReceiptsWork)
        replies = [work.reply for work in works if isinstance(work, waiting)]
        return [reply for reply in replies if reply is not None]

    # -- what comes from others ---------------------------------------------------------------

    def _pair(self, work: PairWork, held: int, now: float) -> None:
        """Somebody shows two transfers: each is judged as if relayed, in turn."""
        stranger = work.reply is not None
        before = len(self.taking.conflicts)
        if held:
            for transfer in (work.first, work.second):
                if transfer.id in self.seen:
                    continue
                relayed = Relayed(transfer, work.source, here=stranger, named=not stranger)
                self.taking.relay(relayed, now)
                self._wake(now)
        else:
            payer = work.reply.payer if work.reply is not None else ""
            self.wasted.append((work.source, payer, "a bad signature", 1.0))
        self.paired.append((work, len(self.taking.conflicts) > before))

    def _feed(self, work: FeedWork, held: Iterator[bool], now: float) -> None:
        """A batch of a trusted server; the rows of one that isn't current will come again."""
        source = work.link.id
        self.fed.append(source)
        if not next(held):
            list(islice(held, len(work.bodies)))
            self.wasted.append((source, "", "a feed batch with a bad signature", 1.0))
            return
        self._arrived(work.bodies, held, source, now)
        if work.voter in self.trust.keys and work.is_current:
            self.feeds.read(work.voter, work.batch, work.rows, now)
        elif work.voter in self.trust.keys:
            self.feeds.keep_newest(work.voter, work.batch, work.rows)

    def _arrived(
        self, bodies: Sequence[Transfer], held: Iterator[bool], source: int, now: float
    ) -> None:
        for transfer in bodies:
            if next(held):
                self.taking.relay(Relayed(transfer, source), now)
                self._wake(now)
            else:
                self.wasted.append((source, "", "a transfer with a bad signature", 1.0))

    def _consulted(self, work: ConsultWork, held: Iterator[bool], now: float) -> None:
        """A trusted server's answer: its votes, with bodies and receipts."""
        good = next(held)
        self._arrived(work.bodies, held, work.link.id, now)
        for shown in work.shown:
            self._show(shown, held, now, votes=True)
        if not good:
            self.wasted.append((work.link.id, "", "a statement with a bad signature", 1.0))
        counts = good and work.key in self.trust.keys
        if counts:
            self.feeds.stated(work.key, work.statement, now)
        for billot, row in zip(work.asked, work.statement.billots, strict=True):
            self.consults.answered(work.key, billot, row.holding if counts else None)

    def _receipts(self, work: ReceiptsWork, held: Iterator[bool], now: float) -> None:
        """Receipts that somebody shows; bad ones cost who shows them what they cost us."""
        cost = 0.0 if work.bad is None else 1.0
        for shown in work.shown:
            if not self._show(shown, held, now):
                cost += 1 + len(shown.words)
                work.bad = shown.index if work.bad is None else min(work.bad, shown.index)
        if cost:
            self.wasted.append((work.source, work.payer, "a bad receipt", cost))
        if work.reply is not None:
            self.receipted.append(work)

    def _show(self, shown: Shown, held: Iterator[bool], now: float, *, votes: bool = False) -> bool:
        """A receipt, and which of its signatures held; whether it settles anything at all.

        `votes`: what it doesn't settle alone, its votes may settle with others.
        """
        results = list(islice(held, 1 + len(shown.words)))
        words, rows = self.showing.settled(shown, results)
        for billot in self.showing.contradicted(shown, rows):
            self.consulting.contradicted(billot, shown.receipt)
        found = self.feeds.by_receipt(shown.receipt, words, rows, now)
        if votes and words:
            self.feeds.arrived(shown.receipt.transfer, now)
            self.feeds.shown(shown.receipt.transfer, words, now)
        self.taking.changed += found
        self.feeds.to_count += found
        return bool(rows)
