"""``mock_bservers``: a whole test network on this machine."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import selectors
import signal
import socket
import sys
import tempfile
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NoReturn

import click

from billots.cli.bserver import Plan, runner, serve
from billots.cli.program import LOG_FORMAT, fail, run_command
from billots.connection import reason
from billots.errors import BillotsError, InputError, ServerError
from billots.host import parse_hosts
from billots.network import Network
from billots.server import Server

_FAILED = 2

_EXAMPLES = """\b
Examples:
  mock_bservers
  mock_bservers --ports 7401-7404 --data-dir /tmp/servers
  bwallet --check-owner a-1 --trusted localhost:7333-7349
"""


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--ports", default="7333-7349", show_default=True, metavar="A-B", help="One server for each."
)
@click.option("--data-dir", metavar="DIR", help="Keep the stores here.  [default: nowhere]")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="error",
    show_default=True,
    help="On stderr.",
)
def command(ports: str, data_dir: str | None, log_level: str) -> int:
    """Run 17 servers of the test network that trust each other, until Ctrl-C."""
    hosts = parse_hosts(f"127.0.0.1:{ports}")
    numbers = [host.port for host in hosts]
    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format=LOG_FORMAT)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise InputError(f"no folder {data_dir}", f"mkdir {data_dir}")
    _check_free(numbers)
    with contextlib.ExitStack() as stack:
        folder = data_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="billots-"))
        network = Network.shipped("test")
        each = (os.cpu_count() or 1) // len(numbers)  # they share the cores
        plans = [
            Plan(port, network, Path(folder) / f"{port}test.db", "127.0.0.1", hosts, [], each)
            for port in numbers
        ]
        return Fleet(plans).run()


def _check_free(ports: list[int]) -> None:
    """Raise ServerError for a taken port: once, not by every server."""
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError as error:
                raise ServerError(
                    f"can't listen on 127.0.0.1:{port}: {reason(error)}",
                    f"--ports names others: {_other(ports)}",
                ) from error


def _other(ports: list[int]) -> str:
    base = 20000 + ports[0] % 10000
    return f"{base}-{base + len(ports) - 1}"


class Fleet:
    """Server processes, forked from this one so that they start at once and share its code.

    A pipe whose writing end only this process holds is their lifeline: however it ends, they
    stop.
    """

    def __init__(self, plans: list[Plan]) -> None:
        self._plans = plans
        self._children: list[ForkProcess] = []
        self._stopping = False

    def run(self) -> int:
        """Start all, say a line for each, wait for Ctrl-C or SIGTERM, stop all."""
        context = multiprocessing.get_context("fork")
        lifeline, held = os.pipe()
        ready, tell = os.pipe()
        sys.stdout.flush()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        for plan in self._plans:
            child = context.Process(target=_child, args=(plan, lifeline, held, tell))
            child.start()
            self._children.append(child)
        os.close(lifeline)
        os.close(tell)
        try:
            status = self._watch(ready)
        finally:
            os.close(held)
            for child in self._children:
                child.join()
        click.echo("Stopped.")
        return status

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _watch(self, ready: int) -> int:
        """Print lines as servers get ready; return when told to stop or when one ends."""
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)
        selector = selectors.DefaultSelector()
        for descriptor in (ready, wake, *(child.sentinel for child in self._children)):
            selector.register(descriptor, selectors.EVENT_READ)
        sentinels = {child.sentinel: child for child in self._children}
        count = 0
        while not self._stopping:
            for key, _ in selector.select():
                if key.fd == ready:
                    lines = os.read(ready, 65536).decode().splitlines()
                    count += len(lines)
                    for line in lines:
                        click.echo(line)
                    if not lines:
                        selector.unregister(ready)
                    elif count == len(self._plans):
                        who = f"All {count} servers are" if count > 1 else "The server is"
                        click.echo(f"{who} ready. Ctrl-C stops {'them' if count > 1 else 'it'}.")
                    sys.stdout.flush()
                elif key.fd in sentinels and not self._stopping:
                    sentinels[key.fd].join()
                    return _FAILED
        return 0


def _child(plan: Plan, lifeline: int, held: int, tell: int) -> None:
    """One server: says a line when it is ready, serves until the lifeline breaks."""
    os.close(held)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear

    def introduce(server: Server, _plan: Plan) -> None:
        os.write(tell, f"{server.address} ready, server key {server.key}\n".encode())

    try:
        runner()(serve(plan, introduce, lifeline))
    except BillotsError as error:
        sys.exit(fail("mock_bservers", str(error), error.hint, _FAILED))


def main() -> NoReturn:
    """The entry point."""
    run_command(command, "mock_bservers", {ServerError: 2, BillotsError: 2})


if __name__ == "__main__":
    main()
