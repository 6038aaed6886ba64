"""Where an answer goes."""

from __future__ import annotations

from msgspec import Struct


class BatchReply:
    """Answers to the requests of one JSON-RPC batch, sent together when all are there."""

    __slots__ = ("answers", "left")

    def __init__(self, count: int) -> None:
        self.left = count
        self.answers: list[tuple[bytes, bytes]] = []


class Reply(Struct, frozen=True):
    """Where an answer goes. `id` is empty for a notification, which gets none.

    `payer` is the address that pays for what the request wastes, even if its connection is
    gone by then; empty if nobody does.
    """

    conn: int
    id: bytes
    batch: BatchReply | None = None
    payer: str = ""
