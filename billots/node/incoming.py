"""What others bring to a round: their feeds, answers, receipts and pairs, judged one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from billots.node.consulting import Consulting
from billots.node.showing import Showing
from billots.node.taking import Taking
from billots.node.work import (
    BodiesWork,
    ConsultWork,
    FeedWork,
    PairWork,
    ReceiptsWork,
    Relayed,
    Shown,
)
from billots.node.work import Incoming as Work
from billots.transfer import Transfer


class Incoming:
    """Hands what was signed to those who count it; `wake` does what follows from each.

    What it came to is for the node to say once it is on disk: `paired`, `receipted`, `fed`
    (connections whose batches were judged) and `wasted`.
    """

    def __init__(
        self,
        taking: Taking,
        showing: Showing,
        consulting: Consulting,
        wake: Callable[[float], None],
    ) -> None:
        self._taking = taking
        self._trust = taking.trust
        self._feeds = taking.feeds
        self._showing = showing
        self._consulting = consulting
        self._consults = consulting.consults
        self._wake = wake
        self.paired: list[tuple[PairWork, bool]] = []
        self.receipted: list[ReceiptsWork] = []
        self.wasted: list[tuple[int, str, str, float]] = []
        """Connection, the address that pays (or none), what it sent, and what that cost."""
        self.fed: list[int] = []
        self.unread: list[FeedWork] = []

    def judge(
        self,
        work: Work,
        held: Iterator[bool],
        now: float,
    ) -> None:
        """Judge an item; `held` says of its signatures, in their order, which held."""
        if isinstance(work, FeedWork):
            self._feed(work, held, now)
        elif isinstance(work, BodiesWork):
            self._arrived(work.bodies, held, work.source, now)
        elif isinstance(work, ConsultWork):
            self._consulted(work, held, now)
        elif isinstance(work, ReceiptsWork):
            self._receipts(work, held, now)
        else:
            self._pair(work, next(held) & next(held), now)

    def _pair(self, work: PairWork, held: int, now: float) -> None:
        """Somebody shows two transfers: each is judged as if relayed, in turn."""
        stranger = work.reply is not None
        before = len(self._taking.conflicts)
        if held:
            for transfer in (work.first, work.second):
                if transfer.id in self._taking.seen:
                    continue
                relayed = Relayed(transfer, work.source, here=stranger, named=not stranger)
                self._taking.relay(relayed, now)
                self._wake(now)
        else:
            payer = work.reply.payer if work.reply is not None else ""
            self.wasted.append((work.source, payer, "a bad signature", 1.0))
        self.paired.append((work, len(self._taking.conflicts) > before))

    def _feed(self, work: FeedWork, held: Iterator[bool], now: float) -> None:
        """The bodies of a batch of a trusted server; its rows are for `read`."""
        source = work.link.id
        self.fed.append(source)
        if not next(held):
            list(islice(held, len(work.bodies)))
            self.wasted.append((source, "", "a feed batch with a bad signature", 1.0))
            return
        self._arrived(work.bodies, held, source, now)
        self.unread.append(work)

    def read(self, now: float) -> None:
        """The rows of batches whose bodies were judged; of one that isn't current they come again.

        After the bodies of all that came together. Else a row that names what another batch
        brings would have to wait for it, at several times the cost.
        """
        unread, self.unread = self.unread, []
        for work in unread:
            if work.voter in self._trust.keys and work.is_current:
                self._feeds.read(work.voter, work.batch, work.rows, now)
                self._wake(now)
            elif work.voter in self._trust.keys:
                self._feeds.keep_newest(work.voter, work.batch, work.rows)

    def _arrived(
        self, bodies: Sequence[Transfer], held: Iterator[bool], source: int, now: float
    ) -> None:
        for transfer in bodies:
            if next(held):
                self._taking.relay(Relayed(transfer, source), now)
                self._wake(now)
            else:
                self.wasted.append((source, "", "a transfer with a bad signature", 1.0))

    def _consulted(self, work: ConsultWork, held: Iterator[bool], now: float) -> None:
        """A trusted server's answer: its votes, with bodies and receipts."""
        good = next(held)
        self._arrived(work.bodies, held, work.link.id, now)
        for shown in work.shown:
            self._show(shown, held, now, votes=True)
        if not good:
            self.wasted.append((work.link.id, "", "a statement with a bad signature", 1.0))
        counts = good and work.key in self._trust.keys
        if counts:
            self._feeds.stated(work.key, work.statement, now)
        for billot, row in zip(work.asked, work.statement.billots, strict=True):
            self._consults.answered(work.key, billot, row.holding if counts else None)

    def _receipts(self, work: ReceiptsWork, held: Iterator[bool], now: float) -> None:
        """Receipts that somebody shows; bad ones cost who shows them what they cost us."""
        cost = 0.0 if work.bad is None else 1.0
        for shown in work.shown:
            if not self._show(shown, held, now):
                cost += 1 + len(shown.words)
                work.bad = shown.index if work.bad is None else min(work.bad, shown.index)
        if cost:
            self.wasted.append((work.source, work.payer, "a bad receipt", cost))
        if work.reply is not None:
            self.receipted.append(work)

    def _show(self, shown: Shown, held: Iterator[bool], now: float, *, votes: bool = False) -> bool:
        """A receipt, and which of its signatures held; whether it settles anything at all.

        `votes`: what it doesn't settle alone, its votes may settle with others.
        """
        results = list(islice(held, 1 + len(shown.words)))
        words, rows = self._showing.settled(shown, results)
        for billot in self._showing.contradicted(shown, rows):
            self._consulting.contradicted(billot, shown.receipt)
        found = self._feeds.by_receipt(shown.receipt, words, rows, now)
        if votes and words:
            self._feeds.arrived(shown.receipt.transfer, now)
            self._feeds.shown(shown.receipt.transfer, words, now)
        self._taking.changed += found
        self._feeds.to_count += found
        return bool(rows)
