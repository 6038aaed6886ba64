"""Asking many servers at once, and counting what they sign (DESIGN, sections 5 and 6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from billots.errors import (
    BillotIdError,
    BillotsError,
    InputError,
    JournalError,
    Unreachable,
    WrongNetwork,
)
from billots.holding import Holding, Status
from billots.host import Host
from billots.known_servers import KnownServers
from billots.link import Link, Problem
from billots.network import ROWS_MAX, SHIPPED, Network
from billots.quorum import Quorum, Tally, Verdict, count, highest_seq

AGAIN_AFTER_S = (0.05, 0.1, 0.2, 0.4)
"""How long a server that is only behind is left in peace before it is asked again."""
IN_FLIGHT_MAX = 4
"""Questions of 256 billots on their way to one server; its frames are 128 KiB at most."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server of the list said on one billot, or why it counts for nothing.

    `key` is the key that signed it; entries of the list with one key are one server.
    """

    host: Host
    key: str | None = None
    holding: Holding | None = None
    problem: Problem | None = None


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


class Poll:
    """Signed votes on some billots, asked of all servers at once.

    `run` ends as soon as a quorum stands for every billot; without one, when all answered or
    time is up. A server at a lower seq than others, or that says `unknown`, is only behind:
    it is asked again for a moment.
    """

    def __init__(
        self,
        circle: Circle,
        billots: Sequence[str],
        *,
        on_answer: Callable[[Answer], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        everyone: bool = False,
    ) -> None:
        self.circle = circle
        self.votes: dict[str, dict[str, Holding]] = {billot: {} for billot in billots}
        self.said: dict[Link, dict[str, Holding]] = {link: {} for link in circle.everyone}
        self._open = set(self.votes)
        self._everyone = everyone
        self._on_answer = on_answer
        self._on_progress = on_progress
        self._answered: set[Link] = set()
        self._times: dict[Link, int] = {}
        self._tasks: dict[asyncio.Task[None], Link] = {}

    async def run(self, limit_s: float | None = None) -> None:
        """Ask until there is nothing more to wait for; raises WrongNetwork, JournalError."""
        loop = asyncio.get_running_loop()
        end = None if limit_s is None else loop.time() + limit_s
        for link in self.circle.everyone:
            self._start(link, list(self.votes), 0.0)
        try:
            while self._tasks and (self._open or self._everyone):
                left = None if end is None else max(0.0, end - loop.time())
                done, _ = await asyncio.wait(
                    self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    link = self._tasks.pop(task)
                    task.result()
                    self._tell(link)
                self._settle(self._open)
                self._ask_behind()
        finally:
            await self._stop(Problem.SILENT if self._open else Problem.NOT_AWAITED)

    def tally(self, billot: str, *, conflict: bool = False) -> Tally:
        """The count for one billot."""
        circle = self.circle
        return count(self.votes[billot], circle.n, circle.quorum, conflict=conflict)

    def answer(self, link: Link, billot: str) -> Answer:
        """What one server said on one billot."""
        holding = self.said[link].get(billot)
        return Answer(link.host, link.key, holding, None if holding else link.problem)

    def _start(self, link: Link, billots: list[str], after_s: float) -> None:
        self._tasks[asyncio.create_task(self._ask(link, billots, after_s))] = link

    async def _ask(self, link: Link, billots: list[str], after_s: float) -> None:
        try:
            if after_s:
                await asyncio.sleep(after_s)
            network_id = await self.circle.open(link)
            for billot in billots:
                self.circle.network.check(billot)
            for chunks in batched(list(batched(billots, ROWS_MAX)), IN_FLIGHT_MAX):
                questions = (self._question(link, network_id, chunk) for chunk in chunks)
                await asyncio.gather(*questions)
        except (WrongNetwork, JournalError, BillotIdError):
            raise
        except BillotsError as error:
            if link not in self._answered:  # what it signed before stays its word
                link.fail(error)

    async def _question(self, link: Link, network_id: str, billots: list[str]) -> None:
        statement = await link.statement(network_id, billots)
        for row in statement.billots:
            self.said[link][row.id] = row.holding
            if link in self.circle.links:
                self.votes[row.id][statement.server] = row.holding
        self._settle(self._open.intersection(billots))
        if self._on_progress is not None:
            self._on_progress(len(self.votes) - len(self._open), len(self.votes))

    def _settle(self, billots: Collection[str]) -> None:
        """Take the billots that a quorum stands for off the open ones."""
        n, quorum = self.circle.n, self.circle.quorum
        needed = quorum.needed(n)
        for billot in list(billots):
            votes = self.votes[billot]
            if len(votes) < needed:
                continue
            if count(votes, n, quorum).verdict in (Verdict.OWNER, Verdict.NO_OWNER):
                self._open.discard(billot)

    def _tell(self, link: Link) -> None:
        self._answered |= {link} if link.problem is None else set()
        if self._on_answer is not None and self.votes:
            self._on_answer(self.answer(link, next(iter(self.votes))))

    def _ask_behind(self) -> None:
        busy = set(self._tasks.values())
        for link in self._answered - busy:
            times = self._times.get(link, 0)
            behind = [billot for billot in self._open if self._is_behind(link, billot)]
            if behind and times < len(AGAIN_AFTER_S):
                self._times[link] = times + 1
                self._start(link, behind, AGAIN_AFTER_S[times])

    def _is_behind(self, link: Link, billot: str) -> bool:
        holding = self.said[link].get(billot)
        if holding is None:
            return False
        newest = highest_seq(self.votes[billot].values())
        return holding.status is Status.UNKNOWN or holding.seq < newest

    async def _stop(self, problem: Problem) -> None:
        for task, link in self._tasks.items():
            task.cancel()
            if link.problem is None and link not in self._answered:
                link.problem = problem
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def batched(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` items (itertools.batched is of Python 3.12)."""
    return (list(items[start : start + size]) for start in range(0, len(items), size))
