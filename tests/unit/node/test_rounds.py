"""Transfers, votes and conflicts among several nodes."""

import itertools
import random

import msgspec
import pytest
from network import ANN, BOB, CAT, DAN, MINT, NET, OTHER, Net, fields, forged, sign

from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import Pair, SendTransfer
from billots.quorum import safe_quorum


@pytest.fixture
def net():
    return Net(1)


@pytest.fixture
def client(net):
    return net[0].client()


def accepted(answer):
    assert answer.get("result", {}).get("accepted"), answer
    return answer["result"]


def error(answer):
    return answer["error"]["data"]["error"], answer["error"]["code"]


def submit(server, *transfers):
    for transfer in transfers:
        accepted(server.client(exempt=True).transfer(transfer))


def shown(net, billot="a-1"):
    return {server.shows(billot) for server in net.servers}


def meshed(size, **more):
    net = Net(size, **more)
    net.mesh()
    return net


# What a wallet is told


def test_a_transfer_is_accepted_with_a_statement(net, client):
    transfer = sign(MINT, ANN, "a-1 1", "a-2 1")
    result = accepted(client.transfer(transfer, nonce="ab" * 8))
    assert result["transfer_id"] == transfer.id
    rows = [(r["id"], r["seq"], r["owner"], r["status"]) for r in result["statement"]["billots"]]
    assert rows == [("a-1", 1, ANN.owner, "settled"), ("a-2", 1, ANN.owner, "settled")]
    assert result["statement"]["nonce"] == "ab" * 8
    assert "signature" in result["statement"]
    assert "signature" not in accepted(client.transfer(transfer))["statement"]


def test_a_statement_of_one_who_trusts_others_says_held():
    net = meshed(2)
    result = accepted(net[0].client().transfer(sign(MINT, ANN, "a-1 1")))
    assert result["statement"]["billots"][0]["status"] == "held"


def test_the_same_again_is_answered_as_the_first_time(net, client):
    transfer = sign(MINT, ANN, "a-1 1")
    first = accepted(client.transfer(transfer))
    assert accepted(client.transfer(transfer)) == first
    assert net[0].node.ledger.lsn == 1
    assert net[0].committed == 1


def test_the_same_rows_signed_again_for_the_same_owner(net, client):
    submit(net[0], sign(MINT, ANN, "a-1 1"), sign(MINT, ANN, "a-2 1"))
    accepted(client.transfer(sign(MINT, ANN, "a-1 1", "a-2 1")))
    accepted(client.transfer(sign(MINT, ANN, "a-1 1", "a-3 1")))
    assert net[0].shows("a-3") == (1, ANN.owner, "settled")


def test_a_copy_with_a_bad_signature_is_not_the_same_again(net, client):
    transfer = sign(MINT, ANN, "a-1 1")
    submit(net[0], transfer)
    assert error(client.transfer(forged(transfer))) == ("bad_signature", -32003)


REFUSALS = [
    (("not_owner", -32002), sign(BOB, CAT, "a-1 3"), "a-1"),
    (("not_owner", -32002), sign(CAT, DAN, "a-1 2"), "a-1"),
    (("not_owner", -32002), sign(BOB, CAT, "a-2 1", "a-9 1"), "a-2"),
    (("stale_seq", -32005), sign(MINT, ANN, "a-1 1"), "a-1"),
    (("behind", -32006), sign(ANN, BOB, "a-1 4"), "a-1"),
    (("behind", -32006), sign(MINT, BOB, "a-3 1", "a-4 2"), "a-4"),
    (("conflicting_transfer", -32008), sign(BOB, CAT, "a-1 2"), "a-1"),
    (("bad_signature", -32003), forged(sign(MINT, ANN, "a-3 1")), None),
    (("wrong_network", -32004), sign(MINT, ANN, "a-3 1", network=OTHER), None),
]


@pytest.mark.parametrize(("error_of", "transfer", "billot"), REFUSALS)
def test_refusals(net, client, error_of, transfer, billot):
    submit(net[0], sign(MINT, BOB, "a-1 1"), sign(BOB, ANN, "a-1 2"))
    before = dict(net[0].memory._values)
    answer = client.transfer(transfer)
    assert error(answer) == error_of
    if billot is not None:
        data = answer["error"]["data"]
        assert data["billot"] == billot
        if billot == "a-1":
            assert data["holding"] == {
                "seq": 2, "from": BOB.owner, "owner": ANN.owner, "status": "settled"
            }  # fmt: skip
    if error_of[0] != "conflicting_transfer":
        assert dict(net[0].memory._values) == before


def test_a_bad_id_fails_the_whole_transfer(client):
    params = fields(sign(MINT, ANN, "a-1 1"))
    for billot in ("a-0", "a-01", "a-20001", "a-1\n"):
        answer = client.answer("transfer", params | {"billots": [["a-1", 1], [billot, 1]]})
        assert error(answer) == ("unknown_billot", -32000)
        assert answer["error"]["data"]["billot"] == billot.encode("unicode_escape").decode()


@pytest.mark.parametrize(
    "rows",
    [[["a-2", 1], ["a-1", 1]], [["a-1", 1], ["a-1", 2]], [["a-1", 0]], [["a-1", 1.0]], [["a-1"]],
     [["a-1", "1"]], [["a-1", 2**53]], [], [["a-1", True]], [["a-1", -1]]],
)  # fmt: skip
def test_wrong_rows(client, rows):
    params = fields(sign(MINT, ANN, "a-1 1")) | {"billots": rows}
    assert client.fails("transfer", params)[0] == -32602


@pytest.mark.parametrize(
    "change", [{"to": ""}, {"to": 5}, {"to": ANN.owner.upper()}, {"public_key": "0"},
               {"signature": "0" * 127}, {"network": "x"}, {"nonce": "0"}, {"receipts": 1}]
)  # fmt: skip
def test_wrong_params_of_transfer(client, change):
    assert client.fails("transfer", fields(sign(MINT, ANN, "a-1 1")) | change)[0] == -32602


def test_whole_or_not_at_all(net, client):
    assert error(client.transfer(sign(MINT, ANN, "a-1 1", "b-3 1"))) == ("not_owner", -32002)
    assert net[0].state() == {}


def test_an_extra_field_changes_nothing(net, client):
    transfer = sign(MINT, ANN, "a-1 1")
    accepted(client.transfer(transfer, extra={"seq": 9}, billot="b-1"))
    accepted(client.transfer(transfer))
    assert net[0].node.ledger.store.transfer(transfer.id) == transfer


def test_transfers_that_arrive_together_are_one_group(net, client):
    chain = [sign(MINT, ANN, "a-1 1"), sign(ANN, BOB, "a-1 2"), sign(BOB, CAT, "a-1 3")]
    frames = [call(n, "transfer", SendTransfer.of(transfer)) for n, transfer in enumerate(chain)]
    client.send(*frames)
    assert [accepted(answer)["transfer_id"] for answer in client.step()] == [t.id for t in chain]
    assert net[0].committed == 1
    assert net[0].shows("a-1") == (3, CAT.owner, "settled")


def test_what_an_earlier_one_of_the_group_might_have_changed_is_judged_after_it(net, client):
    client.send(
        call(1, "transfer", SendTransfer.of(forged(sign(MINT, BOB, "a-1 1")))),
        call(2, "transfer", SendTransfer.of(sign(BOB, CAT, "a-1 2"))),
        call(3, "transfer", SendTransfer.of(sign(CAT, DAN, "a-1 1"))),
    )
    assert [error(answer)[0] for answer in client.step()] == [
        "bad_signature",
        "behind",
        "not_owner",
    ]


def test_nothing_is_said_before_it_is_on_disk(net, client):
    server = net[0]
    client.send(call(1, "transfer", SendTransfer.of(sign(MINT, ANN, "a-1 1"))))
    assert client.read() == []
    batch = server.begin()
    assert (client.read(), server.shows("a-1")) == ([], (0, MINT.owner, "settled"))
    server.end(batch)
    assert len(client.read()) == 1
    assert server.shows("a-1") == (1, ANN.owner, "settled")


def test_a_failed_write_is_said_to_all_who_wait():
    net = meshed(2)
    server, client = net[0], net[0].client(exempt=True)
    net.cut_all(server)
    submit(server, sign(MINT, ANN, "a-9 1"))
    pair = Pair(sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-1 1"))
    client.send(
        call(1, "transfer", SendTransfer.of(sign(ANN, BOB, "a-9 2"))),
        call(2, "conflict", pair),
        call(3, "transfer", SendTransfer.of(sign(BOB, ANN, "a-5 1"))),
    )
    server.begin()
    client.send(call(4, "transfer", SendTransfer.of(sign(MINT, ANN, "a-4 1"))))
    client.send(call(5, "who_owns", None))
    server.node.failed()
    assert {a["id"]: a["error"]["code"] for a in client.read()} == {
        1: -32013, 2: -32013, 3: -32013, 4: -32013, 5: -32602
    }  # fmt: skip
    server.node.failed()
    assert client.read() == []


# Settling


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_settled_everywhere_within_a_round_trip(size):
    net = meshed(size)
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    net.quiet()
    assert shown(net) == {(1, ANN.owner, "settled")}
    submit(net[-1], sign(ANN, BOB, "a-1 2"))
    net.run(0.1)
    assert shown(net) == {(2, BOB.owner, "settled")}
    assert [server.node.ledger.unsettled_billots for server in net.servers] == [[]] * size


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_settled_with_q_votes_and_not_with_one_less(size):
    net = meshed(size)
    q = safe_quorum(size)
    first = net[0]
    for server in net.servers[1:]:
        for wire in net.between(server, first):
            wire.hold = True
    submit(first, sign(MINT, ANN, "a-1 1"))
    for votes, server in enumerate([None, *net.servers[1:]], 1):
        for wire in net.between(server, first) if server else []:
            wire.hold = False
        net.quiet()
        assert first.shows("a-1")[2] == ("settled" if votes >= q else "held")


def test_nothing_settles_without_a_quorum_and_all_once_there_is_one():
    net = Net(4)
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    net.run(10)
    assert net[0].shows("a-1") == (1, ANN.owner, "held")
    client = net[0].client(exempt=True)
    assert client.transfer(sign(ANN, BOB, "a-1 3")) is None
    net.run(0.6)  # nobody comes who could be asked
    assert [error(answer) for answer in client.step()] == [("behind", -32006)]
    net.mesh()
    net.run(1)
    assert shown(net) == {(1, ANN.owner, "settled")}


def test_spending_what_is_not_settled_waits_and_goes_through():
    net = meshed(3)
    server, client = net[0], net[0].client()
    for other in net.servers[1:]:
        for wire in net.between(other, server):
            wire.hold = True
    submit(server, sign(MINT, ANN, "a-1 1"))
    net.quiet()
    assert client.transfer(sign(ANN, BOB, "a-1 2")) is None
    assert client.ask("info")["counts"]["pending"] == 1
    net.run(4.9)
    assert client.read() == []
    for other in net.servers[1:]:
        for wire in net.between(other, server):
            wire.hold = False
    net.quiet()
    accepted(client.read()[0])
    net.run(1)
    assert shown(net) == {(2, BOB.owner, "settled")}


def test_spending_what_is_not_settled_is_refused_after_five_seconds():
    net = Net(3)
    client = net[0].client()
    submit(net[0], sign(MINT, ANN, "a-1 1", "a-2 1"))
    assert client.transfer(sign(ANN, BOB, "a-1 2", "a-2 2")) is None
    net.run(4.99)
    assert client.read() == []
    net.run(0.02)
    (answer,) = client.read()
    assert error(answer) == ("not_settled", -32007)
    assert answer["error"]["data"]["billot"] == "a-1"
    net.mesh()
    net.run(1)
    accepted(client.transfer(sign(ANN, BOB, "a-1 2", "a-2 2")))


def test_a_forged_spend_does_not_wait():
    net = Net(2)
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    answer = net[0].client().transfer(forged(sign(ANN, BOB, "a-1 2")))
    assert error(answer) == ("bad_signature", -32003)
    assert len(net[0].node.rounds.pending) == 0


def test_what_waits_is_bounded_per_connection_and_one_per_id_and_seq():
    net = Net(2, limits=Limits(pending_per_connection_max=2))
    submit(net[0], sign(MINT, ANN, "a-1 1", "a-2 1", "a-3 1"))
    one, two = net[0].client(), net[0].client()
    assert one.transfer(sign(ANN, BOB, "a-1 2")) is None
    assert error(two.transfer(sign(ANN, CAT, "a-1 2"))) == ("not_settled", -32007)
    assert one.transfer(sign(ANN, BOB, "a-2 2")) is None
    assert error(one.transfer(sign(ANN, BOB, "a-3 2"))) == ("not_settled", -32007)
    assert two.transfer(sign(ANN, BOB, "a-3 2")) is None
    one.close()
    assert two.transfer(sign(ANN, CAT, "a-1 2")) is None


@pytest.mark.parametrize("after_s", [0, 3])
def test_what_waits_for_one_row_while_another_is_taken_meanwhile(after_s):
    """Its time is up when the row that it did not wait for has moved on."""
    net = Net(2)
    waiting, client = net[0].client(), net[0].client()
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    assert waiting.transfer(sign(ANN, BOB, "a-1 2", "b-3 1")) is None
    net.run(after_s)
    accepted(client.transfer(sign(ANN, CAT, "b-3 1")))
    net.run(6)
    (answer,) = waiting.read()
    assert error(answer) == ("conflicting_transfer", -32008)
    assert [row["outcome"] for row in answer["error"]["data"]["rows"]] == [
        "not_settled", "conflict"
    ]  # fmt: skip


# Adopting, and coming back


@pytest.mark.parametrize("size", [3, 4, 5, 7])
def test_one_that_was_down_adopts_what_moved_several_times(size):
    net = meshed(size)
    submit(net[0], sign(MINT, ANN, "a-1 1", "a-2 1"))
    net.run(1)
    away = net[size - 1]
    away.crash()
    for seq, (key, to) in enumerate([(ANN, BOB), (BOB, CAT), (CAT, DAN), (DAN, ANN)], 2):
        submit(net[seq % (size - 1)], sign(key, to, f"a-1 {seq}"))
        net.run(0.1)
    assert net[0].shows("a-1") == (5, ANN.owner, "settled")
    net.rejoin(away)
    net.run(1)
    assert shown(net) == {(5, ANN.owner, "settled")}
    assert shown(net, "a-2") == {(1, ANN.owner, "settled")}
    submit(away, sign(ANN, BOB, "a-1 6"))
    net.run(1)
    assert shown(net) == {(6, BOB.owner, "settled")}


def test_a_relayed_move_is_taken_though_the_one_before_it_settled_too_late_for_it_to_wait():
    net = meshed(4)
    slow = net[3]
    wires = [wire for number in (1, 2) for wire in net.between(net[number], slow)]
    for wire in wires:
        wire.hold = True
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    net.run(0.5)
    submit(net[0], sign(ANN, BOB, "a-1 2"))
    net.run(0.1)
    assert slow.shows("a-1") == (1, ANN.owner, "held")  # one vote short, and nothing waits
    assert len(slow.node.rounds.pending) == 0
    first = next(wire for wire in wires if any(b'"feed"' in frame for frame in wire.frames))
    first.deliver(1)  # a vote for the first move alone
    slow.step()
    assert slow.shows("a-1") == (2, BOB.owner, "held")


def test_one_that_hears_a_single_server_settles_by_its_receipts():
    net = meshed(4)
    slow = net[3]
    for number in (1, 2):
        for wire in net.between(net[number], slow):
            wire.hold = True
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    net.run(1)
    submit(net[0], sign(ANN, BOB, "a-1 2"))
    net.run(10)
    assert slow.shows("a-1") == (2, BOB.owner, "settled")


def test_a_server_that_comes_back_reads_all_that_it_missed():
    """More than one page, from servers that have nothing else to do."""
    net = meshed(3, limits=Limits(unsettled_max=10_000))  # all at one moment
    away = net[2]
    away.crash()
    for first in range(1, 1001):
        submit(net[0], sign(MINT, ANN, f"a-{first} 1"))
    net.run(1)
    net.rejoin(away)
    net.run(3)
    assert away.state() == net[0].state()
    assert len(away.state()) == 1000
    assert set(away.state().values()) == {(1, ANN.owner, "settled")}


def test_what_was_not_settled_before_a_crash_settles_after_it():
    """Cursors on disk never pass an open row."""
    net = meshed(3)
    server = net[0]
    for other in net.servers[1:]:
        for wire in net.between(server, other):
            wire.hold = True  # nobody hears of what it takes
    submit(server, sign(MINT, ANN, "a-1 1"), sign(MINT, ANN, "a-2 1"))
    submit(net[1], sign(MINT, ANN, "a-3 1"))
    net.run(3)
    assert server.shows("a-1")[2] == "held"
    server.crash()
    net.rejoin(server)
    net.run(1)
    assert shown(net, "a-1") | shown(net, "a-2") | shown(net, "a-3") == {(1, ANN.owner, "settled")}


@pytest.mark.parametrize("seed", range(8))
def test_crashes_at_any_moment_lose_nothing(seed):
    rng = random.Random(seed)
    net = meshed(4)
    for number in range(1, 13):
        submit(net[rng.randrange(4)], sign(MINT, ANN, f"a-{number} 1"))
        for _ in range(rng.randrange(12)):
            for wire in net.wires:
                if rng.random() < 0.6:
                    wire.deliver(1)
            rng.choice(net.servers).step()
        if rng.random() < 0.5:
            victim = rng.choice(net.servers)
            victim.crash()
            net.rejoin(victim)
    net.run(3)
    assert [set(server.state().values()) for server in net.servers] == [
        {(1, ANN.owner, "settled")}
    ] * 4


def test_the_last_marks_are_written_when_it_stops():
    net = meshed(2)
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    net.quiet()
    batch = net[0].node.stopping()
    assert batch is not None
    net[0].store.commit(batch)
    assert net[0].store.unsettled() == {}
    assert int(net[0].store.meta(f"cursor/{net[1].key.public_hex}")) == 1
    net[0].node.ledger.committed()
    assert net[0].node.stopping() is None


def test_marks_are_written_within_a_second_without_another_batch():
    net = meshed(2)
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    net.quiet()
    assert net[0].store.unsettled() != {}
    net.run(1.1)
    assert net[0].store.unsettled() == {}


# Conflicts


def test_a_double_spend_names_both_owners_and_each_rows_outcome(net, client):
    submit(net[0], sign(MINT, ANN, "a-1 1", "a-2 1", "a-3 1"))
    submit(net[0], sign(ANN, BOB, "a-1 2"), sign(ANN, CAT, "a-3 2"))
    answer = client.transfer(sign(ANN, CAT, "a-1 2", "a-2 2", "a-3 2", "a-4 1"))
    assert error(answer) == ("conflicting_transfer", -32008)
    data = answer["error"]["data"]
    assert (data["billot"], data["holding"]["owner"], data["to"]) == ("a-1", BOB.owner, CAT.owner)
    assert data["rows"] == [
        {"billot": "a-1", "outcome": "conflict"},
        {"billot": "a-2", "outcome": "taken"},
        {"billot": "a-3", "outcome": "same"},
        {"billot": "a-4", "outcome": "not_owner"},
    ]
    assert net[0].shows("a-1") == (2, BOB.owner, "settled")
    assert net[0].shows("a-2") == (2, CAT.owner, "settled")
    assert client.ask("evidence", {"billot": "a-1"}) is not None


def test_a_forged_double_spend_is_a_bad_signature_and_takes_nothing(net, client):
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    answer = client.transfer(forged(sign(MINT, BOB, "a-1 1", "a-2 1")))
    assert error(answer) == ("bad_signature", -32003)
    assert net[0].shows("a-2")[0] == 0
    assert client.ask("evidence", {"billot": "a-1"}) is None


def test_a_contested_billot_cannot_be_spent():
    net = Net(4)
    client = net[0].client()
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    assert error(client.transfer(sign(MINT, BOB, "a-1 1")))[0] == "conflicting_transfer"
    assert net[0].shows("a-1") == (1, ANN.owner, "contested")
    assert client.transfer(sign(ANN, CAT, "a-1 2")) is None
    net.run(5.1)
    assert error(client.read()[0]) == ("contested_billot", -32009)


def test_a_contested_billot_is_settled_by_a_quorum():
    net = meshed(4)
    for server in net.servers:
        for other in net.servers:
            for wire in net.between(server, other):
                wire.hold = True
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    submit(net[1], sign(MINT, ANN, "a-1 1"))
    submit(net[2], sign(MINT, ANN, "a-1 1"))
    submit(net[3], sign(MINT, BOB, "a-1 1"))
    for server in net.servers:
        for wire in server.ends.values():
            wire.hold = False
    net.run(1)
    assert shown(net) == {(1, ANN.owner, "settled")}
    for server in net.servers:
        assert server.client().ask("evidence", {"billot": "a-1"}) is not None


def test_an_even_split_settles_nothing_and_is_disputed_everywhere():
    net = meshed(4)
    for server in net.servers:
        for wire in server.ends.values():
            wire.hold = True
    for number, to in enumerate([ANN, ANN, BOB, BOB]):
        submit(net[number], sign(MINT, to, "a-1 1"))
    for server in net.servers:
        for wire in server.ends.values():
            wire.hold = False
    net.run(1)
    assert [server.shows("a-1") for server in net.servers] == [
        (1, ANN.owner, "disputed"), (1, ANN.owner, "disputed"),
        (1, BOB.owner, "disputed"), (1, BOB.owner, "disputed"),
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 256])
def test_attack_late_conflict_changes_nothing_but_is_kept_and_passed_on_once(rows):
    net = meshed(3)
    submit(net[0], sign(MINT, ANN, *[(f"a-{n}", 1) for n in range(1, rows + 1)]))
    net.run(1)
    follower = net[1].client(exempt=True)
    follower.ask("subscribe", {})
    follower.step()
    before = [server.state() for server in net.servers]
    late = sign(MINT, BOB, *[(f"a-{n}", 1) for n in range(1, rows + 1)])
    assert error(net[0].client().transfer(late))[0] == "conflicting_transfer"
    net.run(1)
    assert [server.state() for server in net.servers] == before
    assert len(follower.notifications("conflict")) == 1
    for server in net.servers:
        pair = server.client().ask("evidence", {"billot": f"a-{rows}"})
        assert {pair["first"]["to"], pair["second"]["to"]} == {ANN.owner, BOB.owner}
    for server in net.servers:
        assert error(server.client().transfer(late))[0] == "conflicting_transfer"
    net.run(1)
    assert follower.notifications("conflict") == []


def test_a_conflict_does_not_go_back_to_the_server_that_showed_it():
    net = Net(2)
    net.link(net[0], net[1])
    net.quiet()
    net.link(net[1], net[0])
    net.quiet()
    submit(net[1], sign(MINT, ANN, "a-1 1"))
    net.run(1)
    net[1].client().transfer(sign(MINT, BOB, "a-1 1"))
    (wire,) = (w for w in net.between(net[1], net[0]) if w.frames)
    assert b'"conflict"' in wire.frames[-1]
    wire.deliver()
    net[0].step()
    assert [w for w in net.between(net[0], net[1]) if w.frames] == []
    assert net[0].client().ask("evidence", {"billot": "a-1"}) is not None


def test_a_pair_is_shown(net, client):
    first, second = sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-1 1")
    params = {"first": fields(first), "second": fields(second)}
    assert client.ask("conflict", params) == {"kept": True}
    assert net[0].shows("a-1") == (1, ANN.owner, "settled")
    assert client.ask("conflict", params) == {"kept": False}
    assert client.ask("conflict", {"first": params["second"], "second": params["first"]}) == {
        "kept": False
    }


def test_a_pair_together_with_what_it_conflicts_with(net, client):
    pair = Pair(sign(ANN, BOB, "a-1 2"), sign(ANN, CAT, "a-1 2"))
    client.send(
        call(1, "transfer", SendTransfer.of(sign(MINT, ANN, "a-1 1"))), call(2, "conflict", pair)
    )
    answers = client.step()
    assert {"kept": True} in [answer["result"] for answer in answers]
    assert net[0].shows("a-1") == (2, BOB.owner, "settled")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (sign(MINT, ANN, "a-1 1"), sign(MINT, ANN, "a-1 1")),
        (sign(MINT, ANN, "a-1 1"), sign(BOB, CAT, "a-1 1")),
        (sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-2 1")),
        (sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-1 2")),
        (sign(MINT, ANN, "a-1 1"), forged(sign(MINT, BOB, "a-1 1"))),
        (forged(sign(MINT, ANN, "a-1 1")), sign(MINT, BOB, "a-1 1")),
        (sign(DAN, ANN, "a-1 1"), sign(DAN, BOB, "a-1 1")),
        (sign(DAN, ANN, "a-1 2"), sign(DAN, BOB, "a-1 2")),
        (sign(MINT, ANN, "a-1 5"), sign(MINT, BOB, "a-1 5")),
    ],
)
def test_attack_framed_as_a_double_spender(first, second):
    """What proves nothing keeps nothing, contests nothing and takes nothing."""
    net = Net(2)
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    client = net[0].client()
    before = dict(net[0].memory._values)
    params = {"first": fields(first), "second": fields(second)}
    assert client.ask("conflict", params) == {"kept": False}
    assert net[0].shows("a-1") == (1, ANN.owner, "held")
    assert client.ask("evidence", {"billot": "a-1"}) is None
    assert dict(net[0].memory._values) == before
    assert len(net[0].node.rounds.pending) == 0


def test_wrong_params_of_conflict(client):
    good, foreign = fields(sign(MINT, ANN, "a-1 1")), sign(MINT, BOB, "a-1 1", network=OTHER)
    assert client.fails("conflict", {"first": good})[0] == -32602
    assert client.fails("conflict", {"first": good, "second": fields(foreign)})[0] == -32004
    unknown = good | {"billots": [["a-0", 1]]}
    code, data = client.fails("conflict", {"first": good, "second": unknown})
    assert (code, data["billot"]) == (-32000, "a-0")


# Attacks


def test_attack_replay_on_this_and_another_network(net, client):
    """Every historic transfer against every later holding: none is taken."""
    keys = [MINT, ANN, BOB, ANN, CAT, MINT, ANN]
    history = []
    for seq, (key, to) in enumerate(itertools.pairwise(keys), 1):
        history.append(sign(key, to, f"a-1 {seq}"))
        accepted(client.transfer(history[-1]))
        foreign = [sign(key, to, f"a-1 {seq + 1}", network=OTHER) for key in keys for to in keys]
        relabelled = [msgspec.structs.replace(transfer, network=NET.id) for transfer in foreign]
        now = net[0].state()
        for old in history[:-1]:
            assert error(client.transfer(old))[0] == "stale_seq"
        for transfer in foreign:
            assert error(client.transfer(transfer))[0] == "wrong_network"
        for transfer in relabelled:
            assert error(client.transfer(transfer))[0] in ("bad_signature", "not_owner")
        assert net[0].state() == now


def test_attack_a_refused_transfer_is_not_remembered_as_seen():
    """2017: an out-of-order transfer was remembered as seen and its retry refused."""
    net = meshed(2)
    first, second = sign(MINT, ANN, "a-1 1"), sign(ANN, BOB, "a-1 2")
    client = net[0].client()
    assert client.transfer(second) is None, "it waits until the other server was asked"
    net.quiet()
    assert [error(answer)[0] for answer in client.step()] == ["behind"]
    assert error(net[0].client().transfer(forged(first)))[0] == "bad_signature"
    assert second.id not in net[0].node.rounds.seen
    accepted(net[0].client().transfer(first))
    net.run(1)
    accepted(net[0].client().transfer(second))
    net.run(1)
    assert shown(net) == {(2, BOB.owner, "settled")}


def test_attack_a_flood_of_signatures_is_charged_and_forgotten():
    net = Net(1, limits=Limits(cost_per_address_max=5, cost_decay_per_s=1))
    server = net[0]
    for number in range(6):
        answer = server.client("198.51.100.7").transfer(
            forged(sign(MINT, ANN, f"a-{number + 1} 1"))
        )
        assert error(answer)[0] == "bad_signature"
    client = server.client("198.51.100.7")
    assert client.fails("ping") == (-32012, {"error": "rate_limited"})
    assert server.client("198.51.100.8").ask("ping") == "pong"
    assert server.client("198.51.100.7", exempt=True).ask("ping") == "pong"
    net.run(2)
    assert client.ask("ping") == "pong"


def test_attack_who_hangs_up_at_once_pays_too():
    net = Net(1, limits=Limits(cost_per_address_max=2))
    for number in range(1, 5):
        client = net[0].client("198.51.100.7")
        transfer = forged(sign(MINT, ANN, f"a-{number} 1"))
        client.send(call(1, "transfer", SendTransfer.of(transfer)))
        client.close()
        net[0].step()
    assert net[0].client("198.51.100.7").fails("ping")[0] == -32012


def test_attack_forged_pairs_are_charged():
    net = Net(1, limits=Limits(cost_per_address_max=2))
    client = net[0].client()
    for number in range(1, 4):
        pair = [forged(sign(MINT, to, f"a-{number} 1")) for to in (ANN, BOB)]
        assert not client.ask("conflict", {"first": fields(pair[0]), "second": fields(pair[1])})[
            "kept"
        ]
    assert client.fails("ping")[0] == -32012


def test_state_comes_before_signatures(net, client):
    """What is refused whoever signed it costs no check."""
    submit(net[0], sign(MINT, ANN, "a-1 1"))
    for transfer in (sign(BOB, CAT, "a-1 2"), sign(ANN, BOB, "a-1 5"), sign(BOB, CAT, "a-2 1")):
        client.send(call(1, "transfer", SendTransfer.of(forged(transfer))))
        assert net[0].node.checks() == []
        assert error(client.step()[0])[0] in ("not_owner", "behind")
    pair = Pair(forged(sign(DAN, ANN, "a-1 2")), forged(sign(DAN, BOB, "a-1 2")))
    client.send(call(1, "conflict", pair))
    assert net[0].node.checks() == []
    client.send(call(1, "transfer", SendTransfer.of(sign(MINT, ANN, "a-1 1"))))
    assert net[0].node.checks() == []


def test_attack_a_pile_of_large_transfers_is_judged_in_several_rounds(net, client):
    """Refused ones too: each of them costs a look at all its rows."""
    rows = [(f"a-{n}", 1) for n in range(1, 257)]
    refused = call(1, "transfer", SendTransfer.of(sign(BOB, CAT, *rows)))
    for _ in range(20):
        client.send(refused)
    rounds = 0
    while net[0].node.has_work:
        net[0].step()
        rounds += 1
    assert rounds > 2
    assert [error(answer)[0] for answer in client.read()] == ["not_owner"] * 20
