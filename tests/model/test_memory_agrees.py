"""Rule 6: the first word of a server without its memory, in the node and in the model.

The model lets such a server go by any `must_read` of the others that it likes. The node has
heard at least so many and decides for itself; it may do only what some choice of readers allows,
and it waits only if none allows more. That is also how the model does with lies: f of those who
spoke may be left out.
"""

from itertools import combinations, combinations_with_replacement, product

import pytest
import rules as rule
from network import NET, SERVER_KEYS
from rules import ISSUED, Status
from translation import OWNERS, real, small

from billots.holding import Holding, Vote
from billots.host import Host
from billots.ledger import Ledger
from billots.node.memory import Memory, Word
from billots.node.trust import Trust
from billots.store import MemoryStore

SETTLED = Status.SETTLED
ADOPTED = [ISSUED, (1, 0, 1, SETTLED), (2, 1, 2, SETTLED)]
"""What a server without its memory can have: nothing, or what it adopted."""
SAID = [None, *product([1], [0], [1, 2]), *product([2, 3], [1, 2], [1, 2])]
"""The newest vote of one that was read; None: it has none."""


def a_memory(n):
    hosts = [Host("127.0.0.1", 8000 + number) for number in range(n - 1)]
    trust = Trust(hosts, SERVER_KEYS[0].public_hex)
    return Memory(Ledger(NET, MemoryStore(NET), alone=n == 1), trust)


def word(memory, present, said):
    """The node's word, as the holding that it stands at then; None if it waits."""
    heard = {str(number): real_vote(vote) for number, vote in enumerate(said)}
    found = memory.first_word(real(present), heard)
    if isinstance(found, Word):
        return present if found is Word.FREE else None
    seq = present[0] + 1
    return small(Holding(seq, found.sender, found.owner, real((0, -1, 0, Status.HELD)).status))


def real_vote(vote):
    if vote is None:
        return None
    seq, sender, owner = vote
    return seq, Vote(OWNERS[sender].owner, OWNERS[owner].owner)


def allowed(n, present, said, status):
    """All that the model allows, whomever of those it heard it goes by."""
    found = set()
    for read in combinations(said, rule.must_read(n)):
        seen = [(*vote, status) if vote else ISSUED for vote in read]
        found |= set(rule.first_words(present, seen, n))
    return found


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("status", [Status.HELD, SETTLED])
def test_every_first_word(n, status):
    """Everything that the others can have said; who of them said it makes no difference."""
    memory = a_memory(n)
    assert memory.must_read == rule.must_read(n)
    words = set()
    for heard in range(n):
        for present, said in product(ADOPTED, combinations_with_replacement(SAID, heard)):
            found = word(memory, present, said)
            may = allowed(n, present, said, status)
            assert (found is None) == (not may), (present, said)
            assert found is None or found in may, (present, said)
            words.add(found)
    assert {None, ISSUED, (1, 0, 1, Status.HELD), (3, 2, 1, Status.HELD)} <= words


def test_seven_first_words():
    """Seven servers: it reads four of six, and two of those who spoke may lie."""
    memory = a_memory(7)
    few = [None, (1, 0, 1), (1, 0, 2), (2, 1, 2)]
    for present, said in product(ADOPTED[:2], combinations_with_replacement(few, 6)):
        found = word(memory, present, said)
        may = allowed(7, present, said, SETTLED)
        assert (found is None) == (not may)
        assert found is None or found in may


def test_it_needs_to_have_read_enough():
    for n in range(2, 8):
        assert word(a_memory(n), ISSUED, [None] * (rule.must_read(n) - 1)) is None
        assert word(a_memory(n), ISSUED, [None] * rule.must_read(n)) == ISSUED


def test_what_it_took_itself_it_knows():
    """It holds something only if its store has it: then it is no first word at that seq.

    The model's holding of an old copy is more: whatever is newer may contradict it, so that it
    waits. In the node such a store is set aside with its key, and nothing of it is left.
    """
    memory = a_memory(3)
    present = (1, 0, 1, Status.HELD)
    for said in product(SAID, repeat=2):
        found = word(memory, present, said)
        assert found in {None, present}  # it joins nobody while it holds something itself
        assert (found is None) == any(vote is not None and vote[0] > 1 for vote in said)
