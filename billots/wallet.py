"""The wallet for scripts: the verbs of `AsyncWallet`, each run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from billots.arrivals import Received, WatchNote
from billots.async_wallet import DEFAULT_SERVER, DEFAULT_TRUSTED, AsyncWallet
from billots.findings import AuditReport
from billots.history import History
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
_NOT_HERE = "Wallet waits for its answers: use AsyncWallet where asyncio runs"


class Wallet:
    """`AsyncWallet` for scripts: the same arguments and verbs, each runs to its end.

    >>> Wallet().check_owner("a-1").owner       # doctest: +SKIP
    '9628cb3f…'
    """

    def __init__(self, **settings: Any) -> None:
        self.awaitable = AsyncWallet(**settings)

    def generate_keys(self, path: str | Path | None = None) -> Path:
        """See `AsyncWallet.generate_keys`."""
        return run_verb(self.awaitable.generate_keys(path))

    def owner_hash(self) -> str:
        """See `AsyncWallet.owner_hash`."""
        return run_verb(self.awaitable.owner_hash())

    def check_owner(
        self, billot: str, on_answer: Callable[[Answer], None] | None = None
    ) -> OwnerCheck:
        """See `AsyncWallet.check_owner`."""
        return run_verb(self.awaitable.check_owner(billot, on_answer))

    def who_owns(self, billot: str) -> OwnerCheck:
        """See `AsyncWallet.who_owns`."""
        return run_verb(self.awaitable.who_owns(billot))

    def list_billots(
        self, owner: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> Listing:
        """See `AsyncWallet.list_billots`."""
        return run_verb(self.awaitable.list_billots(owner, on_progress))

    def transfer(
        self,
        billots: str | Iterable[str],
        to: str,
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Sent:
        """See `AsyncWallet.transfer`."""
        return run_verb(self.awaitable.transfer(billots, to, on_signed))

    def pay(
        self,
        amount: str | int | None,
        to: str,
        *,
        ref: str | None = None,
        dry_run: bool = False,
        tell: Callable[[Payment], None] = lambda _: None,
        on_answer: Callable[[Answer], None] | None = None,
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Payment | Plan | NotExact:
        """See `AsyncWallet.pay`."""
        verb = self.awaitable.pay(
            amount,
            to,
            ref=ref,
            dry_run=dry_run,
            tell=tell,
            on_answer=on_answer,
            on_signed=on_signed,
        )
        return run_verb(verb)

    def change(
        self,
        amount: str | int,
        change_server: Host | str,
        confirm: Callable[[Offered], bool],
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Exchanged | NoExchange:
        """See `AsyncWallet.change`; here `confirm` may wait for a person."""
        from billots.quoting import NoExchange

        offered = run_verb(self.awaitable.quote_change(amount, change_server))
        if isinstance(offered, NoExchange):
            return offered
        if not confirm(offered):
            return run_verb(self.awaitable.decline(offered))
        return run_verb(self.awaitable.exchange(offered, on_signed))

    def finish_exchanges(self) -> list[Exchanged]:
        """See `AsyncWallet.finish_exchanges`."""
        return run_verb(self.awaitable.finish_exchanges())

    def check_proof(
        self, data: bytes, *, offline: bool = False, change_server: Host | str | None = None
    ) -> ProofCheck:
        """See `AsyncWallet.check_proof`."""
        checked = self.awaitable.check_proof(data, offline=offline, change_server=change_server)
        return run_verb(checked)

    def request(self, amount: str | int | None = None, ref: str | None = None) -> PaymentRequest:
        """See `AsyncWallet.request`."""
        return run_verb(self.awaitable.request(amount, ref))

    def resume(
        self,
        tell: Callable[[list[Payment]], None] = lambda _: None,
        on_answer: Callable[[Answer], None] | None = None,
    ) -> list[Payment]:
        """See `AsyncWallet.resume`."""
        return run_verb(self.awaitable.resume(tell, on_answer))

    def watch(
        self, tell: Callable[[WatchNote], None] = lambda _: None
    ) -> Generator[Received, None, None]:
        """See `AsyncWallet.watch`; an iterator, which waits for the next payment."""
        return _each(self.awaitable.watch(tell))

    def history(self) -> History:
        """See `AsyncWallet.history`."""
        return run_verb(self.awaitable.history())

    def receipt(self, billot: str) -> ReceiptFound | str:
        """See `AsyncWallet.receipt`."""
        return run_verb(self.awaitable.receipt(billot))

    def verify_receipt(self, data: bytes) -> ReceiptCheck:
        """See `AsyncWallet.verify_receipt`."""
        return run_verb(self.awaitable.verify_receipt(data))

    def accept_key(self, host: Host | str) -> KeyAccepted:
        """See `AsyncWallet.accept_key`."""
        return run_verb(self.awaitable.accept_key(host))

    def audit(
        self,
        billots: str | Iterable[str] | None = None,
        count: int = 64,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> AuditReport:
        """See `AsyncWallet.audit`."""
        return run_verb(self.awaitable.audit(billots, count, on_progress))

    def check_trust(self, other: str | None = None) -> TrustReport:
        """See `AsyncWallet.check_trust`."""
        return run_verb(self.awaitable.check_trust(other))

    def overview(self) -> Overview:
        """See `AsyncWallet.overview`."""
        return run_verb(self.awaitable.overview())


def run_verb(verb: Coroutine[Any, Any, Result]) -> Result:
    """Run a verb to its end; raises RuntimeError where asyncio runs already."""
    if _is_running():
        verb.close()
        raise RuntimeError(_NOT_HERE)
    return asyncio.run(verb)


def _each(found: AsyncGenerator[Result, None]) -> Generator[Result, None, None]:
    """What an asynchronous generator yields, in a loop that runs while the next is waited for."""
    if _is_running():
        raise RuntimeError(_NOT_HERE)

    async def following() -> Result:
        return await anext(found)

    with asyncio.Runner() as runner:
        try:
            while True:
                yield runner.run(following())
        except StopAsyncIteration:
            return
        finally:
            runner.run(found.aclose())


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
