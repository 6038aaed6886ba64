"""``--web``: pages for a browser beside a server. Nothing of them is loaded without it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import click

from billots.cli.program import LOG_FORMAT
from billots.errors import InputError
from billots.host import Host
from billots.server import Server


@dataclass(frozen=True)
class WebPlan:
    """Where pages are served, and by which names they may be called besides."""

    place: Host
    names: tuple[str, ...] = ()


def web_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make a `WebPlan`."""
    name = click.option(
        "--web-name",
        "web_names",
        metavar="NAME",
        multiple=True,
        help="A name by which others reach the pages of --web, through a proxy for example.",
    )
    web = click.option(
        "--web",
        metavar="[HOST:]PORT",
        help="Serve the explorer, pages for a browser, as well.  [default host: 127.0.0.1]",
    )
    return web(name(command))


def web_plan(web: str | None, names: tuple[str, ...]) -> WebPlan | None:
    """What the options ask for; raises InputError if that can't be had at all."""
    if web is None:
        if names:
            raise InputError("--web-name is of no use without --web", "--web [HOST:]PORT")
        return None
    from billots.web.option import parse_place, require_extra  # most servers have no pages

    require_extra()
    return WebPlan(parse_place(web), names)


@contextlib.asynccontextmanager
async def explorer(plan: WebPlan | None, server: Server) -> AsyncIterator[str | None]:
    """Serve the explorer of a server as long as the block lasts; gives its URL.

    Raises ServerError if it can't be started.
    """
    if plan is None:
        yield None
        return
    from billots.web.process import Pages  # most servers have no pages

    pages = Pages(server.network, plan.place, plan.names, log_format=LOG_FORMAT)
    try:
        await pages.start(server.address)
        yield pages.url
    finally:
        await pages.stop()


def tell_pages(url: str | None) -> None:
    """Where they are."""
    if url is not None:
        click.echo(f"Pages: {url}")
        sys.stdout.flush()
