"""The bounded list of hosts."""

import pytest

from billots.errors import HostError
from billots.host import Host
from billots.hosts import Hosts

KEY, OTHER = "1" * 64, "2" * 64


def test_hosts_are_kept_in_order_and_once():
    hosts = Hosts([Host("b.example", 1), Host("a.example", 1)])
    assert hosts.add_host("c.example:1")
    assert not hosts.add_host("a.example:1")
    assert [host.place for host in hosts.get_hosts()] == [
        "b.example:1", "a.example:1", "c.example:1"
    ]  # fmt: skip
    assert len(hosts) == 3
    assert hosts.host_exists("a.example:1")
    assert hosts.host_exists(Host("a.example", 1, KEY))
    assert not hosts.host_exists("a.example:2")


def test_hosts_are_removed():
    hosts = Hosts([Host("a.example", 1)])
    assert hosts.remove_host(f"a.example:1#{KEY}")
    assert not hosts.remove_host(Host("a.example", 1))
    assert hosts.get_hosts() == []


def test_a_key_is_added_but_never_changed():
    hosts = Hosts([Host("a.example", 1)])
    assert hosts.add_host(f"a.example:1#{KEY}")
    assert not hosts.add_host(f"a.example:1#{OTHER}")
    assert not hosts.add_host("a.example:1")
    assert hosts.get_hosts() == [Host("a.example", 1, KEY)]


def test_attack_a_flood_of_hosts_washes_nobody_out():
    hosts = Hosts([Host("honest.example", 1)], hosts_max=1000)
    added = [hosts.add_host(Host("10.0.0.1", port)) for port in range(1, 2001)]
    assert sum(added) == 999
    assert len(hosts) == 1000
    assert hosts.host_exists("honest.example:1")
    assert hosts.add_host(f"honest.example:1#{KEY}")


def test_what_is_no_host_is_refused():
    with pytest.raises(HostError):
        Hosts().add_host("no host")
