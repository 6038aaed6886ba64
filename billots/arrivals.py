"""What a watch tells of: payments that came in, and what becomes of it and of the servers."""

from __future__ import annotations

from dataclasses import dataclass

from billots.host import Host
from billots.link import Problem
from billots.network import Network
from billots.transfer import Transfer


@dataclass(frozen=True, slots=True)
class Received:
    """A transfer that came in and is final: a quorum names the owner for each of `billots`.

    Those are (id, seq), of the transfer's rows the ones that were not told of before; `mils` is
    what they are worth. Their receipts are on disk.
    """

    network: Network
    transfer: Transfer
    billots: tuple[tuple[str, int], ...]
    mils: int

    @property
    def sender(self) -> str:
        """Who paid."""
        return self.transfer.sender


@dataclass(frozen=True, slots=True)
class Watching:
    """A watch has begun: what there is by now, `total_mils`, is not told of as received."""

    owner: str
    network: Network
    total_mils: int
    needed: int
    n: int


@dataclass(frozen=True, slots=True)
class NotYetWatching:
    """Fewer servers answer than make a quorum: a watch begins once that many do."""

    answering: int
    needed: int
    n: int


@dataclass(frozen=True, slots=True)
class ServerChange:
    """A server can't be followed any more, or, without a `problem`, can be again."""

    host: Host
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Unkept:
    """Billots that a quorum names the owner for, but no server gives the transfer of.

    Without it there is no receipt, and they are not told of as received.
    """

    billots: tuple[str, ...]


WatchNote = Watching | NotYetWatching | ServerChange | Unkept
"""What is worth saying of a watch besides what was received."""
