"""A bounded list of hosts: those configured, and those that announced themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from billots.host import Host


class Hosts:
    """At most `hosts_max` hosts by place.

    Trust is never learned: a host in here is an address that answered once, nothing more. A
    full list takes no newcomer, so that a flood of announcements can't wash honest ones out.
    """

    def __init__(self, hosts: Iterable[Host] = (), hosts_max: int = 1000) -> None:
        self._hosts_max = hosts_max
        self._hosts: dict[str, Host] = {}
        for host in hosts:
            self.add_host(host)

    def add_host(self, host: Host | str) -> bool:
        """Add a host, or the key of one that is known without; False if nothing changed."""
        host = Host.parse(host) if isinstance(host, str) else host
        known = self._hosts.get(host.place)
        if known is None:
            if len(self._hosts) >= self._hosts_max:
                return False
        elif known.key is not None or host.key is None:
            return False
        self._hosts[host.place] = host if known is None else replace(known, key=host.key)
        return True

    def remove_host(self, host: Host | str) -> bool:
        """Forget a host; False if it wasn't there."""
        host = Host.parse(host) if isinstance(host, str) else host
        return self._hosts.pop(host.place, None) is not None

    def host_exists(self, host: Host | str) -> bool:
        """Whether a host at this place is in the list."""
        host = Host.parse(host) if isinstance(host, str) else host
        return host.place in self._hosts

    def get_hosts(self) -> list[Host]:
        """All hosts, in the order in which they were added."""
        return list(self._hosts.values())

    def __len__(self) -> int:
        return len(self._hosts)
