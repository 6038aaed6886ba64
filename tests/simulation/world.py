"""One seed's world: servers, wallets, network, faults; run until all is at rest again."""

import itertools
import logging
from zlib import crc32

from billots.crypto import verify
from billots.host import Host
from billots.network import Network
from billots.quorum import liars_max
from simulation import rest
from simulation.clock import Clock
from simulation.disk import Disk
from simulation.faults import Faults
from simulation.gossip import Gossip
from simulation.liar import Conspiracy, Liar
from simulation.plan import draw
from simulation.record import Broken, Circle, Record
from simulation.server import Key, Server
from simulation.streams import Streams
from simulation.wallets import Wallets
from simulation.wires import Wires
from simulation.workload import BILLOTS, OWNERS, Workload

logging.getLogger("billots").setLevel(logging.CRITICAL)  # liars make servers talk a lot

REST_S = 40.0
"""How long servers may take to agree once all works again."""


class World:
    """`World(seed).run()` raises Broken if an invariant doesn't hold."""

    server_class = Server
    liar_class = Liar
    disk_class = Disk

    def __init__(self, seed, *, plan=None, tracing=False):
        self.seed = seed
        self.streams = Streams(seed)
        self.plan = plan if plan is not None else draw(seed, self.streams)
        self.clock = Clock()
        self.tracing = tracing
        self.trace = []
        self.hash = 0
        self.limits = self.plan.limits
        self.keys = {}
        self._conns = itertools.count(1)
        self._nonces = self.streams("nonces")
        self.held = {}  # (public key, message, signature) → whether it holds
        self.wires = Wires(self.clock, self.streams("network"))
        self.workload = Workload(self)
        self.network = self._network()
        size = self.plan.size
        self.record = Record(self.network, range(size))
        self.conspiracy = Conspiracy(self)
        self.servers = [self._server(number) for number in range(size)]
        for server in self.servers:
            self.record.circles[server.number] = Circle((server.number, *server.trusted))
        if self.plan.hosts == "pinned":
            for server in self.servers:
                server.pins = {n: self.server_key(n, 1).public_hex for n in server.trusted}
        self.record.liars = sum(1 << number for number in self.plan.liars)
        self.wallets = Wallets(self, self.workload.final)
        self.faults = Faults(self)
        self.gossip = Gossip()
        self.forgot = set(self.plan.liars)
        self._draw = self.streams("disks")
        self.slow_disks = self._draw.random() < 0.3

    def _network(self):
        owners = self.workload.keys
        return Network.from_fields(
            {
                "name": "simulated",
                "issuer": owners[0].owner,
                "denominations": [
                    {"prefix": "a-", "value": "1", "circulation": 300},
                    {"prefix": "b-", "value": "0.5", "circulation": 10},
                ],
                "allocations": {f"a-{n}": owners[n % OWNERS].owner for n in range(1, BILLOTS + 1)},
            }
        )

    def _server(self, number):
        kind = self.liar_class if number in self.plan.liars else self.server_class
        return kind(self, number, self.plan.lists[number])

    # -- what servers and wallets ask of their world ------------------------------------------

    def host(self, number, pins):
        """How a server's list names another: keys of this machine's hosts are never kept."""
        name = "127.0.0.1" if self.plan.hosts == "loopback" else f"s{number}.example"
        return Host(name, 7000 + number, pins.get(number))

    def has_new_key(self, server, key):
        """A server was set up anew: those who run the others hear of it and accept the key."""
        if server.honest:
            self.record.new_life(server, self.servers, tuple(self.workload.purses))
            for after_s in (0.003, 0.02, 0.05, 0.1, 0.2, 0.5):
                self.clock.after(after_s, self.wallets.quiz, server)
        for other in self.servers:
            if other is not server and server.number in other.trusted:
                self.clock.after(self._draw.random(), other.accept_key, server.number, key)

    def server_key(self, number, life):
        """The key that a server makes for itself when it begins, each time with nothing."""
        return self.private_key(f"server/{number}/{life}")

    def private_key(self, name):
        """A key whose signatures need no check in this run: we know who made them."""
        return Key(self.streams.secret(name), self.held)

    def new_conn(self):
        return next(self._conns)

    def new_disk(self):
        return self.disk_class()

    def nonce(self):
        return f"{self._nonces.getrandbits(64):016x}"

    def chance(self):
        return self._draw.random()

    def verify(self, check):
        """The real check, once for each triple."""
        held = self.held.get(check)
        if held is None:
            held = self.held[check] = verify(*check)
        return held

    def verify_call(self, *check):
        return self.verify(check)

    def write_time(self, server):
        """How long a write takes, and whether it is on disk before it is done."""
        if server.write_s:
            return server.write_s * (0.5 + self._draw.random()), self._draw.random() < 0.5
        if self.slow_disks or self._draw.random() < 0.1:
            return self._draw.random() * 0.006, self._draw.random() < 0.5
        return 0.0, False

    def may_forget(self, server):
        """Whether this server may lose its memory and all promises still stand."""
        size = self.plan.size
        if server.number in self.forgot:
            return True
        if size >= 4:
            if len(self.forgot) >= liars_max(size):
                return False
        elif self.forgot or not rest.is_quiet(self):
            return False
        self.forgot.add(server.number)
        return True

    def conspire(self, first, second):
        """Liars hear of every double spend at once."""
        self.conspiracy.heard(first, second)

    # -- what is watched ----------------------------------------------------------------------

    def carried(self, party, end, frames):
        """Frames arrived: part of what makes two runs the same."""
        value = crc32(b"%d %d %.6f" % (end.place, end.other.place, self.clock.now), self.hash)
        for frame in frames:
            value = crc32(frame, value)
        self.hash = value
        if self.tracing:
            for frame in frames:
                self.note(party, f"hears from {_place(end.other.place)}", frame.decode()[:4000])

    def note(self, who, what, *details):
        if self.tracing:
            name = who if isinstance(who, Server) else type(who).__name__.lower()
            words = " ".join(str(detail) for detail in details)
            self.trace.append(f"{self.clock.now - 1000:9.4f} {name} {what} {words}")

    # -- the run ------------------------------------------------------------------------------

    def run(self):
        """Everything, from the start to rest."""
        clock, plan = self.clock, self.plan
        self.workload.begin()
        for server in self.servers:
            server.start()
        clock.run(clock.now + 2.0)  # who loses its store before it has read the others is blank
        self.workload.schedule(plan.actions)
        self.faults.schedule(plan.faults)
        clock.run(clock.now + plan.seconds)
        self.faults.heal()
        self.note(self, "heals")
        rest.settle(self, REST_S)
        rest.spend_all(self, REST_S)
        rest.sign_again(self, REST_S)
        rest.check(self)
        return self


def _place(place):
    return "wallets" if place < 0 else f"s{place}"


__all__ = ["Broken", "World"]
