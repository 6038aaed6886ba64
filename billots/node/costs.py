"""What each address has cost us lately: bad signatures and the like, forgotten with time."""

from __future__ import annotations


class Costs:
    """A leaky bucket for each address; empty ones take no memory."""

    def __init__(self, cost_max: float, decay_per_s: float, addresses_max: int = 10_000) -> None:
        self._cost_max = cost_max
        self._decay_per_s = decay_per_s
        self._addresses_max = addresses_max
        self._costs: dict[str, tuple[float, float]] = {}  # the one charged last is the last

    def __len__(self) -> int:
        return len(self._costs)

    def charge(self, address: str, cost: float, now: float) -> None:
        """The address cost us this much (1 is a wasted signature check)."""
        left = self._left(address, now)
        self._costs.pop(address, None)
        self._costs[address] = (left + cost, now)
        if len(self._costs) > self._addresses_max:
            self._forget(now)

    def exceeded(self, address: str, now: float) -> bool:
        """Whether the address has to wait."""
        return address in self._costs and self._left(address, now) > self._cost_max

    def _left(self, address: str, now: float) -> float:
        cost, at = self._costs.get(address, (0.0, now))
        return max(0.0, cost - (now - at) * self._decay_per_s)

    def _forget(self, now: float) -> None:
        self._costs = {
            address: (cost, at)
            for address, (cost, at) in self._costs.items()
            if cost > (now - at) * self._decay_per_s
        }
        while len(self._costs) > self._addresses_max:  # all of them are costly: the oldest goes
            del self._costs[next(iter(self._costs))]
