"""Stores: the interface, and the engines behind it."""
