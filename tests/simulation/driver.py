"""Rounds of one node, as billots.engine runs them: verified, judged, written, said.

A write takes a while, and may be on disk long before the node hears of it. Meanwhile messages
arrive, and a crash may come at any moment.
"""

from billots.errors import StoreDamaged, StoreFailed
from simulation.record import Broken


class Driver:
    """The part of a server that judges and writes."""

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
