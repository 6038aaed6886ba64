"""Change for ``bwallet --pay``: the quote as a person reads it, and what is kept if none comes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from billots.cli.actions import tell_interrupted
from billots.cli.papers import write_new
from billots.cli.printing import NO, OK, document, line, name, tell
from billots.errors import InputError
from billots.exchange_proof import Proof
from billots.exchanging import Exchanged, Outcome
from billots.host import Host
from billots.network import Network, format_mils
from billots.quoting import NoExchange, Offered

if TYPE_CHECKING:
    from billots.cli.settings import Settings
    from billots.quote import Quote
    from billots.transfer import Row, Transfer
    from billots.wallet import Wallet

_ASK = "no terminal to ask on: --yes exchanges without asking"


def finish_open(settings: Settings, wallet: Wallet, host: str | None = None) -> int:
    """Go on with exchanges that were begun; OK if none is open any more.

    What another change server than `host` owes is told, and stops no exchange with this one.
    Without `host` all are told and none gets a document, for there is one of something else.
    """
    status = OK
    for each in wallet.finish_exchanges():
        wanted = host is not None and each.offered.host.place == Host.parse(host).place
        told = _tell(settings, each, again=True, alone=wanted)
        if told != OK and (wanted or host is None):
            status = told
            if wanted:
                break
    return status


def exchange(
    settings: Settings, wallet: Wallet, mils: int, host: str, *, fee_max: int | None
) -> int:
    """Get change that makes an amount payable; OK if it has come.

    A person is asked, unless `fee_max` says what it may cost without.
    """
    if fee_max is None and (settings.json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise InputError(_ASK, "a change server is trusted with what it is given, until it is back")
    signed: list[Transfer] = []

    def confirm(offered: Offered) -> bool:
        if not settings.json:
            _show(offered)
        if fee_max is None:
            return click.confirm("Exchange?", default=False)
        if offered.fee_mils > fee_max:
            fee, most = format_mils(offered.fee_mils), format_mils(fee_max)
            tell("warning", f"the fee is {fee}, and without asking at most {most} is paid")
        return offered.fee_mils <= fee_max

    try:
        found = wallet.change(mils, host, confirm, signed.append)
    except KeyboardInterrupt:
        tell_interrupted(settings, signed[0] if signed else None)
        raise
    if isinstance(found, NoExchange):
        if settings.json:
            document({"error": "NoExchange", "message": found.reason, "hint": found.hint})
        else:
            line(f"No exchange: {found.reason}")
            if found.hint is not None:
                tell("note", found.hint)
        return NO
    return _tell(settings, found)


def _show(offered: Offered) -> None:
    """A quote, and what is trusted."""
    quote, network = offered.quote, offered.network
    line(f"Quote: from {offered.host.place}, holds for {offered.valid_s} s")
    line(f"you give: {_notes(network, quote.give)}, {_worth(network, quote.give)} in all")
    line(f"you get: {_notes(network, quote.get)}, {_worth(network, quote.get)} in all")
    line(f"fee: {format_mils(offered.fee_mils) if offered.fee_mils else 'none'}")
    line(f"change server key: {quote.server}")
    line(
        f"Until the change is final you trust it with {_worth(network, quote.give)}: "
        "if it keeps that, you have its signed quote, and no money"
    )


def _tell(settings: Settings, found: Exchanged, *, again: bool = False, alone: bool = True) -> int:
    """Say what came of an exchange; `alone`: with nothing else to say, what fails is a document."""
    quote, network = found.offered.quote, found.offered.network
    more = " (begun before)" if again else ""
    says = None if settings.json else line
    match found.outcome:
        case Outcome.CHANGED:
            given, got = _notes(network, quote.give), _notes(network, quote.get)
            _say(says, f"Changed: {given} into {got}{more}")
            return OK
        case Outcome.REFUNDED:
            _say(says, f"Given back: {_notes(network, quote.give)}{more}")
            tell("note", "the change server's notes were gone; the same command asks again")
            return OK if again else _fail(settings, found, None)
        case Outcome.NOT_GIVEN:
            _say(says, f"Not given: another wallet of this key has moved what was quoted{more}")
            return OK if again else _fail(settings, found, None)
        case Outcome.DECLINED:
            _say(says, "Nothing was given.")
            return _fail(settings, found, None)
        case Outcome.OPEN:
            return _left_without(settings, found, alone=alone)


def _left_without(settings: Settings, found: Exchanged, *, alone: bool) -> int:
    """Say that no change has come, and write down what proves it to anybody."""
    import msgspec

    assert found.transfer is not None, "something was given"
    quote = found.offered.quote
    proof = Proof(quote, found.transfer, found.receipts)
    # Receipts may come later: then there is a better proof, and nothing is overwritten.
    path = Path(f"quote-{quote.id[:16]}{'' if found.receipts else '-unreceipted'}.json")
    if not path.exists():
        write_new(path, msgspec.json.format(msgspec.json.encode(proof), indent=1) + b"\n")
    if not settings.json:
        line(f"No change: {_notes(found.offered.network, quote.give)} given, nothing has come yet")
        line(f"why: {found.problem}")
        line(f"proof: {name(path)}")
    tell(
        "warning",
        "the change server owes you what its quote says; the quote and your transfer are kept",
        f"the same command asks it again and gives nothing twice; anybody can run "
        f"bchange verify-proof {name(path)}",
    )
    return _fail(settings, found, path) if alone else NO


def _fail(settings: Settings, found: Exchanged, path: Path | None) -> int:
    if settings.json:
        document(_fields(found, path))
    return NO


def _fields(found: Exchanged, path: Path | None) -> dict[str, Any]:
    quote: Quote = found.offered.quote
    return {
        "error": "NoChange",
        "outcome": found.outcome.value,
        "message": found.problem,
        "quote_id": quote.id,
        "change_server": str(found.offered.host),
        "give": [billot for billot, _ in quote.give],
        "get": [billot for billot, _ in quote.get],
        "transfer_id": None if found.transfer is None else found.transfer.id,
        "proof": None if path is None else str(path),
    }


def _say(says: Any, text: str) -> None:
    if says is not None:
        says(text)


def _notes(network: Network, rows: Iterable[Row]) -> str:
    """Notes by value, the largest first: ``1 x 50, 3 x 0.1``."""
    counts = Counter(network.mils(billot) for billot, _ in rows)
    ordered = sorted(counts.items(), reverse=True)
    return ", ".join(f"{count} x {format_mils(mils)}" for mils, count in ordered)


def _worth(network: Network, rows: Iterable[Row]) -> str:
    return format_mils(network.total_mils(billot for billot, _ in rows))
