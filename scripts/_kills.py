"""The kill -9 campaign behind ``scripts/kills``: real servers, one alone and a mesh of four."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "network"))

from kills import Campaign, Figures

COLUMNS = (
    "servers kills in_recovery answered cut_off looked_at conflicts unanswered lost contradicted "
    "stuck s"
)


def row(servers: int, figures: Figures, seconds: float) -> str:
    """A line of the table."""
    cells = [
        servers,
        figures.kills,
        figures.in_recovery,
        figures.answered,
        figures.cut_off,
        figures.looked_at,
        figures.conflicts_refused,
        figures.unanswered,
        len(figures.lost),
        len(figures.contradicted),
        len(figures.stuck),
        round(seconds),
    ]
    widths = map(len, COLUMNS.split())
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def campaign(servers: int, kills: int, seed: int) -> Figures:
    """Run one, and print what came of it."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="billots-kills-") as folder:
        running = Campaign(Path(folder), servers, seed)

        def told(figures: Figures) -> None:
            print(f"{figures.kills} of {kills} kills", end="\r", file=sys.stderr, flush=True)

        figures = asyncio.run(running.run(kills, told))
    print(row(servers, figures, time.monotonic() - begun), flush=True)
    for what in (figures.lost + figures.contradicted + figures.stuck)[:20]:
        print(f"  {what}")
    return figures


@click.command()
@click.option("--count", default=100, show_default=True, help="Kills in all.")
@click.option("--servers", default=[1, 4], show_default=True, multiple=True, help="Mesh sizes.")
@click.option("--seed", default=None, type=int, help="Of the moments; the rest is chance.")
def command(count: int, servers: tuple[int, ...], seed: int | None) -> None:
    """Kill servers under load and in recovery; exit status 1 if one forgot what it answered."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    print(COLUMNS.replace(" ", "  "))
    share = -(-count // len(servers))
    all_figures = [campaign(size, share, seed) for size in servers]
    if any(figures.lost or figures.contradicted or figures.stuck for figures in all_figures):
        sys.exit(1)


if __name__ == "__main__":
    command()
