"""``bchange verify-proof``: what a customer who was left without change can show to anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from billots.cli.papers import read_paper
from billots.cli.printing import NO, OK, document, line
from billots.cli.settings import Settings, settings_options
from billots.network import format_mils

if TYPE_CHECKING:
    from billots.exchange_proof import Proof, ProofCheck

_BECAME = {
    "kept": "Kept: the servers have neither the change nor what was given as the customer's",
    "changed": "Changed: the customer has his change, or has spent it",
    "refunded": "Refunded: the customer has what he gave back, or has spent it",
    "not given": "Not given: the servers don't have the transfer that pays the quote",
    "undecided": "Undecided: no quorum says what became of it, or it has gone on too far",
}


@click.command("verify-proof")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--offline", is_flag=True, help="Check the signatures alone, and ask nobody.")
@click.option(
    "--change-server", metavar="HOST", help="Show FILE to the change server first, at HOST."
)
@settings_options("bchange")
def command(*, file: Path, offline: bool, change_server: str | None, **settings: object) -> int:
    """Say what FILE proves, and ask the trusted servers whether change was given since.

    FILE is what bwallet --pay --change-server writes if no change comes. Exits with 0 if the proof
    holds and the change is still owed, as far as was asked.
    """
    if offline and change_server is not None:
        raise click.UsageError("--offline shows nothing to anybody")
    given = Settings(**settings)  # type: ignore[arg-type]  # click made them what they are
    content = read_paper(file, "not a proof")
    checked = given.wallet().check_proof(content, offline=offline, change_server=change_server)
    if given.json:
        document(_fields(checked))
    else:
        _show(checked)
    return OK if checked.is_owed else NO


def _show(checked: ProofCheck) -> None:
    proof, network = checked.proof, checked.network
    if checked.fault is not None:
        line(f"Not valid: {checked.fault}")
        return
    give = network.total_mils(billot for billot, _ in proof.quote.give)
    get = network.total_mils(billot for billot, _ in proof.quote.get)
    verb = "owes" if checked.is_owed else "promised"
    line(f"Valid: change server {proof.quote.server} {verb} {format_mils(get)}")
    line(f"network: {network.name} {network.id}")
    line(f"customer: {proof.quote.customer}")
    line(f"it signed: for {_billots(proof, 'give')}, value {format_mils(give)},")
    line(f"  it gives {_billots(proof, 'get')}, value {format_mils(get)}, or gives the same back")
    line(f"the customer signed them over to the quote's owner id: {proof.transfer.id}")
    if checked.is_taken:
        line("a quorum of your servers signed that the transfer was taken")
    else:
        why = f": {checked.keyless}" if checked.keyless else ""
        line(f"no receipt here proves to you that the transfer was taken{why}")
    line("when that was nobody can prove: servers sign no times, and the quote needs none")
    if checked.became is None:
        line(
            "whether change was given since, only servers can say: without --offline they are asked"
        )
        return
    if checked.shown is not None:
        line(f"the change server was shown it: {checked.shown}")
    elif checked.is_owed:
        line(
            "whether its customer has ever asked for change nobody can prove: --change-server HOST"
        )
        line("  shows it to the change server first, and an honest one answers it")
    line(_BECAME[checked.became.value])


def _billots(proof: Proof, side: str) -> str:
    ids = [billot for billot, _ in getattr(proof.quote, side)]
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return ", ".join(ids[:8]) + more


def _fields(checked: ProofCheck) -> dict[str, Any]:
    quote = checked.proof.quote
    return {
        "valid": checked.fault is None,
        "fault": checked.fault,
        "network": checked.network.id,
        "quote_id": quote.id,
        "change_server": quote.server,
        "customer": quote.customer,
        "give": [billot for billot, _ in quote.give],
        "get": [billot for billot, _ in quote.get],
        "transfer_id": checked.proof.transfer.id,
        "taken": checked.is_taken,
        "shown": checked.shown,
        "became": None if checked.became is None else checked.became.value,
    }
