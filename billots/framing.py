"""Frames: one message a line, LF at its end. No I/O here.

The decoder keeps the *buffer* in view, not the chunk: a delimiter may come in any chunk, and
several messages in one. (websockets' and h11's cores are fed the same way.)
"""

from __future__ import annotations

from billots.errors import FrameTooLarge

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ROUNDS_MAX = 64


class FrameDecoder:
    """Turns the bytes of a stream into frames, each without its LF.

    `frame_bytes_max` counts the bytes of a frame without its LF.
    """

    __slots__ = ("_buffer", "_frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    @property
    def begun(self) -> bool:
        """Whether part of a frame has come and its end has not."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> tuple[list[bytes], bool]:
        """The frames that `data` completes, and whether a frame over the limit ended the stream.

        Frames before an oversized one are still good. After an oversized frame the decoder
        must not be fed again.
        """
        if not self._buffer and data.endswith(b"\n"):
            frames = data[:-1].split(b"\n")  # the common case: whole frames, nothing kept
        else:
            start = len(self._buffer)
            self._buffer += data
            end = self._buffer.rfind(b"\n", start)
            if end < 0:
                return [], len(self._buffer) > self._frame_bytes_max
            frames = bytes(self._buffer[:end]).split(b"\n")
            del self._buffer[: end + 1]
        good: list[bytes] = []
        for frame in frames:
            if len(frame) > self._frame_bytes_max:
                return good, True
            if frame and not frame.isspace():
                good.append(frame)
        return good, len(self._buffer) > self._frame_bytes_max


def encode_frame(message: bytes, frame_bytes_max: int) -> bytes:
    """A message as a frame; raises FrameTooLarge, for what we send keeps the limit too."""
    if len(message) > frame_bytes_max:
        raise FrameTooLarge(f"a message of {len(message)} bytes is over {frame_bytes_max}")
    return message + b"\n"


def is_deeper(message: bytes, depth_max: int) -> bool:
    """Whether JSON text nests its arrays and objects deeper than `depth_max`.

    Fast: strings are cut out and everything but brackets is dropped in C, then innermost
    pairs are taken off round by round. Strings have to go first: brackets in them can hide
    depth (``["]",["]", … "["],"["]``) as well as feign it.
    """
    if message.count(b"[") + message.count(b"{") <= depth_max:
        return False
    return _left_after(_without_strings(message).translate(None, _NOT_BRACKETS), depth_max)


def _left_after(brackets: bytes, rounds: int) -> bool:
    for _ in range(min(rounds, _ROUNDS_MAX)):
        if not brackets:
            return False
        # Both kinds in one round: [] and {} side by side are at the same depth.
        outer = brackets.replace(b"[]", b"\0").replace(b"{}", b"\0").replace(b"\0", b"")
        if len(outer) == len(brackets):
            return True  # unbalanced: no round will take more off
        brackets = outer
    return bool(brackets)


def _without_strings(message: bytes) -> bytes:
    pieces = message.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    return b"".join(pieces[::2])
