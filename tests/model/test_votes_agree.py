"""Votes, claims and receipts in every order: what the node has is what the model has.

Feed rows are votes, `adopted` rows are claims without a body; what they lack the node asks for.
A receipt is shown by a stranger. As in `test_node_agrees`, each case has its own billot.
"""

import random
from itertools import permutations, product

import pytest
import rules as rule
from mind import Mind
from network import NET, SERVER_KEYS
from played import Played, feed_vote, statement_vote
from rules import DESIGN, ISSUED, Status
from test_node_agrees import OWN
from translation import billots_of, real, transfer

from billots.feed import AdoptedRow, FeedBatch
from billots.receipt import FeedVote, Receipt, SignedVote

HELD, SETTLED = Status.HELD, Status.SETTLED
VOTES = [(1, 0, 1), (1, 0, 2), (2, 1, 1), (2, 1, 2), (2, 2, 1), (3, 2, 2)]
RECEIPT = "a receipt"


# -- feeds, and receipts among them -----------------------------------------------------------


def play(n, cases):
    """Play cases of (own holding, events); returns what the node has of each, now and later.

    An event is (number, vote, whether it is a claim) in the feed of a trusted server, or
    `RECEIPT` in the place of the number. The events of all cases come side by side. Later, the
    node has asked what it lacks.
    """
    world = Played(n)
    billots = dict(zip(billots_of(len(cases)), cases, strict=True))
    for own in OWN:
        mine = [billot for billot, (holding, _) in billots.items() if holding == own]
        world.stand(own, 3 - own[2], mine)
    for at in range(max(len(events) for _, events in cases)):
        feeds = {}
        for billot, (_, events) in billots.items():
            if at < len(events):
                number, vote, claim = events[at]
                if number == RECEIPT:
                    world.settle(transfer(vote, billot))
                else:
                    feeds.setdefault(number, []).append((billot, vote, claim))
        for number, rows in feeds.items():
            world.feed_all(number, rows)
    now = [world.holding(billot) for billot in billots]
    world.net.run(1.1)
    for number, request in world.asked():
        said, bodies = {}, {}
        for billot in request["params"]["billots"]:
            said[billot], bodies[billot] = real(ISSUED), None
            newest = newest_of(number, billots[billot][1])
            if newest is not None:
                said[billot] = real(newest)
                bodies[billot] = transfer(newest[:3], billot)
        world.state(number, request, said, bodies)
    later = [world.holding(billot) for billot in billots]
    return [(*case, *found) for case, *found in zip(cases, now, later, strict=True)]


def newest_of(number, events):
    """What a trusted server holds that has fed these rows."""
    rows = [(vote, claim) for who, vote, claim in events if who == number]
    if not rows:
        return None
    vote, claim = max(rows)
    return (*vote, SETTLED if claim else HELD)


def heard(n, own, events):
    """What the model has after these events."""
    mind = Mind(n, own)
    for number, vote, claim in events:
        if number == RECEIPT:
            mind.settle(vote)
        else:
            mind.hear(number, vote, claim=claim, body=not claim)
    return mind


def asked(n, own, events):
    """What the model has once the others have been asked, too."""
    mind = heard(n, own, events)
    for number in range(n - 1):
        newest = newest_of(number, events)
        if newest is not None:
            mind.hear(number, newest[:3], claim=newest[3] is SETTLED)
    return mind


WORDS = list(product(VOTES, [False, True]))


def two_words():
    """Three servers, every two words, in both orders."""
    pairs = [((0, *one), (1, *other)) for one, other in product(WORDS, repeat=2)]
    return [(own, order) for own in OWN for pair in pairs for order in permutations(pair)]


def word_and_receipt():
    """Three servers, every word and every receipt, in both orders."""
    pairs = product([(0, *word) for word in WORDS], [(RECEIPT, vote, False) for vote in VOTES])
    orders = [order for pair in pairs for order in permutations(pair)]
    return list(product(OWN, orders))


def drawn(n, count):
    """Histories in any order: each of the others votes once at a seq; a receipt now and then."""
    draw = random.Random(n)
    for _ in range(count):
        few = draw.sample(VOTES, draw.choice([2, 3, 4]))
        events = []
        for number, seq in product(range(n - 1), (1, 2, 3)):
            votes = [vote for vote in few if vote[0] == seq]
            if votes and draw.random() < 0.6:
                events.append((number, draw.choice(votes), draw.random() < 0.4))
        if draw.random() < 0.3:
            events.append((RECEIPT, draw.choice(few), False))
        draw.shuffle(events)
        yield draw.choice(OWN), tuple(events)


PLAYS = {
    "two words": (3, two_words),
    "a word and a receipt": (3, word_and_receipt),
    "drawn, of 3": (3, lambda: list(drawn(3, 400))),
    "drawn, of 4": (4, lambda: list(drawn(4, 600))),
    "drawn, of 7": (7, lambda: list(drawn(7, 300))),
}


QUICK = {"two words", "drawn, of 3"}
PARAMS = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PLAYS]


@pytest.fixture(scope="module", params=PARAMS)
def played(request):
    """(n, cases with what the node had of each at once, and when it had asked)."""
    n, cases = PLAYS[request.param]
    return n, play(n, cases())


@pytest.mark.slow
def test_every_order(played):
    """The node has what the model says, and the order matters only to who takes something."""
    n, found = played
    came_to = {}
    for own, events, now, _ in found:
        mind = heard(n, own, events)
        assert now == mind.holding, (own, events)
        if not mind.taken and RECEIPT not in [number for number, *_ in events]:
            came_to.setdefault((own, frozenset(events)), set()).add(now)
    assert all(len(holdings) == 1 for holdings in came_to.values())


def test_what_a_consult_brings_is_adopted(played):
    """Claims without a body: it is asked for, and then they count like all others."""
    n, found = played
    for own, events, _, later in found:
        assert later == asked(n, own, events).holding, (own, events)


# -- what is a receipt ------------------------------------------------------------------------


def adopted_vote(number, vote, billot):
    key, moved = SERVER_KEYS[10 + number], transfer(vote, billot)
    row = AdoptedRow(1, billot, vote[0], moved.sender, moved.to)
    return SignedVote(feed=FeedVote.of(FeedBatch.sign(NET.id, key, [row]), 0))


def said_of(vote, other):
    """What a vote in a receipt may be: itself, in each of its forms, or of something else."""
    return {
        "feed": lambda number, billot: feed_vote(number, transfer(vote, billot)),
        "adopted": lambda number, billot: adopted_vote(number, vote, billot),
        "held": lambda number, billot: statement_vote(number, billot, real((*vote, HELD))),
        "settled": lambda number, billot: statement_vote(number, billot, real((*vote, SETTLED))),
        "other": lambda number, billot: statement_vote(number, billot, real((*other, SETTLED))),
    }


OURS = {
    "feed": lambda vote, billot: feed_vote(0, transfer(vote, billot), own=True),
    "settled": lambda vote, billot: statement_vote(0, billot, real((*vote, SETTLED)), own=True),
}
CLAIMS = {"adopted", "settled"}


def shows(world, case, billot):
    """Show one receipt; whether the node takes it for one, and whether the model does."""
    _, vote, ours, theirs = case
    other = (vote[0], vote[1], 3 - vote[2])
    forms = said_of(vote, other)
    votes = [OURS[ours](vote, billot)] if ours else []
    votes += [forms[form](number, billot) for number, form in enumerate(theirs) if form]
    if not votes:
        return False, False
    words = [[vote] if form != "other" else [other] for form in theirs if form]
    signed = [*words, [vote]] if ours else words
    claims = sum(form in CLAIMS for form in theirs) >= DESIGN.claims_needed(world.n)
    enough = rule.is_receipt(signed, vote, world.n) or claims
    return world.show(Receipt(transfer(vote, billot), tuple(votes))), enough


def compare_receipts(n, cases):
    """A receipt settles what the model says, or it is refused and changes nothing."""
    world = Played(n)
    billots = dict(zip(billots_of(len(cases)), cases, strict=True))
    for own in OWN:
        world.stand(own, 3 - own[2], [b for b, case in billots.items() if case[0] == own])
    good = 0
    for billot, case in billots.items():
        own, vote, *_ = case
        taken, enough = shows(world, case, billot)
        assert taken == enough, case
        good += enough
        after = rule.adopt(vote, own) if enough else own
        assert world.holding(billot) == after, case
    return good


FORMS = [None, "feed", "adopted", "held", "settled", "other"]


def test_every_receipt_of_three():
    shown = [(1, 0, 2), (2, 1, 2)]
    cases = list(product(OWN, shown, [None, *OURS], product(FORMS, repeat=2)))
    assert 0 < compare_receipts(3, cases) < len(cases)


@pytest.mark.parametrize(("n", "count"), [(4, 400), (7, 300)])
def test_receipts_of_more(n, count):
    draw = random.Random(n)
    cases = [
        (
            draw.choice(OWN),
            draw.choice(VOTES),
            draw.choice([None, *OURS]),
            draw.choices(FORMS, k=n - 1),
        )
        for _ in range(count)
    ]
    assert 0 < compare_receipts(n, cases) < len(cases)
