"""Paying an amount: which billots make it exactly, one transfer, and final when a quorum says so.

A payment is in the journal, with its amount, before it leaves. Whoever asks again for the same
amount to the same payee before it is done with gets that one finished, never a second one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from billots.circle import Circle
from billots.errors import (
    AlreadySigned,
    BillotsError,
    InputError,
    Refused,
    Unreachable,
    WrongNetwork,
)
from billots.holding import Holding
from billots.journal_lines import Entry
from billots.listing import allocated_runs, ask_all, list_billots, within
from billots.network import ROWS_MAX, Network, format_mils, parse_mils, shown, split_billot_id
from billots.outcomes import Listing, NotExact, Payment, Plan
from billots.payment_request import PaymentRequest, check_reference
from billots.poll import Answer, Poll
from billots.purse import choose, nearest
from billots.quorum import Verdict
from billots.runs import Run, billots_of, count_billots, has, merged, swept, without
from billots.sending import Sender, send
from billots.signing import same_payment
from billots.transfer import Transfer

_AGAIN_AFTER_S = 0.02
OnAnswer = Callable[[Answer], None]


def check_amount(amount: str | int | None, asked: PaymentRequest | None = None) -> int:
    """An amount in mils; raises InputError for what is none, and for nothing at all.

    With a request that names one it may be left out, and must not be another.
    """
    if amount is None:
        if asked is None or asked.mils is None:
            raise InputError("no amount is named", "bwallet --pay AMOUNT TO names one")
        return asked.mils
    mils = _mils(amount)
    if asked is not None and asked.mils not in (None, mils):
        raise InputError(
            f"the request is for {format_mils(asked.mils or 0)}, not for {format_mils(mils)}",
            "bwallet --pay URI pays what it asks for",
        )
    return mils


def check_ref(ref: str | None, asked: PaymentRequest | None) -> str | None:
    """The reference of a payment: the payer's, else the request's; raises InputError for two."""
    if ref is None:
        return None if asked is None else asked.ref
    if asked is not None and asked.ref not in (None, ref):
        raise InputError(
            f"the request has another reference: {shown(asked.ref or '')}",
            "bwallet --pay URI pays with the one that it has",
        )
    return check_reference(ref)


def check_network(asked: PaymentRequest | None, network: Network) -> None:
    """Raise WrongNetwork for a request for another network."""
    if asked is not None and asked.network_id not in (None, network.id):
        raise WrongNetwork(
            f"the request is for network {asked.network_id}, and the servers serve {network.name}",
            "--trusted and --network name others",
        )


def _mils(amount: str | int) -> int:
    try:
        mils = amount if isinstance(amount, int) else parse_mils(amount)
    except ValueError as error:
        raise InputError(
            f"not an amount: {shown(str(amount))}",
            "an amount is written 187.65 or 0.005, with at most three decimals",
        ) from error
    if mils <= 0:
        raise InputError("an amount is more than nothing")
    return mils


async def plan(sender: Sender, circle: Circle, mils: int, to: str) -> Plan | NotExact:
    """What would pay an amount: if it was signed before and isn't done with, that once more."""
    entry = same_payment(await _unfinished(sender, circle), mils, to, sender.ref)
    if entry is None:
        return await _chosen(sender, circle, mils, to)
    signed = tuple(billot for billot, _ in entry.transfer.billots)
    return Plan(circle.network, mils, to, signed, pending=True)


async def _chosen(sender: Sender, circle: Circle, mils: int, to: str) -> Plan | NotExact:
    """Billots that make an amount, of those that a quorum says are ours."""
    likely = await _likely(sender, circle, mils)
    if likely is not None:
        return Plan(circle.network, mils, to, likely)
    listing = await list_billots(circle, sender.key.owner)
    answering, needed = len(circle.answering_keys), circle.quorum.needed(circle.n)
    if answering < needed:
        raise Unreachable(
            f"{answering} of {circle.n} servers answer, and {needed} are needed",
            "the same command tries again",
        )
    counts, purse = await spendable(sender, circle, listing)
    chosen = choose(counts, mils)
    if chosen is None:
        return NotExact(circle.network, mils, listing.total_mils, *nearest(counts, mils))
    count = sum(chosen.values())
    if count > ROWS_MAX:
        values = sorted((v for v, number in chosen.items() for _ in range(number)), reverse=True)
        part = sum(values[:ROWS_MAX])
        return NotExact(circle.network, mils, listing.total_mils, part, None, takes=count)
    return Plan(circle.network, mils, to, _picked(purse, chosen))


async def _likely(sender: Sender, circle: Circle, mils: int) -> tuple[str, ...] | None:
    """The same at once where it can be: by lists, which aren't signed; the few that are chosen are.

    A purse of thousands is not asked for note by note. None if that leads nowhere.
    """
    network, owner, needed = circle.network, sender.key.owner, circle.quorum.needed(circle.n)
    found = await ask_all(circle, owner, 0.0)
    votes = Counter(billot for each in found for billot in each.moved)
    moved = {b: max(each.moved.get(b, 0) for each in found) for b in votes if votes[b] >= needed}
    named = swept(within(network, each.unmoved) for each in found)
    runs = list(merged(run for run, lists in named if lists >= needed))
    if owner == network.issuer:
        runs = list(without(runs, allocated_runs(network)))
    else:
        mine = map(split_billot_id, network.allocated_to(owner))
        runs = [(prefix, number, number) for prefix, number in mine if has(runs, prefix, number)]
    counts, purse = await _purse(sender, network, moved, runs)
    chosen = choose(counts, mils)
    if chosen is None or sum(chosen.values()) > ROWS_MAX:
        return None
    billots = _picked(purse, chosen)
    poll = Poll(circle, billots, proof=False)
    await poll.run(sender.timeout_s)
    for billot in billots:
        tally = poll.tally(billot)
        if tally.owner != owner or tally.holding is None:
            return None
        if tally.holding.seq != moved.get(billot, 0):  # by the lists another seq is signed
            return None
    return billots


def _picked(purse: Mapping[int, list[str]], chosen: Mapping[int, int]) -> tuple[str, ...]:
    """So many of each value, in order."""
    billots = (billot for value, number in chosen.items() for billot in purse[value][:number])
    return tuple(sorted(billots, key=split_billot_id))


async def pay(
    sender: Sender, circle: Circle, mils: int, to: str, on_answer: OnAnswer | None = None
) -> Payment | NotExact:
    """Pay an amount, or finish the one that was signed before and isn't done with yet.

    Raises what `Wallet.pay` says.
    """
    entry = same_payment(await _unfinished(sender, circle), mils, to, sender.ref)
    if entry is not None:
        return await finish(sender, circle, entry, on_answer)
    found = await _chosen(sender, circle, mils, to)
    if isinstance(found, NotExact):
        return found
    begun = asyncio.get_running_loop().time()
    sent = await send(replace(sender, pays=mils), circle, found.billots, to)
    paid = Paid(sent.transfer, mils, begun, again=sent.resent, ref=sender.ref)
    return await until_final(sender, circle, paid, on_answer)


async def done_with(sender: Sender, payments: Iterable[Payment]) -> None:
    """Write down that these are final, and that whoever paid was told so."""
    with await sender.journal() as journal:
        for payment in payments:
            if payment.is_final:
                journal.final(payment.transfer.id)


async def resume(
    sender: Sender, circle: Circle, on_answer: OnAnswer | None = None
) -> tuple[list[Payment], BillotsError | None]:
    """Finish all that was signed and isn't final, the oldest first; and the first refusal, if any.

    One that can't be paid any more, because another wallet of this key spent its billots, must not
    keep the others from their payees. Raises as `pay` does, but for refusals.
    """
    payments: list[Payment] = []
    first: BillotsError | None = None
    for entry in await _unfinished(sender, circle):
        try:
            payments.append(await finish(sender, circle, entry, on_answer))
        except (Refused, AlreadySigned) as error:
            first = first or error
    return payments, first


async def finish(
    sender: Sender, circle: Circle, entry: Entry, on_answer: OnAnswer | None = None
) -> Payment:
    """Send a payment again, unless its payee has it by now, or has passed it on."""
    transfer, begun = entry.transfer, asyncio.get_running_loop().time()
    assert entry.pays is not None, "it is a payment"
    paid = Paid(transfer, entry.pays, begun, again=True, ref=entry.ref)
    payment = await until_final(sender, circle, replace(paid, looks_once=True), on_answer)
    if payment.is_final:
        return payment
    await send(sender, circle, [billot for billot, _ in transfer.billots], transfer.to)
    return await until_final(sender, circle, paid, on_answer)


@dataclass(frozen=True, slots=True)
class Paid:
    """A transfer of an amount (in mils), sent at `begun` by the loop's clock, maybe before."""

    transfer: Transfer
    mils: int
    begun: float
    again: bool = False
    looks_once: bool = False
    ref: str | None = None


async def until_final(
    sender: Sender, circle: Circle, paid: Paid, on_answer: OnAnswer | None = None
) -> Payment:
    """Ask the trusted servers until a quorum names the payee for each billot, or time is up."""
    transfer, loop = paid.transfer, asyncio.get_running_loop()
    end, pause_s = loop.time() + sender.timeout_s, _AGAIN_AFTER_S
    while True:
        poll = Poll(circle, [billot for billot, _ in transfer.billots], on_answer=on_answer)
        await poll.run(max(_AGAIN_AFTER_S, end - loop.time()))
        circle.require_one()
        final = all(payee_has(poll, *row, transfer.to) for row in transfer.billots)
        if final or paid.looks_once or loop.time() + pause_s > end:
            break
        await asyncio.sleep(pause_s)
        pause_s *= 2
    votes = min(
        sum(names_payee(said, seq, transfer.to) for said in poll.votes[billot].values())
        for billot, seq in transfer.billots
    )
    return Payment(
        circle.network,
        paid.mils,
        transfer,
        votes,
        circle.quorum.needed(circle.n),
        circle.n,
        loop.time() - paid.begun if final else None,
        paid.again,
        paid.ref,
    )


def names_payee(holding: Holding, seq: int, to: str) -> bool:
    """Whether a holding says that the payee has it, or passed it on.

    Who had it further back it doesn't say. Then only its owner can have signed the move at `seq`,
    and this wallet's journal has it; another wallet with the same key might have signed another.
    """
    if holding.seq == seq:
        return holding.owner == to
    return holding.sender == to if holding.seq == seq + 1 else holding.seq > seq


def payee_has(poll: Poll, billot: str, seq: int, to: str) -> bool:
    """Whether a quorum says so."""
    tally = poll.tally(billot)
    has = tally.holding is not None and names_payee(tally.holding, seq, to)
    return has and tally.verdict is Verdict.OWNER


async def _unfinished(sender: Sender, circle: Circle) -> list[Entry]:
    await asyncio.gather(*(circle.greet(link) for link in circle.links))
    circle.require_one()
    with await sender.journal() as journal:
        return journal.payments(circle.network.id)


async def spendable(
    sender: Sender, circle: Circle, listing: Listing
) -> tuple[dict[int, int], dict[int, list[str]]]:
    """How many billots of a list there are to pay with, by value, and which; see `_purse`."""
    moved = {
        billot.id: billot.tally.holding.seq
        for billot in listing.billots
        if billot.tally.holding is not None
    }
    runs = [(run.prefix, run.first, run.last) for run in listing.unmoved]
    return await _purse(sender, circle.network, moved, runs)


async def _purse(
    sender: Sender, network: Network, moved: Mapping[str, int], runs: Iterable[Run]
) -> tuple[dict[int, int], dict[int, list[str]]]:
    """How many billots there are to pay with, by value, and which: not what is signed over.

    `moved` has the seq of each, `runs` never moved. Of each value no more are named than one
    transfer moves, for an issuer has millions.
    """
    with await sender.journal() as journal:
        signed = journal.rows(network.id)
        gone = journal.first_moves(network.id)
    purse: defaultdict[int, list[str]] = defaultdict(list)
    counts: Counter[int] = Counter()
    for billot, seq in moved.items():
        if (billot, seq + 1) in signed:
            continue
        if seq or not has(gone, *split_billot_id(billot)):
            mils = network.mils(billot)
            purse[mils].append(billot)
            counts[mils] += 1
    for run in runs:
        mils = network.denominations[run[0]].mils
        left = list(without([run], gone))
        purse[mils] += islice(billots_of(left), ROWS_MAX)
        counts[mils] += count_billots(left)
    return dict(counts), purse
