"""Server-sent events on real connections: what comes, who is let in, and that places come free."""

import asyncio

import pytest
from pages import get, served, until
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from billots.web.guard import SECURITY_HEADERS
from billots.web.streams import Event, Streams


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 30))


class Source:
    """A route whose streams say what they are told to; it knows when one was closed."""

    def __init__(self, streams):
        self.streams = streams
        self.queue = asyncio.Queue()
        self.closed = 0
        self.route = Route("/live", self.live)

    async def live(self, request):
        self.streams.check(request)
        return self.streams.respond(request, self.events())

    async def events(self):
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.closed += 1


async def open_stream(host):
    reader, writer = await asyncio.open_connection(host.address, host.port)
    writer.write(f"GET /live HTTP/1.1\r\nHost: {host.place}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200")
    await reader.readuntil(b"retry: 2000\n\n")
    return head, reader, writer


def test_events_come_as_they_happen():
    async def main():
        streams = Streams(heartbeat_s=5)
        source = Source(streams)
        async with served(source.route, before_stop=streams.close) as host:
            head, reader, writer = await open_stream(host)
            assert "text/event-stream" in head
            assert "cache-control: no-store" in head.lower()
            for name in SECURITY_HEADERS:
                assert name.lower() in head.lower()
            for number in range(3):
                source.queue.put_nowait(Event("item", {"n": number}, id=str(number)))
                text = await reader.readuntil(b"\n\n\r\n")
                assert f'id: {number}\nevent: item\ndata: {{"n":{number}}}\n\n'.encode() in text
            writer.transport.abort()

    run(main())


def test_attack_a_line_end_in_a_text_ends_no_event():
    data = Event("item", {"text": "a\n\ndata: forged\r\n\u2028"}).encode()
    assert data.count(b"\n") == 3
    assert b"\r" not in data


def test_a_quiet_stream_says_that_it_lives():
    async def main():
        streams = Streams(heartbeat_s=0.01)
        async with served(Source(streams).route, before_stop=streams.close) as host:
            _, reader, writer = await open_stream(host)
            for _ in range(3):
                await reader.readuntil(b":\n\n")
            writer.transport.abort()

    run(main())


def test_attack_streams_are_bounded_and_places_come_free():
    async def main():
        streams = Streams(streams_max=2, heartbeat_s=5)
        source = Source(streams)
        async with served(source.route, before_stop=streams.close) as host:
            opened = [await open_stream(host) for _ in range(2)]
            found = await get(host, "/live")
            assert found.status == 503
            assert len(streams) == 2
            opened[0][2].transport.abort()  # in the middle of it
            await until(lambda: len(streams) != 2)
            await until(lambda: source.closed == 1)
            _, _, writer = await open_stream(host)
            for _, _, other in opened[1:]:
                other.transport.abort()
            writer.transport.abort()
            await until(lambda: not len(streams))
            await until(lambda: source.closed == 3)

    run(main())


def test_attack_one_address_cannot_have_all_streams():
    async def main():
        streams = Streams(streams_max=100, per_address_max=2)
        sent = asyncio.Event()

        async def send(_message):
            sent.set()

        def asked(address):
            return Request({"type": "http", "client": (address, 1), "headers": []})

        async def never():
            await asyncio.Event().wait()
            yield

        tasks = []
        for last in range(2):
            sent.clear()
            address = f"2001:db8::{last}"  # one /64 is one address
            response = streams.respond(asked(address), never())
            scope = {"type": "http", "method": "GET"}
            waits = asyncio.Event()
            tasks.append(asyncio.create_task(response(scope, waits.wait, send)))
            await until(lambda last=last: len(streams) != last)
        with pytest.raises(HTTPException) as raised:
            streams.check(asked("2001:db8::77"))
        assert raised.value.status_code == 429
        streams.check(asked("2001:db8:0:1::77"))
        for _ in range(3):
            streams.check(asked("127.0.0.1"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(streams) == 0
        streams.check(asked("2001:db8::77"))

    run(main())


def test_an_end_of_events_ends_the_stream():
    async def main():
        streams = Streams()

        async def two():
            for number in range(2):
                yield Event("item", {"n": number})

        async def live(request):
            return streams.respond(request, two())

        async with served(Route("/live", live), before_stop=streams.close) as host:
            _, reader, writer = await open_stream(host)
            rest = await reader.readuntil(b"0\r\n\r\n")
            assert rest.count(b"event: item") == 2
            assert len(streams) == 0
            writer.close()

    run(main())


def test_a_stop_ends_streams_at_once():
    async def main():
        streams = Streams(heartbeat_s=100)
        source = Source(streams)
        async with served(source.route, before_stop=streams.close) as host:
            opened = [await open_stream(host) for _ in range(3)]
        assert source.closed == 3
        for _, reader, writer in opened:
            assert (await reader.read()).endswith(b"0\r\n\r\n")
            writer.close()

    run(main())


def test_a_head_of_a_stream_is_no_stream():
    async def main():
        streams = Streams()
        async with served(Source(streams).route, before_stop=streams.close) as host:
            assert (await get(host, "/live", "HEAD")).status == 200
            assert len(streams) == 0

    run(main())
