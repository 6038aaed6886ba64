import pytest

from billots import Billot, MemoryStore
from billots.errors import BillotIdError, InputError
from billots.holding import Status
from billots.mock import mock_key
from billots.network import Network
from billots.store import Batch

USER1, USER2 = mock_key("user1"), mock_key("user2")
TEST = Network.shipped("test")


def test_without_arguments_it_is_a_1_of_the_test_network():
    billot = Billot()
    assert (billot.id, billot.value(), billot.mils()) == ("a-1", "100", 100_000)
    assert (billot.owner, billot.seq) == (USER1.owner, 0)


def test_a_change_of_owner_is_in_the_store_once_it_is_saved():
    store = MemoryStore(TEST)
    billot = Billot("a-1", store).load()
    transfer = billot.change_owner(USER2.owner, USER1)
    assert transfer.verify()
    assert Billot("a-1", store).owner == USER1.owner
    billot.save()
    assert (billot.owner, billot.seq) == (USER2.owner, 1)
    again = Billot("a-1", store)
    assert (again.owner, again.seq) == (USER2.owner, 1)
    again.change_owner(USER1.owner, USER2)
    again.save()
    assert (again.owner, again.seq) == (USER1.owner, 2)


def test_saving_nothing_writes_nothing():
    store = MemoryStore(TEST)
    Billot("a-1", store).load().save()
    assert store.last_lsn == 0


def test_only_its_owner_can_give_it():
    with pytest.raises(InputError, match="not this key's to give"):
        Billot("a-1").change_owner(USER2.owner, USER2)


def test_what_a_server_has_not_settled_shows_as_it_is():
    store = MemoryStore(TEST)
    billot = Billot("a-1", store)
    billot.change_owner(USER2.owner, USER1)
    billot.save()
    store.commit(Batch([], {1: {"a-1": Status.CONTESTED}}, {}, {}))
    loaded = billot.load()
    assert loaded.holding is not None
    assert loaded.holding.status is Status.CONTESTED


def test_an_unissued_billot_has_no_owner():
    with pytest.raises(BillotIdError, match="not issued in network main"):
        Billot("a-1", network=Network.shipped("main")).load()


@pytest.mark.parametrize("billot", ["a-0", "a-10001", "zz-1", "A-1"])
def test_an_id_that_is_none(billot):
    with pytest.raises(BillotIdError):
        Billot(billot)


def test_a_store_of_another_network():
    with pytest.raises(InputError, match="another network"):
        Billot("a-1", MemoryStore(Network.shipped("main")))
