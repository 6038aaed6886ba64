"""How a link begins: who is there, does he hold the key, and what does he have of us.

`info` says which network, a statement under a fresh nonce proves the key, and `subscribe` tells
how far both sides are. A trusted server that has votes under our key which our store doesn't
know shows that the store is an old copy.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from billots.feed import FeedBatch, TransferRow
from billots.messages import PROTOCOL, Announce, Info, Subscribed, WhoOwns
from billots.node.peers import Link
from billots.statement import Statement

if TYPE_CHECKING:
    from billots.node.links import Links
    from billots.node.node import Node

log = logging.getLogger("billots.links")


class Greeting:
    """The first words on every link of a node."""

    def __init__(self, node: Node, links: Links) -> None:
        self._node = node
        self._links = links
        self._foreign: set[int] = set()
        self._changed: set[tuple[int, str]] = set()

    def introduced(self, link: Link, info: Info) -> None:
        """The server said who it is. A signature has to prove it before anything is believed."""
        node, place = self._node, self._links.place(link)
        if info.network.id != node.network.id or info.protocol != PROTOCOL:
            if link.index not in self._foreign:  # once, not at every redial
                self._foreign.add(link.index)
                log.error("%s serves another network or protocol; not trusted", place)
            node.hangups.add(link.id)
            return
        self._foreign.discard(link.index)
        link.nonce = node.settings.nonce()
        # As in a consult: who is just starting answers, too, and says that it knows nothing.
        question = WhoOwns((self._any_billot,), link.nonce, consult=True)
        self._links.call(link, "who_owns", question)

    @property
    def _any_billot(self) -> str:
        return f"{next(iter(self._node.network.denominations))}1"

    def proved(self, link: Link, statement: Statement) -> None:
        """The server signed with a key: from now on it is the one behind this entry.

        Without the proof, one who shows another's key, or ours, would take an entry out of n.
        """
        node, entry = self._node, self._node.trust.entries[link.index]
        place, key = entry.host.place, statement.server
        if not statement.answers(node.network.id, link.nonce, (self._any_billot,)):
            self._links.misbehaved(link.id, "a statement that proves no key")
            return
        known = entry.host.key or self._links.remembered.key(entry.host)
        if known is not None and known != key:
            if (link.index, key) not in self._changed:  # once, not at every redial
                self._changed.add((link.index, key))
                log.error(
                    "%s shows another key than the one known for it; its votes do not count "
                    "(ask who runs it; if its key is new, start with --accept-key %s#%s)",
                    place,
                    place,
                    key,
                )
            node.hangups.add(link.id)
            return
        before = (node.trust.n, node.trust.keys)
        replaced = node.trust.learn(link.index, key)
        if replaced is not None:
            node.rounds.forget(replaced)
        if before != (
            node.trust.n,
            node.trust.keys,
        ):  # who only hangs up and comes back costs little
            node.rounds.recount()
        if entry.own:
            log.info("%s is this server itself", place)
            node.hangups.add(link.id)
        else:
            link.key = key
            self._links.remembered.newest(key)  # nothing older takes its place
            self._links.remembered.learn(entry.host, key)
            self._links.follow(link)

    def subscribed(self, link: Link, subscribed: Subscribed) -> None:
        """We follow its feed from now on; it showed the newest that it has of ours."""
        node, key = self._node, link.key or ""
        if self._is_newer(subscribed.yours):
            log.error(
                "%s has votes under this server's key that are not in its store",
                self._links.place(link),
            )
            node.outdated = True
            return
        node.memory.heard(key)
        link.streams_begun += 1
        if not link.is_current:
            return
        if node.rounds.feeds.votes.newest(key) < link.since:
            self._links.follow(link)  # meanwhile there was something to be read once more
            return
        link.received_lsn = link.since
        node.memory.follow(key, subscribed.lsn, link.since)
        self._links.progress.follow(key, link.since, subscribed.lsn)
        node.rounds.look()
        link.up = True
        log.info(
            "following %s from lsn %d to %d",
            self._links.place(link),
            link.since,
            subscribed.lsn,
        )
        if self._node.settings.port:
            announce = Announce(self._node.settings.port, self._node.key.public_hex)
            self._links.call(link, "announce", announce)

    def _is_newer(self, batch: FeedBatch | None) -> bool:
        """Whether we signed this and don't know of it: then our store is an old copy.

        A bare number would prove nothing: anybody may name one.
        """
        node = self._node
        if batch is None or batch.server != node.key.public_hex:
            return False
        rows = batch.parsed()
        if not rows or not batch.is_signed(node.network.id):
            return False
        if rows[-1].lsn > node.ledger.lsn:
            return True
        entries = ((row, node.ledger.store.entry(row.lsn)) for row in rows)
        return any(
            isinstance(row, TransferRow)
            and entry is not None
            and entry.transfer.id != row.transfer_id
            for row, entry in entries
        )
