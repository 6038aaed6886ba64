"""The wallet's journal: every signed transfer is on disk before it is sent (DESIGN, section 11).

One file for each owner, one JSON line for each event. A wallet that crashed, or whose server
did not answer, finds here what it signed: it sends the same bytes again, and never signs the
same (billot, seq) over to somebody else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Self

import msgspec

from billots.errors import JournalError
from billots.journal_lines import (
    Answered,
    Dropped,
    Entry,
    Final,
    Head,
    Issued,
    Lapsed,
    Line,
    Ordered,
    Signed,
    decode_line,
)
from billots.journal_mark import Mark
from billots.network import shown, split_billot_id
from billots.order import Order
from billots.runs import Run, merged, without
from billots.second_signature import already_ordered, already_signed
from billots.transfer import Transfer
from billots.user_data import naming, sync_directory, user_data_directory

_FILE_BYTES_MAX = 256 * 1024 * 1024
_SPARE_BYTES = 1024 * 1024
"""Of them for words on what is signed: nothing new is, lest the file be one that can't be read."""

_Rows = dict[tuple[str, str, int], list[str]]
_Read = tuple[dict[str, Entry], _Rows, dict[str, Order], set[str], int, int]


class Journal:
    """One owner's journal, locked from `open` to `close`. A context manager.

    Keep it open only to read and append: what waits for a network must not hold the lock.
    """

    def __init__(self, path: Path, descriptor: int, owner: str) -> None:
        """Use `open`; it hands over a locked descriptor."""
        self.path = path
        self.owner = owner
        self._descriptor = descriptor
        self._entries: dict[str, Entry] = {}
        self._rows: _Rows = {}
        self._orders: dict[str, Order] = {}
        self._open_orders: set[str] = set()
        self._end = self._lines = 0
        self._mark: Mark | None = None

    @classmethod
    def open(
        cls, owner: str, directory: str | Path | None = None, before: Journal | None = None
    ) -> Journal | None:
        """The journal of `owner`, or ``None`` while another process has it.

        `directory` is the user data directory unless given; what `before` has read isn't read again
        (no use is made of it any more). Raises JournalError for a file that is none, or damaged.
        """
        path = journal_path(owner, directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with naming(path, "open journal"):
            descriptor = os.open(path, flags, 0o600)
        try:
            with naming(path, "lock journal"):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal = cls(path, descriptor, owner)
            journal._load(before)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, JournalError) and isinstance(error.__cause__, BlockingIOError):
                return None
            raise
        return journal

    def close(self) -> None:
        """Give up the lock."""
        self._mark = Mark.at(self._descriptor, self._end)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, network_id: str, rows: Iterable[tuple[str, int]]) -> list[Entry]:
        """The live entries that move any of these (billot id, new seq) rows."""
        found = (self._rows.get((network_id, billot, seq), ()) for billot, seq in rows)
        return [self._entries[each] for each in dict.fromkeys(chain.from_iterable(found))]

    def rows(self, network_id: str) -> set[tuple[str, int]]:
        """All (billot id, new seq) rows that are signed over, dropped ones aside."""
        return {(billot, seq) for network, billot, seq in self._rows if network == network_id}

    def first_moves(self, network_id: str) -> list[Run]:
        """All billots that never moved before they were signed over here, one by one or ordered."""
        signed = (split_billot_id(billot) for billot, seq in self.rows(network_id) if seq == 1)
        ordered = (run for order in self.orders(network_id) for run in order.runs)
        return list(merged(chain(((p, n, n) for p, n in signed), ordered)))

    def payments(self, network_id: str) -> list[Entry]:
        """Amounts that were signed over and aren't done with, the oldest first."""
        return [
            entry
            for entry in self._entries.values()
            if entry.pays is not None and not entry.final and entry.transfer.network == network_id
        ]

    @property
    def entries(self) -> list[Entry]:
        """All that was signed and not dropped, the oldest first."""
        return list(self._entries.values())

    def orders(self, network_id: str, *, unfinished: bool = False) -> list[Order]:
        """What an issuer decided to hand out, the oldest first; all of it counts as signed."""
        return [
            order
            for order_id, order in self._orders.items()
            if order.network == network_id and (order_id in self._open_orders or not unfinished)
        ]

    def orders_against(
        self, network_id: str, rows: Iterable[tuple[str, int]], to: str
    ) -> list[Order]:
        """The orders that hand out any of these (billot id, new seq) rows, and not to `to`."""
        first = [billot for billot, seq in rows if seq == 1]
        others = (order for order in self.orders(network_id) if order.to != to)
        return [order for order in others if any(map(order.has, first))]

    def order(self, order: Order) -> None:
        """Write an order down; it is on disk when this returns, and may be carried out.

        Raises AlreadySigned if one of its billots is signed over, or in another order.
        """
        for billot, seq in self.rows(order.network):
            if seq == 1 and order.has(billot):
                raise already_signed(self.find(order.network, [(billot, 1)])[0].transfer)
        for other in self.orders(order.network):
            if list(without(other.runs, order.runs)) != list(other.runs):
                raise already_ordered(other)
        line = Ordered(order)
        self._append(line)
        self._apply(line)

    def issued(self, order_id: str) -> None:
        """Write down that an order is carried out, final, and was told."""
        if order_id in self._open_orders:
            line = Issued(order_id)
            self._append(line)
            self._apply(line)

    def drop(self, order: Order, servers_now: Iterable[str]) -> bool:
        """Drop an order if the servers that were there are all gone, as `lapse` does."""
        now = set(servers_now)
        if not now or not order.servers or now & set(order.servers):
            return False
        line = Dropped(order.id)
        self._append(line)
        self._apply(line)
        return True

    def sign(
        self,
        transfer: Transfer,
        servers: Iterable[str] = (),
        pays: int | None = None,
        *,
        ref: str | None = None,
        at: int | None = None,
    ) -> None:
        """Write a transfer down; it is on disk when this returns, and may be sent.

        `servers` are the keys of the servers that its seqs were asked of, `pays` the amount in
        mils that it is to pay, `ref` and `at` as in Entry. Raises AlreadySigned if a row of it
        stands in a live entry to somebody else.
        """
        for entry in self.find(transfer.network, transfer.billots):
            if entry.transfer.to != transfer.to:
                raise already_signed(entry.transfer)
        for order in self.orders_against(transfer.network, transfer.billots, transfer.to):
            raise already_ordered(order)
        line = Signed(transfer, tuple(sorted(set(servers))), pays, ref, at)
        self._append(line)
        self._apply(line)

    def answered(self, transfer_id: str, server: str) -> None:
        """Write down that the server with this key answered a transfer, yes or no."""
        entry = self._entries.get(transfer_id)
        if entry is None or (entry.answered and server in entry.servers):
            return
        line = Answered(transfer_id, server)
        self._append(line)
        self._apply(line)

    def final(self, transfer_id: str) -> None:
        """Write down that a quorum named the payee, and the payer was told: it is done with."""
        entry = self._entries.get(transfer_id)
        if entry is not None and not entry.final:
            line = Final(transfer_id)
            self._append(line)
            self._apply(line)

    def lapse(self, entry: Entry, servers_now: Iterable[str]) -> bool:
        """Drop an entry if the servers that knew of it are all gone, and say whether it was.

        It lapses when it was answered and none of its server keys is among those that answer
        now: a network that was started afresh. With no server to ask nothing lapses.
        """
        now = set(servers_now)
        if not entry.answered or not now or entry.servers & now:
            return False
        line = Lapsed(entry.transfer.id)
        self._append(line)
        self._apply(line)
        return True

    def hand_over(self, descriptor: int) -> _Read | None:
        """What it read, once: for the next one, if the file is the same and begins as it did."""
        mark, self._mark = self._mark, None
        if mark is None or not mark.fits(descriptor):
            return None
        return self._entries, self._rows, self._orders, self._open_orders, mark.size, self._lines

    def _load(self, before: Journal | None) -> None:
        read = None if before is None else before.hand_over(self._descriptor)
        if read is not None:
            self._entries, self._rows, self._orders, self._open_orders, self._end, self._lines = (
                read
            )
        with naming(self.path, "read journal"):
            size = os.fstat(self._descriptor).st_size
            if size > _FILE_BYTES_MAX:
                raise self._unusable(f"is over {_FILE_BYTES_MAX} bytes")
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                file.seek(self._end)
                content = file.read(size - self._end)
        head = msgspec.json.encode(Head(1, self.owner))
        whole, end, tail = content.rpartition(b"\n")
        lines = whole.split(b"\n") if end else []
        if not self._end:
            if not end:
                # Only what an append of ours can have left may be cut, never a stranger's file.
                if not head.startswith(tail.rstrip(b"\0")):
                    raise self._unusable("is not a journal")
                self._cut(0)
                self._append(Head(1, self.owner))
                with naming(self.path.parent, "write to"):
                    sync_directory(self.path.parent)
                return
            if lines.pop(0) != head:
                raise self._unusable("is not this owner's journal")
            self._lines = 1
        for line in lines:
            self._lines += 1
            try:
                self._apply(decode_line(line))
            except (msgspec.DecodeError, ValueError, KeyError, RecursionError):
                raise self._unusable(f"is damaged in line {self._lines}") from None
        self._end += len(whole) + len(end)
        if tail:  # a crash in the middle of an append: it was not on disk, so it was not sent
            self._cut(self._end)

    def _apply(self, line: Line) -> None:
        match line:
            case Signed(transfer, servers, pays, ref, at):
                new = Entry(transfer, pays=pays, ref=ref, at=at)
                entry = self._entries.setdefault(transfer.id, new)
                entry.servers.update(servers)
                for billot, seq in transfer.billots:
                    ids = self._rows.setdefault((transfer.network, billot, seq), [])
                    if transfer.id not in ids:
                        ids.append(transfer.id)
            case Answered(transfer_id, server):
                entry = self._entries[transfer_id]
                entry.servers.add(server)
                entry.answered = True
            case Final(transfer_id):
                self._entries[transfer_id].final = True
            case Lapsed(transfer_id):
                transfer = self._entries.pop(transfer_id).transfer
                for billot, seq in transfer.billots:
                    ids = self._rows[transfer.network, billot, seq]
                    ids.remove(transfer_id)
                    if not ids:
                        del self._rows[transfer.network, billot, seq]
            case Head():
                raise KeyError(line.owner)
            case _:
                self._apply_order(line)

    def _apply_order(self, line: Ordered | Issued | Dropped) -> None:
        match line:
            case Ordered(order):
                self._orders[order.id] = order
                self._open_orders.add(order.id)
            case Issued(order_id):
                self._open_orders.remove(order_id)
            case Dropped(order_id):
                del self._orders[order_id]
                self._open_orders.discard(order_id)

    def _append(self, line: Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        spare = _SPARE_BYTES if isinstance(line, Signed | Ordered) else 0
        with naming(self.path, "write journal"):
            before = os.fstat(self._descriptor).st_size
            if before + len(data) > _FILE_BYTES_MAX - spare:
                raise self._unusable("is full, and nothing more is signed")
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
                os.fsync(self._descriptor)
            except OSError:
                self._cut(before)
                raise
        self._end, self._lines = before + len(data) if before == self._end else 0, self._lines + 1

    def _cut(self, size: int) -> None:
        with naming(self.path, "repair journal"):
            os.ftruncate(self._descriptor, size)
            os.fsync(self._descriptor)

    def _unusable(self, why: str) -> JournalError:
        return JournalError(
            f"{shown(str(self.path), 200)} {why}",
            "put it right from a copy; only if nothing in it is on its way, move it away",
        )


def journal_path(owner: str, directory: str | Path | None = None) -> Path:
    """Where the journal of `owner` is, or would be; raises JournalError."""
    return user_data_directory(directory) / f"journal-{owner[:32]}.jsonl"
