"""How far a journal was read, so that the next one to open it needn't begin at its beginning."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

_TAIL_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Mark:
    """A file, its first `size` bytes, and the last few of them."""

    device: int
    inode: int
    size: int
    tail: bytes

    @classmethod
    def at(cls, descriptor: int, size: int) -> Self | None:
        """The mark behind the first `size` bytes; None if the disk can't tell, or for 0 bytes.

        A journal has 0 after a failed write that couldn't be taken back: it is to be read whole.
        """
        if not size:
            return None
        try:
            found = os.fstat(descriptor)
            return cls(found.st_dev, found.st_ino, size, _tail(descriptor, size))
        except OSError:
            return None

    def fits(self, descriptor: int) -> bool:
        """Whether this is the same file, and only more was appended; if in doubt, no."""
        return Mark.at(descriptor, self.size) == self


def _tail(descriptor: int, size: int) -> bytes:
    start = max(0, size - _TAIL_BYTES)
    return os.pread(descriptor, size - start, start)
