"""The tables of kept receipts, row by row; `kept_receipts` opens the file."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from billots.receipt import server_of
from billots.transfer import Row, Transfer

if TYPE_CHECKING:
    from billots.kept_receipts import KeptReceipt

_IDS_MAX = 500
"""Ids in one question; SQLite takes 999 in old builds."""


SCHEMA = """
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
RECEIVED = """
CREATE TABLE IF NOT EXISTS received (
    transfer BLOB PRIMARY KEY, body BLOB NOT NULL, moved BLOB NOT NULL, at INTEGER NOT NULL)
"""
"""Every transfer of which a receipt was ever kept, and of which of its rows, for the history: a
receipt gives way to the billot's next one, and an account book loses no line. `at` is when the
first was kept, in seconds since 1970, 0 if nobody knew. Older files have no such table."""


def rows_of(
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
        yield from typed(database.execute(question, (network_id,)), types)
        return
    for start in range(0, len(billots), _IDS_MAX):
        some = billots[start : start + _IDS_MAX]
        marks = ",".join("?" * len(some))
        found = database.execute(f"{question} AND {column} IN ({marks})", (network_id, *some))
        yield from typed(found, types)


def typed(rows: Iterable[tuple[Any, ...]], types: Sequence[type]) -> Iterator[tuple[Any, ...]]:
    """Rows as the schema has them; SQLite itself holds any type in any column."""
    for row in rows:
        if any(type(value) is not kind for value, kind in zip(row, types, strict=True)):
            raise sqlite3.DatabaseError("a value of another type")
        yield row


def is_later(database: sqlite3.Connection, network_id: str, given: KeptReceipt) -> bool:
    """Whether a later seq of a receipt's billot is kept."""
    found = database.execute(
        "SELECT seq FROM receipts WHERE network = ? AND billot = ?", (network_id, given.billot)
    ).fetchone()
    return found is not None and found[0] > given.seq


def insert(
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


def note(
    database: sqlite3.Connection, transfer: Transfer, rows: Iterable[Row], at: int | None
) -> None:
    """Write down for good that these rows of a transfer were received."""
    place = (bytes.fromhex(transfer.id),)
    found = database.execute("SELECT moved FROM received WHERE transfer = ?", place).fetchone()
    before = msgspec.json.decode(found[0], type=list[Row]) if found is not None else []
    moved = msgspec.json.encode(sorted({*before, *rows}))
    if found is None:
        body = msgspec.json.encode(transfer)
        database.execute("INSERT INTO received VALUES (?, ?, ?, ?)", (*place, body, moved, at or 0))
    elif moved != found[0]:
        database.execute("UPDATE received SET moved = ? WHERE transfer = ?", (moved, *place))


def drop(database: sqlite3.Connection, place: tuple[str, str]) -> None:
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
