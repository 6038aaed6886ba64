"""Rows of a feed that are read together come to what each comes to alone, or are refused alike."""

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from billots.errors import InputError
from billots.feed import FeedBatch, parse_row

steady = settings(derandomize=True, deadline=None, database=None, max_examples=400)

ID = "0123456789abcdef" * 4
OWNER = "ab" * 64
lsns = st.integers(1, 12).map(str) | st.sampled_from(
    ["0", "01", "+1", "-1", "1_0", "\u0661", "", str(2**53 - 1), str(2**53)]
)
names = st.sampled_from([ID, ID[::-1], ID.upper(), ID[:-1], f"{ID}0", "g" * 64, f" {ID[1:]}", ""])
rests = st.sampled_from(["", "", "", " a-1", " a-1 b-2", " b-2 a-1", " ", "\n", "\0", " \u00e9"])
whole = st.builds(lambda lsn: f"{lsn} {ID}", st.integers(1, 12))
rows = (
    whole
    | st.builds(lambda lsn, name, rest: f"{lsn} {name}{rest}", lsns, names, rests)
    | st.builds(lambda lsn: f"{lsn} adopted a-1 5 {OWNER} {OWNER}", lsns)
    | st.text(alphabet="0123456789abcdef \n", max_size=140)
)


def one_by_one(texts):
    found = [parse_row(text) for text in texts]
    if any(a.lsn >= b.lsn for a, b in itertools.pairwise(found)):
        raise InputError("feed rows out of order")
    return found


def outcome(read):
    try:
        return read()
    except InputError:
        return None


@steady
@given(st.lists(rows, max_size=5) | st.lists(whole, max_size=5, unique=True))
@example(["1", f"{ID} 2 {ID}"])
@example([f"1 {ID} 2", ID])
@example([f"1 {ID} 2 {ID}"])
@example([f"1 {ID}\n2 {ID}"])
@example([f"12 {ID}"[:-1], f"3 {ID}0"])
def test_attack_rows_that_are_only_well_formed_together(texts):
    batch = FeedBatch("0" * 64, tuple(texts), "0" * 64, "0" * 128)
    assert outcome(batch.parsed) == outcome(lambda: one_by_one(texts))


@steady
@given(st.lists(st.integers(1, 99), unique=True).map(sorted), st.integers(0, 100))
def test_the_rows_after_an_lsn(numbers, lsn):
    texts = [f"{n} {ID}" if n % 3 else f"{n} {ID} a-1" for n in numbers]
    table = FeedBatch("0" * 64, tuple(texts), "0" * 64, "0" * 128).table()
    later = [parse_row(text) for n, text in zip(numbers, texts, strict=True) if n > lsn]
    assert list(table.after(lsn)) == later
    assert len(table.after(lsn)) == len(later)
