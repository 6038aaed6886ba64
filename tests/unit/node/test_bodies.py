"""Bodies that came with feeds: as many as there is room for."""

import pytest
from network import ANN, MINT, sign

from billots.node.bodies import Bodies


def bodies(each, count):
    for n in range(count):
        first = 1 + n * each
        yield sign(MINT, ANN, *(f"a-{number} 1" for number in range(first, first + each)))


def test_the_oldest_goes_for_one_that_is_one_too_many():
    kept, made = Bodies(2), list(bodies(1, 3))
    for body in made:
        kept.add(body)
    assert [kept.get(body.id) for body in made] == [None, *made[1:]]


@pytest.mark.parametrize("again", [1, 5])
def test_what_comes_again_takes_no_more_room(again):
    kept, made = Bodies(2), list(bodies(16, 2))
    for _ in range(again):
        for body in made:
            kept.add(body)
    assert all(kept.get(body.id) for body in made)


def test_attack_large_bodies_take_the_room_of_many():
    kept = Bodies(100)
    for body in bodies(200, 40):
        kept.add(body)
    assert len(kept) == 8
    kept = Bodies(1)
    (large,) = bodies(256, 1)
    kept.add(large)
    assert kept.get(large.id) is large, "but one there is always room for"
