"""Entry points: until a command is loaded, Ctrl-C ends it without a word, as it does after."""

from __future__ import annotations

import signal
from importlib import import_module
from typing import NoReturn


def bserver() -> NoReturn:
    """Run ``bserver``."""
    _run("billots.cli.bserver")


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
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command.main()
    raise AssertionError("a command's main ends the process")
