"""Whether two who trust different lists can both be paid (DESIGN, section 5, rule 7).

Two lists with n₁ and n₂ servers and quorums q₁ and q₂ share O of them, t of those liars. Both
quorums can be had for different owners iff O ≤ (n₁−q₁)+(n₂−q₂)+t: each honest server that both
share votes once, and each list does without n−q of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from billots.quorum import liars_max, safe_quorum


@dataclass(frozen=True, slots=True)
class TrustList:
    """A list of servers, each by what it is known by, that whoever is in `names` trusts.

    `needed` of its servers make a quorum; the safe one unless given.
    """

    names: tuple[str, ...]
    servers: frozenset[str]
    needed: int

    @classmethod
    def of(cls, name: str, servers: Iterable[str], needed: int | None = None) -> TrustList:
        """The list of one who trusts; servers never count themselves out."""
        trusted = frozenset(servers)
        return cls((name,), trusted, safe_quorum(len(trusted)) if needed is None else needed)

    @property
    def n(self) -> int:
        """How many servers it has."""
        return len(self.servers)

    @property
    def liars(self) -> int:
        """How many of them may lie while the others go on: f."""
        return liars_max(self.n)

    @property
    def down(self) -> int:
        """How many may be down."""
        return self.n - self.needed


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two lists have in common: `shared` servers.

    They survive up to `liars` of those, so that nobody can pay both with one billot; None if
    not even honest servers keep that from happening.
    """

    first: TrustList
    second: TrustList
    shared: int
    liars: int | None


def overlap(first: TrustList, second: TrustList) -> Overlap:
    """The bound for two lists; with itself a list has all servers in common."""
    shared = len(first.servers & second.servers)
    most = shared - first.down - second.down - 1
    return Overlap(first, second, shared, most if most >= 0 else None)


def overlaps(lists: Sequence[TrustList]) -> list[Overlap]:
    """The bound for every pair of lists; equal lists are one, with all their names."""
    merged: dict[tuple[frozenset[str], int], tuple[str, ...]] = {}
    for each in lists:
        place = (each.servers, each.needed)
        merged[place] = (*merged.get(place, ()), *each.names)
    unique = [TrustList(names, servers, needed) for (servers, needed), names in merged.items()]
    return [overlap(*pair) for pair in combinations_with_replacement(unique, 2)]
