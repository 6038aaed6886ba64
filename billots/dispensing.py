"""A faucet: it pays a little to whoever asks, as its book allows, and each of it once.

The grant is in the book before a transfer is signed, the transfer in the journal before it leaves,
and what is final is closed in the book first and in the journal second. So whatever a crash leaves
behind is known: a grant without a payment in the journal was never signed, and is taken back; any
other is sent again, byte by byte. One transfer is signed at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from billots.circle import Circle
from billots.errors import AlreadySigned, BillotsError, JournalError, Refused, Unreachable
from billots.faucet_book import FaucetBook, Record
from billots.handful import handful
from billots.holding import Status
from billots.journal_lines import Entry
from billots.link import Problem
from billots.listing import list_billots
from billots.network import Network, split_billot_id
from billots.paying import done_with, finish, spendable
from billots.payouts import Payout, Reason, Refusal
from billots.poll import Poll
from billots.sending import Sender, send
from billots.transfer import Transfer
from billots.wallet_settings import WalletSettings

OPEN_MAX = 16
"""Payments that are begun and not final; beyond them the faucet is busy."""
FINISHED_MAX = 1_000
"""Payments whose votes are kept to be looked at; of older ones the book knows that they are."""
_UNABLE_S = 5
_EMPTY_S = 30
_LATE_VOTES_S = 1.0
_LATE_AGAIN_S = 0.05
_PAUSES_S = (0.5, 1, 2, 5, 10, 20, *[60] * 10)
"""Between two tries to see a payment final; after them it waits for the faucet's next start."""

log = logging.getLogger(__name__)


class _EmptyPurse(BillotsError):
    """No notes are left that make what is given."""


class Dispenser(WalletSettings):
    """A faucet's hand: the key of a purse, its book, and the payments that are on their way.

    Settings are those of `AsyncWallet`; a network has to be among them. `steady_ms` is a clock that
    never goes back. `start` comes first, and raises what is wrong; `stop` last.
    """

    network: Network

    def __init__(self, book: FaucetBook, steady_ms: Callable[[], int], **settings: Any) -> None:
        super().__init__(**settings)
        self.book = book
        self._steady_ms = steady_ms
        self._hand: Sender | None = None
        self._notes: dict[int, list[str]] = {}
        self._counts: dict[int, int] = {}
        self._signing = asyncio.Lock()
        self._open: dict[str, Payout] = {}
        self._shown: dict[str, Payout] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unable: tuple[Reason, int] | None = None

    async def start(self) -> None:
        """Look at the servers and the purse, and take up what an earlier run had begun.

        Raises KeyFileError, JournalError, WrongNetwork if any server states another network,
        Unreachable if too few can be reached.
        """
        self._hand = self._sender(None)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.everyone))
            for link in circle.everyone:
                if link.problem is Problem.OTHER_NETWORK and link.error is not None:
                    raise link.error
            await self._look(circle)
        await self._take_up()

    async def stop(self) -> None:
        """End what is under way; what is signed is taken up at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def owner(self) -> str:
        """The owner id of the purse."""
        return self._signer.key.owner

    @property
    def purse_mils(self) -> int:
        """What there was to give when the purse was last looked at, less what was given since."""
        return sum(value * count for value, count in self._counts.items())

    def can_give(self, mils: int) -> bool:
        """Whether the notes that are there make an amount."""
        return self._pick(mils) is not None

    @property
    def left_mils(self) -> int:
        """How much of the hour's budget is left."""
        return self.book.left(self._steady_ms())

    async def claim(self, owner: str, address: str) -> Payout | Refusal:
        """Give `owner` what is given, asked for from `address`; returns once it is signed.

        Who is being paid already is not paid a second time, but gets the same payment.
        """
        payout = self._open.get(owner)
        if payout is None:
            begun = self._begin(owner, address)
            if isinstance(begun, Refusal):
                return begun
            payout = begun
        await payout.decided.wait()
        return payout.refusal or payout

    def find(self, transfer_id: str) -> Payout | None:
        """A payment by its transfer's id: one that is under way, or of the last day."""
        if transfer_id in self._shown:
            return self._shown[transfer_id]
        record = self.book.by_transfer(transfer_id)
        return None if record is None else Payout(record, final=record.paid, ended=True)

    def _begin(self, owner: str, address: str) -> Payout | Refusal:
        """Check, write down, go: no await in here, so that nobody comes in between."""
        now_ms = self._steady_ms()
        against = self.book.refuses(owner, address, now_ms)
        if against is None:
            unable = self._refusal(now_ms)
            if unable is not None:
                return unable
            try:
                granted = self.book.grant(owner, address, now_ms)
            except JournalError as error:
                return self._failed(error)
            if isinstance(granted, Record):
                payout = Payout(granted)
                self._go(payout)
                return payout
            against = granted
        limit, wait_ms = against
        last = self.book.by_owner(owner)
        known = None if last is None else last.transfer_id
        return Refusal(Reason(limit.value), -(-wait_ms // 1000), known)

    def _refusal(self, now_ms: int) -> Refusal | None:
        if self._unable is not None and now_ms < self._unable[1]:
            reason, until_ms = self._unable
            return Refusal(reason, -(-(until_ms - now_ms) // 1000))
        if len(self._open) >= OPEN_MAX:
            return Refusal(Reason.BUSY, _UNABLE_S)
        return None

    def _failed(self, error: Exception) -> Refusal:
        """Nothing can be given for a moment; nobody else's asking makes us try before it ends."""
        log.warning("nothing could be given: %s", error)
        self._unable = (Reason.UNABLE, self._steady_ms() + _UNABLE_S * 1000)
        return Refusal(Reason.UNABLE, _UNABLE_S)

    def _go(self, payout: Payout) -> None:
        self._open[payout.record.granted.owner] = payout
        task = asyncio.create_task(self._attend(payout))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, payout: Payout) -> None:
        """Bring one payment from its grant to its end."""
        try:
            if payout.transfer is None:
                async with self._signing:
                    await self._pay(payout)
            for pause_s in _PAUSES_S if payout.refusal is None else ():
                await self._watch(payout)
                if payout.final:
                    break
                await asyncio.sleep(pause_s)
        finally:
            self._open.pop(payout.record.granted.owner, None)
            if not payout.decided.is_set():  # ended in between: the next start settles it
                payout.refusal = Refusal(Reason.UNABLE, _UNABLE_S)
                payout.decided.set()
            payout.ended = True
            payout.tell()

    async def _pay(self, payout: Payout) -> None:
        """Have it signed and sent; what keeps it from being signed takes the grant back."""
        try:
            await self._send(payout)
        except BillotsError as error:
            if payout.transfer is None:
                self._take_back(payout, error)
            else:  # it is signed, so it is sent again until a quorum has it
                log.warning("payment %s: %s", payout.transfer.id, error)

    async def _send(self, payout: Payout) -> None:
        """Pick notes, sign, send. Notes that turn out to be gone are looked at afresh, once."""
        owner, mils = payout.record.granted.owner, payout.record.granted.mils
        hand = replace(
            self._signer, pays=mils, on_signed=lambda transfer: self._signed(payout, transfer)
        )
        async with self._circle(self._near, self.quorum, self.server) as circle:
            for again in (False, True):
                picked = None if again else self._pick(mils)
                if picked is None:
                    await self._look(circle)
                    picked = self._pick(mils)
                if picked is None:
                    raise _EmptyPurse("the purse has no notes left that make what is given")
                try:
                    await send(hand, circle, picked, owner)
                except (AlreadySigned, Refused):
                    if again or payout.transfer is not None:
                        raise
                else:
                    return

    def _signed(self, payout: Payout, transfer: Transfer) -> None:
        """The journal has it: from here on it is paid, whatever happens."""
        payout.transfer, payout.begun = transfer, asyncio.get_running_loop().time()
        gone = {billot for billot, _ in transfer.billots}
        for value, notes in self._notes.items():
            left = [billot for billot in notes if billot not in gone]
            self._counts[value] -= len(notes) - len(left)
            self._notes[value] = left
        self._show(payout, transfer)
        payout.decided.set()
        self.book.signed(payout.record, transfer)

    def _take_back(self, payout: Payout, error: BillotsError) -> None:
        """Nothing was signed: the grant counts no more, and whoever asked is told why."""
        if isinstance(error, _EmptyPurse):
            log.warning("%s", error)
            self._unable = (Reason.EMPTY, self._steady_ms() + _EMPTY_S * 1000)
            payout.refusal = Refusal(Reason.EMPTY, _EMPTY_S)
        else:
            payout.refusal = self._failed(error)
        try:
            self.book.void(payout.record)
        except JournalError as trouble:
            log.warning("a grant could not be taken back: %s", trouble)
        payout.decided.set()

    async def _watch(self, payout: Payout) -> None:
        """See whether it is final now; a server's or a disk's trouble only means not yet."""
        try:
            await self._finish(payout)
        except BillotsError as error:
            log.warning("payment %s: %s", payout.transfer_id, error)

    async def _finish(self, payout: Payout) -> None:
        """Ask the servers until a quorum names the payee; send it again if they don't."""
        transfer, hand = payout.transfer, self._signer
        assert transfer is not None, "it is signed"
        entry = Entry(transfer, pays=payout.record.granted.mils)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            payout.n, payout.needed = circle.n, circle.quorum.needed(circle.n)
            payment = await finish(hand, circle, entry, payout.note)
            if not payment.is_final:
                return
            payout.seconds = asyncio.get_running_loop().time() - payout.begun
            self.book.paid(payout.record)
            await done_with(hand, [payment])
            payout.final = True
            payout.tell()
            await self._late_votes(circle, payout, transfer.billots[0][0])

    async def _late_votes(self, circle: Circle, payout: Payout, billot: str) -> None:
        """The votes that weren't needed, for who looks on."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _LATE_VOTES_S
        while (left_s := end - loop.time()) > 0:
            await Poll(circle, [billot], on_answer=payout.note, everyone=True).run(left_s)
            said = [each.holding for each in payout.answers.values() if each.holding is not None]
            if all(holding.status is Status.SETTLED for holding in said):
                return
            await asyncio.sleep(_LATE_AGAIN_S)

    async def _look(self, circle: Circle) -> None:
        """See what the purse has, by a quorum; what is signed over already is none of it."""
        await asyncio.gather(*(circle.greet(link) for link in circle.links))
        circle.require_one()
        listing = await list_billots(circle, self._signer.key.owner)
        if len(circle.answering_keys) < circle.quorum.needed(circle.n):
            raise Unreachable("too few of the faucet's servers answer")
        self._counts, self._notes = await spendable(self._signer, circle, listing)

    def _pick(self, mils: int) -> list[str] | None:
        chosen = handful({value: len(notes) for value, notes in self._notes.items()}, mils)
        if chosen is None:
            return None
        picked = (b for value, count in chosen.items() for b in self._notes[value][:count])
        return sorted(picked, key=split_billot_id)

    async def _take_up(self) -> None:
        """Go on with what an earlier run signed; take back what it granted and did not sign."""
        with await self._signer.journal() as journal:
            entries = {e.transfer.id: e for e in journal.payments(self.network.id)}
            for entry in entries.values():
                record = self.book.by_transfer(entry.transfer.id)
                if record is not None and record.paid:
                    journal.final(entry.transfer.id)
        payments = {(e.transfer.to, e.pays): e.transfer for e in entries.values()}
        for record in self.book.open_records():
            transfer = payments.get((record.granted.owner, record.granted.mils))
            if transfer is not None:
                payout = Payout(record, transfer, begun=asyncio.get_running_loop().time())
                payout.decided.set()
                self.book.signed(record, transfer)
                self._show(payout, transfer)
                self._go(payout)
            elif record.transfer_id is None:
                self.book.void(record)
            else:
                self.book.paid(record)  # the journal is done with it

    def _show(self, payout: Payout, transfer: Transfer) -> None:
        self._shown[transfer.id] = payout
        while len(self._shown) > OPEN_MAX + FINISHED_MAX:
            del self._shown[next(iter(self._shown))]

    @property
    def _signer(self) -> Sender:
        assert self._hand is not None, "start() comes first"
        return self._hand
