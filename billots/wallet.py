"""The wallet: keys, what they own, who owns what, and sending it on (DESIGN, section 11).

`AsyncWallet` is for programs that run asyncio, `Wallet` has the same verbs for scripts. Both
return values and print nothing. Only signed statements are counted, each an answer to a fresh
nonce, by server keys that are pinned or remembered; values and first owners come from the
wallet's own network file, never from a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from billots.circle import Circle
from billots.crypto import PrivateKey, load_public_key, owner_id
from billots.errors import BillotsError, JournalError, KeyFileError, ProtocolError, WrongNetwork
from billots.evidence import find_conflict
from billots.holding import Status
from billots.host import Host, parse_hosts
from billots.known_servers import KnownServers
from billots.link import Link, OtherNetwork
from billots.listing import list_billots
from billots.network import Network, check_owner_id, split_billot_id
from billots.outcomes import Listing, Overview, OwnerCheck, Sent
from billots.poll import Answer, Poll
from billots.quorum import Quorum, Tally, Verdict
from billots.sending import Sender, check_request, send

DEFAULT_SERVER = "mint1.billots.org:7333"
DEFAULT_TRUSTED = "mint1.billots.org:7333, mint2.billots.org:7334, mint3.billots.org:7335"
EVIDENCE_S_MAX = 2.0

Result = TypeVar("Result")


class AsyncWallet:
    """A key and the servers that its owner trusts. Nothing is read before a verb needs it.

    `server` takes transfers and answers `who_owns`; `trusted` is the list that is counted, by
    the rule `quorum` (``safe``, ``majority``, ``90%`` or a number). With `trusted` alone its
    first is the server; with `server` alone `list_billots` and `transfer` trust only that
    one, and `check_owner` asks the default list. `network` is the one that the servers must
    serve; without it, a shipped one that they all state. `data_dir` holds the journal and the
    known servers, in the user's data directory unless given. `command` is what hints say to
    type.
    """

    def __init__(
        self,
        *,
        keyfile: str | Path = "key",
        passphrase: str | None = None,
        server: Host | str | None = None,
        trusted: str | Iterable[Host | str] | None = None,
        quorum: str | Quorum = "safe",
        network: Network | None = None,
        timeout_s: float = 5.0,
        data_dir: str | Path | None = None,
        command: str = "bwallet",
    ) -> None:
        self.keyfile = Path(keyfile)
        self.quorum = quorum if isinstance(quorum, Quorum) else Quorum(quorum)
        self.network = network
        self.timeout_s = timeout_s
        self.command = command
        self._passphrase = passphrase
        self._data_dir = Path(data_dir) if data_dir is not None else None
        words = trusted if trusted is None or isinstance(trusted, str) else map(str, trusted)
        self._trusted = parse_hosts(words) if words is not None else None
        self._server = Host.parse(str(server)) if server is not None else None

    @property
    def trusted(self) -> list[Host]:
        """The list that `check_owner` counts."""
        return self._trusted if self._trusted is not None else parse_hosts(DEFAULT_TRUSTED)

    @property
    def server(self) -> Host:
        """Where transfers go first."""
        if self._server is not None:
            return self._server
        return self._trusted[0] if self._trusted else Host.parse(DEFAULT_SERVER)

    async def generate_keys(self, path: str | Path | None = None) -> Path:
        """Make a key, write it to `path` (else `keyfile`) and `path`.pub, and return `path`.

        Raises KeyFileError if either is there: a key is never overwritten.
        """
        path = self.keyfile if path is None else Path(path)
        PrivateKey.generate().save(path, self._passphrase)
        return path

    async def owner_hash(self) -> str:
        """The owner id of the key file; raises KeyFileError."""
        return owner_id(load_public_key(self.keyfile))

    async def check_owner(
        self, billot: str, on_answer: Callable[[Answer], None] | None = None
    ) -> OwnerCheck:
        """Whose `billot` is, by a quorum of the trusted servers.

        All are asked at once, and this returns as soon as a quorum stands; `on_answer` is
        called with each answer as it comes. A server that is only behind is asked again for a
        moment. Without a quorum it is disputed if a server shows that its owner signed twice.
        Raises BillotIdError, WrongNetwork, and Unreachable if no server could be reached.
        """
        split_billot_id(billot)
        async with self._circle(self.trusted, self.quorum) as circle:
            poll = Poll(circle, [billot], on_answer=on_answer)
            await poll.run(self.timeout_s)
            circle.require_one()
            tally, pair = poll.tally(billot), None
            if tally.verdict not in (Verdict.OWNER, Verdict.NO_OWNER):
                holdings = poll.votes[billot].values()
                limit_s = min(self.timeout_s, EVIDENCE_S_MAX)
                pair = await find_conflict(circle, billot, holdings, limit_s)
                tally = poll.tally(billot, conflict=pair is not None)
            answers = tuple(poll.answer(link, billot) for link in circle.links)
            return OwnerCheck(billot, circle.network, tally, answers, pair)

    async def who_owns(self, billot: str) -> OwnerCheck:
        """Whose `billot` is, by the signed word of `server` alone.

        Raises BillotIdError, WrongNetwork, Unreachable, ServerKeyChanged, or ProtocolError for
        an answer that isn't signed.
        """
        split_billot_id(billot)
        async with self._circle([self.server], Quorum("1")) as circle:
            poll = Poll(circle, [billot])
            await poll.run(self.timeout_s)
            circle.require_one()
            link = circle.links[0]
            if link.problem is not None:
                raise link.error or ProtocolError(f"{link.host.place} {link.problem}")
            answer = poll.answer(link, billot)
            return OwnerCheck(billot, circle.network, _alone(poll.tally(billot)), (answer,))

    async def list_billots(
        self, owner: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> Listing:
        """The billots of `owner` (else of the key file), each by a quorum of signed votes.

        `on_progress` is called with how many are counted, of how many. Raises KeyFileError,
        OwnerIdError, WrongNetwork, Unreachable.
        """
        owner = await self.owner_hash() if owner is None else check_owner_id(owner)
        async with self._circle(self._near, self.quorum) as circle:
            return await list_billots(circle, owner, on_progress)

    async def transfer(self, billots: str | Iterable[str], to: str) -> Sent:
        """Send billots (an id, ids with commas, or several) to the owner `to`.

        The signed transfer is in the journal before it leaves. The same request sends the
        same bytes again. Raises InputError; KeyFileError; JournalError; AlreadySigned if one
        of the billots is signed over to somebody else; Refused, in this wallet's words;
        WrongNetwork, ServerKeyChanged; Unreachable if no server took it.
        """
        words = billots.replace(",", " ").split() if isinstance(billots, str) else list(billots)
        ordered = check_request(words, to)
        key = PrivateKey.load(self.keyfile, self._passphrase)
        sender = Sender(key, self._data_dir, self.command, self.timeout_s)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            return await send(sender, circle, ordered, to)

    async def overview(self) -> Overview:
        """Owner, key file, network, and how each server of the list answers.

        Nothing that is missing is an error here; raises WrongNetwork and JournalError.
        """
        try:
            owner: str | None = await self.owner_hash()
        except KeyFileError:
            owner = None
        async with self._circle(self._near, self.quorum) as circle:
            await asyncio.gather(*(_greet(circle, link) for link in circle.links))
            answers = tuple(Answer(k.host, k.key, None, k.problem) for k in circle.links)
            reached = any(link.reached for link in circle.links)
            if reached:
                circle.require_one()
            network = circle.network if reached else self.network
            needed = self.quorum.needed(circle.n)
            return Overview(owner, self.keyfile, network, answers, needed, circle.n)

    @property
    def _near(self) -> list[Host]:
        if self._trusted is None and self._server is not None:
            return [self._server]
        return self.trusted

    def _circle(self, hosts: list[Host], quorum: Quorum, server: Host | None = None) -> Circle:
        return Circle(
            hosts,
            quorum=quorum,
            known=KnownServers(self._data_dir),
            network=self.network,
            timeout_s=self.timeout_s,
            server=server,
        )


class Wallet:
    """`AsyncWallet` for scripts: the same arguments and verbs, each runs to its end.

    >>> Wallet().check_owner("a-1").owner       # doctest: +SKIP
    '9628cb3f…'
    """

    def __init__(self, **settings: Any) -> None:
        self.awaitable = AsyncWallet(**settings)

    def generate_keys(self, path: str | Path | None = None) -> Path:
        """See `AsyncWallet.generate_keys`."""
        return _run(self.awaitable.generate_keys(path))

    def owner_hash(self) -> str:
        """See `AsyncWallet.owner_hash`."""
        return _run(self.awaitable.owner_hash())

    def check_owner(
        self, billot: str, on_answer: Callable[[Answer], None] | None = None
    ) -> OwnerCheck:
        """See `AsyncWallet.check_owner`."""
        return _run(self.awaitable.check_owner(billot, on_answer))

    def who_owns(self, billot: str) -> OwnerCheck:
        """See `AsyncWallet.who_owns`."""
        return _run(self.awaitable.who_owns(billot))

    def list_billots(
        self, owner: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> Listing:
        """See `AsyncWallet.list_billots`."""
        return _run(self.awaitable.list_billots(owner, on_progress))

    def transfer(self, billots: str | Iterable[str], to: str) -> Sent:
        """See `AsyncWallet.transfer`."""
        return _run(self.awaitable.transfer(billots, to))

    def overview(self) -> Overview:
        """See `AsyncWallet.overview`."""
        return _run(self.awaitable.overview())


def _run(verb: Coroutine[Any, Any, Result]) -> Result:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        running = False
    else:
        running = True
    if running:
        verb.close()
        raise RuntimeError("Wallet waits for its answers: use AsyncWallet where asyncio runs")
    return asyncio.run(verb)


async def _greet(circle: Circle, link: Link) -> None:
    """Have a server sign something, so that its key is known to be its own."""
    try:
        network_id = await circle.open(link)
        first = next(iter(circle.network.denominations))
        await link.statement(network_id, [f"{first}1"])
    except OtherNetwork as error:
        link.fail(error)
    except (WrongNetwork, JournalError):
        raise
    except BillotsError as error:
        link.fail(error)


def _alone(tally: Tally) -> Tally:
    """One server's word is no quorum of others: what it calls disputed is."""
    if tally.holding is not None and tally.holding.status is Status.DISPUTED:
        return replace(tally, verdict=Verdict.DISPUTED)
    return tally
