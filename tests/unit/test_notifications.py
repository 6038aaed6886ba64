"""The bounded list of what was seen."""

from billots.notifications import Notifications


def test_what_was_added_exists():
    seen = Notifications()
    assert not seen.exists("x")
    seen.add("x")
    assert seen.exists("x")
    assert "x" in seen
    assert len(seen) == 1


def test_the_oldest_are_forgotten_first():
    seen = Notifications(seen_max=3)
    for name in "abcad":
        seen.add(name)
    assert [name in seen for name in "abcd"] == [False, True, True, True]
    assert len(seen) == 3
