"""Quorums, tallies and verdicts (DESIGN, sections 5 and 11)."""

from itertools import permutations

import pytest

from billots.errors import InputError
from billots.holding import Holding, Status
from billots.quorum import Quorum, Tally, Verdict, count, highest_seq, liars_max, safe_quorum

A, B, C = "a" * 128, "b" * 128, "c" * 128
TO_B = Holding(1, A, B, Status.HELD)
TO_C = Holding(1, A, C, Status.HELD)
SETTLED_B = Holding(1, A, B, Status.SETTLED)
DISPUTED_B = Holding(1, A, B, Status.DISPUTED)
DISPUTED_C = Holding(1, A, C, Status.DISPUTED)
FIRST = Holding(0, None, A, Status.SETTLED)
UNISSUED = Holding(0, None, None, Status.UNISSUED)
UNKNOWN = Holding(0, None, None, Status.UNKNOWN)


def tally(*holdings, n, rule="safe", conflict=False):
    answers = {f"{number:064x}": holding for number, holding in enumerate(holdings)}
    return count(answers, n, Quorum(rule), conflict=conflict)


# Numbers


@pytest.mark.parametrize(
    ("n", "f", "q"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7),
     (17, 5, 12)],
)  # fmt: skip
def test_the_safe_quorum(n, f, q):
    assert (liars_max(n), safe_quorum(n), Quorum().needed(n)) == (f, q, q)


@pytest.mark.parametrize("n", range(1, 200))
def test_two_safe_quorums_share_an_honest_server_and_honest_ones_reach_it(n):
    f, q = liars_max(n), safe_quorum(n)
    assert 2 * q - n > f
    assert 2 * (q - 1) - n <= f
    assert q <= n - f


@pytest.mark.parametrize(("n", "q"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4), (17, 9)])
def test_a_majority(n, q):
    assert Quorum("majority").needed(n) == q


@pytest.mark.parametrize(
    ("share", "n", "q"),
    [("90%", 1, 1), ("90%", 3, 3), ("90%", 10, 9), ("90%", 11, 10), ("90%", 17, 16),
     ("50%", 4, 2), ("50%", 3, 2), ("1%", 17, 1), ("100%", 17, 17), ("33%", 100, 33),
     ("7%", 100, 7)],
)  # fmt: skip
def test_a_share_is_rounded_up(share, n, q):
    assert Quorum(share).needed(n) == q


@pytest.mark.parametrize(("rule", "n"), [("1", 1), ("2", 3), ("17", 17)])
def test_a_number(rule, n):
    assert Quorum(rule).needed(n) == int(rule)


def test_a_number_over_n_can_never_be_had():
    with pytest.raises(InputError, match="a quorum of 4 can't be had from 3 servers") as caught:
        Quorum("4").needed(3)
    assert "--trusted" in caught.value.hint


@pytest.mark.parametrize(
    "rule",
    ["", "0", "-1", "+1", "01", "1.5", "1\n", "２", "10000", "0%", "101%", "1.5%", "%", "90 %",
     "90%\n", "９%", "Safe", "safe\n", "all", "\x1b[2J"],
)  # fmt: skip
def test_what_is_no_quorum(rule):
    with pytest.raises(InputError, match="not a quorum") as caught:
        Quorum(rule)
    assert str(caught.value).isprintable()


# Verdicts


def test_a_quorum_of_equal_votes_names_the_owner():
    assert tally(TO_B, TO_B, n=3) == Tally(Verdict.OWNER, TO_B, 2, 2, 3)
    assert tally(TO_B, TO_B, n=3).owner == B


def test_the_status_has_no_part_in_a_vote():
    assert tally(TO_B, SETTLED_B, n=3).verdict is Verdict.OWNER
    assert tally(DISPUTED_B, SETTLED_B, TO_C, n=3).owner == B


def test_an_unreachable_server_stays_in_n():
    assert tally(TO_B, n=3) == Tally(Verdict.UNDECIDED, TO_B, 1, 2, 3)
    assert tally(TO_B, n=1).owner == B
    assert tally(*[TO_B] * 11, n=17).verdict is Verdict.UNDECIDED
    assert tally(*[TO_B] * 12, n=17).verdict is Verdict.OWNER


def test_no_answer_at_all_is_undecided():
    assert tally(n=3) == Tally(Verdict.UNDECIDED, None, 0, 2, 3)
    assert tally(n=3).owner is None


def test_attack_of_2017_one_server_down_of_two_is_not_disputed():
    assert tally(TO_B, n=2).verdict is Verdict.UNDECIDED


def test_one_that_does_not_know_is_only_behind():
    assert tally(TO_B, TO_B, UNKNOWN, n=3).owner == B
    assert tally(TO_B, UNKNOWN, UNKNOWN, n=3) == Tally(Verdict.UNDECIDED, TO_B, 1, 2, 3)
    assert tally(UNKNOWN, UNKNOWN, UNKNOWN, n=3) == Tally(Verdict.UNDECIDED, None, 0, 2, 3)


def test_one_at_a_lower_seq_is_only_behind():
    assert tally(FIRST, TO_B, TO_B, n=3).owner == B
    assert tally(FIRST, TO_B, n=3).verdict is Verdict.UNDECIDED


def test_votes_with_another_sender_are_not_equal():
    assert tally(TO_B, Holding(1, C, B, Status.HELD), n=3).verdict is Verdict.UNDECIDED


def test_votes_at_another_seq_are_not_equal():
    assert tally(TO_B, Holding(3, A, B, Status.HELD), n=3).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("n", [1, 3, 4])
def test_no_owner_while_nobody_issued_it(n):
    assert tally(*[UNISSUED] * n, n=n) == Tally(
        Verdict.NO_OWNER, UNISSUED, n, Quorum().needed(n), n
    )
    assert tally(*[UNISSUED] * n, n=n).owner is None


def test_fewer_than_a_quorum_without_an_owner_are_undecided():
    assert tally(UNISSUED, n=3).verdict is Verdict.UNDECIDED


def test_a_verified_pair_without_a_quorum_is_disputed():
    assert tally(TO_B, TO_C, n=3).verdict is Verdict.UNDECIDED
    assert tally(TO_B, TO_C, n=3, conflict=True).verdict is Verdict.DISPUTED
    assert tally(TO_B, TO_C, n=3, conflict=True).owner is None


def test_a_quorum_stands_against_a_pair():
    assert tally(TO_B, TO_B, TO_C, n=3, conflict=True).owner == B


def test_more_servers_than_may_lie_that_say_disputed_are_believed():
    assert tally(DISPUTED_B, TO_C, n=4).verdict is Verdict.UNDECIDED
    assert tally(DISPUTED_B, DISPUTED_C, n=4).verdict is Verdict.DISPUTED
    assert tally(DISPUTED_B, TO_C, n=3).verdict is Verdict.DISPUTED


def test_attack_a_liar_and_a_server_that_is_behind_make_no_dispute():
    later = Holding(2, B, C, Status.HELD)
    liar = Holding(2, B, A, Status.DISPUTED)
    assert tally(DISPUTED_B, liar, later, later, n=4).verdict is Verdict.UNDECIDED
    assert tally(DISPUTED_B, DISPUTED_B, later, n=4).verdict is Verdict.UNDECIDED


def test_attack_liars_up_to_f_cannot_make_a_dispute_or_an_owner():
    for n in (4, 7, 10, 17):
        lies = [DISPUTED_C] * liars_max(n)
        assert tally(*lies, n=n).verdict is Verdict.UNDECIDED
        assert tally(*lies, *[TO_B] * (n - liars_max(n)), n=n).owner == B


@pytest.mark.parametrize("rule", ["1", "majority", "50%", "3"])
def test_the_rule_decides_how_many_are_needed(rule):
    needed = Quorum(rule).needed(4)
    assert tally(*[TO_B] * needed, n=4, rule=rule).verdict is Verdict.OWNER
    assert tally(*[TO_B] * (needed - 1), n=4, rule=rule).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("holdings", "best"),
    [
        ((TO_B, TO_C), TO_C),
        ((FIRST, TO_B), TO_B),
        ((TO_C, Holding(2, C, A, Status.HELD)), Holding(2, C, A, Status.HELD)),
        ((UNISSUED, FIRST), FIRST),
        ((TO_B, Holding(1, C, B, Status.HELD)), Holding(1, C, B, Status.HELD)),
        ((FIRST, FIRST, TO_B, TO_C), FIRST),
    ],
)
def test_a_tie_has_one_winner_in_whatever_order_answers_come(holdings, best):
    for order in permutations(holdings):
        assert tally(*order, n=7).holding == best


def test_the_highest_seq_that_anybody_names():
    assert highest_seq([]) == 0
    assert highest_seq([FIRST, TO_B]) == 1
    assert highest_seq([UNKNOWN, Holding(9, None, None, Status.UNKNOWN)]) == 0
