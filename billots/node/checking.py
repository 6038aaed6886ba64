"""Which signatures a round turns on: state comes before signatures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from billots.errors import InputError
from billots.jsonrpc import Refusal
from billots.node.showing import Showing, checks
from billots.node.taking import Taking
from billots.node.verdicts import HARD, UNTIL_ASKED, WAITING, all_taken, refusal
from billots.node.work import (
    BodiesWork,
    ConsultWork,
    FeedWork,
    Incoming,
    PairWork,
    ReceiptsWork,
    Shown,
    Submission,
    Work,
)
from billots.receipt import Check
from billots.table import Outcome
from billots.transfer import Row, Transfer, conflict


class Claimed:
    """Billots that a round may change: gathered each time, and looked into almost never."""

    def __init__(self) -> None:
        self._rows: list[Sequence[Row]] = []
        self._billots: set[str] = set()

    def add(self, rows: Sequence[Row]) -> None:
        """Those of a transfer."""
        self._rows.append(rows)

    def update(self, billots: Iterable[str]) -> None:
        """These."""
        self._billots.update(billots)

    def __contains__(self, billot: str) -> bool:
        for rows in self._rows:
            self._billots.update([billot for billot, _ in rows])
        self._rows.clear()
        return billot in self._billots


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
        claimed = Claimed()
        moved = (row for work in group for body in work.brings for row in body.billots)
        self._ledger.look_up([billot for billot, _ in moved])
        for work in group:
            part = (
                self._submission(work, claimed)
                if isinstance(work, Submission)
                else self._checks(work, claimed)
            )
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

    def _submission(self, work: Submission, claimed: Claimed) -> list[Check] | None:
        """As `_checks`."""
        transfer = work.transfer
        work.outcomes = outcomes = self._taking.outcomes(transfer)
        if not all_taken(outcomes) and not self._needs_check(work, outcomes, claimed):
            return None
        claimed.add(transfer.billots)
        return [] if work.checked else [transfer.check_arguments]

    def _checks(self, work: Incoming, claimed: Claimed) -> list[Check] | None:
        """The signatures of one item; None if it is dealt with already.

        `claimed` are billots that earlier items may change; those of this one are added.
        """
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
        for transfer in transfers:
            claimed.add(transfer.billots)
        for one in shown:
            claimed.add(one.receipt.transfer.billots)
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

    def _needs_check(self, work: Submission, outcomes: Sequence[Outcome], claimed: Claimed) -> bool:
        """False if the submission could be refused at once; notes a signature known to hold."""
        transfer = work.transfer
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

    def _is_news(self, work: PairWork, claimed: Claimed) -> bool:
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
