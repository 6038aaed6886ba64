"""A faucet's hand with real servers: final, exact, once, and within its limits."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import pytest
from servers import MINT, OTHERS, TEST, USER1, Mesh, run, signed, submit

from billots.dispensing import OPEN_MAX, Dispenser
from billots.errors import Unreachable, WrongNetwork
from billots.faucet_book import FaucetBook
from billots.journal import Journal
from billots.network import Network
from billots.payouts import Payout, Reason, Refusal
from billots.rationing import Ration
from billots.wallet import AsyncWallet

RATION = Ration(gives=1_000, per_hour=10_000, per_owner=1, per_address=3)
NOW_MS = 1_800_000_000_000
ALICE, BOB = OTHERS[0].owner, OTHERS[1].owner


class Steady:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.ms = 0

    def __call__(self):
        return self.ms


@contextlib.asynccontextmanager
async def faucet(folder, hosts, *, key=MINT, ration=RATION, steady=None, **more):
    steady = steady or Steady()
    keyfile = folder / f"key-{key.owner[:8]}"
    if not keyfile.exists():
        key.save(keyfile)
    book = FaucetBook.open(
        TEST.id, ration, wall_ms=NOW_MS, steady_ms=steady(), directory=folder / "data"
    )
    settings = {"keyfile": keyfile, "trusted": hosts, "network": TEST, "data_dir": folder / "data"}
    hand = Dispenser(book, steady, **(settings | more))
    try:
        await hand.start()
        yield hand
    finally:
        await hand.stop()
        book.close()


async def ended(payout):
    assert isinstance(payout, Payout), payout
    while not payout.ended:
        await payout.news(payout.version)
    return payout


def journalled(folder, key=MINT):
    with Journal.open(key.owner, folder / "data") as journal:
        return len(journal._entries), len(journal.payments(TEST.id))


def playing(tmp_path, play, count=3, timeout_s=60):
    async def whole():
        async with Mesh(tmp_path, count) as mesh:
            await mesh.start()
            await mesh.linked()
            return await play(mesh)

    return run(whole(), timeout_s)


async def owned(folder, mesh, key):
    path = folder / f"key-{key.owner[:8]}"
    if not path.exists():
        key.save(path)
    wallet = AsyncWallet(keyfile=path, trusted=mesh.hosts, data_dir=folder / "theirs")
    return await wallet.list_billots()


def test_a_claim_is_paid_in_mixed_notes_and_final(tmp_path):
    async def play(mesh):
        async with faucet(tmp_path, mesh.hosts) as hand:
            payout = await ended(await hand.claim(ALICE, "1"))
            assert payout.final
            assert payout.votes >= payout.needed == 2
            assert len(payout.answers) == 3
            assert payout.seconds > 0
            notes = sorted(TEST.mils(billot) for billot, _ in payout.transfer.billots)
            assert (sum(notes), len(set(notes))) == (1_000, 5)
            assert hand.find(payout.transfer.id) is payout
            assert hand.left_mils == 9_000
            listing = await owned(tmp_path, mesh, OTHERS[0])
            assert listing.total_mils == 1_000
        assert journalled(tmp_path) == (1, 0)

    playing(tmp_path, play)


def test_no_news_is_missed_by_who_was_busy_when_it_came():
    async def play():
        payout = Payout(record=None)
        version = payout.version
        payout.tell()  # while the version before was being sent
        await payout.news(version)
        waiting = asyncio.create_task(payout.news(payout.version))
        await asyncio.sleep(0)
        assert not waiting.done()
        payout.tell()
        await waiting

    run(play(), 5)


def test_who_asks_twice_at_once_is_paid_once(tmp_path):
    async def play(mesh):
        ration = Ration(gives=1_000, per_hour=10_000, per_owner=5, per_address=9)
        async with faucet(tmp_path, mesh.hosts, ration=ration) as hand:
            payouts = await asyncio.gather(*(hand.claim(ALICE, str(n)) for n in range(20)))
            assert len({payout.transfer.id for payout in payouts}) == 1
            await ended(payouts[0])
        assert journalled(tmp_path) == (1, 0)

    playing(tmp_path, play)


def test_attack_a_flood_is_given_no_more_than_the_budget(tmp_path):
    async def play(mesh):
        ration = Ration(gives=1_000, per_hour=10_000, per_owner=1, per_address=1_000)
        async with faucet(tmp_path, mesh.hosts, ration=ration) as hand:
            owners = [f"{number:0128x}" for number in range(300)]
            claims = await asyncio.gather(*(hand.claim(owner, owner) for owner in owners))
            paid = [claim for claim in claims if isinstance(claim, Payout)]
            reasons = {claim.reason for claim in claims if isinstance(claim, Refusal)}
            assert (len(paid), reasons) == (10, {Reason.BUDGET})
            for payout in paid:
                assert (await ended(payout)).final
            assert hand.left_mils == 0
        assert journalled(tmp_path) == (10, 0)

    playing(tmp_path, play)


def test_a_flood_within_the_budget_finds_it_busy_and_is_bounded(tmp_path):
    async def play(mesh):
        ration = Ration(gives=5, per_hour=10_000, per_owner=1, per_address=1_000)
        async with faucet(tmp_path, mesh.hosts, ration=ration) as hand:
            owners = [f"{number:0128x}" for number in range(100)]
            claims = await asyncio.gather(*(hand.claim(owner, "1") for owner in owners))
            paid = [claim for claim in claims if isinstance(claim, Payout)]
            assert len(paid) == OPEN_MAX
            assert {c.reason for c in claims if isinstance(c, Refusal)} == {Reason.BUSY}

    playing(tmp_path, play)


def test_limits_say_when_to_come_back_and_what_was_given(tmp_path):
    async def play(mesh):
        steady = Steady()
        async with faucet(tmp_path, mesh.hosts, steady=steady) as hand:
            payout = await ended(await hand.claim(ALICE, "1"))
            steady.ms = 3_600_000
            refused = await hand.claim(ALICE, "2")
            assert refused == Refusal(Reason.OWNER, 23 * 3600, payout.transfer.id)
            for number in (1, 2):
                await ended(await hand.claim(OTHERS[number].owner, "1"))
            assert await hand.claim(OTHERS[3].owner, "1") == Refusal(Reason.ADDRESS, 23 * 3600)

    playing(tmp_path, play)


def test_an_empty_purse_says_so_and_counts_nothing(tmp_path):
    async def play(mesh):
        steady = Steady()
        async with faucet(tmp_path, mesh.hosts, key=OTHERS[5], steady=steady) as hand:
            assert hand.purse_mils == 0
            assert (await hand.claim(ALICE, "1")).reason is Reason.EMPTY
            lines = hand.book.path.read_bytes()
            for number in range(50):  # while it is known to be empty nobody makes it write or ask
                assert (await hand.claim(OTHERS[number % 4].owner, "1")).reason is Reason.EMPTY
            assert hand.book.path.read_bytes() == lines
            assert hand.left_mils == 10_000
            await submit(mesh.hosts[0], signed(MINT, OTHERS[5], ("f-77", 1)))
            await mesh.settled("f-77", 1, OTHERS[5])
            steady.ms = 60_000
            payout = await ended(await hand.claim(ALICE, "1"))
            assert payout.transfer.billots == (("f-77", 2),)

    playing(tmp_path, play)


def test_without_servers_nothing_is_given_and_nothing_counts(tmp_path):
    async def play(mesh):
        steady = Steady()
        async with faucet(tmp_path, mesh.hosts, steady=steady, timeout_s=1.0) as hand:
            await mesh.stop()
            assert (await hand.claim(ALICE, "1")).reason is Reason.UNABLE
            assert hand.left_mils == 10_000
            await mesh.start()
            await mesh.linked()
            steady.ms = 60_000
            assert (await ended(await hand.claim(ALICE, "1"))).final

    playing(tmp_path, play)


def test_a_purse_that_somebody_else_spends_from_is_looked_at_again(tmp_path):
    async def play(mesh):
        for billot in ("f-11", "f-12"):
            await submit(mesh.hosts[0], signed(MINT, OTHERS[5], (billot, 1)))
        for billot in ("f-11", "f-12"):
            await mesh.settled(billot, 1, OTHERS[5])
        async with faucet(tmp_path, mesh.hosts, key=OTHERS[5]) as hand:
            await submit(mesh.hosts[0], signed(OTHERS[5], USER1, ("f-11", 2)))
            await mesh.settled("f-11", 2, USER1)
            payout = await ended(await hand.claim(ALICE, "1"))
            assert payout.transfer.billots == (("f-12", 2),)

    playing(tmp_path, play)


def test_servers_of_another_network_are_an_error(tmp_path):
    async def play(mesh):
        other = Network.parse('name = "x"\n[[denominations]]\nprefix = "a-"\nvalue = "1"\n'
                              "circulation = 5\n")  # fmt: skip
        with pytest.raises(WrongNetwork):
            async with faucet(tmp_path, mesh.hosts, network=other):
                pass
        with pytest.raises(Unreachable):
            async with faucet(tmp_path, ["127.0.0.1:1"]):
                pass

    playing(tmp_path, play, 1)


# -- crashes -------------------------------------------------------------------------------------


def test_what_was_granted_and_not_signed_is_taken_back_at_the_next_start(tmp_path):
    async def play(mesh):
        async with faucet(tmp_path, mesh.hosts) as hand:
            hand.book.grant(ALICE, "1", 0)  # and it is killed before it signs
        async with faucet(tmp_path, mesh.hosts) as hand:
            assert hand.left_mils == 10_000
            await ended(await hand.claim(ALICE, "1"))
        assert journalled(tmp_path) == (1, 0)

    playing(tmp_path, play)


def test_what_was_signed_and_not_sent_is_sent_at_the_next_start(tmp_path):
    async def play(mesh):
        async with faucet(tmp_path, mesh.hosts) as hand:
            record = hand.book.grant(ALICE, "1", 0)
            with Journal.open(MINT.owner, tmp_path / "data") as journal:
                transfer = signed(MINT, OTHERS[0], ("f-9", 1))
                journal.sign(transfer, pays=1_000)
            assert record.transfer_id is None  # and it is killed before the book knows
        async with faucet(tmp_path, mesh.hosts) as hand:
            payout = await hand.claim(ALICE, "2")
            assert payout.transfer == transfer
            assert (await ended(payout)).final
            assert (await hand.claim(ALICE, "2")).reason is Reason.OWNER
        assert journalled(tmp_path) == (1, 0)

    playing(tmp_path, play)


KILLED = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_dispensing as t
from billots.connection import Client

folder, hosts, after = Path(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])
steps = 0

def step():
    global steps
    steps += 1
    if steps > after:
        os.kill(os.getpid(), 9)

async def play():
    async with t.faucet(folder, hosts) as hand:
        call, sync = Client.call, os.fsync
        async def stepping_call(self, method, *rest, **more):
            step()
            return await call(self, method, *rest, **more)
        def stepping_sync(descriptor):
            step()
            sync(descriptor)
            step()
        Client.call, os.fsync = stepping_call, stepping_sync
        await t.ended(await hand.claim(t.ALICE, "1"))
asyncio.run(play())
"""


@pytest.mark.slow
def test_killed_at_any_step_of_a_payment_it_pays_once(tmp_path):
    """SIGKILL at each message and around each write in turn; after a start there is one payment."""
    here = Path(__file__).parent

    async def killed(mesh, folder, after):
        folder.mkdir()
        words = [sys.executable, "-c", KILLED, here, folder, ",".join(mesh.hosts), str(after)]
        process = await asyncio.create_subprocess_exec(*map(str, words))
        status = await process.wait()
        async with faucet(folder, mesh.hosts) as hand:
            for payout in list(hand._open.values()):
                assert (await ended(payout)).final
            claim = await hand.claim(ALICE, "1")
            if isinstance(claim, Payout):
                assert (await ended(claim)).final
            assert (await hand.claim(ALICE, "1")).reason is Reason.OWNER
            assert hand.left_mils == 9_000
            assert not hand.book.open_records()
        assert journalled(folder) == (1, 0)
        return status

    async def play(mesh):
        statuses = [-signal.SIGKILL]
        while statuses[-1] != 0:
            statuses.append(await killed(mesh, tmp_path / f"{len(statuses)}", len(statuses) - 1))
        assert set(statuses[:-1]) == {-signal.SIGKILL}
        assert len(statuses) > 20

    playing(tmp_path, play, timeout_s=110)
