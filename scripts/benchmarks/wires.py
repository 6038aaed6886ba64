"""What one transfer costs each of n servers in bodies, bytes and signature checks.

The servers are real nodes over stores in memory, all of them in this process. Frames take a
millisecond, and what one signature check came to is remembered: it is counted, not timed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from benchmarks.figures import Figure, Table
from benchmarks.laps import Laps
from benchmarks.loads import NETWORK, transfers
from billots.crypto import PrivateKey, verify
from billots.host import Host
from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import SendTransfer
from billots.node import Node, Settings
from billots.store import Batch, MemoryStore
from billots.transfer import Transfer

_LATENCY_S = 0.001
_BODY = b'"public_key"'
_LIMITS = Limits(in_flight_max=100_000)


class Simulated:
    """One server; `ends` says where its connections lead."""

    def __init__(self, number: int, size: int, key: PrivateKey, laps: Laps) -> None:
        store = MemoryStore(NETWORK)
        read = Batch.empty()
        read.meta["read"] = b"1"
        store.commit(read)
        others = tuple(Host("127.0.0.1", 7000 + n) for n in range(size) if n != number)
        self.node = Node(NETWORK, store, key, Settings(trusted=others, limits=_LIMITS))
        self.store = store
        self.number = number
        self.laps = laps
        self.ends: dict[int, tuple[Simulated, int]] = {}
        self.received: Counter[str] = Counter()

    def step(self, now: float) -> None:
        """What a driver does."""
        node, laps = self.node, self.laps
        with laps("judge"):
            node.tick(now)
        if node.has_work or node.flush_due:
            with laps("checks"):
                checks = node.checks()
            self.received["checks"] += len(checks)
            with laps("verify"):
                held = [verify(*check) if laps.timed else _verified(*check) for check in checks]
            with laps("judge"):
                batch = node.judge(held, now)
            with laps("commit"):
                if batch is not None:
                    self.store.commit(batch)
            with laps("committed"):
                node.committed(now, written=batch is not None)
        with laps("committed"):
            node.pump(now)


@lru_cache(1_000_000)
def _verified(key: bytes, message: bytes, signature: bytes) -> bool:
    return verify(key, message, signature)


class Network:
    """All servers, each linked to each, and their frames on the way."""

    def __init__(self, size: int, laps: Laps | None = None) -> None:
        self.now = 1000.0
        laps = laps or Laps(timed=False)
        self.servers = [Simulated(n, size, PrivateKey.generate(), laps) for n in range(size)]
        self._wire: list[tuple[Simulated, int, bytes]] = []
        self._conns = 0
        for caller in self.servers:
            for index, host in enumerate(caller.node.settings.trusted):
                server = self.servers[host.port - 7000]
                mine, theirs = self._new(), self._new()
                caller.ends[mine], server.ends[theirs] = (server, theirs), (caller, mine)
                server.node.opened(theirs, "127.0.0.1", exempt=True)
                caller.node.links.opened(mine, index)

    def _new(self) -> int:
        self._conns += 1
        return self._conns

    def submit(self, number: int, transfer: Transfer) -> None:
        """As a wallet does."""
        server, conn = self.servers[number], self._new()
        server.node.opened(conn, "127.0.0.1", exempt=True)
        self._arrive(server, conn, call(1, "transfer", SendTransfer.of(transfer)))

    def _arrive(self, server: Simulated, conn: int, frame: bytes) -> None:
        server.received["bytes"] += len(frame) + 1
        server.received["bodies"] += frame.count(_BODY)
        with server.laps("received"):
            server.node.received(conn, (frame,), self.now)

    def run(self, until: Callable[[], bool]) -> None:
        """Let time go on until it holds."""
        while not until():
            self.tick()

    def tick(self) -> None:
        """A millisecond: what was sent in the last one arrives."""
        frames, self._wire = self._wire, []
        for server, conn, frame in frames:
            self._arrive(server, conn, frame)
        for server in self.servers:
            at = server.node.next_at
            if server.node.has_work or (at is not None and at <= self.now) or server.node.out:
                server.step(self.now)
            out, server.node.out = server.node.out, {}
            for conn, messages in out.items():
                end = server.ends.get(conn)
                if end is not None:
                    self._wire += [(*end, message) for message in messages]
        self.now += _LATENCY_S

    @property
    def linked(self) -> bool:
        """Whether each follows all others."""
        most = len(self.servers) - 1
        return all(server.node.links.up_count == most for server in self.servers)

    def settled(self, count: int) -> bool:
        """Whether all have moved so many billots, and settled them."""
        ledgers = (server.node.ledger for server in self.servers)
        return all(led.moved_count == count and not led.unsettled_billots for led in ledgers)

    @property
    def total(self) -> Counter[str]:
        """What all received, together."""
        return sum((server.received for server in self.servers), Counter())


def costs(sizes: tuple[int, ...], count: int) -> Table:
    """For each size: `count` transfers at once, a server for each in turn."""
    figures: list[Figure] = []
    for size in sizes:
        network = Network(size)
        network.run(lambda network=network: network.linked)
        before, begun = network.total, network.now
        for number, transfer in enumerate(transfers("k-", count)):
            network.submit(number % size, transfer)
        network.run(lambda network=network: network.settled(count))
        took = network.total - before
        each = {what: took[what] / size / count for what in ("bodies", "bytes", "checks")}
        bar = 1.1 if size == 17 else None
        figures += [
            Figure(f"{size:>3} servers: bodies received", each["bodies"], "", None, bar),
            Figure("bytes received", each["bytes"], "B"),
            Figure("signature checks", each["checks"], ""),
            Figure("virtual time until all have it settled", (network.now - begun) * 1000, "ms"),
        ]
    return Table(f"What a transfer costs each server, of {count} at once", tuple(figures))
