"""Where the CPU time of a transfer goes, phase by phase: a server alone, and one of seventeen.

Node and store run in this process and are fed with the frames that clients and servers send, in
groups as they form under load. TCP and asyncio are left out (a line's echo among the floors is
what they cost at least), and of seventeen servers LevelDB: they have their stores in memory.
"""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.figures import Figure, Table
from benchmarks.laps import Laps
from benchmarks.loads import NETWORK, transfers
from benchmarks.wires import Network
from billots.cli.bserver import spare_collector
from billots.crypto import PrivateKey, verify
from billots.framing import FrameDecoder
from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import SendTransfer
from billots.node import Node, Settings
from billots.store import open_store

_CLIENTS = 8
_PHASES = {
    "received": "frames cut and decoded, rows of feeds hashed",
    "checks": "billots looked up, and judged before their signatures",
    "verify": "signatures checked",
    "judge": "judged and taken, votes counted",
    "commit": "one synced write for all that came together",
    "committed": "answers and feed batches",
}
"""What the node's driver does in each; all but the checks and the write hold Python's lock."""


def alone(each: int, count: int, group: int) -> Table:
    """Transfers of `each` billots at a server that trusts nobody, `group` of them a round."""
    spare_collector()
    laps = Laps()
    frames = [
        call(number, "transfer", SendTransfer.of(transfer))
        for number, transfer in enumerate(transfers("k-", count, each))
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "test.db", NETWORK, create=True)
        limits = Limits()
        node = Node(NETWORK, store, PrivateKey.generate(), Settings(limits=limits))
        decoders = [FrameDecoder(limits.frame_bytes_max) for _ in range(_CLIENTS)]
        for conn in range(_CLIENTS):
            node.opened(conn, "127.0.0.1", exempt=True)
        for start in range(0, count, group):
            for conn, decoder in enumerate(decoders):
                mine = frames[start + conn : start + group : _CLIENTS]
                with laps("received"):
                    for frame in decoder.feed(b"".join(frame + b"\n" for frame in mine))[0]:
                        node.received(conn, (frame,), float(start))
            with laps("checks"):
                checks = node.checks()
            with laps("verify"):
                held = [verify(*check) for check in checks]
            with laps("judge"):
                batch = node.judge(held, float(start))
            assert batch is not None, "transfers are taken"
            with laps("commit"):
                store.commit(batch)
            with laps("committed"):
                node.committed(float(start), written=True)
                node.pump(float(start))
            assert sum(map(len, node.out.values())) == len(checks), "each is answered"
            node.out = {}
        store.close()
    billots = "one billot" if each == 1 else f"{each} billots"
    return _table(f"Where the time goes: a transfer of {billots}, a server alone", laps, count)


def among(size: int, count: int, at_once: int) -> Table:
    """Transfers of one billot at servers that trust each other, a server for each in turn."""
    spare_collector()
    laps = Laps()
    network = Network(size, laps)
    network.run(lambda: network.linked)
    laps.clear()
    work = enumerate(transfers("k-", count))
    while group := list(islice(work, at_once)):
        for number, transfer in group:
            network.submit(number % size, transfer)
        network.tick()
    network.run(lambda: network.settled(count))
    title = f"Where the time goes: a transfer of one billot, each of {size} servers"
    return _table(title, laps, count * size)


def _table(title: str, laps: Laps, count: int) -> Table:
    total = sum(laps.seconds.values())
    figures = [
        Figure(f"{what} ({name})", laps.seconds[name] / count * 1e6, "us", total / count * 1e6)
        for name, what in _PHASES.items()
    ]
    return Table(title, (*figures, Figure("together", total / count * 1e6, "us")))
