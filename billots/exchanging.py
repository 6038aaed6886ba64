"""A wallet's exchange of notes with a change server: quoted, given, and waited for.

Everything is written down before it leaves: the quote, then the transfer, then the receipts of what
was given. Whoever was killed in between goes on with that quote, and gives nothing twice. Until the
change is final by the wallet's own servers, the change server is trusted with what it was given,
and with nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from billots.change_wire import Redeem, Redeemed
from billots.circle import Circle
from billots.delivering import Move, deliver, finals_of, happened, look, until_happened
from billots.errors import BillotsError, JournalError, Refused, Unreachable
from billots.exchange_book import Exchange, ExchangeBook
from billots.exchange_proof import change_of, given_by, refund_of
from billots.gathering import Gathering
from billots.holding import Holding
from billots.host import Host
from billots.journal import Journal
from billots.network import Network
from billots.poll import Poll
from billots.quote import Quote
from billots.quoting import NoExchange, Offered
from billots.receipt import Receipt
from billots.sending import Sender, send
from billots.teller import Teller
from billots.transfer import Row, Transfer

_AGAIN_AFTER_S = 0.05
_AGAIN_AFTER_S_MAX = 1.0
_LOCKED_AGAIN_S = 0.02
DROPPED_MAX = 3
_MARGIN_S = 1.0
"""A quote that ends so soon is not paid any more."""

Lock = TypeVar("Lock")


class Outcome(StrEnum):
    """What came of an exchange."""

    CHANGED = "changed"
    REFUNDED = "refunded"
    OPEN = "open"
    NOT_GIVEN = "not given"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """How far an exchange has come; `problem` is why no answer came, in our words.

    With `transfer` and `quote` anybody can be shown what is owed: see `billots.exchange_proof`.
    """

    offered: Offered
    outcome: Outcome
    transfer: Transfer | None = None
    receipts: tuple[Receipt, ...] = ()
    problem: str | None = None


async def opened(sender: Sender) -> ExchangeBook:
    """The wallet's exchanges, locked; another process has them only for a moment."""
    return await _locked(sender, ExchangeBook.open, sender.timeout_s)


async def _turn(sender: Sender) -> AbstractContextManager[object]:
    """A lock for who signs for a quote; another process has it while it asks the servers."""
    return await _locked(sender, ExchangeBook.turn, 4 * sender.timeout_s)


async def _locked(
    sender: Sender, take: Callable[[str, Path | None], Lock | None], limit_s: float
) -> Lock:
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while True:
        found = take(sender.key.owner, sender.data_dir)
        if found is not None:
            return found
        if loop.time() > end:
            raise JournalError(
                "another process keeps the exchanges of this key locked",
                "end the other bwallet, then try again",
            )
        await asyncio.sleep(_LOCKED_AGAIN_S)


async def keep_quote(sender: Sender, offered: Offered) -> None:
    """Write a quote down, before anything can be given for it."""
    with await opened(sender) as book:
        book.quoted(offered.quote, str(offered.host))


async def exchange(sender: Sender, circle: Circle, offered: Offered) -> Exchanged | NoExchange:
    """Give what was quoted, and wait for the change."""
    if asyncio.get_running_loop().time() > offered.ends_at - _MARGIN_S:
        return NoExchange(
            offered.network, "the quote has ended", "the same command asks for another"
        )
    with contextlib.ExitStack() as turn:
        turn.enter_context(await _turn(sender))
        if await _is_promised(sender, offered.quote):
            return NoExchange(
                offered.network,
                "another exchange of this wallet was quoted the same notes",
                "once that one is over, the same command asks for another quote",
            )

        def signed(transfer: Transfer) -> None:
            turn.close()
            if sender.on_signed is not None:
                sender.on_signed(transfer)

        begun = Exchange(offered.quote, str(offered.host))
        return await finish(replace(sender, on_signed=signed), circle, begun)


async def _is_promised(sender: Sender, quote: Quote) -> bool:
    """Whether something was given already for notes of this quote.

    A change server that promises the same notes twice would give them once, and owe nothing.
    """
    with await opened(sender) as book:
        rivals = book.rivals(quote)
    with await sender.journal() as journal:
        return any(_signed(journal, each.quote) is not None for each in rivals)


def _signed(journal: Journal, quote: Quote) -> Transfer | None:
    """The transfer that pays a quote, if it is signed."""
    entries = journal.find(quote.network, quote.give)
    signed = (e.transfer for e in entries if e.transfer.to == quote.pay)
    return next((t for t in signed if t.billots == quote.give), None)


async def decline(offered: Offered, timeout_s: float) -> Exchanged:
    """Let the change server know that nothing will be given: its notes are free for others."""
    with contextlib.suppress(BillotsError):
        teller = await Teller.connect(offered.host, offered.network, timeout_s)
        async with teller.client:
            await teller.drop([offered.quote], timeout_s)
    return Exchanged(offered, Outcome.DECLINED)


async def unpaid(sender: Sender, circle: Circle, host: Host) -> list[Quote]:
    """The last quotes of a change server that nothing was signed over for."""
    paid = {each.quote.id for each in await unfinished(sender, circle)}
    with await opened(sender) as book:
        found = book.open_ones(circle.network.id)
    mine = (e.quote for e in found if Host.parse(e.host).place == host.place)
    return [quote for quote in mine if quote.id not in paid][-DROPPED_MAX:]


async def unfinished(sender: Sender, circle: Circle) -> list[Exchange]:
    """Quotes that something was signed over for, and that aren't over."""
    if not ExchangeBook.path(sender.key.owner, sender.data_dir).exists():
        return []
    with await opened(sender) as book:
        found = book.open_ones(circle.network.id)
    with await sender.journal() as journal:
        return [each for each in found if _signed(journal, each.quote) is not None]


async def finish(sender: Sender, circle: Circle, begun: Exchange) -> Exchanged:
    """Go on with an exchange, wherever it was; raises what `Wallet.transfer` says."""
    quote, given = begun.quote, given_by(begun.quote)
    with await sender.journal() as journal:
        ours = journal.rows(circle.network.id)
        transfer = _signed(journal, quote)
    poll = await look(circle, [b for b, _ in (*quote.give, *quote.get)], sender.timeout_s)
    finals = finals_of(poll)
    unsigned = transfer is None  # then nothing can have come of it
    outcome = None if unsigned else _ended(quote, finals, ours)
    if outcome is None and _is_lost(given, finals, unsigned=unsigned):
        outcome = Outcome.NOT_GIVEN
    if outcome is not None:
        return await _over(sender, circle, begun, (outcome, transfer), poll)
    if transfer is None or not happened(given, finals, given.next_rows):
        billots = [billot for billot, _ in quote.give]
        sent = await send(sender, circle, billots, quote.pay, only=quote.give)
        transfer = sent.transfer
    if not begun.receipts:
        begun = await _keep_receipts(sender, circle, begun, transfer)
    return await _until_changed(sender, circle, begun, transfer, ours)


async def _keep_receipts(
    sender: Sender, circle: Circle, begun: Exchange, transfer: Transfer
) -> Exchange:
    """Receipts of what was given, once it is final: later it may have moved on."""
    quote, given = begun.quote, given_by(begun.quote)
    poll = await until_happened(circle, [given], sender.timeout_s, given.next_rows)
    if not happened(given, finals_of(poll), given.next_rows):
        return begun
    found = await Gathering(circle).receipts([billot for billot, _ in quote.give])
    unique = {
        msgspec.json.encode(receipt): receipt
        for receipt in found.values()
        if receipt.transfer.id == transfer.id
    }
    receipts = tuple(unique.values())
    with await opened(sender) as book:
        book.taken(quote, receipts)
    return replace(begun, receipts=receipts)


async def _until_changed(
    sender: Sender, circle: Circle, begun: Exchange, transfer: Transfer, ours: Collection[Row]
) -> Exchanged:
    """Show the change server what it was given, until the change has come, or time is up."""
    quote, loop = begun.quote, asyncio.get_running_loop()
    end, pause_s = loop.time() + 2 * sender.timeout_s, _AGAIN_AFTER_S
    moves = (change_of(quote), refund_of(quote))
    while True:
        left_s = max(_AGAIN_AFTER_S, end - loop.time())
        problem, answer = await _redeem(sender, circle.network, begun, transfer, left_s)
        limit_s = 0.0 if problem else min(sender.timeout_s, left_s)
        poll = await until_happened(circle, moves, limit_s, ours)
        outcome = _ended(quote, finals_of(poll), ours)
        if outcome is not None:
            return await _over(sender, circle, begun, (outcome, transfer), poll)
        if loop.time() + pause_s > end:
            problem = problem or "it says that it has sent the change, and no quorum has it"
            seen = Offered(quote, circle.network, Host.parse(begun.host), 0.0, 0)
            return Exchanged(seen, Outcome.OPEN, transfer, begun.receipts, problem)
        if answer is not None:  # it is signed, so that whoever has it can send it
            with contextlib.suppress(Refused, Unreachable):
                await deliver(circle, sender.keeper.store, answer, to_all=True)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _AGAIN_AFTER_S_MAX)


async def _redeem(
    sender: Sender, network: Network, begun: Exchange, transfer: Transfer, limit_s: float
) -> tuple[str | None, Transfer | None]:
    """Ask for the change: why there is no answer, in our words, or the transfer that is one."""
    host = Host.parse(begun.host)
    try:
        teller = await Teller.connect(host, network, sender.timeout_s)
        async with teller.client:
            asked = Redeem(begun.quote, transfer)
            redeemed: Redeemed = await teller.call("redeem", asked, Redeemed, limit_s)
    except BillotsError as error:
        return str(error), None
    side = change_of(begun.quote) if redeemed.kind == "change" else refund_of(begun.quote)
    if Move.of(redeemed.transfer) != side or not redeemed.transfer.verify():
        return f"{host.place} answers with a transfer that is not what it quoted", None
    return None, redeemed.transfer


async def _over(
    sender: Sender,
    circle: Circle,
    begun: Exchange,
    found: tuple[Outcome, Transfer | None],
    poll: Poll,
) -> Exchanged:
    """The end of an exchange: receipts of what has come are kept, then it is over."""
    outcome, transfer = found
    await sender.keeper.keep(circle, finals_of(poll), poll)
    with await opened(sender) as book:
        book.over(begun.quote, changed=outcome is Outcome.CHANGED)
    seen = Offered(begun.quote, circle.network, Host.parse(begun.host), 0.0, 0)
    return Exchanged(seen, outcome, transfer, begun.receipts)


def _ended(quote: Quote, finals: Mapping[str, Holding], ours: Collection[Row]) -> Outcome | None:
    """How an exchange has ended, if it has; `ours` are rows that this wallet signed itself."""
    if happened(change_of(quote), finals, ours):
        return Outcome.CHANGED
    return Outcome.REFUNDED if happened(refund_of(quote), finals, ours) else None


def _is_lost(given: Move, finals: Mapping[str, Holding], *, unsigned: bool) -> bool:
    """Whether a quorum has another transfer of what was to be given: another wallet's.

    What this wallet has not signed, and has moved all the same, was moved by another one.
    """
    late = tuple(row for row in given.rows if row[0] in finals and finals[row[0]].seq >= row[1])
    did = happened(Move(late, given.sender, given.to), finals)
    return did is False or (unsigned and did is None)
