"""Transfers that peers' feeds named and whose bodies are not here yet."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from msgspec import Struct, field

from billots.feed import TransferRow
from billots.node.proofs import ReadBatch

GIVE_UP_S = 30.0
"""How long an answer may take until what it was to bring is put off, to be read again.

It delays nobody: the others who named it are asked meanwhile.
"""

_IDLE_MAX = 256
_WAIT_S_MAX = 2.0

NamedRow = tuple[TransferRow, ReadBatch | None]
Named = dict[str, list[NamedRow]]
"""The rows that name an id, by voter, with the batches that they came in."""


class Want(Struct):
    """Who named it, in which rows; whom we asked; whose answer is still to come."""

    ask_at: float
    asked_at: float = 0.0
    named: Named = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    awaited: set[str] = field(default_factory=set)


class Wanted:
    """A body normally comes by itself from the server that took it from a wallet.

    After `fetch_after_s` it is asked of one that named it, then of the next. An id that nobody
    can show counts nothing and delays nothing: once all who named it were asked, it is dropped.
    """

    def __init__(self, fetch_after_s: float, rows_per_voter_max: int = 16_384) -> None:
        self._fetch_after_s = fetch_after_s
        self._rows_per_voter_max = rows_per_voter_max
        self._wants: dict[str, Want] = {}
        self._due: list[tuple[float, int, str]] = []  # a heap; those asked for since linger in it
        self._numbers = itertools.count()
        self._rows: dict[str, int] = {}
        self.unanswered: list[Named] = []
        """Rows whose bodies somebody was asked for who said nothing: they may still be had."""

    def __len__(self) -> int:
        return len(self._wants)

    def __contains__(self, transfer_id: str) -> bool:
        return transfer_id in self._wants

    def rows_of(self, voter: str) -> int:
        """How many rows of this voter wait for a body."""
        return self._rows.get(voter, 0)

    def is_idle(self, voter: str) -> bool:
        """Whether few rows of this voter wait for a body."""
        return self.rows_of(voter) <= _IDLE_MAX

    def name(
        self,
        transfer_id: str,
        voter: str,
        row: TransferRow,
        proof: ReadBatch | None,
        now: float,
    ) -> bool:
        """A feed row names a transfer that isn't here; False if it is one too many."""
        if self.rows_of(voter) >= self._rows_per_voter_max:
            return False
        want = self._wants.get(transfer_id)
        if want is None:
            want = self._wants[transfer_id] = Want(now + self._fetch_after_s)
            self._put_off(transfer_id, want)
        want.named.setdefault(voter, []).append((row, proof))
        self._rows[voter] = self.rows_of(voter) + 1
        return True

    def first_lsn(self, voter: str) -> int | None:
        """The lsn of the first row of this voter that waits for a body."""
        rows = (want.named.get(voter, ()) for want in self._wants.values())
        return min((row.lsn for named in rows for row, _ in named), default=None)

    def arrived(self, transfer_id: str) -> Named:
        """Its body is here: the rows that named it, by voter."""
        want = self._wants.get(transfer_id)
        return {} if want is None else self._end(transfer_id, want)

    def _end(self, transfer_id: str, want: Want) -> Named:
        del self._wants[transfer_id]
        for voter, rows in want.named.items():
            self._fewer(voter, len(rows))
        return want.named

    def _fewer(self, voter: str, rows: int) -> None:
        left = self._rows[voter] - rows
        if left:
            self._rows[voter] = left
        else:
            del self._rows[voter]

    def answered(self, voter: str, asked: Sequence[str], got: Iterable[str]) -> None:
        """A voter's answer to a question; what follows its last body may not have fitted in."""
        had = set(got)
        places = [place for place, transfer_id in enumerate(asked) if transfer_id in had]
        cut_after = places[-1] if places else len(asked)
        for place, transfer_id in enumerate(asked):
            want = self._wants.get(transfer_id)
            if want is not None and transfer_id not in had:
                want.awaited.discard(voter)
                if place > cut_after:
                    want.asked.discard(voter)

    def gone(self, voter: str) -> list[NamedRow]:
        """The voter can't be asked any more: the rows in which it named something."""
        rows: list[NamedRow] = []
        for transfer_id, want in list(self._wants.items()):
            named = want.named.pop(voter, [])
            want.asked.discard(voter)
            want.awaited.discard(voter)
            rows += named
            if not want.named:
                del self._wants[transfer_id]
        self._rows.pop(voter, None)
        return rows

    @property
    def next_at(self) -> float | None:
        """When somebody is to be asked."""
        due = self._due
        while due and not self._is_due_at(due[0][2], due[0][0]):
            heappop(due)
        return due[0][0] if due else None

    def _is_due_at(self, transfer_id: str, at: float) -> bool:
        want = self._wants.get(transfer_id)
        return want is not None and want.ask_at == at

    def _put_off(self, transfer_id: str, want: Want) -> None:
        heappush(self._due, (want.ask_at, next(self._numbers), transfer_id))

    def due(
        self, now: float, reachable: Iterable[str], ids_max: int
    ) -> tuple[dict[str, list[str]], list[Named]]:
        """Whom to ask for what, at most `ids_max` a server; and the rows that are given up."""
        up = set(reachable)
        asks: dict[str, list[str]] = {}
        given_up: list[Named] = []
        while (at := self.next_at) is not None and at <= now:
            transfer_id = heappop(self._due)[2]
            want = self._wants[transfer_id]
            left = [voter for voter in want.named if voter in up and voter not in want.asked]
            awaited = want.awaited & up
            if not left and not (awaited and now < want.asked_at + GIVE_UP_S):
                (self.unanswered if awaited else given_up).append(self._end(transfer_id, want))
                continue
            voter = next((v for v in left if len(asks.get(v, ())) < ids_max), None)
            if voter is not None:
                asks.setdefault(voter, []).append(transfer_id)
                want.asked.add(voter)
                want.awaited.add(voter)
                want.asked_at = now
            # Who says nothing may have too much to do: the others are asked ever later.
            times = 2 ** max(0, len(want.awaited) - 1)
            want.ask_at = now + min(_WAIT_S_MAX, times * self._fetch_after_s)
            self._put_off(transfer_id, want)
        return asks, given_up
