"""A handful of notes: exact, out of what there is, and good for paying most amounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billots.handful import NOTES_MAX, handful
from billots.network import Network
from billots.purse import choose

MAIN = {d.mils: d.circulation for d in Network.shipped("main").denominations.values()}
PURSES = st.dictionaries(st.sampled_from(sorted(MAIN)), st.integers(0, 40), max_size=8)


def sums(notes):
    made = {0}
    for value, count in notes.items():
        for _ in range(count):
            made |= {value + each for each in made}
    return made - {0}


@pytest.mark.parametrize("amount", [5, 300, 995, 1_000, 2_000, 10_000, 100_000])
def test_a_full_purse_gives_notes_that_pay_every_amount_below(amount):
    notes = handful(MAIN, amount)
    assert sums(notes) == set(range(5, amount + 1, 5))
    assert sum(notes.values()) <= NOTES_MAX


@given(PURSES, st.integers(1, 20_000))
def test_it_is_exact_and_there_whenever_notes_make_it_at_all(purse, amount):
    notes = handful(purse, amount)
    if notes is None:
        assert choose(purse, amount) is None
        return
    assert sum(value * count for value, count in notes.items()) == amount
    assert all(0 < count <= purse[value] for value, count in notes.items())


def test_a_purse_of_one_note_gives_that_one():
    assert handful({1000: 1}, 1000) == {1000: 1}
    assert handful({1000: 1}, 500) is None
    assert handful({}, 500) is None


def test_a_lot_of_money_has_small_notes_in_it_too():
    notes = handful(MAIN, 1_000_000_000)
    assert sum(value * count for value, count in notes.items()) == 1_000_000_000
    small = {value: count for value, count in notes.items() if value < 100_000}
    assert sums(small) >= set(range(5, 100_001, 5))
    assert sum(notes.values()) <= sum(choose(MAIN, 1_000_000_000).values()) + NOTES_MAX
