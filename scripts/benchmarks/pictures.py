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
_COUNTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def draw(told: Told) -> str:
    """Throughput and where the time goes by billots in a transfer; disk by billots moved."""
    return svg((_throughput(told), _disk(told)))


def _throughput(told: Told) -> Plot:
    rates, shares = [], []
    for number, each in enumerate(_SIZES):
        told("plotting", number, len(_SIZES))
        count = max(100, 8000 // each)
        work = transfers("k-", count, each)
        with tempfile.TemporaryDirectory() as folder, alone(folder) as server:
            seconds, cpu, check = asyncio.run(loaded(server, work, 8, max(4, 32 // each)))
        rates.append((float(each), count * each / seconds))
        shares.append((float(each), 100 * check * count / cpu))
    return Plot(
        "One server alone",
        "billots in a transfer",
        "billots/s",
        "% of CPU",
        (
            Line("billots a second", tuple(rates)),
            Line("signature checks, share of CPU", tuple(shares), right=True),
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
