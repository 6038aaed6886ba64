"""Requests for payment, as URIs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billots.crypto import PrivateKey
from billots.errors import InputError
from billots.owners import with_checksum
from billots.payment_request import PaymentRequest, check_reference, is_request

OWNER = PrivateKey(bytes(32)).owner
CHECKED = with_checksum(OWNER)
NETWORK = "0123456789abcdef" * 2
steady = settings(derandomize=True, deadline=None, database=None)


@pytest.mark.parametrize(
    ("asked", "uri"),
    [
        (PaymentRequest(OWNER), f"billots:{CHECKED}"),
        (PaymentRequest(OWNER, 350), f"billots:{CHECKED}?amount=0.35"),
        (
            PaymentRequest(OWNER, 120_000, NETWORK),
            f"billots:{CHECKED}?amount=120&network={NETWORK}",
        ),
        (
            PaymentRequest(OWNER, 5, ref="<b>17</b> & 5%"),
            f"billots:{CHECKED}?amount=0.005&ref=%3Cb%3E17%3C%2Fb%3E%20%26%205%25",
        ),
        (PaymentRequest(OWNER, ref="é"), f"billots:{CHECKED}?ref=%C3%A9"),
    ],
)
def test_what_is_written_is_read(asked, uri):
    assert asked.uri == uri
    assert is_request(uri)
    assert PaymentRequest.parse(uri) == asked
    assert PaymentRequest.parse(f"BILLOTS:{uri[8:]}") == asked


@steady
@given(st.integers(1, 10**14), st.booleans())
def test_every_amount_comes_back(mils, network):
    asked = PaymentRequest(OWNER, mils, NETWORK if network else None)
    assert PaymentRequest.parse(asked.uri) == asked


def test_what_is_not_known_yet_is_ignored():
    assert PaymentRequest.parse(f"billots:{CHECKED}?label=x&amount=1").mils == 1000


def test_the_bare_id_will_do():
    assert PaymentRequest.parse(f"billots:{OWNER}") == PaymentRequest(OWNER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "billots:",
        f"bitcoin:{CHECKED}",
        f"billots:{OWNER[:-1]}0-{CHECKED[-6:]}",
        f"billots:{CHECKED}?amount=",
        f"billots:{CHECKED}?amount=0",
        f"billots:{CHECKED}?amount=-1",
        f"billots:{CHECKED}?amount=1e3",
        f"billots:{CHECKED}?amount=1,50",
        f"billots:{CHECKED}?amount=0.0001",
        f"billots:{CHECKED}?amount=1&amount=2",
        f"billots:{CHECKED}?amount",
        f"billots:{CHECKED}?network=x",
        f"billots:{CHECKED}?network={NETWORK.upper()}",
        f"billots:{CHECKED}?&",
        f"billots:{CHECKED}\n",
        f"billots:{CHECKED}?x={'y' * 600}",
        f"billots:{CHECKED}?x={'y' * 600}&ref=a",
        f"billots:{CHECKED}?ref=",
        f"billots:{CHECKED}?ref={'y' * 65}",
        f"billots:{CHECKED}?ref=a&ref=b",
        f"billots:{CHECKED}?ref=a b",
        f"billots:{CHECKED}?ref=a+b",
        f"billots:{CHECKED}?ref=%",
        f"billots:{CHECKED}?ref=%zz",
        f"billots:{CHECKED}?ref=%FF",
        f"billots:{CHECKED}?ref=%1B%5B2J",
        f"billots:{CHECKED}?ref=a%0Ab",
        f"billots:{CHECKED}?ref=%E2%80%AEcod",
        f"billots:{CHECKED}?ref=é",
        "billots:\x1b[2J",
    ],
)
def test_what_is_no_request(text):
    with pytest.raises(InputError) as caught:
        PaymentRequest.parse(text)
    assert caught.value.hint
    assert "\x1b" not in str(caught.value)


@steady
@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=64))
def test_every_reference_comes_back(ref):
    asked = PaymentRequest(OWNER, 10**14, NETWORK, ref)
    assert asked.uri.isascii()
    assert PaymentRequest.parse(asked.uri) == asked


@pytest.mark.parametrize("ref", ["", "x" * 65, "a\nb", "\x1b[2J", "\u202ecod", "\ud800"])
def test_attack_what_a_terminal_should_not_show_is_no_reference(ref):
    with pytest.raises(InputError) as caught:
        check_reference(ref)
    assert str(caught.value).isprintable()
