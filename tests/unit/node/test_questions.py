"""Questions that wait until it is known what may be said."""

import pytest

from billots.node.questions import Questions


@pytest.fixture
def questions():
    return Questions(questions_max=3, question_s=3.0)


def asked(questions, *billots, now=0.0):
    """A list that gets a word when the question is gone on with."""
    gone_on = []
    assert questions.add(billots, lambda: gone_on.append("gone on"), now)
    return gone_on


def test_it_waits_for_all_of_its_billots(questions):
    both, one = asked(questions, "a-1", "a-2"), asked(questions, "a-1")
    questions.known([])
    questions.known(["a-9"])
    assert (both, one, len(questions)) == ([], [], 2)
    questions.known(["a-1"])
    assert (both, one) == ([], ["gone on"])
    questions.known(["a-2", "a-3"])
    assert both == ["gone on"]
    assert len(questions) == 0


def test_each_is_gone_on_with_once(questions):
    question = asked(questions, "a-1")
    for _ in range(2):
        questions.known(["a-1"])
        questions.all_known()
        questions.expire(99)
    assert question == ["gone on"]


def test_one_without_billots_waits_until_all_is_known(questions):
    question = asked(questions)
    questions.known(["a-1"])
    assert question == []
    questions.all_known()
    assert question == ["gone on"]


def test_who_has_waited_long_enough_is_gone_on_with(questions):
    assert questions.next_at is None
    first, second = asked(questions, "a-1"), asked(questions, "a-2", now=1.0)
    assert questions.next_at == 3.0
    questions.expire(2.99)
    assert (first, second) == ([], [])
    questions.expire(3.0)
    assert (first, second) == (["gone on"], [])
    assert questions.next_at == 4.0


def test_attack_questions_are_bounded(questions):
    for number in range(3):
        asked(questions, f"a-{number}")
    assert not questions.add(["a-9"], lambda: None, 0.0)
    questions.known(["a-0"])
    asked(questions, "a-9")


def test_one_may_ask_again_as_it_is_gone_on_with(questions):
    again = []
    questions.add(["a-1"], lambda: again.extend([asked(questions, "a-1", now=1.0)]), 0.0)
    questions.known(["a-1"])
    assert again == [[]]
    assert len(questions) == 1
    questions.all_known()
    assert again == [["gone on"]]
