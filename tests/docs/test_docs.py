"""The documents are true: what they show runs, what they name exists, what exists is named."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import blocks
import click
import docutils.core
import docutils.nodes
import exchange
import pytest
from shell import Shell

from billots.cli.bchange import command as bchange
from billots.cli.bmint import command as bmint
from billots.cli.bserver import command as bserver
from billots.cli.bwallet import bwallet
from billots.jsonrpc import CODES
from billots.limits import Limits
from billots.messages import PARAMS
from billots.mock.bservers import command as mock_bservers
from billots.mock.disputed import command as mock_disputed

COMMANDS = {
    "bchange": bchange,
    "bmint": bmint,
    "bserver": bserver,
    "bwallet": bwallet,
    "mock_bservers": mock_bservers,
    "mock_disputed": mock_disputed,
}
LATER: set[str] = set()
"""Options that the documents promise; each leaves this list when it is there."""
ATTACKS = blocks.DOCS / "attacks.rst"
TEXTS = {path: path.read_text("utf-8") for path in blocks.ALL}


def name_of(path: Path) -> str:
    return str(path.relative_to(blocks.ROOT))


every_document = pytest.mark.parametrize("path", blocks.ALL, ids=name_of)


# -- their form --------------------------------------------------------------------------------


def parsed(path: Path) -> tuple[docutils.nodes.document, str]:
    warnings = io.StringIO()
    settings = {
        "report_level": 1,
        "halt_level": 5,
        "warning_stream": warnings,
        "file_insertion_enabled": False,
        "raw_enabled": False,
    }
    tree = docutils.core.publish_doctree(
        TEXTS[path], source_path=str(path), settings_overrides=settings
    )
    return tree, warnings.getvalue()


@every_document
def test_a_document_parses_without_a_warning(path):
    assert parsed(path)[1] == ""


@every_document
def test_no_link_is_broken(path):
    tree, _ = parsed(path)
    links = {node["refuri"] for node in tree.findall(docutils.nodes.reference) if "refuri" in node}
    local = {link for link in links if not re.match(r"[a-z]+:|#", link)}
    broken = {link for link in local if not (path.parent / link.partition("#")[0]).exists()}
    assert not broken


@every_document
def test_no_picture_is_missing(path):
    tree, _ = parsed(path)
    assert all((path.parent / node["uri"]).exists() for node in tree.findall(docutils.nodes.image))


def test_every_bar_that_is_missed_is_owned_up_to():
    text = TEXTS[blocks.DOCS / "performance.rst"]
    missed = re.findall(r"^ .* over$", text, re.MULTILINE)
    reasons = re.findall(r"^- \*.+", text.partition("What isn't reached\n")[2], re.MULTILINE)
    assert missed
    assert len(missed) == len(reasons)


@every_document
def test_every_path_that_is_named_exists(path):
    named = re.findall(r"``((?:billots|docs|mock|scripts|tests)/[\w./-]+)``", TEXTS[path])
    assert not [name for name in named if not (blocks.ROOT / name).exists()]


@every_document
def test_lines_are_short_but_for_frames(path):
    lines = enumerate(TEXTS[path].splitlines(), start=1)
    long = [number for number, line in lines if len(line) > 100 and line[3:6] not in ("-->", "<--")]
    assert not long


def test_every_section_of_the_design_that_code_cites_is_there():
    chapters = set(re.findall(r"^(\d+)\. .+\n-+$", TEXTS[blocks.DOCS / "design.rst"], re.MULTILINE))
    for folder in ("billots", "mock", "scripts", "tests"):
        for path in (blocks.ROOT / folder).rglob("*.py"):
            cited = re.findall(
                r"DESIGN,? sections? (\d+)(?:(?: and| to|,) (\d+))?", path.read_text("utf-8")
            )
            numbers = {number for pair in cited for number in pair if number}
            assert numbers <= chapters, path


# -- options -----------------------------------------------------------------------------------


def options(command: str) -> set[str]:
    found = COMMANDS[command]
    parts = [found]
    if isinstance(found, click.Group):
        with click.Context(found) as context:
            parts += [found.get_command(context, name) for name in found.list_commands(context)]
    parameters = [parameter for part in parts for parameter in part.params]
    return {name for each in parameters for name in each.opts if name.startswith("--")}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command):
    readme = TEXTS[blocks.README]
    assert not {name for name in options(command) if f"``{name}" not in readme}


def test_every_documented_option_exists():
    everywhere = "\n".join(TEXTS.values())
    named = set(re.findall(r"``(--[a-z-]+)", everywhere)) - {"--help"}
    known = set().union(*(options(command) for command in COMMANDS))
    assert named - known == LATER


def test_exit_statuses_and_denominations_are_in_the_readme():
    from billots.network import Network, format_mils

    readme = TEXTS[blocks.README]
    for row in Network.shipped("test").denominations.values():
        value, circulation = format_mils(row.mils), f"{row.circulation:,}"
        assert re.search(
            rf"^{row.prefix} +{re.escape(value)} +{circulation}$", readme, re.MULTILINE
        )
    rows = Network.shipped("main").denominations.values()
    assert f"{sum(row.circulation for row in rows):,} billots" in readme
    total = sum(row.circulation * row.mils for row in rows) // 1000
    assert f"worth {total:,} together" in readme


# -- what runs ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_command_line_of_the_readme_runs_as_written(tmp_path):
    shell = Shell(tmp_path)
    try:
        for block in blocks.blocks(blocks.README):
            if block.kind == "console":
                for line in blocks.typed(block):
                    shell.type(line)
            elif block.kind == "toml":
                name = block.text.partition("\n")[0].removeprefix("# ")
                shell.put(name, block.text)
    finally:
        shell.close()


@pytest.mark.slow
def test_the_demonstration_plays(tmp_path):
    demo = blocks.ROOT / "scripts" / "_demo.py"
    done = subprocess.run(
        [sys.executable, demo],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_scripts_that_documents_tell_to_run_are_there():
    lines = {
        line
        for path in blocks.ALL
        for block in blocks.blocks(path)
        if block.kind == "sh"
        for line in block.text.splitlines()
    }
    scripts = {line.split()[0] for line in lines if line.startswith("scripts/")}
    assert {"scripts/demo", "scripts/test", "scripts/check"} <= scripts
    for script in scripts:
        assert (blocks.ROOT / script).stat().st_mode & 0o111


def examples() -> list[pytest.param]:
    """Each Python block, with the block of text that follows it at once: what it prints."""
    found = []
    for path in blocks.ALL:
        here = blocks.blocks(path)
        for block, following in zip_longest(here, here[1:]):
            if block.kind == "python":
                prints = following.text if following and following.kind == "text" else None
                mark = f"{name_of(path)}:{block.line}"
                found.append(pytest.param(block.text, prints, id=mark))
    return found


@pytest.mark.parametrize(("script", "prints"), examples())
def test_every_script_runs_and_prints_what_is_shown(script, prints, tmp_path):
    (tmp_path / "script.py").write_text(script, "utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if prints is not None:
        shown, lines = prints.splitlines(), done.stdout.splitlines()
        assert len(lines) == len(shown)
        assert not blocks.missing(tuple(shown), lines)


def test_every_class_for_scripts_has_a_script():
    scripts = "".join(b.text for b in blocks.blocks(blocks.DOCS / "library.rst"))
    classes = (
        "AsyncWallet Billot Billots Crypto Hosts Network Notifications Server Wallet open_store"
    )
    assert not [name for name in classes.split() if f"billots.{name}" not in scripts]


# -- attacks -----------------------------------------------------------------------------------


def existing_tests() -> set[str]:
    found: set[str] = set()
    for path in (blocks.ROOT / "tests").rglob("test_*.py"):
        found.update(
            re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        )
    return found


@every_document
def test_every_test_that_is_named_exists(path):
    named = set(re.findall(r"``(test_\w+[^_`])``", TEXTS[path]))
    assert not named - existing_tests()


def test_every_attack_has_a_proof_or_is_said_to_come_later():
    chapters = re.split(r"^(.+)\n-+$", TEXTS[ATTACKS], flags=re.MULTILINE)
    titles, texts = chapters[1::2], chapters[2::2]
    assert len(titles) > 15
    for title, text in zip(titles, texts, strict=True):
        if title.startswith(("What ", "How ")):
            continue
        assert "``test_" in text or ":Later:" in text, title


# -- the protocol ------------------------------------------------------------------------------


def protocol() -> str:
    return TEXTS[exchange.PROTOCOL]


@pytest.mark.parametrize("method", PARAMS)
def test_every_method_has_its_chapter_and_its_params(method):
    chapters = re.split(r"^``(\w+)``\n~+$", protocol(), flags=re.MULTILINE)
    texts = dict(zip(chapters[1::2], chapters[2::2], strict=True))
    for field in PARAMS[method].__struct_encode_fields__:
        assert f"``{field}" in texts[method] or method == "transfer", field
    assert f'"method":"{method}"' in protocol()


def test_every_error_has_its_code():
    rows = re.findall(r"^−(\d+)\s+``(\w+)``", protocol(), re.MULTILINE)
    assert {name: -int(code) for code, name in rows} == CODES
    assert [int(code) for code, _ in rows] == sorted(int(code) for code, _ in rows)
    for code in (-32700, -32600, -32601, -32602):
        assert f"\n−{-code}  " in protocol()


def test_the_limits_are_those_of_the_program():
    limits = Limits()
    for name, value in limits.public.items():
        assert re.search(rf"\(``{name}``\) +{value:,}\b", protocol()), name
    rest = re.sub(r"\s+", " ", protocol())
    for text in (
        f"LF {limits.frame_s:g} s",
        f"ended {limits.idle_s / 60:g} min",
        f"one address {limits.connections_max:,} and {limits.connections_per_address_max}",
        f"reader {limits.out_bytes_max // 2**20} MiB",
        f"{limits.pending_max:,} in all, {limits.pending_per_connection_max} of a connection",
        f"of a connection, {limits.pending_s:g} s",
        f"knowledge {limits.questions_max:,}, {limits.question_s:g} s",
        f"of wallets {limits.consults_per_s:g} a second",
        f"address {limits.cost_per_address_max:,.0f}, and {limits.cost_decay_per_s:g} more",
        f"every {limits.feed_every_s * 1000:g} ms",
        f"at most {limits.depth_max} deep",
    ):
        assert text in rest, text
