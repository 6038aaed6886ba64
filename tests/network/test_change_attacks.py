"""What would lose a customer's notes, keep them for ever, or blame somebody who is honest."""

import asyncio
import contextlib
import time

import msgspec
import pytest
from fake_server import FakeServer
from servers import TEST, Mesh, run, signed, submit, until
from till import SMALL, Customer, owner_of, place, till, wallet, with_limits

from billots.change_book import ChangeBook
from billots.change_listening import ChangeListener
from billots.change_wire import NAMES, Drop, Dropped, Offer, Quoted
from billots.crypto import PrivateKey
from billots.errors import InputError, Refused
from billots.exchange_proof import Became, Proof, decode_proof
from billots.exchanging import Outcome
from billots.journal import Journal
from billots.messages import Accepted
from billots.network import Network
from billots.quote import Quote
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


def given_away(tmp_path, owner):
    """The transfers that the wallet signed."""
    with Journal.open(owner, tmp_path / "wallet") as journal:
        return [entry.transfer for entry in journal.entries]


async def moves_to_itself(mesh, key, note, *seqs):
    """Another wallet with this key, on another machine, moves a note about."""
    for seq in seqs:
        await submit(mesh.hosts[0], signed(key, key, (note, seq)))
        await mesh.settled(note, seq, key)


# -- what the quote doesn't name -------------------------------------------------------------------


@pytest.mark.parametrize("moves", [1, 2, 3, 4])
def test_attack_notes_that_moved_since_they_were_quoted_are_not_given(tmp_path, moves):
    """At another seq than the quote's nothing is owed for them."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            offered = await mine.quote_change("0.35", place(listener))
            await moves_to_itself(mesh, key, note, *range(2, 2 + moves))
            found = await mine.exchange(offered)
            assert found.outcome is Outcome.NOT_GIVEN
            assert given_away(tmp_path, key.owner) == []
            assert (await mine.list_billots()).total_mils == 10_000
            assert await mine.finish_exchanges() == []

    playing(tmp_path, play)


def test_attack_notes_that_move_while_they_are_given_are_not_signed_at_another_seq(
    tmp_path, monkeypatch
):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            offered = await mine.quote_change("0.35", place(listener))
            from billots import exchanging

            send = exchanging.send

            async def later(*args, **more):
                await moves_to_itself(mesh, key, note, 2)
                return await send(*args, **more)

            monkeypatch.setattr(exchanging, "send", later)
            with pytest.raises(InputError, match="moved since they were quoted"):
                await mine.exchange(offered)
            assert given_away(tmp_path, key.owner) == []

    playing(tmp_path, play)


class PromisesTwice(ChangeListener):
    """Its second quote promises the notes of its first; it gives them once, when it has both."""

    first = None

    async def _result(self, method, params, address):
        server = self.server
        if method == "offer":
            return Offer((("e-", 4), ("f-", 8), ("g-", 8), ("h-", 8), ("i-", 8)))
        if method == "quote" and self.first is not None:
            return Quoted(
                Quote.sign(
                    server.key,
                    network_id=TEST.id,
                    customer=params.customer,
                    pay=PrivateKey.generate().owner,
                    until=2**33,
                    give=params.give,
                    get=self.first.quote.get,
                ),
                60,
            )
        said = await super()._result(method, params, address)
        if method == "quote":
            self.first = said
        return said


@pytest.mark.parametrize("when", ["one after the other", "at once"])
def test_attack_one_change_that_is_promised_for_two_notes_is_paid_with_one(tmp_path, when):
    """Two shells ask at once; what would come for both is one transfer, and nothing is owed."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, _ = await owner_of(mesh, tmp_path / "key", {"d-": 2})
        async with till(tmp_path, mesh, PromisesTwice) as listener:
            one, two = wallet(tmp_path, mesh), wallet(tmp_path, mesh)
            first = await one.quote_change("0.35", place(listener))
            listener.server._quoted.clear()
            second = await two.quote_change("0.35", place(listener))
            assert first.quote.id != second.quote.id
            assert first.quote.get == second.quote.get
            if when == "at once":
                found = await asyncio.gather(one.exchange(first), two.exchange(second))
            else:
                found = [await one.exchange(first), await two.exchange(second)]
            refused = [each for each in found if isinstance(each, NoExchange)]
            assert len(refused) == 1
            assert refused[0].reason == "another exchange of this wallet was quoted the same notes"
            assert len(given_away(tmp_path, key.owner)) == 1

    playing(tmp_path, play)


# -- liars in the change server's own list ---------------------------------------------------------


def test_attack_a_first_server_that_passes_nothing_on_keeps_no_change(tmp_path):
    """The change, and what came in for it: one of four says that it took them, and tells nobody."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with FakeServer() as liar:

            def takes(params, _said):
                transfer = params.transfer
                for billot, seq in transfer.billots:
                    liar.own(billot, seq, transfer.sender, transfer.to)
                ids = [billot for billot, _ in transfer.billots]
                return Accepted(True, transfer.id, liar.statement(ids, params.nonce))

            liar.behaviour["transfer"] = takes
            trusted = [str(liar.host), *mesh.hosts]
            limits = with_limits(final_s=0.5, again_s_max=0.2)
            async with till(tmp_path, mesh, trusted=trusted, limits=limits) as listener:
                found = await wallet(tmp_path, mesh).change("0.35", place(listener), lambda _: True)
                assert found.outcome is Outcome.CHANGED

                async def ask():
                    return [entry.closed for entry in listener.server._book]

                await until(ask, all)

    playing(tmp_path, play, 3)


MAIN = Network.shipped("main")


def promised_elsewhere(home, key, customer, note):
    """A book in which change on another network was decided on, and has not left."""
    with contextlib.closing(ChangeBook.open(key.owner, home / "data")) as book:
        fresh = PrivateKey.generate()
        quote = Quote.sign(
            key,
            network_id=MAIN.id,
            customer=customer.owner,
            pay=fresh.owner,
            until=2**33,
            give=[("d-1", 1)],
            get=[(note, 1)],
        )
        entry = book.quoted(quote, "ab" * 32, fresh)
        paid = Transfer.sign(MAIN, customer, fresh.owner, quote.give)
        book.paid(entry, paid)
        book.answer(entry, "change", Transfer.sign(MAIN, key, customer.owner, quote.get))
    return quote, paid


def test_attack_what_was_promised_on_another_network_is_not_given_on_this_one(tmp_path):
    """The same ids have moved further here: the change of there must not look like given."""

    async def play(mesh):
        float_key, (moved, *_) = await owner_of(mesh, tmp_path / "float", {"e-": 8})
        customer, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        await moves_to_itself(mesh, float_key, moved, 2, 3, 4)
        quote, paid = promised_elsewhere(tmp_path, float_key, customer, moved)
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, customer)
            with pytest.raises(Refused) as caught:
                await me.redeem(quote, paid)
            assert NAMES[caught.value.code] == "wrong_network"
            here = await me.quote([(note, 2)], [("e-", 2)])
            assert (await me.redeem(here, await me.give(here))).kind == "change"

            async def ask():
                return listener.server._book.find(here.id).closed

            await until(ask, bool)
            there = listener.server._book.find(quote.id)
            assert (there.given, there.sweep, there.closed) == (False, None, False)

    playing(tmp_path, play)


# -- proofs against an honest change server --------------------------------------------------------


async def paid_in_secret(tmp_path, mesh, listener):
    """A customer who pays a quote that has ended, and never asks for his change: his proof."""
    key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
    me = Customer(mesh, listener, key)
    quote = await me.quote([(note, 2)], [("e-", 2)])
    await me.call("drop", Drop(quote), Dropped)
    transfer = await me.give(quote)
    return msgspec.json.encode(Proof(quote, transfer))


def test_attack_who_pays_and_never_asks_for_change_frames_nobody_who_is_shown_the_proof(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        judge = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            proof = await paid_in_secret(tmp_path, mesh, listener)
            before = await judge.check_proof(proof)
            assert (before.became, before.shown) == (Became.KEPT, None)
            checked = await judge.check_proof(proof, change_server=place(listener))
            assert checked.became is Became.CHANGED
            assert checked.shown == "it says that it has answered with a change"
            assert not checked.is_owed

    playing(tmp_path, play, 2)


def test_attack_who_pays_late_and_never_asks_has_his_change_soon_all_the_same(tmp_path):
    """A change server looks again at what it has quoted lately: nobody has to be asked."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        async with till(tmp_path, mesh, limits=with_limits(refresh_s=0.1)) as listener:
            proof = decode_proof(await paid_in_secret(tmp_path, mesh, listener))

            async def ask():
                return listener.server._book.find(proof.quote.id).closed

            await until(ask, bool)
            checked = await wallet(tmp_path, mesh).check_proof(msgspec.json.encode(proof))
            assert checked.became is Became.CHANGED

    playing(tmp_path, play)


def test_attack_a_proof_shown_to_another_change_server_or_to_nobody_stays_one(tmp_path):
    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        await owner_of(mesh, tmp_path / "other" / "float", SMALL)
        judge = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            proof = await paid_in_secret(tmp_path, mesh, listener)
        async with till(tmp_path / "other", mesh) as other:
            checked = await judge.check_proof(proof, change_server=place(other))
            assert (checked.became, checked.is_owed) == (Became.KEPT, True)
            assert "another key" in checked.shown
        checked = await judge.check_proof(proof, change_server=place(other))
        assert (checked.became, checked.is_owed) == (Became.KEPT, True)
        assert "can't reach" in checked.shown

    playing(tmp_path, play)


@pytest.mark.parametrize("offline", [True, False])
def test_attack_a_quote_whose_transfer_was_never_sent_is_owed_nothing(tmp_path, offline):
    """Both signatures hold, and that is all: nobody has given anything."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh) as listener:
            me = Customer(mesh, listener, key)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            proof = msgspec.json.encode(Proof(quote, me.payment(quote)))
        checked = await wallet(tmp_path, mesh).check_proof(proof, offline=offline)
        assert checked.became is (None if offline else Became.NOT_GIVEN)
        assert checked.fault is None
        assert not checked.is_owed

    playing(tmp_path, play)


# -- floods ----------------------------------------------------------------------------------------


def test_attack_a_network_of_ipv6_addresses_counts_as_one_for_change_as_well(tmp_path):
    """What `group_of` makes of an address is what has connections and unpaid quotes."""

    async def play(mesh):
        await owner_of(mesh, tmp_path / "float", SMALL)
        key, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        async with till(tmp_path, mesh, host="::1") as listener:
            me = Customer(mesh, listener, key)
            me.at = f"[::1]:{listener.port}"
            await me.quote([(note, 2)], [("e-", 2)])
            assert [*listener.server._tokens._used] == ["::/64"], "and not ::1"

    playing(tmp_path, play)


def test_attack_old_quotes_without_end_do_not_keep_customers_waiting_after_a_start(tmp_path):
    """Each that nobody paid is looked at once more: behind those whose customers are there."""

    async def play(mesh):
        float_key, _ = await owner_of(mesh, tmp_path / "float", SMALL)
        customer, (note,) = await owner_of(mesh, tmp_path / "key", {"d-": 1})
        fresh, ended = PrivateKey.generate(), int(time.time()) - 100
        with contextlib.closing(ChangeBook.open(float_key.owner, tmp_path / "data")) as book:
            for number in range(500):
                quote = Quote.sign(
                    float_key,
                    network_id=TEST.id,
                    customer=customer.owner,
                    pay=fresh.owner,
                    until=ended,
                    give=[("d-2000", 1 + number)],
                    get=[("e-2000", 1)],
                )
                book.quoted(quote, f"{number:064x}", fresh)
        limits = with_limits(exchanges_max=1)
        async with till(tmp_path, mesh, limits=limits) as listener:
            me = Customer(mesh, listener, customer)
            quote = await me.quote([(note, 2)], [("e-", 2)])
            transfer = await me.give(quote)
            waiting = len(listener.server._work._answering)
            assert (await me.redeem(quote, transfer)).kind == "change"
            assert waiting > 100
            assert len(listener.server._work._answering) > waiting - 100

    playing(tmp_path, play)
