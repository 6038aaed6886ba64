"""How a store lies on disk: keys sort as ids do, values come back as they were."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billots.crypto import PrivateKey
from billots.errors import StoreDamaged
from billots.holding import Status
from billots.network import Network, split_billot_id
from billots.store import records
from billots.transfer import SEQ_MAX, Transfer

NETWORK = Network.shipped("test")
KEY = PrivateKey(bytes(32))
PAYEE = PrivateKey(bytes([1]) * 32).owner
TRANSFER = Transfer.sign(NETWORK, KEY, PAYEE, [("a-1", 1), ("k-50000000", SEQ_MAX), ("b-256", 300)])

billots = st.builds(
    "{}-{}".format,
    st.text("abkz", min_size=1, max_size=3),
    st.one_of(st.integers(1, 70_000), st.integers(1, 10**18 - 1)),
)


@given(st.lists(billots))
def test_keys_sort_as_ids_do(ids):
    by_key = sorted(ids, key=records.billot_key)
    assert by_key == sorted(ids, key=split_billot_id)


@given(billots, st.binary(max_size=4), st.binary(max_size=4))
def test_a_billot_comes_back_from_its_key(billot, before, after):
    key = records.billot_key(billot)
    data = before + key + after
    assert records.read_billot(data, len(before)) == (billot, len(before) + len(key))


def test_the_layout_is_fixed():
    assert records.billot_key("a-1") == b"a-\x01\x01"
    assert records.billot_key("abc-65536") == b"abc-\x03\x01\x00\x00"
    assert records.entry_key(258) == b"f\0\0\0\0\0\0\x01\x02"
    assert records.head(1, 300) == b"\x01\xac\x02"
    assert records.pack_unsettled({"a-1": Status.CONTESTED}) == b"a-\x01\x01\x02"
    entry = records.pack_entry(TRANSFER, adopted=True, here=True)
    assert entry[0] == 3
    assert entry[1:33] == KEY.public_key
    assert entry[33:97].hex() == TRANSFER.signature
    assert entry[97:161].hex() == PAYEE
    assert entry[161:167] == b"\x03a-\x01\x01\x01"


@given(st.integers(0, 2**64))
def test_numbers_come_back(number):
    data = records.varint(number)
    assert records.read_varint(b"\xff" + data, 1) == (number, 1 + len(data))


@given(st.tuples(st.integers(1, SEQ_MAX), st.integers(1, 2**53)), st.integers(1, 2**53))
def test_a_head_begins_no_other(first, lsn):
    data = records.head(*first)
    assert records.read_head(data) == first
    assert records.read_head(data + b"12345678") == first
    other = records.head(first[0], lsn)
    assert other.startswith(data) == (lsn == first[1])


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize("here", [False, True])
def test_an_entry_comes_back(adopted, here):
    value = records.pack_entry(TRANSFER, adopted=adopted, here=here)
    read = records.read_entry(value, NETWORK.id)
    assert read == (TRANSFER, adopted, here)
    assert read[0].id == TRANSFER.id
    assert read[0].verify()
    assert records.entry_parties(value) == (KEY.owner, PAYEE)


def test_statuses_pairs_and_counts_come_back():
    statuses = {"a-1": Status.HELD, "b-7": Status.CONTESTED, "k-9": Status.DISPUTED}
    assert records.read_unsettled(records.pack_unsettled(statuses)) == statuses
    other = Transfer.sign(NETWORK, KEY, KEY.owner, [("a-1", 1)])
    assert records.read_pair(records.pack_pair(7, (TRANSFER, other)), NETWORK.id) == (
        TRANSFER,
        other,
    )
    assert records.read_evidence_seq(records.pack_pair(700, (TRANSFER, other))) == 700
    assert records.read_count(records.varint(200) + b"12345678") == (200, b"12345678")


def test_only_what_is_not_settled_is_marked():
    with pytest.raises(KeyError):
        records.pack_unsettled({"a-1": Status.SETTLED})


def test_a_value_cut_anywhere_is_damage():
    entry = records.pack_entry(TRANSFER, adopted=False, here=False)
    pair = records.pack_pair(7, (TRANSFER, TRANSFER))
    marks = records.pack_unsettled({"b-256": Status.HELD})
    short_count = records.varint(300) + b"1234567"
    for end in range(len(entry)):
        with pytest.raises(StoreDamaged):
            records.read_entry(entry[:end], NETWORK.id)
    for end in range(len(pair)):
        with pytest.raises(StoreDamaged):
            records.read_pair(pair[:end], NETWORK.id)
    for end in range(1, len(marks)):
        with pytest.raises(StoreDamaged):
            records.read_unsettled(marks[:end])
    for value in (b"", b"\x80", b"\x01", b"\x01\x01tail"):
        with pytest.raises(StoreDamaged):
            records.read_head(value)
    with pytest.raises(StoreDamaged):
        records.read_count(short_count)
    with pytest.raises(StoreDamaged):
        records.entry_parties(entry[:161])
    with pytest.raises(StoreDamaged):
        records.read_entry(entry + b"\0", NETWORK.id)
    with pytest.raises(StoreDamaged):
        records.read_pair(pair + b"\0", NETWORK.id)


@given(st.binary(max_size=300))
def test_nonsense_is_damage_or_a_value_but_never_another_error(data):
    for read in (
        records.read_head,
        records.read_count,
        records.read_unsettled,
        records.entry_parties,
        lambda value: records.read_entry(value, NETWORK.id),
        lambda value: records.read_pair(value, NETWORK.id),
    ):
        with contextlib.suppress(StoreDamaged):
            read(data)
