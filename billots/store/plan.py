"""A batch of a store as puts and deletes, its conditions checked on the way."""

from __future__ import annotations

from collections.abc import Callable

from billots.errors import StoreFailed
from billots.store.interface import Batch, EntryRow, Moved, NewEntry
from billots.store.records import (
    SHORT,
    billot_key,
    count_key,
    damaged,
    entry_key,
    head,
    owner_prefix,
    pack_entry,
    pack_pair,
    pack_unsettled,
    read_count,
    unsettled_key,
    varint,
)

RESERVED = frozenset({"commits", "format", "network"})
"""Names that only the store itself writes to its meta."""


def plan(
    batch: Batch, last_lsn: int, get: Callable[[bytes], bytes | None]
) -> tuple[dict[bytes, bytes | None], int]:
    """What to put and what (None) to delete, and the last lsn after it.

    Raises StoreFailed if a condition doesn't hold.
    """
    if RESERVED & batch.meta.keys():
        raise StoreFailed("not written: the store's own meta can't be changed")
    planned = _Plan(last_lsn, get)
    for new in batch.entries:
        planned.add(new)
    changes = planned.changes
    for lsn, statuses in batch.unsettled.items():
        # A mark may come after its entry gave way: then there is nothing left to be marked.
        living = statuses and planned.get(entry_key(lsn)) is not None
        changes[unsettled_key(lsn)] = pack_unsettled(statuses) if living else None
    for billot, pair in batch.evidence.items():
        changes[b"e" + billot_key(billot)] = pack_pair(dict(pair[0].billots)[billot], pair)
    for billot, receipt in batch.receipts.items():
        changes[b"r" + billot_key(billot)] = receipt or None
    for name, value in batch.meta.items():
        changes[b"m" + name.encode()] = value or None
    return changes, planned.last_lsn


class _Plan:
    """Changes so far; what they change is read from them, so that batches may hold chains."""

    def __init__(self, last_lsn: int, get: Callable[[bytes], bytes | None]) -> None:
        self.changes: dict[bytes, bytes | None] = {}
        self.last_lsn = last_lsn
        self._get = get

    def get(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self._get(key)

    def add(self, new: NewEntry) -> None:
        lsn, transfer, rows = new.lsn, new.transfer, new.rows
        if lsn <= self.last_lsn:
            raise StoreFailed(f"not written: lsn {lsn} is not above {self.last_lsn}")
        if not rows:
            raise StoreFailed(f"not written: entry {lsn} moves nothing")
        changes = self.changes
        short_id = bytes.fromhex(transfer.id[: 2 * SHORT])
        tail = short_id if len(rows) == 1 else b""
        owner = owner_prefix(transfer.to)
        remaining = iter(transfer.billots)
        value, value_seq = b"", -1
        for row in rows:
            billot, seq, before = row.billot, row.seq, row.before
            if (billot, seq) not in remaining:  # takes what it passes: order is held too
                raise StoreFailed(f"not written: {billot} {seq} is no row of its transfer")
            key = billot_key(billot)
            record = b"b" + key
            found = changes[record] if record in changes else self._get(record)
            if before is not None:
                self._leave(row, before, key, found)
            elif found is not None:
                raise StoreFailed(f"not written: {billot} has moved already")
            if seq != value_seq:  # as a rule all have one
                value, value_seq = head(seq, lsn) + tail, seq
            changes[record] = value
            changes[owner + key] = b""
        changes[entry_key(lsn)] = pack_entry(transfer, adopted=new.adopted, here=new.here)
        changes[_transfer_key(short_id, lsn)] = b""
        if not tail:
            changes[count_key(lsn)] = varint(len(rows)) + short_id
        self.last_lsn = lsn

    def _leave(self, row: EntryRow, before: Moved, key: bytes, found: bytes | None) -> None:
        """Check what the billot is before, and take it out of the entry that it was in."""
        expected = head(before.seq, before.lsn)
        if found is None or not found.startswith(expected):
            raise StoreFailed(f"not written: {row.billot} is not what it was judged on")
        if row.seq < before.seq:
            raise StoreFailed(f"not written: the seq of {row.billot} would fall")
        changes = self.changes
        changes[owner_prefix(before.owner) + key] = None
        short_id = found[len(expected) :]
        if not short_id:
            counted = count_key(before.lsn)
            value = self.get(counted)
            if value is None:
                raise damaged("count")
            count, short_id = read_count(value)
            if count > 1:
                changes[counted] = varint(count - 1) + short_id
                return
            changes[counted] = None
        changes[entry_key(before.lsn)] = None
        changes[_transfer_key(short_id, before.lsn)] = None
        changes[unsettled_key(before.lsn)] = None


def _transfer_key(short_id: bytes, lsn: int) -> bytes:
    return b"t" + short_id + lsn.to_bytes(8, "big")
