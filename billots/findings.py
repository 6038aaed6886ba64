"""What an audit finds: how each server did, and the votes that prove a lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from billots.holding import Holding, Status
from billots.host import Host
from billots.link import Problem
from billots.messages import Pair
from billots.network import Network
from billots.receipt import SignedVote


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two votes that one server signed at one (id, seq), for different owners.

    `unproven`: one of them says settled, which is no lie with a receipt; it gave none.
    """

    server: str
    billot: str
    seq: int
    first: SignedVote
    second: SignedVote
    unproven: bool


@dataclass(slots=True)
class Audited:
    """How one server of the list did: billots by what it said of them, and what is wrong."""

    host: Host
    key: str | None = None
    problem: Problem | None = None
    agreeing: int = 0
    behind: int = 0
    disagreeing: list[str] = field(default_factory=list)
    false_proofs: list[str] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing speaks against it; to be down or behind doesn't."""
        wrong = self.disagreeing or self.false_proofs or self.contradictions
        return not wrong and self.problem is not Problem.CHANGED_KEY

    def grade(self, billot: str, holding: Holding, most: Holding, twice: Pair | None) -> None:
        """Count what it says of one billot, beside what most say.

        With `twice`, signed by the billot's owner, servers that took different ones of his
        transfers are honest; but no two of them are settled.
        """
        if (holding.seq, holding.vote) == (most.seq, most.vote):
            self.agreeing += 1
        elif holding.status is Status.UNKNOWN or holding.seq < most.seq:
            self.behind += 1
        elif holding.seq == most.seq + 1 and holding.sender == most.owner:
            self.agreeing += 1  # it has heard more: what it stands on is what most say
        elif twice is None or not _is_torn(holding, most, twice):
            self.disagreeing.append(billot)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What came of asking all servers about some billots.

    `undecided` are billots that no quorum of `needed` names the owner of; `twice` those that
    their owners signed over twice, with the verified pair.
    """

    network: Network
    billots: tuple[str, ...]
    servers: tuple[Audited, ...]
    undecided: tuple[str, ...]
    twice: Mapping[str, Pair]
    needed: int

    @property
    def clean(self) -> bool:
        """Whether nobody contradicts, disagrees, or shows false proofs or another key."""
        return all(server.clean for server in self.servers)

    @property
    def agreed(self) -> bool:
        """Whether, beyond that, a quorum names the owner of every billot, who signed once."""
        return self.clean and not self.undecided and not self.twice


def _is_torn(holding: Holding, most: Holding, twice: Pair) -> bool:
    """Whether an honest server may say this, for the owner signed more than one transfer."""
    settled = (holding.status, most.status) == (Status.SETTLED, Status.SETTLED)
    same = holding.seq == most.seq and twice.first.sender == holding.sender == most.sender
    return same and not settled


def as_proof(contradiction: Contradiction, network: Network, place: str) -> dict[str, object]:
    """A contradiction as something to show to others: both votes, each as it was signed."""
    return {
        "what": "two votes of one server for different owners",
        "network": network.id,
        "server": contradiction.server,
        "host": place,
        "billot": contradiction.billot,
        "seq": contradiction.seq,
        "unproven": contradiction.unproven,
        "votes": [contradiction.first, contradiction.second],
    }
