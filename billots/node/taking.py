"""Transfers and the ledger: what is taken, what is passed over, and what is a conflict.

Every transfer here has a signature that held.
"""

from __future__ import annotations

from collections.abc import Sequence

from billots.holding import Status
from billots.ledger import Ledger
from billots.messages import Pair
from billots.node.feeds import Feeds
from billots.node.memory import Memory
from billots.node.trust import Trust
from billots.node.verdicts import DEALT_WITH, TAKEN, Row, all_taken, rows_among
from billots.node.work import Relayed
from billots.notifications import Notifications
from billots.table import Outcome
from billots.transfer import Transfer

_CONTESTED = frozenset({Status.CONTESTED, Status.DISPUTED})


class Taking:
    """Lets the ledger take what may be taken; `changed` are billots with another holding.

    `sources` says where an entry (by lsn) came from, `conflicts` are pairs to be passed on.
    """

    def __init__(
        self, ledger: Ledger, trust: Trust, memory: Memory, feeds: Feeds, seen_max: int
    ) -> None:
        self.ledger = ledger
        self.trust = trust
        self.memory = memory
        self.feeds = feeds
        self.seen = Notifications(seen_max)
        self.changed: list[str] = []
        self.conflicts: list[tuple[Pair, int | None]] = []
        self.sources: dict[int, int | None] = {}
        self.fresh: list[str] = []
        """Billots taken, and so held, since somebody looked."""
        self.regained = set(ledger.unsettled_billots)
        """Held since before the start. The mark that they are settled may be lost (it rides
        along with a later batch), so that a conflict on one waits for a consult."""

    def outcomes(self, transfer: Transfer) -> list[Outcome]:
        """The table's word on each row, as far as this server may go by it."""
        outcomes = self.ledger.judge(transfer)
        if not self.memory.is_free or self.regained:
            return [
                self._guarded(billot, outcome)
                for (billot, _), outcome in zip(transfer.billots, outcomes, strict=True)
            ]
        return outcomes

    def _guarded(self, billot: str, outcome: Outcome) -> Outcome:
        if outcome is Outcome.TAKE and not self.memory.may_vote(billot):
            return Outcome.NOT_SETTLED
        if outcome is Outcome.CONFLICT and self._may_be_settled(billot):
            return Outcome.NOT_SETTLED
        return outcome

    def _may_be_settled(self, billot: str) -> bool:
        return billot in self.regained and self.ledger.status(billot) is Status.HELD

    def relay(self, work: Relayed, now: float) -> None:
        """A transfer that others have, judged row by row.

        What can't be taken yet doesn't wait: who named it in a feed voted for it, and these
        votes bring it back when the move before it settles (`Feeds.next_moves`).
        """
        transfer = work.transfer
        outcomes = self.outcomes(transfer)
        if Outcome.CONFLICT in outcomes:
            self.conflict(transfer, rows_among(transfer, outcomes, {Outcome.CONFLICT}), work.source)
        self.take(transfer, outcomes, now, source=work.source, here=work.here, keep=work.named)

    def take(
        self,
        transfer: Transfer,
        outcomes: Sequence[Outcome],
        now: float,
        *,
        source: int | None,
        here: bool,
        keep: bool = True,
    ) -> None:
        """Take the rows that may be taken; then count what was said of this transfer before."""
        whole, alone = all_taken(outcomes), self.ledger.alone
        rows = transfer.billots if whole else rows_among(transfer, outcomes, TAKEN)
        billots = [billot for billot, _ in rows]
        if billots:
            self.feeds.tallies.hand_over(billots)
            self.feeds.receipts.leaving(billots, now)
            entry = self.ledger.take(transfer, billots, here=here)
            self.sources[entry.lsn] = source
            self.changed += billots
            counted = whole and self.memory.is_free and not self.regained
            if not alone and not (counted and self.feeds.taken(transfer, entry.lsn, now)):
                self.feeds.to_count += billots
                self.fresh += billots
        if alone:
            return  # nobody sends it again, and nobody votes
        if whole or all(outcome in DEALT_WITH for outcome in outcomes):
            self.seen.add(transfer.id)
        if billots or keep or transfer.id in self.feeds.wanted:
            self.feeds.arrived(transfer, now)

    def conflict(self, second: Transfer, rows: Sequence[Row], source: int | None) -> None:
        """The owner signed these over twice. Both signatures held, so this is proven."""
        billots = [billot for billot, _ in rows]
        told: set[str] = set()
        for billot, first in zip(billots, self.ledger.taken(billots), strict=True):
            assert first is not None, "what moved was moved by a transfer"
            if self.ledger.keep_evidence(billot, first, second) and first.id not in told:
                told.add(first.id)
                self.conflicts.append((Pair(first, second), source))
            if self.ledger.status(billot) is Status.HELD:
                self.feeds.tallies.hand_over((billot,))
                self.ledger.contest(billot)
                self.feeds.to_count.append(billot)
                self.fresh.append(billot)

    def is_contested(self, billot: str) -> bool:
        """Whether its owner signed it over twice and it isn't settled."""
        return self.ledger.status(billot) in _CONTESTED
