"""Who is trusted, and by which key."""

import pytest

from billots.host import Host
from billots.node.trust import Trust

OWN, ONE, TWO = "0" * 64, "1" * 64, "2" * 64


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
