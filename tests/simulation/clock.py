"""The clock of the simulated world, and what is to happen when."""

from heapq import heappop, heappush


class Clock:
    """Events in order of time; those of one moment in the order in which they were set."""

    def __init__(self):
        self.now = 1000.0
        self.events = 0
        self._heap = []
        self._number = 0

    def at(self, when, action, *arguments):
        self._number += 1
        heappush(self._heap, (max(when, self.now), self._number, action, arguments))

    def after(self, seconds, action, *arguments):
        self.at(self.now + seconds, action, *arguments)

    def run(self, until, over=None):
        """Let things happen up to a time, or until `over` says so."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, action, arguments = heappop(heap)
            self.now = when
            self.events += 1
            action(*arguments)
            if over is not None and over():
                return
        self.now = until
