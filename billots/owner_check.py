"""Whose a billot is: by a quorum of the list, or by the word of one server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from billots.circle import Circle
from billots.errors import ProtocolError
from billots.evidence import find_conflict
from billots.holding import Status
from billots.keeping import Keeper
from billots.outcomes import OwnerCheck
from billots.poll import Answer, Poll
from billots.quorum import Tally, Verdict

EVIDENCE_S_MAX = 2.0


async def check_owner(
    circle: Circle, keeper: Keeper, billot: str, on_answer: Callable[[Answer], None] | None
) -> OwnerCheck:
    """By a quorum; a receipt of one's own is on disk on return. Raises as the wallet's verb."""
    timeout_s = circle.timeout_s
    poll = Poll(circle, [billot], on_answer=on_answer)
    await poll.run(timeout_s)
    circle.require_one()
    tally, pair = poll.tally(billot), None
    if tally.verdict not in (Verdict.OWNER, Verdict.NO_OWNER):
        holdings = poll.votes[billot].values()
        pair = await find_conflict(circle, billot, holdings, min(timeout_s, EVIDENCE_S_MAX))
        tally = poll.tally(billot, conflict=pair is not None)
    unkept: list[str] = []
    if tally.verdict is Verdict.OWNER and tally.holding is not None:
        unkept = await keeper.keep(circle, {billot: tally.holding}, poll)
    answers = tuple(poll.answer(link, billot) for link in circle.links)
    return OwnerCheck(billot, circle.network, tally, answers, pair, bool(unkept))


async def who_owns(circle: Circle, billot: str) -> OwnerCheck:
    """By the signed word of the circle's only server. Raises as the wallet's verb."""
    poll = Poll(circle, [billot])
    await poll.run(circle.timeout_s)
    circle.require_one()
    link = circle.links[0]
    if link.problem is not None:
        raise link.error or ProtocolError(f"{link.host.place} {link.problem}")
    answer = poll.answer(link, billot)
    return OwnerCheck(billot, circle.network, _alone(poll.tally(billot)), (answer,))


def _alone(tally: Tally) -> Tally:
    """One server's word is no quorum of others: what it calls disputed is."""
    if tally.holding is not None and tally.holding.status is Status.DISPUTED:
        return replace(tally, verdict=Verdict.DISPUTED)
    return tally
