"""The wallet's verbs for change: a quote taken, exchanges gone on with, proofs checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from billots.host import Host
from billots.known_servers import KnownServers
from billots.wallet_settings import WalletSettings

if TYPE_CHECKING:  # what only exchanges need is loaded by them
    from billots.exchange_proof import ProofCheck
    from billots.exchanging import Exchanged
    from billots.quoting import NoExchange, Offered
    from billots.transfer import Transfer


class ExchangeVerbs(WalletSettings):
    """What `AsyncWallet` can do with a change server."""

    async def change(
        self,
        amount: str | int,
        change_server: Host | str,
        confirm: Callable[[Offered], bool],
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Exchanged | NoExchange:
        """Exchange notes with a change server, so that `amount` can be paid exactly after it.

        `confirm` is shown the quote, and nothing is given unless it says so: until the change is
        final the change server is trusted with what it is given. It must not wait for a person: for
        that, use the three steps by themselves.
        """
        from billots.quoting import NoExchange

        offered = await self.quote_change(amount, change_server)
        if isinstance(offered, NoExchange):
            return offered
        if not confirm(offered):
            return await self.decline(offered)
        return await self.exchange(offered, on_signed)

    async def quote_change(
        self, amount: str | int, change_server: Host | str
    ) -> Offered | NoExchange:
        """A quote, checked and kept; nothing is given yet.

        ``h:p#key`` pins the change server's key. Raises as `transfer` does, and ProtocolError for
        a quote that isn't what was asked for.
        """
        from billots.exchanging import keep_quote, unpaid
        from billots.paying import check_amount
        from billots.quoting import Offered, ask
        from billots.teller import Teller

        mils, host = check_amount(amount), Host.parse(str(change_server))
        sender = self._sender(None)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            circle.require_one()
            teller = await Teller.connect(host, circle.network, self.timeout_s)
            async with teller.client:
                # What an earlier try was quoted and never gave anything for is free again.
                await teller.drop(await unpaid(sender, circle, host), self.timeout_s)
                offered = await ask(sender, circle, mils, host, teller)
            if isinstance(offered, Offered):
                await keep_quote(sender, offered)
            return offered

    async def exchange(
        self, offered: Offered, on_signed: Callable[[Transfer], None] | None = None
    ) -> Exchanged | NoExchange:
        """Give what was quoted, and wait for the change. Raises as `transfer` does."""
        from billots.exchanging import exchange

        sender = self._sender(on_signed)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            circle.require_one()
            return await exchange(sender, circle, offered)

    async def decline(self, offered: Offered) -> Exchanged:
        """Give nothing, and let the change server know, if it can be reached."""
        from billots.exchanging import decline

        return await decline(offered, self.timeout_s)

    async def finish_exchanges(self) -> list[Exchanged]:
        """Go on with exchanges that were begun and aren't over. Raises as `transfer` does."""
        from billots.exchange_book import ExchangeBook
        from billots.exchanging import finish, unfinished

        sender = self._sender(None)
        if not ExchangeBook.path(sender.key.owner, sender.data_dir).exists():
            return []
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            circle.require_one()
            begun = await unfinished(sender, circle)
            return [await finish(sender, circle, each) for each in begun]

    async def check_proof(
        self, data: bytes, *, offline: bool = False, change_server: Host | str | None = None
    ) -> ProofCheck:
        """What the proof of a customer without change says, and what became of it since.

        `change_server` is shown it first: who paid and never asked for change has as good a proof
        as who got none. `offline` opens no connection. Raises InputError for what is no proof,
        WrongNetwork, JournalError; Unreachable if no server answers.
        """
        from billots.exchange_proof import ask_what_became, check_proof, decode_proof
        from billots.showing import show

        known = KnownServers(self._data_dir)
        checked = check_proof(
            decode_proof(data),
            self.trusted,
            known=known,
            network=self.network,
            quorum=self.quorum,
        )
        if offline or checked.fault is not None:
            return checked
        self.network = checked.network
        if change_server is not None:
            checked = await show(checked, Host.parse(str(change_server)), self.timeout_s)
        async with self._circle(self.trusted, self.quorum) as circle:
            return await ask_what_became(checked, circle, self.timeout_s)
