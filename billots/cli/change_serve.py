"""``bchange serve``: run a change server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from billots.cli.options import find_network
from billots.cli.printing import OK, line
from billots.cli.program import LOG_FORMAT
from billots.cli.settings import Settings, passphrase, settings_options
from billots.errors import InputError
from billots.network import format_mils, parse_mils

if TYPE_CHECKING:
    from billots.change_listening import ChangeListener

_LEVELS = ("debug", "info", "warning", "error")
_VALID_S_MAX = 3600


@click.command("serve")
@click.argument("port", type=click.IntRange(0, 65535))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Listen on this address; 0.0.0.0 is all."
)
@click.option(
    "--fee",
    envvar="BCHANGE_FEE",
    default="0",
    show_default=True,
    metavar="AMOUNT",
    help="What each exchange costs the customer.",
)
@click.option(
    "--valid",
    envvar="BCHANGE_VALID",
    type=click.IntRange(5, _VALID_S_MAX),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long a quote holds, and its notes are reserved.",
)
@click.option(
    "--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="On stderr."
)
@settings_options("bchange")
def command(
    *, port: int, host: str, fee: str, valid: int, log_level: str, **settings: object
) -> int:
    """Give change on PORT (0 takes a free one) until Ctrl-C, out of the notes of --keyfile.

    It quotes, takes what it quoted, waits until that is final by --trusted, and gives the change in
    one transfer. Killed at any moment, it goes on where it was.
    """
    from billots.change_limits import ChangeLimits
    from billots.change_listening import ChangeListener
    from billots.changing import ChangeServer

    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format=LOG_FORMAT)
    given = Settings(**settings)  # type: ignore[arg-type]  # click made them what they are
    if given.json:
        raise click.UsageError("bchange serve prints lines, and no document")
    try:
        fee_mils = parse_mils(fee)
    except ValueError as error:
        raise InputError(f"--fee: {error}", "an amount is written 0.05") from error
    server = ChangeServer(
        fee_mils=fee_mils,
        limits=replace(ChangeLimits(), valid_s=valid),
        keyfile=given.keyfile,
        passphrase=passphrase(given.keyfile),
        server=given.server,
        trusted=given.trusted,
        quorum=given.quorum,
        network=find_network(given.network) if given.network is not None else None,
        timeout_s=given.timeout,
    )
    asyncio.run(_serve(ChangeListener(server, host, port)))
    line("Stopped.")
    return OK


async def _serve(listener: ChangeListener) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await listener.start()
    try:
        _introduce(listener)
        await stopping.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            # All that was promised is on disk, as it is when the process is killed.
            loop.add_signal_handler(number, os._exit, 128 + number)
        await listener.stop()


def _introduce(listener: ChangeListener) -> None:
    server, info = listener.server, listener.server.info
    place = f"[{listener.host}]" if ":" in listener.host else listener.host
    line(f"Listening on {place}:{listener.port}")
    line(f"Network: {info.network.name} {info.network.id}")
    line(f"Change server key: {info.server}")
    worth = format_mils(server.network.total_mils(server.notes.notes)) if server.network else "0"
    line(f"Float: {len(server.notes):,} billots, worth {worth}")
    line(f"Fee: {format_mils(info.fee) if info.fee else 'none'}")
    if not len(server.notes):
        line(f"There is nothing to give: transfer billots to {server.key.owner}")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
