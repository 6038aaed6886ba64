"""The command: run seeds, print what they came to, replay and shrink what fails."""

import argparse
import itertools
import re
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, as_completed, wait

from simulation.mutants import MUTANTS
from simulation.run import run_seed
from simulation.shrink import shrink

_CHUNK = 8
_SHOWN_MAX = 20
_UNITS = {"s": 1, "m": 60, "h": 3600}


def say(text):
    """A line of output, at once: a long run is watched."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments=None):
    options = _options(arguments)
    if options.mutants is not None:
        return _mutants(options)
    if options.seeds is None and options.time is None:
        return _replay(options)
    return _many(options)


def _options(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Run servers, liars, wallets and faults over a seeded network and clock.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, help="how many seeds to run")
    parser.add_argument("--for", dest="time", type=_seconds, help="run seeds for so long: 10m")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--trace", action="store_true", help="print all that happened in a seed")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing seed as it is")
    parser.add_argument(
        "--mutants",
        nargs="*",
        metavar="NAME",
        help="run mistakes made on purpose, all or these, until each is caught",
    )
    return parser.parse_args(arguments)


def _seconds(text):
    match = re.fullmatch(r"([0-9]+)([smh]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError("a time is a number with s, m or h, such as 10m")
    return int(match[1]) * _UNITS[match[2] or "s"]


# -- one seed ----------------------------------------------------------------------------------


def _replay(options):
    result = run_seed(options.seed, tracing=options.trace)
    _print_trace(result)
    plan = result.plan
    say(f"seed {result.seed}: {result.size} servers, of which lie: {_listed(plan.liars)}")
    say(f"trace hash {result.hash:08x}, {result.seconds:.1f} s simulated")
    say(_table([result], result.cpu_s))
    if result.broken is None:
        return 0
    _print_failure(result)
    if not options.no_shrink:
        _print_shrunk(result, trace=options.trace)
    return 1


def _listed(numbers):
    return ", ".join(f"s{number}" for number in numbers) or "none"


def _print_trace(result):
    for line in result.trace:
        say(line)


def _print_failure(result):
    say(f"FAILED seed {result.seed}: {result.detail}")
    say(f"replay: scripts/simulate --seed {result.seed} --trace")


def _print_shrunk(result, *, trace):
    plan = shrink(result)
    before = result.plan
    say(
        f"still fails with {len(plan.faults)} of {len(before.faults)} faults "
        f"and {len(plan.actions)} of {len(before.actions)} actions:"
    )
    for step in sorted((*plan.faults, *plan.actions), key=lambda step: step.at):
        say(f"  {step}")
    if trace:
        say("what happens then:")
        _print_trace(run_seed(result.seed, plan=plan, tracing=True))


# -- many --------------------------------------------------------------------------------------


def _run_chunk(seeds):
    found = []
    for seed in seeds:
        result = run_seed(seed)
        found.append(result if result.broken else result._replace(plan=None))
    return found


def _many(options):
    end = None if options.time is None else time.monotonic() + options.time
    last = None if options.seeds is None else options.seed + options.seeds
    starts = itertools.count(options.seed, _CHUNK)
    chunks = (range(at, at + _CHUNK if last is None else min(at + _CHUNK, last)) for at in starts)
    started = time.monotonic()
    results, failures = [], 0
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = set()
        while True:
            while len(jobs) < 2 * options.jobs and (end is None or time.monotonic() < end):
                chunk = next(chunks)
                if not chunk:
                    break
                jobs.add(pool.submit(_run_chunk, chunk))
            if not jobs:
                break
            done, jobs = wait(jobs, return_when=FIRST_COMPLETED)
            for job in done:
                results += job.result()
                for result in job.result():
                    if result.broken:
                        failures += 1
                        if failures <= _SHOWN_MAX:
                            _print_failure(result)
    results.sort()
    say(_table(results, sum(result.cpu_s for result in results)))
    say(f"{time.monotonic() - started:.0f} s in {options.jobs} processes")
    failed = [result for result in results if result.broken]
    if failed and not options.no_shrink:
        _print_shrunk(failed[0], trace=options.trace)
    return 1 if failed else 0


def _table(results, cpu_s):
    """Figures of what was done: nothing of it is virtual time."""
    faults, lies, answers = Counter(), Counter(), Counter()
    for result in results:
        faults.update(result.faults)
        lies.update(result.lies)
        answers.update(result.answers)
    transfers = sum(result.transfers for result in results)
    sizes = Counter(result.size for result in results)
    rows = [
        ("seeds", len(results)),
        ("failed", sum(result.broken is not None for result in results)),
        ("servers in them", ", ".join(f"{n}: {sizes[n]}" for n in sorted(sizes))),
        ("transfers", transfers),
        ("final billots", sum(result.finals for result in results)),
        ("faults", sum(faults.values())),
        *((f"  {kind}", count) for kind, count in sorted(faults.items())),
        ("lies", sum(lies.values())),
        *((f"  {kind}", count) for kind, count in sorted(lies.items())),
        ("answers to transfers", sum(answers.values())),
        *((f"  {kind}", count) for kind, count in sorted(answers.items())),
        ("late conflicts refused", sum(result.late for result in results)),
        ("CPU seconds", f"{cpu_s:.1f}"),
        ("transfers a CPU second", f"{transfers / cpu_s:.0f}" if cpu_s else "-"),
    ]
    return "\n".join(f"{name:26} {value}" for name, value in rows)


# -- mutants -----------------------------------------------------------------------------------


def _mutants(options):
    names = options.mutants or list(MUTANTS)
    seeds = options.seeds or 200
    missed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(_hunt, (name, options.seed, seeds)) for name in names]
        for job in as_completed(jobs):
            name, result = job.result()
            if result is None:
                missed += 1
                say(f"{name:34} NOT CAUGHT in {seeds} seeds")
                continue
            seed, broken, detail = result
            say(f"{name:34} seed {seed:4}  {broken}")
            if options.trace:
                say(f"    {detail[:200]}")
    say(f"{len(names) - missed} of {len(names)} caught")
    return 1 if missed else 0


def _hunt(job):
    """The first seed that catches a mutant, and how."""
    name, first, count = job
    for seed in range(first, first + count):
        result = run_seed(seed, mutant=name)
        if result.broken is not None:
            return name, (seed, result.broken, result.detail)
    return name, None


if __name__ == "__main__":
    sys.exit(main())
