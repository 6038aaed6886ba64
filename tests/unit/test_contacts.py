"""Names for owner ids."""

import stat
import threading

import pytest

from billots.contacts import Contacts
from billots.crypto import PrivateKey
from billots.errors import InputError, JournalError, OwnerIdError
from billots.owners import with_checksum

ALICE, BOB = (PrivateKey(bytes([n]) * 32).owner for n in (1, 2))


def test_a_name_is_kept_and_read(tmp_path):
    contacts = Contacts(tmp_path)
    assert contacts.names() == {}
    assert contacts.keep("alice", ALICE) is None
    assert contacts.keep("Bob.2", BOB) is None
    assert Contacts(tmp_path).names() == {"Bob.2": BOB, "alice": ALICE}
    assert contacts.read("alice") == ALICE
    assert contacts.keep("alice", BOB) == ALICE
    assert contacts.read("alice") == BOB
    assert stat.S_IMODE((tmp_path / "contacts").stat().st_mode) == 0o600


def test_an_owner_id_means_itself(tmp_path):
    contacts = Contacts(tmp_path / "nowhere")
    assert contacts.read(ALICE) == contacts.read(with_checksum(ALICE)) == ALICE
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(OwnerIdError, match="wrong checksum"):
        contacts.read(f"{ALICE}-aaaaaa")
    with pytest.raises(OwnerIdError, match="not an owner id"):
        contacts.read(ALICE.upper())


def test_an_unknown_name_names_those_that_are_known(tmp_path):
    contacts = Contacts(tmp_path)
    with pytest.raises(OwnerIdError, match="nor one of your contacts: carol") as caught:
        contacts.read("carol")
    assert "bwallet --contact" in caught.value.hint
    contacts.keep("alice", ALICE)
    with pytest.raises(OwnerIdError) as caught:
        contacts.read("Alice")
    assert caught.value.hint == "your contacts are alice"


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "a" * 33, "-a", ".a", "é", "a\n", "\x1b[2J", "a/b", ALICE]
)
def test_what_is_no_name(tmp_path, name):
    with pytest.raises(InputError) as caught:
        Contacts(tmp_path).keep(name, ALICE)
    assert "\x1b" not in str(caught.value)
    with pytest.raises(InputError):
        Contacts(tmp_path).read(name if name != ALICE else "")


@pytest.mark.parametrize(
    "content", [b"\xff", b"alice", b"alice x\n", f"a b {ALICE}".encode(), b"x" * (5 * 1024 * 1024)]
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "contacts").write_bytes(content)
    with pytest.raises(JournalError, match="contacts is damaged"):
        Contacts(tmp_path).names()
    with pytest.raises(JournalError):
        Contacts(tmp_path).keep("alice", ALICE)
    assert (tmp_path / "contacts").read_bytes() == content


def test_two_who_keep_names_at_once_lose_none(tmp_path):
    names = [f"n{number}" for number in range(40)]

    def keep(part):
        for name in part:
            Contacts(tmp_path).keep(name, ALICE)

    threads = [threading.Thread(target=keep, args=(names[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Contacts(tmp_path).names()) == set(names)
