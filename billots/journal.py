"""The wallet's journal: every signed transfer is on disk before it is sent (DESIGN, section 11).

One file for each owner, one JSON line for each event. A wallet that crashed, or whose server
did not answer, finds here what it signed: it sends the same bytes again, and never signs the
same (billot, seq) over to somebody else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

from billots.errors import AlreadySigned, JournalError
from billots.network import shown
from billots.payment_request import REFERENCE_LENGTH_MAX
from billots.transfer import OwnerId, PublicKey, Transfer, TransferId
from billots.user_data import naming, sync_directory, user_data_directory

_FILE_BYTES_MAX = 256 * 1024 * 1024

Reference = Annotated[str, Meta(min_length=1, max_length=REFERENCE_LENGTH_MAX)]
Moment = Annotated[int, Meta(ge=0, le=253_402_300_799)]
"""Whole seconds since 1970, up to the year 9999."""


class _Head(Struct, frozen=True, tag="journal", tag_field="kind"):
    version: int
    owner: OwnerId


class _Signed(Struct, frozen=True, tag="signed", tag_field="kind", omit_defaults=True):
    transfer: Transfer
    servers: tuple[PublicKey, ...]
    pays: int | None = None
    ref: Reference | None = None
    at: Moment | None = None


class _Answered(Struct, frozen=True, tag="answered", tag_field="kind"):
    transfer_id: TransferId
    server: PublicKey


class _Final(Struct, frozen=True, tag="final", tag_field="kind"):
    transfer_id: TransferId


class _Lapsed(Struct, frozen=True, tag="lapsed", tag_field="kind"):
    transfer_id: TransferId


_Line = _Head | _Signed | _Answered | _Final | _Lapsed
_decoder = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class Entry:
    """A signed transfer; `servers` are the keys of those that spoke when it was signed or sent.

    `answered` says that at least one server answered the transfer itself. `pays` is the amount
    in mils that it was to pay, if it was an amount; `final` that the payee was seen to have it.
    `ref` is what that payment is for, and `at` when it was signed, in seconds since 1970; lines of
    before have none.
    """

    transfer: Transfer
    servers: set[str] = field(default_factory=set)
    answered: bool = False
    pays: int | None = None
    ref: str | None = None
    at: int | None = None
    final: bool = False


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
        self._rows: dict[tuple[str, str, int], list[str]] = {}

    @classmethod
    def open(cls, owner: str, directory: str | Path | None = None) -> Journal | None:
        """The journal of `owner`, or ``None`` while another process has it.

        `directory` is the user data directory unless given. Raises JournalError for a file
        that can't be read, is damaged, or isn't this owner's journal.
        """
        path = journal_path(owner, directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with naming(path, "open journal"):
            descriptor = os.open(path, flags, 0o600)
        try:
            with naming(path, "lock journal"):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal = cls(path, descriptor, owner)
            journal._load()
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, JournalError) and isinstance(error.__cause__, BlockingIOError):
                return None
            raise
        return journal

    def close(self) -> None:
        """Give up the lock."""
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
        line = _Signed(transfer, tuple(sorted(set(servers))), pays, ref, at)
        self._append(line)
        self._apply(line)

    def answered(self, transfer_id: str, server: str) -> None:
        """Write down that the server with this key answered a transfer, yes or no."""
        entry = self._entries.get(transfer_id)
        if entry is None or (entry.answered and server in entry.servers):
            return
        line = _Answered(transfer_id, server)
        self._append(line)
        self._apply(line)

    def final(self, transfer_id: str) -> None:
        """Write down that a quorum named the payee, and the payer was told: it is done with."""
        entry = self._entries.get(transfer_id)
        if entry is not None and not entry.final:
            line = _Final(transfer_id)
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
        line = _Lapsed(entry.transfer.id)
        self._append(line)
        self._apply(line)
        return True

    def _load(self) -> None:
        with naming(self.path, "read journal"):
            size = os.fstat(self._descriptor).st_size
            if size > _FILE_BYTES_MAX:
                raise self._unusable(f"is over {_FILE_BYTES_MAX} bytes")
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                file.seek(0)
                content = file.read(size)
        head = msgspec.json.encode(_Head(1, self.owner)) + b"\n"
        whole, end, tail = content.rpartition(b"\n")
        if not end:
            # Only what an append of ours can have left behind may be cut, never a stranger's file.
            if not head.startswith(tail.rstrip(b"\0")):
                raise self._unusable("is not a journal")
            self._cut(0)
            self._append(_Head(1, self.owner))
            with naming(self.path.parent, "write to"):
                sync_directory(self.path.parent)
            return
        lines = whole.split(b"\n")
        if lines[0] + b"\n" != head:
            raise self._unusable("is not this owner's journal")
        for number, line in enumerate(lines[1:], start=2):
            try:
                self._apply(_decoder.decode(line))
            except (msgspec.DecodeError, ValueError, KeyError, RecursionError):
                raise self._unusable(f"is damaged in line {number}") from None
        if tail:  # a crash in the middle of an append: it was not on disk, so it was not sent
            self._cut(len(whole) + 1)

    def _apply(self, line: _Line) -> None:
        match line:
            case _Signed(transfer, servers, pays, ref, at):
                new = Entry(transfer, pays=pays, ref=ref, at=at)
                entry = self._entries.setdefault(transfer.id, new)
                entry.servers.update(servers)
                for billot, seq in transfer.billots:
                    ids = self._rows.setdefault((transfer.network, billot, seq), [])
                    if transfer.id not in ids:
                        ids.append(transfer.id)
            case _Answered(transfer_id, server):
                entry = self._entries[transfer_id]
                entry.servers.add(server)
                entry.answered = True
            case _Final(transfer_id):
                self._entries[transfer_id].final = True
            case _Lapsed(transfer_id):
                transfer = self._entries.pop(transfer_id).transfer
                for billot, seq in transfer.billots:
                    ids = self._rows[transfer.network, billot, seq]
                    ids.remove(transfer_id)
                    if not ids:
                        del self._rows[transfer.network, billot, seq]
            case _Head():
                raise KeyError(line.owner)

    def _append(self, line: _Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        with naming(self.path, "write journal"):
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


def already_signed(transfer: Transfer, command: str = "bwallet") -> AlreadySigned:
    """The refusal of a second `to`; its hint is the command that sends the first one again."""
    billots = ",".join(billot for billot, _ in transfer.billots)
    first, seq = transfer.billots[0]
    more = f" and {len(transfer.billots) - 1} more" if len(transfer.billots) > 1 else ""
    return AlreadySigned(
        f"already signed over to another owner: {first} (seq {seq}){more} to {transfer.to}",
        f"{command} --transfer {billots} {transfer.to} sends that one again",
    )
