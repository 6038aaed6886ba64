"""A server's new key, taken because the user says so (DESIGN, section 6)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from billots.circle import Circle
from billots.errors import ProtocolError, ServerKeyChanged
from billots.host import Host
from billots.known_servers import KnownServers, Standing, key_changed
from billots.network import Network
from billots.outcomes import KeyAccepted
from billots.quorum import Quorum


class _Unjudged(KnownServers):
    """Takes any key for now: which one it is has to be seen before it can be accepted."""

    def standing(self, host: Host, network_id: str, key: str) -> Standing:
        """Whatever key signs the answer is looked at, and remembered by nobody yet."""
        del host, network_id, key
        return Standing.PINNED


async def accept_key(
    host: Host,
    trusted: Iterable[Host],
    *,
    data_dir: Path | None,
    network: Network | None,
    timeout_s: float,
) -> KeyAccepted:
    """Ask a server for its signed word, and remember the key that signed it.

    A host with a key (``h:p#key``) is accepted with that key alone. Raises ServerKeyChanged if
    it shows another, or if `trusted` pins it to another; Unreachable, WrongNetwork,
    ProtocolError, JournalError.
    """
    known = KnownServers(data_dir)
    circle = Circle(
        [Host(host.address, host.port)],
        quorum=Quorum("1"),
        known=_Unjudged(data_dir),
        network=network,
        timeout_s=timeout_s,
    )
    async with circle:
        (link,) = circle.links
        await circle.greet(link)
        circle.require_one()
        if link.key is None:
            raise link.error or ProtocolError(f"{host.place} {link.problem}")
        if host.key not in (None, link.key):
            raise key_changed(host)
        pinned = next((h.key for h in trusted if h.place == host.place and h.key), link.key)
        if pinned != link.key:
            raise ServerKeyChanged(
                f"{host.place} is pinned to another key in the list of trusted servers",
                f"if its key is new, put {host.place}#{link.key} there",
            )
        network_id = circle.network.id
        old = known.key(Host(host.address, host.port), network_id)
        known.accept(host, network_id, link.key)
        return KeyAccepted(host, circle.network, old, link.key, remembered=not host.loopback)
