"""Which notes to change: held against what every exchange would be."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billots.change_plan import plan_change
from billots.purse import choose

VALUES = (1000, 500, 100, 50, 10, 5)
purses = st.dictionaries(st.sampled_from(VALUES), st.integers(1, 4), max_size=5)


def worth(counts):
    return sum(value * count for value, count in counts.items())


def after(purse, give, get):
    left = Counter(purse)
    left.subtract(give)
    assert min(left.values(), default=0) >= 0, "only what there is can be given"
    return left + Counter(get)


@settings(max_examples=300, deadline=None)
@given(purses, purses, st.integers(1, 600).map(lambda n: 5 * n), st.sampled_from([0, 5, 50]))
def test_after_an_exchange_the_amount_is_payable_and_nothing_is_lost(purse, offered, mils, fee):
    plan = plan_change(purse, offered, mils, fee)
    if plan is None:
        return
    give, get = plan
    assert worth(give) == worth(get) + fee
    assert not Counter(get) - Counter(offered), "only what is offered can be got"
    assert choose(after(purse, give, get), mils) is not None


@settings(max_examples=200, deadline=None)
@given(purses, st.integers(1, 600).map(lambda n: 5 * n))
def test_who_has_enough_is_helped_by_a_full_till(purse, mils):
    full = dict.fromkeys(VALUES, 400)
    if choose(purse, mils) is None and worth(purse) >= mils:
        assert plan_change(purse, full, mils) is not None


def test_one_note_is_given_and_the_smallest_that_does():
    till = {100: 10, 50: 10, 10: 20, 5: 20}
    give, get = plan_change({1000: 1, 500: 1, 100: 1}, till, 150)
    assert give == {500: 1}
    assert worth(get) == 500
    give, get = plan_change({100: 1, 50: 3}, {10: 20, 5: 20}, 135)
    assert give == {50: 1}, "35 of it, the 100 stays"
    assert worth(get) == 50


@pytest.mark.parametrize(
    ("purse", "offered", "mils", "fee"),
    [
        ({}, {5: 1}, 5, 0),
        ({100: 1}, {}, 5, 0),
        ({100: 1}, {100: 1}, 5, 0),
        ({100: 1}, {5: 20}, 105, 0),
        ({100: 1}, {5: 19}, 5, 0),
        ({100: 1}, {5: 20}, 100, 5),
        ({100_000: 1}, {5: 20_000}, 5, 0),
    ],
)
def test_what_no_exchange_makes(purse, offered, mils, fee):
    assert plan_change(purse, offered, mils, fee) is None
