"""Paying amounts with real servers: exact, once, and final when it says so."""

import asyncio
import json

import pytest
from fake_server import FakeServer, Refuse
from killing import Killed, killed_at
from servers import MINT, TEST, USER1, USER2, USER3, Mesh, fresh, run, signed, submit

from billots.errors import AlreadySigned, InputError, Refused, Unreachable
from billots.journal import Journal
from billots.outcomes import NotExact, Payment, Plan
from billots.wallet import AsyncWallet

PURSE = ("a-1", "b-1", "c-1")
"""What user1 has: 100, 50 and 20."""


def wallet(tmp_path, mesh, **more):
    key = tmp_path / "key"
    if not key.exists():
        USER1.save(key)
    settings = {"keyfile": key, "trusted": mesh.hosts, "data_dir": tmp_path / "data", **more}
    return AsyncWallet(**settings)


def journalled(tmp_path):
    """The transfers in the journal, and those of them that are final."""
    (path,) = (tmp_path / "data").glob("journal-*")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    sent = [line["transfer"]["billots"] for line in lines if line["kind"] == "signed"]
    return sent, [line for line in lines if line["kind"] == "final"]


def playing(tmp_path, play, count=3):
    async def whole():
        async with Mesh(tmp_path, count) as mesh:
            await mesh.start()
            await mesh.linked()
            return await play(mesh)

    return run(whole())


def test_an_amount_is_paid_in_one_transfer_and_final(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        paid = await mine.pay("120", USER2.owner)
        assert isinstance(paid, Payment)
        assert paid.is_final
        assert [billot for billot, _ in paid.transfer.billots] == ["a-1", "c-1"]
        assert (paid.mils, paid.needed, paid.n, paid.resumed) == (120_000, 2, 3, False)
        assert paid.votes >= 2
        for billot in ("a-1", "c-1"):
            assert (await mine.check_owner(billot)).owner == USER2.owner
        again = await mine.pay("120", USER2.owner)
        assert isinstance(again, NotExact), "that one is final: this would be another"
        assert (again.below, again.above, again.total_mils) == (50_000, None, 50_000)

    playing(tmp_path, play)


def test_a_dry_run_signs_nothing(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        plan = await mine.pay("70", USER2.owner, dry_run=True)
        assert plan == Plan(TEST, 70_000, USER2.owner, ("b-1", "c-1"))
        assert journalled(tmp_path) == ([], [])
        assert (await mine.check_owner("b-1")).owner == USER1.owner

    playing(tmp_path, play)


def test_without_an_exact_set_nothing_moves(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        found = await mine.pay("30", USER2.owner)
        assert found == NotExact(TEST, 30_000, 170_000, 20_000, 50_000)
        found = await mine.pay("1000", USER2.owner)
        assert (found.below, found.above) == (170_000, None)
        assert journalled(tmp_path) == ([], [])

    playing(tmp_path, play)


@pytest.mark.parametrize(
    "amount",
    ["0", "-1", "1e3", "0.0001", "1,50", "", " ", "nan", "1.", ".5", "0x5", "１", 0, -5, "9" * 13],
)
def test_what_is_no_amount(tmp_path, amount):
    mine = AsyncWallet(keyfile=tmp_path / "none", trusted="127.0.0.1:1", data_dir=tmp_path)
    with pytest.raises(InputError):
        asyncio.run(mine.pay(amount, USER2.owner))


def test_the_issuer_pays_from_what_never_moved(tmp_path):
    async def play(mesh):
        key = tmp_path / "mint"
        MINT.save(key)
        paid = await wallet(tmp_path, mesh, keyfile=key).pay("187.65", USER2.owner)
        assert paid.is_final
        assert TEST.total_mils(billot for billot, _ in paid.transfer.billots) == 187_650
        many = await wallet(tmp_path, mesh, keyfile=key).pay(5 * 5, USER2.owner, dry_run=True)
        assert len(many.billots) == 3
        found = await wallet(tmp_path, mesh, keyfile=key).pay("25700", USER2.owner)
        assert (found.takes, found.below, found.above) == (257, 25_600_000, None)
        part = await wallet(tmp_path, mesh, keyfile=key).pay("25600", USER2.owner, dry_run=True)
        assert len(part.billots) == 256

    playing(tmp_path, play, 1)


def test_what_is_signed_over_already_is_paid_with_nothing_else(tmp_path):
    """It was signed and never sent: it is its payee's, and no money of ours any more."""

    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(signed(USER1, USER2, ("a-1", 1)))
        found = await mine.pay("100", MINT.owner)
        assert isinstance(found, NotExact)
        assert (await mine.pay("50", MINT.owner)).is_final

    playing(tmp_path, play, 1)


def test_a_payment_that_no_quorum_has_is_not_final_and_is_finished_later(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh, timeout_s=1.0)
        await mesh.stop(1, 2)
        with pytest.raises(Unreachable, match="1 of 3 servers answer, and 2 are needed"):
            await mine.pay("50", USER2.owner)
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
        (paid,) = await mine.resume()
        assert not paid.is_final
        assert (paid.votes, paid.needed) == (1, 2)
        assert journalled(tmp_path) == ([[["a-1", 1]]], [])
        await mesh.start(1, 2)
        await mesh.linked()
        await mesh.settled("a-1", 1, USER2.owner)
        (resumed,) = await mine.resume()
        assert resumed.is_final
        assert resumed.resumed
        assert await mine.resume() == []

    playing(tmp_path, play)


@pytest.mark.parametrize("how", ["keeps", "refuses"])
def test_attack_a_first_server_that_passes_nothing_on_stops_no_payment(tmp_path, how):
    """One of four, asked first: it says yes and tells nobody, or no, whatever it is shown."""

    async def play(mesh):
        async with FakeServer() as liar:
            hosts = [str(liar.host), *mesh.hosts]
            mine = wallet(tmp_path, mesh, trusted=hosts, timeout_s=1.0)
            if how == "refuses":
                liar.behaviour["transfer"] = lambda _params, _said: Refuse("not_owner", {})
                with pytest.raises(Refused):
                    await mine.pay("120", USER2.owner)
            else:
                assert not (await mine.pay("120", USER2.owner)).is_final
            (paid,) = await mine.resume()
            assert paid.is_final
            assert journalled(tmp_path)[0] == [[["a-1", 1], ["c-1", 1]]]
            assert await mine.resume() == []

    playing(tmp_path, play)


def test_what_the_payee_has_spent_by_now_was_paid(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        paid = signed(USER1, USER2, ("a-1", 1))
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(paid, pays=100_000)
        await submit(mesh.hosts[0], paid)
        await mesh.settled("a-1", 1, USER2.owner)
        await submit(mesh.hosts[0], signed(USER2, MINT, ("a-1", 2)))
        await mesh.settled("a-1", 2, MINT.owner)
        (resumed,) = await mine.resume()
        assert resumed.is_final
        assert journalled(tmp_path)[1]

    playing(tmp_path, play)


def test_a_payment_that_is_refused_keeps_no_other(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
            journal.sign(signed(USER1, USER2, ("b-1", 1)), pays=50_000)
        await submit(mesh.hosts[0], signed(USER1, USER3, ("a-1", 1)))
        await mesh.settled("a-1", 1, USER3.owner)
        told = []
        with pytest.raises(Refused, match="a-1"):
            await mine.resume(told.extend)
        (paid,) = told
        assert paid.is_final
        assert paid.mils == 50_000
        assert len(journalled(tmp_path)[1]) == 1

    playing(tmp_path, play)


def test_attack_what_somebody_else_passed_on_was_not_paid(tmp_path):
    """Another wallet of the same key was first, with another payee: this one has nothing."""

    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
        await submit(mesh.hosts[0], signed(USER1, USER3, ("a-1", 1)))
        await mesh.settled("a-1", 1, USER3.owner)
        await submit(mesh.hosts[0], signed(USER3, MINT, ("a-1", 2)))
        await mesh.settled("a-1", 2, MINT.owner)
        with pytest.raises(Refused):
            await mine.resume()
        assert not journalled(tmp_path)[1]

    playing(tmp_path, play)


def test_attack_a_payment_that_another_wallet_has_spoiled_keeps_no_other_from_its_payee(tmp_path):
    async def play(mesh):
        mine, told = wallet(tmp_path, mesh), []
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000)
            journal.sign(signed(USER1, USER2, ("b-1", 1)), pays=50_000)
        await submit(mesh.hosts[0], signed(USER1, USER3, ("a-1", 1)))
        await mesh.settled("a-1", 1, USER3.owner)
        with pytest.raises(Refused):
            await mine.resume(told.append)
        ((paid,),) = told
        assert (paid.mils, paid.is_final) == (50_000, True)
        assert len(journalled(tmp_path)[1]) == 1
        assert (await mine.check_owner("b-1")).owner == USER2.owner

    playing(tmp_path, play)


@pytest.mark.slow
def test_attack_killed_at_every_step_it_pays_once_and_signs_one_transfer(tmp_path, monkeypatch):
    async def play(mesh):
        billots = iter(fresh(200))
        step, ended = 0, False
        while not ended:
            step += 1
            home = tmp_path / f"home{step}"
            home.mkdir()
            billot = next(billots)
            payer, payee = f"{home}/key", USER2.owner
            await fresh_owner(mesh, payer, billot)
            mine = AsyncWallet(keyfile=payer, trusted=mesh.hosts, data_dir=home / "data")
            with monkeypatch.context() as patch:
                killed_at(patch, step)
                try:
                    ended = (await mine.pay("0.01", payee)).is_final
                except* Killed:
                    pass
            after = await mine.pay("0.01", payee) if not ended else None
            if isinstance(after, NotExact):  # it was final, and written down so
                assert (await mine.check_owner(billot)).owner == payee
            else:
                assert ended or after.is_final
            sent, _ = journalled(home)
            assert sent == [[[billot, 2]]]
            assert await mine.resume() == []
        assert step > 10

    playing(tmp_path, play)


async def fresh_owner(mesh, path, billot):
    """A new key in a file, which owns this billot."""
    mine = AsyncWallet(keyfile=path, trusted=mesh.hosts)
    await mine.generate_keys()
    owner = await mine.owner_hash()
    await submit(mesh.hosts[0], signed(MINT, owner, (billot, 1)))
    await mesh.settled(billot, 1, owner)


def test_two_at_once_never_pay_with_the_same_billot(tmp_path):
    async def play(mesh):
        first, second = wallet(tmp_path, mesh), wallet(tmp_path, mesh)
        done = await asyncio.gather(
            first.pay("100", USER2.owner), second.pay("100", MINT.owner), return_exceptions=True
        )
        paid = [each for each in done if isinstance(each, Payment) and each.is_final]
        others = [each for each in done if each not in paid]
        assert len(paid) == 1
        assert all(isinstance(each, NotExact | AlreadySigned) for each in others)

    playing(tmp_path, play)


def test_the_same_payment_from_two_shells_at_once_is_one(tmp_path):
    """Whoever is second at the journal finds it there."""

    async def play(mesh):
        key = tmp_path / "mint"
        MINT.save(key)
        first, second = (wallet(tmp_path, mesh, keyfile=key) for _ in range(2))
        one, two = await asyncio.gather(
            first.pay("0.35", USER2.owner), second.pay("0.35", USER2.owner)
        )
        assert one.transfer.id == two.transfer.id
        assert one.is_final
        assert two.is_final
        assert len(journalled(tmp_path)[0]) == 1

    playing(tmp_path, play)


def test_a_payment_is_done_with_only_when_the_payer_was_told(tmp_path):
    class NotTold(Exception):
        pass

    def tell(_payment):
        raise NotTold

    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        for _ in range(3):
            with pytest.raises(NotTold):
                await mine.pay("50", USER2.owner, tell=tell)
        told = []
        paid = await mine.pay("50", USER2.owner, tell=told.append)
        assert told == [paid]
        assert paid.resumed
        assert len(journalled(tmp_path)[0]) == 1
        assert isinstance(await mine.pay("50", USER2.owner), NotExact)

    playing(tmp_path, play)


def test_two_references_are_two_payments_and_one_is_one(tmp_path):
    """Told apart while they are open, and after: the payee asked for two."""

    class NotTold(Exception):
        pass

    def tell(_payment):
        raise NotTold

    async def play(mesh):
        key = tmp_path / "mint"
        MINT.save(key)
        mine = wallet(tmp_path, mesh, keyfile=key)
        payee = wallet(tmp_path, mesh, keyfile=tmp_path / "payee")
        await payee.generate_keys()
        asked = [(await payee.request("0.35", ref)).uri for ref in ("invoice 1", "invoice 2", None)]
        for uri in asked:
            for _ in range(2):
                with pytest.raises(NotTold):
                    await mine.pay(None, uri, tell=tell)
        assert len(journalled(tmp_path)[0]) == 3
        paid = [await mine.pay(None, uri) for uri in asked]
        assert [payment.ref for payment in paid] == ["invoice 1", "invoice 2", None]
        assert all(payment.is_final and payment.resumed for payment in paid)
        assert len({payment.transfer.id for payment in paid}) == 3
        assert (await payee.list_billots()).total_mils == 3 * 350
        with pytest.raises(InputError):
            await mine.pay(None, asked[0], ref="invoice 2")

    playing(tmp_path, play)


def test_attack_two_invoices_at_once_are_never_paid_with_one_transfer(tmp_path):
    async def play(mesh):
        first, second = wallet(tmp_path, mesh), wallet(tmp_path, mesh)
        done = await asyncio.gather(
            first.pay("100", USER2.owner, ref="one"),
            second.pay("100", USER2.owner, ref="two"),
            return_exceptions=True,
        )
        paid = [each for each in done if isinstance(each, Payment) and each.is_final]
        others = [each for each in done if each not in paid]
        assert len(paid) == 1
        assert all(isinstance(each, NotExact | AlreadySigned) for each in others)
        assert len(journalled(tmp_path)[0]) == 1

    playing(tmp_path, play)


def test_resume_knows_what_it_was_for(tmp_path):
    async def play(mesh):
        mine = wallet(tmp_path, mesh)
        with Journal.open(USER1.owner, tmp_path / "data") as journal:
            journal.sign(signed(USER1, USER2, ("a-1", 1)), pays=100_000, ref="rent")
        (resumed,) = await mine.resume()
        assert (resumed.is_final, resumed.ref) == (True, "rent")

    playing(tmp_path, play)
