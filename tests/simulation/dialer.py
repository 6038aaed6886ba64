"""Links to trusted servers kept up, as billots.dialing does."""


class Dialer:
    """One server's links: first retry at once, then back-off; an incoming link hurries it."""

    def __init__(self, server):
        self._server = server
        self._run = 0
        self._tries = {}
        self._wait_s = {}
        self._indexes = {}
        self._may_hurry = set()

    def start(self):
        self._run = self._server.run
        self._tries, self._indexes, self._may_hurry = {}, {}, set()
        first_s = self._server.world.limits.dial_first_s
        self._wait_s = dict.fromkeys(range(len(self._server.trusted)), first_s)
        for index in self._wait_s:
            self._later(index, 0.0)

    def _later(self, index, seconds):
        self._tries[index] = self._tries.get(index, 0) + 1
        self._server.world.clock.after(seconds, self._dial, self._run, index, self._tries[index])

    def _spread(self):
        return self._server.world.streams("network").uniform(0.5, 1.0)

    def _dial(self, run, index, number):
        server, world = self._server, self._server.world
        if run != server.run or number != self._tries[index]:
            return
        self._may_hurry.discard(index)
        if server.node.trust.entries[index].own:
            return
        other = world.servers[server.trusted[index]]
        there_s = world.wires.latency(server.place, other.place)
        world.clock.after(2 * there_s, self._reach, run, index, other)

    def _reach(self, run, index, other):
        server, world = self._server, self._server.world
        if run != server.run:
            return
        wires = world.wires
        a, b = server.place, other.place
        if not wires.is_open(a, b) or not wires.is_open(b, a):
            world.clock.after(world.limits.dial_timeout_s, self._failed, run, index)
        elif not other.up:
            self._failed(run, index)
        else:
            mine, theirs = wires.connect(server, world.new_conn(), other, world.new_conn())
            server.ends[mine.conn] = mine
            self._indexes[mine.conn] = index
            other.accept(theirs, f"s{server.number}.example")
            server.node.links.opened(mine.conn, index)
            server.flush()

    def _failed(self, run, index):
        if run == self._server.run:
            self._again(index)

    def _again(self, index):
        limits = self._server.world.limits
        wait_s = self._wait_s[index]
        self._wait_s[index] = min(2 * wait_s, limits.dial_max_s)
        self._may_hurry.add(index)
        first_s = limits.dial_first_s
        self._later(index, max(first_s, wait_s) * self._spread())

    def ended(self, end, was_up):
        """A link of ours is gone."""
        index = self._indexes.pop(end.conn, None)
        if index is not None:
            if was_up:
                self._wait_s[index] = self._server.world.limits.dial_first_s
            self._again(index)

    def hurry(self, index):
        """It seems to be up again."""
        if index in self._may_hurry:
            limits = self._server.world.limits
            self._wait_s[index] = limits.dial_first_s
            self._later(index, limits.dial_first_s * self._spread())
