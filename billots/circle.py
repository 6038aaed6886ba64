"""The servers that a wallet asks together, and the network that they must share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Self

from billots.errors import InputError, JournalError, Unreachable, WrongNetwork
from billots.host import Host
from billots.known_servers import KnownServers
from billots.link import Link
from billots.network import SHIPPED, Network
from billots.quorum import Quorum


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

    @property
    def network(self) -> Network:
        """The network; known as soon as one server was reached, or at once if it was given."""
        assert self._network is not None, "no server was reached"
        return self._network

    @property
    def n(self) -> int:
        """How many servers the list names; entries that turned out to have one key are one."""
        keys = [link.key or self._expected_key(link) for link in self.links]
        return len({key for key in keys if key}) + keys.count(None)

    def _expected_key(self, link: Link) -> str | None:
        if self._network is None:
            return link.host.key
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

        Raises WrongNetwork if it is another one than given, than the other servers', or than
        any that this wallet knows.
        """
        network_id = await link.open()
        if self._network is None:
            shipped = (Network.shipped(name) for name in SHIPPED)
            self._network = next((n for n in shipped if n.id == network_id), None)
        if self._network is None:
            raise WrongNetwork(
                f"{link.host.place} serves a network that this wallet does not know",
                "--network FILE names the file of that network",
            )
        if self._network.id != network_id:
            raise self._other_network(link)
        return network_id

    def _other_network(self, link: Link) -> WrongNetwork:
        name = self.network.name
        if self._given is not None:
            return WrongNetwork(
                f"{link.host.place} does not serve network {name}",
                "--server or --trusted names a server of it, --network another network",
            )
        return WrongNetwork(
            f"servers of different networks: not all serve {name}, {link.host.place} does not",
            "name servers of one network in --trusted, or the network with --network",
        )

    def problems(self) -> Iterator[Link]:
        """The servers that can't be counted."""
        return (link for link in self.links if link.problem is not None)

    def require_one(self) -> None:
        """Raise Unreachable if nothing answered at all, anywhere on the list."""
        if any(link.reached for link in self.everyone):
            return
        hint = "bserver 7333 test starts a server here; --trusted names others"
        if not any(link.host.loopback for link in self.everyone):
            hint = "--trusted h:p, h:p, h:p names other servers"
        if len(self.everyone) == 1:
            error = self.links[0].error
            raise Unreachable(str(error or f"can't reach {self.links[0].host.place}"), hint)
        raise Unreachable(f"none of the {len(self.everyone)} servers can be reached", hint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        for link in self.everyone:
            link.close()
        with contextlib.suppress(*(() if error is None else (JournalError,))):
            self.save_keys()

    def save_keys(self) -> None:
        """Write down the keys of servers that were new; raises JournalError."""
        self._known.save()
