"""Links cut between real servers, in network namespaces: money moves on, and all agree again."""

import contextlib

import pytest
from namespaces import Switch
from servers import (
    MINT,
    USER1,
    USER2,
    USER3,
    connect,
    fresh,
    holdings,
    run,
    signed,
    submit,
    until,
    until_info,
    until_settled,
)

from billots.holding import Status
from billots.messages import Evidence, Pair

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@contextlib.contextmanager
def four(tmp_path):
    """Four servers that trust each other, each on its own machine as it were."""
    with Switch(4) as switch, contextlib.ExitStack() as stack:
        for index in range(4):
            stack.enter_context(switch.server(index, tmp_path))
        yield switch


async def linked(switch):
    for index in range(4):
        await until_info(switch.client(index), lambda info: info.counts["links_up"] == 3)


async def settled(switch, indexes, billots, seq, owner):
    for index in indexes:
        for billot in billots:
            await until_settled(switch.client(index), billot, seq, owner)


async def states(switch, billots):
    """What each server says of each billot."""
    found = []
    for index in range(4):
        async with await connect(switch.client(index)) as client:
            rows = await holdings(client, *billots)
            found.append([(row.id, row.seq, row.sender, row.owner, row.status) for row in rows])
    return found


async def evidence(switch, billot):
    """Both transfers of a double spend, as each server shows them."""
    pairs = []
    for index in range(4):
        async with await connect(switch.client(index)) as client:
            pair = await until(
                lambda client=client: client.call("evidence", Evidence(billot), Pair | None),
                lambda pair: pair is not None,
            )
            pairs.append({pair.first.id, pair.second.id})
    return pairs


def test_attack_one_server_cut_off_and_lied_to_ends_with_the_others(tmp_path):
    """Three go on; who is alone takes a payment they never saw, and one they saw otherwise."""
    moved, other, twice = fresh(8), fresh(1), fresh(1)

    async def main(switch):
        await linked(switch)
        await submit(switch.client(3), *[signed(MINT, USER1, (billot, 1)) for billot in moved])
        await settled(switch, range(4), moved, 1, USER1)

        switch.pull(3)
        await submit(switch.client(0), *[signed(USER1, USER2, (billot, 2)) for billot in moved])
        await settled(switch, range(3), moved, 2, USER2)
        await submit(switch.client(1), *[signed(USER2, USER3, (billot, 3)) for billot in moved])
        first, second = (signed(MINT, payee, (twice[0], 1)) for payee in (USER1, USER2))
        await submit(switch.client(2), first)
        await settled(switch, range(3), moved, 3, USER3)
        await settled(switch, range(3), twice, 1, USER1)
        await submit(switch.client(3), second, signed(MINT, USER1, (other[0], 1)))
        async with await connect(switch.client(3)) as client:
            rows = await holdings(client, twice[0], other[0], moved[0])
            assert [(row.seq, row.status) for row in rows[:2]] == [(1, Status.HELD)] * 2
            assert (rows[0].owner, rows[2].seq) == (USER2.owner, 1)

        switch.heal()
        await settled(switch, range(4), moved, 3, USER3)
        await settled(switch, range(4), [*twice, *other], 1, USER1)
        first_state, *others = await states(switch, [*moved, *other, *twice])
        assert others == [first_state] * 3
        assert await evidence(switch, twice[0]) == [{first.id, second.id}] * 4

    with four(tmp_path) as switch:
        run(main(switch), 120)


def test_attack_two_and_two_signed_over_twice_are_disputed_everywhere(tmp_path):
    """Nobody has a quorum, nobody can have one: all say so, and what is not disputed goes on."""
    twice, here, there = fresh(3)

    async def main(switch):
        await linked(switch)
        switch.split(2, "second")
        switch.split(3, "second")
        first, second = (signed(MINT, payee, (twice, 1)) for payee in (USER1, USER2))
        await submit(switch.client(0), first, signed(MINT, USER1, (here, 1)))
        await submit(switch.client(2), second, signed(MINT, USER2, (there, 1)))
        for index, transfer in enumerate((first, first, second, second)):
            async with await connect(switch.client(index)) as client:
                await until(
                    lambda client=client: holdings(client, twice),
                    lambda rows, to=transfer.to: (rows[0].seq, rows[0].owner) == (1, to),
                )

        switch.heal()
        await settled(switch, range(4), [here], 1, USER1)
        await settled(switch, range(4), [there], 1, USER2)
        found = await until(
            lambda: states(switch, [twice]),
            lambda found: all(rows[0][-1] is Status.DISPUTED for rows in found),
        )
        assert [rows[0][3] for rows in found] == [USER1.owner] * 2 + [USER2.owner] * 2
        assert await evidence(switch, twice) == [{first.id, second.id}] * 4

    with four(tmp_path) as switch:
        run(main(switch), 120)
