"""JSON-RPC 2.0: the envelope around every message (DESIGN, section 7).

A frame is read in two steps: the envelope first, the params by the method's own decoder.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import (
    UNSET,
    DecodeError,
    Raw,
    Struct,
    UnsetType,
    ValidationError,
    field,
    json,
)

from billots.errors import Refused
from billots.framing import is_deeper
from billots.holding import Holding
from billots.messages import PARAMS

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602

APPLICATION_ERRORS = (
    "unknown_billot",
    "unissued_billot",
    "not_owner",
    "bad_signature",
    "wrong_network",
    "stale_seq",
    "behind",
    "not_settled",
    "conflicting_transfer",
    "contested_billot",
    "disputed_billot",
    "frame_too_large",
    "rate_limited",
    "store_failed",
    "bad_receipt",
)
"""Names by code: −32000 is the first, each next one is one less."""

CODES = {name: -32000 - index for index, name in enumerate(APPLICATION_ERRORS)}

_ABSENT = Raw(b"")
_NULL = Raw(b"null")
_NO_PARAMS = Raw(b"{}")
_EMPTY_LIST = b"[]"
"""What some clients send for no params."""
_ID_STARTS = frozenset(b'"-0123456789n')


class Request(Struct):
    """A call, or a notification if it has no id. The id is kept as it was written."""

    jsonrpc: Literal["2.0"]
    method: str
    id: Raw = _ABSENT
    params: Raw = _ABSENT


class ErrorObject(Struct, omit_defaults=True):
    """A JSON-RPC error."""

    code: int
    message: str
    data: dict[str, Any] | UnsetType = UNSET

    @property
    def name(self) -> str | None:
        """The application error's name, by its code."""
        index = -32000 - self.code
        return APPLICATION_ERRORS[index] if 0 <= index < len(APPLICATION_ERRORS) else None

    def refused(self) -> Refused:
        """The same as an exception."""
        data = self.data if isinstance(self.data, dict) else {}
        return Refused(self.code, self.name or self.message, self.name, data)


class Incoming(Struct):
    """What a client reads: an answer (result or error) or a notification (method)."""

    method: str | UnsetType = UNSET
    id: int | str | None = None
    params: Raw = _ABSENT
    result: Raw = _ABSENT
    error: ErrorObject | UnsetType = UNSET


_PARAM_DECODERS = {method: json.Decoder(params) for method, params in PARAMS.items()}
_REQUEST = json.Decoder(Request)
_REQUESTS = json.Decoder(list[Raw])
_INCOMING = json.Decoder(Incoming)
_ENCODER = json.Encoder()

encode = _ENCODER.encode


class Malformed(Exception):
    """A frame that is no request; `code` and `message` answer it."""

    def __init__(self, code: int, message: str, request_id: bytes = b"null") -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def check_text(frame: bytes, depth_max: int) -> None:
    """Raise Malformed unless a frame is UTF-8 and nests no deeper than `depth_max`."""
    if not frame.isascii():
        try:
            frame.decode()
        except UnicodeDecodeError:
            raise Malformed(PARSE_ERROR, "not UTF-8") from None
    if is_deeper(frame, depth_max):
        raise Malformed(PARSE_ERROR, "nested too deep")


def is_batch(frame: bytes) -> bool:
    """Whether a frame is a JSON array."""
    return not frame.startswith(b"{") and frame.lstrip().startswith(b"[")


def split_batch(frame: bytes, batch_max: int) -> list[Raw]:
    """The requests of a batch; raises Malformed for none or too many."""
    try:
        requests = _REQUESTS.decode(frame)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        raise Malformed(PARSE_ERROR, "not JSON") from None
    if not requests:
        raise Malformed(INVALID_REQUEST, "an empty batch")
    if len(requests) > batch_max:
        raise Malformed(INVALID_REQUEST, f"a batch of more than {batch_max}")
    return requests


def decode_request(frame: bytes | Raw) -> Request:
    """The envelope of one request; raises Malformed."""
    try:
        request = _REQUEST.decode(frame)
    except ValidationError:
        raise Malformed(INVALID_REQUEST, "not a JSON-RPC 2.0 request", _id_of(frame)) from None
    except (DecodeError, RecursionError, UnicodeDecodeError):
        raise Malformed(PARSE_ERROR, "not JSON") from None
    if request.id is not _ABSENT and bytes(request.id)[0] not in _ID_STARTS:
        raise Malformed(INVALID_REQUEST, "an id is a string, a number or null")
    return request


def decode_params(request: Request) -> Struct:
    """The params of a request; raises Malformed."""
    decoder = _PARAM_DECODERS.get(request.method)
    if decoder is None:
        raise Malformed(METHOD_NOT_FOUND, "no such method", bytes(request.id) or b"null")
    params = request.params
    if params is _ABSENT or bytes(params) == _EMPTY_LIST:
        params = _NO_PARAMS
    try:
        return decoder.decode(params)
    except ValidationError as error:
        raise Malformed(INVALID_PARAMS, str(error), bytes(request.id) or b"null") from None
    except (DecodeError, RecursionError, UnicodeDecodeError):
        raise Malformed(PARSE_ERROR, "not JSON") from None


def decode_incoming(frame: bytes) -> Incoming:
    """What a server sent us; raises msgspec.DecodeError or one of its kind."""
    return _INCOMING.decode(frame)


def answer(request_id: bytes | Raw, result: Any) -> bytes:
    """An answer, without its LF."""
    head = b'{"jsonrpc":"2.0","id":' + bytes(request_id)
    return head + b',"result":' + (result if type(result) is bytes else encode(result)) + b"}"


def error_answer(
    request_id: bytes | Raw, code: int, message: str, data: dict[str, Any] | None = None
) -> bytes:
    """An error answer, without its LF."""
    error = encode(ErrorObject(code, message, UNSET if data is None else data))
    return b'{"jsonrpc":"2.0","id":' + bytes(request_id) + b',"error":' + error + b"}"


def call(request_id: int, method: str, params: Struct | None = None) -> bytes:
    """A request, without its LF."""
    head = b'{"jsonrpc":"2.0","id":%d,"method":"%s"' % (request_id, method.encode())
    return head + (b"}" if params is None else b',"params":' + encode(params) + b"}")


def notification(method: str, params: Struct | bytes) -> bytes:
    """A notification, without its LF."""
    body = params if type(params) is bytes else encode(params)
    return b'{"jsonrpc":"2.0","method":"%s","params":' % method.encode() + body + b"}"


class Refusal(Struct, frozen=True):
    """A refused request as a value: an application error's name and its details."""

    name: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)

    def answer(self, request_id: bytes | Raw) -> bytes:
        """The error answer that says so."""
        return error_answer(
            request_id, CODES[self.name], self.message, {"error": self.name, **self.data}
        )


def refuse(name: str, billot: str, message: str, holding: Holding | None = None) -> Refusal:
    """A refusal for one billot, with what the server has on it."""
    data: dict[str, Any] = {"billot": billot}
    if holding is not None:
        data["holding"] = holding
    return Refusal(name, message, data)


def _id_of(frame: bytes | Raw) -> bytes:
    """The id of something that is JSON but no request: null unless it can be told."""
    try:
        found = bytes(_ONLY_ID.decode(frame).id)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        return b"null"
    return found if found and found[0] in _ID_STARTS else b"null"


class _OnlyId(Struct):
    id: Raw = _NULL


_ONLY_ID = json.Decoder(_OnlyId)
