"""A driver around the real node: what billots.engine, .switchboard and .dialing do over TCP.

Rounds take time, and messages arrive while one is under way; a write may be on disk before the
node hears of it; a crash comes before, between or after. Signature checks are the real ones,
each made once in a run.
"""

import contextlib

import msgspec

from billots.crypto import PrivateKey
from billots.errors import StoreDamaged, StoreFailed
from billots.feed import AdoptedRow, FeedBatch, parse_row
from billots.node import Node, Settings
from billots.store import Batch, MemoryStore
from simulation.dialer import Dialer
from simulation.record import Broken

FEED_HEAD = b'{"jsonrpc":"2.0","method":"feed"'
_STATEMENT = b"billots statement 1\n"
_QUEUED_MAX = 16
"""Messages that a process which doesn't read leaves in its kernel, before the sender notices."""


class _Feed(msgspec.Struct):
    params: FeedBatch


_feed_decoder = msgspec.json.Decoder(_Feed)


class ServerKey(PrivateKey):
    """A server's key; whoever signs a statement with it is on record."""

    def __init__(self, seed, signed):
        super().__init__(seed)
        self._signed = signed

    def sign(self, message):
        if message.startswith(_STATEMENT):
            self._signed(message)
        return super().sign(message)


class Server:
    """One server: a process that comes and goes, over a disk that stays."""

    honest = True
    node_class = Node

    def __init__(self, world, number, trusted):
        self.world, self.number, self.place = world, number, number
        self.trusted = trusted
        self.disk = world.new_disk()
        self.lives = 0
        self.node = None
        self.up = self.frozen = False
        self.offset = 0.0
        self.write_s = 0.0
        self.pins = {}
        self.retired = []
        self.key_hex = None
        self.dialer = Dialer(self)
        self.tempo = world.streams("network").choice((0.0002, 0.001, 0.004))
        self.run = 0  # each start is another
        self.set_aside = 0
        self.ends = {}
        self.settled = {}

    def __repr__(self):
        return f"s{self.number}"

    @property
    def now(self):
        return self.world.clock.now + self.offset

    # -- coming and going ---------------------------------------------------------------------

    def start(self):
        """Open the store and begin; a damaged one is set aside, and a new one takes its place."""
        if self.up:
            return
        world = self.world
        try:
            self.store = MemoryStore(world.network, self.disk)
            seed = self.store.meta("key")
        except StoreDamaged:
            self.set_aside += 1
            self.disk = world.new_disk()
            self.store, seed = MemoryStore(world.network, self.disk), None
        if seed is None:
            self.lives += 1
            seed = world.server_key(self.number, self.lives).seed
            batch = Batch.empty()
            batch.meta["key"] = seed
            self.store.commit(batch)
        key = ServerKey(seed, self.signed)
        if self.key_hex not in (None, key.public_hex):
            world.has_new_key(self, key.public_hex)
        self.key_hex = key.public_hex
        world.keys[self.key_hex] = self.number
        settings = Settings(
            port=7000 + self.number,
            trusted=tuple(world.host(number, self.pins) for number in self.trusted),
            limits=world.limits,
            nonce=world.nonce,
        )
        self.run += 1
        self.up, self.frozen = True, False
        self.ends, self.settled = {}, {}
        self.inbox, self.stalled = [], {}
        self.busy_with, self.round_number = None, 0
        self.woken = False
        self.timer = None
        self._last_feed = None
        world.note(self, "starts", self.key_hex[:8])
        self.node = self.node_class(world.network, self.store, key, settings)
        for number, old in self.retired:
            self.node.trust.retire(world.host(number, {}).place, old)
        self.dialer.start()
        self.wake()

    def crash(self, *, told=True, written=None):
        """The process ends at once. `written`: whether a write under way got to the disk."""
        if not self.up:
            return
        self.world.note(self, "crashes")
        if self.busy_with and written and not self.disk.full:
            batch = self.busy_with
            self.busy_with = None
            with contextlib.suppress(StoreFailed):
                self._write(batch)
        self._gone(told=told)
        self.disk.power_cut()

    def _gone(self, *, told=True):
        self.up = False
        self.run += 1
        ends, self.ends = self.ends, {}
        for end in ends.values():
            self.world.wires.close(end, told=told)

    def stop(self):
        """Ended by its operator: flush, say what is to be said, go."""
        if not self.up:
            return
        self.world.note(self, "stops")
        if self.busy_with is None:
            batch = self.node.stopping()
            if batch is not None and self._write(batch) is None:
                self.node.committed(self.now, written=True)
                self.flush()
        self._gone()

    def replace_disk(self, disk):
        """The disk is another: empty, or an old copy."""
        self.crash()
        self.disk = disk

    def _fail(self, error):
        """The store can't be written or read: the process says so, ends, and is started again."""
        self.world.note(self, "fails", str(error))
        self.node.failed()
        self.flush()
        self._gone()
        self.world.clock.after(0.1 + 0.5 * self.world.chance(), self.start)

    # -- messages -----------------------------------------------------------------------------

    def accept_key(self, number, key):
        """Who runs this server was told that another has a new key."""
        before = self.pins.get(number)
        if before is not None:
            self.retired.append((number, before))
        self.pins[number] = key
        if self.up:
            self.stop()
            self.start()

    def accept(self, end, address, *, exempt=True):
        """Somebody connected."""
        self.ends[end.conn] = end
        self.node.opened(end.conn, address, exempt=exempt)

    def received(self, end, frames):
        if self.frozen:
            self.inbox.append((end, frames))
            if len(self.inbox) == _QUEUED_MAX:
                for peer in {id(e): e for e, _ in self.inbox}.values():
                    peer.other.party.blocked(peer.other, blocked=True)
            return
        self.world.carried(self, end, frames)
        held = self.stalled.get(end.conn)
        if held is not None:
            held += frames
            return
        self._hand_in(end, frames)

    def _hand_in(self, end, frames):
        node, conn, now = self.node, end.conn, self.now
        try:
            for place, frame in enumerate(frames):
                if node.busy(conn):
                    self.stalled[conn] = list(frames[place:])
                    if not place:
                        return
                    break
                self.world.gossip.hears(self, frame)
                node.received(conn, (frame,), now)
        except (StoreDamaged, StoreFailed) as error:
            # A peer's error ends its own connection; the store's is found in the next round.
            self.world.note(self, "could not read", str(error))
            self.world.wires.close(end)
            self._forget(end)
            if self.disk.damaged:
                self._fail(error)
                return
        self.flush()
        self.wake()

    def ended(self, end):
        if self.ends.get(end.conn) is end:
            self._forget(end)
            self.wake()

    def _forget(self, end):
        self.ends.pop(end.conn, None)
        self.stalled.pop(end.conn, None)
        was_up = self.node.links.is_up(end.conn)
        self.node.closed(end.conn)
        self.dialer.ended(end, was_up)

    def blocked(self, end, *, blocked):
        """The other side doesn't read, or reads again."""
        if self.up and end.conn in self.ends:
            self.node.blocked(end.conn, blocked=blocked)
            self.flush()
            self.wake()

    def flush(self):
        """Carry out what the node wants done."""
        node = self.node
        if node.out:
            out, node.out = node.out, {}
            for conn, messages in out.items():
                end = self.ends.get(conn)
                if end is not None:
                    self.send(end, messages)
        if node.hangups:
            hangups, node.hangups = node.hangups, set()
            for conn in sorted(hangups):
                end = self.ends.get(conn)
                if end is not None:
                    self.world.wires.close(end)
                    self._forget(end)
        if node.redial:
            redial, node.redial = node.redial, set()
            for index in sorted(redial):
                self.dialer.hurry(index)
        node.probes.clear()

    def send(self, end, messages):
        for message in messages:
            if message.startswith(FEED_HEAD):
                self._fed(message)
            else:
                self.world.gossip.says(self, end, message)
        self.world.wires.send(end, messages)

    def signed(self, message):
        self.world.record.statement(self, message)

    def _fed(self, message):
        """What goes out in a feed is said; the same batch goes to many."""
        if message is self._last_feed:
            return
        self._last_feed = message
        batch = _feed_decoder.decode(message).params
        record = self.world.record
        for text in batch.rows:
            row = parse_row(text)
            if isinstance(row, AdoptedRow):
                record.row(self, row, None)
            else:
                record.row(self, row, record.signed_by_owner(row.transfer_id))
        if batch.transfers:
            self.world.gossip.bodies_sent(self, batch)

    # -- rounds -------------------------------------------------------------------------------

    def wake(self):
        if not self.woken and self.up:
            self.woken = True
            self.world.clock.after(self.tempo, self._step, self.run)

    def _due(self, run, at):
        if run == self.run and at == self.timer:
            self.timer = None
            self.wake()

    def _set_timer(self):
        at = self.node.next_at
        if at is not None:
            when = max(at - self.offset, self.world.clock.now)
            if self.timer is None or when < self.timer:
                self.timer = when
                self.world.clock.at(when, self._due, self.run, when)

    def _step(self, run):
        if run != self.run or not self.up:
            return
        self.woken = False
        if self.frozen or self.busy_with is not None:
            return
        node = self.node
        try:
            node.tick(self.now)
            if node.outdated:
                self._outdated()
                return
            if (node.has_work or node.flush_due) and not self._round():
                return
            self._after_round()
        except StoreDamaged as error:
            self._fail(error)

    def _outdated(self):
        """An old copy, by our own signature: it goes, and its key with it."""
        self.world.note(self, "is an old copy")
        self._gone()
        self.disk = self.world.new_disk()
        self.world.clock.after(0.05, self.start)

    def _round(self):
        """Whether the round is over; else the disk is still writing."""
        node, world = self.node, self.world
        results = [world.verify(check) for check in node.checks()]
        batch = node.judge(results, self.now)
        if batch is None:
            node.committed(self.now, written=False)
            return True
        takes_s, early = world.write_time(self)
        if not takes_s:
            if self._write(batch) is not None:
                return False
            node.committed(self.now, written=True)
            return True
        self.busy_with = batch
        if early:
            self.busy_with = False  # still busy, but nothing is left to write
            if self._write(batch) is not None:
                return False
        world.clock.after(takes_s, self._written, self.run)
        return False

    def _write(self, batch):
        """Write a batch; the error if it failed, after which this process has ended."""
        writes = self.disk.writes
        try:
            self.store.commit(batch)
        except StoreFailed as error:
            if self.disk.writes > writes:
                self.noted(batch)  # it happened all the same
            if self.up:
                self._fail(error)
            return error
        self.noted(batch)
        return None

    def noted(self, batch):
        """What is on disk now counts as said: it may be, any moment."""
        record, ledger = self.world.record, self.node.ledger
        for entry in batch.entries:
            record.committed(self, entry)
        changed = {row.billot: None for entry in batch.entries for row in entry.rows}
        for rows in batch.unsettled.values():
            changed |= dict.fromkeys(rows)
        for billot in changed:
            holding = ledger.present(billot)
            before = self.settled.get(billot)
            if holding.status == "settled":
                if before is not None and holding.seq < before[0]:
                    raise Broken("seq never falls", f"{self}: {billot}")
                record.settled(self, billot, holding.seq, holding.vote)
                self.settled[billot] = (holding.seq, holding.vote)
            elif before is not None and before[0] >= holding.seq:
                raise Broken("settled stays settled", f"{self}: {billot} is {holding.status}")

    def _written(self, run):
        if run != self.run:
            return
        batch, self.busy_with = self.busy_with, None
        if batch and self._write(batch) is not None:
            return
        self.node.committed(self.now, written=True)
        if self.frozen:
            return
        self._after_round()

    def _after_round(self):
        node = self.node
        node.pump(self.now)
        self.flush()
        if self.stalled:
            self._go_on()
        if node.lagging or node.has_work:
            self.wake()
        self._set_timer()

    def _go_on(self):
        stalled, self.stalled = self.stalled, {}
        for conn, frames in stalled.items():
            end = self.ends.get(conn)
            if end is not None:
                self._hand_in(end, frames)

    def freeze(self):
        """The process is stopped for a while; its kernel still takes what comes."""
        if self.up:
            self.frozen = True

    def thaw(self):
        if not self.frozen:
            return
        self.frozen = False
        if not self.up:
            return
        inbox, self.inbox = self.inbox, []
        for end in {id(end): end for end, _ in inbox}.values():
            end.other.party.blocked(end.other, blocked=False)
        for end, frames in inbox:
            if self.up and end.up:
                self.received(end, frames)
        self.woken = False
        self.wake()
