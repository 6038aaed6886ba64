"""What a node keeps of trusted servers: how far it read their feeds, and which keys they have."""

from __future__ import annotations

import msgspec

from billots.feed import FeedBatch
from billots.host import Host
from billots.ledger import Ledger
from billots.node.feeds import Feeds

_RETIRED_MAX = 16


class Remembered:
    """Small named values in the store, written with the batches of rounds."""

    def __init__(self, ledger: Ledger, feeds: Feeds) -> None:
        self._ledger = ledger
        self._feeds = feeds
        self._noted: dict[str, int] = {}
        self._noted_newest: dict[str, FeedBatch] = {}
        self._known: dict[str, bytes] = {}
        self._new_known: list[str] = []

    def newest(self, key: str) -> FeedBatch | None:
        """The newest feed batch that we have of a server."""
        newest = self._feeds.newest
        if key not in newest:
            kept = self._ledger.store.meta(f"newest/{key}")
            if kept is not None:
                newest[key] = self._noted_newest[key] = msgspec.json.decode(kept, type=FeedBatch)
        return newest.get(key)

    def cursor(self, key: str) -> int:
        """The lsn up to which a server's feed has been read."""
        kept = self._ledger.store.meta(f"cursor/{key}")
        return max(int(kept or b"0"), self._feeds.votes.newest(key))

    @property
    def has_keys(self) -> bool:
        """Whether there are keys to be written down."""
        return bool(self._new_known)

    def note(self) -> None:
        """Write down how far each feed is dealt with, beside what it settled; and new keys.

        Only at the end of a round whose batch is to be written: it must not change on its way.
        """
        names, self._new_known = self._new_known, []
        for name in names:
            self._ledger.put_meta(name, self._known[name])
        for key, batch in self._feeds.newest.items():
            cursor = self._feeds.cursor(key)
            if key not in self._noted:
                self._noted[key] = int(self._ledger.store.meta(f"cursor/{key}") or b"0")
            if cursor > self._noted[key]:
                self._noted[key] = cursor
                self._ledger.put_meta(f"cursor/{key}", b"%d" % cursor)
            if batch is not self._noted_newest.get(key):  # though the cursor may stand
                self._noted_newest[key] = batch
                self._ledger.put_meta(f"newest/{key}", msgspec.json.encode(batch))

    def key(self, host: Host) -> str | None:
        """The key that a host showed first; never of one on this machine."""
        if host.loopback:
            return None
        return self._kept(f"known/{host.place}").decode() or None

    def _kept(self, name: str) -> bytes:
        known = self._known.get(name)
        return known if known is not None else self._ledger.store.meta(name) or b""

    def _keep(self, name: str, value: bytes) -> None:
        self._known[name] = value
        self._new_known.append(name)

    def learn(self, host: Host, key: str) -> None:
        """Remember the key of a host that is new, elsewhere and not pinned."""
        if not host.loopback and host.key is None and self.key(host) is None:
            self._keep(f"known/{host.place}", key.encode())

    def accept(self, host: Host) -> None:
        """Let a host have another key: the one it is named with, else the next that it shows.

        The one it had counts for nothing any more, but in receipts (`Electorate`). Only the
        operator may decide that.
        """
        before = self.key(host)
        if host.loopback or before == host.key:
            return
        self._keep(f"known/{host.place}", (host.key or "").encode())
        if before is not None and before not in self.retired(host):
            name = f"retired/{host.place}"
            self._keep(
                name, b" ".join([*self._kept(name).split(), before.encode()][-_RETIRED_MAX:])
            )

    def retired(self, host: Host) -> list[str]:
        """Keys that a host had before."""
        return self._kept(f"retired/{host.place}").decode().split()
