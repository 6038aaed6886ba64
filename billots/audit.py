"""Catching servers that lie: signed votes held against each other (DESIGN, section 5, rule 8).

Each server is asked twice, on connections of their own, so that one with two faces has to sign
both, and its feed is read as those who follow it read it. Two votes of one key at one (id, seq)
for different owners prove a lie if neither says `settled` or both do; if one does, the server
owes a receipt, or max(2, f+1) claims, for it: the others' votes in this audit are as good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec import Raw

from billots.circle import Circle
from billots.crypto import verify
from billots.errors import BillotIdError, BillotsError, InputError, JournalError, WrongNetwork
from billots.evidence import find_conflict
from billots.feed_votes import fed_votes
from billots.findings import Audited, AuditReport, Contradiction
from billots.holding import SILENT, Holding, Status, Vote
from billots.kept_receipts import KeptReceipts
from billots.known_servers import key_changed
from billots.link import Link, OtherNetwork
from billots.messages import Pair
from billots.poll import batched
from billots.quorum import Verdict, count, liars_max, safe_quorum
from billots.receipt import Electorate, Receipt, SignedVote, checks, decode_receipt, judge
from billots.statement import PROOF_ROWS_MAX, Statement, StatementRow
from billots.transfer import Transfer

BEHIND_AGAIN_S = 0.3
"""How long servers have to agree, before what still differs is told."""
EVIDENCE_S_MAX = 2.0
"""How long all that differs may be asked for proof that its owner signed twice."""

_SIGNED_TWICE = (Status.CONTESTED, Status.DISPUTED)

Progress = Callable[[int, int], None]
Place = tuple[str, int]


@dataclass(slots=True)
class _Said:
    """One vote of a server: how it was signed, whether as settled, and its receipts."""

    vote: SignedVote
    settled: bool
    receipts: list[Receipt] = field(default_factory=list)


class Audit:
    """Questions to two faces of each server, and what their answers come to."""

    def __init__(self, faces: Sequence[Circle], kept: KeptReceipts) -> None:
        self._faces = faces
        self._circle = faces[0]
        self._kept = kept
        self._votes: dict[str, dict[Place, dict[Vote, _Said]]] = {}
        self._newest: dict[str, dict[str, Holding]] = {}
        self._false: dict[str, set[str]] = {}
        self._keys: dict[str, str] = {}
        self._bodies: dict[str, Transfer] = {}
        self._twice: dict[str, Pair] = {}

    async def run(self, billots: Sequence[str], on_progress: Progress | None = None) -> AuditReport:
        """Ask all about these billots; raises Unreachable, WrongNetwork, JournalError."""
        links = [link for face in self._faces for link in face.links]
        chunks = list(batched(billots, PROOF_ROWS_MAX))
        done, total = 0, len(links) * len(chunks)

        async def ask(face: Circle, link: Link) -> None:
            nonlocal done
            for chunk in chunks:
                await self._ask(face, link, chunk)
                done += 1
                if on_progress is not None:
                    on_progress(done, total)

        await asyncio.gather(*(ask(face, link) for face in self._faces for link in face.links))
        self._circle.require_one()
        self._hear_kept(billots)
        await asyncio.gather(*(self._hear_feed(link, billots) for link in self._circle.links))
        differing = [billot for billot in billots if len(set(self._said_of(billot))) > 1]
        if differing:
            await asyncio.sleep(BEHIND_AGAIN_S)
            again = list(batched(differing, PROOF_ROWS_MAX))
            for link in self._circle.links:
                for chunk in again:
                    await self._ask(self._circle, link, chunk)
        await self._ask_for_proofs()
        await self._ask_for_evidence(billots)
        return self._report(billots)

    async def _ask(self, face: Circle, link: Link, billots: Sequence[str]) -> None:
        if link.problem is not None:
            return
        try:
            network_id = await face.open(link)
            for billot in billots:
                face.network.check(billot)
            self._hear(link, await link.statement(network_id, billots, proof=True))
        except OtherNetwork as error:
            link.fail(error)
        except (WrongNetwork, JournalError, BillotIdError):
            raise
        except BillotsError as error:
            link.fail(error)

    def _hear(self, link: Link, statement: Statement) -> None:
        signed = statement.signed()
        assert signed is not None, "a statement that was judged is signed"
        key, vote = statement.server, SignedVote(statement=signed)
        if self._keys.setdefault(link.host.place, key) != key:
            raise key_changed(link.host)  # one face has another key than the other
        for row in statement.billots:
            before = self._newest.setdefault(key, {}).get(row.id)
            if before is None or before.status is Status.UNKNOWN or row.seq >= before.seq:
                self._newest[key][row.id] = row.holding
            if row.status in SILENT or row.owner is None:
                continue
            said = self._note(key, (row.id, row.seq), row.holding.vote, vote, row.status)
            self._look_at_proofs(key, row, said)

    def _note(
        self, key: str, place: Place, vote: Vote, signed: SignedVote, status: Status | None
    ) -> _Said:
        """One more vote; that it is settled weighs more, for then it must agree with others."""
        votes = self._votes.setdefault(key, {}).setdefault(place, {})
        settled = status is Status.SETTLED
        if vote not in votes or (settled and not votes[vote].settled):
            receipts = votes[vote].receipts if vote in votes else []
            votes[vote] = _Said(signed, settled, receipts)
        return votes[vote]

    def _look_at_proofs(self, key: str, row: StatementRow, said: _Said) -> None:
        if isinstance(row.transfer, Transfer):
            if self._is_of(row.transfer, row):
                self._bodies[row.transfer.id] = row.transfer
            else:
                self._false.setdefault(key, set()).add(row.id)
        if not isinstance(row.receipt, Raw) or bytes(row.receipt) == b"null":
            return
        try:
            receipt = decode_receipt(row.receipt)
            receipt.check(self._circle.network)
            held = [verify(*check) for check in checks(receipt)]
        except InputError:
            self._false.setdefault(key, set()).add(row.id)
            return
        if not all(held):
            self._false.setdefault(key, set()).add(row.id)
        elif self._is_of(receipt.transfer, row):
            said.receipts.append(receipt)
            self._hear_receipt(receipt)
        elif _is_before(receipt.transfer, row):
            self._hear_receipt(receipt)
        else:
            self._false.setdefault(key, set()).add(row.id)

    def _is_of(self, transfer: Transfer, row: StatementRow) -> bool:
        """Whether a transfer is the one that a row is about."""
        if (transfer.sender, transfer.to) != (row.sender, row.owner):
            return False
        ours = transfer.network == self._circle.network.id
        return ours and (row.id, row.seq) in transfer.billots and transfer.verify()

    def _hear_kept(self, billots: Sequence[str]) -> None:
        for kept in self._kept.find(self._circle.network.id, billots).values():
            held = [verify(*check) for check in checks(kept.receipt)]
            if all(held):
                self._hear_receipt(kept.receipt)

    async def _hear_feed(self, link: Link, billots: Sequence[str]) -> None:
        """What the server signs for those who follow it."""
        if link.key is None or link.problem is not None:
            return
        network = self._circle.network
        for fed in await fed_votes(link, network, set(billots), self._bodies):
            status = Status.SETTLED if fed.settled else None
            self._note(link.key, fed.row, fed.vote, fed.signed, status)

    def _hear_receipt(self, receipt: Receipt) -> None:
        """Votes in a receipt whose signatures all hold."""
        vote = Vote(receipt.transfer.sender, receipt.transfer.to)
        for signed in receipt.votes:
            for word in Receipt(receipt.transfer, (signed,)).words():
                for row in word.rows:
                    status = Status.SETTLED if row in word.claims else None
                    self._note(word.server, row, vote, signed, status)

    def _said_of(self, billot: str) -> Iterator[tuple[int, Vote]]:
        for holdings in self._newest.values():
            if billot in holdings:
                yield holdings[billot].seq, holdings[billot].vote

    async def _ask_for_proofs(self) -> None:
        """Alone, so that there is room: servers that say settled against another vote of theirs."""
        for link in self._circle.links:
            key = self._keys.get(link.host.place, "")
            owing = {c.billot for c in self._contradictions(key) if c.unproven}
            for billot in sorted(owing):
                await self._ask(self._circle, link, [billot])

    async def _ask_for_evidence(self, billots: Sequence[str]) -> None:
        """Whether servers differ because a billot's owner signed it over twice."""
        torn = [billot for billot in billots if self._is_torn(billot)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._circle.timeout_s, EVIDENCE_S_MAX)):
                for some in batched(torn, PROOF_ROWS_MAX):
                    await asyncio.gather(*map(self._find_conflict, some))

    def _is_torn(self, billot: str) -> bool:
        """Whether servers name different owners, or say that there are two."""
        held = [h[billot] for h in self._newest.values() if billot in h]
        votes = {(h.seq, h.vote) for h in held if h.status not in SILENT}
        return len(votes) > 1 or any(h.status in _SIGNED_TWICE for h in held)

    async def _find_conflict(self, billot: str) -> None:
        held = [h[billot] for h in self._newest.values() if billot in h]
        pair = await find_conflict(self._circle, billot, held, EVIDENCE_S_MAX)
        if pair is not None:
            self._twice[billot] = pair

    def _contradictions(self, key: str) -> Iterator[Contradiction]:
        for (billot, seq), votes in self._votes.get(key, {}).items():
            (first, *others) = votes.items()
            for other in others:
                settled = [(vote, said) for vote, said in (first, other) if said.settled]
                alone = len(settled) == 1
                if not alone or not self._is_proven(key, (billot, seq), *settled[0]):
                    signed = first[1].vote, other[1].vote
                    yield Contradiction(key, billot, seq, *signed, unproven=alone)

    def _is_proven(self, key: str, row: Place, vote: Vote, said: _Said) -> bool:
        """Whether what a server calls settled is: by the others' votes here, or by its receipt.

        Its own claim doesn't count.
        """
        ours = self._circle.electorate()
        electorate = Electorate(ours.n, ours.entries, ours.retired, own=key)
        others = {
            other: votes[row][vote].settled
            for other, votes in self._votes.items()
            if other != key and vote in votes.get(row, {})
        }
        claims = electorate.count(other for other, settled in others.items() if settled)
        if electorate.count(others) >= safe_quorum(ours.n):
            return True
        if claims >= max(2, liars_max(ours.n) + 1):
            return True
        return any(
            row in judge(receipt, electorate, [True] * len(checks(receipt)))
            for receipt in said.receipts
        )

    def _report(self, billots: Sequence[str]) -> AuditReport:
        circle = self._circle
        servers = [
            Audited(
                link.host,
                self._keys.get(link.host.place),
                next((face.problem for face in faces if face.problem is not None), None),
            )
            for link, *faces in zip(circle.links, *(f.links for f in self._faces), strict=True)
        ]
        undecided: list[str] = []
        listed = {server.key for server in servers}
        for billot in billots:
            votes = {
                key: holdings[billot]
                for key, holdings in self._newest.items()
                if billot in holdings and key in listed
            }
            twice = self._twice.get(billot)
            tally = count(votes, circle.n, circle.quorum, conflict=twice is not None)
            if tally.verdict not in (Verdict.OWNER, Verdict.NO_OWNER):
                undecided.append(billot)
            for server in servers:
                if server.key in votes and tally.holding is not None:
                    server.grade(billot, votes[server.key], tally.holding, twice)
        for server in servers:
            server.false_proofs = sorted(self._false.get(server.key or "", ()))
            server.contradictions = list(self._contradictions(server.key or ""))
        return AuditReport(
            circle.network,
            tuple(billots),
            tuple(servers),
            tuple(undecided),
            self._twice,
            circle.quorum.needed(circle.n),
        )


def _is_before(transfer: Transfer, row: StatementRow) -> bool:
    """Whether a transfer brought the billot to who moves it with this row.

    Who stands at the next seq without a quorum yet shows what settled the one before.
    """
    return transfer.to == row.sender and (row.id, row.seq - 1) in transfer.billots
