"""Every limit of a change server, with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLimits:
    """What strangers may have of a change server. Nobody is exempt, loopback neither."""

    frame_bytes_max: int = 128 * 1024
    frame_s: float = 10.0
    """From a frame's first byte to its LF."""
    idle_s: float = 120.0
    connections_max: int = 256
    connections_per_address_max: int = 32
    inbox_max: int = 16
    """Requests of one connection that wait for their turn; beyond it we stop reading."""
    out_bytes_max: int = 1024 * 1024
    depth_max: int = 8
    valid_s: int = 60
    """How long a quote holds, and its notes are reserved."""
    quotes_max: int = 256
    """Quotes that hold at one time."""
    quotes_per_address_max: int = 5
    """Quotes that one address may leave unpaid; each costs nothing again after `forget_s`."""
    forget_s: float = 300.0
    addresses_max: int = 10_000
    final_s: float = 20.0
    """How long a customer's transfer may take to be final, from when it is shown."""
    answer_s: float = 25.0
    """How long an answer may take; the work goes on without it."""
    exchanges_max: int = 16
    """Exchanges that are worked on at one time; the others wait."""
    looks_max: int = 4
    """Unpaid quotes that have ended, looked at at one time for money that came in."""
    again_s_max: float = 60.0
    """What can't be done now is tried again, after pauses that double up to this."""
    refresh_s: float = 60.0
    """How often the float is looked at for what was put in or taken out by hand."""
    look_again_s: float = 3600.0
    """The newest quotes that ended no longer ago are looked at each time the float is."""
    look_back_s: int = 7 * 86_400
    """Unpaid quotes so old are still looked at, at a start, for money that came in."""
