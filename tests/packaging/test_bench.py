"""The benchmarks measure what they say: they run, their ratios and pictures are right."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

KINDS = "bcefortu"
"""First letters of a store's keys (`billots.store.records`), all but ``m``."""
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarks import floors, profiles, stores, wires  # noqa: E402
from benchmarks.figures import Figure, Table, as_json  # noqa: E402
from benchmarks.plots import Line, Plot, svg  # noqa: E402


def bench(*words):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_figure_is_held_against_its_floor():
    figure = Figure("a", 30.0, "us", 20.0, 1.4)
    assert (figure.ratio, figure.passes) == (1.5, False)
    assert Figure("a", 30.0, "us", None, 30.0).passes
    assert Figure("a", 30.0, "us").passes is None


def test_tables_say_the_same_as_json(capsys):
    table = Table("Floors", (Figure("one", 1234.5, "us", 1000.0, 1.0), Figure("two", 0.5, "s")))
    table.show()
    assert "1,234 us  1.23x    1  over" in capsys.readouterr().out
    (one, two) = json.loads(as_json([table]))["Floors"]
    assert (one["passes"], two["passes"]) == (False, None)


def test_what_a_transfer_costs_each_server():
    figures = {f.name.strip(): f.value for f in wires.costs((4,), 20).figures}
    assert figures["4 servers: bodies received"] == 1, "each hears it once"
    assert 1 < figures["signature checks"] < 3


def kept(store):
    """How many keys of each kind lie in a store, but for named values."""
    with store._engine.view() as view:
        counts = {
            kind: len(list(view.scan(kind.encode(), kind.encode() + b"\xff"))) for kind in KINDS
        }
    return {kind: count for kind, count in counts.items() if count}


@pytest.mark.parametrize("each", [1, 3])
def test_where_the_time_of_a_transfer_goes(each):
    table = profiles.alone(each, 32, 8)
    *phases, together = [figure.value for figure in table.figures]
    assert all(value > 0 for value in phases)
    assert sum(phases) == pytest.approx(together)


def test_where_the_time_goes_in_one_of_several():
    *phases, together = [figure.value for figure in profiles.among(4, 20, 5).figures]
    assert all(value > 0 for value in phases)
    assert sum(phases) == pytest.approx(together)


def test_a_moved_billot_takes_no_more_where_servers_that_are_all_up_trust_each_other():
    network = wires.Network(4)
    network.run(lambda: network.linked)
    for number, transfer in enumerate(wires.transfers("k-", 40)):
        network.submit(number % 4, transfer)
    network.run(lambda: network.settled(40))
    until = network.now + 10
    network.run(lambda: network.now > until)
    expected = dict.fromkeys("bfot", 40)
    assert [kept(server.store) for server in network.servers] == [expected] * 4


def test_a_store_is_loaded_as_servers_would_have_it(tmp_path):
    path = stores.load(tmp_path, 1000, stores.TEN_EACH)
    store = stores.open_store(path, stores.NETWORK, create=False)
    assert len(store.numbers_moved("k-", 1, 2000)) == store.last_lsn == 1000
    first = store.moved(["k-1", "k-10", "k-11"])
    assert first[0].owner == first[1].owner != first[2].owner
    store.close()
    assert 100 < stores.disk_bytes(path) / 1000 < 1000


def test_floors_are_positive():
    assert all(figure.value > 0 for figure in floors.measure().table.figures)


def test_pictures_are_well_formed():
    line = Line("a <b>", ((1.0, 5.0), (10.0, 7.0), (100.0, 2.0)))
    share = Line("share", ((1.0, 50.0), (100.0, 10.0)), right=True)
    drawn = svg([Plot("One & two", "x", "y", "%", (line, share))] * 2)
    root = ET.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert len([e for e in root.iter() if e.tag.endswith("polyline")]) == 4


@pytest.mark.slow
def test_a_part_as_json():
    done = bench("commands", "--json")
    assert done.returncode == 0, done.stderr
    assert {"Floors", "Commands"} == json.loads(done.stdout).keys()


@pytest.mark.parametrize("words", [("nothing",), ("--base-port", "x")])
def test_wrong_words(words):
    done = bench(*words)
    assert done.returncode == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr
