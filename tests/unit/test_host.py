"""Hosts: addresses, ports, ranges and pins (DESIGN, sections 1, 6 and 11)."""

import pytest

from billots.errors import HostError
from billots.host import HOSTS_MAX, Host, is_loopback, parse_hosts

KEY, OTHER = "0123456789abcdef" * 4, "f" * 64


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", Host("localhost", 7333)),
        ("localhost:7333", Host("localhost", 7333)),
        ("mint1.billots.org:7334", Host("mint1.billots.org", 7334)),
        ("MINT1.Billots.ORG:1", Host("mint1.billots.org", 1)),
        ("10.0.0.1:65535", Host("10.0.0.1", 65535)),
        ("[::1]:7333", Host("::1", 7333)),
        ("[2001:DB8:0:0::1]", Host("2001:db8::1", 7333)),
        (f"h:5#{KEY}", Host("h", 5, KEY)),
        (f"[::1]#{KEY}", Host("::1", 7333, KEY)),
        ("  h:5\n", Host("h", 5)),
        ("h:5-5", Host("h", 5)),
        ("my_host-2:5", Host("my_host-2", 5)),
    ],
)
def test_a_host_is_read(text, host):
    assert Host.parse(text) == host


@pytest.mark.parametrize("text", ["h:5", f"h:5#{KEY}", "[::1]:7333", f"[2001:db8::1]:9#{KEY}"])
def test_a_host_prints_as_it_is_read(text):
    assert str(Host.parse(text)) == text


def test_a_place_is_a_host_without_its_key():
    assert Host.parse(f"[::1]:5#{KEY}").place == "[::1]:5"
    assert Host.parse(f"h:5#{KEY}").place == "h:5"


@pytest.mark.parametrize(
    "text",
    [
        "", ":7333", "h:", "h:0", "h:65536", "h:99999", "h:123456", "h:-1", "h:7-5", "h:0-5",
        "h:7-", "h:７", "h :7", "h: 7", "http://h:7", "h/x", "user@h:7", "h:7:8", "::1",
        "[::1", "::1]:7", "[]:7", "[1.2.3.4]:7", "[:::]:7", "[g::1]:7", "[1::2::3]:7",
        "[fe80::1%eth0]:7", "h#", f"h:7#{KEY[1:]}", f"h:7#{KEY}0", f"h:7#{KEY.upper()}",
        f"#{KEY}", f"h:7-8#{KEY}", "-h:7", "h-:7", ".h:7", "h.:7", "hé:7", "h\0:7", "h\x1b:7",
        "h:7,h:8", "h:7 h:8",
    ],
)  # fmt: skip
def test_what_is_no_host(text):
    with pytest.raises(HostError):
        Host.parse(text)


@pytest.mark.parametrize("name", ["a..b", "a" * 64, "a." + "b" * 64, ".".join(["abc"] * 64)])
def test_attack_a_name_that_breaks_the_resolver(name):
    """The first three make a look-up raise UnicodeError; the last is over 253 characters."""
    with pytest.raises(HostError):
        Host.parse(f"{name}:7333")


@pytest.mark.parametrize("name", ["a" * 63, ".".join(["abc"] * 63), "a.b.c", "1.2.3.4"])
def test_a_name_that_is_taken_can_be_looked_up(name):
    assert Host.parse(name).address.encode("idna")


def test_a_range_is_not_one_host():
    with pytest.raises(HostError, match="one host, not a range"):
        Host.parse("h:5-6")


def test_attack_control_characters_in_a_host():
    with pytest.raises(HostError) as caught:
        Host.parse("\x1b[2Jh:5")
    assert "\\x1b" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a:1,b:2,c:3",
        "a:1 b:2 c:3",
        "a:1, b:2, c:3",
        ",a:1,,b:2 ,\n c:3,",
        ["a:1", "b:2", "c:3"],
        ["a:1,", "b:2,c:3"],
        ("a:1 b:2", "c:3"),
    ],
)
def test_words_and_commas_stand_between_hosts(text):
    assert parse_hosts(text) == [Host("a", 1), Host("b", 2), Host("c", 3)]


@pytest.mark.parametrize("text", ["", " , ", [], [""]])
def test_no_hosts(text):
    assert parse_hosts(text) == []


def test_a_range_of_ports_names_all_of_them():
    hosts = parse_hosts("localhost:7333-7349")
    assert len(hosts) == 17
    assert [host.port for host in hosts] == list(range(7333, 7350))


def test_repeated_hosts_count_once_in_the_order_of_their_first_appearance():
    assert parse_hosts("b:1 a:1 B:1 b:1-2") == [Host("b", 1), Host("a", 1), Host("b", 2)]


def test_a_pin_is_kept_wherever_it_stands():
    assert parse_hosts(f"h:1 a:1 h:1#{KEY}") == [Host("h", 1, KEY), Host("a", 1)]
    assert parse_hosts(f"h:1#{KEY} h:1") == [Host("h", 1, KEY)]
    assert parse_hosts(f"h:1#{KEY} h:1#{KEY}") == [Host("h", 1, KEY)]


def test_one_key_is_not_pinned_to_a_range():
    with pytest.raises(HostError, match="one key can't be pinned to a range"):
        parse_hosts(f"h:5-6#{KEY}")


def test_attack_two_keys_for_one_host():
    with pytest.raises(HostError, match="two keys for one host: h:1"):
        parse_hosts(f"h:1#{KEY} h:1#{OTHER}")


def test_one_bad_host_spoils_the_list():
    with pytest.raises(HostError, match="not a host: b:x"):
        parse_hosts("a:1, b:x, c:3")


def test_attack_a_list_of_more_hosts_than_anybody_keeps():
    assert len(parse_hosts("h:1-1000")) == HOSTS_MAX
    for text in ("h:1-1001", "h:1-1000 g:1", "h:1-65535"):
        with pytest.raises(HostError, match="more than 1000 hosts"):
            parse_hosts(text)


@pytest.mark.parametrize(
    "address",
    ["localhost", "a.localhost", "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"],
)
def test_this_machine(address):
    assert is_loopback(address)
    assert Host(address, 1).loopback


@pytest.mark.parametrize(
    "address",
    ["localhost.org", "notlocalhost", "10.0.0.1", "128.0.0.1", "::2", "::ffff:10.0.0.1",
     "127.0.0.1.org", "mint1.billots.org"],
)  # fmt: skip
def test_attack_a_name_that_only_looks_like_this_machine(address):
    assert not is_loopback(address)
    assert not Host(address, 1).loopback


def test_hosts_sort_by_address_and_port():
    assert sorted([Host("b", 1), Host("a", 10), Host("a", 9)]) == parse_hosts("a:9 a:10 b:1")
