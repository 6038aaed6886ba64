"""A process that checks signatures and does nothing else: see `billots.verifying`.

On its standard input come groups: the number of checks and of bytes that follow, then for each
check the length of its message, the public key, the signature and the message. For each group
it writes one byte a check: 1 if the signature holds, 0 if not. It ends with its input.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from struct import Struct

from billots.crypto import verify

_HEAD = Struct("<II")
_LENGTH = Struct("<I")
_KEY, _SIGNED = 32, 96

Check = tuple[bytes, bytes, bytes]
"""Public key, message and signature, as `verify` takes them."""
NOTHING: Check = (b"\0" * 32, b"", b"\0" * 64)
"""Of the right form, and it doesn't hold."""


def pack(checks: Sequence[Check]) -> bytes:
    """A group as it travels."""
    parts: list[bytes] = []
    for key, message, signature in checks:
        if len(key) != _KEY or len(key) + len(signature) != _SIGNED:
            # It holds nothing, and would have all that follows misread.
            key, message, signature = NOTHING  # noqa: PLW2901
        parts += (_LENGTH.pack(len(message)), key, signature, message)
    body = b"".join(parts)
    return _HEAD.pack(len(checks), len(body)) + body


def outcomes(count: int, body: bytes) -> bytes:
    """A byte for each of the checks in the body of a group."""
    found, at = bytearray(), 0
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(body, at)
        key_at = at + _LENGTH.size
        at = key_at + _SIGNED + length
        key, signature = body[key_at : key_at + _KEY], body[key_at + _KEY : key_at + _SIGNED]
        found.append(verify(key, body[key_at + _SIGNED : at], signature))
    return bytes(found)


def main() -> None:
    """Serve until the input ends. Ctrl-C is for the server, who closes it then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    read, out = sys.stdin.buffer.read, sys.stdout.buffer
    while len(head := read(_HEAD.size)) == _HEAD.size:
        count, size = _HEAD.unpack(head)
        body = read(size)
        if len(body) < size:
            break
        try:
            out.write(outcomes(count, body))
            out.flush()
        except BrokenPipeError:
            os._exit(0)  # who asked is gone


if __name__ == "__main__":
    main()
