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
from rules import DESIGN, ISSUED, Rules, Status
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
    *product([2], [1, 2], [1, 2], [HELD, SETTLED]),
    *product([3], [1, 2], [1], [HELD, SETTLED]),
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


def carried(n, own, answers, order, rules=DESIGN):
    """What the model comes to, if answers come in this order with their bodies."""
    mind = Mind(n, own, rules)
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
    if after != alone:  # more than f lie, and both sides have enough claims: the first one has it
        words = [rule.words_of(answer) for answer in answers if answer]
        both = [rule.adoptable((), words, holding[:3], n) for holding in (after, alone)]
        assert (both, after[0]) == ([True, True], alone[0]), (own, answers, order)
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


def drawn(n, count, draw):
    """Cases at random; in half of them the others have few opinions, so that some agree."""
    for at in range(count):
        few = draw.sample(SAID, draw.choice([2, 3])) if at % 2 else SAID
        yield draw.choice(OWN), draw.choices(few, k=n - 1)


@pytest.fixture(scope="module", params=[4, pytest.param(7, marks=pytest.mark.slow)])
def consults(request):
    """Consults of a node with n servers, any order of answers; some of the others are silent."""
    n = request.param
    draw = random.Random(n)
    found = []
    for silent in (0, 0, 0, 0, 0, 1, 1, 2):
        quiet = dict.fromkeys(draw.sample(range(n - 1), silent))
        cases = list(drawn(n, 1200 // n, draw))
        found += consult(Played(n), cases, quiet, draw)
    return n, found


@pytest.mark.slow
def test_consults_of_more(consults):
    n, found = consults
    alone = [agrees(n, *case) for case in found]
    assert {case[3][3] for case in found} == set(Status)
    assert alone.count(True) > len(alone) / 2


LOOSER = {
    "settle at q-1": Rules(quorum="one less"),
    "settle by one claim": Rules(claims="one"),
    "spend unsettled": Rules(only_settled_is_spent=False),
    "let seq fall": Rules(seq_never_falls=False),
    "drop the first vote": Rules(first_vote_for_ever=False),
    "forget from": Rules(votes_name_from=False),
    "count seq+1 for its from": Rules(next_counts="for its from"),
    "count seq+1 for anybody": Rules(next_counts="for anybody"),
}


@pytest.mark.parametrize("name", LOOSER)
def test_another_rule_would_be_noticed(consults, name):
    """The cases tell the design's rules from each that was tried and fell."""
    n, found = consults
    assert any(after != carried(n, *case, LOOSER[name]).holding for *case, after in found)
