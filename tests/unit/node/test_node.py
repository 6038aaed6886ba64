"""Requests and their answers, and those who follow."""

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    MINT,
    NET,
    SERVER_KEYS,
    STRANGER,
    Net,
    fields,
    sign,
)

from billots.feed import FeedBatch
from billots.host import Host
from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import SendTransfer

INFO = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.fixture
def net():
    return Net(1)


@pytest.fixture
def client(net):
    return net[0].client()


def request(identifier=b"1", method=b"ping", params=b"{}"):
    return b'{"jsonrpc":"2.0","id":%s,"method":"%s","params":%s}' % (identifier, method, params)


def take(server, *transfers):
    for transfer in transfers:
        assert server.client(exempt=True).transfer(transfer)["result"]["accepted"]


# One frame


@pytest.mark.parametrize(
    "identifier",
    [b"1", b"0", b"-5", b"1.5", b"1e3", b"null", b'""', b'"x"', b'"\\u0000\\n\xc3\xa4"',
     b"1" * 5000, b"12345678901234567890", b'"%s"' % (b"x" * 5000)],
    ids=lambda identifier: identifier[:20].decode(),
)  # fmt: skip
def test_ids_of_every_kind_are_echoed_exactly(client, identifier):
    client.send(request(identifier))
    client.server.flush()
    assert client.frames == [b'{"jsonrpc":"2.0","id":%s,"result":"pong"}' % identifier]


@pytest.mark.parametrize("identifier", [b"true", b"[]", b"{}", b"[1]"])
def test_ids_of_other_kinds_are_no_requests(client, identifier):
    (answer,) = client.raw(request(identifier))
    assert (answer["error"]["code"], answer["id"]) == (-32600, None)


@pytest.mark.parametrize(
    ("frame", "code", "identifier"),
    [
        (b"nonsense", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"', -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}x', -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"p\xff"}', -32700, None),
        ('{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"), -32700, None),
        (b"\xef\xbb\xbf" + INFO, -32700, None),
        (request(params=b"NaN"), -32700, None),
        (request(params=b'{"x":NaN}'), -32700, None),
        (request(params=b'{"x":01}'), -32700, None),
        (request(params=b'{"x":Infinity}'), -32700, None),
        (b"[" * 100, -32700, None),
        (b"5", -32600, None),
        (b'"x"', -32600, None),
        (b"null", -32600, None),
        (b"{}", -32600, None),
        (b'{"id":3,"method":"ping"}', -32600, 3),
        (b'{"jsonrpc":"1.0","id":3,"method":"ping"}', -32600, 3),
        (b'{"jsonrpc":"2.0","id":3,"method":5}', -32600, 3),
        (b'{"jsonrpc":"2.0","id":3}', -32600, 3),
        (b'{"jsonrpc":"2.0","id":[3]}', -32600, None),
        (b'{"jsonrpc":"2.0","id":3,"method":"nothing"}', -32601, 3),
        (b'{"jsonrpc":"2.0","id":3,"method":"settle_all"}', -32601, 3),
        (b'{"jsonrpc":"2.0","id":3,"method":""}', -32601, 3),
        (request(b"3", b"list", b'{"owner":5}'), -32602, 3),
        (request(b"3", b"list", b"[]"), -32602, 3),
        (request(b"3", b"ping", b"[1]"), -32602, 3),
        (request(b"3", b"changes", b'{"since":1.0}'), -32602, 3),
        (request(b"3", b"changes", b'{"since":1e2}'), -32602, 3),
        (request(b"3", b"changes", b'{"since":1e999}'), -32602, 3),
        (request(b"3", b"changes", b'{"since":%s}' % (b"1" * 5000)), -32602, 3),
        (request(b"3", b"changes", b'{"since":-1}'), -32602, 3),
        (request(b"3", b"changes", b'{"since":true}'), -32602, 3),
    ],
)
def test_attack_hostile_json(client, frame, code, identifier):
    """One answer with its code, no change, and the connection goes on."""
    before = dict(client.server.memory._values)
    (answer,) = client.raw(frame)
    assert (answer["error"]["code"], answer["id"]) == (code, identifier)
    assert dict(client.server.memory._values) == before
    assert client.ask("ping") == "pong"


@pytest.mark.parametrize(("depth", "code"), [(8, -32602), (9, -32700), (5000, -32700)])
def test_attack_deep_nesting(client, depth, code):
    params = b'{"owner":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
    (answer,) = client.raw(request(b"3", b"list", params))
    assert answer["error"]["code"] == code
    (answer,) = client.raw(b"[" + request(b"3", b"list", params) + b"]")
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["error"]["code"] == code


def test_of_a_doubled_key_the_last_counts(client):
    frame = request(b'1,"id":2', b'nothing","method":"ping')
    (answer,) = client.raw(frame)
    assert (answer["id"], answer["result"]) == (2, "pong")


def test_attack_a_doubled_key_is_not_relayed():
    """What is passed on is rebuilt from the fields that were read."""
    net = Net(2)
    net.mesh()
    good = sign(MINT, ANN, "a-1 1")
    params = msgspec.json.encode(SendTransfer.of(good))
    doubled = b'{"to":"%s",' % BOB.owner.encode() + params[1:-1] + b',"more":[1]}'
    (answer,) = net[0].client().raw(request(b"1", b"transfer", doubled))
    assert answer["result"]["transfer_id"] == good.id
    net.quiet()
    assert net[1].node.ledger.store.transfer(good.id) == good
    assert net[1].shows("a-1") == (1, ANN.owner, "settled")


@pytest.mark.parametrize(
    "frame",
    [
        b'{"jsonrpc":"2.0","method":"ping"}',
        b'{"jsonrpc":"2.0","method":"nothing"}',
        b'{"jsonrpc":"2.0","method":"who_owns","params":{"billots":["a-0"]}}',
        b'{"jsonrpc":"2.0","method":"who_owns","params":{}}',
        b'[{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","method":"info"}]',
    ],
)
def test_notifications_get_no_answer(client, frame):
    assert client.raw(frame) == []
    assert client.server.node.connections[client.conn].in_flight == 0


def test_a_transfer_without_an_id_is_taken_and_not_answered(net, client):
    for transfer in (sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-1 1"), sign(BOB, ANN, "a-2 1")):
        frame = msgspec.json.encode(
            {"jsonrpc": "2.0", "method": "transfer", "params": fields(transfer)}
        )
        assert client.raw(frame) == []
    assert net[0].shows("a-1") == (1, ANN.owner, "settled")


@pytest.mark.parametrize("params", [b"{}", b"[]", b'{"more":1}'])
def test_ping_takes_no_params_and_ignores_unknown_ones(client, params):
    assert client.raw(request(params=params))[0]["result"] == "pong"


# Batches


def test_a_mixed_batch(net, client):
    good = msgspec.json.encode(fields(sign(MINT, ANN, "a-1 1")))
    batch = [
        request(b"1"), b"5", request(b'"x"', b"nothing"), b'{"jsonrpc":"2.0","method":"ping"}',
        request(b"2", b"transfer", good), request(b"3", b"who_owns", b'{"billots":["a-0"]}'),
        b"[]",
    ]  # fmt: skip
    client.send(b" [" + b",".join(batch) + b"]")
    assert client.read() == []
    (answers,) = client.step() + client.step()  # the transfer's turn comes after a round
    by_id = {}
    for answer in answers:
        by_id.setdefault(answer["id"], []).append(answer)
    assert by_id[1][0]["result"] == "pong"
    assert by_id["x"][0]["error"]["code"] == -32601
    assert by_id[2][0]["result"]["accepted"]
    assert by_id[3][0]["error"]["code"] == -32000
    assert [answer["error"]["code"] for answer in by_id[None]] == [-32600, -32600]
    assert len(answers) == 6
    assert net[0].node.connections[client.conn].in_flight == 0


@pytest.mark.parametrize(("size", "code"), [(0, -32600), (65, -32600), (200, -32600)])
def test_a_batch_of_none_or_too_many_is_no_request(client, size, code):
    (answer,) = client.raw(b"[" + b",".join([INFO] * size) + b"]")
    assert (answer["error"]["code"], answer["id"]) == (code, None)


def test_a_batch_of_64(client):
    (answers,) = client.raw(b"[" + b",".join([INFO] * 64) + b"]")
    assert [answer["result"] for answer in answers] == ["pong"] * 64


def test_a_batch_that_is_not_json(client):
    (answer,) = client.raw(b"[" + INFO + b",}]")
    assert answer["error"]["code"] == -32700


def test_answers_that_do_not_fit_the_batchs_frame_are_to_be_asked_alone(net, client):
    ids = [f"a-{n}" for n in range(1, 257)]
    ask = msgspec.json.encode({"billots": ids})
    batch = [request(b"%d" % n, b"who_owns", ask) for n in range(20)]
    client.send(b"[" + b",".join(batch) + b"]")
    assert net[0].node.busy(client.conn)
    while net[0].node.lagging:  # a few at a time, so that others get their turn
        net[0].step()
    (frame,) = client.frames
    assert len(frame) <= Limits().frame_bytes_max
    answers = msgspec.json.decode(frame)
    assert [answer["id"] for answer in answers] == list(range(20))
    good = [answer for answer in answers if "result" in answer]
    assert 1 <= len(good) < 20
    assert {answer["error"]["code"] for answer in answers if "error" in answer} == {-32011}


def test_attack_ids_so_long_that_the_answer_does_not_fit():
    net = Net(1, limits=Limits(frame_bytes_max=2000))
    client = net[0].client()
    for size, identifier in [(1600, "x" * 1600), (1960, None)]:
        (answer,) = client.raw(request(b'"%s"' % (b"x" * size), b"info"))
        assert (answer["error"]["code"], answer["id"]) == (-32011, identifier)
    (answer,) = client.raw(b"[" + b",".join([request(b'"%s"' % (b"x" * 900))] * 2) + b"]")
    assert (answer["error"]["code"], answer["id"]) == (-32011, None)


def test_a_line_over_the_limit_ends_the_connection(net, client):
    net[0].node.too_large(client.conn)
    net[0].node.too_large(99_999)
    (answer,) = client.read()
    assert (answer["error"]["code"], answer["id"]) == (-32011, None)
    assert answer["error"]["data"]["error"] == "frame_too_large"
    assert client.conn not in net[0].ends


def test_reading_stops_while_too_many_wait_for_an_answer():
    net = Net(1, limits=Limits(in_flight_max=3))
    client, node = net[0].client(), net[0].node
    for number in (1, 2, 3):
        assert not node.busy(client.conn)
        client.send(call(number, "transfer", SendTransfer.of(sign(MINT, ANN, f"a-{number} 1"))))
    assert node.busy(client.conn)
    assert len(client.step()) == 3
    assert not node.busy(client.conn)


def test_answers_to_one_who_is_gone_go_nowhere(net, client):
    client.send(call(1, "transfer", SendTransfer.of(sign(MINT, ANN, "a-1 1"))))
    client.close()
    net[0].step()
    assert net[0].shows("a-1") == (1, ANN.owner, "settled")
    net[0].node.closed(client.conn)
    net[0].node.blocked(client.conn, blocked=True)
    net[0].node.received(client.conn, [INFO], 0)
    assert net[0].node.out == {}


# info, hosts, announce


def test_info(net):
    net = Net(3, pins=True)
    net.mesh()
    take(net[0], sign(MINT, ANN, "a-1 1"))
    net.quiet()
    info = net[0].client().ask("info")
    assert info["network"] == {"name": "unit", "id": NET.id}
    assert info["server"] == net[0].key.public_hex
    assert (info["protocol"], info["lsn"]) == (1, 1)
    assert info["trusted"] == [str(net.host(1)), str(net.host(2))]
    assert info["counts"]["n"] == 3
    assert info["counts"]["quorum"] == 2
    assert info["counts"]["links_up"] == 2
    assert info["counts"]["subscribers"] == 2
    assert info["counts"]["billots_moved"] == 1
    assert info["limits"]["frame_bytes"] == 131072


def test_hosts_and_their_keys():
    net = Net(2)
    assert net[0].client().ask("hosts") == {"hosts": ["127.0.0.1:7001"]}
    net.mesh()
    net[0].node.hosts.add_host("new.example:7333")
    key = net[1].key.public_hex
    assert net[0].client().ask("hosts") == {"hosts": [f"127.0.0.1:7001#{key}", "new.example:7333"]}


def test_announced_hosts_are_to_be_dialled_back_before_they_are_believed(net, client):
    key = STRANGER.public_hex
    assert client.ask("announce", {"port": 7777, "key": key}) == {"hosts": []}
    ((address, announce),) = net[0].node.probes
    assert (address, announce.port, announce.key) == ("192.0.2.1", 7777, key)
    assert client.ask("hosts") == {"hosts": []}
    net[0].node.probes.clear()
    client.ask("announce", {"port": 7777, "key": net[0].key.public_hex})
    assert net[0].node.probes == []


@pytest.mark.parametrize(
    "params", [{}, {"port": 0, "key": "0" * 64}, {"port": 65536, "key": "0" * 64},
               {"port": 1, "key": "x"}, {"port": 1.0, "key": "0" * 64}]
)  # fmt: skip
def test_wrong_params_of_announce(client, params):
    assert client.fails("announce", params)[0] == -32602


def test_attack_a_long_list_of_hosts_is_cut_at_the_frame():
    hosts = tuple(Host(f"{'x' * 60}.{n}.example", 7333) for n in range(2000))
    net = Net(1, trusted=[hosts], limits=Limits(hosts_max=5000))
    client = net[0].client()
    for method in (b"hosts", b"info"):
        client.send(request(b"1", method))
        net[0].flush()
        assert len(client.frames.pop()) <= 128 * 1024


# Following


def feeds(client):
    return [msgspec.convert(params, FeedBatch) for params in client.notifications("feed")]


def lsns(batches):
    return [row.lsn for batch in batches for row in batch.parsed()]


def test_a_subscriber_gets_what_it_missed_and_what_comes(net, client):
    take(net[0], sign(MINT, ANN, "a-1 1"), sign(MINT, ANN, "a-2 1"))
    net.run(1)
    key = net[0].key.public_hex
    assert client.ask("subscribe", {"since": {"key": key, "lsn": 1}}) == {"lsn": 2, "yours": None}
    (missed,) = [msgspec.convert(m["params"], FeedBatch) for m in client.others]
    assert lsns([missed]) == [2]
    assert missed.is_signed(NET.id)
    take(net[0], sign(ANN, BOB, "a-1 2"))
    (live,) = feeds(client)
    assert lsns([live]) == [3]
    assert live.transfers == (sign(ANN, BOB, "a-1 2"),)


@pytest.mark.parametrize(
    "since", [None, {"key": "0" * 64, "lsn": 2}, {"key": SERVER_KEYS[0].public_hex, "lsn": 99}]
)
def test_a_cursor_of_another_key_or_of_the_future_is_0(net, client, since):
    take(net[0], sign(MINT, ANN, "a-1 1"), sign(MINT, ANN, "a-2 1"))
    net.run(1)
    client.ask("subscribe", {} if since is None else {"since": since})
    assert lsns([msgspec.convert(m["params"], FeedBatch) for m in client.others]) == [1, 2]


def test_feed_batches_come_at_once_and_then_every_50_ms(net, client):
    client.ask("subscribe", {})
    take(net[0], sign(MINT, ANN, "a-1 1"))
    assert lsns(feeds(client)) == [1]
    for number in (2, 3, 4):
        take(net[0], sign(MINT, ANN, f"a-{number} 1"))
    assert feeds(client) == []
    net.now += 0.049
    assert feeds(client) == []
    net.now += 0.001
    assert [lsns([batch]) for batch in feeds(client)] == [[2, 3, 4]]


def test_attack_bodies_never_go_back_to_the_connection_they_came_from(net, client):
    other = net[0].client()
    for follower in (client, other):
        follower.ask("subscribe", {})
    transfer = sign(MINT, ANN, "a-1 1")
    client.transfer(transfer)
    (mine,) = [msgspec.convert(m["params"], FeedBatch) for m in client.others]
    (theirs,) = feeds(other)
    assert (mine.rows, mine.transfers) == (theirs.rows, ())
    assert theirs.transfers == (transfer,)


def test_more_than_256_rows_are_more_batches(net, client):
    client.ask("subscribe", {})
    client.send(
        *[call(n, "transfer", SendTransfer.of(sign(MINT, ANN, f"a-{n} 1"))) for n in range(1, 301)]
    )
    batches = [
        msgspec.convert(m["params"], FeedBatch) for m in client.step() if m.get("method") == "feed"
    ]
    assert [len(batch.rows) for batch in batches] == [256, 44]
    assert feeds(client) == []


def test_one_who_lags_gets_page_after_page_without_being_asked(net, client):
    many(net[0], 600)
    net.run(1)
    node = net[0].node
    client.send(call(1, "subscribe", None))
    assert node.lagging
    assert node.next_at <= net.now
    batches = feeds(client) + feeds(client) + feeds(client)
    assert lsns(batches) == list(range(1, 601))
    feeds(client)
    assert not node.lagging
    assert node.next_at is None or node.next_at > net.now


def many(server, count):
    client = server.client(exempt=True)
    client.send(
        *[
            call(n, "transfer", SendTransfer.of(sign(MINT, ANN, f"a-{n} 1")))
            for n in range(1, count + 1)
        ]
    )
    client.step()
    client.close()


def test_one_who_lags_misses_nothing_that_is_new_and_gets_nothing_twice(net, client):
    many(net[0], 600)
    net.run(1)
    client.send(call(1, "subscribe", None))
    got = lsns([msgspec.convert(m["params"], FeedBatch) for m in client.read() if "method" in m])
    take(net[0], sign(MINT, BOB, "a-700 1"))
    for _ in range(5):
        net.now += 0.1
        got += lsns(feeds(client))
    assert got == list(range(1, 602))


def test_a_page_passes_over_what_moved_on(net, client):
    take(net[0], sign(MINT, ANN, "a-1 1", "a-2 1"), sign(ANN, BOB, "a-1 2"))
    take(net[0], sign(MINT, ANN, "a-3 1"), sign(ANN, BOB, "a-3 2"))
    net.run(1)
    client.ask("subscribe", {})
    (page,) = [msgspec.convert(m["params"], FeedBatch) for m in client.others]
    assert [(row.lsn, row.billots) for row in page.parsed()] == [(1, ("a-2",)), (2, ()), (4, ())]
    assert feeds(client) == []
    assert not net[0].node.lagging


def test_who_subscribes_misses_nothing_that_moved_on_and_is_not_signed_yet(net, client):
    """What is on disk is signed first: the row that gave way is in no page any more."""
    take(net[0], sign(MINT, ANN, "a-1 1"))
    take(net[0], sign(ANN, BOB, "a-1 2"))
    assert client.ask("subscribe", {})["lsn"] == 2
    (told,) = client.others
    assert lsns([msgspec.convert(told["params"], FeedBatch)]) == [2]


def test_attack_a_page_is_not_read_while_a_batch_is_on_its_way_to_disk(net, client):
    """The store may have what it moves on already, and the feed hasn't."""
    take(net[0], sign(MINT, ANN, "a-1 1"))
    net.now += 0.1
    net[0].step()
    submitter = net[0].client()
    submitter.send(call(1, "transfer", SendTransfer.of(sign(ANN, BOB, "a-1 2"))))
    batch = net[0].begin()
    net[0].store.commit(batch)  # on disk, and nobody knows it yet
    client.send(call(2, "subscribe", {}))
    net[0].node.pump(net.now)
    assert [m.get("method") for m in client.read()] == [None]
    net[0].node.committed(net.now, written=True)
    assert lsns(feeds(client)) == [2]


def test_only_those_who_follow_may_be_silent(net, client):
    connection = net[0].node.connections[client.conn]
    assert not connection.follows
    client.ask("subscribe", {"owner": ANN.owner})
    assert connection.follows
    other = net[0].client()
    other.ask("subscribe", {})
    assert net[0].node.connections[other.conn].follows


def test_attack_a_blocked_reader_is_sent_nothing_until_it_reads_again(net, client):
    node = net[0].node
    client.ask("subscribe", {})
    node.blocked(client.conn, blocked=True)
    take(net[0], sign(MINT, ANN, "a-1 1"))
    net[0].client().transfer(sign(MINT, BOB, "a-1 1"))
    net.run(1)
    take(net[0], sign(MINT, ANN, "a-2 1"))
    net.run(1)
    assert client.read() == []
    assert not node.lagging
    node.blocked(client.conn, blocked=False)
    assert lsns([msgspec.convert(m["params"], FeedBatch) for m in client.read()]) == [1, 2]


def test_watching_an_owner(net, client):
    assert client.ask("subscribe", {"owner": ANN.owner})["lsn"] == 0
    other = net[0].client()
    other.ask("subscribe", {"owner": ANN.owner})
    transfer = sign(MINT, ANN, "a-1 1")
    take(net[0], transfer, sign(MINT, BOB, "a-2 1"))
    assert client.notifications("transferred") == [{"lsn": 1, "transfer": fields(transfer)}]
    client.ask("subscribe", {"owner": BOB.owner})
    take(net[0], sign(MINT, ANN, "a-3 1"), sign(MINT, BOB, "a-4 1"))
    assert [n["lsn"] for n in client.notifications("transferred")] == [4]
    client.close()
    other.close()
    take(net[0], sign(MINT, ANN, "a-5 1"))
    assert net[0].node.subscriptions._watchers == {}


@pytest.mark.parametrize(
    "params", [{"since": {"key": "x", "lsn": 1}}, {"since": {"key": "0" * 64}}, {"since": 5},
               {"me": "x"}, {"owner": "x"}, {"since": {"key": "0" * 64, "lsn": -1}}]
)  # fmt: skip
def test_wrong_params_of_subscribe(client, params):
    assert client.fails("subscribe", params)[0] == -32602


def test_who_subscribes_is_shown_the_newest_batch_that_we_have_of_it():
    net = Net(2)
    net.mesh()
    take(net[0], sign(MINT, ANN, "a-1 1"))
    net.run(2)
    me = net[0].key.public_hex
    yours = net[1].client().ask("subscribe", {"me": me})["yours"]
    assert msgspec.convert(yours, FeedBatch).is_signed(NET.id)
    assert yours["server"] == me
    net[1].crash()
    net[1].start()
    assert net[1].client().ask("subscribe", {"me": me})["yours"] == yours
    assert net[1].client().ask("subscribe", {"me": "0" * 64})["yours"] is None


def test_who_subscribes_and_is_trusted_is_to_be_dialled_now():
    net = Net(2, pins=True)
    net[0].client().ask("subscribe", {"me": net[1].key.public_hex})
    assert net[0].node.redial == {0}
    net[0].node.redial.clear()
    net[0].client().ask("subscribe", {"me": "0" * 64})
    assert net[0].node.redial == set()
    net.mesh()
    net[0].node.redial.clear()
    net[0].client().ask("subscribe", {"me": net[1].key.public_hex})
    assert net[0].node.redial == set()


def test_attack_many_who_begin_at_0_are_served_a_few_at_a_time(net, client):
    client.transfer(sign(MINT, ANN, "a-1 1"))
    server = net[0]
    followers = [server.client() for _ in range(20)]
    for follower in followers:
        follower.send(request(b"1", b"subscribe", b"{}"))
    served = []
    while server.node.lagging:
        server.step()
        served.append(sum(len(follower.frames) == 2 for follower in followers))
    assert served[0] < 20
    assert served[-1] == 20
    for follower in followers:
        assert [m.get("method") for m in follower.read()] == [None, "feed"]
