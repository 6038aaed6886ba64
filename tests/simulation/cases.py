"""Runs that once broke an invariant, as what it took: a seed for the streams, and a plan.

Seeds go stale when the simulator changes; what is written down here stays what it was.
"""

import json
from pathlib import Path

from billots.limits import Limits
from simulation.plan import Action, Fault, Plan


def _plan(fields):
    actions = tuple(Action(at, kind, tuple(numbers)) for at, kind, numbers in fields["actions"])
    return Plan(
        fields["seed"],
        fields["size"],
        tuple(tuple(members) for members in fields["lists"]),
        fields["hosts"],
        tuple(fields["liars"]),
        Limits(**fields["limits"]),
        fields["seconds"],
        actions,
        tuple(Fault(*fault) for fault in fields["faults"]),
    )


_TEXT = (Path(__file__).parent / "cases.json").read_text("utf-8")
CASES = {name: _plan(fields) for name, fields in json.loads(_TEXT).items()}
"""By what went wrong."""
