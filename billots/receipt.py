"""Receipts: signed votes that show others what a quorum has (DESIGN, sections 5 and 6).

A receipt is a transfer with votes for it, each as its server signed it: a statement, or one row
of a feed batch with its path to the batch's root. Whoever holds one can show it to anybody who
trusts enough of the same servers, years later and offline.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from billots.errors import InputError
from billots.feed import ROWS_MAX as BATCH_ROWS_MAX
from billots.feed import AdoptedRow, FeedBatch, Root, feed_bytes, parse_row
from billots.holding import Status
from billots.merkle import Tree, root_from_path
from billots.network import Network
from billots.quorum import liars_max, safe_quorum
from billots.statement import SignedStatement, statement_bytes
from billots.transfer import PublicKey, Row, Signature, Transfer

VOTES_MAX = 256
"""Votes in one receipt; one for each server key counts."""

Check = tuple[bytes, bytes, bytes]
"""Public key, message, signature, as `billots.crypto.verify` takes them."""

_PathHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FeedVote(Struct, frozen=True):
    """One row of a feed batch: the batch's head and signature, and the row's path to its root."""

    server: PublicKey
    count: Annotated[int, Meta(ge=1, le=BATCH_ROWS_MAX)]
    root: Root
    signature: Signature
    row: Annotated[str, Meta(max_length=8192)]
    index: Annotated[int, Meta(ge=0, lt=BATCH_ROWS_MAX)]
    path: Annotated[tuple[_PathHash, ...], Meta(max_length=8)]

    @classmethod
    def of(cls, batch: FeedBatch, index: int, tree: Tree | None = None) -> FeedVote:
        """The row number `index` of a signed batch; `tree` is that of its rows, if at hand."""
        tree = tree or Tree([text.encode() for text in batch.rows])
        path = tuple(node.hex() for node in tree.path(index))
        count, row = len(batch.rows), batch.rows[index]
        return cls(batch.server, count, batch.root, batch.signature, row, index, path)

    @property
    def leads_to_root(self) -> bool:
        """Whether row and path lead to the root that was signed."""
        path = [bytes.fromhex(node) for node in self.path]
        root = root_from_path(self.row.encode(), self.index, self.count, path)
        return root is not None and root.hex() == self.root


class SignedVote(Struct, frozen=True, omit_defaults=True):
    """One server's vote, in one of its two forms."""

    statement: SignedStatement | UnsetType = UNSET
    feed: FeedVote | UnsetType = UNSET


class Receipt(Struct, frozen=True):
    """A transfer and votes for rows of it."""

    transfer: Transfer
    votes: Annotated[tuple[SignedVote, ...], Meta(min_length=1, max_length=VOTES_MAX)]

    def check(self, network: Network) -> None:
        """Raise InputError unless the transfer is a well-formed one of `network`."""
        if self.transfer.network != network.id:
            raise InputError("a receipt of another network")
        self.transfer.check(network)

    def words(self) -> list[Word]:
        """What each vote says of the transfer; votes that say nothing of it are left out.

        Cheap: no signature is checked. Raises InputError for a malformed vote.
        """
        return [word for _, word in _spoken(self)]


class Word(Struct, frozen=True):
    """What one server signed about rows of a transfer, as far as it agrees with them.

    `claims` are those of the `rows` that it says are settled. `check` must hold for it to count;
    `vote` is what says all this.
    """

    server: str
    rows: frozenset[Row]
    claims: frozenset[Row]
    check: Check
    vote: SignedVote


class Electorate(Struct, frozen=True):
    """Whose votes count for one who judges a receipt.

    `entries` says for each server key which entry of the list it stands for, `own` among them
    if the judge is a server. `retired` are keys that entries had before: one of those counts
    for an entry that says nothing under its present key, for n ≥ 4 and as one of the f. A key
    that is some entry's now counts for that one alone.
    """

    n: int
    entries: Mapping[str, str]
    retired: Mapping[str, str] = {}
    own: str | None = None

    def settled(
        self, transfer: Transfer, words: Iterable[Word], *, by_claims: bool = True
    ) -> list[Row]:
        """The rows of the transfer that these words settle, once their signatures held.

        Votes of a quorum settle; for a server so do max(2, f+1) settled claims of others.
        """
        words = list(words)
        f, settled = liars_max(self.n), []
        for row in transfer.billots:
            others = (w.server for w in words if row in w.claims and w.server != self.own)
            claims = self.count(others) if by_claims else 0
            if self.votes(row, words) >= safe_quorum(self.n) or claims >= max(2, f + 1):
                settled.append(row)
        return settled

    def votes(self, row: Row, words: Iterable[Word]) -> int:
        """How many of the list vote for this row of a transfer, once their signatures held."""
        return self.count(word.server for word in words if row in word.rows)

    def count(self, servers: Iterable[str]) -> int:
        """How many entries of the list these server keys stand for."""
        keys = set(servers)
        present = {self.entries[key] for key in keys if key in self.entries}
        if self.n < 4:
            return len(present)
        old = {self.retired[k] for k in keys if k in self.retired and k not in self.entries}
        return len(present) + min(liars_max(self.n), len(old - present))


def judge(
    receipt: Receipt, electorate: Electorate, held: Sequence[bool], *, by_claims: bool = True
) -> list[Row]:
    """The rows that a receipt settles, given which of `checks(receipt)` held."""
    if not held or not held[0]:
        return []
    pairs = zip(receipt.words(), held[1:], strict=True)
    words = [word for word, good in pairs if good]
    return electorate.settled(receipt.transfer, words, by_claims=by_claims)


def checks(receipt: Receipt) -> list[Check]:
    """The signatures that a receipt turns on: the transfer's, then one for each of its words."""
    return [receipt.transfer.check_arguments, *(word.check for word in receipt.words())]


def trimmed(
    receipt: Receipt, keys: Collection[str], held: Sequence[bool] | None = None
) -> Receipt | None:
    """The same receipt with the votes of these server keys alone, each as short as it can be.

    Of one key only votes that add rows to its others are kept. `held` are the outcomes of
    `checks(receipt)`: what didn't hold is dropped. Without it a vote with a bad signature can
    take the place of a good one. None if no vote is left.
    """
    spoken = _spoken(receipt)
    good = held[1:] if held is not None else [True] * len(spoken)
    votes: list[SignedVote] = []
    said: dict[str, frozenset[tuple[Row, bool]]] = {}
    for (vote, word), holds in zip(spoken, good, strict=True):
        news = {(row, row in word.claims) for row in word.rows}
        known = said.get(word.server, frozenset())
        if holds and word.server in keys and not news <= known:
            said[word.server] = known | news
            votes.append(vote)
    return Receipt(receipt.transfer, tuple(votes)) if votes else None


def server_of(vote: SignedVote) -> str:
    """The key of the server that is said to have signed a vote."""
    if isinstance(vote.statement, SignedStatement):
        return vote.statement.server
    return vote.feed.server if isinstance(vote.feed, FeedVote) else ""


_decoder = msgspec.json.Decoder(Receipt)


def decode_receipt(data: bytes | Raw) -> Receipt:
    """A receipt from its JSON; raises InputError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("not a receipt") from error


def _spoken(receipt: Receipt) -> list[tuple[SignedVote, Word]]:
    """The votes that say something of the transfer, and what."""
    pairs = ((vote, _word(receipt.transfer, vote)) for vote in receipt.votes)
    return [(vote, word) for vote, word in pairs if word.rows]


def _word(transfer: Transfer, vote: SignedVote) -> Word:
    if isinstance(vote.statement, SignedStatement) and isinstance(vote.feed, UnsetType):
        return _word_of_statement(transfer, vote.statement)
    if isinstance(vote.feed, FeedVote) and isinstance(vote.statement, UnsetType):
        return _word_of_feed(transfer, vote.feed)
    raise InputError("a vote is a statement or a feed row")


def _word_of_statement(transfer: Transfer, statement: SignedStatement) -> Word:
    if statement.network != transfer.network:
        raise InputError("a vote of another network")
    wanted, said = set(transfer.billots), (transfer.sender, transfer.to)
    agreed = [
        ((row.id, row.seq), row.status)
        for row in statement.billots
        if (row.id, row.seq) in wanted and (row.sender, row.owner) == said
    ]
    message = statement_bytes(
        statement.network, statement.server, statement.nonce, statement.billots
    )
    check = (bytes.fromhex(statement.server), message, bytes.fromhex(statement.signature))
    rows = frozenset(row for row, status in agreed if status not in _SILENT)
    claims = frozenset(row for row, status in agreed if status is Status.SETTLED)
    return Word(statement.server, rows, claims, check, SignedVote(statement=statement))


_SILENT = (Status.UNKNOWN, Status.UNISSUED)


def _word_of_feed(transfer: Transfer, vote: FeedVote) -> Word:
    row = parse_row(vote.row)
    if not vote.leads_to_root:
        raise InputError("a feed row that is not in its batch")
    rows: frozenset[Row]
    claims: frozenset[Row] = frozenset()
    if isinstance(row, AdoptedRow):
        said = (row.sender, row.owner) == (transfer.sender, transfer.to)
        named = {(row.billot, row.seq)} if said else set()
        claims = rows = frozenset(named & set(transfer.billots))
    elif row.transfer_id == transfer.id:
        only = set(row.billots)
        rows = frozenset(r for r in transfer.billots if not only or r[0] in only)
    else:
        rows = frozenset()
    message = feed_bytes(transfer.network, vote.server, vote.count, vote.root)
    check = (bytes.fromhex(vote.server), message, bytes.fromhex(vote.signature))
    return Word(vote.server, rows, claims, check, SignedVote(feed=vote))
