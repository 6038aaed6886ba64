"""The command ``bmint``: a currency of one's own, its money, and its supply."""

from __future__ import annotations

from typing import NoReturn

import click

from billots.cli.program import Subcommands, run_command
from billots.cli.settings import STATUSES
from billots.version import __version__

PROGRAM = "bmint"

EPILOG = """\b
Examples:
  bmint init club
      a currency: club.toml for everybody, and the issuer's key
  bmint issue 1000 OWNER --mixed --network club.toml --keyfile club-issuer
      money for somebody, small notes among it
  bmint faucet 8080 --keyfile purse --network club.toml --trusted a.org:7333, b.org:7333
      a page where play money is asked for
  bmint audit --network club.toml --trusted a.org:7333, b.org:7333, c.org:7333
      the whole supply, counted

\b
Settings can also come from the environment: BMINT_TRUSTED, BMINT_NETWORK,
BMINT_KEYFILE and so on.
"""


@click.group(
    cls=Subcommands,
    modules={name: f"mint_{name}" for name in ("init", "issue", "audit", "faucet")},
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s", allow_from_autoenv=False)
def command() -> None:
    """Make a currency, hand out its money, and count it.

    The issuer of a network owns every billot that never moved. Who has the issuer's key decides
    how much money there is: keep it off the machines that others reach.
    """


def main() -> NoReturn:
    """The entry point."""
    run_command(command, PROGRAM, STATUSES)


if __name__ == "__main__":
    main()
