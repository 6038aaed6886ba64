"""Whose address a request comes from, whatever its headers say."""

import pytest

from billots.errors import InputError
from billots.web.visitors import NOBODY, parse_proxy, visitor


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::4", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", NOBODY),
        (None, NOBODY),
        ("/run/socket", NOBODY),
    ],
)
def test_an_address_as_limits_count_it(peer, counted):
    assert visitor(peer, [], None) == counted


@pytest.mark.parametrize("proxy", [None, "192.0.2.77", "::1"])
def test_attack_forged_forwarding_headers_of_a_stranger_count_for_nothing(proxy):
    for forged in (["10.0.0.1"], ["10.0.0.1, 10.0.0.2"], ["a", "10.0.0.3"], ["192.0.2.77"]):
        assert visitor("192.0.2.1", forged, proxy) == "192.0.2.1"


@pytest.mark.parametrize(
    ("headers", "counted"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["10.9.8.7, 10.9.8.6, 192.0.2.1"], "192.0.2.1"),
        (["10.9.8.7", "192.0.2.1"], "192.0.2.1"),
        (["10.9.8.7", "10.9.8.6,192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:5000"], "192.0.2.1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["[2001:db8:1:2::9]:443"], "2001:db8:1:2::/64"),
        (["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
        (["10.9.8.7, unknown"], "127.0.0.1"),
        (["10.9.8.7, "], "127.0.0.1"),
        (["<script>"], "127.0.0.1"),
    ],
)
def test_attack_forged_forwarding_headers_before_the_proxys_own_count_for_nothing(headers, counted):
    assert visitor("127.0.0.1", headers, "127.0.0.1") == counted
    assert visitor("::ffff:127.0.0.1", headers, "127.0.0.1") == counted


def test_what_is_no_address_of_a_proxy():
    assert parse_proxy("::1") == "::1"
    for text in ("", "localhost", "127.0.0.1:80", "10.0.0.0/8"):
        with pytest.raises(InputError, match="not an address"):
            parse_proxy(text)
