"""The test network's public keys, and commands that play with it. Nothing here is worth a thing."""

from __future__ import annotations

from importlib import resources

from billots.crypto import PrivateKey

NAMES = ("user1", "user2", "user3", "mint")


def mock_key(name: str) -> PrivateKey:
    """The key of ``user1``, ``user2``, ``user3`` or ``mint`` on the test network."""
    with resources.as_file(resources.files("billots.mock") / name) as path:
        return PrivateKey.load(path)


def mock_keys() -> dict[str, PrivateKey]:
    """All of them, by owner id."""
    return {key.owner: key for key in map(mock_key, NAMES)}
