"""Several billots, and what they are worth together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from billots.network import Network, format_mils, split_billot_id
from billots.store import Store

_PAGE = 1000


class Billots:
    """A list of billot ids of one network, each of them once, sorted by (prefix, number)."""

    def __init__(self, billots: Iterable[str] = (), network: Network | None = None) -> None:
        self.network = network or Network.shipped("test")
        self._billots: set[str] = set()
        for billot in billots:
            self.add_billot(billot)

    @classmethod
    def of_owner(cls, store: Store, owner: str, network: Network | None = None) -> Billots:
        """What an owner has by a store: all that moved to it, and what it was allocated."""
        owned = cls(network=network)
        after: str | None = None
        while True:
            page = store.owned(owner, after, _PAGE)
            owned._billots.update(billot for billot, _ in page.rows)
            after = page.after
            if after is None:
                break
        allocated = list(owned.network.allocated_to(owner))
        for billot, moved in zip(allocated, store.moved(allocated), strict=True):
            if moved is None:
                owned._billots.add(billot)
        return owned

    def add_billot(self, billot: str) -> bool:
        """Add an id; False if it was there. Raises BillotIdError for one not of the network."""
        self.network.check(billot)
        known = billot in self._billots
        self._billots.add(billot)
        return not known

    def remove_billot(self, billot: str) -> bool:
        """Take an id out; False if it wasn't there."""
        known = billot in self._billots
        self._billots.discard(billot)
        return known

    def billot_exists(self, billot: str) -> bool:
        """Whether an id is in the list."""
        return billot in self._billots

    def get_billots(self) -> list[str]:
        """All ids, sorted."""
        return sorted(self._billots, key=split_billot_id)

    def mils(self) -> int:
        """What they are worth together, in mils, exact."""
        return self.network.total_mils(self._billots)

    def value(self) -> str:
        """What they are worth together, as text, exact."""
        return format_mils(self.mils())

    def __iter__(self) -> Iterator[str]:
        return iter(self.get_billots())

    def __len__(self) -> int:
        return len(self._billots)
