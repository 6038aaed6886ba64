"""Bytes on the wire: cut anywhere, too many, too long, half closed; DESIGN sections 7 and 12."""

import asyncio
import json
import resource
import socket

import pytest
from servers import MINT, OTHERS, USER1, Mesh, Raw, fresh, request, run, signed, transfer_request

from billots.limits import Limits
from billots.server import Server

PING = request(1, "ping")
LOOPBACK = ("127.0.0.1", "[::1]")
PONG = {"jsonrpc": "2.0", "id": 1, "result": "pong"}


def talk(conversation, tmp_path, **settings):
    """Run a conversation over one raw connection to a server."""

    async def main():
        async with (
            Server("test", store=tmp_path / "test.db", **settings) as server,
            await Raw.open(server.address) as raw,
        ):
            return await conversation(raw)

    return run(main())


def test_two_requests_in_one_segment(tmp_path):
    async def conversation(raw):
        raw.write(PING, request(2, "ping"))
        assert [line["id"] for line in await raw.lines(2)] == [1, 2]

    talk(conversation, tmp_path)


def test_a_request_byte_by_byte(tmp_path):
    async def conversation(raw):
        raw.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in PING + b"\n" + request(2, "ping") + b"\n":
            raw.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await raw.line() == PONG
        assert (await raw.line())["id"] == 2

    talk(conversation, tmp_path)


@pytest.mark.parametrize("cut", [1, 20, len(PING), len(PING) + 1])
def test_a_request_across_two_segments(tmp_path, cut):
    async def conversation(raw):
        raw.write(request(7, "ping"))
        assert (await raw.line())["id"] == 7
        both = PING + b"\n" + request(2, "ping") + b"\n"
        raw.writer.write(both[:cut])
        address, port = raw.writer.get_extra_info("peername")
        async with await Raw.open(f"{address}:{port}") as other:
            other.write(PING)
            await other.line()  # the first segment has been read by now
        raw.writer.write(both[cut:])
        assert [line["id"] for line in await raw.lines(2)] == [1, 2]

    talk(conversation, tmp_path)


def test_300_requests_are_pipelined_and_each_is_answered(tmp_path):
    async def conversation(raw):
        raw.write(*(request(number, "ping") for number in range(300)))
        assert {line["id"] for line in await raw.lines(300)} == set(range(300))

    talk(conversation, tmp_path)


def test_300_transfers_are_pipelined_between_reads_of_all_kinds(tmp_path):
    billots = fresh(300)

    async def conversation(raw):
        for number, billot in enumerate(billots):
            transfer = signed(MINT, USER1, (billot, 1))
            raw.write(
                transfer_request(f"t{number}", transfer),
                request(f"w{number}", "who_owns", billots=[billot]),
            )
        answers = await raw.lines(600)
        assert {answer["id"] for answer in answers} == {
            f"{kind}{number}" for kind in "tw" for number in range(300)
        }
        assert all("result" in answer for answer in answers)

    talk(conversation, tmp_path)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"nonsense", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"', -32700),
        (b"\xff\xfe{}", -32700),
        (b"[" * 100_000, -32700),
        (b"[]", -32600),
        (b"17", -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (request(1, "nonsense"), -32601),
        (request(1, "who_owns", billots="a-1"), -32602),
        (request(1, "who_owns", billots=[]), -32602),
        (request(1, "who_owns", billots=["a-0"]), -32000),
        (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"changes","params":{"since":1e999}}', -32602),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"changes","params":{"since":' + b"9" * 5000 + b"}}",
            -32602,
        ),
    ],
)
def test_one_bad_message_does_not_poison_the_connection(tmp_path, bad, code):
    async def conversation(raw):
        raw.write(bad, request(2, "ping"))
        assert (await raw.line())["error"]["code"] == code
        assert (await raw.line())["id"] == 2

    talk(conversation, tmp_path)


def test_blank_lines_and_crlf_are_taken(tmp_path):
    async def conversation(raw):
        raw.writer.write(b"\n\n  \n\r\n" + PING + b"\r\n")
        assert await raw.line() == PONG

    talk(conversation, tmp_path)


def test_answers_come_as_they_are_ready(tmp_path):
    """A transfer waits for the disk; a ping behind it doesn't wait for the transfer."""

    async def conversation(raw):
        transfer = signed(USER1, OTHERS[0], ("a-1", 1))
        raw.write(transfer_request("transfer", transfer), request("ping", "ping"))
        assert [line["id"] for line in await raw.lines(2)] == ["ping", "transfer"]

    talk(conversation, tmp_path)


# -- too much ------------------------------------------------------------------------------------


def test_a_line_over_the_limit_is_answered_and_ends_the_connection(tmp_path):
    async def conversation(raw):
        raw.write(PING)
        raw.writer.write(b"x" * (2 * 128 * 1024))
        assert await raw.line() == PONG
        assert (await raw.line())["error"]["data"]["error"] == "frame_too_large"
        assert await raw.ended() == b""

    talk(conversation, tmp_path)


def test_what_came_before_a_line_over_the_limit_is_answered_first(tmp_path):
    async def conversation(raw):
        raw.write(*(request(number, "ping") for number in range(500)))
        raw.writer.write(b"x" * (2 * 128 * 1024))
        answers = [json.loads(line) for line in (await raw.ended()).splitlines()]
        assert [answer["id"] for answer in answers] == [*range(500), None]

    talk(conversation, tmp_path)


def test_attack_64_mb_without_an_end_cost_next_to_nothing(tmp_path):
    async def conversation(raw):
        async def flood():
            for _ in range(1024):
                raw.writer.write(b"x" * 65536)
                await raw.writer.drain()

        before = resource.getrusage(resource.RUSAGE_SELF)
        flooding = asyncio.create_task(flood())
        assert (await raw.line())["error"]["data"]["error"] == "frame_too_large"
        await asyncio.gather(flooding, return_exceptions=True)
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
        assert after.ru_maxrss - before.ru_maxrss < 8 * 1024

    talk(conversation, tmp_path)


def test_attack_a_flood_of_requests_leaves_room_for_others(tmp_path):
    """What one client pipelines is handed in a few at a time."""

    async def main():
        async with (
            Server("test", store=tmp_path / "test.db") as server,
            await Raw.open(server.address) as flood,
            await Raw.open(server.address) as honest,
        ):
            flood.write(*(request(number, "hosts") for number in range(20_000)))
            got = asyncio.create_task(flood.lines(20_000))
            await flood.writer.drain()
            honest.write(PING)
            assert await honest.line() == PONG
            assert not got.done()
            assert len(await got) == 20_000

    run(main())


def test_attack_a_batch_of_more_than_64_is_refused_and_nothing_of_it_is_done(tmp_path):
    async def conversation(raw):
        batch = b"[" + b",".join([PING] * 65) + b"]"
        raw.write(batch, b"[" + b",".join([PING] * 64) + b"]")
        assert (await raw.line())["error"]["code"] == -32600
        assert await raw.line() == [PONG] * 64

    talk(conversation, tmp_path)


# -- half closed ---------------------------------------------------------------------------------


def test_a_client_that_has_said_its_last_word_still_hears_the_answers(tmp_path):
    """As `nc` does at the end of its input: transfers are answered later than they come."""
    billots = fresh(50)

    async def conversation(raw):
        raw.write(
            *(
                transfer_request(number, signed(MINT, USER1, (billot, 1)))
                for number, billot in enumerate(billots)
            )
        )
        raw.writer.write_eof()
        answers = [json.loads(line) for line in (await raw.ended()).splitlines()]
        assert sorted(answer["id"] for answer in answers) == list(range(50))
        assert all(answer["result"]["accepted"] for answer in answers)

    talk(conversation, tmp_path)


def test_a_client_that_has_said_nothing_and_half_closes_is_let_go(tmp_path):
    async def conversation(raw):
        raw.writer.write_eof()
        assert await raw.ended() == b""

    talk(conversation, tmp_path)


def test_a_last_line_without_an_end_is_no_request(tmp_path):
    async def conversation(raw):
        raw.writer.write(PING + b"\n" + PING)
        raw.writer.write_eof()
        assert json.loads(await raw.ended()) == PONG

    talk(conversation, tmp_path)


# -- where it listens ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::", ""])
def test_a_free_port_is_the_same_one_for_every_address(tmp_path, host):
    async def main():
        async with Server("test", host=host, store=tmp_path / "test.db") as server:
            places = [server.address] if host else [f"{a}:{server.port}" for a in LOOPBACK]
            for place in places:
                async with await Raw.open(place) as raw:
                    raw.write(PING)
                    assert await raw.line() == PONG

    if host in ("::1", "::", "") and not _has_ipv6():
        pytest.skip("no IPv6 here")
    run(main())


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_one_connection_that_dies_while_it_is_answered_leaves_the_others(tmp_path):
    async def main():
        limits = Limits(in_flight_max=8)
        async with Mesh(tmp_path, 1, limits=limits, trusted=()) as servers:
            (server,) = await servers.start(0)
            for _ in range(20):
                async with await Raw.open(server.address) as raw:
                    for billot in fresh(10):
                        raw.write(transfer_request(1, signed(MINT, USER1, (billot, 1))))
                    await raw.writer.drain()
            async with await Raw.open(server.address) as raw:
                raw.write(PING)
                assert await raw.line() == PONG

    run(main())
