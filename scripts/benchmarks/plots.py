"""Plots as SVG, drawn here: a few lines and dots are no reason for a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 70, 44, 46
_COLOURS = ("#1a6fb5", "#c2571a", "#4b8b3b")
_STYLE = """
text { font: 13px sans-serif; fill: #333; }
.title { font-weight: bold; font-size: 15px; }
.grid { stroke: #8884; }
.line { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) { text { fill: #ddd; } }
"""


@dataclass(frozen=True)
class Line:
    """Points (x, y), and which axis they go by."""

    name: str
    points: tuple[tuple[float, float], ...]
    right: bool = False


@dataclass(frozen=True)
class Plot:
    """Lines over x, which is drawn by its logarithm; a second axis if a line goes by it."""

    title: str
    x_name: str
    left_name: str
    right_name: str
    lines: tuple[Line, ...]


def svg(plots: Sequence[Plot]) -> str:
    """The plots below each other, as one picture."""
    height = _HEIGHT * len(plots)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape('; '.join(plot.title for plot in plots))}</title>",
        f"<style>{_STYLE}</style>",
    ]
    for number, plot in enumerate(plots):
        parts += [f'<g transform="translate(0 {number * _HEIGHT})">', *_drawn(plot), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _drawn(plot: Plot) -> list[str]:
    xs = sorted({x for line in plot.lines for x, _ in line.points})
    low, high = math.log(xs[0]), math.log(xs[-1])
    tops = {
        right: _round_up(max((y for ln in plot.lines if ln.right is right for _, y in ln.points)))
        for right in {line.right for line in plot.lines}
    }

    def at(x: float, y: float, *, right: bool) -> tuple[float, float]:
        across = (math.log(x) - low) / ((high - low) or 1)
        inner = _HEIGHT - _TOP - _BOTTOM
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - y / tops[right] * inner, 1),
        )

    parts = [f'<text class="title" x="{_LEFT}" y="20">{escape(plot.title)}</text>']
    for right, top in tops.items():
        parts += _axis(top, plot.right_name if right else plot.left_name, right=right)
    for x in xs:
        place, _ = at(x, 0, right=next(iter(tops)))
        below = _HEIGHT - _BOTTOM + 18
        parts.append(f'<text x="{place}" y="{below}" text-anchor="middle">{_number(x)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(plot.x_name)}</text>'
    )
    for line, colour in zip(plot.lines, _COLOURS, strict=False):
        places = [at(x, y, right=line.right) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places]
    parts += _legend(plot.lines)
    return parts


def _axis(top: float, name: str, *, right: bool) -> list[str]:
    parts = []
    for step in range(5):
        y = round(_HEIGHT - _BOTTOM - step / 4 * (_HEIGHT - _TOP - _BOTTOM), 1)
        if not right:
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
            )
        x, anchor = (_WIDTH - _RIGHT + 8, "start") if right else (_LEFT - 8, "end")
        value = _number(top * step / 4)
        parts.append(f'<text x="{x}" y="{y + 4}" text-anchor="{anchor}">{value}</text>')
    x, anchor = (_WIDTH - 4, "end") if right else (4, "start")
    parts.append(f'<text x="{x}" y="{_TOP - 8}" text-anchor="{anchor}">{escape(name)}</text>')
    return parts


def _legend(lines: Sequence[Line]) -> list[str]:
    parts, x = [], _LEFT + 130
    for line, colour in zip(lines, _COLOURS, strict=False):
        parts.append(f'<rect x="{x}" y="{_TOP - 17}" width="12" height="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="{_TOP - 11}">{escape(line.name)}</text>')
        x += 30 + 7 * len(line.name)
    return parts


def _round_up(value: float) -> float:
    size = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(size * step for step in (1, 2, 4, 5, 8, 10) if size * step >= value)


def _number(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
