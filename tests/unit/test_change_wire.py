"""What is said to a change server: its document names it all, and strangers' shapes are refused."""

import re
from pathlib import Path

import pytest

from billots.change_limits import ChangeLimits
from billots.change_wire import CODES, NAMES, PARAMS, Refusal, decode_params
from billots.jsonrpc import CODES as SERVERS_CODES
from billots.jsonrpc import Malformed, decode_incoming, decode_request

DOCUMENT = (Path(__file__).parents[2] / "docs" / "change.rst").read_text("utf-8")


def test_the_document_has_every_error_and_its_code():
    rows = re.findall(r"^−(\d+)\s+``(\w+)``", DOCUMENT, re.MULTILINE)
    assert {name: -int(code) for code, name in rows} == CODES


@pytest.mark.parametrize("method", PARAMS)
def test_the_document_has_every_method_and_its_params(method):
    table = DOCUMENT[DOCUMENT.index("method     params") :]
    assert re.search(rf"^``{method}`` ", table, re.MULTILINE)
    for field in PARAMS[method].__struct_encode_fields__:
        assert f"``{field}``" in table


def test_codes_are_none_of_the_servers():
    assert not set(CODES.values()) & set(SERVERS_CODES.values())
    assert NAMES[CODES["not_final"]] == "not_final"


def test_a_refusal_is_an_error_answer():
    said = decode_incoming(Refusal("not_final", "in time").answer(b"7"))
    assert (said.id, said.error.code, said.error.data) == (
        7,
        CODES["not_final"],
        {"error": "not_final"},
    )


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nothing", "{}", -32601),
        ("quote", "{}", -32602),
        ("quote", "1", -32602),
        ("redeem", '{"quote":{},"transfer":{}}', -32602),
        ("drop", "null", -32602),
    ],
)
def test_params_of_another_shape(method, params, code):
    frame = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'
    with pytest.raises(Malformed) as caught:
        decode_params(decode_request(frame.encode()))
    assert (caught.value.code, caught.value.request_id) == (code, b"1")


def test_the_limits_that_documents_name():
    limits = ChangeLimits()
    record = next((Path(__file__).parents[2] / "docs" / "adr").glob("0032*")).read_text("utf-8")
    assert (limits.quotes_per_address_max, limits.forget_s, limits.valid_s) == (5, 300.0, 60)
    assert "five unpaid quotes for one address\nin five minutes; to 60 s" in record
    assert f"{limits.frame_bytes_max:,} bytes" in DOCUMENT
