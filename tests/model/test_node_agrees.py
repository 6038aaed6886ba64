"""The node's consults against the model's, answer by answer (rule 4).

In every case the node has a billot of its own in some holding, and the others answer when it
asks. `rules.consult` says what the answers alone come to. A body that comes along is a transfer
as well, which the table may take: `mind.Mind` has both.
"""

import random
from itertools import product

import pytest
import rules as rule
from mind import Mind
from played import Played, parts
from rules import ISSUED, Status
from translation import billots_of, real, transfer

from billots.holding import Holding
from billots.holding import Status as RealStatus

HELD, SETTLED, CONTESTED = Status.HELD, Status.SETTLED, Status.CONTESTED
UNKNOWN = Holding(0, None, None, RealStatus.UNKNOWN)
ERROR = "an error"

OWN = [
    ISSUED,
    (1, 0, 1, SETTLED),
    *product([2], [1], [1, 2], [SETTLED]),
    *product([1], [0], [1], [HELD, CONTESTED]),
    *product([2], [1], [1, 2], [HELD, CONTESTED]),
]
"""What the node can have; where that is contested, the other owner is 1 or 2 as well."""
SAID = [
    None,  # unknown
    ISSUED,
    *product([1], [0], [1, 2], [HELD, SETTLED]),
    *product([2, 3], [1, 2], [1, 2], [HELD, SETTLED]),
    (1, 0, 1, CONTESTED),
    (1, 0, 2, Status.DISPUTED),
]


def consult(world, cases, quiet, draw=None):
    """Play these cases, each on a billot of its own, while some are silent or know an error.

    A case is the node's own holding and an answer for each of the others. Returns each case
    with what the node has then, and the order in which it had the answers.
    """
    billots = dict(zip(billots_of(len(cases)), cases, strict=True))
    for own in OWN:
        mine = [billot for billot, (holding, _) in billots.items() if holding == own]
        world.stand(own, 3 - own[2], mine)
    for part in parts(list(billots)):  # of these moves the node doesn't know the past
        world.server.client(exempt=True).transfer(transfer((9, 4, 5), *part))
    asked = world.asked()
    if draw is not None:
        draw.shuffle(asked)
    orders = {billot: [] for billot in billots}
    for number, request in asked:
        if quiet.get(number) is ERROR:
            world.peers[number].fail(request)
            continue
        if number in quiet:
            continue
        said, bodies = {}, {}
        for billot in request["params"]["billots"]:
            orders[billot].append(number)
            answer = billots[billot][1][number]
            said[billot] = real(answer) if answer else UNKNOWN
            if answer and answer[0]:
                bodies[billot] = transfer(answer[:3], billot)
        world.state(number, request, said, bodies)
    world.net.run(3.1 if quiet else 0)
    return [
        (own, answers, orders[billot], world.holding(billot))
        for billot, (own, answers) in billots.items()
    ]


def carried(n, own, answers, order):
    """What the model comes to, if answers come in this order with their bodies."""
    mind = Mind(n, own)
    for number in order:
        if answers[number]:
            mind.hear(number, answers[number][:3], claim=answers[number][3] is SETTLED)
    return mind


def by_answers_alone(n, own, answers, order):
    """What `rules.consult` says."""
    given = {number: answers[number] for number in order}
    shown = [h for h in given.values() if h and h[:2] == own[:2]]
    pair = own[3] is CONTESTED or any(h[2] != own[2] for h in shown)
    return rule.consult(n, own, given, pair=pair)


def agrees(n, own, answers, order, after):
    """The node has what the model says; returns whether the answers alone were enough."""
    mind = carried(n, own, answers, order)
    assert after == mind.holding, (own, answers, order)
    alone = by_answers_alone(n, own, answers, order)
    if mind.taken:  # then it has a vote more than the model's consult counts
        assert after[0] >= alone[0], (own, answers, order)
        return False
    assert after == alone, (own, answers, order)
    return True


PATTERNS = [{}, {0: None}, {1: None}, {0: ERROR}, {1: ERROR}, {0: None, 1: ERROR}]


@pytest.mark.parametrize("quiet", PATTERNS, ids=str)
def test_every_consult_of_three(quiet):
    """Every own holding, every two answers."""
    said = [SAID if number not in quiet else [None] for number in range(2)]
    cases = list(product(OWN, product(*said)))
    found = [agrees(3, *case) for case in consult(Played(3), cases, quiet)]
    assert len(found) == len(cases)
    assert found.count(True) > len(found) / 2


@pytest.mark.parametrize(("n", "count"), [(4, 400), (7, 150)])
@pytest.mark.parametrize("silent", range(3))
def test_consults_of_more(n, count, silent):
    """Answers drawn at random, in any order; some of the others don't answer at all."""
    draw = random.Random(n * 10 + silent)
    for _ in range(4):
        quiet = dict.fromkeys(draw.sample(range(n - 1), silent))
        cases = [(draw.choice(OWN), draw.choices(SAID, k=n - 1)) for _ in range(count)]
        for case in consult(Played(n), cases, quiet, draw):
            agrees(n, *case)
