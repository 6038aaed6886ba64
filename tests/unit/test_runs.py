"""Runs of billots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billots.errors import InputError
from billots.runs import (
    billots_of,
    count_billots,
    has,
    merged,
    parse_runs,
    runs_text,
    swept,
    without,
)

PIECES = st.tuples(st.sampled_from(["a-", "b-"]), st.integers(1, 30), st.integers(0, 8)).map(
    lambda piece: (piece[0], piece[1], piece[1] + piece[2])
)
LISTS = st.lists(PIECES, max_size=8)


def test_runs_are_read_in_order_and_joined():
    assert parse_runs("b-3..9, a-1,a-2") == (("a-", 1, 2), ("b-", 3, 9))
    assert parse_runs("a-1..a-3 a-4..5") == (("a-", 1, 5),)
    assert runs_text(parse_runs("a-1,b-3..9")) == "a-1,b-3..9"


@pytest.mark.parametrize(
    "text",
    ["", ",", "a", "a-0", "a-01", "a-3..1", "a-1..b-2", "a-1...3", "a-1-3", "a-１", "A-1", "a-1..",
     "a-1,a-1", "a-1..5,a-5", "a-" + "9" * 14],
)  # fmt: skip
def test_what_is_no_run(text):
    with pytest.raises(InputError):
        parse_runs(text)


@given(LISTS, LISTS)
def test_what_is_taken_away_is_gone_and_nothing_else(runs, taken):
    left = set(billots_of(without(list(merged(runs)), list(merged(taken)))))
    assert left == set(billots_of(runs)) - set(billots_of(taken))


@given(LISTS)
def test_joined_runs_have_the_same_billots_once(runs):
    joined = list(merged(runs))
    assert sorted(billots_of(joined)) == sorted(set(billots_of(runs)))
    assert count_billots(joined) == len(set(billots_of(runs)))
    for prefix, number in [("a-", 5), ("b-", 31), ("c-", 1)]:
        assert has(joined, prefix, number) == (f"{prefix}{number}" in set(billots_of(runs)))


@given(st.lists(LISTS, max_size=4))
def test_every_list_counts_once_for_a_billot(lists):
    seen = {billot: votes for run, votes in swept(lists) for billot in billots_of([run])}
    for billot in set().union(*(billots_of(runs) for runs in lists)):
        assert seen.pop(billot) == sum(billot in set(billots_of(runs)) for runs in lists)
    assert not seen
