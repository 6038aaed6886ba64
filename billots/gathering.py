"""Receipts of many billots at once: votes from all servers, transfers from one.

A vote is only good signed, so every server is asked for all of them, sixteen in a statement: a
receipt carries whole statements. A transfer proves itself whoever gives it, and may have moved
256 of the billots: it is asked of one server, and of the next if that one hasn't got it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from billots.circle import Circle
from billots.errors import BillotsError
from billots.holding import Holding
from billots.link import Link
from billots.messages import WhoOwns
from billots.poll import Poll, batched, is_sound
from billots.quorum import Verdict
from billots.receipt import Receipt
from billots.statement import PROOF_ROWS_MAX, Statement
from billots.transfer import Row, Transfer

POLLS_MAX = 8
"""Polls on their way at once."""
RECEIPT_BYTES = 90_000
ROW_BYTES = 400
"""A row of a statement as JSON, with its share of the rest."""


def rows_together(needed: int) -> int:
    """How many billots one statement is about, so that `needed` of them still fit a frame."""
    return max(1, min(PROOF_ROWS_MAX, RECEIPT_BYTES // (needed * ROW_BYTES)))


class Gathering:
    """Collects receipts from one circle; transfers that it has seen are not asked for again."""

    def __init__(self, circle: Circle) -> None:
        self._circle = circle
        self._places = asyncio.Semaphore(POLLS_MAX)
        self._moves: dict[Row, list[Transfer]] = {}
        self._good: dict[str, bool] = {}

    async def receipts(self, billots: Sequence[str]) -> dict[str, Receipt]:
        """Receipts of those billots that a quorum stands for now and that moved, by id.

        None of those that no server gives the transfer of. Raises WrongNetwork, JournalError.
        """
        size = rows_together(self._circle.quorum.needed(self._circle.n))
        chunks = list(batched(billots, size))
        polls = await asyncio.gather(*(self._votes(chunk) for chunk in chunks))
        finals: dict[str, Holding] = {}
        for poll in polls:
            for billot in poll.votes:
                tally = poll.tally(billot)
                if tally.verdict is Verdict.OWNER and tally.holding and tally.holding.seq:
                    finals[billot] = tally.holding
        for link in self._circle.links:
            left = [b for b, holding in finals.items() if self._move(b, holding) is None]
            if left and link.key is not None:
                await self._fetch(link, left, finals)
        found: dict[str, Receipt] = {}
        for poll in polls:
            for billot in poll.votes:
                move = self._move(billot, finals[billot]) if billot in finals else None
                receipt = None if move is None else poll.receipt(billot, move)
                if receipt is not None:
                    found[billot] = receipt
        return found

    async def _votes(self, billots: Sequence[str]) -> Poll:
        async with self._places:
            poll = Poll(self._circle, billots, proof=False, keep=True)
            await poll.run(self._circle.timeout_s)
            return poll

    async def _fetch(self, link: Link, left: Sequence[str], finals: Mapping[str, Holding]) -> None:
        """Transfers from one server: few at a time while each moves many of the billots."""
        waiting = dict.fromkeys(left)
        size = 1
        while waiting:
            some = list(waiting)[:size]
            try:
                params = WhoOwns(tuple(some), proof=True)
                said = await link.call("who_owns", params, Statement)
            except BillotsError:
                return
            before = len(waiting)
            for row in said.billots:
                if isinstance(row.transfer, Transfer) and row.id in waiting:
                    self._note(row.transfer)
            for billot in list(waiting):
                if self._move(billot, finals[billot]) is not None:
                    del waiting[billot]
            if len(waiting) == before:  # no room, or not there: go on without these
                for billot in some if size == 1 else ():
                    del waiting[billot]
                size = 1
            else:
                size = PROOF_ROWS_MAX if before - len(waiting) <= 2 * size else 1

    def _note(self, transfer: Transfer) -> None:
        known = self._moves
        if transfer in known.get(transfer.billots[0], ()):
            return
        for row in transfer.billots:  # also those of which receipts are wanted later
            known.setdefault(row, []).append(transfer)

    def _move(self, billot: str, holding: Holding) -> Transfer | None:
        """The transfer that a holding comes from, if a sound one is here."""
        for transfer in self._moves.get((billot, holding.seq), ()):
            if (transfer.sender, transfer.to) != (holding.sender, holding.owner):
                continue
            key = transfer.id + transfer.signature
            if key not in self._good:
                self._good[key] = is_sound(transfer, self._circle.network)
            if self._good[key]:
                return transfer
        return None
