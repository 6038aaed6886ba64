"""Values of options, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from billots.network import Network

TIMEOUT_S_MAX = 3600.0
_CHANGE = "billots.cli.change"

Function = TypeVar("Function", bound=Callable[..., Any])


def _note(context: click.Context, option: click.Parameter, value: object) -> None:
    context.meta.setdefault(_CHANGE, {})[option.name] = value


def change_options(function: Function) -> Function:
    """The options of ``bwallet`` that are about change; `change_given` has their values."""
    for option in (
        click.option(
            "--max-fee",
            metavar="AMOUNT",
            allow_from_autoenv=False,
            expose_value=False,
            callback=_note,
            help="With --yes: the most that an exchange may cost.  [default: 0]",
        ),
        click.option(
            "--yes",
            is_flag=True,
            allow_from_autoenv=False,
            expose_value=False,
            callback=_note,
            help="With --change-server: exchange without asking.",
        ),
        click.option(
            "--change-server",
            metavar="HOST",
            expose_value=False,
            callback=_note,
            help="With --pay: who gives change if no notes make the amount; h:p#KEY pins its key.",
        ),
    ):
        function = option(function)
    return function


def change_given(*, paying: bool) -> dict[str, Any]:
    """What the options about change say; raises UsageError if they go with nothing."""
    given: dict[str, Any] = click.get_current_context().meta[_CHANGE]
    for name in ("yes", "max_fee"):
        if given[name] and not (paying and given["change_server"]):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} goes with --pay and --change-server")
    return given


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


def check_seconds(_context: click.Context, _option: click.Parameter, seconds: float) -> float:
    """A number of seconds that can be waited; NaN and infinity can't."""
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise click.BadParameter(f"must be over 0 and at most {TIMEOUT_S_MAX:g} seconds")
    return seconds
