"""The options that say where and who one is: what a wallet is made of, in every command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from billots.cli.options import check_seconds, find_network
from billots.cli.printing import tell
from billots.errors import (
    AlreadySigned,
    BillotsError,
    KeyFileError,
    ProtocolError,
    Refused,
    ServerKeyChanged,
    Unreachable,
)
from billots.network import shown

if TYPE_CHECKING:
    from billots.mint import Mint
    from billots.wallet import Wallet

STATUSES: dict[type[BillotsError], int] = {
    Unreachable: 3,
    ProtocolError: 3,
    Refused: 1,
    AlreadySigned: 1,
    ServerKeyChanged: 1,
    BillotsError: 2,
}
"""Exit statuses of errors, for commands that talk to servers; the first match counts."""

_PASSPHRASE_LINE_MAX = 4096
_FILE_HINT = "BWALLET_PASSPHRASE_FILE=FILE names a file whose first line is the passphrase"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that are no actions."""

    server: str | None
    keyfile: Path
    trusted: str | None
    quorum: str
    network: str | None
    json: bool
    timeout: float

    def wallet(self, *, unlock: bool = False) -> Wallet:
        """The wallet that these settings describe; `unlock` asks for a passphrase if need be."""
        from billots.wallet import Wallet

        return Wallet(**self._arguments(unlock=unlock))

    def mint(self, *, unlock: bool = False) -> Mint:
        """The same for an issuer."""
        from billots.mint import Mint

        return Mint(**self._arguments(unlock=unlock))

    def _arguments(self, *, unlock: bool) -> dict[str, Any]:
        return {
            "keyfile": self.keyfile,
            "passphrase": passphrase(self.keyfile) if unlock else None,
            "server": self.server,
            "trusted": self.trusted,
            "quorum": self.quorum,
            "network": find_network(self.network) if self.network is not None else None,
            "timeout_s": self.timeout,
            "command": command_words(self),
        }


def settings_options(program: str, *, keyfile: str = "key") -> Callable[[Function], Function]:
    """The options of `Settings` for a command with subcommands, each from PROGRAM_… as well.

    The subcommand takes them as ``**settings`` and makes `Settings` of them.
    """
    env = program.upper()
    options = (
        click.option(
            "--server",
            envvar=f"{env}_SERVER",
            metavar="HOST",
            help="Where transfers go.  [default: the first of --trusted]",
        ),
        click.option(
            "--keyfile",
            envvar=f"{env}_KEYFILE",
            default=keyfile,
            show_default=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The private key; FILE.pub beside it is the public one.",
        ),
        click.option(
            "--trusted",
            envvar=f"{env}_TRUSTED",
            metavar="HOSTS",
            help="Whom you trust: h:p, h:p, h:p or h:7333-7349; h:p#KEY pins a server's key.",
        ),
        click.option(
            "--quorum",
            envvar=f"{env}_QUORUM",
            default="safe",
            show_default=True,
            metavar="RULE",
            help="How many of them must agree: safe, majority, 90% or a number.",
        ),
        click.option(
            "--network",
            envvar=f"{env}_NETWORK",
            metavar="FILE",
            help="A network file, or main or test.  [default: what the servers state]",
        ),
        click.option("--json", is_flag=True, help="Print one JSON document and nothing else."),
        click.option(
            "--timeout",
            envvar=f"{env}_TIMEOUT",
            type=float,
            default=5.0,
            show_default=True,
            callback=check_seconds,
            metavar="SECONDS",
            help="How long a server may take to answer.",
        ),
    )

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def passphrase(keyfile: Path) -> str | None:
    """The passphrase of a key file, if it has one: from the environment, else from a person.

    None if there is nobody to ask: whoever loads the key then says what it needs. Raises
    KeyFileError.
    """
    try:
        encrypted = b"ENCRYPTED" in keyfile.read_bytes()[:4096]
    except (OSError, ValueError):
        return None  # reading it again tells what is wrong
    if not encrypted:
        return None
    given = _given_passphrase()
    if given is not None or not sys.stdin.isatty():
        return given
    typed: str = click.prompt(
        f"Passphrase of {shown(str(keyfile), 200)}", hide_input=True, err=True
    )
    return typed


def new_passphrase(*, asked: bool) -> str | None:
    """What a new key is encrypted with: from the environment, else typed twice if `asked` for.

    None for neither. Raises KeyFileError if there is no terminal to ask on.
    """
    given = _given_passphrase()
    if given is not None or not asked:
        return given
    if not sys.stdin.isatty():
        raise KeyFileError("--passphrase asks on a terminal, and there is none", _FILE_HINT)
    typed: str = click.prompt(
        "New passphrase", hide_input=True, confirmation_prompt="The same once more", err=True
    )
    return typed


def _given_passphrase() -> str | None:
    """``BWALLET_PASSPHRASE``, else the first line of the file ``BWALLET_PASSPHRASE_FILE``."""
    given, file = (os.environ.get(f"BWALLET_PASSPHRASE{end}") for end in ("", "_FILE"))
    if given or not file:
        return given or None
    name = shown(file, 200)
    try:
        with Path(file).open("rb") as opened:
            first = opened.readline(_PASSPHRASE_LINE_MAX)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise KeyFileError(f"can't read passphrase file {name}: {why}", _FILE_HINT) from error
    from billots.crypto import is_exposed

    if is_exposed(file):
        program = click.get_current_context().find_root().info_name
        tell("warning", f"others can read {name}", f"chmod 600 {name}", program or "bwallet")
    if not first.strip(b"\r\n"):
        raise KeyFileError(f"no passphrase in the first line of {name}", _FILE_HINT)
    return os.fsdecode(first.rstrip(b"\r\n"))


def command_words(settings: Settings) -> str:
    """How hints begin: the wallet's command with the options that it needs to mean the same."""
    import shlex

    options = {
        "--keyfile": str(settings.keyfile) if settings.keyfile != Path("key") else None,
        "--server": settings.server,
        "--trusted": settings.trusted,
        "--network": settings.network,
    }
    words = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value]
    return " ".join(["bwallet", *words])
