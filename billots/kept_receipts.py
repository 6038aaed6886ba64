"""The receipts that a wallet keeps: for each of its billots the newest (DESIGN, section 5, rule 5).

One SQLite file, because lists keep ten thousands at once and two wallets may run: a payee that
was final once can show it for ever. A statement on sixteen billots is written once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from billots.errors import InputError, JournalError
from billots.network import shown
from billots.receipt import Receipt, decode_receipt, server_of
from billots.user_data import naming, user_data_directory

VERSION = 1
LOCKED_S_MAX = 5.0
"""How long another wallet's writing is waited for."""
_APPLICATION_ID = 0x62696C6C
_IDS_MAX = 500
"""Ids in one question; SQLite takes 999 in old builds."""

_DAMAGE = ("malformed", "not a database", "no such", "decode", "corrupt", "another type")

_SCHEMA = """
CREATE TABLE receipts (
    network TEXT NOT NULL, billot TEXT NOT NULL, seq INTEGER NOT NULL, transfer BLOB NOT NULL,
    PRIMARY KEY (network, billot)) WITHOUT ROWID;
CREATE INDEX receipts_by_transfer ON receipts (transfer);
CREATE TABLE transfers (id BLOB PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE votes (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, server TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE counted (
    network TEXT NOT NULL, billot TEXT NOT NULL, vote INTEGER NOT NULL,
    PRIMARY KEY (network, billot, vote)) WITHOUT ROWID;
CREATE INDEX counted_by_vote ON counted (vote);
"""


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A receipt kept for one of its transfer's billots, at the seq that it proves."""

    billot: str
    seq: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a billot, in short: its seq, and whose votes."""

    seq: int
    servers: frozenset[str]


class KeptReceipts:
    """The file ``receipts.sqlite``, made (0600) when something is first kept.

    `directory` is the user data directory unless given. Every method raises JournalError for
    a file that can't be read or written, is damaged, locked, or of a newer program.
    """

    def __init__(
        self, directory: str | Path | None = None, *, locked_s: float = LOCKED_S_MAX
    ) -> None:
        self._given = directory
        self._locked_s = locked_s

    @property
    def path(self) -> Path:
        """Where the file is; raises JournalError if its directory can't be made."""
        return user_data_directory(self._given) / "receipts.sqlite"

    def summary(self, network_id: str, billots: Sequence[str] | None = None) -> dict[str, Kept]:
        """What is kept of these billots (else of all), by id."""
        seqs: dict[str, int] = {}
        where = network_id, billots
        servers: dict[str, set[str]] = {}
        question = (
            "SELECT r.billot, r.seq, v.server FROM receipts r "
            "JOIN counted c ON c.network = r.network AND c.billot = r.billot "
            "JOIN votes v ON v.id = c.vote WHERE r.network = ?"
        )
        with self._reading() as database:
            types = (str, int, str)
            for row in _rows(database, question, "r.billot", where, types):
                seqs[row[0]] = row[1]
                servers.setdefault(row[0], set()).add(row[2])
        return {billot: Kept(seq, frozenset(servers[billot])) for billot, seq in seqs.items()}

    def find(self, network_id: str, billots: Sequence[str]) -> dict[str, KeptReceipt]:
        """The receipts kept of these billots, by id."""
        heads: dict[str, tuple[int, bytes]] = {}
        votes: dict[str, list[bytes]] = {}
        where = network_id, billots
        heading = (
            "SELECT r.billot, r.seq, t.body FROM receipts r "
            "JOIN transfers t ON t.id = r.transfer WHERE r.network = ?"
        )
        counted = (
            "SELECT c.billot, v.body FROM counted c JOIN votes v ON v.id = c.vote "
            "WHERE c.network = ?"
        )
        with self._reading() as database:
            head, vote = (str, int, bytes), (str, bytes)
            for row in _rows(database, heading, "r.billot", where, head):
                heads[row[0]] = row[1], row[2]
            for row in _rows(database, counted, "c.billot", where, vote):
                votes.setdefault(row[0], []).append(row[1])
        try:
            return {
                billot: KeptReceipt(billot, seq, _joined(body, votes.get(billot, [])))
                for billot, (seq, body) in heads.items()
            }
        except InputError as error:
            raise self._unusable("is damaged") from error

    def keep(
        self, network_id: str, receipts: Iterable[KeptReceipt], afresh: Collection[str] = ()
    ) -> None:
        """Write receipts down; they are on disk when this returns, all of them or none.

        What is kept of a later seq stays, but for billots in `afresh`.
        """
        given = {kept.billot: kept for kept in sorted(receipts, key=lambda kept: kept.seq)}
        written: dict[int, bytes] = {}
        with self._writing() as database:
            newer = [
                kept
                for kept in given.values()
                if kept.billot in afresh or not _is_later(database, network_id, kept)
            ]
            for kept in newer:
                _drop(database, (network_id, kept.billot))
            for kept in newer:
                _insert(database, network_id, kept, written)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The database; None while nothing was ever kept."""
        if not self.path.exists():
            yield None
            return
        with self._open("BEGIN") as database:
            yield database if self._is_made(database) else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        path = self.path
        with naming(path, "make"), contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with self._open("BEGIN IMMEDIATE") as database:
            if not self._is_made(database):
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {VERSION}")
            yield database

    @contextlib.contextmanager
    def _open(self, begin: str) -> Iterator[sqlite3.Connection]:
        """The database in one transaction, which an error undoes."""
        with (
            self._naming(),
            contextlib.closing(
                sqlite3.connect(self.path, timeout=self._locked_s, isolation_level=None)
            ) as database,
        ):
            database.execute("PRAGMA synchronous = EXTRA")  # the commit outlives a power cut
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute(begin)
            yield database
            database.execute("COMMIT")

    def _is_made(self, database: sqlite3.Connection) -> bool:
        """Whether it has its tables; raises JournalError for tables that aren't ours."""
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version > VERSION:
            raise self._unusable("was written by a newer program")
        if version != VERSION and tables:
            raise self._unusable("is no file of receipts")
        return bool(version)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, OverflowError) as error:  # what SQLite makes of some damages
            raise self._unusable("is damaged") from error
        except sqlite3.Error as error:
            name = str(error)
            if "locked" in name:
                raise JournalError(
                    f"another process keeps {self._shown} locked",
                    "end the other bwallet, then try again",
                ) from error
            if any(word in name for word in _DAMAGE):
                raise self._unusable("is damaged") from error
            raise JournalError(
                f"can't use {self._shown}: {name}",
                "XDG_DATA_HOME=DIR bwallet … keeps the wallet's own files in another directory",
            ) from error

    @property
    def _shown(self) -> str:
        return shown(str(self.path), 200)

    def _unusable(self, why: str) -> JournalError:
        return JournalError(
            f"{self._shown} {why}",
            "put it right from a copy, or move it away: while a quorum names you as the owner, "
            "bwallet --list collects receipts anew",
        )


def _rows(
    database: sqlite3.Connection | None,
    question: str,
    column: str,
    where: tuple[str, Sequence[str] | None],
    types: Sequence[type],
) -> Iterator[tuple[Any, ...]]:
    """The answers to a question on all billots of a network, or on some."""
    network_id, billots = where
    if database is None:
        return
    if billots is None:
        yield from _typed(database.execute(question, (network_id,)), types)
        return
    for start in range(0, len(billots), _IDS_MAX):
        some = billots[start : start + _IDS_MAX]
        marks = ",".join("?" * len(some))
        found = database.execute(f"{question} AND {column} IN ({marks})", (network_id, *some))
        yield from _typed(found, types)


def _typed(rows: Iterable[tuple[Any, ...]], types: Sequence[type]) -> Iterator[tuple[Any, ...]]:
    """Rows as the schema has them; SQLite itself holds any type in any column."""
    for row in rows:
        if any(type(value) is not kind for value, kind in zip(row, types, strict=True)):
            raise sqlite3.DatabaseError("a value of another type")
        yield row


def _is_later(database: sqlite3.Connection, network_id: str, given: KeptReceipt) -> bool:
    found = database.execute(
        "SELECT seq FROM receipts WHERE network = ? AND billot = ?", (network_id, given.billot)
    ).fetchone()
    return found is not None and found[0] > given.seq


def _insert(
    database: sqlite3.Connection, network_id: str, kept: KeptReceipt, written: dict[int, bytes]
) -> None:
    """Put a receipt in; `written` are digests of votes that are in, by identity."""
    transfer, place = kept.receipt.transfer, (network_id, kept.billot)
    transfer_id = bytes.fromhex(transfer.id)
    body = msgspec.json.encode(transfer)
    database.execute("INSERT OR IGNORE INTO transfers VALUES (?, ?)", (transfer_id, body))
    database.execute("INSERT INTO receipts VALUES (?, ?, ?, ?)", (*place, kept.seq, transfer_id))
    for vote in kept.receipt.votes:
        if id(vote) not in written:
            body = msgspec.json.encode(vote)
            written[id(vote)] = hashlib.sha256(body).digest()
            database.execute(
                "INSERT OR IGNORE INTO votes (digest, server, body) VALUES (?, ?, ?)",
                (written[id(vote)], server_of(vote), body),
            )
        database.execute(
            "INSERT OR IGNORE INTO counted SELECT ?, ?, id FROM votes WHERE digest = ?",
            (*place, written[id(vote)]),
        )


def _drop(database: sqlite3.Connection, place: tuple[str, str]) -> None:
    """Take a receipt out, and what no other one needs."""
    votes = database.execute(
        "SELECT vote FROM counted WHERE network = ? AND billot = ?", place
    ).fetchall()
    transfers = database.execute(
        "SELECT transfer FROM receipts WHERE network = ? AND billot = ?", place
    ).fetchall()
    database.execute("DELETE FROM counted WHERE network = ? AND billot = ?", place)
    database.execute("DELETE FROM receipts WHERE network = ? AND billot = ?", place)
    database.executemany(
        "DELETE FROM votes WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM counted WHERE vote = ?1)",
        votes,
    )
    database.executemany(
        "DELETE FROM transfers WHERE id = ?1 "
        "AND NOT EXISTS (SELECT 1 FROM receipts WHERE transfer = ?1)",
        transfers,
    )


def _joined(transfer: bytes, votes: Iterable[bytes]) -> Receipt:
    return decode_receipt(b'{"transfer":' + transfer + b',"votes":[' + b",".join(votes) + b"]}")
