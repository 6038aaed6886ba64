"""A store's folder: whose it is, and moved aside when what is in it can't be used any more.

A store is a folder of LevelDB's with a file more, `MARKER`: LevelDB drops files into any
folder that it is asked to open, so who is about to open one looks for the marker first. Another,
`COMMITS`, says how many commits it had when it was closed.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
from pathlib import Path

from billots.errors import (
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreForeign,
    StoreLocked,
    StoreOutdated,
)
from billots.network import shown

MARKER = "BILLOTS"
COMMITS = "COMMITS"
_READY = b"billots store 1\n"
_STARTED = b"billots store 1, not yet made\n"
_NUMBER = re.compile(rb"[0-9]{1,19}\n")
_ANY_VERSION = re.compile(rb"billots store [1-9][0-9]{0,8}(, not yet made)?\n")

_SPACE = "make space on the disk, then start again"
_ELSEWHERE = "name a --data-dir that you may write to"
HINTS = {
    os.strerror(number).lower(): hint  # by its words, for LevelDB's errors have no number
    for number, hint in (
        (errno.ENOSPC, _SPACE),
        (errno.EDQUOT, _SPACE),
        (errno.EFBIG, _SPACE),
        (errno.EACCES, _ELSEWHERE),
        (errno.EROFS, _ELSEWHERE),
    )
}


def set_aside(path: str | os.PathLike[str], word: str) -> Path:
    """Move a store out of the way, to the first free ``<name>.<word>-1``, ``-2`` …; where it is.

    Nothing in it is changed, and nothing is overwritten. Nobody may have it open. Raises
    StoreError if the folder can't be moved.
    """
    folder = Path(os.path.realpath(path))  # of a link the folder moves, the link stays
    try:
        target = _move(folder, word)
        if Path(path).is_symlink():
            folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise StoreError(
            f"can't move store {shown(str(folder), 200)} aside: {reason}",
            "move it away yourself and keep it, then start again",
        ) from error
    return target


def _move(folder: Path, word: str) -> Path:
    for number in itertools.count(1):
        target = folder.with_name(f"{folder.name}.{word}-{number}")
        try:
            target.mkdir(mode=0o700)
        except FileExistsError:
            continue
        try:
            return folder.rename(target)  # takes the place of an empty folder, and of no other
        except OSError:
            target.rmdir()
            raise
    raise AssertionError("one of all numbers is free")


def prepare(folder: Path, *, create: bool) -> bool:
    """Make sure that `folder` is ours; whether the database in it is still to be made.

    Raises StoreForeign, StoreDamaged, and StoreError if the folder can't be used.
    """
    marker = folder / MARKER
    try:
        if marker.exists():
            return _is_unfinished(folder) and _cleared(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreForeign(
                f"{shown(str(folder), 200)} is there already and is no billots store",
                "name another --prefix",
            )
        if not create:
            raise StoreError(f"there is no store {shown(str(folder), 200)}")
        if not folder.exists():
            folder.mkdir(mode=0o700)  # it will hold the server's key
            _sync_folder(folder.absolute().parent)
        _write_synced(marker, _STARTED)
        _sync_folder(folder)
    except OSError as error:
        raise unusable(folder, error) from error
    return True


def _cleared(folder: Path) -> bool:
    """Drop what is there of a database that was never finished; False if it is by now.

    LevelDB doesn't sync its first files before it names them: a power cut can leave a database
    that looks damaged, and that nobody has ever got an answer from. LevelDB's own lock keeps
    away from one that another process is making.
    """
    with (folder / "LOCK").open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise locked(folder) from error
        if not _is_unfinished(folder):
            return False
        for path in folder.iterdir():
            if path.name not in (MARKER, "LOCK"):
                path.unlink()
        _write_synced(folder / MARKER, _STARTED)  # before there is anything else beside it
    return True


def _is_unfinished(folder: Path) -> bool:
    alone = all(path.name in (MARKER, "LOCK") for path in folder.iterdir())
    mark = (folder / MARKER).read_bytes()
    if mark in (_READY, _STARTED):
        return mark == _STARTED
    # The power may go while it is written. Then there is no database yet: what is beside a mark
    # that can't be read was a store, and must not be cleared.
    if alone and _STARTED.startswith(mark.rstrip(b"\0")):
        return True
    name = shown(str(folder), 200)
    if _ANY_VERSION.fullmatch(mark):
        raise StoreForeign(
            f"store {name} was written by another version of this program",
            "start it with the version that made it, or name another --prefix",
        )
    with (folder / "LOCK").open("ab") as lock:  # what is damaged is moved, but not while it is used
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise locked(folder) from error
    raise StoreDamaged(f"store {name} is damaged: its file {MARKER} is not what was written")


def finish(folder: Path) -> None:
    """From now on an empty database is a damaged one, not one to be made."""
    _replace(folder / MARKER, _READY)


def note_commits(folder: Path, commits: int) -> None:
    """From now on a database with fewer commits is a damaged one."""
    _replace(folder / COMMITS, b"%d\n" % commits)


def commits_noted(folder: Path) -> int:
    """How many commits must be there; 0 if nobody noted it. Raises StoreDamaged."""
    try:
        noted = (folder / COMMITS).read_bytes()
    except FileNotFoundError:
        return 0
    if _NUMBER.fullmatch(noted) is None:
        raise StoreDamaged(
            f"store {shown(str(folder), 200)} is damaged: "
            f"its file {COMMITS} is not what was written"
        )
    return int(noted)


def _replace(path: Path, content: bytes) -> None:
    """One or the other is there at any moment, and whole."""
    beside = path.with_name(f"{path.name}.new")
    _write_synced(beside, content)
    beside.replace(path)
    _sync_folder(path.parent)


class Held:
    """The folder of an open database: whether it is still where it was opened.

    By LevelDB's LOCK, which it keeps open: no other file can get its number meanwhile. A folder
    that was moved counts as gone: who starts next doesn't find it.
    """

    def __init__(self, folder: Path) -> None:
        self._name = shown(str(folder), 200)
        self._path = str(folder.absolute() / "LOCK")  # the process may go to another folder
        self._was = self._now()
        if self._was is None:
            raise self._gone()

    def _now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - half of what Path takes, at each commit
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise StoreFailed(f"can't look at store {self._name}: {reason}") from error
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """Raise StoreOutdated if the folder was moved, deleted or replaced."""
        if self._now() != self._was:
            raise self._gone()

    def _gone(self) -> StoreOutdated:
        return StoreOutdated(
            f"store {self._name} was moved, deleted or replaced while the server ran"
        )


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked(folder: Path) -> StoreLocked:
    """Another process has the store open."""
    return StoreLocked(
        f"store {shown(str(folder), 200)} is open in another process",
        "stop the other server, or name another --prefix",
    )


def unusable(folder: Path, error: OSError) -> StoreError:
    """What an error of the system's means for who wants to open a store."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    hint = HINTS.get(reason)
    if error.errno == errno.ENOENT:
        hint = f"make the folder {shown(str(folder.parent), 200)} first"
    return StoreError(f"can't open store {shown(str(folder), 200)}: {reason}", hint)
