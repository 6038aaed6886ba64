"""Actions of ``bwallet`` with amounts: what there is, and paying it exactly."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from math import gcd
from typing import TYPE_CHECKING

from billots.cli import documents
from billots.cli.actions import (
    tell_interrupted,
    warn_exposed,
    warn_new,
    warn_quorum,
    warn_servers,
    warn_unkept,
)
from billots.cli.printing import NO, OK, PROGRAM, document, line, show_code, tell
from billots.cli.program import fail, printable
from billots.errors import AlreadySigned, InputError, Refused
from billots.network import ROWS_MAX, format_mils, parse_mils

if TYPE_CHECKING:
    from billots.cli.settings import Settings
    from billots.outcomes import Listing, NotExact, Payment, Plan
    from billots.poll import Answer
    from billots.transfer import Transfer
    from billots.wallet import Wallet


def pay(
    settings: Settings,
    amount: str,
    to: str,
    *,
    dry_run: bool,
    ref: str | None,
    change_server: str | None = None,
    yes: bool = False,
    max_fee: str | None = None,
) -> int:
    """``--pay AMOUNT TO``, with ``--change-server HOST`` after an exchange if need be."""
    from billots.outcomes import NotExact, Payment

    for option, value in (("--yes", yes), ("--max-fee", max_fee)):
        if value and change_server is None:
            raise InputError(f"{option} goes with --change-server")
    with_change = change_server is not None and not dry_run
    most = _fee_limit(max_fee) if yes else None
    wallet = settings.wallet(unlock=True)
    if with_change and (status := _finish_exchanges(settings, wallet, change_server)) != OK:
        return status
    found = _pay(settings, wallet, amount, to, ref=ref, dry_run=dry_run)
    if isinstance(found, NotExact) and found.takes is None and with_change:
        from billots.cli.exchanges import exchange

        assert change_server is not None
        status = exchange(settings, wallet, found.mils, change_server, fee_max=most)
        if status != OK:
            return status
        found = _pay(settings, wallet, amount, to, ref=ref, dry_run=False)
    if isinstance(found, NotExact):
        return _show_not_exact(settings, found)
    if isinstance(found, Payment):
        warn_exposed(settings.keyfile, found.transfer.sender)
        warn_quorum(found.n, found.needed)
        return _warn_open([found])
    return _show_plan(settings, found)


def _fee_limit(amount: str | None) -> int:
    """The most mils that an exchange may cost if nobody is asked; raises InputError."""
    try:
        return 0 if amount is None else parse_mils(amount)
    except ValueError as error:
        raise InputError(f"--max-fee: {error}", "an amount is written 0.05") from error


def _finish_exchanges(settings: Settings, wallet: Wallet, host: str | None = None) -> int:
    from billots.cli.exchanges import finish_open

    return finish_open(settings, wallet, host)


def _pay(
    settings: Settings, wallet: Wallet, amount: str, to: str, *, ref: str | None, dry_run: bool
) -> Payment | Plan | NotExact:
    """One try."""
    signed: list[Transfer] = []
    with ExitStack() as live:

        def tell_paid(payment: Payment) -> None:
            live.close()  # what moves on the terminal makes room first
            _tell(settings, [payment])

        try:
            return wallet.pay(
                amount or None,
                to,
                ref=ref,
                dry_run=dry_run,
                tell=tell_paid,
                on_answer=live.enter_context(_live(settings, wallet)),
                on_signed=signed.append,
            )
        except KeyboardInterrupt:
            live.close()
            tell_interrupted(settings, signed[0] if signed else None)
            raise


def resume(settings: Settings) -> int:
    """``--resume``."""
    wallet = settings.wallet(unlock=True)
    status = _finish_exchanges(settings, wallet)
    told: list[Payment] = []
    with ExitStack() as live:

        def tell_paid(payments: list[Payment]) -> None:
            live.close()
            _tell(settings, payments)
            told.extend(payments)

        on_answer = live.enter_context(_live(settings, wallet))
        try:
            payments = wallet.resume(tell_paid, on_answer)
        except (Refused, AlreadySigned) as error:
            if not (told and settings.json):
                raise
            return fail(PROGRAM, str(error), error.hint, NO)  # the one document is out already
    if not payments and not settings.json and status == OK:
        line("Nothing to resume: all that --pay signed is final.")
    return _warn_open(payments) or status


def _tell(settings: Settings, payments: list[Payment]) -> None:
    """Say what was paid, and only return once that is written: else it isn't done with.

    Whoever was not told runs the same command again, and must not pay twice.
    """
    if settings.json:
        document(documents.payments_fields(payments))
    else:
        for payment in payments:
            _show_payment(payment)
    sys.stdout.flush()


def balance(settings: Settings) -> int:
    """``--balance``."""
    wallet = settings.wallet()
    listing = wallet.list_billots()
    warn_exposed(settings.keyfile, listing.owner)
    warn_servers(listing.answers)
    warn_unkept(listing.unkept)
    counts = _counts(listing)
    if settings.json:
        document(documents.balance_fields(listing, counts))
    else:
        for mils, count in sorted(counts.items(), reverse=True):
            line(f"{count:>12,} x {format_mils(mils):<8} {format_mils(mils * count)}")
        left = sum(billot.mils for billot in listing.undecided)
        more = f", and {format_mils(left)} that no quorum stands for now" if left else ""
        line(f"Total: {format_mils(listing.total_mils)}{more}")
    warn_new(listing)
    answering = sum(answer.key is not None for answer in listing.answers)
    if listing.undecided and answering < len(listing.answers):
        tell(
            "warning",
            f"{answering} of {len(listing.answers)} servers answer: nothing is lost, and all of it "
            "is counted once more of them do",
            "the same command counts again",
        )
    return NO if listing.undecided or not listing.is_complete else OK


def request(settings: Settings, amount: str, *, qr: bool, ref: str | None) -> int:
    """``--request [AMOUNT]``."""
    asked = settings.wallet().request(amount or None, ref)
    if settings.json:
        document(documents.request_fields(asked))
        return OK
    line(asked.uri)
    show_code(asked.uri, wanted=qr)
    return OK


def contact(settings: Settings, called: str, owner: str, *, yes: bool) -> int:
    """``--contact NAME OWNER``; who is paid by a name changes only if somebody says so."""
    from billots.contacts import Contacts
    from billots.owners import read_owner, with_checksum

    owner = read_owner(owner)
    before = Contacts().names().get(called)
    if before not in (None, owner) and not (yes or _confirmed(called, with_checksum(before))):
        raise InputError(
            f"{called} is somebody else already: {with_checksum(before)}",
            "with --yes the name is kept for the new owner id",
        )
    before = Contacts().keep(called, owner)
    if settings.json:
        document({"name": called, "owner": owner, "checked": with_checksum(owner), "old": before})
        return OK
    line(f"Contact: {called} {with_checksum(owner)}")
    if before not in (None, owner):
        line(f"before: {before}")
    return OK


def _confirmed(called: str, before: str) -> bool:
    if not sys.stdin.isatty():
        return False
    import click

    return click.confirm(f"{called} is {before}. Keep the name for another?", err=True)


def contacts(settings: Settings) -> int:
    """``--contacts``."""
    from billots.contacts import Contacts
    from billots.owners import with_checksum

    names = sorted(Contacts().names().items())
    if settings.json:
        document({"contacts": [{"name": name, "owner": owner} for name, owner in names]})
        return OK
    for name, owner in names:
        line(f"Contact: {name} {with_checksum(owner)}")
    if not names:
        line("No contacts: bwallet --contact NAME OWNER keeps one.")
    return OK


def _counts(listing: Listing) -> Counter[int]:
    """How many billots of each value there are."""
    counts = Counter(billot.mils for billot in listing.billots)
    for run in listing.unmoved:
        counts[run.mils] += run.last - run.first + 1
    return counts


def _live(
    settings: Settings, wallet: Wallet
) -> AbstractContextManager[Callable[[Answer], None] | None]:
    if not sys.stderr.isatty() or settings.json:
        return nullcontext()
    from billots.cli.live import answers_live

    return answers_live(wallet.awaitable.trusted)


def _show_plan(settings: Settings, plan: Plan) -> int:
    if settings.json:
        document(documents.plan_fields(plan))
        return OK
    line(f"Would pay: {format_mils(plan.mils)} to {plan.to} with {_number(len(plan.billots))}")
    for billot in plan.billots:
        line(f"Billot: {billot} Value: {plan.network.value(billot)}")
    if plan.pending:
        line("signed before and not final: the same command sends it again (--dry-run)")
    else:
        line("nothing was signed (--dry-run)")
    return OK


def _show_not_exact(settings: Settings, found: NotExact) -> int:
    if settings.json:
        document(documents.not_exact_fields(found))
        return NO
    if found.takes is not None:
        line(
            f"Too many billots: {format_mils(found.mils)} takes {found.takes}, "
            f"and a transfer moves at most {ROWS_MAX}"
        )
        line(f"in parts: {format_mils(found.below or 0)} goes first")
        return NO
    if found.mils > found.total_mils:
        line(f"No exact set: {format_mils(found.mils)} is more than all that you have")
    else:
        line(f"No exact set: no billots of yours make {format_mils(found.mils)}")
    near = [format_mils(mils) for mils in (found.below, found.above) if mils is not None]
    if near:
        line(f"nearest amounts: {' and '.join(near)}")
    line(f"Total: {format_mils(found.total_mils)}")
    step = gcd(*(each.mils for each in found.network.denominations.values()))
    if found.mils % step:
        line(f"no notes of this network make it: all of them are multiples of {format_mils(step)}")
    elif found.total_mils >= found.mils:
        line("with change: the same command and --change-server HOST")
    return NO


def _warn_open(payments: list[Payment]) -> int:
    for payment in payments:
        if not payment.is_final:
            tell(
                "warning",
                f"not final yet: {payment.votes} of {payment.n} servers name the payee, "
                f"{payment.needed} needed; it is signed and kept",
                "bwallet --resume sends it again and looks again; it never pays twice",
            )
    return OK if all(payment.is_final for payment in payments) else NO


def _show_payment(payment: Payment) -> None:
    count = len(payment.transfer.billots)
    if payment.seconds is None:
        line(f"Sent: {format_mils(payment.mils)} to {payment.transfer.to}")
    else:
        line(f"Paid: {format_mils(payment.mils)} to {payment.transfer.to}")
        line(f"{payment.votes} of {payment.n}, final in {payment.seconds:.2f} s")
    again = " (signed before, sent again)" if payment.resumed else ""
    line(f"transfer id: {payment.transfer.id}, {_number(count)}{again}")
    if payment.ref is not None:
        line(f"reference: {printable(payment.ref)}")


def _number(count: int) -> str:
    return "1 billot" if count == 1 else f"{count} billots"
