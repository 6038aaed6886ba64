"""Keys, signatures and hashes (DESIGN, section 3).

PyNaCl (libsodium) signs and verifies everywhere, one signature at a time; the library
``cryptography`` only reads and writes key files. Both are imported where they are used: a
command that only hashes a key shouldn't wait for either to load twice.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from billots.errors import InputError, KeyFileError
from billots.lazy import lazy
from billots.network import shown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PEM_BYTES_MAX = 16 * 1024
_PASSPHRASE_BYTES_MAX = 1023  # OpenSSL's


@lru_cache(1024)  # an issuer, a shop: who pays often is asked for each time
def owner_id(public_key: bytes) -> str:
    """The owner id of a raw 32-byte public key: its SHA-512, 128 hex digits."""
    return hashlib.sha512(public_key).hexdigest()


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is one of `message` under the raw `public_key`.

    The one function that decides this, everywhere. False also for keys and signatures of a
    wrong length or form: a check that can't be made has failed.
    """
    if len(signature) != 64 or len(public_key) != 32:
        return False
    sodium = _sodium()
    try:
        sodium.open(signature + message, public_key)
    except sodium.error:
        return False
    return True


class _Sodium(NamedTuple):
    open: Callable[[bytes, bytes], bytes]
    sign: Callable[[bytes, bytes], bytes]
    error: type[Exception]


@cache
def _sodium() -> _Sodium:
    """What is needed of PyNaCl: to import even what is loaded takes a microsecond each time."""
    from nacl.bindings import crypto_sign, crypto_sign_open
    from nacl.exceptions import CryptoError

    return _Sodium(crypto_sign_open, crypto_sign, CryptoError)


class PrivateKey:
    """An Ed25519 key that signs: an owner's or a server's."""

    __slots__ = ("__dict__", "_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        """A key from its 32-byte seed."""
        from nacl.bindings import crypto_sign_seed_keypair

        self.public_key, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key from the system's randomness."""
        return cls(os.urandom(32))

    @classmethod
    def load(cls, path: str | Path, passphrase: str | None = None) -> PrivateKey:
        """Read a private key file (PEM); raises KeyFileError."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        pem = _read(path)
        secret = passphrase.encode(errors="surrogateescape") if passphrase is not None else None
        try:
            key = serialization.load_pem_private_key(pem, secret)
        except TypeError:
            if passphrase is None:
                raise KeyFileError(
                    f"key file {shown(str(path), 200)} needs a passphrase",
                    "BWALLET_PASSPHRASE_FILE=FILE names a file whose first line it is; "
                    "on a terminal it is asked for",
                ) from None
            return cls.load(path)  # a passphrase for a key that has none does no harm
        except (ValueError, UnsupportedAlgorithm):
            wrong = " or the passphrase is wrong" if passphrase is not None else ""
            hint = "a damaged key can only be put right from a copy of it"
            if passphrase is not None:
                hint = f"try again; {hint}"
            if str(path).endswith(".pub"):
                hint = "leave out the .pub: the private key signs"
            raise KeyFileError(
                f"not a private key file: {shown(str(path), 200)}{wrong}", hint
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(f"not an Ed25519 key: {shown(str(path), 200)}")
        return cls(key.private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The 32 bytes that the key is made from; keep them secret."""
        return self._secret[:32]

    @lazy
    def public_hex(self) -> str:
        """The raw public key, 64 hex digits."""
        return self.public_key.hex()

    @lazy
    def owner(self) -> str:
        """The owner id of this key."""
        return owner_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`."""
        return _sodium().sign(message, self._secret)[:64]

    def save(self, path: str | Path, passphrase: str | None = None) -> None:
        """Write `path` (0600) and `path`.pub, both new.

        Raises KeyFileError if either exists: a key is never overwritten, for with it would go
        the money. Raises InputError for a passphrase that can't be used.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(_passphrase_bytes(passphrase))
        private_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        public_pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        public_path = Path(f"{path}.pub")
        if os.path.lexists(public_path):  # before the private one is there
            raise _in_the_way(public_path)
        _write_new(Path(path), private_pem, 0o600)
        _write_new(public_path, public_pem, 0o644)


def load_public_key(path: str | Path) -> bytes:
    """The raw public key of a key file: of `path`.pub, else of the private key `path`.

    Raises KeyFileError. For an owner id no passphrase is needed as long as the .pub is there.
    A .pub that isn't the private key's is refused: what is paid to it, nobody here could spend.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public_path = Path(f"{path}.pub")
    if not os.path.lexists(public_path):
        return PrivateKey.load(path).public_key
    try:
        key = serialization.load_pem_public_key(_read(public_path))
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"not a public key file: {shown(str(public_path), 200)}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"not an Ed25519 key: {shown(str(public_path), 200)}")
    private = _private_if_open(path)
    if private is not None and private != _raw(key):
        raise KeyFileError(
            f"{shown(str(public_path), 200)} is not the public key of {shown(str(path), 200)}",
            f"move {shown(str(public_path), 200)} away, or name the key that it belongs to",
        )
    return _raw(key)


def _private_if_open(path: str | Path) -> bytes | None:
    """The raw public key of a private key file that can be read without a passphrase."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(_read(path), None)
    except (KeyFileError, TypeError, ValueError, UnsupportedAlgorithm):
        return None  # not here, or encrypted: whoever signs with it will hear
    return _raw(key.public_key()) if isinstance(key, Ed25519PrivateKey) else None


def is_exposed(path: str | Path) -> bool:
    """Whether other users of this machine may read a private key file."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


class Crypto:
    """The verbs of 2017 over the functions of this module, for scripts."""

    @staticmethod
    def generate_keys(path: str | Path = "key", passphrase: str | None = None) -> PrivateKey:
        """Make a key and write it to `path` and `path`.pub; raises KeyFileError."""
        key = PrivateKey.generate()
        key.save(path, passphrase)
        return key

    @staticmethod
    def hash(public_key: bytes) -> str:
        """The owner id of a raw 32-byte public key."""
        return owner_id(public_key)

    @staticmethod
    def sign(message: bytes, key: PrivateKey) -> bytes:
        """The 64-byte signature of `message`."""
        return key.sign(message)

    @staticmethod
    def verify_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
        """Whether the signature is good."""
        return verify(public_key, message, signature)


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _read(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_PEM_BYTES_MAX)
    except FileNotFoundError:
        raise KeyFileError(
            f"no key file {shown(str(path), 200)}",
            "bwallet --genkeys makes one, --keyfile names one",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        reason = getattr(error, "strerror", None) or error
        raise KeyFileError(f"can't read key file {shown(str(path), 200)}: {reason}") from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise _in_the_way(path) from None
    except (OSError, ValueError) as error:
        raise _cant_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            if not mode & 0o077:
                os.fchmod(descriptor, mode)  # a umask of 0777 would leave it unreadable
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)  # we made it, and half a key is in everybody's way
        raise _cant_write(path, error) from error


def _cant_write(path: Path, error: Exception) -> KeyFileError:
    reason = getattr(error, "strerror", None) or error
    return KeyFileError(f"can't write key file {shown(str(path), 200)}: {reason}")


def _passphrase_bytes(passphrase: str) -> bytes:
    encoded = passphrase.encode(errors="surrogateescape")
    if not 1 <= len(encoded) <= _PASSPHRASE_BYTES_MAX:
        raise InputError(f"a passphrase has 1 to {_PASSPHRASE_BYTES_MAX} bytes")
    return encoded


def _in_the_way(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{shown(str(path), 200)} is already there and is never overwritten",
        "bwallet --genkeys OTHERFILE makes a key beside it",
    )
