"""Rule 3: bundles, handed in by a wallet or relayed by a feed, are judged as the model says.

Every two billots with all that the node can have of each, in both orders, and some threes.
"""

import random
from itertools import product

import pytest
import rules as rule
from played import Played, parts
from rules import ISSUED, Outcome, Status
from translation import billots_of, transfer

ROW = (2, 1, 2)
KINDS = [
    (1, 0, 1, Status.SETTLED),
    (2, 1, 2, Status.HELD),
    (2, 1, 2, Status.SETTLED),
    (2, 1, 3, Status.HELD),
    (2, 1, 3, Status.SETTLED),
    (2, 1, 3, Status.CONTESTED),
    (2, 1, 3, Status.DISPUTED),
    (3, 2, 4, Status.SETTLED),
    ISSUED,
    (1, 0, 3, Status.SETTLED),
    (2, 3, 2, Status.SETTLED),
    (1, 0, 1, Status.HELD),
    (1, 0, 1, Status.CONTESTED),
    (1, 0, 1, Status.DISPUTED),
]
"""What can be held of a billot that `ROW` would move, two for each outcome that has two ways."""
THREES = random.Random(3).sample(list(product(KINDS, repeat=3)), 400)
CASES = [*product(KINDS, repeat=2), *THREES]
FREE = iter(billots_of(sum(map(len, CASES))))
BUNDLES = {tuple(next(FREE) for _ in case): case for case in CASES}
PASSING = {Outcome.TAKE, Outcome.SAME}


def test_every_outcome_is_there():
    assert {rule.judge(ROW, holding) for holding in KINDS} == set(Outcome)


@pytest.fixture
def world():
    """Four servers, so that one more vote than the node's own settles nothing yet."""
    world = Played(4)
    held = {}
    for bundle, case in BUNDLES.items():
        for billot, holding in zip(bundle, case, strict=True):
            held.setdefault(holding, []).append(billot)
    for holding, billots in held.items():
        if holding[3] is Status.DISPUTED:
            seq, sender, *_ = holding
            world.stand((*holding[:3], Status.HELD), 0, billots)
            for part in parts(billots):
                for number in (0, 1):  # and the third may join whom it likes
                    world.feed(number, (seq, sender, 4 + number), *part)
        else:
            world.stand(holding, 5, billots)
    for bundle, case in BUNDLES.items():
        assert tuple(map(world.holding, bundle)) == case
    return world


def after(held, *, relayed):
    """Outcomes, and the holdings that a bundle leaves."""
    outcomes, takes = rule.judge_bundle([ROW] * len(held), held, relayed=relayed)
    left = []
    for outcome, take, holding in zip(outcomes, takes, held, strict=True):
        if take:
            left.append(rule.taken(ROW, 4))
        else:
            conflict = outcome is Outcome.CONFLICT
            left.append(rule.conflicted(ROW, holding) if conflict else holding)
    return outcomes, tuple(left)


def test_handed_in_by_a_wallet(world):
    """Whole or not at all, but for a conflict; the answer names the first row in the way."""
    client = world.server.client(exempt=True)
    waiting = 0
    for bundle, case in BUNDLES.items():
        answer = client.transfer(transfer(ROW, *bundle))
        outcomes, left = after(case, relayed=False)
        assert tuple(map(world.holding, bundle)) == left
        if answer is None:  # it waits for a row that may be settled any moment
            waiting += 1
            assert not set(outcomes) <= PASSING
            assert Outcome.CONFLICT not in outcomes
        elif set(outcomes) <= PASSING:
            assert answer["result"]["accepted"]
        elif Outcome.CONFLICT in outcomes:
            told = ["taken" if o is Outcome.TAKE else o.value for o in outcomes]
            assert answer["error"]["data"]["error"] == "conflicting_transfer"
            assert [row["outcome"] for row in answer["error"]["data"]["rows"]] == told
        else:
            first = next(outcome for outcome in outcomes if outcome not in PASSING)
            assert answer["error"]["data"]["error"] == first.value
    assert waiting
    world.net.run(6)
    refused = client.read()
    assert len(refused) == waiting
    assert all("error" in answer for answer in refused)
    for bundle, case in BUNDLES.items():
        assert tuple(map(world.holding, bundle)) == after(case, relayed=False)[1]


def test_relayed(world):
    """Row by row. The one who relays it has taken all of it, which settles nothing yet."""
    for bundle, case in BUNDLES.items():
        world.feed(2, ROW, *bundle)
        assert tuple(map(world.holding, bundle)) == after(case, relayed=True)[1]
