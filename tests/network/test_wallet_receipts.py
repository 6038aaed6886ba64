"""Receipts in the wallet: kept before anybody is told, shown to servers, given to others."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from fake_server import OWNERS, TEST, FakeServer, Refuse, altered

import billots.mock
from billots.crypto import PrivateKey, verify
from billots.errors import (
    AlreadySigned,
    InputError,
    JournalError,
    Refused,
    ServerKeyChanged,
    Unreachable,
    WrongNetwork,
)
from billots.holding import Holding, Status
from billots.host import Host
from billots.kept_receipts import KeptReceipt, KeptReceipts
from billots.known_servers import KnownServers
from billots.network import Network
from billots.presenting import ANSWERED_BY_RECEIPTS, bundled
from billots.quorum import Verdict
from billots.receipt import Receipt, SignedVote, checks, judge
from billots.statement import Statement
from billots.transfer import Transfer
from billots.wallet import AsyncWallet

MOCK = Path(billots.mock.__file__).parent
USER1, USER2, USER3, MINT = (
    PrivateKey.load(MOCK / name) for name in ("user1", "user2", "user3", "mint")
)
UNKNOWN = Holding(0, None, None, Status.UNKNOWN)
ANYWHERE = "0.0.0.0"  # reaches this machine, and is no loopback address: keys are remembered


@contextlib.asynccontextmanager
async def running(count=1, **settings):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FakeServer(**settings)) for _ in range(count)]


def wallet(tmp_path, servers=(), **settings):
    if servers:
        settings.setdefault("trusted", [server.pinned for server in servers])
    settings.setdefault("keyfile", MOCK / "user1")
    return AsyncWallet(data_dir=tmp_path, **settings)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def all_own(servers, billot="a-5", seq=1, sender=MINT, *, owner=USER1):
    for server in servers:
        server.own(billot, seq, sender.owner, owner.owner)


def kept(tmp_path, *billots):
    return KeptReceipts(tmp_path).find(TEST.id, list(billots))


def questions(server):
    return [(list(p.billots), p.proof) for p in server.asked("who_owns")]


def vote(server, *rows, owner=USER1, sender=MINT, status=Status.SETTLED):
    said = [(b, Holding(seq, sender.owner, owner.owner, status)) for b, seq in rows]
    made = Statement.make(TEST, server.key.public_hex, said).sign(server.key, "0" * 16)
    return SignedVote(statement=made.signed())


def receipt(servers, *rows, sender=MINT, owner=USER1):
    transfer = Transfer.sign(TEST, sender, owner.owner, rows)
    return Receipt(transfer, tuple(vote(s, *rows, owner=owner, sender=sender) for s in servers))


def keep(tmp_path, given, billot="a-5"):
    seq = dict(given.transfer.billots)[billot]
    KeptReceipts(tmp_path).keep(TEST.id, [KeptReceipt(billot, seq, given)])


# -- kept before it is told --------------------------------------------------------------------


def test_what_is_final_for_its_owner_is_kept(tmp_path):
    async def scenario():
        async with running(4) as servers:
            all_own(servers)
            mine = wallet(tmp_path, servers)
            check = await mine.check_owner("a-5")
            assert (check.owner, check.unkept) == (USER1.owner, False)
            there = kept(tmp_path, "a-5")["a-5"]
            assert there.seq == 1
            given = there.receipt
            held = [verify(*each) for each in checks(given)]
            keys = {server.key.public_hex: server.host.place for server in servers}
            from billots.receipt import Electorate

            assert judge(given, Electorate(4, keys), held) == [("a-5", 1)]

    run(scenario())


def test_what_never_moved_or_is_another_s_is_not_kept(tmp_path):
    async def scenario():
        async with running(2) as servers:
            all_own(servers, owner=USER2)
            mine = wallet(tmp_path, servers)
            await mine.check_owner("a-5")
            await mine.check_owner("a-1")
            nobodys = wallet(tmp_path, servers, keyfile=tmp_path / "none")
            all_own(servers)
            assert (await nobodys.check_owner("a-5")).owner == USER1.owner
            await nobodys.list_billots(USER1.owner)
            assert not (tmp_path / "receipts.sqlite").exists()

    run(scenario())


def test_no_quorum_keeps_nothing(tmp_path):
    async def scenario():
        async with running(4) as servers:
            all_own(servers[:2])
            check = await wallet(tmp_path, servers).check_owner("a-5")
            assert check.verdict is Verdict.UNDECIDED
            assert kept(tmp_path, "a-5") == {}

    run(scenario())


def test_a_receipt_that_can_not_be_kept_is_an_error_and_no_verdict(tmp_path):
    async def scenario():
        (tmp_path / "receipts.sqlite").mkdir()
        async with running(2) as servers:
            all_own(servers)
            mine = wallet(tmp_path, servers)
            for verb in (mine.check_owner("a-5"), mine.list_billots()):
                with pytest.raises(JournalError, match=r"receipts.sqlite"):
                    await verb
            all_own(servers, owner=USER2)
            assert (await mine.check_owner("a-5")).owner == USER2.owner

    run(scenario())


def test_a_list_keeps_what_is_new_in_chunks_and_asks_no_more_for_it(tmp_path):
    async def scenario():
        async with running(3) as servers:
            for number in range(2, 42):
                all_own(servers, f"k-{number}")
            mine = wallet(tmp_path, servers)
            progress = []
            listing = await mine.list_billots(on_progress=lambda *at: progress.append(at))
            assert (len(listing.billots), listing.unkept) == (43, ())
            assert progress[-1] == (40, 40)
            assert len(KeptReceipts(tmp_path).summary(TEST.id)) == 40
            asked = [[(len(b), proof) for b, proof in questions(s)] for s in servers]
            for each in asked:  # the list itself, then votes in sixteens
                assert [count for count, proof in each if not proof] == [43, 16, 16, 8]
            (proofs,) = [each for each in asked if any(proof for _, proof in each)]
            assert [count for count, proof in proofs if proof] == [1, 16, 16, 7]
            await mine.list_billots()
            assert [len(questions(server)) for server in servers] == [len(e) + 1 for e in asked]
            all_own(servers, "k-7", 3, USER2)
            await mine.list_billots()
            assert questions(servers[1])[-1] == (["k-7"], False)
            assert kept(tmp_path, "k-7")["k-7"].seq == 3

    run(scenario())


def test_a_list_that_trusts_others_is_a_reason_to_ask_again_and_both_are_kept(tmp_path):
    async def scenario():
        async with running(3, address=ANYWHERE) as old, running(3, address=ANYWHERE) as new:
            all_own([*old, *new])
            await wallet(tmp_path, old).check_owner("a-5")
            await wallet(tmp_path, new).list_billots()
            keys = KeptReceipts(tmp_path).summary(TEST.id)["a-5"].servers
            for servers in (old, new):
                assert len({server.key.public_hex for server in servers} & keys) >= 2

    run(scenario())


def test_a_test_network_that_was_started_afresh_begins_again(tmp_path):
    async def scenario():
        async with running(2) as servers:
            all_own(servers, seq=7)
            await wallet(tmp_path, trusted=[s.host for s in servers]).check_owner("a-5")
            assert kept(tmp_path, "a-5")["a-5"].seq == 7
        async with running(2) as servers:
            all_own(servers, seq=1)
            mine = wallet(tmp_path, trusted=[s.host for s in servers])
            await mine.check_owner("a-5")
            assert kept(tmp_path, "a-5")["a-5"].seq == 1
            assert (await mine.transfer("a-5", USER2.owner)).transfer.billots == (("a-5", 2),)

    run(scenario())


def test_attack_an_older_holding_does_not_push_a_newer_receipt_out(tmp_path):
    async def scenario():
        async with running(2, address=ANYWHERE) as servers:
            all_own(servers, seq=7)
            await wallet(tmp_path, servers).check_owner("a-5")
            all_own(servers, seq=3)
            await wallet(tmp_path, servers).check_owner("a-5")
            assert kept(tmp_path, "a-5")["a-5"].seq == 7

    run(scenario())


# -- the transfer that comes along -------------------------------------------------------------


def other_transfer(*, signature=None, sender=MINT, to=USER1, rows=(("a-5", 1),)):
    made = Transfer.sign(TEST, sender, to.owner, rows)
    return made if signature is None else altered(made, signature=signature)


WRONG = {
    "a signature that doesn't hold": other_transfer(signature="0" * 128),
    "another sender": other_transfer(sender=USER3),
    "another owner": other_transfer(to=USER3),
    "another seq": other_transfer(rows=[("a-5", 2)]),
    "another billot": other_transfer(rows=[("a-6", 1)]),
    "another network": Transfer.sign(Network.shipped("main"), MINT, USER1.owner, [("a-5", 1)]),
    "a billot that isn't": altered(other_transfer(), billots=(("a-5", 1), ("a-10001", 1))),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_attack_a_transfer_that_is_not_the_votes_makes_no_receipt(tmp_path, wrong):
    async def scenario():
        async with running(4) as servers:
            all_own(servers)
            for server in servers[1:]:
                server.proofs["a-5", 1, USER1.owner] = wrong
            servers[0].proofs["a-5", 1, USER1.owner] = wrong
            mine = wallet(tmp_path, servers, network=TEST)
            check = await mine.check_owner("a-5")
            assert (check.owner, check.unkept) == (USER1.owner, True)
            assert (await mine.list_billots()).unkept == ("a-5",)
            assert kept(tmp_path, "a-5") == {}
            del servers[0].proofs["a-5", 1, USER1.owner]
            all_own(servers[:1])
            for server in servers[1:3]:  # the honest one is heard whoever is quicker
                server.gate = asyncio.Event()
                servers[0].behaviour["who_owns"] = lambda _, said: (
                    [other.gate.set() for other in servers[1:3]] and said
                )
            check = await mine.check_owner("a-5")
            assert (check.owner, check.unkept) == (USER1.owner, False)
            assert kept(tmp_path, "a-5")["a-5"].receipt.transfer.verify()

    run(scenario())


def test_attack_a_server_that_gives_false_transfers_does_not_keep_receipts_from_a_list(tmp_path):
    async def scenario():
        async with running(4) as servers:
            billots = [f"k-{number}" for number in range(2, 30)]
            for billot in billots:
                all_own(servers, billot)
                false = other_transfer(signature="0" * 128, rows=[(billot, 1)])
                servers[0].proofs[billot, 1, USER1.owner] = false
            servers[1].behaviour["who_owns"] = lambda params, said: (
                said if params.nonce else b'{"billots": 5}'
            )
            assert (await wallet(tmp_path, servers).list_billots()).unkept == ()
            there = kept(tmp_path, *billots)
            assert there.keys() == set(billots)
            assert all(each.receipt.transfer.verify() for each in there.values())

    run(scenario())


def test_a_transfer_that_found_no_room_is_asked_for_alone(tmp_path):
    async def scenario():
        async with running(2) as servers:
            billots = [f"k-{number}" for number in range(2, 12)]
            for billot in billots:
                all_own(servers, billot)

            def cut(params, statement):
                if len(params.billots) == 1:
                    return statement
                rows = (altered(row, transfer=None) for row in statement.billots)
                return altered(statement, billots=tuple(rows))

            for server in servers:
                server.behaviour["who_owns"] = cut
            assert (await wallet(tmp_path, servers).list_billots()).unkept == ()
            assert kept(tmp_path, *billots).keys() == set(billots)

    run(scenario())


# -- shown to a server -------------------------------------------------------------------------


def hard(server, name, billot="a-5"):
    """Have a server refuse what comes without receipts."""

    def judged(params, default):
        return default if params.receipts else Refuse(name, {"billot": billot})

    server.behaviour["transfer"] = judged


@pytest.mark.parametrize("name", sorted(ANSWERED_BY_RECEIPTS))
def test_a_refusal_is_answered_with_the_receipt(tmp_path, name):
    async def scenario():
        async with running(3) as servers:
            all_own(servers)
            for server in servers:
                hard(server, name)
            sent = await wallet(tmp_path, servers).transfer("a-5", USER2.owner)
            first, second = servers[0].asked("transfer")
            assert (first.receipts, first.transfer) == ((), second.transfer)
            (shown,) = second.receipts
            assert shown.transfer.billots == (("a-5", 1),)
            assert len(shown.votes) >= 2
            assert sent.host.place == servers[0].host.place

    run(scenario())


@pytest.mark.parametrize(
    "name", ["stale_seq", "bad_signature", "conflicting_transfer", "bad_receipt"]
)
def test_other_refusals_are_not(tmp_path, name):
    async def scenario():
        async with running(1) as (server,):
            all_own([server])
            hard(server, name)
            with pytest.raises(Refused):
                await wallet(tmp_path, [server]).transfer("a-5", USER2.owner)
            assert len(server.asked("transfer")) == 1

    run(scenario())


def test_a_refusal_that_stands_is_told_after_one_more_try(tmp_path):
    async def scenario():
        async with running(1) as (server,):
            all_own([server])
            server.behaviour["transfer"] = lambda *_: Refuse("not_settled", {"billot": "a-5"})
            mine = wallet(tmp_path, [server])
            with pytest.raises(Refused, match="a-5 is not settled yet"):
                await mine.transfer("a-5", USER2.owner)
            assert len(server.asked("transfer")) == 2
            with pytest.raises(Refused):  # what never moved has no receipt
                await mine.transfer("a-1", USER2.owner)
            assert len(server.asked("transfer")) == 3

    run(scenario())


def test_the_same_when_it_is_sent_again(tmp_path):
    async def scenario():
        async with running(1) as (server,):
            all_own([server])
            server.behaviour["transfer"] = lambda *_: Refuse("rate_limited")
            mine = wallet(tmp_path, [server])
            with pytest.raises(Refused):
                await mine.transfer("a-5", USER2.owner)
            hard(server, "behind")
            assert (await mine.transfer("a-5", USER2.owner)).resent
            assert len({msgspec.json.encode(p.transfer) for p in server.asked("transfer")}) == 1
            assert server.asked("transfer")[-1].receipts

    run(scenario())


def test_more_than_sixteen_are_settled_first(tmp_path):
    async def scenario():
        async with running(2) as servers:
            billots = [f"k-{number}" for number in range(2, 52)]
            for billot in billots:
                all_own(servers, billot)
            hard(servers[0], "behind", "k-2")
            mine = wallet(tmp_path, servers)
            await mine.transfer(billots, USER2.owner)
            counts = [len(params.receipts) for params in servers[0].asked("settle")]
            last = len(servers[0].asked("transfer")[-1].receipts)
            assert sum(counts) + last == 50
            assert all(1 <= count <= 16 for count in [*counts, last])
            order = [m for m, _ in servers[0].requests if m in ("transfer", "settle")]
            assert order == ["transfer", *["settle"] * len(counts), "transfer"]
            shown = [*servers[0].asked("settle"), servers[0].asked("transfer")[-1]]
            rows = [r.transfer.billots[0][0] for params in shown for r in params.receipts]
            assert sorted(rows) == sorted(billots)

    run(scenario())


def test_billots_that_came_with_one_transfer_are_one_receipt(tmp_path):
    async def scenario():
        async with running(4) as servers:
            rows = [(f"k-{number}", 1) for number in range(2, 18)]
            together = Transfer.sign(TEST, MINT, USER1.owner, rows)
            for server in servers:
                server.prove(together)
                for billot, _ in rows:
                    all_own([server], billot)
            hard(servers[0], "not_settled", "k-2")
            await wallet(tmp_path, servers).transfer([b for b, _ in rows], USER2.owner)
            (shown,) = servers[0].asked("transfer")[-1].receipts
            assert 3 <= len(shown.votes) <= 4
            assert {row for word in shown.words() for row in word.rows} == set(rows)

    run(scenario())


def test_receipts_are_put_together_as_they_fit_small_ones_first():
    servers = [FakeServer() for _ in range(20)]
    rows = [(f"k-{number}", 1) for number in range(1, 257)]
    large = Transfer.sign(TEST, MINT, USER1.owner, rows)
    given = []
    for start in range(0, 256, 16):
        some = rows[start : start + 16]
        votes = tuple(vote(server, *some) for server in servers[:13])
        given += [KeptReceipt(b, seq, Receipt(large, votes)) for b, seq in some]
    given.append(KeptReceipt("a-5", 1, receipt(servers[:1], ("a-5", 1))))
    calls = bundled(given)
    assert calls[0][0].transfer.billots == (("a-5", 1),)
    shown = [each for call in calls for each in call]
    proven = {row for each in shown for word in each.words() for row in word.rows}
    assert proven == {*rows, ("a-5", 1)}
    for call in calls:
        assert len(msgspec.json.encode(call)) < 120 * 1024
        assert len(call) <= 16
        assert sum(len(each.transfer.billots) for each in call) <= 256
    for each in shown:
        servers_of = [word.server for word in each.words()]
        assert len(servers_of) >= (13 if len(each.votes) > 1 else 1)


def test_a_payee_that_was_final_once_can_spend_when_the_servers_forgot(tmp_path):
    async def scenario():
        async with running(4) as servers:
            all_own(servers)
            mine = wallet(tmp_path, servers)
            await mine.check_owner("a-5")
            for server in servers[:2]:
                server.holdings["a-5"] = Holding(0, None, MINT.owner, Status.SETTLED)
            servers[2].holdings["a-5"] = UNKNOWN
            all_own(servers[3:], owner=USER3)

            def adopt(params, default):
                if not params.receipts:
                    return Refuse("behind", {"billot": "a-5"})
                all_own(servers[:1])
                return servers[0].on_transfer(params)

            servers[0].behaviour["transfer"] = adopt
            sent = await mine.transfer("a-5", USER2.owner)
            assert sent.transfer.billots == (("a-5", 2),)
            for server in servers[:3]:
                server.holdings["a-5"] = Holding(0, None, MINT.owner, Status.SETTLED)
            assert (await mine.transfer("a-5", USER2.owner)).resent

    run(scenario())


def test_attack_a_receipt_of_servers_that_are_not_trusted_signs_nothing(tmp_path):
    async def scenario():
        async with running(3) as servers, running(3) as others:
            keep(tmp_path, receipt(others, ("a-5", 4)))
            with pytest.raises(Refused) as caught:
                await wallet(tmp_path, servers).transfer("a-5", USER2.owner)
            assert caught.value.name == "not_owner"

    run(scenario())


def test_attack_who_lost_the_journal_does_not_sign_twice_by_an_old_receipt(tmp_path):
    async def scenario():
        async with running(4) as servers:
            keep(tmp_path, receipt(servers, ("a-5", 1)))
            for server in servers[:2]:
                server.own("a-5", 2, USER1.owner, USER2.owner, Status.HELD)
            all_own(servers[2:])
            with pytest.raises(Refused):
                await wallet(tmp_path, servers).transfer("a-5", USER3.owner)
            assert not any(server.transfers for server in servers)

    run(scenario())


def test_attack_the_journal_stands_before_a_receipt(tmp_path):
    async def scenario():
        async with running(4, address=ANYWHERE) as servers:
            all_own(servers)
            mine = wallet(tmp_path, servers)
            await mine.transfer("a-5", USER2.owner)
            all_own(servers)
            with pytest.raises(AlreadySigned):
                await mine.transfer("a-5", USER3.owner)

    run(scenario())


# -- given to others ---------------------------------------------------------------------------


def test_a_receipt_is_collected_for_anybodys_billot(tmp_path):
    async def scenario():
        async with running(4) as servers:
            all_own(servers, owner=USER2)
            mine = wallet(tmp_path, servers)
            found = await mine.receipt("a-5")
            assert (found.seq, found.owner, found.kept) == (1, USER2.owner, False)
            assert set(found.signed) <= {server.host.place for server in servers}
            assert (len(found.signed) >= 3, found.others) == (True, ())
            assert kept(tmp_path, "a-5") == {}
            check = await mine.verify_receipt(msgspec.json.encode(found.receipt))
            assert [(r.billot, r.seq) for r in check.valid] == [("a-5", 1)]

    run(scenario())


def test_the_one_that_is_kept_is_given_when_no_quorum_answers(tmp_path):
    async def scenario():
        async with running(4) as servers:
            all_own(servers)
            mine = wallet(tmp_path, servers)
            first = await mine.receipt("a-5")
            assert kept(tmp_path, "a-5")["a-5"].receipt == first.receipt
            for server in servers[:2]:
                server.holdings["a-5"] = UNKNOWN
            again = await mine.receipt("a-5")
            assert (again.receipt, again.kept) == (first.receipt, True)
            assert len(again.signed) >= 3
        gone = await mine.receipt("a-5")
        assert (gone.receipt, gone.kept) == (first.receipt, True)
        with pytest.raises(Unreachable):
            await mine.receipt("a-6")

    run(scenario())


def test_why_there_is_none(tmp_path):
    async def scenario():
        async with running(2) as servers:
            mine = wallet(tmp_path, servers)
            assert await mine.receipt("a-1") == (
                "a-1 never moved: the network's file says whose it is"
            )
            all_own(servers[:1])
            assert await mine.receipt("a-5") == (
                "no quorum of the trusted servers names an owner of a-5"
            )
            all_own(servers)
            for server in servers:
                server.proofs.clear()
            assert await mine.receipt("a-5") == "no server gave the transfer that moved a-5"

    run(scenario())


# -- checked offline ---------------------------------------------------------------------------


def offline(tmp_path, given, servers, **settings):
    mine = wallet(tmp_path, servers, **settings)
    return asyncio.run(mine.verify_receipt(msgspec.json.encode(given)))


def test_a_receipt_is_checked_without_a_connection(tmp_path):
    servers = [FakeServer() for _ in range(4)]
    for number, server in enumerate(servers):
        server.port = 7001 + number
    good = receipt(servers[:3], ("a-5", 1), ("b-9", 4))
    check = offline(tmp_path, good, servers)
    assert [(row.billot, row.seq, row.votes) for row in check.valid] == [
        ("a-5", 1, 3),
        ("b-9", 4, 3),
    ]
    assert check.signed == tuple(server.host.place for server in servers[:3])
    few = offline(tmp_path, receipt(servers[:2], ("a-5", 1)), servers)
    assert (few.valid, few.needed, few.n, few.rows[0].votes) == ((), 3, 4, 2)
    assert offline(tmp_path, few.receipt, servers, quorum="2").valid
    stranger = FakeServer()
    mixed = offline(tmp_path, receipt([*servers[:2], stranger], ("a-5", 1)), servers)
    assert (mixed.valid, mixed.unknown) == ((), (stranger.key.public_hex,))
    one = altered(good.votes[0].statement, signature="0" * 128)
    forged = Receipt(good.transfer, (SignedVote(statement=one), *good.votes[1:]))
    told = offline(tmp_path, forged, servers)
    assert (told.valid, told.false) == ((), (servers[0].key.public_hex,))


def test_attack_a_receipt_with_a_false_transfer_proves_nothing(tmp_path):
    servers = [FakeServer() for _ in range(2)]
    for number, server in enumerate(servers):
        server.port = 7001 + number
    good = receipt(servers, ("a-5", 1))
    false = Receipt(altered(good.transfer, signature="0" * 128), good.votes)
    check = offline(tmp_path, false, servers)
    assert (check.valid, check.fault) == ((), "the owner's signature does not hold")
    beyond = Receipt(altered(good.transfer, billots=(("a-10001", 1),)), good.votes)
    assert "no such billot" in offline(tmp_path, beyond, servers).fault
    main = Network.shipped("main")
    assert offline(tmp_path, good, servers, network=main).fault == "a receipt of another network"
    unknown = Receipt(altered(good.transfer, network="0" * 32), good.votes)
    with pytest.raises(WrongNetwork, match="does not know"):
        offline(tmp_path, unknown, servers)


def test_attack_claims_do_not_convince_a_payee(tmp_path):
    servers = [FakeServer() for _ in range(7)]
    for number, server in enumerate(servers):
        server.port = 7001 + number
    check = offline(tmp_path, receipt(servers[:3], ("a-5", 1)), servers)
    assert (check.valid, check.needed) == ((), 5)


def test_remembered_and_retired_keys_count_and_loopback_ones_must_be_pinned(tmp_path):
    hosts = [Host(f"s{number}.example.org", 7333) for number in range(4)]
    servers = [FakeServer() for _ in range(5)]
    known = KnownServers(tmp_path)
    for host, server in zip(hosts[:3], servers, strict=False):
        known.accept(host, TEST.id, server.key.public_hex)
    good = receipt(servers[:3], ("a-5", 1))
    mine = AsyncWallet(data_dir=tmp_path, trusted=hosts)
    data = msgspec.json.encode(good)
    check = asyncio.run(mine.verify_receipt(data))
    assert (len(check.valid), check.n, check.keyless) == (1, 4, ("s3.example.org:7333",))
    known.accept(hosts[2], TEST.id, servers[4].key.public_hex)
    assert asyncio.run(mine.verify_receipt(data)).valid, "one retired key is one of the f"
    known.accept(hosts[1], TEST.id, servers[3].key.public_hex)
    assert not asyncio.run(mine.verify_receipt(data)).valid, "two are not"
    local = AsyncWallet(data_dir=tmp_path, trusted="localhost:7333-7335")
    with pytest.raises(InputError, match="no key of the trusted servers is known") as caught:
        asyncio.run(local.verify_receipt(data))
    assert "#KEY" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 1000, b"1" * 10_000])
def test_a_file_that_is_no_receipt(tmp_path, data):
    with pytest.raises(InputError, match="not a receipt"):
        asyncio.run(AsyncWallet(data_dir=tmp_path).verify_receipt(data))


# -- keys --------------------------------------------------------------------------------------


def test_a_new_key_counts_once_it_is_accepted(tmp_path):
    async def scenario():
        async with FakeServer(address=ANYWHERE) as first:
            mine = wallet(tmp_path, trusted=[first.host])
            told = await mine.accept_key(first.host)
            assert (told.old, told.new, told.remembered) == (None, first.key.public_hex, True)
        async with FakeServer(address=ANYWHERE, port=first.port) as second:
            assert (await mine.check_owner("a-1")).verdict is Verdict.UNDECIDED
            told = await mine.accept_key(str(second.host))
            assert (told.old, told.new) == (first.key.public_hex, second.key.public_hex)
            assert (await mine.check_owner("a-1")).owner == USER1.owner
            known = KnownServers(tmp_path)
            assert known.retired(second.host, TEST.id) == [first.key.public_hex]

    run(scenario())


def test_attack_a_key_other_than_the_one_that_was_named_is_not_accepted(tmp_path):
    async def scenario():
        async with FakeServer(address=ANYWHERE) as server:
            named = Host(server.address, server.port, "0" * 64)
            mine = wallet(tmp_path, trusted=[server.host])
            with pytest.raises(ServerKeyChanged, match="another key"):
                await mine.accept_key(named)
            assert KnownServers(tmp_path).key(server.host, TEST.id) is None
            assert (await mine.accept_key(server.pinned)).new == server.key.public_hex
            pinned = wallet(tmp_path / "other", trusted=[named])
            with pytest.raises(ServerKeyChanged, match="pinned to another key") as caught:
                await pinned.accept_key(server.host)
            assert server.key.public_hex in caught.value.hint

    run(scenario())


def test_attack_a_key_that_signed_nothing_is_not_accepted(tmp_path):
    async def scenario():
        async with FakeServer(address=ANYWHERE) as server:
            for said in (
                lambda _, s: altered(s, server=USER3.public_hex),
                lambda _, s: altered(s, signature=msgspec.UNSET),
            ):
                server.behaviour["who_owns"] = said
                with pytest.raises(billots.ProtocolError):
                    await wallet(tmp_path).accept_key(server.host)
            assert KnownServers(tmp_path).key(server.host, TEST.id) is None

    run(scenario())


def test_nothing_is_remembered_on_this_machine(tmp_path):
    async def scenario():
        async with FakeServer() as server:
            told = await wallet(tmp_path).accept_key(server.host)
            assert (told.old, told.remembered) == (None, False)
            assert not (tmp_path / "known_servers").exists()
        with pytest.raises(Unreachable):
            await wallet(tmp_path).accept_key(server.host)

    run(scenario())


def test_a_changed_server_counts_for_nothing_in_a_transfer_either(tmp_path):
    async def scenario():
        async with FakeServer(address=ANYWHERE) as first:
            mine = wallet(tmp_path, trusted=[first.host])
            await mine.accept_key(first.host)
        async with FakeServer(address=ANYWHERE, port=first.port) as second:
            with pytest.raises(ServerKeyChanged) as caught:
                await mine.transfer("a-1", USER2.owner)
            assert f"bwallet --accept-key {second.host.place}" in caught.value.hint
            assert second.transfers == []

    run(scenario())


def test_the_owners_of_these_tests_are_the_mock_ones():
    assert set(OWNERS) == {key.owner for key in (USER1, USER2, USER3, MINT)}
