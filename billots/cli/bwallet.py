"""The command ``bwallet``: its options, and which verb of the wallet each action is.

A wallet's layers (asyncio, msgspec, libsodium) take longer to load than ``--hash`` takes to
run, so that each action imports what it needs.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from billots.cli.options import check_pairs, check_seconds
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
  bwallet --request 0.35 --ref "invoice 17"
  bwallet --pay 187.65 bob --trusted a.org:7333, b.org:7334, c.org:7335
  bwallet --watch --trusted a.org:7333, b.org:7334, c.org:7335
  bwallet --pay 0.35 bob --change-server change.org:7340
  bwallet --receipt a-1 --trusted a.org:7333, b.org:7334, c.org:7335
  bwallet --verify-receipt receipt-a-1.json --trusted a.org:7333#KEY
  bwallet --accept-key a.org:7333
  bwallet --audit --count 200

\b
Every setting can also come from the environment: BWALLET_SERVER,
BWALLET_KEYFILE, BWALLET_TRUSTED, BWALLET_QUORUM, BWALLET_NETWORK,
BWALLET_TIMEOUT. BWALLET_PASSPHRASE is the passphrase of the key file, or
BWALLET_PASSPHRASE_FILE names a file whose first line it is.

\b
Exit status: 0 yes or done, 1 no (refused, disputed, undecided, no owner),
2 usage or a local file, 3 no server could be reached, 130 Ctrl-C.
"""


class _Action(NamedTuple):
    """Which verb of which module an action is, and which other options it takes."""

    module: str
    verb: str
    takes: tuple[str, ...] = ()


ACTIONS = {
    "--genkeys": _Action("actions", "genkeys", ("passphrase",)),
    "--hash": _Action("actions", "show_hash", ("qr",)),
    "--list": _Action("actions", "list_billots"),
    "--check-owner": _Action("actions", "check_owner"),
    "--who-owns": _Action("actions", "who_owns"),
    "--transfer": _Action("actions", "transfer"),
    "--pay": _Action("payments", "pay", ("dry_run", "ref", "change_server", "yes", "max_fee")),
    "--request": _Action("payments", "request", ("qr", "ref")),
    "--watch": _Action("watching", "watch"),
    "--history": _Action("history", "history"),
    "--balance": _Action("payments", "balance"),
    "--contact": _Action("payments", "contact", ("yes",)),
    "--contacts": _Action("payments", "contacts"),
    "--resume": _Action("payments", "resume"),
    "--receipt": _Action("papers", "receipt", ("output",)),
    "--verify-receipt": _Action("papers", "verify_receipt"),
    "--accept-key": _Action("papers", "accept_key"),
    "--audit": _Action("audits", "audit", ("count",)),
    "--check-trust": _Action("audits", "check_trust"),
}
COMPANY = {
    "--output": ("--receipt",),
    "--dry-run": ("--pay",),
    "--qr": ("--request", "--hash"),
    "--ref": ("--request", "--pay"),
    "--yes": ("--pay", "--contact"),
    "--max-fee": ("--pay",),
    "--passphrase": ("--genkeys",),
}
"""Options that mean nothing without one of these actions."""

# What is done is typed, never found in the environment.
_action = partial(click.option, allow_from_autoenv=False)


class _Command(click.Command):
    """Says which word is missing, where click would take the next option for it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        check_pairs(args)
        return super().parse_args(ctx, args)


@click.command(
    cls=_Command,
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
@_action(
    "--passphrase",
    is_flag=True,
    help="With --genkeys: ask for a passphrase, twice, and encrypt the key with it.",
)
@_action("--hash", is_flag=True, help="Print your owner id.")
@_action("--list", is_flag=True, help="List your billots and their value.")
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
@_action("--watch", is_flag=True, help="Print payments to you as they come in and are final.")
@_action("--history", is_flag=True, help="What you signed and received, from your own files.")
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
    help="Where transfers go: h:p, or h alone for h:7333.  "
    "[default: mint1.billots.org:7333, or the first of --trusted]",
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
    help="Whom you trust: h:p, h:p, h:p or h:7333-7349; h alone is h:7333, and h:p#KEY pins a "
    "server's key.  "
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
@_action(
    "--ref",
    metavar="TEXT",
    help="With --request or --pay: what it is for. Another TEXT is another payment.",
)
@_action("--dry-run", is_flag=True, help="With --pay: show what would be paid, sign nothing.")
@_action("--yes", is_flag=True, help="With --change-server or --contact: do it without asking.")
@_action(
    "--max-fee",
    metavar="AMOUNT",
    help="With --yes: the most that an exchange may cost.  [default: 0]",
)
@click.option(
    "--change-server",
    metavar="HOST",
    help="With --pay: who gives change if no notes make the amount; h:p#KEY pins its key.",
)
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
def bwallet(**options: Any) -> int:
    """Billots: digital cash. Keys, what they own, who owns what, and sending it on.

    Takes one action; without one it tells who and where you are.
    """
    given = Settings(**{each.name: options[each.name] for each in fields(Settings)})
    named = [name for name in ACTIONS if options[_parameter(name)] not in (None, False)]
    if len(named) > 1:
        raise click.UsageError(f"one action at a time, not {' and '.join(named)}")
    for option, actions in COMPANY.items():
        if options[_parameter(option)] not in (None, False) and not set(named) & set(actions):
            raise click.UsageError(f"{option} goes with {' or '.join(actions)}")
    name = named[0] if named else None
    action = ACTIONS[name] if name is not None else _Action("actions", "overview")
    value = options[_parameter(name)] if name is not None else True
    words = () if value is True else value if isinstance(value, tuple) else (value,)
    try:
        verb = getattr(import_module(f"billots.cli.{action.module}"), action.verb)
        status: int = verb(given, *words, **{each: options[each] for each in action.takes})
    except BillotsError as error:
        if given.json:
            from billots.cli.documents import error_fields
            from billots.cli.printing import document

            document(error_fields(error))
        raise
    return status


def _parameter(option: str) -> str:
    """The name by which click knows an option."""
    return option.removeprefix("--").replace("-", "_")


def main() -> NoReturn:
    """Run the command line, and exit."""
    run_command(bwallet, PROGRAM, STATUSES)


if __name__ == "__main__":
    main()
