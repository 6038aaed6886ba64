"""The command ``bwallet``: its options, and which verb of the wallet each action is.

A wallet's layers (asyncio, msgspec, libsodium) take longer to load than ``--hash`` takes to
run, so that each action imports what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from billots.cli.options import change_given, change_options, check_seconds
from billots.cli.program import run_command
from billots.cli.settings import STATUSES, Settings
from billots.errors import BillotsError
from billots.version import __version__

PROGRAM = "bwallet"

EPILOG = """\b
Examples:
  bwallet --genkeys
  bwallet --hash
  bwallet --list --server localhost:7333
  bwallet --check-owner a-1 --trusted localhost:7333-7349
  bwallet --check-owner a-1 --trusted a.org:7333, b.org:7334, c.org:7335
  bwallet --transfer a-1,b-7 OWNER --server localhost:7333
  bwallet --contact bob OWNER
  bwallet --request 0.35
  bwallet --pay 187.65 bob --trusted a.org:7333, b.org:7334, c.org:7335
  bwallet --pay 0.35 bob --change-server change.org:7340
  bwallet --receipt a-1 --trusted a.org:7333, b.org:7334, c.org:7335
  bwallet --verify-receipt receipt-a-1.json --trusted a.org:7333#KEY
  bwallet --accept-key a.org:7333
  bwallet --audit --count 200

\b
Every setting can also come from the environment: BWALLET_SERVER,
BWALLET_KEYFILE, BWALLET_TRUSTED, BWALLET_QUORUM, BWALLET_NETWORK,
BWALLET_TIMEOUT; BWALLET_PASSPHRASE is the passphrase of the key file.

\b
Exit status: 0 yes or done, 1 no (refused, disputed, undecided, no owner),
2 usage or a local file, 3 no server could be reached, 130 Ctrl-C.
"""


# What is done is typed, never found in the environment.
_action = partial(click.option, allow_from_autoenv=False)


@click.command(
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_action(
    "--genkeys",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Make a key: FILE (else --keyfile) and FILE.pub. Nothing is ever overwritten.",
)
@_action("--hash", "show_hash", is_flag=True, help="Print your owner id.")
@_action("--list", "list_", is_flag=True, help="List your billots and their value.")
@_action("--check-owner", metavar="ID", help="Whose a billot is, by the trusted servers.")
@_action("--who-owns", metavar="ID", help="Whose a billot is, by the one server.")
@_action(
    "--transfer",
    nargs=2,
    metavar="ID TO",
    help="Send a billot, or several (a-1,b-7), to the owner TO.",
)
@_action(
    "--pay",
    nargs=2,
    metavar="AMOUNT TO",
    help="Pay an amount exactly, and wait until it is final; TO may be a request.",
)
@_action(
    "--request",
    is_flag=False,
    flag_value="",
    metavar="[AMOUNT]",
    help="Print a request for payment to you, and its QR code on a terminal.",
)
@_action("--balance", is_flag=True, help="What you have, by denomination.")
@_action("--contact", nargs=2, metavar="NAME OWNER", help="Keep a name for whom you pay.")
@_action("--contacts", is_flag=True, help="List the names that you keep.")
@_action("--resume", is_flag=True, help="Finish payments that were signed and aren't final.")
@_action("--receipt", metavar="ID", help="Write a billot's receipt: receipt-ID.json.")
@_action(
    "--verify-receipt",
    metavar="FILE",
    help="What a receipt proves to you. Needs no connection, but the servers' keys.",
)
@_action(
    "--accept-key",
    metavar="HOST",
    help="Take a server's new key; with HOST#KEY, that one alone.",
)
@_action(
    "--audit",
    is_flag=False,
    flag_value="",
    metavar="[IDS]",
    help="Hold the trusted servers' answers against each other, for these billots or any.",
)
@_action(
    "--check-trust",
    is_flag=False,
    flag_value="",
    metavar="[HOSTS]",
    help="How many liars your list survives, alone and beside another and the servers' own.",
)
@click.option(
    "--server",
    metavar="HOST",
    help="Where transfers go.  [default: mint1.billots.org:7333, or the first of --trusted]",
)
@click.option(
    "--keyfile",
    default="key",
    show_default=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your private key; FILE.pub beside it is the public one.",
)
@click.option(
    "--trusted",
    metavar="HOSTS",
    help="Whom you trust: h:p, h:p, h:p or h:7333-7349; h:p#KEY pins a server's key.  "
    "[default: mint1:7333, mint2:7334, mint3:7335 of billots.org]",
)
@click.option(
    "--quorum",
    default="safe",
    show_default=True,
    metavar="RULE",
    help="How many of them must agree: safe, majority, 90% or a number.",
)
@_action(
    "--output",
    metavar="FILE",
    help="Where --receipt writes; - is the standard output.  [default: receipt-ID.json]",
)
@_action("--qr", is_flag=True, help="With --request or --hash: the QR code wherever it goes.")
@_action("--dry-run", is_flag=True, help="With --pay: show what would be paid, sign nothing.")
@change_options
@_action(
    "--count",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    metavar="N",
    help="How many billots --audit asks about, if it isn't told which.",
)
@click.option(
    "--network",
    metavar="FILE",
    help="A network file, or main or test.  [default: what the servers state]",
)
@click.option("--json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option(
    "--timeout",
    type=float,
    default=5.0,
    show_default=True,
    callback=check_seconds,
    metavar="SECONDS",
    help="How long a server may take to answer.",
)
@click.version_option(__version__, message="%(prog)s %(version)s", allow_from_autoenv=False)
def bwallet(
    *,
    genkeys: str | None,
    show_hash: bool,
    list_: bool,
    check_owner: str | None,
    who_owns: str | None,
    transfer: tuple[str, str] | None,
    pay: tuple[str, str] | None,
    request: str | None,
    qr: bool,
    balance: bool,
    contact: tuple[str, str] | None,
    contacts: bool,
    resume: bool,
    dry_run: bool,
    receipt: str | None,
    verify_receipt: str | None,
    accept_key: str | None,
    audit: str | None,
    check_trust: str | None,
    output: str | None,
    count: int,
    **settings: object,
) -> int:
    """Billots: digital cash. Keys, what they own, who owns what, and sending it on.

    Takes one action; without one it tells who and where you are.
    """
    given = Settings(**settings)  # type: ignore[arg-type]  # click made them what they are
    wanted: dict[str, tuple[str, str, tuple[object, ...] | None]] = {
        "--genkeys": ("actions", "genkeys", _if(genkeys)),
        "--hash": ("actions", "show_hash", () if show_hash else None),
        "--list": ("actions", "list_billots", () if list_ else None),
        "--check-owner": ("actions", "check_owner", _if(check_owner)),
        "--who-owns": ("actions", "who_owns", _if(who_owns)),
        "--transfer": ("actions", "transfer", transfer),
        "--pay": ("payments", "pay", pay),
        "--request": ("payments", "request", _if(request)),
        "--balance": ("payments", "balance", () if balance else None),
        "--contact": ("payments", "contact", contact),
        "--contacts": ("payments", "contacts", () if contacts else None),
        "--resume": ("payments", "resume", () if resume else None),
        "--receipt": ("papers", "receipt", _if(receipt, output)),
        "--verify-receipt": ("papers", "verify_receipt", _if(verify_receipt)),
        "--accept-key": ("papers", "accept_key", _if(accept_key)),
        "--audit": ("audits", "audit", _if(audit, count)),
        "--check-trust": ("audits", "check_trust", _if(check_trust)),
    }
    named = [action for action, (*_, words) in wanted.items() if words is not None]
    if len(named) > 1:
        raise click.UsageError(f"one action at a time, not {' and '.join(named)}")
    _check_company("--output", output is not None, ("--receipt",), named)
    _check_company("--dry-run", dry_run, ("--pay",), named)
    _check_company("--qr", qr, ("--request", "--hash"), named)
    change = change_given(paying=pay is not None)
    module, verb, words = wanted[named[0]] if named else ("actions", "overview", ())
    try:
        more = {"dry_run": dry_run, **change} if pay is not None else {}
        more |= {"qr": qr} if show_hash or request is not None else {}
        action = getattr(import_module(f"billots.cli.{module}"), verb)
        status: int = action(given, *(words or ()), **more)
    except BillotsError as error:
        if given.json:
            from billots.cli.documents import error_fields
            from billots.cli.printing import document

            document(error_fields(error))
        raise
    return status


def _check_company(
    option: str, given: object, actions: Sequence[str], named: Sequence[str]
) -> None:
    """Raise UsageError for an option that is given without one of its actions."""
    if given and not set(named) & set(actions):
        raise click.UsageError(f"{option} goes with {' or '.join(actions)}")


def _if(value: object | None, *more: object) -> tuple[object, ...] | None:
    """An action's words, or None if it isn't wanted."""
    return None if value is None else (value, *more)


def main() -> NoReturn:
    """Run the command line, and exit."""
    run_command(bwallet, PROGRAM, STATUSES)


if __name__ == "__main__":
    main()
