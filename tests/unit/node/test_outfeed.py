"""Our own feed: when it is signed, and what fits."""

import msgspec
import pytest
from network import ANN, BOB, MINT, NET, STRANGER, sign

from billots.feed import FeedBatch, TransferRow
from billots.node.outfeed import OutFeed, rows_of, rows_of_kept
from billots.store import Entry, EntryRow, NewEntry

FRAME = 128 * 1024


@pytest.fixture
def outfeed():
    return OutFeed(NET.id, STRANGER, 0, feed_every_s=0.05, frame_bytes_max=FRAME)


def entry(lsn, *, here=False, adopted=False, size=1, only=None):
    transfer = sign(
        MINT,
        ANN,
        *[(f"a-{lsn + 1000 * n}" if size < 9 else f"a-{lsn * 300 + n}", 1) for n in range(size)],
    )
    rows = [EntryRow(billot, seq, None) for billot, seq in transfer.billots]
    return NewEntry(lsn, transfer, tuple(rows[:only]), adopted, here)


def params(frame):
    assert len(frame) <= FRAME
    message = msgspec.json.decode(frame)
    assert message["method"] == "feed"
    return msgspec.convert(message["params"], FeedBatch)


def test_signed_at_once_when_idle_then_every_50_ms(outfeed):
    assert (outfeed.next_at, outfeed.due(1.0)) == (None, [])
    outfeed.add(entry(1), None)
    assert outfeed.next_at == float("-inf")
    assert [signed.last for signed in outfeed.due(1.0)] == [1]
    outfeed.add(entry(2), None)
    outfeed.add(entry(3), None)
    assert outfeed.next_at == 1.05
    assert outfeed.due(1.04) == []
    (signed,) = outfeed.due(1.05)
    assert (signed.after, signed.last, outfeed.position) == (1, 3, 3)
    assert signed.batch.is_signed(NET.id)
    assert outfeed.next_at is None


def test_bodies_travel_only_with_what_came_from_a_wallet_here(outfeed):
    mine, other = entry(1, here=True), entry(2)
    outfeed.add(mine, 5)
    outfeed.add(other, 6)
    (signed,) = outfeed.due(0)
    batch = params(signed.frame())
    assert batch.transfers == (mine.transfer,)
    assert [row.transfer_id for row in batch.parsed()] == [mine.transfer.id, other.transfer.id]
    assert batch.is_signed(NET.id)
    assert signed.sources == {5}


def test_attack_no_body_goes_back_to_the_connection_it_came_from(outfeed):
    outfeed.add(entry(1, here=True), 5)
    outfeed.add(entry(2, here=True), 6)
    (signed,) = outfeed.due(0)
    assert [len(params(signed.frame(conn)).transfers) for conn in (None, 5, 6, 7)] == [2, 1, 1, 2]
    assert params(signed.frame(5)).is_signed(NET.id)


def test_a_batch_has_at_most_256_rows(outfeed):
    for lsn in range(1, 600):
        outfeed.add(entry(lsn), None)
    batches = outfeed.due(0)
    assert [len(signed.batch.rows) for signed in batches] == [256, 256, 87]
    assert [(signed.after, signed.last) for signed in batches] == [(0, 256), (256, 512), (512, 599)]


def test_a_batch_fits_the_frame(outfeed):
    for lsn in range(1, 61):
        outfeed.add(entry(lsn, here=True, size=256), None)
    batches = outfeed.due(0)
    assert len(batches) > 1
    assert sum(len(params(signed.frame()).transfers) for signed in batches) == 60


def test_rows_name_billots_only_if_others_of_the_transfer_are_not_in_them():
    whole, part = entry(1, size=3), entry(2, size=3, only=2)
    assert rows_of(whole) == [TransferRow(1, whole.transfer.id)]
    assert rows_of(part) == [TransferRow(2, part.transfer.id, ("a-2", "a-1002"))]
    kept = Entry(3, whole.transfer, ("a-1001",), adopted=False, here=False)
    assert rows_of_kept(kept) == [TransferRow(3, whole.transfer.id, ("a-1001",))]


def test_an_adopted_row_says_all_of_it():
    transfer = sign(ANN, BOB, "a-1 5", "a-2 7")
    rows = (EntryRow("a-2", 7, None),)
    (row,) = rows_of(NewEntry(4, transfer, rows, adopted=True))
    assert row.text == f"4 adopted a-2 7 {ANN.owner} {BOB.owner}"


def test_each_adopted_row_keeps_its_lsn_whichever_others_are_left():
    transfer = sign(ANN, BOB, "a-1 5", "a-2 7", "a-3 1")
    rows = tuple(EntryRow(billot, seq, None) for billot, seq in transfer.billots)
    whole = rows_of(NewEntry(9, transfer, rows, adopted=True))
    assert [(row.lsn, row.billot) for row in whole] == [(7, "a-1"), (8, "a-2"), (9, "a-3")]
    for live in (("a-1",), ("a-2",), ("a-1", "a-3")):
        left = rows_of_kept(Entry(9, transfer, live, adopted=True, here=False))
        assert left == [row for row in whole if row.billot in live]


def test_a_page_may_begin_in_the_middle_of_an_adopted_entry():
    outfeed = OutFeed(NET.id, STRANGER, 9, feed_every_s=0.05, frame_bytes_max=FRAME)
    transfer = sign(ANN, BOB, "a-1 5", "a-2 7", "a-3 1")
    entry = Entry(9, transfer, ("a-1", "a-2", "a-3"), adopted=True, here=False)
    signed = outfeed.page(7, [entry])
    assert [row.split()[:3] for row in signed.batch.rows] == [
        ["8", "adopted", "a-2"],
        ["9", "adopted", "a-3"],
    ]


def test_a_page_for_one_who_lags_goes_no_further_than_the_live_feed():
    outfeed = OutFeed(NET.id, STRANGER, 2, feed_every_s=0.05, frame_bytes_max=FRAME)
    entries = [
        Entry(lsn, sign(MINT, ANN, f"a-{lsn} 1"), (f"a-{lsn}",), adopted=False, here=lsn == 1)
        for lsn in (1, 2, 3)
    ]
    signed = outfeed.page(0, entries)
    assert (signed.after, signed.last, len(signed.batch.rows)) == (0, 2, 2)
    assert params(signed.frame()).transfers == (entries[0].transfer,)
    assert outfeed.page(2, entries[2:]) is None
    assert outfeed.position == 2


def adopted_entry(last, count, *, first=1):
    transfer = sign(ANN, BOB, *[(f"a-{n}", 5) for n in range(first, first + count)])
    rows = tuple(EntryRow(billot, seq, None) for billot, seq in transfer.billots)
    return NewEntry(last, transfer, rows, adopted=True)


def test_adopted_rows_of_one_entry_may_lie_in_several_batches(outfeed):
    outfeed.add(adopted_entry(256, 256), None)
    outfeed.add(adopted_entry(456, 200, first=300), None)
    batches = outfeed.due(0)
    lsns = [row.lsn for signed in batches for row in signed.batch.parsed()]
    assert lsns == list(range(1, 457))
    assert [(signed.after, signed.last) for signed in batches] == [(0, 256), (256, 456)]
    assert outfeed.position == 456


def test_bodies_of_what_was_adopted_never_travel(outfeed):
    """Those who have the rows ask for them, or have them."""
    entry = adopted_entry(3, 3)
    outfeed.add(entry, 5)
    (signed,) = outfeed.due(0)
    assert params(signed.frame()).transfers == ()
    assert signed.sources == set()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_page_of_an_adopted_entry_begins_after_the_cursor(after):
    outfeed = OutFeed(NET.id, STRANGER, 3, feed_every_s=0.05, frame_bytes_max=FRAME)
    new = adopted_entry(3, 3)
    entry = Entry(3, new.transfer, ("a-1", "a-3"), adopted=True, here=False)
    signed = outfeed.page(after, [entry])
    if after == 3:
        assert signed is None
    else:
        assert [row.lsn for row in signed.batch.parsed()] == [n for n in (1, 3) if n > after]
        assert signed.after == after
