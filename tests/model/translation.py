"""The model's small integers as real owners, transfers and holdings, and back."""

from __future__ import annotations

from functools import cache

import rules as rule
from network import ANN, BOB, CAT, DAN, EVE, MINT, NET
from rules import NOBODY, Row, Status, Vote

from billots.holding import Holding
from billots.holding import Status as RealStatus
from billots.transfer import Transfer

OWNERS = [MINT, ANN, BOB, CAT, DAN, EVE]
"""Owner 0 is the issuer, who owns what never moved."""

_NUMBERS = {key.owner: number for number, key in enumerate(OWNERS)} | {None: NOBODY}


@cache
def transfer(row: Row, *billots: str) -> Transfer:
    """The transfer that a row of the model stands for, of these billots."""
    seq, signer, to = row
    rows = [(billot, seq) for billot in billots]
    return Transfer.sign(NET, OWNERS[signer], OWNERS[to].owner, rows)


def bundle(signer: int, to: int, rows: list[tuple[str, int]]) -> Transfer:
    """A transfer of billots at several seqs."""
    return Transfer.sign(NET, OWNERS[signer], OWNERS[to].owner, rows)


def unsigned(row: Row, billots: list[str]) -> Transfer:
    """What needs no signature to be judged; a row may have seq 0, which none on the wire has."""
    seq, signer, to = row
    rows = tuple((billot, seq) for billot in billots)
    return Transfer(NET.id, OWNERS[to].owner, rows, OWNERS[signer].public_hex, "0" * 128)


def real(holding: rule.Holding) -> Holding:
    """A holding of the model as a server says it."""
    seq, sender, owner, status = holding
    before = None if sender == NOBODY else OWNERS[sender].owner
    return Holding(seq, before, OWNERS[owner].owner, RealStatus(status.value))


def small(holding: Holding) -> rule.Holding:
    """A server's holding as the model has it."""
    status = Status(holding.status.value)
    return holding.seq, _NUMBERS[holding.sender], _NUMBERS[holding.owner], status


def billots_of(count: int, first: int = 1) -> list[str]:
    """So many billots of the issuer's that never moved."""
    return [f"a-{number}" for number in range(first, first + count)]


def vote_of(transfer: Transfer) -> Vote:
    """The vote that somebody gives who takes the first row of a transfer."""
    return transfer.billots[0][1], _NUMBERS[transfer.sender], _NUMBERS[transfer.to]
