"""One server of a wallet's list: the connection to it, its key, and what is wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec
from msgspec import Struct

from billots.connection import Client
from billots.errors import (
    BillotsError,
    ProtocolError,
    Refused,
    ServerKeyChanged,
    Unreachable,
    WrongNetwork,
)
from billots.host import Host
from billots.known_servers import KnownServers, Standing, key_changed
from billots.messages import PROTOCOL, Info, Subscribe, Subscribed, Transferred, WhoOwns
from billots.statement import Statement, new_nonce
from billots.transfer import Transfer

Result = TypeVar("Result")


class Problem(StrEnum):
    """Why a server of the list counts for nothing; in our words, never in a server's."""

    UNREACHABLE = "can't be reached"
    SILENT = "did not answer in time"
    BROKEN = "does not speak the protocol"
    UNSIGNED = "did not sign the answer to what was asked"
    CHANGED_KEY = "shows another key than the one known"
    REFUSED = "refused to answer"
    OTHER_NETWORK = "serves another network"
    NOT_AWAITED = "was not waited for"


class Unsigned(ProtocolError):
    """A server's answer is no set of votes: unsigned, or signed for another question."""


class OtherNetwork(WrongNetwork):
    """One server serves another network than the one that is asked about."""


class Link:
    """A server that is connected to when it is first needed.

    `key` is set once a statement signed with it answered a question of ours, and it stands
    well with what is known of the host; `network_id` is what the server says that it serves,
    `trusted` whom it says that it trusts, and `lsn` how far its feed is: none of it is signed.
    """

    def __init__(self, host: Host, known: KnownServers, timeout_s: float) -> None:
        self.host = host
        self.timeout_s = timeout_s
        self.key: str | None = None
        self.network_id: str | None = None
        self.is_new = False
        """Whether it says that it can't speak for all billots yet."""
        self.trusted: list[str] | None = None
        self.lsn = 0
        self.problem: Problem | None = None
        self.error: BillotsError | None = None
        self._known = known
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    @property
    def reached(self) -> bool:
        """Whether anything at all answered there."""
        return self.network_id is not None

    async def open(self) -> str:
        """Connect, ask which network it is, and return the network's id."""
        async with self._opening:
            if self._client is None or self._client.closed.is_set() or self.network_id is None:
                self.close()
                self._client = await Client.connect(self.host, timeout_s=self.timeout_s)
                info = await self.call("info", None, Info)
                if info.protocol != PROTOCOL:
                    raise ProtocolError(f"{self.host.place} speaks another protocol")
                self.network_id = info.network.id
                self._note(info)
            return self.network_id

    async def look_again(self) -> None:
        """Ask a server that is open how it stands by now; what goes wrong is for the next call."""
        if self.reached and self.problem is None:
            with contextlib.suppress(BillotsError):
                self._note(await self.call("info", None, Info))

    def _note(self, info: Info) -> None:
        self.trusted, self.lsn = info.trusted, info.lsn
        self.is_new = bool(info.counts.get("blank", 0))

    async def call(
        self, method: str, params: Struct | None, result: type[Result], longer_s: float = 0.0
    ) -> Result:
        """Call a method of a server that is open; `longer_s` is for one that takes its time."""
        assert self._client is not None
        timeout_s = self.timeout_s + longer_s
        return await self._client.call(method, params, result, timeout_s=timeout_s)

    async def statement(
        self, network_id: str, billots: Sequence[str], *, proof: bool = False
    ) -> Statement:
        """The server's signed word on up to 256 billots; with `proof` on up to 16.

        Proofs are not signed and not looked at here. Raises Unsigned or ServerKeyChanged for
        an answer that must not be counted, and what `Client.call` raises.
        """
        nonce = new_nonce()
        params = WhoOwns(tuple(billots), nonce, proof)
        statement = await self.call("who_owns", params, Statement)
        self.judge(statement, network_id, nonce, billots)
        return statement

    async def follow(self, owner: str, heard: Callable[[Transfer], None]) -> None:
        """Have a server that is open tell of transfers to an owner.

        What it tells is not signed by it and proves nothing; what is no such notice is passed over.
        """
        assert self._client is not None

        def notice(method: str, params: msgspec.Raw) -> None:
            if method != "transferred":
                return
            with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                heard(msgspec.json.decode(params, type=Transferred).transfer)

        self._client.on_notification = notice
        await self.call("subscribe", Subscribe(owner=owner), Subscribed)

    async def until_closed(self, ping_every_s: float) -> None:
        """Wait until the connection ends; raises Unreachable if it is open and nobody is there."""
        assert self._client is not None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ping_every_s):
                    await self._client.closed.wait()
                    return
            await self.call("ping", None, str)

    def judge(
        self, statement: Statement, network_id: str, nonce: str, billots: Sequence[str]
    ) -> None:
        """Hold a statement against the question and against what is known of the server."""
        if not statement.answers(network_id, nonce, billots):
            raise Unsigned(f"{self.host.place} {Problem.UNSIGNED}")
        standing = self._known.standing(self.host, network_id, statement.server)
        if standing is Standing.CHANGED or self.key not in (None, statement.server):
            raise key_changed(self.host)
        if standing is Standing.NEW:
            self._known.remember(self.host, network_id, statement.server)
        self.key = statement.server
        self.problem = self.error = None

    def fail(self, error: BillotsError) -> None:
        """Note why this server doesn't count."""
        self.error = error
        match error:
            case Refused():  # its message may be the server's own text
                self.problem = Problem.REFUSED
                said = f"{self.host.place} refused to answer: error {error.code}"
                self.error = Refused(error.code, said, error.name)
            case ServerKeyChanged():
                self.problem = Problem.CHANGED_KEY
            case WrongNetwork():
                self.problem = Problem.OTHER_NETWORK
            case Unsigned():
                self.problem = Problem.UNSIGNED
            case Unreachable():
                self.problem = Problem.SILENT if self._client else Problem.UNREACHABLE
            case _:
                self.problem = Problem.BROKEN

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.abort()
