"""The table of DESIGN section 5, row by row, on both engines; and what a round shows when."""

import msgspec
import pytest

from billots.crypto import PrivateKey
from billots.holding import Holding, Status
from billots.ledger import Ledger, Outcome
from billots.network import Network
from billots.store import Memory, MemoryStore, open_store
from billots.transfer import Transfer

MINT, ANN, BOB, CAT, DAN = (PrivateKey(bytes([n]) * 32) for n in range(1, 6))
FIELDS = {
    "name": "unit",
    "issuer": MINT.owner,
    "denominations": [{"prefix": "a-", "value": "1", "circulation": 1000}],
    "allocations": {"a-9": ANN.owner},
}
NET = Network.from_fields(FIELDS)
NO_ISSUER = Network.from_fields(FIELDS | {"issuer": None})
HELD, SETTLED, CONTESTED = Status.HELD, Status.SETTLED, Status.CONTESTED
TAKE, SAME, CONFLICT = Outcome.TAKE, Outcome.SAME, Outcome.CONFLICT
STALE, BEHIND, NOT_OWNER = Outcome.STALE, Outcome.BEHIND, Outcome.NOT_OWNER


class Place:
    """A store that can be opened again, as after a crash."""

    def __init__(self, folder):
        self.folder, self.memory, self.store = folder, Memory(), None

    def ledger(self, *, alone=False, network=NET):
        self.close()
        if self.folder is None:
            self.store = MemoryStore(network, self.memory)
        else:
            self.store = open_store(self.folder, network)
        return Ledger(network, self.store, alone=alone)

    def close(self):
        if self.store is not None:
            self.store.close()


@pytest.fixture(params=["memory", "leveldb"])
def place(request, tmp_path):
    place = Place(None if request.param == "memory" else tmp_path / "store")
    yield place
    place.close()


@pytest.fixture
def ledger(place):
    """One that trusts others: what it takes is held until they agree."""
    return place.ledger()


@pytest.fixture
def alone(place):
    return place.ledger(alone=True)


def sign(key, to, *rows, network=NET):
    pairs = [(row.split()[0], int(row.split()[1])) for row in rows]
    return Transfer.sign(network, key, to.owner, pairs)


def commit(ledger):
    ledger.store.commit(ledger.batch())
    return ledger.committed()


def take(ledger, transfer, *, settle=True, billots=None):
    """A whole round: judge, take all rows, settle them, commit."""
    billots = billots or [billot for billot, _ in transfer.billots]
    outcomes = dict(zip([b for b, _ in transfer.billots], ledger.judge(transfer), strict=True))
    assert {outcomes[billot] for billot in billots} == {TAKE}
    entry = ledger.take(transfer, billots, here=True)
    for billot in billots:
        if settle and not ledger.alone:
            ledger.settle(billot)
            ledger.mark(billot)
    commit(ledger)
    return entry


def shown(ledger, *billots):
    return [(h.seq, h.owner, h.status) for h in ledger.holdings(billots)]


def at_seq_2(ledger, *, settle=True):
    """a-1: minted to ANN, then from ANN to BOB."""
    take(ledger, sign(MINT, ANN, "a-1 1"))
    transfer = sign(ANN, BOB, "a-1 2")
    take(ledger, transfer, settle=settle)
    return transfer


# The table


def test_take_it(ledger):
    """s = seq+1, o = owner, settled."""
    transfer = sign(MINT, ANN, "a-1 1")
    assert ledger.judge(transfer) == [TAKE]
    entry = ledger.take(transfer, ["a-1"], here=True)
    assert (entry.lsn, entry.here, entry.adopted) == (1, True, False)
    assert commit(ledger) == [entry]
    assert ledger.holdings(["a-1"]) == [Holding(1, MINT.owner, ANN.owner, HELD)]


def test_not_settled(ledger):
    """s = seq+1, o = owner, held."""
    at_seq_2(ledger, settle=False)
    assert ledger.judge(sign(BOB, CAT, "a-1 3")) == [Outcome.NOT_SETTLED]


def test_contested(ledger):
    """s = seq+1, o = owner, and its owner before signed twice."""
    at_seq_2(ledger, settle=False)
    ledger.contest("a-1")
    assert ledger.judge(sign(BOB, CAT, "a-1 3")) == [Outcome.CONTESTED]
    assert shown(ledger, "a-1") == [(2, BOB.owner, CONTESTED)]


def test_disputed(place):
    """s = seq+1, o = owner, and nobody can reach a quorum."""
    ledger = place.ledger()
    at_seq_2(ledger, settle=False)
    batch = ledger.batch()
    batch.unsettled[2] = {"a-1": Status.DISPUTED}
    commit(ledger)
    assert place.ledger().judge(sign(BOB, CAT, "a-1 3")) == [Outcome.DISPUTED]


def test_the_same_again(ledger):
    """s = seq, o = from, to = owner."""
    transfer = at_seq_2(ledger, settle=False)
    assert ledger.judge(transfer) == [SAME]
    assert ledger.judge(sign(ANN, BOB, "a-1 2", "a-9 1")) == [SAME, TAKE]


@pytest.mark.parametrize("settle", [True, False])
def test_conflict(ledger, settle):
    """s = seq, o = from, to ≠ owner."""
    at_seq_2(ledger, settle=settle)
    assert ledger.judge(sign(ANN, CAT, "a-1 2")) == [CONFLICT]


@pytest.mark.parametrize("key", [MINT, ANN, BOB, DAN])
def test_stale(ledger, key):
    """s < seq, whoever signed."""
    at_seq_2(ledger)
    assert ledger.judge(sign(key, CAT, "a-1 1")) == [STALE]


@pytest.mark.parametrize(
    ("key", "row"), [(DAN, "a-1 2"), (BOB, "a-1 2"), (DAN, "a-1 3"), (ANN, "a-1 3"), (ANN, "a-2 1")]
)
def test_not_owner(ledger, key, row):
    """s = seq, o ≠ from; s = seq+1, o ≠ owner."""
    at_seq_2(ledger)
    assert ledger.judge(sign(key, CAT, row)) == [NOT_OWNER]


@pytest.mark.parametrize("row", ["a-1 4", "a-1 9007199254740991", "a-2 2"])
def test_behind(ledger, row):
    """s > seq+1."""
    at_seq_2(ledger)
    assert ledger.judge(sign(BOB, CAT, row)) == [BEHIND]


def test_unissued(place):
    ledger = place.ledger(network=NO_ISSUER)
    transfer = sign(MINT, ANN, "a-1 1", network=NO_ISSUER)
    assert ledger.judge(transfer) == [Outcome.UNISSUED]
    assert ledger.holdings(["a-1"]) == [Holding(0, None, None, Status.UNISSUED)]
    allocated = sign(ANN, BOB, "a-9 1", network=NO_ISSUER)
    assert ledger.judge(allocated) == [TAKE]


def test_what_never_moved_is_settled_and_its_first_owners(ledger):
    assert ledger.holdings(["a-1", "a-9"]) == [
        Holding(0, None, MINT.owner, SETTLED),
        Holding(0, None, ANN.owner, SETTLED),
    ]
    assert ledger.judge(sign(ANN, BOB, "a-9 1")) == [TAKE]
    assert ledger.judge(sign(MINT, BOB, "a-9 1")) == [NOT_OWNER]


def test_rows_are_judged_each_by_itself(ledger):
    at_seq_2(ledger, settle=False)
    take(ledger, sign(MINT, ANN, "a-2 1", "a-3 1", "a-4 1"))
    take(ledger, sign(ANN, DAN, "a-4 2"))
    transfer = sign(ANN, CAT, "a-1 2", "a-2 2", "a-3 1", "a-4 1", "a-5 2", "a-6 1")
    assert ledger.judge(transfer) == [CONFLICT, TAKE, NOT_OWNER, STALE, BEHIND, NOT_OWNER]


def test_judging_changes_nothing(ledger):
    at_seq_2(ledger, settle=False)
    for transfer in (sign(BOB, CAT, "a-1 3"), sign(ANN, CAT, "a-1 2"), sign(MINT, CAT, "a-2 1")):
        ledger.judge(transfer)
    assert not ledger.dirty
    assert shown(ledger, "a-1", "a-2") == [(2, BOB.owner, HELD), (0, MINT.owner, SETTLED)]


@pytest.mark.parametrize("to", [MINT, ANN])
def test_to_oneself_and_back(alone, to):
    take(alone, sign(MINT, to, "a-1 1"))
    take(alone, sign(to, MINT, "a-1 2"))
    assert shown(alone, "a-1") == [(2, MINT.owner, SETTLED)]


# Rounds


def test_nothing_of_a_round_is_shown_before_it_is_on_disk(ledger):
    first = at_seq_2(ledger)
    ledger.take(sign(BOB, CAT, "a-1 3"), ["a-1"], here=True)
    ledger.take(sign(MINT, ANN, "a-2 1"), ["a-2"], here=True)
    before = [(2, BOB.owner, SETTLED), (0, MINT.owner, SETTLED)]
    assert shown(ledger, "a-1", "a-2") == before
    assert ledger.proofs(["a-1", "a-2"]) == [first, None]
    ledger.store.commit(ledger.batch())
    assert shown(ledger, "a-1", "a-2") == before
    ledger.committed()
    assert shown(ledger, "a-1", "a-2") == [(3, CAT.owner, HELD), (1, ANN.owner, HELD)]


def test_a_round_sees_its_own_changes(alone):
    """Chains within one round: each link is judged on the one before."""
    chain = [sign(MINT, ANN, "a-1 1"), sign(ANN, BOB, "a-1 2"), sign(BOB, ANN, "a-1 3")]
    for transfer in chain:
        assert alone.judge(transfer) == [TAKE]
        alone.take(transfer, ["a-1"], here=True)
        assert alone.judge(transfer) == [SAME]
        assert alone.taken(["a-1", "a-2"]) == [transfer, None]
    assert alone.touched((("a-1", 9),))
    assert not alone.touched((("a-2", 1),))
    assert alone.present("a-1") == Holding(3, BOB.owner, ANN.owner, SETTLED)
    assert shown(alone, "a-1") == [(0, MINT.owner, SETTLED)]
    assert alone.judge(chain[0]) == [STALE]
    assert [entry.lsn for entry in commit(alone)] == [1, 2, 3]
    assert shown(alone, "a-1") == [(3, ANN.owner, SETTLED)]
    assert alone.taken(["a-1"]) == [chain[2]]


def test_no_chain_within_a_round_when_others_must_agree(ledger):
    ledger.take(sign(MINT, ANN, "a-1 1"), ["a-1"], here=True)
    assert ledger.judge(sign(ANN, BOB, "a-1 2")) == [Outcome.NOT_SETTLED]
    ledger.settle("a-1")
    assert ledger.judge(sign(ANN, BOB, "a-1 2")) == [TAKE]


def test_a_second_transfer_in_the_round_is_a_conflict(ledger):
    ledger.take(sign(MINT, ANN, "a-1 1"), ["a-1"], here=True)
    assert ledger.judge(sign(MINT, BOB, "a-1 1")) == [CONFLICT]


def test_only_some_rows_are_taken(ledger):
    transfer = sign(MINT, ANN, "a-1 1", "a-2 1", "a-3 1")
    entry = take(ledger, transfer, billots=["a-1", "a-3"], settle=False)
    assert [row.billot for row in entry.rows] == ["a-1", "a-3"]
    assert shown(ledger, "a-2") == [(0, MINT.owner, SETTLED)]
    assert ledger.unsettled_billots == ["a-1", "a-3"]


def test_urgent_is_what_must_be_on_disk_before_anything_is_said(ledger):
    assert (ledger.urgent, ledger.dirty) == (False, False)
    ledger.put_meta("name", b"value")
    assert (ledger.urgent, ledger.dirty) == (False, True)
    commit(ledger)
    at_seq_2(ledger, settle=False)
    ledger.settle("a-1")
    assert (ledger.urgent, ledger.dirty) == (False, False)
    ledger.mark("a-1")
    assert (ledger.urgent, ledger.dirty) == (False, True)
    ledger.take(sign(BOB, ANN, "a-1 3"), ["a-1"], here=False)
    assert ledger.urgent
    commit(ledger)
    ledger.keep_evidence("a-1", sign(BOB, ANN, "a-1 3"), sign(BOB, CAT, "a-1 3"))
    assert ledger.urgent


# Settled and not


def test_alone_all_that_is_taken_is_settled(alone):
    at_seq_2(alone)
    assert shown(alone, "a-1") == [(2, BOB.owner, SETTLED)]
    assert alone.unsettled_billots == []
    alone.contest("a-1")
    assert not alone.dirty


def test_statuses_survive_a_restart(place):
    ledger = place.ledger()
    at_seq_2(ledger, settle=False)
    take(ledger, sign(MINT, ANN, "a-2 1", "a-3 1"), settle=False)
    ledger.settle("a-2")
    ledger.mark("a-2")
    ledger.contest("a-3")
    commit(ledger)
    again = place.ledger()
    assert shown(again, "a-1", "a-2", "a-3") == [
        (2, BOB.owner, HELD), (1, ANN.owner, SETTLED), (1, ANN.owner, CONTESTED)
    ]  # fmt: skip
    assert again.unsettled_billots == ["a-1", "a-3"]
    assert (again.lsn, again.moved_count) == (3, 3)


def test_a_mark_that_did_not_reach_the_disk_is_made_again(place):
    ledger = place.ledger()
    at_seq_2(ledger, settle=False)
    ledger.settle("a-1")
    assert shown(ledger, "a-1") == [(2, BOB.owner, SETTLED)]
    assert shown(place.ledger(), "a-1") == [(2, BOB.owner, HELD)]


def test_who_is_alone_after_a_restart_settles_what_was_held(place):
    ledger = place.ledger()
    at_seq_2(ledger, settle=False)
    take(ledger, sign(MINT, ANN, "a-2 1"), settle=False)
    ledger.contest("a-2")
    commit(ledger)
    again = place.ledger(alone=True)
    again.settle_all()
    commit(again)
    assert shown(place.ledger(), "a-1", "a-2") == [(2, BOB.owner, SETTLED), (1, ANN.owner, SETTLED)]


@pytest.mark.parametrize("status", [SETTLED, CONTESTED])
def test_contest_touches_only_what_is_held(ledger, status):
    at_seq_2(ledger, settle=status is SETTLED)
    if status is CONTESTED:
        ledger.contest("a-1")
    commit(ledger)
    ledger.contest("a-1")
    ledger.contest("a-2")  # never moved
    assert shown(ledger, "a-1", "a-2") == [(2, BOB.owner, status), (0, MINT.owner, SETTLED)]
    assert not ledger.dirty


def test_a_contested_billot_can_still_be_settled(ledger):
    at_seq_2(ledger, settle=False)
    ledger.contest("a-1")
    ledger.settle("a-1")
    ledger.mark("a-1")
    commit(ledger)
    assert shown(ledger, "a-1") == [(2, BOB.owner, SETTLED)]
    assert ledger.store.unsettled() == {}


def test_what_never_moved_cannot_be_settled(ledger):
    with pytest.raises(AssertionError, match="never moved"):
        ledger.mark("a-1")


def test_what_is_settled_is_so_on_disk_only_once_it_is_marked(place):
    """Its receipt has to be there with the mark: a crash in between, and it is held again."""
    ledger = place.ledger()
    take(ledger, sign(MINT, ANN, "a-1 1"), settle=False)
    ledger.settle("a-1")
    commit(ledger)
    assert shown(ledger, "a-1") == [(1, ANN.owner, SETTLED)]
    ledger = place.ledger()
    assert shown(ledger, "a-1") == [(1, ANN.owner, HELD)]
    ledger.settle("a-1")
    ledger.mark("a-1")
    commit(ledger)
    assert shown(place.ledger(), "a-1") == [(1, ANN.owner, SETTLED)]


def test_who_spends_what_is_not_marked_marks_it(place):
    ledger = place.ledger()
    take(ledger, sign(MINT, ANN, "a-1 1", "a-2 1"), settle=False)
    ledger.settle("a-1")
    take(ledger, sign(ANN, BOB, "a-1 2"), settle=False)
    assert place.ledger().unsettled_billots == ["a-2", "a-1"]


def test_only_settled_billots_are_spent(ledger):
    at_seq_2(ledger, settle=False)
    with pytest.raises(AssertionError, match="only settled"):
        ledger.take(sign(BOB, CAT, "a-1 3"), ["a-1"], here=False)


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_seq_rises_by_one(ledger, seq):
    at_seq_2(ledger)
    with pytest.raises(AssertionError, match="rises by one"):
        ledger.take(sign(BOB, CAT, f"a-1 {seq}"), ["a-1"], here=False)


# Adopting


def test_adopt_a_later_seq(ledger):
    at_seq_2(ledger, settle=False)
    entry = ledger.adopt(sign(CAT, DAN, "a-1 7", "a-2 4"), ("a-1",))
    assert (entry.adopted, entry.here) == (True, False)
    assert shown(ledger, "a-1") == [(2, BOB.owner, HELD)]
    commit(ledger)
    assert shown(ledger, "a-1", "a-2") == [(7, DAN.owner, SETTLED), (0, MINT.owner, SETTLED)]
    assert ledger.unsettled_billots == []
    ledger.mark("a-1")
    commit(ledger)
    assert ledger.store.unsettled() == {}


def test_adopt_the_other_side_of_a_conflict(place):
    ledger = place.ledger()
    take(ledger, sign(MINT, ANN, "a-1 1", "a-2 1"))
    take(ledger, sign(ANN, BOB, "a-1 2", "a-2 2"), settle=False)
    ledger.contest("a-1")
    ledger.adopt(sign(ANN, CAT, "a-1 2"), ("a-1",))
    ledger.mark("a-1")
    commit(ledger)
    assert shown(ledger, "a-1", "a-2") == [(2, CAT.owner, SETTLED), (2, BOB.owner, HELD)]
    assert shown(place.ledger(), "a-1", "a-2") == [(2, CAT.owner, SETTLED), (2, BOB.owner, HELD)]


def test_adopt_in_the_round_that_took_the_other_side(ledger):
    ledger.take(sign(MINT, ANN, "a-1 1"), ["a-1"], here=True)
    ledger.adopt(sign(MINT, BOB, "a-1 1"), ("a-1",))
    assert shown(ledger, "a-1") == [(0, MINT.owner, SETTLED)]
    commit(ledger)
    assert shown(ledger, "a-1") == [(1, BOB.owner, SETTLED)]


def test_adopt_what_never_moved(ledger):
    ledger.adopt(sign(BOB, CAT, "a-1 3"), ("a-1",))
    commit(ledger)
    assert shown(ledger, "a-1") == [(3, CAT.owner, SETTLED)]
    assert ledger.moved_count == 1


@pytest.mark.parametrize(("seq", "settle"), [(1, True), (1, False), (2, True)])
def test_adopt_never_downwards_and_never_against_what_is_settled(ledger, seq, settle):
    at_seq_2(ledger, settle=settle)
    with pytest.raises(AssertionError, match="seq never falls"):
        ledger.adopt(sign(ANN, CAT, f"a-1 {seq}"), ("a-1",))


# Evidence


def pair(seq, billot="a-1"):
    return tuple(sign(ANN, to, f"{billot} {seq}") for to in (BOB, CAT))


def test_evidence_is_one_pair_per_billot_of_the_newest_seq(place):
    ledger = place.ledger()
    assert ledger.evidence("a-1") is None
    for seq, kept in [(2, True), (2, False), (1, False), (5, True), (4, False)]:
        assert ledger.is_newer_evidence("a-1", seq) is kept
        assert ledger.keep_evidence("a-1", *pair(seq)) is kept
    assert ledger.evidence("a-1") == pair(5)
    commit(ledger)
    again = place.ledger()
    assert again.evidence("a-1") == pair(5)
    assert not again.keep_evidence("a-1", *pair(5))
    assert again.keep_evidence("a-1", *pair(6))
    assert again.keep_evidence("a-2", *pair(1, "a-2"))


def test_transfers_behind_holdings(ledger):
    first = sign(MINT, ANN, "a-1 1", "a-2 1")
    take(ledger, first)
    second = sign(ANN, BOB, "a-1 2")
    take(ledger, second)
    assert ledger.taken(["a-2", "a-1", "a-3", "a-2"]) == [first, second, None, first]
    assert ledger.proofs(["a-1", "a-2", "a-3"]) == [second, first, None]


def test_how_many_billots_moved_is_kept(place):
    ledger = place.ledger(alone=True)
    at_seq_2(ledger)
    take(ledger, sign(MINT, ANN, "a-2 1", "a-3 1"))
    assert ledger.moved_count == 3
    assert place.ledger().moved_count == 3


def test_attack_replay_of_every_historic_transfer(alone):
    """2017: A→B, B→A, and the first again made B owner."""
    history = [sign(MINT, ANN, "a-1 1", "a-2 1")]
    keys = [ANN, BOB, CAT, DAN]
    for seq in range(2, 12):
        key, to = keys[seq % 2], keys[(seq + 1) % 2]
        history.append(sign(key, to, f"a-1 {seq}", f"a-2 {seq}"))
    foreign = Network.from_fields(FIELDS | {"name": "other"})
    for now, transfer in enumerate(history):
        take(alone, transfer)
        for old in history[: now + 1]:
            expected = SAME if old is transfer else STALE
            assert alone.judge(old) == [expected, expected]
            signed_elsewhere = msgspec.structs.replace(old, network=foreign.id)
            assert not signed_elsewhere.verify()
    assert shown(alone, "a-1") == [(11, keys[0].owner, SETTLED)]
