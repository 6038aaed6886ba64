"""The receipts that a wallet keeps: for each of its billots the newest (DESIGN, section 5, rule 5).

One SQLite file, because lists keep ten thousands at once and two wallets may run: a payee that
was final once can show it for ever. A statement on sixteen billots is written once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from billots.errors import InputError, JournalError
from billots.network import shown
from billots.receipt import Receipt, decode_receipt
from billots.receipt_rows import RECEIVED, SCHEMA, drop, insert, is_later, note, rows_of, typed
from billots.transfer import Row, Transfer
from billots.user_data import naming, user_data_directory

Kind = TypeVar("Kind")

VERSION = 1
LOCKED_S_MAX = 5.0
"""How long another wallet's writing is waited for."""
_APPLICATION_ID = 0x62696C6C
_DAMAGE = ("malformed", "not a database", "no such", "decode", "corrupt", "another type")


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


@dataclass(frozen=True, slots=True)
class KeptPayment:
    """A transfer of which receipts were kept, for `rows` of it; `at` is when the first one was."""

    transfer: Transfer
    rows: tuple[Row, ...]
    at: int | None


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
            for row in rows_of(database, question, "r.billot", where, types):
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
            for row in rows_of(database, heading, "r.billot", where, head):
                heads[row[0]] = row[1], row[2]
            for row in rows_of(database, counted, "c.billot", where, vote):
                votes.setdefault(row[0], []).append(row[1])
        try:
            return {
                billot: KeptReceipt(billot, seq, _joined(body, votes.get(billot, [])))
                for billot, (seq, body) in heads.items()
            }
        except InputError as error:
            raise self._unusable("is damaged") from error

    def payments(self, owner: str) -> list[KeptPayment]:
        """What `owner` was paid, as far as receipts of it were ever kept; in the order of keeping.

        Of what was kept by a release that had no list of it, only billots that did not come again.
        """
        rows: dict[bytes, list[Row]] = {}
        older: dict[bytes, list[Row]] = {}
        times: dict[bytes, int] = {}
        with self._reading() as database:
            if database is None:
                return []
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'received'").fetchone():
                found = database.execute("SELECT body, moved, at FROM received ORDER BY rowid")
                for body, moved, at in typed(found, (bytes, bytes, int)):
                    rows[body] = self._decoded(moved, list[Row])
                    times[body] = at
            order = "FROM transfers t JOIN receipts r ON r.transfer = t.id ORDER BY t.rowid"
            found = database.execute(f"SELECT t.body, r.billot, r.seq {order}")
            for body, billot, seq in typed(found, (bytes, str, int)):
                if body not in times:
                    older.setdefault(body, []).append((billot, seq))
        rows = {**older, **rows}
        moves = {body: self._decoded(body, Transfer) for body in rows}
        return [
            KeptPayment(move, tuple(rows[body]), times.get(body) or None)
            for body, move in moves.items()
            if move.to == owner
        ]

    def _decoded(self, body: bytes, kind: type[Kind]) -> Kind:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise self._unusable("is damaged") from error

    def keep(
        self,
        network_id: str,
        receipts: Iterable[KeptReceipt],
        afresh: Collection[str] = (),
        *,
        at: int | None = None,
    ) -> None:
        """Write receipts down; they are on disk when this returns, all of them or none.

        What is kept of a later seq stays, but for billots in `afresh`. `at` is when this is.
        """
        given = {kept.billot: kept for kept in sorted(receipts, key=lambda kept: kept.seq)}
        written: dict[int, bytes] = {}
        with self._writing() as database:
            newer = [
                kept
                for kept in given.values()
                if kept.billot in afresh or not is_later(database, network_id, kept)
            ]
            moves: dict[str, tuple[Transfer, list[Row]]] = {}
            for kept in newer:
                drop(database, (network_id, kept.billot))
                insert(database, network_id, kept, written)
                transfer = kept.receipt.transfer
                moves.setdefault(transfer.id, (transfer, []))[1].append((kept.billot, kept.seq))
            for transfer, rows in moves.values():
                note(database, transfer, rows, at)

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
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {VERSION}")
            database.execute(RECEIVED)
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
        # What SQLite makes of some damages; an error in words that are none is one, too.
        except (MemoryError, OverflowError, UnicodeDecodeError) as error:
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


def _joined(transfer: bytes, votes: Iterable[bytes]) -> Receipt:
    return decode_receipt(b'{"transfer":' + transfer + b',"votes":[' + b",".join(votes) + b"]}")
