"""A request for payment as a URI: ``billots:OWNER-xxxxxx?amount=0.35&network=…&ref=…``.

It names whom to pay, and if wanted how much, on which network, and what for: a reference of the
payee's, by which two payments of the same amount are two. It is no secret, and nobody signs
it: who gets one has to know from whom it comes. The form is that of Bitcoin's (BIP 21).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from billots.errors import InputError
from billots.network import format_mils, parse_mils, shown
from billots.owners import read_owner, with_checksum

SCHEME = "billots:"
_LENGTH_MAX = 512
"""Of a request without its reference."""
REFERENCE_LENGTH_MAX = 64
_ESCAPED_LENGTH_MAX = REFERENCE_LENGTH_MAX * len("%F0%9F%92%B6")
_NETWORK = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ESCAPED = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+", re.ASCII)
_HINT = "a request is written billots:OWNER-xxxxxx?amount=0.35&network=ID; bwallet --request"


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Whom to pay; `mils`, `network_id` and `ref` are None where the payer is to know."""

    owner: str
    mils: int | None = None
    network_id: str | None = None
    ref: str | None = None

    @property
    def uri(self) -> str:
        """The request as it is given away."""
        fields = {
            "amount": None if self.mils is None else format_mils(self.mils),
            "network": self.network_id,
            "ref": None if self.ref is None else quote(self.ref, safe=""),
        }
        query = "&".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        return f"{SCHEME}{with_checksum(self.owner)}" + (f"?{query}" if query else "")

    @classmethod
    def parse(cls, text: str) -> PaymentRequest:
        """Read one; raises InputError. Fields that aren't known here are ignored."""
        if not is_request(text) or len(text) > _LENGTH_MAX + _ESCAPED_LENGTH_MAX:
            raise InputError(f"not a payment request: {shown(text)}", _HINT)
        owner, _, query = text[len(SCHEME) :].partition("?")
        fields: dict[str, str] = {}
        for part in query.split("&") if query else []:
            name, sign, value = part.partition("=")
            if not sign or name in fields:
                raise InputError(f"not a payment request: {shown(query)}", _HINT)
            fields[name] = value
        amount, network_id = fields.get("amount"), fields.get("network")
        if len(text) - len(fields.get("ref", "")) > _LENGTH_MAX:
            raise InputError(f"not a payment request: {shown(query)}", _HINT)
        if network_id is not None and _NETWORK.fullmatch(network_id) is None:
            raise InputError(f"not a network id in a payment request: {shown(network_id)}", _HINT)
        mils = None if amount is None else _mils(amount)
        ref = None if "ref" not in fields else _reference(fields["ref"])
        return cls(read_owner(owner), mils, network_id, ref)


def is_request(text: str) -> bool:
    """Whether a text is meant to be one, right or wrong."""
    return text[: len(SCHEME)].lower() == SCHEME


def check_reference(ref: str) -> str:
    """The reference itself; raises InputError for what no terminal should show."""
    if not 1 <= len(ref) <= REFERENCE_LENGTH_MAX or not ref.isprintable():
        raise InputError(
            f"not a reference: {shown(ref)}",
            f"a reference is 1 to {REFERENCE_LENGTH_MAX} printable characters",
        )
    return ref


def _reference(text: str) -> str:
    found = unquote_to_bytes(text if _ESCAPED.fullmatch(text) else "")
    try:
        return check_reference(found.decode())
    except ValueError as error:  # InputError is one
        raise InputError(f"not a reference in a payment request: {shown(text)}", _HINT) from error


def _mils(amount: str) -> int:
    try:
        mils = parse_mils(amount)
    except ValueError as error:
        raise InputError(f"not an amount in a payment request: {shown(amount)}", _HINT) from error
    if mils <= 0:
        raise InputError("a payment request is for more than nothing", _HINT)
    return mils
