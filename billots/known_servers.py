"""Server keys, remembered on first use like SSH's known hosts (DESIGN, section 6).

A key that is pinned in the host (``h:p#key``) wins. Servers on this machine are never
remembered: test servers come and go there with new keys. A remembered server that shows
another key counts for nothing until its new key is accepted; the old one is kept as retired,
for the votes of it that receipts hold.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from billots.errors import JournalError, ServerKeyChanged
from billots.host import Host
from billots.network import shown
from billots.user_data import naming, replace_file, user_data_directory

_LINE = re.compile(r"(\S{1,300}:[0-9]{1,5}) ([0-9a-f]{32}) ([0-9a-f]{64})( retired)?", re.ASCII)

Place = tuple[str, str]
"""``address:port`` and network id."""


class Standing(StrEnum):
    """How a server's key stands to what is known of it; all but `CHANGED` count."""

    PINNED = "pinned"
    LOCAL = "local"
    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"


@dataclass(slots=True)
class _File:
    """What the file says: keys, and retired ones, oldest first, by place."""

    keys: dict[Place, str] = field(default_factory=dict)
    retired: dict[Place, list[str]] = field(default_factory=dict)


class KnownServers:
    """The file ``known_servers``, read when it is first needed and written by `save`.

    `directory` is the user data directory unless given. Every method that reads or writes
    raises JournalError for a file that can't be.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self._given = directory
        self._read: _File | None = None
        self._new: dict[Place, str] = {}

    def key(self, host: Host, network_id: str) -> str | None:
        """The key that is pinned or remembered for a host, if any."""
        if host.key is not None or host.loopback:
            return host.key
        place = (host.place, network_id)
        return self._file().keys.get(place) or self._new.get(place)

    def retired(self, host: Host, network_id: str) -> list[str]:
        """Keys that were accepted for a host and have been replaced since."""
        if host.loopback:
            return []
        return list(self._file().retired.get((host.place, network_id), ()))

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
            self._read = _read(path)
            self._read.keys = {**self._new, **self._read.keys}
            _write(path, self._read)
        self._new = {}

    def accept(self, host: Host, network_id: str, key: str) -> None:
        """Take a new key in the place of the one remembered for a host, and write it down.

        Only the user may decide that. The old key is retired from then on. Nothing to do for
        servers on this machine; a pinned host is a ServerKeyChanged unless it is pinned to
        this key.
        """
        if host.key not in (None, key):
            raise key_changed(host)
        if host.loopback:
            return
        place = (host.place, network_id)
        with self._locked() as path:
            self._read = _read(path)
            before = self._read.keys.get(place)
            old = [*self._read.retired.get(place, ()), *([before] if before else [])]
            self._read.retired[place] = [each for each in dict.fromkeys(old) if each != key]
            self._read.keys[place] = key
            _write(path, self._read)
        self._new.pop(place, None)

    def _file(self) -> _File:
        if self._read is None:
            self._read = _read(user_data_directory(self._given) / "known_servers")
        return self._read

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


class PassingServers(KnownServers):
    """Server keys that are remembered as long as this object is: no file is read or written."""

    def save(self) -> None:
        """Nothing to write."""

    def _file(self) -> _File:
        return _File()


def key_changed(host: Host, command: str = "bwallet") -> ServerKeyChanged:
    """The error that says so, with what to do about it."""
    if host.key is not None:
        return ServerKeyChanged(
            f"{host.place} shows another key than the one it is pinned to",
            f"ask who runs it for its key, then name it as {host.place}#<key>",
        )
    return ServerKeyChanged(
        f"{host.place} shows another key than the one remembered for it",
        f"ask who runs it; if its key is new, {command} --accept-key {host.place}",
    )


def _read(path: Path) -> _File:
    with naming(path, "read"):
        try:
            text = path.read_text("ascii", "replace")
        except FileNotFoundError:
            return _File()
    found = _File()
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise JournalError(
                f"{shown(str(path), 200)} line {number} is not a server, a network and a key",
                "put that line right or take it out",
            )
        if match[4]:
            found.retired.setdefault((match[1], match[2]), []).append(match[3])
        else:
            found.keys[match[1], match[2]] = match[3]
    return found


def _write(path: Path, file: _File) -> None:
    lines = [f"{place} {network} {key}\n" for (place, network), key in sorted(file.keys.items())]
    lines += [
        f"{place} {network} {key} retired\n"
        for (place, network), keys in sorted(file.retired.items())
        for key in keys
    ]
    replace_file(path, "".join(lines).encode())
