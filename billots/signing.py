"""What the journal says of what is to be signed: the same again, or what must not be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from billots.errors import AlreadySigned, JournalError
from billots.holding import Holding, Status
from billots.journal import Journal
from billots.journal_lines import Entry
from billots.refusals import not_ready, refusal
from billots.transfer import Transfer

if TYPE_CHECKING:
    from billots.sending import Sender

LOCKED_AGAIN_S = 0.02


@dataclass(slots=True)
class LastOpened:
    """The journal that was open last, for who opens it again and again."""

    journal: Journal | None = None


async def open_journal(
    owner: str, data_dir: Path | None, timeout_s: float, last: LastOpened | None = None
) -> Journal:
    """An owner's journal, locked; another process has it only for a moment. Raises JournalError."""
    last = last or LastOpened()
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while True:
        journal = Journal.open(owner, data_dir, last.journal)
        if journal is not None:
            last.journal = journal
            return journal
        if loop.time() > end:
            raise JournalError(
                "another process keeps the journal of this key locked",
                "end the other bwallet, then try again",
            )
        await asyncio.sleep(LOCKED_AGAIN_S)


def twin(sender: Sender, journal: Journal, network_id: str, to: str) -> Transfer | None:
    """The same payment, signed by another process in the meantime."""
    if sender.pays is None:
        return None
    entry = same_payment(journal.payments(network_id), sender.pays, to, sender.ref)
    return None if entry is None else entry.transfer


def same_payment(entries: Iterable[Entry], mils: int, to: str, ref: str | None) -> Entry | None:
    """The same amount to the same payee with the same reference, or with none as well."""
    wanted = (mils, to, ref)
    return next((e for e in entries if (e.pays, e.transfer.to, e.ref) == wanted), None)


def row(
    journal: Journal, network_id: str, billot: str, holding: Holding, *, to: str, command: str
) -> tuple[str, int]:
    """The (billot, new seq) to sign: the next one, or the last if it is to be sent again."""
    if holding.status is Status.UNISSUED:
        raise refusal("unissued_billot", billot, holding)
    if holding.status is Status.UNKNOWN:
        raise not_ready(billot)
    if holding.owner == journal.owner:
        return billot, holding.seq + 1
    row = (billot, holding.seq)
    signed = any(entry.transfer.to == to for entry in journal.find(network_id, [row]))
    if holding.sender == journal.owner and holding.owner == to and signed:
        return row
    raise refusal("not_owner", billot, holding, command)


def stored(
    sender: Sender, entries: Iterable[Entry], rows: Iterable[tuple[str, int]], to: str
) -> Transfer | None:
    """The journal's own transfer of these rows; raises AlreadySigned if it pays something else."""
    wanted = set(rows)
    same = (e for e in entries if e.transfer.to == to and set(e.transfer.billots) == wanted)
    entry = next(same, None)
    if entry is None:
        return None
    if sender.pays is not None and (entry.pays, entry.ref) != (sender.pays, sender.ref):
        raise AlreadySigned(
            "another payment to this payee was faster, and has these billots",
            "the same command picks others",
        )
    return entry.transfer
