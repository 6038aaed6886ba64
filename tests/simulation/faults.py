"""What goes wrong, done to a world; and all of it put right again."""


class Faults:
    """Does what the plan's faults say, and counts them."""

    def __init__(self, world):
        self._world = world
        self._copies = {}
        self.done = {}
        self.healed = False

    def schedule(self, faults):
        start = self._world.clock.now
        for fault in faults:
            self._world.clock.at(start + fault.at, self._do, fault)

    def _do(self, fault):
        if self.healed:
            return
        world = self._world
        server = world.servers[fault.server]
        world.note(server, fault.kind, *fault[2:])
        self.done[fault.kind] = self.done.get(fault.kind, 0) + 1
        getattr(self, "_" + fault.kind.replace(" ", "_"))(server, fault)

    def _later(self, fault, action, *arguments):
        self._world.clock.after(fault.seconds, self._unless_healed, action, arguments)

    def _unless_healed(self, action, arguments):
        if not self.healed:
            action(*arguments)

    # -- processes ----------------------------------------------------------------------------

    def _crash(self, server, fault):
        server.crash(told=fault.share < 0.5, written=fault.share * 4 % 1 < 0.5)
        self._later(fault, server.start)

    def _stop(self, server, fault):
        server.stop()
        self._later(fault, server.start)

    def _freeze(self, server, fault):
        server.freeze()
        self._later(fault, server.thaw)

    def _jump(self, server, fault):
        server.offset += fault.share * 400

    # -- the network --------------------------------------------------------------------------

    def _cut(self, pairs, fault):
        wires = self._world.wires
        for pair in pairs:
            wires.block(*pair)
            self._later(fault, wires.unblock, *pair)

    def _part(self, server, fault):
        if server.place != fault.other:
            self._cut([(server.place, fault.other), (fault.other, server.place)], fault)

    def _oneway(self, server, fault):
        pair = (server.place, fault.other)
        self._cut([pair if fault.share < 0.5 else pair[::-1]], fault)

    def _isolate(self, server, fault):
        others = [n for n in range(-1, len(self._world.servers)) if n != server.place]
        pairs = [(server.place, n) for n in others] + [(n, server.place) for n in others]
        self._cut(pairs, fault)

    def _reset(self, server, fault):
        """Connections break, all of one server's or those with one other place."""
        for end in list(server.ends.values()):
            if fault.share < 0.3 or end.other.place == fault.other:
                self._world.wires.reset(end)

    def _loss(self, _server, fault):
        wires = self._world.wires
        loss, resets = 0.3 * fault.share, 0.02 * fault.share
        wires.loss, wires.resets = wires.loss + loss, wires.resets + resets
        self._later(fault, self._no_loss, loss, resets)

    def _no_loss(self, loss, resets):
        wires = self._world.wires
        wires.loss, wires.resets = max(0.0, wires.loss - loss), max(0.0, wires.resets - resets)

    def _slow(self, server, fault):
        """All that one server says takes long."""
        self._world.wires.delay(server.place, 0.3 * fault.share)
        self._later(fault, self._world.wires.delay, server.place, 0.0)

    # -- disks --------------------------------------------------------------------------------

    def _disk(self, server, fault):
        """Writes take long, and may be there long before they are done."""
        server.write_s = 0.002 + fault.share * 0.2
        self._later(fault, self._quick, server)

    def _quick(self, server):
        server.write_s = 0.0

    def _eio_lost(self, server, _fault):
        server.disk.fault = "lost"

    def _eio_written(self, server, _fault):
        server.disk.fault = "written"

    def _full(self, server, fault):
        server.disk.full = True
        self._later(fault, self._space, server.disk)

    def _space(self, disk):
        disk.full = False

    # -- memory -------------------------------------------------------------------------------

    def _copied(self, server, _fault):
        if server.up:
            self._copies[server.number] = server.disk.copy()

    def _wiped(self, server, fault):
        if self._world.may_forget(server):
            server.replace_disk(self._world.new_disk())
            self._later(fault, server.start)

    def _flipped(self, server, fault):
        if self._world.may_forget(server):
            server.crash()
            server.disk.damaged = True
            self._later(fault, server.start)

    def _restored(self, server, fault):
        copy = self._copies.get(server.number)
        if copy is not None and self._world.may_forget(server):
            server.replace_disk(copy)
            self._later(fault, server.start)

    # -- the end ------------------------------------------------------------------------------

    def heal(self):
        """Everything works again; liars fall silent."""
        world = self._world
        self.healed = True
        wires = world.wires
        wires.loss = wires.resets = 0.0
        wires.heal()
        for server in world.servers:
            server.write_s = 0.0
            server.disk.full = False
            server.disk.fault = None
            if not server.honest:
                server.crash()
                continue
            server.thaw()
            server.start()
