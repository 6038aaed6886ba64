"""Feed batches: what a server took, in its own order, each row a vote (DESIGN, section 6)."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import lt
from typing import Annotated

from msgspec import Meta, Struct

from billots.crypto import PrivateKey, verify
from billots.errors import InputError
from billots.merkle import root_hash
from billots.network import split_billot_id
from billots.transfer import SEQ_MAX, PublicKey, Signature, Transfer

ROWS_MAX = 256

Root = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
RowTexts = Annotated[tuple[Annotated[str, Meta(max_length=8192)], ...], Meta(max_length=ROWS_MAX)]

_ID_DIGITS = 64
_LSN = r"[1-9][0-9]{0,15}"
_ID = r"[a-z]{1,3}-[1-9][0-9]{0,17}"
_TRANSFER_ROW = re.compile(rf"({_LSN}) ([0-9a-f]{{64}})((?: {_ID})*)", re.ASCII)
_ADOPTED_ROW = re.compile(
    rf"({_LSN}) adopted ({_ID}) ([1-9][0-9]{{0,15}}) ([0-9a-f]{{128}}) ([0-9a-f]{{128}})", re.ASCII
)


class TransferRow(Struct, frozen=True, gc=False):
    """The server took this transfer: all of its rows, or only the `billots` named."""

    lsn: int
    transfer_id: str
    billots: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The row as it is hashed."""
        return " ".join((str(self.lsn), self.transfer_id, *self.billots))


class AdoptedRow(Struct, frozen=True, gc=False):
    """The server adopted this from a quorum of the servers that it trusts."""

    lsn: int
    billot: str
    seq: int
    sender: str
    owner: str

    @property
    def text(self) -> str:
        """The row as it is hashed."""
        return f"{self.lsn} adopted {self.billot} {self.seq} {self.sender} {self.owner}"


FeedRow = TransferRow | AdoptedRow


class Table(Struct, frozen=True):
    """The rows of a batch as they are read, in order of lsn.

    `ids` has the transfer that a row names as a whole, as nearly all do: of n servers each reads
    n - 1 such rows for every transfer, and a struct for each would cost as much as all else.
    Where it is empty, `others` has the row, by its lsn.
    """

    lsns: list[int]
    ids: list[str]
    others: dict[int, FeedRow] = {}

    def __len__(self) -> int:
        return len(self.lsns)

    def __iter__(self) -> Iterator[FeedRow]:
        return map(self.row, self.lsns, self.ids)

    def row(self, lsn: int, transfer_id: str) -> FeedRow:
        """One of its rows, by its place in both lists."""
        return TransferRow(lsn, transfer_id) if transfer_id else self.others[lsn]

    def after(self, lsn: int) -> Table:
        """Those of its rows that are above an lsn."""
        at = bisect_right(self.lsns, lsn)
        return Table(self.lsns[at:], self.ids[at:], self.others) if at else self

    @property
    def adopted(self) -> list[AdoptedRow]:
        """Those that say what was adopted."""
        return [row for row in self.others.values() if isinstance(row, AdoptedRow)]


def parse_row(text: str) -> FeedRow:
    """A row from its text; raises InputError unless it is written just as `text` writes it."""
    match = _TRANSFER_ROW.fullmatch(text)
    if match is not None:
        billots = tuple(match[3].split())
        places = [split_billot_id(billot) for billot in billots]
        if any(a >= b for a, b in itertools.pairwise(places)):
            raise InputError("a feed row names billots out of order")
        return TransferRow(_in_range(match[1]), match[2], billots)
    match = _ADOPTED_ROW.fullmatch(text)
    if match is None:
        raise InputError("not a feed row")
    return AdoptedRow(_in_range(match[1]), match[2], _in_range(match[3]), match[4], match[5])


class FeedBatch(Struct, frozen=True):
    """Rows under one signature; `transfers` are bodies that travel along, unsigned by it."""

    server: PublicKey
    rows: RowTexts
    root: Root
    signature: Signature
    transfers: Annotated[tuple[Transfer, ...], Meta(max_length=ROWS_MAX)] = ()

    @classmethod
    def sign(
        cls,
        network_id: str,
        key: PrivateKey,
        rows: Sequence[FeedRow],
        transfers: Sequence[Transfer] = (),
    ) -> FeedBatch:
        """A batch of at most 256 rows with rising lsn."""
        return cls.sign_texts(network_id, key, [row.text for row in rows], transfers)

    @classmethod
    def sign_texts(
        cls,
        network_id: str,
        key: PrivateKey,
        texts: Sequence[str],
        transfers: Sequence[Transfer] = (),
    ) -> FeedBatch:
        """The same from the texts of the rows."""
        root = root_of(texts)
        signature = key.sign(feed_bytes(network_id, key.public_hex, len(texts), root)).hex()
        return cls(key.public_hex, tuple(texts), root, signature, tuple(transfers))

    @property
    def last_lsn(self) -> int:
        """The lsn of its last row; 0 if it has none."""
        return parse_row(self.rows[-1]).lsn if self.rows else 0

    def parsed(self) -> list[FeedRow]:
        """The rows; raises InputError for a malformed one or an lsn that doesn't rise."""
        return list(self.table())

    def table(self) -> Table:
        """The same as lists."""
        found = _whole_rows(self.rows)
        if found is not None:
            return found
        rows = [parse_row(text) for text in self.rows]
        if any(a.lsn >= b.lsn for a, b in itertools.pairwise(rows)):
            raise InputError("feed rows out of order")
        ids = [_whole(row) for row in rows]
        others = {row.lsn: row for row, name in zip(rows, ids, strict=True) if not name}
        return Table([row.lsn for row in rows], ids, others)

    def check_arguments(self, network_id: str) -> tuple[bytes, bytes, bytes] | None:
        """Public key, message and signature to verify, or None if the root is another's."""
        if root_of(self.rows) != self.root:
            return None
        message = feed_bytes(network_id, self.server, len(self.rows), self.root)
        return bytes.fromhex(self.server), message, bytes.fromhex(self.signature)

    def is_signed(
        self, network_id: str, verify: Callable[[bytes, bytes, bytes], bool] = verify
    ) -> bool:
        """Whether its root is its rows' and its signature is good."""
        arguments = self.check_arguments(network_id)
        return arguments is not None and verify(*arguments)


def root_of(texts: Sequence[str]) -> str:
    """The Merkle root over row texts, hex."""
    return root_hash([text.encode() for text in texts]).hex()


def feed_bytes(network_id: str, server: str, count: int, root: str) -> bytes:
    """What a feed batch's signature is over."""
    return f"billots feed 1\nnetwork {network_id}\nserver {server}\nrows {count} {root}\n".encode()


def _whole(row: FeedRow) -> str:
    """The transfer that a row names as a whole; empty if it says something else."""
    return row.transfer_id if isinstance(row, TransferRow) and not row.billots else ""


def _whole_rows(texts: Sequence[str]) -> Table | None:
    """Rows that all name a whole transfer, as they almost always do; None for all others.

    One look at them together takes a third of the time of `parse_row` for each.
    """
    words = " ".join(texts).split(" ")
    numbers, ids = words[::2], words[1::2]
    if not texts or len(words) != 2 * len(texts) or set(map(len, ids)) != {_ID_DIGITS}:
        return None
    if [len(number) + 1 + _ID_DIGITS for number in numbers] != list(map(len, texts)):
        return None  # the same words, but not two in each
    if "".join(words).encode().translate(None, b"0123456789abcdef"):
        return None
    try:
        lsns = list(map(int, numbers))
    except ValueError:
        return None
    if lsns[0] < 1 or lsns[-1] > SEQ_MAX or not all(map(lt, lsns, lsns[1:])):
        return None
    return Table(lsns, ids) if list(map(str, lsns)) == numbers else None  # no zero before them


def _in_range(digits: str) -> int:
    number = int(digits)
    if number > SEQ_MAX:
        raise InputError("a number in a feed row is out of range")
    return number
