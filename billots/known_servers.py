"""Server keys, remembered on first use like SSH's known hosts (DESIGN, section 6).

A key that is pinned in the host (``h:p#key``) wins. Servers on this machine are never
remembered: test servers come and go there with new keys. A remembered server that shows
another key counts for nothing until its new key is accepted.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from billots.errors import JournalError, ServerKeyChanged
from billots.host import Host
from billots.network import shown
from billots.user_data import naming, replace_file, user_data_directory

_LINE = re.compile(r"(\S{1,300}:[0-9]{1,5}) ([0-9a-f]{32}) ([0-9a-f]{64})", re.ASCII)


class Standing(StrEnum):
    """How a server's key stands to what is known of it; all but `CHANGED` count."""

    PINNED = "pinned"
    LOCAL = "local"
    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"


class KnownServers:
    """The file ``known_servers``, read when it is first needed and written by `save`.

    `directory` is the user data directory unless given. Every method that reads or writes
    raises JournalError for a file that can't be.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self._given = directory
        self._keys: dict[tuple[str, str], str] | None = None
        self._new: dict[tuple[str, str], str] = {}

    def key(self, host: Host, network_id: str) -> str | None:
        """The key that is pinned or remembered for a host, if any."""
        if host.key is not None or host.loopback:
            return host.key
        return self._known().get((host.place, network_id)) or self._new.get(
            (host.place, network_id)
        )

    def standing(self, host: Host, network_id: str, key: str) -> Standing:
        """How `key` stands to what is known of `host`; `key` must have signed something."""
        if host.key is not None:
            return Standing.PINNED if host.key == key else Standing.CHANGED
        if host.loopback:
            return Standing.LOCAL
        known = self.key(host, network_id)
        if known is None:
            return Standing.NEW
        return Standing.KNOWN if known == key else Standing.CHANGED

    def remember(self, host: Host, network_id: str, key: str) -> None:
        """Remember the key of a host that is new; `save` makes it last."""
        if self.standing(host, network_id, key) is Standing.NEW:
            self._new[host.place, network_id] = key

    def save(self) -> None:
        """Write what is new to the file, if anything is; what another process wrote stays."""
        if not self._new:
            return
        with self._locked() as path:
            self._keys = {**self._new, **_read(path)}
            _write(path, self._keys)
        self._new = {}

    def accept(self, host: Host, network_id: str, key: str) -> None:
        """Take a new key in the place of the one remembered for a host, and write it down.

        Only the user may decide that. Nothing to do for servers on this machine; a pinned
        host is a ServerKeyChanged unless it is pinned to this key.
        """
        if host.key not in (None, key):
            raise key_changed(host)
        if host.loopback:
            return
        with self._locked() as path:
            self._keys = {**_read(path), (host.place, network_id): key}
            _write(path, self._keys)
        self._new.pop((host.place, network_id), None)

    def _known(self) -> dict[tuple[str, str], str]:
        if self._keys is None:
            self._keys = _read(user_data_directory(self._given) / "known_servers")
        return self._keys

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        # The file itself is replaced, so its lock has to be on another one.
        directory = user_data_directory(self._given)
        lock = directory / "known_servers.lock"
        with naming(lock, "lock"):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield directory / "known_servers"
            finally:
                os.close(descriptor)


def key_changed(host: Host) -> ServerKeyChanged:
    """The error that says so, with what to do about it."""
    if host.key is not None:
        return ServerKeyChanged(
            f"{host.place} shows another key than the one it is pinned to",
            f"ask who runs it for its key, then name it as {host.place}#<key>",
        )
    return ServerKeyChanged(
        f"{host.place} shows another key than the one remembered for it",
        f"ask who runs it; if its key is new, name it as {host.place}#<key>",
    )


def _read(path: Path) -> dict[tuple[str, str], str]:
    with naming(path, "read"):
        try:
            text = path.read_text("ascii", "replace")
        except FileNotFoundError:
            return {}
    keys: dict[tuple[str, str], str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise JournalError(
                f"{shown(str(path), 200)} line {number} is not a server, a network and a key",
                "put that line right or take it out",
            )
        keys[match[1], match[2]] = match[3]
    return keys


def _write(path: Path, keys: dict[tuple[str, str], str]) -> None:
    lines = [f"{place} {network} {key}\n" for (place, network), key in sorted(keys.items())]
    replace_file(path, "".join(lines).encode())
