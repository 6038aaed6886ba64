"""When to ask about a billot, and how often at most."""

import pytest

from billots.holding import Holding, Status
from billots.limits import Limits
from billots.node.consults import ANSWER_S, CONTESTED, OWN, START, WALLETS, Budget, Consults

SERVERS = ["p", "q"]
HAS = Holding(1, "x", "y", Status.HELD)


def always(_billot):
    return True


def never(_billot):
    return False


@pytest.fixture
def consults():
    return Consults(Limits())


def due(consults, now, reachable=SERVERS, is_open=always):
    return consults.due(now, reachable, is_open)


def end(consults, billot="a-1"):
    """All say that they have nothing; what came of it."""
    for key in SERVERS:
        consults.answered(key, billot, None)
    (finished,) = consults.finished()
    return finished


# When


def test_nothing_is_asked_before_its_time(consults):
    assert consults.next_at is None
    consults.want("a-1", OWN, 5.0)
    assert (consults.next_at, due(consults, 4.9)) == (5.0, [])
    assert due(consults, 5.0) == ["a-1"]
    assert len(consults) == 1


def test_one_consult_at_a_time_for_each_billot(consults):
    consults.want("a-1", OWN, 0.0)
    assert due(consults, 0.0) == ["a-1"]
    consults.want("a-1", CONTESTED, 0.0)
    consults.news("a-1", "p", 0.0)
    assert consults.for_wallets(["a-1"], 0.0, 0.0)
    assert due(consults, 2.0) == []
    assert len(consults) == 1
    end(consults)
    assert len(consults) == 0


def test_what_is_wanted_twice_is_asked_once_at_the_earlier_time(consults):
    consults.want("a-1", OWN, 5.0)
    consults.want("a-1", CONTESTED, 3.0)
    consults.want("a-1", OWN, 9.0)
    assert due(consults, 2.9) == []
    assert due(consults, 3.0) == ["a-1"]
    end(consults)
    assert due(consults, 99.0) == []
    assert consults.next_at is None


def test_what_is_settled_meanwhile_is_not_asked_about(consults):
    for billot, cause in [("a-1", OWN), ("a-2", CONTESTED), ("a-3", "p"), ("a-4", WALLETS)]:
        consults.want(billot, cause, 0.0)
    assert due(consults, 0.0, is_open=never) == ["a-4"], "a wallet waits for the answer"
    assert due(consults, 99.0) == []


def test_news_of_a_feed_are_asked_about_a_while_later(consults):
    consults.news("a-1", "p", 10.0)
    assert due(consults, 10.99) == []
    assert due(consults, 11.0) == ["a-1"]


def test_pauses_grow_up_to_a_cap():
    consults = Consults(Limits(consult_again_s=1.0, consult_again_s_max=10.0))
    consults.want("a-1", OWN, 0.0)
    now, pauses = 0.0, []
    for _ in range(7):
        assert due(consults, now) == ["a-1"]
        consults.again("a-1", OWN, now, end(consults).pause_s)
        pauses.append(consults.next_at - now)
        now = consults.next_at
        assert due(consults, now - 0.01) == []
    assert pauses == [1, 2, 4, 8, 10, 10, 10]


def test_again_does_not_put_off_what_is_wanted_sooner(consults):
    consults.want("a-1", OWN, 0.0)
    due(consults, 0.0)
    pause_s = end(consults).pause_s
    consults.want("a-1", CONTESTED, 0.5)
    consults.again("a-1", OWN, 0.0, pause_s)
    assert due(consults, 0.5) == ["a-1"]


# Answers


def test_it_ends_when_all_have_said_something(consults):
    consults.want("a-1", OWN, 0.0)
    due(consults, 0.0)
    consults.answered("p", "a-1", HAS)
    assert not consults.has_finished
    consults.answered("q", "a-1", None)
    assert consults.has_finished
    (finished,) = consults.finished()
    assert (finished.billot, finished.said) == ("a-1", {"p": HAS, "q": None})
    assert not consults.has_finished


def test_it_ends_after_three_seconds_whoever_is_silent(consults):
    consults.want("a-1", OWN, 0.0)
    due(consults, 0.0)
    consults.answered("q", "a-1", HAS)
    assert consults.next_at == ANSWER_S == 3.0
    consults.expire(2.99)
    assert not consults.has_finished
    consults.expire(3.0)
    assert consults.finished()[0].said == {"q": HAS}
    assert consults.next_at is None


def test_those_of_later_go_on_when_the_first_expire(consults):
    for at in (0.0, 1.0):
        consults.want(f"a-{at}", OWN, at)
        due(consults, at)
    consults.expire(3.5)
    assert [finished.billot for finished in consults.finished()] == ["a-0.0"]
    assert consults.next_at == 4.0


def test_who_is_gone_is_not_waited_for(consults):
    for billot in ("a-1", "a-2"):
        consults.want(billot, OWN, 0.0)
    due(consults, 0.0)
    consults.answered("q", "a-1", HAS)
    consults.gone("p")
    consults.gone("stranger")
    assert [finished.billot for finished in consults.finished()] == ["a-1"]
    consults.gone("q")
    assert consults.finished()[0].said == {"p": None, "q": None}


def test_attack_the_first_answer_of_each_server_that_was_asked_counts(consults):
    consults.want("a-1", OWN, 0.0)
    due(consults, 0.0)
    for key, holding in [("p", HAS), ("p", None), ("stranger", HAS)]:
        consults.answered(key, "a-1", holding)
    consults.answered("q", "a-2", HAS)
    assert not consults.has_finished
    consults.expire(ANSWER_S)
    (finished,) = consults.finished()
    assert finished.said == {"p": HAS}


def test_with_nobody_to_ask_a_wallet_waits_a_moment_and_is_told(consults):
    consults.want("a-1", OWN, 0.0)
    consults.want("a-2", WALLETS, 0.0)
    now, tries = 0.0, 0
    while not consults.has_finished:
        assert due(consults, now, reachable=[]) == []
        now, tries = consults.next_at, tries + 1
    assert tries > 2
    assert now < ANSWER_S
    (finished,) = consults.finished()
    assert (finished.billot, finished.said) == ("a-2", {})
    assert due(consults, 9.0) == ["a-1"], "what we want to know ourselves waits for somebody"


def test_what_finds_nobody_is_tried_with_growing_pauses():
    consults = Consults(Limits(consult_again_s=1.0, consult_again_s_max=4.0))
    consults.want("a-1", OWN, 0.0)
    times = [0.0]
    for _ in range(5):
        assert due(consults, times[-1], reachable=[]) == []
        times.append(consults.next_at)
    assert times == [0, 1, 3, 7, 11, 15]


def test_who_can_be_asked_after_a_moment_is_asked(consults):
    consults.want("a-2", WALLETS, 0.0)
    assert due(consults, 0.0, reachable=[]) == []
    assert due(consults, consults.next_at) == ["a-2"]
    assert not consults.has_finished


# Budgets


def test_a_budget_is_spent_and_comes_back_with_time():
    budget = Budget()
    assert [budget.take("p", 0.0, 1.0) for _ in range(5)] == [True] * 4 + [False]
    assert not budget.take("p", 0.9, 1.0)
    assert budget.take("p", 1.0, 1.0)
    assert not budget.take("p", 1.0, 1.0)
    assert [budget.take("p", 100.0, 1.0) for _ in range(5)] == [True] * 4 + [False]


def test_budgets_are_each_causes_own():
    budget = Budget()
    for _ in range(5):
        budget.take("p", 0.0, 1.0)
    assert budget.take("q", 0.0, 1.0)


def test_attack_a_feed_spends_its_own_budget_and_no_other():
    consults = Consults(Limits(consults_per_s=2, consults_own_per_s=50))
    for number in range(100):
        consults.news(f"a-{number}", "liar", 0.0)
    consults.news("a-1000", "honest", 0.0)
    consults.want("a-1001", CONTESTED, 1.0)
    consults.want("a-1002", OWN, 1.0)
    assert consults.for_wallets(["a-1003"], 1.0, 1.0)
    asked = due(consults, 1.0)
    assert len(asked) == 8 + 4
    assert set(asked) >= {"a-1000", "a-1001", "a-1002", "a-1003"}
    assert len(due(consults, 4.0)) <= 6, "the rest later, as the budget comes back"


def test_attack_wallets_together_have_one_budget():
    consults = Consults(Limits(consults_per_s=2))
    assert [consults.for_wallets([f"a-{n}"], 0.0, 0.0) for n in range(10)] == [True] * 8 + [
        False
    ] * 2
    assert consults.for_wallets(["a-99"], 0.5, 0.5)
    assert not consults.for_wallets(["a-98"], 0.5, 0.5)
    consults.want("a-97", CONTESTED, 0.5)
    assert "a-97" in due(consults, 0.5)


def test_attack_a_wallet_asks_about_the_same_billot_once_in_ten_seconds(consults):
    assert consults.for_wallets(["a-1"], 0.0, 0.0)
    assert due(consults, 0.0) == ["a-1"]
    assert consults.for_wallets(["a-1"], 0.1, 0.1), "the one on its way will tell"
    end(consults)
    assert not consults.for_wallets(["a-1"], 9.99, 9.99)
    assert consults.for_wallets(["a-2"], 9.99, 9.99)
    assert consults.for_wallets(["a-1"], 10.0, 10.0)


def test_what_wallets_ask_for_is_asked_now_though_it_was_to_be_later(consults):
    consults.want("a-1", OWN, 60.0)
    assert consults.for_wallets(["a-1"], 1.0, 1.0)
    assert due(consults, 1.0) == ["a-1"]


def test_who_asks_for_what_a_wallet_paid_for_does_not_pay_again():
    consults = Consults(Limits(consults_per_s=1))
    for number in range(4):
        consults.want(f"a-{number}", "p", 1.0)
    consults.want("a-9", "p", 1.0)
    assert consults.for_wallets(["a-9"], 1.0, 1.5)
    assert len(due(consults, 1.0)) == 5


def test_memory_of_consults_is_bounded():
    consults = Consults(Limits(consults_wanted_max=3, consults_asked_max=2))
    for number in range(5):
        consults.want(f"a-{number}", OWN, 0.0)
    assert due(consults, 0.0) == ["a-0", "a-1"]
    assert len(consults) == 2
    end(consults, "a-0")
    assert due(consults, 1.0) == ["a-2"]
    assert due(consults, 9.0) == [], "those that were one too many are forgotten"
    consults.want("a-7", OWN, 9.0)
    consults.want("a-8", OWN, 9.0)
    consults.want("a-9", OWN, 9.0)
    consults.again("a-10", OWN, 9.0, 1.0)
    consults.expire(99.0)
    consults.finished()
    assert due(consults, 99.0) == ["a-7", "a-8"], "there was no room for the others"


def test_attack_strangers_that_ask_are_remembered_up_to_a_bound():
    consults = Consults(Limits(consults_per_s=100_000, consults_wanted_max=10))
    for number in range(20_000):
        consults.for_wallets([f"a-{number}"], 0.0, 0.0)
    assert len(consults._strangers) <= 8192
    assert not consults.for_wallets(["a-19999"], 1.0, 1.0)


def test_a_thousand_at_a_time(consults):
    for number in range(3000):
        consults.want(f"a-{number}", START, 0.0)
    assert [len(due(consults, 0.0)) for _ in range(3)] == [1024, 1024, 952]


def test_attack_a_feed_that_names_endless_billots_takes_no_room_from_the_others():
    consults = Consults(Limits(consults_wanted_max=10))
    for number in range(10):
        consults.news(f"a-{number}", "liar", 0.0)
    consults.want("a-100", CONTESTED, 0.0)
    assert "a-100" in due(consults, 0.0)
