"""What ``--json`` prints: one document for each outcome, and for each error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billots.errors import BillotsError, Refused
from billots.network import format_mils
from billots.owners import with_checksum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from billots.findings import AuditReport, Contradiction
    from billots.network import Network
    from billots.outcomes import (
        KeyAccepted,
        Listing,
        NotExact,
        Overview,
        OwnerCheck,
        Payment,
        Plan,
        ReceiptCheck,
        ReceiptFound,
        Sent,
    )
    from billots.payment_request import PaymentRequest
    from billots.poll import Answer
    from billots.transfer import Transfer
    from billots.trust_check import TrustReport
    from billots.trust_lists import TrustList


def error_fields(error: BillotsError) -> dict[str, Any]:
    """What went wrong; stderr says the same to people."""
    fields: dict[str, Any] = {
        "error": type(error).__name__,
        "message": str(error),
        "hint": error.hint,
    }
    if isinstance(error, Refused):
        fields |= {"error": error.name or "Refused", "code": error.code, "data": error.data}
    return fields


def interrupted_fields(message: str, hint: str, signed: Transfer | None) -> dict[str, Any]:
    """A transfer that the user ended; `transfer_id` is null if nothing was signed."""
    return {
        "error": "Interrupted",
        "message": message,
        "hint": hint,
        "transfer_id": None if signed is None else signed.id,
    }


def check_fields(check: OwnerCheck) -> dict[str, Any]:
    """Whose a billot is, and who said so."""
    tally, holding = check.tally, check.tally.holding
    pair = check.conflict
    return {
        "billot": check.billot,
        "value": format_mils(check.network.mils(check.billot)),
        "network": {"name": check.network.name, "id": check.network.id},
        "verdict": check.verdict.value,
        "owner": check.owner,
        "seq": holding.seq if holding is not None else None,
        "status": holding.status.value if holding is not None else None,
        "votes": tally.votes,
        "needed": tally.needed,
        "n": tally.n,
        "answers": [_answer_fields(answer) for answer in check.answers],
        "conflict": None if pair is None else [pair.first.to, pair.second.to],
        "unkept": check.unkept,
    }


def _answer_fields(answer: Answer) -> dict[str, Any]:
    holding = answer.holding
    said = (
        {"seq": holding.seq, "owner": holding.owner, "status": holding.status.value}
        if holding is not None
        else {}
    )
    problem = answer.problem.value if answer.problem is not None else None
    return {"server": answer.host.place, "key": answer.key, "problem": problem, **said}


def listing_fields(listing: Listing) -> dict[str, Any]:
    """What an owner has. Values are decimal texts, exact."""
    return {
        "owner": listing.owner,
        "network": {"name": listing.network.name, "id": listing.network.id},
        "billots": [{"id": b.id, "value": format_mils(b.mils)} for b in listing.billots],
        "unmoved": [
            {"prefix": r.prefix, "first": r.first, "last": r.last, "value": format_mils(r.mils)}
            for r in listing.unmoved
        ],
        "undecided": [
            {"id": b.id, "value": format_mils(b.mils), "verdict": b.tally.verdict.value}
            for b in listing.undecided
        ],
        "total": format_mils(listing.total_mils),
        "complete": listing.is_complete,
        "unkept": list(listing.unkept),
        "answers": [_answer_fields(answer) for answer in listing.answers],
    }


def sent_fields(sent: Sent) -> dict[str, Any]:
    """A transfer that was accepted."""
    return {
        "accepted": True,
        "transfer_id": sent.transfer.id,
        "network": {"name": sent.network.name, "id": sent.network.id},
        "to": sent.transfer.to,
        "billots": [
            {"id": row.id, "seq": row.seq, "status": row.status.value}
            for row in sent.statement.billots
        ],
        "server": sent.host.place,
        "resent": sent.resent,
        "lapsed": [lapsed.id for lapsed in sent.lapsed],
    }


def payments_fields(payments: Sequence[Payment]) -> dict[str, Any]:
    """Amounts that were signed over; `seconds` is null while one isn't final."""
    return {
        "final": all(payment.is_final for payment in payments),
        "payments": [
            {
                "amount": format_mils(payment.mils),
                "to": payment.transfer.to,
                "transfer_id": payment.transfer.id,
                "network": {"name": payment.network.name, "id": payment.network.id},
                "billots": [billot for billot, _ in payment.transfer.billots],
                "final": payment.is_final,
                "votes": payment.votes,
                "needed": payment.needed,
                "n": payment.n,
                "seconds": payment.seconds,
                "resumed": payment.resumed,
                "ref": payment.ref,
            }
            for payment in payments
        ],
    }


def request_fields(asked: PaymentRequest) -> dict[str, Any]:
    """A request for payment; `amount` and `ref` are null if the payer is to know."""
    return {
        "uri": asked.uri,
        "owner": asked.owner,
        "amount": None if asked.mils is None else format_mils(asked.mils),
        "network": asked.network_id,
        "ref": asked.ref,
    }


def plan_fields(plan: Plan) -> dict[str, Any]:
    """What would pay an amount."""
    return {
        "dry_run": True,
        "amount": format_mils(plan.mils),
        "to": plan.to,
        "pending": plan.pending,
        "network": {"name": plan.network.name, "id": plan.network.id},
        "billots": [{"id": b, "value": plan.network.value(b)} for b in plan.billots],
    }


def not_exact_fields(found: NotExact) -> dict[str, Any]:
    """Why an amount can't be paid; `below` and `above` are null where there is none."""
    return {
        "error": "NotExact",
        "amount": format_mils(found.mils),
        "network": {"name": found.network.name, "id": found.network.id},
        "below": None if found.below is None else format_mils(found.below),
        "above": None if found.above is None else format_mils(found.above),
        "total": format_mils(found.total_mils),
        "takes": found.takes,
    }


def balance_fields(listing: Listing, counts: Mapping[int, int]) -> dict[str, Any]:
    """What an owner has by denomination. Values are decimal texts, exact."""
    return {
        "owner": listing.owner,
        "network": {"name": listing.network.name, "id": listing.network.id},
        "denominations": [
            {"value": format_mils(m), "count": count, "total": format_mils(m * count)}
            for m, count in sorted(counts.items(), reverse=True)
        ],
        "total": format_mils(listing.total_mils),
        "complete": listing.is_complete and not listing.undecided,
    }


def overview_fields(seen: Overview) -> dict[str, Any]:
    """Who and where one is."""
    network = seen.network
    return {
        "owner": seen.owner,
        "checked": None if seen.owner is None else with_checksum(seen.owner),
        "keyfile": str(seen.keyfile),
        "network": None if network is None else {"name": network.name, "id": network.id},
        "answers": [_answer_fields(answer) for answer in seen.answers],
        "needed": seen.needed,
        "n": seen.n,
    }


def receipt_fields(found: ReceiptFound, path: Path | None) -> dict[str, Any]:
    """A billot's receipt; `path` is the file that it was written to."""
    import msgspec

    return {
        "billot": found.billot,
        "seq": found.seq,
        "owner": found.owner,
        "network": {"name": found.network.name, "id": found.network.id},
        "file": None if path is None else str(path),
        "signed": list(found.signed),
        "others": list(found.others),
        "kept": found.kept,
        "later": [_answer_fields(answer) for answer in found.later],
        "receipt": msgspec.to_builtins(found.receipt),
    }


def receipt_check_fields(check: ReceiptCheck) -> dict[str, Any]:
    """What a receipt proves."""
    rows = [
        {"id": r.billot, "seq": r.seq, "votes": r.votes, "valid": r in check.valid}
        for r in check.rows
    ]
    return {
        "valid": bool(check.valid),
        "fault": check.fault,
        "owner": check.receipt.transfer.to,
        "network": {"name": check.network.name, "id": check.network.id},
        "billots": rows,
        "needed": check.needed,
        "n": check.n,
        "signed": list(check.signed),
        "unknown": list(check.unknown),
        "false": list(check.false),
        "keyless": list(check.keyless),
    }


def key_fields(told: KeyAccepted) -> dict[str, Any]:
    """A key that was accepted."""
    return {
        "server": told.host.place,
        "network": {"name": told.network.name, "id": told.network.id},
        "old": told.old,
        "key": told.new,
        "remembered": told.remembered,
    }


def audit_fields(report: AuditReport) -> dict[str, Any]:
    """What an audit found; contradictions come with both votes, as they were signed."""
    import msgspec

    from billots.findings import as_proof

    return {
        "network": {"name": report.network.name, "id": report.network.id},
        "clean": report.clean,
        "agreed": report.agreed,
        "billots": list(report.billots),
        "undecided": list(report.undecided),
        "needed": report.needed,
        "signed_twice": [
            {
                "id": billot,
                "owner": pair.first.sender,
                "to": [pair.first.to, pair.second.to],
            }
            for billot, pair in report.twice.items()
        ],
        "servers": [
            {
                "server": server.host.place,
                "key": server.key,
                "problem": server.problem.value if server.problem is not None else None,
                "agreeing": server.agreeing,
                "behind": server.behind,
                "disagreeing": server.disagreeing,
                "false_proofs": server.false_proofs,
                "contradictions": [
                    msgspec.to_builtins(as_proof(found, report.network, server.host.place))
                    for found in server.contradictions
                ],
            }
            for server in report.servers
        ],
    }


def proof_text(found: Contradiction, network: Network, place: str) -> bytes:
    """A contradiction as a file for others."""
    import msgspec

    from billots.findings import as_proof

    return msgspec.json.format(msgspec.json.encode(as_proof(found, network, place))) + b"\n"


def trust_fields(report: TrustReport) -> dict[str, Any]:
    """How lists overlap; `liars` is null where even honest servers don't prevent it."""
    return {
        **_list_fields(report.yours),
        "liars": report.yours.liars,
        "down": report.yours.down,
        "pairs": [
            {
                "first": _list_fields(pair.first),
                "second": _list_fields(pair.second),
                "shared": pair.shared,
                "liars": pair.liars,
            }
            for pair in report.pairs
        ],
        "answers": [_answer_fields(answer) for answer in report.answers],
    }


def _list_fields(trust: TrustList) -> dict[str, Any]:
    return {"names": list(trust.names), "n": trust.n, "needed": trust.needed}
