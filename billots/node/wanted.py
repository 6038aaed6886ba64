"""Transfers that peers' feeds named and whose bodies are not here yet."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from billots.feed import TransferRow


class Want(Struct):
    """Who named it, in which rows; whom we asked."""

    since: float
    ask_at: float
    named: dict[str, list[TransferRow]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


class Wanted:
    """A body normally comes by itself from the server that took it from a wallet.

    After `fetch_after_s` it is asked of one that named it, then of the next. An id that nobody
    can show counts nothing and delays nothing: once all who named it were asked, it is dropped.
    """

    def __init__(self, fetch_after_s: float) -> None:
        self._fetch_after_s = fetch_after_s
        self._wants: dict[str, Want] = {}

    def __len__(self) -> int:
        return len(self._wants)

    def __contains__(self, transfer_id: str) -> bool:
        return transfer_id in self._wants

    def name(self, transfer_id: str, voter: str, row: TransferRow, now: float) -> None:
        """A feed row names a transfer that isn't here."""
        want = self._wants.get(transfer_id)
        if want is None:
            want = self._wants[transfer_id] = Want(now, now + self._fetch_after_s)
        want.named.setdefault(voter, []).append(row)

    def arrived(self, transfer_id: str) -> dict[str, list[TransferRow]]:
        """Its body is here: the rows that named it, by voter."""
        want = self._wants.pop(transfer_id, None)
        return {} if want is None else want.named

    @property
    def next_at(self) -> float | None:
        """When somebody is to be asked."""
        return next((want.ask_at for want in self._wants.values()), None)

    def due(
        self, now: float, reachable: Iterable[str], ids_max: int
    ) -> tuple[dict[str, list[str]], list[dict[str, list[TransferRow]]]]:
        """Whom to ask for what, at most `ids_max` a server; and the rows that are given up."""
        up = set(reachable)
        asks: dict[str, list[str]] = {}
        given_up: list[dict[str, list[TransferRow]]] = []
        due: list[tuple[str, Want]] = []
        for transfer_id, want in self._wants.items():  # in order of ask_at
            if want.ask_at > now:
                break
            due.append((transfer_id, want))
        for transfer_id, want in due:
            del self._wants[transfer_id]
            left = [v for v in want.named if v in up and v not in want.asked]
            if not left:
                given_up.append(want.named)
                continue
            voter = next((v for v in left if len(asks.get(v, ())) < ids_max), None)
            if voter is not None:
                asks.setdefault(voter, []).append(transfer_id)
                want.asked.add(voter)
            want.ask_at = now + self._fetch_after_s
            self._wants[transfer_id] = want
        return asks, given_up
