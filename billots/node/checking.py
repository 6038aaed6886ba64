"""Which signatures a round turns on: state comes before signatures."""

from __future__ import annotations

from collections.abc import Sequence

from billots.errors import InputError
from billots.jsonrpc import Refusal
from billots.node.showing import Showing, checks
from billots.node.taking import Taking
from billots.node.verdicts import HARD, UNTIL_ASKED, WAITING, all_taken, refusal
from billots.node.work import (
    BodiesWork,
    ConsultWork,
    FeedWork,
    PairWork,
    ReceiptsWork,
    Shown,
    Submission,
    Work,
)
from billots.receipt import Check
from billots.table import Outcome
from billots.transfer import Transfer, conflict


class Checking:
    """What the ledger refuses whoever signed it is refused without a check.

    Unless an earlier item of the round may change that.
    """

    def __init__(self, taking: Taking, showing: Showing) -> None:
        self._taking = taking
        self._showing = showing
        self._ledger = taking.ledger
        self._feeds = taking.feeds
        self._refused: list[tuple[Submission, Refusal]] = []
        self._old: list[PairWork] = []

    def checks(self, group: Sequence[Work]) -> tuple[list[Check], list[Work]]:
        """The signatures of a round, in order, and the items that are to be judged by them."""
        found: list[Check] = []
        left: list[Work] = []
        claimed: set[str] = set()
        submitted = [work.transfer.billots for work in group if isinstance(work, Submission)]
        self._ledger.look_up([billot for rows in submitted for billot, _ in rows])
        for work in group:
            part = self._checks(work, claimed)
            if part is not None:
                found += part
                left.append(work)
        return found, left

    def refused(self) -> list[tuple[Submission, Refusal]]:
        """Those that were refused at once."""
        found, self._refused = self._refused, []
        return found

    def old(self) -> list[PairWork]:
        """Pairs that are no news."""
        found, self._old = self._old, []
        return found

    def _submission(self, work: Submission, claimed: set[str]) -> list[Check] | None:
        if not self._needs_check(work, claimed):
            return None
        claimed.update([billot for billot, _ in work.transfer.billots])
        return [] if work.checked else [work.transfer.check_arguments]

    def _checks(self, work: Work, claimed: set[str]) -> list[Check] | None:
        """The signatures of one item; None if it is dealt with already.

        `claimed` are billots that earlier items may change; those of this one are added.
        """
        if isinstance(work, Submission):
            return self._submission(work, claimed)
        first: list[Check] = []
        transfers: Sequence[Transfer] = ()
        shown: list[Shown] = []
        if isinstance(work, FeedWork):
            first = [work.check]
            claimed.update([row.billot for row in work.adopted])
            transfers = work.bodies = [
                body for body in work.bodies if body.id not in self._taking.seen
            ]
        elif isinstance(work, BodiesWork):
            transfers = work.bodies = [b for b in work.bodies if b.id in self._feeds.wanted]
        elif isinstance(work, ConsultWork):
            first = [work.check]
            claimed.update(work.asked)
            work.bodies, work.shown = self._showing.proofs(work.statement)
            transfers, shown = work.bodies, work.shown
        elif isinstance(work, ReceiptsWork):
            shown = work.shown = self._looked_at(work)
        elif self._is_news(work, claimed):
            transfers = (work.first, work.second)
        else:
            self._old.append(work)
            return None
        claimed.update(billot for transfer in transfers for billot, _ in transfer.billots)
        claimed.update(billot for one in shown for billot, _ in one.receipt.transfer.billots)
        bodies = [transfer.check_arguments for transfer in transfers]
        return [*first, *bodies, *(check for one in shown for check in checks(one))]

    def _looked_at(self, work: ReceiptsWork) -> list[Shown]:
        shown: list[Shown] = []
        for index, receipt in enumerate(work.receipts):
            try:
                found = self._showing.look(receipt, index)
            except InputError:
                work.bad = index if work.bad is None else work.bad
            else:
                shown += [] if found is None else [found]
        return shown

    def _needs_check(self, work: Submission, claimed: set[str]) -> bool:
        """False if the submission could be refused at once; notes a signature known to hold."""
        transfer = work.transfer
        work.outcomes = outcomes = self._taking.outcomes(transfer)
        if all_taken(outcomes):
            return True
        unclaimed = not any(billot in claimed for billot, _ in transfer.billots)
        final = HARD if self._taking.trust.n > 1 else HARD | UNTIL_ASKED
        hard = any(outcome in final for outcome in outcomes)
        if unclaimed and hard and Outcome.CONFLICT not in outcomes:
            self._refused.append((work, refusal(transfer, outcomes, self._ledger.present)))
            return False
        if all(outcome is Outcome.SAME for outcome in outcomes):
            taken = self._ledger.taken((transfer.billots[0][0],))[0]
            if taken is not None and taken.id == transfer.id:
                work.checked |= taken.signature == transfer.signature
        return True

    def _is_news(self, work: PairWork, claimed: set[str]) -> bool:
        """Whether a pair would change anything here, if both signatures held."""
        rows = set(conflict(work.first, work.second))
        news = {Outcome.TAKE, Outcome.SAME, Outcome.CONFLICT}
        if work.reply is None:
            news |= WAITING
        outcomes = self._ledger.judge(work.first)
        return any(
            row in rows
            and (outcome in news or row[0] in claimed)
            and self._ledger.is_newer_evidence(*row)
            for row, outcome in zip(work.first.billots, outcomes, strict=True)
        )
