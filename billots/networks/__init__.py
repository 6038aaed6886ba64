"""The shipped network files."""
