"""A server's disk: what is on it survives a crash, and it can go wrong as disks do."""

from billots.errors import StoreDamaged, StoreFailed
from billots.store import Memory


class Disk(Memory):
    """`fault` is what the next write comes to; `full` and `damaged` stay until they end.

    The store asks for durable writes only, so nothing that returned may be lost. `lossy` is a
    disk that acknowledges and forgets: what a write without sync would be.
    """

    def __init__(self):
        Memory.__init__(self)
        self.fault = None
        self.full = False
        self.damaged = False
        self.lossy = False
        self.writes = 0
        self._undo = []

    def copy(self):
        """What a backup taken now would hold."""
        other = Disk()
        other._values = dict(self._values)
        other._keys = {first: list(keys) for first, keys in self._keys.items()}
        other.lossy = self.lossy
        return other

    @property
    def values(self):
        return self._values

    def get(self, key):
        if self.damaged:
            raise StoreDamaged("the store is damaged: a checksum is wrong")
        return self._values.get(key)

    def scan(self, start, stop):
        if self.damaged:
            raise StoreDamaged("the store is damaged: a checksum is wrong")
        return Memory.scan(self, start, stop)

    def write(self, changes):
        fault, self.fault = self.fault, None
        if self.full or fault == "lost":
            raise StoreFailed("no space left on device" if self.full else "input/output error")
        if self.lossy:
            self._undo.append({key: self._values.get(key) for key in changes})
        Memory.write(self, changes)
        self.writes += 1
        if fault == "written":
            raise StoreFailed("input/output error")

    def power_cut(self):
        """Whatever was not really on disk is gone."""
        undo, self._undo = self._undo[-4:], []
        for before in reversed(undo):
            Memory.write(self, before)
