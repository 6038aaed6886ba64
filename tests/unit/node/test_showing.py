"""Receipts that others show: what they settle, what they cost, and those that are none."""

import logging

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    MINT,
    NET,
    OTHER,
    SERVER_KEYS,
    STRANGER,
    Net,
    adopted,
    alone_with,
    claimed,
    error,
    fed,
    fields,
    forged,
    receipt,
    row,
    sign,
    stated,
    submit,
)

from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import Settle
from billots.node.showing import checks
from billots.receipt import decode_receipt
from billots.statement import Statement

OWN, *_ = SERVER_KEYS
ONE, TWO, THREE, FOUR = SERVER_KEYS[10:14]
"""The keys of the servers that a test plays."""

FIRST = sign(MINT, ANN, "a-1 1")
DOUBLE = sign(MINT, BOB, "a-1 1")
LATER = sign(CAT, DAN, "a-1 7")
SETTLED = (1, ANN.owner, "settled")
ENOUGH = receipt(FIRST, stated(ONE, FIRST), stated(TWO, FIRST), stated(THREE, FIRST))


@pytest.fixture
def server():
    """One of four, q = 3, whose others have not been heard yet."""
    return alone_with(3)[1]


def shake(vote):
    """The same vote under a signature that doesn't hold."""
    form = vote.statement or vote.feed
    wrong = f"{int(form.signature[0], 16) ^ 1:x}" + form.signature[1:]
    changed = msgspec.structs.replace(form, signature=wrong)
    which = "statement" if vote.statement else "feed"
    return msgspec.structs.replace(vote, **{which: changed})


# What settles


@pytest.mark.parametrize(
    "votes",
    [
        [stated(ONE, FIRST), stated(TWO, FIRST), stated(THREE, FIRST)],
        [stated(OWN, FIRST), stated(TWO, FIRST), stated(THREE, FIRST)],
        [fed(ONE, row(4, FIRST)), fed(TWO, row(1, FIRST)), fed(THREE, row(9, FIRST, "a-1"))],
        [stated(ONE, FIRST), fed(TWO, row(2, FIRST)), fed(THREE, adopted(3, FIRST, "a-1"))],
        [claimed(ONE, FIRST), claimed(TWO, FIRST)],
        [claimed(ONE, FIRST), fed(THREE, adopted(3, FIRST, "a-1"))],
    ],
    ids=["statements", "ours among them", "feed rows", "mixed", "claims", "mixed claims"],
)  # fmt: skip
@pytest.mark.parametrize("held", [False, True])
def test_a_receipt_settles(server, votes, held):
    if held:
        submit(server, FIRST)
    statement = server.client().settle(receipt(FIRST, *votes))["result"]
    assert [(r["seq"], r["owner"], r["status"]) for r in statement["billots"]] == [SETTLED]
    assert server.shows("a-1") == SETTLED
    answer = server.client().transfer(sign(ANN, BOB, "a-1 2"))
    assert answer["result"]["accepted"], "it can be spent at once"


@pytest.mark.parametrize(("others", "needed"), [(2, 2), (3, 2), (6, 3), (9, 4)])
def test_max_2_or_f_plus_1_settled_claims_are_enough_and_one_less_is_not(others, needed):
    _, server, peers = alone_with(others)
    keys = [peer.key for peer in peers]
    few = receipt(LATER, *[claimed(key, LATER) for key in keys[: needed - 1]])
    assert error(server.client().settle(few)) == "bad_receipt"
    assert server.shows("a-1")[0] == 0
    enough = receipt(LATER, *[claimed(key, LATER) for key in keys[:needed]])
    assert "result" in server.client().settle(enough)
    assert server.shows("a-1") == (7, DAN.owner, "settled")


def test_attack_our_own_settled_claim_does_not_make_two():
    """We said so because we believed it: nobody else has."""
    _, server, (peer, _) = alone_with(2)
    ours = receipt(LATER, claimed(OWN, LATER))
    assert error(server.client().settle(ours)) == "bad_receipt"
    four = alone_with(3)[1]
    assert error(four.client().settle(receipt(LATER, claimed(OWN, LATER), claimed(ONE, LATER))))
    assert server.shows("a-1") == four.shows("a-1") == (0, MINT.owner, "settled")
    assert peer.up


def test_a_receipt_adopts_what_is_several_moves_ahead(server):
    votes = [stated(key, LATER) for key in (ONE, TWO, THREE)]
    assert "result" in server.client().settle(receipt(LATER, *votes))
    assert server.shows("a-1") == (7, DAN.owner, "settled")


def test_a_receipt_adopts_over_the_losing_side(server):
    submit(server, DOUBLE)
    assert "result" in server.client().settle(ENOUGH)
    assert server.shows("a-1") == SETTLED


def test_receipts_in_a_row_each_lift_us(server):
    second = sign(ANN, BOB, "a-1 2")
    receipts = [receipt(t, *[stated(key, t) for key in (ONE, TWO, THREE)]) for t in (FIRST, second)]
    (said,) = server.client().settle(*receipts)["result"]["billots"]
    assert (said["seq"], said["owner"], said["status"]) == (2, BOB.owner, "settled")


def test_a_receipt_settles_only_the_rows_that_have_a_quorum(server):
    transfer = sign(MINT, ANN, "a-1 1", "a-2 1", "a-3 1")
    submit(server, sign(MINT, ANN, "a-3 1"))
    votes = [
        fed(ONE, row(3, transfer)),
        fed(TWO, row(1, transfer, "a-1", "a-3")),
        stated(THREE, transfer, "a-2", "a-3"),
        stated(OWN, transfer, "a-1"),
    ]
    statement = server.client().settle(receipt(transfer, *votes))["result"]
    assert [(r["id"], r["seq"], r["status"]) for r in statement["billots"]] == [
        ("a-1", 1, "settled"), ("a-2", 0, "settled"), ("a-3", 1, "settled")
    ]  # fmt: skip


def test_settle_is_answered_with_a_statement_under_the_nonce(server):
    answer = server.client().settle(ENOUGH, nonce="cd" * 8)["result"]
    assert msgspec.convert(answer, Statement).answers(NET.id, "cd" * 8, ["a-1"])


def test_what_a_receipt_settles_is_on_disk_before_it_is_said(server):
    client = server.client()
    client.send(call(1, "settle", Settle((ENOUGH,))))
    batch = server.begin()
    assert (client.read(), server.shows("a-1")) == ([], (0, MINT.owner, "settled"))
    server.end(batch)
    assert client.read()[0]["result"]["billots"][0]["status"] == "settled"


# With a transfer


def test_a_payee_presents_the_receipt_with_its_spend(server):
    """Final once, spendable anywhere: also where nothing of it was heard."""
    votes = [stated(key, LATER) for key in (ONE, TWO, THREE)]
    spend = sign(DAN, BOB, "a-1 8")
    answer = server.client().transfer(spend, receipts=fields([receipt(LATER, *votes)]))
    assert answer["result"]["accepted"], "without a question asked"
    assert server.shows("a-1") == (8, BOB.owner, "held")


def test_a_payee_whose_owner_before_signed_twice_spends_at_one_who_has_the_other(server):
    """Without the receipt it would not be the owner there."""
    submit(server, DOUBLE)
    answer = server.client().transfer(sign(ANN, CAT, "a-1 2"), receipts=fields([ENOUGH]))
    assert answer["result"]["accepted"]
    assert server.shows("a-1") == (2, CAT.owner, "held")


def test_a_receipt_that_does_not_help_a_transfer_does_not_stop_it(server):
    """It is judged as if it had come alone."""
    client = server.client()
    bad = receipt(FIRST, stated(ONE, FIRST))
    answer = client.transfer(sign(MINT, CAT, "a-9 1"), receipts=fields([bad]))
    assert answer["result"]["accepted"]
    assert server.shows("a-1")[0] == 0


def test_receipts_for_what_waits_let_it_go_on(server):
    submit(server, FIRST)
    waiting = server.client()
    assert waiting.transfer(sign(ANN, BOB, "a-1 2")) is None
    assert "result" in server.client().settle(ENOUGH)
    (answer,) = waiting.read()
    assert answer["result"]["accepted"]


# What changes nothing


def count_checks(server, *receipts):
    server.client().send(call(1, "settle", Settle(receipts)))
    count = len(server.node.checks())
    server.end(None)
    return count


def test_a_receipt_that_can_change_nothing_costs_no_signature_check(server):
    past = sign(MINT, BOB, "a-2 1")
    now = sign(BOB, CAT, "a-2 2")
    assert count_checks(server, ENOUGH) == 4
    server.client().settle(ENOUGH, receipt(now, *[stated(k, now) for k in (ONE, TWO, THREE)]))
    before = server.state()
    assert server.shows("a-2")[0] == 2
    old = receipt(past, *[stated(key, past) for key in (ONE, TWO, THREE)])
    assert count_checks(server, ENOUGH, old) == 0
    forged_ones = [shake(vote) for vote in ENOUGH.votes]
    assert count_checks(server, receipt(forged(FIRST), *forged_ones)) == 0
    assert "result" in server.client().settle(ENOUGH, old)
    assert server.state() == before


def test_one_signature_for_each_server_that_counts_is_checked(server):
    """However many votes are in it, and whoever signed them."""
    many = [stated(key, FIRST) for key in (ONE, TWO, THREE, STRANGER, FOUR)] * 4
    assert count_checks(server, receipt(FIRST, *many)) == 4


def test_what_contradicts_a_settled_holding_changes_nothing_and_is_kept_and_named(server, caplog):
    """Both have a quorum, so that more lie than the list survives: an operator has to know."""
    server.client().settle(ENOUGH)
    other = receipt(DOUBLE, *[stated(key, DOUBLE) for key in (OWN, TWO, THREE)])
    before = server.state()
    with caplog.at_level(logging.ERROR, "billots.consults"):
        (said,) = server.client().settle(other)["result"]["billots"]
    assert (said["owner"], said["status"]) == (ANN.owner, "settled")
    assert server.state() == before
    (record,) = caplog.records
    named = record.getMessage()
    assert all(key.public_hex in named for key in (TWO, THREE))
    assert ONE.public_hex not in named
    server.node.tick(server.net.now)
    server.net.run(1.1)
    kept = server.store.meta("contradiction/a-1")
    assert decode_receipt(kept) == other


# What is none


def bad_receipts():
    """No receipts, and whether a signature has to be checked to know it."""
    good = ENOUGH.votes
    foreign = sign(MINT, ANN, "a-1 1", network=OTHER)
    path = msgspec.structs.replace(fed(ONE, row(2, FIRST)).feed, index=0)
    yield "too few", receipt(FIRST, *good[:2])
    yield "of strangers", receipt(FIRST, *[stated(key, FIRST) for key in (ONE, STRANGER, FOUR)])
    yield (
        "one key three times",
        receipt(FIRST, stated(ONE, FIRST), fed(ONE, row(1, FIRST)), claimed(ONE, FIRST)),
    )
    yield "for another owner", receipt(FIRST, good[0], *[stated(k, DOUBLE) for k in (TWO, THREE)])
    yield (
        "votes of another network",
        receipt(FIRST, *[stated(key, foreign, network=OTHER) for key in (ONE, TWO, THREE)]),
    )
    yield (
        "a path to nowhere",
        receipt(
            FIRST, msgspec.structs.replace(good[0], statement=msgspec.UNSET, feed=path), *good[1:]
        ),
    )
    yield "a forged vote", receipt(FIRST, shake(good[0]), *good[1:])
    yield "a forged feed row", receipt(FIRST, shake(fed(ONE, row(2, FIRST))), *good[1:])
    yield "a forged transfer", receipt(forged(FIRST), *good)
    yield "all forged", receipt(FIRST, *map(shake, good))


BAD = dict(bad_receipts())


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("held", [False, True])
def test_attack_what_is_no_receipt_settles_nothing(server, name, held):
    if held:
        submit(server, FIRST)
    before = server.state()
    code, data = server.client().fails("settle", {"receipts": fields([BAD[name]])})
    assert (code, data) == (-32014, {"error": "bad_receipt", "receipt": 0})
    assert server.state() == before
    client = server.client()
    spend = sign(ANN, BOB, "a-1 2")
    assert client.transfer(spend, receipts=fields([BAD[name]])) is None
    server.net.run(6)
    assert error(client.read()[0]) in ("not_settled", "behind")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_receipt_is_named_by_its_place(server, name):
    _, data = server.client().fails("settle", {"receipts": fields([ENOUGH, BAD[name], BAD[name]])})
    assert data["receipt"] == 1
    assert server.shows("a-1") == SETTLED, "what is good counts all the same"


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", ["settle", "transfer"])
def test_attack_bad_receipts_are_charged_to_who_shows_them(name, method):
    _, server, _ = alone_with(3, limits=Limits(cost_per_address_max=3))
    for _ in range(4):
        client = server.client("198.51.100.7")
        if method == "settle":
            client.settle(BAD[name])
        else:
            client.transfer(sign(MINT, CAT, "a-9 1"), receipts=fields([BAD[name]]))
    assert server.client("198.51.100.7").fails("ping")[1] == {"error": "rate_limited"}
    assert server.client("198.51.100.8").ask("ping") == "pong"


def test_attack_a_pile_of_forged_receipts_costs_what_its_signatures_do():
    """One request may hold sixteen receipts with a vote of every server."""
    _, server, _ = alone_with(3, limits=Limits(cost_per_address_max=50))
    pile = []
    for number in range(1, 17):
        transfer = sign(MINT, ANN, f"a-{number} 1")
        votes = [shake(stated(key, transfer)) for key in (ONE, TWO, THREE)]
        pile.append(receipt(transfer, *votes))
    client = server.client("198.51.100.7")
    assert error(client.settle(*pile)) == "bad_receipt"
    assert client.fails("ping")[1] == {"error": "rate_limited"}


@pytest.mark.parametrize("name", ["too few", "all forged"])
def test_who_is_exempt_pays_nothing(name):
    _, server, _ = alone_with(3, limits=Limits(cost_per_address_max=0.5))
    client = server.client(exempt=True)
    for _ in range(3):
        assert error(client.settle(BAD[name])) == "bad_receipt"


def test_a_receipt_of_another_network_is_told_so(server):
    foreign = sign(MINT, ANN, "a-1 1", network=OTHER)
    other = receipt(foreign, *[stated(k, foreign, network=OTHER) for k in (ONE, TWO, THREE)])
    assert error(server.client().settle(other)) == "wrong_network"


@pytest.mark.parametrize(
    "change",
    [
        {"billots": [["a-0", 1]]},
        {"billots": [["a-2", 1], ["a-1", 1]]},
        {"to": "x"},
        {"network": "x"},
    ],
)
def test_a_receipt_for_a_malformed_transfer(server, change):
    bad = fields(ENOUGH)
    bad["transfer"] |= change
    code, _ = server.client().fails("settle", {"receipts": [bad]})
    assert code in (-32000, -32602)


def test_receipts_are_at_most_16_of_at_most_256_billots(server):
    client = server.client()
    assert client.fails("settle", {"receipts": [fields(ENOUGH)] * 17})[0] == -32602
    many = [sign(MINT, ANN, *[(f"a-{k * 200 + n}", 1) for n in range(1, 150)]) for k in (1, 2)]
    receipts = [receipt(transfer, fed(ONE, row(1, transfer))) for transfer in many]
    assert client.fails("settle", {"receipts": fields(receipts)})[0] == -32602


def test_settle_is_one_of_a_rounds_items_and_judged_in_its_turn(server):
    """A transfer that came before it in the same round is no reason to check it twice."""
    client = server.client()
    client.send(
        call(1, "settle", Settle((ENOUGH,))),
        call(2, "settle", Settle((ENOUGH,))),
    )
    first, second = client.step()
    assert first["result"] == second["result"]
    assert server.node.ledger.lsn == 1


def test_who_trusts_nobody_takes_receipts_of_its_own_votes_only():
    net = Net(1)
    server = net[0]
    assert error(server.client().settle(ENOUGH)) == "bad_receipt"
    assert "result" in server.client().settle(receipt(FIRST, stated(OWN, FIRST)))
    assert server.shows("a-1") == SETTLED


def test_the_checks_of_a_receipt_are_its_transfers_and_its_words(server):
    shown = server.node.rounds.showing.look(ENOUGH)
    assert checks(shown) == [FIRST.check_arguments, *(word.check for word in shown.words)]
    assert [word.server for word in shown.words] == [k.public_hex for k in (ONE, TWO, THREE)]
