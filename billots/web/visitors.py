"""Who asks: the address that a limit is for, whatever headers a request brings.

The address is that of the connection. Only if it comes from the proxy that the operator has named
does a header count, and of it the last entry alone: that one the proxy wrote itself, all before it
anybody may have written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from billots.errors import InputError
from billots.host import group_of
from billots.network import shown

NOBODY = "unknown"


def plain_address(text: str) -> str | None:
    """An IP address in its one spelling, an IPv4 one without its IPv6 coat; None if it is none.

    >>> plain_address("::ffff:192.0.2.1"), plain_address("fe80::1%eth0"), plain_address("x")
    ('192.0.2.1', 'fe80::1', None)
    """
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def parse_proxy(text: str) -> str:
    """The address of a proxy; raises InputError."""
    found = plain_address(text)
    if found is None:
        raise InputError(
            f"not an address: {shown(text)}",
            "--behind-proxy takes the address that the proxy connects from, such as 127.0.0.1",
        )
    return found


def visitor(peer: str | None, forwarded: Sequence[str], proxy: str | None) -> str:
    """Where a request comes from, as limits count it: of IPv6 a /64, which is one site's.

    `peer` is the other end of the connection, `forwarded` its X-Forwarded-For headers in order,
    `proxy` the one proxy that is believed. What a proxy wrote and is no address counts as its own.
    """
    address = plain_address(peer or "")
    if address is None:
        return NOBODY
    if proxy is not None and address == proxy and forwarded:
        address = _entry(forwarded[-1].rpartition(",")[2].strip()) or address
    return group_of(address)


def _entry(text: str) -> str | None:
    """An address of a list, which some proxies write with a port."""
    if text.startswith("["):
        return plain_address(text[1:].partition("]")[0])
    if text.count(":") == 1:
        text = text.partition(":")[0]
    return plain_address(text)
