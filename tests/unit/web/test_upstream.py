"""Few questions at a time, none twice at once, and answers kept for a moment."""

import asyncio

import pytest

from billots.messages import Info, NetworkName
from billots.web.upstream import Busy, Gate, Kept, trusted_hosts


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 30))


def test_so_many_are_in_so_many_wait_and_the_others_are_told():
    async def main():
        gate, leave = Gate(2, 3), asyncio.Event()
        entered = []

        async def visit(number):
            async with gate.enter():
                entered.append(number)
                await leave.wait()

        tasks = [asyncio.create_task(visit(number)) for number in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert entered == [0, 1]
        with pytest.raises(Busy):
            await visit(5)
        tasks[2].cancel()  # who gives up waiting makes room
        await asyncio.gather(tasks[2], return_exceptions=True)
        tasks.append(asyncio.create_task(visit(6)))
        leave.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(entered) == [0, 1, 3, 4, 6]
        await visit(7)

    run(main())


def test_who_asks_for_the_same_waits_for_the_same_answer():
    async def main():
        kept, asked, go = Kept(), [], asyncio.Event()

        async def make():
            asked.append(1)
            await go.wait()
            return len(asked)

        first = asyncio.create_task(kept.get("key", 60, make))
        others = [asyncio.create_task(kept.get("key", 60, make)) for _ in range(9)]
        await asyncio.sleep(0)
        first.cancel()  # the others still get theirs
        go.set()
        assert await asyncio.gather(*others) == [1] * 9
        assert await kept.get("key", 60, make) == 1
        assert await kept.get("key", 0, make) == 2
        assert await kept.get("other", 60, make) == 3
        await kept.close()

    run(main())


def test_an_error_is_kept_as_well():
    async def main():
        kept, asked = Kept(), []

        async def make():
            asked.append(1)
            raise Busy

        for _ in range(3):
            with pytest.raises(Busy):
                await kept.get("key", 60, make)
        assert asked == [1]

    run(main())


def test_attack_not_more_is_kept_than_there_is_room_for():
    async def main():
        kept = Kept()

        async def make():
            return 1

        for number in range(2000):
            await kept.get(number, 60, make)
        assert len(kept._answers) <= 512

    run(main())


def test_what_is_no_host_is_passed_over():
    hosts = ["a.org:7333", "<script>", "", "b.org:7334#" + "0" * 64, "c.org:1-9"]
    name = NetworkName("test", "0" * 32)
    info = Info("billots", "1", 1, name, "0" * 64, 0, 0, hosts, {}, {})
    assert [host.place for host in trusted_hosts(info)] == ["a.org:7333", "b.org:7334"]
