import pytest

import billots
from billots import Billot, Billots, MemoryStore
from billots.errors import BillotIdError
from billots.mock import mock_key
from billots.network import Network

USER1, USER2, MINT = mock_key("user1"), mock_key("user2"), mock_key("mint")
TEST = Network.shipped("test")


def test_a_list_of_ids_sorted_and_each_once():
    listed = Billots(["k-2", "a-10", "a-9"])
    assert not listed.add_billot("a-9")
    assert listed.add_billot("b-1")
    assert listed.get_billots() == list(listed) == ["a-9", "a-10", "b-1", "k-2"]
    assert listed.billot_exists("b-1")
    assert listed.remove_billot("b-1")
    assert not listed.remove_billot("b-1")
    assert not listed.billot_exists("b-1")
    assert len(listed) == 3


def test_attack_totals_are_exact_where_floats_are_not():
    listed = Billots([f"k-{number}" for number in range(1, 11)])
    assert (listed.value(), listed.mils()) == ("0.05", 50)
    assert Billots().value() == "0"


def test_only_ids_of_the_network():
    with pytest.raises(BillotIdError):
        Billots(["a-1", "a-0"])


def test_what_an_owner_has_by_a_store():
    store = MemoryStore(TEST)
    assert list(Billots.of_owner(store, USER1.owner)) == ["a-1", "b-1", "c-1"]
    billot = Billot("a-1", store)
    billot.change_owner(USER2.owner, USER1)
    billot.save()
    assert list(Billots.of_owner(store, USER1.owner)) == ["b-1", "c-1"]
    assert list(Billots.of_owner(store, USER2.owner)) == ["a-1", "d-1", "e-1", "f-1"]


def test_what_an_owner_has_may_be_more_than_a_page():
    store = MemoryStore(TEST)
    for number in range(2, 1010):
        billot = Billot(f"k-{number}", store)
        billot.change_owner(USER1.owner, MINT)
        billot.save()
    owned = Billots.of_owner(store, USER1.owner)
    assert len(owned) == 1008 + 3
    assert owned.value() == "175.04"


def test_the_top_level_offers_what_it_says_and_nothing_opens():
    for name in billots.__all__:
        assert getattr(billots, name) is not None
    assert set(billots.__all__) <= set(dir(billots))
    with pytest.raises(AttributeError, match="has no attribute 'live'"):
        billots.live  # noqa: B018 - asking is the test
