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
from simulation.driver import Driver

FEED_HEAD = b'{"jsonrpc":"2.0","method":"feed"'
_STATEMENT = b"billots statement 1\n"
_QUEUED_MAX = 16
"""Messages that a process which doesn't read leaves in its kernel, before the sender notices."""


class _Feed(msgspec.Struct):
    params: FeedBatch


_feed_decoder = msgspec.json.Decoder(_Feed)


class Key(PrivateKey):
    """A key whose signatures are known to hold, without a check of each by everybody."""

    def __init__(self, seed, held):
        super().__init__(seed)
        self._held = held

    def sign(self, message):
        signature = super().sign(message)
        self._held[self.public_key, message, signature] = True
        return signature


class ServerKey(Key):
    """A server's key; whoever signs a statement with it is on record."""

    def __init__(self, seed, held, signed):
        super().__init__(seed, held)
        self._signed = signed

    def sign(self, message):
        if message.startswith(_STATEMENT):
            self._signed(message)
        return super().sign(message)


class Server(Driver):
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
        self.tempo = world.streams("network").choice((0.001, 0.005, 0.02))
        self.run = 0  # each start is another
        self.set_aside = 0
        self.ends = {}
        self.settled = {}
        self.is_put_back = False

    def __repr__(self):
        return f"s{self.number}"

    @property
    def now(self):
        return self.world.clock.now + self.offset

    # -- coming and going ---------------------------------------------------------------------

    def start(self):
        """Open the store and begin, or try once more if it can't be written."""
        if self.up:
            return
        try:
            seed = self._opened()
        except StoreFailed as error:
            self.world.note(self, "could not open", str(error))
            self.world.clock.after(0.1, self.start)
            return
        world = self.world
        key = ServerKey(seed, world.held, self.signed)
        if self.key_hex not in (None, key.public_hex):
            world.has_new_key(self, key.public_hex)
        elif self.is_put_back:
            world.record.put_back(self, world.servers)
        self.is_put_back = False
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

    def _opened(self):
        """The secret of the store's key; a damaged one is set aside for a new one."""
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
        return seed

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
        self.is_put_back = True

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
                if node.outdated and self.honest:  # not a word more under this key
                    self._outdated()
                    return
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
