"""Names for owner ids, in a file of the wallet's own: whom one pays, and nobody else's business."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from billots.errors import InputError, JournalError, OwnerIdError
from billots.network import check_owner_id, shown
from billots.owners import is_like_owner, read_owner
from billots.user_data import naming, replace_file, user_data_directory

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,31}", re.ASCII)
_FILE_BYTES_MAX = 4 * 1024 * 1024


class Contacts:
    """The file ``contacts``: a name and an owner id a line. `directory` as for the journal.

    Raises JournalError for a file that can't be read or written.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self._given = directory

    def names(self) -> dict[str, str]:
        """Owner ids by name."""
        path = user_data_directory(self._given) / "contacts"
        with naming(path, "read"):
            try:
                with path.open("rb") as file:
                    content = file.read(_FILE_BYTES_MAX + 1)
            except FileNotFoundError:
                return {}
        try:
            return _parsed(content)
        except ValueError:
            raise JournalError(
                f"{shown(str(path), 200)} is damaged",
                "each line of it is a name and an owner id; move it away to begin anew",
            ) from None

    def keep(self, name: str, owner: str) -> str | None:
        """Keep a name; the owner id that it had before, if any. Raises InputError for no name."""
        check_name(name)
        path = user_data_directory(self._given) / "contacts"
        with _locked(path.with_name(".contacts.lock")):
            names = self.names()
            before = names.get(name)
            names[name] = check_owner_id(owner)
            lines = [f"{name} {owner}\n" for name, owner in sorted(names.items())]
            replace_file(path, "".join(lines).encode())
        return before

    def read(self, text: str) -> str:
        """The owner id that a text means: a name, or an id with or without its checksum.

        Raises OwnerIdError for a wrong id or checksum, and for a name that isn't kept.
        """
        if is_like_owner(text):
            return read_owner(text)
        names = self.names() if _NAME.fullmatch(text) else {}
        if text in names:
            return names[text]
        known = ", ".join(list(names)[:4])
        raise OwnerIdError(
            f"not an owner id, nor one of your contacts: {shown(text)}",
            f"your contacts are {known}"
            if known
            else "an owner id is 128 hex digits (bwallet --hash); bwallet --contact keeps a name",
        )


def check_name(name: str) -> str:
    """The name itself; raises InputError."""
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"not a name: {shown(name)}",
            "a name begins with a letter, and has up to 32 of A-Z a-z 0-9 . _ -",
        )
    return name


def _parsed(content: bytes) -> dict[str, str]:
    if len(content) > _FILE_BYTES_MAX:
        raise ValueError("too much of it")
    found: dict[str, str] = {}
    for line in content.decode("ascii").splitlines():
        name, owner = line.split()
        found[check_name(name)] = check_owner_id(owner)
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, so that none overwrites what another has just kept."""
    with naming(path, "lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        with naming(path, "lock"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
