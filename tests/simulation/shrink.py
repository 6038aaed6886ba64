"""From a failing run to the few faults that it takes: delta debugging over the plan."""

from simulation.run import run_seed

_RUNS_MAX = 120


def shrink(result, *, mutant=None, runs_max=_RUNS_MAX):
    """A plan with as few faults, then as few actions, as still break the same invariant."""
    runs = 0

    def breaks(plan):
        nonlocal runs
        runs += 1
        return run_seed(result.seed, plan=plan, mutant=mutant).broken == result.broken

    plan = result.plan
    for field in ("faults", "actions"):
        kept = list(getattr(plan, field))
        size = len(kept)
        while size and runs < runs_max:
            place = 0
            while place < len(kept) and runs < runs_max:
                fewer = kept[:place] + kept[place + size :]
                if breaks(plan._replace(**{field: tuple(fewer)})):
                    kept = fewer
                else:
                    place += size
            size //= 2
        plan = plan._replace(**{field: tuple(kept)})
    return plan
