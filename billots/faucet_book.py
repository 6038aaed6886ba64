"""A faucet's book: what it gave to whom, on disk before the money leaves.

One file for each network, one JSON line for each event, locked while a faucet runs. A faucet that
was killed finds in it what it gave, so that no crash lifts a limit, and which payments it had
begun. Addresses are in it only as hashes, under a random key that is the book's own.

Limits need a time that can be relied on. The book's runs with the steady clock that it is handed,
beginning at the wall's when the file is opened, and never before its last line: a wall clock that
is put back lifts no limit and locks nobody out for longer than the limit itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

from billots.errors import JournalError
from billots.network import shown
from billots.rationing import Granted, Limit, Ration, Rationing
from billots.transfer import OwnerId, Transfer, TransferId
from billots.user_data import naming, replace_file, user_data_directory

_FILE_BYTES_MAX = 256 * 1024 * 1024
_TICK_MS = 10 * 60 * 1000
_SPARE_LINES = 1_000
"""Lines that count no more, before the file is written anew without them."""

_Key = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class _Head(Struct, frozen=True, tag="faucet", tag_field="kind"):
    version: int
    network: str
    key: _Key


class _Grant(Struct, frozen=True, tag="grant", tag_field="kind"):
    number: int
    at_ms: int
    owner: OwnerId
    address: _Hash
    mils: int


class _Signed(Struct, frozen=True, tag="signed", tag_field="kind"):
    number: int
    transfer_id: TransferId
    billots: tuple[tuple[str, int], ...]


class _Paid(Struct, frozen=True, tag="paid", tag_field="kind"):
    number: int


class _Void(Struct, frozen=True, tag="void", tag_field="kind"):
    number: int


class _Tick(Struct, frozen=True, tag="tick", tag_field="kind"):
    at_ms: int


_Line = _Head | _Grant | _Signed | _Paid | _Void | _Tick
_decoder = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class Record:
    """A grant, and what became of it. `billots` are (id, new seq), once they are signed over."""

    granted: Granted
    transfer_id: str | None = None
    billots: tuple[tuple[str, int], ...] = ()
    paid: bool = False


class FaucetBook:
    """The book of one network's faucet, locked from `open` to `close`."""

    def __init__(self, path: Path, lock: int, network_id: str, ration: Ration) -> None:
        """Use `open`."""
        self.path = path
        self._lock = lock
        self._network_id = network_id
        self._rationing = Rationing(ration)
        self._records: dict[int, Record] = {}
        self._by_transfer: dict[str, int] = {}
        self._by_owner: dict[str, int] = {}
        self._key = ""
        self._lines = 0
        self._last_ms = 0
        self._written_ms = 0
        self._offset_ms = 0
        self._next = 1
        self._descriptor: int | None = None

    @classmethod
    def open(
        cls,
        network_id: str,
        ration: Ration,
        *,
        wall_ms: int,
        steady_ms: int,
        directory: str | Path | None = None,
    ) -> Self:
        """The book of a network; `directory` is the user data directory unless given.

        Raises JournalError for a file that can't be read, is damaged, is no such book, or is
        another faucet's right now.
        """
        folder = user_data_directory(directory)
        path = folder / f"faucet-{network_id}.jsonl"
        lock = folder / f"faucet-{network_id}.lock"
        with naming(lock, "lock"):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JournalError(
                    f"another faucet has {shown(str(path), 200)} open",
                    "end it first, or give this one a --data-dir of its own",
                ) from error
            book = cls(path, descriptor, network_id, ration)
            book._load()
        except BaseException:
            os.close(descriptor)
            raise
        book._offset_ms = max(book._last_ms, wall_ms) - steady_ms
        try:
            book._rewrite(book.now_ms(steady_ms))
        except BaseException:
            book.close()
            raise
        return book

    def close(self) -> None:
        """Give up the file and its lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        os.close(self._lock)

    @property
    def ration(self) -> Ration:
        """What it is held against."""
        return self._rationing.ration

    def now_ms(self, steady_ms: int) -> int:
        """The book's own time; it never goes back."""
        self._last_ms = max(self._last_ms, self._offset_ms + steady_ms)
        return self._last_ms

    def left(self, steady_ms: int) -> int:
        """How much of the hour's budget is left, in mils."""
        return self._rationing.left(self.now_ms(steady_ms))

    def refuses(self, owner: str, address: str, steady_ms: int) -> tuple[Limit, int] | None:
        """Which limit speaks against a grant, and in how many ms it won't; None if none does."""
        now_ms = self.now_ms(steady_ms)
        against = self._rationing.refuses(owner, self._hash(address), now_ms)
        if against is not None and now_ms - self._written_ms >= _TICK_MS:
            # Lest a faucet that is often started anew, by a wrong clock, stands still in time.
            with contextlib.suppress(JournalError):
                self._note_time(now_ms)
        return against

    def grant(self, owner: str, address: str, steady_ms: int) -> Record | tuple[Limit, int]:
        """Grant somebody what is given; on disk on return, and only then anything may be signed.

        `address` is any text that stands for where it was asked from; a keyed hash of it is kept.
        Without a grant: what `refuses` says. Raises JournalError if it can't be written.
        """
        against = self.refuses(owner, address, steady_ms)
        if against is not None:
            return against
        now_ms, hashed = self.now_ms(steady_ms), self._hash(address)
        if self._lines > 4 * len(self._rationing) + _SPARE_LINES:
            self._rewrite(now_ms)
        line = _Grant(self._next, now_ms, owner, hashed, self.ration.gives)
        self._append(line)
        self._apply(line)
        return self._records[line.number]

    def signed(self, record: Record, transfer: Transfer) -> None:
        """Write down which transfer pays a grant."""
        self._note(_Signed(record.granted.number, transfer.id, transfer.billots))

    def paid(self, record: Record) -> None:
        """Write down that a grant is paid, and final."""
        self._note(_Paid(record.granted.number))

    def void(self, record: Record) -> None:
        """Take back a grant of which nothing was signed: it counts no more."""
        self._note(_Void(record.granted.number))

    def open_records(self) -> list[Record]:
        """Grants that aren't paid, as far as is known, the oldest first."""
        return [record for record in self._records.values() if not record.paid]

    def by_transfer(self, transfer_id: str) -> Record | None:
        """The grant that a transfer pays, if it is of the last day or still open."""
        return self._records.get(self._by_transfer.get(transfer_id, 0))

    def by_owner(self, owner: str) -> Record | None:
        """The owner's last grant, if it is of the last day or still open."""
        return self._records.get(self._by_owner.get(owner, 0))

    def _hash(self, address: str) -> str:
        key = bytes.fromhex(self._key)
        return hashlib.blake2b(address.encode(), key=key, digest_size=16).hexdigest()

    def _load(self) -> None:
        with naming(self.path, "read"):
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                self._key = secrets.token_hex(32)
                return
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(_FILE_BYTES_MAX + 1)
        if len(content) > _FILE_BYTES_MAX:
            raise self._unusable(f"is over {_FILE_BYTES_MAX} bytes")
        # What follows the last LF was not on disk when the faucet was killed: nothing was signed.
        first, *lines = content.split(b"\n")[:-1] or [b""]
        try:
            head = _decoder.decode(first)
            if not isinstance(head, _Head) or head.network != self._network_id:
                raise self._unusable("is not the book of this network's faucet")
        except (msgspec.DecodeError, ValueError):
            raise self._unusable("is not the book of a faucet") from None
        self._key = head.key
        for number, line in enumerate(lines, start=2):
            try:
                self._apply(_decoder.decode(line))
            except (msgspec.DecodeError, ValueError, KeyError, AssertionError, RecursionError):
                raise self._unusable(f"is damaged in line {number}") from None

    def _apply(self, line: _Line) -> None:
        match line:
            case _Grant(number, at_ms, owner, address, mils):
                granted = Granted(number, at_ms, owner, address, mils)
                self._rationing.grant(granted)
                self._records[number] = Record(granted)
                self._by_owner[owner] = number
                self._next = max(self._next, number + 1)
                self._last_ms = self._written_ms = max(self._last_ms, at_ms)
            case _Signed(number, transfer_id, billots):
                record = self._records[number]
                record.transfer_id, record.billots = transfer_id, billots
                self._by_transfer[transfer_id] = number
            case _Paid(number):
                self._records[number].paid = True
            case _Void(number):
                granted = self._records.pop(number).granted
                self._rationing.void(granted)
                if self._by_owner.get(granted.owner) == number:
                    del self._by_owner[granted.owner]
            case _Tick(at_ms):
                self._last_ms = self._written_ms = max(self._last_ms, at_ms)
            case _Head():
                raise KeyError(line.network)
        self._lines += 1

    def _note(self, line: _Signed | _Paid | _Void) -> None:
        if line.number in self._records:
            self._append(line)
            self._apply(line)

    def _note_time(self, now_ms: int) -> None:
        line = _Tick(now_ms)
        self._append(line)
        self._apply(line)

    def _rewrite(self, now_ms: int) -> None:
        """Write the file anew with what still counts, and go on in the new one."""
        self._rationing.left(now_ms)  # what is over a day old counts no more
        counted = {granted.number for granted in self._rationing.counted()}
        kept = {
            number: record
            for number, record in self._records.items()
            if number in counted or not record.paid
        }
        lines: list[_Line] = [_Head(1, self._network_id, self._key)]
        for number, record in kept.items():
            given = record.granted
            lines.append(_Grant(number, given.at_ms, given.owner, given.address, given.mils))
            if record.transfer_id is not None:
                lines.append(_Signed(number, record.transfer_id, record.billots))
            if record.paid:
                lines.append(_Paid(number))
        lines.append(_Tick(now_ms))
        replace_file(self.path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        with naming(self.path, "open"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._lines, self._written_ms = descriptor, len(lines), now_ms
        self._records = kept
        self._by_owner = {record.granted.owner: number for number, record in kept.items()}
        self._by_transfer = {
            record.transfer_id: number
            for number, record in kept.items()
            if record.transfer_id is not None
        }

    def _append(self, line: _Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        with naming(self.path, "write"):
            if self._descriptor is None:
                raise OSError(0, "an earlier write failed, and couldn't be taken back")
            before = os.fstat(self._descriptor).st_size
            try:
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
                os.fsync(self._descriptor)
            except OSError:
                self._cut(before)
                raise

    def _cut(self, size: int) -> None:
        """Take back what a failed write may have left; if that fails, nothing more is written."""
        descriptor, self._descriptor = self._descriptor, None
        assert descriptor is not None, "it was written to"
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _unusable(self, why: str) -> JournalError:
        return JournalError(
            f"{shown(str(self.path), 200)} {why}",
            "put it right from a copy; without it the faucet's limits begin anew",
        )
