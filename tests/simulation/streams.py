"""Randomness: one seed, a stream of its own for each purpose.

A fault that is left out must not change what the wallets want or how long a message takes, so
nobody draws from another's stream.
"""

import random


class Streams:
    """`streams("network")` is always the same stream of this seed."""

    def __init__(self, seed):
        self.seed = seed
        self._streams = {}

    def __call__(self, name):
        if name not in self._streams:
            # Seeded with text, random hashes it with SHA-512: the same in every process.
            self._streams[name] = random.Random(f"billots/{self.seed}/{name}")
        return self._streams[name]

    def secret(self, name):
        """32 bytes to make a key from."""
        return random.Random(f"billots/{self.seed}/key/{name}").randbytes(32)
