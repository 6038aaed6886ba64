"""Change servers that lie, and what their customers hold then."""

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest
from servers import TEST, USER1, USER2, Mesh, run, signed, submit
from till import SMALL, owner_of, place, sorted_ids, till, wallet

from billots.change_listening import ChangeListener
from billots.change_wire import Info, Offer, Quoted, Redeemed, Refusal
from billots.cli import exchanges
from billots.cli.settings import Settings
from billots.errors import (
    InputError,
    ProtocolError,
    Refused,
    ServerKeyChanged,
    Unreachable,
    WrongNetwork,
)
from billots.exchange_proof import Became, Proof, decode_proof
from billots.exchanging import Outcome
from billots.host import Host
from billots.journal import Journal
from billots.network import Network
from billots.quote import Quote
from billots.transfer import Transfer

pytestmark = pytest.mark.slow

ESCAPE = "\x1b[2J<script>alert(1)</script>"


def playing(tmp_path, play, count=1):
    async def whole():
        async with Mesh(tmp_path, count) as mesh:
            await mesh.start()
            await mesh.linked()
            await owner_of(mesh, tmp_path / "float", SMALL)
            await owner_of(mesh, tmp_path / "key", {"d-": 1})
            return await play(mesh)

    return run(whole())


def given_away(tmp_path, owner):
    """The transfers that the wallet signed."""
    if not [*(tmp_path / "wallet").glob("journal-*")]:
        return []
    with Journal.open(owner, tmp_path / "wallet") as journal:
        return [*journal._entries.values()]


class Liar(ChangeListener):
    """Answers a method in its own way: `lies` has a function of params and the true answer."""

    lies = None

    async def _result(self, method, params, address):
        lie = self.lies.get(method)
        if lie is None:
            return await super()._result(method, params, address)
        return await lie(self, params, lambda: super(Liar, self)._result(method, params, address))


def lying(**lies):
    return type("Lying", (Liar,), {"lies": lies})


async def keeps(listener, params, true):
    """Takes the notes, and says that it is busy."""
    raise Refusal("unavailable", ESCAPE)


# -- the money is given, and no change comes -----------------------------------------------------


async def left_without(tmp_path, mesh, lie=keeps, **settings):
    mine = wallet(tmp_path, mesh, timeout_s=0.4)
    async with till(tmp_path, mesh, lying(redeem=lie)) as listener:
        found = await mine.change("0.35", place(listener), lambda _: True)
        assert found.outcome is Outcome.OPEN
        assert ESCAPE not in found.problem
        (again,) = await mine.finish_exchanges()
        assert again.outcome is Outcome.OPEN
        assert again.transfer == found.transfer, "nothing is given twice"
        assert len(given_away(tmp_path, found.transfer.sender)) == 1
    return mine, found, Proof(found.offered.quote, found.transfer, found.receipts)


def pinned(mesh):
    """The list with its keys, as who checks a proof has to know them."""
    return [f"{s.address}#{s.key}" for s in mesh.servers.values()]


def test_attack_a_change_server_that_keeps_the_money_is_proven_to(tmp_path):
    async def play(mesh):
        _, _, proof = await left_without(tmp_path, mesh)
        data = msgspec.json.encode(proof)
        judge = wallet(tmp_path, mesh, trusted=pinned(mesh), data_dir=tmp_path / "judge")
        offline = await judge.check_proof(data, offline=True)
        assert (offline.fault, offline.is_taken, offline.became) == (None, True, None)
        checked = await judge.check_proof(data)
        assert (checked.fault, checked.is_taken, checked.became) == (None, True, Became.KEPT)
        stranger = wallet(tmp_path, mesh, trusted="a.org:1", data_dir=tmp_path / "judge")
        told = await stranger.check_proof(data, offline=True)
        assert (told.fault, told.is_taken) == (None, False)
        assert "no key of the trusted servers is known" in told.keyless

    playing(tmp_path, play, 4)


def test_attack_a_change_server_that_spends_what_it_was_given(tmp_path):
    """The notes have gone on: the customer's receipts were kept before, and prove it."""

    async def sweeps(listener, params, true):
        entry = listener.server._book.find(params.quote.id)
        quote = params.quote
        rows = [(billot, seq + 1) for billot, seq in quote.give]
        stolen = Transfer.sign(TEST, entry.key, USER2.owner, rows)
        listener.stolen = getattr(listener, "stolen", stolen)
        await submit(str(listener.server.trusted[0]), listener.stolen)
        raise Refusal("unavailable", "")

    async def play(mesh):
        _, _, proof = await left_without(tmp_path, mesh, sweeps)
        judge = wallet(tmp_path, mesh, trusted=pinned(mesh), data_dir=tmp_path / "judge")
        checked = await judge.check_proof(msgspec.json.encode(proof))
        assert (checked.is_taken, checked.became) == (True, Became.KEPT)

    playing(tmp_path, play, 4)


def test_attack_an_answer_that_is_not_what_was_quoted(tmp_path):
    async def others(listener, params, true):
        rows = [(billot, seq) for billot, seq in params.quote.get[:1]]
        wrong = Transfer.sign(TEST, listener.server.key, USER2.owner, rows)
        return Redeemed("change", wrong)

    async def play(mesh):
        _, found, _ = await left_without(tmp_path, mesh, others)
        assert found.problem.endswith("answers with a transfer that is not what it quoted")

    playing(tmp_path, play)


def test_attack_change_that_is_signed_and_never_sent(tmp_path):
    """Whoever has the signed transfer can send it: the customer does."""

    async def unsent(listener, params, true):
        key, quote = listener.server.key, params.quote
        return Redeemed("change", Transfer.sign(TEST, key, quote.customer, quote.get))

    async def play(mesh):
        mine = wallet(tmp_path, mesh, timeout_s=0.4)
        async with till(tmp_path, mesh, lying(redeem=unsent)) as listener:
            found = await mine.change("0.35", place(listener), lambda _: True)
            assert found.outcome is Outcome.CHANGED
            proof = Proof(found.offered.quote, found.transfer, found.receipts)
            assert (await mine.check_proof(msgspec.json.encode(proof))).became is Became.CHANGED

    playing(tmp_path, play)


def test_a_proof_gets_its_receipts_when_they_come_later(tmp_path, monkeypatch, capsys):
    """The first file is written while no quorum has the transfer yet; it is not the last word."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        server=None,
        keyfile=tmp_path / "key",
        trusted=None,
        quorum="safe",
        network=None,
        json=False,
        timeout=1.0,
    )

    async def play(mesh):
        _, found, _ = await left_without(tmp_path, mesh)
        for receipts in ((), found.receipts, ()):
            exchanges._tell(settings, replace(found, receipts=receipts))
        first, last = sorted(tmp_path.glob("quote-*.json"), key=lambda path: len(path.name))[::-1]
        assert decode_proof(first.read_bytes()).receipts == ()
        assert decode_proof(last.read_bytes()).receipts == found.receipts != ()

    playing(tmp_path, play)


def test_a_change_server_that_comes_back_gives_what_it_owes(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh, timeout_s=0.4)

        async def gone(listener, params, true):
            listener.wires.copy().pop().abort()
            raise Refusal("unavailable", "")

        async with till(tmp_path, mesh, lying(redeem=gone)) as listener:
            found = await mine.change("0.35", place(listener), lambda _: True)
            port = listener.port
        assert found.outcome is Outcome.OPEN
        (again,) = await mine.finish_exchanges()
        assert "can't reach" in again.problem
        proof = msgspec.json.encode(Proof(found.offered.quote, found.transfer, found.receipts))
        async with till(tmp_path, mesh) as listener:
            listener.port = port
            checked = await mine.check_proof(proof)
            redeemed = await listener.server.redeem(Proof(found.offered.quote, found.transfer))
            assert redeemed.kind == "change"
        for billot, seq in found.offered.quote.get:
            await mesh.settled(billot, seq, found.offered.quote.customer)
        assert (await mine.check_proof(proof)).became is Became.CHANGED
        assert checked.fault is None
        (ended,) = await mine.finish_exchanges()
        assert ended.outcome is Outcome.CHANGED
        assert await mine.finish_exchanges() == []

    playing(tmp_path, play)


# -- proofs that are none ------------------------------------------------------------------------


def leaves(tree, at=()):
    """Paths to all texts and numbers of a document."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from leaves(value, (*at, name))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, (*at, index))
    else:
        yield at


def changed_at(document, path):
    """A copy in which one leaf is another of its kind."""
    copy = json.loads(json.dumps(document))
    *way, last = path
    place_ = copy
    for step in way:
        place_ = place_[step]
    value = place_[last]
    if isinstance(value, int):
        place_[last] = value + 1
    elif value and value[-1] in "0123456789":
        place_[last] = value[:-1] + str((int(value[-1]) + 1) % 10)
    elif value:
        place_[last] = value[:-1] + ("b" if value[-1] == "a" else "a")
    return copy


def test_attack_a_proof_that_was_altered_anywhere_proves_nothing(tmp_path):
    async def play(mesh):
        _, _, proof = await left_without(tmp_path, mesh)
        document = json.loads(msgspec.json.encode(proof))
        judge = wallet(tmp_path, mesh, trusted=pinned(mesh), data_dir=tmp_path / "judge")
        tried = 0
        for path in leaves(document):
            if path[-1] == "value":
                continue  # for people: nothing goes by it, and nothing signs it
            altered = json.dumps(changed_at(document, path)).encode()
            try:
                checked = await judge.check_proof(altered, offline=True)
            except (InputError, WrongNetwork):
                tried += 1
                continue
            proven = checked.fault is None and checked.is_taken
            assert not proven, path
            tried += 1
        assert tried > 20
        for data in (b"", b"{}", b"[]", b"\xff", b'{"quote":{}}', b"[" * 10_000):
            with pytest.raises(InputError):
                decode_proof(data)

    playing(tmp_path, play, 1)


def test_attack_a_proof_against_somebody_who_signed_nothing(tmp_path):
    """The customer makes up a quote, and pays an owner id of his own with it."""

    async def play(mesh):
        key, (note,) = await owner_of(mesh, tmp_path / "other", {"e-": 1})
        made_up = Quote.sign(
            key,
            network_id=TEST.id,
            customer=key.owner,
            pay=USER2.owner,
            until=0,
            give=[(note, 2)],
            get=[("e-4", 1)],
        )
        accused = "0" * 63 + "1"
        quote = msgspec.structs.replace(made_up, server=accused)
        paid = signed(key, USER2, (note, 2))
        await submit(mesh.hosts[0], paid)
        judge = wallet(tmp_path, mesh)
        checked = await judge.check_proof(msgspec.json.encode(Proof(quote, paid)))
        assert checked.fault == "the change server's signature does not hold"

    playing(tmp_path, play)


def test_a_proof_of_what_was_never_given_is_told_to_be_none(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        quotes = []
        async with till(tmp_path, mesh) as listener:
            await mine.change("0.35", place(listener), lambda o: quotes.append(o.quote))
        (quote,) = quotes
        key = (await mine.owner_hash(), wallet(tmp_path, mesh)._sender(None).key)[1]
        unsent = Transfer.sign(TEST, key, quote.pay, quote.give)
        checked = await mine.check_proof(msgspec.json.encode(Proof(quote, unsent)))
        assert (checked.fault, checked.became) == (None, Became.NOT_GIVEN)

    playing(tmp_path, play)


# -- before anything is given --------------------------------------------------------------------


async def nothing_given(tmp_path, mesh, error, **lies):
    mine = wallet(tmp_path, mesh, timeout_s=1.0)
    asked = []
    async with till(tmp_path, mesh, lying(**lies)) as listener:
        with pytest.raises(error) as caught:
            await mine.change("0.35", place(listener), lambda o: not asked.append(o))
    assert asked == []
    assert given_away(tmp_path, await mine.owner_hash()) == []
    assert ESCAPE not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    return str(caught.value)


def resigned(listener, quote, **changes):
    fields = {
        "network_id": quote.network,
        "customer": quote.customer,
        "pay": quote.pay,
        "until": quote.until,
        "give": quote.give,
        "get": quote.get,
    }
    return Quoted(Quote.sign(**({"key": listener.server.key} | fields | changes)), 60)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("network", "malformed: a quote of another network"),
        ("customer", "not for what was asked"),
        ("give", "not for what was asked"),
        ("fewer", "not for what was asked"),
        ("others", "not for what was asked"),
        ("key", "not for what was asked"),
        ("pay", "malformed: a quote in which two sides are one"),
        ("signature", "did not sign its quote"),
        ("not its own", "billots that aren't its own"),
        ("seq", "billots that aren't its own"),
    ],
)
def test_attack_a_quote_that_is_not_what_was_asked_for(tmp_path, what, words):
    async def lie(listener, params, true):
        quote = (await true()).quote
        (first, _), *rest = quote.get
        changes = {
            "network": {"network_id": "0" * 32},
            "customer": {"customer": USER2.owner},
            "give": {"give": [("d-5", 1)]},
            "fewer": {"get": rest},
            "others": {"get": [("k-1", 1), *rest]},
            "key": {"key": USER1},
            "pay": {"pay": quote.customer},
            "signature": {},
            "not its own": {"get": [(f"{first.partition('-')[0]}-7", 1), *rest]},
            "seq": {"get": [(billot, seq + 1) for billot, seq in quote.get]},
        }
        found = resigned(listener, quote, **changes[what])
        if what == "signature":
            found.quote = msgspec.structs.replace(quote, signature="0" * 128)
        return found

    async def play(mesh):
        said = await nothing_given(tmp_path, mesh, ProtocolError, quote=lie)
        assert words in said

    playing(tmp_path, play)


def test_attack_texts_of_a_change_server_reach_no_terminal(tmp_path):
    async def refuses(listener, params, true):
        raise Refusal("rate_limited", ESCAPE)

    async def strange(listener, params, true):
        return Offer((("\x1b[-", 1),))

    async def no_server(listener, params, true):
        return msgspec.structs.replace(await true(), server=ESCAPE)

    async def breaks(listener, params, true):
        raise ZeroDivisionError(ESCAPE)

    async def play(mesh):
        told = await nothing_given(tmp_path, mesh, Refused, offer=refuses)
        assert told == "the change server gives this address no more quotes for now"
        await nothing_given(tmp_path, mesh, ProtocolError, offer=strange)
        await nothing_given(tmp_path, mesh, ProtocolError, info=no_server)
        await nothing_given(tmp_path, mesh, Unreachable, quote=breaks)

    playing(tmp_path, play)


def test_attack_a_change_server_of_another_network_or_key(tmp_path):
    async def other(listener, params, true):
        main = Network.shipped("main")
        found = await true()
        return msgspec.structs.replace(
            found, network=msgspec.structs.replace(found.network, id=main.id)
        )

    async def play(mesh):
        await nothing_given(tmp_path, mesh, WrongNetwork, info=other)
        mine = wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            pinned_to = Host("127.0.0.1", listener.port, USER1.public_hex)
            with pytest.raises(ServerKeyChanged):
                await mine.change("0.35", pinned_to, lambda _: True)
            right = Host("127.0.0.1", listener.port, listener.server.key.public_hex)
            assert (await mine.change("0.35", right, lambda _: True)).outcome is Outcome.CHANGED
            assert isinstance(listener.server.info, Info)
        with pytest.raises(ProtocolError, match="is no change server"):
            await mine.change("0.36", mesh.hosts[0], lambda _: True)
        with pytest.raises(Unreachable):
            await mine.change("0.36", "127.0.0.1:1", lambda _: True)

    playing(tmp_path, play)


def test_two_wallets_of_one_key_give_a_note_once(tmp_path):
    async def play(mesh):
        first, second = wallet(tmp_path, mesh), wallet(tmp_path, mesh)
        async with till(tmp_path, mesh) as listener:
            done = await asyncio.gather(
                *(w.change("0.35", place(listener), lambda _: True) for w in (first, second)),
                return_exceptions=True,
            )
            assert any(getattr(each, "outcome", None) is Outcome.CHANGED for each in done)
            owner = await first.owner_hash()
            rows = [row for e in given_away(tmp_path, owner) for row in e.transfer.billots]
            assert len(rows) == len(set(rows))
            assert sorted_ids({billot for billot, _ in rows})
            assert await first.finish_exchanges() == []

    playing(tmp_path, play)
