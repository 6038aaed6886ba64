"""A bounded list of what was seen: ids of transfers that held and were taken."""

from __future__ import annotations

from collections import OrderedDict


class Notifications:
    """Remembers the newest `seen_max` ids; the oldest are forgotten first.

    What is in it is dropped before any costly check. So only what verified *and* was taken may
    be added: a bad copy sent first must not make the good one look old.
    """

    def __init__(self, seen_max: int = 65536) -> None:
        # A dict would look through all that was deleted before its first: 20 us each time.
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._seen_max = seen_max

    def add(self, notification: str) -> None:
        """Remember an id; one that is known already keeps its place."""
        self._seen[notification] = None
        if len(self._seen) > self._seen_max:
            self._seen.popitem(last=False)

    def exists(self, notification: str) -> bool:
        """Whether the id is remembered."""
        return notification in self._seen

    def __contains__(self, notification: str) -> bool:
        return notification in self._seen

    def __len__(self) -> int:
        return len(self._seen)
