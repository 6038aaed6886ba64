"""What a transfer's rows come to together, and how a wallet is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from billots.holding import Holding
from billots.jsonrpc import Refusal, refuse
from billots.statement import StatementRow
from billots.table import Outcome
from billots.transfer import Transfer

Row = tuple[str, int]
Decision = Refusal | list[StatementRow]
"""A refusal, or what is to be stated of the billots of a transfer that passed."""

TAKEN = frozenset({Outcome.TAKE})
PASSING = frozenset({Outcome.TAKE, Outcome.SAME})
UNTIL_ASKED = frozenset({Outcome.BEHIND, Outcome.DISPUTED})
"""What is final for a wallet once the others have been asked."""
WAITING = frozenset({Outcome.NOT_SETTLED, Outcome.CONTESTED, *UNTIL_ASKED})
HARD = frozenset({Outcome.UNISSUED, Outcome.NOT_OWNER, Outcome.STALE})
DEALT_WITH = frozenset({Outcome.TAKE, Outcome.SAME, Outcome.STALE})
_MESSAGES = {
    Outcome.UNISSUED: "this billot is not issued",
    Outcome.NOT_OWNER: "the signer does not own this billot",
    Outcome.STALE: "this billot has moved on",
    Outcome.BEHIND: "moves of this billot before this one are not known here",
    Outcome.NOT_SETTLED: "the move of this billot before this one is not settled yet",
    Outcome.CONTESTED: "the owner before signed this billot over twice",
    Outcome.DISPUTED: "the owner before signed this billot over twice and nobody can have it",
}


def all_taken(outcomes: Sequence[Outcome]) -> bool:
    """Whether every row may be taken, as almost always."""
    return outcomes.count(Outcome.TAKE) == len(outcomes)


def rows_among(
    transfer: Transfer, outcomes: Sequence[Outcome], among: Collection[Outcome]
) -> list[Row]:
    """The rows that come to one of these outcomes."""
    pairs = zip(transfer.billots, outcomes, strict=True)
    return [row for row, outcome in pairs if outcome in among]


def refusal(
    transfer: Transfer, outcomes: Sequence[Outcome], present: Callable[[str], Holding]
) -> Refusal:
    """Why a transfer was refused, by its first row that can't pass."""
    at = next(i for i, outcome in enumerate(outcomes) if outcome not in PASSING)
    billot, outcome = transfer.billots[at][0], outcomes[at]
    return refuse(outcome.value, billot, _MESSAGES[outcome], present(billot))


def double_spend(
    transfer: Transfer, outcomes: Sequence[Outcome], present: Callable[[str], Holding]
) -> Refusal:
    """Both owners of the first row in conflict, and each row's outcome."""
    (billot, _), *_ = rows_among(transfer, outcomes, {Outcome.CONFLICT})
    rows = [
        {"billot": billot, "outcome": "taken" if outcome is Outcome.TAKE else outcome.value}
        for (billot, _), outcome in zip(transfer.billots, outcomes, strict=True)
    ]
    data: dict[str, Any] = {
        "billot": billot,
        "holding": present(billot),
        "to": transfer.to,
        "rows": rows,
    }
    message = "its owner signed this billot over to somebody else"
    return Refusal("conflicting_transfer", message, data)
