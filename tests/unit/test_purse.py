"""Notes that make an amount exactly."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billots import purse
from billots.network import Network
from billots.purse import choose, nearest

TEST = Network.shipped("test")
VALUES = sorted({row.mils for row in TEST.denominations.values()}, reverse=True)
steady = settings(derandomize=True, deadline=None, database=None)


def sums(counts):
    """Every sum that a purse can make, and with how few notes: by trying all."""
    fewest = {}
    for numbers in itertools.product(*(range(count + 1) for count in counts.values())):
        total = sum(v * n for v, n in zip(counts, numbers, strict=True))
        fewest[total] = min(sum(numbers), fewest.get(total, sum(numbers)))
    return fewest


small = st.dictionaries(
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 15, 20, 25, 30, 50]),
    st.integers(0, 4),
    max_size=5,
)


@steady
@given(small, st.integers(-1, 260))
@example({25: 1, 20: 3, 5: 0}, 60)  # the largest first would end with 35 left
@example({6: 4, 4: 4, 1: 2}, 8)
@example({50: 4, 20: 4, 2: 0}, 80)
def test_as_few_as_there_can_be_and_exactly(counts, amount):
    fewest = sums(counts)
    found = choose(counts, amount)
    if amount <= 0 or amount not in fewest:
        assert found is None
        return
    assert sum(value * number for value, number in found.items()) == amount
    assert all(0 < number <= counts[value] for value, number in found.items())
    assert sum(found.values()) == fewest[amount]


@steady
@given(small, st.integers(1, 260))
def test_the_nearest_amounts(counts, amount):
    made = [total for total in sums(counts) if total]
    low = max((total for total in made if total < amount), default=None)
    high = min((total for total in made if total > amount), default=None)
    assert nearest(counts, amount) == (low, high)


def test_what_it_takes_of_a_full_purse():
    full = dict.fromkeys(VALUES, 1000)
    assert choose(full, 187_650) == {100_000: 1, 50_000: 1, 20_000: 1, 10_000: 1, 5_000: 1, 1000: 2,
                                     250: 2, 100: 1, 50: 1}  # fmt: skip
    assert choose(full, 5) == {5: 1}
    assert choose(full, 4) is None
    assert choose({}, 5) is None


def test_ten_thousand_billots_of_all_kinds():
    draw = random.Random(1)
    counts = dict.fromkeys(VALUES, 0)
    for _ in range(10_000):
        counts[draw.choice(VALUES)] += 1
    for _ in range(50):
        amount = draw.randrange(5, 10_000_000, 5)
        found = choose(counts, amount)
        assert sum(value * number for value, number in found.items()) == amount


def test_a_purse_of_one_kind():
    assert choose({5: 10_000}, 1250) == {5: 250}
    assert choose({5: 10}, 60) is None
    assert nearest({100_000: 3}, 350) == (None, 100_000)
    assert nearest({100_000: 3}, 350_000) == (300_000, None)
    assert nearest({}, 5) == (None, None)


def test_denominations_that_are_odd_are_followed_within_bounds(monkeypatch):
    counts = dict.fromkeys((9973, 9967, 9949, 9941, 9931, 9929, 7), 50)
    monkeypatch.setattr(purse, "AMOUNTS_MAX", 100)
    amount = 9973 * 3 + 9949 * 2 + 7
    found = choose(counts, amount)
    assert sum(value * number for value, number in found.items()) == amount


@pytest.mark.parametrize("amount", [10**12, 2**60])
def test_amounts_beyond_all_bounds(amount):
    assert choose({100_000: 5}, amount) is None
    assert nearest({1: 1}, amount) in ((1, None), (None, None))
