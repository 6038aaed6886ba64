"""Our own feed: what was taken, signed in batches, for those who subscribed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from billots.crypto import PrivateKey
from billots.feed import ROWS_MAX, AdoptedRow, FeedBatch, FeedRow, TransferRow
from billots.jsonrpc import encode, notification
from billots.store.interface import Entry, NewEntry
from billots.transfer import Transfer

_ENVELOPE_BYTES = 1024
_BUSY_TIMES = 5


class Line(Struct, frozen=True):
    """One row to come, with the transfer's body if it travels along, and where it came from."""

    lsn: int
    text: str
    body: bytes | None = None
    source: int | None = None

    @property
    def frame_bytes(self) -> int:
        """What it takes of a frame, at most."""
        return len(self.text) + 4 + (len(self.body) + 1 if self.body is not None else 0)


class Signed(Struct, frozen=True):
    """A signed batch; `after` is the lsn before its first row."""

    after: int
    last: int
    batch: FeedBatch
    lines: tuple[Line, ...]

    @property
    def sources(self) -> set[int | None]:
        """Connections from which bodies in it came."""
        return {line.source for line in self.lines if line.body is not None}

    def frame(self, conn: int | None = None) -> bytes:
        """The notification that carries it; nothing goes back to `conn` that came from there."""
        bodies = [
            line.body
            for line in self.lines
            if line.body is not None and (conn is None or line.source != conn)
        ]
        head = encode(
            FeedBatch(self.batch.server, self.batch.rows, self.batch.root, self.batch.signature)
        )
        return notification(
            "feed", head.replace(b'"transfers":[]', b'"transfers":[%s]' % b",".join(bodies))
        )


class OutFeed:
    """Collects rows and signs them: at once when idle, then at most every `feed_every_s`."""

    def __init__(
        self,
        network_id: str,
        key: PrivateKey,
        lsn: int,
        *,
        feed_every_s: float,
        frame_bytes_max: int,
    ) -> None:
        self.position = lsn
        """The lsn of the last row that was signed for those who follow live."""
        self._network_id = network_id
        self._key = key
        self._feed_every_s = feed_every_s
        self._bytes_max = frame_bytes_max - _ENVELOPE_BYTES
        self._lines: list[Line] = []
        self._last_at = float("-inf")

    def add(self, entry: NewEntry, source: int | None) -> None:
        """An entry is on disk; its row goes with the next batch."""
        body = encode(entry.transfer) if entry.here else None
        for row in rows_of(entry):
            self._lines.append(Line(row.lsn, row.text, body, source))

    def skip(self, entry: NewEntry) -> None:
        """An entry is on disk that nobody follows live: whoever comes has it from a page."""
        if self._lines:
            self.add(entry, None)
        else:
            self.position = last_lsn_of(entry)

    @property
    def next_at(self) -> float | None:
        """When the next batch is to be signed."""
        return self._last_at + self._feed_every_s if self._lines else None

    def due(self, now: float, *, at_once: bool = False, busy: bool = False) -> list[Signed]:
        """The batches to send now, in order; `at_once` all that there is.

        Each costs all who follow a signature check. So when the server is `busy` they are to be
        full, or to come a few times less often.
        """
        if not self._lines:
            return []
        wait_s = self._feed_every_s
        if busy and len(self._lines) < ROWS_MAX:
            wait_s *= _BUSY_TIMES
        if now < self._last_at + wait_s and not at_once:
            return []
        lines, self._lines = self._lines, []
        self._last_at = now
        batches = []
        for part in _parts(lines, self._bytes_max):
            signed = self._sign(self.position, part)
            self.position = signed.last
            batches.append(signed)
        return batches

    def page(self, after: int, entries: Iterable[Entry]) -> Signed | None:
        """A batch of older rows for one who lags, up to where the live ones are."""
        lines = [
            Line(row.lsn, row.text, encode(entry.transfer) if entry.here else None)
            for entry in entries
            for row in rows_of_kept(entry)
            if after < row.lsn <= self.position
        ]
        part = next(_parts(lines, self._bytes_max), None)
        return None if part is None else self._sign(after, part)

    def _sign(self, after: int, lines: Sequence[Line]) -> Signed:
        texts = [line.text for line in lines]
        batch = FeedBatch.sign_texts(self._network_id, self._key, texts)
        return Signed(after, lines[-1].lsn, batch, tuple(lines))


def rows_of(entry: NewEntry) -> list[FeedRow]:
    """The rows of a new entry: one, or one for each billot that was adopted."""
    billots = tuple(row.billot for row in entry.rows)
    return _rows(entry.lsn, entry.transfer, billots, adopted=entry.adopted)


def last_lsn_of(entry: NewEntry) -> int:
    """The lsn of the last of those rows."""
    return entry.lsn if not entry.adopted else rows_of(entry)[-1].lsn


def rows_of_kept(entry: Entry) -> list[FeedRow]:
    """The rows of an entry as it stands: billots that moved on since are not named."""
    return _rows(entry.lsn, entry.transfer, entry.live, adopted=entry.adopted)


def _rows(
    lsn: int, transfer: Transfer, billots: tuple[str, ...], *, adopted: bool
) -> list[FeedRow]:
    if not adopted:
        whole = len(billots) == len(transfer.billots)
        return [TransferRow(lsn, transfer.id, () if whole else billots)]
    # Row number i of a transfer with m rows has the lsn of its entry - m + 1 + i, whichever of
    # the other rows are there: gaps are allowed, a second meaning of one lsn is not.
    first, named = lsn - len(transfer.billots) + 1, set(billots)
    return [
        AdoptedRow(first + at, billot, seq, transfer.sender, transfer.to)
        for at, (billot, seq) in enumerate(transfer.billots)
        if billot in named
    ]


def _parts(lines: Sequence[Line], bytes_max: int) -> Iterator[list[Line]]:
    part: list[Line] = []
    size = 0
    for line in lines:
        if part and (len(part) == ROWS_MAX or size + line.frame_bytes > bytes_max):
            yield part
            part, size = [], 0
        part.append(line)
        size += line.frame_bytes
    if part:
        yield part
