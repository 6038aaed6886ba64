"""A thousand settled billots, and a thousand transfers of their former owner against them."""

import asyncio

import pytest
from servers import MINT, OTHERS, connect, fresh, mesh, run, send, signed, submit
from together import evidence, figure, now, state, until_equal

from billots.errors import Refused

ANN, BOB, CAT = OTHERS[:3]
BILLOTS = 1000
ROWS = 50
AT_ONCE = 100


def batches(billots, size):
    return [billots[start : start + size] for start in range(0, len(billots), size)]


async def refused(host, transfers):
    """Submit transfers; returns the errors, each of which a refusal has to be."""

    async def one(client, transfer):
        with pytest.raises(Refused) as raised:
            await send(client, transfer)
        return raised.value

    errors = []
    async with await connect(host) as client:
        for some in batches(transfers, AT_ONCE):
            errors += await asyncio.gather(*(one(client, transfer) for transfer in some))
    return errors


async def attack(hosts, billots, transfers):
    """Send all transfers to all servers; not one holding may change, nor one be taken."""
    before = await until_equal(hosts, billots)
    begin = now()
    errors = await asyncio.gather(*(refused(host, transfers) for host in hosts))
    took_s = now() - begin
    for each in errors:
        assert {error.name for error in each} == {"conflicting_transfer"}
        for error in each:
            assert {ANN.owner, BOB.owner} <= set(str(error.data).replace("'", " ").split())
    for host in hosts:
        assert await state(host, billots) == before
    figure(f"{sum(map(len, errors))} late conflicts refused by 4 servers in {took_s:.1f} s")


async def still_theirs(servers, billots):
    """The payee spends some of them, each at another server."""
    some = billots[:: len(billots) // 8][:8]
    for index, billot in enumerate(some):
        await submit(servers.hosts[index % 4], signed(ANN, CAT, (billot, 2)))
    rows = await until_equal(servers.hosts, some)
    assert {row[1:4] for row in rows} == {(2, ANN.owner, CAT.owner)}


async def settled(servers, billots):
    """MINT pays ANN, in transfers of many rows."""
    rows = [[(billot, 1) for billot in some] for some in batches(billots, ROWS)]
    for index, some in enumerate(rows):
        await submit(servers.hosts[index % 4], signed(MINT, ANN, *some))
    found = await until_equal(servers.hosts, billots)
    assert {row[1:4] for row in found} == {(1, MINT.owner, ANN.owner)}


@pytest.mark.slow
def test_attack_a_thousand_late_conflicts_change_nothing(tmp_path):
    """One by one, all of them to all servers."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(BILLOTS)
            await settled(servers, billots)
            late = [signed(MINT, BOB, (billot, 1)) for billot in billots]
            await attack(servers.hosts, billots, late)
            assert await evidence(servers.hosts, billots[-1])
            await still_theirs(servers, billots)

    run(main(), 100)


@pytest.mark.slow
def test_attack_late_conflicts_of_many_rows_change_nothing(tmp_path):
    """Bundles that mix settled billots of several transfers: not one row is taken."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(BILLOTS)
            await settled(servers, billots)
            mixed = [sorted(billots[start::8], key=_number) for start in range(8)]
            late = [signed(MINT, BOB, *((billot, 1) for billot in some)) for some in mixed]
            await attack(servers.hosts, billots, late)
            await still_theirs(servers, billots)

    run(main())


@pytest.mark.slow
def test_attack_late_conflicts_change_nothing_after_a_restart(tmp_path):
    """What a server has settled it has settled when it comes back, evidence and all."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(BILLOTS // 4)
            await settled(servers, billots)
            late = [signed(MINT, BOB, (billot, 1)) for billot in billots]
            await attack(servers.hosts, billots, late)
            await servers.stop()
            await servers.start()
            await servers.linked()
            await attack(servers.hosts, billots, late)
            await still_theirs(servers, billots)

    run(main())


def _number(billot):
    return int(billot.partition("-")[2])
