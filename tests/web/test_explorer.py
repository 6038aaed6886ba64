"""The explorer of real servers: what its pages say, to programs that read them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

import pytest
from explored import EXTRA, Explored, next_event, until, words
from prometheus_client.parser import text_string_to_metric_families
from servers import (
    MINT,
    OTHERS,
    TEST,
    USER1,
    USER2,
    USER3,
    Process,
    fresh,
    run,
    signed,
    submit,
)

from billots.owners import with_checksum

pytestmark = pytest.mark.slow

HOSTILE = "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1>"
PAGES = ["/", "/disputes", "/search", "/billot/a-1", "/billot/b-1", f"/owner/{EXTRA.owner}"]


class Attributes(HTMLParser):
    """The names of all attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.names = set()
        self.feed(text)

    def handle_starttag(self, _tag, attributes):
        self.names.update(name for name, _ in attributes)


def is_sampled(text):
    """Whether all four servers agree on the newest billots, which are enough to ask about."""
    agreed = re.findall(r"\b(1[0-2]) of \1\b", words(text))
    return text.count(">agrees<") == 4 and len(agreed) == 4


def metrics(text):
    """{name: {label values: value}} of an exposition."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


# -- pages ---------------------------------------------------------------------------------------


def test_the_first_page_has_the_network_the_servers_and_the_latest_transfers(seen):
    paid = signed(MINT, OTHERS[5], *((billot, 1) for billot in fresh(5)))
    run(submit(seen.hosts[3], paid))
    text = seen.until("/", lambda text: paid.id in text and is_sampled(text))
    for place in seen.hosts:
        assert place in text
    said = words(text)
    assert TEST.id in said
    assert "3 of 4" in said  # the quorum
    assert f"{', '.join(billot for billot, _ in paid.billots[:3])} and 2 more" in said


def test_the_first_page_has_what_moved_by_denomination(seen):
    text = seen.until("/", lambda text: "Never moved" in text)
    rows = {
        words(row).split()[1]: words(row).split()
        for row in re.findall(r"<tr>(.*?)</tr>", text.split('id="supply"')[1], re.DOTALL)[1:]
    }
    assert rows["a-"] == ["100", "a-", "1", "9999"]
    assert rows["h-"] == ["0.1", "h-", "120", str(TEST.denominations["h-"].circulation - 120)]
    assert rows["k-"] == ["0.005", "k-", "0", "50000000"]
    assert text.count("<svg") == len(TEST.denominations)


def test_a_billot_is_counted_by_signed_votes(seen):
    text = seen.until("/billot/a-1", lambda text: "a quorum names one: 4 of 4" in words(text))
    assert with_checksum(USER2.owner) in words(text)
    assert text.count(">settled<") == 4
    for fact in (seen.history.paid.signature, seen.history.paid.public_key):
        assert fact in text
    assert "Signed over twice" in text  # the second one came too late, and is shown all the same
    assert seen.history.late.signature in text


def test_a_disputed_billot_shows_both_transfers(seen):
    text = seen.until("/billot/b-1", lambda text: text.count(">disputed<") >= 5)
    for transfer in seen.history.two:
        assert transfer.signature in text
        assert transfer.to in text
    assert "2 of 4 at most, 3 needed" in words(text)


def test_a_billot_that_never_moved(seen):
    status, text = seen.get("/billot/k-50000000")
    assert status == 200
    assert "It never moved" in text
    assert MINT.owner in text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/billot/a-0", "not a billot id: a-0"),
        ("/billot/a-10001", "no such billot in network test: a-10001"),
        ("/billot/zz-1", "no such billot in network test: zz-1"),
        ("/billot/a-１", "not a billot id"),
        ("/owner/123", "not an owner id"),
        (f"/owner/{'a' * 128}-xxxxxx", "wrong checksum"),
        (f"/owner/{'a' * 128}?after=nothing", "no such page of this list"),
        (f"/owner/{'a' * 128}?after={'m' * 99}", "no such page of this list"),
        ("/transfer/123", "64 hex digits"),
        (f"/transfer/{'0' * 64}", "no such transfer"),
        ("/live/owner/123", "not an owner id"),
        ("/nothing", "no such page here"),
    ],
)
def test_what_is_not_there_is_said_with_the_reason(seen, path, reason):
    status, text = seen.get(quote(path, safe="/?="))
    assert status == 404
    assert reason in words(text)


def test_an_owner_has_pages(seen):
    text = seen.get(f"/owner/{EXTRA.owner}")[1]
    assert with_checksum(EXTRA.owner) in text
    assert "0.1 h- 120 12" in words(text)
    found = []
    path = f"/owner/{EXTRA.owner}"
    for _ in range(4):
        text = seen.get(path)[1]
        found += re.findall(r'href="/billot/(h-\d+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        if following is None:
            break
        path = following[1].replace("&amp;", "&")
    assert found == [f"h-{number}" for number in range(1000, 1120)]


def test_the_issuer_has_a_page_too(seen):
    status, text = seen.get(f"/owner/{MINT.owner}")
    assert status == 200
    assert "The issuer" in text
    assert "never moved" in text


def test_a_transfer_has_its_rows(seen):
    status, text = seen.get(f"/transfer/{seen.history.paid.id}")
    assert status == 200
    assert "signature holds" in text
    assert '/billot/a-1"' in text


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("a-1", "/billot/a-1"),
        (" A-1 ", "/billot/a-1"),
        (USER1.owner, f"/owner/{USER1.owner}"),
        (with_checksum(USER1.owner).upper(), f"/owner/{USER1.owner}"),
        ("AB" * 32, f"/transfer/{'ab' * 32}"),
    ],
)
def test_a_search_leads_somewhere(seen, asked, path):
    status, _, headers = seen.ask(f"/search?q={quote(asked)}")
    assert (status, headers["location"]) == (303, path)


def test_an_owner_with_a_checksum_leads_to_the_owner(seen):
    status, _, headers = seen.ask(f"/owner/{with_checksum(USER1.owner)}")
    assert (status, headers["location"]) == (308, f"/owner/{USER1.owner}")


@pytest.mark.parametrize(
    "asked", ["//evil.example", "https://evil.example", "a-1/../..", "\r\nX: 1"]
)
def test_attack_a_search_leads_nowhere_else(seen, asked):
    status, _, headers = seen.ask(f"/search?q={quote(asked)}")
    assert status == 404
    assert "location" not in headers
    assert "X" not in headers


@pytest.mark.parametrize(
    "path",
    ["/billot/{}", "/owner/{}", "/transfer/{}", "/search?q={}", "/{}", "/static/{}", "/live/{}"],
)
def test_attack_markup_in_any_id_stays_text(seen, path):
    status, text = seen.get(path.format(quote(HOSTILE, safe="")))
    assert status == 404
    assert "<img src=x" not in text
    assert "<script>" not in text
    assert not [name for name in Attributes(text).names if name.startswith("on")]


def test_disputes_are_listed_with_what_became_of_them(seen):
    text = seen.get("/disputes")[1]
    rows = {}
    for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL):
        rows[words(row).split()[0]] = words(row)
    assert " settled " in rows["a-1"]
    assert " disputed " in rows["b-1"]
    assert "have no list of them" in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_attack_nothing_but_reading_is_taken(seen, method):
    for path in ["/", "/metrics", "/billot/a-1"]:
        assert seen.get(path, method)[0] == 405


def test_attack_another_name_for_this_machine_is_refused(seen):
    status, text = seen.get("/", Host="evil.example")
    assert status == 421
    assert TEST.id not in text
    assert seen.get("/metrics", Host="evil.example:80")[0] == 421


# -- for programs --------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads(seen):
    seen.until("/", is_sampled)
    status, text, headers = seen.ask("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    found = metrics(text)
    assert found["billots_up"] == {(): 1}
    assert found["billots_feed_lsn"][()] >= 3
    assert found["billots_count"][("billots_moved",)] >= 122
    assert found["billots_count"][("links_up",)] == 3
    assert set(found["billots_peer_up"]) == {(host,) for host in seen.hosts}
    assert set(found["billots_peer_up"].values()) == {1}
    assert found["billots_peer_newest_billots"][seen.hosts[1], "agrees"] >= 10
    assert found["billots_peer_newest_billots"][seen.hosts[1], "differs"] == 0
    assert found["billots_web_responses_total"][("200",)] > 0
    assert found["billots_web_following"] == {(): 1}


def test_attack_a_stranger_fills_no_label(seen):
    def series():
        found = metrics(seen.get("/metrics")[1])
        return {(name, labels) for name, values in found.items() for labels in values}

    for path in ("/nothing", "/billot/a-0", "/metrics"):  # each status once
        seen.get(path)
    seen.get("/", Host="evil.example")
    seen.get("/", "POST")
    before = series()
    for number in range(30):
        seen.get(f"/{number}?q={number}", **{"User-Agent": f"agent {number}"})
        seen.get(f"/billot/a-{number}0000000")
        seen.get(f"/owner/{number:0128x}")
    assert series() <= before | {("billots_web_responses_total", ("200",))}


def test_healthy(seen):
    assert seen.get("/healthz") == (200, "ok\n")


# -- live ----------------------------------------------------------------------------------------


def test_a_transfer_comes_live(seen):
    paid = signed(MINT, OTHERS[0], ("i-500", 1))
    with seen.stream("/live") as stream:
        run(submit(seen.hosts[1], paid))  # its body comes from another server
        item = json.loads(next_event(stream, "item"))
        while item["key"] != paid.id:
            item = json.loads(next_event(stream, "item"))
    assert item["fields"]["billots"] == "i-500"
    assert item["fields"]["to_link"] == f"/owner/{OTHERS[0].owner}"


def test_what_comes_in_for_an_owner_comes_live(seen):
    paid = signed(MINT, OTHERS[1], ("i-501", 1))
    with seen.stream(f"/live/owner/{OTHERS[1].owner}") as stream:
        until(
            lambda: metrics(seen.get("/metrics")[1]),
            lambda found: found["billots_web_streams"][()] >= 1,
        )
        first = signed(MINT, OTHERS[2], ("i-502", 1))
        number = 503
        run(submit(seen.hosts[0], first, paid))
        # The subscription may have come after the first ones: one of those that follow is heard.
        heard = []
        while not heard:
            run(submit(seen.hosts[0], signed(MINT, OTHERS[1], (f"i-{number}", 1))))
            number += 1
            heard = [json.loads(next_event(stream, "item"))]
    assert heard[0]["fields"]["to_link"] == f"/owner/{OTHERS[1].owner}"


def test_a_closed_page_frees_its_stream(seen):
    def streams():
        return metrics(seen.get("/metrics")[1])["billots_web_streams"][()]

    with seen.stream("/live"), seen.stream(f"/live/owner/{USER3.owner}"):
        until(streams, lambda count: count >= 2)
    until(streams, lambda count: count == 0)


# -- processes -----------------------------------------------------------------------------------


def test_a_server_that_is_down_is_shown_as_that(tmp_path):
    with Explored(tmp_path, 4) as explored:
        explored.until("/", lambda text: text.count(">agrees<") >= 4)
        explored.processes[3].end(signal.SIGKILL)
        text = explored.until("/billot/a-1", lambda text: "can&#39;t be reached" in text)
        assert "a quorum names one: 3 of 4 servers" in words(text)
        explored.until("/", lambda text: "can&#39;t be reached" in text)
        found = metrics(explored.get("/metrics")[1])
        assert sorted(found["billots_peer_up"].values()) == [0, 1, 1, 1]


def test_attack_a_killed_page_process_leaves_the_server_alone_and_comes_back(tmp_path):
    with Explored(tmp_path, 1) as explored:
        killed = explored.pages_pid
        os.kill(killed, signal.SIGKILL)
        run(submit(explored.hosts[0], signed(USER1, USER2, ("a-1", 1))))
        text = until(lambda: explored.get("/billot/a-1"), lambda found: found[0] == 200)[1]
        assert with_checksum(USER2.owner) in text  # on the same port
        assert explored.pages_pid != killed
        status, _, err = explored.processes[0].end(signal.SIGINT)
    assert status == 0
    assert "the process that serves pages ended" in err


def test_a_server_that_stands_still_is_not_healthy(tmp_path):
    with Explored(tmp_path, 1) as explored:
        assert explored.get("/healthz") == (200, "ok\n")
        explored.processes[0].signal(signal.SIGSTOP)
        try:
            status, text = until(lambda: explored.get("/healthz"), lambda found: found[0] != 200)
            assert (status, "did not answer" in text) == (503, True)
            assert explored.get("/")[0] == 503
            assert metrics(explored.get("/metrics")[1])["billots_up"] == {(): 0}
        finally:
            explored.processes[0].signal(signal.SIGCONT)
        until(lambda: explored.get("/healthz"), lambda found: found == (200, "ok\n"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_open_streams_and_leaves_nothing_behind(tmp_path, number):
    with Explored(tmp_path, 1) as explored:
        pages = explored.pages_pid
        with explored.stream("/live") as first, explored.stream(f"/live/owner/{USER1.owner}"):
            begun = time.monotonic()
            status, out, err = explored.processes[0].end(number)
            assert time.monotonic() - begun < 20
            first.read()  # comes to an end
        assert status == 0
        assert out.endswith("Stopped.\n")
        assert "Traceback" not in err
        assert not is_alive(pages)


def test_pages_end_with_their_server_however_it_ends(tmp_path):
    with Explored(tmp_path, 1) as explored:
        pages = explored.pages_pid
        with explored.stream("/live") as stream:
            explored.processes[0].end(signal.SIGKILL)
            stream.read()
        end = time.monotonic() + 20
        while is_alive(pages):
            assert time.monotonic() < end


def test_pages_whose_server_ended_before_it_said_anything_end_silently():
    command = [sys.executable, "-P", "-m", "billots.web"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_a_port_in_use_is_one_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Process(tmp_path, "--web", port) as process:
            status, out, err = process.end()
    assert (status, out) == (2, "")
    errors = [line for line in err.splitlines() if " INFO " not in line]
    assert errors == [
        f"bserver: error: can't listen on 127.0.0.1:{port}: address already in use",
        f"hint: try another port, such as {port + 1}",
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--web", "x"], "not a port for --web: x"),
        (["--web", "::1:80"], "not a host for --web: ::1:80"),
        (["--web-name", "a.org"], "--web-name is of no use without --web"),
    ],
)
def test_what_can_not_be_served_is_said_before_anything_is_done(tmp_path, words, error):
    with Process(tmp_path, *words) as process:
        status, out, err = process.end()
    assert (status, out) == (2, "")
    assert err.splitlines()[0] == f"bserver: error: {error}"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_said_with_what_to_type(tmp_path):
    code = (
        "import sys, billots.web.option as option; option.LIBRARIES = ('starlette', 'no_such')\n"
        "sys.argv = ['bserver', '0', 'test', '--web', '0']\n"
        "from billots.cli.bserver import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "bserver: error: --web needs the extra: no_such not installed\n"
        "hint: pip install 'billots[web]', or '.[web]' in a clone\n"
    )


def test_a_name_that_others_use_is_taken(tmp_path):
    with Explored(tmp_path, 1, "--web-name", "pages.example") as explored:
        assert explored.get("/", Host="pages.example")[0] == 200
        assert explored.get("/", Host="evil.example")[0] == 421
        assert urlsplit(explored.url).hostname == "127.0.0.1"


def test_a_server_without_pages_loads_nothing_of_them(tmp_path):
    with Process(tmp_path, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as process:
        run(submit(process.address, signed(USER1, USER2, ("a-1", 1))))
        status, _, err = process.end(signal.SIGINT)
    loaded = set(re.findall(r"\|\s*([\w.]+)$", err, re.MULTILINE))
    assert status == 0
    assert {"asyncio", "billots.server"} <= loaded
    heavy = {"starlette", "uvicorn", "jinja2", "prometheus_client", "h11", "anyio"}
    assert not heavy & {name.split(".")[0] for name in loaded}
    assert not [name for name in loaded if name.startswith("billots.web")]
