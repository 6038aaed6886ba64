"""How the commands end: what goes to the terminal, and the exit status. No traceback, ever."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from billots import errors

OK, NO, USAGE, NOBODY = 0, 1, 2, 3
INTERRUPTED = 130
PIPE_CLOSED = 141

_STATUS: tuple[tuple[type[errors.BillotsError], int], ...] = (
    (errors.Unreachable, NOBODY),
    (errors.ProtocolError, NOBODY),
    (errors.Refused, NO),
    (errors.AlreadySigned, NO),
    (errors.ServerKeyChanged, NO),
)


def exit_status(error: errors.BillotsError) -> int:
    """1 for a no, 3 if nobody could be reached, else 2: usage or a local file."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), USAGE)


def tell(program: str, message: str, hint: str | None = None, kind: str = "error") -> None:
    """One line on stderr for what happened, one for what to type next."""
    click.echo(f"{program}: {kind}: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def run(program: str, command: Callable[[], int]) -> int:
    """Run a command to its exit status, whatever happens in it."""
    try:
        status = command()
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return _flushed(program, done.exit_code)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        message = error.format_message().rstrip(".")
        tell(program, message[:1].lower() + message[1:], f"{program} --help")
        return USAGE
    except errors.BillotsError as error:
        tell(program, str(error), error.hint)
        return exit_status(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _broken_output(program, error)
    return status


def _flushed(program: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError as error:
        return _broken_output(program, error)
    return status


def _broken_output(program: str, error: OSError) -> int:
    # What is still buffered would be tried, and complained about, once more at exit.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    tell(program, f"can't write the output: {error.strerror or error}")
    return USAGE
