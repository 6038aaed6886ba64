"""Params and results of every method, as typed structs (DESIGN, section 7).

Every check of a shape is a declaration here. What is relayed is rebuilt from these fields:
unknown fields are dropped, and two readers never see two messages.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from billots.feed import FeedBatch
from billots.holding import Status
from billots.network import ROWS_MAX
from billots.receipt import Receipt
from billots.statement import Nonce, Statement
from billots.transfer import (
    Digits32,
    Digits64,
    Digits128,
    NetworkId,
    OwnerId,
    PublicKey,
    Rows,
    Seq,
    Transfer,
    TransferId,
)

PROTOCOL = 1

BillotText = Annotated[str, Meta(max_length=64)]
Lsn = Seq
Receipts = Annotated[tuple[Receipt, ...], Meta(max_length=16)]
Port = Annotated[int, Meta(ge=1, le=65535)]


# -- params ------------------------------------------------------------------------------------


class NoParams(Struct):
    """`info`, `ping` and `hosts` take none."""


class WhoOwns(Struct, omit_defaults=True):
    """`consult`: a peer asks; the answer never waits and asks nobody."""

    billots: Annotated[tuple[BillotText, ...], Meta(min_length=1, max_length=ROWS_MAX)]
    nonce: Nonce | None = None
    proof: bool = False
    consult: bool = False


class SendTransfer(Struct, omit_defaults=True):
    """A transfer's own fields, and what goes with it."""

    network: Digits32
    to: Digits128
    billots: Rows
    public_key: Digits64
    signature: Digits128
    nonce: Nonce | None = None
    receipts: Receipts = ()

    @property
    def transfer(self) -> Transfer:
        """The transfer, rebuilt from its fields; raises InputError as it does."""
        return Transfer(self.network, self.to, self.billots, self.public_key, self.signature)

    @classmethod
    def of(
        cls, transfer: Transfer, nonce: str | None = None, receipts: tuple[Receipt, ...] = ()
    ) -> SendTransfer:
        """Params that submit a transfer, with receipts for the moves before it."""
        fields = (transfer.network, transfer.to, transfer.billots)
        return cls(*fields, transfer.public_key, transfer.signature, nonce, receipts)


class ListBillots(Struct, omit_defaults=True):
    """A page of an owner's billots; `cursor` is where the page before ended."""

    owner: OwnerId
    cursor: Annotated[str, Meta(max_length=64)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


class Announce(Struct):
    """A server says that it listens on `port` of the address that it calls from."""

    port: Port
    key: PublicKey


class Changes(Struct, omit_defaults=True):
    """Transfers after the lsn `since`; unsigned, so they settle nothing."""

    since: Lsn = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 256


class Cursor(Struct):
    """How far one has read the feed of the server with this key."""

    key: PublicKey
    lsn: Lsn


class Subscribe(Struct, omit_defaults=True):
    """`me` is the subscriber's own server key; with `owner` only what reaches that owner."""

    since: Cursor | None = None
    me: PublicKey | None = None
    owner: OwnerId | None = None


class Fetch(Struct):
    """Bodies wanted."""

    transfer_ids: Annotated[tuple[TransferId, ...], Meta(min_length=1, max_length=64)]


class Pair(Struct):
    """Two transfers of one owner that contradict each other."""

    first: Transfer
    second: Transfer


class Evidence(Struct):
    """The pair kept for one billot is wanted."""

    billot: BillotText


class Settle(Struct, omit_defaults=True):
    """What these receipts settle is settled; the statement on it is signed with a nonce."""

    receipts: Receipts
    nonce: Nonce | None = None


class Transferred(Struct):
    """To a subscriber with `owner`: a transfer to that owner was taken."""

    lsn: Lsn
    transfer: Transfer


# -- results -----------------------------------------------------------------------------------


class NetworkName(Struct):
    """A network as `info` names it."""

    name: str
    id: NetworkId


class Info(Struct):
    """`started` is seconds since 1970; nothing is decided by it."""

    name: str
    version: str
    protocol: int
    network: NetworkName
    server: PublicKey
    started: int
    lsn: Lsn
    trusted: list[str]
    counts: dict[str, int]
    limits: dict[str, int]


class Accepted(Struct):
    """A transfer was taken, or had been; the statement is about its billots."""

    accepted: bool
    transfer_id: TransferId
    statement: Statement


class ListedBillot(Struct):
    """A moved billot of the owner."""

    id: BillotText
    seq: Seq
    status: Status
    value: str


class UnmovedRange(Struct):
    """Billots that never moved, `first` to `last`, and are the owner's by the network's file."""

    prefix: str
    first: int
    last: int


class Listed(Struct):
    """`cursor` asks for the next page; null at the end."""

    billots: list[ListedBillot]
    unmoved: list[UnmovedRange]
    cursor: str | None


class HostList(Struct):
    """Hosts, each ``address:port`` with ``#<key>`` where it is known."""

    hosts: list[str]


class Change(Struct):
    """One entry of the feed, with its body."""

    lsn: Lsn
    transfer: Transfer


class ChangeList(Struct):
    """`next` is the `since` of the next page."""

    changes: list[Change]
    next: Lsn


class Subscribed(Struct):
    """The server's newest lsn, and the newest feed batch that it has of the subscriber."""

    lsn: Lsn
    yours: FeedBatch | None = None


class Fetched(Struct):
    """The bodies that were there and fitted the frame."""

    transfers: list[Transfer]


class Kept(Struct):
    """Whether the pair was news."""

    kept: bool


PARAMS: dict[str, type[Struct]] = {
    "info": NoParams,
    "ping": NoParams,
    "hosts": NoParams,
    "who_owns": WhoOwns,
    "transfer": SendTransfer,
    "list": ListBillots,
    "announce": Announce,
    "changes": Changes,
    "subscribe": Subscribe,
    "fetch": Fetch,
    "conflict": Pair,
    "evidence": Evidence,
    "settle": Settle,
}
"""Methods and their params."""
