"""The faucet's pages: ask for test billots, and see them become final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from billots.dispensing import Dispenser
from billots.errors import InputError, OwnerIdError
from billots.holding import Status
from billots.host import Host
from billots.network import Network, format_mils
from billots.owners import read_owner
from billots.payment_request import PaymentRequest, is_request
from billots.payouts import Payout, Reason, Refusal
from billots.poll import Answer
from billots.web.guard import SAFE_METHODS, Guard, Rules, names_for
from billots.web.kit import Site, application, grouped, page, refuse
from billots.web.streams import Event, Streams
from billots.web.visitors import visitor

FORM = "application/x-www-form-urlencoded"
_BODY_BYTES_MAX = 4_096
_TEXT_MAX = 512
_DECIDED_S = 15.0
"""How long a claim may take to be signed; then whoever asked is told to come back."""
_STATUSES = {
    Reason.OWNER: 429,
    Reason.ADDRESS: 429,
    Reason.BUDGET: 503,
    Reason.BUSY: 503,
    Reason.EMPTY: 503,
    Reason.UNABLE: 503,
}
_SAID = {
    Reason.OWNER: "This owner id has been given what there is for a day.",
    Reason.ADDRESS: "Your address has been given what there is for a day.",
    Reason.BUDGET: "All that there is for an hour has been given away.",
    Reason.BUSY: "Many are being paid just now.",
    Reason.EMPTY: "The purse is empty. Whoever runs this faucet has to fill it.",
    Reason.UNABLE: "The servers can't be reached just now, or this faucet's disk is full.",
}

_UNITS = ((90, 1, "second"), (90 * 60, 60, "minute"), (10**9, 3600, "hour"))


@dataclass(frozen=True)
class FaucetPages:
    """What the pages are made of.

    `explorer` is where billots and owners can be looked at, without a slash at its end; `proxy`
    the one address whose X-Forwarded-For is believed.
    """

    hand: Dispenser
    streams: Streams
    explorer: str | None = None
    proxy: str | None = None

    @property
    def network(self) -> Network:
        """The network whose billots are given."""
        return self.hand.network


def faucet_application(pages: FaucetPages, place: Host) -> Guard:
    """The application, for who listens at `place`."""
    site = Site(
        "Faucet",
        pages.network.name,
        scripts=("faucet.js",),
        footer="This is play money: nothing that comes from here is worth anything.",
        filters={"value": lambda mils: grouped(format_mils(mils))},
    )
    rules = Rules(
        names=None if pages.proxy is not None else names_for(place.address),
        methods=SAFE_METHODS | {"POST"},
        body_bytes_max=_BODY_BYTES_MAX,
    )
    routes = [
        Route("/", _front),
        Route("/claims", _claim, methods=["POST"]),
        Route("/claims/{transfer_id}", _show),
        Route("/claims/{transfer_id}/live", _live),
    ]
    return application(site, routes, rules=rules, state={"pages": pages})


async def _front(request: Request) -> Response:
    return _form(request, typed=request.query_params.get("owner", "")[:_TEXT_MAX])


async def _claim(request: Request) -> Response:
    pages: FaucetPages = request.app.state.pages
    typed = _owner_field(request, await request.body())
    try:
        owner = _read(typed, pages)
    except InputError as error:
        return _form(request, 400, typed=typed, error=_sentence(error))
    peer = request.client.host if request.client is not None else None
    address = visitor(peer, request.headers.getlist("x-forwarded-for"), pages.proxy)
    try:
        async with asyncio.timeout(_DECIDED_S):
            claim = await pages.hand.claim(owner, address)
    except TimeoutError:  # it goes on without us, and the next claim of this owner joins it
        claim = Refusal(Reason.BUSY, 5)
    if isinstance(claim, Refusal):
        response = _form(request, _STATUSES[claim.reason], typed=typed, refusal=claim)
        response.headers["Retry-After"] = str(claim.wait_s)
        return response
    assert claim.transfer is not None, "it is signed"
    return RedirectResponse(f"/claims/{claim.transfer.id}", 303)


async def _show(request: Request) -> Response:
    pages: FaucetPages = request.app.state.pages
    payout = _found(request)
    granted = payout.record.granted
    billots = [(b, pages.network.mils(b)) for b, _ in payout.billots]
    return page(
        request,
        "claim.html",
        payout=payout,
        owner=granted.owner,
        billots=billots,
        total=granted.mils,
        explorer=pages.explorer,
        state=_state(payout),
    )


async def _live(request: Request) -> Response:
    pages: FaucetPages = request.app.state.pages
    payout = _found(request)
    pages.streams.check(request)
    return pages.streams.respond(request, _events(payout))


async def _events(payout: Payout) -> AsyncGenerator[Event, None]:
    """The payment as it stands, and again whenever something changes, until it has ended."""
    while True:
        version, ended = payout.version, payout.ended
        yield Event("state", {**_state(payout), "ended": ended})
        if ended:
            return
        await payout.news(version)  # what changed while it was sent is news too


def _found(request: Request) -> Payout:
    pages: FaucetPages = request.app.state.pages
    payout = pages.hand.find(request.path_params["transfer_id"])
    if payout is None:
        raise refuse(404, "There is no such payment here, or it is older than a day.")
    return payout


def _owner_field(request: Request, body: bytes) -> str:
    """The one field of the form; raises HTTPException for what no form of ours sends."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415)
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8, errors="replace")
    except ValueError:  # also what isn't ASCII
        raise HTTPException(400) from None
    return fields.get("owner", [""])[0].strip()[:_TEXT_MAX]


def _read(typed: str, pages: FaucetPages) -> str:
    """The owner id of what was typed or scanned; raises InputError."""
    text = "".join(typed.split())  # copied over several lines
    if not text:
        raise OwnerIdError("nothing was typed", "bwallet --hash prints your owner id")
    asked = PaymentRequest.parse(text) if is_request(text) else PaymentRequest(read_owner(text))
    if asked.network_id not in (None, pages.network.id):
        raise InputError("that request is for another network than this faucet's")
    if asked.owner == pages.hand.owner:
        raise InputError("that is the faucet's own owner id")
    return asked.owner


def _form(
    request: Request,
    status: int = 200,
    *,
    typed: str = "",
    error: str = "",
    refusal: Refusal | None = None,
) -> Response:
    pages: FaucetPages = request.app.state.pages
    ration = pages.hand.book.ration
    return page(
        request,
        "faucet.html",
        status,
        typed=typed,
        error=error,
        said=None if refusal is None else _SAID[refusal.reason],
        again=None if refusal is None else in_words(refusal.wait_s),
        last=None if refusal is None else refusal.last,
        ration=ration,
        left=pages.hand.left_mils,
    )


def _state(payout: Payout) -> dict[str, object]:
    """What of a payment changes while one looks on, in words."""
    servers = [
        {"place": place, **_word(payout, answer)}
        for place, answer in sorted(payout.answers.items())
    ]
    if payout.final:
        kind, text = "good", "final"
    elif payout.ended:
        kind, text = "warn", "not final yet"
    else:
        kind, text = "idle", "on its way"
    votes = ""
    if payout.n:
        votes = f"{payout.votes} of {payout.n} servers name you as the owner"
        votes += f"; {payout.needed} are needed"
    took = "" if payout.seconds is None else f"after {_took(payout.seconds)}"
    return {"servers": servers, "kind": kind, "text": text, "votes": votes, "took": took}


def _word(payout: Payout, answer: Answer) -> dict[str, str]:
    """What one server says of the first billot, which the others share their transfer with."""
    holding = answer.holding
    if holding is None:
        return {"kind": "warn", "text": answer.problem or "no answer"}
    if not payout.has(answer):
        return {"kind": "idle", "text": "has not heard of it yet"}
    kind = "good" if holding.status is Status.SETTLED else "idle"
    return {"kind": kind, "text": str(holding.status)}


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _sentence(error: InputError) -> str:
    parts = [str(error), *([error.hint] if error.hint else [])]
    # What is to be typed, as a hint may begin with, is no sentence of ours to capitalise.
    return ". ".join(p if p.startswith("bwallet ") else p[:1].upper() + p[1:] for p in parts) + "."


def in_words(seconds: int) -> str:
    """How long to wait, rounded up.

    >>> in_words(30), in_words(91), in_words(23 * 3600 + 1)
    ('in 30 seconds', 'in 2 minutes', 'in 24 hours')
    """
    size, name = next((size, name) for most, size, name in _UNITS if seconds <= most)
    count = max(1, -(-seconds // size))
    return f"in {count} {name}{'s' if count > 1 else ''}"
