"""What waits for a round: nobody's flood keeps others waiting."""

from network import (
    ANN,
    BOB,
    CAT,
    EVE,
    MINT,
    alone_with,
    fields,
    receipt,
    requests,
    row,
    sign,
    stated,
    submit,
)

from billots.jsonrpc import call, notification
from billots.limits import Limits
from billots.messages import Pair, SendTransfer, Settle


def test_attack_a_liar_who_always_has_one_more_frame_stops_no_question():
    """One frame comes in while each batch is on its way to disk, so that there is always more."""
    net, server, (liar, honest, other) = alone_with(3)
    submit(server, sign(MINT, ANN, "a-1 1"))
    honest.conflict(sign(MINT, ANN, "a-1 1"), sign(MINT, BOB, "a-1 1"))
    missing = sign(MINT, CAT, "a-2 1")
    for peer in (honest, other):
        peer.feed(row(1, missing))
        peer.read()

    def say(number):
        payment = sign(MINT, EVE, f"a-{number} 1")
        batch = liar.batch(row(number, payment), bodies=[payment])
        liar.say(notification("feed", batch))

    asked = fetched = 0
    say(1000)
    for number in range(1001, 1201):
        net.now += 0.005
        server.node.tick(net.now)
        batch = server.begin()
        say(number)
        server.end(batch)
        server.node.pump(net.now)
        said = [message for peer in (honest, other) for message in peer.read()]
        asked += len(requests(said, "who_owns"))
        fetched += len(requests(said, "fetch"))
    assert asked
    assert fetched


def full(**limits):
    """A server that has as many open transfers as it may, and more that wait."""
    net, server, peers = alone_with(3, limits=Limits(**limits))
    wallet = server.client()
    works = [sign(MINT, BOB, f"a-{number} 1") for number in range(2, 7)]
    wallet.send(*(call(n, "transfer", SendTransfer.of(work)) for n, work in enumerate(works)))
    return net, server, peers, wallet


def test_a_receipt_waits_for_no_transfer():
    _, server, peers, wallet = full(unsettled_max=3)
    assert len(wallet.step()) == 3, "the others wait"
    first = sign(MINT, BOB, "a-2 1")
    given = receipt(first, *(stated(peer.key, first) for peer in peers))
    answer = server.client().answer("settle", fields(Settle((given,))))
    assert answer["result"]["billots"][0]["status"] == "settled"
    assert len(wallet.step()) == 1, "there is room for one of those that waited"


def test_what_one_asks_is_judged_in_the_order_in_which_it_came():
    _, server, _, wallet = full(unsettled_max=3)
    wallet.step()
    others = server.client()
    pair = Pair(sign(ANN, BOB, "a-9 2"), sign(ANN, CAT, "a-9 2"))
    others.send(call(1, "conflict", pair))
    assert [answer["result"] for answer in others.step()] == [{"kept": False}]


def test_billots_are_counted_as_well_as_transfers():
    _, server, peers = alone_with(3, limits=Limits(unsettled_rows_max=4))
    works = [sign(MINT, ANN, *[f"a-{n} 1" for n in range(at, at + 3)]) for at in (1, 4, 7)]
    wallet = server.client()
    wallet.send(*(call(n, "transfer", SendTransfer.of(work)) for n, work in enumerate(works)))
    wallet.step()  # all at one moment: none was open when they were taken up
    later = sign(MINT, ANN, "a-20 1")
    wallet.send(call(9, "transfer", SendTransfer.of(later)))
    assert not wallet.step()
    for peer in peers:
        peer.feed(*(row(n, work) for n, work in enumerate(works, 1)))
    (answer,) = wallet.step()
    assert answer["result"]["accepted"]
