"""A process that checks signatures and does nothing else: see `billots.verifying`.

On its standard input come groups: a tag, the number of checks and of bytes that follow, then for
each check the length of its message, the public key, the signature and the message. For each
group it writes the tag and one byte a check: 1 if the signature holds, 0 if not. It ends with its
input.

The tag is how who asks knows that an answer is to its question: were a stray byte taken for one,
each answer would be another signature's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from struct import Struct

from billots.crypto import verify

TAG_BYTES = 8
_HEAD = Struct(f"<{TAG_BYTES}sII")
_LENGTH = Struct("<I")
_KEY, _SIGNED = 32, 96

Check = tuple[bytes, bytes, bytes]
"""Public key, message and signature, as `verify` takes them."""
NOTHING: Check = (b"\0" * 32, b"", b"\0" * 64)
"""Of the right form, and it doesn't hold."""
GOOD: Check = (
    bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    b"",
    bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    ),
)
"""One that holds: RFC 8032, section 7.1, test 1."""


def pack(tag: bytes, checks: Sequence[Check]) -> bytes:
    """A group as it travels."""
    parts: list[bytes] = []
    for key, message, signature in checks:
        if len(key) != _KEY or len(key) + len(signature) != _SIGNED:
            # It holds nothing, and would have all that follows misread.
            key, message, signature = NOTHING  # noqa: PLW2901
        parts += (_LENGTH.pack(len(message)), key, signature, message)
    body = b"".join(parts)
    return _HEAD.pack(tag, len(checks), len(body)) + body


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
    read, out = sys.stdin.buffer.read, os.dup(1)
    os.dup2(2, 1)  # what anybody prints is no answer
    while len(head := read(_HEAD.size)) == _HEAD.size:
        tag, count, size = _HEAD.unpack(head)
        body = read(size)
        if len(body) < size:
            break
        try:
            answer = tag + outcomes(count, body)
            while answer:
                answer = answer[os.write(out, answer) :]
        except BrokenPipeError:
            os._exit(0)  # who asked is gone


if __name__ == "__main__":
    main()
