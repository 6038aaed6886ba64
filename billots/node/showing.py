"""What of receipts and consult answers is worth the signatures that it turns on.

State comes before signatures: a receipt is read, and held against the ledger, before a single
signature of it is checked.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from billots.errors import InputError
from billots.holding import SILENT, Status, Vote
from billots.ledger import Ledger
from billots.network import Network
from billots.node.feeds import Feeds
from billots.node.proofs import bodies_of, is_proof
from billots.node.trust import Trust
from billots.node.work import Shown
from billots.receipt import Check, Receipt, Word, decode_receipt
from billots.statement import NULL, Statement
from billots.transfer import Row, Transfer


class Showing:
    """Holds what others show against the ledger."""

    def __init__(self, ledger: Ledger, trust: Trust, feeds: Feeds) -> None:
        self._ledger = ledger
        self._trust = trust
        self._feeds = feeds

    @property
    def _network(self) -> Network:
        return self._ledger.network

    # -- receipts -----------------------------------------------------------------------------

    def look(self, receipt: Receipt, index: int = 0, *, whole: bool = True) -> Shown | None:
        """A receipt that would change something; None if it can change nothing here.

        `index` is its place among those that are shown together.

        `whole`: it has to settle something by itself, or it raises InputError, whether its
        signatures hold or not. Else its votes may do so together with others.
        """
        receipt.check(self._network)
        words = self._counted(receipt.words())
        rows = self._trust.electorate.settled(receipt.transfer, words)
        if whole and not rows:
            raise InputError("a receipt without the votes of a quorum")
        if not whole:
            named = {row for word in words for row in word.rows}
            rows = [row for row in receipt.transfer.billots if row in named]
        vote = Vote(receipt.transfer.sender, receipt.transfer.to)
        news = any(self._is_news(row, vote) for row in rows)
        return Shown(receipt, words, index) if news else None

    def _counted(self, words: list[Word]) -> list[Word]:
        """One word of each server that counts: nobody has us check more signatures."""
        electorate, kept = self._trust.electorate, dict[str, Word]()
        for word in words:
            if word.server in electorate.entries or word.server in electorate.retired:
                kept.setdefault(word.server, word)
        return list(kept.values())

    def _is_news(self, row: Row, vote: Vote) -> bool:
        """Whether it would lift us, settle what we hold, or contradict what we have settled."""
        seq, present = row[1], self._ledger.present(row[0])
        if seq != present.seq:
            return seq > present.seq
        return present.status is not Status.SETTLED or present.vote != vote

    def settled(self, shown: Shown, held: list[bool]) -> tuple[list[Word], list[Row]]:
        """The words whose signatures held, and the rows that they settle."""
        if not held[0]:
            return [], []
        words = [word for word, good in zip(shown.words, held[1:], strict=True) if good]
        return words, self._trust.electorate.settled(shown.receipt.transfer, words)

    def contradicted(self, shown: Shown, rows: list[Row]) -> list[str]:
        """Billots that a receipt settles otherwise than they are settled here: more than f lie."""
        vote = Vote(shown.receipt.transfer.sender, shown.receipt.transfer.to)
        found: list[str] = []
        for billot, seq in rows:
            present = self._ledger.present(billot)
            if (present.seq, present.status) == (seq, Status.SETTLED) and present.vote != vote:
                found.append(billot)
                name = f"contradiction/{billot}"
                self._ledger.put_meta(name, msgspec.json.encode(shown.receipt))
        return found

    # -- answers in a consult -----------------------------------------------------------------

    def proofs(self, statement: Statement) -> tuple[list[Transfer], list[Shown]]:
        """The bodies and receipts of a statement that would change something here."""
        bodies: dict[str, Transfer] = {}
        shown: list[Shown] = []
        came = bodies_of(statement)
        for row in statement.billots:
            present = self._ledger.present(row.id)
            news = row.seq > present.seq or (
                row.seq == present.seq and present.status is not Status.SETTLED
            )
            for transfer in came if news and row.status not in SILENT else ():
                fits = transfer.id not in bodies and is_proof(transfer, row.id, row.holding)
                if fits and self._sound(transfer) and self._feeds.body(transfer.id) is None:
                    bodies[transfer.id] = transfer
            if isinstance(row.receipt, Raw) and row.receipt != NULL:
                found = self._receipt(row.receipt)
                if found is not None:
                    shown.append(found)
        return list(bodies.values()), shown

    def _receipt(self, data: Raw) -> Shown | None:
        try:
            return self.look(decode_receipt(data), whole=False)
        except InputError:
            return None

    def _sound(self, transfer: Transfer) -> bool:
        try:
            transfer.check(self._network)
        except InputError:
            return False
        return transfer.network == self._network.id


def checks(shown: Shown) -> list[Check]:
    """The signatures of a receipt: its transfer's, then one for each word."""
    return [shown.receipt.transfer.check_arguments, *(word.check for word in shown.words)]
