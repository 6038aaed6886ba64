"""The process that serves the explorer beside a server: see `billots.web.process`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import msgspec

from billots.errors import BillotsError
from billots.host import Host
from billots.network import Network
from billots.web.explorer import Explorer
from billots.web.process import Ready, Settings
from billots.web.serving import serving

_NICENESS = 5


def main() -> int:
    """Serve until the input ends."""
    os.nice(_NICENESS)  # whoever moves money comes first
    out = os.dup(1)
    os.dup2(2, 1)  # what anybody prints is no answer
    told = sys.stdin.buffer.readline()
    if not told:
        return 0  # the server ended before it said anything
    settings = msgspec.json.decode(told, type=Settings)
    logging.basicConfig(level=settings.log_level, stream=sys.stderr, format=settings.log_format)
    try:
        asyncio.run(_serve(settings, out))
    except BillotsError as error:
        _say(out, Ready(error=str(error), hint=error.hint))
        return 1
    return 0


async def _serve(settings: Settings, out: int) -> None:
    explorer = Explorer(
        Host.parse(settings.server),
        Network.from_fields(settings.network),
        host=settings.address,
        names=settings.names,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_reader(0, stopping.set)  # nothing more is ever written there: this is its end
    try:
        place = Host(settings.address, settings.port)
        async with (
            explorer.running() as following,
            serving(explorer.app, place, before_stop=explorer.streams.close) as host,
        ):
            _say(out, Ready(host.port))
            asked = asyncio.create_task(stopping.wait())
            await asyncio.wait({asked, following}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if following.done():
                await following  # it never ends but by a mistake of ours: another process is due
    finally:
        loop.remove_reader(0)


def _say(out: int, ready: Ready) -> None:
    os.write(out, msgspec.json.encode(ready) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
