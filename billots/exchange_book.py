"""A wallet's exchanges: each quote is on disk before anything is given for it.

One file for each owner, beside the journal. Whether a quote was paid the journal knows, which has
the signed transfer; what can't be had any more once the change server has moved it on, the receipts
of what was given, is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

from billots.appended import Appended
from billots.errors import JournalError
from billots.network import ROWS_MAX, shown
from billots.quote import Quote
from billots.receipt import Receipt
from billots.transfer import OwnerId, TransferId
from billots.user_data import user_data_directory

Receipts = Annotated[tuple[Receipt, ...], Meta(max_length=ROWS_MAX)]


class _Head(Struct, frozen=True, tag="exchanges", tag_field="kind"):
    version: int
    owner: OwnerId


class _Quoted(Struct, frozen=True, tag="quoted", tag_field="kind"):
    quote: Quote
    host: Annotated[str, Meta(max_length=400)]


class _Taken(Struct, frozen=True, tag="taken", tag_field="kind"):
    quote_id: TransferId
    receipts: Receipts


class _Over(Struct, frozen=True, tag="over", tag_field="kind"):
    quote_id: TransferId
    changed: bool = True


_Line = _Quoted | _Taken | _Over
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class Exchange:
    """A quote, which change server it is of, and receipts of what was given for it.

    `changed` is false once it is over without its change.
    """

    quote: Quote
    host: str
    receipts: tuple[Receipt, ...] = ()
    over: bool = False
    changed: bool = True


@dataclass(slots=True)
class ExchangeBook:
    """One owner's exchanges, locked from `open` to `close`. A context manager."""

    _file: Appended[_Line]
    _exchanges: dict[str, Exchange] = field(default_factory=dict)

    @staticmethod
    def path(owner: str, directory: str | Path | None = None) -> Path:
        """Where it is, whether it is there or not."""
        return user_data_directory(directory) / f"exchanges-{owner[:32]}.jsonl"

    @classmethod
    def open(cls, owner: str, directory: str | Path | None = None) -> ExchangeBook | None:
        """The exchanges of `owner`, or None while another process has them open.

        Raises JournalError for a file that can't be used.
        """
        path = cls.path(owner, directory)
        file = Appended[_Line].open(path, msgspec.json.encode(_Head(1, owner)), _decoder)
        if file is None:
            return None
        book = cls(file)
        try:
            for line in file.lines:
                book._apply(line)
        except KeyError:
            file.close()
            raise JournalError(f"{shown(str(path), 200)} names a quote that isn't in it") from None
        file.lines = []
        return book

    @staticmethod
    def turn(owner: str, directory: str | Path | None = None) -> Appended[_Line] | None:
        """A lock of its own, closed to give it up, or None while another process has it.

        Who has it signs for a quote: one process at a time. Raises JournalError.
        """
        path = user_data_directory(directory) / f"exchanging-{owner[:32]}.jsonl"
        return Appended[_Line].open(path, msgspec.json.encode(_Head(1, owner)), _decoder)

    def close(self) -> None:
        """Give up the lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_ones(self, network_id: str) -> list[Exchange]:
        """Quotes that aren't over, the oldest first; most of them may never have been paid."""
        return [
            each
            for each in self._exchanges.values()
            if not each.over and each.quote.network == network_id
        ]

    def quoted(self, quote: Quote, host: str) -> None:
        """Write a quote down; only then anything may be given for it."""
        if quote.id not in self._exchanges:
            self._write(_Quoted(quote, host))

    def rivals(self, quote: Quote) -> list[Exchange]:
        """Others that promise one of the same notes, unless they are over without it.

        One transfer would look like the change of both.
        """
        same = (quote.network, quote.server)
        return [
            each
            for each in self._exchanges.values()
            if each.changed
            and each.quote.id != quote.id
            and (each.quote.network, each.quote.server) == same
            and not set(each.quote.get).isdisjoint(quote.get)
        ]

    def taken(self, quote: Quote, receipts: tuple[Receipt, ...]) -> None:
        """Write down that a quorum has what was given, and its receipts."""
        if not self._exchanges[quote.id].receipts:
            self._write(_Taken(quote.id, receipts))

    def over(self, quote: Quote, *, changed: bool = True) -> None:
        """Write down that the change has come; or what was given has come back, or never left."""
        if not self._exchanges[quote.id].over:
            self._write(_Over(quote.id, changed))

    def _write(self, line: _Line) -> None:
        self._file.append(line)
        self._apply(line)

    def _apply(self, line: _Line) -> None:
        match line:
            case _Quoted(quote, host):
                self._exchanges[quote.id] = Exchange(quote, host)
            case _Taken(quote_id, receipts):
                self._exchanges[quote_id].receipts = receipts
            case _Over(quote_id, changed):
                self._exchanges[quote_id].over = True
                self._exchanges[quote_id].changed = changed
