"""The actions of ``bwallet``: a verb of the wallet, then its value in the words of 2017.

Each returns the exit status. With ``--json`` the value is one document on stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from billots.cli import documents
from billots.cli.printing import (
    NO,
    NOBODY,
    OK,
    PROGRAM,
    document,
    line,
    name,
    show_code,
    some,
    tell,
)
from billots.cli.program import fail
from billots.network import format_mils
from billots.owners import with_checksum

if TYPE_CHECKING:
    from billots.cli.settings import Settings
    from billots.outcomes import Listing, Overview, OwnerCheck
    from billots.poll import Answer
    from billots.transfer import Transfer

_LIVE_LIST_MIN = 1000


def genkeys(settings: Settings, file: str, *, passphrase: bool) -> int:
    """``--genkeys [FILE]``."""
    from billots.cli.settings import new_passphrase
    from billots.crypto import PrivateKey

    path = Path(file) if file else settings.keyfile
    key = PrivateKey.generate()
    # Nobody is asked for what will not be written: saving it says so.
    key.save(path, new_passphrase(asked=passphrase and not os.path.lexists(path)))
    if settings.json:
        document({"key": str(path), "public_key": f"{path}.pub", "owner": key.owner})
        return OK
    line(f"keys written to: {name(path)}")
    line(f"public key: {name(path)}.pub")
    line(f"your owner id: {key.owner}")
    return OK


def show_hash(settings: Settings, *, qr: bool) -> int:
    """``--hash``."""
    from billots.crypto import load_public_key, owner_id

    owner = owner_id(load_public_key(settings.keyfile))
    warn_exposed(settings.keyfile, owner)
    if settings.json:
        document({"owner": owner, "checked": with_checksum(owner)})
        return OK
    line(f"Hash: {owner}")
    if sys.stdout.isatty():  # a script takes what it prints for the owner id
        line(f"to give away, with a checksum: {with_checksum(owner)}")
    if qr:
        show_code(with_checksum(owner), wanted=True)
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
    warn_unkept(listing.unkept)
    if settings.json:
        document(documents.listing_fields(listing))
    else:
        _show_listing(listing)
    warn_new(listing)
    return NO if listing.undecided or not listing.is_complete else OK


def warn_new(listing: Listing) -> None:
    """Say which servers are new, so that a list may lack something."""
    if listing.new:
        places = ", ".join(host.place for host in listing.new)
        tell(
            "warning" if listing.is_complete else "note",
            f"new, so that it doesn't know of all billots yet: {places}"
            + (
                ""
                if listing.is_complete
                else "; without it no quorum does, and some may be missing"
            ),
            "the same command asks again",
        )


def transfer(settings: Settings, billots: str, to: str) -> int:
    """``--transfer ID TO``."""
    wallet = settings.wallet(unlock=True)
    signed: list[Transfer] = []
    try:
        sent = wallet.transfer(billots, to, signed.append)
    except KeyboardInterrupt:
        tell_interrupted(settings, signed[0] if signed else None)
        raise
    warn_exposed(settings.keyfile, sent.transfer.sender)
    for lapsed in sent.lapsed:
        names = ",".join(billot for billot, _ in lapsed.billots)
        tell(
            "note",
            f"an earlier transfer of {names} to {lapsed.to} is given up: no server that knew "
            "of it answers, and this is the test network on this machine",
        )
    if settings.json:
        document(documents.sent_fields(sent))
        return OK
    line("Transfer broadcasted.")
    total = format_mils(sent.network.total_mils(b for b, _ in sent.transfer.billots))
    names = ", ".join(billot for billot, _ in sent.transfer.billots)
    line(f"{names}: value {total}, to {sent.transfer.to}")
    again = " (sent again, as it was signed before)" if sent.resent else ""
    line(f"transfer id: {sent.transfer.id}{again}")
    states = sorted({row.status.value for row in sent.statement.billots})
    line(f"accepted by {sent.host.place}: {', '.join(states)}")
    return OK


def tell_interrupted(settings: Settings, signed: Transfer | None) -> None:
    """What became of a transfer that Ctrl-C ended: what is signed may still arrive."""
    message, hint = "interrupted: nothing was signed or sent now", "the same command begins again"
    if signed is not None:
        message = "interrupted: the transfer is signed and kept, and may have been taken"
        hint = "the same command sends it again, and only once"
    tell("note", message, hint)
    if settings.json:
        document(documents.interrupted_fields(message, hint, signed))


def overview(settings: Settings) -> int:
    """No action: who and where one is."""
    seen = settings.wallet().overview()
    reached = any(answer.key is not None for answer in seen.answers)
    if seen.owner is not None:
        warn_exposed(settings.keyfile, seen.owner)
    if settings.json:
        document(documents.overview_fields(seen))
    else:
        _show_overview(seen)
    if seen.trust is not None:
        from billots.cli.audits import warn_overlaps

        warn_overlaps(seen.trust)
    if reached:
        return OK
    return fail(
        PROGRAM, "no server could be reached", "--trusted h:p, h:p names other servers", NOBODY
    )


def warn_exposed(keyfile: Path, owner: str) -> None:
    """Warn about a private key that others can read, unless it is public anyway."""
    from billots.crypto import is_exposed
    from billots.network import Network

    if not is_exposed(keyfile):
        return
    test = Network.shipped("test")
    if owner == test.issuer or owner in test.allocations.values():
        return
    tell("warning", f"others can read {name(keyfile)}", f"chmod 600 {name(keyfile)}")


def warn_servers(answers: Iterable[Answer]) -> None:
    """Say which servers show keys that nobody accepted."""
    from billots.known_servers import key_changed
    from billots.link import Problem

    for answer in answers:
        if answer.problem is Problem.CHANGED_KEY:
            error = key_changed(answer.host)
            tell("warning", str(error), error.hint)


def warn_unkept(billots: Sequence[str]) -> None:
    """Say of which billots of one's own no receipt could be kept."""
    if billots:
        tell(
            "warning",
            f"no receipt of {some(billots)} is kept: no server gave the transfer that moved "
            f"{'it' if len(billots) == 1 else 'them'}",
            "the same command tries again",
        )


def warn_quorum(n: int, needed: int) -> None:
    """Say what a smaller quorum than the safe one gives away."""
    from billots.quorum import liars_max, safe_quorum

    safe = safe_quorum(n)
    if needed >= safe:
        return
    survived = 2 * needed - n - 1
    why = f"it survives {survived or 'no'} liar{'s' if survived > 1 else ''}"
    why += f" instead of {liars_max(n)}"
    if survived < 0:
        why = "one billot can pay two, without any liar"
    tell(
        "warning",
        f"a quorum of {needed} of {n} is less than a safe one of {safe}: {why}",
        "--quorum safe is never too small",
    )


def _explain_unknown(answers: Sequence[Answer]) -> None:
    """Say why a server can't say whose a billot is."""
    from billots.holding import Status

    silent = [
        answer.host.place
        for answer in answers
        if answer.holding is not None and answer.holding.status is Status.UNKNOWN
    ]
    if silent:
        tell(
            "note",
            f"unknown, say {some(silent)}: a server that is new and reads what the others have, "
            "or waits for enough of them to answer",
            "the same command asks again",
        )


def _show_check(settings: Settings, check: OwnerCheck) -> int:
    from billots.quorum import Verdict

    status = OK if check.verdict is Verdict.OWNER else NO
    warn_servers(check.answers)
    warn_quorum(check.tally.n, check.tally.needed)
    if check.verdict is not Verdict.OWNER:
        _explain_unknown(check.answers)
    warn_unkept([check.billot] if check.unkept else [])
    if settings.json:
        document(documents.check_fields(check))
        return status
    tally = check.tally
    match check.verdict:
        case Verdict.OWNER:
            line(f"Owner: {check.owner}")
        case Verdict.NO_OWNER:
            line("No owner")
        case Verdict.DISPUTED:
            line("Disputed owner")
        case Verdict.UNDECIDED:
            named = tally.holding.owner if tally.holding is not None else None
            who = named or "an owner"
            line(f"Undecided: {tally.votes} of {tally.n} name {who}, {tally.needed} needed")
    line(f"billot: {check.billot} value {format_mils(check.network.mils(check.billot))}")
    if tally.holding is not None and check.verdict is not Verdict.UNDECIDED:
        line(f"votes: {tally.votes} of {tally.n}, {tally.needed} needed")
    if check.conflict is not None:
        first, second = check.conflict.first, check.conflict.second
        line(f"signed twice by {first.sender}: to {first.to} and to {second.to}")
    for answer in check.answers:
        line(f"  {_answer_words(answer)}")
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
        line(f"Billot: {billot.id} Value: {format_mils(billot.mils)}")
    for run in listing.unmoved:
        line(
            f"Billots: {run.prefix}{run.first} to {run.prefix}{run.last} "
            f"Value: {format_mils(run.mils)} each (never moved, by the network's file)"
        )
    line(f"Total: {format_mils(listing.total_mils)}")
    for billot in listing.undecided:
        tally = billot.tally
        line(
            f"Not counted: {billot.id} Value: {format_mils(mils(billot.id))} "
            f"({tally.verdict.value}, {tally.votes} of {tally.n} agree, {tally.needed} needed)"
        )


def _show_overview(seen: Overview) -> None:
    from billots.quorum import liars_max

    missing = "" if seen.owner is not None else " (no key: bwallet --genkeys makes one)"
    line(f"Owner: {seen.owner or '-'}")
    if seen.owner is not None:
        line(f"to give away, with a checksum: {with_checksum(seen.owner)}")
    line(f"key file: {name(seen.keyfile)}{missing}")
    network = f"{seen.network.name} {seen.network.id}" if seen.network is not None else "unknown"
    line(f"network: {network}")
    for answer in seen.answers:
        how = f"answers, key {answer.key[:16]}…" if answer.key else str(answer.problem)
        line(f"server: {answer.host.place} {how}")
    answering = len({answer.key for answer in seen.answers if answer.key is not None})
    if answering < seen.needed:
        line(f"quorum: {seen.needed} of {seen.n} needed, and only {answering} answer now")
        return
    line(
        f"quorum: {seen.needed} of {seen.n}; stands with {seen.n - seen.needed} down, "
        f"or with {liars_max(seen.n)} lying"
    )
