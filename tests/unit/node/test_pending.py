"""Transfers that wait."""

import pytest

from billots.node.pending import Pending

ROW, OTHER = ("a-1", 2), ("a-2", 5)


@pytest.fixture
def pending():
    return Pending(100)


def add(pending, item, *rows, conn=1, conn_max=10, until=5.0):
    return pending.add(item, rows or (ROW,), until, conn=conn, conn_max=conn_max)


def test_woken_by_any_of_its_billots_once(pending):
    add(pending, "x", ROW, OTHER)
    assert pending.wake("a-9") == []
    assert pending.wake("a-2") == ["x"]
    assert pending.wake("a-1") == []
    assert len(pending) == 0


def test_the_time_is_up_in_order(pending):
    add(pending, "late", OTHER, until=7)
    add(pending, "soon", ROW, until=5)
    assert pending.next_at == 5
    assert pending.expired(4.9) == []
    assert pending.expired(5) == ["soon"]
    assert pending.next_at == 7
    assert pending.expired(99) == ["late"]
    assert pending.next_at is None


def test_what_was_woken_does_not_expire(pending):
    add(pending, "x", until=5)
    add(pending, "y", OTHER, until=6)
    pending.wake("a-1")
    assert pending.next_at == 6
    pending.wake("a-2")
    assert pending.expired(99) == []


def test_bounded_in_all():
    pending = Pending(2)
    assert [add(pending, n, (f"a-{n}", 1), conn=n) for n in (1, 2, 3)] == [True, True, False]
    pending.wake("a-1")
    assert add(pending, 4, ("a-4", 1))


def test_bounded_per_connection(pending):
    assert [add(pending, n, (f"a-{n}", 1), conn_max=2) for n in (1, 2, 3)] == [True, True, False]
    assert add(pending, 3, ("a-3", 1), conn=2, conn_max=2)
    pending.wake("a-1")
    assert add(pending, 5, ("a-5", 1), conn_max=2)


def test_one_wallets_transfer_per_id_and_seq(pending):
    assert add(pending, "x", ROW, OTHER)
    assert not add(pending, "y", ROW, conn=2)
    assert not add(pending, "y", OTHER)
    assert add(pending, "z", ("a-1", 3))
    pending.wake("a-2")
    assert add(pending, "y", ROW, conn=2)


def test_a_wallets_ends_with_its_connection(pending):
    add(pending, "wallet")
    add(pending, "other", OTHER, conn=2)
    pending.closed(1)
    pending.closed(77)
    assert pending.wake("a-1") == []
    assert pending.wake("a-2") == ["other"]
    assert add(pending, "again")
