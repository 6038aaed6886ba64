"""A server's lives, one after the other: what follows when its store can't be gone on with.

A write that failed may have happened: only what the store says once it is opened again is
known, so nothing in memory outlives the life. A store that is damaged or outdated is set aside
and kept, and a new one takes its place, with a new key: who lost memory is a new server. So is
who lost its store while it ran: what it signed last may be in no store that can be opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from billots.crypto import PrivateKey
from billots.errors import StoreDamaged, StoreError, StoreFailed, StoreForeign, StoreOutdated
from billots.life import Life
from billots.network import Network, shown
from billots.node import Node, Settings
from billots.store import Batch, MemoryStore, Store, open_store, set_aside

log = logging.getLogger("billots.server")

_PATIENCE_S = 0.5
"""How long those who read slowly keep a server from opening its store again."""
_TRUSTED = "trusted"
_REPLACED_MAX = 4
"""A disk that damages one store after the other isn't trusted with yet another."""


class Lives:
    """Those of one server that listens on `address`, over the `store` that Server was given."""

    def __init__(
        self,
        network: Network,
        store: Store | str | Path | None,
        settings: Settings,
        address: str,
        on_new_key: Callable[[str], None] | None = None,
    ) -> None:
        self._network = network
        self._given = store
        self._settings = settings
        own = {address, "localhost"}
        # Which entry is our own is certain only once it was dialled; here its place is enough.
        others = {
            host.place
            for host in settings.trusted
            if host.port != settings.port or not (host.loopback or host.address in own)
        }
        self._others = bool(others)
        self._stopping = asyncio.Event()
        self._tries = 0
        self._replaced = 0
        self._may_create = True
        self._on_new_key = on_new_key
        self.life = self._open()
        self.dropped = self._dropped(others)
        self._key = self.life.node.key.public_hex
        if self._replaced:
            self._log_key()

    def _dropped(self, trusted: set[str]) -> list[str]:
        """The places that were trusted with this store before and aren't now; notes the new ones.

        Nothing is decided by it: it is to be told, for to forget a list is easily done.
        """
        ledger = self.life.node.ledger
        before = (ledger.store.meta(_TRUSTED) or b"").decode().split()
        if set(before) != trusted:
            ledger.put_meta(_TRUSTED, " ".join(sorted(trusted)).encode())
        return sorted(set(before) - trusted)

    async def run(self) -> None:
        """Live until `stop`, again and again as long as the store can be opened again.

        `life` has begun. Raises StoreError when its store can't be gone on with, ServerError
        for whatever else the server can't go on after.
        """
        while True:
            try:
                await self.life.over()
            except (StoreFailed, StoreDamaged, StoreOutdated) as error:
                await self._live_again(error)
            else:
                return

    async def stop(self) -> None:
        """Take nothing new, finish what was begun, flush."""
        self._stopping.set()
        await self.life.end(self._settings.limits.stop_s)

    def close(self) -> None:
        """Let go of the store; a second call does nothing."""
        self.life.node.ledger.store.close()

    async def _live_again(self, error: StoreError) -> None:
        """End this life and begin the next over what is on disk, or raise why not."""
        if not isinstance(self._given, str | Path):
            raise error
        if self.life.engine.commits:
            self._tries = 0
        await self.life.end(_PATIENCE_S)
        lost = self._lost()
        self.close()
        # Accepting whatever key comes next was meant for one start, not for each after an error.
        named = [host for host in self._settings.accept if host.key is not None]
        self._settings = replace(self._settings, accept=named)
        if lost is not None:
            error = lost
            self._replaceable(error)
            log.error("%s", error)
            self._may_create = True
        elif isinstance(error, StoreFailed):
            log.error("%s; opening the store again", error)
            self._may_create = False  # one that is gone by then is lost, not new
        else:
            self._set_aside(error)  # if even that fails, it must not be opened again
        await self._reopen(error)
        while lost is not None and self.life.node.key.public_hex == self._key:
            # A copy lies in its place: it has our key, but not all that was signed with it.
            self.close()
            self._set_aside(lost)
            await self._reopen(lost)
        key = self.life.node.key.public_hex
        if key != self._key:
            self._key = key
            self._log_key()
            if self._on_new_key is not None:
                self._on_new_key(key)
        self.life.begin()
        log.warning("the store is open again")

    def _lost(self) -> StoreOutdated | None:
        """Why the open store is not the one that would be opened next."""
        try:
            self.life.node.ledger.store.check()
        except StoreOutdated as error:
            return error
        except StoreError:
            return None
        return None

    def _log_key(self) -> None:
        """As an error, like what it follows from: whoever pins the old key has to know it."""
        log.error("this is a new server: its key is %s from now on", self._key)

    async def _reopen(self, error: StoreError) -> None:
        """Try until there is another life, or raise what stands against it for too long."""
        while True:
            self._tries += 1
            if self._tries > self._settings.limits.reopen_tries_max:
                raise error
            await self._wait()
            if self._stopping.is_set():
                raise error
            try:
                self.life = self._open()
            except (StoreDamaged, StoreForeign):
                raise
            except StoreError as again:  # a full disk fails the opening as well
                log.warning("%s; trying again", again)
                error = again
            else:
                return

    async def _wait(self) -> None:
        """Give a disk time to recover, longer with each try; a stop ends it."""
        limits = self._settings.limits
        seconds = min(limits.reopen_first_s * 2 ** (self._tries - 1), limits.reopen_max_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # -- opening ------------------------------------------------------------------------------

    def _open(self) -> Life:
        """A life over the store; over a new one if the store is damaged."""
        try:
            return self._life_over(self._opened())
        except StoreDamaged as error:
            self._set_aside(error)
        return self._life_over(self._opened())

    def _opened(self) -> Store:
        if isinstance(self._given, Store):
            return self._given
        if self._given is None:
            return MemoryStore(self._network)
        return open_store(self._given, self._network, create=self._may_create)

    def _life_over(self, store: Store) -> Life:
        try:
            return Life(Node(self._network, store, server_key(store), self._settings))
        except BaseException:
            store.close()
            raise

    def _set_aside(self, error: StoreError) -> None:
        """Move the store out of the way; raises if there is nobody to learn from."""
        path = self._replaceable(error)
        self._may_create = True
        kept = set_aside(path, "outdated" if isinstance(error, StoreOutdated) else "damaged")
        log.error(
            "%s; store %s is kept as %s, and a new one takes its place",
            error,
            shown(str(path), 200),
            shown(str(kept), 200),
        )

    def _replaceable(self, error: StoreError) -> str | Path:
        """Where the store is, if a new one may take its place; raises if not."""
        self._replaced += 1
        if not isinstance(self._given, str | Path) or self._replaced > _REPLACED_MAX:
            raise error
        if not self._others:
            raise StoreDamaged(
                f"{error}; nobody is trusted who could tell what was in it",
                "put a copy back: without one, every billot is its first owner's again",
            ) from error
        return self._given


def server_key(store: Store) -> PrivateKey:
    """The key in the store; a store without one gets it before anything is said."""
    seed = store.meta("key")
    if seed is None:
        key = PrivateKey.generate()
        batch = Batch.empty()
        batch.meta["key"] = key.seed
        store.commit(batch)
        return key
    return PrivateKey(seed)
