"""What nothing here can be cheaper than, measured in the same run."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.figures import Figure, Table
from benchmarks.servers import process_of
from billots.crypto import PrivateKey, verify
from billots.store.leveldb import LevelDB


@dataclass(frozen=True)
class Floors:
    """Seconds, each a median or a mean of many."""

    check_s: float
    sign_s: float
    sync_s: float
    put_s: float
    echo_s: float

    @property
    def table(self) -> Table:
        """As figures."""
        micro = 1e6
        return Table(
            "Floors",
            (
                Figure("one signature check", self.check_s * micro, "us"),
                Figure("one signature", self.sign_s * micro, "us"),
                Figure("one synced LevelDB write, time", self.sync_s * 1000, "ms"),
                Figure("one LevelDB put in a batch of 256, CPU", self.put_s * micro, "us"),
                Figure("one line echoed by a bare server, CPU", self.echo_s * micro, "us"),
            ),
        )


_SAMPLE_S = 0.02
_TRANSFER_BYTES, _STATEMENT_BYTES = 201, 447
"""What is signed of one billot."""


def measure() -> Floors:
    """All of them; a few seconds."""
    return Floors(_median(checking(), 3000), _median(signing(), 1000), *_disk(), _echo_s())


def checking() -> Callable[[], object]:
    """A signature check of a transfer of one billot."""
    key, message = PrivateKey.generate(), b"x" * _TRANSFER_BYTES
    signature = key.sign(message)
    return lambda: verify(key.public_key, message, signature)


def signing() -> Callable[[], object]:
    """A signature of a statement about one billot."""
    key, message = PrivateKey.generate(), b"x" * _STATEMENT_BYTES
    return lambda: key.sign(message)


class Meanwhile:
    """What a call costs while something else is measured: `async with`, then `cost_s`.

    The speed of a machine that is shared wanders by half within minutes, and a core is slower
    beside one that works. So a ratio to a check that was timed before is worth little.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._took_s: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _sample(self) -> None:
        call = self._call
        while True:
            call()  # what the cache lacks is not its own
            begun = time.thread_time()
            for _ in range(4):
                call()
            self._took_s.append((time.thread_time() - begun) / 4)
            await asyncio.sleep(_SAMPLE_S)

    @property
    def cost_s(self) -> float:
        """The median of all samples."""
        return statistics.median(self._took_s)


def _median(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def _disk() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        engine = LevelDB(Path(folder) / "db", create=True)
        numbers = iter(range(10**9))
        sync = _median(lambda: engine.write({b"k%d" % next(numbers): b"x" * 100}), 200)
        batches = [{os.urandom(12): b"x" * 20 for _ in range(256)} for _ in range(100)]
        begun = time.thread_time()
        for batch in batches:
            engine.write(batch)
        put = (time.thread_time() - begun) / 256 / len(batches)
        engine.close()
    return sync, put


_ECHO = """
import asyncio, os
try:
    import uvloop
    run = uvloop.run
except ImportError:
    run = asyncio.run
class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(data)
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
run(main())
"""


def _echo_s() -> float:
    """CPU for a line when 32 of a client's lines are on their way, as in the loads here."""
    count, window = 8000, 32
    with process_of("-c", _ECHO) as server:

        async def run() -> None:
            reader, writer = await asyncio.open_connection(server.host.address, server.host.port)
            for _ in range(count // window):
                writer.write(b"x" * 500 + b"\n")
                for _ in range(window - 1):
                    writer.write(b"x" * 500 + b"\n")
                for _ in range(window):
                    await reader.readline()
            writer.close()

        before = server.cpu_s
        asyncio.run(run())
        return (server.cpu_s - before) / count
