"""How many servers must agree, and whether they do (DESIGN, section 5).

n servers, f = ⌊(n−1)/3⌋ of them may lie, and q = ⌊(n+f)/2⌋+1 make two quorums share an honest
one. Counting is the same for a server's own list and for a payee's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from billots.errors import InputError
from billots.holding import SILENT, Holding, Status, Vote
from billots.network import shown

_SHARE = re.compile(r"(100|[1-9][0-9]?)%", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)


def liars_max(n: int) -> int:
    """f: how many of n servers may lie without harm."""
    return (n - 1) // 3


def safe_quorum(n: int) -> int:
    """q: 1 of 1, 2 of 2, 2 of 3, 3 of 4, 5 of 7, 12 of 17."""
    return (n + liars_max(n)) // 2 + 1


@dataclass(frozen=True, slots=True)
class Quorum:
    """A wallet's rule: ``safe``, ``majority``, a share such as ``90%``, or a number."""

    rule: str = "safe"

    def __post_init__(self) -> None:
        known = self.rule in ("safe", "majority")
        if not known and not _SHARE.fullmatch(self.rule) and not _NUMBER.fullmatch(self.rule):
            raise InputError(
                f"not a quorum: {shown(self.rule)}", "a quorum is safe, majority, 90% or a number"
            )

    def needed(self, n: int) -> int:
        """How many of n must agree; raises InputError for a number over n."""
        if self.rule == "safe":
            return safe_quorum(n)
        if self.rule == "majority":
            return n // 2 + 1
        if self.rule.endswith("%"):
            return max(1, -(-n * int(self.rule[:-1]) // 100))
        if int(self.rule) > n:
            raise InputError(
                f"a quorum of {self.rule} can't be had from {n} server{'s' if n > 1 else ''}",
                "name more in --trusted",
            )
        return int(self.rule)


class Verdict(StrEnum):
    """What the trusted servers' answers come to."""

    OWNER = "owner"
    DISPUTED = "disputed"
    NO_OWNER = "no owner"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Tally:
    """The count for one billot.

    `holding` is the one with most votes (its status that of the first who gave it); `votes`
    how many gave it, of the `n` on the list, with `needed` for a verdict.
    """

    verdict: Verdict
    holding: Holding | None
    votes: int
    needed: int
    n: int

    @property
    def owner(self) -> str | None:
        """The owner, if a quorum agrees on one."""
        return self.holding.owner if self.verdict is Verdict.OWNER and self.holding else None


def count(
    holdings: Mapping[str, Holding], n: int, quorum: Quorum, *, conflict: bool = False
) -> Tally:
    """Count one billot's holdings, one for each server *key*, out of a list of n.

    A server that did not answer stays in n. `conflict` says that a verified pair of
    conflicting transfers is known at the highest seq; without one, f+1 servers that say
    disputed there are as good, for one of them is honest. A server at a lower seq is behind.
    """
    needed = quorum.needed(n)
    by_vote: dict[tuple[int, Vote], list[Holding]] = {}
    for holding in holdings.values():
        if holding.status is not Status.UNKNOWN:
            by_vote.setdefault((holding.seq, holding.vote), []).append(holding)
    best = max(by_vote.values(), key=_weight, default=[])
    most = best[0] if best else None
    if most is not None and len(best) >= needed:
        verdict = Verdict.NO_OWNER if most.status is Status.UNISSUED else Verdict.OWNER
    elif conflict or _say_disputed(list(holdings.values())) > liars_max(n):
        verdict = Verdict.DISPUTED
    else:
        verdict = Verdict.UNDECIDED
    return Tally(verdict, most, len(best), needed, n)


def _weight(equal: list[Holding]) -> tuple[int, int, str, str]:
    # A tie goes to the newer seq, then to any fixed order, so that all who count agree.
    return len(equal), equal[0].seq, equal[0].owner or "", equal[0].sender or ""


def _say_disputed(holdings: list[Holding]) -> int:
    highest = highest_seq(holdings)
    return sum(h.status is Status.DISPUTED and h.seq == highest for h in holdings)


def highest_seq(holdings: Iterable[Holding]) -> int:
    """The highest seq that any holding names; 0 if none does."""
    return max((h.seq for h in holdings if h.status not in SILENT), default=0)
