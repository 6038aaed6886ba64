"""What a wallet signed and what it was paid, from its own files alone: nobody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from billots.errors import BillotIdError
from billots.journal import journal_path
from billots.journal_lines import Entry
from billots.kept_receipts import KeptPayment, KeptReceipts
from billots.network import SHIPPED, Network
from billots.signing import open_journal
from billots.transfer import Row, Transfer


@dataclass(frozen=True, slots=True)
class PastPayment:
    """A transfer that `owner` signed or was paid with, as the wallet's own files have it.

    `network` is None where only its id is known, and so is `mils` then. `billots` are those of the
    transfer's rows that are the wallet's affair. `at` is when it was signed or first kept, in
    seconds since 1970. `final`: whether a quorum was seen to name the payee, None if nobody looked.
    """

    transfer: Transfer
    owner: str
    network: Network | None
    billots: tuple[tuple[str, int], ...]
    mils: int | None
    at: int | None = None
    ref: str | None = None
    final: bool | None = True

    @property
    def network_id(self) -> str:
        """Of the network on which it is."""
        return self.transfer.network

    @property
    def is_received(self) -> bool:
        """Whether somebody else signed it."""
        return self.transfer.sender != self.owner

    @property
    def other(self) -> str:
        """Who paid, or was paid."""
        return self.transfer.sender if self.is_received else self.transfer.to

    @property
    def kind(self) -> str:
        """``received``; ``paid`` if the payee was seen to have it; else ``sent``."""
        if self.is_received:
            return "received"
        return "paid" if self.final else "sent"


@dataclass(frozen=True, slots=True)
class History:
    """What an owner signed and received, the oldest first."""

    owner: str
    payments: tuple[PastPayment, ...]


async def history(
    owner: str, data_dir: Path | None, timeout_s: float, network: Network | None
) -> History:
    """What `owner` signed and received, the oldest first, on all networks unless one is given.

    What has no time was noted by an older release, and comes first. Raises JournalError.
    """
    known = {each.id: each for each in map(Network.shipped, SHIPPED)}
    if network is not None:
        known[network.id] = network
    found = [_signed(owner, known, entry) for entry in await _entries(owner, data_dir, timeout_s)]
    kept = KeptReceipts(data_dir).payments(owner)
    found += [_received(known, each) for each in kept if each.transfer.sender != owner]
    if network is not None:
        found = [each for each in found if each.network_id == network.id]
    return History(owner, tuple(sorted(found, key=lambda each: each.at or 0)))


async def _entries(owner: str, data_dir: Path | None, timeout_s: float) -> list[Entry]:
    if not journal_path(owner, data_dir).exists():
        return []  # to look is no reason to begin one
    with await open_journal(owner, data_dir, timeout_s) as journal:
        return journal.entries


def _signed(owner: str, known: Mapping[str, Network], entry: Entry) -> PastPayment:
    """An amount is final if a quorum was seen to name the payee; of others nobody looked."""
    transfer = entry.transfer
    network = known.get(transfer.network)
    mils = entry.pays if entry.pays is not None else _mils(network, transfer.billots)
    final = entry.final if entry.pays is not None else None
    return PastPayment(
        transfer, owner, network, transfer.billots, mils, at=entry.at, ref=entry.ref, final=final
    )


def _received(known: Mapping[str, Network], kept: KeptPayment) -> PastPayment:
    """A receipt is kept of what a quorum named us for."""
    network = known.get(kept.transfer.network)
    mils = _mils(network, kept.rows)
    return PastPayment(kept.transfer, kept.transfer.to, network, kept.rows, mils, at=kept.at)


def _mils(network: Network | None, rows: Iterable[Row]) -> int | None:
    try:
        return None if network is None else network.total_mils(billot for billot, _ in rows)
    except BillotIdError:
        return None
