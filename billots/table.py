"""The table of DESIGN section 5: what one row of a transfer comes to."""

from __future__ import annotations

from enum import Enum

from billots.holding import Holding, Status


class Outcome(Enum):
    """What the table says of one row of a transfer."""

    __hash__ = object.__hash__  # each is one object; Enum's own is Python, and ten times as slow

    TAKE = "take"
    SAME = "same"
    CONFLICT = "conflict"
    STALE = "stale_seq"
    BEHIND = "behind"
    NOT_OWNER = "not_owner"
    NOT_SETTLED = "not_settled"
    CONTESTED = "contested_billot"
    DISPUTED = "disputed_billot"
    UNISSUED = "unissued_billot"


_NOT_SPENDABLE = {
    Status.HELD: Outcome.NOT_SETTLED,
    Status.CONTESTED: Outcome.CONTESTED,
    Status.DISPUTED: Outcome.DISPUTED,
}


def judge(seq: int, sender: str, to: str, holding: Holding) -> Outcome:
    """What the row (`seq`, signed by `sender`, to the owner `to`) comes to against a holding."""
    if holding.owner is None:
        return Outcome.UNISSUED
    if seq == holding.seq + 1:
        if sender != holding.owner:
            return Outcome.NOT_OWNER
        return _NOT_SPENDABLE.get(holding.status, Outcome.TAKE)
    if seq == holding.seq:
        if sender != holding.sender:
            return Outcome.NOT_OWNER
        return Outcome.SAME if to == holding.owner else Outcome.CONFLICT
    return Outcome.STALE if seq < holding.seq else Outcome.BEHIND
