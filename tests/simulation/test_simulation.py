"""Seeds of the simulator as tests: nothing is ever broken, and what is broken is noticed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from billots.trust_lists import TrustList, overlaps
from simulation.cases import CASES
from simulation.mutants import MUTANTS, NOTICED_BY, applied
from simulation.plan import LOST_MEMORY, draw
from simulation.run import run_seed
from simulation.shrink import shrink
from simulation.streams import Streams

TESTS = Path(__file__).parents[1]
EASY = ("settle at q-1", "spend what isn't settled", "sync=False", "never fetch")


def holds(seeds):
    broken = [result for result in map(run_seed, seeds) if result.broken]
    told = [f"{r.detail}\nreplay: scripts/simulate --seed {r.seed} --trace" for r in broken]
    assert not broken, "\n".join(told)


@pytest.mark.parametrize("block", range(4))
def test_a_hundred_seeds(block):
    holds(range(25 * block, 25 * (block + 1)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(38))
def test_two_thousand_seeds(block):
    """With the 100 above."""
    holds(range(1000 + 50 * block, 1000 + 50 * (block + 1)))


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_bug_of_the_past(name):
    """What once broke an invariant, as the faults and actions that it took."""
    result = run_seed(CASES[name].seed, plan=CASES[name])
    assert result.broken is None, result.detail


def test_a_seed_is_the_same_run_in_every_process():
    """Neither the order of sets nor anything else that a process draws decides anything."""
    script = (
        "from simulation.run import run_seed\n"
        "print([(run_seed(s).hash, run_seed(s).events) for s in (4, 7)])"
    )
    said = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)}
        command = [sys.executable, "-c", script]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said.append(ran.stdout)
    assert said[0] == said[1]


def test_other_seeds_are_other_runs():
    assert run_seed(1).hash != run_seed(2).hash


def test_no_plan_asks_more_of_a_list_than_it_can_survive():
    """Liars and whoever loses its memory together, by the bound that wallets warn of."""
    plans = [draw(seed, Streams(seed)) for seed in [*range(1000), 1006925]]
    for plan in (plan for plan in plans if plan.size >= 4):
        faulty = {*plan.liars, *(f.server for f in plan.faults if f.kind in LOST_MEMORY)}
        circles = [(own, *others) for own, others in enumerate(plan.lists)]
        lists = [TrustList.of("a server", map(str, circle)) for circle in circles]
        payees = TrustList.of("payees", map(str, range(plan.size)))
        for pair in overlaps([payees, *lists]):
            both = {int(name) for name in pair.first.servers & pair.second.servers}
            assert pair.liars is not None, plan.seed
            assert len(faulty & both) <= pair.liars, plan.seed


def caught(name, seeds):
    return next((r for r in (run_seed(s, mutant=name) for s in seeds) if r.broken), None)


@pytest.mark.parametrize("name", EASY)
def test_a_mistake_is_noticed(name):
    assert caught(name, range(200)) is not None


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_mistake_still_has_its_place_in_the_program(name):
    with applied(name):
        pass


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_mistake_is_noticed(name):
    assert caught(name, (NOTICED_BY.get(name, 0), *range(200))) is not None


def test_a_mistake_ends_with_its_block():
    with applied("never fetch"):
        pass
    assert run_seed(0).broken is None


def test_faults_that_it_doesn_t_take_are_left_out():
    result = caught("spend what isn't settled", range(50))
    fewer = shrink(result, mutant="spend what isn't settled", runs_max=40)
    assert len(fewer.faults) + len(fewer.actions) < len(result.plan.actions)
    again = run_seed(result.seed, plan=fewer, mutant="spend what isn't settled")
    assert again.broken == result.broken
