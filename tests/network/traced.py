"""What a disk may hold after a power cut, at each system call of a process run under strace.

The file system is one that journals, as ext4 and xfs do: names come, change and go in order, and
a sync of any file makes all names durable that changed before it. Contents are durable as far as
they were synced; of what was written later all, nothing, a part or zeros may be there.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CALLS = (
    "openat,open,creat,close,dup,write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,truncate,ftruncate,"
    "fallocate,mmap"
)
VARIANTS = ("synced", "all", "half", "zeros", "names")

_WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)")
_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_ENDED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|0x[0-9a-f]+|\?)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


def strace(*words):
    """The beginning of a command line that runs the rest of it under strace, or a skip."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed: apt-get install strace")
    tried = subprocess.run([path, "-f", "true"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode()[-200:]}")
    return [path, "-f", *words]


def tracing(log):
    """Run under strace so that `calls` can read `log`."""
    return strace("-xx", "-s", "10000000", "-o", str(log), "-e", f"trace={CALLS}")


def calls(log):
    """Each call of the trace when it returned: (name, arguments, result), failed ones left out."""
    begun = {}
    for line in log.read_text("ascii").splitlines():
        if match := _BEGUN.match(line):
            pid, name, arguments = match.groups()
            begun[pid, name] = arguments
            continue
        if match := _ENDED.match(line):
            pid, name, rest, result = match.groups()
            arguments = begun.pop((pid, name)) + rest
        elif match := _WHOLE.match(line):
            pid, name, arguments, result = match.groups()
        else:
            continue
        if not result.startswith(("-", "?")):
            yield name, arguments, int(result, 0)


def strings(arguments):
    found = []
    for text, cut in _STRING.findall(arguments):
        assert not cut, "the trace has whole strings"
        found.append(bytes.fromhex(text.replace("\\x", "")))
    return found


@dataclass
class Inode:
    """A file: what was written, and how much of it is durable."""

    data: bytearray = field(default_factory=bytearray)
    synced: int = 0
    last: int = 0
    """Where the last write began."""

    def after(self, variant):
        synced, data = bytes(self.data[: self.synced]), bytes(self.data)
        if variant in ("synced", "names") or len(data) == self.synced:
            return synced
        if variant == "half":
            return data[: max(self.synced, (self.last + len(data)) // 2)]
        return data if variant == "all" else synced + bytes(len(data) - self.synced)


class Disk:
    """One folder as its traced process changes it; call by call."""

    def __init__(self, folder, marks):
        self.folder = str(folder)
        self.marks = str(marks)
        self.said = []
        """What the process wrote to `marks`, at once: it stands for what others were told."""
        self._open = {}
        self._names = {}
        self._durable = {}
        self._made = False

    def call(self, name, arguments, result):
        """Take in a call; whether it changed what `left` would find."""
        does = getattr(self, f"_{name}", None)
        if does is not None:
            return bool(does(arguments, result))
        assert self.folder not in str(strings(arguments)), f"{name} is not followed"
        if name == "mmap":
            shared = "MAP_SHARED" in arguments and "PROT_WRITE" in arguments
            assert not shared or "MAP_ANONYMOUS" in arguments, "writes by mmap are not followed"
        return False

    def left(self, target, variant):
        """Make the folder `target` as a power cut now might leave it."""
        shutil.rmtree(target, ignore_errors=True)
        if not self._made:
            return
        target.mkdir()
        names = self._durable if variant == "synced" else self._names
        for name, inode in names.items():
            (target / name).write_bytes(inode.after(variant))

    def _name(self, path):
        folder, _, name = path.decode().rpartition("/")
        return name if folder == self.folder else None

    def _mkdir(self, arguments, result):
        (path,) = strings(arguments)
        self._made |= path.decode() == self.folder
        return self._made

    def _openat(self, arguments, result):
        (path,) = strings(arguments)
        name = self._name(path)
        self._open.pop(result, None)
        if path.decode() in (self.folder, str(Path(self.folder).parent)):
            self._open[result] = "folder"
        elif path.decode() == self.marks:
            self._open[result] = "marks"
        elif name is not None:
            new = "O_CREAT" in arguments and name not in self._names
            if new or "O_TRUNC" in arguments:
                self._names[name] = Inode()
            self._open[result] = self._names[name]
            return new
        return False

    def _close(self, arguments, result):
        self._open.pop(int(arguments), None)

    def _write(self, arguments, result):
        what = self._open.get(int(arguments.partition(",")[0]))
        if what is None or what == "folder":
            return False
        (data,) = strings(arguments)
        if what == "marks":
            self.said += data[:result].decode().split()
            return False
        what.last = len(what.data)
        what.data += data[:result]
        return True

    def _fsync(self, arguments, result):
        what = self._open.get(int(arguments))
        if what is None:
            return False
        if isinstance(what, Inode):
            what.synced = len(what.data)
        self._durable = dict(self._names)
        return True

    _fdatasync = _fsync

    def _rename(self, arguments, result):
        old, new = map(self._name, strings(arguments))
        if old is None:
            return False
        self._names[new] = self._names.pop(old)
        return True

    def _unlink(self, arguments, result):
        (path,) = strings(arguments)
        return self._names.pop(self._name(path), None) is not None
