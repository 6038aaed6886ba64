"""What addresses have cost."""

from billots.node.costs import Costs


def test_nobody_has_to_wait_at_first():
    assert not Costs(10, 2).exceeded("p", 0)


def test_over_the_limit_and_forgotten_with_time():
    costs = Costs(cost_max=10, decay_per_s=2)
    for _ in range(10):
        costs.charge("p", 1, now=0)
    assert not costs.exceeded("p", 0)
    costs.charge("p", 4, now=0)
    assert costs.exceeded("p", 1.9)
    assert not costs.exceeded("p", 2)
    assert not costs.exceeded("q", 0)
    costs.charge("p", 1, now=100)
    assert not costs.exceeded("p", 100)


def test_addresses_that_cost_nothing_any_more_take_no_room():
    costs = Costs(10, decay_per_s=1, addresses_max=2)
    costs.charge("p", 5, now=0)
    costs.charge("q", 50, now=0)
    costs.charge("r", 1, now=10)
    assert len(costs) == 2
    assert costs.exceeded("q", 10)


def test_attack_many_addresses_wash_out_the_one_charged_longest_ago():
    costs = Costs(10, decay_per_s=1, addresses_max=2)
    for address in ("p", "q", "p", "r"):
        costs.charge(address, 11, now=0)
    assert [costs.exceeded(address, 0) for address in "pqr"] == [True, False, True]
