"""Rounds of a node, driven by asyncio: verified off the loop, committed off the loop.

What arrives while one round is on its way waits and makes up the next, so groups fill under
load and nobody waits when idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from billots.errors import BillotsError, StoreOutdated
from billots.node import Node
from billots.store.interface import Batch
from billots.verifying import Verifying

_REST_S = 0.005
"""Between rounds for what trusted servers sent, when there is no end of it."""


class Engine:
    """Runs one node's rounds."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._wake = asyncio.Event()
        self._stopping = False
        self._failure: BillotsError | None = None
        self._rested_at = 0.0
        self.commits = 0
        """Batches that are on disk."""
        self._verifying = Verifying(node.limits.checkers_max)
        self._writer = ThreadPoolExecutor(1, "billots-write")

    def wake(self) -> None:
        """Something arrived."""
        self._wake.set()

    async def run(self, round_over: Callable[[], None]) -> None:
        """Run rounds until `stop`.

        Raises StoreFailed when the store can't be written, StoreDamaged when it can't be read,
        StoreOutdated when the node finds that it is an old copy or the store that it is gone,
        and what `fail` was told.

        `round_over` is called when the node may have something to send. Nothing of a failed
        round is said: those who asked hear `store_failed`.
        """
        node, loop = self._node, asyncio.get_running_loop()
        try:
            while not self._stopping or node.has_work:
                if not self._stopping:
                    await self._until_due()
                    await self._gather()
                self._check()
                node.tick(loop.time())
                if node.has_work or node.flush_due:
                    await self._round()
                if not self._stopping:
                    node.pump(loop.time())
                round_over()
                if node.lagging or node.has_work:
                    await asyncio.sleep(0)  # let others in between two pages or rounds
                    self._wake.set()
            self._check()
            await self._commit(node.stopping())
        except BaseException:
            node.failed()
            round_over()
            raise
        finally:
            await self._verifying.close()
            self._writer.shutdown(wait=True)

    def fail(self, error: BillotsError) -> None:
        """Something outside of a round can't be gone on after: `run` ends with it."""
        self._failure = self._failure or error
        self._wake.set()

    def _check(self) -> None:
        """Raise what stands against going on."""
        if self._failure is not None:
            raise self._failure
        if self._node.outdated:
            raise StoreOutdated("the store is an old copy: newer votes under its key are known")

    def stop(self) -> None:
        """Finish what was begun, flush, and let `run` return."""
        self._stopping = True
        self._wake.set()

    async def _until_due(self) -> None:
        at = self._node.next_at
        if at is None or self._wake.is_set():
            await self._wake.wait()
        else:
            timer = asyncio.get_running_loop().call_at(at, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
        self._wake.clear()

    async def _gather(self) -> None:
        """Let more of what peers send come together: each round has its price.

        Only while rounds follow each other closely, and nobody waits for an answer.
        """
        left_s = self._rested_at - asyncio.get_running_loop().time()
        if left_s > 0 and self._node.can_wait:
            await asyncio.sleep(left_s)

    async def _round(self) -> None:
        node, loop = self._node, asyncio.get_running_loop()
        results = await self._verifying.verify(node.checks())
        batch = node.judge(results, loop.time())
        self._check()  # an old copy's votes must not be written, far less said
        await self._commit(batch)
        self._check()
        node.committed(loop.time(), written=batch is not None)
        self._rested_at = loop.time() + _REST_S

    async def _commit(self, batch: Batch | None) -> None:
        if batch is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._node.ledger.store.commit, batch)
            self.commits += 1
