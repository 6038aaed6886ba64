"""Feed batches (DESIGN, section 6)."""

import msgspec
import pytest

from billots.crypto import PrivateKey
from billots.errors import InputError
from billots.feed import AdoptedRow, FeedBatch, TransferRow, feed_bytes, parse_row, root_of
from billots.merkle import audit_path, root_from_path
from billots.network import Network
from billots.transfer import SEQ_MAX, Transfer

ALICE, BOB, SERVER, LIAR = (PrivateKey(bytes([n]) * 32) for n in (1, 2, 9, 10))
TEST = Network.shipped("test")
TRANSFER = Transfer.sign(TEST, ALICE, BOB.owner, [("a-1", 1), ("c-1", 1)])
ID = TRANSFER.id
ROWS = [
    TransferRow(1, ID),
    TransferRow(2, ID, ("a-1", "c-1")),
    AdoptedRow(9, "a-1", 5, ALICE.owner, BOB.owner),
]
TEXTS = (f"1 {ID}", f"2 {ID} a-1 c-1", f"9 adopted a-1 5 {ALICE.owner} {BOB.owner}")
BATCH = FeedBatch.sign(TEST.id, SERVER, ROWS, [TRANSFER])


def replaced(**changes):
    return msgspec.structs.replace(BATCH, **changes)


@pytest.mark.parametrize(("row", "text"), list(zip(ROWS, TEXTS, strict=True)))
def test_a_row_is_written_and_read(row, text):
    assert row.text == text
    assert parse_row(text) == row


def test_rows_named_in_order_of_prefix_and_number():
    assert parse_row(f"1 {ID} a-9 a-10 b-1").billots == ("a-9", "a-10", "b-1")


@pytest.mark.parametrize("text", [f"1 {ID} a-10 a-9", f"1 {ID} b-1 a-1", f"1 {ID} a-1 a-1"])
def test_rows_named_out_of_order_or_twice(text):
    with pytest.raises(InputError, match="out of order"):
        parse_row(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", f"0 {ID}", f"01 {ID}", f"-1 {ID}", f"１ {ID}", f" 1 {ID}", f"1  {ID}", f"1 {ID} ",
        f"1 {ID}\n", f"1 {ID}\n2 {ID}", f"1 {ID[1:]}", f"1 {ID}0", f"1 {ID.upper()}",
        f"1 {ID} a-0", f"1 {ID} a-01", f"1 {ID} A-1", f"1 {ID} a-１", f"1 {ID}  a-1",
        f"1 {ID} a-1 ", f"1 {ID} a-1\n", f"1 {ID}\ta-1", f"1\u00a0{ID}", f"1.0 {ID}",
        f"1 adopted a-1 0 {ALICE.owner} {BOB.owner}", f"1 adopted a-1 5 - {BOB.owner}",
        f"1 adopted a-1 05 {ALICE.owner} {BOB.owner}", f"1 adopted a-1 5 {ALICE.owner} -",
        f"1 adopted a-1 5 {ALICE.owner}", f"1 Adopted a-1 5 {ALICE.owner} {BOB.owner}",
        f"1 adopted a-1 5 {ALICE.owner} {BOB.owner}\n",
    ],
)  # fmt: skip
def test_attack_a_row_in_another_spelling(text):
    """Else one vote could be shown as two, or hash to another leaf."""
    with pytest.raises(InputError, match="not a feed row"):
        parse_row(text)


@pytest.mark.parametrize("number", [SEQ_MAX + 1, 9_999_999_999_999_999])
def test_attack_a_number_that_json_readers_round(number):
    for text in (
        f"{number} {ID}",
        f"{number} adopted a-1 5 {ALICE.owner} {BOB.owner}",
        f"1 adopted a-1 {number} {ALICE.owner} {BOB.owner}",
    ):
        with pytest.raises(InputError, match="out of range"):
            parse_row(text)
    assert parse_row(f"{SEQ_MAX} {ID}").lsn == SEQ_MAX


# Batches


def test_a_batch_signs_count_and_root():
    lines = (
        f"billots feed 1\nnetwork {TEST.id}\nserver {SERVER.public_hex}\nrows 3 {root_of(TEXTS)}\n"
    )
    assert feed_bytes(TEST.id, SERVER.public_hex, 3, root_of(TEXTS)) == lines.encode()
    assert (BATCH.server, BATCH.rows, BATCH.root) == (SERVER.public_hex, TEXTS, root_of(TEXTS))
    assert BATCH.signature == SERVER.sign(lines.encode()).hex()
    assert BATCH.is_signed(TEST.id)
    assert BATCH.parsed() == ROWS
    assert BATCH.last_lsn == 9


def test_a_batch_is_read_as_it_was_written():
    again = msgspec.json.decode(msgspec.json.encode(BATCH), type=FeedBatch)
    assert again == BATCH
    assert again.transfers == (TRANSFER,)


def test_bodies_travel_along_unsigned():
    assert replaced(transfers=()).is_signed(TEST.id)


def test_an_empty_batch_is_signed_too():
    empty = FeedBatch.sign(TEST.id, SERVER, [])
    assert empty.is_signed(TEST.id)
    assert (empty.parsed(), empty.last_lsn) == ([], 0)


def test_one_row_with_its_path_and_the_signature_is_a_vote_to_show():
    leaves = [text.encode() for text in TEXTS]
    for index, leaf in enumerate(leaves):
        path = audit_path(leaves, index)
        assert root_from_path(leaf, index, len(leaves), path).hex() == BATCH.root


@pytest.mark.parametrize("count", [1, 256])
def test_a_batch_has_up_to_256_rows(count):
    batch = FeedBatch.sign(TEST.id, SERVER, [TransferRow(n + 1, ID) for n in range(count)])
    again = msgspec.json.decode(msgspec.json.encode(batch), type=FeedBatch)
    assert again.is_signed(TEST.id)
    assert again.last_lsn == count


def test_attack_a_batch_of_257_rows_or_of_a_giant_row():
    for rows in ([TEXTS[0]] * 257, ["x" * 8193]):
        text = msgspec.json.encode(replaced(rows=tuple(rows)))
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=FeedBatch)


@pytest.mark.parametrize(
    "lie",
    [
        replaced(rows=TEXTS[:2]),
        replaced(rows=TEXTS[::-1]),
        replaced(rows=(*TEXTS, f"10 {ID}")),
        replaced(rows=(f"3 {ID}", *TEXTS[1:])),
        replaced(rows=()),
        replaced(root="0" * 64),
        replaced(rows=TEXTS[:2], root=root_of(TEXTS[:2])),
        replaced(server=LIAR.public_hex),
        replaced(signature="0" * 128),
        FeedBatch(SERVER.public_hex, TEXTS, BATCH.root, LIAR.sign(b"").hex()),
    ],
)
def test_attack_a_changed_batch_is_not_signed(lie):
    assert not lie.is_signed(TEST.id)


def test_attack_a_batch_of_another_network():
    assert not BATCH.is_signed("0" * 32)


def test_a_wrong_root_costs_no_signature_check():
    assert replaced(root="0" * 64).check_arguments(TEST.id) is None
    asked = []
    assert not replaced(root="0" * 64).is_signed(TEST.id, lambda *a: asked.append(a) is None)
    assert asked == []
    assert BATCH.is_signed(TEST.id, lambda *a: asked.append(a) is None)
    assert asked == [BATCH.check_arguments(TEST.id)]


@pytest.mark.parametrize("lsns", [(2, 1), (1, 1), (1, 3, 2)])
def test_attack_a_feed_whose_order_does_not_rise(lsns):
    batch = FeedBatch.sign(TEST.id, SERVER, [TransferRow(lsn, ID) for lsn in lsns])
    assert batch.is_signed(TEST.id)
    with pytest.raises(InputError, match="feed rows out of order"):
        batch.parsed()


def test_gaps_are_allowed():
    batch = FeedBatch.sign(TEST.id, SERVER, [TransferRow(lsn, ID) for lsn in (1, 7, 1000)])
    assert [row.lsn for row in batch.parsed()] == [1, 7, 1000]


def test_a_malformed_row_spoils_the_batch():
    with pytest.raises(InputError, match="not a feed row"):
        replaced(rows=(TEXTS[0], "2 nonsense")).parsed()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server", "A" * 64),
        ("server", SERVER.public_hex + "\n"),
        ("root", "0" * 63),
        ("root", "0" * 64 + "\n"),
        ("signature", "0" * 128 + "\n"),
        ("rows", (1,)),
    ],
)
def test_batches_of_another_shape_are_refused(field, value):
    text = msgspec.json.encode(replaced(**{field: value}))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=FeedBatch)
