"""What servers announce: bounded, fair, and no news twice."""

from itertools import pairwise

from billots.announced import ASK_AGAIN_S, OPEN_MAX, TRIES_MAX, Announced
from billots.network import ROWS_MAX


def test_what_is_known_already_is_no_news():
    announced = Announced({"a-1": 5})
    announced.add("s", [("a-1", 5), ("a-1", 4), ("b-1", 0)], 0.0)
    assert not announced
    assert (announced.next_due(), announced.due(9.0)) == (None, set())
    announced.add("s", [("a-1", 6)], 1.0)
    assert announced
    assert (announced.next_due(), announced.due(0.5), announced.due(1.0)) == (1.0, set(), {"a-1"})


def test_what_is_known_by_now_is_done_with_and_a_newer_move_is_not():
    seen = {}
    announced = Announced(seen)
    announced.add("one", [("a-1", 1)], 0.0)
    announced.add("two", [("a-1", 3)], 0.0)
    seen["a-1"] = 1
    assert announced.asked({"a-1"}, 0.0) == set()
    assert announced.due(60.0) == {"a-1"}, "two names a newer one"
    seen["a-1"] = 3
    announced.asked({"a-1"}, 0.0)
    assert not announced


def test_pauses_grow_and_it_ends():
    announced = Announced({})
    announced.add("s", [("a-1", 1)], 0.0)
    now, dues = 0.0, []
    while announced:
        given_up = announced.asked(announced.due(now), now)
        if announced:
            now = announced.next_due()
            dues.append(now)
    assert given_up == {"a-1"}
    pauses = [round(late - early, 6) for early, late in pairwise([0.0, *dues])]
    assert len(pauses) == TRIES_MAX
    assert (pauses[0], pauses[-1]) == (2 * ASK_AGAIN_S[0], ASK_AGAIN_S[1])
    assert pauses == sorted(pauses)


def test_attack_a_flood_takes_the_place_of_nobody_elses_words():
    announced = Announced({})
    announced.add("honest", [("a-1", 1)], 0.0)
    announced.add("liar", ((f"k-{n}", 1) for n in range(1, OPEN_MAX + 1000)), 0.0)
    due = announced.due(0.0)
    assert "a-1" in due
    assert len(due) == 1 + ROWS_MAX
    assert "k-1" not in due, "its own oldest ones make room"
