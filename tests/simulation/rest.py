"""What must hold once all works again, liars are silent and time has run on."""

from collections import Counter

from billots.holding import Status
from billots.receipt import Electorate
from billots.transfer import conflict
from simulation.record import Broken
from simulation.switches import ON

_STEP_S = 0.5
_AGAIN = 8


def honest(world):
    return [server for server in world.servers if server.honest]


def is_quiet(world):
    """Whether nothing is under way: no vote that isn't settled everywhere."""
    if world.wallets.moving:
        return False
    return all(server.up and not server.node.ledger.unsettled_billots for server in honest(world))


def settle(world, limit_s):
    """Let time run until nothing is open that could be decided."""
    until = world.clock.now + limit_s
    times = 0
    while world.clock.now < until and times < 2:
        world.clock.run(world.clock.now + _STEP_S)
        times = times + 1 if is_done(world) else 0


def is_done(world):
    for server in honest(world):
        if not server.up or server.node.links.up_count < _links(world, server):
            return False
        node = server.node
        if node.has_work or len(node.rounds.feeds.wanted) or len(node.rounds.pending):
            return False
    purses = world.workload.purses.values()
    if any(purse.state == "moving" and purse.honest for purse in purses):
        return False
    return not _different(world)


def _links(world, server):
    return sum(world.servers[number].honest for number in server.trusted)


def state(server):
    """What a server has: billot → (holding, status)."""
    ledger = server.node.ledger
    billots = [
        f"{prefix}{number}"
        for prefix in server.world.network.denominations
        for number in server.store.numbers_moved(prefix, 1, 10_000)
    ]
    found = {}
    for start in range(0, len(billots), 256):
        page = billots[start : start + 256]
        found |= dict(zip(page, ledger.holdings(page), strict=True))
    return found


def _different(world):
    """Billots on which honest servers don't stand alike, without a double spend for a reason."""
    servers = honest(world)
    states = [state(server) for server in servers]
    found = []
    for billot in dict.fromkeys(billot for each in states for billot in each):
        held = [each.get(billot) for each in states]
        first = held[0]
        alike = first is not None and all(holding == first for holding in held)
        if alike and first.status is Status.SETTLED:
            continue
        if not _is_undecided(world, billot, dict(zip(servers, held, strict=True))):
            found.append((billot, held))
    return found


def _is_undecided(world, billot, held):
    """Nobody has it for certain: signed twice, and no honest server knows of a quorum.

    Who lost its memory while both sides had votes joins neither, and stays where it was.
    """
    newest = max(holding.seq for holding in held.values() if holding is not None)
    if len({len(members) for members in world.plan.lists}) > 1:
        # What is a quorum on a shorter list need not be one for those who trust more servers.
        signed = world.workload.purses[billot].signed
        return any(len({t.to for t in transfers}) > 1 for transfers in signed.values())
    voters = {}
    for server, holding in held.items():
        seq = 0 if holding is None else holding.seq
        if seq < newest and server.number in world.forgot:
            continue
        if seq < newest or holding.status not in {Status.CONTESTED, Status.DISPUTED}:
            return False
        voters[server] = holding
    owners = {vote.owner for vote in world.record.signed.get((billot, newest), {})}
    if len(owners) < 2:
        return False
    if world.forgot or world.plan.liars or not ON["disputes end"]:
        return True  # what a silent liar told one of them makes it see more votes than others
    votes = [holding.vote for holding in voters.values()]
    most = max(votes.count(vote) for vote in votes)
    quorum = world.record.payees.quorum
    hopeless = most + len(world.servers) - len(votes) < quorum
    return not hopeless or all(h.status is Status.DISPUTED for h in voters.values())


def spend_all(world, limit_s):
    """Every payee who was final once spends, to himself or to another."""
    workload, servers = world.workload, honest(world)
    by_owner = {}
    for purse in workload.purses.values():
        if purse.state == "free" and purse.seq:
            by_owner.setdefault(purse.owner, []).append(purse)
    for number, (owner, purses) in enumerate(by_owner.items()):
        start = number % len(servers)
        order = servers[start:] + servers[:start]
        to = workload.keys[number % len(workload.keys)].owner
        for place in range(0, len(purses), 6):
            workload.pay(workload.by_owner[owner], to, purses[place : place + 6], order)
    settle(world, limit_s)


def sign_again(world, limit_s):
    """What was settled long ago is signed over again, to others, at every server."""
    before = [(server, state(server)) for server in honest(world)]
    for transfer in list(world.workload.again(_AGAIN)):
        for server, _ in before:
            world.wallets.submit(transfer, server)
    world.clock.run(world.clock.now + _STEP_S)
    settle(world, limit_s)
    for server, known in before:
        now = state(server)
        for billot, holding in known.items():
            if holding.status is not Status.SETTLED or now[billot].seq > holding.seq:
                continue  # what was open may be decided meanwhile
            if now[billot] != holding:
                raise Broken(
                    "late conflicts change nothing",
                    f"{server}: {billot} {_said([holding, now.get(billot)])}",
                )


def check(world):
    """All that must hold at rest."""
    for server in honest(world):
        if not server.up:
            raise Broken("servers come back", f"{server} is down")
    for purse in world.workload.purses.values():
        if purse.state == "moving" and purse.honest:
            name = "final can spend" if purse.receipt else "honest transfers become final"
            raise Broken(name, f"{purse.billot} {purse.seq + 1}")
    if ON["states equal"]:
        for billot, held in _different(world):
            raise Broken("states equal", f"{billot}: {_said(held)}")
    _check_evidence(world)
    for server in honest(world):
        check_receipts(server)
        _check_money(world, server)
        _check_budgets(world, server)


def _said(held):
    return [
        None if h is None else (h.seq, (h.sender or "-")[:6], (h.owner or "-")[:6], h.status.value)
        for h in held
    ]


def _check_evidence(world):
    """Who says that an owner signed twice can prove it."""
    for server in honest(world):
        for billot in server.node.ledger.unsettled_billots:
            holding = server.node.ledger.present(billot)
            if holding.status is Status.HELD:
                continue
            pair = server.store.evidence(billot)
            if pair is None or (billot, holding.seq) not in conflict(*pair):
                raise Broken("evidence is kept", f"{server}: {billot} {holding.seq}")
        for billot in server.store.evidence_billots(None, 1000):
            for transfer in server.store.evidence(billot):
                world.record.signed_by_owner(transfer.id)


def check_receipts(server):
    """What a server shows of the votes that settled something settles it for others.

    None is shown where all have voted, and of an earlier seq it may have its own word alone.
    """
    node = server.node
    electorate = node.trust.electorate
    others = Electorate(electorate.n, electorate.entries, electorate.retired)
    for billot, holding in state(server).items():
        receipt = node.rounds.receipts.receipt(billot)
        row = (billot, holding.seq)
        if receipt is None or holding.status is not Status.SETTLED:
            continue
        if row in receipt.transfer.billots and row not in others.settled(
            receipt.transfer, receipt.words()
        ):
            raise Broken("receipts settle", f"{server}: {billot} {holding.seq}")


def _check_money(world, server):
    """Each billot has one owner, and the index by owner is what a full scan finds."""
    found = state(server)
    listed = {}
    for owner in dict.fromkeys(holding.owner for holding in found.values()):
        after = None
        while True:
            page = server.store.owned(owner, after, 50)
            for billot, moved in page.rows:
                if billot in listed or moved.owner != owner:
                    raise Broken("owner index", f"{server}: {billot}")
                listed[billot] = owner
            if page.after is None:
                break
            after = page.after
    if listed != {billot: holding.owner for billot, holding in found.items()}:
        raise Broken("owner index", f"{server}: not what a scan finds")
    if server.node.ledger.moved_count != len(found):
        raise Broken("conservation", f"{server}: {server.node.ledger.moved_count} moved")
    total = world.network.total_mils(found)
    if total != 1000 * len(found):
        raise Broken("conservation", f"{server}: {total} mils")


def _check_budgets(world, server):
    """Rows, queues and memory follow what is held, not what was ever said."""
    node, limits = server.node, world.limits
    moved = node.ledger.moved_count
    rows = Counter(chr(key[0]) for key in server.disk.values)
    for kind, most in {"b": moved, "o": moved, "f": moved, "t": rows["f"], "c": rows["f"]}.items():
        if rows[kind] > most:
            raise Broken("rows within budget", f"{server}: {rows[kind]} {kind} for {moved} billots")
    if rows.total() > 7 * moved + 60 + 4 * len(world.servers):
        raise Broken("rows within budget", f"{server}: {rows.total()} rows for {moved} billots")
    rounds = node.rounds
    feeds = rounds.feeds
    open_payments = world.workload.payments
    sizes = {
        "wanted": (len(feeds.wanted), 0),
        "seen": (len(rounds.seen), limits.seen_max),
        "out": (sum(map(len, node.out.values())), 0),
    }
    if not world.forgot:
        # Else what liars vote on ahead stays, within votes_per_peer_max, and a server that may not
        # speak first of a billot is reminded of its transfer, within pending_max.
        sizes["pending"] = (len(rounds.pending), sum(payment.is_open for payment in open_payments))
        sizes["votes"] = (len(feeds.votes.billots), len(node.ledger.unsettled_billots))
    for name, (size, most) in sizes.items():
        if size > most:
            raise Broken("queues within budget", f"{server}: {size} {name}, not {most}")
