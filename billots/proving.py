"""Receipts for others: one collected, or taken from what is kept, and one checked offline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from billots.circle import Circle
from billots.crypto import verify
from billots.errors import BillotsError, InputError, Unreachable, WrongNetwork
from billots.gathering import Gathering
from billots.host import Host
from billots.keeping import Keeper
from billots.known_servers import KnownServers
from billots.network import SHIPPED, Network
from billots.outcomes import ProvenRow, ReceiptCheck, ReceiptFound
from billots.poll import Poll
from billots.quorum import Quorum, Verdict
from billots.receipt import Electorate, Receipt, checks, server_of


async def find_receipt(
    circle: Circle, keeper: Keeper, billot: str, given: Network | None
) -> ReceiptFound | str:
    """The receipt of a billot: of a quorum that stands now, else the one that is kept.

    Else why there is none, in words. Raises what `Wallet.receipt` says.
    """
    poll = Poll(circle, [billot])
    try:
        await poll.run(circle.timeout_s)
        circle.require_one()
    except (Unreachable, WrongNetwork) as error:
        networks = [given] if given else [Network.shipped(name) for name in SHIPPED]
        return _kept(networks, Electorate(circle.n, {}), keeper, billot) or _raise(error)
    if poll.tally(billot).verdict is Verdict.OWNER and not _seq(poll, billot):
        return f"{billot} never moved: the network's file says whose it is"
    told = await _of_quorum(circle, keeper, poll, billot)
    if isinstance(told, str):
        found = _kept([circle.network], circle.electorate(), keeper, billot)
        if found is None:
            return told
    else:
        found = told
    said = [poll.answer(link, billot) for link in circle.links]
    later = (each for each in said if each.holding is not None and each.holding.seq > found.seq)
    return replace(found, later=tuple(later))


def _seq(poll: Poll, billot: str) -> int:
    holding = poll.tally(billot).holding
    return 0 if holding is None else holding.seq


async def _of_quorum(circle: Circle, keeper: Keeper, poll: Poll, billot: str) -> ReceiptFound | str:
    """The receipt of a quorum that stands now, else why there is none."""
    tally = poll.tally(billot)
    if tally.verdict is Verdict.OWNER and tally.holding is not None:
        found = poll.receipt(billot)
        if found is None:
            found = (await Gathering(circle).receipts([billot])).get(billot)
        if found is not None:
            await keeper.keep(circle, {billot: tally.holding}, poll)
            return _found(circle.network, circle.electorate(), billot, found)
    if tally.verdict is Verdict.OWNER:
        return f"no server gave the transfer that moved {billot}"
    return f"no quorum of the trusted servers names an owner of {billot}"


def _kept(
    networks: Iterable[Network], electorate: Electorate, keeper: Keeper, billot: str
) -> ReceiptFound | None:
    for network in networks:
        there = keeper.store.find(network.id, [billot]).get(billot)
        if there is not None:
            return _found(network, electorate, billot, there.receipt, kept=True)
    return None


def _raise(error: BillotsError) -> NoReturn:
    raise error


def verify_receipt(
    receipt: Receipt,
    hosts: Iterable[Host],
    *,
    known: KnownServers,
    network: Network | None,
    quorum: Quorum,
) -> ReceiptCheck:
    """What a receipt proves to who trusts these hosts, by pinned and remembered keys alone.

    Opens no connection. Only votes count, never claims: those are for servers. Raises
    WrongNetwork for a network that isn't known here, InputError if no host's key is,
    JournalError.
    """
    network_id = receipt.transfer.network
    shipped = (Network.shipped(name) for name in SHIPPED)
    its_own = network or next((n for n in shipped if n.id == network_id), None)
    if its_own is None:
        raise WrongNetwork(
            "the receipt is of a network that this wallet does not know",
            "--network FILE names the file of that network",
        )
    electorate, keyless = _electorate(hosts, known, its_own.id)
    needed = quorum.needed(electorate.n)
    checked = ReceiptCheck(receipt, its_own, needed, electorate.n, keyless=keyless)
    try:
        receipt.check(its_own)
        words = receipt.words()
        of_transfer, *of_words = [verify(*check) for check in checks(receipt)]
    except InputError as error:
        return _faulty(checked, str(error))
    if not of_transfer:
        return _faulty(checked, "the owner's signature does not hold")
    true = [word for word, held in zip(words, of_words, strict=True) if held]
    votes = {row: electorate.votes(row, true) for row in receipt.transfer.billots}
    said = {row for word in words for row in word.rows}
    rows = [ProvenRow(*row, votes[row]) for row in receipt.transfer.billots if row in said]
    signers = dict.fromkeys(word.server for word in true)
    places = {**electorate.retired, **electorate.entries}
    return ReceiptCheck(
        receipt,
        its_own,
        needed,
        electorate.n,
        tuple(sorted(rows, key=lambda row: -row.votes)),
        signed=tuple(places[key] for key in signers if key in places),
        unknown=tuple(key for key in signers if key not in places),
        false=tuple(w.server for w, held in zip(words, of_words, strict=True) if not held),
        keyless=keyless,
    )


def _electorate(
    hosts: Iterable[Host], known: KnownServers, network_id: str
) -> tuple[Electorate, tuple[str, ...]]:
    entries: dict[str, str] = {}
    retired: dict[str, str] = {}
    keyless: list[str] = []
    for host in hosts:
        key = known.key(host, network_id)
        place = host.place if key is None else entries.setdefault(key, host.place)
        if key is None:
            keyless.append(place)
        for old in known.retired(host, network_id):
            retired.setdefault(old, place)
    if not entries:
        raise InputError(
            "no key of the trusted servers is known here",
            "pin them: --trusted h:p#KEY, h:p#KEY; bserver prints its key at its start",
        )
    return Electorate(len(entries) + len(keyless), entries, retired), tuple(keyless)


def _faulty(checked: ReceiptCheck, fault: str) -> ReceiptCheck:
    return ReceiptCheck(
        checked.receipt,
        checked.network,
        checked.needed,
        checked.n,
        keyless=checked.keyless,
        fault=fault,
    )


def _found(
    network: Network,
    electorate: Electorate,
    billot: str,
    receipt: Receipt,
    *,
    kept: bool = False,
) -> ReceiptFound:
    seq = dict(receipt.transfer.billots)[billot]
    keys = dict.fromkeys(server_of(vote) for vote in receipt.votes)
    places = {**electorate.retired, **electorate.entries}
    return ReceiptFound(
        billot,
        seq,
        network,
        receipt,
        tuple(places[key] for key in keys if key in places),
        tuple(key for key in keys if key not in places),
        kept,
    )
