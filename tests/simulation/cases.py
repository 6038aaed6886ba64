"""Runs that once broke an invariant, as what it took: the seed of the streams, and a plan."""

CASES = {}
