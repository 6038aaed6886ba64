"""Servers that come back: without their store, with an old copy of it, or after a long time.

Who lost memory says nothing that it can't know, and is complete again.
"""

import asyncio
import contextlib
import os
import shutil

import pytest
from servers import (
    DEADLINE_S,
    MINT,
    OTHERS,
    TEST,
    connect,
    fresh,
    mesh,
    run,
    send,
    signed,
    submit,
    until_info,
)
from together import Four, at_once, figure, now, until_equal

from billots.errors import Refused, Unreachable
from billots.holding import Status
from billots.messages import Info, WhoOwns
from billots.statement import Statement
from billots.store import open_store

ANN, BOB, CAT = OTHERS[:3]
ROWS = 64
IN_FLIGHT = 8
MANY = int(os.environ.get("BILLOTS_COUNT", "10000"))


async def ask(host, billots, **how):
    """What a server says of each: (seq, owner, status)."""
    async with await connect(host) as client:
        question = WhoOwns(tuple(billots), **how)
        statement = await client.call("who_owns", question, Statement, timeout_s=20)
    return [(row.seq, row.owner, row.status) for row in statement.billots]


def nothing(count):
    return [(0, None, Status.UNKNOWN)] * count


async def move(host, billots, sender, to, seq):
    """Move billots in transfers of many rows, some of them on their way at a time."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(client, rows):
        async with places:
            await send(client, signed(sender, to, *rows))

    parts = [billots[start : start + ROWS] for start in range(0, len(billots), ROWS)]
    async with await connect(host) as client:
        moves = ([(billot, seq) for billot in some] for some in parts)
        await asyncio.gather(*(one(client, rows) for rows in moves))


async def complete(host, moved, limit_s=DEADLINE_S):
    """Wait until a server has read what it must, and has all that moved, settled."""
    wanted = {"blank": 0, "unread": 0, "unsettled": 0, "billots_moved": moved}
    counts = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while counts != wanted:
                with contextlib.suppress(Unreachable):  # it may be starting again
                    async with await connect(host) as client:
                        while counts != wanted:
                            info = await client.call("info", None, Info)
                            counts = {name: info.counts[name] for name in wanted}
    assert counts == wanted


def wipe(folder):
    shutil.rmtree(folder)


# -- wiped -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_attack_a_wiped_server_alone_says_nothing(tmp_path):
    """The others are away: it can't know what moved, nor that something didn't."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots, unmoved = fresh(8), fresh(4)
            await move(servers.hosts[3], billots, MINT, ANN, 1)
            await until_equal(servers.hosts, billots)
            key = servers.servers[3].key
            await servers.stop()
            wipe(tmp_path / "3.db")
            await servers.start(3)
            assert servers.servers[3].key != key
            host, everything = servers.hosts[3], [*billots, *unmoved]
            assert await ask(host, everything, consult=True) == nothing(12)
            with pytest.raises(Refused) as raised:
                await submit(host, signed(MINT, BOB, (billots[0], 1)))
            assert raised.value.name == "not_settled"
            asked = asyncio.create_task(ask(host, everything))
            await servers.start(0, 1, 2)
            truth = [(1, ANN.owner, "settled")] * 8 + [(0, MINT.owner, "settled")] * 4
            for said, true in zip(await asked, truth, strict=True):
                assert said in (true, *nothing(1))
            await servers.linked()
            await until_equal(servers.hosts, everything)
            assert await ask(host, everything) == truth

    run(main())


def test_attack_a_wiped_server_that_is_asked_at_once_says_only_what_the_others_have(tmp_path):
    """Again and again from its first moment on, and what it is sent contradicts its old votes."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots, unmoved = fresh(200), fresh(8)
            host = servers.hosts[3]
            await move(host, billots, MINT, ANN, 1)
            await until_equal(servers.hosts, billots)
            await servers.stop(3)
            wipe(tmp_path / "3.db")
            await servers.start(3)
            late = [signed(MINT, BOB, (billot, 1)) for billot in billots[::25]]
            good = [signed(ANN, CAT, (billot, 2)) for billot in billots[1::25]]
            (answers,) = await at_once([(host, [*late, *good])])
            for _ in range(10):
                for consult in (True, False):
                    said = await ask(host, [*billots[2:], *unmoved], consult=consult)
                    only_the_truth(said[:198], 1, ANN)
                    only_the_truth(said[198:], 0, MINT)
            assert {error_of(answer) for answer in answers[:8]} <= {
                "not_settled",
                "conflicting_transfer",
            }
            await same_as_answered(servers, good, answers[8:])
            await complete(host, len(billots))
            await until_equal(servers.hosts, [*billots, *unmoved])

    run(main())


def only_the_truth(said, seq, owner):
    moved_on = {(2, CAT.owner, Status.HELD), (2, CAT.owner, Status.SETTLED)}
    allowed = {(seq, owner.owner, "settled"), *nothing(1), *moved_on}
    assert set(said) <= (allowed if seq else allowed - moved_on)


def error_of(answer):
    return answer["error"]["data"]["error"] if "error" in answer else None


async def same_as_answered(servers, transfers, answers):
    """What was accepted is settled everywhere; what was not yet settled is taken now."""
    for transfer, answer in zip(transfers, answers, strict=True):
        assert error_of(answer) in (None, "not_settled")
        if error_of(answer) is not None:
            await submit(servers.hosts[0], transfer)
    billots = [transfer.billots[0][0] for transfer in transfers]
    rows = await until_equal(servers.hosts, billots)
    assert {row[1:4] for row in rows} == {(2, ANN.owner, CAT.owner)}


# -- restored ----------------------------------------------------------------------------------


def test_attack_a_server_with_an_old_copy_starts_as_a_new_one(tmp_path):
    """The others have later votes of its own; what it forgot it must not contradict."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            before, after = fresh(100), fresh(100)
            host, folder = servers.hosts[3], tmp_path / "3.db"
            await move(host, before, MINT, ANN, 1)
            await until_equal(servers.hosts, before)
            key = servers.servers[3].key
            await servers.stop(3)
            shutil.copytree(folder, tmp_path / "copy")
            await servers.start(3)
            await move(host, after, MINT, ANN, 1)
            await move(host, before[:50], ANN, CAT, 2)
            await until_equal(servers.hosts, [*before, *after])
            await servers.stop(3)
            wipe(folder)
            (tmp_path / "copy").rename(folder)
            await servers.start(3)
            late = [signed(MINT, BOB, (billot, 1)) for billot in after[::10]]
            late += [signed(ANN, BOB, (billot, 2)) for billot in before[:50:10]]
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await at_once([(host, late)])  # it hangs up when it starts again
            await complete(host, 200)
            rows = await until_equal(servers.hosts, [*before, *after])
            assert [row[1] for row in rows] == [2] * 50 + [1] * 150
            assert {row[3] for row in rows} == {ANN.owner, CAT.owner}
            assert servers.servers[3].key != key
            for server in servers.servers.values():
                await until_info(server.address, lambda info: info.counts["n"] == 4)
        kept = open_store(tmp_path / "3.db.outdated-1", TEST, create=False)
        assert all(kept.moved(before))
        assert not any(kept.moved(after))
        kept.close()

    run(main())


@pytest.mark.slow
def test_attack_an_old_copy_alone_says_nothing(tmp_path):
    """Nor does it vote, until the others have shown what they have of it."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            before, after, unmoved = fresh(4), fresh(4), fresh(4)
            host, folder = servers.hosts[3], tmp_path / "3.db"
            await move(host, before, MINT, ANN, 1)
            await until_equal(servers.hosts, before)
            await servers.stop(3)
            shutil.copytree(folder, tmp_path / "copy")
            await servers.start(3)
            await move(host, after, MINT, ANN, 1)
            await until_equal(servers.hosts, after)
            await servers.stop()
            wipe(folder)
            (tmp_path / "copy").rename(folder)
            await servers.start(3)
            everything = [*before, *after, *unmoved]
            assert await ask(host, everything, consult=True) == nothing(12)
            assert await ask(host, everything) == nothing(12)
            with pytest.raises(Refused) as raised:
                await submit(host, signed(MINT, BOB, (after[0], 1)))
            assert raised.value.name == "not_settled"
            await servers.start(0, 1, 2)
            await complete(host, 8)
            rows = await until_equal(servers.hosts, everything)
            assert [row[1] for row in rows] == [1] * 8 + [0] * 4
            assert (tmp_path / "3.db.outdated-1").is_dir()

    run(main())


@pytest.mark.slow
def test_a_server_that_started_long_before_the_others_wakes_up(tmp_path):
    """It says nothing until they have shown what they have of it, and is one of them then."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(4)
            await move(servers.hosts[0], billots, MINT, ANN, 1)
            await until_equal(servers.hosts, billots)
            key = servers.servers[3].key
            await servers.stop()
            await servers.start(3)
            assert await ask(servers.hosts[3], billots) == nothing(4)  # after it has waited
            await servers.start(0, 1, 2)
            await complete(servers.hosts[3], 4)
            await until_equal(servers.hosts, billots)
            assert servers.servers[3].key == key

    run(main())


# -- long down ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_was_long_down_is_complete_again(tmp_path):
    """2,000 billots moved meanwhile, some of them several times."""

    async def main():
        async with mesh(tmp_path, 4) as servers:
            billots = fresh(2000)
            key = servers.servers[3].key
            await move(servers.hosts[3], billots[:200], MINT, ANN, 1)
            await until_equal(servers.hosts, billots[:200])
            await servers.stop(3)
            others = servers.hosts[:3]
            await move(others[0], billots[200:], MINT, ANN, 1)
            await until_equal(others, billots)
            for seq, (sender, to) in enumerate([(ANN, BOB), (BOB, CAT), (CAT, ANN)], 2):
                await move(others[seq % 3], billots[: 1200 // seq], sender, to, seq)
                await until_equal(others, billots)
            await servers.start(3)
            begin = now()
            await complete(servers.hosts[3], 2000)
            figure(f"2,000 billots moved meanwhile: complete after {now() - begin:.1f} s")
            await until_equal(servers.hosts, billots)
            assert servers.servers[3].key == key

    run(main())


# -- much to learn -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_wiped_process_learns_all_that_moved(tmp_path):
    """Of four processes; the figure is what the machine makes of it, beside all else it does.

    BILLOTS_COUNT=100000 is what it is measured with; most of that is moving them.
    """
    billots = [f"k-{number}" for number in range(1, MANY + 1)]

    async def main(servers):
        await servers.linked()
        begin = now()
        quarters = enumerate(servers.hosts)
        await asyncio.gather(*(move(h, billots[i::4], MINT, ANN, 1) for i, h in quarters))
        await asyncio.gather(*(complete(h, len(billots), 200) for h in servers.hosts))
        figure(f"{MANY} billots moved and settled by 4 processes in {now() - begin:.1f} s")
        servers.stop(3)
        wipe(servers.folders[3] / "test.db")
        servers.start(3)
        begin = now()
        assert set(await ask(servers.hosts[3], billots[::400], consult=True)) <= {
            *nothing(1),
            (1, ANN.owner, "settled"),
        }
        await complete(servers.hosts[3], len(billots), 200)
        figure(f"a wiped one of them complete again after {now() - begin:.1f} s")
        await until_equal(servers.hosts, billots[::50])

    with Four(tmp_path) as servers:
        servers.start()
        run(main(servers), 580)
