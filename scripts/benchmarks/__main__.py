"""The command: which measurements, in which order, and what is printed."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import commands, floors, lone, meshes, money, profiles, stores, wires
from benchmarks.figures import Table, as_json

Part = Callable[[], Table]


def _parts(
    found: floors.Floors, base: int, *, large: bool, told: stores.Told
) -> dict[str, list[Part]]:
    counts = (10_000, stores.MILLION, *((10 * stores.MILLION,) if large else ()))
    return {
        "alone": [
            lone.throughput,
            lambda: lone.latency(found),
            lone.reads,
        ],
        "profile": [
            lambda: profiles.alone(1, 20_480, 256),
            lambda: profiles.alone(256, 160, 8),
            lambda: profiles.among(17, 1700, 10),
        ],
        "mesh": [
            *(lambda n=n: meshes.idle(base, n, 40) for n in (4, 7, 17)),
            lambda: meshes.loaded(base, 4, 8000),
            lambda: meshes.loaded(base, 17, 4000),
            lambda: meshes.wallet(base, 7),
        ],
        "wires": [lambda: wires.costs((4, 8, 17, 32, 64, *((200,) if large else ())), 256)],
        "lists": [lambda: stores.listing(told)],
        "disk": [lambda: stores.disk(stores.MILLION if large else 200_000, told)],
        "growth": [lambda: stores.growth(counts, told)],
        "money": [
            lambda: money.paying(base),
            lambda: money.supply(base, stores.MILLION if large else 100_000, told),
        ],
        "commands": [commands.start],
    }


@click.command()
@click.argument("parts", nargs=-1)
@click.option("--json", "json_mode", is_flag=True, help="One JSON document instead of tables.")
@click.option("--large", is_flag=True, help="Also 10 million billots and 200 servers.")
@click.option("--base-port", default=27333, show_default=True, help="First of the meshes' ports.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the plots to this SVG file.")
def main(
    parts: tuple[str, ...], *, json_mode: bool, large: bool, base_port: int, plot: str | None
) -> None:
    """Measure servers and wallet on this machine, each figure beside its floor.

    PARTS are some of: alone profile mesh wires lists disk growth money commands. A ratio is a
    figure over its floor (under load as it is under load); a bar is what it is to be at most.
    """
    shown = sys.stderr.isatty()

    def told(what: str, done: int, of: int) -> None:
        if shown:
            click.echo(f"\r{what}: {100 * done // of} %   ", err=True, nl=False)

    found = floors.measure()
    tables = [found.table]
    known = _parts(found, base_port, large=large, told=told)
    wrong = [part for part in parts if part not in known]
    if wrong:
        raise click.UsageError(f"no such part: {wrong[0]}; there are {' '.join(known)}")
    if not json_mode:
        click.echo(f"Python {platform.python_version()}, {platform.machine()}")
        found.table.show()
    for part in parts or known:
        for measure in known[part]:
            tables.append(measure())
            if not json_mode:
                tables[-1].show()
    if json_mode:
        click.echo(as_json(tables))
    if plot is not None:
        from benchmarks import pictures

        Path(plot).write_text(pictures.draw(told), "utf-8")


if __name__ == "__main__":
    main(prog_name="scripts/bench")
