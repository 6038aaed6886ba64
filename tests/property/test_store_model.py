"""Both engines against a dict, over random histories."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from billots.crypto import PrivateKey
from billots.holding import Status
from billots.network import Network, split_billot_id
from billots.store import Batch, EntryRow, Memory, MemoryStore, Moved, NewEntry, open_store
from billots.transfer import Transfer

TEST = Network.shipped("test")
KEYS = [PrivateKey(bytes([number]) * 32) for number in range(3)]
BILLOTS = ["a-1", "a-2", "a-300", "b-1", "c-9999", "k-1", "k-50000000"]
FAMILIES = [b"b", b"o", b"f", b"t", b"c", b"u"]
UNSETTLED = [Status.HELD, Status.CONTESTED, Status.DISPUTED]

owners = st.integers(0, 2)
some_billots = st.lists(st.sampled_from(BILLOTS), min_size=1, max_size=4, unique=True)
moves = st.tuples(some_billots, owners, owners, st.integers(1, 3), st.booleans(), st.booleans())


class Stores(RuleBasedStateMachine):
    """`self.now` is what the last acknowledged batch left, `self.entries` its entries."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="billots-"))
        self.memory = Memory()
        self.now = {}
        self.entries = {}
        self.unsettled = {}
        self.evidence = {}
        self.lsn = 0
        self.stores = []

    @initialize()
    def open(self):
        self.stores = [MemoryStore(TEST, self.memory), open_store(self.folder / "s", TEST)]

    def teardown(self):
        for store in self.stores:
            store.close()
        shutil.rmtree(self.folder)

    @rule()
    def reopen(self):
        for store in self.stores:
            store.close()
        self.open()

    @rule(batch=st.lists(moves, min_size=1, max_size=4), gap=st.integers(1, 300))
    def move(self, batch, gap):
        """Transfers one on another in one batch; of some only part of the rows is taken."""
        planned = Batch.empty()
        for billots, sender, to, taken, adopted, here in batch:
            self.lsn += gap
            seqs = {b: self.now[b].seq + 1 if b in self.now else 1 for b in billots}
            transfer = Transfer.sign(TEST, KEYS[sender], KEYS[to].owner, seqs.items())
            rows = transfer.billots[: 1 if adopted else taken]
            planned.entries.append(
                NewEntry(
                    self.lsn,
                    transfer,
                    tuple(EntryRow(b, seq, self.now.get(b)) for b, seq in rows),
                    adopted,
                    here,
                )
            )
            self.take(transfer, rows, adopted, here)
        self.commit(planned)

    @precondition(lambda self: self.now)
    @rule(data=st.data(), to=owners)
    def adopt_at_the_same_seq(self, data, to):
        """A vote that changes: another transfer of the same (id, seq)."""
        billot = data.draw(st.sampled_from(sorted(self.now)))
        before = self.now[billot]
        signer = next(key for key in KEYS if key.owner == before.sender)
        transfer = Transfer.sign(TEST, signer, KEYS[to].owner, [(billot, before.seq)])
        self.lsn += 1
        rows = (EntryRow(billot, before.seq, before),)
        planned = Batch([NewEntry(self.lsn, transfer, rows, adopted=True)], {}, {}, {})
        self.take(transfer, transfer.billots, True, False)
        self.commit(planned)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def mark(self, data):
        lsn = data.draw(st.sampled_from(sorted(self.entries)))
        live = st.sampled_from(self.live(lsn))
        marks = data.draw(st.dictionaries(live, st.sampled_from(UNSETTLED)))
        self.unsettled[lsn] = marks
        self.commit(Batch([], {lsn: marks}, {}, {}))

    @rule(billot=st.sampled_from(BILLOTS), seq=st.integers(1, 9))
    def keep_evidence(self, billot, seq):
        first, second = (
            Transfer.sign(TEST, KEYS[0], KEYS[to].owner, [(billot, seq)]) for to in (1, 2)
        )
        self.evidence[billot] = (first, second)
        self.commit(Batch([], {}, {billot: (first, second)}, {}))

    def take(self, transfer, rows, adopted, here):
        self.entries[self.lsn] = (transfer, adopted, here)
        for billot, seq in rows:
            self.now[billot] = Moved(seq, transfer.sender, transfer.to, self.lsn)
        self.entries = {lsn: e for lsn, e in self.entries.items() if self.live(lsn)}

    def live(self, lsn):
        return [b for b in sorted(self.now, key=split_billot_id) if self.now[b].lsn == lsn]

    def commit(self, planned):
        for store in self.stores:
            store.commit(planned)

    @invariant()
    def stores_show_what_the_model_has(self):
        marks = {
            lsn: {b: status for b, status in marks.items() if b in self.live(lsn)}
            for lsn, marks in self.unsettled.items()
        }
        ordered = sorted(self.now, key=split_billot_id)
        for store in self.stores:
            assert store.last_lsn == self.lsn
            assert store.moved(BILLOTS) == [self.now.get(billot) for billot in BILLOTS]
            entries = store.entries(0, 1000)
            assert [(e.lsn, e.live, (e.transfer, e.adopted, e.here)) for e in entries] == [
                (lsn, tuple(self.live(lsn)), kept) for lsn, kept in self.entries.items()
            ]
            for entry in entries:
                assert store.transfer(entry.transfer.id) == entry.transfer
            for key in KEYS:
                mine = [(b, self.now[b]) for b in ordered if self.now[b].owner == key.owner]
                assert store.owned(key.owner, None, 1000).rows == mine
                assert (
                    store.owned(key.owner, "a-2", 2).rows
                    == [row for row in mine if split_billot_id(row[0]) > ("a-", 2)][:2]
                )
            assert store.unsettled() == {lsn: m for lsn, m in sorted(marks.items()) if m}
            for billot, pair in self.evidence.items():
                assert store.evidence(billot) == pair
            kept = sorted(self.evidence, key=split_billot_id)
            assert store.evidence_billots(None, 1000) == kept

    @invariant()
    def rows_on_disk_follow_the_billots_that_moved(self):
        """`b` and `o` for each billot, `f` and `t` for each entry, at most one `c` and `u`."""
        for store in self.stores:
            with store._engine.view() as view:
                rows = {f: len(list(view.scan(f, bytes((f[0] + 1,))))) for f in FAMILIES}
            assert rows[b"b"] == rows[b"o"] == len(self.now)
            assert rows[b"f"] == rows[b"t"] == len(self.entries)
            assert max(rows[b"c"], rows[b"u"]) <= len(self.entries)


Stores.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
test_stores = Stores.TestCase
