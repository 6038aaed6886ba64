"""``bmint issue``: what never moved, to an owner."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import click

from billots.cli.printing import NO, OK, document, line, table, tell
from billots.cli.settings import Settings, settings_options
from billots.errors import BillotsError
from billots.network import format_mils

if TYPE_CHECKING:
    from billots.issuing import Issue, NotFresh
    from billots.outcomes import NotExact

PROGRAM = "bmint"
BAR_FROM = 2_000
"""Billots from which on a bar is worth its room."""

EPILOG = """\b
Examples:
  bmint issue 1000 OWNER --keyfile club-issuer --network club.toml --trusted a.org, b.org, c.org
  bmint issue 1000 OWNER --mixed
  bmint issue 1 OWNER --mixed --times 1000
  bmint issue a-1..a-10,k-1..k-5000 OWNER
  bmint issue --resume
"""


@click.command("issue", epilog=EPILOG)
@click.argument("what", metavar="AMOUNT|IDS", required=False)
@click.argument("to", metavar="OWNER", required=False)
@click.option(
    "--mixed", is_flag=True, help="Of an amount: small notes as well, to pay other amounts with."
)
@click.option(
    "--times",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Of an amount: so often, each time in the same notes.",
)
@click.option("--resume", is_flag=True, help="Go on with what was begun and isn't final yet.")
@click.option("--dry-run", is_flag=True, help="Show what would be issued, sign nothing.")
@settings_options(PROGRAM)
def command(
    *,
    what: str | None,
    to: str | None,
    mixed: bool,
    times: int,
    resume: bool,
    dry_run: bool,
    **given: Any,
) -> int:
    """Issue billots that never moved, as an AMOUNT or by their IDS, to OWNER.

    --keyfile is the issuer's. As few signatures as there can be: 256 billots with each. It is in
    the journal before it is signed; killed in between, the same command goes on with it.
    """
    settings = Settings(**given)
    if resume:
        if what is not None or mixed or dry_run or times > 1:
            raise click.UsageError(
                "--resume goes on with all that was begun: nothing else is named"
            )
        return _resume(settings)
    if what is None or to is None:
        raise click.UsageError("name what to issue, and to whom: bmint issue 1000 OWNER")
    try:
        return _issue(settings, what, to, mixed=mixed, times=times, dry_run=dry_run)
    except BillotsError as error:
        _document_error(settings, error)
        raise


def _issue(
    settings: Settings, what: str, to: str, *, mixed: bool, times: int, dry_run: bool
) -> int:
    from billots.issuing import Issue, NotFresh

    mint = settings.mint(unlock=True)
    with ExitStack() as live:

        def tell_issued(issue: Issue) -> None:
            live.close()  # what moves on the terminal makes room first
            _tell(settings, issue)

        try:
            found = mint.issue(
                what,
                to,
                mixed=mixed,
                times=times,
                dry_run=dry_run,
                tell=tell_issued,
                on_progress=live.enter_context(_bar(settings, "issuing")),
            )
        except KeyboardInterrupt:
            live.close()
            tell(
                "note",
                "interrupted: what is issued by now stays issued",
                "bmint issue --resume goes on with it, if any was begun; or the same command, "
                "but not both: one that is done with is issued once more",
                PROGRAM,
            )
            raise
    if isinstance(found, NotFresh):
        return _show_not_fresh(settings, found)
    if not isinstance(found, Issue):
        return _show_not_exact(settings, found)
    if found.planned:
        _tell(settings, found)
    elif not found.is_final:
        _warn_open()
    return OK if found.planned or found.is_final else NO


def _resume(settings: Settings) -> int:
    mint = settings.mint(unlock=True)
    with _bar(settings, "issuing") as on_progress:
        issues = mint.resume(on_progress=on_progress)
    if settings.json:
        document({"issues": [_fields(issue) for issue in issues]})
    else:
        for issue in issues:
            _show(issue)
        if not issues:
            line("Nothing to resume: all that was begun is final.")
    if all(issue.is_final for issue in issues):
        return OK
    _warn_open()
    return NO


def _bar(
    settings: Settings, what: str
) -> AbstractContextManager[Callable[[int, int], None] | None]:
    if not sys.stderr.isatty() or settings.json:
        return nullcontext()
    from billots.cli.live import progress_live

    return progress_live(BAR_FROM, what)


def _tell(settings: Settings, issue: Issue) -> None:
    """Say what was issued, and only return once that is written: else it isn't done with."""
    if settings.json:
        document(_fields(issue))
    else:
        _show(issue)
    sys.stdout.flush()


def _show(issue: Issue) -> None:
    count, order = issue.order.count, issue.order
    transfers = -(-count // 256)
    verb = "Would issue" if issue.planned else ("Issued" if issue.is_final else "Sent")
    line(f"{verb}: {format_mils(issue.mils)} to {order.to}")
    signed = "1 signature" if transfers == 1 else f"{transfers:,} signatures"
    when = "" if issue.planned else f", {issue.final:,} final in {issue.seconds:.2f} s"
    again = " (begun before)" if issue.resumed else ""
    billots = "1 billot" if count == 1 else f"{count:,} billots"
    line(f"{billots} with {signed}{when}{again}")
    counts: Counter[str] = Counter()
    firsts: dict[str, int] = {}
    for prefix, first, last in order.runs:
        counts[prefix] += last - first + 1
        firsts.setdefault(prefix, first)
    values = issue.network.values
    table(
        ("billots", "number", "value"),
        [(f"{p}{firsts[p]}…", f"{n:,}", values[p[:-1]]) for p, n in counts.items()],
        right=(1, 2),
    )
    if issue.planned:
        line("nothing was signed (--dry-run)")


def _fields(issue: Issue) -> dict[str, Any]:
    return {
        "verdict": "planned" if issue.planned else ("final" if issue.is_final else "sent"),
        "network": issue.network.id,
        "to": issue.order.to,
        "value": format_mils(issue.mils),
        "runs": [list(run) for run in issue.order.runs],
        "billots": issue.order.count,
        "final": issue.final,
        "seconds": round(issue.seconds, 3),
        "resumed": issue.resumed,
    }


def _show_not_fresh(settings: Settings, found: NotFresh) -> int:
    from billots.runs import count_billots, runs_text

    runs = runs_text(found.runs)
    if settings.json:
        document({"verdict": "not fresh", "runs": [list(run) for run in found.runs]})
    else:
        line(f"Not fresh: {count_billots(found.runs):,} of them moved or were issued before")
        line(f"billots: {runs if len(runs) < 500 else runs[:500] + '…'}")
    return NO


def _show_not_exact(settings: Settings, found: NotExact) -> int:
    near = [format_mils(mils) for mils in (found.below, found.above) if mils is not None]
    if settings.json:
        fields = {"verdict": "no exact set", "value": format_mils(found.mils), "nearest": near}
        document(fields | {"left": format_mils(found.total_mils)})
        return NO
    why = "is more than what" if found.mils > found.total_mils else "can't be made of what"
    line(f"No exact set: {format_mils(found.mils)} {why} never moved")
    if near:
        line(f"nearest amounts: {' and '.join(near)}")
    line(f"Left: {format_mils(found.total_mils)}")
    return NO


def _warn_open() -> None:
    tell(
        "warning",
        "not all of it is final yet; it is kept",
        "bmint issue --resume goes on with it; it never issues twice",
        PROGRAM,
    )


def _document_error(settings: Settings, error: BillotsError) -> None:
    if settings.json:
        from billots.cli.documents import error_fields

        document(error_fields(error))
