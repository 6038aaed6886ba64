"""The wallet for scripts: the verbs of `AsyncWallet`, each run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from billots.async_wallet import DEFAULT_SERVER, DEFAULT_TRUSTED, AsyncWallet
from billots.findings import AuditReport
from billots.host import Host
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

if TYPE_CHECKING:  # what only exchanges need is loaded by them
    from billots.exchange_proof import ProofCheck
    from billots.exchanging import Exchanged
    from billots.quoting import NoExchange, Offered

__all__ = ["DEFAULT_SERVER", "DEFAULT_TRUSTED", "AsyncWallet", "Wallet"]

Result = TypeVar("Result")


class Wallet:
    """`AsyncWallet` for scripts: the same arguments and verbs, each runs to its end.

    >>> Wallet().check_owner("a-1").owner       # doctest: +SKIP
    '9628cb3f…'
    """

    def __init__(self, **settings: Any) -> None:
        self.awaitable = AsyncWallet(**settings)

    def generate_keys(self, path: str | Path | None = None) -> Path:
        """See `AsyncWallet.generate_keys`."""
        return _run(self.awaitable.generate_keys(path))

    def owner_hash(self) -> str:
        """See `AsyncWallet.owner_hash`."""
        return _run(self.awaitable.owner_hash())

    def check_owner(
        self, billot: str, on_answer: Callable[[Answer], None] | None = None
    ) -> OwnerCheck:
        """See `AsyncWallet.check_owner`."""
        return _run(self.awaitable.check_owner(billot, on_answer))

    def who_owns(self, billot: str) -> OwnerCheck:
        """See `AsyncWallet.who_owns`."""
        return _run(self.awaitable.who_owns(billot))

    def list_billots(
        self, owner: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> Listing:
        """See `AsyncWallet.list_billots`."""
        return _run(self.awaitable.list_billots(owner, on_progress))

    def transfer(
        self,
        billots: str | Iterable[str],
        to: str,
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Sent:
        """See `AsyncWallet.transfer`."""
        return _run(self.awaitable.transfer(billots, to, on_signed))

    def pay(
        self,
        amount: str | int | None,
        to: str,
        *,
        dry_run: bool = False,
        tell: Callable[[Payment], None] = lambda _: None,
        on_answer: Callable[[Answer], None] | None = None,
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Payment | Plan | NotExact:
        """See `AsyncWallet.pay`."""
        verb = self.awaitable.pay(
            amount, to, dry_run=dry_run, tell=tell, on_answer=on_answer, on_signed=on_signed
        )
        return _run(verb)

    def change(
        self,
        amount: str | int,
        change_server: Host | str,
        confirm: Callable[[Offered], bool],
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Exchanged | NoExchange:
        """See `AsyncWallet.change`; here `confirm` may wait for a person."""
        from billots.quoting import NoExchange

        offered = _run(self.awaitable.quote_change(amount, change_server))
        if isinstance(offered, NoExchange):
            return offered
        if not confirm(offered):
            return _run(self.awaitable.decline(offered))
        return _run(self.awaitable.exchange(offered, on_signed))

    def finish_exchanges(self) -> list[Exchanged]:
        """See `AsyncWallet.finish_exchanges`."""
        return _run(self.awaitable.finish_exchanges())

    def check_proof(self, data: bytes, *, offline: bool = False) -> ProofCheck:
        """See `AsyncWallet.check_proof`."""
        return _run(self.awaitable.check_proof(data, offline=offline))

    def request(self, amount: str | int | None = None) -> PaymentRequest:
        """See `AsyncWallet.request`."""
        return _run(self.awaitable.request(amount))

    def resume(
        self,
        tell: Callable[[list[Payment]], None] = lambda _: None,
        on_answer: Callable[[Answer], None] | None = None,
    ) -> list[Payment]:
        """See `AsyncWallet.resume`."""
        return _run(self.awaitable.resume(tell, on_answer))

    def receipt(self, billot: str) -> ReceiptFound | str:
        """See `AsyncWallet.receipt`."""
        return _run(self.awaitable.receipt(billot))

    def verify_receipt(self, data: bytes) -> ReceiptCheck:
        """See `AsyncWallet.verify_receipt`."""
        return _run(self.awaitable.verify_receipt(data))

    def accept_key(self, host: Host | str) -> KeyAccepted:
        """See `AsyncWallet.accept_key`."""
        return _run(self.awaitable.accept_key(host))

    def audit(
        self,
        billots: str | Iterable[str] | None = None,
        count: int = 64,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> AuditReport:
        """See `AsyncWallet.audit`."""
        return _run(self.awaitable.audit(billots, count, on_progress))

    def check_trust(self, other: str | None = None) -> TrustReport:
        """See `AsyncWallet.check_trust`."""
        return _run(self.awaitable.check_trust(other))

    def overview(self) -> Overview:
        """See `AsyncWallet.overview`."""
        return _run(self.awaitable.overview())


def _run(verb: Coroutine[Any, Any, Result]) -> Result:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        running = False
    else:
        running = True
    if running:
        verb.close()
        raise RuntimeError("Wallet waits for its answers: use AsyncWallet where asyncio runs")
    return asyncio.run(verb)
