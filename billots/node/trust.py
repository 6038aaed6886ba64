"""The servers that this one trusts, and the quorum among them and itself (DESIGN, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billots.host import Host
from billots.quorum import liars_max, safe_quorum


@dataclass(slots=True)
class Trusted:
    """One entry of the list. `key` is the pinned one, or the one that it showed."""

    host: Host
    key: str | None
    own: bool = False


class Trust:
    """Trust is only ever configured. What is learned is which key stands behind an entry."""

    def __init__(self, hosts: Sequence[Host], own_key: str) -> None:
        self.entries = [Trusted(host, host.key, own=host.key == own_key) for host in hosts]
        self._own_key = own_key

    @property
    def n(self) -> int:
        """Ourselves and those we trust; entries that turned out to have one key count once."""
        return 1 + len({entry.key or entry.host.place for entry in self.entries if not entry.own})

    @property
    def liars_max(self) -> int:
        """f: how many of n may lie."""
        return liars_max(self.n)

    @property
    def quorum(self) -> int:
        """q, by the safe rule, which is the only one that a server goes by."""
        return safe_quorum(self.n)

    @property
    def keys(self) -> set[str]:
        """The keys whose votes count."""
        return {entry.key for entry in self.entries if entry.key is not None and not entry.own}

    def learn(self, index: int, key: str) -> str | None:
        """The entry showed this key. Returns the key that it had before, if it was another."""
        entry = self.entries[index]
        before, entry.key = entry.key, key
        entry.own = key == self._own_key
        return before if before not in (None, key) else None
