"""What a faucet's claim comes to: a payment to look at while it becomes final, or a refusal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from billots.faucet_book import Record
from billots.poll import Answer
from billots.transfer import Transfer


class Reason(StrEnum):
    """Why somebody is given nothing: the limits of `rationing.Limit`, and trouble of our own."""

    OWNER = "owner"
    ADDRESS = "address"
    BUDGET = "budget"
    BUSY = "busy"
    EMPTY = "empty"
    UNABLE = "unable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is given now; `wait_s` is when to come back. `last`: what the owner was given."""

    reason: Reason
    wait_s: int
    last: str | None = None


@dataclass(slots=True, eq=False)
class Payout:
    """One grant on its way. `answers` are the servers' words on its first billot, by place.

    `votes` of `n` servers name the payee, `needed` make it final, `seconds` is how long that took
    from the signature. `ended`: nothing more will change, or not before the faucet's next start.
    """

    record: Record
    transfer: Transfer | None = None
    begun: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    votes: int = 0
    needed: int = 0
    n: int = 0
    seconds: float | None = None
    final: bool = False
    ended: bool = False
    refusal: Refusal | None = None
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is signed, or refused."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, answer: Answer) -> None:
        """A server's word came, or why there is none."""
        self.answers[answer.host.place] = answer
        self.tell()

    def tell(self) -> None:
        """Wake who waits for news."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def news(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()
