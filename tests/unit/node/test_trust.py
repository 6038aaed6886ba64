"""Who is trusted, and by which key."""

import pytest

from billots.host import Host
from billots.node.trust import Trust

OWN, ONE, TWO, THREE = "0" * 64, "1" * 64, "2" * 64, "3" * 64


def hosts(*keys):
    return [Host("server.example", 7000 + at, key) for at, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("others", "q", "f"), [(0, 1, 0), (1, 2, 0), (2, 2, 0), (3, 3, 1), (6, 5, 2), (16, 12, 5)]
)
def test_the_quorum_counts_ourselves(others, q, f):
    trust = Trust(hosts(*[None] * others), OWN)
    assert (trust.n, trust.quorum, trust.liars_max) == (others + 1, q, f)
    assert trust.keys == frozenset()


def test_pinned_keys_count_at_once():
    trust = Trust(hosts(ONE, None, TWO), OWN)
    assert trust.keys == {ONE, TWO}


def test_our_own_entry_is_dropped():
    assert Trust(hosts(OWN, ONE), OWN).n == 2
    trust = Trust(hosts(None, ONE), OWN)
    assert trust.n == 3
    assert trust.learn(0, OWN) is None
    assert (trust.n, trust.entries[0].own, trust.keys) == (2, True, {ONE})


def test_entries_with_one_key_count_once():
    trust = Trust(hosts(None, None, TWO), OWN)
    trust.learn(0, ONE)
    assert trust.n == 4
    trust.learn(1, ONE)
    assert (trust.n, trust.quorum, trust.keys) == (3, 2, {ONE, TWO})


def test_a_changed_key_is_told_unless_another_entry_has_it():
    trust = Trust(hosts(None, None), OWN)
    assert trust.learn(0, ONE) is None
    assert trust.learn(0, ONE) is None
    trust.learn(1, ONE)
    assert trust.learn(0, TWO) is None
    assert trust.learn(1, TWO) == ONE
    assert trust.keys == {TWO}


@pytest.mark.parametrize(("others", "claims"), [(0, 2), (1, 2), (3, 2), (5, 2), (6, 3), (9, 4)])
def test_settled_claims_that_are_as_good_as_a_quorum(others, claims):
    assert Trust(hosts(*[None] * others), OWN).claims_needed == claims


def test_those_who_count_in_a_receipt_are_the_others_and_ourselves():
    electorate = Trust(hosts(ONE, None, TWO), OWN).electorate
    assert electorate.entries.keys() == {OWN, ONE, TWO}
    assert (electorate.n, electorate.own, electorate.retired) == (4, OWN, {})


def test_our_own_entry_is_one_with_ourselves_in_a_receipt():
    electorate = Trust(hosts(OWN, ONE), OWN).electorate
    assert (electorate.n, electorate.entries.keys()) == (2, {OWN, ONE})
    assert electorate.count([OWN, ONE]) == 2


def test_a_key_that_was_replaced_is_retired():
    trust = Trust(hosts(None, TWO, None), OWN)
    trust.learn(0, ONE)
    trust.learn(0, THREE)
    assert trust.electorate.retired == {ONE: "server.example:7000"}
    assert trust.electorate.count([ONE, THREE]) == 1, "one entry counts once"
    assert trust.electorate.count([ONE, TWO]) == 2


def test_a_retired_key_that_comes_back_counts_as_the_present_one_it_is():
    trust = Trust(hosts(None, None, None), OWN)
    trust.learn(0, ONE)
    trust.learn(0, TWO)
    trust.learn(1, ONE)
    assert trust.electorate.retired == {}
    assert trust.keys == {ONE, TWO}
    assert trust.electorate.count([ONE, TWO]) == 2


def test_keys_that_are_known_to_be_retired_from_before_the_start():
    trust = Trust(hosts(ONE, TWO, None), OWN)
    trust.retire("server.example:7002", THREE)
    assert trust.electorate.retired == {THREE: "server.example:7002"}
    assert THREE not in trust.keys
    assert trust.electorate.count([ONE, THREE]) == 2, "as one of the f"


def test_attack_retired_keys_count_for_nothing_below_four():
    trust = Trust(hosts(ONE, None), OWN)
    trust.retire("server.example:7001", THREE)
    assert trust.electorate.count([ONE, THREE]) == 1


def test_entries_of_one_key_count_once_in_a_receipt():
    trust = Trust(hosts(None, None, TWO), OWN)
    trust.learn(0, ONE)
    trust.learn(1, ONE)
    assert trust.electorate.n == 3
    assert trust.electorate.count([ONE]) == 1
