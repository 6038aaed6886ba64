"""A ledger against a plain model; and four nodes whose frames arrive in any order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from network import ANN, BOB, CAT, MINT, NET, SERVER_KEYS, Net, Peer, sign

from billots.feed import AdoptedRow, TransferRow
from billots.holding import Status
from billots.jsonrpc import call
from billots.ledger import Ledger, Outcome
from billots.messages import SendTransfer
from billots.network import split_billot_id
from billots.store import Memory, MemoryStore

KEYS = [MINT, ANN, BOB, CAT]
BY_OWNER = {key.owner: key for key in KEYS}
BILLOTS = ["a-1", "a-2", "a-10", "b-3"]
SETTLED, HELD, CONTESTED = Status.SETTLED, Status.HELD, Status.CONTESTED

keys = st.sampled_from(KEYS)
billots = st.sampled_from(BILLOTS)
steps = st.integers(-2, 2)
some_rows = st.dictionaries(billots, st.tuples(keys, steps), min_size=1, max_size=4)


class LedgerModel(RuleBasedStateMachine):
    """`self.now` is billot → (seq, from, owner, status), written down as section 5 says it."""

    def __init__(self):
        super().__init__()
        self.memory = Memory()
        self.ledger = Ledger(NET, MemoryStore(NET, self.memory), alone=False)
        self.now = {b: (0, None, NET.first_owner(b), SETTLED) for b in BILLOTS}
        self.durable = dict(self.now)
        self.past = []
        self.votes = {}
        self.settled = {}
        self.highest = dict.fromkeys(BILLOTS, 0)

    def expected(self, billot, seq, sender, to):
        at, before, owner, status = self.now[billot]
        if seq < at:
            return Outcome.STALE
        if seq > at + 1:
            return Outcome.BEHIND
        if seq == at:
            if sender != before:
                return Outcome.NOT_OWNER
            return Outcome.SAME if to == owner else Outcome.CONFLICT
        if sender != owner:
            return Outcome.NOT_OWNER
        waiting = {HELD: Outcome.NOT_SETTLED, CONTESTED: Outcome.CONTESTED}
        return waiting.get(status, Outcome.TAKE)

    def judge(self, transfer):
        """Judge, take what may be taken, contest what is proven: as a relayed transfer."""
        outcomes = self.ledger.judge(transfer)
        sender, to = transfer.sender, transfer.to
        assert outcomes == [self.expected(b, s, sender, to) for b, s in transfer.billots]
        rows = list(zip(transfer.billots, outcomes, strict=True))
        taken = [b for (b, _), outcome in rows if outcome is Outcome.TAKE]
        if taken:
            self.ledger.take(transfer, taken, here=True)
        for (billot, seq), outcome in rows:
            if outcome is Outcome.TAKE:
                self.now[billot] = (seq, sender, to, HELD)
                assert self.votes.setdefault((billot, seq), (sender, to)) == (sender, to)
            elif outcome is Outcome.CONFLICT:
                (first,) = self.ledger.taken([billot])
                self.ledger.keep_evidence(billot, first, transfer)
                self.ledger.contest(billot)
                if self.now[billot][3] is HELD:
                    self.now[billot] = (*self.now[billot][:3], CONTESTED)
        self.past.append(transfer)

    @rule(key=keys, to=keys, rows=st.dictionaries(billots, steps, min_size=1, max_size=4))
    def anybody_signs_anything(self, key, to, rows):
        seqs = [(b, max(1, self.now[b][0] + step)) for b, step in rows.items()]
        self.judge(sign(key, to, *seqs))

    @rule(billot=billots, to=keys)
    def the_owner_spends(self, billot, to):
        seq, _, owner, _ = self.now[billot]
        self.judge(sign(BY_OWNER[owner], to, (billot, seq + 1)))

    @rule(key=keys, to=keys)
    def the_owner_spends_all(self, key, to):
        rows = [(b, n[0] + 1) for b, n in self.now.items() if n[2] == key.owner]
        if rows:
            self.judge(sign(key, to, *rows))

    @precondition(lambda self: any(n[0] for n in self.now.values()))
    @rule(billot=billots, to=keys)
    def the_owner_before_signs_again(self, billot, to):
        seq, sender, _, _ = self.now[billot]
        if seq:
            self.judge(sign(BY_OWNER[sender], to, (billot, seq)))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def replay(self, data):
        self.judge(data.draw(st.sampled_from(self.past)))

    @rule(billot=billots)
    def votes_settle(self, billot):
        seq, sender, owner, status = self.now[billot]
        if status is not SETTLED:
            self.ledger.settle(billot)
            self.ledger.mark(billot)
            self.now[billot] = (seq, sender, owner, SETTLED)

    @rule(billot=billots, key=keys, to=keys, step=st.integers(0, 3))
    def votes_adopt(self, billot, key, to, step):
        seq, _, _, status = self.now[billot]
        if seq + step and (step or status is not SETTLED):
            self.ledger.adopt(sign(key, to, (billot, seq + step)), (billot,))
            self.ledger.mark(billot)
            self.now[billot] = (seq + step, key.owner, to.owner, SETTLED)
            self.votes[billot, seq + step] = (key.owner, to.owner)

    @rule()
    def commit(self):
        self.ledger.store.commit(self.ledger.batch())
        self.ledger.committed()
        self.durable = dict(self.now)

    @rule()
    def crash(self):
        """What was not committed never was; what was said has been committed."""
        self.ledger = Ledger(NET, MemoryStore(NET, self.memory), alone=False)
        self.now = dict(self.durable)
        self.votes = {row: v for row, v in self.votes.items() if row[1] <= self.now[row[0]][0]}
        for billot, (seq, sender, owner, _) in self.now.items():
            if seq:
                self.votes[billot, seq] = (sender, owner)
        durable = {(b, n[0]) for b, n in self.now.items() if n[3] is SETTLED}
        self.settled = {
            row: owner
            for row, owner in self.settled.items()
            if row in durable or row[1] < self.now[row[0]][0]
        }
        self.highest = {billot: self.now[billot][0] for billot in BILLOTS}

    @invariant()
    def what_is_judged_on_is_the_model(self):
        for billot, (seq, sender, owner, status) in self.now.items():
            holding = self.ledger.present(billot)
            assert (holding.seq, holding.sender, holding.owner) == (seq, sender, owner)
            assert holding.status is status

    @invariant()
    def what_is_said_is_on_disk(self):
        for billot, holding in zip(BILLOTS, self.ledger.holdings(BILLOTS), strict=True):
            assert (holding.seq, holding.sender, holding.owner) == self.durable[billot][:3]

    @invariant()
    def seq_never_falls(self):
        for billot, now in self.now.items():
            assert now[0] >= self.highest[billot]
            self.highest[billot] = now[0]

    @invariant()
    def what_is_settled_is_never_replaced_at_its_seq(self):
        for billot, (seq, _, owner, status) in self.now.items():
            if status is SETTLED:
                assert self.settled.setdefault((billot, seq), owner) == owner

    @invariant()
    def value_is_conserved_and_the_owner_index_is_a_full_scan(self):
        store = self.ledger.store
        listed = {key.owner: store.owned(key.owner, None, 1000).rows for key in KEYS}
        scanned = {key.owner: [] for key in KEYS}
        for billot, moved in zip(BILLOTS, store.moved(BILLOTS), strict=True):
            if moved is not None:
                scanned[moved.owner].append((billot, moved))
        for rows in scanned.values():
            rows.sort(key=lambda row: split_billot_id(row[0]))
        assert listed == scanned
        assert sum(map(len, listed.values())) == sum(n[0] > 0 for n in self.durable.values())
        assert self.ledger.moved_count == sum(n[0] > 0 for n in self.now.values())


LedgerModel.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_ledger_model = LedgerModel.TestCase


class SlowLedgerModel(LedgerModel):
    """The same, longer."""


SlowLedgerModel.TestCase.settings = settings(
    max_examples=1000, stateful_step_count=50, deadline=None
)
test_ledger_model_for_longer = pytest.mark.slow(SlowLedgerModel.TestCase)


# Four nodes

actions = st.lists(
    st.tuples(
        st.sampled_from(["spend", "spend", "spend", "double", "replay", "crash", "pause"]),
        st.integers(0, 3),
        st.sampled_from(BILLOTS[:2]),
        keys,
        st.integers(0, 30),
    ),
    max_size=14,
)


class Watch:
    """What each node has said so far, and what it must not say any more."""

    def __init__(self, net, honest):
        self.net, self.honest = net, honest
        self.settled, self.votes, self.seqs = {}, {}, {}

    def look(self):
        for server in self.honest:
            for billot in BILLOTS[:2]:
                seq, owner, status = server.shows(billot)
                place = (server.number, billot)
                assert seq >= self.seqs.get(place, 0), "seq fell"
                self.seqs[place] = seq
                if status == "settled":
                    first = self.settled.setdefault((billot, seq), owner)
                    assert first == owner, "two owners settled at one (id, seq)"
                first = self.votes.setdefault((*place, seq), owner)
                if first != owner:
                    assert status == "settled", "a vote was contradicted without a quorum"
                    self.votes[(*place, seq)] = owner


class Wallets:
    """Owners that sign one transfer per (id, seq), unless they are told to cheat."""

    def __init__(self, net):
        self.net, self.signed, self.past = net, {}, []

    def send(self, server, transfer):
        client = server.client(exempt=True)
        client.send(call(1, "transfer", SendTransfer.of(transfer)))
        self.past.append(transfer)

    def act(self, kind, server, billot, to, rng):
        holding = server.holding(billot)
        row = (billot, holding.seq + 1)
        if kind == "spend":
            key = BY_OWNER[holding.owner]
            self.send(server, self.signed.setdefault(row, sign(key, to, row)))
        elif kind == "double" and holding.seq:
            row = (billot, holding.seq)
            self.send(server, sign(BY_OWNER[holding.sender], to, row))
        elif kind == "replay" and self.past:
            self.send(server, rng.choice(self.past))
        elif kind == "crash":
            server.crash()
            self.net.rejoin(server)


def jostle(net, servers, rng, count):
    """Some frames arrive and some nodes work, in any order."""
    for _ in range(count):
        wires = net.wires
        if wires and rng.random() < 0.7:
            rng.choice(wires).deliver(1)
        else:
            rng.choice(servers).step()


def play(plan, rng, *, cheat):
    net = Net(4)
    net.mesh()
    wallets, watch = Wallets(net), Watch(net, net.servers)
    for kind, at, billot, to, count in plan:
        if cheat or kind != "double":
            wallets.act(kind, net[at], billot, to, rng)
        jostle(net, net.servers, rng, count)
        watch.look()
        if kind == "pause":
            net.run(0.2)
            watch.look()
    net.shuffle(rng)
    watch.look()
    net.run(12)
    watch.look()
    return net


def honest_wallets_agree(plan, rng):
    net = play(plan, rng, cheat=False)
    states = [server.state() for server in net.servers]
    assert states == [states[0]] * 4
    assert {status for _, _, status in states[0].values()} <= {"settled"}


def cheats_split_nobody(plan, rng):
    play(plan, rng, cheat=True)


def a_liar_splits_nobody(plan, rng):
    """The fourth server signs whatever suits it, something else to each."""
    net = Net(4)
    net[3].up = False
    honest = net.servers[:3]
    for caller in honest:
        for server in honest:
            if caller is not server:
                net.link(caller, server)
    liars = [Peer(net, server, 2, SERVER_KEYS[3], follow=False) for server in honest]
    for liar in liars:
        liar.follow()
    net.quiet()
    wallets, watch = Wallets(net), Watch(net, honest)
    for lsn, (kind, at, billot, to, count) in enumerate(plan, 1):
        wallets.act("double" if kind == "crash" else kind, honest[at % 3], billot, to, rng)
        liar = rng.choice(liars)
        if liar.up and wallets.past:
            transfer = rng.choice(wallets.past)
            seq = dict(transfer.billots).get(billot, 1)
            row = TransferRow(lsn, transfer.id)
            if rng.random() < 0.3:
                row = AdoptedRow(lsn, billot, seq, transfer.sender, to.owner)
            liar.feed(row, bodies=[transfer])
        jostle(net, honest, rng, count)
        watch.look()
    net.run(12)
    watch.look()


randoms = st.randoms(use_true_random=False)
PLAYS = [honest_wallets_agree, cheats_split_nobody, a_liar_splits_nobody]


@pytest.mark.parametrize("play", PLAYS)
def test_four_nodes(play):
    @settings(max_examples=20, deadline=None)
    @given(actions, randoms)
    def run(plan, rng):
        play(plan, rng)

    run()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("play", PLAYS)
def test_four_nodes_for_longer(play):
    @settings(max_examples=600, deadline=None)
    @given(actions, randoms)
    def run(plan, rng):
        play(plan, rng)

    run()
