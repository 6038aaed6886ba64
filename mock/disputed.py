"""``mock_disputed``: one billot signed over to eleven owners, all sent at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import string
import sys
from dataclasses import dataclass
from typing import NoReturn

import click

from billots.cli.program import run_command
from billots.connection import Client
from billots.crypto import PrivateKey
from billots.errors import BillotsError, InputError, ProtocolError, Refused, Unreachable
from billots.holding import Holding, Status
from billots.host import Host, parse_hosts
from billots.messages import Accepted, SendTransfer, WhoOwns
from billots.mock import mock_keys
from billots.network import Network
from billots.statement import Statement
from billots.transfer import Transfer

_OWNERS_MAX = len(string.ascii_uppercase)
_WATCH_S = 3.0

_EXAMPLES = """\b
Examples:
  mock_bservers                  in one terminal, and in another:
  mock_disputed
  bwallet --check-owner a-1 --trusted localhost:7333-7349
"""


@dataclass
class Racer:
    """One server in the race, with the owner (a letter) that its transfer names."""

    host: Host
    letter: str
    client: Client
    transfer: Transfer
    outcome: str = "no answer"


@click.command(epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--ports", default="7335-7345", show_default=True, metavar="A-B", help="One transfer to each."
)
@click.option("--billot", default="a-1", show_default=True, metavar="ID", help="A mock user's.")
def command(ports: str, billot: str) -> None:
    """Sign one billot over to eleven owners and send each transfer to another server at once."""
    hosts = parse_hosts(f"localhost:{ports}")
    if not 2 <= len(hosts) <= _OWNERS_MAX:
        raise InputError(f"a race takes 2 to {_OWNERS_MAX} servers")
    network = Network.shipped("test")
    network.check(billot)
    asyncio.run(_race(network, hosts, billot))
    first, last = hosts[0].port, hosts[-1].port
    click.echo(f"Now try: bwallet --check-owner {billot} --trusted localhost:{first}-{last}")


async def _race(network: Network, hosts: list[Host], billot: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for host in hosts:
            try:
                clients.append(await stack.enter_async_context(await Client.connect(host)))
            except Unreachable as error:
                raise Unreachable(str(error), "start the servers first: mock_bservers") from error
        holding = (await _holdings(clients[:1], billot))[0]
        racers = _sign(network, billot, hosts, clients, holding)
        click.echo(f"{len(racers)} transfers of {billot} are signed; all connections are open.")
        await asyncio.gather(*(_send(racer) for racer in racers))
        for racer in racers:
            click.echo(f"  {racer.host.place}  {billot} -> {racer.letter}  {racer.outcome}")
        click.echo(f"The owner of {billot}, as each server has it (* if contested):")
        await _watch(racers, billot)


def _sign(
    network: Network, billot: str, hosts: list[Host], clients: list[Client], holding: Holding
) -> list[Racer]:
    """All transfers, each to an owner of its own whom nobody knows."""
    key = mock_keys().get(holding.owner or "")
    if holding.status in (Status.CONTESTED, Status.DISPUTED):
        raise ProtocolError(f"{billot} is {holding.status} already", "try another: --billot b-1")
    if key is None:
        raise ProtocolError(f"{billot} is not a mock user's any more", "try another: --billot b-1")
    rows = [(billot, holding.seq + 1)]
    return [
        Racer(
            host,
            letter,
            client,
            Transfer.sign(network, key, PrivateKey.generate().owner, rows),
        )
        for host, client, letter in zip(hosts, clients, string.ascii_uppercase, strict=False)
    ]


async def _send(racer: Racer) -> None:
    try:
        await racer.client.call("transfer", SendTransfer.of(racer.transfer), Accepted)
    except Refused as refused:
        racer.outcome = f"refused: {refused.name or refused.code}"
    except BillotsError as error:
        racer.outcome = str(error)
    else:
        racer.outcome = "taken"


async def _watch(racers: list[Racer], billot: str) -> None:
    """Draw the row of cells again whenever it changes, until all have heard of the conflict."""
    letters = {racer.transfer.to: racer.letter for racer in racers}
    click.echo("  " + " ".join(f"{racer.host.port:>5}" for racer in racers))
    clients, drawn, row = [racer.client for racer in racers], "", ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WATCH_S):
            while True:
                holdings = await _holdings(clients, billot)
                row = "  " + " ".join(_cell(holding, letters) for holding in holdings)
                if row != drawn and sys.stdout.isatty():
                    click.echo("\r" + row, nl=False)
                    drawn = row
                if all(holding.status is not Status.HELD for holding in holdings):
                    break
                await asyncio.sleep(0.02)
    click.echo(row if row != drawn else "")


def _cell(holding: Holding, letters: dict[str, str]) -> str:
    mark = "*" if holding.status in (Status.CONTESTED, Status.DISPUTED) else ""
    return f"{letters.get(holding.owner or '', '?') + mark:>5}"


async def _holdings(clients: list[Client], billot: str) -> list[Holding]:
    ask = WhoOwns((billot,))
    answers = await asyncio.gather(*(c.call("who_owns", ask, Statement) for c in clients))
    return [statement.billots[0].holding for statement in answers]


def main() -> NoReturn:
    """The entry point."""
    run_command(command, "mock_disputed", {Unreachable: 3, BillotsError: 1})


if __name__ == "__main__":
    main()
