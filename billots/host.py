"""A host: where a server listens, and which key it is pinned to, if any."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from billots.errors import HostError
from billots.network import shown

DEFAULT_PORT = 7333
HOSTS_MAX = 1000

# A label that is empty or longer makes the resolver raise UnicodeError, which is no OSError.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME_LENGTH_MAX = 253
_HOST = re.compile(
    rf"(?:\[(?P<v6>[0-9A-Fa-f:.]{{2,45}})\]|(?P<name>{_LABEL}(?:\.{_LABEL})*))"
    r"(?::(?P<port>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?)?(?:#(?P<key>[0-9a-f]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Host:
    """``address:port``; `key` is the hex of the server key it is pinned to."""

    address: str
    port: int
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> Host:
        """One host, its port 7333 unless given; raises HostError."""
        hosts = _parse(text.strip())
        if len(hosts) != 1:
            raise HostError(f"one host, not a range: {shown(text)}")
        return hosts[0]

    @property
    def place(self) -> str:
        """``address:port`` without the key; IPv6 addresses in brackets."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, where keys are never remembered."""
        return is_loopback(self.address)

    def __str__(self) -> str:
        return self.place if self.key is None else f"{self.place}#{self.key}"


def is_loopback(address: str) -> bool:
    """Whether an address or host name means this machine."""
    if address == "localhost" or address.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def group_of(address: str) -> str:
    """What counts as one address: of IPv6 a /64, for whoever has one of it has all of it.

    >>> group_of("2001:db8::17"), group_of("192.0.2.17"), group_of("::ffff:192.0.2.17")
    ('2001:db8::/64', '192.0.2.17', '192.0.2.17')
    """
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))


def parse_hosts(text: str | Iterable[str]) -> list[Host]:
    """A list of hosts: words or commas between them, port ranges ``h:7333-7349`` in them.

    Repeated hosts count once, in the order of their first appearance. Raises HostError.
    """
    words = [text] if isinstance(text, str) else list(text)
    found: dict[str, Host] = {}
    for word in " ".join(words).replace(",", " ").split():
        for host in _parse(word):
            known = found.get(host.place)
            if known is not None and host.key is not None and known.key not in (None, host.key):
                raise HostError(f"two keys for one host: {host.place}")
            if known is None or known.key is None:
                found[host.place] = host
            if len(found) > HOSTS_MAX:
                raise HostError(f"more than {HOSTS_MAX} hosts")
    return list(found.values())


def _parse(word: str) -> list[Host]:
    match = _HOST.fullmatch(word)
    if match is None:
        hint = "a host looks like localhost:7333"
        if "#" in word:
            hint = "a pinned key is 64 lower-case hex digits: h:p#KEY"
        raise HostError(f"not a host: {shown(word)}", hint)
    if match["v6"] is not None:
        try:
            address = str(ipaddress.IPv6Address(match["v6"]))
        except ValueError:
            raise HostError(f"not an IPv6 address: {shown(word)}") from None
    else:
        address = match["name"].lower()
        if len(address) > _NAME_LENGTH_MAX:
            raise HostError(f"not a host: {shown(word)}")
    first = int(match["port"] or DEFAULT_PORT)
    last = int(match["last"] or first)
    if not 0 < first <= last <= 65535:
        raise HostError(
            f"not a port or range of ports: {shown(word)}",
            "ports are 1 to 65535, and a range goes up: 7333-7349",
        )
    if match["key"] is not None and first != last:
        raise HostError(f"one key can't be pinned to a range of ports: {shown(word)}")
    if last - first >= HOSTS_MAX:
        raise HostError(f"more than {HOSTS_MAX} hosts: {shown(word)}")
    return [Host(address, port, match["key"]) for port in range(first, last + 1)]
