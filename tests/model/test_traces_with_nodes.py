"""The named traces with real nodes, step by step beside the model; then everything passes.

After each step every node has what the model's server has, and a payee could have the same
receipts. In the end nothing is held back any more, the liars lie on, and the honest nodes all
follow the payment that was final.
"""

import random
from itertools import pairwise

import pytest
from network import ANN, CAT, MINT, Net, fields, sign
from node_servers import NodeCluster
from rules import ISSUED, Outcome, Status
from trace_servers import Cluster
from traces import A, B, C, D, E, amnesia, merge, nameless_from, receipt_rolls_back, stranding

WAITING = {Outcome.NOT_SETTLED, Outcome.CONTESTED, Outcome.DISPUTED}


class Both:
    """Each step in the model and with nodes; they must come to the same."""

    def __init__(self, n, *, liars=0):
        self.model, self.nodes = Cluster(n, liars=liars), NodeCluster(n, liars=liars)

    def take(self, row, *servers):
        return self._step("take", row, *servers)

    def hear(self, vote, *servers):
        return self._step("hear", vote, *servers)

    def wipe(self, server):
        self.model.wipe(server)
        self.nodes.wipe(server)

    def read(self, server):
        self.model.read(server)
        self.nodes.read(server)
        self._compare()

    def receipts(self, *, old=False):
        found = self.nodes.receipts(old=old)
        assert found == self.model.receipts(old=old)
        return found

    def _step(self, step, row, *servers):
        said, told = (
            getattr(self.model, step)(row, *servers),
            getattr(self.nodes, step)(row, *servers),
        )
        assert list(map(alike, told)) == list(map(alike, said)), (step, row, servers)
        self._compare()
        return told

    def _compare(self):
        for name, local in self.model.at.items():
            assert settled_or_not(self.nodes.holding(name)) == settled_or_not(local.holding), name
        self.receipts()
        self.receipts(old=True)
        assert self.model.breaches() == set()


def alike(outcome):
    """Held, contested and disputed are one in the model; the same again is accepted again."""
    if outcome in WAITING:
        return Outcome.NOT_SETTLED
    return Outcome.TAKE if outcome is Outcome.SAME else outcome


def settled_or_not(holding):
    return (*holding[:3], holding[3] is Status.SETTLED)


def all_at(world, *holding):
    return {world.nodes.holding(name) for name in world.nodes.at} == {holding}


def test_merge():
    """The branch of C never gets anywhere, though two liars say that it is settled."""
    world = Both(7, liars=2)
    merge(world)
    false = [((1, A, C), True), ((2, C, D), True)]
    world.nodes.flow(dict.fromkeys(world.nodes.at, false))
    assert world.nodes.receipts() == [(1, A, B), (2, B, D)]
    assert all_at(world, 2, B, D, Status.SETTLED)


def test_stranding():
    """The liar is silent in the end: B shows the receipt, and can spend at S3."""
    world = Both(4, liars=1)
    stranding(world)
    assert world.hear((1, A, B), "S3") == [True]
    assert world.take((2, B, D), "S3") == [Outcome.TAKE]
    world.nodes.flow({})
    assert world.nodes.receipts() == [(1, A, B), (2, B, D)]
    assert all_at(world, 2, B, D, Status.SETTLED)


def test_receipt_rolls_back():
    """S3 voted for E; it follows the two others."""
    world = Both(3)
    receipt_rolls_back(world)
    world.nodes.flow({})
    assert world.nodes.receipts() == [(1, A, B), (2, B, D)]
    assert all_at(world, 2, B, D, Status.SETTLED)


def test_amnesia():
    """S1 joins neither side, says nothing, and so pays nobody twice."""
    world = Both(3)
    amnesia(world)
    world.nodes.flow({})
    assert world.nodes.receipts(old=True) == [(1, A, B)]
    assert world.nodes.receipts() == []
    assert world.nodes.said.get(world.nodes.at["S1"].key.public_hex) is None


def test_nameless_from():
    """What is held at the next seq says nothing of the one before, whoever it names."""
    world = Both(4, liars=1)
    nameless_from(world)
    world.nodes.flow({"S2": [((2, C, D), True)], "S3": [((1, A, C), True), ((2, C, D), True)]})
    assert world.nodes.receipts() == [(1, A, B), (2, B, D), (3, D, E)]
    assert all_at(world, 3, D, E, Status.SETTLED)


# -- compaction -------------------------------------------------------------------------------

BUNDLE, ON = sign(MINT, ANN, "a-1 1", "a-2 1"), sign(ANN, CAT, "a-2 2")


def moved_on():
    """n=3, while S3 is down: {x, y} to B, then {y} to D, both settled."""
    net = Net(3, pins=True)
    net[2].crash()
    net.mesh()
    client = net[0].client(exempt=True)
    for transfer in (BUNDLE, ON):
        assert client.transfer(transfer)["result"]["accepted"]
        net.run(1)
    settled = {"a-1": (1, ANN.owner, "settled"), "a-2": (2, CAT.owner, "settled")}
    assert net[0].state() == net[1].state() == settled
    return net, settled


def test_compaction():
    """S3 reads feeds in which the bundle has given way to y's newer move."""
    net, settled = moved_on()
    net.rejoin(net[2])
    assert net[2].state() == settled


def test_compaction_with_y_on_before_the_bundle():
    """S3 has y at seq 2 by its receipt when the bundle comes: x is taken, y is past."""
    net, settled = moved_on()
    question = {"billots": ["a-2"], "nonce": "0" * 32}
    votes = [net[number].client(exempt=True).ask("who_owns", question) for number in (0, 1)]
    net[2].start()
    receipt = {"transfer": fields(ON), "votes": [{"statement": vote} for vote in votes]}
    net[2].client(exempt=True).ask("settle", {"receipts": [receipt]})
    assert net[2].state() == {"a-2": settled["a-2"]}
    for other in (0, 1):
        net.link(net[2], net[other])
    net.quiet()
    assert net[2].state() == settled


# -- any steps --------------------------------------------------------------------------------


ROWS = [(1, A, B), (1, A, C), (2, B, C), (2, B, D), (2, C, D), (3, C, B), (3, D, B), (3, D, C)]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("n", "liars"),
    [(2, 0), (3, 0), (4, 1), pytest.param(4, 0, marks=SLOW), pytest.param(7, 2, marks=SLOW)],
)
def test_any_steps(n, liars):
    """Random steps, beside each other: every outcome and every holding is the model's.

    Then everything passes, with lies. Who has a receipt brings every server over to it.
    """
    draw = random.Random(10 * n + liars)
    assert max(walk(n, liars, draw) for _ in range(5)) >= 2


def walk(n, liars, draw):
    """One random history; how far the payments came that were final."""
    world = Both(n, liars=liars)
    servers = list(world.model.at)
    for at in range(24):  # later rows later, and each to several servers: something settles
        row = draw.choice(ROWS[max(0, at // 4 - 1) : at // 4 + 3])
        step = draw.choice([world.take, world.hear])
        step(row, *draw.sample(servers, draw.randrange(1, len(servers))))
    final = world.nodes.receipts()
    lies = {name: [(draw.choice(ROWS), draw.random() < 0.5) for _ in range(3)] for name in servers}
    world.nodes.flow(lies, seconds=10)
    receipts = world.nodes.receipts()
    assert set(final) <= set(receipts)
    # Who took two steps between two questions was not asked about the first one.
    assert len({seq for seq, _, _ in receipts}) == len(receipts)
    for early, late in pairwise(receipts):
        assert late[0] > early[0] + 1 or late[1] == early[2]
    for receipt in receipts:
        world.nodes.hear(receipt, *servers)
    world.nodes.flow({}, seconds=2)
    last = receipts[-1] if receipts else ISSUED[:3]
    for name in servers:
        holding = world.nodes.holding(name)
        assert holding[0] >= last[0]
        if holding[0] == last[0]:
            assert holding == (*last, Status.SETTLED)
        elif holding[0] == last[0] + 1:
            assert holding[1] == last[2]
    return len(receipts)


# -- a lost memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4])
def test_any_steps_and_a_lost_memory(n):
    """S1 is wiped once and reads later: nobody is paid twice, under whichever keys."""
    draw = random.Random(n)
    assert sum(walk_and_lose(n, draw) for _ in range(6)) > 0


def walk_and_lose(n, draw):
    """One random history with nodes alone; whether the lost key had voted for anything."""
    world = NodeCluster(n)
    servers = list(world.at)
    wiped = read = None
    for at in range(24):
        # Three servers survive it only if nothing that S1 voted for is still under way.
        quiet = n != 3 or world.holding("S1")[3] is Status.SETTLED
        if wiped is None and quiet and at > draw.randrange(20):
            wiped = at
            world.wipe("S1")
        elif wiped is not None and read is None and draw.random() < 0.3:
            read = at
            world.read("S1")
        row = draw.choice(ROWS[max(0, at // 4 - 1) : at // 4 + 3])
        step = draw.choice([world.take, world.hear])
        step(row, *draw.sample(servers, draw.randrange(1, len(servers))))
        paid_once(world)
    world.flow({}, seconds=10)
    paid_once(world)
    return bool(world.said.get(world.retired.get("S1")))


def paid_once(world):
    receipts = {*world.receipts(), *world.receipts(old=True)}
    assert len({seq for seq, _, _ in receipts}) == len(receipts)
