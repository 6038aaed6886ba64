"""The proof of a customer who was left without change, and what it says to anybody.

It holds the signed quote, the signed transfer that pays it, and receipts of that transfer. Together
they show what the change server owes: the change, or the same billots back. *When* anything was
paid it doesn't show: servers sign no times. It needs none, for the quote promises one of the two
whenever it is paid. That nothing was given since, only the servers can say, now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec
from msgspec import Struct

from billots.circle import Circle
from billots.delivering import Move, finals_of, happened, look, until_happened
from billots.errors import InputError, WrongNetwork
from billots.exchange_book import Receipts
from billots.holding import Holding
from billots.host import Host
from billots.known_servers import KnownServers
from billots.network import SHIPPED, Network
from billots.proving import verify_receipt
from billots.quorum import Quorum
from billots.quote import Quote
from billots.transfer import Row, Transfer


class Proof(Struct, frozen=True):
    """What a customer publishes."""

    quote: Quote
    transfer: Transfer
    receipts: Receipts = ()


class Became(StrEnum):
    """What became of a quote that was paid, by a quorum of the servers that are asked now."""

    KEPT = "kept"
    CHANGED = "changed"
    REFUNDED = "refunded"
    NOT_GIVEN = "not given"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class ProofCheck:
    """What a proof says: nothing if there is a `fault`.

    `taken` are the rows of the transfer that receipts in it prove to who trusts this list.
    `keyless` says why receipts count for nothing here, if they don't. `shown` is what came of
    showing it to the change server, in our words, None if that was not tried. `became` is None if
    nobody was asked.
    """

    proof: Proof
    network: Network
    fault: str | None = None
    taken: tuple[Row, ...] = ()
    keyless: str | None = None
    shown: str | None = None
    became: Became | None = None

    @property
    def is_owed(self) -> bool:
        """Whether something is owed, as far as was asked: a quote that was never paid owes none."""
        kept = self.is_taken if self.became is None else self.became is Became.KEPT
        return self.fault is None and kept

    @property
    def is_taken(self) -> bool:
        """Whether receipts prove that all that was quoted was given."""
        return self.fault is None and set(self.taken) == set(self.proof.quote.give)


_decoder = msgspec.json.Decoder(Proof)


def decode_proof(data: bytes) -> Proof:
    """A proof from its JSON; raises InputError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError("not a proof of an exchange") from error


def check_proof(
    proof: Proof,
    hosts: Iterable[Host],
    *,
    known: KnownServers,
    network: Network | None,
    quorum: Quorum,
) -> ProofCheck:
    """What a proof says by its signatures. Opens no connection.

    Raises WrongNetwork for a network that isn't known here, JournalError.
    """
    shipped = (Network.shipped(name) for name in SHIPPED)
    its_own = network or next((n for n in shipped if n.id == proof.quote.network), None)
    if its_own is None:
        raise WrongNetwork(
            "the proof is of a network that is not known here",
            "--network FILE names the file of that network",
        )
    checked = ProofCheck(proof, its_own)
    try:
        proof.quote.check(its_own)
        if proof.quote.fee_mils(its_own) < 0:
            return replace(checked, fault="the quote gives more than it takes")
    except InputError as error:
        return replace(checked, fault=str(error))
    if not proof.quote.verify():
        return replace(checked, fault="the change server's signature does not hold")
    fault = proof.quote.fault_of(proof.transfer)
    if fault is not None:
        return replace(checked, fault=f"the transfer does not pay the quote: {fault}")
    if any(each.transfer.id != proof.transfer.id for each in proof.receipts):
        return replace(checked, fault="a receipt of another transfer")
    taken: set[Row] = set()
    hosts = list(hosts)
    for receipt in proof.receipts:
        try:
            said = verify_receipt(receipt, hosts, known=known, network=its_own, quorum=quorum)
        except InputError as error:
            checked = replace(checked, keyless=str(error))
            continue
        taken |= {(row.billot, row.seq) for row in said.valid}
    return replace(checked, taken=tuple(row for row in proof.quote.give if row in taken))


async def ask_what_became(checked: ProofCheck, circle: Circle, limit_s: float) -> ProofCheck:
    """The same, and what a quorum of these servers says now; raises Unreachable."""
    quote = checked.proof.quote
    poll = await look(circle, [b for b, _ in (*quote.give, *quote.get)], limit_s)
    if checked.shown is not None and became(quote, finals_of(poll)) is Became.KEPT:
        ends = (change_of(quote), refund_of(quote))
        poll = await until_happened(circle, ends, limit_s)
    return replace(checked, became=became(quote, finals_of(poll), taken=checked.is_taken))


def became(quote: Quote, finals: Mapping[str, Holding], *, taken: bool = False) -> Became:
    """What became of a quote, by what a quorum has of its billots.

    `taken`: that it was paid is known from elsewhere.
    """
    given = happened(given_by(quote), finals)
    if happened(change_of(quote), finals):
        return Became.CHANGED
    if happened(refund_of(quote), finals):
        return Became.REFUNDED
    if given is False and not taken:
        return Became.NOT_GIVEN
    unknown = (
        happened(change_of(quote), finals) is None or happened(refund_of(quote), finals) is None
    )
    return Became.UNDECIDED if unknown or not (given or taken) else Became.KEPT


def given_by(quote: Quote) -> Move:
    """The customer's side."""
    return Move(quote.give, quote.customer, quote.pay)


def change_of(quote: Quote) -> Move:
    """The change server's side."""
    return Move(quote.get, quote.float_owner, quote.customer)


def refund_of(quote: Quote) -> Move:
    """The same billots back."""
    return Move(given_by(quote).next_rows, quote.pay, quote.customer)
