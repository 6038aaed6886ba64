"""``--history``: what this wallet signed and received, from its own files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from billots.cli.printing import OK, document, line, payee, some
from billots.cli.program import printable
from billots.network import format_mils

if TYPE_CHECKING:
    from collections.abc import Mapping

    from billots.cli.settings import Settings
    from billots.history import History, PastPayment


def history(settings: Settings) -> int:
    """``--history``."""
    from billots.contacts import Contacts

    found = settings.wallet().history()
    names = {owner: name for name, owner in Contacts().names().items()}
    if settings.json:
        document(_fields(found, names))
        return OK
    for each in found.payments:
        line(_words(each, names))
    if not found.payments:
        line("Nothing was signed or received with this key here.")
    return OK


def _fields(found: History, names: Mapping[str, str]) -> dict[str, Any]:
    """What was signed and received; `final` is null if nobody looked, `at` if it wasn't noted."""
    return {
        "owner": found.owner,
        "payments": [
            {
                "kind": each.kind,
                "amount": None if each.mils is None else format_mils(each.mils),
                "from": each.transfer.sender,
                "to": each.transfer.to,
                "contact": names.get(each.other),
                "at": each.at,
                "final": each.final,
                "ref": each.ref,
                "transfer_id": each.transfer.id,
                "network": {
                    "name": None if each.network is None else each.network.name,
                    "id": each.network_id,
                },
                "billots": [{"id": billot, "seq": seq} for billot, seq in each.billots],
            }
            for each in found.payments
        ],
    }


def _words(payment: PastPayment, names: Mapping[str, str]) -> str:
    """A payment in one line."""
    done = {"received": "Received", "paid": "Paid", "sent": "Sent"}[payment.kind]
    amount = "?" if payment.mils is None else format_mils(payment.mils)
    towards = "from" if payment.is_received else "to"
    words = [f"{done}: {amount} {towards} {payee(payment.other, names)}"]
    if payment.at is not None:
        words.append(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(payment.at)))
    if payment.final is not None:
        words.append("final" if payment.final else "not final yet: bwallet --resume")
    if payment.ref is not None:
        words.append(f'reference "{printable(payment.ref)}"')
    words.append(some([billot for billot, _ in payment.billots]))
    if payment.network is None:
        words.append(f"network {payment.network_id} (--network FILE tells what it is worth)")
    words.append(f"transfer id: {payment.transfer.id}")
    return ", ".join(words)
