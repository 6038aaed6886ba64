"""Issuing and counting with real servers: nothing twice, and exact."""

import asyncio

import msgspec
import pytest
from fake_server import FakeServer
from killing import Killed, killed_at
from servers import MINT, TEST, USER1, USER2, USER3, Mesh, run, signed, submit

from billots.errors import AlreadySigned, InputError, Refused, Unreachable
from billots.holding import Status
from billots.host import Host
from billots.issuing import Issue, NotFresh
from billots.journal import Journal
from billots.messages import Listed, UnmovedRange
from billots.mint import AsyncMint
from billots.order import Order
from billots.outcomes import NotExact
from billots.wallet import AsyncWallet

CIRCULATION = sum(each.circulation for each in TEST.denominations.values())
WORTH = sum(each.circulation * each.mils for each in TEST.denominations.values())


def mint(tmp_path, hosts, key=MINT, home="data", **more):
    path = tmp_path / f"key-{key.owner[:8]}"
    if not path.exists():
        key.save(path)
    settings = {"keyfile": path, "trusted": hosts, "data_dir": tmp_path / home}
    return AsyncMint(**(settings | more))


def playing(tmp_path, play, count=3):
    async def whole():
        async with Mesh(tmp_path, count) as mesh:
            await mesh.start()
            await mesh.linked()
            return await play(mesh)

    return run(whole())


def orders(tmp_path, *, unfinished=False, home="data"):
    with Journal.open(MINT.owner, tmp_path / home) as journal:
        return journal.orders(TEST.id, unfinished=unfinished)


# -- issuing -----------------------------------------------------------------------------------


def test_an_amount_is_issued_with_one_signature_and_final(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        told = []
        issued = await mine.issue("187.65", USER2.owner, mixed=True, tell=told.append)
        assert told == [issued]
        assert issued.is_final
        assert issued.mils == 187_650
        assert issued.order.count <= 256
        payee = AsyncWallet(keyfile=tmp_path / "none", trusted=mesh.hosts, data_dir=tmp_path / "p")
        listing = await payee.list_billots(USER2.owner)
        assert listing.total_mils == 187_650 + 16_000  # d-1, e-1, f-1 are user2's by the file
        assert orders(tmp_path, unfinished=True) == []

    playing(tmp_path, play)


def test_attack_a_first_server_that_passes_nothing_on_stops_no_issue(tmp_path):
    async def play(mesh):
        async with FakeServer() as liar:
            mine = mint(tmp_path, [str(liar.host), *mesh.hosts], timeout_s=1.0)
            assert not (await mine.issue("k-1..k-300", USER2.owner)).is_final
            (resumed,) = await mine.resume()
            assert resumed.is_final
            assert await mine.resume() == []

    playing(tmp_path, play)


def test_billots_are_issued_by_name_in_as_few_signatures_as_there_can_be(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        seen = []
        issued = await mine.issue(
            "k-1..k-600,j-7", USER2.owner, on_progress=lambda *done: seen.append(done)
        )
        assert issued.is_final
        assert [len(part) for part in issued.order.parts()] == [256, 256, 89]
        assert seen[-1] == (601, 601)
        again = await mine.issue("k-600..k-602", USER3.owner)
        assert again == NotFresh(TEST, (("k-", 600, 600),))

    playing(tmp_path, play)


def test_an_amount_is_issued_many_times_in_the_same_notes(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        once = await mine.issue("1", USER2.owner, mixed=True, dry_run=True)
        many = await mine.issue("1", USER2.owner, mixed=True, times=100)
        assert many.is_final
        assert (many.mils, many.order.count) == (100_000, 100 * once.order.count)
        with pytest.raises(InputError, match="nothing to mix or repeat"):
            await mine.issue("a-5", USER2.owner, times=2)

    playing(tmp_path, play, 1)


def test_the_same_amount_again_is_another_one_once_the_first_was_told(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        first = await mine.issue("1", USER2.owner)
        second = await mine.issue("1", USER2.owner)
        assert first.order.runs != second.order.runs
        assert not second.resumed

    playing(tmp_path, play, 1)


def test_what_was_not_told_is_told_again_and_not_issued_again(tmp_path):
    class NotTold(Exception):
        pass

    def tell(_issue):
        raise NotTold

    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        for _ in range(3):
            with pytest.raises(NotTold):
                await mine.issue("1", USER2.owner, tell=tell)
        issued = await mine.issue("1", USER2.owner)
        assert issued.resumed
        assert len(orders(tmp_path)) == 1

    playing(tmp_path, play, 1)


def test_a_dry_run_writes_and_signs_nothing(tmp_path):
    async def play(mesh):
        planned = await mint(tmp_path, mesh.hosts).issue("5", USER2.owner, dry_run=True)
        assert planned.planned
        assert planned.mils == 5000
        assert orders(tmp_path) == []

    playing(tmp_path, play, 1)


def test_what_no_notes_make_is_told_with_the_nearest(tmp_path):
    async def play(mesh):
        found = await mint(tmp_path, mesh.hosts).issue("0.001", USER2.owner)
        assert isinstance(found, NotExact)
        assert (found.below, found.above) == (None, 5)

    playing(tmp_path, play, 1)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("0", "more than nothing"),
        ("-1", "not an amount"),
        ("1e3", "not an amount"),
        ("0.0001", "not an amount"),
        ("1,50", "not an amount"),
        ("a-", "not a billot"),
        ("a-5..a-2", "not a billot"),
        ("a-1,a-1", "named twice"),
        ("zz-1", "no such billot"),
        ("a-1..a-10001", "no such billot"),
    ],
)
def test_what_can_not_be_issued(tmp_path, what, message):
    async def play(mesh):
        with pytest.raises(InputError, match=message):
            await mint(tmp_path, mesh.hosts).issue(what, USER2.owner)
        assert not (tmp_path / "data").exists() or orders(tmp_path) == []

    playing(tmp_path, play, 1)


def test_only_the_issuer_issues(tmp_path):
    async def play(mesh):
        with pytest.raises(InputError, match="not the issuer's of network test"):
            await mint(tmp_path, mesh.hosts, USER1).issue("1", USER2.owner)

    playing(tmp_path, play, 1)


@pytest.mark.slow
def test_attack_killed_at_every_step_it_issues_once(tmp_path, monkeypatch):
    async def play(mesh):
        step, ended = 0, False
        while not ended:
            step += 1
            home = f"home{step}"
            first = 1 + 300 * step
            what = f"k-{first}..k-{first + 299}"
            with monkeypatch.context() as patch:
                killed_at(patch, step)
                try:
                    ended = (
                        await mint(tmp_path, mesh.hosts, home=home).issue(what, USER2.owner)
                    ).is_final
                except* Killed:
                    pass
            after = await mint(tmp_path, mesh.hosts, home=home).issue(what, USER2.owner)
            assert isinstance(after, NotFresh) or after.is_final
            assert len(orders(tmp_path, home=home)) == 1
            assert await mint(tmp_path, mesh.hosts, home=home).resume() == []
            payee = AsyncWallet(
                trusted=mesh.hosts, data_dir=tmp_path / "payee", keyfile=tmp_path / "x"
            )
            for billot in (f"k-{first}", f"k-{first + 299}"):
                assert (await payee.check_owner(billot)).owner == USER2.owner
        assert step > 10

    playing(tmp_path, play)


def test_servers_that_have_only_just_started_are_waited_for(tmp_path):
    async def whole():
        async with Mesh(tmp_path, 3) as mesh:
            await mesh.start()
            assert (
                await mint(tmp_path, mesh.hosts, timeout_s=20.0).issue("1", USER2.owner)
            ).is_final

    run(whole())


def test_two_issues_at_once_never_share_a_billot(tmp_path):
    async def play(mesh):
        first, second = mint(tmp_path, mesh.hosts), mint(tmp_path, mesh.hosts)
        one, two = await asyncio.gather(
            first.issue("300", USER2.owner), second.issue("300", USER3.owner)
        )
        assert one.is_final
        assert two.is_final
        assert not {*one.order.runs} & {*two.order.runs}
        billots = [b for issue in (one, two) for part in issue.order.parts() for b in part]
        assert len(set(billots)) == 6

    playing(tmp_path, play)


def test_the_same_issue_from_two_shells_at_once_is_one(tmp_path):
    async def play(mesh):
        first, second = mint(tmp_path, mesh.hosts), mint(tmp_path, mesh.hosts)
        one, two = await asyncio.gather(
            first.issue("300", USER2.owner), second.issue("300", USER2.owner)
        )
        assert one.order == two.order
        assert {one.is_final, two.is_final} == {True}
        assert len(orders(tmp_path)) == 1

    playing(tmp_path, play)


def test_attack_what_is_issued_is_signed_over_to_nobody_else(tmp_path):
    """Ordered and not sent yet: the wallet of the same key has no more of it."""

    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        planned = await mine.issue("a-5..a-9", USER2.owner, dry_run=True)
        with Journal.open(MINT.owner, tmp_path / "data") as journal:
            journal.order(planned.order)
        wallet = AsyncWallet(keyfile=mine.keyfile, trusted=mesh.hosts, data_dir=tmp_path / "data")
        with pytest.raises(AlreadySigned, match="already issued"):
            await wallet.transfer("a-7", USER3.owner)
        paid = await wallet.pay("100", USER3.owner)
        assert [billot for billot, _ in paid.transfer.billots] == ["a-2"]
        assert (await wallet.pay("500", USER3.owner, dry_run=True)).billots == (
            *("a-3", "a-4", "a-10", "a-11", "a-12"),
        )
        (resumed,) = await mine.resume()
        assert resumed.is_final

    playing(tmp_path, play)


def test_attack_a_lost_journal_issues_nothing_a_second_time(tmp_path):
    """Billots that were signed over elsewhere, as a quorum says, are left alone."""

    async def play(mesh):
        first = mint(tmp_path, mesh.hosts, home="first")
        planned = await first.issue("a-5..a-9", USER2.owner, dry_run=True)
        assert (await first.issue("a-5..a-9", USER2.owner)).is_final
        with Journal.open(MINT.owner, tmp_path / "second") as journal:
            journal.order(msgspec.structs.replace(planned.order, to=USER3.owner))
        second = mint(tmp_path, mesh.hosts, home="second")
        with pytest.raises(Refused, match="not yours"):
            await second.resume()
        (holding,) = mesh.servers[0].node.ledger.holdings(["a-5"])
        assert (holding.owner, holding.status) == (USER2.owner, Status.SETTLED)
        assert mesh.servers[0].node.ledger.store.evidence("a-5") is None, "nothing was signed"

    playing(tmp_path, play)


def test_an_issue_that_no_quorum_has_is_finished_later(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts, timeout_s=1.0)
        planned = await mine.issue("a-5..a-9", USER2.owner, dry_run=True)
        with Journal.open(MINT.owner, tmp_path / "data") as journal:
            journal.order(planned.order)
        await mesh.stop(1, 2)
        (sent,) = await mine.resume()
        assert (sent.is_final, sent.final) == (False, 0)
        with pytest.raises(Unreachable, match="1 of 3 servers tell what never moved"):
            await mine.issue("1", USER2.owner)
        await mesh.start(1, 2)
        await mesh.linked()
        await mesh.settled("a-9", 1, USER2.owner)
        (resumed,) = await mine.resume()
        assert resumed.is_final
        assert await mine.resume() == []

    playing(tmp_path, play)


def test_a_test_network_that_was_started_afresh_forgets_what_was_ordered(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        issued = await mine.issue("a-5..a-6", USER2.owner)
        assert issued.is_final

    async def again(mesh):
        mine = mint(tmp_path, mesh.hosts)
        await mine.resume()
        issued = await mine.issue("a-5..a-6", USER3.owner)
        assert isinstance(issued, Issue), "the journal is the same, its servers are gone"
        assert issued.is_final

    for folder, act in (("one", play), ("two", again)):
        (tmp_path / folder).mkdir()
        playing(tmp_path / folder, act)


def test_attack_a_billot_that_was_issued_elsewhere_keeps_only_its_own_transfer_back(tmp_path):
    """A second machine with the issuer's key gave one of them away: the others are issued."""

    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        order = Order(TEST.id, USER2.owner, "billots k-1..2000", (("k-", 1, 2000),))
        other = Order(TEST.id, USER2.owner, "billots a-7", (("a-", 7, 7),))
        with Journal.open(MINT.owner, tmp_path / "data") as journal:
            journal.order(order)
            journal.order(other)
        for number in (1, 300, 600, 900):
            await submit(mesh.hosts[0], signed(MINT, USER3, (f"k-{number}", 1)))
            await mesh.settled(f"k-{number}", 1, USER3.owner)
        with pytest.raises(Refused, match="k-1"):
            await mine.resume()
        for number in (1025, 2000):
            await mesh.settled(f"k-{number}", 1, USER2.owner)
        await mesh.settled("a-7", 1, USER2.owner)
        with pytest.raises(Refused):
            await mine.resume()
        assert orders(tmp_path, unfinished=True) == [order]
        assert (await mine.audit()).mils("issued") == (4 + 2000 - 4 * 256) * 5 + 100_000

    playing(tmp_path, play)


# -- counting ----------------------------------------------------------------------------------


def test_the_supply_is_counted_to_the_mil(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        await mine.issue("1000", USER2.owner, mixed=True)
        await mine.issue("k-1000..k-6000", USER3.owner)
        back = signed(USER3, MINT, *((f"k-{number}", 2) for number in range(1000, 1100)))
        await submit(mesh.hosts[0], back)
        await mesh.settled("k-1000", 2, MINT.owner)
        steps = []
        report = await mine.audit(lambda *done: steps.append(done))
        assert report.is_exact
        assert (report.billots(), report.mils()) == (CIRCULATION, WORTH)
        assert (report.billots("returned"), report.mils("returned")) == (100, 500)
        assert report.mils("issued") == 1_000_000 + 5 * 5001 - 500
        assert report.mils("unmoved") == WORTH - 1_000_000 - 5 * 5001
        assert (report.billots("disputed"), report.billots("undecided")) == (0, 0)
        assert report.sampled == 1024
        assert steps[-1][0] == steps[-1][1] == report.asked + 1024
        assert all(each.counted == each.denomination.circulation for each in report.counts)

    playing(tmp_path, play)


def test_a_count_needs_a_quorum_and_no_key(tmp_path):
    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts, keyfile=tmp_path / "none", timeout_s=1.0)
        await mesh.stop(2)
        report = await mine.audit()
        assert report.is_exact
        assert sum(answer.problem is not None for answer in report.answers) == 1
        await mesh.stop(1)
        with pytest.raises(Unreachable, match="1 of 3 servers answer"):
            await mine.audit()

    playing(tmp_path, play)


def test_attack_one_server_that_lists_what_it_likes_changes_no_total(tmp_path):
    """It calls moved billots unmoved, and all the others moved."""

    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        await mine.issue("a-5..a-9", USER2.owner)
        for runs in ([], [UnmovedRange("a-", 1, 10_000)], [UnmovedRange("a-", -5, 10**15)]):
            async with FakeServer() as liar:
                liar.behaviour["list"] = lambda *_, runs=runs: Listed([], runs, None)
                report = await mint(tmp_path, [*mesh.hosts, liar.host]).audit()
                assert report.is_exact
                assert report.mils("issued") == 500_000

    playing(tmp_path, play)


def test_attack_a_server_that_is_named_twice_has_one_list(tmp_path):
    """A liar's two addresses are no quorum, nor are those of one that shows another's key."""

    async def play(mesh):
        mine = mint(tmp_path, mesh.hosts)
        await mine.issue("a-5..a-9", USER2.owner)
        lie = Listed([], [UnmovedRange(prefix, 1, 10**9) for prefix in TEST.denominations], None)
        async with FakeServer() as first, FakeServer(key=first.key) as second:
            for liar in (first, second):
                liar.behaviour["list"] = lambda *_: lie
            twice = await mint(tmp_path, [first.host, second.host, *mesh.hosts[:2]]).audit()
            assert (twice.n, twice.needed) == (3, 2)
            other = Host(second.address, second.port, USER1.public_hex)
            known = await mint(tmp_path, [first.host, other, *mesh.hosts], quorum="2").audit()
        for report in (twice, known):
            assert report.mils("issued") == 500_000
            assert report.is_exact

    playing(tmp_path, play)


def test_attack_a_blank_servers_list_does_not_count(tmp_path):
    """One that lost its memory calls all unmoved: with a liar it would be half of a quorum."""

    async def play(mesh):
        await mint(tmp_path, mesh.hosts).issue("a-5..a-9", USER2.owner)
        lie = Listed([], [UnmovedRange(prefix, 1, 10**9) for prefix in TEST.denominations], None)

        def blank(_, info):
            info.counts["blank"] = 1
            return info

        async with FakeServer() as first, FakeServer() as second:
            for liar in (first, second):
                liar.behaviour["list"] = lambda *_: lie
            second.behaviour["info"] = blank
            for number in range(5, 10):
                for liar in (first, second):
                    liar.own(f"a-{number}", 1, MINT.owner, USER2.owner)
            report = await mint(tmp_path, [first.host, second.host, mesh.hosts[0]]).audit()
        assert report.mils("issued") == 500_000

    playing(tmp_path, play)


def test_attack_servers_that_list_nothing_do_not_make_one_ask_for_everything(tmp_path):
    async def play(mesh):
        async with FakeServer() as first, FakeServer() as second:
            for liar in (first, second):
                liar.behaviour["list"] = lambda *_: Listed([], [], None)
            with pytest.raises(Unreachable, match="too many to ask for one by one"):
                await mint(tmp_path, [mesh.hosts[0], first.host, second.host]).audit()
            assert not first.asked("who_owns")[1:]

    playing(tmp_path, play, 1)


def test_attack_a_page_of_a_list_with_more_than_was_asked_for_is_no_list(tmp_path):
    """A frame has room for thousands of ranges, and a list for thousands of frames."""

    async def play(mesh):
        async with FakeServer() as liar:
            runs = [UnmovedRange("k-", n, n) for n in range(1, 1002)]
            liar.behaviour["list"] = lambda *_: Listed([], runs, "u:k-1")
            report = await mint(tmp_path, [*mesh.hosts, liar.host]).audit()
            assert report.is_exact
            assert len(liar.asked("list")) == 1

    playing(tmp_path, play)


def test_what_is_disputed_is_counted_as_such(tmp_path):
    async def play(mesh):
        report = await mint(tmp_path, mesh.hosts).audit()
        assert report.is_exact
        first, second = signed(USER1, USER2, ("a-1", 1)), signed(USER1, USER3, ("a-1", 1))
        servers = [FakeServer() for _ in range(4)]
        for server, transfer in zip(servers, (first, first, second, second), strict=True):
            server.own("a-1", 1, USER1.owner, transfer.to, Status.DISPUTED)
        async with servers[0], servers[1], servers[2], servers[3]:
            report = await mint(tmp_path, [server.host for server in servers]).audit()
        assert (report.billots("disputed"), report.mils("disputed")) == (1, 100_000)
        assert report.open == ("a-1",)
        assert report.is_exact, "nobody can spend it, and that is a verdict"
        assert report.billots() == CIRCULATION

    playing(tmp_path, play, 1)


def test_what_no_quorum_agrees_on_is_not_exact(tmp_path):
    async def play(_mesh):
        servers = [FakeServer() for _ in range(2)]
        servers[0].own("a-1", 1, USER1.owner, USER2.owner, Status.HELD)
        async with servers[0], servers[1]:
            report = await mint(tmp_path, [server.host for server in servers]).audit()
        assert report.billots("undecided") == 1
        assert not report.is_exact

    playing(tmp_path, play, 1)


def test_who_is_issued_many_keeps_a_receipt_of_each(tmp_path):
    """Receipts are gathered some thousand at a time, and transfers have no part in where."""

    async def play(mesh):
        await mint(tmp_path, mesh.hosts).issue("k-900..k-999", USER3.owner)
        await mint(tmp_path, mesh.hosts).issue("k-1000..k-3399", USER3.owner)
        key = tmp_path / "user3"
        USER3.save(key)
        payee = AsyncWallet(keyfile=key, trusted=mesh.hosts, data_dir=tmp_path / "payee")
        listing = await payee.list_billots()
        assert len(listing.billots) == 2503
        assert listing.unkept == ()

    playing(tmp_path, play)
