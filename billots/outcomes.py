"""What the wallet's verbs return: values to look at, nothing printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from billots.host import Host
from billots.messages import Pair
from billots.network import Network
from billots.poll import Answer
from billots.quorum import Tally, Verdict
from billots.receipt import Receipt
from billots.statement import Statement
from billots.transfer import Transfer
from billots.trust_check import TrustReport


@dataclass(frozen=True, slots=True)
class OwnerCheck:
    """Whose a billot is, by the count of `answers` (one for each entry of the list).

    `conflict` is the verified pair of transfers that makes it disputed, if one was found.
    `unkept`: it moved and is one's own, but no server gave the transfer for its receipt.
    """

    billot: str
    network: Network
    tally: Tally
    answers: tuple[Answer, ...]
    conflict: Pair | None = None
    unkept: bool = False

    @property
    def verdict(self) -> Verdict:
        """What the count comes to."""
        return self.tally.verdict

    @property
    def owner(self) -> str | None:
        """The owner, if there is a verdict and it names one."""
        return self.tally.owner


@dataclass(frozen=True, slots=True)
class ReceiptFound:
    """A billot's receipt, with what is known of who signed it.

    `signed` are the places of the list whose votes are in it, `others` keys that are none of
    the list's. `kept`: it comes from the wallet's own file, for no quorum answers now.
    `later` are answers that name a later seq: it may not be its owner's any more.
    """

    billot: str
    seq: int
    network: Network
    receipt: Receipt
    signed: tuple[str, ...]
    others: tuple[str, ...]
    kept: bool = False
    later: tuple[Answer, ...] = ()

    @property
    def owner(self) -> str:
        """Whose the billot is by it."""
        return self.receipt.transfer.to


@dataclass(frozen=True, slots=True)
class ProvenRow:
    """What a receipt says of one billot: `votes` of the list are for it."""

    billot: str
    seq: int
    votes: int


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """What a receipt proves to who trusts this list: nothing if there is a `fault`.

    `rows` are those that any vote is for. `signed` are places of the list whose signatures
    hold, `unknown` keys that are none of the list's, `false` keys whose signatures don't hold,
    and `keyless` places of the list whose keys aren't known.
    """

    receipt: Receipt
    network: Network
    needed: int
    n: int
    rows: tuple[ProvenRow, ...] = ()
    signed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    keyless: tuple[str, ...] = ()
    fault: str | None = None

    @property
    def valid(self) -> tuple[ProvenRow, ...]:
        """The rows that a quorum of the list voted for."""
        return tuple(row for row in self.rows if row.votes >= self.needed)


@dataclass(frozen=True, slots=True)
class KeyAccepted:
    """A server's key that the user accepted; `old` is the one remembered before, if any.

    Nothing is `remembered` for servers on this machine, nor for a host that is pinned.
    """

    host: Host
    network: Network
    old: str | None
    new: str
    remembered: bool


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
class Plan:
    """Billots of one's own that make an amount (in mils) exactly, as few as there can be.

    `pending`: they are signed over already, by the same payment, which isn't final yet.
    """

    network: Network
    mils: int
    to: str
    billots: tuple[str, ...]
    pending: bool = False


@dataclass(frozen=True, slots=True)
class NotExact:
    """No billots of one's own make the amount (in mils) exactly: nothing was signed.

    `below` and `above` are the nearest amounts that some make, None where there is none;
    `total_mils` is all that there is. `takes`: some make it, but so many that no transfer moves
    them all; then `below` is what the largest of them come to that one moves.
    """

    network: Network
    mils: int
    total_mils: int
    below: int | None
    above: int | None
    takes: int | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """An amount (in mils) that was signed over to somebody, in one transfer.

    `votes` of `n` servers name the payee for each of its billots, `needed` make a quorum.
    `seconds` is how long that took from sending it, None if it is not final yet. `resumed`: it was
    signed before, and only sent again. `ref` is the payee's reference for it.
    """

    network: Network
    mils: int
    transfer: Transfer
    votes: int
    needed: int
    n: int
    seconds: float | None
    resumed: bool
    ref: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether a quorum names the payee for all of it."""
        return self.seconds is not None


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
    """An owner's billots. `undecided` are those named as the owner's without a quorum.

    `unkept` are one's own that moved, and that no server gave the transfer for a receipt of.
    `new` are servers that don't know of all billots yet; `is_complete`: a quorum does.
    """

    owner: str
    network: Network
    billots: tuple[OwnedBillot, ...]
    unmoved: tuple[UnmovedBillots, ...]
    undecided: tuple[OwnedBillot, ...]
    answers: tuple[Answer, ...]
    unkept: tuple[str, ...] = ()
    new: tuple[Host, ...] = ()
    is_complete: bool = True

    @property
    def total_mils(self) -> int:
        """The value of `billots` and `unmoved`; what is undecided is no money yet."""
        listed = sum(billot.mils for billot in self.billots)
        return listed + sum(unmoved.total_mils for unmoved in self.unmoved)


@dataclass(frozen=True, slots=True)
class Overview:
    """Who and where one is: `owner` and `network` are ``None`` if they can't be told.

    `needed` of `n` servers make a quorum; `trust` is how the list overlaps with its servers'.
    """

    owner: str | None
    keyfile: Path
    network: Network | None
    answers: tuple[Answer, ...]
    needed: int
    n: int
    trust: TrustReport | None = None
