"""Pages in a process of their own, beside a server: what loads them can't hold the server up.

This is the server's end, and knows nothing but how to start it, to see it end, and to start it
again. The process reads its settings from its standard input, and ends when that is closed, by
whatever end the server comes to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import PIPE, Process

import msgspec
from msgspec import Struct

from billots.errors import ServerError
from billots.host import Host
from billots.network import Network, format_mils

log = logging.getLogger("billots.web")

_READY_S = 30.0
_STOP_S = 5.0
_AGAIN_FIRST_S, _AGAIN_MAX_S = 0.2, 30.0
_STEADY_S = 60.0


class Settings(Struct, frozen=True):
    """What the process is told. `server` is where it finds the server whose pages it serves."""

    server: str
    network: dict[str, object]
    address: str
    port: int
    names: tuple[str, ...]
    log_level: str
    log_format: str


class Ready(Struct, frozen=True):
    """What it says first: where it listens, or why it can't."""

    port: int = 0
    error: str | None = None
    hint: str | None = None


def network_fields(network: Network) -> dict[str, object]:
    """A network as `Network.from_fields` takes it."""
    fields: dict[str, object] = {
        "name": network.name,
        "denominations": [
            {"prefix": d.prefix, "value": format_mils(d.mils), "circulation": d.circulation}
            for d in network.denominations.values()
        ],
        "allocations": dict(network.allocations),
    }
    return fields if network.issuer is None else {**fields, "issuer": network.issuer}


class Pages:
    """The process, from `start` to `stop`. Should it end in between, another takes its place."""

    def __init__(
        self,
        network: Network,
        place: Host,
        names: tuple[str, ...] = (),
        *,
        log_format: str = logging.BASIC_FORMAT,
    ) -> None:
        self.place = place
        self.pid = 0
        self._network = network
        self._names = names
        self._log_format = log_format
        self._server = ""
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where they are."""
        return f"http://{self.place.place}/"

    async def start(self, server: str) -> None:
        """Start it, and wait until it serves; raises ServerError if it can't."""
        self._server = server
        process = await self._start()
        self._watching = asyncio.create_task(self._watch(process))

    async def _start(self) -> Process:
        settings = Settings(
            self._server,
            network_fields(self._network),
            self.place.address,
            self.place.port,
            self._names,
            logging.getLevelName(logging.getLogger().getEffectiveLevel()),
            self._log_format,
        )
        try:
            # -P: nothing that lies in the folder where the server was started is run. A session of
            # its own: Ctrl-C is for the server, who ends it then.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "billots.web"),
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerError(f"can't start the pages: {error.strerror}") from error
        self._process = process
        try:
            ready = await _ask(process, settings)
        except BaseException:
            await _end(process)
            raise
        self.pid = process.pid
        self.place = Host(self.place.address, ready.port)
        return process

    async def _watch(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _AGAIN_FIRST_S
        while True:
            begun = loop.time()
            status = await process.wait()
            self.pid = 0
            if loop.time() - begun > _STEADY_S:
                pause_s = _AGAIN_FIRST_S
            log.warning("the process that serves pages ended (%s); starting another", status)
            while True:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _AGAIN_MAX_S)
                try:
                    process = await self._start()
                    break
                except ServerError as error:
                    log.warning("no pages: %s", error)

    async def stop(self) -> None:
        """End it, in bounded time."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._process is not None:
            await _end(self._process)


async def _ask(process: Process, settings: Settings) -> Ready:
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    try:
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
        async with asyncio.timeout(_READY_S):
            ready = msgspec.json.decode(await process.stdout.readline(), type=Ready)
    except (OSError, RuntimeError, TimeoutError, ValueError) as error:
        raise ServerError("the process that serves pages did not start") from error
    if ready.error is not None:
        raise ServerError(ready.error, ready.hint)
    return ready


async def _end(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_S):
            await process.wait()
            return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
