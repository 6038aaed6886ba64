"""Billots: digital cash without a blockchain.

A billot is a banknote with an id, a value and an owner. This package runs servers that keep
who owns what, a wallet that pays and checks, and the classes for scripts of your own::

    import billots

    with billots.Server("test") as server:
        wallet = billots.Wallet(trusted=[server.address])
        print(wallet.check_owner("a-1").owner)

Importing opens nothing, and loads each class when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from billots import errors
from billots.errors import *  # noqa: F403 - the errors are part of the top level, all of them
from billots.version import __version__

if TYPE_CHECKING:
    from billots.billot import Billot
    from billots.billots import Billots
    from billots.crypto import Crypto, PrivateKey
    from billots.host import Host
    from billots.hosts import Hosts
    from billots.limits import Limits
    from billots.network import Network
    from billots.notifications import Notifications
    from billots.server import Server
    from billots.store import MemoryStore, Store, open_store
    from billots.transfer import Transfer
    from billots.wallet import AsyncWallet, Wallet

_WHERE = {
    "AsyncWallet": "wallet",
    "Billot": "billot",
    "Billots": "billots",
    "Crypto": "crypto",
    "Host": "host",
    "Hosts": "hosts",
    "Limits": "limits",
    "MemoryStore": "store",
    "Network": "network",
    "Notifications": "notifications",
    "PrivateKey": "crypto",
    "Server": "server",
    "Store": "store",
    "Transfer": "transfer",
    "Wallet": "wallet",
    "open_store": "store",
}

__all__ = [  # noqa: PLE0604 - the errors have a list of their own
    "AsyncWallet",
    "Billot",
    "Billots",
    "Crypto",
    "Host",
    "Hosts",
    "Limits",
    "MemoryStore",
    "Network",
    "Notifications",
    "PrivateKey",
    "Server",
    "Store",
    "Transfer",
    "Wallet",
    "__version__",
    "open_store",
    *errors.__all__,
]


def __getattr__(name: str) -> object:
    """Load a class when it is first asked for (PEP 562): a script that hashes needs no server."""
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'billots' has no attribute {name!r}")
    value: object = getattr(import_module(f"billots.{where}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
