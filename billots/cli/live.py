"""What moves on a terminal while the wallet works: on stderr, gone when the answer is there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from billots.host import Host
    from billots.poll import Answer


@contextmanager
def answers_live(hosts: Sequence[Host]) -> Iterator[Callable[[Answer], None]]:
    """A table of servers that fills as they answer."""
    said: dict[str, str] = {host.place: "…" for host in hosts}

    def table() -> Table:
        grid = Table.grid(padding=(0, 2))
        for place, words in said.items():
            grid.add_row(Text(place), Text(words))
        return grid

    with Live(table(), console=Console(stderr=True), transient=True, auto_refresh=False) as live:

        def on_answer(answer: Answer) -> None:
            holding = answer.holding
            if holding is None:
                said[answer.host.place] = str(answer.problem or "…")
            else:
                owner = f"{holding.owner[:16]}…" if holding.owner else ""
                said[answer.host.place] = f"seq {holding.seq} {holding.status.value} {owner}"
            live.update(table(), refresh=True)

        yield on_answer


@contextmanager
def progress_live(least: int, what: str = "counting votes") -> Iterator[Callable[[int, int], None]]:
    """A bar for work of at least `least` steps; shorter work is done at once."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, visible=False)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=total >= least)

        yield on_progress


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int]
) -> None:
    """A table on the terminal's stdout, the columns in `right` flush right."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
