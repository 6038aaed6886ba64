"""What the node asks its trusted servers about, and what it makes of their answers.

Their votes, bodies and receipts are counted like all others (`Feeds`); here is what only a
consult decides: when to ask, what is disputed, and the first word of a server without its
memory.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

from billots.holding import SILENT, Status, Vote
from billots.limits import Limits
from billots.node.consults import CONTESTED, OWN, START, Consults, Finished
from billots.node.memory import Phase, Word
from billots.node.taking import Taking
from billots.node.verdicts import WAITING, rows_among
from billots.node.work import Relayed
from billots.receipt import Receipt
from billots.table import Outcome
from billots.transfer import Transfer

log = logging.getLogger("billots.consults")

_MOMENT_S = 0.25
"""What the feeds settle as a rule within a moment isn't asked about at once."""
_SWEEP_S = 10.0
_DISPUTED_S = 10.0
"""The least pause before a disputed billot is asked about again."""


class Consulting:
    """Joins consults with ledger, feeds and memory."""

    def __init__(self, taking: Taking, consults: Consults, limits: Limits) -> None:
        self.taking = taking
        self.consults = consults
        self.known: list[str] = []
        """Billots of which something may be said now that could not be before."""
        self._sweep_at = 0.0
        self._too_few: frozenset[str] = frozenset()
        self._too_few_until = 0.0
        self.positions: list[str] = []
        """Servers (by key) that are to be asked how far their feeds go now."""
        self._limits = limits
        self._feeds = taking.feeds
        self._ledger = taking.ledger
        self._memory = taking.memory
        consults.reading = self._memory.is_reading
        for billot in taking.ledger.unsettled_billots:
            consults.want(billot, START, 0.0)

    # -- when to ask --------------------------------------------------------------------------

    def ask(self, transfer: Transfer, outcomes: Sequence[Outcome], now: float) -> bool:
        """Ask about the rows that a wallet's transfer waits for; False if it can't wait so.

        A row that is `behind` can only be helped by asking; the others may be by the feeds.
        """
        soon = [billot for billot, _ in rows_among(transfer, outcomes, WAITING)]
        behind = {b for b, _ in rows_among(transfer, outcomes, {Outcome.BEHIND, Outcome.DISPUTED})}
        for billot in soon:
            at_once = billot in behind or not self._memory.may_vote(billot)
            asked = self.consults.for_wallets([billot], now, now if at_once else now + _MOMENT_S)
            if not asked and billot in behind:
                return False
        return True

    def clear(self, billots: Iterable[str], now: float) -> bool:
        """Ask about billots that we may not speak of yet; False if there was too much of it."""
        return self.consults.for_wallets(billots, now, now)

    def watch_fresh(self, now: float) -> None:
        """What was just taken is to be settled soon; what is in conflict, sooner."""
        overdue = self._feeds.tallies.overdue
        if not (overdue or self.taking.fresh):
            return
        for billot in overdue:
            self.consults.want(billot, OWN, now)
        overdue.clear()
        fresh, self.taking.fresh = self.taking.fresh, []
        for billot in fresh:
            if self.taking.is_contested(billot):
                self.consults.want(billot, CONTESTED, now + _MOMENT_S)
            else:
                self.consults.want(billot, OWN, now + self._limits.consult_after_s)

    def sweep(self, now: float) -> None:
        """Want again what there was no room for."""
        if self.consults.overflowed and now >= self._sweep_at:
            self.consults.overflowed, self._sweep_at = False, now + _SWEEP_S
            for billot in self._ledger.unsettled_billots:
                self.consults.want(billot, OWN, now)
            for billot in self._feeds.votes.billots:
                self._feeds.watch(billot, next(iter(self._feeds.votes.newest_of(billot))), now)

    def is_open(self, billot: str) -> bool:
        """Whether something is still to be learned of a billot."""
        return self._ledger.status(billot) is not Status.SETTLED or billot in self._feeds.votes

    # -- what came of it ----------------------------------------------------------------------

    def finish(self, now: float) -> list[str]:
        """Judge the consults that have ended; the billots that they were on."""
        finished = self.consults.finished()
        for each in finished:
            self._finish(each, now)
        return [each.billot for each in finished]

    def _finish(self, finished: Finished, now: float) -> None:
        billot, taking = finished.billot, self.taking
        if not self._memory.may_vote(billot):
            said = {
                key: (holding.seq, holding.vote) if holding.status not in SILENT else None
                for key, holding in finished.said.items()
                if holding is not None and holding.status is not Status.UNKNOWN
            }
            self._speak(billot, self._memory.first_word(self._ledger.present(billot), said), now)
        if billot in taking.regained:
            taking.regained.discard(billot)
            for transfer in self._others(billot):
                taking.relay(Relayed(transfer, None), now)
        if taking.is_contested(billot):
            self._feeds.judge_conflict(billot)
        status = self._ledger.status(billot)
        if self.is_open(billot):
            cause = CONTESTED if taking.is_contested(billot) else OWN
            if status is Status.SETTLED:  # only votes are open: whose they are goes on paying
                cause = next(iter(self._feeds.votes.newest_of(billot)))
            least = _DISPUTED_S if status is Status.DISPUTED else 0.0
            self.consults.again(billot, cause, now, max(finished.pause_s, least))

    def _others(self, billot: str) -> list[Transfer]:
        """What others took instead of what is held here.

        They came when a conflict had to wait, or while the billot was still further back here.
        """
        present = self._ledger.present(billot)
        if present.status is not Status.HELD or billot in self.taking.regained:
            return []
        ballots = self._feeds.votes.at(billot, present.seq).values()
        bodies = (self._feeds.body(b.transfer_id or "") for b in ballots if b.vote != present.vote)
        return [body for body in bodies if body is not None]

    # -- without memory -----------------------------------------------------------------------

    def _speak(self, billot: str, word: Vote | Word, now: float) -> None:
        """What a server without its memory says first of a billot."""
        if word is Word.WAIT:
            return
        joined = self._side(billot, word) if isinstance(word, Vote) else []
        if isinstance(word, Vote) and not joined:
            return  # its body isn't here yet
        self._memory.clear(billot)
        self.known.append(billot)
        for transfer in joined[:1]:
            self.taking.relay(Relayed(transfer, None), now)

    def _side(self, billot: str, vote: Vote) -> list[Transfer]:
        """The bodies of those that gave this vote at the next seq."""
        seq = self._ledger.present(billot).seq + 1
        ballots = self._feeds.votes.at(billot, seq).values()
        bodies = (self._feeds.body(b.transfer_id or "") for b in ballots if b.vote == vote)
        return [body for body in bodies if body is not None]

    def is_concerned(self, billots: Collection[str]) -> bool:
        """Whether `changed` has something to look at for one of these."""
        unusual = self.taking.regained or not self._memory.is_free
        return bool(unusual) or not self._feeds.votes.is_silent_on(billots)

    def changed(self, billot: str, now: float) -> list[Transfer]:
        """A billot has another holding: what trusted servers took next, or instead of it."""
        if billot in self.taking.regained and self._ledger.status(billot) is Status.SETTLED:
            self.taking.regained.discard(billot)
        if not self._memory.is_free and self._ledger.present(billot).seq:
            self.known.append(billot)
        if billot in self._memory.unread:
            self._speak(billot, self._word(billot), now)
        return [*self._others(billot), *self._feeds.next_moves(billot, now)]

    def _word(self, billot: str) -> Vote | Word:
        newest = self._feeds.votes.newest_of(billot)
        said = {key: newest.get(key) for key in self._memory.readers}
        return self._memory.first_word(self._ledger.present(billot), said)

    @property
    def is_through(self) -> bool:
        """Whether a server without its memory may have read enough now."""
        memory, feeds = self._memory, self._feeds
        if memory.phase is not Phase.BLANK:
            return False
        for key in memory.to_read():
            if feeds.votes.newest(key) >= memory.targets[key] and not feeds.votes.has_lost(key):
                waits = feeds.wanted.first_lsn(key)
                if not memory.is_live(key):
                    self.positions.append(key)
                elif waits is None or waits > memory.targets[key]:
                    memory.has_read(key)
        return memory.is_through

    def read(self, now: float) -> bool:
        """All is read that had to be: from now on it votes, but where two sides have votes.

        Where one side has votes it joins them. Returns False if too many are left open; that is
        looked at again when more feeds are read, or after a while.
        """
        readers = self._memory.readers
        if readers == self._too_few and now < self._too_few_until:
            return False
        words = {billot: self._word(billot) for billot in self._feeds.votes.billots}
        sides = {b: self._side(b, word) for b, word in words.items() if isinstance(word, Vote)}
        unread = [b for b, word in words.items() if word is not Word.FREE and not sides.get(b)]
        if not self._memory.finish(unread):
            self._too_few, self._too_few_until = readers, now + _SWEEP_S
            return False
        self.consults.reading = False
        for billot, transfers in sides.items():
            self.known.append(billot)
            for transfer in transfers[:1]:
                self.taking.relay(Relayed(transfer, None), now)
        return True

    # -- lies ---------------------------------------------------------------------------------

    def contradicted(self, billot: str, receipt: Receipt) -> None:
        """A receipt holds that settles a billot otherwise than it is settled here."""
        ours = self._feeds.receipts.receipt(billot)
        electorate = self.taking.trust.electorate
        signed = {word.server for word in receipt.words()} & electorate.entries.keys()
        both = signed & {word.server for word in ours.words()} if ours is not None else set()
        log.error(
            "%s is settled here, and a receipt settles it otherwise: more trusted servers lie than "
            "this list survives; both were signed by %s",
            billot,
            ", ".join(sorted(both or signed)),
        )
