"""Stores: the interface, and the engines behind it."""

from __future__ import annotations

import os

from billots.network import Network
from billots.store.folder import set_aside
from billots.store.interface import Batch, Entry, EntryRow, Moved, NewEntry, Store
from billots.store.memory import Memory, MemoryStore

__all__ = [
    "Batch",
    "Entry",
    "EntryRow",
    "Memory",
    "MemoryStore",
    "Moved",
    "NewEntry",
    "Store",
    "open_store",
    "set_aside",
]


def open_store(path: str | os.PathLike[str], network: Network, *, create: bool = True) -> Store:
    """Open the store in the folder `path`, or make it there unless `create` is False.

    Raises StoreLocked if another process has it open; StoreForeign for the store of another
    network and for a folder with anything else in it, to which nothing is written; StoreDamaged
    if it can't be read; StoreError if the folder can't be used.
    """
    from billots.store.leveldb import open_leveldb  # only who opens a store on disk loads plyvel

    return open_leveldb(path, network, create=create)
