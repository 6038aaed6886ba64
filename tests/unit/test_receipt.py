"""Receipts: what signed votes settle, for whom, and every way to have more of them than one has."""

import msgspec
import pytest

from billots.crypto import PrivateKey, verify
from billots.errors import BillotIdError, InputError
from billots.feed import AdoptedRow, FeedBatch, TransferRow
from billots.holding import Holding, Status
from billots.network import Network
from billots.receipt import (
    Electorate,
    FeedVote,
    Receipt,
    SignedVote,
    checks,
    decode_receipt,
    judge,
    trimmed,
)
from billots.statement import Statement
from billots.transfer import Transfer

TEST, MAIN = Network.shipped("test"), Network.shipped("main")
ALICE, BOB, CAROL, *SERVERS = (PrivateKey(bytes([n]) * 32) for n in range(1, 20))
STRANGER = PrivateKey(b"\x63" * 32)
ROW = ("a-7", 5)
ROWS = (ROW, ("b-2", 3))
TRANSFER = Transfer.sign(TEST, ALICE, BOB.owner, ROWS)
NONCE = "0123456789abcdef"
HELD, SETTLED = Status.HELD, Status.SETTLED


def statement(key, *rows, sender=ALICE, owner=BOB, status=HELD, network=TEST):
    """A vote by a statement on (billot, seq) rows."""
    said = [(b, Holding(seq, sender.owner, owner.owner, status)) for b, seq in rows or [ROW]]
    made = Statement.make(network, key.public_hex, said).sign(key, NONCE)
    return SignedVote(statement=made.signed())


def fed(key, row=None, network=TEST, others=3):
    """A vote by one row of a feed batch, with other rows around it."""
    around = [TransferRow(n + 1, f"{n:064x}") for n in range(others)]
    row = row or TransferRow(others + 1, TRANSFER.id)
    batch = FeedBatch.sign(network.id, key, [*around, row])
    return SignedVote(feed=FeedVote.of(batch, others))


def adopted(key, billot="a-7", seq=5, sender=ALICE, owner=BOB):
    return fed(key, AdoptedRow(9, billot, seq, sender.owner, owner.owner))


def receipt(*votes, transfer=TRANSFER):
    return Receipt(transfer, tuple(votes))


def list_of(n, own=None, retired=()):
    entries = {key.public_hex: f"s{i}" for i, key in enumerate(SERVERS[:n])}
    return Electorate(n, entries, dict(retired), own=own and own.public_hex)


def settles(given, electorate, **how):
    return judge(given, electorate, [verify(*check) for check in checks(given)], **how)


# -- a quorum ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "q"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 5), (10, 7)])
def test_a_quorum_of_votes_settles_and_one_less_does_not(n, q):
    votes = [statement(key) for key in SERVERS[:q]]
    assert settles(receipt(*votes), list_of(n)) == [ROW]
    if q > 1:
        assert settles(receipt(*votes[:-1]), list_of(n)) == []


def test_statements_and_feed_rows_mix():
    first, second, third, fourth = SERVERS[:4]
    given = receipt(statement(first), fed(second), adopted(third))
    assert settles(given, list_of(4)) == [ROW]
    # A bare id in a feed is a vote for every row of the transfer; named billots only for those.
    only = TransferRow(8, TRANSFER.id, ("b-2",))
    both = receipt(*(fed(key) for key in (first, second)), fed(third, only), fed(fourth, only))
    assert settles(both, list_of(4)) == [ROWS[1]]
    assert settles(receipt(fed(first), fed(second), fed(third)), list_of(4)) == list(ROWS)


@pytest.mark.parametrize("others", [0, 1, 2, 6, 255])
def test_a_row_anywhere_in_a_batch_leads_to_its_root(others):
    vote = fed(SERVERS[0], others=others)
    assert vote.feed.leads_to_root
    assert settles(receipt(vote), list_of(1)) == list(ROWS)


def test_a_large_receipt_settles_only_the_rows_that_have_a_quorum():
    rows = [(f"k-{n}", 1) for n in range(1, 257)]
    large = Transfer.sign(TEST, ALICE, BOB.owner, rows)
    wholly = fed(SERVERS[0], TransferRow(4, large.id))
    some = fed(SERVERS[1], TransferRow(4, large.id, tuple(b for b, _ in rows[10:50])))
    most = statement(SERVERS[2], *rows[:40])
    given = receipt(wholly, some, most, transfer=large)
    assert settles(given, list_of(4)) == rows[10:40]
    assert settles(given, list_of(3)) == rows[:50]


def test_what_disputed_or_contested_servers_signed_are_votes_all_the_same():
    votes = (statement(k, status=s) for k, s in zip(SERVERS, Status, strict=False))
    assert settles(receipt(*votes), list_of(4)) == [ROW]


def test_a_receipt_comes_back_from_its_json():
    given = receipt(statement(SERVERS[0]), fed(SERVERS[1]), adopted(SERVERS[2]))
    assert decode_receipt(msgspec.json.encode(given)) == given
    given.check(TEST)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[" * 99_999, b'"\xff"', b'{"transfer":{},"votes":[]}', b"null"]
)
def test_what_is_no_receipt_is_an_input_error(text):
    with pytest.raises(InputError, match="not a receipt"):
        decode_receipt(text)


def test_a_receipt_has_at_least_one_vote_and_at_most_256():
    vote = statement(SERVERS[0])
    for votes in ((), (vote,) * 257):
        with pytest.raises(InputError):
            decode_receipt(msgspec.json.encode(receipt(*votes)))


# -- who is counted twice ----------------------------------------------------------------------


def test_attack_two_votes_of_one_key_count_once():
    first, second = SERVERS[:2]
    same = [statement(first), statement(first, status=SETTLED), fed(first), adopted(first)]
    assert settles(receipt(*same), list_of(2)) == []
    assert settles(receipt(*same), list_of(4)) == []
    assert settles(receipt(*same, statement(second)), list_of(2)) == [ROW]


def test_attack_two_keys_of_one_entry_count_once():
    keys = [key.public_hex for key in SERVERS[:4]]
    entries = {keys[0]: "one", keys[1]: "one", keys[2]: "two", keys[3]: "three"}
    votes = [statement(key) for key in SERVERS[:3]]
    assert settles(receipt(*votes[:2]), Electorate(3, entries)) == []
    assert settles(receipt(*votes), Electorate(3, entries)) == [ROW]


def test_attack_votes_of_strangers_count_for_nothing():
    votes = [statement(STRANGER), fed(STRANGER), statement(SERVERS[9])]
    assert settles(receipt(*votes), list_of(1)) == []
    assert settles(receipt(*votes, statement(SERVERS[0])), list_of(2)) == []


def test_retired_keys_count_for_four_and_more_and_at_most_f_of_them():
    def retired(*pairs):
        return [(SERVERS[key].public_hex, f"s{entry}") for key, entry in pairs]

    votes = [statement(SERVERS[0]), statement(SERVERS[1])]
    old = [statement(key) for key in SERVERS[10:13]]
    four = list_of(4, retired=retired((10, 2)))
    assert settles(receipt(*votes, old[0]), four) == [ROW]
    both = list_of(4, retired=retired((10, 2), (11, 3)))
    assert settles(receipt(votes[0], *old[:2]), both) == [], "f is 1 of 4"
    seven = list_of(7, retired=retired((10, 4), (11, 5), (12, 6)))
    three = [*votes, statement(SERVERS[2])]
    assert settles(receipt(*three, *old[:2]), seven) == [ROW]
    assert settles(receipt(*votes, *old), seven) == [], "f is 2 of 7"


def test_attack_a_retired_key_below_four_servers_counts_for_nothing():
    for n in (1, 2, 3):
        one = list_of(n, retired=[(SERVERS[10].public_hex, f"s{n - 1}")])
        votes = [statement(key) for key in SERVERS[: n // 2]]
        assert settles(receipt(*votes, statement(SERVERS[10])), one) == []


def test_attack_a_retired_key_beside_its_entrys_present_key_is_no_vote_more():
    four = list_of(4, retired=[(SERVERS[10].public_hex, "s1"), (SERVERS[11].public_hex, "s1")])
    votes = [statement(key) for key in (*SERVERS[:2], SERVERS[10], SERVERS[11])]
    assert settles(receipt(*votes), four) == []


def test_attack_a_key_that_moved_from_one_entry_to_another_counts_for_one():
    moved = SERVERS[1].public_hex  # the key of s1 now, and once that of s2
    four = list_of(4, retired=[(moved, "s2")])
    assert settles(receipt(statement(SERVERS[0]), statement(SERVERS[1])), four) == []


def test_attack_one_retired_key_of_two_entries_counts_once():
    seven = list_of(7, retired=[(SERVERS[10].public_hex, "s5"), (SERVERS[10].public_hex, "s6")])
    votes = [statement(key) for key in (*SERVERS[:3], SERVERS[10])]
    assert settles(receipt(*votes), seven) == []


# -- votes for something else ------------------------------------------------------------------

ELSE = {
    "another from": statement(SERVERS[0], sender=CAROL),
    "another owner": statement(SERVERS[0], owner=CAROL),
    "a later seq": statement(SERVERS[0], ("a-7", 6)),
    "an earlier seq": statement(SERVERS[0], ("a-7", 4)),
    "another billot": statement(SERVERS[0], ("a-8", 5)),
    "a billot of no row": adopted(SERVERS[0], "a-8"),
    "adopted from another": adopted(SERVERS[0], sender=CAROL),
    "adopted for another": adopted(SERVERS[0], owner=CAROL),
    "adopted at another seq": adopted(SERVERS[0], seq=6),
    "another transfer": fed(SERVERS[0], TransferRow(9, "0" * 64)),
    "other billots of it": fed(SERVERS[0], TransferRow(9, TRANSFER.id, ("c-1",))),
}


@pytest.mark.parametrize("vote", ELSE.values(), ids=ELSE)
def test_attack_a_vote_for_something_else_is_none_for_this(vote):
    assert receipt(vote).words() == []
    assert checks(receipt(vote)) == [TRANSFER.check_arguments]
    assert settles(receipt(vote, statement(SERVERS[1])), list_of(2)) == []


def test_attack_a_silent_row_that_names_an_owner_is_no_vote():
    for status in (Status.UNKNOWN, Status.UNISSUED):
        assert settles(receipt(statement(SERVERS[0], status=status)), list_of(1)) == []


def test_attack_a_statement_of_another_network_is_an_error():
    with pytest.raises(InputError, match="another network"):
        receipt(statement(SERVERS[0], network=MAIN)).words()


def test_attack_a_feed_row_of_another_network_is_not_signed():
    assert settles(receipt(fed(SERVERS[0], network=MAIN)), list_of(1)) == []


def test_attack_a_transfer_of_another_network_or_of_no_billot_is_an_error():
    with pytest.raises(InputError, match="another network"):
        receipt(statement(SERVERS[0])).check(MAIN)
    beyond = msgspec.structs.replace(TRANSFER, billots=(("a-10001", 5),))
    with pytest.raises(BillotIdError):
        receipt(statement(SERVERS[0]), transfer=beyond).check(TEST)


# -- votes that nobody signed ------------------------------------------------------------------


def change(vote, **changes):
    return SignedVote(feed=msgspec.structs.replace(vote.feed, **changes))


GOOD = fed(SERVERS[0])
NOT_IN_BATCH = {
    "another row": change(GOOD, row=f"4 {'1' * 64}"),
    "another lsn": change(GOOD, row=f"5 {TRANSFER.id}"),
    "another place": change(GOOD, index=2),
    "a place beyond": change(GOOD, index=4),
    "another count": change(GOOD, count=5),
    "a path too short": change(GOOD, path=GOOD.feed.path[:1]),
    "a path too long": change(GOOD, path=(*GOOD.feed.path, "0" * 64)),
    "no path": change(GOOD, path=()),
    "another path": change(GOOD, path=GOOD.feed.path[::-1]),
    "another root": change(GOOD, root="0" * 64),
}


@pytest.mark.parametrize("vote", NOT_IN_BATCH.values(), ids=NOT_IN_BATCH)
def test_attack_a_row_that_is_not_in_its_batch_is_an_error(vote):
    with pytest.raises(InputError, match="not in its batch"):
        receipt(vote).words()


@pytest.mark.parametrize("row", ["", "x", f"0 {TRANSFER.id}", f"4  {TRANSFER.id}", "4 adopted a-7"])
def test_attack_a_row_that_is_none_is_an_error(row):
    with pytest.raises(InputError):
        receipt(change(GOOD, row=row)).words()


def test_attack_a_vote_is_a_statement_or_a_feed_row_never_both_or_neither():
    for vote in (
        SignedVote(statement=statement(SERVERS[0]).statement, feed=GOOD.feed),
        SignedVote(),
    ):
        with pytest.raises(InputError, match="a statement or a feed row"):
            receipt(vote).words()


def test_attack_bad_signatures_are_no_votes():
    good, bad = statement(SERVERS[1]), "0" * 128
    forged = SignedVote(statement=msgspec.structs.replace(good.statement, signature=bad))
    renamed = SignedVote(
        statement=msgspec.structs.replace(good.statement, server=SERVERS[0].public_hex)
    )
    for vote in (forged, renamed, change(GOOD, signature=bad)):
        assert settles(receipt(vote), list_of(2)) == []
        assert settles(receipt(vote, good), list_of(2)) == []
        assert settles(receipt(vote, good, statement(SERVERS[0])), list_of(2)) == [ROW]


def test_attack_a_transfer_that_its_owner_did_not_sign_settles_nothing():
    forged = msgspec.structs.replace(TRANSFER, signature="0" * 128)
    assert settles(receipt(statement(SERVERS[0]), transfer=forged), list_of(1)) == []
    assert judge(receipt(statement(SERVERS[0])), list_of(1), []) == []
    mallory = Transfer.sign(TEST, CAROL, BOB.owner, ROWS)
    assert settles(receipt(statement(SERVERS[0]), transfer=mallory), list_of(1)) == []


# -- claims ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "claims"), [(2, 2), (3, 2), (4, 2), (7, 3), (10, 4)])
def test_claims_that_it_is_settled_settle_for_a_server(n, claims):
    said = [statement(key, status=SETTLED) for key in SERVERS[1 : claims + 1]]
    if claims < n:
        assert settles(receipt(*said), list_of(n, own=SERVERS[0])) == [ROW]
    assert settles(receipt(*said[:-1]), list_of(n, own=SERVERS[0])) == []


def test_a_feed_row_that_says_adopted_is_a_claim_and_a_taken_transfer_is_none():
    four = list_of(7, own=SERVERS[0])
    assert settles(receipt(*(adopted(key) for key in SERVERS[1:4])), four) == [ROW]
    assert settles(receipt(*(fed(key) for key in SERVERS[1:4])), four) == []


def test_attack_claims_are_no_votes_for_a_payee():
    said = [statement(key, status=SETTLED) for key in SERVERS[1:4]]
    assert settles(receipt(*said), list_of(7), by_claims=False) == []


def test_attack_own_claims_do_not_count():
    said = [statement(key, status=SETTLED) for key in SERVERS[:2]]
    assert settles(receipt(*said), list_of(4, own=SERVERS[0])) == []


def test_attack_claims_of_one_key_or_entry_or_of_strangers_count_once_or_never():
    one = SERVERS[1]
    said = [statement(one, status=SETTLED), adopted(one), statement(STRANGER, status=SETTLED)]
    assert settles(receipt(*said), list_of(4, own=SERVERS[0])) == []


# -- shortened ---------------------------------------------------------------------------------


def test_a_trimmed_receipt_has_votes_of_the_trusted_keys_alone():
    given = receipt(statement(SERVERS[0]), fed(STRANGER), fed(SERVERS[1]))
    kept = trimmed(given, {key.public_hex for key in SERVERS})
    assert [*kept.votes] == [given.votes[0], given.votes[2]]
    assert settles(kept, list_of(2)) == [ROW]
    assert trimmed(given, {"0" * 64}) is None


def test_attack_an_empty_vote_does_not_push_a_good_one_out_of_a_trimmed_receipt():
    key = SERVERS[0]
    given = receipt(statement(key, ("a-8", 1)), statement(key), statement(key, ("b-2", 3)))
    kept = trimmed(given, {key.public_hex})
    assert settles(kept, list_of(1)) == list(ROWS)
    good = statement(key)
    forged = SignedVote(statement=msgspec.structs.replace(good.statement, signature="0" * 128))
    both = receipt(forged, good)
    held = [verify(*check) for check in checks(both)]
    assert trimmed(both, {key.public_hex}, held).votes == (good,)


def test_a_trimmed_receipt_keeps_a_claim_that_follows_a_vote_and_drops_repeats():
    key = SERVERS[0]
    given = receipt(statement(key), adopted(key), statement(key), fed(key))
    kept = trimmed(given, {key.public_hex})
    assert kept.votes == (given.votes[0], given.votes[1], given.votes[3])
    assert [bool(word.claims) for word in kept.words()] == [False, True, False]
