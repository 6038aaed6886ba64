"""Billots: digital cash without a blockchain."""
