"""A change server's book: each step of each exchange, on disk before it shows.

One file for each key, beside the journal. A quote's line holds the fresh private key that is to be
paid: it is there before the quote leaves. The one transfer that answers a quote, and the one
that sweeps what it brought, are there before they are sent, and are sent byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from billots.appended import Appended
from billots.crypto import PrivateKey
from billots.errors import JournalError
from billots.network import shown
from billots.quote import Quote
from billots.transfer import OwnerId, Transfer, TransferId
from billots.user_data import replace_file, user_data_directory

QUOTES_BYTES_MAX = 192 * 1024 * 1024
"""No new quotes from then on: what is left of the file is for what they need."""

SHORTENED_BYTES = 64 * 1024 * 1024
CLOSED_KEPT = 10_000
"""From so many bytes on a start drops all exchanges that are at their end but the newest ones."""

Kind = Literal["change", "refund"]


class _Head(Struct, frozen=True, tag="change book", tag_field="kind"):
    version: int
    owner: OwnerId


class _Quoted(Struct, frozen=True, tag="quoted", tag_field="kind"):
    quote: Quote
    asking: TransferId
    seed: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _Paid(Struct, frozen=True, tag="paid", tag_field="kind"):
    quote_id: TransferId
    transfer: Transfer


class _Answer(Struct, frozen=True, tag="answer", tag_field="kind"):
    quote_id: TransferId
    what: Kind
    transfer: Transfer


class _Given(Struct, frozen=True, tag="given", tag_field="kind"):
    quote_id: TransferId


class _Sweep(Struct, frozen=True, tag="sweep", tag_field="kind"):
    quote_id: TransferId
    transfer: Transfer


class _Closed(Struct, frozen=True, tag="closed", tag_field="kind"):
    quote_id: TransferId


_Line = _Quoted | _Paid | _Answer | _Given | _Sweep | _Closed
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class Entry:
    """One quote, and how far it has come.

    `paid` is the customer's transfer once it was shown or found; `answer` the one that gives the
    change, or gives back; `given` that a quorum named the customer; `sweep` what moves the notes
    that came in to the float; `closed` that nothing is left to be done.
    """

    quote: Quote
    asking: str
    seed: str
    paid: Transfer | None = None
    what: Kind | None = None
    answer: Transfer | None = None
    given: bool = False
    sweep: Transfer | None = None
    closed: bool = False

    def lines(self) -> Iterator[_Line]:
        """The lines that tell of it."""
        quote_id = self.quote.id
        yield _Quoted(self.quote, self.asking, self.seed)
        if self.paid is not None:
            yield _Paid(quote_id, self.paid)
        if self.what is not None and self.answer is not None:
            yield _Answer(quote_id, self.what, self.answer)
        if self.given:
            yield _Given(quote_id)
        if self.sweep is not None:
            yield _Sweep(quote_id, self.sweep)
        if self.closed:
            yield _Closed(quote_id)

    @property
    def key(self) -> PrivateKey:
        """The key that the quote's owner id is of."""
        return PrivateKey(bytes.fromhex(self.seed))


@dataclass(slots=True)
class ChangeBook:
    """All quotes of one change server, locked from `open` to `close`."""

    _file: Appended[_Line]
    _entries: dict[str, Entry] = field(default_factory=dict)
    _asked: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, owner: str, directory: str | Path | None = None) -> ChangeBook:
        """The book of the key with this owner id; raises JournalError, also if it is in use."""
        path = user_data_directory(directory) / f"change-{owner[:32]}.jsonl"
        head = msgspec.json.encode(_Head(1, owner))
        file = Appended[_Line].open(path, head, _decoder)
        if file is None:
            raise JournalError(
                f"another process keeps {shown(str(path), 200)} locked",
                "one bchange serve for each key: end the other one first",
            )
        book = cls(file)
        try:
            for line in file.lines:
                book._apply(line)
        except KeyError:
            file.close()
            raise JournalError(f"{shown(str(path), 200)} names a quote that isn't in it") from None
        file.lines = []
        closed = [entry for entry in book if entry.closed]
        if file.size <= SHORTENED_BYTES or len(closed) <= CLOSED_KEPT:
            return book
        gone = {entry.quote.id for entry in closed[:-CLOSED_KEPT]}
        lines = (line for e in book if e.quote.id not in gone for line in e.lines())
        content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        replace_file(path, head + b"\n" + content)
        file.close()  # and the lock with it: the new file has its own
        return cls.open(owner, directory)

    def close(self) -> None:
        """Give up the lock."""
        self._file.close()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def newest(self, count: int) -> list[Entry]:
        """So many of the last ones."""
        return list(islice(reversed(self._entries.values()), count))

    def find(self, quote_id: str) -> Entry | None:
        """The quote with this id."""
        return self._entries.get(quote_id)

    def asked(self, asking_id: str) -> Entry | None:
        """The newest quote that answered this question."""
        return self._entries.get(self._asked.get(asking_id, ""))

    def quoted(self, quote: Quote, asking_id: str, key: PrivateKey) -> Entry:
        """Write a quote and its key down; only then it may leave."""
        assert key.owner == quote.pay, "the key is the one that is to be paid"
        if self._file.size > QUOTES_BYTES_MAX:
            raise JournalError("the book is full: no more quotes", "give the float to a new key")
        self._write(_Quoted(quote, asking_id, key.seed.hex()))
        return self._entries[quote.id]

    def paid(self, entry: Entry, transfer: Transfer) -> None:
        """Write down the transfer that pays a quote, once."""
        assert entry.quote.fault_of(transfer) is None, "it pays this quote"
        if entry.paid is None:
            self._write(_Paid(entry.quote.id, transfer))

    def answer(self, entry: Entry, what: Kind, transfer: Transfer) -> None:
        """Write down what answers a quote. A change that never left may become a refund."""
        assert entry.answer is None or (entry.what, what) == ("change", "refund")
        assert not entry.given
        assert entry.sweep is None
        assert transfer.to == entry.quote.customer, "it goes to the customer"
        self._write(_Answer(entry.quote.id, what, transfer))

    def given(self, entry: Entry) -> None:
        """Write down that the customer has it."""
        assert entry.answer is not None
        if not entry.given:
            self._write(_Given(entry.quote.id))

    def sweep(self, entry: Entry, transfer: Transfer) -> None:
        """Write down the transfer that takes in what was paid: only once the change is given."""
        assert (entry.what, entry.given, entry.sweep) == ("change", True, None)
        self._write(_Sweep(entry.quote.id, transfer))

    def closed(self, entry: Entry) -> None:
        """Write down that nothing is left to be done."""
        self._write(_Closed(entry.quote.id))

    def _write(self, line: _Line) -> None:
        self._file.append(line)
        self._apply(line)

    def _apply(self, line: _Line) -> None:
        match line:
            case _Quoted(quote, asking, seed):
                self._entries[quote.id] = Entry(quote, asking, seed)
                self._asked[asking] = quote.id
            case _Paid(quote_id, transfer):
                self._entries[quote_id].paid = transfer
            case _Answer(quote_id, what, transfer):
                entry = self._entries[quote_id]
                entry.what, entry.answer = what, transfer
            case _Given(quote_id):
                self._entries[quote_id].given = True
            case _Sweep(quote_id, transfer):
                self._entries[quote_id].sweep = transfer
            case _Closed(quote_id):
                self._entries[quote_id].closed = True
