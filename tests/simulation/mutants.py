"""Mistakes made on purpose, one at a time: the simulator must notice each of them.

A mistake is an edit of the program's text, made in this process only. One whose text isn't
there any more is an error: a mutant must not go stale in silence.
"""

import inspect
import textwrap
from contextlib import contextmanager
from typing import NamedTuple

from billots import ledger
from billots.ledger import Ledger
from billots.node.answers import Answers
from billots.node.consulting import Consulting
from billots.node.feeds import Feeds
from billots.node.greeting import Greeting
from billots.node.memory import Memory
from billots.node.node import Node
from billots.node.outfeed import OutFeed
from billots.node.receipts import Receipts
from billots.node.settling import Settling
from billots.node.taking import Taking
from billots.node.tallies import Tallies
from billots.node.trust import Trust
from billots.node.wanted import Wanted
from billots.store.keyvalue import KeyValueStore
from billots.store.plan import _Plan
from simulation.disk import Disk
from simulation.driver import Driver


class Edit(NamedTuple):
    """Another text in one function of a class, or of the module that uses it."""

    owner: object
    function: str
    before: str
    after: str


_SEQ_RISES = Edit(
    Ledger,
    "take",
    'assert seq == (before.seq if before is not None else 0) + 1, "seq rises by one"',
    "pass",
)

MUTANTS = {
    "majority for safe": [Edit(Trust, "_count", "safe_quorum(self.n)", "self.n // 2 + 1")],
    "settle at q-1": [
        Edit(Trust, "_count", "safe_quorum(self.n)", "max(1, safe_quorum(self.n) - 1)")
    ],
    "one claim is enough": [Edit(Trust, "_count", "max(2, self.liars_max + 1)", "1")],
    "our own vote counts twice": [
        Edit(Settling, "_is_enough", "(ballots)[0]) + ours", "(ballots)[0]) + 2 * ours"),
        Edit(Tallies, "read", "len(votes) >= quorum", "len(votes) + 1 >= quorum"),
    ],
    "seq+1 counts for seq": [
        Edit(
            Feeds,
            "stated",
            "self._vote(voter, row.id, row.seq, ballot, now)",
            "self._vote(voter, row.id, row.seq, ballot, now)\n"
            "        here = self._ledger.present(row.id)\n"
            "        if (row.seq, row.holding.vote.sender) == (here.seq + 1, here.owner):\n"
            "            ballot = Ballot(here.vote, 0, None, claim, signed)\n"
            "            self._vote(voter, row.id, here.seq, ballot, now)",
        )
    ],
    "spend what isn't settled": [
        Edit(ledger, "judge", "_NOT_SPENDABLE.get(holding.status, Outcome.TAKE)", "Outcome.TAKE"),
        Edit(
            Ledger,
            "take",
            'assert billot not in self._status, "only settled billots are spent"',
            "self._status.pop(billot, None)",
        ),
    ],
    "drop seq": [
        Edit(ledger, "judge", "if seq == holding.seq + 1:", "if sender == holding.owner:"),
        _SEQ_RISES,
        Edit(_Plan, "_leave", "if row.seq < before.seq:", "if False:"),
    ],
    "first vote isn't for ever": [
        Edit(
            ledger,
            "judge",
            "Outcome.SAME if to == holding.owner else Outcome.CONFLICT",
            "Outcome.SAME if to == holding.owner else Outcome.TAKE",
        ),
        _SEQ_RISES,
        Edit(
            Ledger,
            "take",
            'assert billot not in self._status, "only settled billots are spent"',
            "self._status.pop(billot, None)",
        ),
    ],
    "let seq fall": [
        Edit(
            Settling,
            "by_receipt",
            "if seq < present.seq or (seq == present.seq and present.status is Status.SETTLED):",
            "if seq == present.seq and present.status is Status.SETTLED:",
        ),
        Edit(
            Ledger,
            "adopt",
            'assert seq > at or (seq == at and billot in self._status), "seq never falls"',
            "pass",
        ),
        Edit(_Plan, "_leave", "if row.seq < before.seq:", "if False:"),
    ],
    "contest what is settled": [
        Edit(Taking, "conflict", "if self.ledger.status(billot) is Status.HELD:", "if True:"),
        Edit(
            Ledger,
            "contest",
            "if moved is None or self._status.get(billot, status) is status:",
            "self._unsettled.setdefault(moved.lsn, {})\n    if False:",
        ),
    ],
    "answer before write": [
        Edit(
            Driver,
            "_round",
            "takes_s, early = world.write_time(self)",
            "node.committed(self.now, written=True)\n"
            "    self.flush()\n"
            "    takes_s, early = 0.001 + 0.02 * world.chance(), False",
        ),
        Edit(Driver, "_written", "self.node.committed(self.now, written=True)", "pass"),
    ],
    "say what isn't on disk": [
        Edit(Ledger, "holdings", "if billot not in self._before", "if True")
    ],
    "sync=False": [Edit(Disk, "__init__", "self.lossy = False", "self.lossy = True")],
    "half a batch": [
        Edit(
            Disk,
            "write",
            "Memory.write(self, changes)",
            "Memory.write(self, changes if fault is None else dict([*changes.items()][::2]))",
        )
    ],
    "forget what is unsettled": [Edit(KeyValueStore, "unsettled", "if statuses:", "if False:")],
    "drop receipts early": [
        Edit(
            Receipts,
            "settled",
            "if self.is_complete(ballots) and not for_good:",
            "if True:",
        ),
        Edit(Tallies, "read", "elif len(votes) >= all_others:", "elif True:"),
        Edit(Tallies, "_look", "if self._receipts.is_complete(tally.votes):", "if True:"),
    ],
    "ignore evidence": [
        Edit(Taking, "conflict", "self.ledger.keep_evidence(billot, first, second)", "False")
    ],
    "gossip everybody's bodies": [Edit(OutFeed, "add", "entry.here", "True")],
    "relay whole or not at all": [
        Edit(
            Taking,
            "take",
            "rows_among(transfer, outcomes, TAKEN)",
            "()",
        )
    ],
    "believe every signature": [
        Edit(
            Node,
            "judge",
            "self.rounds.judge(results, now)",
            "self.rounds.judge([True for _ in results], now)",
        )
    ],
    "speak when blank": [
        Edit(Memory, "__init__", "self.phase = Phase.BLANK", "self.phase = Phase.READY"),
        Edit(Memory, "tick", "else Phase.BLANK", "else Phase.READY"),
    ],
    "read one feed, then speak": [
        Edit(Memory, "must_read", "self._trust.n - 1 - liars_max(self._trust.n)", "1")
    ],
    "go on with an old copy": [
        Edit(Greeting, "subscribed", "if self._is_newer(subscribed.yours):", "if False:")
    ],
    "leave the old owner in the index": [
        Edit(_Plan, "_leave", "changes[owner_prefix(before.owner) + key] = None", "pass")
    ],
    "keep what gave way": [Edit(_Plan, "_leave", "changes[entry_key(before.lsn)] = None", "pass")],
    "never fetch": [
        Edit(
            Wanted,
            "due",
            "while (at := self.next_at) is not None and at <= now:",
            "while self._wants is None:",
        )
    ],
    # Mistakes that the simulator found in the program.
    "show a receipt before the write": [
        Edit(Answers, "_receipt", "if self._ledger.touched(((billot, 0),)):", "if False:")
    ],
    "mark before the receipt": [
        Edit(
            Ledger,
            "settle",
            "self._status.pop(billot, None)",
            "self._status.pop(billot, None)\n    self.mark(billot)",
        )
    ],
    "owe nothing for the seq before": [
        Edit(Receipts, "leaving", "if self._trust.n == 1:", "if True:"),
    ],
    "never consult": [Edit(Consulting, "is_open", "return self", "return False and self")],
}


NOTICED_BY = {
    "go on with an old copy": 45,
    "half a batch": 41,
    "majority for safe": 10,
    "never consult": 113,
    "owe nothing for the seq before": 11,
    "read one feed, then speak": 111,
    "say what isn't on disk": 180,
    "seq+1 counts for seq": 15,
}
"""The seed of the first 200 that notices a mistake, where it takes long to come to it. If it does
no more, another one has to."""


@contextmanager
def applied(name):
    """The program with one mistake in it, for as long as the block lasts."""
    changes = []
    try:
        for edit in MUTANTS[name]:
            before = edit.owner.__dict__[edit.function]
            setattr(edit.owner, edit.function, _edited(edit))
            changes.append((edit.owner, edit.function, before))
        yield
    finally:
        for owner, function, before in reversed(changes):
            setattr(owner, function, before)


def _edited(edit):
    """The function with another text; an earlier edit of the same one stays in."""
    member = edit.owner.__dict__[edit.function]
    function = member.fget if isinstance(member, property) else member
    text = getattr(function, "mutated_text", None)
    if text is None:
        text = textwrap.dedent(inspect.getsource(function))
    if text.count(edit.before) != 1:
        raise LookupError(f"no place for the edit of {edit.owner.__name__}.{edit.function}")
    text = text.replace(edit.before, edit.after)
    space = {}
    exec(compile(text, f"<{edit.function}>", "exec"), function.__globals__, space)
    found = space[edit.function]
    if not isinstance(found, property):
        found.mutated_text = text
    return found
