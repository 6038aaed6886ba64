"""Sending money: look at the holdings, sign, write down, send (DESIGN, section 11)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from billots.circle import Circle
from billots.crypto import PrivateKey, verify
from billots.errors import (
    BillotsError,
    InputError,
    JournalError,
    ProtocolError,
    Refused,
    ServerKeyChanged,
    Unreachable,
)
from billots.holding import Holding, Status
from billots.journal import Journal
from billots.keeping import Keeper
from billots.kept_receipts import KeptReceipt, KeptReceipts
from billots.link import Link, Problem
from billots.messages import Accepted, SendTransfer
from billots.network import ROWS_MAX, check_owner_id, split_billot_id
from billots.outcomes import Sent
from billots.poll import Poll
from billots.presenting import ANSWERED_BY_RECEIPTS, bundled, settle
from billots.quorum import Verdict, liars_max
from billots.receipt import Receipt, checks, judge
from billots.refusals import in_our_words, not_ready, refusal
from billots.second_signature import already_ordered, already_signed
from billots.signing import LastOpened, open_journal, row, stored, twin
from billots.statement import Statement, new_nonce
from billots.transfer import Row, Transfer

_WAITS_S = 2.0
"""A server lets a transfer wait for what it spends: longer than it may, so that it can say why."""
_BUSY = ("rate_limited", "store_failed")
_PASSED_OVER = frozenset(
    {
        Problem.UNREACHABLE,
        Problem.SILENT,
        Problem.BROKEN,
        Problem.UNSIGNED,
        Problem.CHANGED_KEY,
        Problem.OTHER_NETWORK,
    }
)


@dataclass(frozen=True, slots=True)
class Sender:
    """One wallet's hand: the key, where its journal is, and how its command is typed.

    `keeper` has the receipts; `on_signed` is called once a transfer is in the journal. `pays` is
    the amount in mils that the transfer is to pay, if it is an amount, and `ref` the payee's
    reference for it. `now` is a clock, seconds since 1970: the journal says when it was signed.
    `last` is what of the journal was read before.
    """

    key: PrivateKey
    data_dir: Path | None
    command: str
    timeout_s: float
    keeper: Keeper
    on_signed: Callable[[Transfer], None] | None = None
    pays: int | None = None
    ref: str | None = None
    now: Callable[[], float] | None = None
    last: LastOpened = field(default_factory=LastOpened)

    async def journal(self) -> Journal:
        """The journal, locked. Raises JournalError."""
        return await open_journal(self.key.owner, self.data_dir, self.timeout_s, self.last)


@dataclass(frozen=True, slots=True)
class Signed:
    """A transfer that is on disk; `noted`: the journal wants to hear that it was answered."""

    transfer: Transfer
    resent: bool = False
    lapsed: tuple[Transfer, ...] = ()
    noted: bool = True


def check_request(billots: Sequence[str], to: str) -> list[str]:
    """The ids in order; raises InputError for ids or an owner that no network could take."""
    check_owner_id(to)
    ordered = sorted(billots, key=split_billot_id)
    if not 1 <= len(ordered) <= ROWS_MAX:
        raise InputError(
            f"a transfer moves 1 to {ROWS_MAX} billots, not {len(ordered)}",
            "send the others with another transfer",
        )
    if len(set(ordered)) != len(ordered):
        raise InputError("a billot is named twice")
    return ordered


async def send(
    sender: Sender,
    circle: Circle,
    billots: Sequence[str],
    to: str,
    *,
    only: Sequence[Row] | None = None,
) -> Sent:
    """Move `billots` to the owner `to` by way of the circle's server, else of its list in turn.

    With `only`, nothing but just these rows is signed: InputError if the billots have moved since.
    Else raises what `Wallet.transfer` says.
    """
    poll = Poll(circle, billots)
    await poll.run(sender.timeout_s)
    if not any(poll.votes.values()):
        circle.require_one()
        raise _worst(circle)
    tallies = {billot: poll.tally(billot) for billot in billots}
    finals = {
        billot: tally.holding
        for billot, tally in tallies.items()
        if tally.verdict is Verdict.OWNER and tally.holding is not None
    }
    await sender.keeper.keep(circle, finals, poll)
    proven = _proven(sender, poll, finals)
    holdings = {billot: proven.get(billot) or _holding(poll, billot) for billot in billots}
    circle.save_keys()
    signed = await _sign(sender, circle, holdings, to, only)
    if sender.on_signed is not None:
        sender.on_signed(signed.transfer)
    return await submit(sender, circle, signed)


def _proven(sender: Sender, poll: Poll, finals: Mapping[str, Holding]) -> dict[str, Holding]:
    """What the wallet's own receipts say of billots that no quorum names, or at a lower seq.

    Who was final once can spend, whatever the servers say now: they are shown the receipt. If
    more than may lie say that it moved on since, it did: signing it again would be a second
    signature wherever the journal was lost.
    """
    store, circle, proven = sender.keeper.store, poll.circle, dict[str, Holding]()
    seqs = {b: each.seq for b, each in store.summary(circle.network.id, list(poll.votes)).items()}
    useful = [
        billot
        for billot, seq in seqs.items()
        if (billot not in finals or finals[billot].seq < seq)
        and sum(h.seq > seq for h in poll.votes[billot].values()) <= liars_max(circle.n)
    ]
    electorate = circle.electorate()
    for billot, each in store.find(circle.network.id, useful).items():
        transfer = each.receipt.transfer
        held = [verify(*check) for check in checks(each.receipt)]
        if (billot, each.seq) in judge(each.receipt, electorate, held, by_claims=False):
            proven[billot] = Holding(each.seq, transfer.sender, transfer.to, Status.SETTLED)
    return proven


def _holding(poll: Poll, billot: str) -> Holding:
    """A billot's holding: the quorum's, else what most that answer say, if not all may lie.

    Nothing is signed on a liar's word: a transfer for a seq that is still to come would be
    good when that seq comes.
    """
    tally, circle = poll.tally(billot), poll.circle
    most = 2 * tally.votes > len(poll.votes[billot])
    if tally.holding is not None and most and tally.votes > liars_max(circle.n):
        return tally.holding
    if not poll.votes[billot]:
        raise _worst(circle)
    if all(said.status is Status.UNKNOWN for said in poll.votes[billot].values()):
        raise not_ready(billot)
    raise refusal("not_settled", billot)


def _worst(circle: Circle) -> BillotsError:
    errors = [link.error for link in circle.everyone if link.error is not None]
    changed = [error for error in errors if isinstance(error, ServerKeyChanged)]
    return next(iter(changed or errors), Unreachable("no server answered in time"))


async def _sign(
    sender: Sender,
    circle: Circle,
    holdings: Mapping[str, Holding],
    to: str,
    only: Sequence[Row] | None,
) -> Signed:
    """The transfer, on disk: the journal's own if it has it, else a new one."""
    network, key = circle.network, sender.key
    lapsed: list[Transfer] = []
    asked_all = False
    while True:
        with await sender.journal() as journal:
            again = twin(sender, journal, network.id, to)
            if again is not None:
                return Signed(again, resent=True)
            rows = [
                row(journal, network.id, billot, holding, to=to, command=sender.command)
                for billot, holding in holdings.items()
            ]
            if only is not None and set(rows) != set(only):
                raise InputError("the billots have moved since they were quoted")
            entries = journal.find(network.id, rows)
            against = [entry for entry in entries if entry.transfer.to != to]
            orders = journal.orders_against(network.id, rows, to)
            if not (against or orders) or asked_all:
                for order in orders:
                    if not (circle.passing and journal.drop(order, circle.answering_keys)):
                        raise already_ordered(order)
                for entry in against:
                    # Elsewhere a server that took it may only be down: a second signature
                    # would make a double spender of an honest owner.
                    if not (circle.passing and journal.lapse(entry, circle.answering_keys)):
                        raise already_signed(entry.transfer, sender.command)
                    lapsed.append(entry.transfer)
                before = stored(sender, entries, rows, to)
                transfer = before or Transfer.sign(network, key, to, rows)
                if before is None:
                    at = None if sender.now is None else int(sender.now())
                    keys, ref = circle.answering_keys, sender.ref
                    journal.sign(transfer, keys, sender.pays, ref=ref, at=at)
                return Signed(transfer, before is not None, tuple(lapsed))
        # Which keys are gone only a full round can tell; the lock isn't held for it.
        await Poll(circle, list(holdings), everyone=True).run(sender.timeout_s)
        asked_all = True


async def submit(sender: Sender, circle: Circle, signed: Signed) -> Sent:
    """Send a transfer to the circle's server, and while none can be reached to its list in turn.

    What is sent again goes to all of them: who took it before may have told nobody, and who
    refused it may have lied.
    """
    refused: Refused | None = None
    sent: Sent | None = None
    for link in dict.fromkeys([*([circle.server] if circle.server else []), *circle.links]):
        if link.problem in _PASSED_OVER:
            continue
        try:
            statement = await offer(sender.keeper.store, circle, link, signed.transfer)
        except Refused as error:
            await _note_answer(sender, circle, link, signed)
            ours = in_our_words(error, signed.transfer, sender.command)
            if ours.name not in _BUSY and not signed.resent:
                raise ours from None
            if refused is None or refused.name in _BUSY:
                refused = ours
        except (Unreachable, ProtocolError, ServerKeyChanged) as error:
            link.fail(error)
        else:
            await _note_answer(sender, circle, link, signed)
            sent = sent or _sent(circle, link, signed, statement)
            if not signed.resent:
                break
    if sent is not None:
        return sent
    raise refused or Unreachable(
        "no server took the transfer: it is signed and kept",
        "the same command sends it again",
    )


def _sent(circle: Circle, link: Link, signed: Signed, statement: Statement) -> Sent:
    return Sent(
        signed.transfer,
        circle.network,
        link.host,
        statement,
        resent=signed.resent,
        lapsed=signed.lapsed,
    )


async def offer(store: KeptReceipts, circle: Circle, link: Link, transfer: Transfer) -> Statement:
    """Submit a transfer, and once more with the receipts that may turn a refusal into a yes."""
    try:
        return await _hand_over(circle, link, transfer)
    except Refused as refused:
        calls = bundled(_spent(store, transfer)) if refused.name in ANSWERED_BY_RECEIPTS else []
        if not calls:
            raise
    await settle(link, calls[:-1])
    return await _hand_over(circle, link, transfer, calls[-1])


def _spent(store: KeptReceipts, transfer: Transfer) -> list[KeptReceipt]:
    """The receipts kept of what a transfer spends."""
    seqs = dict(transfer.billots)
    kept = store.find(transfer.network, list(seqs))
    return [
        each
        for billot, each in kept.items()
        if each.seq + 1 == seqs[billot] and each.receipt.transfer.to == transfer.sender
    ]


async def _hand_over(
    circle: Circle, link: Link, transfer: Transfer, receipts: Sequence[Receipt] = ()
) -> Statement:
    """Submit a transfer to one server, and hold its answer against what was sent."""
    network_id = await circle.open(link)
    nonce = new_nonce()
    params = SendTransfer.of(transfer, nonce, tuple(receipts))
    accepted = await link.call("transfer", params, Accepted, _WAITS_S)
    billots = [billot for billot, _ in transfer.billots]
    link.judge(accepted.statement, network_id, nonce, billots)
    rows = zip(accepted.statement.billots, transfer.billots, strict=True)
    stands = all(
        said.seq > seq or (said.seq == seq and said.owner == transfer.to) for said, (_, seq) in rows
    )
    if not accepted.accepted or accepted.transfer_id != transfer.id or not stands:
        raise ProtocolError(f"{link.host.place} says that it took a transfer, and shows otherwise")
    return accepted.statement


async def _note_answer(sender: Sender, circle: Circle, link: Link, signed: Signed) -> None:
    transfer = signed.transfer
    if not signed.noted:
        return
    if link.key is None:  # a refusal is not signed; a statement tells whose it was
        with contextlib.suppress(BillotsError):
            await link.statement(circle.network.id, [transfer.billots[0][0]])
    if link.key is not None:
        # Without this line the entry only stays for longer: no reason to hide the answer.
        with contextlib.suppress(JournalError), await sender.journal() as journal:
            journal.answered(transfer.id, link.key)
