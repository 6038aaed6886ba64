"""The actions of ``bwallet``: a verb of the wallet, then its value in the words of 2017.

Each returns the exit status. With ``--json`` the value is one document on stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billots.cli import documents
from billots.cli.program import fail
from billots.errors import BillotsError
from billots.network import format_mils, shown

if TYPE_CHECKING:
    from billots.cli.bwallet import Settings
    from billots.outcomes import Listing, Overview, OwnerCheck
    from billots.poll import Answer

PROGRAM = "bwallet"
OK, NO, NOBODY = 0, 1, 3
_LIVE_LIST_MIN = 1000


def genkeys(settings: Settings, file: str) -> int:
    """``--genkeys [FILE]``."""
    from billots.crypto import PrivateKey

    path = Path(file) if file else settings.keyfile
    key = PrivateKey.generate()
    key.save(path, os.environ.get("BWALLET_PASSPHRASE") or None)
    if settings.json:
        _document({"key": str(path), "public_key": f"{path}.pub", "owner": key.owner})
        return OK
    _line(f"keys written to: {_name(path)}")
    _line(f"public key: {_name(path)}.pub")
    _line(f"your owner id: {key.owner}")
    return OK


def show_hash(settings: Settings) -> int:
    """``--hash``."""
    from billots.crypto import load_public_key, owner_id

    owner = owner_id(load_public_key(settings.keyfile))
    warn_exposed(settings.keyfile, owner)
    if settings.json:
        _document({"owner": owner})
    else:
        _line(f"Hash: {owner}")
    return OK


def check_owner(settings: Settings, billot: str) -> int:
    """``--check-owner ID``."""
    wallet = settings.wallet()
    if sys.stdout.isatty() and sys.stderr.isatty() and not settings.json:
        from billots.cli.live import answers_live

        with answers_live(wallet.awaitable.trusted) as on_answer:
            check = wallet.check_owner(billot, on_answer)
    else:
        check = wallet.check_owner(billot)
    return _show_check(settings, check)


def who_owns(settings: Settings, billot: str) -> int:
    """``--who-owns ID``."""
    return _show_check(settings, settings.wallet().who_owns(billot))


def list_billots(settings: Settings) -> int:
    """``--list``."""
    wallet = settings.wallet()
    owner = wallet.owner_hash()
    warn_exposed(settings.keyfile, owner)
    if sys.stderr.isatty() and not settings.json:
        from billots.cli.live import progress_live

        with progress_live(_LIVE_LIST_MIN) as on_progress:
            listing = wallet.list_billots(owner, on_progress)
    else:
        listing = wallet.list_billots(owner)
    warn_servers(listing.answers)
    if settings.json:
        _document(documents.listing_fields(listing))
    else:
        _show_listing(listing)
    return NO if listing.undecided else OK


def transfer(settings: Settings, billots: str, to: str) -> int:
    """``--transfer ID TO``."""
    sent = settings.wallet(unlock=True).transfer(billots, to)
    warn_exposed(settings.keyfile, sent.transfer.sender)
    for lapsed in sent.lapsed:
        names = ",".join(billot for billot, _ in lapsed.billots)
        _tell(
            "note",
            f"an earlier transfer of {names} to {lapsed.to} is given up: no server that knew "
            "of it answers, and this is the test network on this machine",
        )
    if settings.json:
        _document(documents.sent_fields(sent))
        return OK
    _line("Transfer broadcasted.")
    total = format_mils(sent.network.total_mils(b for b, _ in sent.transfer.billots))
    names = ", ".join(billot for billot, _ in sent.transfer.billots)
    _line(f"{names}: value {total}, to {sent.transfer.to}")
    again = " (sent again, as it was signed before)" if sent.resent else ""
    _line(f"transfer id: {sent.transfer.id}{again}")
    states = sorted({row.status.value for row in sent.statement.billots})
    _line(f"accepted by {sent.host.place}: {', '.join(states)}")
    return OK


def overview(settings: Settings) -> int:
    """No action: who and where one is."""
    seen = settings.wallet().overview()
    reached = any(answer.key is not None for answer in seen.answers)
    if seen.owner is not None:
        warn_exposed(settings.keyfile, seen.owner)
    if settings.json:
        _document(documents.overview_fields(seen))
    else:
        _show_overview(seen)
    if reached:
        return OK
    return fail(
        PROGRAM, "no server could be reached", "--trusted h:p, h:p names other servers", NOBODY
    )


def print_error(error: BillotsError) -> None:
    """An error as the one document on stdout."""
    _document(documents.error_fields(error))


def warn_exposed(keyfile: Path, owner: str) -> None:
    """Warn about a private key that others can read, unless it is public anyway."""
    from billots.crypto import is_exposed
    from billots.network import Network

    if not is_exposed(keyfile):
        return
    test = Network.shipped("test")
    if owner == test.issuer or owner in test.allocations.values():
        return
    _tell("warning", f"others can read {_name(keyfile)}", f"chmod 600 {_name(keyfile)}")


def warn_servers(answers: Iterable[Answer]) -> None:
    """Say which servers show keys that nobody accepted."""
    from billots.known_servers import key_changed
    from billots.link import Problem

    for answer in answers:
        if answer.problem is Problem.CHANGED_KEY:
            error = key_changed(answer.host)
            _tell("warning", str(error), error.hint)


def _show_check(settings: Settings, check: OwnerCheck) -> int:
    from billots.quorum import Verdict

    status = OK if check.verdict is Verdict.OWNER else NO
    warn_servers(check.answers)
    if settings.json:
        _document(documents.check_fields(check))
        return status
    tally = check.tally
    match check.verdict:
        case Verdict.OWNER:
            _line(f"Owner: {check.owner}")
        case Verdict.NO_OWNER:
            _line("No owner")
        case Verdict.DISPUTED:
            _line("Disputed owner")
        case Verdict.UNDECIDED:
            named = tally.holding.owner if tally.holding is not None else None
            who = named or "an owner"
            _line(f"Undecided: {tally.votes} of {tally.n} name {who}, {tally.needed} needed")
    _line(f"billot: {check.billot} value {format_mils(check.network.mils(check.billot))}")
    if tally.holding is not None and check.verdict is not Verdict.UNDECIDED:
        _line(f"votes: {tally.votes} of {tally.n}, {tally.needed} needed")
    if check.conflict is not None:
        first, second = check.conflict.first, check.conflict.second
        _line(f"signed twice by {first.sender}: to {first.to} and to {second.to}")
    for answer in check.answers:
        _line(f"  {_answer_words(answer)}")
    return status


def _answer_words(answer: Answer) -> str:
    holding = answer.holding
    if holding is None:
        return f"{answer.host.place} {answer.problem or 'did not answer'}"
    if holding.owner is None:
        return f"{answer.host.place} {holding.status.value}"
    return f"{answer.host.place} seq {holding.seq} {holding.status.value} {holding.owner[:16]}…"


def _show_listing(listing: Listing) -> None:
    mils = listing.network.mils
    for billot in listing.billots:
        _line(f"Billot: {billot.id} Value: {format_mils(billot.mils)}")
    for run in listing.unmoved:
        _line(
            f"Billots: {run.prefix}{run.first} to {run.prefix}{run.last} "
            f"Value: {format_mils(run.mils)} each (never moved, by the network's file)"
        )
    _line(f"Total: {format_mils(listing.total_mils)}")
    for billot in listing.undecided:
        tally = billot.tally
        _line(
            f"Not counted: {billot.id} Value: {format_mils(mils(billot.id))} "
            f"({tally.verdict.value}, {tally.votes} of {tally.n} agree, {tally.needed} needed)"
        )


def _show_overview(seen: Overview) -> None:
    from billots.quorum import liars_max

    missing = "" if seen.owner is not None else " (no key: bwallet --genkeys makes one)"
    _line(f"Owner: {seen.owner or '-'}")
    _line(f"key file: {_name(seen.keyfile)}{missing}")
    network = f"{seen.network.name} {seen.network.id}" if seen.network is not None else "unknown"
    _line(f"network: {network}")
    for answer in seen.answers:
        how = f"answers, key {answer.key[:16]}…" if answer.key else str(answer.problem)
        _line(f"server: {answer.host.place} {how}")
    answering = len({answer.key for answer in seen.answers if answer.key is not None})
    if answering < seen.needed:
        _line(f"quorum: {seen.needed} of {seen.n} needed, and only {answering} answer now")
        return
    _line(
        f"quorum: {seen.needed} of {seen.n}; stands with {seen.n - seen.needed} down, "
        f"or with {liars_max(seen.n)} lying"
    )


def _tell(kind: str, message: str, hint: str | None = None) -> None:
    """What is worth knowing and no error, on stderr."""
    print(f"{PROGRAM}: {kind}: {message}", file=sys.stderr)
    if hint is not None:
        print(f"hint: {hint}", file=sys.stderr)


def _document(fields: dict[str, Any]) -> None:
    import json

    _line(json.dumps(fields))


def _line(text: str) -> None:
    print(text)


def _name(path: Path) -> str:
    return shown(str(path), 200)
