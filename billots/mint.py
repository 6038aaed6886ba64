"""The issuer's verbs: handing out what never moved, and counting the whole supply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from billots.circle import Circle
from billots.errors import InputError, Refused
from billots.issuing import Issue, NotFresh, Wanted, carry_out, issue, plan, unfinished
from billots.outcomes import NotExact
from billots.paying import check_amount, check_network
from billots.payment_request import PaymentRequest, is_request
from billots.runs import parse_runs
from billots.supply import SupplyReport, count_supply
from billots.wallet import run_verb
from billots.wallet_settings import WalletSettings

OnProgress = Callable[[int, int], None]


class AsyncMint(WalletSettings):
    """A network's issuer, or whoever counts its money; takes what `AsyncWallet` takes."""

    async def issue(
        self,
        what: str,
        to: str,
        *,
        mixed: bool = False,
        times: int = 1,
        dry_run: bool = False,
        tell: Callable[[Issue], None] = lambda _: None,
        on_progress: OnProgress | None = None,
    ) -> Issue | NotFresh | NotExact:
        """Issue an amount (``1000``) or billots (``a-1,b-1..b-500``) to the owner `to`.

        `to` is as for `AsyncWallet.transfer`, or a payment request. What is issued never moved
        before, by a quorum of the trusted servers. As few signatures as there can be: 256 billots
        with each. The order is in the journal before the first is made; asked for again before
        `tell` returned and all of it was final, the same is gone on with, never issued twice.
        `mixed` has small notes among them; `times` issues the amount so often, each time in the
        same notes; `dry_run` only plans. Raises InputError, KeyFileError,
        JournalError, and what `AsyncWallet.transfer` raises.
        """
        asked = PaymentRequest.parse(to) if is_request(to) else None
        owner = asked.owner if asked is not None else self._contacts.read(to)
        wanted = read_wanted(what, mixed=mixed, times=times)
        if asked is not None and wanted.mils is not None:
            check_amount(wanted.mils * times, asked)
        sender = self._sender(None)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await _greet(circle)
            check_network(asked, circle.network)
            for prefix, first, last in wanted.runs:
                circle.network.check(f"{prefix}{first}")
                circle.network.check(f"{prefix}{last}")
            if owner == sender.key.owner:
                raise InputError("that is the issuer: it owns all that never moved already")
            if dry_run:
                return await plan(sender, circle, wanted, owner)
            found = await issue(sender, circle, wanted, owner, on_progress)
        if isinstance(found, Issue):
            tell(found)
            if found.is_final:
                with await sender.journal() as journal:
                    journal.issued(found.order.id)
        return found

    async def resume(
        self,
        tell: Callable[[Issue], None] = lambda _: None,
        on_progress: OnProgress | None = None,
    ) -> list[Issue]:
        """Go on with everything that was begun and isn't done with; raises as `issue`."""
        sender = self._sender(None)
        issues: list[Issue] = []
        lost: list[Refused] = []
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await _greet(circle)
            for order in await unfinished(sender, circle):
                try:
                    found = await carry_out(sender, circle, order, on_progress, resumed=True)
                except Refused as refused:  # the other orders wait for nothing
                    lost.append(refused)
                    continue
                issues.append(found)
                tell(found)
                if found.is_final:
                    with await sender.journal() as journal:
                        journal.issued(order.id)
        if lost:
            raise lost[0]
        return issues

    async def audit(self, on_progress: OnProgress | None = None) -> SupplyReport:
        """Count every billot of the network; needs no key. Raises as `count_supply`."""
        async with self._circle(self.trusted, self.quorum) as circle:
            return await count_supply(circle, on_progress)


class Mint:
    """`AsyncMint` for scripts: the same arguments and verbs, each runs to its end."""

    def __init__(self, **settings: Any) -> None:
        self.awaitable = AsyncMint(**settings)

    def issue(
        self,
        what: str,
        to: str,
        *,
        mixed: bool = False,
        times: int = 1,
        dry_run: bool = False,
        tell: Callable[[Issue], None] = lambda _: None,
        on_progress: OnProgress | None = None,
    ) -> Issue | NotFresh | NotExact:
        """See `AsyncMint.issue`."""
        verb = self.awaitable.issue(
            what, to, mixed=mixed, times=times, dry_run=dry_run, tell=tell, on_progress=on_progress
        )
        return run_verb(verb)

    def resume(
        self,
        tell: Callable[[Issue], None] = lambda _: None,
        on_progress: OnProgress | None = None,
    ) -> list[Issue]:
        """See `AsyncMint.resume`."""
        return run_verb(self.awaitable.resume(tell, on_progress))

    def audit(self, on_progress: OnProgress | None = None) -> SupplyReport:
        """See `AsyncMint.audit`."""
        return run_verb(self.awaitable.audit(on_progress))


def read_wanted(what: str, *, mixed: bool = False, times: int = 1) -> Wanted:
    """An amount, or billots, as they are typed; raises InputError."""
    if what[:1].isalpha():
        if mixed or times > 1:
            raise InputError("the billots are named: there is nothing to mix or repeat")
        return Wanted(runs=parse_runs(what))
    return Wanted(mils=check_amount(what), mixed=mixed, times=times)


async def _greet(circle: Circle) -> None:
    await asyncio.gather(*(circle.greet(link) for link in circle.links))
    circle.require_one()
