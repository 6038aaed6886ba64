"""How many quotes each address may leave unpaid: tokens that are given back when it pays."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tokens:
    """Each address has `most`; one that was taken comes back after `forget_s`, or at once.

    No clock: `now` is seconds of one that only goes on.
    """

    most: int
    forget_s: float
    addresses_max: int
    _used: dict[str, list[float]] = field(default_factory=dict)

    def take(self, address: str, now: float) -> bool:
        """Take a token, if there is one."""
        used = [until for until in self._used.get(address, ()) if until > now]
        if len(used) >= self.most:
            return False
        if address not in self._used and len(self._used) >= self.addresses_max:
            self._forget(now)
            if len(self._used) >= self.addresses_max:
                return False
        self._used[address] = [*used, now + self.forget_s]
        return True

    def give_back(self, address: str) -> None:
        """The oldest one that was taken is there again."""
        used = self._used.get(address, [])
        if len(used) > 1:
            del used[0]
        else:
            self._used.pop(address, None)

    def _forget(self, now: float) -> None:
        self._used = {
            address: used for address, used in self._used.items() if any(u > now for u in used)
        }
