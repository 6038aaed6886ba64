"""DESIGN section 5 as pure functions over small integers and tuples.

An owner is an integer, nobody is -1. A vote is (seq, from, owner), a row of a transfer (seq,
signer, to), a holding (seq, from, owner, status). Status and outcome have the names that the
ledger gives them, so that its decisions can be compared with these one by one.

`Rules` switches single rules off. `Rules()` is the design; anything else is a rule that was
tried and fell, or a mutant, and the tests show which trace breaks it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from billots.quorum import liars_max, safe_quorum

Vote = tuple[int, int, int]
Row = tuple[int, int, int]
Words = tuple[Collection[Vote], Collection[Vote]]
"""What one server key signed: its votes, and those of them that claim to be settled."""

NOBODY = -1
ISSUE: Vote = (0, NOBODY, 0)


class Status(StrEnum):
    HELD = "held"
    SETTLED = "settled"
    CONTESTED = "contested"
    DISPUTED = "disputed"


Holding = tuple[int, int, int, Status]
ISSUED: Holding = (*ISSUE, Status.SETTLED)


class Outcome(StrEnum):
    TAKE = "take"
    SAME = "same"
    CONFLICT = "conflict"
    STALE = "stale_seq"
    BEHIND = "behind"
    NOT_OWNER = "not_owner"
    NOT_SETTLED = "not_settled"
    CONTESTED = "contested_billot"
    DISPUTED = "disputed_billot"


NOT_SPENDABLE = {
    Status.HELD: Outcome.NOT_SETTLED,
    Status.CONTESTED: Outcome.CONTESTED,
    Status.DISPUTED: Outcome.DISPUTED,
}


@dataclass(frozen=True)
class Rules:
    """The rules in force. Each default is the design's."""

    quorum: str = "safe"
    """Else `majority`, of servers and payees, or `one less`: servers settle at q-1."""
    claims: str = "max(2, f+1)"
    """How many `settled` claims settle; else `one`."""
    only_settled_is_spent: bool = True
    seq_never_falls: bool = True
    first_vote_for_ever: bool = True
    votes_name_from: bool = True
    """Else two votes of one (seq, owner) are equal, whoever owned it before."""
    next_counts: str = "for nobody"
    """Whom a holding at seq+1 counts for at seq; else `for its from`, or `for anybody`."""
    relayed_row_by_row: bool = True
    new_memory_new_key: bool = True
    """A server that lost memory has a new key; else it goes on with the old one."""
    blank_waits: bool = True
    """A blank server reads its trusted servers before its first word; else it speaks at once."""
    blank_reads: str = "all but f"
    """How many of the others it reads; else `one fewer`."""
    blank_joins: str = "one side"
    """What a blank server votes for that reads two sides: nothing (`one side`), `any side`, or
    the `settled side`, if one of them says that it is."""
    adopting_is_not_reading: bool = True
    """A blank server that adopted something is still blank; else it goes on from there as if it
    had read its trusted servers: it has a record now."""
    copy_waits: bool = True
    """A server that started from an old copy is blank for *every* billot; else only for those
    that its copy has no record of."""
    retired_keys_count_from_n: int = 4

    def quorum_of_servers(self, n: int) -> int:
        return safe_quorum(n) - 1 if self.quorum == "one less" else self.quorum_of_payees(n)

    def quorum_of_payees(self, n: int) -> int:
        return n // 2 + 1 if self.quorum == "majority" else safe_quorum(n)

    def claims_needed(self, n: int) -> int:
        return 1 if self.claims == "one" else max(2, liars_max(n) + 1)


DESIGN = Rules()


# -- the table --------------------------------------------------------------------------------


def vote_of(holding: Holding) -> Vote:
    return holding[:3]


def words_of(holding: Holding) -> Words:
    """What a statement of a holding says."""
    vote = [vote_of(holding)]
    return vote, vote if holding[3] is Status.SETTLED else []


def judge(row: Row, holding: Holding, rules: Rules = DESIGN) -> Outcome:
    """The table: one row of a transfer against the present holding."""
    row_seq, signer, to = row
    seq, sender, owner, status = holding
    if row_seq == seq + 1:
        if signer != owner:
            return Outcome.NOT_OWNER
        if rules.only_settled_is_spent:
            return NOT_SPENDABLE.get(status, Outcome.TAKE)
        return Outcome.TAKE
    if row_seq == seq:
        if signer != sender:
            return Outcome.NOT_OWNER
        return Outcome.SAME if to == owner else Outcome.CONFLICT
    return Outcome.STALE if row_seq < seq else Outcome.BEHIND


def taken(row: Row, n: int) -> Holding:
    """What a row that was judged `TAKE` leaves."""
    return (*row, Status.SETTLED if n == 1 else Status.HELD)


def conflicted(row: Row, holding: Holding, rules: Rules = DESIGN) -> Holding:
    """What a row that was judged `CONFLICT` leaves: held → contested, settled stands."""
    if holding[3] is Status.SETTLED:
        return holding
    if not rules.first_vote_for_ever:
        return (*row, Status.HELD)
    return (*vote_of(holding), Status.CONTESTED) if holding[3] is Status.HELD else holding


def judge_bundle(
    rows: Sequence[Row], holdings: Sequence[Holding], *, relayed: bool, rules: Rules = DESIGN
) -> tuple[list[Outcome], list[bool]]:
    """Rule 3: each row's outcome, and which rows are taken."""
    outcomes = [judge(row, holding, rules) for row, holding in zip(rows, holdings, strict=True)]
    by_row = (relayed and rules.relayed_row_by_row) or Outcome.CONFLICT in outcomes
    passing = {Outcome.TAKE, Outcome.SAME}
    whole = all(outcome in passing for outcome in outcomes)
    return outcomes, [outcome is Outcome.TAKE and (by_row or whole) for outcome in outcomes]


# -- votes, claims, receipts ------------------------------------------------------------------


def counts_for(said: Vote, vote: Vote, rules: Rules = DESIGN) -> bool:
    """Whether a server that signed `said` counts for `vote` at another server."""
    if said[0] == vote[0]:
        return said == vote or (not rules.votes_name_from and said[2] == vote[2])
    if said[0] != vote[0] + 1 or rules.next_counts == "for nobody":
        return False
    return rules.next_counts == "for anybody" or said[1] == vote[2]


def count(said: Iterable[Iterable[Vote]], vote: Vote, rules: Rules = DESIGN) -> int:
    """How many servers count for a vote; `said` has one entry for each server key."""
    return sum(any(counts_for(word, vote, rules) for word in words) for words in said)


def is_receipt(said: Iterable[Iterable[Vote]], vote: Vote, n: int, rules: Rules = DESIGN) -> bool:
    """Whether a payee, or whom it shows them to, takes these signed votes for final."""
    plain = Rules(votes_name_from=rules.votes_name_from)
    return count(said, vote, plain) >= rules.quorum_of_payees(n)


def claims_for(votes: Iterable[Vote], claims: Iterable[Vote], vote: Vote, rules: Rules) -> bool:
    """Whether a server that signed these counts as one that has `vote` settled.

    Where a holding at seq+1 counts for seq at all, it does so as a claim: it was spent.
    """
    spent = [word for word in votes if word[0] == vote[0] + 1]
    return any(counts_for(word, vote, rules) for word in (*claims, *spent))


def adoptable(
    own: Iterable[Vote], others: Iterable[Words], vote: Vote, n: int, rules: Rules = DESIGN
) -> bool:
    """Rule 1: q equal votes (a receipt is just that), or max(2, f+1) equal settled claims."""
    others = list(others)
    votes = [own, *(votes for votes, _ in others)]
    claims = sum(claims_for(votes, claims, vote, rules) for votes, claims in others)
    enough = count(votes, vote, rules) >= rules.quorum_of_servers(n)
    return enough or claims >= rules.claims_needed(n)


def adopt(vote: Vote, holding: Holding, rules: Rules = DESIGN) -> Holding:
    """What is settled arrives, by votes, claims or a receipt: the holding after it."""
    seq, _, _, status = holding
    if vote[0] < seq and rules.seq_never_falls:
        return holding
    if vote[0] == seq and status is Status.SETTLED:
        return holding
    return (*vote, Status.SETTLED)


# -- consult ----------------------------------------------------------------------------------


def consult(
    n: int,
    own: Holding,
    answers: Mapping[int, Holding | None],
    *,
    pair: bool,
    rules: Rules = DESIGN,
) -> Holding:
    """Rule 4: the holding after a consult. One answer for each other server, None for silence."""
    others = [answer for answer in answers.values() if answer is not None]
    words = [words_of(holding) for holding in others]
    candidates = {vote_of(h) for h in (own, *others) if h[0] >= own[0]}
    for vote in sorted(candidates, reverse=True):
        if adoptable([vote_of(own)], words, vote, n, rules):
            after = adopt(vote, own, rules)
            if after != own:
                return after
    if own[3] is Status.SETTLED or not pair:
        return own
    status = verdict(n, own, others, rules)
    return (*vote_of(own), status)


def verdict(n: int, own: Holding, others: Iterable[Holding], rules: Rules = DESIGN) -> Status:
    """Contested, or disputed: nobody can reach q though all undecided joined him."""
    at_seq = [vote_of(h) for h in (own, *others) if h[0] == own[0]]
    most = max(at_seq.count(vote) for vote in at_seq)
    undecided = n - len(at_seq)
    hopeless = most + undecided < rules.quorum_of_servers(n)
    return Status.DISPUTED if hopeless else Status.CONTESTED


# -- memory -----------------------------------------------------------------------------------


def first_words(
    holding: Holding, seen: Iterable[Holding], n: int, rules: Rules = DESIGN
) -> list[Holding]:
    """Rule 6: what a server without its memory may stand at when it first speaks.

    `holding` is all it has (the issue, or what an old copy says), `seen` the newest answers of
    those whom it had to read. Empty: it goes on waiting.
    """
    least = holding[0] + (holding[3] is Status.SETTLED)
    seen = [answer for answer in seen if answer[0] >= least]
    news = {vote_of(answer) for answer in seen} - {vote_of(holding)}
    if not news:
        return [holding]
    if len(news) > 1 and rules.blank_joins == "settled side":
        news &= {vote_of(answer) for answer in seen if answer[3] is Status.SETTLED}
    if len(news) > 1 and rules.blank_joins != "any side":
        return []
    return [taken(vote, n) for vote in news if judge(vote, holding, rules) is Outcome.TAKE]


def must_read(n: int, rules: Rules = DESIGN) -> int:
    """Rule 6: how many of the others a server without its memory reads before its first word.

    All but f; below four servers f is 0, so that it is all of them.
    """
    return n - 1 - liars_max(n) - (rules.blank_reads == "one fewer")
