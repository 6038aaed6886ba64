"""One billot in a store, as a script sees it."""

from __future__ import annotations

from billots.crypto import PrivateKey
from billots.errors import BillotIdError, InputError
from billots.holding import Holding, Status
from billots.network import Network
from billots.store import Batch, EntryRow, MemoryStore, Moved, NewEntry, Store
from billots.transfer import Transfer


class Billot:
    """A billot: its id, and what a store has on it once it is loaded.

    >>> billot = Billot("a-1").load()
    >>> billot.value()
    '100'

    Without arguments it is ``a-1`` of the test network, in a store in memory. `save` is a
    script's hand on a store that it opened itself, never a server's: it asks nobody.
    """

    def __init__(
        self, billot: str = "a-1", store: Store | None = None, network: Network | None = None
    ) -> None:
        self.network = network or Network.shipped("test")
        self.network.check(billot)
        self.id = billot
        self._store = store if store is not None else MemoryStore(self.network)
        if self._store.network_id != self.network.id:
            raise InputError("the store belongs to another network")
        self._before: Moved | None = None
        self._change: Transfer | None = None
        self.holding: Holding | None = None

    def load(self) -> Billot:
        """Read what the store has on it; raises BillotIdError if it is unissued."""
        self._before = self._store.moved((self.id,))[0]
        self._change = None
        if self._before is not None:
            unsettled = self._store.unsettled().get(self._before.lsn, {})
            status = unsettled.get(self.id, Status.SETTLED)
            before = self._before
            self.holding = Holding(before.seq, before.sender, before.owner, status)
            return self
        owner = self.network.first_owner(self.id)
        if owner is None:
            raise BillotIdError(f"{self.id} is not issued in network {self.network.name}")
        self.holding = Holding(0, None, owner, Status.SETTLED)
        return self

    @property
    def owner(self) -> str:
        """Whose it is; loads it if need be."""
        return str(self._loaded().owner)

    @property
    def seq(self) -> int:
        """How often it has moved; loads it if need be."""
        return self._loaded().seq

    def mils(self) -> int:
        """Its value in mils."""
        return self.network.mils(self.id)

    def value(self) -> str:
        """Its value as text, exact: ``0.005``."""
        from billots.network import format_mils

        return format_mils(self.mils())

    def change_owner(self, to: str, key: PrivateKey) -> Transfer:
        """Sign it over to `to`, here only; `save` writes it.

        `key` is the present owner's; raises InputError for another.
        """
        holding = self._loaded()
        if key.owner != holding.owner:
            raise InputError(f"{self.id} is not this key's to give")
        self._change = Transfer.sign(self.network, key, to, [(self.id, holding.seq + 1)])
        return self._change

    def save(self) -> None:
        """Write the change of owner, if there is one, to the store; raises StoreFailed."""
        if self._change is None:
            return
        seq = self._change.billots[0][1]
        row = EntryRow(self.id, seq, self._before)
        batch = Batch.empty()
        batch.entries.append(NewEntry(self._store.last_lsn + 1, self._change, (row,)))
        self._store.commit(batch)
        self.load()

    def _loaded(self) -> Holding:
        if self.holding is None:
            self.load()
        assert self.holding is not None
        return self.holding
