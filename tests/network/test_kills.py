"""kill -9 under load and in recovery: nothing that was answered is lost or contradicted.

``scripts/kills`` does the same many times.
"""

import pytest
from kills import Campaign
from servers import run


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("servers", "kills"), [(1, 12), (4, 8)])
def test_attack_kill_9_again_and_again_loses_nothing_that_was_answered(tmp_path, servers, kills):
    figures = run(Campaign(tmp_path, servers, seed=servers).run(kills), timeout_s=280)
    assert figures.kills >= kills
    assert figures.in_recovery > 0
    assert figures.answered > 20 * (figures.kills - figures.in_recovery)
    assert figures.looked_at > figures.answered / 6
    assert figures.conflicts_refused > 0
    assert (figures.lost, figures.contradicted, figures.stuck) == ([], [], [])
