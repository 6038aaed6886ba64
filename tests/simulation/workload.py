"""What owners do: honest ones pay, others sign twice, replay, forge and come late.

Who may spend what is known here, and only here: an owner has a billot when as a payee he has
counted a quorum for it. Owners who signed something twice deserve nothing, their payees do.
"""

import msgspec

from billots.messages import Evidence, ListBillots, Pair, WhoOwns
from billots.receipt import Receipt, SignedVote
from billots.transfer import Transfer

OWNERS = 9
BILLOTS = 60
_HOPELESS_TRIES = 8
"""How often a wallet hands over what its own owner, or the one before, signed twice."""


class Purse:
    """One billot: whose it is for certain (`seq`, `owner`), and what he signed since."""

    __slots__ = ("billot", "honest", "owner", "receipt", "seq", "signed", "state")

    def __init__(self, billot, owner):
        self.billot, self.owner, self.seq = billot, owner, 0
        self.receipt = None
        self.state = "free"
        self.honest = True
        self.signed = {}  # (seq, owner id): transfers


class Payment:
    """An honest transfer: it is handed over again until it is final."""

    def __init__(self, transfer, order, tries_max=None):
        self.transfer, self.order = transfer, order
        self.tries, self.tries_max = 0, tries_max
        self.done = False
        self.is_open = True


class Workload:
    """Owners and their billots."""

    def __init__(self, world):
        self._world = world
        self.keys = [world.private_key(f"owner/{n}") for n in range(OWNERS)]
        self.by_owner = {key.owner: key for key in self.keys}
        self.purses = {}
        self.past = []
        self.payments = []
        self.transfers = 0
        self.finals = 0
        self.done = {}

    def owner_of(self, number):
        """Whose the billot `number` is at the start: the issuer's, or allocated."""
        return self.keys[number % OWNERS]

    def begin(self):
        for number in range(1, BILLOTS + 1):
            billot = f"a-{number}"
            owner = self._world.network.first_owner(billot)
            self.purses[billot] = Purse(billot, owner)

    def schedule(self, actions):
        start = self._world.clock.now
        for action in actions:
            self._world.clock.at(start + action.at, self._do, action)

    def _do(self, action):
        if self._world.faults.healed:
            return
        self.done[action.kind] = self.done.get(action.kind, 0) + 1
        getattr(self, "_" + action.kind)(*action.numbers)

    # -- signing ------------------------------------------------------------------------------

    def sign(self, key, to, rows):
        """A transfer, on record."""
        transfer = Transfer.sign(self._world.network, key, to, rows)
        if transfer.id not in self._world.record.transfers:
            self._world.record.transfers[transfer.id] = transfer
            self.transfers += 1
            self.past.append(transfer)
            self._world.note(self, "signs", transfer.id[:8], to[:6], *transfer.billots[:3])
        for billot, seq in transfer.billots:
            signed = self.purses[billot].signed.setdefault((seq, key.owner), [])
            if transfer not in signed:
                signed.append(transfer)
        return transfer

    def _free(self, owner):
        return [p for p in self.purses.values() if p.state == "free" and p.owner == owner]

    def _someone(self, number):
        """A key with something to spend, and what."""
        for step in range(OWNERS):
            key = self.keys[(number + step) % OWNERS]
            purses = self._free(key.owner)
            if purses:
                return key, purses
        return None, []

    def _to(self, number, key):
        others = [other for other in self.keys if other is not key]
        return others[number % len(others)].owner

    def _order(self, number):
        servers = self._world.servers
        start = number % len(servers)
        return servers[start:] + servers[:start]

    def _some(self, mask):
        servers = [s for s in self._world.servers if mask >> s.number & 1]
        return servers or self._world.servers[:1]

    # -- honest -------------------------------------------------------------------------------

    def pay(self, key, to, purses, order, *, receipts=False):
        """An honest payment of billots that are final."""
        rows = [(purse.billot, purse.seq + 1) for purse in purses]
        transfer = self.sign(key, to, rows)
        for purse in purses:
            purse.state, purse.honest = "moving", purse.honest and purse.state != "raced"
        payment = Payment(transfer, order)
        self.payments.append(payment)
        for purse in purses:
            self._world.wallets.watch(purse.billot, purse.seq + 1)
        self._hand_over(payment)
        return payment

    def _hand_over(self, payment):
        hopeless = payment.tries > _HOPELESS_TRIES and not self._is_honest(payment)
        if payment.done or payment.tries == payment.tries_max or hopeless:
            payment.is_open = False
            return
        server = payment.order[payment.tries % len(payment.order)]
        payment.tries += 1
        receipts = self._receipts(payment) if payment.tries > 1 else ()
        self._world.wallets.submit(payment.transfer, server, receipts)
        self._world.clock.after(min(0.7 * 1.4**payment.tries, 4.0), self._hand_over, payment)

    def _is_honest(self, payment):
        return all(self.purses[billot].honest for billot, _ in payment.transfer.billots)

    def _receipts(self, payment):
        """Proof of what is spent, as much of it as fits; other billots' with another try."""
        found, left = [], self._world.limits.frame_bytes_max - 4096
        rows = payment.transfer.billots
        start = payment.tries % len(rows)
        for billot, seq in rows[start:] + rows[:start]:
            purse = self.purses[billot]
            if purse.receipt is None or purse.seq != seq - 1:
                continue
            left -= len(msgspec.json.encode(purse.receipt))
            if left < 0 or len(found) == 16:
                break
            found.append(purse.receipt)
        return tuple(found)

    def _pay(self, who, what, whom, where, *_):
        key, purses = self._someone(who)
        if key is not None:
            purse = purses[what % len(purses)]
            self.pay(key, self._to(whom, key), [purse], self._order(where))

    def _bundle(self, who, what, whom, where, *_):
        key, purses = self._someone(who)
        if key is not None:
            count = 2 + what % 7
            self.pay(key, self._to(whom, key), purses[:count], self._order(where))

    def _hasty(self, who, what, whom, where, *_):
        """A payee spends what has only just been sent to him."""
        key, purses = self._someone(who)
        if key is None:
            return
        purse = purses[what % len(purses)]
        payee = self._to(whom, key)
        order = self._order(where)
        self.pay(key, payee, [purse], order)
        purse.state = "raced"
        second = self.sign(
            self.by_owner[payee], self._to(what, key), [(purse.billot, purse.seq + 2)]
        )
        self._hand_over(Payment(second, order, tries_max=6))

    def _ask(self, where, what, who, *_):
        """Somebody is curious."""
        server = self._order(where)[0]
        billots = tuple(f"a-{1 + (what + n) % 300}" for n in range(5))
        self._world.wallets.tell(server, "who_owns", WhoOwns(billots))
        owner = self.keys[who % OWNERS].owner
        self._world.wallets.tell(server, "list", ListBillots(owner, limit=20))
        self._world.wallets.tell(server, "evidence", Evidence(billots[0]))

    # -- not so honest ------------------------------------------------------------------------

    def _race(self, purses):
        for purse in purses:
            purse.state, purse.honest = "raced", False
            self._world.wallets.watch(purse.billot, purse.seq + 1)

    def _spread(self, transfer, servers):
        for server in servers:
            self._world.wallets.submit(transfer, server)

    def _double(self, *numbers):
        """Two payees for the same billots, each paid at other servers at the same time."""
        who, what, whom, mask, whom_else, size = numbers
        key, purses = self._someone(who)
        if key is None:
            return None
        chosen = purses[: 1 + what % 3]
        first_to, second_to = self._to(whom, key), self._to(whom + 1 + whom_else % 5, key)
        rows = [(purse.billot, purse.seq + 1) for purse in chosen]
        first = self.sign(key, first_to, rows)
        second = self.sign(key, second_to, rows[: 1 + size % len(rows)])
        self._race(chosen)
        self._world.conspire(first, second)
        self._spread(first, self._some(mask))
        self._spread(second, self._some(~mask))
        return chosen, first_to, second_to

    def _twice(self, *numbers):
        """All of them are in it: whoever got something signs twice again, and at once."""
        _, _, _, mask, whom_else, size = numbers
        raced = self._double(*numbers)
        if raced is None:
            return
        chosen, *payees = raced
        for place, payee in enumerate(payees):
            key = self.by_owner[payee]
            rows = [(chosen[0].billot, chosen[0].seq + 2)]
            pair = [self.sign(key, self._to(whom_else + n, key), rows) for n in range(1 + place)]
            self._world.conspire(pair[0], pair[-1])
            for number, transfer in enumerate(pair):
                servers = self._some(mask >> (3 + number))
                self._world.clock.after(0.05 * (1 + size % 9), self._spread, transfer, servers)

    def _late(self, what, whom, mask, *_):
        """Somebody who spent a billot long ago signs it over again."""
        if not self.past:
            return
        before = self.past[what % len(self.past)]
        key = self.by_owner[before.sender]
        rows = list(before.billots[: 1 + whom % 2])
        transfer = self.sign(key, self._to(whom, key), rows)
        for billot, seq in rows:
            purse = self.purses[billot]
            if seq > purse.seq:
                self._spoil(billot)
                purse.state = "raced"
        self._world.conspire(before, transfer)
        self._spread(transfer, self._some(mask)[:2])

    def again(self, count):
        """Transfers of long ago, signed over again to others by those who spent then."""
        for before in self.past[:: max(1, len(self.past) // count)][:count]:
            key = self.by_owner[before.sender]
            to = next(k.owner for k in self.keys if k is not key and k.owner != before.to)
            rows = [(b, seq) for b, seq in before.billots[:2] if seq <= self.purses[b].seq]
            if rows:  # else nobody was ever paid with it
                yield self.sign(key, to, rows)

    def _spoil(self, billot):
        """Its owner signed it twice, and a bundle with it in may now be refused as a whole."""
        for payment in self.payments:
            rows = [row for row, _ in payment.transfer.billots]
            if not payment.done and billot in rows:
                for row in rows:
                    self.purses[row].honest = False
        self.purses[billot].honest = False

    def _replay(self, what, where, *_):
        if self.past:
            transfer = self.past[what % len(self.past)]
            self._spread(transfer, self._order(where)[:1])

    def _forged(self, what, where, *_):
        """Under a signature that doesn't hold, before or after the good one."""
        if self.past:
            self._spread(_forge(self.past[what % len(self.past)]), self._order(where)[:2])

    def _framed(self, what, whom, where, *_):
        """A pair that would make a double spender of somebody, had he signed it."""
        if self.past:
            real = self.past[what % len(self.past)]
            key = self.by_owner[real.sender]
            other = msgspec.structs.replace(real, to=self._to(whom, key))
            self._world.wallets.tell(self._order(where)[0], "conflict", Pair(real, other))

    def _pair(self, what, where, *_):
        """Proof of a double spend, shown by a stranger."""
        pairs = [
            signed[:2]
            for purse in self.purses.values()
            for signed in purse.signed.values()
            if len(signed) > 1 and signed[0].to != signed[1].to
        ]
        if pairs:
            first, second = pairs[what % len(pairs)]
            self._world.wallets.tell(self._order(where)[0], "conflict", Pair(first, second))

    # -- what comes of it ---------------------------------------------------------------------

    def final(self, billot, seq, vote, statements):
        """A payee has counted a quorum: it is his, and he keeps the votes."""
        purse = self.purses[billot]
        self.finals += 1
        self._world.note(self, "final", billot, seq, (vote.owner or "-")[:6])
        purse.seq, purse.owner = seq, vote.owner
        transfers = purse.signed.get((seq, vote.sender), [])
        moved = next((t for t in transfers if t.to == vote.owner), None)
        votes = tuple(SignedVote(statement=statement.signed()) for statement in statements)
        purse.receipt = Receipt(moved, votes)
        if purse.signed.get((seq + 1, vote.owner)):
            purse.state = "raced"
            self._world.wallets.watch(billot, seq + 1)
            return
        purse.state, purse.honest = "free", True
        for payment in self.payments:
            if not payment.done and payment.transfer is moved:
                rows = payment.transfer.billots
                payment.done = all(self.purses[b].seq >= s for b, s in rows)


def _forge(transfer):
    wrong = f"{int(transfer.signature[0], 16) ^ 1:x}" + transfer.signature[1:]
    return msgspec.structs.replace(transfer, signature=wrong)
