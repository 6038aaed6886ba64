"""What the commands share: lists of hosts as arguments, and errors as a person reads them.

An error is one line on stderr, ``program: error: lower case, no full stop``, and then
``hint: <the next thing to type>`` where there is one. No traceback, ever.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from billots.errors import BillotsError, InputError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LISTS = ("--trusted", "--transfer", "--check-trust", "--audit")
"""Options whose value may be several words, with commas between them."""
USAGE = 2
INTERRUPTED = 130


def join_words(arguments: list[str], option: str) -> list[str]:
    """Command-line words with the several words of one option's list joined into one.

    >>> join_words(["--trusted", "a:1,", "b:2", "--json"], "--trusted")
    ['--trusted', 'a:1, b:2', '--json']
    """
    joined: list[str] = []
    continues = False
    for index, word in enumerate(arguments):
        follows = index > 0 and arguments[index - 1] != option
        is_comma = word.startswith(",") and follows and _in_list(arguments, index, option)
        if (continues or is_comma) and not word.startswith("--"):
            joined[-1] += " " + word
        else:
            joined.append(word)
        in_list = word.startswith(f"{option}=") or _in_list(arguments, index, option)
        begun = follows or bool(word.strip(","))  # a list doesn't begin with a comma alone
        continues = in_list and word.endswith(",") and begun
    return joined


def fill_amount(arguments: list[str]) -> list[str]:
    """Command-line words in which ``--pay URI`` has a place for the amount, which is empty.

    >>> fill_amount(["--pay", "billots:…?amount=1", "--json"])
    ['--pay', '', 'billots:…?amount=1', '--json']
    """
    filled: list[str] = []
    for word in arguments:
        if filled and filled[-1] == "--pay" and word.lower().startswith("billots:"):
            filled.append("")
        filled.append(word)
    return filled


def _in_list(arguments: list[str], index: int, option: str) -> bool:
    """Whether the word at `index` belongs to the option's list."""
    while index > 0:
        index -= 1
        word = arguments[index]
        if word == option or (word.startswith(f"{option}=") and word.endswith(",")):
            return True
        if not (word.endswith(",") or arguments[index + 1].startswith(",")):
            return False
    return False


class Subcommands(click.Group):
    """Subcommands, each in a module of its own that is loaded when it is wanted.

    `modules` has the module of ``billots.cli`` for each name; its ``command`` is the subcommand.
    """

    def __init__(self, *words: Any, modules: Mapping[str, str] | None = None, **more: Any) -> None:
        # Without a subcommand click would make an error of the whole help.
        super().__init__(*words, **{"no_args_is_help": False, **more})
        self._modules = dict(modules or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order in which they are needed."""
        del ctx
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, or None."""
        del ctx
        if cmd_name not in self._modules:
            return None
        command = import_module(f"billots.cli.{self._modules[cmd_name]}").command
        assert isinstance(command, click.Command)
        return command


def run_command(
    command: click.Command, program: str, statuses: Mapping[type[BillotsError], int]
) -> NoReturn:
    """Run a command and exit; `statuses` are the exit statuses of errors, first match first."""
    if getattr(sys, "stdout", None) is None:  # closed by whoever started us
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
    if isinstance(sys.stdout, TextIOWrapper):  # whatever the terminal's encoding can't say
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(command, program, statuses)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)  # whoever read our output has gone: nothing is left to say
        status = 1
    except OSError as error:
        _silence(sys.stdout)
        status = fail(program, f"can't write output: {error.strerror or error}", None, USAGE)
    sys.exit(status)


def _run(command: click.Command, program: str, statuses: Mapping[type[BillotsError], int]) -> int:
    try:
        result: Any = command.main(
            fill_amount(reduce(join_words, LISTS, sys.argv[1:])),
            prog_name=program,
            standalone_mode=False,
            auto_envvar_prefix=program.upper(),
        )
    except click.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except click.UsageError as error:
        typed = error.ctx.command_path if error.ctx is not None else program
        return fail(program, lowered(error.format_message()), f"{typed} --help", USAGE)
    except click.ClickException as error:
        return fail(program, lowered(error.format_message()), f"{program} --help", USAGE)
    except InputError as error:
        return fail(program, str(error), error.hint, USAGE)
    except BillotsError as error:
        status = next((s for kind, s in statuses.items() if isinstance(error, kind)), 1)
        return fail(program, str(error), error.hint, status)
    return result if isinstance(result, int) else 0


def fail(program: str, message: str, hint: str | None, status: int) -> int:
    """Say what went wrong and what to do next; returns the exit status."""
    click.echo(f"{program}: error: {message}", err=True)
    if hint is not None:
        click.echo(f"hint: {hint}", err=True)
    return status


def lowered(message: str) -> str:
    """A sentence in the voice of our errors: lower case, no full stop, one line."""
    message = printable(" ".join(message.split()).rstrip("."))
    return message[:1].lower() + message[1:]


def printable(text: str) -> str:
    """A text that a terminal takes for nothing else, for what a person or file name brought."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _silence(stream: Any) -> None:
    """What can't be written must not be tried again at exit."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
