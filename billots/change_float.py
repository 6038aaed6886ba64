"""A change server's notes: which are free, and which a quote has reserved. No I/O, no clock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from billots.network import split_billot_id
from billots.transfer import Row


@dataclass(slots=True)
class Float:
    """Notes by id, each with its present seq, and the quotes that have some of them reserved.

    Nobody can have more than half of the notes of a denomination reserved from one address: what
    is reserved is locked for all others, and until it is paid it costs nothing.
    """

    notes: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    _addresses: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.notes)

    def set(self, notes: Mapping[str, int]) -> None:
        """These are the notes now; reservations stay."""
        self.notes = dict(notes)

    def offered(self, address: str) -> dict[str, int]:
        """How many notes of each prefix a quote for this address could name."""
        free: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for billot in self.notes:
            prefix, _ = split_billot_id(billot)
            total[prefix] += 1
            free[prefix] += billot not in self._taken
        theirs: Counter[str] = Counter()
        for name, rows in self._rows.items():
            if self._addresses[name] == address:
                theirs.update(split_billot_id(billot)[0] for billot, _ in rows)
        most = {p: min(free[p], -(-count // 2) - theirs[p]) for p, count in total.items()}
        return {prefix: count for prefix, count in sorted(most.items()) if count > 0}

    def reserve(
        self, name: str, address: str, wanted: Iterable[tuple[str, int]]
    ) -> tuple[Row, ...] | None:
        """Rows (billot, next seq) that make what is wanted, reserved under a name; else None."""
        offered = self.offered(address)
        asked = Counter(dict(wanted))
        if any(count > offered.get(prefix, 0) for prefix, count in asked.items()):
            return None
        by_prefix: defaultdict[str, list[str]] = defaultdict(list)
        for billot in self.notes:
            if billot not in self._taken:
                by_prefix[split_billot_id(billot)[0]].append(billot)
        chosen = [
            billot
            for prefix, count in asked.items()
            for billot in sorted(by_prefix[prefix], key=split_billot_id)[:count]
        ]
        rows = tuple((b, self.notes[b] + 1) for b in sorted(chosen, key=split_billot_id))
        self._hold(name, address, rows)
        return rows

    def claim(self, name: str, rows: tuple[Row, ...]) -> bool:
        """Reserve just these rows, or keep what is; False if some aren't free, or have moved."""
        here = all(self.notes.get(billot) == seq - 1 for billot, seq in rows)
        if self._rows.get(name) == rows:
            return here
        free = here and self._taken.isdisjoint(billot for billot, _ in rows)
        if free:
            self._hold(name, "", rows)
        return free

    def rename(self, name: str, new: str) -> None:
        """What was reserved under one name is under another now."""
        self._rows[new] = self._rows.pop(name)
        self._addresses[new] = self._addresses.pop(name)

    def release(self, name: str) -> None:
        """These are free again."""
        for billot, _ in self._rows.pop(name, ()):
            self._taken.discard(billot)
        self._addresses.pop(name, None)

    def spend(self, name: str) -> None:
        """These are given away."""
        for billot, _ in self._rows.get(name, ()):
            self.notes.pop(billot, None)
        self.release(name)

    def _hold(self, name: str, address: str, rows: tuple[Row, ...]) -> None:
        assert not self._taken.intersection(billot for billot, _ in rows), "nothing is held twice"
        self._rows[name] = rows
        self._addresses[name] = address
        self._taken.update(billot for billot, _ in rows)
