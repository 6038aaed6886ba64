"""The wallet's own directory: its journal and the servers that it knows.

Whatever goes wrong with a file in it is a JournalError that names the file, never an OSError.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from billots.errors import BillotsError, JournalError
from billots.network import shown


def user_data_directory(given: str | Path | None = None) -> Path:
    """The directory, made readable by its owner alone if it isn't there; raises JournalError."""
    if given is None:
        import platformdirs  # only who writes something needs it

        given = platformdirs.user_data_path("billots", appauthor=False)
    directory = Path(given)
    with naming(directory, "make directory"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError inside of the block into a JournalError that names `path`."""
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"can't {what} {shown(str(path), 200)}: {error.strerror or error}",
            "it has to be writable; another directory (XDG_DATA_HOME=DIR) doesn't know what this "
            "wallet has signed",
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path` (0600): readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with naming(path, "write"):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_new_file(path: Path, content: bytes, error_type: type[BillotsError]) -> None:
    """Write a file that must not be there yet, on disk on return; raises `error_type`."""
    where = shown(str(path), 200)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        raise error_type(f"{where} is already there and is never overwritten") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise error_type(f"can't write {where}: {reason}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise error_type(f"can't write {where}: {error.strerror or error}") from error


def sync_directory(directory: Path) -> None:
    """Make a file's new name in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
