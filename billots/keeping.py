"""Keeping the receipts of one's own billots, before anybody is told that they are final.

Final, for a wallet, is what a quorum of its list signed (DESIGN, section 5, rule 5). Who kept
those votes can spend the billot whatever becomes of the servers, so they are on disk before the
verdict is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from billots.circle import Circle
from billots.gathering import Gathering
from billots.holding import Holding
from billots.kept_receipts import Kept, KeptReceipt, KeptReceipts
from billots.network import split_billot_id
from billots.poll import Poll, batched
from billots.receipt import VOTES_MAX, Electorate, Receipt, server_of

KEPT_AT_ONCE = 1024
"""Billots whose receipts are collected together and written with one sync."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Keeper:
    """Where receipts are kept, and whose: nothing is kept without an `owner`.

    `now` is a clock, seconds since 1970: when a transfer's first receipt was kept is noted.
    """

    store: KeptReceipts
    owner: str | None
    now: Callable[[], float] | None = None

    async def keep(
        self,
        circle: Circle,
        finals: Mapping[str, Holding],
        poll: Poll | None = None,
        on_progress: Progress | None = None,
    ) -> list[str]:
        """Keep a receipt of each billot that a quorum says is the owner's; on disk on return.

        `finals` are the quorum's holdings, `poll` where they come from. What never moved needs
        no receipt; what is kept already for this list is not asked again. Returns the billots
        that no server gave the transfer of: nothing can be kept of those. Raises JournalError.
        """
        moved = {b: h for b, h in finals.items() if h.seq and h.owner == self.owner}
        if self.owner is None or not moved:
            return []
        network_id, electorate = circle.network.id, circle.electorate()
        kept = self.store.summary(network_id, list(moved) if len(moved) < 1000 else None)
        needed = circle.quorum.needed(circle.n)
        wanted: list[str] = []
        afresh: set[str] = set()
        for billot, holding in moved.items():
            there = kept.get(billot)
            if there is not None and there.seq > holding.seq:
                if not _is_of_another_life(circle, there):
                    continue
                afresh.add(billot)
            if not _is_enough(there, holding, electorate, needed):
                wanted.append(billot)
        wanted.sort(key=split_billot_id)
        missing: list[str] = []
        gathering = Gathering(circle)
        for many in batched(wanted, KEPT_AT_ONCE):
            found = await _collect(gathering, many, poll)
            receipts = [
                KeptReceipt(billot, moved[billot].seq, receipt)
                for billot, receipt in found.items()
                if _proves(receipt, billot, moved[billot])
            ]
            if not circle.passing:
                receipts = self._merged(network_id, receipts)
            at = None if self.now is None else int(self.now())
            self.store.keep(network_id, receipts, afresh, at=at)
            here = {each.billot for each in receipts}
            missing += [billot for billot in many if billot not in here]
            if on_progress is not None:
                on_progress(min(len(wanted), wanted.index(many[-1]) + 1), len(wanted))
        return missing

    def _merged(self, network_id: str, receipts: Sequence[KeptReceipt]) -> list[KeptReceipt]:
        """Receipts with the votes that were kept before: those of another list of the user's."""
        before = self.store.find(network_id, [kept.billot for kept in receipts])
        merged: list[KeptReceipt] = []
        for kept in receipts:
            old, transfer = before.get(kept.billot), kept.receipt.transfer
            if old is not None and old.seq == kept.seq and old.receipt.transfer.id == transfer.id:
                keys = {server_of(vote) for vote in kept.receipt.votes}
                more = [vote for vote in old.receipt.votes if server_of(vote) not in keys]
                votes = (*kept.receipt.votes, *more)[:VOTES_MAX]
                merged.append(KeptReceipt(kept.billot, kept.seq, Receipt(transfer, votes)))
            else:
                merged.append(kept)
        return merged


async def _collect(
    gathering: Gathering, billots: Sequence[str], poll: Poll | None
) -> dict[str, Receipt]:
    """Receipts from the poll that is over, as far as it has them, and from new ones."""
    found: dict[str, Receipt] = {}
    if poll is not None and poll.proof:
        found = {b: receipt for b in billots if (receipt := poll.receipt(b)) is not None}
    left = [billot for billot in billots if billot not in found]
    return found | await gathering.receipts(left) if left else found


def _proves(receipt: Receipt, billot: str, holding: Holding) -> bool:
    transfer = receipt.transfer
    said = (transfer.sender, transfer.to) == (holding.sender, holding.owner)
    return said and (billot, holding.seq) in transfer.billots


def _is_enough(kept: Kept | None, holding: Holding, electorate: Electorate, needed: int) -> bool:
    """Whether what is kept is of this seq, by votes that the present list takes."""
    if kept is None or kept.seq != holding.seq:
        return False
    return electorate.count(kept.servers) >= needed


def _is_of_another_life(circle: Circle, kept: Kept) -> bool:
    """Whether a test network on this machine was started afresh since this was kept."""
    return circle.passing and not kept.servers & circle.answering_keys
