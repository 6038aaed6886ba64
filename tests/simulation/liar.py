"""Servers that lie: a real node, and between it and the world somebody who has its key.

What the node says passes through `Liar.send`, which drops it, says another thing to each, adds
votes of its own, and signs all of it again. The feed has a numbering of its own for each
listener, so that rows can be put in anywhere.
"""

import msgspec

from billots.feed import AdoptedRow, FeedBatch, TransferRow, parse_row
from billots.holding import Status
from billots.jsonrpc import Incoming, answer, notification
from billots.messages import Accepted, Pair
from billots.node import Node
from billots.receipt import Receipt, SignedVote
from billots.statement import Statement, StatementRow
from billots.transfer import Transfer
from simulation.server import FEED_HEAD, Server
from simulation.wires import CLIENTS

_RESULT = b'{"jsonrpc":"2.0","id":'
_SUBSCRIBE = b'"method":"subscribe"'
_incoming = msgspec.json.Decoder(Incoming)
_statement = msgspec.json.Decoder(Statement)
_accepted = msgspec.json.Decoder(Accepted)


class Conspiracy:
    """What all liars know: who signed what twice."""

    def __init__(self, world):
        self._world = world
        self.pairs = {}
        self.lies = {}

    def heard(self, first, second):
        """A double spend is about to be tried."""
        rows = set(first.billots) & set(second.billots)
        if first.to == second.to or not rows:
            return
        for billot, seq in rows:
            self.pairs.setdefault(billot, {})[seq] = (first, second)
        for server in self._world.servers:
            if not server.honest:
                delay_s = server.random.expovariate(8.0)
                self._world.clock.after(delay_s, server.join, first, second)

    def count(self, lie):
        self.lies[lie] = self.lies.get(lie, 0) + 1


class Liar(Server):
    """Each liar has its habits: how often it does which of these, and who sees which face."""

    honest = False
    node_class = Node

    def __init__(self, world, number, trusted):
        super().__init__(world, number, trusted)
        self.random = rng = world.streams(f"liar/{number}")
        self.faces = {place: rng.randrange(2) for place in range(CLIENTS, 64)}
        self.habits = {
            "two faces": rng.choice((0.0, 0.5, 1.0, 1.0)),
            "joins": rng.choice((0.0, 0.5, 1.0, 1.0)),
            "adopts": rng.choice((0.0, 0.0, 0.3)),
            "claims": rng.choice((0.0, 0.0, 0.5, 1.0)),
            "rewinds": rng.choice((0.0, 0.0, 0.05, 0.3)),
            "runs ahead": rng.choice((0.0, 0.0, 0.02, 0.2)),
            "withholds": rng.choice((0.0, 0.0, 0.1, 0.6)),
            "is silent": rng.choice((0.0, 0.0, 0.05, 0.5)),
            "frames": rng.choice((0.0, 0.0, 0.05)),
            "mixes": rng.choice((0.0, 0.3, 1.0)),
        }
        self._numbers = {}
        self._silent = set()
        self._copy = None

    def start(self):
        super().start()
        after = self.world.clock.after
        after(self.random.uniform(0.2, 1.0), self._change_mood, self.run)

    def noted(self, batch):
        """What it has on disk binds nobody."""

    def _outdated(self):
        """Somebody saw through it: it couldn't care less."""
        self.node.outdated = False

    def _does(self, habit):
        if self.random.random() < self.habits[habit]:
            self.world.conspiracy.count(habit)
            return True
        return False

    def _change_mood(self, run):
        """To whom it says nothing for a while; and now and then it goes back to an old state."""
        if run != self.run:
            return
        places = range(CLIENTS, len(self.world.servers))
        self._silent = {place for place in places if self._does("is silent")}
        if self._copy is None:
            self._copy = self.disk.copy()
        elif self._does("rewinds"):
            self.replace_disk(self._copy)
            self._copy = None
            self.start()
            return
        self.world.clock.after(self.random.uniform(0.1, 0.8), self._change_mood, self.run)

    # -- out ----------------------------------------------------------------------------------

    def received(self, end, frames):
        """Who follows it begins at the beginning: its numbers mean nothing."""
        if any(_SUBSCRIBE in frame for frame in frames):
            frames = [self._from_start(frame) if _SUBSCRIBE in frame else frame for frame in frames]
        super().received(end, frames)

    def _from_start(self, frame):
        request = msgspec.json.decode(frame)
        since = request.get("params", {}).get("since")
        if since is not None:
            since["lsn"] = 0
        return msgspec.json.encode(request)

    def send(self, end, messages):
        place = end.other.place
        if place in self._silent:
            return
        said = [self._changed(message, place) for message in messages]
        self.world.wires.send(end, [message for message in said if message is not None])

    def _changed(self, message, place):
        if message.startswith(FEED_HEAD):
            return self._feed(_incoming.decode(message).params, place)
        if message.startswith(_RESULT):
            incoming = _incoming.decode(message)
            result = bytes(incoming.result)
            if result.startswith(b'{"network":{') or not result:
                return message
            if result.startswith(b'{"network":'):
                statement = self._statement(_statement.decode(result), place)
                return answer(b"%d" % incoming.id, statement)
            if result.startswith(b'{"accepted"'):
                accepted = _accepted.decode(result)
                said = self._statement(accepted.statement, place)
                return answer(
                    b"%d" % incoming.id, msgspec.structs.replace(accepted, statement=said)
                )
            if result.startswith(b'{"transfers":') and self._does("withholds"):
                return answer(b"%d" % incoming.id, b'{"transfers":[]}')
        return message

    # -- statements ---------------------------------------------------------------------------

    def _statement(self, statement, place):
        rows = tuple(self._with_receipt(self._row(row, place)) for row in statement.billots)
        changed = msgspec.structs.replace(statement, billots=rows)
        if isinstance(statement.nonce, str):
            changed = changed.sign(self.node.key, statement.nonce)
            for row in rows:
                settled = row.status is Status.SETTLED
                if row.owner is not None:
                    self.world.record.vote(self, row.id, row.seq, row.holding.vote, settled=settled)
        return changed

    def _row(self, row, place):
        pairs = self.world.conspiracy.pairs.get(row.id)
        if pairs and self._does("two faces"):
            seq = max(pairs)
            mine = pairs[seq][self.faces[place]]
            if self._does("runs ahead"):  # as if that side had won, and spent it
                to = self.random.choice(self.world.workload.keys).owner
                return _vote_row(row, seq + 1, (mine.to, to), Status.HELD, None)
            status = Status.SETTLED if self._does("claims") else Status.HELD
            return _vote_row(row, seq, (mine.sender, mine.to), status, mine)
        if row.owner is None:
            return row
        if row.seq and self._does("rewinds"):
            first = self.world.network.first_owner(row.id)
            return _vote_row(row, 0, (None, first), Status.SETTLED, None)
        if self._does("runs ahead"):
            to = self.random.choice(self.world.workload.keys).owner
            ahead = row.seq + self.random.randrange(2)
            sender = row.owner if ahead > row.seq else row.sender
            return _vote_row(row, ahead, (sender if ahead else None, to), Status.SETTLED, None)
        if row.status is not Status.SETTLED and self._does("claims"):
            return msgspec.structs.replace(row, status=Status.SETTLED)
        return row

    def _with_receipt(self, row):
        """A receipt of real votes, but not of equal ones: whatever was signed at this (id, seq)."""
        if not isinstance(row.transfer, Transfer) or not self._does("mixes"):
            return row
        said = self.world.wallets.votes.get((row.id, row.seq), {}).values()
        votes = tuple(SignedVote(statement=statement.signed()) for _, statement in said)
        if not votes:
            return row
        receipt = msgspec.Raw(msgspec.json.encode(Receipt(row.transfer, votes)))
        return msgspec.structs.replace(row, receipt=receipt)

    # -- feeds --------------------------------------------------------------------------------

    def _number(self, place):
        self._numbers[place] = number = self._numbers.get(place, 0) + 1
        return number

    def _feed(self, params, place):
        batch = msgspec.json.decode(params, type=FeedBatch)
        rows = []
        for text in batch.rows:
            row = parse_row(text)
            if self._does("withholds"):
                continue
            row = self._facing(row, place)
            rows.append(msgspec.structs.replace(row, lsn=self._number(place)))
        bodies = () if self._does("withholds") else batch.transfers
        return self._signed_feed(rows, bodies) if rows else None

    def _facing(self, row, place):
        """A vote for one side of a double spend, as this listener is to see it."""
        transfer = None
        if isinstance(row, TransferRow):
            transfer = self.world.record.transfers[row.transfer_id]
        for billot, seq in transfer.billots if transfer else ():
            pair = self.world.conspiracy.pairs.get(billot, {}).get(seq)
            if pair and transfer in pair and self._does("two faces"):
                return TransferRow(row.lsn, pair[self.faces[place]].id)
        return row

    def _signed_feed(self, rows, bodies=()):
        for row in rows:
            known = self.world.record.transfers
            transfer = known[row.transfer_id] if isinstance(row, TransferRow) else None
            self.world.record.row(self, row, transfer)
        batch = FeedBatch.sign(self.world.network.id, self.node.key, rows, bodies)
        return notification("feed", batch)

    def join(self, first, second):
        """Vote at once for both sides of a double spend, for each with those who like it."""
        if not self.up or self.world.faults.healed:
            return
        for end in list(self.ends.values()):
            connection = self.node.connections.get(end.conn)
            if connection is None or connection.subscriber is None:
                continue
            place = end.other.place
            mine = (first, second)[self.faces[place]]
            if self._does("joins"):
                row = TransferRow(self._number(place), mine.id)
                bodies = () if self._does("withholds") else (mine,)
                self.world.wires.send(end, [self._signed_feed([row], bodies)])
            if self._does("adopts"):
                billot, seq = mine.billots[0]
                row = AdoptedRow(self._number(place), billot, seq, mine.sender, mine.to)
                self.world.wires.send(end, [self._signed_feed([row])])
            if self._does("frames"):
                forged = msgspec.structs.replace(second, to=self.world.workload.keys[0].owner)
                self.world.wires.send(end, [notification("conflict", Pair(first, forged))])


def _vote_row(row, seq, vote, status, transfer):
    """The same row of a statement with another vote in it."""
    changed = StatementRow(row.id, seq, *vote, status, row.value, row.transfer, row.receipt)
    if not isinstance(row.transfer, msgspec.UnsetType):
        changed = msgspec.structs.replace(changed, transfer=transfer, receipt=None)
    return changed
