"""Every error that the package raises on purpose.

::

    BillotsError
    ├── InputError (also a ValueError)   what was handed in is not well formed
    │   ├── BillotIdError                not a billot id, or not one of this network
    │   ├── OwnerIdError                 not 128 lower-case hex digits
    │   ├── HostError                    not an ``address:port``
    │   └── NetworkFileError             a network file that can't be used
    ├── KeyFileError                     a key file that is missing, foreign, locked or in the way
    ├── JournalError                     the wallet's own files can't be read or written
    ├── StoreError
    │   ├── StoreLocked                  another process has it open
    │   ├── StoreForeign                 it belongs to another network, or isn't ours at all
    │   ├── StoreDamaged                 it can't be read
    │   ├── StoreOutdated                it is an old copy: others have newer votes under its key
    │   └── StoreFailed                  a write failed; whether it happened is unknown
    ├── ProtocolError                    a peer or server broke the protocol
    │   └── FrameTooLarge                a line over the limit
    ├── Refused                          a server answered with an error
    ├── Unreachable                      no server could be reached, or none in time
    ├── WrongNetwork                     a server of another network
    ├── ServerKeyChanged                 a server shows another key than the one known
    ├── AlreadySigned                    the journal holds another transfer of this (id, seq)
    └── ServerError                      a server can't start or go on

Outcomes that are normal (disputed, stale, the same again) are values, never errors.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AlreadySigned",
    "BillotIdError",
    "BillotsError",
    "FrameTooLarge",
    "HostError",
    "InputError",
    "JournalError",
    "KeyFileError",
    "NetworkFileError",
    "OwnerIdError",
    "ProtocolError",
    "Refused",
    "ServerError",
    "ServerKeyChanged",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreForeign",
    "StoreLocked",
    "StoreOutdated",
    "Unreachable",
    "WrongNetwork",
]


class BillotsError(Exception):
    """The base of all. `hint` names the next thing to type, where there is one."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(BillotsError, ValueError):
    """What was handed in is not well formed."""


class BillotIdError(InputError):
    """Not a canonical billot id, or no billot of this network."""


class OwnerIdError(InputError):
    """Not an owner id: 128 lower-case hex digits."""


class HostError(InputError):
    """Not a host: ``address:port``, with ``#<server key>`` where it is pinned."""


class NetworkFileError(InputError):
    """A network file that can't be read or breaks a rule of DESIGN section 2."""


class KeyFileError(BillotsError):
    """A key file that is missing, unreadable, not Ed25519, encrypted, or already there."""


class JournalError(BillotsError):
    """The wallet's journal, or its list of known servers, can't be read or written."""


class StoreError(BillotsError):
    """Something is wrong with the store."""


class StoreLocked(StoreError):
    """Another process has the store open."""


class StoreForeign(StoreError):
    """The store belongs to another network or was not made by this program."""


class StoreDamaged(StoreError):
    """The store can't be read: a checksum or a record is wrong."""


class StoreOutdated(StoreError):
    """The store is an old copy: its key signed votes that are not in it."""


class StoreFailed(StoreError):
    """A write failed. It may have happened all the same: reopen and look."""


class ProtocolError(BillotsError):
    """The other side sent what the protocol doesn't allow."""


class FrameTooLarge(ProtocolError):
    """A line over the limit; the connection can't go on after it."""


class Refused(BillotsError):
    """A server answered a request with an error.

    `code` is the JSON-RPC code, `name` the application error's name (``stale_seq``) or
    ``None``, `data` its details. Nothing in it is to be shown to a person unescaped.
    """

    def __init__(
        self,
        code: int,
        message: str,
        name: str | None = None,
        data: Mapping[str, object] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.name = name
        self.data = dict(data or {})


class Unreachable(BillotsError):
    """No server could be reached, or none answered in time."""


class WrongNetwork(BillotsError):
    """A server serves another network than the one asked for."""


class ServerKeyChanged(BillotsError):
    """A server shows another key than the one pinned or remembered for it."""


class AlreadySigned(BillotsError):
    """The journal holds a transfer of the same billot and seq to another owner."""


class ServerError(BillotsError):
    """A server can't start (port in use, bad prefix) or can't go on."""
