"""Keys and signatures (DESIGN, section 3)."""

import base64
import hashlib
import os
import resource
import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from billots.crypto import (
    Crypto,
    PrivateKey,
    is_exposed,
    load_public_key,
    owner_id,
    verify,
)
from billots.errors import InputError, KeyFileError

# RFC 8032, section 7.1, TEST 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
KEY = PrivateKey(SEED)
NEW, PKCS8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
PEM, SPKI = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo


@contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


# Signatures


def test_a_key_signs_as_in_rfc_8032():
    assert KEY.public_key == PUBLIC
    assert KEY.sign(b"\x72") == SIGNATURE
    assert verify(PUBLIC, b"\x72", SIGNATURE)


def test_a_key_gives_its_seed_hex_and_owner():
    assert KEY.seed == SEED
    assert KEY.public_hex == PUBLIC.hex()
    assert KEY.owner == owner_id(PUBLIC) == hashlib.sha512(PUBLIC).hexdigest()


def test_a_key_never_shows_its_secret():
    assert SEED.hex() not in repr(KEY)
    assert str(SEED) not in repr(KEY)


def test_new_keys_differ():
    assert PrivateKey.generate().seed != PrivateKey.generate().seed


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length):
    with pytest.raises(ValueError, match="seed"):
        PrivateKey(bytes(length))


@pytest.mark.parametrize(
    ("key", "message", "signature"),
    [
        (PUBLIC, b"", SIGNATURE),
        (PUBLIC, b"\x73", SIGNATURE),
        (PUBLIC, b"\x72\x00", SIGNATURE),
        (PUBLIC, b"\x72", b""),
        (PUBLIC, b"\x72", SIGNATURE[:-1]),
        (PUBLIC, b"\x72", SIGNATURE + b"\0"),
        (PUBLIC, b"\x72", bytes(64)),
        (b"", b"\x72", SIGNATURE),
        (PUBLIC[:-1], b"\x72", SIGNATURE),
        (PUBLIC + b"\0", b"\x72", SIGNATURE),
        (bytes(32), b"\x72", SIGNATURE),
        (b"\xff" * 32, b"\x72", SIGNATURE),
    ],
)
def test_what_cannot_be_checked_has_failed(key, message, signature):
    assert verify(key, message, signature) is False


def test_attack_bytes_moved_from_the_signature_to_the_message():
    """A verifier that joins both before it looks at lengths would see the same bytes."""
    assert not verify(PUBLIC, SIGNATURE[-1:] + b"\x72", SIGNATURE[:-1])
    assert not verify(PUBLIC, b"", SIGNATURE + b"\x72")


def test_attack_signature_malleability_s_plus_the_order():
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(SIGNATURE[32:], "little") + order
    assert not verify(PUBLIC, b"\x72", SIGNATURE[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("message", [b"", b"one message", b"any other"])
def test_attack_a_fixed_signature_under_the_identity_key(message):
    """S = 0, R = A = the identity: OpenSSL takes it for every message."""
    identity = b"\1" + bytes(31)
    signature = identity + bytes(32)
    Ed25519PublicKey.from_public_bytes(identity).verify(signature, message)
    assert not verify(identity, message, signature)


def test_attack_one_flipped_bit_anywhere():
    for bit in range(512):
        flipped = (int.from_bytes(SIGNATURE, "big") ^ (1 << bit)).to_bytes(64, "big")
        assert not verify(PUBLIC, b"\x72", flipped)
    for bit in range(256):
        flipped = (int.from_bytes(PUBLIC, "big") ^ (1 << bit)).to_bytes(32, "big")
        assert not verify(flipped, b"\x72", SIGNATURE)


# Key files


def test_a_saved_key_is_read_again(tmp_path):
    KEY.save(tmp_path / "key")
    assert PrivateKey.load(tmp_path / "key").seed == SEED
    assert load_public_key(tmp_path / "key") == PUBLIC
    assert (tmp_path / "key").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert (tmp_path / "key.pub").read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_a_key_file_may_be_named_by_text(tmp_path):
    KEY.save(f"{tmp_path}/key")
    assert PrivateKey.load(f"{tmp_path}/key").seed == SEED
    assert load_public_key(f"{tmp_path}/key") == PUBLIC


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077, 0o177, 0o277, 0o777])
@pytest.mark.parametrize(
    "name", ["key", "a key", "-key", "--help", "ключ", "k\x1b[2J", ".k", "x\n"]
)
def test_attack_stolen_keys_by_umask_and_name(tmp_path, mask, name):
    with umask(mask):
        KEY.save(tmp_path / name)
    assert mode(tmp_path / name) == 0o600
    assert mode(tmp_path / f"{name}.pub") == 0o644 & ~mask
    assert not is_exposed(tmp_path / name)
    assert names(tmp_path) == sorted([name, f"{name}.pub"])


@pytest.mark.parametrize("in_the_way", ["file", "empty", "link", "dangling link", "directory"])
@pytest.mark.parametrize("name", ["key", "key.pub"])
def test_attack_a_key_is_never_overwritten(tmp_path, in_the_way, name):
    target = tmp_path / name
    elsewhere = tmp_path / "elsewhere"
    if in_the_way == "directory":
        target.mkdir()
    elif "link" in in_the_way:
        if in_the_way == "link":
            elsewhere.write_bytes(b"precious")
        target.symlink_to(elsewhere)
    else:
        target.write_bytes(b"" if in_the_way == "empty" else b"precious")
    before = names(tmp_path)
    with pytest.raises(KeyFileError, match="already there and is never overwritten") as caught:
        KEY.save(tmp_path / "key")
    assert "--genkeys" in caught.value.hint
    assert names(tmp_path) == before
    if in_the_way in ("file", "link"):
        assert target.read_bytes() == b"precious"


def test_a_key_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(KeyFileError, match=r"can't write key file .*: No such file"):
        KEY.save(tmp_path / "no" / "key")
    with pytest.raises(KeyFileError, match=r"can't write key file .*null"):
        KEY.save(tmp_path / "k\0ey")
    with pytest.raises(KeyFileError, match=r"can't write key file .*: File name too long"):
        KEY.save(tmp_path / ("k" * 300))


def test_a_full_disk_leaves_no_half_key_behind(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(KeyFileError, match=r"can't write key file .*: File too large"):
            KEY.save(tmp_path / "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []
    KEY.save(tmp_path / "key")


@pytest.mark.parametrize(
    ("bits", "exposed"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)]
)
def test_a_key_that_others_may_read_is_exposed(tmp_path, bits, exposed):
    KEY.save(tmp_path / "key")
    (tmp_path / "key").chmod(bits)
    assert is_exposed(tmp_path / "key") is exposed


@pytest.mark.parametrize("name", ["missing", "nu\0l"])
def test_a_key_that_is_not_there_is_not_exposed(tmp_path, name):
    assert not is_exposed(tmp_path / name)


# Passphrases


@pytest.mark.parametrize("passphrase", ["secret", "пароль 🔑", " ", "x" * 1023, "\udcff"])
def test_an_encrypted_key_opens_with_its_passphrase(tmp_path, passphrase):
    KEY.save(tmp_path / "key", passphrase)
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    assert PrivateKey.load(tmp_path / "key", passphrase).seed == SEED


def test_an_encrypted_key_needs_its_passphrase(tmp_path):
    KEY.save(tmp_path / "key", "secret")
    with pytest.raises(KeyFileError, match="needs a passphrase"):
        PrivateKey.load(tmp_path / "key")
    with pytest.raises(KeyFileError, match="needs a passphrase"):
        PrivateKey.load(tmp_path / "key", "")
    with pytest.raises(KeyFileError, match="or the passphrase is wrong"):
        PrivateKey.load(tmp_path / "key", "Secret")


def test_an_owner_id_needs_no_passphrase_while_the_public_key_is_there(tmp_path):
    KEY.save(tmp_path / "key", "secret")
    assert load_public_key(tmp_path / "key") == PUBLIC
    (tmp_path / "key.pub").unlink()
    with pytest.raises(KeyFileError, match="needs a passphrase"):
        load_public_key(tmp_path / "key")


def test_a_passphrase_for_a_key_that_has_none_does_no_harm(tmp_path):
    KEY.save(tmp_path / "key")
    assert PrivateKey.load(tmp_path / "key", "secret").seed == SEED


@pytest.mark.parametrize("passphrase", ["", "x" * 1024, "é" * 512])
def test_a_passphrase_that_cannot_be_used_makes_no_file(tmp_path, passphrase):
    with pytest.raises(InputError, match="a passphrase has 1 to 1023 bytes"):
        KEY.save(tmp_path / "key", passphrase)
    assert names(tmp_path) == []


# Every spelling of one key is one owner


def public_spellings():
    der = (
        Ed25519PrivateKey.from_private_bytes(SEED)
        .public_key()
        .public_bytes(serialization.Encoding.DER, SPKI)
    )
    body = base64.b64encode(der)
    begin, end = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
    return {
        "plain": b"\n".join([begin, body, end, b""]),
        "no last newline": b"\n".join([begin, body, end]),
        "crlf": b"\r\n".join([begin, body, end, b""]),
        "short lines": b"\n".join([begin, body[:20], body[20:40], body[40:], end, b""]),
        "text before": b"my key\n\n" + b"\n".join([begin, body, end, b""]),
        "text after": b"\n".join([begin, body, end, b"", b"bought in 2017", b""]),
    }


@pytest.mark.parametrize(("spelling", "pem"), public_spellings().items())
def test_every_pem_spelling_of_a_public_key_has_one_owner_id(tmp_path, spelling, pem):
    (tmp_path / "key.pub").write_bytes(pem)
    assert owner_id(load_public_key(tmp_path / "key")) == KEY.owner


def private_spellings():
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    pem = key.private_bytes(PEM, PKCS8, NEW)
    locked = serialization.BestAvailableEncryption(b"secret")
    return {
        "plain": pem,
        "crlf": pem.replace(b"\n", b"\r\n"),
        "text before": b"my key\n\n" + pem,
        "text after": pem + b"\nbought in 2017\n",
        "encrypted": key.private_bytes(PEM, PKCS8, locked),
    }


@pytest.mark.parametrize(("spelling", "pem"), private_spellings().items())
def test_every_pem_spelling_of_a_private_key_has_one_owner_id(tmp_path, spelling, pem):
    (tmp_path / "key").write_bytes(pem)
    passphrase = "secret" if spelling == "encrypted" else None
    assert PrivateKey.load(tmp_path / "key", passphrase).owner == KEY.owner


def test_the_public_key_of_a_lone_private_key(tmp_path):
    KEY.save(tmp_path / "key")
    (tmp_path / "key.pub").unlink()
    assert load_public_key(tmp_path / "key") == PUBLIC


# Files that are no keys of ours


def foreign_keys():
    return {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "x25519": x25519.X25519PrivateKey.generate(),
    }


@pytest.fixture(scope="module", params=["rsa", "ec", "x25519"])
def foreign(request):
    return foreign_keys()[request.param]


def test_a_key_of_another_kind_is_refused(tmp_path, foreign):
    (tmp_path / "key").write_bytes(foreign.private_bytes(PEM, PKCS8, NEW))
    with pytest.raises(KeyFileError, match="not an Ed25519 key"):
        PrivateKey.load(tmp_path / "key")
    (tmp_path / "key.pub").write_bytes(foreign.public_key().public_bytes(PEM, SPKI))
    with pytest.raises(KeyFileError, match=r"not an Ed25519 key: .*key\.pub"):
        load_public_key(tmp_path / "key")


OPENSSH = serialization.PrivateFormat.OpenSSH
GARBAGE = {
    "openssh": Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(PEM, OPENSSH, NEW),
    "empty": b"",
    "text": b"hello",
    "binary": bytes(range(256)),
    "no body": b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
    "bad body": b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
    "short body": b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ==\n-----END PRIVATE KEY-----\n",
    "no end": private_spellings()["plain"][:-10],
    "huge": b"x" * 50_000_000,
    "huge before": b"x" * 16_384 + b"\n" + private_spellings()["plain"],
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_and_huge_files_are_no_keys(tmp_path, garbage):
    (tmp_path / "key").write_bytes(garbage)
    with pytest.raises(KeyFileError, match="not a private key file") as caught:
        PrivateKey.load(tmp_path / "key")
    assert "from a copy" in caught.value.hint  # a new key would not bring the money back
    (tmp_path / "key.pub").write_bytes(garbage)
    with pytest.raises(KeyFileError, match=r"not a public key file: .*key\.pub"):
        load_public_key(tmp_path / "key")


def test_a_private_key_is_no_public_key(tmp_path):
    (tmp_path / "key.pub").write_bytes(private_spellings()["plain"])
    with pytest.raises(KeyFileError, match="not a public key file"):
        load_public_key(tmp_path / "key")


def test_attack_a_public_key_that_is_not_the_private_keys(tmp_path):
    """What is paid to its hash nobody could spend."""
    KEY.save(tmp_path / "key")
    PrivateKey(b"2" * 32).save(tmp_path / "other")
    (tmp_path / "other.pub").replace(tmp_path / "key.pub")
    with pytest.raises(KeyFileError, match=r"key\.pub is not the public key of .*key$") as caught:
        load_public_key(tmp_path / "key")
    assert caught.value.hint


def test_a_public_key_beside_an_encrypted_one_or_alone(tmp_path):
    KEY.save(tmp_path / "key", "secret")
    assert load_public_key(tmp_path / "key") == KEY.public_key
    (tmp_path / "key").unlink()
    assert load_public_key(tmp_path / "key") == KEY.public_key


def test_a_name_that_ends_in_pub_is_told(tmp_path):
    KEY.save(tmp_path / "key")
    with pytest.raises(KeyFileError) as caught:
        PrivateKey.load(tmp_path / "key.pub")
    assert caught.value.hint == "leave out the .pub: the private key signs"


def test_an_endless_file_is_read_no_further_than_a_key_is_long():
    with pytest.raises(KeyFileError, match="not a private key file"):
        PrivateKey.load("/dev/zero")


@pytest.mark.parametrize("read", [PrivateKey.load, load_public_key])
def test_a_key_file_that_cannot_be_read_is_told(tmp_path, read):
    with pytest.raises(KeyFileError, match="no key file") as caught:
        read(tmp_path / "key")
    assert "--keyfile" in caught.value.hint
    with pytest.raises(KeyFileError, match=r"can't read key file .*: Is a directory"):
        read(tmp_path)
    with pytest.raises(KeyFileError, match=r"can't read key file .*null"):
        read(tmp_path / "k\0ey")
    with pytest.raises(KeyFileError, match=r"can't read key file .*: File name too long"):
        read(tmp_path / ("k" * 300))


def test_attack_control_characters_in_a_file_name(tmp_path):
    with pytest.raises(KeyFileError) as caught:
        PrivateKey.load(tmp_path / "\x1b[2J")
    assert "\\x1b[2J" in str(caught.value)
    assert str(caught.value).isprintable()


# The verbs of 2017


def test_the_verbs_of_2017(tmp_path):
    key = Crypto.generate_keys(tmp_path / "key")
    assert PrivateKey.load(tmp_path / "key").seed == key.seed
    assert Crypto.hash(key.public_key) == key.owner
    signature = Crypto.sign(b"message", key)
    assert Crypto.verify_signed(b"message", signature, key.public_key)
    assert not Crypto.verify_signed(b"Message", signature, key.public_key)


def test_generated_keys_may_be_encrypted(tmp_path):
    key = Crypto.generate_keys(tmp_path / "key", "secret")
    assert PrivateKey.load(tmp_path / "key", "secret").seed == key.seed


def test_generated_keys_go_to_key_unless_named(tmp_path):
    (tmp_path / "key").touch()
    with pytest.raises(KeyFileError, match="never overwritten"):
        Crypto.generate_keys(tmp_path / "key")
    assert Crypto.generate_keys.__defaults__[0] == "key"
