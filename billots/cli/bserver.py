"""``bserver``: run a server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import click

from billots.cli.pages import WebPlan, explorer, tell_pages, web_options, web_plan
from billots.cli.program import LOG_FORMAT, printable, run_command
from billots.errors import BillotsError, InputError
from billots.host import Host, parse_hosts
from billots.limits import Limits
from billots.lives import server_key
from billots.network import Network, shown
from billots.quorum import safe_quorum
from billots.server import Server
from billots.store import open_store
from billots.version import __version__

_PREFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}", re.ASCII)
_LEVELS = ("debug", "info", "warning", "error")

_CHECKERS_MAX = 64
_OTHER_FILES_MAX = 400
"""Files that a server needs besides its connections: 256 are the store's at most."""

_EXAMPLES = """\b
Examples:
  bserver 7333 test
      a server of the test network, for this machine only
  bserver 7334 test --prefix second --trusted localhost:7333
      another one beside it, which trusts the first
  bserver 7333 --network club.toml --trusted a.example.org, b.example.org
      a server of your own currency, for everybody
  bserver 7333 --network club.toml --show-key
      its key, which others may pin: --trusted this.example.org:7333#KEY
"""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    port: int
    network: Network
    store: Path
    host: str
    trusted: list[Host]
    accept_keys: list[Host] = field(default_factory=list)
    checkers: int | None = None
    web: WebPlan | None = None


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("port", type=click.IntRange(0, 65535))
@click.argument("which", metavar="[test]", required=False, type=click.Choice(["test"]))
@click.option("--prefix", default="", help="Begin the store's name with this.")
@click.option(
    "--host",
    help="Listen on this address only.  [default: 127.0.0.1 for test, else all addresses]",
)
@click.option(
    "--trusted",
    default="",
    help="Servers to trust: h:p, h:p, h:p; ranges h:7333-7349; pinned h:p#KEY.",
)
@click.option(
    "--network",
    "network_file",
    metavar="FILE",
    envvar="BSERVER_NETWORK",
    help="Serve the currency of this file.",
)
@click.option("--data-dir", metavar="DIR", default=".", help="Where the store is.  [default: .]")
@click.option(
    "--accept-key",
    "accept_keys",
    metavar="HOST",
    multiple=True,
    help="Trust HOST under a new key: the one in h:p#KEY, else the next that it shows.",
)
@click.option(
    "--checkers",
    type=click.IntRange(0, _CHECKERS_MAX),
    metavar="N",
    help="Processes that check signatures under load, 0 for none.  [default: one for each core]",
)
@web_options
@click.option(
    "--show-key", is_flag=True, help="Print this server's key, for others to pin, and end."
)
@click.option(
    "--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="On stderr."
)
@click.version_option(__version__, message="%(prog)s %(version)s", allow_from_autoenv=False)
def command(
    *,
    port: int,
    which: str | None,
    prefix: str,
    host: str | None,
    trusted: str,
    network_file: str | None,
    data_dir: str,
    accept_keys: tuple[str, ...],
    checkers: int | None,
    web: str | None,
    web_names: tuple[str, ...],
    show_key: bool,
    log_level: str,
) -> None:
    """Run a server on PORT (0 takes a free one) until Ctrl-C.

    It serves the live network, the test network with "test", or a currency of your own with
    --network. Its billots are kept in PREFIXlive.db or PREFIXtest.db.
    """
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format=LOG_FORMAT,
    )
    test = which is not None
    if test and network_file is not None:
        raise InputError("either test or --network, not both")
    plan = Plan(
        port=port,
        network=_network(test=test, file=network_file),
        store=_store(Path(data_dir), prefix, test=test),
        host=host if host is not None else ("127.0.0.1" if test else ""),
        trusted=parse_hosts(trusted),
        accept_keys=parse_hosts(accept_keys),
        checkers=checkers,
        web=web_plan(web, web_names),
    )
    check_accepted(plan)
    if show_key:
        click.echo(f"Server key: {server_key_of(plan)}")
        return
    runner()(serve(plan, introduce, on_new_key=tell_key))
    click.echo("Stopped.")


def _network(*, test: bool, file: str | None) -> Network:
    if file is not None:
        return Network.load(file)
    return Network.shipped("test" if test else "main")


def _store(folder: Path, prefix: str, *, test: bool) -> Path:
    if prefix and _PREFIX.fullmatch(prefix) is None:
        raise InputError(
            f"not a prefix: {shown(prefix)}",
            "a prefix is up to 32 of A-Z a-z 0-9 . _ - and --data-dir names a folder",
        )
    return folder / f"{prefix}{'test' if test else 'live'}.db"


def check_accepted(plan: Plan) -> None:
    """Raise InputError for a host of --accept-key whose key isn't remembered anyway."""
    trusted = {host.place: host for host in plan.trusted}
    for host in plan.accept_keys:
        entry = trusted.get(host.place)
        if entry is None:
            raise InputError(
                f"--accept-key {host.place} is not one of --trusted", "name it in --trusted as well"
            )
        if entry.key is not None and entry.key != host.key:
            raise InputError(
                f"--trusted pins {host.place} to another key",
                f"name the new one there: {host.place}#KEY",
            )


def server_key_of(plan: Plan) -> str:
    """The key in the store, which is made if it isn't there; raises StoreError."""
    with contextlib.closing(open_store(plan.store, plan.network)) as store:
        return server_key(store).public_hex


def runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Uvloop's where it is installed: faster, and otherwise the same."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def spare_collector() -> None:
    """Look for cycles rarely: a server makes almost none, and looking took a sixth of its time.

    What is there by now stays anyway, and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def serve(
    plan: Plan,
    ready: Callable[[Server, Plan], None],
    lifeline: int | None = None,
    on_new_key: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun and close.

    `ready` is called once the server listens, `on_new_key` as Server does it. A `lifeline` is
    the reading end of a pipe: the server stops as well when its writing end is closed, by
    whatever end its holder comes to.
    """
    server = Server(
        plan.network,
        port=plan.port,
        host=plan.host,
        store=plan.store,
        trusted=plan.trusted,
        accept_keys=plan.accept_keys,
        limits=replace(limits_here(), checkers_max=plan.checkers),
        on_new_key=on_new_key,
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = [signal.SIGTERM] if lifeline is not None else [signal.SIGTERM, signal.SIGINT]
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    if lifeline is not None:
        loop.add_reader(lifeline, stopping.set)
    await server.start()
    spare_collector()
    serving = asyncio.create_task(server.wait())
    asked = asyncio.create_task(stopping.wait())
    try:
        async with explorer(plan.web, server) as url:
            ready(server, plan)
            tell_pages(url)
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        for number in signals:
            # A second Ctrl-C ends it at once. Not by an exception, which would come out of any
            # line: all that was acknowledged is on disk, as it is when the process is killed.
            loop.add_signal_handler(number, os._exit, 128 + number)
        if lifeline is not None:
            loop.remove_reader(lifeline)
        await server.stop()
    await serving


def limits_here() -> Limits:
    """The limits, with no more connections than this process may have files open.

    A store that can't open its files for them is a store that can't be written.
    """
    limits = Limits()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections_max + _OTHER_FILES_MAX
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return replace(limits, connections_max=max(8, soft - _OTHER_FILES_MAX))
    return limits


def introduce(server: Server, plan: Plan) -> None:
    """Say what runs where."""
    network = plan.network
    place = server.address if plan.host else f"port {server.port} of all addresses"
    click.echo(f"Listening on {place}")
    click.echo(f"Network: {network.name} {network.id}")
    click.echo(f"Server key: {server.key}")
    click.echo(f"Store: {printable(str(plan.store))}")
    # Its own entry is only certain once it has dialled it; here its place is enough.
    others = [
        host
        for host in plan.trusted
        if host.port != server.port or not (host.loopback or host.address == plan.host)
    ]
    n = len(others) + 1
    if n == 1:
        click.echo("Trusted: nobody; this server's word is enough for itself")
    else:
        servers = "1 server" if n == 2 else f"{n - 1} servers"
        click.echo(f"Trusted: {servers}; {safe_quorum(n)} of {n} make a quorum")
    if server.dropped:
        click.echo(
            f"bserver: warning: with this store {', '.join(server.dropped)} was trusted before, "
            "and isn't now\nhint: --trusted names servers; who trusts nobody hears of no payment "
            "that others take",
            err=True,
        )
    if network.issuer is None and not network.allocations:
        click.echo(
            f"Network {network.name} has no issuer: every billot is unissued until one is set.\n"
            "To play, try: bserver 7333 test\n"
            "For a currency of your own: bserver 7333 --network FILE"
        )
    sys.stdout.flush()


def tell_key(key: str) -> None:
    """Once more, for the one that was told at the start counts no more."""
    with contextlib.suppress(OSError):  # whoever read our output has gone; the log has it too
        click.echo(f"Server key: {key}")
        sys.stdout.flush()


def main() -> NoReturn:
    """The entry point."""
    run_command(command, "bserver", {BillotsError: 2})


if __name__ == "__main__":
    main()
