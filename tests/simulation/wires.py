"""The virtual network: TCP connections between places, with all that TCP allows.

What is sent on one connection arrives in order or not at all. A lost packet is a delay; a
connection that can't get through for long is reset by the one who has something to send, and
the other side goes on believing in it. Connections know nothing of each other's order.
"""

CLIENTS = -1
"""The place of all wallets."""


class End:
    """One side of a connection. `up` is what this side believes."""

    __slots__ = ("arrives_at", "conn", "other", "party", "place", "stuck", "up")

    def __init__(self, party, place, conn):
        self.party, self.place, self.conn = party, place, conn
        self.other = None
        self.up = True
        self.arrives_at = 0.0
        self.stuck = []


class Wires:
    """All connections. A party has `received(end, frames)` and `ended(end)`."""

    def __init__(self, clock, stream):
        self._clock = clock
        self._random = stream
        self._base = {}
        self._delays = {}
        self._blocked = {}
        self._stuck = {}  # ends with frames that wait, in the order in which they got stuck
        self.loss = 0.0
        self.resets = 0.0
        self.jitter_s = stream.choice((0.0005, 0.002, 0.01))
        self.slow_s = stream.choice((0.001, 0.005, 0.02, 0.05))
        self.lost = 0

    # -- paths --------------------------------------------------------------------------------

    def latency(self, start, end):
        pair = (start, end)
        base = self._base.get(pair)
        if base is None:
            base = self._base[pair] = self._random.uniform(0.0002, self.slow_s)
        late = self._delays.get(start, 0.0) if self._delays else 0.0
        return base + late + self._random.expovariate(1.0) * self.jitter_s

    def delay(self, place, seconds):
        """What comes from a place takes so much longer."""
        self._delays[place] = seconds

    def heal(self):
        """All paths are open, and none is slow."""
        self._delays.clear()
        for pair in list(self._blocked):
            self._blocked[pair] = 1
            self.unblock(*pair)

    def block(self, start, end):
        """Nothing gets from one place to another."""
        self._blocked[start, end] = self._blocked.get((start, end), 0) + 1

    def unblock(self, start, end):
        left = self._blocked.get((start, end), 0) - 1
        if left:
            if left > 0:
                self._blocked[start, end] = left
            return
        del self._blocked[start, end]
        for waiting in list(self._stuck):
            if (waiting.place, waiting.other.place) == (start, end):
                del self._stuck[waiting]
                frames, waiting.stuck = waiting.stuck, []
                if waiting.up:
                    self._carry(waiting, frames, self._random.uniform(0.01, 0.3))

    def is_open(self, start, end):
        return (start, end) not in self._blocked

    # -- connections --------------------------------------------------------------------------

    def connect(self, caller, caller_conn, server, server_conn):
        """A connection between two parties; their two ends."""
        mine = End(caller, caller.place, caller_conn)
        theirs = End(server, server.place, server_conn)
        mine.other, theirs.other = theirs, mine
        return mine, theirs

    def send(self, end, frames):
        """Frames leave one side."""
        if not end.up:
            return
        if end.stuck or (end.place, end.other.place) in self._blocked:
            if not end.stuck:
                self._stuck[end] = None
                self._clock.after(self._random.uniform(0.5, 4.0), self._give_up, end)
            end.stuck += frames
            return
        late = 0.0
        if self.loss and self._random.random() < self.loss:
            self.lost += 1
            late = self._random.uniform(0.05, 0.6)
        if self.resets and self._random.random() < self.resets:
            self.lost += 1
            self.reset(end)
            return
        self._carry(end, frames, late)

    def _carry(self, end, frames, late):
        at = self._clock.now + late + self.latency(end.place, end.other.place)
        end.arrives_at = at = max(at, end.arrives_at)
        self._clock.at(at, self._arrive, end.other, frames)

    def _arrive(self, end, frames):
        if end.up:
            end.party.received(end, frames)
        elif end.other.up:  # nobody knows this connection here any more
            self._clock.after(self.latency(end.place, end.other.place), self._end, end.other)

    def _give_up(self, end):
        if end.stuck and end.up:
            self._end(end)

    def reset(self, end):
        """A connection breaks; the two sides hear of it at different times."""
        for side in (end, end.other):
            self._clock.after(self._random.uniform(0.0, 0.05), self._end, side)

    def close(self, end, *, told=True):
        """One side ends it. Unless the other is `told`, it finds out when it sends, or late."""
        end.up = False
        end.stuck = []
        self._stuck.pop(end, None)
        if not end.other.up:
            return
        if told and self.is_open(end.place, end.other.place):
            at = max(end.arrives_at, self._clock.now + self.latency(end.place, end.other.place))
            self._clock.at(at, self._end, end.other)
        else:
            self._clock.after(self._random.uniform(1.0, 8.0), self._end, end.other)

    def _end(self, end):
        if end.up:
            end.up = False
            end.stuck = []
            self._stuck.pop(end, None)
            end.party.ended(end)
            if end.other.up:
                self.close(end)
