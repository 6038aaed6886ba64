"""A change server: it holds a float of notes, signs quotes, and answers what they brought.

It is a wallet with a float: it believes its own list of trusted servers alone, before it gives
anything. See `billots.change_work` for what becomes of a quote, `billots.change_listening` for the
connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from billots.async_wallet import AsyncWallet
from billots.change_book import ChangeBook, Entry
from billots.change_float import Float
from billots.change_limits import ChangeLimits
from billots.change_tokens import Tokens
from billots.change_wire import (
    PROTOCOL,
    Drop,
    Dropped,
    Info,
    Offer,
    Quoted,
    Redeem,
    Redeemed,
    Refusal,
)
from billots.change_work import ChangeWork, in_background, log
from billots.crypto import PrivateKey
from billots.delivering import finals_of, look
from billots.errors import BillotsError, InputError
from billots.messages import NetworkName
from billots.network import ROWS_MAX, Network
from billots.quote import Asking, Quote
from billots.sending import Sender
from billots.version import __version__


class ChangeServer(AsyncWallet):
    """Quotes, and what they bring, without its connections. `start` before all else.

    `fee_mils` is what each exchange costs the customer. `now` is the time of day, in Unix
    seconds: only what a quote says of its end, and whether one still holds after a restart, goes
    by it. The other arguments are a wallet's.
    """

    def __init__(
        self,
        *,
        fee_mils: int = 0,
        limits: ChangeLimits | None = None,
        now: Callable[[], float] = time.time,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.fee_mils = fee_mils
        self.limits = limits or ChangeLimits()
        self.notes = Float()
        self._now = now
        self._tokens = Tokens(
            self.limits.quotes_per_address_max, self.limits.forget_s, self.limits.addresses_max
        )
        self._asking: set[str] = set()
        self._live: dict[str, str] = {}
        self._quoted: dict[str, str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hand: Sender
        self._book: ChangeBook
        self._work: ChangeWork
        self._chain: Network

    @property
    def key(self) -> PrivateKey:
        """The key that signs quotes, and owns the float."""
        return self._hand.key

    @property
    def info(self) -> Info:
        """Who this is."""
        chain = NetworkName(self._chain.name, self._chain.id)
        return Info(
            "billots",
            __version__,
            PROTOCOL,
            chain,
            self.key.public_hex,
            self.fee_mils,
            self.limits.valid_s,
        )

    async def start(self) -> None:
        """Open the book, find the float, and go on with what was begun.

        Raises KeyFileError, JournalError, Unreachable, WrongNetwork.
        """
        self._hand = self._sender(None)
        self._book = ChangeBook.open(self.key.owner, self._data_dir)
        try:
            await self.refresh()
        except BaseException:
            self._book.close()
            raise
        self._work = ChangeWork(
            self._chain,
            self._hand,
            self._book,
            self.notes,
            self.limits,
            circle=lambda: self._circle(self._near, self.quorum),
            is_live=lambda entry: entry.quote.id in self._live,
            on_given=self._given,
        )
        for entry in self._book:
            self._go_on(entry)
        self._begin(self._refreshing())

    async def stop(self) -> None:
        """End what runs; the book knows where to go on."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._work.stop()
        self._book.close()

    async def refresh(self) -> None:
        """Look at what this key owns, by a quorum: what was put in by hand, or taken out."""
        listing = await self.list_billots(self.key.owner)
        self._chain = self.network = listing.network
        with await self._hand.journal() as journal:
            signed = journal.rows(listing.network.id)
        notes = {
            billot.id: billot.tally.holding.seq
            for billot in listing.billots
            if billot.tally.holding is not None
        }
        for run in listing.unmoved:  # an issuer's: no more of each value than one transfer moves
            numbers = range(run.first, run.last + 1)
            ids = (f"{run.prefix}{n}" for n in numbers if (f"{run.prefix}{n}", 1) not in signed)
            notes.update(dict.fromkeys(islice(ids, ROWS_MAX), 0))
        self.notes.set({b: seq for b, seq in notes.items() if (b, seq + 1) not in signed})

    def offer(self, address: str) -> Offer:
        """What a quote for this address could name now."""
        return Offer(tuple((p, min(n, ROWS_MAX)) for p, n in self.notes.offered(address).items()))

    async def quote(self, asking: Asking, address: str) -> Quoted:
        """A signed quote; raises Refusal. The same question while it holds is the same quote."""
        same = self._same(asking)
        if same is not None:
            return same
        self._check(asking)
        if asking.id in self._asking:
            raise Refusal("already_quoted", "this question is being answered")
        if not asking.verify():
            raise Refusal("bad_signature", "the signature does not hold")
        if len(self._live) + len(self._asking) >= self.limits.quotes_max:
            raise Refusal("rate_limited", "too many quotes hold now")
        rows = self.notes.reserve(asking.id, address, asking.get)
        if rows is None:
            raise Refusal("float_exhausted", "so many notes aren't free")
        if not self._tokens.take(address, asyncio.get_running_loop().time()):
            self.notes.release(asking.id)
            raise Refusal("rate_limited", "too many quotes for this address were not paid")
        self._asking.add(asking.id)
        try:
            await self._check_owner(asking)
            entry = self._sign(asking, rows)
        except BaseException:
            self.notes.release(asking.id)
            raise
        finally:
            self._asking.discard(asking.id)
        self.notes.rename(asking.id, entry.quote.id)
        self._hold(entry, address, float(self.limits.valid_s))
        return Quoted(entry.quote, self.limits.valid_s)

    def drop(self, params: Drop) -> Dropped:
        """The customer won't pay: the notes are free for others at once."""
        entry = self._book.find(params.quote.id)
        if entry is None or entry.quote.id not in self._live or entry.paid is not None:
            return Dropped(dropped=False)
        self._timers[entry.quote.id].cancel()
        self._end(entry)
        self._free(entry)
        return Dropped(dropped=True)

    async def redeem(self, params: Redeem) -> Redeemed:
        """The one answer to a quote that was paid, once it is final; raises Refusal.

        The same again is answered with the same transfer.
        """
        entry = self._book.find(params.quote.id)
        if entry is None:
            raise Refusal("unknown_quote", "this server has no such quote in its book")
        if entry.quote.network != self._chain.id:
            raise Refusal("wrong_network", f"this is network {self._chain.id} now")
        fault = entry.quote.fault_of(params.transfer)
        if fault is not None:
            raise Refusal("wrong_transfer", f"the transfer does not pay this quote: {fault}")
        found = self._work.ready(entry)
        if found is not None:
            return found
        try:
            self._book.paid(entry, params.transfer)
            async with asyncio.timeout(self.limits.answer_s):
                return await asyncio.shield(self._work.answer(entry))
        except TimeoutError:
            raise Refusal("not_final", "not in time; ask again") from None
        except BillotsError as error:
            log.warning("quote %s: %s", entry.quote.id[:16], error)
            raise Refusal("unavailable", "not now; ask again") from error

    def _same(self, asking: Asking) -> Quoted | None:
        entry = self._book.asked(asking.id)
        if entry is None or entry.quote.id not in self._live:
            return None
        left = self._timers[entry.quote.id].when() - asyncio.get_running_loop().time()
        return Quoted(entry.quote, max(0, int(left)))

    def _check(self, asking: Asking) -> None:
        """What costs nothing to find wrong."""
        if asking.network != self._chain.id:
            raise Refusal("wrong_network", f"this is network {self._chain.id}")
        if asking.server != self.key.public_hex:
            raise Refusal("wrong_server", "the question is for another change server")
        try:
            asking.check(self._chain)
        except InputError as error:
            raise Refusal("bad_request", str(error)) from None
        if asking.customer == self.key.owner:
            raise Refusal("bad_request", "nobody changes with himself")
        given = self._chain.total_mils(billot for billot, _ in asking.give)
        if given != asking.get_mils(self._chain) + self.fee_mils:
            raise Refusal("not_equal", "what is given is not what is got and the fee")
        if not self._quoted.keys().isdisjoint(billot for billot, _ in asking.give):
            raise Refusal("already_quoted", "a quote for one of these billots holds now")

    async def _check_owner(self, asking: Asking) -> None:
        """Raise Refusal unless a quorum says that the customer can give what he would."""
        try:
            async with self._circle(self._near, self.quorum) as circle:
                poll = await look(circle, (b for b, _ in asking.give), self.timeout_s)
        except BillotsError as error:
            log.warning("%s", error)
            raise Refusal("unavailable", "not now; ask again") from error
        finals = finals_of(poll)
        for billot, seq in asking.give:
            holding = finals.get(billot)
            if holding is None or (holding.seq + 1, holding.owner) != (seq, asking.customer):
                raise Refusal("not_yours", f"no quorum says that you can give {billot} now")

    def _sign(self, asking: Asking, rows: tuple[tuple[str, int], ...]) -> Entry:
        """A quote and its fresh key, both in the book."""
        if not self._quoted.keys().isdisjoint(billot for billot, _ in asking.give):
            raise Refusal("already_quoted", "a quote for one of these billots holds now")
        fresh = PrivateKey.generate()
        quote = Quote.sign(
            self.key,
            network_id=self._chain.id,
            customer=asking.customer,
            pay=fresh.owner,
            until=int(self._now()) + self.limits.valid_s,
            give=asking.give,
            get=rows,
        )
        try:
            return self._book.quoted(quote, asking.id, fresh)
        except BillotsError as error:
            log.error("%s", error)
            raise Refusal("unavailable", "the book can't be written") from error

    def _hold(self, entry: Entry, address: str, seconds: float) -> None:
        """The quote holds for so long."""
        quote = entry.quote
        self._live[quote.id] = address
        self._quoted.update((billot, quote.id) for billot, _ in quote.give)
        loop = asyncio.get_running_loop()
        self._timers[quote.id] = loop.call_later(seconds, self._expired, entry)

    def _end(self, entry: Entry) -> None:
        """The quote holds no longer."""
        quote = entry.quote
        self._live.pop(quote.id, None)
        self._timers.pop(quote.id, None)
        for billot, _ in quote.give:
            if self._quoted.get(billot) == quote.id:
                del self._quoted[billot]

    def _expired(self, entry: Entry) -> None:
        """Its notes are free, unless it is being paid; and what may have come is looked for."""
        quote = entry.quote
        self._end(entry)
        if entry.answer is not None:
            return
        if entry.paid is None:
            self._free(entry)
        else:
            loop = asyncio.get_running_loop()
            self._timers[quote.id] = loop.call_later(self.limits.final_s, self._free, entry)
        self._work.look(entry)

    def _free(self, entry: Entry) -> None:
        self._timers.pop(entry.quote.id, None)
        if entry.answer is None:
            self.notes.release(entry.quote.id)

    def _given(self, entry: Entry) -> None:
        address = self._live.get(entry.quote.id)
        if address is not None:
            self._tokens.give_back(address)

    def _go_on(self, entry: Entry) -> None:
        """What a quote needs that an earlier run has left."""
        if entry.closed or entry.quote.network != self._chain.id:
            return
        quote, left = entry.quote, entry.quote.until - self._now()
        if entry.answer is not None:
            if entry.what == "change" and not entry.given:
                self.notes.claim(quote.id, quote.get)
            self._work.settle(entry)
        elif left > 0:
            if self.notes.claim(quote.id, quote.get):
                self._hold(entry, "", min(left, float(self.limits.valid_s)))
            if entry.paid is not None:
                self._work.answer(entry)
        elif entry.paid is not None or left > -self.limits.look_back_s:
            self._work.look(entry)

    async def _refreshing(self) -> None:
        while True:
            await asyncio.sleep(self.limits.refresh_s)
            try:
                await self.refresh()
            except BillotsError as error:
                log.warning("the float can't be looked at: %s", error)
            self._work.look_again(self._now() - self.limits.look_again_s)

    def _begin(self, coroutine: Any) -> None:
        task = in_background(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
