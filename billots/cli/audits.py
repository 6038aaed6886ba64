"""``--audit`` and ``--check-trust``: servers held against each other, and lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from billots.cli import documents
from billots.cli.papers import write_new
from billots.cli.printing import NO, NOBODY, OK, PROGRAM, document, line, name, some, table, tell
from billots.cli.program import fail
from billots.errors import InputError

if TYPE_CHECKING:
    from billots.cli.settings import Settings
    from billots.findings import Audited, AuditReport
    from billots.network import Network
    from billots.trust_check import TrustReport
    from billots.trust_lists import TrustList

COLUMNS = ("server", "key", "agreeing", "behind", "disagreeing", "contradicting", "")


def audit(settings: Settings, billots: str, count: int) -> int:
    """``--audit [IDS]``."""
    wallet = settings.wallet()
    if sys.stderr.isatty() and not settings.json:
        from billots.cli.live import progress_live

        with progress_live(0, "asking the servers") as on_progress:
            report = wallet.audit(billots or None, count, on_progress)
    else:
        report = wallet.audit(billots or None, count)
    if settings.json:
        document(documents.audit_fields(report))
    else:
        _show_audit(report)
    return OK if report.agreed else NO


def check_trust(settings: Settings, other: str) -> int:
    """``--check-trust [OTHER LIST]``."""
    report = settings.wallet().check_trust(other or None)
    if settings.json:
        document(documents.trust_fields(report))
    else:
        _show_trust(report)
    warn_overlaps(report)
    if all(answer.key is None for answer in report.answers):
        hint = "--trusted h:p, h:p names other servers"
        return fail(PROGRAM, "no server could be reached", hint, NOBODY)
    return NO if report.weak else OK


def warn_overlaps(report: TrustReport) -> None:
    """Say which lists could both be paid with one billot, even if nobody lies."""
    for pair in report.weak:
        if pair.first.names == pair.second.names:
            quorum = f"{pair.first.needed} of {pair.first.n}"
            who = f"a quorum of {quorum} is too small for {_who(pair.first)}"
            hint = "--quorum safe is never too small"
        else:
            shared = _servers(pair.shared)
            who = f"the lists of {_who(pair.first)}, and of {_who(pair.second)}, share {shared}"
            hint = "trust more of the servers that others trust"
        tell("warning", f"{who}: one billot can pay two, without any liar", hint)


def survival(yours: TrustList) -> str:
    """What a list goes on through, in words."""
    down = f"{_servers(yours.down)} down" if yours.down else ""
    lying = f"{yours.liars} liar{'s' if yours.liars > 1 else ''}" if yours.liars else ""
    if not down:
        return "survives no server down, and no liar"
    return f"survives {down}, or {lying}" if lying else f"survives {down}, but no liar"


def _show_trust(report: TrustReport) -> None:
    yours = report.yours
    line(f"Trust: {_servers(yours.n)}, quorum {yours.needed}: {survival(yours)}")
    for answer in report.answers:
        if answer.key is None:
            line(f"  {answer.host.place} {answer.problem}: its list isn't known")
    line("liars that two payees survive (-: one billot can pay both, without any):")
    for pair in report.pairs:
        bound = "-" if pair.liars is None else str(pair.liars)
        if pair.first.names == pair.second.names:
            line(f"  {bound}  {_who(pair.first)}: {pair.first.needed} of {pair.first.n}")
        else:
            line(f"  {bound}  {_who(pair.first)} + {_who(pair.second)}: {pair.shared} in common")


def _show_audit(report: AuditReport) -> None:
    servers = report.servers
    answering = sum(server.key is not None for server in servers)
    told = f"{_counted(len(report.billots), 'billot')}, {answering} of "
    told += f"{_servers(len(servers))} {_answer(len(servers))}"
    line(f"Audit: {told}, {_outcome(report)}")
    rows = [_cells(server) for server in servers]
    table(COLUMNS, rows, right=range(2, 6))
    if report.undecided:
        line(f"no quorum yet for: {some(report.undecided)}")
    for billot, pair in report.twice.items():
        first, second = pair.first, pair.second
        line(f"{billot} was signed twice by {first.sender}: to {first.to} and to {second.to}")
    for server in servers:
        _show_findings(server, report.network)


def _outcome(report: AuditReport) -> str:
    """The worst of what was found, in a few words."""
    servers = report.servers
    liars = [s.host.place for s in servers if any(not c.unproven for c in s.contradictions)]
    odd = [s.host.place for s in servers if not s.clean and s.host.place not in liars]
    if liars:
        return f"{some(liars)} contradicted {'itself' if len(liars) == 1 else 'themselves'}"
    if odd:
        return f"not all agree: {some(odd)}"
    if report.twice:
        return f"signed twice by the owner: {some(list(report.twice))}"
    if len(report.undecided) == len(report.billots):
        return f"nothing established: no billot has a quorum of {report.needed}"
    if report.undecided:
        return f"not all established: some have no quorum of {report.needed}"
    return "all agree"


def _cells(server: Audited) -> tuple[str, ...]:
    counts = (server.agreeing, server.behind, len(server.disagreeing), len(server.contradictions))
    key = f"{server.key[:16]}…" if server.key else "-"
    return server.host.place, key, *map(str, counts), str(server.problem or "")


def _show_findings(server: Audited, network: Network) -> None:
    place = server.host.place
    if server.disagreeing:
        line(f"{place} disagrees on {some(server.disagreeing)}")
    if server.false_proofs:
        line(f"{place} shows false proofs of {some(server.false_proofs)}")
    for found in server.contradictions:
        why = ", and shows no receipt for what it calls settled" if found.unproven else ""
        line(f"{place} signed two owners of {found.billot} at seq {found.seq}{why}")
        path = Path(f"contradiction-{found.server[:16]}-{found.billot}-{found.seq}.json")
        try:
            write_new(path, documents.proof_text(found, network, place))
        except InputError as error:
            tell("warning", str(error), error.hint)
        else:
            line(f"  both votes are in {name(path)}")


def _who(trust: TrustList) -> str:
    return some(trust.names)


def _servers(count: int) -> str:
    return _counted(count, "server")


def _answer(count: int) -> str:
    return "answers" if count == 1 else "answer"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
