"""Methods that only read."""

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    MINT,
    NET,
    NO_ISSUER,
    Net,
    Server,
    a_network,
    alone_with,
    fields,
    row,
    sign,
)

from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import ListBillots, Pair
from billots.node import Settings
from billots.statement import Statement
from billots.transfer import Transfer

NONCE = "0123456789abcdef"


@pytest.fixture
def server():
    return Net(1)[0]


@pytest.fixture
def client(server):
    return server.client()


def moved(server, *transfers):
    client = server.client(exempt=True)
    for transfer in transfers:
        assert "result" in client.transfer(transfer)


# who_owns


def test_who_owns(server, client):
    moved(server, sign(MINT, ANN, "a-1 1"))
    statement = client.ask("who_owns", {"billots": ["a-2", "a-1", "b-3"]})
    assert statement == {
        "network": NET.id,
        "server": server.key.public_hex,
        "billots": [
            {"id": "a-2", "seq": 0, "from": None, "owner": MINT.owner, "status": "settled",
             "value": "1"},
            {"id": "a-1", "seq": 1, "from": MINT.owner, "owner": ANN.owner, "status": "settled",
             "value": "1"},
            {"id": "b-3", "seq": 0, "from": None, "owner": ANN.owner, "status": "settled",
             "value": "0.5"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("nonce", [NONCE, "f" * 64])
def test_who_owns_is_signed_for_a_nonce(server, client, nonce):
    moved(server, sign(MINT, ANN, "a-1 1"))
    answer = client.ask("who_owns", {"billots": ["a-1", "a-2"], "nonce": nonce})
    statement = msgspec.convert(answer, Statement)
    assert statement.answers(NET.id, nonce, ["a-1", "a-2"])
    assert statement.server == server.key.public_hex


def test_who_owns_proves_with_the_last_transfer(server, client):
    first, second = sign(MINT, ANN, "a-1 1", "a-2 1"), sign(ANN, BOB, "a-1 2")
    moved(server, first, second)
    rows = client.ask("who_owns", {"billots": ["a-1", "a-2", "a-3"], "proof": True})["billots"]
    assert [row["transfer"] for row in rows] == [fields(second), fields(first), None]
    assert [row["receipt"] for row in rows] == [None] * 3


def test_proofs_are_cut_at_the_frame():
    server = Net(1, limits=Limits(frame_bytes_max=24_000))[0]
    for k in range(16):
        moved(server, sign(MINT, ANN, *[(f"a-{k * 100 + n}", 1) for n in range(1, 41)]))
    billots = [f"a-{k * 100 + 1}" for k in range(16)]
    rows = server.client().ask("who_owns", {"billots": billots, "proof": True})["billots"]
    had = [row["transfer"] is not None for row in rows]
    assert had == sorted(had, reverse=True)
    assert (had[0], had[-1]) == (True, False)


def test_receipts_are_cut_at_the_frame_before_it_is_full():
    """Null where there is no room: it is asked for again, with fewer ids."""
    net, server, peers = alone_with(3, limits=Limits(frame_bytes_max=24_000))
    for k in range(16):
        transfer = sign(MINT, ANN, f"a-{k + 1} 1")
        moved(server, transfer)
        for peer in peers[:2]:
            peer.feed(row(k + 1, transfer))
    billots = [f"a-{k + 1}" for k in range(16)]
    question = {"billots": billots, "proof": True, "nonce": NONCE}
    client = server.client()
    client.send(call(7, "who_owns", question))
    server.flush()
    (frame,) = client.frames
    assert len(frame) <= 24_000
    rows = msgspec.json.decode(frame)["result"]["billots"]
    assert [r["status"] for r in rows] == ["settled"] * 16
    shown = [r["receipt"] is not None for r in rows]
    assert (shown[0], shown[-1]) == (True, False)
    assert rows[0]["transfer"] is not None
    last = server.client().ask("who_owns", {"billots": billots[-1:], "proof": True})["billots"][0]
    assert last["receipt"] is not None
    net.run(2)
    assert server.client().ask("who_owns", question)["billots"][0]["receipt"] is not None


def test_unissued_billots_are_silent():
    net = Net(1)
    server = Server(net, 0, net[0].key, Settings(), network=NO_ISSUER)
    rows = server.client().ask("who_owns", {"billots": ["a-1", "b-3"]})["billots"]
    assert [(row["seq"], row["owner"], row["status"]) for row in rows] == [
        (0, None, "unissued"), (0, ANN.owner, "settled")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "billot", ["a-0", "a-01", "A-1", "a-１", "a-1\n", "a-20001", "z-1", "", "-1", "a-", "\x1b[2J"]
)
def test_a_bad_id_fails_the_whole_call(client, billot):
    code, data = client.fails("who_owns", {"billots": ["a-1", billot, "a-0"]})
    assert code == -32000
    assert (data["error"], data["billot"]) == (
        "unknown_billot", billot.encode("unicode_escape").decode()
    )  # fmt: skip


@pytest.mark.parametrize(
    "params",
    [
        {"billots": ["a-1", "a-2", "a-1"]}, {"billots": []}, {}, {"billots": "a-1"},
        {"billots": [1]}, {"billots": [f"a-{n}" for n in range(1, 258)]},
        {"billots": ["a" * 65]}, {"billots": ["a-1"], "nonce": "0" * 15},
        {"billots": ["a-1"], "nonce": "A" * 16}, {"billots": ["a-1"], "nonce": "0" * 65},
        {"billots": ["a-1"], "nonce": NONCE + "\n"}, {"billots": ["a-1"], "proof": 1},
        {"billots": [f"a-{n}" for n in range(1, 18)], "proof": True}, ["a-1"], None,
    ],
)  # fmt: skip
def test_wrong_params_of_who_owns(client, params):
    assert client.fails("who_owns", params)[0] == -32602


def test_attack_growth_by_unknown_ids(server, client):
    before = dict(server.memory._values)
    for number in range(1, 20_001, 256):
        billots = [f"a-{n}" for n in range(number, min(number + 256, 20_001))]
        client.ask("who_owns", {"billots": billots})
    client.fails("who_owns", {"billots": ["a-20001"]})
    client.ask("list", {"owner": ANN.owner})
    assert server.memory._values == before


# list


def pages(client, owner, limit):
    cursor, billots, unmoved, count = None, [], [], 0
    while cursor is not None or not count:
        page = client.ask("list", {"owner": owner, "limit": limit, "cursor": cursor})
        assert len(page["billots"]) + len(page["unmoved"]) <= limit
        billots += page["billots"]
        unmoved += page["unmoved"]
        cursor, count = page["cursor"], count + 1
    return billots, [(r["prefix"], r["first"], r["last"]) for r in unmoved], count


def joined(ranges):
    """Ranges as numbers, so that where a page ended makes no difference."""
    return [(prefix, n) for prefix, first, last in ranges for n in range(first, last + 1)]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_list_what_moved_and_what_never_did(server, client, limit):
    moved(server, sign(MINT, ANN, "a-7 1", "a-300 1", "b-1 1"), sign(ANN, BOB, "b-3 1"))
    billots, unmoved, _ = pages(client, ANN.owner, limit)
    assert [(b["id"], b["seq"], b["status"], b["value"]) for b in billots] == [
        ("a-7", 1, "settled", "1"), ("a-300", 1, "settled", "1"), ("b-1", 1, "settled", "0.5")
    ]  # fmt: skip
    assert unmoved == [("b-", 5, 5)]


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_list_the_issuers_ranges_without_what_moved_or_is_allocated(server, client, limit):
    moved(server, sign(MINT, ANN, "a-1 1", "a-2 1", "a-9 1", "a-20000 1", "b-10 1"))
    moved(server, sign(ANN, MINT, "a-9 2"))
    billots, unmoved, _ = pages(client, MINT.owner, limit)
    assert [b["id"] for b in billots] == ["a-9"]
    assert unmoved == [
        ("a-", 3, 8), ("a-", 10, 19999),
        ("b-", 1, 2), ("b-", 4, 4), ("b-", 6, 6), ("b-", 8, 9),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_list_what_never_moved_of_anybody(client, limit):
    assert pages(client, ANN.owner, limit)[1] == [("b-", 3, 3), ("b-", 5, 5)]
    assert pages(client, MINT.owner, limit)[1] == [
        ("a-", 1, 20000), ("b-", 1, 2), ("b-", 4, 4), ("b-", 6, 6), ("b-", 8, 10)
    ]  # fmt: skip


def test_list_passes_over_long_runs_of_moved_billots_page_by_page(server, client):
    for first in range(1, 10_001, 256):
        numbers = range(first, min(first + 256, 10_001))
        moved(server, sign(MINT, ANN, *[(f"a-{n}", 1) for n in numbers]))
    _, unmoved, count = pages(client, MINT.owner, 1000)
    assert joined(unmoved)[:10_000] == [("a-", n) for n in range(10_001, 20_001)]
    assert count > 2
    billots, _, count = pages(client, ANN.owner, 1000)
    assert len(billots) == 10_000
    assert count == 11


def test_what_is_allocated_to_the_issuer_by_name_is_listed():
    network = a_network(allocations={"b-2": MINT.owner, "b-4": ANN.owner})
    net = Net(1)
    server = Server(net, 0, net[0].key, Settings(), network=network)
    listed = server.client().ask("list", {"owner": MINT.owner})
    assert [(r["prefix"], r["first"], r["last"]) for r in listed["unmoved"]] == [
        ("a-", 1, 20000), ("b-", 1, 3), ("b-", 5, 10)
    ]  # fmt: skip


def test_list_of_one_who_has_nothing(client):
    assert client.ask("list", {"owner": CAT.owner}) == {
        "billots": [], "unmoved": [], "cursor": None
    }  # fmt: skip


def test_lists_say_only_what_is_on_disk(server, client):
    server.node.received(client.conn, [call(1, "transfer", sign(MINT, ANN, "a-1 1"))], 0)
    server.store.commit(server.begin())
    for owner in (ANN, MINT):
        client.send(call(2, "list", ListBillots(owner.owner)))
        assert client.read()[0]["result"]["billots"] == []
    server.node.committed(server.net.now, written=True)
    assert [b["id"] for b in client.ask("list", {"owner": ANN.owner})["billots"]] == ["a-1"]


@pytest.mark.parametrize("cursor", ["x:", "m:a-0", "u:z-1", "a-1", "m:a-20001", "m:a-1\n"])
def test_a_cursor_of_nobody(client, cursor):
    assert client.fails("list", {"owner": ANN.owner, "cursor": cursor})[0] == -32602


@pytest.mark.parametrize(
    "params",
    [{}, {"owner": "x"}, {"owner": ANN.owner, "limit": 0}, {"owner": ANN.owner, "limit": 1001},
     {"owner": ANN.owner, "limit": 1.0}, {"owner": ANN.owner.upper()},
     {"owner": ANN.owner, "cursor": "m:" + "a" * 70}],
)  # fmt: skip
def test_wrong_params_of_list(client, params):
    assert client.fails("list", params)[0] == -32602


def test_a_page_of_a_list_fits_the_frame():
    server = Net(1, limits=Limits(frame_bytes_max=20_000))[0]
    for k in range(1, 301, 30):
        moved(server, sign(MINT, ANN, *[(f"a-{k + n}", 1) for n in range(30)]))
    billots, _, count = pages(server.client(), ANN.owner, 1000)
    assert len(billots) == 300
    assert count > 1


# changes, fetch, evidence


def test_changes_page_by_page(server, client):
    transfers = [sign(MINT, ANN, f"a-{n} 1") for n in range(1, 6)]
    moved(server, *transfers)
    page = client.ask("changes", {"since": 0, "limit": 3})
    assert [change["lsn"] for change in page["changes"]] == [1, 2, 3]
    assert page["changes"][0]["transfer"] == fields(transfers[0])
    assert page["next"] == 3
    page = client.ask("changes", {"since": 3})
    assert ([change["lsn"] for change in page["changes"]], page["next"]) == ([4, 5], 5)
    assert client.ask("changes", {"since": 5}) == {"changes": [], "next": 5}
    assert len(client.ask("changes")["changes"]) == 5


def test_changes_hold_the_newest_transfer_of_each_billot(server, client):
    moved(server, sign(MINT, ANN, "a-1 1"), sign(ANN, BOB, "a-1 2"))
    assert [change["lsn"] for change in client.ask("changes")["changes"]] == [2]


def test_changes_and_bodies_are_cut_at_the_frame(server, client):
    transfers = [
        sign(MINT, ANN, *[(f"a-{k * 256 + n}", 1) for n in range(1, 257)]) for k in range(60)
    ]
    moved(server, *transfers)
    page = client.ask("changes")
    assert 1 < len(page["changes"]) < 60
    assert page["next"] == len(page["changes"])
    got = client.ask("fetch", {"transfer_ids": [transfer.id for transfer in transfers]})
    assert 1 < len(got["transfers"]) < 60


@pytest.mark.parametrize("params", [{"since": -1}, {"since": 1.0}, {"limit": 0}, {"limit": 1001},
                                    {"since": 2**53}])  # fmt: skip
def test_wrong_params_of_changes(client, params):
    assert client.fails("changes", params)[0] == -32602


def test_fetch_what_is_here(server, client):
    transfer = sign(MINT, ANN, "a-1 1")
    moved(server, transfer)
    got = client.ask("fetch", {"transfer_ids": ["0" * 64, transfer.id]})
    assert [msgspec.convert(t, Transfer) for t in got["transfers"]] == [transfer]


@pytest.mark.parametrize("ids", [[], ["0" * 64] * 65, ["0" * 63], ["G" * 64], [1]])
def test_wrong_params_of_fetch(client, ids):
    assert client.fails("fetch", {"transfer_ids": ids})[0] == -32602


def test_evidence(server, client):
    moved(server, sign(MINT, ANN, "a-1 1"))
    assert client.ask("evidence", {"billot": "a-1"}) is None
    first, second = sign(ANN, BOB, "a-1 2"), sign(ANN, CAT, "a-1 2")
    moved(server, first)
    assert client.transfer(second)["error"]["code"] == -32008
    pair = msgspec.convert(client.ask("evidence", {"billot": "a-1"}), Pair)
    assert (pair.first, pair.second) == (first, second)
    assert client.fails("evidence", {"billot": "a-0"})[0] == -32000
    assert client.fails("evidence")[0] == -32602
