import pytest

from billots.errors import Refused
from billots.jsonrpc import (
    APPLICATION_ERRORS,
    CODES,
    ErrorObject,
    Malformed,
    Request,
    decode_incoming,
    decode_params,
    decode_request,
)


def test_codes_go_downwards_from_32000_in_the_order_of_the_names():
    assert [CODES[name] for name in APPLICATION_ERRORS] == list(range(-32000, -32015, -1))


@pytest.mark.parametrize(
    ("code", "name"),
    [(-32000, "unknown_billot"), (-32014, "bad_receipt"), (-32015, None), (-31999, None)],
)
def test_an_error_is_named_by_its_code(code, name):
    assert ErrorObject(code, "said").name == name


def test_an_error_answer_as_an_exception():
    incoming = decode_incoming(
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"x","data":{"seq":3}}}'
    )
    assert isinstance(incoming.error, ErrorObject)
    refused = incoming.error.refused()
    assert isinstance(refused, Refused)
    assert (refused.code, refused.name, refused.data) == (-32005, "stale_seq", {"seq": 3})
    plain = ErrorObject(-32601, "no such method").refused()
    assert (plain.name, str(plain), plain.data) == (None, "no such method", {})


@pytest.mark.parametrize("params", [b"{", b'{"billots":["\xff"]}'])
def test_params_that_are_no_json_are_not_half_read(params):
    from msgspec import Raw

    request = Request("2.0", "who_owns", Raw(b"1"), Raw(params))
    with pytest.raises(Malformed) as caught:
        decode_params(request)
    assert caught.value.code == -32700


def test_an_id_survives_as_it_was_written():
    request = decode_request(b'{"jsonrpc":"2.0","method":"ping","id":1.50}')
    assert bytes(request.id) == b"1.50"
