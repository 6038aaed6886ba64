"""The explorer: what a server and those that it trusts say, as pages. It only reads."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from billots.errors import BillotsError, InputError
from billots.holding import Status
from billots.host import Host
from billots.network import Network, format_mils
from billots.owners import read_owner
from billots.quorum import Verdict
from billots.transfer import Transfer, conflict
from billots.version import __version__
from billots.web.follower import Follower
from billots.web.guard import Guard, Rules, names_for
from billots.web.inquiry import (
    is_healthy,
    look_at_billot,
    look_at_owner,
    look_at_peers,
    look_at_transfer,
    statuses,
)
from billots.web.kit import Site, application, page, plain, refuse
from billots.web.metrics import CONTENT_TYPE, Seen, exposition
from billots.web.streams import Streams
from billots.web.supply import Counting
from billots.web.upstream import Busy, Upstream
from billots.web.watches import Watches

Result = TypeVar("Result")

_TRANSFER_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_QUERY_MAX = 200
_BADGES = {
    Status.SETTLED: "good",
    Status.HELD: "warn",
    Status.CONTESTED: "bad",
    Status.DISPUTED: "bad",
    Verdict.OWNER: "good",
    Verdict.DISPUTED: "bad",
    Verdict.UNDECIDED: "warn",
}
_FOOTER = (
    "What is on these pages is for a look around. Before you deliver anything, ask the servers "
    "that you trust yourself: bwallet --check-owner."
)


class Explorer:
    """One explorer: its pages, and what it keeps of the servers behind them."""

    def __init__(
        self, own: Host, network: Network, *, host: str, names: Collection[str] = ()
    ) -> None:
        self.network = network
        self.upstream = Upstream(own, network)
        self._counting = Counting(self.upstream)
        self.follower = Follower(own, network)
        self.watches = Watches(self.follower, own)
        self.streams = Streams()
        self.app = self._application(Rules(names=names_for(host, names)))

    def _application(self, rules: Rules) -> Guard:
        site = Site(
            name="Billots explorer",
            network=self.network.name,
            links=(("/", "Overview"), ("/disputes", "Disputes")),
            search="/search",
            footer=_FOOTER,
            filters={"mils": format_mils, "badge": lambda status: _BADGES.get(status, "")},
        )
        routes = [
            Route("/", self.overview),
            Route("/search", self.search),
            Route("/billot/{id}", self.billot),
            Route("/owner/{id}", self.owner),
            Route("/transfer/{id}", self.transfer),
            Route("/disputes", self.disputes),
            Route("/live", self.live),
            Route("/live/owner/{id}", self.live_owner),
            Route("/metrics", self.metrics),
            Route("/healthz", self.healthz),
        ]
        return application(site, routes, rules=rules)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Follow the server's feed as long as the block lasts; gives the task that does it."""
        following = asyncio.create_task(self.follower.run())
        try:
            yield following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self.upstream.close()

    async def _ask(
        self, key: object, keep_s: float, ask: Callable[[], Awaitable[Result]]
    ) -> Result:
        """An answer from servers, or the page that says why there is none."""
        try:
            return await self.upstream.kept.get(key, keep_s, ask)
        except Busy:
            raise refuse(503, "Too many questions at once. Try again in a moment.") from None
        except BillotsError as error:
            raise refuse(503, f"The server behind these pages can't be asked: {error}.") from None

    # -- pages --------------------------------------------------------------------------------

    async def overview(self, request: Request) -> Response:
        """Network, servers, the latest transfers, what has moved."""
        up = self.upstream
        info = await self._ask("overview", 1.0, up.info)
        peers = await self._ask("peers", 2.0, lambda: look_at_peers(up, self.follower))
        return page(
            request,
            "overview.html",
            info=info,
            network=self.network,
            peers=peers,
            latest=list(self.follower.latest),
            disputes=len(self.follower.disputes),
            supply=await self._counting.latest(),
            version=__version__,
        )

    async def search(self, request: Request) -> Response:
        """Where an id leads."""
        text = request.query_params.get("q", "")[:_QUERY_MAX].strip()
        found = self._find(text)
        if found is not None:
            return RedirectResponse(found, 303)
        return page(request, "search.html", 404 if text else 200, asked=text, network=self.network)

    def _find(self, text: str) -> str | None:
        with contextlib.suppress(InputError):
            self.network.check(text.lower())
            return f"/billot/{text.lower()}"
        if _TRANSFER_ID.fullmatch(text.lower()):
            return f"/transfer/{text.lower()}"
        with contextlib.suppress(InputError):
            return f"/owner/{read_owner(text)}"
        return None

    async def billot(self, request: Request) -> Response:
        """Whose it is, who says so, and how it got there."""
        billot = request.path_params["id"]
        try:
            self.network.check(billot)
        except InputError as error:
            raise refuse(404, f"There is {error}.") from None
        found = await self._ask(
            ("billot", billot), 1.0, lambda: look_at_billot(self.upstream, billot)
        )
        if found.pair is not None:
            self.follower.note(found.pair)
        first = self.network.first_owner(billot)
        return page(request, "billot.html", found=found, first=first)

    async def owner(self, request: Request) -> Response:
        """What an owner has."""
        owner = _owner(request)
        if owner != request.path_params["id"]:
            return RedirectResponse(f"/owner/{owner}", 308)
        after = request.query_params.get("after")
        if after is not None and len(after) > 64:
            raise refuse(404, "There is no such page of this list.")
        found = await self._ask(
            ("owner", owner, after), 1.0, lambda: look_at_owner(self.upstream, owner, after)
        )
        if found is None:
            raise refuse(404, "There is no such page of this list.")
        is_issuer = owner == self.network.issuer
        return page(request, "owner.html", found=found, after=after, is_issuer=is_issuer)

    async def transfer(self, request: Request) -> Response:
        """What was signed."""
        name = request.path_params["id"]
        if _TRANSFER_ID.fullmatch(name) is None:
            raise refuse(404, "A transfer id is 64 hex digits.")
        found = await self._ask(
            ("transfer", name), 5.0, lambda: look_at_transfer(self.upstream, name)
        )
        if found is None:
            raise refuse(
                404,
                "This server has no such transfer. One is kept only as long as a billot's last "
                "move is in it.",
            )
        mils = self.network.total_mils(billot for billot, _ in found.billots)
        sound = found.verify()
        return page(request, "transfer.html", transfer=found, mils=mils, sound=sound)

    async def disputes(self, request: Request) -> Response:
        """Double spends, as far as they were seen here."""
        pairs = dict(reversed(self.follower.disputes.items()))
        holdings = await self._ask(
            ("disputes", *pairs), 1.0, lambda: statuses(self.upstream, list(pairs))
        )
        rows = [
            (billot, _seq(pair.first, pair.second, billot), pair, holdings.get(billot))
            for billot, pair in pairs.items()
        ]
        return page(request, "disputes.html", rows=rows)

    # -- live ---------------------------------------------------------------------------------

    async def live(self, request: Request) -> Response:
        """What is new on the first page."""
        self.streams.check(request)
        # Those that came between the page and this are among the latest; the page knows its own.
        latest = [moved.event for moved in reversed(self.follower.latest)]
        return self.streams.respond(request, self.follower.hub.events(latest))

    async def live_owner(self, request: Request) -> Response:
        """What comes in for an owner."""
        owner = _owner(request)
        self.streams.check(request)
        if not self.watches.has_room(owner):
            raise refuse(503, "Too many owners are watched here just now.")
        return self.streams.respond(request, self.watches.events(owner))

    # -- for programs -------------------------------------------------------------------------

    async def metrics(self, _request: Request) -> Response:
        """What Prometheus wants to know."""
        up = self.upstream
        info = peers = None
        with contextlib.suppress(Busy, BillotsError):
            info = await up.info()
            peers = await up.kept.get("peers", 10.0, lambda: look_at_peers(up, self.follower))
        seen = Seen(
            info,
            peers or (),
            self.app.answers,
            len(self.streams),
            self.follower.connected,
            len(self.follower.disputes),
        )
        return Response(exposition(seen), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(self, _request: Request) -> Response:
        """Whether the server behind these pages answers."""
        try:
            wrong = await is_healthy(self.upstream)
        except Busy:
            wrong = "too many questions at once"
        return plain("ok") if wrong is None else plain(wrong, 503)


def _owner(request: Request) -> str:
    try:
        return read_owner(request.path_params["id"])
    except InputError as error:
        raise refuse(404, f"This is {error}.") from None


def _seq(first: Transfer, second: Transfer, billot: str) -> int:
    return next((seq for row, seq in conflict(first, second) if row == billot), 0)
