"""What stands before every page: who may ask what, how much of it, and what browsers are told.

A middleware of plain ASGI around the whole application, so that no answer gets past it: not
a page's, not an error's, not one of the framework's own.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Nothing from elsewhere, nothing inline, in nobody's frame; text never becomes markup."""
SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Rules:
    """What is let through.

    `names` are the hosts that a browser may call us by, without ports; None takes any. `methods`
    other than GET and HEAD are taken from our own pages only. A body has at most
    `body_bytes_max` bytes and is here within `body_s`.
    """

    names: frozenset[str] | None = None
    methods: frozenset[str] = SAFE_METHODS
    body_bytes_max: int = 0
    body_s: float = 10.0
    requests_max: int = 64
    """Requests that are being answered, streams not counted; beyond it 503. One with a body counts
    from when that is here, or a few whose bodies never come would keep everybody out."""


def names_for(host: str, more: Collection[str] = ()) -> frozenset[str] | None:
    """`Rules.names` for who listens on `host`.

    On loopback only this machine's names and `more`: else a page from anywhere could have its
    own name resolve to this machine and read what is here as its own (DNS rebinding). On other
    addresses everybody may ask anyway, unless `more` says by which names.
    """
    if more:
        return frozenset({*(name.lower() for name in more), "localhost", host.lower()})
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if loopback else None


class Guard:
    """Wraps an application; `error_page` makes the answers to what isn't let through."""

    def __init__(
        self, app: ASGIApp, rules: Rules, error_page: Callable[[Request, HTTPException], Response]
    ) -> None:
        self._app = app
        self._rules = rules
        self._error_page = error_page
        self._places = _Places(rules.requests_max)
        self.answers: Counter[int] = Counter()
        """How many answers of each status were begun."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return  # neither websockets nor a lifespan
        status, place = 0, _Place(self._places)

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.answers[status] += 1
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
                if headers.get("content-type", "").startswith("text/event-stream"):
                    place.give_up()
            await send(message)

        refused = self._refusal(scope)
        if scope["method"] in SAFE_METHODS and refused is None:
            place.take()  # there is one, `_refusal` has seen to it
        try:
            if refused is None:
                await self._app(scope, self._limited(receive, place.take), send_guarded)
            else:
                response = self._error_page(Request(scope), refused)
                await response(scope, receive, send_guarded)
        finally:
            place.give_up()

    def _refusal(self, scope: Scope) -> HTTPException | None:
        rules, method, headers = self._rules, scope["method"], Headers(scope=scope)
        close = {"Connection": "close"}  # what may still come of the request isn't read
        if rules.names is not None and _name(headers.get("host", "")) not in rules.names:
            return HTTPException(421, "These pages are not served under that name.", close)
        if method not in rules.methods:
            return HTTPException(405, headers={"Allow": ", ".join(sorted(rules.methods)), **close})
        if method not in SAFE_METHODS and not _is_own(headers):
            return HTTPException(403, "This was not sent from a page of this site.", close)
        length = headers.get("content-length", "0")
        chunked = "transfer-encoding" in headers and not rules.body_bytes_max
        if chunked or not length.isdecimal() or int(length[:20]) > rules.body_bytes_max:
            return HTTPException(413, headers=close)
        return None if self._places.left else _no_room()

    def _limited(self, receive: Receive, whole: Callable[[], None]) -> Receive:
        """Calls `whole` when the body is here; raises HTTPException if it is not as it must be."""
        left = self._rules.body_bytes_max
        end = asyncio.get_running_loop().time() + self._rules.body_s
        more = True

        async def receive_limited() -> Message:
            nonlocal left, more
            if not more:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, headers={"Connection": "close"}) from None
            if message["type"] == "http.disconnect":  # a stranger's whim, and no line in the log
                raise HTTPException(400, headers={"Connection": "close"})
            more = message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, headers={"Connection": "close"})
            if not more:
                whole()
            return message

        return receive_limited


@dataclass
class _Places:
    """How many more requests may be answered at once."""

    left: int


class _Place:
    """One of them, which a request takes and gives up at most once."""

    def __init__(self, places: _Places) -> None:
        self._places = places
        self._taken = self._has = False

    def take(self) -> None:
        """Take it; raises HTTPException if there is none."""
        if self._taken:
            return
        if not self._places.left:
            raise _no_room()
        self._places.left -= 1
        self._taken = self._has = True

    def give_up(self) -> None:
        """Somebody else may have it."""
        self._places.left += self._has
        self._has = False


def _no_room() -> HTTPException:
    return HTTPException(503, headers={"Retry-After": "2", "Connection": "close"})


def _name(host: str) -> str:
    """The name in a ``Host`` header, without its port and brackets."""
    name, colon, port = host.lower().rpartition(":")
    if not colon or not port.isdecimal():
        name = host.lower()
    return name.strip("[]")


def _is_own(headers: Headers) -> bool:
    """Whether a request comes from a page of this very site, as browsers say who can be told.

    One that says neither isn't a browser, and carries nobody's rights with it.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")
