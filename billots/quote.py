"""A quote: what a change server signs before it is given anything, and what becomes of it.

A customer asks, under his own signature, for notes of other denominations. The quote names the
billots of both sides one by one, an owner id that is used for nothing else, and until when it
holds. Who signed it owes the change, or the same billots back: never nothing. So the quote, with
the transfer that paid it, shows anybody what is owed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from billots.crypto import PrivateKey, owner_id, verify
from billots.errors import InputError
from billots.lazy import lazy
from billots.network import ROWS_MAX, Network, split_billot_id
from billots.transfer import NetworkId, OwnerId, PublicKey, Row, Rows, Signature, Transfer

Seconds = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Of the time of day, as Unix counts them: a change server's own clock, which proves nothing."""
Prefix = Annotated[str, Meta(pattern=r"^[a-z]{1,3}-\Z")]
Count = tuple[Prefix, Annotated[int, Meta(ge=1, le=ROWS_MAX)]]
Wanted = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=ROWS_MAX)]


class Asking(Struct, frozen=True, dict=True):
    """What a customer asks for: `give` as rows of a transfer, `get` as counts by prefix.

    Signed by the customer, so that nobody can have quotes made out for the billots of others.
    """

    network: NetworkId
    server: PublicKey
    give: Rows
    get: Wanted
    public_key: PublicKey
    signature: Signature

    @classmethod
    def sign(
        cls,
        network: Network,
        server: str,
        key: PrivateKey,
        give: Iterable[Row],
        get: Iterable[tuple[str, int]],
    ) -> Asking:
        """Ask the change server with this key."""
        rows, wanted = in_order(give), tuple(sorted(get))
        message = asking_bytes(network.id, server, rows, wanted)
        return cls(network.id, server, rows, wanted, key.public_hex, key.sign(message).hex())

    @lazy
    def id(self) -> str:
        """The same question has the same id, whoever sends it again."""
        return hashlib.sha256(bytes.fromhex(self.public_key) + self._message).hexdigest()

    @lazy
    def customer(self) -> str:
        """The owner id of who asks."""
        return owner_id(bytes.fromhex(self.public_key))

    @property
    def _message(self) -> bytes:
        return asking_bytes(self.network, self.server, self.give, self.get)

    def verify(self) -> bool:
        """Whether the customer signed it."""
        key = bytes.fromhex(self.public_key)
        return verify(key, self._message, bytes.fromhex(self.signature))

    def check(self, network: Network) -> None:
        """Raise InputError for billots or prefixes that aren't of `network`, or out of order."""
        check_rows(network, self.give)
        prefixes = [prefix for prefix, _ in self.get]
        if prefixes != sorted(set(prefixes)):
            raise InputError("prefixes out of order or named twice")
        if not set(prefixes) <= network.denominations.keys():
            raise InputError("a denomination that the network does not have")
        if sum(count for _, count in self.get) > ROWS_MAX:
            raise InputError(f"a transfer moves at most {ROWS_MAX} billots")

    def get_mils(self, network: Network) -> int:
        """What is asked for is worth, in mils."""
        return sum(network.denominations[prefix].mils * count for prefix, count in self.get)


class Quote(Struct, frozen=True, dict=True):
    """The change server's word: for `give`, paid to `pay`, the customer gets `get`.

    Both are rows of the transfers that are to be: (billot id, new seq). `until` is when it ends,
    by the server's clock.
    """

    network: NetworkId
    server: PublicKey
    customer: OwnerId
    pay: OwnerId
    until: Seconds
    give: Rows
    get: Rows
    signature: Signature

    @classmethod
    def sign(
        cls,
        key: PrivateKey,
        *,
        network_id: str,
        customer: str,
        pay: str,
        until: int,
        give: Iterable[Row],
        get: Iterable[Row],
    ) -> Quote:
        """Sign a quote; sorts the rows."""
        server, ours, theirs = key.public_hex, in_order(get), in_order(give)
        message = quote_bytes(network_id, server, (customer, pay), until, (theirs, ours))
        signature = key.sign(message).hex()
        return cls(network_id, server, customer, pay, until, theirs, ours, signature)

    @lazy
    def signing_bytes(self) -> bytes:
        """What the signature is over."""
        sides, rows = (self.customer, self.pay), (self.give, self.get)
        return quote_bytes(self.network, self.server, sides, self.until, rows)

    @lazy
    def id(self) -> str:
        """64 hex digits; the signature has no part in it."""
        return hashlib.sha256(bytes.fromhex(self.server) + self.signing_bytes).hexdigest()

    @lazy
    def float_owner(self) -> str:
        """The owner id of the change server's own billots."""
        return owner_id(bytes.fromhex(self.server))

    def verify(self) -> bool:
        """Whether the change server signed it."""
        key = bytes.fromhex(self.server)
        return verify(key, self.signing_bytes, bytes.fromhex(self.signature))

    def check(self, network: Network) -> None:
        """Raise InputError unless it is a well-formed quote of `network`."""
        if self.network != network.id:
            raise InputError("a quote of another network")
        check_rows(network, self.give)
        check_rows(network, self.get)
        if set(_ids(self.give)) & set(_ids(self.get)):
            raise InputError("a billot on both sides of a quote")
        if self.pay in (self.customer, self.float_owner) or self.customer == self.float_owner:
            raise InputError("a quote in which two sides are one")

    def fee_mils(self, network: Network) -> int:
        """What is given more than got, in mils."""
        return network.total_mils(_ids(self.give)) - network.total_mils(_ids(self.get))

    def fault_of(self, transfer: Transfer) -> str | None:
        """Why a transfer does not pay this quote, in words; None if it does."""
        if transfer.network != self.network:
            return "it is of another network"
        if transfer.to != self.pay:
            return "it goes to another owner id than the quote's"
        if transfer.billots != self.give:
            return "it moves other billots than the quote names"
        if transfer.sender != self.customer:
            return "it is not the customer's"
        return None if transfer.verify() else "the customer's signature does not hold"


def asking_bytes(
    network_id: str, server: str, give: Iterable[Row], get: Iterable[tuple[str, int]]
) -> bytes:
    """What the customer's signature under a question is over."""
    lines = [
        "billots quote request 1",
        f"network {network_id}",
        f"server {server}",
        *(f"give {billot} {seq}" for billot, seq in give),
        *(f"get {prefix} {count}" for prefix, count in get),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def quote_bytes(
    network_id: str,
    server: str,
    sides: tuple[str, str],
    until: int,
    rows: tuple[Iterable[Row], Iterable[Row]],
) -> bytes:
    """What a quote's signature is over: `sides` are customer and pay, `rows` give and get."""
    (customer, pay), (give, get) = sides, rows
    lines = [
        "billots quote 1",
        f"network {network_id}",
        f"server {server}",
        f"customer {customer}",
        f"pay {pay}",
        f"until {until}",
        *(f"give {billot} {seq}" for billot, seq in give),
        *(f"get {billot} {seq}" for billot, seq in get),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows sorted as in a transfer."""
    return tuple(sorted(rows, key=lambda row: split_billot_id(row[0])))


def check_rows(network: Network, rows: Iterable[Row]) -> None:
    """Raise InputError for rows out of order, or named twice; BillotIdError for strangers."""
    before: tuple[str, int] | None = None
    for billot, _ in rows:
        place = network.check(billot)
        if before is not None and place <= before:
            raise InputError("billots out of order or named twice")
        before = place


def _ids(rows: Iterable[Row]) -> list[str]:
    return [billot for billot, _ in rows]
