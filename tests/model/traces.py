"""The named traces that broke earlier rules, as steps that a world of servers is put through.

A world is a `Cluster` of the model, under any rules, or real nodes (test_traces_with_nodes.py).
"""

from __future__ import annotations

from typing import Protocol

from rules import Outcome, Row, Vote

A, B, C, D, E, F = range(6)


class Servers(Protocol):
    """What a trace needs: "S1", "S2", … are honest, liars sign whatever is asked."""

    def take(self, row: Row, *servers: str) -> list[Outcome]:
        """A wallet, or another server, brings a transfer."""

    def hear(self, vote: Vote, *servers: str) -> list[bool]:
        """All that was ever said for a vote reaches a server: does it settle or adopt it?"""

    def wipe(self, server: str) -> None:
        """A server loses its memory."""

    def read(self, server: str) -> object:
        """It has asked all the others."""

    def receipts(self, *, old: bool = False) -> list[Vote]:
        """What is final for a payee."""


def merge(world: Servers) -> None:
    """n=7, f=2: two branches meet again at seq 2 in one owner, and are taken for one."""
    world.take((1, A, B), "S1", "S2", "S3")
    world.take((1, A, C), "S4", "S5")
    world.hear((1, A, B), "S1")
    world.take((2, B, D), "S1")
    world.take((2, C, D), "S4", "S5")
    world.hear((2, C, D), "S2")
    world.hear((1, A, C), "S3")
    assert (1, A, B) in world.receipts()


def stranding(world: Servers) -> None:
    """n=4: who went on along the losing branch can't come back to the final payment."""
    world.take((1, A, B), "S1", "S2")
    world.take((1, A, C), "S3")
    world.take((2, C, E), "S3")
    assert (1, A, B) in world.receipts()


def receipt_rolls_back(world: Servers) -> None:
    """n=3: an old receipt takes a server back to seq 1, and it votes at seq 2 once more."""
    world.take((1, A, B), "S1", "S2")
    world.hear((1, A, B), "S1", "S2", "S3")
    world.take((2, B, D), "S1", "S2")
    assert (2, B, D) in world.receipts()
    world.hear((1, A, B), "S2")
    world.take((2, B, E), "S2", "S3")


def amnesia(world: Servers) -> None:
    """n=3: S1 votes for B, S2 too; S1 loses its memory and is offered C."""
    world.take((1, A, B), "S1", "S2")
    world.take((1, A, C), "S3")
    assert (1, A, B) in world.receipts()
    world.wipe("S1")
    world.read("S1")
    world.take((1, A, C), "S1")


def nameless_from(world: Servers) -> None:
    """n=4, one liar: a holding says too much about the seq below it."""
    world.take((1, A, B), "S1", "S2")
    world.hear((1, A, B), "S1", "S2")
    world.take((2, B, D), "S1", "S2")
    world.hear((2, B, D), "S1")
    world.take((3, D, E), "S1")
    assert (1, A, B) in world.receipts()
    world.hear((2, C, D), "S2")
    world.hear((1, A, C), "S3")
