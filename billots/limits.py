"""Every limit of a server, in one place, with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Defaults suit a small machine; DESIGN section 7 fixes those on the wire.

    Per-address limits don't count for loopback and trusted addresses, unless
    `exempt_loopback` is off.
    """

    frame_bytes_max: int = 128 * 1024
    frame_s: float = 10.0
    """From a frame's first byte to its LF."""
    idle_s: float = 300.0
    connections_max: int = 1000
    connections_per_address_max: int = 64
    in_flight_max: int = 256
    """Requests of one connection that wait for an answer; beyond it we stop reading."""
    out_bytes_max: int = 4 * 1024 * 1024
    """Bytes queued to a slow reader; beyond it the connection is dropped."""
    batch_max: int = 64
    depth_max: int = 8
    """Nesting inside of a request object."""
    cost_per_address_max: float = 2000.0
    """Bad or costly requests (about one signature check each) before `rate_limited`."""
    cost_decay_per_s: float = 100.0
    exempt_loopback: bool = True
    checkers_max: int | None = None
    """Processes that check signatures while there is much to check; None: one for each core."""
    unsettled_max: int = 512
    """Transfers that peers are voting on; beyond it wallets' new ones wait their turn."""
    unsettled_rows_max: int = 8192
    """The same, billots in them."""
    pending_max: int = 4096
    pending_per_connection_max: int = 256
    pending_s: float = 5.0
    seen_max: int = 32768
    hosts_max: int = 1000
    list_max: int = 1000
    changes_max: int = 256
    fetch_max: int = 64
    fetch_after_s: float = 0.1
    """How long a body may take from its own server before others are asked."""
    feed_every_s: float = 0.05
    votes_per_peer_max: int = 100_000
    bodies_max: int = 8192
    consults_per_s: float = 128.0
    """Billots that each trusted feed, rows in conflict, and all wallets together may each have
    us ask the trusted servers about."""
    consults_own_per_s: float = 4096.0
    """The same for what we want to know at a start, and without our memory."""
    consults_asked_max: int = 4096
    consults_wanted_max: int = 50_000
    """Billots that each of these causes may have waiting to be asked about."""
    consult_after_s: float = 1.0
    """How long feeds may take to settle a billot before it is asked about."""
    patience_s_max: float = 10.0
    """When servers are slow, what is waited for before asking is waited for up to so long."""
    consult_again_s: float = 1.0
    consult_again_s_max: float = 60.0
    receipt_after_s: float = 1.0
    """How long a receipt is kept in memory alone, for by then all have voted as a rule."""
    receipt_after_s_max: float = 3.0
    """The same when servers are slow."""
    receipt_rows_max: int = 16_384
    """Billots whose receipts are kept in memory alone; beyond it the oldest wait no longer."""
    questions_max: int = 1024
    """Questions that wait until this server knows what it may say."""
    question_s: float = 3.0
    dial_first_s: float = 0.05
    dial_max_s: float = 5.0
    dial_timeout_s: float = 3.0
    announce_dials_per_s: float = 0.1
    reopen_first_s: float = 0.1
    reopen_max_s: float = 2.0
    reopen_tries_max: int = 6
    """How often a store that fails is opened again without a commit in between."""
    stop_s: float = 5.0
    """How long a stop waits for what was begun."""

    @property
    def public(self) -> dict[str, int]:
        """What `info` tells clients."""
        return {
            "frame_bytes": self.frame_bytes_max,
            "batch": self.batch_max,
            "in_flight": self.in_flight_max,
            "billots": 256,
            "list": self.list_max,
            "fetch": self.fetch_max,
        }
