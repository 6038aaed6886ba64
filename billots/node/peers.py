"""What the node knows of each connection: those that came to us, and its own links."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from billots.node.reply import BatchReply

_QUESTIONS_MAX = 512
"""Questions of a kind to one server that have no answer yet."""


@dataclass(slots=True)
class Subscriber:
    """Who follows our feed on a connection. `cursor` is the last lsn sent to it."""

    cursor: int
    me: str | None = None


@dataclass(slots=True)
class Connection:
    """A connection that came to us. `exempt`: per-address limits don't count for it."""

    id: int
    address: str
    exempt: bool = False
    in_flight: int = 0
    blocked: bool = False
    """It doesn't read what we send fast enough: no feed is sent to it until it does."""
    subscriber: Subscriber | None = None
    owner: str | None = None
    """It wants to hear of transfers to this owner."""
    batch: deque[tuple[bytes, BatchReply]] = field(default_factory=deque)
    """Requests of its batch that have not had their turn."""

    @property
    def follows(self) -> bool:
        """Whether it only listens, so that its silence is no sign of sleep."""
        return self.subscriber is not None or self.owner is not None

    @property
    def payer(self) -> str:
        """The address that is charged for what it wastes; empty if it is exempt."""
        return "" if self.exempt else self.address


@dataclass(slots=True)
class Link:
    """Our connection to a trusted server, by its place in the list.

    `key` is set once it has proved who it is, with the `nonce` that we sent; `up` once we
    follow its feed, `closed` when it has ended. `calls` are the requests that we wait for an
    answer to, by id; `fetches` the ids asked for in those that fetch, `asks` nonce
    and billots of those that consult.
    """

    index: int
    id: int
    key: str | None = None
    nonce: str = ""
    up: bool = False
    closed: bool = False
    backlog: int = 0
    since: int = 0
    """From where we asked for its feed last."""
    streams_asked: int = 0
    streams_begun: int = 0
    """How often we asked for it, and how many answers came: one is a stream of rows without a
    gap, and what still comes of an older one is none."""
    received_lsn: int = 0
    """The last row of its feed that has arrived, judged or not."""
    asks_position: bool = False
    calls: dict[int, str] = field(default_factory=dict)
    fetches: dict[int, tuple[str, ...]] = field(default_factory=dict)
    asks: dict[int, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def is_current(self) -> bool:
        """Whether what arrives now is of the stream that was asked for last."""
        return self.streams_begun == self.streams_asked

    def forget_oldest(self) -> None:
        """What has no answer for so long isn't waited for: it was put off, or expired, by now."""
        for questions in (self.fetches, self.asks):
            while len(questions) > _QUESTIONS_MAX:
                number = next(iter(questions))
                del questions[number]
                self.calls.pop(number, None)
