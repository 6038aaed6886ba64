"""What the wallet's verbs return: values to look at, nothing printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from billots.host import Host
from billots.messages import Pair
from billots.network import Network
from billots.poll import Answer
from billots.quorum import Tally, Verdict
from billots.statement import Statement
from billots.transfer import Transfer


@dataclass(frozen=True, slots=True)
class OwnerCheck:
    """Whose a billot is, by the count of `answers` (one for each entry of the list).

    `conflict` is the verified pair of transfers that makes it disputed, if one was found.
    """

    billot: str
    network: Network
    tally: Tally
    answers: tuple[Answer, ...]
    conflict: Pair | None = None

    @property
    def verdict(self) -> Verdict:
        """What the count comes to."""
        return self.tally.verdict

    @property
    def owner(self) -> str | None:
        """The owner, if there is a verdict and it names one."""
        return self.tally.owner


@dataclass(frozen=True, slots=True)
class Sent:
    """A transfer that a server accepted.

    `statement` is what that server signed about its billots, `resent` whether the journal had
    the transfer already, `lapsed` the journal's entries that were given up for it.
    """

    transfer: Transfer
    network: Network
    host: Host
    statement: Statement
    resent: bool
    lapsed: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class OwnedBillot:
    """A billot that a quorum of signed votes says is the owner's; its value in mils."""

    id: str
    mils: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class UnmovedBillots:
    """Billots `first` to `last` of a denomination, `mils` each, that never moved."""

    prefix: str
    first: int
    last: int
    mils: int

    @property
    def total_mils(self) -> int:
        """What they are worth together."""
        return (self.last - self.first + 1) * self.mils


@dataclass(frozen=True, slots=True)
class Listing:
    """An owner's billots. `undecided` are those named as the owner's without a quorum."""

    owner: str
    network: Network
    billots: tuple[OwnedBillot, ...]
    unmoved: tuple[UnmovedBillots, ...]
    undecided: tuple[OwnedBillot, ...]
    answers: tuple[Answer, ...]

    @property
    def total_mils(self) -> int:
        """The value of `billots` and `unmoved`; what is undecided is no money yet."""
        listed = sum(billot.mils for billot in self.billots)
        return listed + sum(unmoved.total_mils for unmoved in self.unmoved)


@dataclass(frozen=True, slots=True)
class Overview:
    """Who and where one is: `owner` and `network` are ``None`` if they can't be told.

    `needed` of `n` servers make a quorum.
    """

    owner: str | None
    keyfile: Path
    network: Network | None
    answers: tuple[Answer, ...]
    needed: int
    n: int
