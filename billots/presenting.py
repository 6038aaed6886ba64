"""Showing kept receipts to a server that has not heard, or not settled, what one owns.

It takes up to 16 receipts in a call, whose transfers move up to 256 billots in all: some with
the transfer, and more with `settle` before it. Receipts of one transfer are put together, so
that its votes are sent once; small ones go first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from billots.errors import Refused
from billots.kept_receipts import KeptReceipt
from billots.link import Link
from billots.messages import Settle
from billots.network import ROWS_MAX
from billots.receipt import VOTES_MAX, Receipt, SignedVote, server_of
from billots.statement import Statement, new_nonce
from billots.transfer import Row, Transfer

ANSWERED_BY_RECEIPTS = frozenset(
    {"not_owner", "not_settled", "behind", "contested_billot", "disputed_billot"}
)
"""Refusals that a receipt for the billot's present seq may turn into a yes.

`not_owner` is what a server says that took the other transfer of one who signed twice.
"""
RECEIPTS_MAX = 16
"""Receipts in one call."""
ROOM_BYTES = 112 * 1024
"""For receipts in a frame of 128 KiB; the rest is for the transfer."""


def bundled(kept: Iterable[KeptReceipt]) -> list[list[Receipt]]:
    """Receipts as they are sent: lists that each fit one call, none with more than they need."""
    by_transfer: dict[str, list[KeptReceipt]] = {}
    for each in kept:
        by_transfer.setdefault(each.receipt.transfer.id, []).append(each)
    sized = sorted(
        (
            (len(msgspec.json.encode(receipt)), receipt)
            for group in by_transfer.values()
            for receipt in _joined(group)
        ),
        key=lambda pair: pair[0],
    )
    calls: list[list[Receipt]] = []
    room = rows = 0
    for size, receipt in sized:
        moved = len(receipt.transfer.billots)
        full = room < size or rows < moved or len(calls[-1]) == RECEIPTS_MAX
        if full:
            calls.append([])
            room, rows = ROOM_BYTES, ROWS_MAX
        calls[-1].append(receipt)
        room, rows = room - size, rows - moved
    return calls


async def settle(link: Link, calls: Iterable[Sequence[Receipt]]) -> None:
    """Show receipts to a server; what it makes of them shows when the transfer is sent again.

    Raises Unreachable and ProtocolError.
    """
    for receipts in calls:
        with contextlib.suppress(Refused):
            await link.call("settle", Settle(tuple(receipts), new_nonce()), Statement)


def _joined(group: Sequence[KeptReceipt]) -> Iterator[Receipt]:
    """Receipts of one transfer as one, or as few as fit a frame each."""
    transfer = group[0].receipt.transfer
    rows = {(kept.billot, kept.seq) for kept in group}
    receipt = Receipt(transfer, _votes(transfer, rows, group))
    small = len(msgspec.json.encode(receipt)) <= ROOM_BYTES and len(receipt.votes) <= VOTES_MAX
    if small or len(group) == 1:
        yield receipt
        return
    half = len(group) // 2
    yield from _joined(group[:half])
    yield from _joined(group[half:])


def _votes(
    transfer: Transfer, rows: set[Row], group: Sequence[KeptReceipt]
) -> tuple[SignedVote, ...]:
    """Of each server votes for all of these rows, the shortest first."""
    given = {id(vote): vote for kept in group for vote in kept.receipt.votes}
    unique = dict.fromkeys(msgspec.json.encode(vote) for vote in given.values())
    votes: list[SignedVote] = []
    left: dict[str, set[Row]] = {}
    for text in sorted(unique, key=len):
        vote = msgspec.json.decode(text, type=SignedVote)
        missing = left.setdefault(server_of(vote), set(rows))
        words = Receipt(transfer, (vote,)).words()
        said = {row for word in words for row in word.rows} & missing
        if said:
            missing -= said
            votes.append(vote)
    return tuple(votes)
