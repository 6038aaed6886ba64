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

    Of `n` servers `needed` make it final, `seconds` is how long that took from the signature.
    `ended`: nothing more will change, or not before the faucet's next start.
    """

    record: Record
    transfer: Transfer | None = None
    begun: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    needed: int = 0
    n: int = 0
    seconds: float | None = None
    final: bool = False
    ended: bool = False
    refusal: Refusal | None = None
    version: int = 0
    """Goes up whenever something changes."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is signed, or refused."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def transfer_id(self) -> str | None:
        """The transfer that pays it, once it is signed."""
        return self.record.transfer_id if self.transfer is None else self.transfer.id

    @property
    def billots(self) -> tuple[tuple[str, int], ...]:
        """What is given: (id, new seq), once it is signed."""
        return self.record.billots if self.transfer is None else self.transfer.billots

    @property
    def votes(self) -> int:
        """How many servers name the payee, or say that it has passed on what it got."""
        return sum(self.has(answer) for answer in self.answers.values())

    def has(self, answer: Answer) -> bool:
        """Whether a server says so."""
        if answer.holding is None or not self.billots:
            return False
        moved_on = answer.holding.seq > self.billots[0][1]
        return moved_on or answer.holding.owner == self.record.granted.owner

    def note(self, answer: Answer) -> None:
        """A server's word came, or why there is none."""
        self.answers[answer.host.place] = answer
        self.tell()

    def tell(self) -> None:
        """Wake who waits for news."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def news(self, version: int) -> None:
        """Wait until it is another than this version."""
        while self.version == version:
            await self._changed.wait()
