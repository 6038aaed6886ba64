"""What a server signs for those who follow it, to be held against what it signs for us."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from billots.connection import Client
from billots.errors import BillotsError, InputError
from billots.feed import AdoptedRow, FeedBatch, FeedRow, TransferRow
from billots.holding import Vote
from billots.link import Link
from billots.messages import Cursor, Fetch, Fetched, Subscribe, Subscribed
from billots.network import Network
from billots.poll import is_sound
from billots.receipt import FeedVote, SignedVote
from billots.transfer import Row, Transfer

ROWS_MAX = 256
"""Of the newest rows of a feed; who wants all has to follow it."""
WAIT_S_MAX = 1.0
_FETCH_MAX = 64


@dataclass(frozen=True, slots=True)
class FedVote:
    """A vote in a feed: on what, for whom, how it was signed, and whether as settled."""

    row: Row
    vote: Vote
    signed: SignedVote
    settled: bool


async def fed_votes(
    link: Link, network: Network, wanted: Collection[str], bodies: Mapping[str, Transfer]
) -> list[FedVote]:
    """The votes on wanted billots in the newest rows of a server's feed.

    `bodies` are transfers by id that are known already; others are fetched. What isn't signed,
    or doesn't come, is no vote: nothing is raised.
    """
    votes: list[FedVote] = []
    with contextlib.suppress(BillotsError):
        rows = list(_signed_rows(link, network, await _newest(link)))
        given = {t.id: t for batch, _, _ in rows for t in batch.transfers}
        known = {**given, **bodies}
        named = {row.transfer_id for _, _, row in rows if isinstance(row, TransferRow)}
        known |= await _fetched(link, sorted(named - known.keys()))
        for batch, index, row in rows:
            for place, vote in _said(row, known, network):
                if place[0] in wanted:
                    signed = SignedVote(feed=FeedVote.of(batch, index))
                    votes.append(FedVote(place, vote, signed, isinstance(row, AdoptedRow)))
    return votes


async def _newest(link: Link) -> list[FeedBatch]:
    """The newest batches, on a connection of their own: it is given up when they are here."""
    batches: list[FeedBatch] = []
    over = asyncio.Event()
    limit_s = min(link.timeout_s, WAIT_S_MAX)

    def heard(method: str, params: Raw) -> None:
        if method == "feed" and not over.is_set():
            try:
                batches.append(msgspec.json.decode(params, type=FeedBatch))
                if batches[-1].last_lsn >= link.lsn or len(batches) >= ROWS_MAX:
                    over.set()
            except (msgspec.DecodeError, InputError, UnicodeDecodeError, RecursionError):
                over.set()

    async with await Client.connect(link.host, timeout_s=limit_s) as client:
        client.on_notification = heard
        since = Cursor(link.key or "", max(0, link.lsn - ROWS_MAX))
        told = await client.call("subscribe", Subscribe(since), Subscribed, timeout_s=limit_s)
        if told.lsn > since.lsn:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await over.wait()
    return batches


def _signed_rows(
    link: Link, network: Network, batches: Sequence[FeedBatch]
) -> Iterator[tuple[FeedBatch, int, FeedRow]]:
    for batch in batches:
        if batch.server == link.key and batch.is_signed(network.id):
            with contextlib.suppress(InputError):
                for index, row in enumerate(batch.parsed()):
                    yield batch, index, row


async def _fetched(link: Link, ids: Sequence[str]) -> dict[str, Transfer]:
    found: dict[str, Transfer] = {}
    for start in range(0, min(len(ids), ROWS_MAX), _FETCH_MAX):
        some = tuple(ids[start : start + _FETCH_MAX])
        with contextlib.suppress(BillotsError):
            answer = await link.call("fetch", Fetch(some), Fetched)
            found |= {transfer.id: transfer for transfer in answer.transfers}
    return found


def _said(
    row: FeedRow, bodies: Mapping[str, Transfer], network: Network
) -> Iterator[tuple[Row, Vote]]:
    if isinstance(row, AdoptedRow):
        yield (row.billot, row.seq), Vote(row.sender, row.owner)
        return
    body = bodies.get(row.transfer_id)
    if body is None or not is_sound(body, network):
        return
    for place in body.billots:
        if not row.billots or place[0] in row.billots:
            yield place, Vote(body.sender, body.to)
