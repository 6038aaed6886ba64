"""A quote asked for, and held against the question before anything is given for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from billots.change_plan import plan_change
from billots.change_wire import Offer, Quoted
from billots.circle import Circle
from billots.delivering import finals_of, look
from billots.errors import InputError, ProtocolError
from billots.host import Host
from billots.listing import list_billots
from billots.network import Network, split_billot_id
from billots.outcomes import Listing
from billots.paying import spendable
from billots.quote import Asking, Quote
from billots.sending import Sender
from billots.teller import Teller


@dataclass(frozen=True, slots=True)
class Offered:
    """A quote that was checked: what would be given and got.

    It holds for `valid_s` from when it was asked for, until `ends_at` by the loops' clock, which
    all loops of a process share.
    """

    quote: Quote
    network: Network
    host: Host
    ends_at: float
    valid_s: int

    @property
    def fee_mils(self) -> int:
        """What it costs."""
        return self.quote.fee_mils(self.network)


@dataclass(frozen=True, slots=True)
class NoExchange:
    """Nothing was given, and why."""

    network: Network
    reason: str
    hint: str | None = None


async def ask(
    sender: Sender, circle: Circle, mils: int, host: Host, teller: Teller
) -> Offered | NoExchange:
    """A quote, checked, after which an amount can be paid exactly. Nothing is given yet."""
    network, loop = circle.network, asyncio.get_running_loop()
    listing = await list_billots(circle, sender.key.owner)
    counts, purse = await spendable(sender, circle, listing)
    said = await teller.call("offer", None, Offer, sender.timeout_s)
    by_prefix = {p: n for p, n in said.billots if p in network.denominations}
    offered: Counter[int] = Counter()
    for prefix, count in by_prefix.items():
        offered[network.denominations[prefix].mils] += count
    plan = plan_change(counts, offered, mils, teller.info.fee)
    if plan is None:
        return NoExchange(
            network,
            "no exchange with this change server makes the amount exactly",
            "another change server may have other notes; it has to be yours as well",
        )
    give = _rows(plan[0], purse, listing)
    want = _wanted(plan[1], by_prefix, network)
    begun = loop.time()
    asking = Asking.sign(network, teller.info.server, sender.key, give, want)
    quoted = await teller.call("quote", asking, Quoted, sender.timeout_s)
    _check(quoted.quote, asking, network, teller.info.fee)
    ends_at = begun + quoted.valid_s
    if not await _has_float(circle, quoted.quote, sender.timeout_s):
        raise ProtocolError(f"{host.place} offers billots that aren't its own")
    return Offered(
        quoted.quote, network, replace(host, key=teller.info.server), ends_at, quoted.valid_s
    )


def _rows(
    give: Mapping[int, int], purse: Mapping[int, list[str]], listing: Listing
) -> list[tuple[str, int]]:
    """Rows of what is given: each billot with its next seq."""
    tallies = ((billot.id, billot.tally.holding) for billot in listing.billots)
    seqs = {billot: holding.seq for billot, holding in tallies if holding is not None}
    billots = [billot for value, count in give.items() for billot in purse[value][:count]]
    return [(b, seqs.get(b, 0) + 1) for b in sorted(billots, key=split_billot_id)]


def _wanted(
    get: Mapping[int, int], offered: Mapping[str, int], network: Network
) -> list[tuple[str, int]]:
    """Counts by value as counts by prefix: a network may have two prefixes of one value."""
    left, wanted = dict(get), []
    for prefix, count in offered.items():
        number = min(count, left.get(network.denominations[prefix].mils, 0))
        if number:
            left[network.denominations[prefix].mils] -= number
            wanted.append((prefix, number))
    assert not any(left.values()), "it was planned from what is offered"
    return wanted


def _check(quote: Quote, asking: Asking, network: Network, fee_mils: int) -> None:
    """Raise ProtocolError unless a quote answers the question, and is signed."""
    try:
        quote.check(network)
    except InputError as error:
        raise ProtocolError(f"the quote is malformed: {error}") from error
    got = Counter(split_billot_id(billot)[0] for billot, _ in quote.get)
    same = (quote.server, quote.customer, quote.give) == (
        asking.server,
        asking.customer,
        asking.give,
    )
    if not same or got != Counter(dict(asking.get)) or quote.fee_mils(network) != fee_mils:
        raise ProtocolError("the quote is not for what was asked")
    if not quote.verify():
        raise ProtocolError("the change server did not sign its quote")


async def _has_float(circle: Circle, quote: Quote, limit_s: float) -> bool:
    """Whether a quorum says that the change server owns what it offers, at just these seqs."""
    finals = finals_of(await look(circle, [billot for billot, _ in quote.get], limit_s))
    said = ((finals.get(billot), seq) for billot, seq in quote.get)
    return all(h and (h.seq + 1, h.owner) == (seq, quote.float_owner) for h, seq in said)
