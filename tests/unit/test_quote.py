"""Quotes: the bytes that are signed, and what makes a transfer pay one."""

import msgspec
import pytest

from billots.crypto import PrivateKey
from billots.errors import BillotIdError, InputError
from billots.network import Network
from billots.quote import Asking, Quote
from billots.transfer import Transfer

TEST = Network.shipped("test")
TILL, CUSTOMER, FRESH, OTHER = (PrivateKey(bytes([number]) * 32) for number in range(1, 5))


def quote(**changes):
    fields = {
        "network_id": TEST.id,
        "customer": CUSTOMER.owner,
        "pay": FRESH.owner,
        "until": 1_700_000_060,
        "give": [("c-1", 3)],
        "get": [("d-10", 2), ("d-9", 1)],
    }
    return Quote.sign(**({"key": TILL} | fields | changes))


def asking(**changes):
    fields = {"network": TEST, "server": TILL.public_hex, "key": CUSTOMER}
    rows = {"give": [("c-1", 3)], "get": [("d-", 2)]}
    return Asking.sign(**(fields | rows | changes))


def test_the_bytes_of_a_quote():
    assert quote().signing_bytes.decode() == (
        "billots quote 1\n"
        f"network {TEST.id}\n"
        f"server {TILL.public_hex}\n"
        f"customer {CUSTOMER.owner}\n"
        f"pay {FRESH.owner}\n"
        "until 1700000060\n"
        "give c-1 3\n"
        "get d-9 1\n"
        "get d-10 2\n"
    )


def test_the_bytes_of_a_question():
    assert asking()._message.decode() == (
        "billots quote request 1\n"
        f"network {TEST.id}\n"
        f"server {TILL.public_hex}\n"
        "give c-1 3\n"
        "get d- 2\n"
    )


def test_attack_a_quote_that_was_altered_in_any_field_does_not_verify():
    good = quote()
    assert good.verify()
    good.check(TEST)
    for name, value in {
        "network": "0" * 32,
        "server": OTHER.public_hex,
        "customer": OTHER.owner,
        "pay": OTHER.owner,
        "until": good.until + 1,
        "give": (("c-1", 4),),
        "get": good.get[1:],
        "signature": good.signature[:-1] + ("0" if good.signature[-1] != "0" else "1"),
    }.items():
        altered = msgspec.structs.replace(good, **{name: value})
        assert not altered.verify(), name
        assert (altered.id == good.id) == (name == "signature"), name


def test_attack_a_question_that_was_altered_does_not_verify():
    good = asking()
    assert good.verify()
    for name, value in {
        "network": "0" * 32,
        "server": OTHER.public_hex,
        "give": (("c-2", 3),),
        "get": (("d-", 1),),
        "public_key": OTHER.public_hex,
        "signature": "0" * 128,
    }.items():
        assert not msgspec.structs.replace(good, **{name: value}).verify(), name


def test_no_signature_is_good_for_two_kinds():
    """Each signed text begins with its kind: a quote is no transfer, and no question."""
    kinds = {
        quote().signing_bytes.partition(b"\n")[0],
        asking()._message.partition(b"\n")[0],
        Transfer.sign(TEST, CUSTOMER, FRESH.owner, [("c-1", 3)]).signing_bytes.partition(b"\n")[0],
    }
    assert kinds == {b"billots quote 1", b"billots quote request 1", b"billots transfer 1"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"network_id": "0" * 32}, InputError),
        ({"give": [("c-1", 3), ("c-1", 3)]}, InputError),
        ({"give": [("d-9", 3)]}, InputError),
        ({"give": [("c-999999", 1)]}, BillotIdError),
        ({"get": [("zz-1", 1)]}, BillotIdError),
        ({"pay": CUSTOMER.owner}, InputError),
        ({"pay": TILL.owner}, InputError),
        ({"customer": TILL.owner}, InputError),
    ],
)
def test_quotes_that_can_not_be(changes, error):
    with pytest.raises(error):
        quote(**changes).check(TEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"give": [("c-1", 1), ("c-1", 1)]},
        {"get": [("d-", 1), ("d-", 1)]},
        {"get": [("zz-", 1)]},
        {"get": [("d-", 200), ("e-", 57)]},
    ],
)
def test_questions_that_can_not_be(changes):
    with pytest.raises(InputError):
        asking(**changes).check(TEST)


def test_what_pays_a_quote():
    asked = quote()
    paid = Transfer.sign(TEST, CUSTOMER, FRESH.owner, asked.give)
    assert asked.fault_of(paid) is None
    forged = msgspec.structs.replace(paid, signature="0" * 128)
    for wrong, words in (
        (Transfer.sign(TEST, CUSTOMER, OTHER.owner, asked.give), "another owner id"),
        (Transfer.sign(TEST, CUSTOMER, FRESH.owner, [("c-1", 4)]), "other billots"),
        (Transfer.sign(TEST, OTHER, FRESH.owner, asked.give), "not the customer's"),
        (
            Transfer.sign(Network.shipped("main"), CUSTOMER, FRESH.owner, asked.give),
            "another network",
        ),
        (forged, "does not hold"),
    ):
        assert words in asked.fault_of(wrong)


def test_what_it_costs():
    assert quote().fee_mils(TEST) == 0
    assert quote(get=[("d-9", 1), ("e-1", 1)]).fee_mils(TEST) == 5_000
    assert asking().get_mils(TEST) == 20_000


def test_a_quote_as_json():
    data = msgspec.json.encode(quote())
    assert msgspec.json.decode(data, type=Quote) == quote()
    for name in ("pay", "server", "signature"):
        fields = msgspec.to_builtins(quote()) | {name: "\x1b[2J"}
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(fields, Quote)
