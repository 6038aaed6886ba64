"""What becomes of a quote: taken, answered in one transfer, and what came in swept into the float.

Each step is in the book before it shows, so that a change server that is killed goes on where it
was. What answers a quote is the change if its notes are still free, else the same billots back:
whatever came in, and however late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from billots.change_book import ChangeBook, Entry
from billots.change_float import Float
from billots.change_limits import ChangeLimits
from billots.change_wire import Redeemed, Refusal
from billots.circle import Circle
from billots.delivering import Move, deliver, finals_of, happened, until_happened
from billots.errors import AlreadySigned, BillotsError, Refused, Unreachable
from billots.keeping import Keeper
from billots.network import Network
from billots.sending import Sender
from billots.transfer import Transfer

log = logging.getLogger("billots.change")

_AGAIN_FIRST_S = 0.2


class ChangeWork:
    """Tasks, one for each quote that is paid, and what they share.

    `is_live` says whether a quote still holds. `on_given` hears of each change that a quorum says
    its customer has.
    """

    def __init__(
        self,
        network: Network,
        sender: Sender,
        book: ChangeBook,
        notes: Float,
        limits: ChangeLimits,
        *,
        circle: Callable[[], Circle],
        is_live: Callable[[Entry], bool],
        on_given: Callable[[Entry], None],
    ) -> None:
        self.network = network
        self.sender = sender
        self.book = book
        self.notes = notes
        self.limits = limits
        self._circle = circle
        self._is_live = is_live
        self._on_given = on_given
        self._answering: dict[str, asyncio.Task[Redeemed]] = {}
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._waited: set[str] = set()
        self._left: set[str] = set()
        self._unseen: set[str] = set()
        self._places = asyncio.Semaphore(limits.exchanges_max)
        self._behind = asyncio.Semaphore(limits.exchanges_max)
        self._looks = asyncio.Semaphore(limits.looks_max)

    def ready(self, entry: Entry) -> Redeemed | None:
        """The answer, if there is one and a server has taken it."""
        out = entry.given or entry.quote.id in self._left
        if not out or entry.answer is None or entry.what is None:
            return None
        return Redeemed(entry.what, entry.answer)

    def look(self, entry: Entry) -> None:
        """Answer a quote if it was paid, which nobody says that it was: behind all who wait."""
        self.answer(entry, self._looks)

    def look_again(self, since: float) -> None:
        """Look for money that came in late for the newest quotes, of those that ended `since`.

        Who paid and never asked has no proof against us then.
        """
        for entry in self.book.newest(self.limits.quotes_max):
            ended = not self._is_live(entry) and entry.quote.until > since
            if ended and entry.answer is None and entry.quote.network == self.network.id:
                self.look(entry)

    def answer(
        self, entry: Entry, places: asyncio.Semaphore | None = None
    ) -> asyncio.Task[Redeemed]:
        """The task that answers a quote; there is only ever one for each."""
        task = self._answering.get(entry.quote.id)
        if task is None:
            task = asyncio.create_task(self._answer(entry, places or self._places))
            self._answering[entry.quote.id] = task
            task.add_done_callback(lambda done: self._answered(entry, done))
        return task

    def settle(self, entry: Entry) -> None:
        """See an answered quote through to its end, in the background."""
        if entry.quote.id not in self._settling and not entry.closed:
            task = asyncio.create_task(self._settle(entry))
            self._settling[entry.quote.id] = task
            task.add_done_callback(lambda _: self._settling.pop(entry.quote.id, None))

    async def stop(self) -> None:
        """End all tasks: the book knows where to go on."""
        tasks = [*self._answering.values(), *self._settling.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answered(self, entry: Entry, done: asyncio.Task[Redeemed]) -> None:
        self._answering.pop(entry.quote.id, None)
        if done.cancelled():
            return
        error = done.exception()
        if error is not None and not isinstance(error, Refusal | BillotsError):
            log.error("quote %s: %r", entry.quote.id[:16], error)
        if entry.answer is not None:
            self.settle(entry)

    async def _answer(self, entry: Entry, places: asyncio.Semaphore) -> Redeemed:
        async with places, self._circle() as circle:
            if entry.answer is None:
                await self._taken(circle, entry)
                self._decide(entry)  # nothing waits between the look at the float and the write
            await self._leave(circle, entry)
        found = self.ready(entry)
        assert found is not None, "it has left"
        return found

    async def _taken(self, circle: Circle, entry: Entry) -> None:
        """Wait until a quorum says that what was quoted has come; raises Refusal."""
        quote = entry.quote
        move = Move(quote.give, quote.customer, quote.pay)
        waits = entry.paid is not None and self._is_live(entry) and quote.id not in self._waited
        if entry.paid is not None and self._is_live(entry):
            try:
                await self._deliver(circle, entry, entry.paid)
            except (Refused, Unreachable) as error:
                log.info("quote %s: %s", quote.id[:16], error)
        # Who shows a transfer that doesn't become final has us wait for it once.
        poll = await until_happened(circle, [move], self.limits.final_s if waits else 0.0)
        finals = finals_of(poll)
        if happened(move, finals) is not True:
            self._waited.add(quote.id)
            self._unseen.add(quote.id)
            raise Refusal("not_final", "no quorum says yet that the billots were given")
        await Keeper(self.sender.keeper.store, quote.pay).keep(circle, finals, poll)

    def _decide(self, entry: Entry) -> None:
        quote = entry.quote
        if self.notes.claim(quote.id, quote.get):
            change = Transfer.sign(self.network, self.sender.key, quote.customer, quote.get)
            self.book.answer(entry, "change", change)
        else:
            self._refund(entry)

    def _refund(self, entry: Entry) -> None:
        quote = entry.quote
        rows = Move(quote.give, quote.customer, quote.pay).next_rows
        back = Transfer.sign(self.network, entry.key, quote.customer, rows)
        self.book.answer(entry, "refund", back)
        self.notes.release(quote.id)
        log.warning("quote %s: its notes are gone, so what was given goes back", quote.id[:16])

    async def _leave(self, circle: Circle, entry: Entry) -> None:
        """Send the answer, unless it has been taken; raises what `deliver` raises."""
        if self.ready(entry) is not None:
            return
        if entry.what == "change":
            try:
                await self._journal(entry)
            except AlreadySigned:  # by another command with this key: this change never left
                if entry.what == "change":  # another task may have seen it as well
                    self._refund(entry)
        assert entry.answer is not None
        try:
            await self._deliver(circle, entry, entry.answer)
        except Refused:
            move = Move.of(entry.answer)  # the customer may have passed it on by now
            poll = await until_happened(circle, [move], 0.0, move.next_rows)
            if not happened(move, finals_of(poll), move.next_rows):
                raise
        self._left.add(entry.quote.id)

    async def _journal(self, entry: Entry) -> None:
        """Have the change in the journal of its key, which all commands on this machine share."""
        change = entry.answer
        assert change is not None
        with await self.sender.journal() as journal:
            there = journal.find(change.network, change.billots)
            if not any(each.transfer.id == change.id for each in there):
                journal.sign(change)

    async def _settle(self, entry: Entry) -> None:
        pause_s = _AGAIN_FIRST_S
        while not entry.closed:
            try:
                async with self._behind, self._circle() as circle:
                    await self._settled(circle, entry)
            except (BillotsError, Refusal) as error:
                log.warning("quote %s: %s", entry.quote.id[:16], error)
            if not entry.closed:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self.limits.again_s_max)

    async def _settled(self, circle: Circle, entry: Entry) -> None:
        if not entry.given:
            await self._leave(circle, entry)
            assert entry.answer is not None
            if not await self._final(circle, entry.answer):
                self._left.discard(entry.quote.id)  # whoever took it may have lied: send it again
                self._unseen.add(entry.quote.id)
                return
            self.book.given(entry)
            self.notes.spend(entry.quote.id)
            self._on_given(entry)
        self._left.discard(entry.quote.id)
        if entry.what == "refund":
            self._unseen.discard(entry.quote.id)
            self.book.closed(entry)
            return
        if entry.sweep is None:
            rows = Move(entry.quote.give, entry.quote.customer, entry.quote.pay).next_rows
            own = self.sender.key.owner
            self.book.sweep(entry, Transfer.sign(self.network, entry.key, own, rows))
        assert entry.sweep is not None
        try:
            await self._deliver(circle, entry, entry.sweep)
        except Refused as error:  # it may be there already
            log.info("quote %s: %s", entry.quote.id[:16], error)
        if not await self._final(circle, entry.sweep):
            self._unseen.add(entry.quote.id)
            return
        self._unseen.discard(entry.quote.id)
        self.book.closed(entry)
        self.notes.notes.update(entry.sweep.billots)

    async def _deliver(self, circle: Circle, entry: Entry, transfer: Transfer) -> None:
        """Send it; to all servers once something of this quote didn't become final in time."""
        to_all = entry.quote.id in self._unseen
        await deliver(circle, self.sender.keeper.store, transfer, to_all=to_all)

    async def _final(self, circle: Circle, transfer: Transfer) -> bool:
        """Whether a quorum has it, within some time; our own new notes get their receipts."""
        move = Move.of(transfer)
        poll = await until_happened(circle, [move], self.limits.final_s, move.next_rows)
        finals = finals_of(poll)
        if not happened(move, finals, move.next_rows):
            return False
        await self.sender.keeper.keep(circle, finals, poll)
        return True


def in_background(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task whose errors are logged, for nobody waits for it."""

    async def whole() -> None:
        try:
            await coroutine
        except BillotsError as error:
            log.warning("%s", error)

    return asyncio.create_task(whole())
