"""Servers to measure: processes of their own, with what they use of the machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from billots.host import Host

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Running:
    """A server, or several that one process started."""

    hosts: tuple[Host, ...]
    pids: tuple[int, ...]
    started_s: float = 0.0
    children: dict[int, Host] = field(default_factory=dict)

    @property
    def host(self) -> Host:
        """Where the first one listens."""
        return self.hosts[0]

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all of them and of the processes they started, to a hundredth."""
        return sum(_cpu_s(pid) + sum(map(_cpu_s, _children(pid))) for pid in self.pids)

    @property
    def helpers_cpu_s(self) -> float:
        """The part of it that the processes had that they started."""
        return sum(sum(map(_cpu_s, _children(pid))) for pid in self.pids)

    @property
    def memory_mb(self) -> float:
        """Resident memory of the first one."""
        return int(Path(f"/proc/{self.pids[0]}/statm").read_text().split()[1]) * _PAGE / 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / _TICK  # its own, and that of children that ended


@contextlib.contextmanager
def process_of(*words: str) -> Iterator[Running]:
    """Python with these arguments; its first line ends in where it listens."""
    begun = time.perf_counter()
    command = [sys.executable, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            place = process.stdout.readline().split()[-1]
            yield Running((Host.parse(place),), (process.pid,), time.perf_counter() - begun)
        finally:
            process.terminate()


def alone(folder: str | Path, *more: str) -> contextlib.AbstractContextManager[Running]:
    """A server of the test network that trusts nobody, with its store in `folder`."""
    words = ("0", "test", "--data-dir", str(folder), "--log-level", "error", *more)
    return process_of("-m", "billots.cli.bserver", *words)


@contextlib.contextmanager
def mesh(base: int, count: int) -> Iterator[Running]:
    """Servers that trust each other, on ports from `base` on."""
    begun = time.perf_counter()
    words = ["-m", "billots.mock.bservers", "--ports", f"{base}-{base + count - 1}"]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as servers:
        assert servers.stdout is not None
        try:
            for line in servers.stdout:
                if line.startswith("All"):
                    break
            hosts = tuple(Host("127.0.0.1", base + number) for number in range(count))
            yield Running(hosts, _children(servers.pid), time.perf_counter() - begun)
        finally:
            servers.terminate()


def _children(pid: int) -> tuple[int, ...]:
    found: Sequence[str] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return tuple(map(int, found))
