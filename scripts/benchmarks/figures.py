"""Figures with their units, floors and bars; as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import click


@dataclass(frozen=True)
class Figure:
    """One figure. `floor` is what it is held against, `bar` how much of that it may be at most.

    Without a floor the bar is in the figure's own unit.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    bar: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times its floor it is."""
        return self.value / self.floor if self.floor else None

    @property
    def held(self) -> float:
        """What the bar is for."""
        return self.value if self.ratio is None else self.ratio

    @property
    def passes(self) -> bool | None:
        """Whether it is within its bar, if it has one."""
        return None if self.bar is None else self.held <= self.bar

    @property
    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        mark = {None: "", True: "ok", False: "over"}[self.passes]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        bar = "" if self.bar is None else f"{self.bar:g}"
        return self.name, f"{_short(self.value)} {self.unit}".strip(), ratio, bar, mark


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.1f}"


@dataclass(frozen=True)
class Table:
    """Figures that belong together."""

    title: str
    figures: tuple[Figure, ...]

    def show(self) -> None:
        """Print it."""
        rows = [("", "", "ratio", "bar", ""), *(figure.cells for figure in self.figures)]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        click.echo(f"\n{self.title}")
        for name, *cells in rows:
            line = "  ".join(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True))
            click.echo(f"  {name:<{widths[0]}}  {line}".rstrip())


def as_json(tables: Iterable[Table]) -> str:
    """All of it as one document."""
    return json.dumps(
        {
            table.title: [
                {**asdict(figure), "ratio": figure.ratio, "passes": figure.passes}
                for figure in table.figures
            ]
            for table in tables
        },
        indent=2,
    )
