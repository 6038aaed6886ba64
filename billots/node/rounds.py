"""Rounds: what came together is checked together, judged in order and committed together.

`checks` names the signatures to verify; the driver verifies them wherever it likes. `judge`
takes the results and lets the ledger decide. Nothing of a round is said before its batch is on
disk (`Node.committed`).
"""

from __future__ import annotations

from collections.abc import Sequence

from billots.jsonrpc import Refusal
from billots.ledger import Ledger
from billots.limits import Limits
from billots.node.backlog import Backlog
from billots.node.checking import Checking
from billots.node.consulting import Consulting
from billots.node.consults import Consults
from billots.node.feeds import Feeds
from billots.node.incoming import Incoming
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
    FeedWork,
    PairWork,
    ReceiptsWork,
    Relayed,
    Submission,
    Work,
)
from billots.receipt import Check
from billots.statement import StatementRow
from billots.table import Outcome

_NEVER = float("inf")
_ROUNDS_BEHIND_MAX = 16


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
        self.incoming = Incoming(self.taking, self.showing, self.consulting, self._wake)
        self.pending: Pending[Submission] = Pending(limits.pending_max)
        self.seen = self.taking.seen
        self._limits = limits
        self.backlog = Backlog()
        self._group: list[Work] = []
        self._recount = self._look = False
        self._replaced: list[str] = []
        self._rounds_behind = 0
        self.decided: list[tuple[Submission, Decision]] = []
        """What wallets are to be told, once it is on disk; see `incoming` for the others."""
        if ledger.alone:
            ledger.settle_all()  # it may have had company before

    @property
    def has_work(self) -> bool:
        """Whether a round is to be begun."""
        backlog = self.backlog
        here = backlog.has_theirs or backlog.has_shown or (backlog.has_asked and self._room)
        said = self.decided or self.feeds.to_count or self.consults.has_finished
        return bool(here or said or self._recount or self._look)

    @property
    def can_wait(self) -> bool:
        """Whether all there is to do would be done more cheaply with what comes next."""
        backlog = self.backlog
        hurries = self._look or self._recount or backlog.has_shown
        hurries |= backlog.has_asked and self._room > 0
        return backlog.has_theirs and not hurries

    def add(self, work: Work) -> None:
        """Queue an item for the next round."""
        self.backlog.add(work)

    @property
    def _room(self) -> int:
        """How many new transfers may be taken up, for what was taken is to be settled first.

        Taking costs less than settling: else a server that has too much to do falls ever further
        behind, and so do those who wait for its votes.
        """
        if self.ledger.alone:
            return self._limits.in_flight_max * self._limits.connections_max
        tallies, limits = self.feeds.tallies, self._limits
        if tallies.open_rows >= limits.unsettled_rows_max:
            return 0
        return max(0, limits.unsettled_max - tallies.open_count)

    def recount(self) -> None:
        """The list's n changed, or a key: a quorum may stand now that didn't before."""
        self._recount = True

    def forget(self, voter: str) -> None:
        """This voter counts no more, from the next round on: its key was replaced.

        Not at once: a batch may be on its way to disk, and must not change.
        """
        self._replaced.append(voter)
        self.recount()

    def look(self) -> None:
        """Something happened that no work says, such as a feed that has nothing to be read."""
        self._look = True

    # -- what to verify -----------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """Begin a round with all that is queued; the signatures that it turns on, in order.

        State comes before signatures: what the ledger refuses whoever signed it is refused
        without a check, unless an earlier item of this round may change that.
        """
        group = self.backlog.take(self._room)
        checks, self._group = self._checking.checks(group)
        self.decided += self._checking.refused()
        self.incoming.paired += [(work, False) for work in self._checking.old()]
        return checks

    # -- judging ------------------------------------------------------------------------------

    def judge(self, results: Sequence[bool], now: float) -> None:
        """Judge the round, given which of its signatures held."""
        self.feeds.tallies.begin_turn()
        if self._recount:
            self._count_again()
        held = iter(results)
        self._look = False
        group, self._group = self._group, []
        for work in group:
            if self.incoming.unread and not isinstance(work, FeedWork):
                self.incoming.read(now)
            if isinstance(work, Submission):
                self._submitted(work, now, held=work.checked or next(held))
            else:
                self.incoming.judge(work, held, now)
            self._wake(now)
        self.incoming.read(now)
        self._rounds_behind = self._rounds_behind + 1 if self.backlog.has_theirs else 0
        if self._rounds_behind in (0, _ROUNDS_BEHIND_MAX):
            self._rounds_behind = 0
            self.feeds.tallies.expire(now)
        self._wake(now)
        self.receipts.write(now)

    def _count_again(self) -> None:
        self._recount = False
        replaced, self._replaced = self._replaced, []
        for voter in replaced:
            self.feeds.forget(voter)
        self.ledger.alone = self.trust.n == 1
        self.taking.changed += self.ledger.unsettled_billots
        if self.ledger.alone:
            self.ledger.settle_all()
        else:
            self.feeds.tallies.hand_over_all()
            self.feeds.to_count += self.feeds.votes.billots

    def _submitted(self, work: Submission, now: float, *, held: bool) -> None:
        work.checked = held
        if held:
            self._submission(work, now)
            return
        self.incoming.wasted.append((work.reply.conn, work.reply.payer, "a bad signature", 1.0))
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
        transfer, value = work.transfer, self.ledger.network.values
        self.taking.take(transfer, outcomes, now, source=work.reply.conn, here=True)
        sender, to = transfer.sender, transfer.to
        statuses = self.ledger.statuses([billot for billot, _ in transfer.billots])
        passed = [
            StatementRow(billot, seq, sender, to, status, value[billot[: billot.index("-")]])
            for (billot, seq), status in zip(transfer.billots, statuses, strict=True)
        ]
        self.decided.append((work, passed))

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
        changed = self.taking.changed
        if changed and not self._is_awaited(changed):
            changed.clear()
        while self._follow_up(now):
            pass
        self.consulting.watch_fresh(now)

    def _follow_up(self, now: float) -> bool:
        """One thing that follows from what was judged; False if there is none left."""
        to_count, changed, tallies = self.feeds.to_count, self.taking.changed, self.feeds.tallies
        if tallies.changed:
            if self._is_awaited(tallies.changed):
                changed += tallies.changed
            tallies.changed.clear()
        elif tallies.handed:
            to_count += tallies.handed
            self.taking.fresh += tallies.handed
            tallies.handed.clear()
        elif to_count:
            found = self.feeds.consider(to_count.pop(), now)
            to_count += found
            changed += found
        elif changed:
            self._has_changed(changed.pop(), now)
        elif self.consults.has_finished:
            for billot in self.consulting.finish(now):
                self._has_changed(billot, now, consulted=True)
        else:
            return self.consulting.is_through and self.consulting.read(now)
        return True

    def _is_awaited(self, billots: Sequence[str]) -> bool:
        """Whether something waits for one of these, as almost never."""
        return self.pending.waits_for(billots) or self.consulting.is_concerned(billots)

    def _has_changed(self, billot: str, now: float, *, consulted: bool = False) -> None:
        """Judge again what waited for this billot, and what others took of it next."""
        if not (consulted or billot in self.pending or self.consulting.is_concerned((billot,))):
            return
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
        for at in (self.receipts.next_at, self.feeds.tallies.next_at):
            self._look |= at is not None and at <= now
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
        incoming = self.incoming
        works += [work for work, _ in incoming.paired]
        works += [*incoming.receipted, *self._group, *self.backlog.abandon()]
        works += self.pending.expired(_NEVER)
        self.decided, incoming.paired, incoming.receipted = [], [], []
        self._group = []
        waiting = (Submission, PairWork, ReceiptsWork)
        replies = [work.reply for work in works if isinstance(work, waiting)]
        return [reply for reply in replies if reply is not None]
