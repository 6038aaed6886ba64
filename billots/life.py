"""One life of a server: a node over an opened store, with its engine, connections and links.

It ends when it is told to, or when the store can't be gone on with; `server` may then begin
another one over what is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from billots.dialing import Prober, keep_link
from billots.engine import Engine
from billots.errors import BillotsError, ServerError, StoreError
from billots.network import shown
from billots.node import Node
from billots.switchboard import Switchboard

log = logging.getLogger("billots.server")

_WATCH_S = 1.0
"""How often a store is looked at while nothing is written to it."""
_LINGER_S = 0.5
"""How long a stopping server waits for others to end connections on which all is said."""


class Life:
    """Made within a running loop; lives from `begin` on."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.engine = Engine(node)
        limits = node.limits
        prober = Prober(node.network.id, limits.announce_dials_per_s, node.hosts.add_host)
        self.board = board = Switchboard(
            node,
            limits,
            wake=self.engine.wake,
            announced=prober.add,
            broken=self.engine.fail,
        )
        self._jobs = [board.sweep, prober.run, self._watch]
        self._tasks: list[asyncio.Task[None]] = []
        self.engine_task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Judge what comes in, and dial the trusted servers."""
        board = self.board
        self.engine_task = asyncio.create_task(self.engine.run(board.round_over), name="engine")
        self.engine_task.add_done_callback(self._engine_over)
        jobs = [job() for job in self._jobs]
        jobs += [keep_link(board, index) for index in range(len(self.node.trust.entries))]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def _watch(self) -> None:
        """Who repeats old votes writes nothing, but must not go on without its memory either."""
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                self.node.ledger.store.check()
            except StoreError as error:
                self.engine.fail(error)
                return

    def _engine_over(self, engine: asyncio.Task[None]) -> None:
        """Who judges no more takes no more: whoever asks is to try another server."""
        if engine.cancelled() or engine.exception() is not None:
            self.board.deaf = True
            for wire in self.board.wires:
                wire.finish()

    async def over(self) -> None:
        """Wait until `end`.

        Raises StoreFailed, StoreDamaged or StoreOutdated when the store can't be gone on with,
        ServerError for whatever else the server can't go on after.
        """
        assert self.engine_task is not None
        jobs = {self.engine_task, *self._tasks}
        try:
            while not self.engine_task.done():
                done, jobs = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                for job in done:
                    if not job.cancelled():
                        job.result()
            if not self.engine_task.cancelled():
                self.engine_task.result()
        except BillotsError:
            raise
        except Exception as error:
            log.debug("the server ended by", exc_info=error)
            reason = f"{type(error).__name__}: {shown(str(error), 100)}"
            raise ServerError(
                f"the server can't go on: {reason}",
                "start it again; with --log-level debug it says more",
            ) from error

    async def end(self, patience_s: float) -> None:
        """Take nothing new, finish what was begun, flush, and let everybody go.

        `patience_s` is for the last commit, and then for those who read our last words slowly.
        A second call does nothing. The store stays open.
        """
        board = self.board
        board.deaf = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.engine.stop()
        assert self.engine_task is not None
        with contextlib.suppress(Exception):  # `over` is who hears of a failed store
            async with asyncio.timeout(patience_s):
                await self.engine_task
        for wire in board.wires:
            wire.finish()
        await board.gone_within(min(_LINGER_S, patience_s))
        for wire in board.wires:
            if not wire.queued_bytes:
                wire.abort()  # it has heard all and doesn't go by itself
        await board.gone_within(patience_s)
        for wire in board.wires:
            wire.abort()
        await board.all_gone()
