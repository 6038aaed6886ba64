"""The servers that a wallet asks together, and the network that they must share.

Without a network given it is the shipped one that a quorum of them states, or most of those
that answer in a moment. A server of another one counts for nothing, like one that is down: a
liar that names another network must not stop the wallet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Self

from billots.errors import BillotsError, InputError, JournalError, Unreachable, WrongNetwork
from billots.host import Host
from billots.known_servers import KnownServers
from billots.link import Link, OtherNetwork, Problem
from billots.network import SHIPPED, Network
from billots.quorum import Quorum
from billots.receipt import Electorate

NETWORK_AFTER_S = 1.0
"""How long the others may take to name their network, once one has."""


class Circle:
    """The servers that one verb asks, and the network that they all must serve.

    `links` are the list's, whose words count; `server` is the one that a transfer goes to,
    asked with them and counted only if it is on the list; `everyone` is both. An
    async context manager: leaving it ends the connections and writes new keys down.
    """

    def __init__(
        self,
        hosts: Iterable[Host],
        *,
        quorum: Quorum,
        known: KnownServers,
        network: Network | None,
        timeout_s: float,
        server: Host | None = None,
    ) -> None:
        self.links = [Link(host, known, timeout_s) for host in hosts]
        places = {link.host.place: link for link in self.links}
        self.server = places.get(server.place) if server is not None else None
        self.everyone = list(self.links)
        if server is not None and self.server is None:
            self.server = Link(server, known, timeout_s)
            self.everyone.append(self.server)
        if not self.links:
            raise InputError("no server to ask", "--trusted h:p, h:p, h:p names some")
        quorum.needed(len(self.links))
        self.quorum = quorum
        self.timeout_s = timeout_s
        self._known = known
        self._given = network
        self._network = network
        self._named: dict[Link, str | None] = {}
        self._decided = asyncio.Event()
        self._error: WrongNetwork | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def network(self) -> Network:
        """The network; known as soon as one server was reached, or at once if it was given."""
        assert self._network is not None, "no server was reached"
        return self._network

    @property
    def n(self) -> int:
        """How many servers the list names; entries that turned out to have one key are one."""
        keys = [self.key(link) for link in self.links]
        return len({key for key in keys if key}) + keys.count(None)

    def electorate(self) -> Electorate:
        """Whose votes count in a receipt: the keys that the list's entries have and had."""
        entries: dict[str, str] = {}
        retired: dict[str, str] = {}
        for link in self.links:
            key = self.key(link)
            place = link.host.place
            if key is not None:
                place = entries.setdefault(key, place)
            for old in self._known.retired(link.host, self.network.id):
                retired.setdefault(old, place)
        return Electorate(self.n, entries, retired)

    def key(self, link: Link) -> str | None:
        """The key that a server signed with, else the one that it is known by."""
        if link.key is not None or self._network is None:
            return link.key or link.host.key
        return self._known.key(link.host, self._network.id)

    @property
    def passing(self) -> bool:
        """Whether this is the test network on this machine, which comes and goes."""
        local = all(link.host.loopback for link in self.everyone)
        return local and self.network.id == Network.shipped("test").id

    @property
    def answering_keys(self) -> set[str]:
        """The keys of the servers that signed an answer."""
        return {link.key for link in self.everyone if link.key is not None}

    async def open(self, link: Link) -> str:
        """Connect to a server, hold its network against the others', and return its id.

        Raises OtherNetwork if it is another one than given, or than most others'; WrongNetwork
        if theirs can't be told, and what `Link.open` raises.
        """
        try:
            network_id = await link.open()
        except BillotsError:
            self._heard(link, None)
            raise
        self._heard(link, network_id)
        if self._network is None:
            await self._decided.wait()
        if self._error is not None:
            raise self._error
        if self.network.id != network_id:
            raise self._other_network(link)
        return network_id

    async def greet(self, link: Link) -> None:
        """Have a server sign something, so that its key is known to be its own.

        What is wrong with it is noted on the link; raises WrongNetwork and JournalError.
        """
        try:
            network_id = await self.open(link)
            first = next(iter(self.network.denominations))
            await link.statement(network_id, [f"{first}1"])
        except OtherNetwork as error:
            link.fail(error)
        except (WrongNetwork, JournalError):
            raise
        except BillotsError as error:
            link.fail(error)

    def _heard(self, link: Link, network_id: str | None) -> None:
        self._named[link] = network_id
        if self._network is not None or self._decided.is_set():
            return
        named = Counter(self._named[k] for k in self.links if self._named.get(k) is not None)
        most = max(named.values(), default=0)
        if most >= self.quorum.needed(len(self.links)) or all(k in self._named for k in self.links):
            self._decide()
        elif network_id is not None and self._timer is None:
            after_s = min(NETWORK_AFTER_S, self.timeout_s / 2)
            self._timer = asyncio.get_running_loop().call_later(after_s, self._decide)

    def _decide(self) -> None:
        """Take the network that most of the list name; if none of it does, the server's."""
        named = [name for link in self.links if (name := self._named.get(link)) is not None]
        named = named or [name for name in self._named.values() if name is not None]
        if not named or self._decided.is_set():
            return
        (most, count), *rest = Counter(named).most_common(2)
        shipped = (Network.shipped(name) for name in SHIPPED)
        self._network = next((n for n in shipped if n.id == most), None)
        if rest and rest[0][1] == count:
            places = [k.host.place for k, name in self._named.items() if name not in (None, most)]
            self._network = None
            self._error = WrongNetwork(
                f"servers of different networks: {places[0]} serves another than others",
                "name servers of one network in --trusted, or the network with --network",
            )
        elif self._network is None:
            places = [link.host.place for link, name in self._named.items() if name == most]
            self._error = WrongNetwork(
                f"{places[0]} serves a network that this wallet does not know",
                "--network FILE names the file of that network",
            )
        self._decided.set()

    def _other_network(self, link: Link) -> OtherNetwork:
        name = self.network.name
        if self._given is not None:
            return OtherNetwork(
                f"{link.host.place} does not serve network {name}",
                "--server or --trusted names a server of it, --network another network",
            )
        return OtherNetwork(
            f"servers of different networks: most serve {name}, {link.host.place} does not",
            "name servers of one network in --trusted, or the network with --network",
        )

    def problems(self) -> Iterator[Link]:
        """The servers that can't be counted."""
        return (link for link in self.links if link.problem is not None)

    def require_one(self) -> None:
        """Raise Unreachable if nothing answered at all, WrongNetwork if none of our network."""
        reached = [link for link in self.everyone if link.reached]
        if reached:
            first = reached[0].error
            others = all(link.problem is Problem.OTHER_NETWORK for link in reached)
            if others and first is not None:
                raise first
            return
        serve = "bserver 7333 test"
        if self._given is not None and self._given.id != Network.shipped("test").id:
            is_main = self._given.id == Network.shipped("main").id
            serve = "bserver 7333" if is_main else "bserver 7333 --network FILE"
        hint = f"{serve} starts a server here; --trusted names others"
        if not any(link.host.loopback for link in self.everyone):
            hint = "--trusted h:p, h:p, h:p names other servers"
        if len(self.everyone) == 1:
            error = self.links[0].error
            raise Unreachable(str(error or f"can't reach {self.links[0].host.place}"), hint)
        raise Unreachable(f"none of the {len(self.everyone)} servers can be reached", hint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for link in self.everyone:
            link.close()
        with contextlib.suppress(*(() if error is None else (JournalError,))):
            self.save_keys()

    def save_keys(self) -> None:
        """Write down the keys of servers that were new; raises JournalError."""
        self._known.save()
