"""Real nodes by name, for the traces that `trace_servers` plays with the model's functions.

Nothing passes between the nodes until `flow`. What a node ever signed is written down, and
whoever plays the trace can show it to anybody. Liars are trusted servers that the test plays:
each node has a link of its own to each of them, so that they may tell everyone something else.
"""

from __future__ import annotations

from typing import NamedTuple

import rules as rule
from msgspec import convert
from network import NET, SERVER_KEYS, Net, Peer, fields
from rules import Outcome, Row, Status, Vote
from translation import real, small, transfer

from billots.feed import AdoptedRow, TransferRow
from billots.messages import Settle
from billots.receipt import Receipt, SignedVote
from billots.statement import Statement
from billots.store import Memory

BILLOT = "a-1"
NONCE = "0" * 32
LIARS_FROM = 10
PENDING_S = 6.0
"""Longer than a transfer waits, and a consult."""


class Said(NamedTuple):
    """One signed word: what it says, whether it claims that it is settled, and itself."""

    vote: Vote
    claim: bool
    signed: SignedVote


class NodeCluster:
    """The same steps as `trace_servers.Cluster` has, with nodes."""

    def __init__(self, n: int, *, liars: int = 0) -> None:
        self.n, self.liars = n, liars
        honest = n - liars
        places = range(n)
        self.net = Net(honest, trusted=[[p for p in places if p != own] for own in range(honest)])
        self.at = {f"S{number + 1}": self.net[number] for number in range(honest)}
        self.said: dict[str, list[Said]] = {}
        """By server key, everything that it signed."""
        self.retired: dict[str, str] = {}
        self.net.mesh()
        self.lying = {
            (name, liar): Peer(self.net, server, liar - 1, SERVER_KEYS[LIARS_FROM + liar])
            for name, server in self.at.items()
            for liar in range(honest, n)
        }
        self._hold(hold=True)

    # -- what comes to a server ---------------------------------------------------------------

    def take(self, row: Row, *servers: str) -> list[Outcome]:
        """A wallet brings a transfer, and has its answer once it need not wait any more."""
        return [self._take(row, server) for server in servers]

    def _take(self, row: Row, name: str) -> Outcome:
        client = self.at[name].client(exempt=True)
        answer = client.transfer(transfer(row, BILLOT))
        if answer is None:
            self.net.run(PENDING_S)
            (answer,) = client.read()
        self._listen()
        if "result" in answer:
            return Outcome.TAKE
        error = answer["error"]["data"]["error"]
        return Outcome.CONFLICT if error == "conflicting_transfer" else Outcome(error)

    def hear(self, vote: Vote, *servers: str) -> list[bool]:
        """A receipt of all that was ever said for a vote is shown."""
        return [self._hear(vote, server) for server in servers]

    def _hear(self, vote: Vote, name: str) -> bool:
        votes = [
            said.signed
            for server in self.at.values()
            for said in self._newest(server.key.public_hex)
            if said.vote == vote
        ]
        votes += [self._lie(liar, vote) for liar in range(self.n - self.liars, self.n)]
        server = self.at[name]
        if votes:
            shown = Receipt(transfer(vote, BILLOT), tuple(votes))
            server.client(exempt=True).answer("settle", fields(Settle((shown,))))
        self._listen()
        return small(server.holding(BILLOT)) == (*vote, Status.SETTLED)

    def _newest(self, key: str) -> list[Said]:
        """One word of a key for each vote: the claim, if it ever made it."""
        found: dict[Vote, Said] = {}
        for said in self.said.get(key, []):
            if said.claim or said.vote not in found:
                found[said.vote] = said
        return list(found.values())

    def _lie(self, liar: int, vote: Vote) -> SignedVote:
        key = SERVER_KEYS[LIARS_FROM + liar]
        row = [(BILLOT, real((*vote, Status.SETTLED)))]
        statement = Statement.make(NET, key.public_hex, row).sign(key, NONCE)
        signed = statement.signed()
        assert signed is not None
        return SignedVote(statement=signed)

    # -- memory -------------------------------------------------------------------------------

    def wipe(self, name: str) -> None:
        """It comes back with nothing, and so with a new key; nobody is linked to it yet."""
        server = self.at[name]
        server.crash()
        self.retired[name] = server.key.public_hex
        server.memory = Memory()
        server.key = SERVER_KEYS[LIARS_FROM + 9]
        server.start()

    def read(self, name: str) -> None:
        """All dial it and it dials all; it reads what they have."""
        server = self.at[name]
        for other in self.at.values():
            if other is not server:
                self.net.link(server, other)
                self.net.link(other, server)
        self.net.quiet()
        self._hold(hold=True)
        self._listen()

    # -- what came of it ----------------------------------------------------------------------

    def holding(self, name: str) -> rule.Holding:
        """What a server has."""
        return small(self.at[name].holding(BILLOT))

    def receipts(self, *, old: bool = False) -> list[Vote]:
        """What is final for a payee: with the keys of now, or those before any was lost.

        From four servers on a lost key counts beside the new one, as one of the f.
        """
        both = self.n >= rule.DESIGN.retired_keys_count_from_n
        words = []
        for name, server in self.at.items():
            now, lost = server.key.public_hex, self.retired.get(name)
            keys = {now} if lost is None else {now, lost} if both else {lost if old else now}
            words.append({said.vote for key in keys for said in self.said.get(key, [])})
        every = {vote for votes in words for vote in votes}
        words += [every] * self.liars
        return sorted(vote for vote in every if rule.is_receipt(words, vote, self.n))

    def _listen(self) -> None:
        """Somebody asks everybody: each server signs what it has."""
        self.net.quiet()
        for server in self.at.values():
            question = {"billots": [BILLOT], "nonce": NONCE, "consult": True}
            answer = server.client(exempt=True).ask("who_owns", question)
            statement = convert(answer, Statement)
            signed, row = statement.signed(), statement.billots[0]
            assert signed is not None
            if row.seq:
                holding = small(row.holding)
                word = Said(holding[:3], holding[3] is Status.SETTLED, SignedVote(statement=signed))
                self.said.setdefault(server.key.public_hex, []).append(word)

    # -- in the end ---------------------------------------------------------------------------

    def flow(self, lies: dict[str, list[tuple[Vote, bool]]], seconds: float = 60.0) -> None:
        """All liars tell these votes (or claims) in their feeds; then everything passes."""
        for name, votes in lies.items():
            for liar in range(self.n - self.liars, self.n):
                peer = self.lying[name, liar]
                for lsn, (vote, claim) in enumerate(votes, 1):
                    moved = transfer(vote, BILLOT)
                    row = TransferRow(lsn, moved.id)
                    if claim:
                        row = AdoptedRow(lsn, BILLOT, vote[0], moved.sender, moved.to)
                    peer.feed(row, bodies=[moved])
        self._hold(hold=False)
        for _ in range(int(seconds)):
            self.net.run(1.0)
            self._listen()

    def _hold(self, *, hold: bool) -> None:
        for one in self.net.servers:
            for other in self.net.servers:
                for wire in self.net.between(one, other):
                    wire.hold = hold
