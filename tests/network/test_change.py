"""Change with real servers: quoted, given once, whatever customers do."""

import asyncio
import time
from dataclasses import replace

import pytest
from servers import TEST, USER1, USER2, Mesh, Raw, request, run, signed, submit, until
from till import SMALL, Customer, owner_of, place, till, wallet, with_limits

from billots.change_wire import CODES, NAMES, Drop, Dropped
from billots.errors import Refused
from billots.exchanging import Outcome
from billots.network import Network
from billots.outcomes import NotExact, Payment
from billots.quoting import NoExchange
from billots.transfer import Transfer

pytestmark = pytest.mark.slow


def playing(tmp_path, play, count=1, timeout_s=60):
    async def whole():
        async with Mesh(tmp_path, count) as mesh:
            await mesh.start()
            await mesh.linked()
            return await play(mesh)

    return run(whole(), timeout_s)


def yes(_offered):
    return True


async def refused(awaited):
    """The name of the refusal."""
    with pytest.raises(Refused) as caught:
        await awaited
    return NAMES.get(caught.value.code, caught.value.code)


async def closed(listener, count=1):
    """Wait until so many exchanges are at their end, what came in swept into the float."""

    async def ask():
        return [entry.closed for entry in listener.server._book]

    await until(ask, lambda found: found.count(True) >= count)


async def worth(mesh, path, data_dir):
    """What the servers say that a key has, in mils."""
    there = wallet(path.parent, mesh, path.name, data_dir=data_dir)
    return (await there.list_billots()).total_mils


# -- what it is for ----------------------------------------------------------------------------


def test_notes_are_changed_and_then_the_amount_is_paid(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        me, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            assert isinstance(await mine.pay("0.35", USER2.owner), NotExact)
            seen = []
            changed = await mine.change("0.35", place(listener), lambda o: not seen.append(o))
            assert changed.outcome is Outcome.CHANGED
            (offered,) = seen
            assert offered.fee_mils == 0
            assert [billot for billot, _ in offered.quote.give] == [note]
            assert TEST.total_mils(billot for billot, _ in offered.quote.get) == 10_000
            paid = await mine.pay("0.35", USER2.owner)
            assert isinstance(paid, Payment)
            assert paid.is_final
            await closed(listener)
            assert listener.server.notes.notes[note] == 3, "it came in, and was swept"
            await listener.server.refresh()
            assert listener.server.notes.notes[note] == 3
        assert await worth(mesh, tmp_path / "float", tmp_path / "look") == 71_200
        assert await worth(mesh, tmp_path / "key", tmp_path / "look") == 9_650
        assert await mine.finish_exchanges() == []
        assert me.owner != USER2.owner

    playing(tmp_path, play, 4)


def test_receipts_of_the_change_are_kept(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            changed = await mine.change("0.35", place(listener), yes)
        kept = mine._keeper().store.summary(TEST.id, None)
        assert {billot for billot, _ in changed.offered.quote.get} <= kept.keys()
        assert changed.receipts[0].transfer.to == changed.offered.quote.pay

    playing(tmp_path, play, 3)


def test_a_fee_is_in_the_quote(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh, fee_mils=50) as listener:
            changed = await mine.change("0.35", place(listener), lambda o: o.fee_mils == 50)
            assert changed.outcome is Outcome.CHANGED
        assert await worth(mesh, tmp_path / "key", tmp_path / "look") == 9_950

    playing(tmp_path, play)


def test_nothing_is_given_unless_the_customer_says_so(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            found = await mine.change("0.35", place(listener), lambda _: False)
            assert found.outcome is Outcome.DECLINED
            assert await mine.finish_exchanges() == []
            assert (await mine.change("0.35", place(listener), yes)).outcome is Outcome.CHANGED

    playing(tmp_path, play)


def test_a_quote_that_ended_while_a_person_thought_is_not_paid(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            offered = await mine.quote_change("0.35", place(listener))
            now = asyncio.get_running_loop().time()
            assert offered.ends_at > now
            found = await mine.exchange(replace(offered, ends_at=now))
            assert found.reason == "the quote has ended"
            assert await mine.finish_exchanges() == []
            assert (await mine.list_billots()).total_mils == 10_000

    playing(tmp_path, play)


def test_what_no_exchange_can_make(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"d-": 2})
        await owner_of(mesh, tmp_path / "key", {"c-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            for amount in ("0.35", "21"):
                assert isinstance(await mine.change(amount, place(listener), yes), NoExchange)
            assert not [*listener.server._book]

    playing(tmp_path, play)


def test_many_customers_at_once(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"f-": 60, "e-": 24})
        homes = [tmp_path / f"home{number}" for number in range(6)]
        for home in homes:
            await owner_of(mesh, home / "key", {"d-": 1})
        limits = with_limits(quotes_per_address_max=100)
        async with till(tmp_path, mesh, limits=limits) as listener:
            found = await asyncio.gather(
                *(wallet(home, mesh).change("7", place(listener), yes) for home in homes)
            )
            assert [each.outcome for each in found] == [Outcome.CHANGED] * 6
            await closed(listener, 6)
        got = [billot for each in found for billot, _ in each.offered.quote.get]
        assert len(got) == len(set(got)), "no note was quoted twice"
        for home in homes:
            assert await worth(mesh, home / "key", tmp_path / "look") == 10_000
        assert await worth(mesh, tmp_path / "float", tmp_path / "look") == 180_000

    playing(tmp_path, play)


# -- questions that are refused ------------------------------------------------------------------


def test_attack_questions_for_a_quote_that_are_not_what_they_should_be(tmp_path):
    other_network = Network.shipped("main")

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            thief = Customer(mesh, listener, USER2)
            give, get = [(note, 2)], [("e-", 2)]
            for wanted, quote in (
                ("wrong_network", me.quote(give, get, network=other_network)),
                ("wrong_server", me.quote(give, get, server=USER1.public_key.hex())),
                ("not_equal", me.quote(give, [("e-", 1)])),
                ("not_equal", me.quote(give, [("e-", 3)])),
                ("float_exhausted", me.quote(give, [("h-", 100)])),
                ("bad_request", me.quote([("d-9999999", 1)], get)),
                ("bad_request", me.quote(give, [("zz-", 1)])),
                ("bad_request", me.quote(give, [("e-", 1), ("e-", 1)])),
                ("not_yours", thief.quote(give, get)),
                ("not_yours", me.quote([(note, 1)], get)),
                ("not_yours", me.quote([(note, 3)], get)),
                ("not_yours", me.quote([("d-4", 1)], get)),
                ("bad_request", Customer(mesh, listener, listener.server.key).quote(give, get)),
            ):
                assert await refused(quote) == wanted
            listener.server._tokens.give_back("127.0.0.1")
            forged = me.asking(give, get)
            fields = {"public_key": forged.public_key, "signature": "0" * 128}
            bad = type(forged)(TEST.id, forged.server, forged.give, forged.get, **fields)
            assert await refused(me.call("quote", bad, dict)) == "bad_signature"
            assert not [*listener.server._book]
            assert await me.offer() == {"d-": 2, "e-": 2, "f-": 4, "g-": 4, "h-": 4, "i-": 4}

    playing(tmp_path, play)


def test_the_same_question_is_the_same_quote_and_another_one_waits(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            first = await me.quote([(note, 2)], [("e-", 2)])
            assert await me.quote([(note, 2)], [("e-", 2)]) == first
            assert await refused(me.quote([(note, 2)], [("e-", 1), ("f-", 5)])) == "already_quoted"
            both = await asyncio.gather(
                *(me.quote([(note, 2)], [("e-", 2)]) for _ in range(4)), return_exceptions=True
            )
            assert both == [first] * 4

    playing(tmp_path, play)


def test_attack_a_quote_for_the_billots_of_others_locks_nobody_out(tmp_path):
    """Billots and owner ids are public: only the owner's signature has a quote made out."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            thief = Customer(mesh, listener, USER2)
            assert await refused(thief.quote([(note, 2)], [("e-", 2)])) == "not_yours"
            assert await Customer(mesh, listener, key).quote([(note, 2)], [("e-", 2)])

    playing(tmp_path, play)


def test_attack_a_flood_of_quotes_leaves_notes_for_others(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"f-": 20})
        flood, notes = await owner_of(mesh, tmp_path / "flood", {"f-": 30})
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"f-": 1})
        limits = with_limits(quotes_per_address_max=3)
        async with till(tmp_path, mesh, limits=limits) as listener:
            many = Customer(mesh, listener, flood)
            assert await refused(many.quote([(n, 2) for n in notes[:11]], [("f-", 11)]))
            for start in range(0, 9, 3):
                some = notes[start : start + 3]
                await many.quote([(n, 2) for n in some], [("f-", 3)])
            assert await many.offer() == {"f-": 1}, "half of them, and no more, from one address"
            assert await refused(many.quote([(notes[9], 2)], [("f-", 1)])) == "rate_limited"
            # Another address has the other half to itself.
            asked = Customer(mesh, listener, key).asking([(note, 2)], [("f-", 1)])
            quoted = await listener.server.quote(asked, "192.0.2.7")
            assert quoted.quote.give == ((note, 2),)

    playing(tmp_path, play)


def test_attack_unpaid_quotes_cost_tokens_that_paid_ones_give_back(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"f-": 40})
        key, notes = await owner_of(mesh, tmp_path / "key", {"f-": 6})
        limits = with_limits(quotes_per_address_max=1)
        async with till(tmp_path, mesh, limits=limits) as listener:
            me = Customer(mesh, listener, key)
            for number, note in enumerate(notes, start=1):
                quote = await me.quote([(note, 2)], [("f-", 1)])
                assert (await me.redeem(quote, await me.give(quote))).kind == "change"
                await closed(listener, number)

    playing(tmp_path, play)


# -- payments that are refused, or come late -------------------------------------------------------


def test_asked_again_it_answers_with_the_same_transfer(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            paid = await me.give(quote)
            answers = await asyncio.gather(*(me.redeem(quote, paid) for _ in range(5)))
            assert all(answer == answers[0] for answer in answers)
            assert answers[0].transfer.billots == quote.get
            await closed(listener)
            assert await me.redeem(quote, paid) == answers[0]
        async with till(tmp_path, mesh) as listener:
            assert await Customer(mesh, listener, key).redeem(quote, paid) == answers[0]

    playing(tmp_path, play)


def test_attack_a_replayed_quote_gives_nothing_twice(tmp_path):
    """Who pays again, with the same notes come back to him, pays another seq."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            first = await me.redeem(quote, await me.give(quote))
            await closed(listener)
            await submit(mesh.hosts[0], signed(listener.server.key, key, (note, 4)))
            await mesh.settled(note, 4, key)
            again = Transfer.sign(TEST, key, quote.pay, [(note, 5)])
            await submit(mesh.hosts[0], again)
            await mesh.settled(note, 5, quote.pay)
            assert await refused(me.redeem(quote, again)) == "wrong_transfer"
            assert await me.redeem(quote, me.payment(quote)) == first

    playing(tmp_path, play)


def test_attack_transfers_that_do_not_pay_the_quote(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note, other) = await owner_of(mesh, tmp_path / "key", {"d-": 1, "i-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            forged = Transfer(TEST.id, quote.pay, quote.give, key.public_hex, "0" * 128)
            for wrong in (
                Transfer.sign(TEST, key, quote.pay, [(other, 2)]),
                Transfer.sign(TEST, key, USER2.owner, quote.give),
                Transfer.sign(TEST, USER2, quote.pay, quote.give),
                Transfer.sign(Network.shipped("main"), key, quote.pay, quote.give),
                forged,
            ):
                assert await refused(me.redeem(quote, wrong)) == "wrong_transfer"
            strange = Customer(mesh, listener, key)
            fields = {"network_id": TEST.id, "customer": key.owner, "pay": USER1.owner, "until": 9}
            bogus = type(quote).sign(USER2, **fields, give=quote.give, get=quote.get)
            assert await refused(strange.redeem(bogus, me.payment(quote))) == "unknown_quote"
            assert listener.server._book.find(quote.id).paid is None

    playing(tmp_path, play)


def test_attack_a_customer_who_spends_twice_loses_only_his_own(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        limits = with_limits(final_s=0.3)
        async with till(tmp_path, mesh, limits=limits) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            await submit(mesh.hosts[0], signed(key, USER2, (note, 2)))
            await mesh.settled(note, 2, USER2)
            for _ in range(2):
                assert await refused(me.redeem(quote, me.payment(quote))) == "not_final"
            entry = listener.server._book.find(quote.id)
            assert (entry.answer, entry.given) == (None, False)
        assert await worth(mesh, tmp_path / "float", tmp_path / "look") == 71_200

    playing(tmp_path, play, 3)


def test_attack_change_is_never_given_before_a_quorum_has_what_was_quoted(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        limits = with_limits(final_s=0.3)
        async with till(tmp_path, mesh, limits=limits) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            await mesh.stop(1, 2)
            assert await refused(me.redeem(quote, me.payment(quote))) == "not_final"
            assert listener.server._book.find(quote.id).answer is None
            await mesh.start(1, 2)
            await mesh.linked()
            await mesh.settled(note, 2, quote.pay)
            assert (await me.redeem(quote, me.payment(quote))).kind == "change"

    playing(tmp_path, play, 3)


def later():
    return time.time() + 3600


@pytest.mark.parametrize("asks", [True, False])
def test_a_quote_that_is_paid_late_is_honoured_while_its_notes_are_free(tmp_path, asks):
    """Also if nobody asks for it: a start looks for what came in."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            quote = await Customer(mesh, listener, key).quote([(note, 2)], [("e-", 2)])
        paid = await Customer(mesh, listener, key).give(quote)
        async with till(tmp_path, mesh, now=later) as listener:
            if asks:
                me = Customer(mesh, listener, key)
                assert (await me.redeem(quote, paid)).transfer.billots == quote.get
            await closed(listener)
            for billot, seq in quote.get:
                await mesh.settled(billot, seq, key)

    playing(tmp_path, play)


@pytest.mark.parametrize("asks", [True, False])
def test_a_quote_that_is_paid_late_is_given_back_when_its_notes_are_gone(tmp_path, asks):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"e-": 2, "f-": 1})
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"e-": 1})
        other, (theirs,) = await owner_of(mesh, tmp_path / "other", {"e-": 1})
        async with till(tmp_path, mesh) as listener:
            quote = await Customer(mesh, listener, key).quote([(note, 2)], [("e-", 1)])
        async with till(tmp_path, mesh, now=later) as listener:
            quick = Customer(mesh, listener, other)
            theirs_quote = await quick.quote([(theirs, 2)], [("e-", 1)])
            assert theirs_quote.get == quote.get, "the same note was free again"
            await quick.redeem(theirs_quote, await quick.give(theirs_quote))
            await closed(listener)
            me = Customer(mesh, listener, key)
            paid = await me.give(quote)
            if asks:
                answer = await me.redeem(quote, paid)
                assert (answer.kind, answer.transfer.to) == ("refund", key.owner)
                assert answer.transfer.billots == ((note, 3),)
                await closed(listener, 2)
        if not asks:
            async with till(tmp_path, mesh, now=later) as listener:
                await closed(listener, 2)
        await mesh.settled(note, 3, key)

    playing(tmp_path, play)


def test_a_quote_that_is_dropped_frees_its_notes_and_is_answered_all_the_same(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"e-": 1})
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"e-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 1)])
            assert await me.call("drop", Drop(quote), Dropped) == Dropped(dropped=True)
            assert await me.call("drop", Drop(quote), Dropped) == Dropped(dropped=False)
            assert await me.offer() == {"e-": 1}
            assert (await me.redeem(quote, await me.give(quote))).kind == "change"
            assert await me.call("drop", Drop(quote), Dropped) == Dropped(dropped=False)

    playing(tmp_path, play)


def test_a_quote_that_ends_frees_its_notes(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"e-": 1})
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"e-": 1})
        async with till(tmp_path, mesh, limits=with_limits(valid_s=1)) as listener:
            me = Customer(mesh, listener, key)
            await me.quote([(note, 2)], [("e-", 1)])
            assert await me.offer() == {}
            await until(me.offer, lambda found: found == {"e-": 1})

    playing(tmp_path, play)


def test_attack_notes_that_their_owner_spent_by_hand_are_not_signed_over_twice(tmp_path):
    """`bwallet` with the same key shares the journal: what it signed, no change signs again."""

    async def play(mesh):
        float_key, _ = await owner_of(mesh, tmp_path / "float", {"e-": 2})
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"e-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 1)])
            by_hand = wallet(tmp_path, mesh, "float", data_dir=tmp_path / "data")
            await by_hand.transfer(quote.get[0][0], USER2.owner)
            answer = await me.redeem(quote, await me.give(quote))
            assert answer.kind == "refund"
            await closed(listener)
        assert float_key.owner != USER2.owner

    playing(tmp_path, play)


# -- frames ----------------------------------------------------------------------------------------


def test_attack_frames_that_are_wrong_end_nothing_but_themselves(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"e-": 1})
        async with till(tmp_path, mesh) as listener, await Raw.open(place(listener)) as raw:
            for line, code in (
                (b"{", -32700),
                (b"\xff", -32700),
                (b"[" * 50 + b"]" * 50, -32600),
                (b'{"a":' * 20 + b"1" + b"}" * 20, -32700),
                (b"[" + request(1, "ping") + b"]", -32600),
                (b'{"jsonrpc":"2.0","id":1}', -32600),
                (request(1, "transfer"), -32601),
                (request(1, "quote"), -32602),
                (request(1, "redeem", quote={}, transfer={}), -32602),
                (request(1, "quote", network="\x1b[2J"), -32602),
            ):
                raw.write(line)
                assert (await raw.line())["error"]["code"] == code, line
            raw.write(b'{"jsonrpc":"2.0","method":"ping"}', request("x", "ping"))
            assert await raw.line() == {"jsonrpc": "2.0", "id": "x", "result": "pong"}
            raw.writer.write(request(3, "ping")[:10])
            await raw.writer.drain()
            raw.writer.write(request(3, "ping")[10:] + b"\n" + request(4, "ping") + b"\n")
            assert [line["id"] for line in await raw.lines(2)] == [3, 4]
            raw.writer.write(b"x" * (200 * 1024))
            assert (await raw.line())["error"]["code"] == CODES["frame_too_large"]
            await raw.ended()

    playing(tmp_path, play)


def test_attack_connections_without_end(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"e-": 1})
        limits = with_limits(connections_per_address_max=2, frame_s=0.1)
        async with till(tmp_path, mesh, limits=limits) as listener:
            first, second = [await Raw.open(place(listener)) for _ in range(2)]
            for raw in (first, second):
                raw.write(request(1, "ping"))
                await raw.line()
            third = await Raw.open(place(listener))
            assert (await third.line())["error"]["code"] == CODES["rate_limited"]
            await third.ended()
            first.writer.write(b"{")  # and never its end
            await first.ended()
            second.write(*(request(n, "info") for n in range(200)))
            assert [line["id"] for line in await second.lines(200)] == [*range(200)]
            for raw in (first, second, third):
                raw.writer.close()

    playing(tmp_path, play)


def test_a_request_that_fails_inside_ends_its_own_connection_alone(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", {"e-": 1})
        async with till(tmp_path, mesh) as listener:
            listener.server.offer = lambda _: 1 / 0
            async with await Raw.open(place(listener)) as raw, await Raw.open(place(listener)) as b:
                raw.write(request(1, "offer"))
                assert await raw.ended() == b""
                b.write(request(1, "ping"))
                assert (await b.line())["result"] == "pong"

    playing(tmp_path, play)
