"""The plots of docs/performance.rst, from measurements of their own."""

from __future__ import annotations

import asyncio
import tempfile

from benchmarks.loads import transfers
from benchmarks.lone import loaded
from benchmarks.plots import Line, Plot, svg
from benchmarks.servers import alone
from benchmarks.stores import DISTINCT, ONE_OWNER, TEN_EACH, Told, disk_bytes, load

_SIZES = (1, 4, 16, 64, 256)
_WINDOWS = (1, 2, 4, 8, 16, 32, 64)
_CLIENTS = 4
_COUNTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def draw(told: Told) -> str:
    """Throughput and where the time goes by how much comes together; disk by billots moved."""
    return svg((_by_batch(told), _by_rows(told), _disk(told)))


def _by_batch(told: Told) -> Plot:
    """What is under way at once becomes a batch: one write, and one group of checks."""
    rates, shares = [], []
    for number, window in enumerate(_WINDOWS):
        told("plotting", number, len(_WINDOWS))
        count = min(20_000, 2000 * window)
        with tempfile.TemporaryDirectory() as folder, alone(folder) as server:
            work = transfers("k-", count)
            run = asyncio.run(loaded(server, work, _CLIENTS, window))
        rates.append((float(window * _CLIENTS), count / run.seconds))
        shares.append((float(window * _CLIENTS), 100 * run.check_s * count / run.cpu_s))
    return Plot(
        "One server alone, transfers of one billot",
        "transfers under way at once",
        "transfers/s",
        "% of CPU",
        (
            Line("transfers a second", tuple(rates)),
            Line("signature checks", tuple(shares), right=True),
        ),
    )


def _by_rows(told: Told) -> Plot:
    rates, shares = [], []
    for number, each in enumerate(_SIZES):
        told("plotting", number, len(_SIZES))
        count = max(100, 8000 // each)
        work = transfers("k-", count, each)
        with tempfile.TemporaryDirectory() as folder, alone(folder) as server:
            run = asyncio.run(loaded(server, work, 8, max(4, 32 // each)))
        rates.append((float(each), count * each / run.seconds))
        shares.append((float(each), 100 * run.check_s * count / run.cpu_s))
    return Plot(
        "One server alone, transfers of more billots",
        "billots in a transfer",
        "billots/s",
        "% of CPU",
        (
            Line("billots a second", tuple(rates)),
            Line("signature checks", tuple(shares), right=True),
        ),
    )


def _disk(told: Told) -> Plot:
    lines = []
    for layout in (ONE_OWNER, TEN_EACH, DISTINCT):
        points = []
        for count in _COUNTS:
            with tempfile.TemporaryDirectory() as folder:
                points.append((float(count), disk_bytes(load(folder, count, layout, told)) / 1e6))
        lines.append(Line(layout.name, tuple(points)))
    return Plot("Disk", "billots that have moved", "MB", "", tuple(lines))
