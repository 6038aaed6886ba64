"""A transfer: the signed message that moves billots to a new owner (DESIGN, section 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated

from msgspec import Meta, Struct

from billots.crypto import PrivateKey, owner_id, verify
from billots.errors import InputError
from billots.lazy import lazy
from billots.network import ROWS_MAX, Network, check_owner_id, split_billot_id

SEQ_MAX = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 8259, section 6)."""

_HEX = b"0123456789abcdef"

# Compiled by msgspec into its decoder; \Z because $ also matches before a last LF.
Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
BillotId = Annotated[str, Meta(pattern=r"^[a-z]{1,3}-[1-9][0-9]{0,17}\Z")]
OwnerId = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]
NetworkId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
PublicKey = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]
TransferId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digits32 = Annotated[str, Meta(min_length=32, max_length=32)]
Digits64 = Annotated[str, Meta(min_length=64, max_length=64)]
Digits128 = Annotated[str, Meta(min_length=128, max_length=128)]
"""Of these only the length is held by the decoder: see `Transfer`."""
Row = tuple[str, Annotated[int, Meta(ge=1, le=SEQ_MAX)]]
Rows = Annotated[tuple[Row, ...], Meta(min_length=1, max_length=ROWS_MAX)]


class Transfer(Struct, frozen=True, dict=True):
    """`billots` is rows of (billot id, new seq), sorted by (prefix, number), none twice.

    The decoder holds shapes and ranges; `check` holds what needs a network. The four texts are
    lower-case hex digits: one look at them together takes a third of the time of four patterns.
    """

    network: Digits32
    to: Digits128
    billots: Rows
    public_key: Digits64
    signature: Digits128

    def __post_init__(self) -> None:
        """Raise InputError unless the texts are hex digits, whoever makes it."""
        texts = f"{self.network}{self.to}{self.public_key}{self.signature}"
        if texts.encode().translate(None, _HEX):
            raise InputError("a network, an owner, a key or a signature is no lower-case hex")

    @classmethod
    def sign(
        cls, network: Network, key: PrivateKey, to: str, rows: Iterable[tuple[str, int]]
    ) -> Transfer:
        """Sign a transfer of (billot id, new seq) rows to the owner `to`.

        Sorts the rows; raises InputError for a billot named twice, no or too many rows, an id
        or an owner that isn't one.
        """
        check_owner_id(to)
        pairs = [(billot, seq) for billot, seq in rows]
        ordered = tuple(sorted(pairs, key=lambda row: network.check(row[0])))
        if not 1 <= len(ordered) <= ROWS_MAX:
            raise InputError(f"a transfer moves 1 to {ROWS_MAX} billots, not {len(ordered)}")
        if len({billot for billot, _ in ordered}) != len(ordered):
            raise InputError("a billot is named twice")
        if not all(type(seq) is int and 1 <= seq <= SEQ_MAX for _, seq in ordered):
            raise InputError(f"a new seq is a whole number from 1 to {SEQ_MAX}")
        signature = key.sign(signing_bytes(network.id, to, ordered)).hex()
        return cls(network.id, to, ordered, key.public_hex, signature)

    @lazy
    def signing_bytes(self) -> bytes:
        """What the signature is over."""
        return signing_bytes(self.network, self.to, self.billots)

    @lazy
    def raw_key(self) -> bytes:
        """The signer's raw 32-byte public key."""
        return bytes.fromhex(self.public_key)

    @lazy
    def id(self) -> str:
        """The transfer id; the signature has no part in it, so it can't be varied."""
        return hashlib.sha256(self.raw_key + self.signing_bytes).hexdigest()

    @lazy
    def sender(self) -> str:
        """The owner id of the signer."""
        return owner_id(self.raw_key)

    @property
    def check_arguments(self) -> tuple[bytes, bytes, bytes]:
        """Public key, message and signature, as `billots.crypto.verify` takes them."""
        return self.raw_key, self.signing_bytes, bytes.fromhex(self.signature)

    def verify(self, verify: Callable[[bytes, bytes, bytes], bool] = verify) -> bool:
        """Whether the signature is good."""
        return verify(*self.check_arguments)

    def check(self, network: Network) -> None:
        """Raise BillotIdError for a billot not of `network`, InputError for rows out of order."""
        before: tuple[str, int] | None = None
        for billot, _ in self.billots:
            place = network.check(billot)
            if before is not None and place <= before:
                raise InputError("billots out of order or named twice")
            before = place


def signing_bytes(network_id: str, to: str, rows: Iterable[tuple[str, int]]) -> bytes:
    """The bytes that a transfer's signature is over; the rows must be in order."""
    lines = "".join([f"{billot} {seq}\n" for billot, seq in rows])
    return f"billots transfer 1\nnetwork {network_id}\nto {to}\n{lines}".encode()


def conflict(first: Transfer, second: Transfer) -> list[tuple[str, int]]:
    """The (id, seq) rows that two transfers of one owner move to different owners.

    None across networks: one key may well own a-1 on two of them.
    """
    if first.network != second.network or first.public_key != second.public_key:
        return []
    if first.to == second.to:
        return []
    both = set(first.billots) & set(second.billots)
    return sorted(both, key=lambda row: split_billot_id(row[0]))
