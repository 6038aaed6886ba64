"""Signatures checked on all cores: by processes that know nothing but what they are asked.

Threads can't do it: each check is a call of a few dozen microseconds that lets go of the
interpreter's lock and then has to wait for it, up to five milliseconds while the server works.
The processes have no state, so there is no second copy of the truth. They are started when there
is enough to do and let go when there no longer is; should one die, or none be had, the checks are
made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from billots.crypto import verify
from billots.verifier import GOOD, NOTHING, TAG_BYTES, Check, pack

_GONE = (OSError, RuntimeError, asyncio.IncompleteReadError)
"""What asking a process may raise that has ended; RuntimeError is uvloop's, once it knows."""

log = logging.getLogger("billots.verifying")

HERE_MAX = 32
"""So few checks take less time here than to ask somebody."""
_EACH_MIN = 32
_HERE_STEP = 32
_ANSWER_S = 10.0
_IDLE_S = 20.0
_AGAIN_S = 30.0


class Verifying:
    """Checks groups of signatures, one group at a time.

    With `count` processes at most, one for each core if it is None. With 0 all is checked here:
    on a machine where as many servers run as it has cores, they would only be in their own way.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = (os.cpu_count() or 1) if count is None else count
        self._processes: list[Process] = []
        self._starting: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._used_at = 0.0
        self._not_before = 0.0

    @property
    def pids(self) -> list[int]:
        """The processes that are there to be asked."""
        return [process.pid for process in self._processes]

    async def verify(self, checks: Sequence[Check]) -> list[bool]:
        """Which of these signatures hold."""
        if len(checks) <= HERE_MAX:
            return [verify(*check) for check in checks]
        loop = asyncio.get_running_loop()
        self._used_at = loop.time()
        self._processes = [one for one in self._processes if one.returncode is None]
        processes = list(self._processes)
        if len(processes) < self._count:
            self._start(loop)
        if not processes:
            return await _verify_here(checks)
        size = max(_EACH_MIN, -(-len(checks) // len(processes)))
        parts = [checks[at : at + size] for at in range(0, len(checks), size)]
        asked = [self._part(process, part) for process, part in zip(processes, parts, strict=False)]
        return [held for part in await asyncio.gather(*asked) for held in part]

    async def _part(self, process: Process, checks: Sequence[Check]) -> list[bool]:
        try:
            return await _ask(process, checks)
        except _GONE:
            log.warning("a process that checks signatures ended; another will take its place")
            if process in self._processes:
                self._processes.remove(process)
            _kill(process)
            return await _verify_here(checks)

    # -- processes ----------------------------------------------------------------------------

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._starting is None and loop.time() >= self._not_before:
            self._starting = loop.create_task(self._start_missing(loop))

    async def _start_missing(self, loop: asyncio.AbstractEventLoop) -> None:
        process: Process | None = None
        try:
            while len(self._processes) < self._count:
                # -P: nothing that lies in the folder where the server was started is run.
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "billots.verifier"),
                    stdin=PIPE,
                    stdout=PIPE,
                )
                if await _ask(process, (GOOD, NOTHING)) != [True, False]:  # or until it can
                    raise Misread("it takes bad signatures for good")
                self._processes.append(process)
        except _GONE as error:
            if process is not None:
                _kill(process)
            self._not_before = loop.time() + _AGAIN_S
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            log.warning("no other process to check signatures: %s", reason)
        finally:
            self._starting = None
        if self._idle is None:
            self._idle = loop.call_later(_IDLE_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the processes go when there was little to do for a while."""
        self._idle = None
        if loop.time() - self._used_at < _IDLE_S:
            self._idle = loop.call_later(_IDLE_S, self._look, loop)
        else:
            self._let_go()

    def _let_go(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            _kill(process)

    async def close(self) -> None:
        """Let the processes go, and see that they are gone."""
        if self._starting is not None:
            await self._starting
        if self._idle is not None:
            self._idle.cancel()
        processes = self._processes
        self._let_go()
        for process in processes:
            await process.wait()


class Misread(RuntimeError):
    """What a process wrote is no answer to what it was asked."""


async def _ask(process: Process, checks: Sequence[Check]) -> list[bool]:
    """Have a process check these. Raises one of `_GONE` if it ended, stands still or misread."""
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    tag = os.urandom(TAG_BYTES)
    process.stdin.write(pack(tag, checks))
    async with asyncio.timeout(_ANSWER_S):
        found = await process.stdout.readexactly(TAG_BYTES + len(checks))
    if found[:TAG_BYTES] != tag:
        raise Misread("it wrote what it was not asked")
    return [held == 1 for held in found[TAG_BYTES:]]


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()  # it has nothing to lose


async def _verify_here(checks: Sequence[Check]) -> list[bool]:
    """Between some of them others get their turn."""
    found: list[bool] = []
    for at in range(0, len(checks), _HERE_STEP):
        found += [verify(*check) for check in checks[at : at + _HERE_STEP]]
        await asyncio.sleep(0)
    return found
