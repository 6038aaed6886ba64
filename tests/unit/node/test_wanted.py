"""Bodies that are named and not here."""

import pytest

from billots.feed import TransferRow
from billots.node.wanted import GIVE_UP_S, Wanted

UP = {"p", "q"}
BATCH = None  # whatever it came in


def row(lsn, transfer_id):
    """A row as it comes back: with the batch that it came in."""
    return TransferRow(lsn, transfer_id), BATCH


@pytest.fixture
def wanted():
    return Wanted(0.1)


def name(wanted, transfer_id, voter="p", lsn=1, now=0.0):
    return wanted.name(transfer_id, voter, TransferRow(lsn, transfer_id), BATCH, now)


def test_nobody_is_asked_before_the_time(wanted):
    assert wanted.next_at is None
    name(wanted, "t")
    assert wanted.next_at == 0.1
    assert wanted.due(0.09, UP, 64) == ({}, [])
    assert wanted.due(0.1, UP, 64) == ({"p": ["t"]}, [])
    assert "t" in wanted
    assert len(wanted) == 1


def test_the_next_is_asked_and_then_it_is_given_up(wanted):
    name(wanted, "t", "p", 3)
    name(wanted, "t", "q", 8, now=0.05)
    assert wanted.due(0.1, UP, 64) == ({"p": ["t"]}, [])
    wanted.answered("p", ["t"], [])
    assert wanted.due(0.2, UP, 64) == ({"q": ["t"]}, [])
    wanted.answered("q", ["t"], [])
    assert wanted.due(0.31, UP, 64) == (
        {}, [{"p": [row(3, "t")], "q": [row(8, "t")]}]
    )  # fmt: skip
    assert len(wanted) == 0
    assert (wanted.rows_of("p"), wanted.rows_of("q")) == (0, 0)


def test_who_does_not_answer_is_waited_for_a_while(wanted):
    name(wanted, "t")
    wanted.due(0.1, UP, 64)
    assert wanted.due(0.2, UP, 64) == ({}, [])
    assert wanted.due(GIVE_UP_S, UP, 64) == ({}, [])
    assert wanted.unanswered == []
    assert wanted.due(0.1 + GIVE_UP_S, UP, 64) == ({}, [])
    assert wanted.unanswered == [{"p": [row(1, "t")]}], "it may be had later"
    assert "t" not in wanted


def test_who_is_down_is_not_asked(wanted):
    name(wanted, "t", "p")
    name(wanted, "t", "q")
    assert wanted.due(0.1, {"q"}, 64) == ({"q": ["t"]}, [])


def test_questions_are_bounded_and_the_rest_comes_later(wanted):
    for number in range(5):
        name(wanted, f"t{number}")
    name(wanted, "t4", "q")
    assert wanted.due(0.1, UP, 2)[0] == {"p": ["t0", "t1"], "q": ["t4"]}
    assert wanted.due(0.2, UP, 2)[0] == {"p": ["t2", "t3"]}
    assert wanted.due(0.31, UP, 2)[0] == {"p": ["t4"]}


def test_what_did_not_fit_the_answer_is_asked_again_of_the_same(wanted):
    asked = ["t0", "t1", "t2", "t3"]
    for transfer_id in asked:
        name(wanted, transfer_id)
    wanted.due(0.1, UP, 64)
    wanted.answered("p", asked, ["t0", "t2"])
    for transfer_id in ("t0", "t2"):
        wanted.arrived(transfer_id)
    asks, given_up = wanted.due(0.2, UP, 64)
    assert asks == {"p": ["t3"]}
    assert given_up == [{"p": [row(1, "t1")]}]


def test_what_is_in_an_answer_is_not_given_up_before_it_is_looked_at(wanted):
    name(wanted, "t")
    wanted.due(0.1, UP, 64)
    wanted.answered("p", ["t", "unknown"], ["t"])
    assert wanted.due(0.2, UP, 64) == ({}, [])
    assert wanted.arrived("t") == {"p": [row(1, "t")]}


def test_what_arrived_is_not_wanted_any_more(wanted):
    for voter, lsn in [("p", 1), ("p", 5), ("q", 2)]:
        name(wanted, "t", voter, lsn)
    assert wanted.rows_of("p") == 2
    assert wanted.arrived("t") == {
        "p": [row(1, "t"), row(5, "t")],
        "q": [row(2, "t")],
    }
    assert wanted.arrived("t") == {}
    assert wanted.rows_of("p") == 0


def test_a_voter_that_is_gone(wanted):
    name(wanted, "t", "p", 3)
    name(wanted, "t", "q", 4)
    name(wanted, "u", "p", 5)
    assert wanted.gone("p") == [row(3, "t"), row(5, "u")]
    assert wanted.gone("p") == []
    assert "u" not in wanted
    assert wanted.arrived("t") == {"q": [row(4, "t")]}


def test_attack_a_server_that_names_what_nobody_has():
    """It fills its own share and no other's."""
    wanted = Wanted(0.1, rows_per_voter_max=3)
    assert [name(wanted, f"t{n}", "p") for n in range(5)] == [True] * 3 + [False] * 2
    assert name(wanted, "t4", "q")
    assert len(wanted) == 4


def test_attack_a_body_that_nobody_shows_keeps_no_other_waiting(wanted):
    """Liars name one that they don't have: it is waited for ever longer, others are not."""
    liars = [f"l{number}" for number in range(6)]
    up = {*liars, "p"}
    for liar in liars:
        name(wanted, "lie", liar)
    now = 0.0
    while (now := now + 0.1) < 1.5:
        wanted.due(now, up, 64)
    name(wanted, "t", "p", now=now)
    assert wanted.next_at <= now + 0.1
    assert wanted.due(now + 0.1, up, 64)[0].get("p") == ["t"]


def test_what_has_come_is_not_asked_for_any_more(wanted):
    for transfer_id in ("s", "t"):
        name(wanted, transfer_id)
    wanted.arrived("s")
    assert wanted.due(0.1, UP, 64) == ({"p": ["t"]}, [])
    wanted.arrived("t")
    assert wanted.next_at is None
