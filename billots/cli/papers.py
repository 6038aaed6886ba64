"""``--receipt``, ``--verify-receipt`` and ``--accept-key``: what is shown and taken on trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from billots.cli import documents
from billots.cli.printing import NO, OK, PROGRAM, document, line, name, tell
from billots.cli.program import fail
from billots.errors import InputError
from billots.network import format_mils

if TYPE_CHECKING:
    from billots.cli.settings import Settings
    from billots.outcomes import ReceiptCheck, ReceiptFound

_RECEIPT_BYTES_MAX = 16 * 1024 * 1024


def receipt(settings: Settings, billot: str, output: str | None) -> int:
    """``--receipt ID``."""
    import msgspec

    found = settings.wallet().receipt(billot)
    if isinstance(found, str):
        if settings.json:
            document({"billot": billot, "receipt": None, "message": found})
        return fail(PROGRAM, found, None, NO)
    _warn_later(found)
    content = msgspec.json.format(msgspec.json.encode(found.receipt), indent=1)
    if output == "-":
        if settings.json:
            document(documents.receipt_fields(found, None))
        else:
            line(content.decode())
        return OK
    path = Path(output if output is not None else f"receipt-{billot}.json")
    write_new(path, content + b"\n")
    if settings.json:
        document(documents.receipt_fields(found, path))
    else:
        _show_receipt(found, path)
    return OK


def verify_receipt(settings: Settings, file: str) -> int:
    """``--verify-receipt FILE``."""
    check = settings.wallet().verify_receipt(read_paper(Path(file), "not a receipt"))
    if settings.json:
        document(documents.receipt_check_fields(check))
    else:
        _show_check(check)
    return OK if check.valid else NO


def accept_key(settings: Settings, host: str) -> int:
    """``--accept-key HOST``."""
    told = settings.wallet().accept_key(host)
    if settings.json:
        document(documents.key_fields(told))
        return OK
    line(f"Accepted: {told.host.place} {told.new}")
    if not told.remembered:
        line("nothing is remembered for servers on this machine: whatever key they show counts")
    elif told.old is None:
        line("no key was remembered for it before")
    elif told.old == told.new:
        line("it was remembered already")
    else:
        line(f"in the place of: {told.old}")
    return OK


def _warn_later(found: ReceiptFound) -> None:
    """Say which servers know that the billot went on since."""
    told = [
        f"{answer.host.place} seq {answer.holding.seq} {answer.holding.status.value}, "
        f"owner {answer.holding.owner}"
        for answer in found.later
        if answer.holding is not None
    ]
    if told:
        tell(
            "warning",
            f"{found.billot} was paid on since, by what servers say: {'; '.join(told)}",
            f"bwallet --check-owner {found.billot}",
        )


def _show_receipt(found: ReceiptFound, path: Path) -> None:
    line(f"Receipt: {name(path)}")
    value = format_mils(found.network.mils(found.billot))
    line(f"billot: {found.billot} value {value}, seq {found.seq}")
    line(f"owner: {found.owner}")
    if found.signed:
        line(f"signed by: {', '.join(found.signed)}")
    for key in found.others:
        line(f"signed by: key {key}, of none of the trusted servers")
    if found.kept:
        line("this is the receipt that was kept: no quorum answers now")


def _show_check(check: ReceiptCheck) -> None:
    owner = check.receipt.transfer.to
    for row in check.valid:
        line(f"Valid: {row.billot} {row.seq} {owner}")
    for row in check.valid[:1]:
        line(
            "it was paid to that owner then, and may have been paid on since: "
            f"bwallet --check-owner {row.billot} tells"
        )
    if not check.valid:
        line(f"Not valid: {check.fault or _too_few(check)}")
    line(f"network: {check.network.name} {check.network.id}")
    for row in check.valid:
        value = format_mils(check.network.mils(row.billot))
        line(
            f"billot: {row.billot} value {value}, "
            f"votes: {row.votes} of {check.n}, {check.needed} needed"
        )
    for place in check.signed:
        line(f"  {place} signed it")
    for key in check.unknown:
        line(f"  key {key} signed it, and is of none of the trusted servers")
    for key in check.false:
        line(f"  key {key} did not sign what stands there")
    for place in check.keyless:
        line(f"  {place} has no key that is known here")


def _too_few(check: ReceiptCheck) -> str:
    counted = "none counts"
    if check.rows:
        best = check.rows[0]
        verb = "counts" if best.votes == 1 else "count"
        counted = f"{best.votes or 'none'} {verb} for {best.billot} {best.seq}"
    return f"{check.needed} of {check.n} votes needed, {counted}"


def read_paper(path: Path, otherwise: str) -> bytes:
    """The content of a file that somebody else may have made; raises InputError."""
    try:
        with path.open("rb") as file:
            content = file.read(_RECEIPT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a file name"
        raise InputError(f"can't read {name(path)}: {why}") from error
    if len(content) > _RECEIPT_BYTES_MAX:
        raise InputError(f"{otherwise}: {name(path)} is over {_RECEIPT_BYTES_MAX} bytes")
    return content


def write_new(path: Path, content: bytes) -> None:
    """Write a file that isn't there yet; raises InputError, and leaves no part of it behind."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError as error:
        if not path.is_file():
            raise InputError(
                f"can't write {name(path)}: not a regular file",
                "--output FILE names a new file, --output - prints it",
            ) from error
        raise InputError(
            f"{name(path)} is already there and is never overwritten",
            "--output FILE names another file, --output - prints it",
        ) from error
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError | ValueError) -> InputError:
    why = error.strerror if isinstance(error, OSError) else "not a file name"
    return InputError(f"can't write {name(path)}: {why}", "--output FILE names another file")
