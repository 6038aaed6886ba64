"""Everything that was ever signed, held against what must hold at every step.

Servers are bits of a mask. `signed` is what anybody said on the wire, liars too; `known` adds
what honest servers have on disk and may say any moment. A liar can say anything, so for what a
quorum *could* sign every liar counts for every side; for what a server may rely on, only what
was signed counts.
"""

from billots.holding import SILENT, Status, Vote
from billots.quorum import liars_max, safe_quorum
from simulation.switches import ON


class Broken(AssertionError):
    """An invariant does not hold. `name` says which."""

    def __init__(self, name, detail):
        super().__init__(f"{name}: {detail}")
        self.name = name


class Circle:
    """One trust list with its owner: who counts, and how many are needed."""

    def __init__(self, members):
        self.mask = sum(1 << member for member in members)
        self.n = len(members)
        self.liars_max = liars_max(self.n)
        self.quorum = safe_quorum(self.n)
        self.claims = max(2, self.liars_max + 1)


class Record:
    """The ledger of votes of a whole run."""

    def __init__(self, network, everybody):
        self.network = network
        self.circles = {}  # by server: its own list
        self.payees = Circle(everybody)
        self.liars = 0
        self.transfers = {}
        self.signed = {}
        self.known = {}
        self.claims = {}
        self.written = {}
        self.first = {}  # (key, id, seq) → (lsn, vote) of what binds
        self.newest = {}
        self.floors = {}
        self.settled_as = {}
        self.votes = 0

    def new_life(self, server, servers, billots):
        """A server begins again with nothing: what enough others have settled it must not unsay.

        It reads all but f of the others, and of those it may take f for liars.
        """
        others = [other for other in servers if other.honest and other is not server]
        settled = [_settled_seqs(other, billots) for other in others]
        enough = 2 * self.payees.liars_max
        floor = {}
        for billot, *seqs in zip(billots, *settled, strict=True):
            if len(seqs) > enough:
                floor[billot] = sorted(seqs, reverse=True)[enough]
        self.floors[server.number] = floor

    def put_back(self, server, servers):
        """A server starts from an old copy: what enough others know that it signed, binds it.

        It hears q-1 others before it speaks, so that one of any n-q+1 is among them. What fewer
        were told by then may be lost; such a server is one of the f.
        """
        circle, key = self.circles[server.number], server.key_hex
        others = (o for o in servers if o.honest and o.up and 1 << o.number & circle.mask)
        batches = [o.node.links.remembered.newest(key) for o in others if o is not server]
        lsns = sorted((batch.last_lsn if batch else 0 for batch in batches), reverse=True)
        spare = circle.n - circle.quorum
        known = lsns[spare] if len(lsns) > spare else 0
        for at, votes in self.first.items():
            if at[0] == key and any(lsn > known for lsn, _ in votes):
                votes[:] = [(lsn, vote) for lsn, vote in votes if lsn <= known]
                self.newest.pop((key, at[1]), None)

    # -- what was said ------------------------------------------------------------------------

    def statement(self, server, message):
        """The bytes of a statement that a server signs."""
        lines = message.decode().split("\n")
        said = lines[4:-1]
        for line in said:
            billot, seq, sender, owner, status = line.split(" ")
            if status in SILENT:
                continue
            vote = Vote(None if sender == "-" else sender, owner)
            self.vote(server, billot, int(seq), vote, settled=status == Status.SETTLED)

    def answered(self, server, key_hex, row):
        """An answer to a payee: what a server has never falls; only receipts speak of the past."""
        billot, seq = row.id, row.seq
        floor = self.floors.get(server.number, {}).get(billot, 0)
        adopted = seq and row.status == Status.SETTLED
        if server.key_hex == key_hex and seq < floor and not adopted and ON["blank is silent"]:
            raise Broken("blank is silent", f"{server} says {billot} {seq} of what it forgot")
        key = (key_hex, billot)
        newest = self.newest.get(key, 0)
        if seq < newest:
            raise Broken("seq never falls", f"{server} says {billot} {seq} after {newest}")
        self.newest[key] = seq

    def row(self, server, row, transfer):
        """A row of a feed that a server sends; `transfer` if it names one."""
        if transfer is None:
            self.vote(server, row.billot, row.seq, Vote(row.sender, row.owner), settled=True)
            return
        vote = Vote(transfer.sender, transfer.to)
        for billot, seq in transfer.billots:
            if not row.billots or billot in row.billots:
                self.vote(server, billot, seq, vote)

    def vote(self, server, billot, seq, vote, *, settled=False):
        """One vote of one server, honest or not."""
        self.votes += 1
        if server.honest:
            self._own_word(server, billot, seq, vote, settled=settled)
        if seq == 0:
            return
        at, bit = (billot, seq), 1 << server.number
        if settled:
            claims = self.claims.setdefault(at, {})
            claims[vote] = claims.get(vote, 0) | bit
        votes = self.signed.setdefault(at, {})
        mask = votes.get(vote, 0)
        if not mask & bit:
            votes[vote] = mask | bit
            self._on_record(at, vote, bit)
            if len(votes) > 1:
                self._one_quorum(at, votes)

    def _own_word(self, server, billot, seq, vote, *, settled):
        """What an honest server says is on its disk, or was; it need not be its newest."""
        if seq == 0:
            if vote != Vote(None, self.network.first_owner(billot)):
                raise Broken("votes are of transfers", f"{server} gives {billot} away at seq 0")
            return
        if vote not in self.written.get((server.key_hex, billot, seq), ()):
            raise Broken("written before said", f"{server}: {billot} {seq} {_short(vote)}")
        if settled and not self.is_justified(server, (billot, seq), vote):
            raise Broken("settled by a quorum", f"{server} says {billot} {seq} is settled")

    def _one_quorum(self, at, votes):
        for circle in (self.payees, *self.circles.values()):
            could = [
                vote
                for vote, mask in votes.items()
                if ((mask | self.liars) & circle.mask).bit_count() >= circle.quorum
            ]
            if len(could) > 1:
                raise Broken("one quorum", f"{at[0]} {at[1]}: {[_short(v) for v in could]}")

    def signed_by_owner(self, transfer_id):
        """The transfer that an owner signed."""
        transfer = self.transfers.get(transfer_id)
        if transfer is None:
            raise Broken("only what owners signed", transfer_id)
        return transfer

    # -- what is on disk ----------------------------------------------------------------------

    def _on_record(self, at, vote, bit):
        known = self.known.setdefault(at, {})
        known[vote] = known.get(vote, 0) | bit

    def committed(self, server, entry):
        """An entry that an honest server wrote."""
        vote = Vote(entry.transfer.sender, entry.transfer.to)
        signature = self.signed_by_owner(entry.transfer.id).signature
        if entry.transfer.signature != signature:
            raise Broken("only what owners signed", f"{server} took {entry.transfer.id}, forged")
        for row in entry.rows:
            at = (row.billot, row.seq)
            self._on_record(at, vote, 1 << server.number)
            if row.before is not None and row.seq < row.before.seq:
                raise Broken("seq never falls", f"{server} {at}")
            key = (server.key_hex, *at)
            first = self.first.setdefault(key, [])
            if first and vote not in [vote for _, vote in first] and not entry.adopted:
                before = _short(first[0][1])
                raise Broken("one first vote", f"{server} {at}: {before}, {_short(vote)}")
            first.append((entry.lsn, vote))
            self.written.setdefault(key, []).append(vote)
            if entry.adopted:
                if not self.is_justified(server, at, vote):
                    raise Broken("adopted from a quorum", f"{server}: {row.billot} {row.seq}")
            elif row.seq > 1:
                self._on_branch(server, row, vote)
            elif vote.sender != self.network.first_owner(row.billot):
                raise Broken("votes are of transfers", f"{server} took {row.billot} from nobody")

    def _on_branch(self, server, row, vote):
        """Holding seq+1 implies that seq was settled on that branch."""
        before = self.known.get((row.billot, row.seq - 1), {})
        for branch in before:
            if branch.owner == vote.sender and self.is_justified(
                server, (row.billot, row.seq - 1), branch
            ):
                return
        raise Broken(
            "spent only what was settled", f"{server} took {row.billot} {row.seq} {_short(vote)}"
        )

    def is_justified(self, server, at, vote):
        """Whether what was signed settles this for a server: q votes, or enough claims."""
        circle = self.circles[server.number]
        mask = self.known.get(at, {}).get(vote, 0) & circle.mask
        if mask.bit_count() >= circle.quorum:
            return True
        # A receipt may come from a payee, who counts by a list of his own.
        if (self.known.get(at, {}).get(vote, 0)).bit_count() >= self.payees.quorum:
            return True
        others = self.claims.get(at, {}).get(vote, 0) & circle.mask & ~(1 << server.number)
        return others.bit_count() >= circle.claims

    def is_late(self, server, transfer):
        """Whether an honest server has a billot settled at this seq otherwise, or moved on."""
        vote = Vote(transfer.sender, transfer.to)
        return server.honest and any(
            server.settled.get(billot, (0,))[0] >= seq
            and self.settled_as.get((billot, seq), vote) != vote
            for billot, seq in transfer.billots
        )

    def settled(self, server, billot, seq, vote):
        """An honest server has this as settled."""
        at = (billot, seq)
        if seq and self.settled_as.setdefault(at, vote) != vote:
            raise Broken("settled is settled", f"{billot} {seq}: {server} has {_short(vote)}")
        if seq and not self.is_justified(server, at, vote):
            raise Broken("settled by a quorum", f"{server} settled {billot} {seq} {_short(vote)}")


def _settled_seqs(server, billots):
    """How far a server has each billot settled on disk."""
    unsettled = {billot for rows in server.store.unsettled().values() for billot in rows}
    records = server.store.moved(billots)
    return [
        (record.seq if record else 0) - (billot in unsettled)
        for billot, record in zip(billots, records, strict=True)
    ]


def _short(vote):
    return f"{(vote.sender or '-')[:6]}→{(vote.owner or '-')[:6]}"
