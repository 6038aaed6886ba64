"""The Merkle tree hash of RFC 6962, section 2.1, over SHA-256: root, path, and a path's check."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf_hash(leaf: bytes) -> bytes:
    """MTH({leaf}); the 0x00 keeps a leaf from passing for a node."""
    return sha256(b"\0" + leaf).digest()


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH(leaves): the root of the whole list, in order."""
    if not leaves:
        return sha256(b"").digest()
    level = [sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


class Tree:
    """All hashes of one list, for paths of many of its leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.count = len(leaves)
        self._levels = [[leaf_hash(leaf) for leaf in leaves]]
        while len(self._levels[-1]) > 1:
            self._levels.append(_level_above(self._levels[-1]))

    def path(self, index: int) -> list[bytes]:
        """PATH(index, leaves): the hashes that lead from one leaf to the root, lowest first."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        path: list[bytes] = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index //= 2
        return path


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves) of one leaf; `Tree` is for many."""
    return Tree(leaves).path(index)


def root_from_path(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf's path leads to, or None if the path has another length than it must.

    RFC 9162, section 2.1.3.2, is the same check for the same tree.
    """
    if not 0 <= index < count:
        return None
    node, last, steps = leaf_hash(leaf), count - 1, iter(path)
    while last:
        if index & 1 or index < last:
            sibling = next(steps, None)
            if sibling is None:
                return None
            pair = sibling + node if index & 1 else node + sibling
            node = sha256(b"\1" + pair).digest()
        # A last node without a sibling goes up unhashed.
        index, last = index // 2, last // 2
    return node if next(steps, None) is None else None


def _level_above(level: list[bytes]) -> list[bytes]:
    nodes = iter(level)
    above = [sha256(b"\1%b%b" % pair).digest() for pair in zip(nodes, nodes, strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above
