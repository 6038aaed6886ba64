"""A statement: a server's signed answer to who owns what (DESIGN, section 6).

Each row of it is a vote: the server's word on (id, seq, from, owner), good for ever.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from billots.crypto import PrivateKey, verify
from billots.errors import InputError
from billots.holding import SILENT, Holding, Status
from billots.network import ROWS_MAX, Network
from billots.transfer import BillotId, NetworkId, OwnerId, PublicKey, Seq, Signature, Transfer

NULL = Raw(b"null")
Nonce = Annotated[str, Meta(pattern=r"^[0-9a-f]{16,64}\Z")]
PROOF_ROWS_MAX = 16
"""Ids in one question that asks for proofs."""

_NONCE = re.compile(r"[0-9a-f]{16,64}", re.ASCII)


class VoteRow(Struct, frozen=True, gc=False, rename={"sender": "from"}):
    """One billot as the server has it; `value` is for people, nothing trusts it."""

    id: BillotId
    seq: Seq
    sender: OwnerId | None
    owner: OwnerId | None
    status: Status
    value: str

    @property
    def holding(self) -> Holding:
        """The row as a holding."""
        return Holding(self.seq, self.sender, self.owner, self.status)


class StatementRow(VoteRow, frozen=True, rename={"sender": "from"}):
    """A row with its proofs, where they were asked for: `NULL` if there is none, or no room.

    `receipt` is decoded by who has a use for it (`billots.receipt.decode_receipt`).
    """

    transfer: Transfer | UnsetType | None = UNSET
    receipt: Raw | UnsetType = UNSET


class SignedStatement(Struct, frozen=True):
    """A statement as it is shown to others: what was signed, without proofs."""

    network: NetworkId
    server: PublicKey
    billots: Annotated[tuple[VoteRow, ...], Meta(min_length=1, max_length=ROWS_MAX)]
    nonce: Nonce
    signature: Signature


class Statement(Struct, frozen=True, omit_defaults=True):
    """Rows in the order in which they were asked; signed if a nonce was given."""

    network: NetworkId
    server: PublicKey
    billots: Annotated[tuple[StatementRow, ...], Meta(max_length=ROWS_MAX)]
    nonce: Nonce | UnsetType = UNSET
    signature: Signature | UnsetType = UNSET

    @classmethod
    def make(
        cls,
        network: Network,
        server: str,
        holdings: Iterable[tuple[str, Holding]],
        proofs: Sequence[tuple[Transfer | None, Raw]] | None = None,
    ) -> Statement:
        """An unsigned statement; `proofs` (transfer and receipt, one a row) where asked for."""
        rows: list[StatementRow] = []
        value = network.values
        for index, (billot, holding) in enumerate(holdings):
            proof = () if proofs is None else proofs[index]
            row = StatementRow(
                billot,
                holding.seq,
                holding.sender,
                holding.owner,
                holding.status,
                value[billot[: billot.index("-")]],
                *proof,
            )
            rows.append(row)
        return cls(network.id, server, tuple(rows))

    def sign(self, key: PrivateKey, nonce: str) -> Statement:
        """The same statement, signed for the one who sent `nonce`."""
        signature = key.sign(statement_bytes(self.network, self.server, nonce, self.billots))
        return Statement(self.network, self.server, self.billots, nonce, signature.hex())

    def signed(self) -> SignedStatement | None:
        """What of it is a set of votes; None if it isn't signed."""
        if isinstance(self.nonce, UnsetType) or isinstance(self.signature, UnsetType):
            return None
        rows = tuple(
            VoteRow(row.id, row.seq, row.sender, row.owner, row.status, row.value)
            for row in self.billots
        )
        return SignedStatement(self.network, self.server, rows, self.nonce, self.signature)

    def check_arguments(
        self, network_id: str, nonce: str, billots: Sequence[str]
    ) -> tuple[bytes, bytes, bytes] | None:
        """Public key, message and signature to verify; None if it answers another question.

        None for another network or nonce, for rows other than those asked, for a row that
        says of a silent billot whose it is, and without a signature.
        """
        if self.network != network_id or self.nonce != nonce:
            return None
        if [row.id for row in self.billots] != list(billots):
            return None
        if isinstance(self.signature, UnsetType):
            return None
        if not all(_is_sound(row) for row in self.billots):
            return None
        message = statement_bytes(self.network, self.server, nonce, self.billots)
        return bytes.fromhex(self.server), message, bytes.fromhex(self.signature)

    def answers(
        self,
        network_id: str,
        nonce: str,
        billots: Sequence[str],
        verify: Callable[[bytes, bytes, bytes], bool] = verify,
    ) -> bool:
        """Whether this is a signed answer to just this question: a set of votes.

        False where `check_arguments` gives None, and for a bad signature.
        """
        arguments = self.check_arguments(network_id, nonce, billots)
        return arguments is not None and verify(*arguments)


def statement_bytes(network_id: str, server: str, nonce: str, rows: Iterable[VoteRow]) -> bytes:
    """What a statement's signature is over."""
    lines = "".join(
        [f"{r.id} {r.seq} {r.sender or '-'} {r.owner or '-'} {r.status.value}\n" for r in rows]
    )
    head = f"billots statement 1\nnetwork {network_id}\nserver {server}\nnonce {nonce}\n"
    return (head + lines).encode()


def new_nonce() -> str:
    """A fresh nonce of 32 hex digits."""
    return secrets.token_hex(16)


def check_nonce(nonce: str) -> str:
    """The nonce itself; raises InputError unless it is 16 to 64 lower-case hex digits."""
    if _NONCE.fullmatch(nonce) is None:
        raise InputError("a nonce is 16 to 64 lower-case hex digits")
    return nonce


def _is_sound(row: VoteRow) -> bool:
    if row.status in SILENT:
        return row.seq == 0 and row.sender is None and row.owner is None
    return row.owner is not None and (row.sender is None) == (row.seq == 0)
