"""Frames (DESIGN, section 7): each input whole, byte by byte, in chunks, with trailing data."""

import json
import random

import msgspec
import pytest

from billots.errors import FrameTooLarge
from billots.framing import FrameDecoder, encode_frame, is_deeper

MAX = 16


def fed_whole(stream):
    return [stream]


def fed_byte_by_byte(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


def fed_in_random_chunks(stream):
    choose = random.Random(len(stream))
    cuts = sorted(choose.choices(range(len(stream) + 1), k=4))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def fed_in_pieces_that_start_with_the_delimiter(stream):
    pieces = stream.split(b"\n")
    return [pieces[0], *(b"\n" + piece for piece in pieces[1:])]


HOW = [
    fed_whole,
    fed_byte_by_byte,
    fed_in_random_chunks,
    fed_in_pieces_that_start_with_the_delimiter,
]


def decode(chunks, frame_bytes_max=MAX):
    """Frames, whether one was too large, and the decoder after it all."""
    decoder = FrameDecoder(frame_bytes_max)
    frames = []
    for chunk in chunks:
        good, too_large = decoder.feed(chunk)
        frames += good
        if too_large:
            return frames, True, decoder
    return frames, False, decoder


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"", []),
        (b"one\n", [b"one"]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\r\ntwo\n", [b"one\r", b"two"]),
        (b"\xff\xfe\0\n", [b"\xff\xfe\0"]),
        (b"x" * MAX + b"\n" + b"y" * MAX + b"\n", [b"x" * MAX, b"y" * MAX]),
    ],
)
def test_frames_end_in_lf(how, stream, frames):
    got, too_large, decoder = decode(how(stream))
    assert (got, too_large, decoder.begun) == (frames, False, False)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("stream", [b"\n", b"\n\n\n", b" \n", b"\r\n\t \n", b"\n\none\n\n \n"])
def test_blank_lines_are_dropped(how, stream):
    got, too_large, decoder = decode(how(stream))
    assert (got, too_large, decoder.begun) == ([b"one"] * (b"one" in stream), False, False)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("trailing", [b"t", b"tra", b"x" * MAX])
def test_trailing_data_wait_for_their_end(how, trailing):
    got, too_large, decoder = decode(how(b"one\ntwo\n" + trailing))
    assert (got, too_large, decoder.begun) == ([b"one", b"two"], False, True)
    assert decoder.feed(b"\n") == ([trailing], False)
    assert not decoder.begun


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "large",
    [
        b"x" * (MAX + 1) + b"\n",
        b"x" * (MAX + 1),
        b" " * (MAX + 1) + b"\n",
        b"x" * 1000 + b"\nthree\n",
        b"x" * 1000,
    ],
    ids=["one-over", "one-over-no-end", "blank", "far-over", "far-over-no-end"],
)
def test_attack_a_giant_line_ends_the_stream_but_spoils_nothing_before_it(how, large):
    got, too_large, _ = decode(how(b"one\ntwo\n" + large))
    assert (got, too_large) == ([b"one", b"two"], True)


def test_attack_a_giant_line_is_noticed_before_its_end():
    decoder = FrameDecoder(MAX)
    for _ in range(MAX):
        assert decoder.feed(b"x") == ([], False)
    assert decoder.feed(b"x") == ([], True)


def test_attack_of_2017_a_delimiter_across_two_chunks():
    """The test looked at the chunk, not at the buffer, and the connection hung."""
    decoder = FrameDecoder(MAX)
    assert decoder.feed(b"one\ntw") == ([b"one"], False)
    assert decoder.feed(b"o") == ([], False)
    assert decoder.feed(b"\nthree\n") == ([b"two", b"three"], False)


def test_attack_of_2017_two_requests_in_one_segment():
    assert FrameDecoder(MAX).feed(b"one\ntwo\n") == ([b"one", b"two"], False)


def test_nothing_fed_is_nothing_begun():
    decoder = FrameDecoder(MAX)
    assert decoder.feed(b"") == ([], False)
    assert not decoder.begun
    decoder.feed(b"x")
    assert decoder.feed(b"") == ([], False)
    assert decoder.begun


def test_a_message_becomes_a_frame():
    assert encode_frame(b"x" * MAX, MAX) == b"x" * MAX + b"\n"


def test_what_is_sent_keeps_the_limit_too():
    with pytest.raises(FrameTooLarge, match="17 bytes is over 16"):
        encode_frame(b"x" * (MAX + 1), MAX)


# Depth


def nested(depth, inner="1"):
    return "[" * depth + inner + "]" * depth


def mixed(depth):
    return '{"a":[' * (depth // 2) + "1" + "]}" * (depth // 2)


@pytest.mark.parametrize("depth_max", [0, 1, 2, 8])
@pytest.mark.parametrize("make", [nested, mixed])
def test_depth_is_counted(make, depth_max):
    for depth in range(0, 20, 2):
        assert is_deeper(make(depth).encode(), depth_max) == (depth > depth_max)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("[]", 1),
        ("[[],{},[],{}]", 2),
        ("[{},[{}],{}]", 3),
        ("[" + "[]," * 1000 + "[]]", 2),
        ('["[[[[[[["]', 1),
        ('["]]]]]]]"]', 1),
        ('["[]{}[]{}[]{}"]', 1),
        ('[{"[[[[":"{{{{"}]', 2),
        (r'["\"[[[[[[[[["]', 1),
        (r'["\\",[[["\\"]]]]', 4),
        (r'["\\\"[[[[[[[[[["]', 1),
        (r'["\\\\",["\\\\"],"[[[["]', 2),
        (r'["\u0022[[[[[["]', 1),
    ],
)
def test_brackets_inside_of_strings_have_no_depth(text, depth):
    json.loads(text)
    assert is_deeper(text.encode(), depth - 1)
    assert not is_deeper(text.encode(), depth)


@pytest.mark.parametrize("depth", [9, 100, 5000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [('["]",', ',"["]'), ('{"}":', ',"{":1}'), (r'["\"]",', r',"\\\"["]')],
)
def test_attack_brackets_in_strings_that_hide_depth(depth, opening, closing):
    text = (opening * depth + "1" + closing * depth).encode()
    assert is_deeper(text, 8)
    assert is_deeper(text, depth - 1) or depth > 64
    assert not is_deeper((opening * 8 + "1" + closing * 8).encode(), 8)


def test_attack_deep_nesting_that_would_end_the_decoder():
    text = nested(60_000).encode()
    with pytest.raises(RecursionError):
        msgspec.json.decode(text)
    assert is_deeper(text, 8)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"]" * 9 + b"[" * 9, b"[{" * 9, b"[}" * 9, b'"' + b"[" * 9 + b'"' * 2]
)
def test_unbalanced_brackets_are_never_shallow_or_never_read(text):
    shallow = not is_deeper(text, 8)
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        msgspec.json.decode(text)
    assert shallow == text.startswith(b'"')


def test_more_levels_than_are_counted_are_too_many():
    assert not is_deeper(nested(64).encode(), 100)
    assert is_deeper(nested(101).encode(), 100)
