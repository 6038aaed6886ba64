"""What a command costs before it does anything."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Table
from benchmarks.loads import MINT

_TIMES = 10


def start() -> Table:
    """CPU of commands that ask no server."""
    with tempfile.TemporaryDirectory() as folder:
        MINT.save(Path(folder) / "key")
        return Table(
            "Commands",
            (
                Figure("bwallet --hash, CPU", _cpu_s(folder, "bwallet", "--hash"), "ms", None, 150),
                Figure("bwallet --help, CPU", _cpu_s(folder, "bwallet", "--help"), "ms"),
                Figure("bserver --help, CPU", _cpu_s(folder, "bserver", "--help"), "ms"),
            ),
        )


def _cpu_s(folder: str, *words: str) -> float:
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(_TIMES):
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used / _TIMES * 1000
