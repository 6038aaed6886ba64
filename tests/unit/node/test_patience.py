"""How long is waited before asking; and that taking waits for settling."""

import pytest
from network import ANN, MINT, alone_with, fields, row, sign

from billots.jsonrpc import call
from billots.limits import Limits
from billots.messages import SendTransfer
from billots.node.patience import Patience


def test_at_first_it_is_the_least():
    assert Patience(1.0, 10.0).seconds(5.0) == 1.0


def test_it_is_four_times_what_it_took_between_least_and_most():
    for took, waited in ((0.1, 1.0), (0.5, 2.0), (2.0, 8.0), (60.0, 10.0)):
        patience = Patience(1.0, 10.0)
        patience.took(took, 5.0)
        assert patience.seconds(5.0) == waited


def test_what_takes_longer_counts_at_once_and_what_takes_less_slowly():
    patience = Patience(0.1, 10.0)
    patience.took(1.0, 5.0)
    patience.took(0.2, 5.0)
    assert patience.seconds(5.0) == pytest.approx(4 * 0.9)
    patience.took(2.0, 5.0)
    assert patience.seconds(5.0) == 8.0


def test_it_is_forgotten():
    patience = Patience(0.1, 10.0)
    patience.took(2.0, 5.0)
    found = [patience.seconds(5.0 + after) for after in (0.5, 10.0, 20.0, 200.0)]
    assert found == [8.0, 4.0, 2.0, 0.1]


def test_attack_a_clock_that_jumps_back_makes_it_no_longer():
    patience = Patience(0.1, 10.0)
    patience.took(2.0, 5.0)
    assert patience.seconds(-1e9) == 8.0


def test_the_most_is_never_below_the_least():
    assert Patience(20.0, 10.0).seconds(0.0) == 20.0


# Taking waits for settling


@pytest.fixture
def window():
    """One of four with room for two open transfers, and five that wallets bring."""
    net, server, peers = alone_with(3, limits=Limits(unsettled_max=2))
    transfers = [sign(MINT, ANN, f"a-{number} 1") for number in range(1, 6)]
    client = server.client(exempt=True)
    for number, transfer in enumerate(transfers, 1):
        client.send(call(number, "transfer", SendTransfer.of(transfer)))
    return net, server, peers, transfers, client


def answered(client):
    return [answer["id"] for answer in client.step()]


def test_new_ones_wait_their_turn_and_get_it_as_others_settle(window):
    _, _, peers, transfers, client = window
    assert answered(client) == [1, 2]
    for peer in peers[:2]:
        peer.feed(row(1, transfers[0]))
    assert answered(client) == [3]
    for peer in peers[:2]:
        peer.feed(row(2, transfers[1]), row(3, transfers[2]))
    assert answered(client) == [4, 5]


def test_attack_peers_that_are_silent_hold_nobody_up_for_longer_than_the_patience(window):
    net, server, _, _, client = window
    found = answered(client)
    net.run(Limits().consult_after_s + 0.01)
    found += answered(client)
    net.run(Limits().consult_after_s + 0.01)
    found += answered(client)
    assert found == [1, 2, 3, 4, 5]
    assert {server.shows(f"a-{number}")[2] for number in range(1, 6)} == {"held"}


def test_what_peers_send_does_not_wait(window):
    _, server, peers, _, client = window
    answered(client)
    more = sign(MINT, ANN, "a-9 1")
    peers[0].feed(row(1, more), bodies=[more])
    assert server.shows("a-9")[2] == "held"


def test_a_double_spend_of_what_waits_is_judged_in_its_turn(window):
    net, server, peers, transfers, client = window
    answered(client)
    for peer in peers[:2]:
        peer.feed(row(1, transfers[0]))
    again = server.client(exempt=True)
    again.send(call(1, "transfer", SendTransfer.of(sign(MINT, MINT, "a-1 1"))))
    net.run(3)
    (answer,) = again.step()
    assert answer["error"]["data"]["error"] == "conflicting_transfer"


def test_who_trusts_nobody_has_no_window():
    _, server, _ = alone_with(0, limits=Limits(unsettled_max=1))
    client = server.client(exempt=True)
    for number in range(1, 6):
        transfer = fields(SendTransfer.of(sign(MINT, ANN, f"a-{number} 1")))
        assert "result" in client.answer("transfer", transfer)
