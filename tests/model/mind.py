"""The model's transitions in the order in which a node makes them.

The model says what may happen to a server at any time; a node does each as soon as it can. What
comes to it is a word of a trusted server, a body, or both: a body is judged by the table, all
words are counted, and what is enough is adopted if its body is here. `rules` decides all of it.
"""

from __future__ import annotations

import rules as rule
from rules import DESIGN, Holding, Outcome, Rules, Status, Vote, Words

_ROUNDS_MAX = 20
"""Looser rules may go round in circles."""

CONTESTED = {Status.CONTESTED, Status.DISPUTED}


class Mind:
    """One server among n, with one billot, from a holding on."""

    def __init__(self, n: int, holding: Holding, rules: Rules = DESIGN) -> None:
        self.n = n
        self.rules = rules
        self.holding = holding
        self.taken = False
        """Whether it took a row that it was shown: then it voted meanwhile."""
        self.bodies: set[Vote] = set()
        self.said: dict[int, dict[Vote, bool]] = {}
        """What each of the others voted for, and whether it claimed that it is settled."""
        self.named: dict[tuple[int, Vote], bool] = {}
        """Their votes in the order in which they came, and whether they say by which transfer."""

    def hear(self, number: int, vote: Vote, *, claim: bool, body: bool = True) -> None:
        """A server's word, after the transfer that it is about if it has one with it."""
        if body:
            self.show(vote)
        if vote[0]:
            said = self.said.setdefault(number, {})
            said[vote] = claim or said.get(vote, False)
            self.named[number, vote] = body or self.named.get((number, vote), False)
            self._count()

    def show(self, vote: Vote) -> None:
        """A transfer whose signature holds."""
        if vote[0]:
            self.bodies.add(vote)
            self._judge(vote)
            self._count()

    def settle(self, vote: Vote) -> None:
        """A receipt is shown."""
        self.holding = self._adopted(vote)
        self.bodies.add(vote)
        self._count()

    def _judge(self, row: Vote) -> None:
        outcome = rule.judge(row, self.holding, self.rules)
        if outcome is Outcome.TAKE:
            self.taken = True
            self.holding = rule.taken(row, self.n)
        elif outcome is Outcome.CONFLICT:
            self.holding = rule.conflicted(row, self.holding, self.rules)

    def _words(self) -> list[Words]:
        return [
            (list(votes), [vote for vote, claim in votes.items() if claim])
            for votes in self.said.values()
        ]

    def _count(self) -> None:
        """Adopt all that is enough, the newest first; then take what others took next."""
        for _ in range(_ROUNDS_MAX):
            before = self.holding
            for vote in self._candidates():
                own = [rule.vote_of(self.holding)]
                if rule.adoptable(own, self._words(), vote, self.n, self.rules):
                    self.holding = self._adopted(vote)
                    break
            if self.holding[3] is Status.SETTLED:
                after = self.holding[0] + 1
                for vote in [v for (_, v), named in self.named.items() if named and v[0] == after]:
                    self._judge(
                        vote
                    )  # the first that can be taken, and what is in conflict with it
            if self.holding == before:
                break
        if self.holding[3] in CONTESTED:
            self.holding = (*rule.vote_of(self.holding), self._verdict())

    def _candidates(self) -> list[Vote]:
        """What can be adopted: it is here, and it would change something."""
        own = rule.vote_of(self.holding)
        votes = {vote for votes in self.said.values() for vote in votes}
        known = [vote for vote in votes if vote in self.bodies or vote == own]
        return sorted((vote for vote in known if self._adopted(vote) != self.holding), reverse=True)

    def _adopted(self, vote: Vote) -> Holding:
        return rule.adopt(vote, self.holding, self.rules)

    def _verdict(self) -> Status:
        seq = self.holding[0]
        others = [
            (*vote, Status.HELD) for votes in self.said.values() for vote in votes if vote[0] == seq
        ]
        return rule.verdict(self.n, self.holding, others, self.rules)
