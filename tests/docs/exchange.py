"""The frames of docs/protocol.rst: one real node, fixed keys, the same bytes at every run.

``python tests/docs/exchange.py`` puts them into the document anew, where a comment
``.. frames: <name>`` stands before a literal block. A test compares the two.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from billots.crypto import PrivateKey, verify
from billots.feed import FeedBatch, TransferRow
from billots.holding import Holding, Status
from billots.host import Host
from billots.messages import Pair, SendTransfer, Settle
from billots.mock import mock_key
from billots.network import Network
from billots.node import Node, Settings
from billots.receipt import FeedVote, Receipt, SignedVote
from billots.statement import Statement
from billots.store import MemoryStore
from billots.transfer import Transfer

PROTOCOL = Path(__file__).resolve().parents[2] / "docs" / "protocol.rst"
BLOCK = re.compile(r"(\.\. frames: (?P<name>\S+)\n\n::\n\n)(?P<frames>(?:   .*\n)+)")

NETWORK = Network.shipped("test")
SERVER, PEER, OTHER = (
    PrivateKey(hashlib.sha256(f"billots vectors {name}".encode()).digest())
    for name in ("server", "carol", "dave")
)
NONCE = "00112233445566778899aabbccddeeff"
CLIENT, FOLLOWER, WATCHER = 1, 2, 3


@dataclass
class Frame:
    """One line on the wire; `sent` by the client."""

    sent: bool
    text: str

    def __str__(self) -> str:
        return f"{'-->' if self.sent else '<--'} {self.text}"


class Exchange:
    """A server and three connections to it. Who trusts nobody settles at once."""

    def __init__(self, *trusted: Host) -> None:
        settings = Settings(
            name="example", version="1.0", port=7333, started=1_700_000_000, trusted=trusted
        )
        self._store = MemoryStore(NETWORK)
        self._node = Node(NETWORK, self._store, SERVER, settings)
        self._now = 0.0
        for conn in (CLIENT, FOLLOWER, WATCHER):
            self._node.opened(conn, "127.0.0.1", exempt=True)

    def say(self, line: str, conn: int = CLIENT) -> list[Frame]:
        """One line to the server, and the lines that come back on the same connection."""
        self._now += 1
        self._node.received(conn, [line.encode()], self._now)
        while self._node.has_work:
            checks = self._node.checks()
            batch = self._node.judge([verify(*check) for check in checks], self._now)
            if batch is not None:
                self._store.commit(batch)
            self._node.committed(self._now, written=batch is not None)
        return [Frame(sent=True, text=line), *self.heard(conn)]

    def heard(self, conn: int) -> list[Frame]:
        """What the server has sent on a connection since the last look."""
        return [Frame(sent=False, text=line.decode()) for line in self._node.out.pop(conn, [])]

    def call(self, method: str, params: object = None, conn: int = CLIENT) -> list[Frame]:
        """One request."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params is not None:
            request["params"] = msgspec.to_builtins(params)
        return self.say(json.dumps(request, separators=(",", ":")), conn)


def exchanges() -> dict[str, list[Frame]]:
    """Every example, by its name in the document."""
    user1, user2, user3 = (mock_key(name) for name in ("user1", "user2", "user3"))
    paid = Transfer.sign(NETWORK, user1, user2.owner, [("a-1", 1), ("b-1", 1)])
    second = Transfer.sign(NETWORK, user1, user3.owner, [("a-1", 1)])
    onward = Transfer.sign(NETWORK, user2, user3.owner, [("a-1", 2)])
    e = Exchange()
    e.call("subscribe", {"since": None, "me": None}, FOLLOWER)
    follow = {"since": {"key": SERVER.public_hex, "lsn": 0}, "me": PEER.public_hex}
    found = {
        "info": e.call("info"),
        "ping": e.call("ping"),
        "hosts": e.call("hosts"),
        "who_owns": e.call("who_owns", {"billots": ["a-1", "k-7"]}),
        "who_owns-nonce": e.call("who_owns", {"billots": ["a-1"], "nonce": NONCE}),
        "list": e.call("list", {"owner": mock_key("mint").owner, "limit": 2}),
        "subscribe": e.call("subscribe", follow, FOLLOWER),
        "subscribe-owner": e.call("subscribe", {"owner": user2.owner}, WATCHER),
        "transfer": e.call("transfer", SendTransfer.of(paid, NONCE)),
        "feed": e.heard(FOLLOWER),
        "transferred": e.heard(WATCHER),
        "who_owns-proof": e.call("who_owns", {"billots": ["b-1"], "proof": True}),
        "list-moved": e.call("list", {"owner": user2.owner}),
        "changes": e.call("changes", {"since": 0, "limit": 1}),
        "fetch": e.call("fetch", {"transfer_ids": [paid.id]}),
        "evidence-null": e.call("evidence", {"billot": "a-1"}),
        "conflicting": e.call("transfer", SendTransfer.of(second)),
        "conflict-heard": e.heard(FOLLOWER),
        "conflict": e.call("conflict", Pair(paid, second)),
        "evidence": e.call("evidence", {"billot": "a-1"}),
        "announce": e.call("announce", {"port": 7334, "key": PEER.public_hex}),
    }
    e.call("transfer", SendTransfer.of(onward))
    found["stale"] = e.call("transfer", SendTransfer.of(paid))
    found["unknown"] = e.call("who_owns", {"billots": ["a-10001"]})
    found["batch"] = e.say(
        '[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":"b","method":"pay"}]'
    )
    found["parse"] = e.say('{"jsonrpc":"2.0","id":1,"method":')
    found["params"] = e.call("who_owns", {"billots": []})
    return found | newcomer(Transfer.sign(NETWORK, user1, user2.owner, [("c-1", 1)]))


def newcomer(paid: Transfer) -> dict[str, list[Frame]]:
    """A new server of three, which has read nothing, and is shown what the others signed."""
    e = Exchange(Host("a.org", 7333, PEER.public_hex), Host("b.org", 7333, OTHER.public_hex))
    receipt = Receipt(paid, (stated(PEER, paid), fed(OTHER, paid)))
    one_vote = Receipt(paid, receipt.votes[:1])
    return {
        "who_owns-unknown": e.call("who_owns", {"billots": ["c-1"], "consult": True}),
        "settle-bad": e.call("settle", Settle((one_vote,))),
        "settle": e.call("settle", Settle((receipt,), NONCE)),
    }


def stated(key: PrivateKey, paid: Transfer) -> SignedVote:
    """A vote as a statement."""
    (billot, seq), *_ = paid.billots
    holding = Holding(seq, paid.sender, paid.to, Status.HELD)
    statement = Statement.make(NETWORK, key.public_hex, [(billot, holding)]).sign(key, NONCE)
    return SignedVote(statement=statement.signed())


def fed(key: PrivateKey, paid: Transfer) -> SignedVote:
    """A vote as the second of a batch's two rows."""
    rows = [TransferRow(6, "0" * 64), TransferRow(7, paid.id)]
    return SignedVote(feed=FeedVote.of(FeedBatch.sign(NETWORK.id, key, rows, ()), 1))


def written(text: str) -> dict[str, list[str]]:
    """The frames that stand in the document, by name."""
    return {
        block["name"]: [line.strip() for line in block["frames"].splitlines()]
        for block in BLOCK.finditer(text)
    }


def refreshed(text: str) -> str:
    """The document with its frames anew."""
    frames = exchanges()

    def block(match: re.Match[str]) -> str:
        return match[1] + "".join(f"   {frame}\n" for frame in frames[match["name"]])

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    PROTOCOL.write_text(refreshed(PROTOCOL.read_text("utf-8")), "utf-8")
