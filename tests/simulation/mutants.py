"""Broken versions of the program that the simulator must notice."""

from contextlib import contextmanager

MUTANTS = {}


@contextmanager
def applied(name):
    """The program with one mistake in it, for as long as the block lasts."""
    changes = []
    for owner, attribute, value in MUTANTS[name]():
        changes.append((owner, attribute, owner.__dict__[attribute]))
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, before in reversed(changes):
            setattr(owner, attribute, before)
