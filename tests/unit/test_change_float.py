"""The notes of a change server, and who has them reserved."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from billots.change_float import Float
from billots.change_tokens import Tokens


def notes(**counts):
    return Float({f"{p}-{n}": 3 for p, count in counts.items() for n in range(1, count + 1)})


def test_reserved_notes_are_nobody_elses():
    there = notes(a=4, b=1)
    assert there.offered("x") == {"a-": 2, "b-": 1}
    rows = there.reserve("one", "x", [("a-", 2), ("b-", 1)])
    assert rows == (("a-1", 4), ("a-2", 4), ("b-1", 4))
    assert there.offered("x") == {}
    assert there.offered("y") == {"a-": 2}
    assert there.reserve("two", "y", [("b-", 1)]) is None
    assert there.reserve("two", "y", [("a-", 2)]) == (("a-3", 4), ("a-4", 4))
    there.release("one")
    assert there.offered("x") == {"a-": 2, "b-": 1}


def test_attack_one_address_never_has_more_than_half_of_a_denomination():
    there = notes(a=5)
    assert there.reserve("one", "x", [("a-", 4)]) is None
    assert there.reserve("one", "x", [("a-", 2)])
    assert there.reserve("two", "x", [("a-", 1)])
    assert there.reserve("three", "x", [("a-", 1)]) is None
    assert there.offered("y") == {"a-": 2}


def test_what_is_spent_is_gone_and_what_moved_is_not_claimed():
    there = notes(a=3)
    rows = there.reserve("one", "x", [("a-", 1)])
    assert there.claim("one", rows)
    there.rename("one", "quote")
    assert there.claim("quote", rows)
    assert not there.claim("other", rows)
    there.spend("quote")
    assert "a-1" not in there.notes
    assert not there.claim("quote", rows)
    assert there.claim("late", (("a-2", 4),))
    assert not there.claim("late too", (("a-3", 5),)), "it is at another seq"
    there.release("late")
    there.release("late")


class Reservations(RuleBasedStateMachine):
    """Whatever happens, no note is held twice, and what is free can be had."""

    def __init__(self):
        super().__init__()
        self.there = notes(a=6, b=3)
        self.held = {}
        self.names = iter(range(10_000))

    @rule(address=st.sampled_from("xyz"), prefix=st.sampled_from(["a-", "b-"]), n=st.integers(1, 4))
    def reserve(self, address, prefix, n):
        name = str(next(self.names))
        could = self.there.offered(address).get(prefix, 0)
        rows = self.there.reserve(name, address, [(prefix, n)])
        assert (rows is not None) == (n <= could)
        if rows is not None:
            self.held[name] = rows

    @rule(data=st.data())
    def end(self, data):
        if self.held:
            name = data.draw(st.sampled_from(sorted(self.held)))
            rows = self.held.pop(name)
            if data.draw(st.booleans()):
                assert self.there.claim(name, rows)
                self.there.spend(name)
                self.there.notes.update({f"{b[0]}-{next(self.names) + 10}": 1 for b, _ in rows})
            else:
                self.there.release(name)

    @invariant()
    def nothing_is_held_twice(self):
        ids = [billot for rows in self.held.values() for billot, _ in rows]
        assert len(ids) == len(set(ids))
        assert set(ids) == self.there._taken


Reservations.TestCase.settings = settings(max_examples=50, deadline=None)
test_reservations = Reservations.TestCase


@pytest.mark.parametrize("most", [1, 3])
def test_tokens_come_back_after_a_time_or_at_once(most):
    tokens = Tokens(most, 10.0, 2)
    for second in range(most):
        assert tokens.take("x", float(second))
    assert not tokens.take("x", 9.0)
    assert tokens.take("y", 9.0), "others have their own"
    assert tokens.take("x", 10.0), "the first has come back"
    tokens.give_back("x")
    assert tokens.take("x", 10.0)
    tokens.give_back("nobody")


def test_attack_addresses_without_end_take_no_memory():
    tokens = Tokens(1, 10.0, 3)
    assert [tokens.take(str(n), 0.0) for n in range(5)] == [True, True, True, False, False]
    assert len(tokens._used) == 3
    assert tokens.take("later", 11.0)
    assert len(tokens._used) == 1
