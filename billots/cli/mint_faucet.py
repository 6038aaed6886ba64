"""``bmint faucet``: a page where test billots are asked for."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from billots.cli.options import find_network
from billots.cli.printing import OK, document, line, tell
from billots.cli.program import LOG_FORMAT
from billots.cli.settings import Settings, passphrase, settings_options
from billots.errors import InputError, NetworkFileError
from billots.network import Network, format_mils, parse_mils, shown
from billots.rationing import Ration

if TYPE_CHECKING:
    from billots.dispensing import Dispenser
    from billots.host import Host

_PROGRAM = "bmint"
_EXPLORER = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)


@dataclass(frozen=True)
class _Plan:
    place: Host
    ration: Ration
    network: Network
    explorer: str | None
    proxy: str | None
    data_dir: Path | None


def _mils(_context: click.Context, _option: click.Parameter, amount: str) -> int:
    try:
        return parse_mils(amount)
    except ValueError:
        raise click.BadParameter("an amount is written 187.65 or 0.005") from None


def _url(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    if _EXPLORER.fullmatch(url) is None:
        raise click.BadParameter("takes http://HOST or https://HOST, and a path")
    return url.rstrip("/")


@click.command("faucet")
@click.argument("place", metavar="[HOST:]PORT")
@click.option(
    "--gives",
    metavar="AMOUNT",
    default="1",
    show_default=True,
    callback=_mils,
    help="What is given at once, in small mixed notes.",
)
@click.option(
    "--per-hour",
    metavar="AMOUNT",
    default="100",
    show_default=True,
    callback=_mils,
    help="What is given in an hour, to all together.",
)
@click.option(
    "--per-owner",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often an owner id is given it in a day.",
)
@click.option(
    "--per-address",
    metavar="N",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="How often an address is given it in a day; of IPv6 a /64 is one.",
)
@click.option(
    "--explorer",
    metavar="URL",
    callback=_url,
    help="Where billots can be looked at: pages link to URL/billot/ID and URL/owner/ID.",
)
@click.option(
    "--behind-proxy",
    metavar="ADDRESS",
    help="Believe the X-Forwarded-For of the proxy that connects from ADDRESS, and of no other.",
)
@click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the book and the purse's journal are.  [default: your data directory]",
)
@settings_options(_PROGRAM)
def command(
    *,
    place: str,
    gives: int,
    per_hour: int,
    per_owner: int,
    per_address: int,
    explorer: str | None,
    behind_proxy: str | None,
    data_dir: Path | None,
    **settings: Any,
) -> int:
    """Serve a page on PORT that gives test billots to whoever asks, until Ctrl-C.

    Only for networks whose file says faucet = true. The money is that of --keyfile: best a purse
    of its own, filled now and then, so that no more than is in it can ever be lost.
    """
    from billots.web.option import parse_place, require_extra

    require_extra("bmint faucet")
    from billots.web.visitors import parse_proxy

    options = Settings(**settings)
    plan = _Plan(
        place=parse_place(place, "bmint faucet"),
        ration=Ration(gives, per_hour, per_owner, per_address),
        network=play_network(options.network),
        explorer=explorer,
        proxy=None if behind_proxy is None else parse_proxy(behind_proxy),
        data_dir=data_dir,
    )
    check_gives(plan.network, gives)
    if options.trusted is None and options.server is None:
        raise click.UsageError("no server is named: --trusted h:p, h:p, h:p names some")
    logging.basicConfig(level="WARNING", stream=sys.stderr, format=LOG_FORMAT)
    unlocked = passphrase(options.keyfile)  # before signals are heard by a loop that would wait
    asyncio.run(_serve(plan, options, unlocked))
    if not options.json:
        line("Stopped.")
    return OK


def play_network(name: str | None) -> Network:
    """The network, if its file allows a faucet; raises NetworkFileError.

    Never `main`, nor one that is called so: its money is to be worth something.
    """
    if name is None:
        raise NetworkFileError(
            "no network is named", "--network FILE names one whose file says faucet = true"
        )
    network, main = find_network(name), Network.shipped("main")
    if network.id == main.id or network.name == main.name:
        raise NetworkFileError("there is no faucet for the network main: its money is no play")
    if not network.faucet:
        raise NetworkFileError(
            f"the file of network {network.name} does not allow a faucet",
            "if its money is play money, whoever made it adds a line: faucet = true",
        )
    return network


def check_gives(network: Network, gives: int) -> None:
    """Raise InputError if no notes of the network make what is to be given."""
    from billots.handful import handful
    from billots.network import ROWS_MAX

    all_there_is = {each.mils: each.circulation for each in network.denominations.values()}
    notes = handful(all_there_is, gives)
    if notes is None or sum(notes.values()) > ROWS_MAX:
        smallest = format_mils(min(all_there_is))
        raise InputError(
            f"no billots of network {network.name} make {format_mils(gives)}",
            f"its smallest are {smallest}",
        )


async def _serve(plan: _Plan, options: Settings, unlocked: str | None) -> None:
    """Serve until SIGTERM or SIGINT; what is signed and not final then, the next start finishes."""
    from billots.dispensing import Dispenser
    from billots.faucet_book import FaucetBook
    from billots.web.faucet import FaucetPages, faucet_application
    from billots.web.serving import serving
    from billots.web.streams import Streams

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    book = FaucetBook.open(
        plan.network.id,
        plan.ration,
        wall_ms=time.time_ns() // 1_000_000,
        steady_ms=_steady_ms(),
        directory=plan.data_dir,
    )
    hand = Dispenser(
        book,
        _steady_ms,
        keyfile=options.keyfile,
        passphrase=unlocked,
        server=options.server,
        trusted=options.trusted,
        quorum=options.quorum,
        network=plan.network,
        timeout_s=options.timeout,
        data_dir=plan.data_dir,
        command=_PROGRAM,
    )
    streams = Streams()
    pages = FaucetPages(hand, streams, plan.explorer, plan.proxy)
    app = faucet_application(pages, plan.place)
    try:
        if not await _started(hand, stopping):
            return
        async with serving(
            app, plan.place, before_stop=streams.close, option="bmint faucet"
        ) as place:
            _introduce(plan, options, place, hand)
            await stopping.wait()
    finally:
        await hand.stop()
        book.close()


async def _started(hand: Dispenser, stopping: asyncio.Event) -> bool:
    """Start it, unless it is to stop before servers have answered; raises what `start` does."""
    starting, asked = asyncio.create_task(hand.start()), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
        return starting.done()
    finally:
        starting.cancel()
        asked.cancel()
        await asyncio.gather(starting, asked, return_exceptions=True)


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _introduce(plan: _Plan, options: Settings, place: Host, hand: Dispenser) -> None:
    network, ration = plan.network, plan.ration
    url = f"http://{place.place}/"
    if not hand.can_give(ration.gives):
        gives = format_mils(ration.gives)
        tell(
            "warning",
            f"the purse has {format_mils(hand.purse_mils)}, and no notes that make {gives}: "
            "there is nothing to give",
            f"bmint issue {gives} {shown(hand.owner, 200)} --mixed --times 100 fills it",
            _PROGRAM,
        )
    if options.json:
        document(
            {
                "url": url,
                "network": {"name": network.name, "id": network.id},
                "owner": hand.owner,
                "purse": format_mils(hand.purse_mils),
            }
        )
    else:
        line(f"Faucet: {url}")
        line(f"network: {network.name} {network.id}")
        line(f"purse: {format_mils(hand.purse_mils)} of {hand.owner}")
        line(f"gives {format_mils(ration.gives)}, at most {format_mils(ration.per_hour)} an hour")
    sys.stdout.flush()
