"""What is asked of trusted servers, and what comes of their answers."""

from itertools import pairwise

import msgspec
import pytest
from network import (
    ANN,
    BOB,
    CAT,
    DAN,
    MINT,
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
    held,
    receipt,
    requests,
    row,
    sign,
    stated,
    submit,
)

from billots.feed import AdoptedRow
from billots.holding import Holding, Status
from billots.limits import Limits

ONE, TWO, THREE = SERVER_KEYS[10:13]
FIRST = sign(MINT, ANN, "a-1 1")
DOUBLE = sign(MINT, BOB, "a-1 1")
SPEND = sign(ANN, CAT, "a-1 2")
LATER = sign(CAT, DAN, "a-1 7")
SETTLED = Status.SETTLED
ANNS, BOBS = (1, ANN.owner, "settled"), (1, BOB.owner, "settled")


def four(**more):
    """One of four, q = 3, and the three that the test plays."""
    return alone_with(3, **more)


def consult(net, peers, after_s=1.1):
    """Let time pass until the others are asked; the question to each of them, if any."""
    net.run(after_s)
    return [next(iter(peer.asked()), None) for peer in peers]


def asked_at(net, peers, seconds, known=None, step_s=0.5):
    """When the first peer was asked about a-1, in seconds from now; all answer at once."""
    begun, times = net.now, []
    while net.now < begun + seconds:
        net.run(step_s)
        for number, peer in enumerate(peers):
            for request in peer.asked():
                if number == 0:
                    times.append(net.now - begun)
                peer.states(request, (known or {}).get(number))
    return times


def contested(server, peers, bobs):
    """We are for Ann, so many of the others (the last ones) for Bob, the rest for Ann."""
    submit(server, FIRST)
    for number, peer in enumerate(peers):
        body = DOUBLE if number >= len(peers) - bobs else FIRST
        peer.feed(row(1, body), bodies=[body])


# The question


def test_what_no_feed_settles_in_a_second_is_asked_about_with_proofs():
    net, server, peers = four()
    submit(server, FIRST)
    assert consult(net, peers, 0.9) == [None] * 3
    questions = [question["params"] for question in consult(net, peers, 0.2)]
    for params in questions:
        assert params | {"nonce": ""} == {
            "billots": ["a-1"], "nonce": "", "proof": True, "consult": True
        }  # fmt: skip
    assert len({params["nonce"] for params in questions}) == 3
    assert server.client().ask("info")["counts"]["consults"] == 1


def test_what_the_feeds_settle_is_not_asked_about():
    net, server, (one, two, three) = four()
    submit(server, FIRST)
    for peer in (one, two, three):
        peer.feed(row(1, FIRST))
    assert consult(net, [one, two, three], 30) == [None] * 3


def test_sixteen_billots_to_a_question():
    net, server, peers = four()
    submit(server, sign(MINT, ANN, *[(f"a-{n}", 1) for n in range(1, 41)]))
    net.run(1.1)
    sizes = [len(question["params"]["billots"]) for question in peers[0].asked()]
    assert sizes == [16, 16, 8]


def test_only_those_whose_feed_we_follow_are_asked():
    net, server, peers = four(follow=False)
    peers[1].follow()
    submit(server, FIRST)
    net.run(1.1)
    assert [len(requests(peer.read(), "who_owns")) for peer in peers] == [0, 1, 0]


def test_attack_one_whose_key_was_replaced_is_not_asked_any_more():
    net, server, peers = four()
    again = type(peers[0])(net, server, 0, STRANGER)
    submit(server, FIRST)
    asked = consult(net, [again, *peers])
    assert [question is not None for question in asked] == [True, False, True, True]


# The answers


@pytest.mark.parametrize("status", ["held", "settled", "contested", "disputed"])
def test_a_quorum_of_statements_settles_what_is_held(status):
    net, server, peers = four()
    submit(server, FIRST)
    known = {"a-1": held(FIRST, "a-1", Status(status))}
    for votes, (peer, question) in enumerate(zip(peers, consult(net, peers), strict=True), 2):
        peer.states(question, known)
        enough = votes >= 3
        assert server.shows("a-1") == (1, ANN.owner, "settled" if enough else "held")


def test_a_quorum_of_statements_is_adopted_once_its_body_is_here():
    net, server, peers = four()
    submit(server, sign(MINT, ANN, "a-1 1"))
    one, two, three = consult(net, peers)
    for peer, question in zip(peers[:2], (one, two), strict=True):
        peer.states(question, {"a-1": held(LATER, "a-1")})
        assert server.shows("a-1")[0] == 1
    peers[2].states(three, {"a-1": LATER})
    assert server.shows("a-1") == (7, DAN.owner, "settled")


@pytest.mark.parametrize(("others", "needed"), [(2, 2), (3, 2), (6, 3), (9, 4)])
def test_max_2_or_f_plus_1_settled_claims_are_enough(others, needed):
    net, server, peers = alone_with(others)
    submit(server, DOUBLE)
    questions = consult(net, peers)
    for number, (peer, question) in enumerate(zip(peers, questions, strict=True), 1):
        if number > needed:
            break
        assert server.shows("a-1") == (1, BOB.owner, "held")
        peer.states(question, {"a-1": (LATER, SETTLED)})
    assert server.shows("a-1") == (7, DAN.owner, "settled")


def test_attack_one_liars_settled_claim_settles_nothing():
    net, server, peers = four()
    submit(server, FIRST)
    for peer, question in zip(peers, consult(net, peers), strict=True):
        lies = peer is peers[0]
        peer.states(question, {"a-1": (LATER, SETTLED)} if lies else {})
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_a_receipt_that_one_server_shows_settles_and_what_it_took_next_is_taken():
    net, server, peers = four()
    submit(server, FIRST)
    (question, *_) = consult(net, peers)
    shown = receipt(FIRST, stated(TWO, FIRST), fed(THREE, row(3, FIRST)))
    peers[0].states(question, {"a-1": SPEND}, receipts={"a-1": shown})
    assert server.shows("a-1") == (2, CAT.owner, "held")


def test_the_votes_of_a_receipt_that_are_too_few_count_with_those_that_others_gave():
    net, server, peers = four()
    submit(server, FIRST)
    (question, *_) = consult(net, peers)
    shown = receipt(FIRST, fed(THREE, row(3, FIRST)))
    peers[0].states(question, {"a-1": SPEND}, receipts={"a-1": shown})
    assert server.shows("a-1") == (1, ANN.owner, "held"), "ours and one more"
    peers[1].feed(row(1, FIRST))
    assert server.shows("a-1") == (2, CAT.owner, "held")


def forged_votes(shown):
    """The same receipt, all its votes under signatures that don't hold."""
    broken = fields(shown)
    for vote in broken["votes"]:
        vote["statement"]["signature"] = "0" * 128
    return broken


WHOLE = receipt(LATER, *[stated(key, LATER) for key in (ONE, TWO, THREE)])


@pytest.mark.parametrize(
    "shown",
    [
        forged_votes(WHOLE),
        fields(WHOLE) | {"transfer": fields(forged(LATER))},
        {"transfer": 5},
        [],
        receipt(LATER, *[stated(key, LATER) for key in SERVER_KEYS[5:8]]),
        receipt(LATER, *[stated(ONE, LATER)] * 3),
        fields(WHOLE) | {"transfer": fields(LATER) | {"billots": [["a-0", 7]]}},
    ],
    ids=["votes", "transfer", "shape", "list", "strangers", "one key", "unknown billot"],
)
def test_attack_a_receipt_in_an_answer_that_is_none_counts_nothing(shown):
    net, server, peers = four()
    submit(server, FIRST)
    (question, *_) = consult(net, peers)
    peers[0].states(question, receipts={"a-1": shown})
    assert server.shows("a-1") == (1, ANN.owner, "held")
    assert not server.node.has_work


def test_feed_rows_and_statements_count_together_and_once_for_each_key():
    net, server, peers = alone_with(6)  # n = 7, q = 5
    submit(server, FIRST)
    for peer in peers[:2]:
        peer.feed(row(1, FIRST))
    questions = consult(net, peers)
    for number, votes in enumerate([3, 3, 4, 5]):
        peers[number].states(questions[number], {"a-1": FIRST})
        assert server.shows("a-1")[2] == ("settled" if votes == 5 else "held")


def test_a_server_at_another_seq_or_that_knows_nothing_counts_for_nobody():
    net, server, peers = four()
    submit(server, FIRST)
    silent = Holding(0, None, None, Status.UNKNOWN)
    ahead = held(SPEND, "a-1")
    for peer, question, has in zip(
        peers, consult(net, peers), [silent, ahead, held(FIRST, "a-1")], strict=True
    ):
        peer.states(question, {"a-1": has})
    assert server.shows("a-1") == (1, ANN.owner, "held")


def test_an_error_is_an_answer_that_says_nothing():
    net, server, peers = four()
    client = server.client()
    assert client.transfer(LATER) is None
    for peer in peers:
        (question,) = peer.asked()
        peer.fail(question)
    assert error(client.step()[0]) == "behind"
    assert all(peer.up for peer in peers)
    assert net.now == 1000.0, "at once"


def test_a_link_that_ends_has_said_nothing():
    net, server, peers = four()
    client = server.client()
    assert client.transfer(LATER) is None
    for peer in peers:
        assert client.step() == []
        net.cut(server, peer.conn)
    assert error(client.step()[0]) == "behind"


BAD_ANSWERS = {
    "another nonce": lambda peer, question: peer.statement(
        question | {"params": question["params"] | {"nonce": "ef" * 16}}
    ),
    "other billots": lambda peer, question: peer.statement(
        question | {"params": question["params"] | {"billots": ["a-2"]}}
    ),
    "another server": lambda peer, question: peer.statement(
        question, {"a-1": (LATER, SETTLED)}, key=STRANGER
    ),
    "a forged signature": lambda peer, question: (
        peer.statement(question, {"a-1": (LATER, SETTLED)}) | {"signature": "0" * 128}
    ),
    "a changed row": lambda peer, question: msgspec.json.decode(
        msgspec.json.encode(peer.statement(question, {"a-1": (FIRST, SETTLED)})).replace(
            ANN.owner.encode(), CAT.owner.encode()
        )
    ),
    "a forged body": lambda peer, question: peer.statement(
        question, {"a-1": (forged(LATER), SETTLED)}
    ),
    "no statement": lambda *_: {"rows": 5},
    "no signature": lambda peer, question: {
        k: v for k, v in peer.statement(question).items() if k != "signature"
    },
}


@pytest.mark.parametrize("bad", BAD_ANSWERS)
def test_attack_a_bad_answer_ends_the_link_and_says_nothing(bad):
    _, server, peers = four()
    client = server.client()
    assert client.transfer(sign(DAN, ANN, "a-1 8")) is None
    for peer in peers:
        (question,) = peer.asked()
        peer.reply(question, BAD_ANSWERS[bad](peer, question))
        server.step()
        assert not peer.up
    assert error(client.step()[0]) == "behind"
    assert server.shows("a-1") == (0, MINT.owner, "settled")


def test_attack_an_answer_of_a_key_that_was_replaced_meanwhile_counts_for_nothing():
    net, server, peers = alone_with(2)  # n = 3, q = 2
    submit(server, FIRST)
    question, _ = consult(net, peers)
    again = type(peers[0])(net, server, 0, STRANGER, follow=False)
    request = again.introduce()
    peers[0].reply(question, peers[0].statement(question, {"a-1": FIRST}))
    again.reply(request, again.proof(request))
    server.step()
    assert server.shows("a-1") == (1, ANN.owner, "held")


# Disputes


def test_two_against_two_is_disputed_everywhere_and_later_votes_end_it():
    net, server, peers = four()
    contested(server, peers, bobs=2)
    net.run(0.5)
    assert server.shows("a-1") == (1, ANN.owner, "disputed")
    peers[1].feed(adopted(2, FIRST, "a-1"))
    assert server.shows("a-1") == ANNS


@pytest.mark.parametrize("mine", [True, False], ids=["for what we hold", "for the other"])
@pytest.mark.parametrize("by", ["receipt", "claims", "statements", "shown"])
def test_a_dispute_ends(by, mine):
    net, server, peers = four()
    contested(server, peers, bobs=2)
    net.run(0.1)
    assert server.shows("a-1")[2] == "disputed"
    body = FIRST if mine else DOUBLE
    whole = receipt(body, *[stated(key, body) for key in (ONE, TWO, THREE)])
    if by == "receipt":
        server.client().settle(whole)
    else:
        questions = consult(net, peers, 0.5)
        settled = {"a-1": (body, SETTLED)}
        for number, (peer, question) in enumerate(zip(peers, questions, strict=True)):
            if by == "shown" and number == 0:
                peer.states(question, receipts={"a-1": whole})
            elif by == "claims" and number < 2:
                peer.states(question, settled)
            elif by == "statements" and (number > 0 or not mine):
                has = held(body, "a-1", SETTLED)
                peer.states(question, {"a-1": has})
    assert server.shows("a-1") == (ANNS if mine else BOBS)
    evidence = server.client().ask("evidence", {"billot": "a-1"})
    assert {evidence["first"]["to"], evidence["second"]["to"]} == {ANN.owner, BOB.owner}


def test_one_undecided_keeps_it_contested():
    _, server, peers = four()
    contested(server, peers[:2], bobs=1)
    server.step()
    assert server.shows("a-1") == (1, ANN.owner, "contested")


def test_what_others_have_dropped_to_contested_comes_back_to_a_quorum():
    """Contested once, settled by the last vote."""
    _, server, peers = four()
    contested(server, peers[:2], bobs=1)
    peers[2].feed(row(1, FIRST))
    assert server.shows("a-1") == ANNS


def test_contested_rows_are_asked_about_soon_and_with_growing_pauses():
    net, server, peers = four()
    contested(server, peers[:2], bobs=1)
    times = asked_at(net, peers, 200, {0: {"a-1": FIRST}, 1: {"a-1": DOUBLE}})
    assert times[0] <= 0.5
    pauses = [later - before for before, later in pairwise(times)]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60][: len(pauses)], abs=0.6)
    assert len(pauses) >= 7
    assert server.shows("a-1") == (1, ANN.owner, "contested")


def test_disputed_rows_are_asked_about_slowly():
    net, server, peers = four()
    contested(server, peers, bobs=2)
    sides = {0: {"a-1": FIRST}, 1: {"a-1": DOUBLE}, 2: {"a-1": DOUBLE}}
    times = asked_at(net, peers, 150, sides)
    pauses = [later - before for before, later in pairwise(times)]
    assert pauses == pytest.approx([10, 20, 40, 60][: len(pauses)], abs=0.6)
    assert len(pauses) >= 3
    assert server.shows("a-1") == (1, ANN.owner, "disputed")


def test_a_disputed_billot_is_refused_after_one_consult():
    net, server, peers = four()
    contested(server, peers, bobs=2)
    sides = {0: {"a-1": FIRST}, 1: {"a-1": DOUBLE}, 2: {"a-1": DOUBLE}}
    asked_at(net, peers, 3, sides)
    client = server.client()
    assert client.transfer(SPEND) is None
    for number, peer in enumerate(peers):
        (question,) = peer.asked()
        assert client.step() == []
        peer.states(question, sides[number])
    (answer,) = client.step()
    assert error(answer) == "disputed_billot"
    assert answer["error"]["code"] == -32010
    again = server.client().transfer(SPEND)
    assert error(again) == "disputed_billot", "within 10 s nobody is asked again for a stranger"


def test_a_disputed_billot_that_the_consult_settles_is_spent():
    net, server, peers = four()
    contested(server, peers, bobs=2)
    asked_at(net, peers, 3)
    client = server.client()
    assert client.transfer(SPEND) is None
    for peer in peers[1:]:
        (question,) = peer.asked()
        peer.states(question, {"a-1": held(FIRST, "a-1", SETTLED)})
    (answer,) = client.step()
    assert answer["result"]["accepted"]


def test_a_contested_billot_waits_five_seconds_for_a_quorum():
    net, server, peers = four()
    contested(server, peers[:2], bobs=1)
    client = server.client()
    assert client.transfer(SPEND) is None
    asked_at(net, peers, 4.5, {0: {"a-1": FIRST}, 1: {"a-1": DOUBLE}})
    assert client.step() == []
    net.run(1)
    assert error(client.read()[0]) == "contested_billot"


def test_a_billot_that_nobody_settles_waits_five_seconds():
    net, server, peers = four()
    submit(server, FIRST)
    client = server.client()
    assert client.transfer(SPEND) is None
    net.run(0.3)
    assert all(peer.asked() for peer in peers), "asked for soon: a wallet waits"
    net.run(4.6)
    assert client.read() == []
    net.run(0.2)
    assert error(client.read()[0]) == "not_settled"


# Behind


def test_behind_is_said_after_one_consult():
    net, server, peers = four()
    client = server.client()
    assert client.transfer(LATER) is None
    for peer in peers:
        (question,) = peer.asked()
        assert client.step() == []
        peer.states(question)
    assert error(client.step()[0]) == "behind"
    assert net.now == 1000.0


def test_behind_is_said_after_three_seconds_of_silence():
    net, server, _ = four()
    client = server.client()
    assert client.transfer(LATER) is None
    net.run(2.9)
    assert client.read() == []
    net.run(0.2)
    assert error(client.read()[0]) == "behind"


def test_what_was_missed_is_learned_while_the_wallet_waits():
    _, server, peers = four()
    client = server.client()
    spend = sign(DAN, ANN, "a-1 8")
    assert client.transfer(spend) is None
    for peer in peers:
        (question,) = peer.asked()
        peer.states(question, {"a-1": LATER})
    (answer,) = client.step()
    assert answer["result"]["accepted"]
    assert server.shows("a-1") == (8, ANN.owner, "held")


def test_a_conflict_that_the_consult_shows_is_told_to_the_wallet_that_waits():
    _, server, peers = four()
    client = server.client()
    assert client.transfer(sign(CAT, BOB, "a-1 7")) is None
    for peer in peers:
        (question,) = peer.asked()
        peer.states(question, {"a-1": LATER})
    assert error(client.step()[0]) == "conflicting_transfer"
    assert server.shows("a-1") == (7, DAN.owner, "settled")


def test_several_rows_behind_are_asked_about_together():
    _, server, peers = four()
    transfer = sign(DAN, ANN, "a-1 8", "a-2 4")
    moved = {"a-1": LATER, "a-2": sign(BOB, DAN, "a-2 3")}
    client = server.client()
    assert client.transfer(transfer) is None
    for peer in peers:
        (question,) = peer.asked()
        assert question["params"]["billots"] == ["a-1", "a-2"]
        peer.states(question, moved)
    (answer,) = client.step()
    assert answer["result"]["accepted"]


def test_attack_the_same_billot_is_asked_about_for_strangers_once_in_ten_seconds():
    net, server, peers = four()

    def ask():
        client = server.client()
        answer = client.transfer(LATER)
        if answer is not None:
            return error(answer)
        for peer in peers:
            (question,) = peer.asked()
            peer.states(question)
        assert error(client.step()[0]) == "behind"
        return "asked"

    assert ask() == "asked"
    net.run(9)
    assert ask() == "behind"
    assert [peer.asked() for peer in peers] == [[], [], []]
    net.run(1)
    assert ask() == "asked"


def test_attack_wallets_together_have_a_budget_and_beyond_it_are_told_at_once():
    net, server, (peer, *_) = four(limits=Limits(consults_per_s=2))
    answers = [
        server.client(f"192.0.2.{number}").transfer(sign(DAN, ANN, f"a-{number} 9"))
        for number in range(1, 21)
    ]
    assert [answer is None for answer in answers] == [True] * 8 + [False] * 12
    assert {error(answer) for answer in answers[8:]} == {"behind"}
    asked = {b for question in peer.asked() for b in question["params"]["billots"]}
    assert len(asked) == 8
    net.run(0.5)
    assert server.client().transfer(sign(DAN, ANN, "a-30 9")) is None


# Lies


def questions_about(net, peer, seconds):
    """How many billots a peer is asked about, if nobody answers anything new."""
    count, end = 0, net.now + seconds
    while net.now < end:
        net.run(0.25)
        for question in peer.asked():
            count += len(question["params"]["billots"])
            peer.states(question)
    return count


def names(count, first=1):
    return [AdoptedRow(n, f"a-{n}", 9, DAN.owner, CAT.owner) for n in range(first, first + count)]


def test_attack_a_feed_that_names_billots_is_asked_about_within_its_budget():
    net, server, (liar, honest, _) = four(limits=Limits(consults_per_s=2))
    liar.feed(*names(200))
    assert questions_about(net, honest, 2) <= 8 + 2 * 2
    submit(server, sign(MINT, ANN, "a-9000 1"))
    net.run(1.1)
    asked = {b for question in honest.asked() for b in question["params"]["billots"]}
    assert "a-9000" in asked, "what is our own has another budget"


def test_attack_a_feed_that_names_endless_billots_stays_within_its_budget():
    """Also when each of them is still open after the first consult."""
    seconds, per_s = 60, 2
    net, _, (liar, honest, _) = four(limits=Limits(consults_per_s=per_s))
    count = 0
    for number in range(1, seconds * per_s + 1):
        liar.feed(*names(1, number))
        count += questions_about(net, honest, 1 / per_s)
    assert count <= 4 * per_s + per_s * seconds


def test_attack_a_feed_that_votes_on_what_is_settled_has_nobody_asked():
    net, server, (one, two, three) = four()
    submit(server, FIRST)
    for peer in (one, two):
        peer.feed(row(1, FIRST))
    three.feed(AdoptedRow(1, "a-1", 1, MINT.owner, BOB.owner))
    assert server.shows("a-1") == ANNS
    assert consult(net, [one, two, three], 30) == [None] * 3


# A consult is never answered by a consult


def test_attack_a_peers_question_makes_no_question():
    net, server, peers = four(blank=True, follow=False)
    for peer in peers:
        peer.follow(lsn=5)  # so that there is something to be read first
    client = server.client()
    assert client.says("a-1", consult=True)["status"] == "unknown"
    assert server.client().says("a-1", consult=True, proof=True, nonce="ab" * 8)["seq"] == 0
    assert consult(net, peers, 5) == [None] * 3


# Held since before the start


def test_what_was_held_before_the_start_is_asked_about_in_the_background():
    net, server, peers = four()
    submit(server, FIRST)
    restarted(net, server, peers)
    assert server.client().ask("info")["counts"]["consults"] == 1
    assert [peer.asked()[0]["params"]["billots"] for peer in peers] == [["a-1"]] * 3


def restarted(net, server, peers):
    """The server after a crash, linked to its peers again."""
    server.crash()
    server.start()
    peers[:] = [type(peer)(net, server, number, peer.key) for number, peer in enumerate(peers)]
    net.run(1.1)


def test_attack_a_conflict_on_it_waits_for_that_consult():
    """The mark that it was settled may be lost: a settled billot can't be contested."""
    net, server, peers = four()
    submit(server, FIRST)
    for peer in peers[:2]:
        peer.feed(row(1, FIRST))
    assert server.shows("a-1") == ANNS
    restarted(net, server, peers)
    assert server.shows("a-1") == (1, ANN.owner, "held"), "the mark was not on disk yet"
    client = server.client()
    assert client.transfer(DOUBLE) is None
    assert server.shows("a-1") == (1, ANN.owner, "held")
    assert server.client().ask("evidence", {"billot": "a-1"}) is None
    for peer in peers:
        (question,) = peer.asked()
        peer.states(question, {"a-1": held(FIRST, "a-1", SETTLED)})
    assert error(client.step()[0]) == "conflicting_transfer"
    assert server.shows("a-1") == ANNS
    assert server.client().ask("evidence", {"billot": "a-1"}) is not None


def test_a_conflict_on_it_counts_after_that_consult_if_it_is_not_settled():
    net, server, peers = four()
    submit(server, FIRST)
    restarted(net, server, peers)
    client = server.client()
    assert client.transfer(DOUBLE) is None
    peers[1].feed(row(1, DOUBLE), bodies=[DOUBLE])
    assert server.shows("a-1") == (1, ANN.owner, "held")
    for peer in peers:
        (question,) = peer.asked() or [None]
        if question is not None:
            peer.states(question)
    net.run(3.1)
    assert error(client.read()[0]) == "conflicting_transfer"
    assert server.shows("a-1") == (1, ANN.owner, "contested")


def test_what_another_server_took_instead_counts_after_that_consult_too():
    net, server, peers = four()
    submit(server, FIRST)
    restarted(net, server, peers)
    questions = [peer.asked()[0] for peer in peers]
    peers[1].feed(row(1, DOUBLE), bodies=[DOUBLE])
    assert server.shows("a-1") == (1, ANN.owner, "held")
    for peer, question in zip(peers, questions, strict=True):
        peer.states(question)
    assert server.shows("a-1") == (1, ANN.owner, "contested")


# Among themselves


@pytest.mark.parametrize("size", [3, 4, 7])
def test_what_one_server_missed_it_learns_when_it_is_asked_to_spend_it(size):
    """Its feeds bring nothing, and yet the payee's next transfer goes through."""
    net = Net(size)
    net.mesh()
    away = net[size - 1]
    for other in net.servers[:-1]:
        for wire in net.between(other, away):
            wire.hold = True
    submit(net[0], FIRST)
    net.run(1)
    submit(net[0], SPEND)
    net.run(1)
    away.crash()
    net.rejoin(away)
    submit(away, sign(CAT, DAN, "a-1 3"))
    net.run(1)
    assert {server.shows("a-1") for server in net.servers} == {(3, DAN.owner, "settled")}


def test_an_even_split_stays_disputed_with_few_questions_until_a_receipt_ends_it():
    net = Net(4)
    net.mesh()
    wires = [end for server in net.servers for end in server.ends.values()]
    for wire in wires:
        wire.hold = True
    for number, to in enumerate([ANN, ANN, BOB, BOB]):
        submit(net[number], sign(MINT, to, "a-1 1"))
    for wire in wires:
        wire.hold = False
    net.run(30)
    assert {server.shows("a-1")[2] for server in net.servers} == {"disputed"}
    votes = [claimed(server.key, FIRST) for server in net.servers[:2]]
    assert "result" in net[3].client().settle(receipt(FIRST, *votes))
    net.run(90)
    assert {server.shows("a-1") for server in net.servers} == {ANNS}
