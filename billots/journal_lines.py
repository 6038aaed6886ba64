"""The lines of a wallet's journal, one for each event, JSON; and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from billots.order import Order, OrderId
from billots.payment_request import REFERENCE_LENGTH_MAX
from billots.transfer import OwnerId, PublicKey, Transfer, TransferId

Reference = Annotated[str, Meta(min_length=1, max_length=REFERENCE_LENGTH_MAX)]
Moment = Annotated[int, Meta(ge=0, le=253_402_300_799)]
"""Whole seconds since 1970, up to the year 9999."""


class Head(Struct, frozen=True, tag="journal", tag_field="kind"):
    """The first line: whose journal it is."""

    version: int
    owner: OwnerId


class Signed(Struct, frozen=True, tag="signed", tag_field="kind", omit_defaults=True):
    """A transfer was signed `at` a time; its seqs were asked of `servers`; it `pays` mils."""

    transfer: Transfer
    servers: tuple[PublicKey, ...]
    pays: int | None = None
    ref: Reference | None = None
    at: Moment | None = None


class Answered(Struct, frozen=True, tag="answered", tag_field="kind"):
    """The server with this key answered it, yes or no."""

    transfer_id: TransferId
    server: PublicKey


class Final(Struct, frozen=True, tag="final", tag_field="kind"):
    """A quorum named the payee, and the payer was told."""

    transfer_id: TransferId


class Lapsed(Struct, frozen=True, tag="lapsed", tag_field="kind"):
    """It is given up: the network that knew it is gone."""

    transfer_id: TransferId


class Ordered(Struct, frozen=True, tag="ordered", tag_field="kind"):
    """An issuer decided to hand out billots."""

    order: Order


class Issued(Struct, frozen=True, tag="issued", tag_field="kind"):
    """All of them are final, and that was told."""

    order_id: OrderId


class Dropped(Struct, frozen=True, tag="dropped", tag_field="kind"):
    """It is given up, as `Lapsed`."""

    order_id: OrderId


Line = Head | Signed | Answered | Final | Lapsed | Ordered | Issued | Dropped
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def decode_line(line: bytes) -> Line:
    """A line of a journal; raises msgspec.DecodeError, ValueError or RecursionError."""
    return _decoder.decode(line)


@dataclass(slots=True)
class Entry:
    """A signed transfer; `servers` are the keys of those that spoke when it was signed or sent.

    `answered` says that at least one server answered the transfer itself. `pays` is the amount
    in mils that it was to pay, if it was an amount; `final` that the payee was seen to have it.
    `ref` is what that payment is for, and `at` when it was signed, in seconds since 1970; lines of
    before have none.
    """

    transfer: Transfer
    servers: set[str] = field(default_factory=set)
    answered: bool = False
    pays: int | None = None
    ref: str | None = None
    at: int | None = None
    final: bool = False
