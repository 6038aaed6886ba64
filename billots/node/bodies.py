"""Transfers of others whose signatures held, kept until those who name them have been heard."""

from __future__ import annotations

from collections import OrderedDict

from billots.transfer import Transfer

_ROWS_EACH = 16
"""Rows a body that there is room for: most have one, and a few hundreds are no reason for more."""


class Bodies:
    """The newest by id: at most `bodies_max`, and 16 rows for each; what is one more goes first."""

    def __init__(self, bodies_max: int) -> None:
        self._bodies_max = bodies_max
        self._bodies: OrderedDict[str, Transfer] = OrderedDict()
        self._rows = 0

    def __len__(self) -> int:
        return len(self._bodies)

    def get(self, transfer_id: str) -> Transfer | None:
        """The body with this id."""
        return self._bodies.get(transfer_id)

    def add(self, transfer: Transfer) -> None:
        """Keep a body; the oldest are let go for it."""
        if transfer.id in self._bodies:
            return
        self._bodies[transfer.id] = transfer
        self._rows += len(transfer.billots)
        while len(self._bodies) > self._bodies_max or (
            self._rows > _ROWS_EACH * self._bodies_max and len(self._bodies) > 1
        ):
            _, oldest = self._bodies.popitem(last=False)
            self._rows -= len(oldest.billots)
