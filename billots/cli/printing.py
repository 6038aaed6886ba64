"""How an action of ``bwallet`` speaks: lines and documents on stdout, asides on stderr."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from billots.network import shown

PROGRAM = "bwallet"
OK, NO, LOCAL, NOBODY = 0, 1, 2, 3
"""Exit statuses: yes, no, usage or a local file, nobody reached."""


def line(text: str = "") -> None:
    """One line on stdout."""
    print(text)


def document(fields: dict[str, Any]) -> None:
    """The one JSON document on stdout."""
    import json

    line(json.dumps(fields))


def tell(kind: str, message: str, hint: str | None = None, program: str = PROGRAM) -> None:
    """What is worth knowing and no error, on stderr."""
    print(f"{program}: {kind}: {message}", file=sys.stderr)
    if hint is not None:
        print(f"hint: {hint}", file=sys.stderr)


def name(path: Path) -> str:
    """A file's name as a terminal may show it."""
    return shown(str(path), 200)


def payee(owner: str, names: Mapping[str, str]) -> str:
    """An owner id, cut, with the name that one keeps for it."""
    cut = f"{owner[:16]}…"
    return f"{names[owner]} ({cut})" if owner in names else cut


def show_code(text: str, *, wanted: bool) -> None:
    """A QR code of a text, on a terminal or where it is `wanted`."""
    if not (wanted or sys.stdout.isatty()):
        return
    import segno

    segno.make(text, error="l", micro=False).terminal(sys.stdout, compact=True)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()
) -> None:
    """A table on stdout, the columns in `right` flush right."""
    if sys.stdout.isatty():
        from billots.cli.live import print_table

        print_table(columns, rows, right)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = enumerate(zip(row, widths, strict=True))
        padded = (c.rjust(width) if at in right else c.ljust(width) for at, (c, width) in cells)
        line("  ".join(padded).rstrip())


def some(names: Sequence[str]) -> str:
    """Names with commas, the first of many."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more
