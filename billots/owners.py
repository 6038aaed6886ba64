"""Owner ids as people copy them: with a checksum, so that a wrong letter burns no money."""

from __future__ import annotations

import base64
import hashlib

from billots.errors import OwnerIdError
from billots.network import check_owner_id, shown

CHECKSUM_LETTERS = 6
_OWNER_DIGITS = 128


def checksum(owner: str) -> str:
    """Six letters of base32 (30 bits) that go with an owner id; one wrong is always noticed.

    >>> checksum("0" * 128)
    'nvzrmc'
    """
    digest = hashlib.sha256(f"billots owner {owner}\n".encode()).digest()
    return base64.b32encode(digest)[:CHECKSUM_LETTERS].decode().lower()


def with_checksum(owner: str) -> str:
    """The owner id as it is given away: ``<128 digits>-<6 letters>``."""
    return f"{owner}-{checksum(owner)}"


def is_like_owner(text: str) -> bool:
    """Whether a text is meant to be an owner id, right or wrong, and no name."""
    return len(text.partition("-")[0]) >= _OWNER_DIGITS // 2


def read_owner(text: str) -> str:
    """The owner id of a text, with a checksum or without; raises OwnerIdError.

    Case doesn't matter where a checksum proves that nothing else is wrong.
    """
    owner, dash, letters = text.partition("-")
    if not dash:
        return check_owner_id(text)
    owner = check_owner_id(owner.lower())
    if letters.lower() != checksum(owner):
        raise OwnerIdError(
            f"wrong checksum: {shown(text[-20:])}",
            "a letter of this owner id is wrong or missing: ask for it again, or copy it whole",
        )
    return owner
