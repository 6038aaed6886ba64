"""The sans-IO node."""
