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
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves): the hashes that lead from one leaf to the root, lowest first."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    level = [leaf_hash(leaf) for leaf in leaves]
    path: list[bytes] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_above(level)
        index //= 2
    return path


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
    above = [sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above
