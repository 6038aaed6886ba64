"""What the documents hold: their files, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.rst"
DOCS = ROOT / "docs"
ALL = sorted(
    [
        *ROOT.glob("*.rst"),
        *DOCS.rglob("*.rst"),
        *(ROOT / "tests").rglob("README.rst"),
    ]
)

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?: {3}.*)?\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code, without its indent; `line` is where it stands."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Typed:
    """A command line of a ``console`` block, and what the block shows of its output."""

    command: str
    shown: tuple[str, ...]


def blocks(path: Path) -> list[Block]:
    """All code blocks of a document, in order."""
    text = path.read_text("utf-8") + "\n"
    found = []
    for match in _BLOCK.finditer(text):
        lines = [line[3:] for line in match[2].rstrip().splitlines()]
        number = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[1], "\n".join(lines) + "\n", number))
    return found


def typed(block: Block) -> list[Typed]:
    """The command lines of a ``console`` block."""
    found: list[Typed] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Typed(line[2:], ()))
        elif line:
            found[-1] = Typed(found[-1].command, (*found[-1].shown, line))
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """What a shown line stands for: ``…`` is whatever stands there."""
    return re.compile(".*".join(map(re.escape, shown.split("…"))))


def missing(shown: tuple[str, ...], lines: list[str]) -> list[str]:
    """The shown lines that did not come, in this order, among `lines`."""
    left = iter(lines)
    return [text for text in shown if not any(pattern(text).fullmatch(line) for line in left)]
