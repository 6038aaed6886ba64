"""``--watch``: a line for each payment that comes in, as long as nobody ends it."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from billots.cli.actions import warn_exposed, warn_quorum, warn_unkept
from billots.cli.printing import OK, document, line, payee, some, tell
from billots.network import format_mils

if TYPE_CHECKING:
    from collections.abc import Mapping

    from billots.arrivals import Received, WatchNote
    from billots.cli.settings import Settings


def watch(settings: Settings) -> int:
    """``--watch``. Ctrl-C ends it as it ends everything; SIGTERM is how to end it and be done."""
    from billots.contacts import Contacts

    ended: list[int] = []

    def end(number: int, _frame: object) -> None:
        ended.append(number)
        signal.raise_signal(signal.SIGINT)

    wallet = settings.wallet()
    warn_exposed(settings.keyfile, wallet.owner_hash())
    names = {owner: name for name, owner in Contacts().names().items()}
    signal.signal(signal.SIGTERM, end)
    try:
        with contextlib.closing(wallet.watch(_tell_note)) as payments:
            for received in payments:
                if settings.json:
                    document(_fields(received, names))
                else:
                    _show(received, names)
                sys.stdout.flush()  # whoever reads it acts on it now
    except KeyboardInterrupt:
        if not ended:
            raise
    return OK


def _fields(received: Received, names: Mapping[str, str]) -> dict[str, Any]:
    """A payment that came in; `contact` is the name that one keeps for who sent it, or null."""
    return {
        "amount": format_mils(received.mils),
        "from": received.sender,
        "contact": names.get(received.sender),
        "transfer_id": received.transfer.id,
        "network": {"name": received.network.name, "id": received.network.id},
        "billots": [
            {"id": billot, "seq": seq, "value": received.network.value(billot)}
            for billot, seq in received.billots
        ],
    }


def _show(received: Received, names: dict[str, str]) -> None:
    billots = some([billot for billot, _ in received.billots])
    line(
        f"Received: {format_mils(received.mils)} from {payee(received.sender, names)}, "
        f"{billots}, transfer id: {received.transfer.id}"
    )


def _tell_note(note: WatchNote) -> None:
    """What becomes of the watch and of the servers, on stderr."""
    from billots.arrivals import NotYetWatching, ServerChange, Unkept, Watching
    from billots.known_servers import key_changed
    from billots.link import Problem

    match note:
        case Watching():
            warn_quorum(note.n, note.needed)
            now = format_mils(note.total_mils)
            tell("note", f"watching {payee(note.owner, {})}: {now} now; Ctrl-C ends it")
        case NotYetWatching():
            tell(
                "warning",
                f"{note.answering or 'none'} of {note.n} servers "
                f"answer{'s' if note.answering == 1 else ''}, {note.needed} needed: "
                "trying until they do",
                "--trusted h:p, h:p, h:p names others",
            )
        case ServerChange(host, None):
            tell("note", f"{host.place} is back")
        case ServerChange(host, Problem.CHANGED_KEY):
            error = key_changed(host)
            tell("warning", str(error), error.hint)
        case ServerChange(host, problem):
            tell("note", f"{host.place} {problem}: trying again")
        case Unkept(billots):
            warn_unkept(billots)
    sys.stderr.flush()
