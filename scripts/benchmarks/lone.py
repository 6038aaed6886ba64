"""One server that trusts nobody: what a transfer and a question cost it, and how long they take."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from benchmarks.figures import Figure, Table
from benchmarks.floors import Floors, Meanwhile, checking, signing
from benchmarks.loads import USER, connected, send_all, transfers
from benchmarks.servers import Running, alone
from billots.connection import Client
from billots.host import Host
from billots.messages import ListBillots, Listed, WhoOwns
from billots.statement import Statement
from billots.transfer import Transfer

NONCE = "00" * 16
_WARM_S = 0.5
_BARS = {1: 1.5, 16: None, 256: 0.15}


def throughput() -> Table:
    """Durable transfers of 1, 16 and 256 billots, as many as it takes."""
    figures: list[Figure] = []
    for prefix, each, count, clients, window in (
        ("k-", 1, 60_000, 8, 32),
        ("j-", 16, 2400, 8, 16),
        ("i-", 256, 240, 4, 8),
    ):
        with tempfile.TemporaryDirectory() as folder, alone(folder) as server:
            work = transfers(prefix, count, each)
            run = asyncio.run(loaded(server, work, clients, window))
        name = "server CPU per billot" if each > 1 else "server CPU per transfer"
        per_us = 1e6 / count / each
        check_us = run.check_s * 1e6
        figures += [
            Figure(f"{name}, {each} each", run.cpu_s * per_us, "us", check_us, _BARS[each]),
            Figure("  of it, processes that check", run.helpers_s * per_us, "us", check_us),
            Figure(f"transfers of {each}", count / run.seconds, "/s"),
        ]
        if each > 1:
            figures.append(
                Figure(f"billots in transfers of {each}", count * each / run.seconds, "/s")
            )
    return Table("One server alone, under load", tuple(figures))


class Run(NamedTuple):
    """Wall seconds, CPU seconds of the server and of its helpers; and those of one check."""

    seconds: float
    cpu_s: float
    helpers_s: float
    check_s: float


async def loaded(server: Running, work: Sequence[Transfer], clients: int, window: int) -> Run:
    """All of it, once the server is warm."""
    async with contextlib.AsyncExitStack() as stack:
        connections = await connected(stack, [server.host] * clients)
        await send_all(connections, transfers("h-", 300), window)
        await asyncio.sleep(_WARM_S)
        async with Meanwhile(checking()) as floor:
            cpu, helpers, begun = server.cpu_s, server.helpers_cpu_s, time.perf_counter()
            await send_all(connections, work, window)
            seconds = time.perf_counter() - begun
            return Run(seconds, server.cpu_s - cpu, server.helpers_cpu_s - helpers, floor.cost_s)


def latency(floors: Floors) -> Table:
    """A transfer's way, for one client and for 64."""
    with tempfile.TemporaryDirectory() as folder, alone(folder) as server:
        one, many = asyncio.run(_latencies(server.host))
    own_ms = (statistics.median(one) - floors.sync_s) * 1000
    return Table(
        "One server alone, time to an answer",
        (
            Figure("one client, median", statistics.median(one) * 1000, "ms"),
            Figure("  less one synced write", own_ms, "ms", None, 1.5),
            Figure("64 clients at once, median", statistics.median(many) * 1000, "ms"),
            Figure("64 clients at once, 99 of 100", _centile(many) * 1000, "ms"),
        ),
    )


def _centile(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[-1]


async def _latencies(host: Host) -> tuple[list[float], list[float]]:
    async with contextlib.AsyncExitStack() as stack:
        connections = await connected(stack, [host] * 64)
        await send_all(connections[:4], transfers("h-", 100), 1)
        one = await send_all(connections[:1], transfers("k-", 400), 1)
        return one, await send_all(connections, transfers("j-", 3200), 1)


def reads() -> Table:
    """Questions: who owns 1 and 64 billots, signed and not, and an owner's list."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, alone(folder) as server:
        ids = asyncio.run(_filled(server.host))
        for count in (1, 64):
            for nonce in (None, NONCE):
                question = WhoOwns(tuple(ids[:count]), nonce)
                times = 20_000 if count == 1 else 1600
                call = _asking("who_owns", question, Statement)
                cpu, sign = asyncio.run(_cost(server, call, times))
                signed = "signed" if nonce else "unsigned"
                floor = sign * 1e6 if nonce and count == 1 else None
                bar = 2 if floor else 25 if count == 1 else None
                figures.append(
                    Figure(f"who_owns {count}, {signed}, CPU", cpu * 1e6, "us", floor, bar)
                )
        page = _asking("list", ListBillots(USER.owner, None, 10), Listed)
        cpu, _ = asyncio.run(_cost(server, page, 1600))
        figures.append(Figure("list, 10 of an owner's, CPU", cpu * 1e6, "us"))
    return Table("One server alone, questions", tuple(figures))


async def _filled(host: Host) -> list[str]:
    """A thousand billots moved to one owner; their ids."""
    async with contextlib.AsyncExitStack() as stack:
        connections = await connected(stack, [host])
        work = transfers("k-", 10, 100)
        await send_all(connections, work, 4)
    return [billot for transfer in work for billot, _ in transfer.billots]


def _asking(method: str, question: object, result: type) -> Callable[[Client], Awaitable[object]]:
    return lambda client: client.call(method, question, result, timeout_s=60)  # type: ignore[arg-type]


async def _cost(
    server: Running, call: Callable[[Client], Awaitable[object]], times: int
) -> tuple[float, float]:
    """CPU seconds of the server for one call, of 32 that are on their way; and of a signature."""
    async with contextlib.AsyncExitStack() as stack:
        connections = await connected(stack, [server.host] * 4)

        async def some(client: Client) -> None:
            for _ in range(times // 32):
                await call(client)

        async with Meanwhile(signing()) as floor:
            before = server.cpu_s
            await asyncio.gather(*(some(client) for client in connections for _ in range(8)))
            return (server.cpu_s - before) / (times // 32 * 32), floor.cost_s
