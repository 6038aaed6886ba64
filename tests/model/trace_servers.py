"""A few servers by name, for traces written out step by step."""

from __future__ import annotations

import rules as rule
from explore import Breach, Local, Table, spoken
from rules import DESIGN, ISSUED, Outcome, Row, Rules, Status, Vote


class Cluster:
    """Servers "S1", "S2", … that are honest, and liars, who sign whatever is asked.

    A step that the rules in force refuse changes nothing and says so; the trace goes on, as
    whoever attacks would.
    """

    def __init__(self, n: int, *, liars: int = 0, rules: Rules = DESIGN) -> None:
        self.n, self.rules = n, rules
        self.table = Table(n, liars, seqs=3, owners=6, rules=rules)
        self.at = {f"S{number + 1}": Local(ISSUED) for number in range(n - liars)}
        self.retired: dict[str, Local] = {}
        """What the lost keys of servers signed."""
        self.blank: set[str] = set()

    # -- what comes to a server -------------------------------------------------------------------

    def take(self, row: Row, *servers: str) -> list[Outcome]:
        """A wallet, or another server, brings a transfer."""
        return [self._take(row, server) for server in servers]

    def _take(self, row: Row, server: str) -> Outcome:
        if server in self.blank:
            return Outcome.NOT_SETTLED
        local = self.at[server]
        outcome = rule.judge(row, local.holding, self.rules)
        if outcome is Outcome.TAKE:
            self.at[server] = spoken(local, rule.taken(row, self.n))
        elif outcome is Outcome.CONFLICT:
            self.at[server] = spoken(local, rule.conflicted(row, local.holding, self.rules))
        return outcome

    def hear(self, vote: Vote, *servers: str) -> list[bool]:
        """All that was ever said for a vote reaches a server: does it settle or adopt it?"""
        return [self._hear(vote, server) for server in servers]

    def _hear(self, vote: Vote, server: str) -> bool:
        table = self.table
        keys = self._keys()
        votes = sum(table.votes_of[table.id(local)] for local in keys)
        claims = sum(table.claims_of[table.id(local)] for local in keys)
        local = self.at[server]
        if table.reaches(table.adoptable(votes, claims), vote):
            self.at[server] = spoken(local, rule.adopt(vote, local.holding, self.rules))
        return self.at[server].holding == (*vote, Status.SETTLED)

    # -- memory -----------------------------------------------------------------------------------

    def wipe(self, server: str) -> None:
        """It comes back with nothing, and with a new key if the rules say so."""
        if self.rules.new_memory_new_key:
            self.retired[server] = self.at[server]
            self.at[server] = Local(ISSUED)
        else:
            self.at[server] = self.at[server]._replace(holding=ISSUED)
        if self.rules.blank_waits:
            self.blank.add(server)

    def read(self, server: str) -> list[rule.Holding]:
        """It has asked all the others; the first of what it may stand at, it stands at."""
        seen = [local.holding for name, local in self.at.items() if name != server]
        words = rule.first_words(self.at[server].holding, seen, self.n, self.rules)
        if server in self.blank and words:
            self.blank.remove(server)
            self.at[server] = spoken(self.at[server], words[0])
        return words

    # -- what came of it --------------------------------------------------------------------------

    def _keys(self, *, old: bool = False) -> list[Local]:
        """What each key of a list signed: with the keys of now, or those before any was lost."""
        return list((self.at | self.retired if old else self.at).values())

    def receipts(self, *, old: bool = False) -> list[Vote]:
        """What is final for a payee, under one set of keys."""
        return self.table.receipts(self._final(old=old))[1]

    def _final(self, *, old: bool) -> int:
        table = self.table
        return table.final(sum(table.words_of[table.id(at)] for at in self._keys(old=old)))

    def breaches(self) -> set[Breach]:
        """Everything that is wrong now."""
        table = self.table
        final = self._final(old=False)
        wrong = set(table.receipts(final)[0]) | table.receipts(self._final(old=True))[0]
        for local in self.at.values():
            wrong |= table.wrong(table.id(local), final)
        return wrong
