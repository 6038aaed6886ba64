"""Wallets: connections to servers, transfers handed over again and again, votes collected.

One agent stands for all owners, so that one question covers all that is under way. It resends
the same bytes until it knows, asks every server for signed statements as a payee does, and
keeps the votes that made a payment final: that is the payee's receipt.
"""

from collections import deque

import msgspec

from billots.holding import SILENT
from billots.jsonrpc import call, decode_incoming
from billots.messages import SendTransfer, WhoOwns
from billots.quorum import safe_quorum
from billots.statement import Statement
from simulation.record import Broken
from simulation.wires import CLIENTS

_ASK_S = 0.12
_ANSWER_S = 1.5
_WALLETS = 12
_ROWS_MAX = 8
"""Billots in a question: a receipt shows all rows of the statements that it is made of."""


class Moving:
    """A billot whose newest move isn't final: from which seq on, and since when."""

    __slots__ = ("billot", "seq", "since")

    def __init__(self, billot, seq, since):
        self.billot, self.seq, self.since = billot, seq, since


class Wallets:
    """All wallets' connections. `on_final(billot, seq, vote, votes)` hears of what is paid."""

    place = CLIENTS

    def __init__(self, world, on_final):
        self.world = world
        self.on_final = on_final
        self.moving = {}
        self.entry_key = {}
        self.votes = {}
        self.answers = {}
        self.late = 0
        self._ends = {}
        self._calls = {}
        self._asked = {}
        self._turns = {}
        self._next = 1
        self._ticking = False
        self._queue = deque()
        self.quorum = safe_quorum(len(world.servers))
        self.refused = {}

    # -- calls --------------------------------------------------------------------------------

    def tell(self, server, method, params, then=None, wallet=0):
        """Send a request to a server; `then(incoming)` hears the answer, or None.

        Each wallet has connections of its own: one whose transfers wait is read no further.
        """
        end = self._end_to(server, wallet)
        if end is None:
            if then is not None:
                self.world.clock.after(0.002, then, None)
            return
        number, self._next = self._next, self._next + 1
        if then is not None:
            self._calls[number] = (end, then)
        self.world.wires.send(end, [call(number, method, params)])

    def _end_to(self, server, wallet):
        end = self._ends.get((server.number, wallet))
        if end is not None and end.up:
            return end
        wires = self.world.wires
        if not server.up or not wires.is_open(CLIENTS, server.place):
            return None
        mine, theirs = wires.connect(self, self.world.new_conn(), server, self.world.new_conn())
        self._ends[server.number, wallet] = mine
        server.accept(theirs, "192.0.2.1", exempt=False)
        return mine

    def received(self, end, frames):
        self.world.carried(self, end, frames)
        for frame in frames:
            incoming = decode_incoming(frame)
            waiting = self._calls.pop(incoming.id, None)
            if waiting is not None:
                waiting[1](incoming)

    def ended(self, end):
        for place, mine in list(self._ends.items()):
            if mine is end:
                del self._ends[place]
        for call_id, (asked, then) in list(self._calls.items()):
            if asked is end:
                del self._calls[call_id]
                then(None)

    def blocked(self, end, *, blocked):
        """A server that doesn't read is just slow to answer."""

    # -- handing over -------------------------------------------------------------------------

    def submit(self, transfer, server, receipts=()):
        """Hand a transfer to one server; what it says is counted, never believed."""
        then = self._late if self.world.record.is_late(server, transfer) else self._handed_over
        self.tell(server, "transfer", SendTransfer.of(transfer, None, receipts), then)

    def _handed_over(self, incoming):
        error = incoming.error if incoming is not None else None
        name = "none" if incoming is None else getattr(error, "name", None) or "accepted"
        self.answers[name] = self.answers.get(name, 0) + 1
        return name

    def _late(self, incoming):
        """The answer of a server that had another transfer of it settled when it was sent."""
        name = self._handed_over(incoming)
        if name == "accepted":
            raise Broken("late conflicts change nothing", "a server accepted one")
        self.late += name != "none"

    # -- votes --------------------------------------------------------------------------------

    def watch(self, billot, seq):
        """Collect votes for a billot from this seq on until some owner is final."""
        known = self.moving.get(billot)
        if known is None or known.seq < seq:
            self.moving[billot] = Moving(billot, seq, self.world.clock.now)
        if not self._ticking:
            self._ticking = True
            self.world.clock.after(_ASK_S, self._tick)

    def _tick(self):
        now = self.world.clock.now
        self._ticking = bool(self.moving)
        if not self._ticking:
            return
        for server in self.world.servers:
            asked = self._asked.get(server.number)
            if asked is not None and now < asked[0] + _ANSWER_S:
                continue
            wanted = [m.billot for m in self.moving.values() if not self._has_vote(server, m)]
            if wanted:
                # Those who had to wait have their turn the next time.
                turn = self._turns.get(server.number, 0) % len(wanted)
                chosen = (wanted[turn:] + wanted[:turn])[:_ROWS_MAX]
                self._turns[server.number] = turn + len(chosen)
                self._ask(server, tuple(chosen), now)
        newest = min(now - moving.since for moving in self.moving.values())
        self.world.clock.after(_ASK_S if newest < 1 else 8 * _ASK_S, self._tick)

    def _has_vote(self, server, moving):
        return server.number in self.votes.get((moving.billot, moving.seq), ())

    def _ask(self, server, billots, now):
        nonce = self.world.nonce()
        self._asked[server.number] = (now, nonce)

        def answered(incoming):
            if self._asked.get(server.number, (0, 0))[1] == nonce:
                del self._asked[server.number]
            if incoming is not None and bytes(incoming.result):
                statement = msgspec.json.decode(incoming.result, type=Statement)
                if statement.answers(self.world.network.id, nonce, billots, self.world.verify_call):
                    self._count(server.number, statement)

        self.tell(server, "who_owns", WhoOwns(billots, nonce), answered)

    def quiz(self, server):
        """Ask a server that has lost its memory about what it knew."""
        purses = self.world.workload.purses.values()
        known = [purse.billot for purse in purses if purse.seq]
        billots = tuple(self.world.streams("quiz").sample(known, min(len(known), 8)))
        nonce = self.world.nonce()

        def answered(incoming):
            if incoming is not None and bytes(incoming.result):
                statement = msgspec.json.decode(incoming.result, type=Statement)
                for row in statement.billots:
                    if row.status not in SILENT:
                        self.world.record.answered(server, statement.server, row)

        if billots:
            self.tell(server, "who_owns", WhoOwns(billots, nonce), answered)

    def _count(self, number, statement):
        """One vote for each entry of the list: when it has a new key, the old one's are void."""
        if self.entry_key.setdefault(number, statement.server) != statement.server:
            self.entry_key[number] = statement.server
            for votes in self.votes.values():
                votes.pop(number, None)
        server = self.world.servers[number]
        for row in statement.billots:
            if server.honest and row.status not in SILENT:
                self.world.record.answered(server, statement.server, row)
            if row.status in SILENT or row.id not in self.moving:
                continue
            votes = self.votes.setdefault((row.id, row.seq), {})
            votes[number] = (row.holding.vote, statement)
            self._tally(row.id, row.seq, row.holding.vote, votes)

    def _tally(self, billot, seq, vote, votes):
        moving = self.moving[billot]
        if seq < moving.seq:
            return
        equal = [statement for said, statement in votes.values() if said == vote]
        if len(equal) >= self.quorum:
            del self.moving[billot]
            self.on_final(billot, seq, vote, equal)
