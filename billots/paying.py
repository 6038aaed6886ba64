"""Paying an amount: which billots make it exactly, one transfer, and final when a quorum says so.

A payment is in the journal, with its amount, before it leaves. Whoever asks again for the same
amount to the same payee before it is done with gets that one finished, never a second one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

from billots.circle import Circle
from billots.errors import InputError, Unreachable, WrongNetwork
from billots.holding import Holding
from billots.journal import Entry
from billots.listing import list_billots
from billots.network import ROWS_MAX, Network, format_mils, parse_mils, shown, split_billot_id
from billots.outcomes import Listing, NotExact, Payment, Plan, UnmovedBillots
from billots.payment_request import PaymentRequest
from billots.poll import Answer, Poll
from billots.purse import choose, nearest
from billots.quorum import Verdict
from billots.sending import Sender, send
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
    entry = await _same(sender, circle, mils, to)
    if entry is None:
        return await _chosen(sender, circle, mils, to)
    signed = tuple(billot for billot, _ in entry.transfer.billots)
    return Plan(circle.network, mils, to, signed, pending=True)


async def _chosen(sender: Sender, circle: Circle, mils: int, to: str) -> Plan | NotExact:
    """Billots that make an amount, of those that a quorum says are ours."""
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
    billots = [billot for value, number in chosen.items() for billot in purse[value][:number]]
    return Plan(circle.network, mils, to, tuple(sorted(billots, key=split_billot_id)))


async def pay(
    sender: Sender, circle: Circle, mils: int, to: str, on_answer: OnAnswer | None = None
) -> Payment | NotExact:
    """Pay an amount, or finish the one that was signed before and isn't done with yet.

    Raises what `Wallet.pay` says.
    """
    entry = await _same(sender, circle, mils, to)
    if entry is not None:
        return await finish(sender, circle, entry, on_answer)
    found = await _chosen(sender, circle, mils, to)
    if isinstance(found, NotExact):
        return found
    begun = asyncio.get_running_loop().time()
    sent = await send(replace(sender, pays=mils), circle, found.billots, to)
    paid = _Paid(sent.transfer, mils, begun, again=sent.resent)
    return await _until_final(sender, circle, paid, on_answer)


async def done_with(sender: Sender, payments: Iterable[Payment]) -> None:
    """Write down that these are final, and that whoever paid was told so."""
    with await sender.journal() as journal:
        for payment in payments:
            if payment.is_final:
                journal.final(payment.transfer.id)


async def _same(sender: Sender, circle: Circle, mils: int, to: str) -> Entry | None:
    """The same amount to the same payee, signed before and not done with."""
    entries = await _unfinished(sender, circle)
    return next((e for e in entries if (e.pays, e.transfer.to) == (mils, to)), None)


async def resume(
    sender: Sender, circle: Circle, on_answer: OnAnswer | None = None
) -> list[Payment]:
    """Finish all that was signed and isn't final, the oldest first. Raises as `pay` does."""
    entries = await _unfinished(sender, circle)
    return [await finish(sender, circle, entry, on_answer) for entry in entries]


async def finish(
    sender: Sender, circle: Circle, entry: Entry, on_answer: OnAnswer | None = None
) -> Payment:
    """Send a payment again, unless its payee has it by now, or has passed it on."""
    transfer, begun = entry.transfer, asyncio.get_running_loop().time()
    assert entry.pays is not None, "it is a payment"
    paid = _Paid(transfer, entry.pays, begun, again=True)
    payment = await _until_final(sender, circle, replace(paid, looks_once=True), on_answer)
    if payment.is_final:
        return payment
    await send(sender, circle, [billot for billot, _ in transfer.billots], transfer.to)
    return await _until_final(sender, circle, paid, on_answer)


@dataclass(frozen=True, slots=True)
class _Paid:
    transfer: Transfer
    mils: int
    begun: float
    again: bool = False
    looks_once: bool = False


async def _until_final(
    sender: Sender, circle: Circle, paid: _Paid, on_answer: OnAnswer | None
) -> Payment:
    """Ask the trusted servers until a quorum names the payee for each billot, or time is up."""
    transfer, loop = paid.transfer, asyncio.get_running_loop()
    end, pause_s = loop.time() + sender.timeout_s, _AGAIN_AFTER_S
    while True:
        poll = Poll(circle, [billot for billot, _ in transfer.billots], on_answer=on_answer)
        await poll.run(max(_AGAIN_AFTER_S, end - loop.time()))
        circle.require_one()
        final = all(_has(poll, *row, transfer.to) for row in transfer.billots)
        if final or paid.looks_once or loop.time() + pause_s > end:
            break
        await asyncio.sleep(pause_s)
        pause_s *= 2
    votes = min(
        sum(_names(said, seq, transfer.to) for said in poll.votes[billot].values())
        for billot, seq in transfer.billots
    )
    needed = circle.quorum.needed(circle.n)
    seconds = None
    if final:
        seconds = loop.time() - paid.begun
    return Payment(
        circle.network, paid.mils, transfer, votes, needed, circle.n, seconds, paid.again
    )


def _names(holding: Holding, seq: int, to: str) -> bool:
    """Whether a holding says that the payee has it, or passed it on.

    Who had it further back it doesn't say. Then only its owner can have signed the move at `seq`,
    and this wallet's journal has it; another wallet with the same key might have signed another.
    """
    if holding.seq == seq:
        return holding.owner == to
    return holding.sender == to if holding.seq == seq + 1 else holding.seq > seq


def _has(poll: Poll, billot: str, seq: int, to: str) -> bool:
    """Whether a quorum says so."""
    tally = poll.tally(billot)
    has = tally.holding is not None and _names(tally.holding, seq, to)
    return has and tally.verdict is Verdict.OWNER


async def _unfinished(sender: Sender, circle: Circle) -> list[Entry]:
    await asyncio.gather(*(circle.greet(link) for link in circle.links))
    circle.require_one()
    with await sender.journal() as journal:
        return journal.payments(circle.network.id)


async def spendable(
    sender: Sender, circle: Circle, listing: Listing
) -> tuple[dict[int, int], dict[int, list[str]]]:
    """How many billots there are to pay with, by value, and which: not what is signed over.

    Of each value no more are named than one transfer moves, for an issuer has millions.
    """
    with await sender.journal() as journal:
        signed = journal.rows(circle.network.id)
    purse: defaultdict[int, list[str]] = defaultdict(list)
    counts: Counter[int] = Counter()
    for billot in listing.billots:
        holding = billot.tally.holding
        if holding is not None and (billot.id, holding.seq + 1) not in signed:
            purse[billot.mils].append(billot.id)
            counts[billot.mils] += 1
    for run in listing.unmoved:
        numbers = range(run.first, run.last + 1)
        ids = (f"{run.prefix}{number}" for number in numbers)
        purse[run.mils] += islice((b for b in ids if (b, 1) not in signed), ROWS_MAX)
        gone = sum(seq == 1 and _is_in(run, billot) for billot, seq in signed)
        counts[run.mils] += len(numbers) - gone
    return dict(counts), purse


def _is_in(run: UnmovedBillots, billot: str) -> bool:
    prefix, number = split_billot_id(billot)
    return prefix == run.prefix and run.first <= number <= run.last
