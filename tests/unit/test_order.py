"""Orders, and what a journal makes of them."""

import json

import pytest

from billots.crypto import PrivateKey
from billots.errors import AlreadySigned, JournalError
from billots.journal import Journal
from billots.network import Network
from billots.order import Order
from billots.transfer import Transfer

TEST = Network.shipped("test")
MINT, BOB, CAROL = (PrivateKey(bytes([n]) * 32) for n in (1, 2, 3))
KEYS = ("a" * 64, "b" * 64)


def order(*runs, to=BOB, servers=()):
    return Order(TEST.id, to.owner, "amount 1", runs, servers)


def opened(tmp_path):
    return Journal.open(MINT.owner, tmp_path)


def test_it_is_carried_out_256_at_a_time_in_order():
    whole = order(("a-", 5, 7), ("k-", 1, 600))
    parts = list(whole.parts())
    assert [len(part) for part in parts] == [256, 256, 91]
    assert parts[0][:4] == ["a-5", "a-6", "a-7", "k-1"]
    assert parts[-1][-1] == "k-600"
    assert whole.count == 603
    assert [whole.has(b) for b in ("a-4", "a-5", "a-7", "a-8", "k-600", "k-601", "b-1")] == [
        *(False, True, True, False, True, False, False)
    ]


def test_an_order_is_read_again_and_done_with_once_it_was_told(tmp_path):
    first, second = order(("a-", 1, 3)), order(("a-", 4, 5), to=CAROL)
    with opened(tmp_path) as journal:
        journal.order(first)
        journal.order(second)
        journal.issued(first.id)
        journal.issued(first.id)
    with opened(tmp_path) as journal:
        assert journal.orders(TEST.id) == [first, second]
        assert journal.orders(TEST.id, unfinished=True) == [second]
        assert journal.orders("0" * 32) == []
        assert journal.first_moves(TEST.id) == [("a-", 1, 5)]
    (path,) = tmp_path.iterdir()
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds == ["journal", "ordered", "ordered", "issued"]


def test_attack_no_billot_is_issued_twice_or_signed_over_beside_an_order(tmp_path):
    with opened(tmp_path) as journal:
        journal.order(order(("a-", 1, 3)))
        for runs in [("a-", 3, 9)], [("a-", 1, 1)], [("a-", 2, 2), ("b-", 1, 1)]:
            with pytest.raises(AlreadySigned, match=r"another owner: of a-1\.\.3 to"):
                journal.order(order(*runs, to=CAROL))
        with pytest.raises(AlreadySigned):
            journal.sign(Transfer.sign(TEST, MINT, CAROL.owner, [("a-2", 1)]))
        journal.sign(Transfer.sign(TEST, MINT, BOB.owner, [("a-2", 1)]))  # to the same: no harm
        journal.sign(Transfer.sign(TEST, MINT, CAROL.owner, [("a-2", 3)]))  # it came back


def test_attack_no_order_for_what_is_signed_over(tmp_path):
    with opened(tmp_path) as journal:
        journal.sign(Transfer.sign(TEST, MINT, CAROL.owner, [("a-2", 1), ("b-1", 4)]))
        with pytest.raises(AlreadySigned):
            journal.order(order(("a-", 1, 3)))
        journal.order(order(("b-", 1, 1)))


def test_an_order_is_dropped_only_when_all_its_servers_are_gone(tmp_path):
    with opened(tmp_path) as journal:
        whole = order(("a-", 1, 3), servers=KEYS)
        journal.order(whole)
        assert not journal.drop(whole, [])
        assert not journal.drop(whole, [KEYS[1], "c" * 64])
        assert journal.drop(whole, ["c" * 64])
        assert journal.orders(TEST.id) == []
    with opened(tmp_path) as journal:
        assert journal.first_moves(TEST.id) == []


def test_a_journal_with_an_end_before_its_order_is_damaged(tmp_path):
    with opened(tmp_path) as journal:
        path = journal.path
    with path.open("a") as file:
        file.write(json.dumps({"kind": "issued", "order_id": "0" * 64}) + "\n")
    with pytest.raises(JournalError, match="damaged in line 2"):
        opened(tmp_path)
