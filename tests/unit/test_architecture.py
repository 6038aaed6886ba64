"""The layout is the architecture: who imports whom, and where what may be done at all.

Read with ast, nothing is run. Every module has a place in `ORDER`, and imports only what stands
before it; a new module fails here until it has one. Imports for type checkers alone may look up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import billots

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"billots": ROOT / "billots", "billots.mock": ROOT / "mock"}

ORDER = {
    "values": (
        "errors version limits lazy network framing host hosts crypto merkle holding notifications "
        "purse handful change_plan owners payment_request rationing runs"
    ),
    "what is signed and said": (
        "quorum trust_lists transfer statement feed receipt messages jsonrpc quote change_wire"
    ),
    "stores": (
        "store.interface store.records store.plan store.keyvalue store.memory store.folder "
        "store.leveldb store"
    ),
    "for scripts": "billot billots",
    "ledger": "table ledger",
    "node": (
        "node.costs node.patience node.reply node.peers node.trust node.memory node.proofs "
        "node.votes node.bodies node.wanted node.pending node.questions node.receipts "
        "node.tallies node.settling node.work node.backlog "
        "node.verdicts node.feeds node.remembered node.reminders node.progress node.consults "
        "node.showing node.taking "
        "node.consulting node.checking node.incoming node.rounds node.answers node.outfeed "
        "node.subscriptions node.requests node.greeting node.links node.node node"
    ),
    "the wallet's files": (
        "user_data founding order second_signature journal_lines journal_mark journal contacts "
        "known_servers receipt_rows kept_receipts faucet_book appended change_book exchange_book"
    ),
    "the wire": "connection",
    "server": "wire switchboard dialing verifier verifying engine listening life lives server",
    "wallet": (
        "link circle poll evidence trust_check outcomes refusals listing gathering keeping "
        "owner_check presenting signing sending paying issuing proving accepting feed_votes "
        "findings audit sampling announced arrivals watching history wallet_settings delivering "
        "exchange_proof teller showing quoting exchanging exchange_verbs async_wallet wallet "
        "supply mint payouts dispensing"
    ),
    "change server": (
        "change_limits change_tokens change_float change_work changing change_listening"
    ),
    "pages": (
        "web web.option web.assets web.guard web.kit web.streams web.wire web.serving "
        "web.upstream web.follower web.watches web.supply web.inquiry web.metrics web.explorer "
        "web.process web.__main__ web.visitors web.faucet"
    ),
    "commands": (
        "cli cli.program cli.live cli.printing cli.options cli.settings cli.documents cli.papers "
        "cli.audits cli.actions cli.exchanges cli.payments cli.watching cli.history cli.pages "
        "cli.bserver cli.bwallet cli.mint_init cli.mint_issue cli.mint_audit cli.mint_faucet "
        "cli.bmint cli.change_serve cli.change_verify cli.bchange cli.start"
    ),
    "mock": "mock mock.bservers mock.disputed",
    "data only": "networks",
}
LAYERS = {layer: [f"billots.{name}" for name in names.split()] for layer, names in ORDER.items()}
RANKS = {name: rank for rank, name in enumerate(chain(*LAYERS.values()))}

ASYNC = {"the wire", "server", "wallet", "change server", "pages", "mock"}
CONFINED = {
    # what may be imported, and where: layers, or modules
    "asyncio": {
        *ASYNC,
        "billots.cli.bserver",
        "billots.cli.change_serve",
        "billots.cli.mint_faucet",
    },
    "click": {"commands", "mock"},
    "concurrent": {"server"},
    "cryptography": {"billots.crypto"},
    "nacl": {"billots.crypto"},
    "fcntl": {"the wallet's files", "billots.store.folder"},
    "multiprocessing": {"mock"},
    "platformdirs": {"billots.user_data"},
    "plyvel": {"billots.store.leveldb"},
    "plyvel_next": {"billots.store.leveldb"},
    "random": {"billots.dialing"},  # spreads dials, decides nothing
    "rich": {"billots.cli.live"},
    "secrets": {
        "billots.faucet_book",
        "billots.sampling",
        "billots.statement",
        "billots.user_data",
    },
    "selectors": {"mock"},
    "signal": {"commands", "mock", "billots.verifier", "billots.web.__main__"},
    "jinja2": {"billots.web.kit"},
    "starlette": {"pages"},
    "prometheus_client": {"billots.web.metrics"},
    "uvicorn": {"billots.web.wire", "billots.web.serving"},
    "socket": {"server", "mock", "billots.web.serving"},
    "sqlite3": {"billots.kept_receipts", "billots.receipt_rows"},
    "subprocess": set(),
    "threading": {"stores", "billots.server"},
    # `started` in `info`, and when something was signed or came, by which nothing is decided;
    # until when a quote says that it holds; the clocks that a faucet's book is handed
    "time": {
        "billots.server",
        "billots.wallet_settings",
        "billots.changing",
        "billots.cli.history",
        "billots.cli.mint_faucet",
    },
    "datetime": set(),
    "uvloop": {"billots.cli.bserver"},
}
FILES = {
    "billots.appended",
    "billots.contacts",
    "billots.crypto",  # key files
    "billots.faucet_book",
    "billots.founding",  # denominations for a new network file
    "billots.journal",
    "billots.kept_receipts",
    "billots.known_servers",
    "billots.network",  # network files
    "billots.store.folder",
    "billots.user_data",
    "billots.web.assets",  # of the package
    "billots.cli.program",  # /dev/null, when nobody reads our output
    "billots.cli.settings",  # whether a key file asks for a passphrase
    "billots.cli.papers",  # receipts for others
}
LONG_MODULES: set[str] = set()
LINES_MAX, FUNCTION_LINES_MAX = 350, 70

# Of Path, os and the built-in; a method `open` of our own takes no mode.
_FILE_CALLS = {"read_text", "read_bytes", "write_text", "write_bytes", "fdopen"}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
every_module = pytest.mark.parametrize("name", sorted(MODULES))


def layer_of(name: str) -> str | None:
    return next((layer for layer, names in LAYERS.items() if name in names), None)


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_run_time(child)


def imports(name: str) -> set[str]:
    """What a module imports when it runs: modules of ours by their full names."""
    found: set[str] = set()
    for node in at_run_time(TREES[name]):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(inside & MODULES.keys() or {str(node.module)})
    return found


def called(node: ast.AST) -> tuple[str, str]:
    """What a call calls: (``os``, ``open``) of ``os.open(…)``, (\"\", ``open``) of ``open(…)``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return ast.unparse(node.func.value), node.func.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return "", node.func.id
    return "", ""


# -- layers ------------------------------------------------------------------------------------


def test_every_module_has_one_place():
    placed = [name for names in LAYERS.values() for name in names]
    assert len(placed) == len(set(placed))
    assert set(placed) == MODULES.keys() - {"billots"}


@every_module
def test_imports_go_down_only(name):
    if name == "billots":
        return  # the top level is what others import; see below
    ours = {other for other in imports(name) if other.split(".")[0] == "billots"}
    assert not {other for other in ours if RANKS.get(other, len(RANKS)) >= RANKS[name]}


def test_the_top_level_loads_nothing_but_errors_and_version():
    ours = {other for other in imports("billots") if other.startswith("billots")}
    assert ours - {"billots"} == {"billots.errors", "billots.version"}


@pytest.mark.parametrize("library", CONFINED)
def test_what_is_confined_stays_where_it_belongs(library):
    users = {name for name in MODULES if any(i.split(".")[0] == library for i in imports(name))}
    allowed = CONFINED[library]
    assert not {name for name in users if name not in allowed and layer_of(name) not in allowed}


@every_module
def test_files_are_opened_in_few_places(name):
    if name in FILES:
        return
    for node in at_run_time(TREES[name]):
        value, verb = called(node)
        opens = verb == "open" and value in ("", "os", "io")
        assert not opens, node.lineno
        assert verb not in _FILE_CALLS, node.lineno


@every_module
def test_only_a_driver_looks_at_a_clock(name):
    if layer_of(name) in ASYNC | {"commands"}:
        return
    for node in at_run_time(TREES[name]):
        assert called(node)[1] not in ("time", "monotonic", "perf_counter", "now", "today")


@every_module
def test_only_commands_print(name):
    if layer_of(name) in ("commands", "mock"):
        return
    assert not [node for node in at_run_time(TREES[name]) if called(node) == ("", "print")]


@pytest.mark.parametrize("layer", ["ledger", "node", "stores"])
def test_nothing_waits_below_the_wire(layer):
    for name in LAYERS[layer]:
        waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
        assert not [node for node in ast.walk(TREES[name]) if isinstance(node, waits)]


# -- sizes -------------------------------------------------------------------------------------


def test_modules_are_short_and_exceptions_are_needed():
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name for name, count in lines.items() if count > LINES_MAX} == LONG_MODULES


@every_module
def test_functions_are_short(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, node.name


# -- the top level -----------------------------------------------------------------------------


def test_all_is_what_the_top_level_offers():
    for name in billots.__all__:
        assert getattr(billots, name) is not None
    assert sorted(set(billots.__all__)) == sorted(billots.__all__)
    assert set(dir(billots)) == set(billots.__all__)
    classes = "Billot Billots Crypto Hosts Notifications Server Wallet AsyncWallet open_store"
    assert set(classes.split()) <= set(billots.__all__)


# -- tests -------------------------------------------------------------------------------------


def sleeps(tree: ast.AST) -> list[int]:
    """Lines that wait on time: ``sleep`` with anything but zero."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node)[1] == "sleep":
            zero = (
                len(node.args) == 1
                and isinstance(node.args[0], ast.Constant)
                and node.args[0].value == 0
            )
            if not zero:
                found.append(node.lineno)
    return found


def test_no_test_waits_on_time():
    waiting = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "tests").rglob("*.py")
        if (lines := sleeps(ast.parse(path.read_text("utf-8"))))
    }
    assert not waiting


def test_waiting_is_seen():
    seen = sleeps(ast.parse("time.sleep(0.1)\nawait asyncio.sleep(0)\nsleep(x)\nsleep(0)"))
    assert seen == [1, 3]


def test_the_picture_of_the_layers_names_every_module():
    text = (ROOT / "docs" / "architecture.rst").read_text("utf-8")
    named = set(re.findall(r"^``([a-z_.]+)``$", text, re.MULTILINE))
    assert named == {name.removeprefix("billots.") for name in MODULES if name != "billots"}
