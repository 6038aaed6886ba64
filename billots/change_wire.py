"""What is said to a change server and by it: methods, params, results, errors as typed structs.

JSON-RPC 2.0, one message a line over TCP, as with the servers (`billots.jsonrpc`); the methods and
the codes of errors are its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import DecodeError, Meta, Raw, Struct, ValidationError, json

from billots.errors import InputError
from billots.jsonrpc import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Malformed,
    Request,
    error_answer,
)
from billots.messages import NetworkName
from billots.quote import Asking, Count, Quote
from billots.transfer import PublicKey, Transfer

PROTOCOL = 1

ERRORS = (
    "wrong_network",
    "wrong_server",
    "bad_request",
    "not_equal",
    "not_yours",
    "bad_signature",
    "float_exhausted",
    "already_quoted",
    "rate_limited",
    "unknown_quote",
    "wrong_transfer",
    "not_final",
    "unavailable",
    "frame_too_large",
)
"""Names by code: −32100 is the first, each next one is one less."""

CODES = {name: -32100 - index for index, name in enumerate(ERRORS)}
NAMES = {code: name for name, code in CODES.items()}

Mils = Annotated[int, Meta(ge=0, le=10**12)]


class Refusal(Exception):
    """A request that is refused: one of `ERRORS`, with a text for people who read the wire."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name

    def answer(self, request_id: bytes | Raw) -> bytes:
        """The error answer that says so."""
        data: dict[str, Any] = {"error": self.name}
        return error_answer(request_id, CODES[self.name], str(self), data)


class NoParams(Struct):
    """`info`, `offer` and `ping` take none."""


class Redeem(Struct):
    """A quote, and the transfer that pays it."""

    quote: Quote
    transfer: Transfer


class Drop(Struct):
    """A quote that won't be paid: its notes are free again. Paid all the same, it is answered."""

    quote: Quote


class Info(Struct):
    """Who a change server is: its key, its network, the fee of each exchange in mils.

    `valid_s`: how many seconds a quote holds.
    """

    name: str
    version: str
    protocol: int
    network: NetworkName
    server: PublicKey
    fee: Mils
    valid_s: Annotated[int, Meta(ge=1, le=86_400)]


class Offer(Struct):
    """How many notes of each denomination whoever asks could have now."""

    billots: Annotated[tuple[Count, ...], Meta(max_length=20_000)]


class Quoted(Struct):
    """The quote, and for how many seconds it still holds: what a customer's own clock measures."""

    quote: Quote
    valid_s: Annotated[int, Meta(ge=0, le=86_400)]


class Dropped(Struct):
    """Whether the quote held until now, and nothing was given for it."""

    dropped: bool


class Redeemed(Struct):
    """The one transfer that answers a quote that was paid: the change, or what was given back."""

    kind: Literal["change", "refund"]
    transfer: Transfer


PARAMS: dict[str, type[Struct]] = {
    "info": NoParams,
    "offer": NoParams,
    "ping": NoParams,
    "quote": Asking,
    "redeem": Redeem,
    "drop": Drop,
}
"""Methods and their params."""

_DECODERS = {method: json.Decoder(params) for method, params in PARAMS.items()}


def decode_params(request: Request) -> Struct:
    """The params of a request; raises Malformed."""
    request_id = bytes(request.id) or b"null"
    decoder = _DECODERS.get(request.method)
    if decoder is None:
        raise Malformed(METHOD_NOT_FOUND, "no such method", request_id)
    params = bytes(request.params)
    try:
        return decoder.decode(b"{}" if params in (b"", b"[]") else params)
    except (ValidationError, InputError) as error:
        raise Malformed(INVALID_PARAMS, str(error), request_id) from None
    except (DecodeError, RecursionError, UnicodeDecodeError):
        raise Malformed(PARSE_ERROR, "not JSON") from None
