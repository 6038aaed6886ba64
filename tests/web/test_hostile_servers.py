"""Pages about servers that lie, say nonsense, or say nothing: real TCP, in this process."""

import asyncio
import contextlib
import re
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "network"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "web"))
from fake_server import CLOSE, SILENT, FakeServer
from pages import get, until
from servers import MINT, OTHERS, TEST, USER1, USER2, USER3, run, signed

from billots.host import Host
from billots.network import Network
from billots.web.explorer import Explorer
from billots.web.serving import serving

pytestmark = pytest.mark.slow

MARKUP = "<script>window.pwned=1</script><img src=x onerror=alert(1)>\"'"


@contextlib.asynccontextmanager
async def explored(own, network=TEST):
    """(the explorer, where its pages are) of the server `own`."""
    explorer = Explorer(own.host, network, host="127.0.0.1")
    place = Host("127.0.0.1", 0)
    async with (
        explorer.running(),
        serving(explorer.app, place, before_stop=explorer.streams.close) as host,
    ):
        yield explorer, host


def is_harmless(text):
    assert "<script>" not in text
    assert "<img src=x" not in text
    return text


def test_attack_markup_from_a_server_stays_text():
    async def main():
        async with FakeServer() as own, FakeServer() as peer:
            own.trusted = [str(peer.pinned), MARKUP, f"{MARKUP}:1"]

            def info(_params, default):
                counts = {MARKUP: 1, "billots_moved": 7, 'x"} 1\nforged{a="': 2}
                return msgspec.structs.replace(default, name=MARKUP, version=MARKUP, counts=counts)

            own.behaviour["info"] = peer.behaviour["info"] = info
            async with explored(own) as (_, host):
                found = await get(host, "/")
                assert found.status == 200
                assert "&lt;script&gt;window.pwned=1" in is_harmless(found.text)
                said = (await get(host, "/metrics")).text
                assert MARKUP not in said
                assert "forged" not in said
                assert 'billots_count{name="billots_moved"} 7.0' in said
                is_harmless((await get(host, "/billot/a-1")).text)

    run(main())


def test_attack_a_liar_is_shown_as_one_and_has_no_quorum():
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            own, *peers = [await stack.enter_async_context(FakeServer()) for _ in range(4)]
            own.trusted = [str(peer.pinned) for peer in peers]
            for server in (own, *peers[:2]):
                server.own("a-1", 1, USER1.owner, USER2.owner)
            peers[2].own("a-1", 1, USER1.owner, USER3.owner)
            async with explored(own) as (_, host):
                text = (await get(host, "/billot/a-1")).text
                assert "a quorum names one: 3 of 4 servers" in " ".join(text.split())
                assert text.count("<strong>disagrees</strong>") == 1
                text = (await get(host, "/")).text
                assert text.count(">differs<") == 1

    run(main())


def test_attack_forged_evidence_is_not_shown():
    async def main():
        async with FakeServer() as own:
            good = signed(USER1, USER2, ("a-1", 1)), signed(USER1, USER3, ("a-1", 1))
            forged = msgspec.structs.replace(good[1], signature="00" * 64)
            own.own("a-1", 1, USER1.owner, USER2.owner)
            async with explored(own) as (_, host):
                own.evidence["a-1"] = good[0], forged
                assert "Signed over twice" not in (await get(host, "/billot/a-1")).text
            own.evidence["a-1"] = good
            async with explored(own) as (_, host):
                assert "Signed over twice" in (await get(host, "/billot/a-1")).text

    run(main())


def test_attack_a_server_under_another_key_counts_for_nothing():
    async def main():
        async with FakeServer() as own, FakeServer() as peer:
            own.trusted = [f"{peer.host.place}#{OTHERS[0].public_hex}"]
            async with explored(own) as (_, host):
                text = (await get(host, "/billot/a-1")).text
                assert "shows another key than the one known" in text

    run(main())


def test_attack_a_server_of_another_network_is_not_shown_as_this_one():
    async def main():
        live = Network.shipped("main")
        async with FakeServer(live) as own, explored(own) as (_, host):
            for path in ("/", "/billot/a-1", "/healthz"):
                found = await get(host, path)
                assert found.status == 503
            assert "another network" in found.text

    run(main())


def test_attack_a_peer_that_says_nothing_or_nonsense_does_not_stop_a_page():
    async def main():
        async with FakeServer() as own, FakeServer() as mute, FakeServer() as gone:
            own.trusted = [str(mute.pinned), str(gone.pinned)]
            gone.behaviour["info"] = lambda *_: CLOSE
            mute.behaviour["who_owns"] = lambda *_: SILENT
            async with explored(own) as (explorer, host):
                text = (await get(host, "/billot/a-1")).text
                assert "did not answer in time" in text
                assert "no quorum yet" in text
                assert len(explorer.streams) == 0

    run(main())


def test_attack_a_burst_of_questions_asks_the_servers_little():
    """The same page for many is one question; more different ones than there is room for, 503."""

    async def main():
        async with FakeServer() as own, explored(own) as (_, host):
            await get(host, "/billot/a-1")
            before = len(own.asked("who_owns"))
            answers = await asyncio.gather(*(get(host, "/billot/b-1") for _ in range(30)))
            assert {answer.status for answer in answers} == {200}
            assert len(own.asked("who_owns")) == before + 1
            own.gate = asyncio.Event()
            asked = [asyncio.create_task(get(host, f"/billot/b-{n}")) for n in range(2, 42)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status for task in done} == {503}
            own.gate.set()
            statuses = [(await task).status for task in asked]
            assert set(statuses) == {200, 503}
            assert statuses.count(200) <= 15

    run(main())


def test_the_feed_is_followed_again_after_its_server_was_gone():
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            own = await stack.enter_async_context(FakeServer())
            async with explored(own) as (explorer, _):
                await until(lambda: explorer.follower.connected)
                await stack.aclose()
                await until(lambda: not explorer.follower.connected)
                async with FakeServer(key=own.key, port=own.port) as again:
                    again.prove(signed(MINT, USER1, ("i-1", 1)))
                    await until(lambda: explorer.follower.connected)
                    assert [m.transfer.billots for m in explorer.follower.latest] == [(("i-1", 1),)]

    run(main())


def test_pages_of_a_network_without_an_issuer():
    async def main():
        network = Network.shipped("main")
        async with FakeServer(network) as own, explored(own, network) as (_, host):
            text = (await get(host, "/")).text
            assert "no issuer" in text
            text = (await get(host, "/billot/a-1")).text
            assert "nobody owns it" in text
            assert re.search(r"<title>\s*a-1", text)

    run(main())
