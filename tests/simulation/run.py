"""One seed from start to end, and what came of it."""

import gc
import itertools
import time
import traceback
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from simulation.mutants import applied
from simulation.record import Broken
from simulation.world import World

_COLLECT_EVERY = 8
_runs = itertools.count()


class Result(NamedTuple):
    """What one run came to. `broken` names the invariant that didn't hold, or is None."""

    seed: int
    broken: str | None
    detail: str
    size: int
    transfers: int
    finals: int
    faults: dict
    lies: dict
    answers: dict
    late: int
    events: int
    seconds: float
    cpu_s: float
    hash: int
    plan: object
    trace: list


def run_seed(seed, *, plan=None, tracing=False, mutant=None):
    """Run a seed, or another plan with that seed's streams."""
    start = time.process_time()
    with _no_collector():
        return _run(seed, plan, mutant, start, tracing=tracing)


@contextmanager
def _no_collector():
    """A run makes many objects and drops few: looking for cycles would take a fifth of its time."""
    if next(_runs) % _COLLECT_EVERY == 0:
        gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _run(seed, plan, mutant, start, *, tracing):
    broken, detail = None, ""
    with applied(mutant) if mutant is not None else nullcontext():
        world = World(seed, plan=plan, tracing=tracing)
        try:
            world.run()
        except Broken as error:
            broken, detail = error.name, str(error)
        except Exception as error:  # noqa: BLE001 - whatever a server dies of is a finding
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            where = " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in frames[::-1])
            broken, detail = "nobody fails", f"{type(error).__name__}: {error} at {where}"
    return Result(
        seed,
        broken,
        detail,
        world.plan.size,
        world.workload.transfers,
        world.workload.finals,
        world.faults.done,
        world.conspiracy.lies,
        world.wallets.answers,
        world.wallets.late,
        world.clock.events,
        world.clock.now - 1000,
        time.process_time() - start,
        world.hash,
        world.plan,
        world.trace,
    )
