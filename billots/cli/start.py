"""Entry points: until a command is loaded, Ctrl-C ends it without a word, as it does after.

Only what comes before this module is read is Python's own.
"""

from __future__ import annotations

import signal
from importlib import import_module
from typing import NoReturn


def bserver() -> NoReturn:
    """Run ``bserver``."""
    _run("billots.cli.bserver")


def bmint() -> NoReturn:
    """Run ``bmint``."""
    _run("billots.cli.bmint")


def bchange() -> NoReturn:
    """Run ``bchange``."""
    _run("billots.cli.bchange")


def bwallet() -> NoReturn:
    """Run ``bwallet``."""
    _run("billots.cli.bwallet")


def mock_bservers() -> NoReturn:
    """Run ``mock_bservers``."""
    _run("billots.mock.bservers")


def mock_disputed() -> NoReturn:
    """Run ``mock_disputed``."""
    _run("billots.mock.disputed")


def _run(module: str) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = import_module(module)
    try:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            command.main()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left that could be cut off
    except KeyboardInterrupt:  # just before a command listens to it, or just after
        raise SystemExit(130) from None
    raise AssertionError("a command's main ends the process")
