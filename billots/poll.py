"""Asking many servers at once, and counting what they sign (DESIGN, sections 5 and 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from billots.circle import Circle
from billots.errors import BillotIdError, BillotsError, InputError, JournalError, WrongNetwork
from billots.holding import Holding, Status
from billots.host import Host
from billots.link import Link, OtherNetwork, Problem
from billots.network import ROWS_MAX, Network
from billots.quorum import Tally, Verdict, count, highest_seq
from billots.receipt import Receipt, SignedVote
from billots.statement import PROOF_ROWS_MAX, Statement
from billots.transfer import Transfer

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


class Poll:
    """Signed votes on some billots, asked of all servers at once.

    `run` ends as soon as a quorum stands for every billot; without one, when all answered or
    time is up. A server at a lower seq than others, or that says `unknown`, is only behind:
    it is asked again for a moment. Up to 16 billots are asked with proofs unless `proof` says
    otherwise; with them, or with `keep`, the signed votes are kept and make receipts. Servers
    in `without` are not asked: they were just waited for in vain.
    """

    def __init__(
        self,
        circle: Circle,
        billots: Sequence[str],
        *,
        on_answer: Callable[[Answer], None] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        everyone: bool = False,
        proof: bool | None = None,
        keep: bool = False,
        without: Collection[Link] = (),
    ) -> None:
        self.circle = circle
        self.votes: dict[str, dict[str, Holding]] = {billot: {} for billot in billots}
        self.said: dict[Link, dict[str, Holding]] = {link: {} for link in circle.everyone}
        self.proof = 0 < len(self.votes) <= PROOF_ROWS_MAX if proof is None else proof
        self.keeps = self.proof or keep
        self._signed: dict[str, dict[str, SignedVote]] = {billot: {} for billot in billots}
        self._transfers: dict[str, list[Transfer]] = {billot: [] for billot in billots}
        self._open = set(self.votes)
        self._everyone = everyone
        self._without = without
        self._on_answer = on_answer
        self._on_progress = on_progress
        self._answered: set[Link] = set()
        self._times: dict[Link, int] = {}
        self._tasks: dict[asyncio.Task[None], Link] = {}

    async def run(self, limit_s: float | None = None) -> None:
        """Ask until there is nothing more to wait for; raises WrongNetwork, JournalError."""
        loop = asyncio.get_running_loop()
        end = None if limit_s is None else loop.time() + limit_s
        for link in (each for each in self.circle.everyone if each not in self._without):
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
            for link in set(self._tasks.values()):
                if self.said[link].keys() == self.votes.keys():  # answered just now
                    self._tell(link)
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

    def receipt(self, billot: str, move: Transfer | None = None) -> Receipt | None:
        """The votes for what a quorum says of a billot that moved, with the transfer.

        `move` is that transfer, from elsewhere, and sound. None without a quorum, for a billot
        that never moved, and if no server gave the transfer, or room for it was lacking.
        """
        tally = self.tally(billot)
        holding, network = tally.holding, self.circle.network
        if holding is None or tally.verdict is not Verdict.OWNER:
            return None
        said = self.votes[billot]
        votes = [
            vote
            for server, vote in self._signed[billot].items()
            if (said[server].seq, said[server].vote) == (holding.seq, holding.vote)
        ]
        if move is None:
            given = (t for t in self._transfers[billot] if is_move(t, billot, holding))
            move = next((t for t in given if is_sound(t, network)), None)
        return Receipt(move, tuple(votes)) if votes and move is not None else None

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
        except OtherNetwork as error:
            link.fail(error)
        except (WrongNetwork, JournalError, BillotIdError):
            raise
        except BillotsError as error:
            if link not in self._answered:  # what it signed before stays its word
                link.fail(error)

    async def _question(self, link: Link, network_id: str, billots: list[str]) -> None:
        statement = await link.statement(network_id, billots, proof=self.proof)
        for row in statement.billots:
            self.said[link][row.id] = row.holding
            if link in self.circle.links:
                self.votes[row.id][statement.server] = row.holding
        if self.keeps and link in self.circle.links:
            self._note_proofs(statement)
        self._settle(self._open.intersection(billots))
        if self._on_progress is not None:
            self._on_progress(len(self.votes) - len(self._open), len(self.votes))

    def _note_proofs(self, statement: Statement) -> None:
        signed = statement.signed()
        assert signed is not None, "a statement that was judged is signed"
        vote = SignedVote(statement=signed)
        for row in statement.billots:
            self._signed[row.id][statement.server] = vote
            known = self._transfers[row.id]
            if isinstance(row.transfer, Transfer) and row.transfer not in known:
                known.append(row.transfer)

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


def is_move(transfer: Transfer, billot: str, holding: Holding) -> bool:
    """Whether a holding comes from this transfer, if that is sound."""
    said = (transfer.sender, transfer.to) == (holding.sender, holding.owner)
    return said and (billot, holding.seq) in transfer.billots


def is_sound(transfer: Transfer, network: Network) -> bool:
    """Whether a transfer is a well-formed one of this network, and its signature holds."""
    try:
        transfer.check(network)
    except InputError:
        return False
    return transfer.network == network.id and transfer.verify()


def batched(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Lists of up to `size` items (itertools.batched is of Python 3.12)."""
    return (list(items[start : start + size]) for start in range(0, len(items), size))
