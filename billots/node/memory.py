"""A server's memory of its own votes, and what it may say without it (DESIGN, section 5, rule 6).

A server's first vote at (id, seq) is for ever. Its key lives in its store, so that who loses the
store is a new server: a *blank* one, which must not contradict what it may have said under its
old key. A payee may still hold that. So it signs nothing but what it adopts, until it has read
what all but f of its trusted servers have.

Who starts over a store of its own asks first whether it is the newest: one that was put back
from a copy has lost votes as well. Tests: tests/model/README.rst says what falls without this.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from billots.holding import Holding, Status, Vote
from billots.ledger import Ledger
from billots.node.trust import Trust
from billots.quorum import liars_max

log = logging.getLogger("billots.memory")

WAKE_S = 3.0
"""How long a server that starts waits for those who may know better."""
_CLEARED_MAX = 100_000
_UNREAD_MAX = 10_000
_READ, _UNREAD = "read", "unread"


class Phase(Enum):
    """What a server may say."""

    WAKING = "waking"
    """Nothing: others may have newer votes under its key."""
    BLANK = "blank"
    """What it adopted, and what all but f of the others were asked about one by one."""
    READY = "ready"


class Word(Enum):
    """What a server without its memory may say first of a billot, where it joins nobody."""

    FREE = "free"
    WAIT = "wait"


class Memory:
    """How far a server has got with knowing what it may say.

    `targets` says how far the feed of each trusted server (by key) went when we first
    followed it, which is how far it has to be read.
    """

    def __init__(self, ledger: Ledger, trust: Trust) -> None:
        self._ledger = ledger
        self._trust = trust
        self._since: float | None = None
        self._waited = self._news = False
        self._heard: set[str] = set()
        self._cleared: OrderedDict[str, None] = OrderedDict()
        self._read: set[str] = set()
        self.targets: dict[str, int] = {}
        self._live: set[str] = set()
        self.phase = Phase.READY
        self._just_read = False
        self._just_cleared: set[str] = set()
        unread = ledger.store.meta(_UNREAD) or b""
        self.unread = dict.fromkeys(unread.decode().split())
        """Billots of which it may not speak first though it has read: two sides have votes."""
        used = ledger.lsn or (self._has_read and ledger.store.meta("key"))
        if trust.n > 1 and used:  # an empty store may be an old copy, too
            self.phase = Phase.WAKING
        elif trust.n > 1 and not self._has_read:
            self.phase = Phase.BLANK
            log.info(
                "a new server: it reads the trusted servers' feeds before it votes, %d of %d",
                self.must_read,
                trust.n - 1,
            )
        elif trust.n == 1 and not self._has_read:
            ledger.put_meta(_READ, b"1")  # it can't lose what nobody else has

    @property
    def _has_read(self) -> bool:
        return self._ledger.store.meta(_READ) is not None

    @property
    def must_read(self) -> int:
        """How many of the others it reads before its first word: all but f."""
        return self._trust.n - 1 - liars_max(self._trust.n)

    @property
    def is_reading(self) -> bool:
        """Whether it has still to read what the others have."""
        return self.phase is not Phase.READY and not self._has_read

    # -- waking -------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When `tick` has something to do."""
        if self.phase is Phase.READY:
            return None
        if self._since is None or self._news:
            return 0.0
        return None if self._waited else self._since + WAKE_S

    def tick(self, now: float) -> bool:
        """Time has passed; whether it woke up."""
        if self.phase is Phase.READY:
            return False
        if self._since is None:
            self._since = now
            if self.phase is Phase.WAKING:
                log.info(
                    "asking the trusted servers for newer votes under this server's key: "
                    "it signs nothing until %d of %d have answered",
                    self.must_read,
                    self._trust.n - 1,
                )
        late = now >= self._since + WAKE_S
        is_first, self._waited, self._news = late and not self._waited, late, False
        if self.phase is Phase.WAKING and self._has_heard_enough:
            self.phase = Phase.READY if self._has_read or self._trust.n == 1 else Phase.BLANK
            log.info("they have none")
            return True
        if is_first:
            self._log_waiting()
        return False

    @property
    def _has_heard_enough(self) -> bool:
        return self._trust.n == 1 or len(self._heard & self._trust.keys) >= self._enough

    @property
    def _enough(self) -> int:
        # q-1 others: without them no vote of ours could settle anything, so that nothing is lost
        # by waiting for them. Below that we wait on, whatever the clock says.
        return self._trust.quorum - 1 if self._waited else self.must_read

    def _log_waiting(self) -> None:
        """A server that is silent looks like a broken one to who runs it."""
        if self.phase is Phase.WAKING:
            log.warning(
                "this server signs nothing yet: %d of the %d trusted servers that it needs answer",
                len(self._heard & self._trust.keys),
                self._enough,
            )
        elif not self.is_through:
            log.warning(
                "this server votes only with others yet: it has read %d of the %d feeds it needs",
                len(self.readers),
                self.must_read,
            )

    def heard(self, key: str) -> None:
        """A trusted server has shown the newest feed batch that it has of us: not above ours."""
        self._heard.add(key)
        self._news = True

    # -- reading ------------------------------------------------------------------------------

    def follow(self, key: str, lsn: int, received: int) -> None:
        """The feed of a trusted server goes up to `lsn` now, and we have `received` that far.

        A billot that moves while we read gives way to a row further on, so that having read up
        to where the feed stood at the start may leave it out. What has been read is complete
        if at one moment we had all that there was.
        """
        if key not in self._live:
            self.targets[key] = max(lsn, self.targets.get(key, 0))
            if received >= lsn:
                self._live.add(key)

    def forget(self, key: str) -> None:
        """Some of its feed has to be read once more."""
        self._live.discard(key)

    def is_live(self, key: str) -> bool:
        """Whether we had all of its feed at one moment since the start."""
        return key in self._live

    def has_read(self, key: str) -> None:
        """The feed of a trusted server is dealt with up to its target."""
        if key not in self._read:
            self._read.add(key)
            log.info("read %d of %d feeds", len(self._read & self._trust.keys), self.must_read)

    def to_read(self) -> list[str]:
        """Whose feeds are still to be read."""
        if self.phase is not Phase.BLANK:
            return []
        return [key for key in self.targets if key not in self._read]

    @property
    def readers(self) -> frozenset[str]:
        """Those whose feeds have been read."""
        return self._trust.keys & self._read

    @property
    def is_through(self) -> bool:
        """Whether a blank server has read enough to speak of what it has no record of."""
        return self.phase is Phase.BLANK and len(self.readers) >= self.must_read

    def finish(self, unread: Iterable[str]) -> bool:
        """All is read; `unread` are billots of which it may still not speak first."""
        left = dict.fromkeys(unread)
        if len(left) > _UNREAD_MAX:
            return False
        self.phase, self.unread = Phase.READY, left
        self._just_read = True
        self._cleared.clear()
        self._ledger.put_meta(_READ, b"1")
        self._note_unread()
        log.info("the feeds are read: this server votes and speaks like the others")
        return True

    def _note_unread(self) -> None:
        self._ledger.put_meta(_UNREAD, " ".join(self.unread).encode())

    # -- one billot ---------------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Whether it may vote on every billot, as almost always."""
        return self.phase is Phase.READY and not self.unread

    def may_vote(self, billot: str) -> bool:
        """Whether a first vote on a billot's next seq can't contradict what was forgotten."""
        if self.phase is Phase.READY:
            return not self.unread or billot not in self.unread
        return self.phase is Phase.BLANK and billot in self._cleared

    def silent(self, billots: Sequence[str]) -> list[str]:
        """Those of which nothing may be said yet, not even that they never moved."""
        if self.phase is Phase.WAKING:
            return list(billots)
        if self.is_free and not self._just_read and not self._just_cleared:
            return []
        uncertain = [
            billot
            for billot in billots
            if self._just_read or billot in self._just_cleared or not self.may_vote(billot)
        ]
        # Not the store's word: a batch may lie there that isn't known to be on disk yet.
        said = self._ledger.holdings(uncertain)
        return [billot for billot, holding in zip(uncertain, said, strict=True) if not holding.seq]

    def committed(self) -> None:
        """What was learned of others in this round is on disk: it may be spoken of."""
        self._just_read = False
        self._just_cleared.clear()

    def clear(self, billot: str) -> None:
        """It is known what others have of this billot: votes on it are free from now on."""
        self._just_cleared.add(billot)
        if self.phase is Phase.BLANK:
            self._cleared[billot] = None
            if len(self._cleared) > _CLEARED_MAX:
                self._cleared.popitem(last=False)  # it can be asked for again
        elif billot in self.unread:
            del self.unread[billot]
            self._note_unread()

    def first_word(
        self, present: Holding, said: Mapping[str, tuple[int, Vote] | None]
    ) -> Vote | Word:
        """What may be said first of a billot, given what others `said` newest (None: no vote).

        With less than `must_read` of them: wait. One side: join it, at the next seq. Nobody
        voted: it is free. Two sides: join neither, even if one says that it is settled, but
        wait until something can be adopted. f of those who spoke may be left out of it: they
        may lie.
        """
        spare = len(said) - self.must_read
        if spare < 0:
            return Word.WAIT
        news = Counter(vote for vote in said.values() if vote is not None and vote[0] > present.seq)
        for (seq, vote), count in news.most_common():
            takeable = (seq, vote.sender) == (present.seq + 1, present.owner)
            if takeable and news.total() - count <= spare and present.status is Status.SETTLED:
                return vote
        return Word.FREE if news.total() <= spare else Word.WAIT

    @property
    def counts(self) -> dict[str, int]:
        """For `info`: how far it has got."""
        return {
            "blank": int(self.phase is not Phase.READY),
            "feeds_read": len(self.readers),
            "unread": len(self.unread),
        }
