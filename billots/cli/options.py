"""Values of options, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from billots.network import Network

TIMEOUT_S_MAX = 3600.0
PAIRS = {
    "--transfer": ("ID", "TO", "a-1 bob"),
    "--pay": ("AMOUNT", "TO", "187.65 bob"),
    "--contact": ("NAME", "OWNER", "bob OWNER"),
}
"""Options of two words, what these are, and an example."""


def find_network(name: str) -> Network:
    """A shipped network by its name, else the file of that name; raises NetworkFileError."""
    from billots.errors import NetworkFileError
    from billots.network import SHIPPED, Network, shown

    if name in SHIPPED:
        return Network.shipped(name)
    try:
        return Network.load(name)
    except NetworkFileError as error:
        if error.hint is None and isinstance(error.__cause__, FileNotFoundError):
            error.hint = f"--network takes {' or '.join(SHIPPED)} or a file, not {shown(name)}"
        raise


def check_pairs(arguments: Sequence[str]) -> None:
    """Raise InputError for an option of `PAIRS` without its words: click takes the next option."""
    from billots.errors import InputError
    from billots.network import shown

    for index, option in enumerate(arguments):
        if option not in PAIRS:
            continue
        first, second, example = PAIRS[option]
        words = [*arguments[index + 1 : index + 3], "--", "--"]
        if words[1].startswith("--"):
            missing = f"{first} and {second} are" if words[0].startswith("--") else f"{second} is"
            said = option if words[0].startswith("--") else f"{option} {shown(words[0])}"
            raise InputError(f"{missing} missing after {said}", f"bwallet {option} {example}")


def check_seconds(_context: click.Context, _option: click.Parameter, seconds: float) -> float:
    """A number of seconds that can be waited; NaN and infinity can't."""
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise click.BadParameter(f"must be over 0 and at most {TIMEOUT_S_MAX:g} seconds")
    return seconds
