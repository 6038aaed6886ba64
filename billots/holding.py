"""What a server has on one billot, and the vote that it is (DESIGN, sections 1 and 5)."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Status(StrEnum):
    """How far a holding has got; only `SETTLED` may be spent."""

    HELD = "held"
    SETTLED = "settled"
    CONTESTED = "contested"
    DISPUTED = "disputed"
    UNISSUED = "unissued"
    UNKNOWN = "unknown"


class Vote(NamedTuple):
    """Who moved it and whose it is now, at one (id, seq). Two votes are equal if these are."""

    sender: str | None
    owner: str | None


class Holding(Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """`sender` (on the wire: ``from``) is the owner before, ``None`` at seq 0."""

    seq: int
    sender: str | None
    owner: str | None
    status: Status

    @property
    def vote(self) -> Vote:
        """The vote that this holding is at its seq."""
        return Vote(self.sender, self.owner)


SILENT = frozenset({Status.UNKNOWN, Status.UNISSUED})
"""Statuses that name no owner: seq 0, no `from`."""
