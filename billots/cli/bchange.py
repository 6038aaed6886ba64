"""The command ``bchange``: a change server, and what a proof against one says."""

from __future__ import annotations

from typing import NoReturn

import click

from billots.cli.program import Subcommands, run_command
from billots.cli.settings import STATUSES
from billots.version import __version__

PROGRAM = "bchange"

EPILOG = """\b
Examples:
  bchange serve 7340 --keyfile float --trusted a.org:7333, b.org:7334, c.org:7335
      give change, out of the notes of the key float
  bchange verify-proof quote-0123456789abcdef.json --trusted a.org:7333#KEY
      what a customer's proof says, and whether he got his change
"""

_MODULES = {"serve": "change_serve", "verify-proof": "change_verify"}


@click.group(
    cls=Subcommands,
    modules=_MODULES,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s", allow_from_autoenv=False)
def command() -> None:
    """Give change for notes, and check what becomes of it.

    A change server is trusted with what it is given until its change is final. What it signs
    before shows anybody what it owes.
    """


def main() -> NoReturn:
    """The entry point."""
    run_command(command, PROGRAM, STATUSES)


if __name__ == "__main__":
    main()
