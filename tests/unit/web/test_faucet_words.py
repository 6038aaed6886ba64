"""What the faucet's pages say of time."""

import pytest

from billots.web.faucet import in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "in 1 second"),
        (1, "in 1 second"),
        (90, "in 90 seconds"),
        (91, "in 2 minutes"),
        (3600, "in 60 minutes"),
        (90 * 60 + 1, "in 2 hours"),
        (86_400, "in 24 hours"),
    ],
)
def test_when_to_come_back_is_never_too_early(seconds, words):
    assert in_words(seconds) == words
