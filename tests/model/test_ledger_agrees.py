"""Every transition of section 5's table: `billots.ledger` and the model's functions, one by one.

Each holding of a small domain lies on a billot of its own in one ledger, so that one transfer
over all of them compares a row of the table with every holding at once.
"""

import copy
from itertools import product

import pytest
import rules as rule
from network import NET
from rules import ISSUED, Outcome, Status
from translation import billots_of, small, unsigned

from billots.ledger import Ledger
from billots.store import Memory, MemoryStore

OWNERS = range(4)
HOLDINGS = [ISSUED, *product(range(1, 4), OWNERS, OWNERS, Status)]
ROWS = list(product(range(5), OWNERS, OWNERS))
VOTES = ROWS[16:]  # nobody votes at seq 0
BILLOTS = dict(zip(billots_of(len(HOLDINGS)), HOLDINGS, strict=True))
UNSETTLED = {b: h for b, h in BILLOTS.items() if h[3] is not Status.SETTLED}


def commit(ledger):
    ledger.store.commit(ledger.batch())
    ledger.committed()


def settle(ledger, vote, billots):
    """What a node does with what a quorum is known to have; the ledger lets it rise only."""
    ours = {b for b in billots if small(ledger.present(b))[:3] == vote}
    for billot in ours:
        ledger.settle(billot)
        ledger.mark(billot)
    others = [billot for billot in billots if billot not in ours]
    if others:
        ledger.adopt(unsigned(vote, others), others)
        for billot in others:
            ledger.mark(billot)


def by_vote(billots, at=lambda holding: holding[:3]):
    """Billots by the vote that brings them where they are to be."""
    found = {}
    for billot, holding in billots.items():
        found.setdefault(at(holding), []).append(billot)
    return found.items()


def prepare(ledger):
    """Every holding of the domain, each as it comes about: adopted, or taken and contested."""
    at_rest = {b: h for b, h in BILLOTS.items() if b not in UNSETTLED and h[0]}
    for vote, billots in by_vote(at_rest):
        settle(ledger, vote, billots)
    under_way = {b: h for b, h in UNSETTLED.items() if h[0] > 1}
    for vote, billots in by_vote(under_way, lambda h: (h[0] - 1, 0, h[1])):
        settle(ledger, vote, billots)
    commit(ledger)
    for vote, billots in by_vote(UNSETTLED):
        ledger.take(unsigned(vote, billots), billots, here=False)
    for billot, holding in UNSETTLED.items():
        if holding[3] is not Status.HELD:
            ledger.contest(billot, hopeless=holding[3] is Status.DISPUTED)
    return ledger


@pytest.fixture(scope="module")
def disk():
    memory = Memory()
    commit(prepare(Ledger(NET, MemoryStore(NET, memory), alone=False)))
    return memory


@pytest.fixture
def opened(disk):
    """A ledger that finds every holding of the domain on its disk; a new one at each call."""

    def open_it(*, alone=False):
        memory = Memory()
        memory._values, memory._keys = dict(disk._values), copy.deepcopy(disk._keys)
        return Ledger(NET, MemoryStore(NET, memory), alone=alone)

    return open_it


def held(ledger):
    """What is held of every billot of the domain, as the model has it."""
    return {billot: small(ledger.present(billot)) for billot in BILLOTS}


def judged_alike(ledger):
    for row in ROWS:
        outcomes = ledger.judge(unsigned(row, list(BILLOTS)))
        assert [Outcome(outcome.value) for outcome in outcomes] == [
            rule.judge(row, holding) for holding in HOLDINGS
        ]
    return len(ROWS) * len(HOLDINGS)


def test_judge(opened):
    """From the disk, and in the round itself, before anything of it is there."""
    assert judged_alike(opened()) == 15_440
    fresh = prepare(Ledger(NET, MemoryStore(NET, Memory()), alone=False))
    assert held(fresh) == BILLOTS
    judged_alike(fresh)


@pytest.mark.parametrize("n", [1, 3])
def test_take(opened, n):
    """Each row that is judged `take`; after a restart it is the same."""
    count = 0
    for row in VOTES:
        ledger = opened(alone=n == 1)
        takes = [b for b, h in BILLOTS.items() if rule.judge(row, h) is Outcome.TAKE]
        if not takes:
            continue
        count += len(takes)
        ledger.take(unsigned(row, takes), takes, here=True)
        after = BILLOTS | dict.fromkeys(takes, rule.taken(row, n))
        assert held(ledger) == after
        commit(ledger)
        assert held(ledger) == after
        assert held(Ledger(NET, ledger.store, alone=n == 1)) == after
    assert count == 49 * len(OWNERS)


def test_nothing_else_is_taken(opened):
    """The ledger itself insists on the seq and on what is settled."""
    for row in VOTES:
        ledger = opened()
        for billot, holding in BILLOTS.items():
            if row[0] != holding[0] + 1 or holding[3] is not Status.SETTLED:
                with pytest.raises(AssertionError):
                    ledger.take(unsigned(row, [billot]), [billot], here=True)
        assert held(ledger) == BILLOTS


def test_conflict(opened):
    """What is disputed the node does not ask about (test_bundles_agree.py)."""
    count = 0
    for row in ROWS:
        ledger = opened()
        for billot, holding in BILLOTS.items():
            if rule.judge(row, holding) is Outcome.CONFLICT and holding[3] is not Status.DISPUTED:
                after = rule.conflicted(row, holding)
                assert ledger.contest(billot) == (after != holding)
                assert small(ledger.present(billot)) == after
                count += 1
    assert count == 3 * 48 * 3


@pytest.mark.parametrize("verdict", [Status.CONTESTED, Status.DISPUTED])
def test_verdict(opened, verdict):
    """A verdict is of unsettled holdings; those that are settled stand."""
    ledger = opened()
    for billot, holding in BILLOTS.items():
        after = holding if holding[3] is Status.SETTLED else (*holding[:3], verdict)
        assert ledger.contest(billot, hopeless=verdict is Status.DISPUTED) == (after != holding)
        assert small(ledger.present(billot)) == after
    commit(ledger)
    assert held(Ledger(NET, ledger.store, alone=False)) == held(ledger)


def test_settle_and_adopt(opened):
    """Where the model says that nothing changes, the ledger refuses: nobody may ask it to."""
    count = 0
    for vote in VOTES:
        ledger = opened()
        after = {billot: rule.adopt(vote, holding) for billot, holding in BILLOTS.items()}
        stands = {b: h for b, h in BILLOTS.items() if after[b] == h}
        for billot, holding in stands.items():
            if holding[:3] != vote:
                with pytest.raises(AssertionError):
                    ledger.adopt(unsigned(vote, [billot]), [billot])
        settle(ledger, vote, [billot for billot in BILLOTS if billot not in stands])
        assert held(ledger) == after
        commit(ledger)
        assert held(ledger) == after
        assert held(Ledger(NET, ledger.store, alone=False)) == after
        count += len(after)
    assert count == 12_352
