"""What a store must do; no engine's type leaks through it.

A store keeps, for each billot that ever moved, its seq and the *entry* that moved it last. An
entry is one line of the server's own feed: an lsn, the transfer, and whether it was taken or
adopted. An entry lives as long as some billot's last move is in it: a billot's older entry
gives way to its newer one, so that disk follows the number of moved billots, not of transfers.

Reads never write. Whatever a read returns is on disk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from billots.holding import Status, Vote
from billots.transfer import Transfer

ROWS_READ_MAX = 1024
"""Rows of entries that one page reads, give or take one entry: each costs a look-up."""


class Moved(Struct, frozen=True, gc=False):
    """A billot that has moved: its present seq, who moved it to whom, and in which entry."""

    seq: int
    sender: str
    owner: str
    lsn: int

    @property
    def vote(self) -> Vote:
        """Our vote at this seq."""
        return Vote(self.sender, self.owner)


class EntryRow(Struct, frozen=True, gc=False):
    """One billot that an entry moves: what it must be before (None: it never moved)."""

    billot: str
    seq: int
    before: Moved | None


class NewEntry(Struct, frozen=True):
    """An entry to write.

    `rows` are those rows of the transfer that are taken or adopted, in the transfer's order.
    """

    lsn: int
    transfer: Transfer
    rows: tuple[EntryRow, ...]
    adopted: bool = False
    here: bool = False
    """Whether a wallet brought it to this server: then this server's feed carries its body."""


class Entry(Struct, frozen=True):
    """An entry as it stands: `live` are the billots whose last move it still is, in order."""

    lsn: int
    transfer: Transfer
    live: tuple[str, ...]
    adopted: bool
    here: bool

    @property
    def whole(self) -> bool:
        """Whether all rows of the transfer are live in it."""
        return len(self.live) == len(self.transfer.billots)


class OwnedPage(NamedTuple):
    """A page of an owner's billots. `after` asks for the next one; None at the end.

    A page may be short, or empty, and have a next one: what a page looks at is bounded, and an
    index that knows only part of an owner id makes it look at others' billots too.
    """

    rows: list[tuple[str, Moved]]
    after: str | None


class Batch(Struct):
    """Changes that become durable together or not at all.

    `unsettled[lsn]` is the whole set of that entry's billots that aren't settled, with their
    statuses, in place of what was there; empty means that all are settled. An empty value in
    `meta` or `receipts` removes what was there: a receipt outlives its billot's next move until
    somebody does.
    """

    entries: list[NewEntry]
    unsettled: dict[int, dict[str, Status]]
    evidence: dict[str, tuple[Transfer, Transfer]]
    meta: dict[str, bytes]
    receipts: dict[str, bytes] = {}

    @classmethod
    def empty(cls) -> Batch:
        """A batch without changes."""
        return cls([], {}, {}, {}, {})

    def __bool__(self) -> bool:
        return bool(self.entries or self.unsettled or self.evidence or self.meta or self.receipts)


class Store(ABC):
    """One suite (tests/unit/test_store.py) holds every engine to this.

    One thread at a time may commit; reads may come from others meanwhile. Raises StoreFailed
    when the disk fails a write or a read, StoreDamaged when what is on it is wrong.
    """

    @property
    @abstractmethod
    def network_id(self) -> str:
        """The network that the store belongs to."""

    @property
    @abstractmethod
    def last_lsn(self) -> int:
        """The lsn of the newest entry; 0 if there is none."""

    @abstractmethod
    def moved(self, billots: Sequence[str]) -> list[Moved | None]:
        """What is on record of each billot, None where it never moved."""

    @abstractmethod
    def commit(self, batch: Batch) -> None:
        """Write all of a batch, durably.

        Raises StoreFailed if a row's billot isn't what the row says it must be before
        (nothing is written then), and if the write fails (whether it happened is unknown then);
        StoreOutdated as `check` does.
        """

    @abstractmethod
    def owned(self, owner: str, after: str | None, limit: int) -> OwnedPage:
        """Moved billots of an owner, by (prefix, number), those after the billot `after`."""

    @abstractmethod
    def numbers_moved(self, prefix: str, first: int, limit: int) -> list[int]:
        """Numbers of this prefix that have moved, from `first` on, rising."""

    @abstractmethod
    def entries(self, after_lsn: int, limit: int, rows_max: int = ROWS_READ_MAX) -> list[Entry]:
        """Entries in order of lsn, those after `after_lsn`; at least one if there is one.

        At most `limit`, and no more once their transfers have `rows_max` rows together.
        """

    @abstractmethod
    def entry(self, lsn: int) -> Entry | None:
        """One entry, None if it has given way."""

    @abstractmethod
    def transfer(self, transfer_id: str) -> Transfer | None:
        """The transfer with this id, as long as an entry with it lives."""

    @abstractmethod
    def unsettled(self) -> dict[int, dict[str, Status]]:
        """All billots that aren't settled, by lsn of their entry."""

    @abstractmethod
    def evidence(self, billot: str) -> tuple[Transfer, Transfer] | None:
        """The conflicting pair kept for a billot."""

    @abstractmethod
    def evidence_seq(self, billot: str) -> int | None:
        """The seq at which that pair conflicts, without reading it."""

    @abstractmethod
    def evidence_billots(self, after: str | None, limit: int) -> list[str]:
        """Billots for which a pair is kept, by (prefix, number)."""

    @abstractmethod
    def receipt(self, billot: str) -> bytes | None:
        """What is kept as a billot's receipt; the store doesn't look into it."""

    @property
    @abstractmethod
    def has_receipts(self) -> bool:
        """Whether any receipt is kept."""

    @abstractmethod
    def meta(self, name: str) -> bytes | None:
        """A small named value."""

    @abstractmethod
    def check(self) -> None:
        """Raise StoreOutdated if what is committed here isn't there for who opens it next.

        Cheap, and for any thread.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the store; a second call does nothing."""
