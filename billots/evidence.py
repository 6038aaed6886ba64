"""Proof of a double spend: asked of servers, believed only for its own signatures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

import msgspec
from msgspec import Raw

from billots.circle import Circle
from billots.errors import BillotsError, InputError
from billots.holding import SILENT, Holding
from billots.link import Link
from billots.messages import Evidence, Pair
from billots.network import Network
from billots.quorum import liars_max
from billots.transfer import conflict

_decoder = msgspec.json.Decoder(Pair | None)


async def find_conflict(
    circle: Circle, billot: str, holdings: Collection[Holding], limit_s: float
) -> Pair | None:
    """The first verified conflict pair that any server has for a billot, if one comes in time."""
    links = [link for link in circle.links if link.key is not None]
    tasks = [asyncio.create_task(_ask(link, billot)) for link in links]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                for answered in asyncio.as_completed(tasks):
                    pair = await answered
                    if pair is not None and proves(
                        pair, billot, circle.network, holdings, liars_max(circle.n)
                    ):
                        return pair
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return None


def proves(
    pair: Pair, billot: str, network: Network, holdings: Collection[Holding], liars: int
) -> bool:
    """Whether a pair proves that the billot's owner signed it over twice, at its newest seq.

    Both signatures hold, by one key, over the same (billot, seq), to different owners. The
    key's owner is the `from`, at that seq, in more holdings than `liars` can forge, or a
    server could frame anybody with two signatures of its own; and no more than `liars` name
    a higher seq, which would be past the conflict.
    """
    first, second = pair.first, pair.second
    seqs = [seq for row, seq in conflict(first, second) if row == billot]
    if first.network != network.id or len(seqs) != 1:
        return False
    try:
        first.check(network)
        second.check(network)
    except InputError:
        return False
    named = [holding for holding in holdings if holding.status not in SILENT]
    signers = sum(h.seq == seqs[0] and h.sender == first.sender for h in named)
    newer = sum(h.seq > seqs[0] for h in named)
    return signers > liars and newer <= liars and first.verify() and second.verify()


async def _ask(link: Link, billot: str) -> Pair | None:
    try:
        found: Pair | None = _decoder.decode(await link.call("evidence", Evidence(billot), Raw))
    except (BillotsError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return found
