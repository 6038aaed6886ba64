"""A transfer that is signed and written down already: sent, and looked at until it is final."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from billots.circle import Circle
from billots.errors import ProtocolError, Refused, ServerKeyChanged, Unreachable
from billots.holding import Holding
from billots.kept_receipts import KeptReceipts
from billots.poll import Poll
from billots.quorum import Verdict
from billots.sending import offer
from billots.transfer import Row, Transfer

_AGAIN_AFTER_S = 0.02
_AGAIN_AFTER_S_MAX = 1.0


async def deliver(
    circle: Circle, store: KeptReceipts, transfer: Transfer, *, to_all: bool = False
) -> None:
    """Send it to the servers in turn until one takes it; `store` has receipts of what it spends.

    `to_all` is for what was taken before, and has not become final: who took it may have lied.
    Raises Refused, with nothing in it that a server wrote but its name, or Unreachable.
    """
    refused: Refused | None = None
    taken = False
    for link in circle.everyone:
        try:
            await offer(store, circle, link, transfer)
        except Refused as error:
            told = f"{link.host.place} refused the transfer: error {error.code}"
            refused = refused or Refused(error.code, told, error.name)
        except (Unreachable, ProtocolError, ServerKeyChanged) as error:
            link.fail(error)
        else:
            taken = True
            if not to_all:
                return
    if not taken:
        raise refused or Unreachable("no server took the transfer")


@dataclass(frozen=True, slots=True)
class Move:
    """Rows that one owner moves, or is to move, to another."""

    rows: tuple[Row, ...]
    sender: str
    to: str

    @classmethod
    def of(cls, transfer: Transfer) -> Move:
        """What a transfer does."""
        return cls(transfer.billots, transfer.sender, transfer.to)

    @property
    def next_rows(self) -> tuple[Row, ...]:
        """The rows of whatever moves the same billots after it."""
        return tuple((billot, seq + 1) for billot, seq in self.rows)


def happened(
    move: Move, finals: Mapping[str, Holding], passed_on: Collection[Row] = ()
) -> bool | None:
    """Whether a move has happened, by what a quorum has of each billot.

    None if it can't be told: no quorum speaks for one of them, or it has gone on so far that
    nobody knows any more. False as soon as one of them did not move so. `passed_on` are rows that
    are known to come after it, so that a billot that has gone on so far was moved by it.
    """
    said = [
        True
        if (billot, seq + 1) in passed_on and billot in finals and finals[billot].seq > seq + 1
        else _did(finals.get(billot), seq, move)
        for billot, seq in move.rows
    ]
    if False in said:
        return False
    return None if None in said else True


def finals_of(poll: Poll) -> dict[str, Holding]:
    """What a quorum has of each billot, of those for which one stands."""
    tallies = {billot: poll.tally(billot) for billot in poll.votes}
    return {
        billot: tally.holding
        for billot, tally in tallies.items()
        if tally.verdict is Verdict.OWNER and tally.holding is not None
    }


async def look(circle: Circle, billots: Iterable[str], limit_s: float) -> Poll:
    """One look at some billots, with the proofs of up to 16; raises Unreachable."""
    poll = Poll(circle, list(dict.fromkeys(billots)))
    await poll.run(limit_s)
    circle.require_one()
    return poll


async def until_happened(
    circle: Circle, moves: Iterable[Move], limit_s: float, passed_on: Collection[Row] = ()
) -> Poll:
    """Look until one of the moves has happened, or time is up: whatever was seen last."""
    moves, loop = list(moves), asyncio.get_running_loop()
    end, pause_s = loop.time() + limit_s, _AGAIN_AFTER_S
    billots = [billot for move in moves for billot, _ in move.rows]
    while True:
        poll = await look(circle, billots, max(_AGAIN_AFTER_S, end - loop.time()))
        finals = finals_of(poll)
        if any(happened(m, finals, passed_on) for m in moves) or loop.time() + pause_s > end:
            return poll
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _AGAIN_AFTER_S_MAX)


def _did(holding: Holding | None, seq: int, move: Move) -> bool | None:
    if holding is None:
        return None
    if holding.seq < seq:
        return False
    if holding.seq == seq:
        return (holding.sender, holding.owner) == (move.sender, move.to)
    if holding.seq == seq + 1:  # who moves it on had it
        return holding.sender == move.to
    return None
