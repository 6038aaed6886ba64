"""Transfers (DESIGN, section 4)."""

import hashlib
import json

import msgspec
import pytest

from billots.crypto import PrivateKey, verify
from billots.errors import BillotIdError, InputError, OwnerIdError
from billots.network import Network
from billots.transfer import SEQ_MAX, Transfer, conflict

ALICE, BOB, CAROL = (PrivateKey(bytes([n]) * 32) for n in (1, 2, 3))
TEST = Network.shipped("test")
FORK = Network.from_fields(
    {"name": "fork", "denominations": [{"prefix": "a-", "value": "100", "circulation": 10_000}]}
)
ROWS = [("b-7", 2), ("a-1", 5)]
TRANSFER = Transfer.sign(TEST, ALICE, BOB.owner, ROWS)
SIGNED = (
    "billots transfer 1\n"
    f"network {TEST.id}\n"
    f"to {BOB.owner}\n"
    "a-1 5\n"
    "b-7 2\n"
)  # fmt: skip


def wire(**changes):
    """The transfer as JSON, with some fields changed."""
    return json.dumps({**json.loads(msgspec.json.encode(TRANSFER)), **changes}).encode()


def read(text):
    return msgspec.json.decode(text, type=Transfer)


# Signing


def test_a_transfer_signs_its_lines_with_rows_in_order():
    assert TRANSFER.signing_bytes == SIGNED.encode()
    assert TRANSFER.billots == (("a-1", 5), ("b-7", 2))
    assert verify(ALICE.public_key, SIGNED.encode(), bytes.fromhex(TRANSFER.signature))
    assert TRANSFER.verify()
    assert TRANSFER.sender == ALICE.owner


def test_a_transfer_id_is_a_hash_of_key_and_signing_bytes():
    assert TRANSFER.id == hashlib.sha256(ALICE.public_key + SIGNED.encode()).hexdigest()


def test_rows_sort_by_number_not_as_text():
    rows = [("b-1", 1), ("a-10", 1), ("a-9", 1)]
    assert [b for b, _ in Transfer.sign(TEST, ALICE, BOB.owner, rows).billots] == [
        "a-9",
        "a-10",
        "b-1",
    ]


def test_rows_may_be_lists_or_come_from_an_iterator():
    assert Transfer.sign(TEST, ALICE, BOB.owner, iter([list(row) for row in ROWS])) == TRANSFER
    assert hash(TRANSFER.billots)


def test_an_owner_may_move_billots_to_himself():
    assert Transfer.sign(TEST, ALICE, ALICE.owner, ROWS).verify()


@pytest.mark.parametrize("count", [1, 2, 256])
def test_one_signature_moves_up_to_256_billots(count):
    rows = [(f"a-{number}", number) for number in range(1, count + 1)]
    transfer = Transfer.sign(TEST, ALICE, BOB.owner, rows)
    assert read(msgspec.json.encode(transfer)) == transfer
    transfer.check(TEST)


@pytest.mark.parametrize("count", [0, 257, 1000])
def test_no_rows_or_257_are_refused(count):
    rows = [(f"a-{number}", 1) for number in range(1, count + 1)]
    with pytest.raises(InputError, match=f"1 to 256 billots, not {count}"):
        Transfer.sign(TEST, ALICE, BOB.owner, rows)
    with pytest.raises(msgspec.ValidationError, match=r"length .* - at `\$.billots`"):
        read(wire(billots=rows))


@pytest.mark.parametrize("second", [1, 2])
def test_a_billot_named_twice_is_refused(second):
    with pytest.raises(InputError, match="a billot is named twice"):
        Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", 1), ("a-1", second)])


@pytest.mark.parametrize("seq", [0, -1, SEQ_MAX + 1, 2**64, True, 1.0, 1.5, "1", None])
def test_a_new_seq_is_a_whole_number_in_range(seq):
    with pytest.raises(InputError, match="a new seq is a whole number from 1 to"):
        Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", seq)])


def test_the_highest_seq_can_be_signed_and_read():
    transfer = Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", SEQ_MAX)])
    assert read(msgspec.json.encode(transfer)).billots == (("a-1", 2**53 - 1),)


@pytest.mark.parametrize("billot", ["a-0", "a-01", "A-1", "a-１", "a-1\n", "a-10001", "x-1", ""])
def test_only_billots_of_the_network_are_signed_for(billot):
    with pytest.raises(BillotIdError):
        Transfer.sign(TEST, ALICE, BOB.owner, [(billot, 1)])


@pytest.mark.parametrize("to", ["", "5", BOB.owner.upper(), BOB.owner + "\n", BOB.public_hex])
def test_attack_of_2017_money_to_nobody(to):
    with pytest.raises(OwnerIdError):
        Transfer.sign(TEST, ALICE, to, ROWS)
    with pytest.raises(msgspec.ValidationError):
        read(wire(to=to))


# Reading


def test_a_transfer_is_read_as_it_was_written():
    again = read(msgspec.json.encode(TRANSFER))
    assert again == TRANSFER
    assert again.id == TRANSFER.id
    assert again.verify()
    assert json.loads(msgspec.json.encode(TRANSFER)) == {
        "network": TEST.id,
        "to": BOB.owner,
        "billots": [["a-1", 5], ["b-7", 2]],
        "public_key": ALICE.public_hex,
        "signature": TRANSFER.signature,
    }


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("network", ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "0" * 32 + "\n", 5, None]),
        ("to", ["", "0" * 127, "0" * 129, "A" * 128, "0" * 128 + "\n", "０" * 128, 5, None, []]),
        ("public_key", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", 5, None]),
        ("signature", ["", "0" * 127, "0" * 129, "A" * 128, "0" * 128 + "\n", 5, None]),
        ("billots", [None, {}, "a-1", [["a-1"]], [["a-1", 1, 1]], [{"a-1": 1}], [None], ["a-1"]]),
    ],
)
def test_fields_of_another_shape_are_refused(field, values):
    for value in values:
        with pytest.raises(msgspec.ValidationError):
            read(wire(**{field: value}))
    without = json.loads(wire())
    del without[field]
    with pytest.raises(msgspec.ValidationError):
        read(json.dumps(without))


@pytest.mark.parametrize(
    "seq",
    [b"5.0", b"5e0", b"1.5", b"1e999", b"-1", b"0", b"-0", b"true", b"false", b'"5"', b"null",
     b"9007199254740992", b"18446744073709551616", b"9" * 5000, b"[]", b"{}"],
)  # fmt: skip
def test_attack_a_seq_that_is_no_integer_in_range(seq):
    with pytest.raises(msgspec.ValidationError):
        read(wire().replace(b'["a-1", 5]', b'["a-1", ' + seq + b"]"))


@pytest.mark.parametrize("seq", [b"NaN", b"Infinity", b"05", b"+5", b"0x5", b"5_0", b"5."])
def test_attack_a_seq_that_is_no_json(seq):
    with pytest.raises(msgspec.DecodeError):
        read(wire().replace(b'["a-1", 5]', b'["a-1", ' + seq + b"]"))


@pytest.mark.parametrize(
    "billot",
    ["", "a-0", "a-01", "A-1", "a-１", "a-1\n", "a-1 ", " a-1", "a-1\u2028", "aaaa-1", "a-",
     "a-" + "9" * 19],
)  # fmt: skip
def test_attack_unicode_digits_and_line_ends_in_a_row(billot):
    """The decoder leaves ids to `check`, which tells them apart from wrong shapes."""
    with pytest.raises(BillotIdError):
        read(wire(billots=[[billot, 5]])).check(TEST)


@pytest.mark.parametrize("billot", [5, 5.0, None, True, ["a-1"], {"a-1": 1}])
def test_a_billot_id_is_text(billot):
    with pytest.raises(msgspec.ValidationError):
        read(wire(billots=[[billot, 5]]))


def test_attack_two_rows_dressed_up_as_one():
    """Signature and transfer id are those of the honest transfer: only `check` knows better."""
    dressed = read(wire(billots=[["a-1 5\nb-7", 2]]))
    assert dressed.id == TRANSFER.id
    with pytest.raises(BillotIdError):
        dressed.check(TEST)


def test_attack_a_newline_in_a_field_would_forge_lines_of_the_signing_bytes():
    """A dollar in a pattern would match before a last LF."""
    to, line = BOB.owner, "\na-2 1"
    for forged in ({"to": to + line}, {"network": TEST.id + line}, {"to": to + "\n"}):
        with pytest.raises(msgspec.ValidationError):
            read(wire(**forged))


def test_unknown_fields_are_dropped_and_of_a_doubled_one_the_last_counts():
    doubled = f'{{"to": "{CAROL.owner}", "network"'.encode()
    text = wire(note="hello").replace(b'{"network"', doubled)
    assert read(text) == TRANSFER
    assert msgspec.json.encode(read(text)) == msgspec.json.encode(TRANSFER)


def test_attack_of_2017_an_extra_field_makes_no_new_transfer():
    assert read(wire(extra=1)).id == TRANSFER.id


def test_attack_not_utf8_or_utf16_or_a_lone_surrogate():
    with pytest.raises(msgspec.DecodeError):
        read(wire().decode().encode("utf-16"))
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        read(wire().replace(b"a-1", b"a-1\xff"))
    with pytest.raises(msgspec.DecodeError):
        read(wire().replace(b"a-1", rb"\ud800"))


# What needs a network


def test_a_sound_transfer_passes():
    TRANSFER.check(TEST)


@pytest.mark.parametrize(
    "rows",
    [
        [["b-7", 2], ["a-1", 5]],
        [["a-10", 1], ["a-9", 1]],
        [["a-1", 1], ["a-1", 2]],
        [["a-1", 1], ["a-1", 1]],
        [["a-1", 1], ["b-1", 1], ["a-1", 2]],
    ],
)
def test_rows_out_of_order_or_doubled(rows):
    with pytest.raises(InputError, match="out of order or named twice"):
        read(wire(billots=rows)).check(TEST)


@pytest.mark.parametrize("billot", ["a-10001", "z-1", "k-50000001"])
def test_billots_that_do_not_circulate(billot):
    with pytest.raises(BillotIdError):
        read(wire(billots=[[billot, 1]])).check(TEST)


# Signatures


@pytest.mark.parametrize(
    "changed",
    [
        {"network": FORK.id},
        {"to": CAROL.owner},
        {"billots": [["a-1", 6], ["b-7", 2]]},
        {"billots": [["a-2", 5], ["b-7", 2]]},
        {"billots": [["a-1", 5]]},
        {"billots": [["a-1", 5], ["b-7", 2], ["b-8", 1]]},
        {"billots": [["b-7", 2], ["a-1", 5]]},
        {"public_key": BOB.public_hex},
        {"public_key": "0" * 64},
        {"signature": "0" * 128},
        {"signature": TRANSFER.signature[64:] + TRANSFER.signature[:64]},
    ],
)
def test_attack_a_changed_transfer_does_not_verify(changed):
    assert not read(wire(**changed)).verify()


def test_attack_replay_on_another_network():
    there = Transfer.sign(FORK, ALICE, BOB.owner, [("a-1", 1)])
    here = Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", 1)])
    assert there.id != here.id
    replayed = msgspec.structs.replace(there, network=TEST.id)
    assert not replayed.verify()


def test_attack_replay_of_a_transfer_after_the_billot_came_back():
    """2017 signed only the id and the owner: A to B, B to A, and the first again."""
    first = Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", 1)])
    later = msgspec.structs.replace(first, billots=(("a-1", 3),))
    assert not later.verify()
    assert later.id != first.id


def test_attack_the_signature_has_no_part_in_the_transfer_id():
    varied = msgspec.structs.replace(TRANSFER, signature="0" * 128)
    assert varied.id == TRANSFER.id
    assert not varied.verify()


def test_the_verifier_is_handed_in():
    asked = []
    assert TRANSFER.verify(lambda *arguments: asked.append(arguments) is None)
    assert asked == [TRANSFER.check_arguments]
    assert TRANSFER.check_arguments == (
        ALICE.public_key,
        SIGNED.encode(),
        bytes.fromhex(TRANSFER.signature),
    )


# Conflicts


def signed(key, to, rows, network=TEST):
    return Transfer.sign(network, key, to.owner, rows)


def test_two_owners_for_one_billot_and_seq_are_a_conflict():
    first = signed(ALICE, BOB, [("a-1", 1), ("a-10", 2), ("a-9", 2), ("b-1", 1)])
    second = signed(ALICE, CAROL, [("a-1", 2), ("a-9", 2), ("a-10", 2), ("c-1", 1)])
    assert conflict(first, second) == conflict(second, first) == [("a-9", 2), ("a-10", 2)]


@pytest.mark.parametrize(
    "second",
    [
        signed(ALICE, BOB, [("a-1", 1), ("a-2", 1)]),
        signed(ALICE, CAROL, [("a-1", 2)]),
        signed(ALICE, CAROL, [("a-2", 1)]),
    ],
    ids=["same owner", "another seq", "another billot"],
)
def test_what_is_no_conflict(second):
    assert conflict(signed(ALICE, BOB, [("a-1", 1)]), second) == []


def test_attack_framed_by_a_transfer_that_somebody_else_signed():
    assert conflict(signed(ALICE, BOB, [("a-1", 1)]), signed(CAROL, ALICE, [("a-1", 1)])) == []


def test_attack_framed_by_a_transfer_on_another_network():
    here, there = (signed(ALICE, to, [("a-1", 1)], n) for to, n in ((BOB, TEST), (CAROL, FORK)))
    assert here.verify()
    assert there.verify()
    assert conflict(here, there) == []
