"""Statements (DESIGN, section 6)."""

import json

import msgspec
import pytest

from billots.crypto import PrivateKey
from billots.errors import InputError
from billots.holding import Holding, Status
from billots.network import Network
from billots.statement import Statement, StatementRow, check_nonce, new_nonce, statement_bytes
from billots.transfer import Transfer

ALICE, BOB, SERVER, LIAR = (PrivateKey(bytes([n]) * 32) for n in (1, 2, 9, 10))
TEST = Network.shipped("test")
NONCE = "0123456789abcdef"
HELD = Holding(5, ALICE.owner, BOB.owner, Status.HELD)
FIRST = Holding(0, None, ALICE.owner, Status.SETTLED)
UNKNOWN = Holding(0, None, None, Status.UNKNOWN)
ASKED = ["b-7", "a-1", "k-3"]
TRANSFER = Transfer.sign(TEST, ALICE, BOB.owner, [("b-7", 5)])
UNSIGNED = Statement.make(
    TEST, SERVER.public_hex, [("b-7", HELD), ("a-1", FIRST), ("k-3", UNKNOWN)]
)
STATEMENT = UNSIGNED.sign(SERVER, NONCE)


def wire(statement, **changes):
    return json.dumps({**json.loads(msgspec.json.encode(statement)), **changes}).encode()


def read(text):
    return msgspec.json.decode(text, type=Statement)


def test_a_statement_signs_its_lines_in_the_order_asked():
    lines = (
        "billots statement 1\n"
        f"network {TEST.id}\n"
        f"server {SERVER.public_hex}\n"
        f"nonce {NONCE}\n"
        f"b-7 5 {ALICE.owner} {BOB.owner} held\n"
        f"a-1 0 - {ALICE.owner} settled\n"
        "k-3 0 - - unknown\n"
    )
    assert statement_bytes(TEST.id, SERVER.public_hex, NONCE, STATEMENT.billots) == lines.encode()
    assert STATEMENT.signature == SERVER.sign(lines.encode()).hex()
    assert STATEMENT.answers(TEST.id, NONCE, ASKED)


def test_a_statement_on_the_wire():
    assert json.loads(msgspec.json.encode(STATEMENT)) == {
        "network": TEST.id,
        "server": SERVER.public_hex,
        "nonce": NONCE,
        "billots": [
            {"id": "b-7", "seq": 5, "from": ALICE.owner, "owner": BOB.owner, "status": "held",
             "value": "50"},
            {"id": "a-1", "seq": 0, "from": None, "owner": ALICE.owner, "status": "settled",
             "value": "100"},
            {"id": "k-3", "seq": 0, "from": None, "owner": None, "status": "unknown",
             "value": "0.005"},
        ],
        "signature": STATEMENT.signature,
    }  # fmt: skip
    assert read(msgspec.json.encode(STATEMENT)) == STATEMENT


def test_a_statement_without_a_nonce_has_no_signature_and_is_no_vote():
    fields = json.loads(msgspec.json.encode(UNSIGNED))
    assert sorted(fields) == ["billots", "network", "server"]
    assert not read(msgspec.json.encode(UNSIGNED)).answers(TEST.id, NONCE, ASKED)


def test_a_nonce_without_a_signature_is_no_vote():
    unsigned = msgspec.structs.replace(STATEMENT, signature=msgspec.UNSET)
    assert not unsigned.answers(TEST.id, NONCE, ASKED)


def test_rows_with_proofs_carry_the_transfer_or_null():
    rows = [("b-7", HELD), ("a-1", FIRST)]
    proven = Statement.make(TEST, SERVER.public_hex, rows, [(TRANSFER, None), (None, None)]).sign(
        SERVER, NONCE
    )
    first, second = json.loads(msgspec.json.encode(proven))["billots"]
    assert first["transfer"] == json.loads(msgspec.json.encode(TRANSFER))
    assert (first["receipt"], second["transfer"], second["receipt"]) == (None, None, None)
    again = read(msgspec.json.encode(proven))
    assert again.billots[0].transfer == TRANSFER
    assert again.answers(TEST.id, NONCE, ["b-7", "a-1"])


def test_a_row_gives_its_holding():
    assert [row.holding for row in STATEMENT.billots] == [HELD, FIRST, UNKNOWN]


def test_the_value_is_for_people_and_unsigned():
    text = msgspec.json.encode(STATEMENT).replace(b'"50"', b'"5000000"')
    assert read(text).answers(TEST.id, NONCE, ASKED)


# Attacks


def changed(number, **fields):
    rows = list(STATEMENT.billots)
    rows[number] = msgspec.structs.replace(rows[number], **fields)
    return msgspec.structs.replace(STATEMENT, billots=tuple(rows))


@pytest.mark.parametrize(
    "lie",
    [
        changed(0, seq=6),
        changed(0, owner=ALICE.owner),
        changed(0, sender=BOB.owner),
        changed(0, status=Status.SETTLED),
        changed(2, status=Status.UNISSUED),
        msgspec.structs.replace(STATEMENT, signature="0" * 128),
        msgspec.structs.replace(STATEMENT, server=LIAR.public_hex),
        msgspec.structs.replace(STATEMENT, server="0" * 64),
    ],
)
def test_attack_a_changed_statement_is_no_vote(lie):
    assert not lie.answers(TEST.id, NONCE, ASKED)


def test_attack_a_statement_replayed_for_another_nonce_network_or_question():
    assert not STATEMENT.answers(TEST.id, NONCE[::-1], ASKED)
    assert not STATEMENT.answers("0" * 32, NONCE, ASKED)
    for asked in ([], ASKED[:2], [*ASKED, "a-2"], ASKED[::-1], ["b-7", "a-1", "k-4"]):
        assert not STATEMENT.answers(TEST.id, NONCE, asked)
    for other in ({"nonce": NONCE[::-1]}, {"network": "0" * 32}):
        moved = msgspec.structs.replace(STATEMENT, **other)
        assert not moved.answers(moved.network, moved.nonce, ASKED)


def test_attack_signed_by_another_key():
    forged = UNSIGNED.sign(LIAR, NONCE)
    assert forged.server == SERVER.public_hex
    assert not forged.answers(TEST.id, NONCE, ASKED)


@pytest.mark.parametrize(
    "unsound",
    [
        Holding(0, None, ALICE.owner, Status.UNKNOWN),
        Holding(0, None, ALICE.owner, Status.UNISSUED),
        Holding(1, None, None, Status.UNKNOWN),
        Holding(0, ALICE.owner, None, Status.UNISSUED),
        Holding(0, ALICE.owner, BOB.owner, Status.SETTLED),
        Holding(1, None, BOB.owner, Status.HELD),
        Holding(0, None, None, Status.SETTLED),
        Holding(1, ALICE.owner, None, Status.HELD),
    ],
)
def test_attack_a_signed_row_that_cannot_be(unsound):
    statement = Statement.make(TEST, SERVER.public_hex, [("a-1", unsound)]).sign(SERVER, NONCE)
    assert not statement.answers(TEST.id, NONCE, ["a-1"])


@pytest.mark.parametrize("status", [s for s in Status if s not in ("unknown", "unissued")])
def test_every_other_status_is_a_vote(status):
    holding = Holding(1, ALICE.owner, BOB.owner, status)
    statement = Statement.make(TEST, SERVER.public_hex, [("a-1", holding)]).sign(SERVER, NONCE)
    assert statement.answers(TEST.id, NONCE, ["a-1"])


@pytest.mark.parametrize("status", ["unknown", "unissued"])
def test_silent_rows_are_signed_too(status):
    holding = Holding(0, None, None, Status(status))
    statement = Statement.make(TEST, SERVER.public_hex, [("a-1", holding)]).sign(SERVER, NONCE)
    assert statement.answers(TEST.id, NONCE, ["a-1"])


def test_the_verifier_is_handed_in():
    assert not STATEMENT.answers(TEST.id, NONCE, ASKED, lambda *_: False)
    assert changed(0, seq=6).answers(TEST.id, NONCE, ASKED, lambda *_: True)


def test_cheap_checks_come_before_the_signature():
    asked = []
    for question in (
        (TEST.id, NONCE[::-1], ASKED),
        ("0" * 32, NONCE, ASKED),
        (TEST.id, NONCE, ASKED[::-1]),
    ):
        assert not STATEMENT.answers(*question, lambda *a: asked.append(a) is None)
    assert asked == []


# Reading


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("seq", [5.0, -1, True, "5", None, 2**53]),
        ("from", ["", "-", "5", "A" * 128, "0" * 128 + "\n", 5]),
        ("owner", ["", "-", "5", "A" * 128, "0" * 128 + "\n", 5]),
        ("status", ["", "HELD", "held\n", "spent", 0, None]),
        ("id", ["a-0", "a-01", "A-1", "a-１", "a-1\n", 5, None]),
        ("value", [50, 0.005, None]),
    ],
)
def test_rows_of_another_shape_are_refused(field, values):
    row = json.loads(msgspec.json.encode(STATEMENT))["billots"][0]
    for value in values:
        with pytest.raises(msgspec.ValidationError):
            read(wire(STATEMENT, billots=[{**row, field: value}]))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("network", ["", "0" * 33, "0" * 32 + "\n"]),
        ("server", ["", "0" * 65, "A" * 64, "0" * 64 + "\n"]),
        ("nonce", ["", "0" * 15, "0" * 65, "A" * 16, NONCE + "\n", "-", None, 5]),
        ("signature", ["", "0" * 127, "0" * 128 + "\n", None]),
    ],
)
def test_statements_of_another_shape_are_refused(field, values):
    for value in values:
        with pytest.raises(msgspec.ValidationError):
            read(wire(STATEMENT, **{field: value}))


def test_a_statement_of_more_than_256_rows_is_refused():
    row = json.loads(msgspec.json.encode(STATEMENT))["billots"][0]
    assert len(read(wire(STATEMENT, billots=[row] * 256)).billots) == 256
    with pytest.raises(msgspec.ValidationError):
        read(wire(STATEMENT, billots=[row] * 257))


def test_a_row_of_a_statement_may_be_made_by_hand():
    row = StatementRow("a-1", 0, None, ALICE.owner, Status.SETTLED, "100")
    assert row.holding == FIRST


# Nonces


def test_nonces_are_fresh_and_good():
    assert new_nonce() != new_nonce()
    assert check_nonce(new_nonce())


@pytest.mark.parametrize("nonce", ["0" * 16, "f" * 64, NONCE])
def test_a_nonce_is_16_to_64_hex_digits(nonce):
    assert check_nonce(nonce) is nonce


@pytest.mark.parametrize("nonce", ["", "0" * 15, "0" * 65, "A" * 16, NONCE + "\n", "０" * 16])
def test_attack_a_nonce_that_forges_lines(nonce):
    with pytest.raises(InputError, match="a nonce is 16 to 64"):
        check_nonce(nonce)
