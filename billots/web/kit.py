"""What all pages share: templates, error pages, and an application made of routes.

Everything that goes into a page is escaped by Jinja, always; a name that a template doesn't
get is an error, never an empty place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute

from billots.owners import with_checksum
from billots.web.assets import assets_route
from billots.web.guard import Guard, Rules

_REASONS: Mapping[int, str] = {
    400: "The request was not understood.",
    404: "There is no such page here.",
    405: "These pages can't be asked that way.",
    408: "The request took too long to arrive.",
    413: "That is more than these pages take.",
    429: "That was too much at once. Try again in a moment.",
    500: "Something went wrong here. It was noted, and it is not your fault.",
    503: "Too much to do just now. Try again in a moment.",
}


@dataclass(frozen=True)
class Site:
    """What every page of a site shows: its name and its network's, and links to its parts."""

    name: str
    network: str
    links: tuple[tuple[str, str], ...] = ()
    """Paths and what they are called, for the head of the page."""
    scripts: tuple[str, ...] = ("live.js",)
    """Files of ``static`` that every page loads."""
    search: str | None = None
    """Where the search form of the head goes, if there is one."""
    footer: str = ""
    filters: Mapping[str, Any] = field(default_factory=dict)
    """More filters for templates, by name."""


def environment(site: Site) -> jinja2.Environment:
    """The templates of the package, with everything escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("billots.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(short=short, checked=with_checksum, grouped=grouped, **site.filters)
    made.globals["site"] = site
    return made


def short(text: str, digits: int = 12) -> str:
    """The beginning of an id, as people compare them at a glance."""
    return text if len(text) <= digits + 1 else f"{text[:digits]}…"


def grouped(number: int | str) -> str:
    """A number with its thousands apart (by no-break spaces), also a decimal text.

    >>> grouped("10150000.005").replace(chr(0xa0), "_")
    '10_150_000.005'
    """
    whole, dot, rest = str(number).partition(".")
    return f"{int(whole):,}".replace(",", "\u00a0") + dot + rest


def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page from a template of the package."""
    templates: jinja2.Environment = request.app.state.templates
    text = templates.get_template(template).render(path=request.url.path, **values)
    return HTMLResponse(text, status)


def refuse(status: int, reason: str) -> HTTPException:
    """An error to raise in a page: `reason` is shown, escaped; so it may name what was asked."""
    return HTTPException(status, reason)


def application(
    site: Site,
    routes: Sequence[BaseRoute],
    *,
    rules: Rules | None = None,
    state: Mapping[str, object] | None = None,
) -> Guard:
    """An ASGI application of these routes, with ``/static`` and error pages, behind a Guard.

    `state` is there as ``request.app.state``.
    """
    templates = environment(site)

    def error_page(_request: Request, error: Exception) -> Response:
        known = error if isinstance(error, HTTPException) else HTTPException(500)
        status, phrase = known.status_code, HTTPStatus(known.status_code).phrase
        reason = known.detail if known.detail != phrase else _REASONS.get(status, f"{phrase}.")
        text = templates.get_template("error.html").render(
            path="", status=status, title=phrase, reason=reason
        )
        return HTMLResponse(text, status, headers=known.headers)

    app = Starlette(
        routes=[*routes, assets_route()],
        exception_handlers={HTTPException: error_page, Exception: error_page},
    )
    for name, value in {"templates": templates, "site": site, **(state or {})}.items():
        setattr(app.state, name, value)
    return Guard(app, rules or Rules(), error_page)


def plain(text: str, status: int = 200) -> PlainTextResponse:
    """An answer for programs."""
    return PlainTextResponse(text if text.endswith("\n") else text + "\n", status)
