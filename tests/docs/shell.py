"""A terminal for the README: its lines are typed into one shell, in order."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from blocks import ROOT, Typed, missing

_FIRST, _COUNT = 7333, 29
_PORT = re.compile(r"(?<![\d.])73[3-6]\d(?!\d)")
_MARK = "--- exit status "
_LINE_S = 30.0


class Shell:
    """Ports 7333 to 7361 stand for as many that are free; all else runs as it is written."""

    def __init__(self, folder: Path) -> None:
        self._base = _free_ports()
        (folder / "mock").symlink_to(ROOT / "mock")
        for name in ("user1", "user2", "user3", "mint"):
            assert (folder / "mock" / name).exists()
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BSERVER_", "BWALLET_"))
        }
        environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_DATA_HOME": str(folder / "data"),
            "HOME": str(folder),
        }
        self._shell = subprocess.Popen(
            [shutil.which("sh") or "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def type(self, line: Typed) -> None:
        """Type a line; fails unless it succeeds and what is shown comes, in this order."""
        shown = tuple(self._with_ports(text) for text in line.shown)
        background = line.command.endswith("&")
        self._write(self._with_ports(line.command))
        if not background:
            self._write(f'echo "{_MARK}$?"')
        lines: list[str] = []
        while True:
            left = missing(shown, lines)
            if background and not left:
                return
            text = self._read()
            if text is None or text.startswith(_MARK):
                break
            lines.append(text)
        said = f"$ {line.command}\n" + "\n".join(lines)
        assert not left, f"not shown: {left}\n{said}"
        assert text == f"{_MARK}0", f"{text}\n{said}"

    def put(self, name: str, content: str) -> None:
        """Write a file into the folder where the shell is."""
        self._write(f"cat > {name} <<'END OF FILE'\n{content}END OF FILE")

    def close(self) -> None:
        """End the shell and every server that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._listener.join(_LINE_S)  # until the last of them has closed its output
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            pipe.close()
        self._shell.wait(_LINE_S)

    def _with_ports(self, text: str) -> str:
        return _PORT.sub(lambda match: str(self._base + int(match[0]) - _FIRST), text)

    def _write(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text + "\n")
        self._shell.stdin.flush()

    def _read(self) -> str | None:
        """The next line; None if none comes in time, or if the shell has ended."""
        try:
            return self._lines.get(timeout=_LINE_S)
        except queue.Empty:
            return None

    def _listen(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def _free_ports() -> int:
    """The first of as many ports in a row that nobody listens on."""
    # Each process begins somewhere else, so that two don't find the same ones free.
    for base in range(20_000 + os.getpid() * _COUNT % 10_000, 32_000, _COUNT):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + _COUNT):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise AssertionError("no free ports")
