"""Three honest servers, one that lies, and an owner who conspires with it, on real TCP.

The owner signs a-1 to B and to C. B becomes final by the votes of two honest servers and the
liar's. Then liar and owner do what they can for C, and the liar falls silent: B can still spend,
all honest servers end equal, and C is final for nobody at any time.
"""

import asyncio
import contextlib

import pytest
from liar import WALLETS, Liar
from servers import (
    MINT,
    MOCK,
    OTHERS,
    USER1,
    USER2,
    USER3,
    Mesh,
    connect,
    run,
    signed,
    submit,
    until_info,
)
from together import at_once, evidence, state_by, until_equal

from billots.async_wallet import AsyncWallet
from billots.errors import BillotsError, Refused
from billots.feed import AdoptedRow, TransferRow
from billots.holding import Status
from billots.kept_receipts import KeptReceipts
from billots.messages import Settle, WhoOwns
from billots.quorum import Verdict
from billots.receipt import SignedVote
from billots.statement import Statement, new_nonce

pytestmark = pytest.mark.slow
BILLOT = "a-1"  # of USER1, who is the owner that signs it over twice
DAN = OTHERS[3]


class Plot:
    """The stage: three servers that each trust the other two and the liar, and wallets."""

    def __init__(self, folder, mesh, liar):
        self.mesh = mesh
        self.liar = liar
        self.to_b = signed(USER1, USER2, (BILLOT, 1))
        self.to_c = signed(USER1, USER3, (BILLOT, 1))
        liar.know(self.to_b, self.to_c)
        self.calm = asyncio.Lock()
        """Held while servers stop: asyncio leaks whom it accepts just then."""
        self._folder = folder

    @property
    def hosts(self):
        return self.mesh.hosts

    async def start(self, *indexes):
        for index in indexes:
            others = [host for i, host in enumerate(self.hosts) if i != index]
            await self.mesh.start(index, trusted=[*others, str(self.liar.host)])

    async def linked(self, links=3):
        """All follow each other and the liar, and may speak."""
        for server in self.mesh.servers.values():
            await until_info(
                server.address,
                lambda info: (info.counts["links_up"], info.counts["blank"]) == (links, 0),
            )

    def wallet(self, name, server=0):
        """The wallet of a mock user, with a folder of its own, that trusts all four."""
        return AsyncWallet(
            keyfile=MOCK / name,
            server=self.hosts[server],
            trusted=[*self.hosts, str(self.liar.host)],
            data_dir=self._folder / name,
        )

    def keys(self, *indexes):
        return [self.mesh.servers[index].key for index in indexes]

    # -- what must never be -------------------------------------------------------------------

    async def watch(self):
        """Ask all honest servers again and again: C's vote may never be settled at one."""
        while True:
            for index in range(3):
                with contextlib.suppress(BillotsError):  # it may be down just now
                    async with self.calm, await connect(self.hosts[index]) as client:
                        ((_, seq, sender, owner, status),) = await state_by(client, [BILLOT])
                    if (seq, owner, status) == (1, USER3.owner, "settled"):
                        return f"server {index} has C settled"
                    if seq > 1 and sender == USER3.owner:
                        return f"server {index} let C spend"
            await asyncio.sleep(0)

    async def c_is_not_final(self):
        check = await self.wallet("user3").check_owner(BILLOT)
        assert (check.verdict, check.owner) != (Verdict.OWNER, USER3.owner)

    async def c_spends_nothing(self, *indexes):
        for index in indexes:
            with pytest.raises(Refused):
                await submit(self.hosts[index], signed(USER3, DAN, (BILLOT, 2)))
        with pytest.raises(Refused):
            await self.wallet("user3").transfer(BILLOT, DAN.owner)

    # -- what must be -------------------------------------------------------------------------

    async def b_is_final(self):
        """By signed votes, which are on disk then."""
        check = await self.wallet("user2").check_owner(BILLOT)
        assert (check.verdict, check.owner, check.unkept) == (Verdict.OWNER, USER2.owner, False)
        kept = KeptReceipts(self._folder / "user2").find(self.to_b.network, [BILLOT])
        assert kept[BILLOT].receipt.transfer.id == self.to_b.id

    async def b_spends(self, server=0):
        """Its wallet shows the receipt where it is needed; the next payee is final, too."""
        sent = await self.wallet("user2", server).transfer(BILLOT, MINT.owner)
        assert sent.transfer.billots == ((BILLOT, 2),)
        assert sent.host.place == self.hosts[server]
        (row,) = await until_equal(self.hosts, [BILLOT])
        assert row[1:4] == (2, USER2.owner, MINT.owner)
        check = await self.wallet("mint").check_owner(BILLOT)
        assert (check.verdict, check.owner) == (Verdict.OWNER, MINT.owner)


@contextlib.asynccontextmanager
async def plot(folder):
    async with Liar() as liar, Mesh(folder, 3) as mesh:
        stage = Plot(folder, mesh, liar)
        watching = asyncio.create_task(stage.watch())
        try:
            yield stage
            assert not watching.done(), watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


# -- the lies ----------------------------------------------------------------------------------


def fed(transfer):
    return lambda lsn: TransferRow(lsn, transfer.id)


def adopted(transfer):
    return lambda lsn: AdoptedRow(lsn, BILLOT, 1, transfer.sender, transfer.to)


async def for_c_everywhere(stage):
    """Its feed names C to all, and a consult hears that C is settled."""
    for key in stage.keys(0, 1, 2):
        stage.liar.story(key).tell(stage.to_c)
        stage.liar.feed(key, fed(stage.to_c))


async def two_faced(stage):
    """B for those who have B, C for the third."""
    for key in stage.keys(0, 1):
        stage.liar.story(key).tell(stage.to_b, Status.HELD)
        stage.liar.feed(key, fed(stage.to_b))
    (third,) = stage.keys(2)
    stage.liar.story(third).tell(stage.to_c)
    stage.liar.feed(third, fed(stage.to_c), transfers=[stage.to_c])


async def both_at_once(stage):
    """One feed with a vote for each, C first; the consults hear C."""
    for key in stage.keys(0, 1, 2):
        stage.liar.story(key).tell(stage.to_c, Status.CONTESTED)
        stage.liar.feed(key, fed(stage.to_c), fed(stage.to_b))


async def adopted_by_it(stage):
    """A claim in the feed that C is settled, and the same in consults."""
    for key in stage.keys(0, 1, 2):
        stage.liar.story(key).tell(stage.to_c)
        stage.liar.feed(key, adopted(stage.to_c))


async def claims_in_consults(stage):
    """No word in the feeds; who asks hears that C is settled."""
    for key in stage.keys(0, 1, 2):
        stage.liar.story(key).tell(stage.to_c)


async def with_a_short_receipt(stage):
    """C with a receipt of its own vote and the third's, each of them twice."""
    votes = [await vote_of(stage, 2), stage.liar.vote(stage.to_c, BILLOT, Status.HELD)]
    receipt = stage.liar.receipt(stage.to_c, BILLOT, *votes, votes[0])
    for key in stage.keys(0, 1, 2):
        stage.liar.story(key).tell(stage.to_c, Status.SETTLED, receipt)
        stage.liar.feed(key, fed(stage.to_c))
    for host in stage.hosts:
        async with await connect(host) as client:
            with pytest.raises(Refused) as raised:
                await client.call("settle", Settle((receipt,)), Statement)
            assert raised.value.name == "bad_receipt"


async def a_step_ahead(stage):
    """As if C had moved on: a holding at seq 2, which counts for nobody at seq 1."""
    onwards = signed(USER3, DAN, (BILLOT, 2))
    stage.liar.know(onwards)
    for key in stage.keys(0, 1, 2):
        stage.liar.story(key).tell(onwards)
        stage.liar.feed(key, fed(stage.to_c), fed(onwards))


async def vote_of(stage, index):
    async with await connect(stage.hosts[index]) as client:
        question = WhoOwns((BILLOT,), new_nonce())
        statement = await client.call("who_owns", question, Statement)
    return SignedVote(statement=statement.signed())


LIES = (
    for_c_everywhere,
    two_faced,
    both_at_once,
    adopted_by_it,
    claims_in_consults,
    with_a_short_receipt,
    a_step_ahead,
)
GONE, MUTE, LIES_ON = "gone before B spends", "mute before B spends", "lies on until B has spent"
PLAYS = [
    *((lie, silence) for silence in (GONE, LIES_ON) for lie in LIES),
    *((lie, MUTE) for lie in (for_c_everywhere, two_faced, claims_in_consults)),
]


async def turn(stage, silence):
    """The liar tells wallets C now; then it falls silent, or lies on."""
    stage.liar.story(WALLETS).tell(stage.to_c)
    await stage.c_is_not_final()
    await stage.c_spends_nothing(2)
    if silence is GONE:
        stage.liar.vanish()
    elif silence is MUTE:
        stage.liar.fall_silent()


async def ended(stage, server=0):
    await stage.b_spends(server)
    await stage.c_is_not_final()
    stage.liar.vanish()
    await stage.c_spends_nothing(0, 1, 2)
    both = {stage.to_b.id, stage.to_c.id}
    assert await evidence(stage.hosts, BILLOT) == [both] * 3


async def three_took(stage):
    """Two honest servers have B, the third C, all at the same moment."""
    await stage.start(0, 1, 2)
    await stage.linked()
    stage.liar.story(WALLETS).tell(stage.to_b)
    heard = (stage.to_b, stage.to_b, stage.to_c)
    await at_once([(host, [each]) for host, each in zip(stage.hosts, heard, strict=True)])


@pytest.mark.parametrize(
    ("lie", "silence"), PLAYS, ids=lambda each: getattr(each, "__name__", each)
)
def test_attack_who_was_final_stays_so_whatever_liar_and_owner_do(tmp_path, lie, silence):
    """The third honest server took C at the moment when the other two took B."""

    async def main():
        async with plot(tmp_path) as stage:
            await three_took(stage)
            await lie(stage)
            await evidence(stage.hosts, BILLOT)
            await stage.b_is_final()
            await turn(stage, silence)
            await ended(stage)

    run(main())


@pytest.mark.parametrize("silence", [GONE, MUTE, LIES_ON])
def test_attack_who_was_final_can_spend_where_the_other_was_taken(tmp_path, silence):
    """There the refusal is not_owner, and the receipt turns it into a yes."""

    async def main():
        async with plot(tmp_path) as stage:
            await three_took(stage)
            await for_c_everywhere(stage)
            await evidence(stage.hosts, BILLOT)
            await stage.b_is_final()
            await turn(stage, silence)
            await ended(stage, server=2)

    run(main())


def test_attack_the_third_was_away_and_hears_only_the_lie(tmp_path):
    """B is final by two and the liar; the third starts afterwards, and is sent C at once."""

    async def main():
        async with plot(tmp_path) as stage:
            await stage.start(0, 1)
            await stage.linked(links=2)
            stage.liar.story(WALLETS).tell(stage.to_b)
            await at_once([(host, [stage.to_b]) for host in stage.hosts[:2]])
            await stage.b_is_final()
            for key in stage.keys(0, 1):
                stage.liar.story(key).tell(stage.to_c)
            await stage.start(2)
            stage.liar.story(*stage.keys(2)).tell(stage.to_c)
            with contextlib.suppress(Refused):
                await submit(stage.hosts[2], stage.to_c)
            await stage.linked()
            await for_c_everywhere(stage)
            await evidence(stage.hosts, BILLOT)  # who alone has C must not vanish with it
            await turn(stage, GONE)
            await ended(stage)

    run(main())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_attack_all_honest_servers_start_again_before_b_spends(tmp_path, order):
    """Disputed when they stopped; the liar is gone when they come back."""

    async def main():
        async with plot(tmp_path) as stage:
            await three_took(stage)
            await for_c_everywhere(stage)
            await evidence(stage.hosts, BILLOT)
            await stage.b_is_final()
            await turn(stage, GONE)
            async with stage.calm:
                await stage.mesh.stop()
            for index in order:
                await stage.start(index)
            await stage.linked(links=2)
            await ended(stage)

    run(main())
