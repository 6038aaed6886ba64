"""Servers that trust each other: how long until a transfer is final, and what it costs them all."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, Table
from benchmarks.floors import Meanwhile, checking
from benchmarks.loads import MINT, USER, connected, moved_on, send_all, transfers
from benchmarks.servers import Running, mesh
from billots import AsyncWallet
from billots.connection import Client
from billots.crypto import PrivateKey
from billots.host import Host
from billots.messages import Accepted, SendTransfer, WhoOwns
from billots.quorum import safe_quorum
from billots.statement import Statement, new_nonce
from billots.transfer import Transfer

_FINAL_BAR_MS = {7: 25.0}
_AGAIN_BAR_MS = {7: 60.0}
_CPU_BAR = {17: 2.0}
_BODIES_BAR = {17: 1.1}
_WARM, _WINDOW = 500, 32
_IDLE_S = 0.2
"""So long after the last one servers have nothing to do."""


def idle(base: int, count: int, rounds: int) -> Table:
    """One transfer at a time: final for a payee, settled everywhere, and spent again."""
    with mesh(base, count) as servers:
        final, settled, again = asyncio.run(_one_by_one(servers, rounds))
    ms = 1000.0
    return Table(
        f"{count} idle servers that trust each other",
        (
            Figure("ready after", servers.started_s, "s"),
            Figure(
                "final for who asks all, median",
                statistics.median(final) * ms,
                "ms",
                None,
                _FINAL_BAR_MS.get(count),
            ),
            Figure("settled at all, median", statistics.median(settled) * ms, "ms"),
            Figure(
                "what was just received is spent, median",
                statistics.median(again) * ms,
                "ms",
                None,
                _AGAIN_BAR_MS.get(count),
            ),
        ),
    )


async def _one_by_one(
    servers: Running, rounds: int
) -> tuple[list[float], list[float], list[float]]:
    async with contextlib.AsyncExitStack() as stack:
        clients = await connected(stack, servers.hosts)
        await linked(clients)
        final, settled, again = [], [], []
        for transfer in transfers("k-", rounds):
            await asyncio.sleep(_IDLE_S)
            begun = time.perf_counter()
            await clients[0].call("transfer", SendTransfer.of(transfer), Accepted)
            await _until_final(clients, transfer)
            final.append(time.perf_counter() - begun)
            (onwards,) = moved_on([transfer], USER, MINT.owner)
            at = time.perf_counter()
            await clients[1].call("transfer", SendTransfer.of(onwards), Accepted)
            again.append(time.perf_counter() - at)
            await _until_settled(clients, onwards)
        for transfer in transfers("j-", rounds):
            await asyncio.sleep(_IDLE_S)
            begun = time.perf_counter()
            await clients[0].call("transfer", SendTransfer.of(transfer), Accepted)
            await _until_settled(clients, transfer)
            settled.append(time.perf_counter() - begun)
    return final, settled, again


async def linked(clients: Sequence[Client]) -> None:
    """Wait until each follows all others."""
    up = 0
    while up < len(clients):
        infos = await asyncio.gather(*(client.call("info", None, dict) for client in clients))
        up = sum(info["counts"]["links_up"] == len(clients) - 1 for info in infos)
        await asyncio.sleep(0.05)


async def _until_final(clients: Sequence[Client], transfer: Transfer) -> None:
    """Ask all with fresh nonces, as a wallet does, until a safe quorum has signed it."""
    (billot, seq), needed = transfer.billots[0], safe_quorum(len(clients))

    async def votes(client: Client) -> bool:
        question = WhoOwns((billot,), new_nonce())
        row = (await client.call("who_owns", question, Statement)).billots[0]
        return (row.seq, row.owner) == (seq, transfer.to)

    while True:
        if sum(await asyncio.gather(*map(votes, clients))) >= needed:
            return
        await asyncio.sleep(0.001)


async def _until_settled(clients: Sequence[Client], transfer: Transfer) -> None:
    billot, seq = transfer.billots[0]

    async def one(client: Client) -> None:
        while True:
            row = (await client.call("who_owns", WhoOwns((billot,)), Statement)).billots[0]
            if (row.seq, row.status) == (seq, "settled"):
                return
            await asyncio.sleep(0.002)

    await asyncio.gather(*map(one, clients))


def loaded(base: int, count: int, transfers_count: int) -> Table:
    """As many transfers as they take, a window for each server, until all are settled at all."""
    with mesh(base, count) as servers:
        run = asyncio.run(_sustained(servers, transfers_count))
    each = run.cpu_s / transfers_count / count * 1e6
    return Table(
        f"{count} servers that trust each other, under load",
        (
            Figure("accepted", transfers_count / run.accepted_s, "/s"),
            Figure("settled at all", transfers_count / run.settled_s, "/s"),
            Figure(f"answered, {_WINDOW * count} at once, median", run.median_s * 1000, "ms"),
            Figure("answered, 99 of 100", run.most_s * 1000, "ms"),
            Figure(
                "CPU of each server per transfer",
                each,
                "us",
                run.check_s * 1e6,
                _CPU_BAR.get(count),
            ),
            Figure(
                "bodies of a transfer that each receives",
                # The one whose wallet brought it has it from there.
                run.bodies / transfers_count / count + 1 / count,
                "",
                None,
                _BODIES_BAR.get(count),
            ),
        ),
    )


class Run(NamedTuple):
    """Wall seconds until all was taken, and settled everywhere; CPU seconds of all servers.

    An answer took `median_s`, and 99 of 100 at most `most_s`. `check_s` is a signature check's, and
    `bodies` came to all of them over their links.
    """

    accepted_s: float
    settled_s: float
    median_s: float
    most_s: float
    cpu_s: float
    check_s: float
    bodies: int


async def _sustained(servers: Running, count: int) -> Run:
    async with contextlib.AsyncExitStack() as stack, Meanwhile(checking()) as floor:
        clients = await connected(stack, servers.hosts)
        await linked(clients)
        await send_all(clients, transfers("h-", _WARM), _WINDOW)
        await _all_settled(clients, _WARM)
        work, bodies = transfers("k-", count), await _bodies(clients)
        cpu, begun = servers.cpu_s, time.perf_counter()
        took = await send_all(clients, work, _WINDOW)
        accepted = time.perf_counter() - begun
        await _all_settled(clients, _WARM + count)
        settled = time.perf_counter() - begun
        cpu = servers.cpu_s - cpu
        median, most = statistics.median(took), statistics.quantiles(took, n=100)[-1]
        bodies = await _bodies(clients) - bodies
        return Run(accepted, settled, median, most, cpu, floor.cost_s, bodies)


async def _bodies(clients: Sequence[Client]) -> int:
    infos = await asyncio.gather(*(client.call("info", None, dict) for client in clients))
    return sum(info["counts"]["bodies_from_links"] for info in infos)


async def _all_settled(clients: Sequence[Client], count: int) -> None:
    """Until all have moved so many billots, and settled them."""
    while True:
        infos = await asyncio.gather(
            *(client.call("info", None, dict, timeout_s=60) for client in clients)
        )
        counts = [info["counts"] for info in infos]
        if all(c["unsettled"] == 0 and c["billots_moved"] >= count for c in counts):
            return
        await asyncio.sleep(0.05)


def wallet(base: int, count: int) -> Table:
    """A payment by the wallet's own verbs, journal and receipts on disk."""
    with mesh(base, count) as servers, tempfile.TemporaryDirectory() as folder:
        sent, checked = asyncio.run(_paid(servers.hosts, Path(folder)))
    return Table(
        f"A wallet and {count} servers",
        (
            Figure("transfer", sent * 1000, "ms"),
            Figure("check_owner, receipt on disk", checked * 1000, "ms"),
        ),
    )


async def _paid(hosts: Sequence[Host], folder: Path) -> tuple[float, float]:
    keyfile = folder / "key"
    key = PrivateKey(MINT.seed)
    key.save(keyfile)
    payer = AsyncWallet(
        keyfile=keyfile,
        server=hosts[0].place,
        trusted=[host.place for host in hosts],
        data_dir=folder,
    )
    sent, checked = [], []
    for number in range(20):
        begun = time.perf_counter()
        await payer.transfer(f"i-{2 + number}", MINT.owner)
        sent.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await payer.check_owner(f"i-{2 + number}")
        checked.append(time.perf_counter() - begun)
    return statistics.median(sent), statistics.median(checked)
