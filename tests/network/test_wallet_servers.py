"""The wallet's receipts, audits and keys with real servers, each with a store on disk."""

import asyncio

import msgspec
import pytest
from servers import (
    MINT,
    MOCK,
    TEST,
    USER1,
    USER2,
    USER3,
    connect,
    fresh,
    mesh,
    run,
    send,
    signed,
    submit,
)

from billots.crypto import verify
from billots.errors import Refused
from billots.kept_receipts import KeptReceipt, KeptReceipts
from billots.messages import Info, WhoOwns
from billots.receipt import Receipt, SignedVote, checks
from billots.server import Server
from billots.statement import Statement, new_nonce
from billots.wallet import AsyncWallet


def wallet(tmp_path, hosts, user="user1", **settings):
    return AsyncWallet(keyfile=MOCK / user, trusted=hosts, data_dir=tmp_path / "wallet", **settings)


async def pins(hosts):
    found = []
    for host in hosts:
        async with await connect(host) as client:
            info = await client.call("info", None, Info)
            found.append(f"{host}#{info.server}")
    return found


async def pay(servers, billots, to=USER1):
    await submit(servers.hosts[0], *(signed(MINT, to, (billot, 1)) for billot in billots))
    for billot in billots:
        await servers.settled(billot, 1, to)


def test_a_receipt_of_real_servers_is_kept_given_and_valid_offline(tmp_path):
    async def scenario():
        async with mesh(tmp_path, 4) as servers:
            (billot,) = fresh()
            await pay(servers, [billot])
            pinned = await pins(servers.hosts)
            mine = wallet(tmp_path, pinned)
            assert (await mine.check_owner(billot)).unkept is False
            found = await mine.receipt(billot)
        there = KeptReceipts(tmp_path / "wallet").find(TEST.id, [billot])[billot]
        assert all(verify(*check) for check in checks(there.receipt))
        check = await mine.verify_receipt(msgspec.json.encode(found.receipt))
        assert [(row.billot, row.seq) for row in check.valid] == [(billot, 1)]
        gone = await mine.receipt(billot)
        assert gone.kept
        assert gone.receipt.transfer == found.receipt.transfer

    run(scenario())


def test_a_list_keeps_the_receipts_of_what_came_together(tmp_path):
    async def scenario():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(40)
            transfer = signed(MINT, USER1, *((billot, 1) for billot in billots))
            await submit(servers.hosts[0], transfer)
            await servers.settled(billots[-1], 1, USER1)
            listing = await wallet(tmp_path, servers.hosts).list_billots()
            assert {each.id for each in listing.billots} >= set(billots)
            assert listing.unkept == ()
            kept = KeptReceipts(tmp_path / "wallet").summary(TEST.id)
            assert kept.keys() == set(billots)

    run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 20])
def test_a_server_that_was_away_takes_what_a_receipt_settles(tmp_path, count):
    """It has not heard: alone it signs nothing; with the others there, the payee spends at it."""

    async def scenario():
        async with mesh(tmp_path, 4) as servers:
            pinned = await pins(servers.hosts)
            await servers.stop(3)
            billots = fresh(count)
            more = [fresh(count) for _ in billots]  # each came with others: 400 rows for 20
            rows = ([(b, 1) for b in (billot, *m)] for billot, m in zip(billots, more, strict=True))
            await submit(servers.hosts[0], *(signed(MINT, USER1, *each) for each in rows))
            for billot in billots:
                await servers.settled(billot, 1, USER1)
            await wallet(tmp_path, pinned).list_billots()
            await servers.stop(0, 1, 2)
            await servers.start(3, trusted=pinned[:3])
            alone = wallet(tmp_path, pinned, server=servers.hosts[3], timeout_s=10.0)
            with pytest.raises(Refused) as caught:
                await alone.transfer(billots, USER2.owner)
            assert caught.value.name == "not_settled"
            await servers.start(0, 1, 2)
            sent = await alone.transfer(billots, USER2.owner)
            assert (sent.host.place, sent.resent) == (servers.hosts[3], True)
            assert {seq for _, seq in sent.transfer.billots} == {2}
            for billot in billots:
                await servers.settled(billot, 2, USER2)

    run(scenario())


def test_attack_a_receipt_of_strangers_moves_no_server(tmp_path):
    async def scenario():
        async with mesh(tmp_path / "ours", 2) as ours, mesh(tmp_path / "others", 2) as others:
            (billot,) = fresh()
            await pay(others, [billot])
            theirs = wallet(tmp_path, others.hosts)
            found = await theirs.receipt(billot)
            spent = signed(USER1, USER2, (billot, 2))
            async with await connect(ours.hosts[0]) as client:
                with pytest.raises(Refused) as caught:
                    await send(client, spent)
                assert caught.value.name == "behind"
            with pytest.raises(Refused) as caught:
                await wallet(tmp_path, ours.hosts).transfer(billot, USER2.owner)
            assert caught.value.name == "not_owner"
            assert not (
                await wallet(tmp_path, await pins(ours.hosts)).verify_receipt(
                    msgspec.json.encode(found.receipt)
                )
            ).valid

    (tmp_path / "ours").mkdir()
    (tmp_path / "others").mkdir()
    run(scenario())


def test_an_honest_server_that_was_overruled_is_not_called_a_liar(tmp_path):
    """It voted for B alone, came back, and settled C as all others: rule 8 allows that."""

    async def scenario():
        async with mesh(tmp_path, 4) as servers:
            (billot,) = fresh()
            await servers.stop(1, 2, 3)
            first = signed(MINT, USER1, (billot, 1))
            async with await connect(servers.hosts[0]) as client:
                await send(client, first)
                params = WhoOwns((billot,), new_nonce())
                said = await client.call("who_owns", params, Statement)
            await servers.stop(0)
            await servers.start(1, 2, 3)
            await submit(servers.hosts[1], signed(MINT, USER2, (billot, 1)))
            await servers.settled(billot, 1, USER2, 1, 2, 3)
            await servers.start(0)
            await servers.linked()
            await servers.settled(billot, 1, USER2)
            receipt = Receipt(first, (SignedVote(statement=said.signed()),))
            kept = KeptReceipts(tmp_path / "wallet")
            kept.keep(TEST.id, [KeptReceipt(billot, 1, receipt)])
            report = await wallet(tmp_path, servers.hosts, "user3").audit(billot)
            assert report.clean
            assert [server.agreeing for server in report.servers] == [1, 1, 1, 1]

    run(scenario())


def test_an_audit_of_real_servers_and_their_lists(tmp_path):
    async def scenario():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(30)
            await pay(servers, billots, USER3)
            mine = wallet(tmp_path, servers.hosts, "user3")
            report = await mine.audit()
            assert (report.clean, len(report.billots), report.undecided) == (True, 64, ())
            assert set(billots) & set(report.billots)
            trust = await mine.check_trust()
            assert [(pair.shared, pair.liars) for pair in trust.pairs] == [(4, 1)]
            assert len(trust.pairs[0].first.names) == 5
            await servers.stop(2)
            report = await mine.audit(count=8)
            assert report.clean
            assert report.servers[2].problem is not None

    run(scenario())


def test_servers_that_hold_a_transfer_without_a_quorum_are_not_called_liars(tmp_path):
    """They show the receipt of the billot's last settled seq with it: no false proof."""

    async def scenario():
        async with mesh(tmp_path, 4) as servers:
            (billot,) = fresh()
            await servers.stop(3)
            await pay(servers, [billot])
            await servers.stop(2)
            await submit(servers.hosts[0], signed(USER1, USER2, (billot, 2)))
            report = await wallet(tmp_path, servers.hosts, "user3").audit(billot)
            assert [server.false_proofs for server in report.servers] == [[], [], [], []]
            assert (report.clean, report.undecided, report.agreed) == (True, (billot,), False)

    run(scenario())


def test_a_server_with_a_new_key_in_its_list_is_accepted_by_hand(tmp_path):
    async def scenario():
        async with mesh(tmp_path, 1) as servers:
            told = await wallet(tmp_path, servers.hosts).accept_key(servers.hosts[0])
            assert told.new == (await pins(servers.hosts))[0].partition("#")[2]
            assert told.remembered is False

    run(scenario())
    assert asyncio.run(wallet(tmp_path, ["127.0.0.1:1"]).owner_hash()) == USER1.owner


@pytest.mark.slow
def test_a_list_of_servers_that_are_new_says_that_it_is_not_complete(tmp_path):
    """They trust somebody who is away, so that they don't know what moved."""

    async def scenario():
        async with (
            Server("test", store=tmp_path / "0.db", trusted=["127.0.0.1:1"]) as new,
            Server("test", store=tmp_path / "1.db") as alone,
        ):
            listing = await wallet(tmp_path, [new.address]).list_billots()
            assert ([host.place for host in listing.new], listing.is_complete) == (
                [new.address],
                False,
            )
            listing = await wallet(tmp_path, [alone.address]).list_billots()
            assert (listing.new, listing.is_complete) == ((), True)
            both = await wallet(tmp_path, [new.address, alone.address], quorum="1").list_billots()
            assert (len(both.new), both.is_complete) == (1, True)

    run(scenario())
