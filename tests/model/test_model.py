"""Section 5 of the design, explored: nobody is paid twice, and final stays final.

`README.rst` says what is modelled, what is not, and what was found.
"""

import random
from dataclasses import replace
from itertools import product

import pytest
import rules as rule
from explore import PAYEE, Breach, Fault, FaultyWorld, Local, Table, World, exhaust, walk
from rules import DESIGN, ISSUED, NOBODY, Outcome, Rules, Status
from trace_servers import Cluster
from traces import A, B, C, D, E, amnesia, merge, nameless_from, receipt_rolls_back, stranding

UNSETTLED = [Status.HELD, Status.CONTESTED, Status.DISPUTED]


def holds(report):
    assert report.complete
    assert report.breaches == {}


# -- the functions ----------------------------------------------------------------------------


def all_holdings(seqs=3, owners=2):
    yield ISSUED
    for seq in range(1, seqs + 1):
        for sender, owner, status in product(range(owners), range(owners), Status):
            yield seq, sender, owner, status


def test_unsettled_holdings_differ_in_name_only():
    """Held, contested and disputed decide alike, so that the states need not tell them apart."""
    rows = list(product(range(1, 5), range(2), range(2)))
    for seq, sender, owner in product(range(1, 4), range(2), range(2)):
        alike = [(seq, sender, owner, status) for status in UNSETTLED]
        for row in rows:
            takes = {rule.judge(row, holding) is Outcome.TAKE for holding in alike}
            conflicts = {rule.judge(row, holding) is Outcome.CONFLICT for holding in alike}
            assert len(takes) == len(conflicts) == 1
            assert {rule.vote_of(rule.conflicted(row, h)) for h in alike} == {alike[0][:3]}
            adopted = {rule.adopt(row, h) for h in alike} - set(alike)
            assert len(adopted) == (row[0] >= seq)


def test_the_table_spends_only_what_is_settled():
    for row, holding in product(product(range(1, 5), range(2), range(2)), all_holdings()):
        outcome = rule.judge(row, holding)
        if outcome is Outcome.TAKE:
            assert holding[3] is Status.SETTLED
            assert row[:2] == (holding[0] + 1, holding[2])
        if outcome in {Outcome.SAME, Outcome.CONFLICT}:
            assert row[:2] == holding[:2]
            assert (row[2] == holding[2]) == (outcome is Outcome.SAME)


def test_nothing_settled_is_replaced_and_seq_never_falls():
    for vote, holding in product(product(range(1, 5), range(2), range(2)), all_holdings()):
        after = rule.adopt(vote, holding)
        assert after[0] >= holding[0]
        if holding[3] is Status.SETTLED and after[0] == holding[0]:
            assert after == holding


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_consult_does_what_its_answers_prove_and_no_more(n):
    """Every set of answers: adopt what a quorum or enough claims say, else a true verdict."""
    said = [None, ISSUED, *((1, A, to, s) for to, s in product((0, 1), list(Status)[:2]))]
    for own, pair in product([h for h in said if h], (False, True)):
        for answers in product(said, repeat=n - 1):
            after = rule.consult(n, own, dict(enumerate(answers)), pair=pair)
            given = [h for h in answers if h]
            if after[3] is Status.SETTLED and after != own:
                assert rule.adoptable([own[:3]], map(rule.words_of, given), after[:3], n)
                continue
            assert after[:3] == own[:3]
            here = [h[:3] for h in (own, *given) if h[0] == own[0]]
            best = max(here.count(v) for v in here) + n - len(here)
            if after[3] is Status.DISPUTED:
                assert pair
                assert best < DESIGN.quorum_of_servers(n)
            elif after[3] is Status.CONTESTED:
                assert best >= DESIGN.quorum_of_servers(n)


def test_a_holding_at_the_next_seq_counts_for_nobody():
    own, others = (1, A, B, Status.HELD), {1: (2, C, D, Status.SETTLED), 2: (1, A, C, Status.HELD)}
    assert rule.consult(3, own, others, pair=True) == (1, A, B, Status.CONTESTED)
    named = Rules(next_counts="for its from")
    assert rule.consult(3, own, others, pair=True, rules=named) == (1, A, C, Status.SETTLED)


@pytest.mark.parametrize("n", [3, 4])
def test_disputed_is_true_where_nobody_lies(n):
    """Who finds a billot disputed is right for ever: nobody had it, nobody ever will."""
    world = World(n, seqs=2, liars=0)
    table = world.table

    def disputed(state):
        holdings = [table.locals[at].holding for at in state]
        return {
            own[0]
            for at, own in enumerate(holdings)
            if own[3] is not Status.SETTLED
            and rule.verdict(n, own, holdings[:at] + holdings[at + 1 :]) is Status.DISPUTED
        }

    found = 0
    queue = [world.start]
    seen = {world.start}
    while queue:
        state = queue.pop()
        seqs = disputed(state)
        found += bool(seqs)
        final = table.receipts(table.final(world.sums(state)[2]))[1]
        assert not seqs & {vote[0] for vote in final}
        for nxt in world.visit(state)[1]:
            assert seqs <= disputed(nxt)
            if nxt not in seen:
                seen.add(nxt)
                queue.append(nxt)
    # Two of three always agree once all three have voted, so that only 4 know the case.
    assert bool(found) == (n == 4)


@pytest.mark.parametrize("rules", [DESIGN, Rules(next_counts="for its from"), Rules(claims="one")])
def test_lanes_count_as_the_functions_do(rules):
    """The counting that the exploration does, against the rules said plainly."""
    draw = random.Random(1)
    for n, liars in [(3, 0), (4, 1), (7, 2)]:
        table = Table(n, liars, 2, 2, rules)
        every = table.votes[1:]
        for _ in range(200):
            said = [frozenset(draw.sample(every, draw.randrange(4))) for _ in range(n - liars)]
            claimed = [frozenset(v for v in votes if draw.random() < 0.4) for votes in said]
            ids = [table.id(Local(ISSUED, v, c)) for v, c in zip(said, claimed, strict=True)]
            adoptable = table.adoptable(
                sum(table.votes_of[at] for at in ids), sum(table.claims_of[at] for at in ids)
            )
            final = table.final(sum(table.words_of[at] for at in ids))
            words = [*zip(said, claimed, strict=True), *([(every, every)] * liars)]
            votes = [voted for voted, _ in words]
            for vote in every:
                enough = rule.adoptable((), words, vote, n, rules)
                assert table.reaches(adoptable, vote) == enough
                assert table.reaches(final, vote) == rule.is_receipt(votes, vote, n, rules)


# -- traces that broke earlier rules ----------------------------------------------------------


def played(trace, n, rules=DESIGN, *, liars=0):
    """The servers of a trace after it, under these rules."""
    world = Cluster(n, liars=liars, rules=rules)
    trace(world)
    return world


MERGE = Rules(only_settled_is_spent=False, votes_name_from=False, next_counts="for its from")


def test_merge():
    assert played(merge, 7, liars=2, rules=DESIGN).breaches() == set()
    loose = played(merge, 7, liars=2, rules=MERGE)
    assert Breach.TWO_RECEIPTS in loose.breaches()
    assert {(1, A, B), (1, A, C)} <= set(loose.receipts())


@pytest.mark.parametrize(
    "rule_put_back", [{"only_settled_is_spent": True}, {"next_counts": "for nobody"}]
)
def test_merge_stops_at_either_rule(rule_put_back):
    assert (
        Breach.TWO_RECEIPTS
        not in played(merge, 7, liars=2, rules=replace(MERGE, **rule_put_back)).breaches()
    )


def test_stranding():
    world = played(stranding, 4, liars=1, rules=DESIGN)
    assert world.breaches() == set()
    assert world.hear((1, A, B), "S3") == [True]  # the liar is silent now: by B's receipt
    assert world.take((2, B, D), "S3") == [Outcome.TAKE]

    loose = played(stranding, 4, liars=1, rules=Rules(only_settled_is_spent=False))
    assert loose.hear((1, A, B), "S3") == [False]
    assert loose.take((2, B, D), "S3") == [Outcome.NOT_OWNER]
    assert Breach.FINAL_STUCK in loose.breaches()


def test_receipt_rolls_back():
    assert played(receipt_rolls_back, 3, DESIGN).breaches() == set()
    loose = played(receipt_rolls_back, 3, Rules(seq_never_falls=False))
    assert Breach.TWO_RECEIPTS in loose.breaches()
    assert {(2, B, D), (2, B, E)} <= set(loose.receipts())


def compaction(rules):
    """n=3, {x, y}→B and {y}→D: S3 has y at seq 2 when the bundle reaches it.

    What S3 has of x after all that the others say has reached it, once and again.
    """
    y, x = (2, B, D, Status.SETTLED), ISSUED
    bundle = [(1, A, B), (1, A, B)]
    for _ in range(2):
        outcomes, takes = rule.judge_bundle(bundle, [x, y], relayed=True, rules=rules)
        assert outcomes[1] is Outcome.STALE
        x = rule.taken(bundle[0], 3) if takes[0] else x
        assert not takes[1]
    return x


def test_compaction():
    assert compaction(DESIGN) == (1, A, B, Status.HELD)
    assert compaction(Rules(relayed_row_by_row=False)) == ISSUED


def test_a_wallet_hands_in_all_or_nothing_but_for_a_conflict():
    stale = rule.judge_bundle(
        [(1, A, B), (1, A, B)], [ISSUED, (2, B, D, Status.HELD)], relayed=False
    )
    assert stale == ([Outcome.TAKE, Outcome.STALE], [False, False])
    proven = rule.judge_bundle(
        [(1, A, B), (1, A, B)], [ISSUED, (1, A, C, Status.HELD)], relayed=False
    )
    assert proven == ([Outcome.TAKE, Outcome.CONFLICT], [True, False])


def test_amnesia():
    world = played(amnesia, 3, DESIGN)
    assert world.breaches() == set()
    assert world.receipts(old=True) == [(1, A, B)]
    assert world.receipts() == []

    same_key = played(amnesia, 3, Rules(new_memory_new_key=False, blank_waits=False))
    assert Breach.TWO_RECEIPTS in same_key.breaches()

    # A new key is half of it: without waiting, two payees are paid under two sets of keys.
    hasty = played(amnesia, 3, Rules(blank_waits=False))
    assert (hasty.receipts(old=True), hasty.receipts()) == ([(1, A, B)], [(1, A, C)])


@pytest.mark.parametrize("next_counts", ["for its from", "for anybody"])
def test_nameless_from(next_counts):
    assert played(nameless_from, 4, liars=1, rules=DESIGN).breaches() == set()
    loose = played(nameless_from, 4, liars=1, rules=Rules(next_counts=next_counts))
    assert loose.at["S2"].holding == (2, C, D, Status.SETTLED)
    assert loose.at["S3"].holding == (1, A, C, Status.SETTLED)
    assert {Breach.FINAL_STUCK, Breach.SETTLED_UNPROVEN, Breach.LOSING_BRANCH} <= loose.breaches()


# -- everything that can happen ---------------------------------------------------------------


@pytest.mark.parametrize("seqs", [2, 3])
@pytest.mark.parametrize(("n", "liars"), [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 1)])
def test_every_state(n, liars, seqs):
    holds(exhaust(World(n, liars=liars, seqs=seqs)))


def test_the_number_of_states():
    """As README.rst says, and as it must be: three servers are four with a liar, two quorums."""
    assert exhaust(World(3, seqs=3)).states == exhaust(World(4, seqs=3)).states == 1794
    assert exhaust(World(7, seqs=2)).states == 3112


FAULTS = [
    Fault(kind, accepted)
    for kind in ("wiped", "restored")
    for accepted in ("at once", "one by one")
]
QUIET = [fault._replace(quiet=True) for fault in FAULTS]


def names(fault):
    return f"{fault.kind}, {fault.accepted}"


@pytest.mark.parametrize("fault", QUIET, ids=names)
def test_three_servers_one_of_which_loses_its_memory(fault):
    """No vote of it was under way: all is settled, and the two others were asked."""
    holds(exhaust(FaultyWorld(3, fault, seqs=2)))


@pytest.mark.parametrize("fault", FAULTS, ids=names)
def test_two_servers_one_of_which_loses_its_memory(fault):
    """Any vote may be under way: both must agree, and the other one remembers."""
    holds(exhaust(FaultyWorld(2, fault, seqs=3)))


@pytest.mark.parametrize("fault", QUIET, ids=names)
def test_reading_one_by_one(fault):
    """What it read of one may be old when it speaks, and it may have adopted something since."""
    fault = fault._replace(reads="one by one")
    holds(exhaust(FaultyWorld(3, fault, seqs=2)))
    holds(exhaust(FaultyWorld(2, fault._replace(quiet=False), seqs=3)))


@pytest.mark.slow
def test_four_servers_read_one_by_one():
    holds(exhaust(FaultyWorld(4, Fault(reads="one by one"), seqs=2)))


@pytest.mark.slow
def test_three_servers_read_one_by_one_further_on():
    holds(exhaust(FaultyWorld(3, Fault(quiet=True, reads="one by one"), seqs=3)))


@pytest.mark.parametrize("fault", FAULTS[::2], ids=names)
def test_four_servers_one_of_which_loses_its_memory(fault):
    holds(exhaust(FaultyWorld(4, fault, seqs=2)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS[1::2], ids=names)
def test_four_servers_that_learn_of_it_one_by_one(fault):
    holds(exhaust(FaultyWorld(4, fault, seqs=2)))


@pytest.mark.slow
def test_four_servers_one_of_which_is_wiped_further_on():
    holds(exhaust(FaultyWorld(4, Fault(), seqs=3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "liars", "seqs", "owners"),
    [
        (3, 0, 4, 2),
        (4, 1, 4, 2),
        (4, 0, 4, 2),
        (3, 0, 3, 3),
        (4, 1, 3, 3),
        (4, 0, 3, 3),
        (7, 2, 3, 2),
    ],
)
def test_every_state_further_on(n, liars, seqs, owners):
    holds(exhaust(World(n, liars=liars, seqs=seqs, owners=owners)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", QUIET, ids=names)
def test_three_servers_one_of_which_loses_its_memory_further_on(fault):
    holds(exhaust(FaultyWorld(3, fault, seqs=3)))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "liars"), [(5, 1), (7, 2)])
def test_random_histories(n, liars):
    for seed in range(4):
        assert walk(World(n, liars=liars, seqs=4, owners=3), seed=seed, steps=50_000).breaches == {}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=names)
@pytest.mark.parametrize(("n", "liars"), [(5, 0), (7, 1)])
def test_random_histories_with_a_lost_memory(n, liars, fault):
    world = FaultyWorld(n, fault, liars=liars, seqs=3)
    for seed in range(2):
        assert walk(world, seed=seed, steps=30_000).breaches == {}


# -- mutants ----------------------------------------------------------------------------------

MUTANTS = {
    # name: (rules, n, seqs, what costs somebody money in the end)
    "majority instead of safe": (Rules(quorum="majority"), 5, 1, {Breach.TWO_RECEIPTS}),
    "settle at q-1": (Rules(quorum="one less"), 4, 1, {Breach.TWO_RECEIPTS}),
    "settle by one claim": (Rules(claims="one"), 4, 2, {Breach.TWO_RECEIPTS}),
    "spend unsettled": (Rules(only_settled_is_spent=False), 4, 2, {Breach.FINAL_STUCK}),
    "let seq fall": (Rules(seq_never_falls=False), 4, 2, {Breach.TWO_RECEIPTS}),
    "drop the first vote": (Rules(first_vote_for_ever=False), 4, 1, {Breach.TWO_RECEIPTS}),
    "forget from": (Rules(votes_name_from=False), 4, 2, {Breach.TWO_BRANCHES}),
    "count seq+1 for its from": (Rules(next_counts="for its from"), 4, 3, {Breach.FINAL_STUCK}),
    "count seq+1 for anybody": (Rules(next_counts="for anybody"), 4, 2, {Breach.TWO_RECEIPTS}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant(name):
    rules, n, seqs, cost = MUTANTS[name]
    assert cost <= PAYEE
    assert cost <= exhaust(World(n, seqs=seqs, rules=rules), until=frozenset(cost)).breaches.keys()


MEMORY_MUTANTS = {
    "speak when blank": (Rules(blank_waits=False), "wiped"),
    "the same key again": (Rules(new_memory_new_key=False, blank_waits=False), "wiped"),
    "read all but one": (Rules(blank_reads="one fewer"), "wiped"),
    "join either side": (Rules(blank_joins="any side"), "wiped"),
    "join the settled side": (Rules(blank_joins="settled side"), "wiped"),
    "adopting is reading": (Rules(adopting_is_not_reading=False), "wiped"),
    "an old copy speaks": (Rules(copy_waits=False), "restored"),
}


@pytest.mark.parametrize("name", MEMORY_MUTANTS)
def test_mutant_of_memory(name):
    """Each pays two payees of three servers, under one set of keys, with nobody lying."""
    rules, kind = MEMORY_MUTANTS[name]
    cost = frozenset({Breach.TWO_RECEIPTS})
    for reads in ("at one moment", "one by one"):
        world = FaultyWorld(3, Fault(kind, quiet=True, reads=reads), seqs=2, rules=rules)
        assert cost <= exhaust(world, until=cost).breaches.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["let seq fall", "drop the first vote", "settle at q-1"])
def test_random_histories_catch_mutants_too(name):
    rules, _, _, cost = MUTANTS[name]
    world = World(7, seqs=2, rules=rules)
    assert cost <= walk(world, seed=1, steps=100_000, until=frozenset(cost)).breaches.keys()


# -- what the rules do not promise ------------------------------------------------------------


def test_limit_three_servers_and_a_vote_under_way():
    """n=3: x votes C, tells only a payee, and is wiped. f is 0, and this is one fault.

    Its old word still counts for the payee with the old keys, and a server that voted C
    later and then adopts B counts twice under them.
    """
    world = Cluster(3)
    world.take((1, A, C), "S1")
    world.take((1, A, B), "S3")
    world.wipe("S1")
    assert world.read("S1") == [(1, A, B, Status.HELD)]
    world.take((1, A, C), "S2")
    assert world.receipts(old=True) == [(1, A, C)]
    assert world.hear((1, A, B), "S2") == [True]
    assert set(world.receipts(old=True)) == {(1, A, B), (1, A, C)}
    assert world.receipts() == [(1, A, B)]


def test_limit_a_liar_and_a_lost_memory_are_two_of_four():
    """n=4, f=1: a retired key counts as one of the f, so there is no room for a liar."""
    world = FaultyWorld(4, Fault(), liars=1, seqs=1)
    assert Breach.TWO_RECEIPTS in exhaust(world).breaches
    holds(exhaust(FaultyWorld(7, Fault(), liars=1, seqs=1)))


def test_limit_an_old_copy_that_nobody_could_tell():
    """n=3: nobody answers within 3 s, so a restored server goes on with its key, at once.

    Would it wait as a blank one does until it has read the others, its key could stay.
    """
    rules = Rules(new_memory_new_key=False, blank_waits=False)
    fault = Fault("restored", quiet=True)
    assert Breach.TWO_RECEIPTS in exhaust(FaultyWorld(3, fault, seqs=2, rules=rules)).breaches
    holds(exhaust(FaultyWorld(4, fault, seqs=2, rules=rules)))
    holds(exhaust(FaultyWorld(3, fault, seqs=2, rules=replace(rules, blank_waits=True))))


def test_nobody_is_the_owner_before_the_issue():
    assert ISSUED == (0, NOBODY, A, Status.SETTLED)
