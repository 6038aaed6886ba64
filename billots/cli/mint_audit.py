"""``bmint audit``: the whole supply, counted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from billots.cli.printing import NO, OK, document, line, some, table, tell
from billots.cli.settings import Settings, settings_options
from billots.errors import BillotsError
from billots.network import format_mils

if TYPE_CHECKING:
    from billots.supply import SupplyReport

PROGRAM = "bmint"
BAR_FROM = 20_000


@click.command("audit")
@settings_options(PROGRAM)
def command(**given: Any) -> int:
    """Count the whole supply: issued, unmoved, disputed, to the last mil.

    Every billot that moved is asked of all trusted servers, and counted by a quorum of signed
    answers. What never moved is counted by a quorum of their lists, and some of it, at random, by
    signed answers too. Needs no key. Exits with 1 unless every billot has a verdict.
    """
    settings = Settings(**given)
    try:
        return _audit(settings)
    except BillotsError as error:
        if settings.json:
            from billots.cli.documents import error_fields

            document(error_fields(error))
        raise


def _audit(settings: Settings) -> int:
    mint = settings.mint()
    if sys.stderr.isatty() and not settings.json:
        from billots.cli.live import progress_live

        with progress_live(BAR_FROM, "counting billots") as on_progress:
            report = mint.audit(on_progress)
    else:
        report = mint.audit()
    for answer in report.answers:
        if answer.problem is not None:
            tell("warning", f"{answer.host.place} {answer.problem}", None, PROGRAM)
    if settings.json:
        document(_fields(report))
    else:
        _show(report)
    return OK if report.is_exact else NO


def _show(report: SupplyReport) -> None:
    from billots.supply import KINDS

    answering = sum(answer.key is not None for answer in report.answers)
    exact = "exact" if report.is_exact else "not exact"
    line(f"Supply: {format_mils(report.mils())} in {report.billots():,} billots, {exact}")
    line(f"network: {report.network.name} {report.network.id}")
    line(f"servers: {answering} of {report.n} answer, {report.needed} make a quorum")
    kinds = [kind for kind in KINDS if kind in ("unmoved", "issued") or report.billots(kind)]
    rows = [
        (
            each.denomination.prefix,
            format_mils(each.denomination.mils),
            *(f"{getattr(each, kind):,}" for kind in kinds),
            f"{each.counted:,}",
            f"{each.denomination.circulation:,}",
        )
        for each in report.counts
    ]
    worth = [format_mils(report.mils(kind)) for kind in kinds]
    circulation = sum(d.mils * d.circulation for d in report.network.denominations.values())
    rows.append(("worth", "", *worth, format_mils(report.mils()), format_mils(circulation)))
    columns = ("billots", "value", *kinds, "counted", "in the file")
    table(columns, rows, right=range(1, len(columns)))
    line(
        f"by signed answers: {report.asked:,}; the rest by lists, "
        f"of which {report.sampled:,} were asked for at random"
    )
    if report.open:
        line(f"without an owner: {some(report.open)}")
    if report.moved:
        line(f"listed as never moved, and moved: {some(report.moved)}; run it again")


def _fields(report: SupplyReport) -> dict[str, Any]:
    from billots.supply import KINDS

    return {
        "verdict": "exact" if report.is_exact else "not exact",
        "network": {"name": report.network.name, "id": report.network.id},
        "value": format_mils(report.mils()),
        "billots": report.billots(),
        "totals": {
            kind: {"billots": report.billots(kind), "value": format_mils(report.mils(kind))}
            for kind in KINDS
        },
        "denominations": [
            {
                "prefix": each.denomination.prefix,
                "value": format_mils(each.denomination.mils),
                "circulation": each.denomination.circulation,
                **{kind: getattr(each, kind) for kind in KINDS},
            }
            for each in report.counts
        ],
        "asked": report.asked,
        "sampled": report.sampled,
        "moved": list(report.moved),
        "open": list(report.open),
        "needed": report.needed,
        "n": report.n,
        "answers": [
            {"server": a.host.place, "key": a.key, "problem": a.problem and a.problem.value}
            for a in report.answers
        ],
    }
