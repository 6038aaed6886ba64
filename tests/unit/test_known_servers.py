"""Server keys remembered on first use."""

import stat

import pytest

from billots.errors import JournalError, ServerKeyChanged
from billots.host import Host
from billots.known_servers import KnownServers, Standing, key_changed

NET, OTHER_NET = "0" * 32, "1" * 32
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64
HOST = Host("mint.example.org", 7333)


def remembered(tmp_path, host=HOST, key=ONE):
    known = KnownServers(tmp_path)
    known.remember(host, NET, key)
    known.save()


def test_a_new_key_is_remembered_and_then_known(tmp_path):
    known = KnownServers(tmp_path)
    assert known.standing(HOST, NET, ONE) is Standing.NEW
    known.remember(HOST, NET, ONE)
    assert known.standing(HOST, NET, ONE) is Standing.KNOWN
    assert known.standing(HOST, NET, TWO) is Standing.CHANGED
    known.save()
    again = KnownServers(tmp_path)
    assert again.standing(HOST, NET, ONE) is Standing.KNOWN
    assert again.standing(HOST, NET, TWO) is Standing.CHANGED
    assert again.standing(HOST, OTHER_NET, TWO) is Standing.NEW
    assert again.standing(Host("mint.example.org", 7334), NET, TWO) is Standing.NEW
    assert (tmp_path / "known_servers").read_text() == f"mint.example.org:7333 {NET} {ONE}\n"
    assert stat.S_IMODE((tmp_path / "known_servers").stat().st_mode) == 0o600


def test_a_changed_key_is_not_taken_by_remembering(tmp_path):
    remembered(tmp_path)
    remembered(tmp_path, key=TWO)
    assert KnownServers(tmp_path).key(HOST, NET) == ONE


def test_a_pinned_key_wins_over_the_one_remembered(tmp_path):
    remembered(tmp_path)
    known = KnownServers(tmp_path)
    pinned = Host(HOST.address, HOST.port, TWO)
    assert known.standing(pinned, NET, TWO) is Standing.PINNED
    assert known.standing(pinned, NET, ONE) is Standing.CHANGED
    assert known.key(pinned, NET) == TWO
    known.remember(pinned, NET, TWO)
    known.save()
    assert KnownServers(tmp_path).key(HOST, NET) == ONE


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_is_never_remembered_and_reads_nothing(tmp_path, address):
    known = KnownServers(tmp_path / "none")
    host = Host(address, 7333)
    assert known.standing(host, NET, ONE) is Standing.LOCAL
    known.remember(host, NET, ONE)
    known.accept(host, NET, ONE)
    known.save()
    assert known.standing(host, NET, TWO) is Standing.LOCAL
    assert known.standing(Host(address, 7333, ONE), NET, TWO) is Standing.CHANGED
    assert not (tmp_path / "none").exists()


def test_a_key_counts_again_once_it_is_accepted(tmp_path):
    remembered(tmp_path)
    known = KnownServers(tmp_path)
    known.accept(HOST, NET, TWO)
    assert known.standing(HOST, NET, TWO) is Standing.KNOWN
    assert known.standing(HOST, NET, ONE) is Standing.CHANGED
    assert KnownServers(tmp_path).key(HOST, NET) == TWO


def test_keys_that_were_replaced_are_kept_as_retired(tmp_path):
    remembered(tmp_path)
    assert KnownServers(tmp_path).retired(HOST, NET) == []
    KnownServers(tmp_path).accept(HOST, NET, TWO)
    assert KnownServers(tmp_path).retired(HOST, NET) == [ONE]
    KnownServers(tmp_path).accept(HOST, NET, TWO)
    KnownServers(tmp_path).accept(HOST, NET, THREE)
    known = KnownServers(tmp_path)
    assert (known.key(HOST, NET), known.retired(HOST, NET)) == (THREE, [ONE, TWO])
    assert known.retired(HOST, OTHER_NET) == []
    assert known.retired(Host("127.0.0.1", 7333), NET) == []
    assert (tmp_path / "known_servers").read_text().splitlines() == [
        f"mint.example.org:7333 {NET} {THREE}",
        f"mint.example.org:7333 {NET} {ONE} retired",
        f"mint.example.org:7333 {NET} {TWO} retired",
    ]
    remembered(tmp_path, Host("other.example.org", 7333))
    assert KnownServers(tmp_path).retired(HOST, NET) == [ONE, TWO]


def test_a_retired_key_that_is_accepted_again_is_none_any_more(tmp_path):
    remembered(tmp_path)
    KnownServers(tmp_path).accept(HOST, NET, TWO)
    KnownServers(tmp_path).accept(HOST, NET, ONE)
    assert KnownServers(tmp_path).retired(HOST, NET) == [TWO]


def test_attack_a_retired_key_stands_as_a_changed_one(tmp_path):
    remembered(tmp_path)
    KnownServers(tmp_path).accept(HOST, NET, TWO)
    assert KnownServers(tmp_path).standing(HOST, NET, ONE) is Standing.CHANGED


def test_a_pinned_host_can_only_be_accepted_with_its_key(tmp_path):
    with pytest.raises(ServerKeyChanged, match="pinned"):
        KnownServers(tmp_path).accept(Host(HOST.address, HOST.port, ONE), NET, TWO)


def test_what_another_process_wrote_meanwhile_stays(tmp_path):
    first, second = KnownServers(tmp_path), KnownServers(tmp_path)
    other = Host("other.example.org", 7333)
    first.remember(HOST, NET, ONE)
    second.remember(HOST, NET, TWO)
    second.remember(other, NET, TWO)
    first.save()
    second.save()
    assert KnownServers(tmp_path).key(HOST, NET) == ONE
    assert KnownServers(tmp_path).key(other, NET) == TWO


def test_ipv6_places_have_brackets(tmp_path):
    host = Host("2001:db8::1", 7333)
    remembered(tmp_path, host)
    assert KnownServers(tmp_path).key(host, NET) == ONE


def test_the_errors_say_what_to_do():
    hint = "ask who runs it; if its key is new, bwallet --accept-key mint.example.org:7333"
    assert key_changed(HOST).hint == hint
    assert "pinned" in str(key_changed(Host(HOST.address, HOST.port, ONE)))


@pytest.mark.parametrize(
    "line",
    ["mint:7333", f"mint:7333 {NET} zz", f"mint {NET} {ONE}", "", "é", f"mint:1 {NET} {ONE} x"],
)
def test_a_line_that_is_none_is_named(tmp_path, line):
    remembered(tmp_path)
    with (tmp_path / "known_servers").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(JournalError, match="known_servers line 2") as caught:
        KnownServers(tmp_path).standing(HOST, NET, ONE)
    assert caught.value.hint


def test_a_file_that_can_not_be_read_or_written_is_a_clear_error(tmp_path):
    (tmp_path / "known_servers").mkdir()
    with pytest.raises(JournalError, match=r"can't read .*known_servers: Is a directory"):
        KnownServers(tmp_path).standing(HOST, NET, ONE)
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="can't make directory"):
        KnownServers(tmp_path / "file").accept(HOST, NET, ONE)
