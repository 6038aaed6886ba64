"""A file that is only ever appended to: JSON lines, each on disk before its append returns.

Locked by one process, readable by its owner alone. A crash in the middle of an append leaves part
of a line, which nobody was told of: it is cut off. What else is wrong is refused, never repaired.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from billots.errors import JournalError
from billots.network import shown
from billots.user_data import naming, sync_directory

FILE_BYTES_MAX = 256 * 1024 * 1024

Line = TypeVar("Line", bound=Struct)


class Appended(Generic[Line]):
    """Lines of one tagged union; the first says whose file it is. Use `open`."""

    def __init__(self, path: Path, descriptor: int, lines: list[Line]) -> None:
        self.path = path
        self.lines = lines
        """What was in it when it was opened, the head aside."""
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path, head: bytes, decoder: msgspec.json.Decoder[Line]) -> Self | None:
        """The file, locked, made with its head if it isn't there; None while another has it.

        Raises JournalError for a file that can't be read, is damaged, or has another head.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with naming(path, "open"):
            descriptor = os.open(path, flags, 0o600)
        try:
            with naming(path, "lock"):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                os.close(descriptor)  # who had the lock has put another file in its place
                return None
            return cls(path, descriptor, _load(path, descriptor, head, decoder))
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, JournalError) and isinstance(error.__cause__, BlockingIOError):
                return None
            raise

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._descriptor).st_size

    def append(self, line: Line) -> None:
        """Write a line; it is on disk when this returns. Raises JournalError."""
        _append(self.path, self._descriptor, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _load(
    path: Path, descriptor: int, head: bytes, decoder: msgspec.json.Decoder[Line]
) -> list[Line]:
    with naming(path, "read"):
        size = os.fstat(descriptor).st_size
        if size > FILE_BYTES_MAX:
            raise _unusable(path, f"is over {FILE_BYTES_MAX} bytes")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            content = file.read(size)
    whole, end, tail = content.rpartition(b"\n")
    if not end:
        if not head.startswith(tail.rstrip(b"\0")):
            raise _unusable(path, "is none of ours")
        _cut(path, descriptor, 0)
        _append(path, descriptor, head + b"\n")
        with naming(path.parent, "write to"):
            sync_directory(path.parent)
        return []
    first, *lines = whole.split(b"\n")
    if first != head:
        raise _unusable(path, "is not this key's")
    found: list[Line] = []
    for number, line in enumerate(lines, start=2):
        try:
            found.append(decoder.decode(line))
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _unusable(path, f"is damaged in line {number}") from None
    if tail:
        _cut(path, descriptor, len(whole) + 1)
    return found


def _append(path: Path, descriptor: int, data: bytes) -> None:
    with naming(path, "write"):
        before = os.fstat(descriptor).st_size
        if before + len(data) > FILE_BYTES_MAX:
            raise _unusable(path, f"is full: {FILE_BYTES_MAX} bytes")
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
        except OSError:
            _cut(path, descriptor, before)
            raise


def _cut(path: Path, descriptor: int, size: int) -> None:
    with naming(path, "repair"):
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)


def _unusable(path: Path, why: str) -> JournalError:
    return JournalError(
        f"{shown(str(path), 200)} {why}",
        "put it right from a copy; it holds keys and what is owed: never throw it away",
    )
