"""What an issuer decided to hand out: runs of billots that never moved, to one owner.

An order fixes every transfer that carries it out, byte by byte: its billots in order, 256 to a
transfer, each to seq 1, and an Ed25519 signature has no chance in it. So one line in the journal is
enough for a million billots: whoever crashes in between finds there what was signed, or would be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from billots.network import ROWS_MAX, split_billot_id
from billots.runs import Run, billots_of, count_billots, has
from billots.transfer import NetworkId, OwnerId, PublicKey

ORDER_MAX = 10_000_000
"""Billots in one order: some 40,000 transfers."""


OrderId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Order(Struct, frozen=True):
    """An issue. `asked` is what it was asked for as, `servers` the keys that answered then."""

    network: NetworkId
    to: OwnerId
    asked: str
    runs: tuple[Run, ...]
    servers: tuple[PublicKey, ...] = ()

    @property
    def id(self) -> str:
        """SHA-256 of the order, hex."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def count(self) -> int:
        """How many billots it hands out."""
        return count_billots(self.runs)

    def parts(self) -> Iterator[list[str]]:
        """The billots of each of its transfers, in order."""
        part: list[str] = []
        for billot in billots_of(self.runs):
            part.append(billot)
            if len(part) == ROWS_MAX:
                yield part
                part = []
        if part:
            yield part

    def has(self, billot: str) -> bool:
        """Whether it hands out this billot."""
        return has(self.runs, *split_billot_id(billot))
