"""The servers that this one trusts, and the quorum among them and itself (DESIGN, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billots.host import Host
from billots.quorum import liars_max, safe_quorum
from billots.receipt import Electorate

_OWN = "this server"


@dataclass(slots=True)
class Trusted:
    """One entry of the list. `key` is the pinned one, or the one that it showed."""

    host: Host
    key: str | None
    own: bool = False


class Trust:
    """Trust is only ever configured. What is learned is which key stands behind an entry.

    `n` counts ourselves and those we trust; entries that turned out to have one key count
    once. `quorum` is q by the safe rule, the only one that a server goes by; `claims_needed` is
    how many settled claims are as good. `keys` are those whose votes count.
    """

    def __init__(self, hosts: Sequence[Host], own_key: str) -> None:
        self.entries = [Trusted(host, host.key, own=host.key == own_key) for host in hosts]
        self._own_key = own_key
        self._retired: dict[str, str] = {}
        self._count()

    def _count(self) -> None:
        others = [entry for entry in self.entries if not entry.own]
        self.keys = frozenset(entry.key for entry in others if entry.key is not None)
        self.n = 1 + len({entry.key or entry.host.place for entry in others})
        self.liars_max = liars_max(self.n)
        self.quorum = safe_quorum(self.n)
        self.claims_needed = max(2, self.liars_max + 1)
        places = {entry.key: entry.host.place for entry in others if entry.key is not None}
        retired = {key: place for key, place in self._retired.items() if key not in places}
        self.electorate = Electorate(
            self.n, {**places, self._own_key: _OWN}, retired, self._own_key
        )
        """Whose votes count in a receipt."""

    def retire(self, place: str, key: str) -> None:
        """An entry had this key before: see `Electorate`."""
        self._retired[key] = place
        self._count()

    def learn(self, index: int, key: str) -> str | None:
        """The entry showed this key. Returns a key that counts no more because of it."""
        entry = self.entries[index]
        before, entry.key = entry.key, key
        entry.own = key == self._own_key
        if before not in (None, key):
            self._retired[before] = entry.host.place
        self._count()
        return before if before not in (None, key) and before not in self.keys else None
