"""What all pages share: headers, escaping, error pages, limits of requests and connections."""

import asyncio
import logging
from html.parser import HTMLParser

import jinja2
import pytest
from pages import SITE, answer, exchange, get, served, until
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from billots.errors import HostError, InputError, ServerError
from billots.host import Host
from billots.web import option
from billots.web.assets import load_assets
from billots.web.guard import SECURITY_HEADERS, Rules, names_for
from billots.web.kit import environment, grouped, refuse, short
from billots.web.option import parse_place, require_extra
from billots.web.serving import serving
from billots.web.wire import Patience

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


async def show(request):
    raise refuse(404, f"no such thing: {request.query_params['q']}")


async def broken(_request):
    raise RuntimeError("a secret in a traceback")


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 30))


async def plain_page(request):
    text = environment(SITE).get_template("error.html")
    return PlainTextResponse(text.render(path="/", status=1, title="t", reason="r"))


ROUTES = [
    Route("/", plain_page),
    Route("/show", show),
    Route("/broken", broken),
    Route("/echo", echo, methods=["POST"]),
]
POSTS = Rules(methods=frozenset({"GET", "HEAD", "POST"}), body_bytes_max=100)


def is_safe(found):
    """Every answer's headers, each there once (see `Answer`)."""
    for name, value in SECURITY_HEADERS.items():
        assert found.headers[name.lower()] == value
    assert "cache-control" in found.headers
    assert "server" not in found.headers
    return found


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 200),
        ("/", "HEAD", 200),
        ("/nothing", "GET", 404),
        ("/nothing", "POST", 405),
        ("/", "DELETE", 405),
        ("/", "TRACE", 405),
        ("/", "BREW", 405),
        ("/broken", "GET", 500),
        ("/static/site.css", "GET", 200),
        ("/static/nothing.css", "GET", 404),
        ("/static/..%2f..%2fkit.py", "GET", 404),
        ("/static/%2e%2e/kit.py", "GET", 404),
        ("/static/", "GET", 404),
    ],
)
def test_every_answer_has_the_headers(path, method, status):
    async def main():
        async with served(*ROUTES) as host:
            found = is_safe(await get(host, path, method))
            assert found.status == status

    run(main())


@pytest.mark.parametrize("data", [b"\x16\x03\x01 TLS?\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_request_is_answered_as_safely(data):
    async def main():
        async with served(*ROUTES) as host:
            assert is_safe(await exchange(host, data)).status == 400

    run(main())


def test_a_head_that_never_fits_is_no_request():
    async def main():
        async with served(*ROUTES) as host:
            data = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000
            assert is_safe(await exchange(host, data)).status == 400

    run(main())


# -- pages ---------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_attack_markup_in_what_was_asked_for_stays_text():
    async def main():
        async with served(*ROUTES) as host:
            quoted = "".join(f"%{byte:02x}" for byte in HOSTILE.encode())
            for path in (f"/show?q={quoted}", f"/{quoted}", f"/static/{quoted}"):
                found = is_safe(await get(host, path))
                assert found.status == 404
                tags = Tags(found.text).found
                assert all(attributes.get("src") for tag, attributes in tags if tag == "script")
                assert not [tag for tag, attributes in tags if "onerror" in attributes]
                assert "49" not in found.text
            assert "&lt;script&gt;alert(1)" in (await get(host, f"/show?q={quoted}")).text

    run(main())


def test_nothing_is_inline_in_any_template():
    """The content security policy would refuse it, so it must never be needed."""
    templates = environment(SITE)
    for name in templates.list_templates():
        source, _, _ = templates.loader.get_source(templates, name)
        for tag, attributes in Tags(source).found:
            assert tag != "style", name
            assert tag != "script" or "src" in attributes, name
            assert not [a for a in attributes if a.startswith("on") or a == "style"], name
        assert "|safe" not in source.replace(" ", ""), name


def test_a_missing_value_is_an_error_and_no_empty_place():
    with pytest.raises(jinja2.UndefinedError):
        environment(SITE).get_template("error.html").render(path="/", status=404, title="t")


def test_a_failure_says_nothing_of_itself(caplog):
    async def main():
        async with served(*ROUTES) as host:
            found = await get(host, "/broken")
            assert found.status == 500
            assert "secret" not in found.text
            assert "Traceback" not in found.text

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "a secret in a traceback" in caplog.text  # whoever runs it has to know


def test_numbers_and_ids_for_people():
    assert grouped(1234567) == "1\u00a0234\u00a0567"
    assert grouped("0.005") == "0.005"
    assert short("f" * 128) == "f" * 12 + "…"
    assert short("a-1") == "a-1"


# -- files ---------------------------------------------------------------------------------------


def test_static_files_are_sent_once():
    async def main():
        async with served() as host:
            first = await get(host, "/static/live.js")
            assert first.body == load_assets()["live.js"].body
            assert first.headers["content-type"].startswith("text/javascript")
            again = await get(host, "/static/live.js", If_None_Match=first.headers["etag"])
            assert is_safe(again).status == 304
            assert (await get(host, "/static/live.js", If_None_Match='"other"')).status == 200

    run(main())


# -- what is let through -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "status"), [(0, 200), (100, 200), (101, 413), (10**6, 413)], ids=str
)
def test_a_body_has_its_limit(size, status):
    async def main():
        async with served(*ROUTES, rules=POSTS) as host:
            found = await get(host, "/echo", "POST", b"x" * size)
            assert is_safe(found).status == status

    run(main())


def test_attack_a_body_in_chunks_has_the_same_limit():
    async def main():
        async with served(*ROUTES, rules=POSTS) as host:
            head = (
                f"POST /echo HTTP/1.1\r\nHost: {host.place}\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            chunks = b"".join(b"32\r\n" + b"x" * 50 + b"\r\n" for _ in range(3))
            found = await exchange(host, head.encode() + chunks)
            assert is_safe(found).status == 413
        async with served(*ROUTES) as host:
            head = f"GET / HTTP/1.1\r\nHost: {host.place}\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert is_safe(await exchange(host, head.encode() + chunks)).status == 413

    run(main())


def test_attack_a_body_that_never_comes_is_not_waited_for():
    async def main():
        rules = Rules(methods=POSTS.methods, body_bytes_max=100, body_s=0.05)
        async with served(*ROUTES, rules=rules) as host:
            head = f"POST /echo HTTP/1.1\r\nHost: {host.place}\r\nContent-Length: 9\r\n\r\n"
            assert is_safe(await exchange(host, head.encode())).status == 408

    run(main())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({}, 200),
    ],
    ids=str,
)
def test_attack_a_form_of_another_site_is_refused(headers, status):
    async def main():
        async with served(*ROUTES, rules=POSTS) as host:
            assert is_safe(await get(host, "/echo", "POST", **headers)).status == status
            own = await get(host, "/echo", "POST", Origin=f"http://{host.place}")
            assert own.status == 200

    run(main())


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("pages.example", 200),
    ],
)
def test_attack_dns_rebinding_to_this_machine_is_refused(name, status):
    async def main():
        rules = Rules(names=names_for("127.0.0.1") | {"pages.example"})
        async with served(*ROUTES, rules=rules) as host:
            assert is_safe(await get(host, "/", Host=name)).status == status

    run(main())


def test_names_by_which_pages_may_be_called():
    assert names_for("0.0.0.0") is None
    assert names_for("192.0.2.1") is None
    assert names_for("192.0.2.1", ["A.org"]) == {"a.org", "localhost", "192.0.2.1"}
    assert "localhost" in names_for("::1")
    assert "a.org" not in names_for("localhost")


def test_no_more_requests_at_once_than_there_is_room_for():
    async def main():
        held = asyncio.Event()
        entered = asyncio.Event()

        async def wait(_request):
            entered.set()
            await held.wait()
            return PlainTextResponse("at last")

        routes = [Route("/wait", wait), *ROUTES]
        async with served(*routes, rules=Rules(requests_max=1)) as host:
            first = asyncio.create_task(get(host, "/wait"))
            await entered.wait()
            found = is_safe(await get(host, "/"))
            assert (found.status, found.headers["retry-after"]) == (503, "2")
            held.set()
            assert (await first).text == "at last"
            assert (await get(host, "/")).status == 200

    run(main())


def test_attack_bodies_that_never_come_keep_nobody_out():
    async def main():
        rules = Rules(methods=POSTS.methods, body_bytes_max=100, requests_max=1)
        async with served(*ROUTES, rules=rules) as host:
            head = f"POST /echo HTTP/1.1\r\nHost: {host.place}\r\n".encode()
            expects = head + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            slow = [await asyncio.open_connection(host.address, host.port) for _ in range(3)]
            for reader, writer in slow:
                writer.write(expects)
                assert b"100" in await reader.readuntil(b"\r\n\r\n")  # its body is waited for
            assert is_safe(await get(host, "/")).status == 200
            assert (await get(host, "/echo", "POST", b"whole")).text == "5"
            for reader, writer in slow:  # who is only slow is answered all the same
                writer.write(b"x" * 9)
                assert (await answer(reader)).text == "9"
                writer.close()

    run(main())


def test_a_body_that_comes_when_there_is_no_room_is_told_so():
    async def main():
        held, entered = asyncio.Event(), asyncio.Event()

        async def wait(_request):
            entered.set()
            await held.wait()
            return PlainTextResponse("at last")

        rules = Rules(methods=POSTS.methods, body_bytes_max=100, requests_max=1)
        async with served(Route("/wait", wait), *ROUTES, rules=rules) as host:
            reader, writer = await asyncio.open_connection(host.address, host.port)
            head = f"POST /echo HTTP/1.1\r\nHost: {host.place}\r\n".encode()
            writer.write(head + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            first = asyncio.create_task(get(host, "/wait"))
            await entered.wait()
            writer.write(b"x" * 9)
            assert is_safe(await answer(reader)).status == 503
            writer.close()
            held.set()
            assert (await first).text == "at last"
            assert (await get(host, "/")).status == 200

    run(main())


def test_attack_who_goes_in_the_middle_of_a_body_writes_nothing_to_the_log(caplog):
    async def main():
        ends = asyncio.Event()

        async def noted(request):
            try:
                return await echo(request)
            finally:
                ends.set()

        routes = [Route("/noted", noted, methods=["POST"]), *ROUTES]
        async with served(*routes, rules=POSTS) as host:
            reader, writer = await asyncio.open_connection(host.address, host.port)
            head = f"POST /noted HTTP/1.1\r\nHost: {host.place}\r\n".encode()
            writer.write(head + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            await ends.wait()

    run(main())
    assert not caplog.records


# -- connections ---------------------------------------------------------------------------------


def test_attack_a_request_that_never_ends_is_not_waited_for():
    async def main():
        async with served(*ROUTES, patience=Patience(request_s=0.05)) as host:
            for begun in (b"", b"GET / HTTP/1.1\r\nHost: 127", b"GET / HTTP/1.1\r\nHost: a\r\n"):
                reader, writer = await asyncio.open_connection(host.address, host.port)
                writer.write(begun)
                assert await ended(reader) == b""
                writer.close()

    run(main())


async def ended(reader):
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_attack_an_idle_connection_after_an_answer_is_closed():
    async def main():
        async with served(*ROUTES, patience=Patience(request_s=0.05)) as host:
            reader, writer = await asyncio.open_connection(host.address, host.port)
            for _ in range(2):
                writer.write(f"GET / HTTP/1.1\r\nHost: {host.place}\r\n\r\n".encode())
                assert (await answer(reader)).status == 200
            assert await ended(reader) == b""
            writer.close()

    run(main())


def test_attack_a_reader_that_does_not_read_is_dropped():
    async def main():
        patience = Patience(read_s=0.05)

        async def big(_request):
            return PlainTextResponse("x" * 64_000_000)

        async with served(Route("/big", big), patience=patience) as host:
            reader, writer = await asyncio.open_connection(host.address, host.port, limit=1000)
            writer.write(f"GET /big HTTP/1.1\r\nHost: {host.place}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n")
            writer.transport.pause_reading()
            await until(lambda: not patience.open)
            writer.transport.abort()

    run(main())


def test_connections_have_their_limit():
    async def main():
        patience = Patience(connections_max=2)
        async with served(*ROUTES, patience=patience) as host:
            kept = [await asyncio.open_connection(host.address, host.port) for _ in range(2)]
            for reader, writer in kept:
                writer.write(f"GET / HTTP/1.1\r\nHost: {host.place}\r\n\r\n".encode())
                assert (await answer(reader)).status == 200
            assert is_safe(await get(host, "/")).status == 503
            for _, writer in kept:
                writer.close()
            await until(lambda: not patience.open)
            assert (await get(host, "/")).status == 200

    run(main())


def test_a_port_in_use_is_one_clear_error():
    async def main():
        async with served() as host:
            with pytest.raises(ServerError, match=r"can't listen on .*: address already in use"):
                async with serving(None, host):
                    raise AssertionError("it can't be had")
        with pytest.raises(ServerError, match="can't listen on") as raised:
            async with serving(None, Host("no.such.name.invalid", 1)):
                raise AssertionError("it can't be had")
        assert "--web takes" in raised.value.hint

    run(main())


# -- the option ----------------------------------------------------------------------------------


def test_where_pages_are_served():
    assert parse_place("8080") == Host("127.0.0.1", 8080)
    assert parse_place("0") == Host("127.0.0.1", 0)
    assert parse_place("localhost:8080") == Host("localhost", 8080)
    assert parse_place("0.0.0.0:0") == Host("0.0.0.0", 0)
    assert parse_place("[::1]:8080") == Host("::1", 8080)


@pytest.mark.parametrize("text", ["", "x", "65536", "-1", "::1:80", "a b:80", "a:", "٣", "a:1-3"])
def test_what_is_no_place(text):
    with pytest.raises(HostError):
        parse_place(text)


def test_a_missing_extra_is_named(monkeypatch):
    require_extra()
    monkeypatch.setattr(option, "LIBRARIES", ("starlette", "no_such_library"))
    with pytest.raises(InputError, match="--web needs the extra: no_such_library") as raised:
        require_extra()
    assert raised.value.hint == "pip install 'billots[web]', or '.[web]' in a clone"


def test_errors_keep_their_own_reasons():
    assert refuse(404, "gone").detail == "gone"
    assert isinstance(refuse(404, "gone"), HTTPException)
