"""All that can happen to one billot: breadth first, or at random where that is too much.

*Everything ever signed stays usable by anybody later*, so a state is what each honest server
holds and what it ever signed. Liars need no state: they sign every vote and every claim, to
each what suits. Every owner has signed every transfer that there could be, at the start. What
an honest server may do next depends on counts only; who holds messages back or brings them is
covered, because each step may come at any time or never.

Counts are kept four bits wide, one lane for each vote, so that one addition for each server
counts all votes at once.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

import rules as rule
from rules import DESIGN, ISSUE, ISSUED, NOBODY, Holding, Outcome, Rules, Status, Vote

from billots.quorum import liars_max

LANE = 4
_KNOWS, _READ, _FLAGS = 1, 2, 2
FOLLOWED = frozenset({Outcome.TAKE, Outcome.SAME, Outcome.CONFLICT, Outcome.STALE})


class Local(NamedTuple):
    """One server key: what its server holds, and the votes and settled claims ever signed."""

    holding: Holding
    votes: frozenset[Vote] = frozenset()
    claims: frozenset[Vote] = frozenset()


class Breach(StrEnum):
    """The invariants, by what it is called when one doesn't hold."""

    TWO_RECEIPTS = "two receipts at one seq"
    TWO_BRANCHES = "receipts on two branches"
    FINAL_STUCK = "a final payment that an honest server does not follow"
    SETTLED_UNPROVEN = "settled without a quorum"
    SETTLED_TWICE = "two settled holdings at one seq"
    LOSING_BRANCH = "a holding on a branch that was not settled"
    SEQ_FELL = "seq fell"
    VOTED_TWICE = "a first vote contradicted without settling"
    ACROSS_KEYS = "receipts under old and new keys"


PAYEE = frozenset({Breach.TWO_RECEIPTS, Breach.TWO_BRANCHES, Breach.FINAL_STUCK})
"""What costs somebody money; the others are how it comes to that."""


class Table:
    """One honest server's steps, and what is wrong with it; each worked out once."""

    def __init__(self, n: int, liars: int, seqs: int, owners: int, rules: Rules) -> None:
        self.n, self.liars, self.rules = n, liars, rules
        self.votes: list[Vote] = [ISSUE]
        for seq in range(1, seqs + 1):
            before = range(owners if seq > 1 else 1)
            self.votes += [(seq, a, b) for a in before for b in range(owners)]
        self.lane = {vote: LANE * at for at, vote in enumerate(self.votes)}
        self.locals: list[Local] = []
        self.votes_of: list[int] = []  # for each local: lanes that it counts for, with servers
        self.claims_of: list[int] = []
        self.words_of: list[int] = []  # the same with payees
        self.named_of: list[int] = []  # (seq, owner) pairs that were used, one bit each
        self._ids: dict[Local, int] = {}
        self._steps: dict[tuple[int, int, int], list[int]] = {}
        self._wrong: dict[tuple[int, int, int], frozenset[Breach]] = {}
        self._receipts: dict[int, tuple[frozenset[Breach], list[Vote]]] = {}
        ones = sum(1 << lane for lane in self.lane.values())
        self._high = ones << (LANE - 1)
        signed = ones & ~1  # liars sign all but the issue, which nobody doubts
        self.liars_say = signed * liars

        def margin(needed: int) -> int:
            return signed * ((1 << (LANE - 1)) - needed)

        # A count reaches the lane's highest bit exactly if it is enough.
        self._enough_votes = margin(rules.quorum_of_servers(n)) + self.liars_say
        self._enough_claims = margin(rules.claims_needed(n)) + self.liars_say
        self._enough_words = margin(rules.quorum_of_payees(n)) + self.liars_say
        self.start = self.id(Local(ISSUED))

    def id(self, local: Local) -> int:
        """A small number for a local state."""
        known = self._ids.get(local)
        if known is not None:
            return known
        number = self._ids[local] = len(self.locals)
        self.locals.append(local)
        self.votes_of.append(self._lanes(local.votes, self.rules))
        claims = [
            vote
            for vote in self.votes
            if rule.claims_for(local.votes, local.claims, vote, self.rules)
        ]
        self.claims_of.append(sum(1 << self.lane[vote] for vote in claims))
        plain = Rules(votes_name_from=self.rules.votes_name_from)
        self.words_of.append(self._lanes(local.votes, plain))
        self.named_of.append(sum({1 << (8 * seq + owner) for seq, _, owner in local.votes}))
        return number

    def _lanes(self, said: frozenset[Vote], rules: Rules) -> int:
        counted = (v for v in self.votes if any(rule.counts_for(word, v, rules) for word in said))
        return sum(1 << self.lane[vote] for vote in counted)

    def adoptable(self, votes: int, claims: int) -> int:
        """Lanes that a server may settle or adopt, one bit each, given the sums of all."""
        return (votes + self._enough_votes | claims + self._enough_claims) & self._high

    def final(self, words: int) -> int:
        """Lanes for which a payee can have a receipt."""
        return (words + self._enough_words) & self._high

    def reaches(self, bits: int, vote: Vote) -> bool:
        """Whether a vote is among those that are enough."""
        return bool(bits >> (self.lane[vote] + LANE - 1) & 1)

    # -- steps --------------------------------------------------------------------------------

    def steps(self, at: int, adoptable: int, named: int, *, blank: bool = False) -> list[int]:
        """Where one server can get in one step. A blank one takes nothing yet."""
        key = (at << 1 | blank, adoptable, named)
        known = self._steps.get(key)
        if known is None:
            local = self.locals[at]
            after = {
                self.id(nxt)
                for vote in self.votes[1:]
                if self._may_name(vote, named)
                for nxt in self._meet(local, vote, adoptable, blank=blank)
            }
            known = self._steps[key] = sorted(after - {at})
        return known

    def _may_name(self, vote: Vote, named: int) -> bool:
        """Owners of one seq are named in the order in which honest servers vote for them."""
        seq, _, owner = vote
        return owner == 0 or bool(named >> (8 * seq + owner - 1) & 1)

    def _meet(self, local: Local, vote: Vote, adoptable: int, *, blank: bool) -> Iterator[Local]:
        """A transfer comes to a server, or what settles it."""
        if not blank:
            outcome = rule.judge(vote, local.holding, self.rules)
            if outcome is Outcome.TAKE:
                yield spoken(local, rule.taken(vote, self.n))
            elif outcome is Outcome.CONFLICT:
                after = rule.conflicted(vote, local.holding, self.rules)
                if rule.vote_of(after) != rule.vote_of(local.holding):
                    yield spoken(local, after)  # contested is as held: see test_unsettled
        if self.reaches(adoptable, vote):
            yield spoken(local, rule.adopt(vote, local.holding, self.rules))

    # -- invariants ---------------------------------------------------------------------------

    def receipts(self, final: int) -> tuple[frozenset[Breach], list[Vote]]:
        """Which votes are final, and what is wrong with that."""
        known = self._receipts.get(final)
        if known is None:
            votes = [vote for vote in self.votes[1:] if self.reaches(final, vote)]
            wrong = set()
            for one in votes:
                for other in votes:
                    if one[0] == other[0] and one != other and not self._merged(one, other):
                        wrong.add(Breach.TWO_RECEIPTS)
                    if one[0] == other[0] + 1 and one[1] != other[2]:
                        wrong.add(Breach.TWO_BRANCHES)
            known = self._receipts[final] = (frozenset(wrong), votes)
        return known

    def _merged(self, one: Vote, other: Vote) -> bool:
        return not self.rules.votes_name_from and one[2] == other[2]

    def wrong(self, at: int, final: int, proven: int = 0) -> frozenset[Breach]:
        """What is wrong with one honest server, given what is final under the keys that it
        knows, and what was proven under others."""
        key = (at, final, proven)
        known = self._wrong.get(key)
        if known is None:
            found = self._judge_local(self.locals[at], final, final | proven)
            known = self._wrong[key] = frozenset(found)
        return known

    def _judge_local(self, local: Local, final: int, proven: int) -> Iterator[Breach]:
        seq, sender, _, status = local.holding
        vote = rule.vote_of(local.holding)
        _, receipts = self.receipts(proven)
        _, shown = self.receipts(final)
        if seq and status is Status.SETTLED and vote not in receipts:
            yield Breach.SETTLED_UNPROVEN
        if seq > 1 and not any(v[0] == seq - 1 and v[2] == sender for v in receipts):
            yield Breach.LOSING_BRANCH
        if any(word[0] > seq for word in local.votes):
            yield Breach.SEQ_FELL
        for at in {word[0] for word in local.votes}:
            said = {word for word in local.votes if word[0] == at}
            if len(said - (local.claims & set(receipts))) > 1 or len(said) > 2:
                yield Breach.VOTED_TWICE
        if any(not self._follows(local.holding, receipt, receipts) for receipt in shown):
            yield Breach.FINAL_STUCK

    def _follows(self, holding: Holding, receipt: Vote, receipts: list[Vote]) -> bool:
        """A payee shows its receipt, then spends: the server must be on its side."""
        after = rule.adopt(receipt, holding, self.rules)
        seq, _, owner = receipt
        if rule.judge((seq + 1, owner, 0), after, self.rules) not in FOLLOWED:
            return False
        if after[0] > seq + 1:
            return any(r[0] == seq + 1 and r[1] == owner for r in receipts)
        return after[0] == seq + 1 or after == (*receipt, Status.SETTLED)


def spoken(local: Local, holding: Holding) -> Local:
    """A server that holds this has said so, and that it is settled if it is."""
    vote = frozenset({rule.vote_of(holding)} - {ISSUE})
    settled = vote if holding[3] is Status.SETTLED else frozenset()
    return Local(holding, local.votes | vote, local.claims | settled)


# -- worlds -----------------------------------------------------------------------------------


class World:
    """n servers, f of them liars, nobody loses memory. A state: the honest ones, sorted."""

    def __init__(
        self,
        n: int,
        *,
        seqs: int,
        liars: int | None = None,
        owners: int = 2,
        rules: Rules = DESIGN,
    ) -> None:
        liars = liars_max(n) if liars is None else liars
        self.honest = n - liars
        self.table = Table(n, liars, seqs, owners, rules)

    @property
    def start(self) -> Hashable:
        return (self.table.start,) * self.honest

    def sums(self, state: tuple[int, ...]) -> tuple[int, int, int, int]:
        table = self.table
        votes = claims = words = named = 0
        for at in state:
            votes += table.votes_of[at]
            claims += table.claims_of[at]
            words += table.words_of[at]
            named |= table.named_of[at]
        return votes, claims, words, named

    def visit(self, state: tuple[int, ...]) -> tuple[set[Breach], list[tuple[int, ...]]]:
        """What is wrong in a state, and where it can go."""
        table = self.table
        votes, claims, words, named = self.sums(state)
        adoptable, final = table.adoptable(votes, claims), table.final(words)
        wrong = set(table.receipts(final)[0])
        after = []
        before = None
        for index, at in enumerate(state):
            if at == before:  # the same server state again: the same steps
                continue
            before = at
            wrong |= table.wrong(at, final)
            rest = state[:index] + state[index + 1 :]
            after += [tuple(sorted((*rest, nxt))) for nxt in table.steps(at, adoptable, named)]
        return wrong, after

    def shown(self, state: tuple[int, ...]) -> str:
        return " | ".join(_shown(self.table.locals[at]) for at in state)


class Fault(NamedTuple):
    """One server that loses its memory, once.

    `kind`: `wiped`, or `restored` from a copy of any earlier moment. `accepted`: the others
    (and payees) take its new key `at once`, or `one by one`, each whenever it likes. `quiet`:
    only while what it holds is settled, so that no vote of its old key is still under way.
    `reads`: the others `at one moment`, or `one by one`, and adopts and goes on meanwhile; what
    it read of one may be old by the time it speaks.
    """

    kind: str = "wiped"
    accepted: str = "at once"
    quiet: bool = False
    reads: str = "at one moment"


class Memory(NamedTuple):
    """The server that loses its memory. `old`, `copy`: a local state, or -1.

    `seen`: what it read of others so far, one by one.
    """

    now: int
    blank: bool = False
    old: int = -1
    copy: int = -1
    seen: tuple[Holding, ...] = ()


Faulty = tuple[tuple[int, ...], Memory]


class FaultyWorld(World):
    """n servers, one of which loses its memory; with n ≥ 4 it is one of the f.

    An ordinary server is 4 × its local state, + 1 once it has accepted the new key, + 2 once it
    has been read by the one that lost its memory.
    """

    def __init__(self, n: int, fault: Fault, *, liars: int = 0, **options: object) -> None:
        super().__init__(n, liars=liars, **options)  # type: ignore[arg-type]
        self.n, self.fault = n, fault
        self.rules = self.table.rules
        self.retired_counts = n >= self.rules.retired_keys_count_from_n
        self.one_key = self.retired_counts or not self.rules.new_memory_new_key

    @property
    def start(self) -> Hashable:
        return (self.table.start << _FLAGS,) * (self.honest - 1), Memory(self.table.start)

    def _of(self, lanes: list[int], memory: Memory, *, new: bool) -> int:
        """What the faulty server's entry in a list counts for."""
        if memory.old < 0:
            return lanes[memory.now]
        if self.one_key:
            return lanes[memory.old] | lanes[memory.now]
        return lanes[memory.now if new else memory.old]

    def visit(self, state: Faulty) -> tuple[set[Breach], list[Faulty]]:
        table, (servers, memory) = self.table, state
        lost = memory.old >= 0
        votes, claims, words, named = self.sums(tuple(at >> _FLAGS for at in servers))
        named |= table.named_of[memory.now] | (table.named_of[memory.old] if lost else 0)
        adoptable, final = [], []
        for new in (False, True):
            all_votes = votes + self._of(table.votes_of, memory, new=new)
            all_claims = claims + self._of(table.claims_of, memory, new=new)
            adoptable.append(table.adoptable(all_votes, all_claims))
            final.append(table.final(words + self._of(table.words_of, memory, new=new)))
        wrong = self._wrong(servers, memory, final)
        after: list[Faulty] = []
        before = None
        for index, at in enumerate(servers):
            if at == before:
                continue
            before = at
            rest = servers[:index] + servers[index + 1 :]
            new = at & _KNOWS
            steps = table.steps(at >> _FLAGS, adoptable[new], named)
            nexts = [nxt << _FLAGS | at & (_KNOWS | _READ) for nxt in steps]
            if lost and not new:
                nexts.append(at | _KNOWS)
            after += [(tuple(sorted((*rest, nxt))), memory) for nxt in nexts]
        for nxt in table.steps(memory.now, adoptable[1], named, blank=memory.blank):
            blank = memory.blank and self.rules.adopting_is_not_reading
            after.append((servers, memory._replace(now=nxt, blank=blank)))
        after += self._lose(servers, memory) if not lost else []
        after += self._first_words(servers, memory) if memory.blank else []
        return wrong, after

    def _wrong(self, servers: tuple[int, ...], memory: Memory, final: list[int]) -> set[Breach]:
        table = self.table
        wrong: set[Breach] = set()
        for bits in set(final):
            wrong |= table.receipts(bits)[0]
        if table.receipts(final[0] | final[1])[0] - wrong:
            wrong.add(Breach.ACROSS_KEYS)
        settled = set()
        for at in [*servers, memory.now << _FLAGS | _KNOWS]:
            # What was proven under the old keys stays proven.
            wrong |= table.wrong(at >> _FLAGS, final[at & _KNOWS], final[0] | final[1])
            holding = table.locals[at >> _FLAGS].holding
            settled |= {rule.vote_of(holding)} if holding[3] is Status.SETTLED else set()
        if len({vote[0] for vote in settled}) < len(settled):
            wrong.add(Breach.SETTLED_TWICE)
        return wrong

    def _lose(self, servers: tuple[int, ...], memory: Memory) -> Iterator[Faulty]:
        """The memory is lost, now; or a copy is made that will be restored."""
        table = self.table
        if self.fault.kind == "restored" and memory.copy < 0:
            yield servers, memory._replace(copy=memory.now)
            return
        if self.fault.quiet and table.locals[memory.now].holding[3] is not Status.SETTLED:
            return
        holding = ISSUED if memory.copy < 0 else table.locals[memory.copy].holding
        waits = self.rules.blank_waits and (self.rules.copy_waits or not holding[0])
        local = Local(holding)
        now = table.id(local if waits else spoken(local, holding))
        known = self.fault.accepted == "at once"
        servers = tuple(sorted(at | known for at in servers))
        yield servers, Memory(now, blank=waits, old=memory.now)

    def _first_words(self, servers: tuple[int, ...], memory: Memory) -> Iterator[Faulty]:
        """It reads those whom it has to read, and speaks if that lets it."""
        # Liars among those it reads say what suits: then it has read fewer.
        honest = rule.must_read(self.n, self.rules) - self.table.liars
        if self.fault.reads == "at one moment":
            for read in set(combinations(servers, honest)):
                yield from self._speak(servers, memory, [self._heard(at) for at in read])
            return
        for index, at in enumerate(servers):
            if not at & _READ:
                others = servers[:index] + servers[index + 1 :]
                seen = tuple(sorted((*memory.seen, self._heard(at))))
                yield tuple(sorted((*others, at | _READ))), memory._replace(seen=seen)
        for read in set(combinations(memory.seen, honest)):
            yield from self._speak(servers, memory, read)

    def _heard(self, at: int) -> Holding:
        """What a server says that is read. Its status is of interest to one mutant only."""
        holding = self.table.locals[at >> _FLAGS].holding
        if self.rules.blank_joins == "settled side":
            return holding
        return (*rule.vote_of(holding), Status.HELD)

    def _speak(
        self, servers: tuple[int, ...], memory: Memory, read: Sequence[Holding]
    ) -> Iterator[Faulty]:
        table = self.table
        local = table.locals[memory.now]
        unread = tuple(sorted(at & ~_READ for at in servers))
        for holding in rule.first_words(local.holding, read, self.n, self.rules):
            now = table.id(spoken(local, holding))
            yield unread, memory._replace(now=now, blank=False, seen=())

    def shown(self, state: Faulty) -> str:
        table, (servers, memory) = self.table, state
        text = " | ".join(
            _shown(table.locals[at >> _FLAGS])
            + (" new key known" if at & _KNOWS else "")
            + (" read" if at & _READ else "")
            for at in servers
        )
        lost = f", old key {_shown(table.locals[memory.old])}" if memory.old >= 0 else ""
        copy = f", copy {_shown(table.locals[memory.copy])}" if memory.copy >= 0 else ""
        blank = "blank, " if memory.blank else ""
        return f"{text} || x: {blank}{_shown(table.locals[memory.now])}{lost}{copy}"


def _shown(local: Local) -> str:
    seq, sender, owner, status = local.holding
    said = ",".join(f"{word[0]}:{word[1]}>{word[2]}" for word in sorted(local.votes))
    at = f"{seq}:{'-' if sender == NOBODY else sender}>{owner} {status.value}"
    return f"{at} said[{said}]"


# -- exploring --------------------------------------------------------------------------------


@dataclass
class Report:
    """What an exploration came to. A trace leads from the start to the first breach."""

    states: int = 0
    steps: int = 0
    complete: bool = False
    seconds: float = 0.0
    breaches: dict[Breach, list[str]] = field(default_factory=dict)


def exhaust(
    world: World, *, until: frozenset[Breach] = frozenset(), states_max: int = 10_000_000
) -> Report:
    """Visit every state, breadth first; stop once all of `until` are found."""
    report = Report()
    begun = time.process_time()
    parents: dict[Hashable, Hashable] = {world.start: None}
    queue = deque(parents)
    while queue and len(parents) <= states_max:
        state = queue.popleft()
        wrong, after = world.visit(state)
        report.steps += len(after)
        for breach in wrong - report.breaches.keys():
            report.breaches[breach] = _trace(world, parents, state)
        if until and until <= report.breaches.keys():
            break
        for nxt in after:
            if nxt not in parents:
                parents[nxt] = state
                queue.append(nxt)
    report.complete = not queue
    report.states = len(parents)
    report.seconds = time.process_time() - begun
    return report


def _trace(world: World, parents: dict[Hashable, Hashable], state: Hashable) -> list[str]:
    trace = []
    at: Hashable | None = state
    while at is not None:
        trace.append(world.shown(at))
        at = parents[at]
    return trace[::-1]


def walk(world: World, *, seed: int, steps: int, until: frozenset[Breach] = frozenset()) -> Report:
    """Random histories, each to its end, for so many steps in all."""
    report = Report()
    begun = time.process_time()
    draw = random.Random(seed)
    seen: set[Hashable] = set()
    state, trace = world.start, [world.start]
    while report.steps < steps:
        report.steps += 1
        seen.add(state)
        wrong, after = world.visit(state)
        for breach in wrong - report.breaches.keys():
            report.breaches[breach] = [world.shown(at) for at in trace]
        if until and until <= report.breaches.keys():
            break
        if after:
            state = draw.choice(after)
            trace.append(state)
        else:
            state, trace = world.start, [world.start]
    report.states = len(seen)
    report.seconds = time.process_time() - begun
    return report
