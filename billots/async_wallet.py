"""The wallet: keys, what they own, who owns what, and sending it on (DESIGN, section 11).

`AsyncWallet` is for programs that run asyncio. Its verbs return values and print nothing. Only
signed statements are counted, each an answer to a fresh nonce, by server keys that are pinned
or remembered; values and first owners come from the wallet's own network file, never from a
server. Before it says that one of its own billots is final, its receipt is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from billots.accepting import accept_key
from billots.arrivals import Received, WatchNote
from billots.audit import Audit
from billots.crypto import PrivateKey, load_public_key, owner_id
from billots.errors import InputError, KeyFileError
from billots.exchange_verbs import ExchangeVerbs
from billots.findings import AuditReport
from billots.history import History, history
from billots.host import Host, parse_hosts
from billots.kept_receipts import KeptReceipts
from billots.known_servers import KnownServers
from billots.listing import list_billots
from billots.network import check_owner_id, split_billot_id
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
from billots.owner_check import check_owner, who_owns
from billots.paying import check_amount, check_network, check_ref, done_with, pay, plan, resume
from billots.payment_request import PaymentRequest, is_request
from billots.poll import Answer
from billots.proving import find_receipt, verify_receipt
from billots.quorum import Quorum
from billots.receipt import decode_receipt
from billots.sampling import sample_own
from billots.sending import check_request, send
from billots.transfer import Transfer
from billots.trust_check import TrustReport, trust_report
from billots.wallet_settings import DEFAULT_SERVER, DEFAULT_TRUSTED
from billots.watching import Watch, WatchPlan

__all__ = ["DEFAULT_SERVER", "DEFAULT_TRUSTED", "AsyncWallet"]


class AsyncWallet(ExchangeVerbs):
    """A key and the servers that its owner trusts. Nothing is read before a verb needs it.

    `server` takes transfers and answers `who_owns`; `trusted` is the list that is counted, by
    the rule `quorum` (``safe``, ``majority``, ``90%`` or a number). With `trusted` alone its
    first is the server; with `server` alone `list_billots` and `transfer` trust only that
    one, and `check_owner` asks the default list. `network` is the one that the servers must
    serve; without it, the shipped one that most of them state. `data_dir` holds the journal, the
    receipts and the known servers, in the user's data directory unless given. `command` is what
    hints say to type.
    """

    async def generate_keys(self, path: str | Path | None = None) -> Path:
        """Make a key, write it to `path` (else `keyfile`) and `path`.pub, and return `path`.

        Raises KeyFileError if either is there: a key is never overwritten.
        """
        path = self.keyfile if path is None else Path(path)
        PrivateKey.generate().save(path, self._passphrase)
        return path

    async def owner_hash(self) -> str:
        """The owner id of the key file; raises KeyFileError."""
        return owner_id(load_public_key(self.keyfile))

    async def check_owner(
        self, billot: str, on_answer: Callable[[Answer], None] | None = None
    ) -> OwnerCheck:
        """Whose `billot` is, by a quorum of the trusted servers.

        All are asked at once, and this returns as soon as a quorum stands; `on_answer` is
        called with each answer as it comes. A server that is only behind is asked again for a
        moment. Without a quorum it is disputed if a server shows that its owner signed twice.
        A receipt of one's own is on disk when this returns. Raises BillotIdError,
        WrongNetwork, JournalError, and Unreachable if no server could be reached.
        """
        split_billot_id(billot)
        async with self._circle(self.trusted, self.quorum) as circle:
            return await check_owner(circle, self._keeper(), billot, on_answer)

    async def who_owns(self, billot: str) -> OwnerCheck:
        """Whose `billot` is, by the signed word of `server` alone.

        Raises BillotIdError, WrongNetwork, Unreachable, ServerKeyChanged, or ProtocolError for
        an answer that isn't signed.
        """
        split_billot_id(billot)
        async with self._circle([self.server], Quorum("1")) as circle:
            return await who_owns(circle, billot)

    async def list_billots(
        self, owner: str | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> Listing:
        """The billots of `owner` (else of the key file), each by a quorum of signed votes.

        `on_progress` is called with how many are counted, of how many, and then so for the
        receipts of one's own that are new. Raises KeyFileError, OwnerIdError, WrongNetwork,
        JournalError, Unreachable.
        """
        owner = await self.owner_hash() if owner is None else check_owner_id(owner)
        async with self._circle(self._near, self.quorum) as circle:
            listing = await list_billots(circle, owner, on_progress)
            finals = {b.id: b.tally.holding for b in listing.billots if b.tally.holding is not None}
            keeper = self._keeper()
            unkept = await keeper.keep(circle, finals, on_progress=on_progress)
            return replace(listing, unkept=tuple(unkept))

    async def transfer(
        self,
        billots: str | Iterable[str],
        to: str,
        on_signed: Callable[[Transfer], None] | None = None,
    ) -> Sent:
        """Send billots (an id, ids with commas, or several) to the owner `to`.

        `to` may be an owner id, with a checksum or without, or the name of a contact.

        The signed transfer is in the journal before it leaves; `on_signed` is called then. The
        same request sends the same bytes again. A server that has not settled what is spent
        is shown the receipts. Raises InputError; KeyFileError; JournalError; AlreadySigned if one
        of the billots is signed over to somebody else; Refused, in this wallet's words;
        WrongNetwork, ServerKeyChanged; Unreachable if no server took it.
        """
        words = billots.replace(",", " ").split() if isinstance(billots, str) else list(billots)
        to = self._contacts.read(to)
        ordered = check_request(words, to)
        sender = self._sender(on_signed)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            return await send(sender, circle, ordered, to)

    async def pay(
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
        """Pay an amount (``187.65``, or an int of mils) to the owner `to`, exactly.

        `to` is as for `transfer`, or a payment request (its URI), which may name the amount: then
        `amount` may be None. A request for another network is WrongNetwork. `ref` is what the
        payment is for, in up to 64 characters, the request's own if it has one.

        One transfer of as few billots as there can be, in the journal before it leaves; then the
        trusted servers are asked until a quorum names the payee. `tell` is called with the Payment;
        only when it returns, and it is final, is the payment done with. Until then the same amount
        to the same payee with the same `ref` is that one, finished and told once more, never a
        second one. `dry_run`
        returns the Plan, and signs nothing. Without billots that make it exactly: NotExact.
        Raises as `transfer` does, InputError for what is no amount, and AlreadySigned if another
        wallet of this key was faster.
        """
        asked = PaymentRequest.parse(to) if is_request(to) else None
        mils = check_amount(amount, asked)
        to = self._contacts.read(to) if asked is None else asked.owner
        sender = replace(self._sender(on_signed), ref=check_ref(ref, asked))
        if to == sender.key.owner:
            raise InputError("that is your own owner id: there is nobody to pay")
        async with self._circle(self._near, self.quorum, self.server) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            circle.require_one()
            check_network(asked, circle.network)
            if dry_run:
                return await plan(sender, circle, mils, to)
            found = await pay(sender, circle, mils, to, on_answer)
        if isinstance(found, Payment):
            tell(found)
            await done_with(sender, [found])
        return found

    async def request(
        self, amount: str | int | None = None, ref: str | None = None
    ) -> PaymentRequest:
        """A request for payment to one's own owner id, on the network that the servers serve.

        Payments of the same amount with another `ref`, up to 64 characters, are others. Raises
        InputError, KeyFileError, Unreachable, WrongNetwork.
        """
        owner = await self.owner_hash()
        mils = None if amount is None else check_amount(amount)
        ref = check_ref(ref, None)
        if self.network is not None:
            return PaymentRequest(owner, mils, self.network.id, ref)
        async with self._circle(self._near, self.quorum) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            circle.require_one()
            return PaymentRequest(owner, mils, circle.network.id, ref)

    async def resume(
        self,
        tell: Callable[[list[Payment]], None] = lambda _: None,
        on_answer: Callable[[Answer], None] | None = None,
    ) -> list[Payment]:
        """Finish what `pay` signed and isn't done with; `tell` as there. Raises as `transfer`.

        A refusal of one is raised once the others are finished and told of.
        """
        sender = self._sender(None)
        async with self._circle(self._near, self.quorum, self.server) as circle:
            payments, refusal = await resume(sender, circle, on_answer)
        if refusal is not None and not payments:
            raise refusal
        tell(payments)
        await done_with(sender, payments)
        if refusal is not None:
            raise refusal
        return payments

    def watch(
        self, tell: Callable[[WatchNote], None] = lambda _: None
    ) -> AsyncGenerator[Received, None]:
        """Payments to the key file's owner that come in from now on, each once it is final.

        Final is what a quorum of signed votes says; the receipt is on disk before. It goes on until
        it is closed, whatever servers do: they are dialled again, and what came while they were
        away is found. `tell` hears when it begins, which takes a quorum of servers, and of servers
        that go away and come back. What was there at the beginning is not told of, nor what one
        sends to oneself. The private key isn't needed. Raises KeyFileError, WrongNetwork,
        JournalError.
        """
        owner, keeper = owner_id(load_public_key(self.keyfile)), self._keeper()
        plan = WatchPlan(owner, self._near, self.quorum, keeper, self.timeout_s, self._circle)
        return Watch(plan, tell).payments()

    async def history(self) -> History:
        """What this key signed and was paid, from the wallet's own files; opens no connection.

        Raises KeyFileError, JournalError.
        """
        owner = await self.owner_hash()
        return await history(owner, self._data_dir, self.timeout_s, self.network)

    async def overview(self) -> Overview:
        """Owner, key file, network, and how each server of the list answers.

        Nothing that is missing is an error here; raises WrongNetwork and JournalError.
        """
        try:
            owner: str | None = await self.owner_hash()
        except KeyFileError:
            owner = None
        async with self._circle(self._near, self.quorum) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            answers = tuple(Answer(k.host, k.key, None, k.problem) for k in circle.links)
            reached = any(link.reached for link in circle.links)
            if reached:
                circle.require_one()
            trust = trust_report(circle, self._near, (), self.quorum)
            network = circle.network if reached else self.network
            needed = self.quorum.needed(circle.n)
            return Overview(owner, self.keyfile, network, answers, needed, circle.n, trust)

    async def receipt(self, billot: str) -> ReceiptFound | str:
        """The receipt of a billot that moved: signed votes of a quorum, with the transfer.

        Without a quorum now, or a server, it is the one that is kept, if there is one; else
        why there is none, in words. Raises BillotIdError, WrongNetwork, Unreachable,
        JournalError.
        """
        split_billot_id(billot)
        async with self._circle(self.trusted, self.quorum) as circle:
            return await find_receipt(circle, self._keeper(), billot, self.network)

    async def verify_receipt(self, data: bytes) -> ReceiptCheck:
        """What a receipt (its JSON) proves to who trusts `trusted`. Opens no connection.

        Keys are those pinned or remembered. Raises InputError for what is no receipt or if no
        key is known, WrongNetwork for a network that isn't, JournalError.
        """
        return verify_receipt(
            decode_receipt(data),
            self.trusted,
            known=KnownServers(self._data_dir),
            network=self.network,
            quorum=self.quorum,
        )

    async def accept_key(self, host: Host | str) -> KeyAccepted:
        """Take the key that a server shows now in the place of the one remembered for it.

        A host with a key (``h:p#key``) is accepted with that one alone. Raises HostError,
        ServerKeyChanged, Unreachable, WrongNetwork, ProtocolError, JournalError.
        """
        return await accept_key(
            Host.parse(str(host)),
            self._trusted or [],
            data_dir=self._data_dir,
            network=self.network,
            timeout_s=self.timeout_s,
        )

    async def audit(
        self,
        billots: str | Iterable[str] | None = None,
        count: int = 64,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> AuditReport:
        """Ask all trusted servers twice about these billots, else about `count` at random.

        Every vote, transfer and receipt is held against the others and those that are kept.
        `on_progress` is called with how many questions are answered, of how many. Raises
        InputError, Unreachable, WrongNetwork, JournalError.
        """
        words = billots.replace(",", " ").split() if isinstance(billots, str) else billots
        asked = list(dict.fromkeys(words or ()))
        for billot in asked:
            split_billot_id(billot)
        store = KeptReceipts(self._data_dir)
        async with (
            self._circle(self.trusted, self.quorum) as circle,
            self._circle(self.trusted, self.quorum) as again,
        ):
            asked = asked or await sample_own(circle, self._keeper(), count)
            return await Audit((circle, again), store).run(asked, on_progress)

    async def check_trust(self, other: str | None = None) -> TrustReport:
        """What `trusted` is good for, alone and beside `other` and the servers' own lists.

        Raises HostError, WrongNetwork, JournalError; a server that can't be reached is none.
        """
        others = parse_hosts(other) if other is not None else []
        mine = {host.place for host in self.trusted}
        hosts = [*self.trusted, *(host for host in others if host.place not in mine)]
        async with self._circle(hosts, Quorum()) as circle:
            await asyncio.gather(*(circle.greet(link) for link in circle.links))
            if any(link.reached for link in circle.links):
                circle.require_one()
            return trust_report(circle, self.trusted, others, self.quorum)
