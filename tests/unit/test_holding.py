"""Holdings and votes (DESIGN, sections 1 and 5)."""

import msgspec
import pytest

from billots.holding import SILENT, Holding, Status, Vote

A, B = "a" * 128, "b" * 128


def test_the_statuses_are_the_words_of_the_design():
    assert [str(status) for status in Status] == [
        "held",
        "settled",
        "contested",
        "disputed",
        "unissued",
        "unknown",
    ]
    assert {"unissued", "unknown"} == SILENT


@pytest.mark.parametrize("status", Status)
def test_votes_are_equal_whatever_the_status(status):
    assert Holding(1, A, B, status).vote == Holding(1, A, B, Status.HELD).vote == Vote(A, B)


@pytest.mark.parametrize("other", [Holding(1, B, B, Status.HELD), Holding(1, A, A, Status.HELD)])
def test_votes_differ_if_from_or_owner_differ(other):
    assert other.vote != Holding(1, A, B, Status.HELD).vote


def test_on_the_wire_the_sender_is_called_from():
    text = msgspec.json.encode(Holding(1, A, B, Status.HELD))
    assert msgspec.json.decode(text) == {"seq": 1, "from": A, "owner": B, "status": "held"}
    assert msgspec.json.decode(text, type=Holding) == Holding(1, A, B, Status.HELD)
