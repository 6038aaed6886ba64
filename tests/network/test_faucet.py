"""`bmint faucet` as a process, with real servers: limits, floods, kills, and strangers' texts."""

import json
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest
from faucets import Faucet, four_servers
from servers import MINT, MOCK, OTHERS, USER1, free_ports, run

from billots.journal import Journal
from billots.network import Network
from billots.owners import with_checksum
from billots.payment_request import PaymentRequest
from billots.wallet import AsyncWallet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEST = Network.shipped("test")
ALICE, BOB = OTHERS[0].owner, OTHERS[1].owner
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with four_servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


def owned_mils(folder, hosts, owner):
    MINT.save(folder / "anybody")
    wallet = AsyncWallet(keyfile=folder / "anybody", trusted=hosts, data_dir=folder / "theirs")
    return run(wallet.list_billots(owner)).total_mils


def payments(folder):
    with Journal.open(MINT.owner, folder / "faucet") as journal:
        return len(journal._entries)


def fresh_owner(number):
    return f"{number:064x}".rjust(128, "e")


def left(faucet):
    return re.search(r'id="left">([\d.]+)', faucet.get().text)[1]


def until_final(faucet, place):
    """Follow the stream of a payment to its end, as a browser does."""
    stream = faucet.get(f"{place}/live").text
    assert '"ended":true' in stream
    page = faucet.get(place).text
    assert 'badge good" id="state">final' in page
    return page


# -- the way ---------------------------------------------------------------------------------------


def test_a_claim_is_answered_with_its_page_and_paid(tmp_path, mesh):
    hosts, _ = mesh
    with Faucet(tmp_path, hosts, "--explorer", "https://look.example/at/") as faucet:
        reply = faucet.claim(fresh_owner(1))
        assert reply.status == 303
        assert re.fullmatch(r"/claims/[0-9a-f]{64}", reply.place)
        page = until_final(faucet, reply.place)
        assert page.count('href="https://look.example/at/billot/') == 13
        assert f'href="https://look.example/at/owner/{fresh_owner(1)}"' in page
        assert left(faucet) == "99"
        assert owned_mils(tmp_path, hosts, fresh_owner(1)) == 1_000
        status, out, err = faucet.end()
    assert (status, err) == (0, "")
    assert out.endswith("Stopped.\n")


@pytest.mark.parametrize(
    "spelled",
    [
        with_checksum,
        lambda owner: with_checksum(owner).upper(),
        lambda owner: f"  {owner[:64]}\r\n {owner[64:]} ",
        lambda owner: PaymentRequest(owner).uri,
        lambda owner: PaymentRequest(owner, 350, TEST.id).uri,
    ],
)
def test_an_owner_id_in_every_spelling(tmp_path, mesh, spelled):
    with Faucet(tmp_path, mesh[0]) as faucet:
        assert faucet.claim(spelled(BOB)).status == 303
        refused = faucet.claim(BOB)  # the same one
        assert refused.status in (303, 429)
        assert left(faucet) == "99"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "Nothing was typed"),
        ("abc", "Not an owner id: abc"),
        (ALICE.upper(), "written in lower case"),
        (ALICE + "-aaaaaa", "Wrong checksum"),
        ("billots:" + ALICE + "?network=" + "0" * 32, "for another network"),
        ("billots:" + ALICE + "?amount=x", "Not an amount in a payment request"),
        (MINT.owner, "faucet&#39;s own owner id"),
        ("x" * 600, "Not an owner id"),
    ],
)
def test_what_is_no_owner_id_is_said_beside_the_field(tmp_path, mesh, typed, said):
    with Faucet(tmp_path, mesh[0]) as faucet:
        reply = faucet.claim(typed)
        assert reply.status == 400
        assert said in reply.text
        assert 'aria-describedby="owner-error owner-hint" aria-invalid="true"' in reply.text
        assert f'value="{typed[:512]}"' in reply.text  # and can be put right
        assert left(faucet) == "100"


def test_a_program_reads_where_it_is(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0], "--json") as faucet:
        said = json.loads(faucet.first)
        assert said["network"] == {"name": "test", "id": TEST.id}
        assert (said["owner"], said["url"][:17]) == (MINT.owner, "http://127.0.0.1:")
        assert faucet.end()[:2] == (0, faucet.first)


def test_the_command_alone_loads_nothing_of_the_extra():
    script = (
        "import sys, billots.cli.bmint, billots.cli.mint_faucet;"
        "assert not {'starlette', 'uvicorn', 'jinja2', 'billots.wallet'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_link_can_fill_in_the_field(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0]) as faucet:
        assert f'value="{ALICE}"' in faucet.get(f"/?owner={ALICE}").text


# -- strangers -------------------------------------------------------------------------------------


def test_attack_markup_in_every_field_stays_text(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0]) as faucet:
        replies = [
            faucet.claim(HOSTILE),
            faucet.claim("billots:" + HOSTILE),
            faucet.claim(f"billots:{ALICE}?amount={HOSTILE}"),
            faucet.claim(f"billots:{ALICE}?network={HOSTILE}"),
            faucet.claim(f"{ALICE}-{HOSTILE}"),
            faucet.get(f"/?owner={quote(HOSTILE)}"),
            faucet.get(f"/claims/{quote(HOSTILE)}"),
            faucet.get(f"/{quote(HOSTILE)}"),
            faucet.claim("x", Host=HOSTILE),
            faucet.claim("x", X_Forwarded_For=HOSTILE, User_Agent=HOSTILE, Referer=HOSTILE),
            faucet.claim("x", Content_Type=HOSTILE),
        ]
        assert [reply.status for reply in replies] == [400] * 5 + [200, 404, 404, 421, 400, 415]
        for reply in replies:
            assert "<script>alert" not in reply.text
            assert "<img src=x" not in reply.text
            assert "script-src 'self'" in reply.headers["content-security-policy"]
        assert faucet.end()[2] == ""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_attack_a_page_of_another_site_claims_nothing(tmp_path, mesh, headers, status):
    with Faucet(tmp_path, mesh[0]) as faucet:
        assert faucet.claim(ALICE, **headers).status == status
        assert left(faucet) == "100"


def test_attack_odd_bodies_are_refused(tmp_path, mesh):
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    with Faucet(tmp_path, mesh[0]) as faucet:
        for body, status in (
            ("owner=" + "x" * 5_000, 413),
            ("&".join(f"a{n}=1" for n in range(50)), 400),
            ("owner=\u00fc".encode("latin-1"), 400),
            ("owner=%ff%fe%00", 400),
            (b"", 400),
        ):
            assert faucet.ask("POST", "/claims", body, **kind).status == status
        assert faucet.ask("POST", "/claims", "{}", Content_Type="application/json").status == 415
        assert faucet.get("/claims").status == 405
        assert faucet.ask("PUT", "/claims", "x", **kind).status == 405
        assert faucet.get(f"/claims/{'0' * 64}").status == 404
        assert faucet.get(f"/claims/{'0' * 64}/live").status == 404
        assert faucet.end()[2] == ""


# -- limits ----------------------------------------------------------------------------------------


FORGED = [
    {"X_Forwarded_For": "203.0.113.{n}"},
    {"X_Forwarded_For": "127.0.0.1, 203.0.113.{n}"},
    {"X_Real_IP": "203.0.113.{n}"},
    {"Forwarded": "for=203.0.113.{n}"},
    {"CF_Connecting_IP": "203.0.113.{n}"},
    {"True_Client_IP": "203.0.113.{n}", "X_Client_IP": "203.0.113.{n}"},
]


def test_attack_forged_forwarding_headers_lift_no_limit(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0], "--per-address", 2) as faucet:
        statuses = [
            faucet.claim(
                fresh_owner(100 + number),
                **{name: text.format(n=number) for name, text in forged.items()},
            ).status
            for number, forged in enumerate(FORGED)
        ]
        assert statuses == [303, 303, 429, 429, 429, 429]
        refused = faucet.claim(ALICE)
        assert "Your address has been given" in refused.text
        assert int(refused.headers["retry-after"]) > 86_000
    assert payments(tmp_path) == 2


def test_attack_behind_a_proxy_only_its_own_entry_counts(tmp_path, mesh):
    words = ("--per-address", 1, "--behind-proxy", "127.0.0.1")
    with Faucet(tmp_path, mesh[0], *words) as faucet:

        def claim(number, forwarded):
            return faucet.claim(fresh_owner(200 + number), X_Forwarded_For=forwarded).status

        assert claim(0, "192.0.2.1") == 303
        assert claim(1, "192.0.2.1") == 429
        assert claim(2, "203.0.113.5, 192.0.2.1") == 429
        assert claim(3, "192.0.2.1, 192.0.2.2") == 303
        assert claim(4, "2001:db8:0:1::1") == 303
        assert claim(5, "2001:db8:0:1:ffff::2") == 429
        assert (
            faucet.claim(fresh_owner(206), X_Real_IP="192.0.2.9").status == 303
        )  # the proxy's own
        assert faucet.claim(fresh_owner(207), Forwarded="for=192.0.2.10").status == 429


def test_behind_a_proxy_it_is_called_by_any_name(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0], "--behind-proxy", "::1") as faucet:
        assert faucet.ask("GET", "/", Host="faucet.example").status == 200
        own = {"Host": "faucet.example", "Origin": "https://faucet.example"}
        assert faucet.claim(fresh_owner(219), **own).status == 303


def test_attack_another_proxys_headers_are_not_believed(tmp_path, mesh):
    words = ("--per-address", 1, "--behind-proxy", "192.0.2.200")
    with Faucet(tmp_path, mesh[0], *words) as faucet:
        assert faucet.claim(fresh_owner(220), X_Forwarded_For="192.0.2.1").status == 303
        assert faucet.claim(fresh_owner(221), X_Forwarded_For="192.0.2.2").status == 429


def test_attack_a_flood_gets_the_budget_and_clear_answers(tmp_path, mesh):
    hosts, _ = mesh
    words = ("--per-hour", 12, "--per-address", 1000)
    with Faucet(tmp_path, hosts, *words) as faucet, ThreadPoolExecutor(24) as threads:
        owners = [fresh_owner(300 + number // 2) for number in range(240)]
        replies = list(threads.map(faucet.claim, owners))
        assert {reply.status for reply in replies} <= {303, 429, 503}
        paid = {reply.place for reply in replies if reply.status == 303}
        assert len(paid) <= 12
        for reply in replies:
            if reply.status != 303:
                assert int(reply.headers["retry-after"]) > 0
        for number in range(500, 530):  # what the flood left, to who comes after it
            paid |= {faucet.claim(fresh_owner(number)).place} - {None}
        assert len(paid) == 12
        last = faucet.claim(ALICE)
        assert last.status == 503
        assert "All that there is for an hour has been given away" in last.text
        assert "minutes" in last.text
        assert left(faucet) == "0"
        for place in paid:
            until_final(faucet, place)
        assert faucet.end()[0] == 0
    assert payments(tmp_path) == 12


def test_an_empty_purse_is_said(tmp_path, mesh):
    OTHERS[7].save(tmp_path / "empty")
    with Faucet(tmp_path, mesh[0], keyfile=tmp_path / "empty") as faucet:
        reply = faucet.claim(ALICE)
        assert reply.status == 503
        assert "The purse is empty" in reply.text
        assert reply.headers["retry-after"] == "30"
        err = faucet.end()[2]
    assert err.startswith("bmint: warning: the purse has 0, and no notes that make ")
    assert "there is nothing to give\nhint: bmint issue " in err


# -- kills -----------------------------------------------------------------------------------------


def test_attack_killed_in_the_middle_of_a_payment_it_pays_once_and_limits_hold(tmp_path, mesh):
    hosts, processes = mesh
    owner = fresh_owner(700)
    words = ("--timeout", 2, "--per-address", 2)
    with Faucet(tmp_path, hosts, *words) as faucet:
        for process in processes[2:]:
            process.signal(signal.SIGSTOP)
        try:
            reply = faucet.claim(owner)
            assert reply.status == 303
            assert "on its way" in faucet.get(reply.place).text
            faucet.end(signal.SIGKILL)
        finally:
            for process in processes[2:]:
                process.signal(signal.SIGCONT)
    with Faucet(tmp_path, hosts, *words) as faucet:
        assert left(faucet) == "99"
        until_final(faucet, reply.place)
        refused = faucet.claim(owner)
        assert refused.status == 429
        assert f'href="{reply.place}"' in refused.text
        assert faucet.claim(fresh_owner(701)).status == 303
        assert faucet.claim(fresh_owner(702)).status == 429
    assert owned_mils(tmp_path, hosts, owner) == 1_000
    assert payments(tmp_path) == 2


def test_attack_many_kills_in_a_flood_lift_no_limit(tmp_path, mesh):
    """Killed again and again while many ask: the budget of the hour is that of all its lives."""
    hosts, _ = mesh
    words = ("--per-hour", 8, "--per-address", 1000)
    for life in range(4):
        with Faucet(tmp_path, hosts, *words) as faucet, ThreadPoolExecutor(8) as threads:
            first = 800 + life * 100
            asked = [
                threads.submit(faucet.claim, fresh_owner(number))
                for number in range(first, first + 40)
            ]
            asked[4 + life].exception()  # answered, or not
            faucet.process.kill()
            for each in asked:
                each.exception()
    with Faucet(tmp_path, hosts, *words) as faucet:
        for number in range(1300, 1320):
            faucet.claim(fresh_owner(number))
        assert left(faucet) == "0"
        with Journal.open(MINT.owner, tmp_path / "faucet") as journal:
            signed = [entry.transfer for entry in journal._entries.values()]
        assert len(signed) == len({transfer.to for transfer in signed}) == 8


def test_a_browser_that_goes_in_the_middle_of_a_stream_hurts_nobody(tmp_path, mesh):
    hosts, processes = mesh
    with Faucet(tmp_path, hosts, "--timeout", 2) as faucet:
        for process in processes[2:]:
            process.signal(signal.SIGSTOP)
        try:
            reply = faucet.claim(fresh_owner(1400))
            place = urlsplit(faucet.url)
            request = f"GET {reply.place}/live HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
            for _ in range(250):  # more than there may be at once
                with socket.create_connection((place.hostname, place.port)) as browser:
                    browser.sendall(request)
                    assert browser.recv(1)
        finally:
            for process in processes[2:]:
                process.signal(signal.SIGCONT)
        until_final(faucet, reply.place)
        status, _, err = faucet.end(signal.SIGINT)
        assert status == 0
        assert not [line for line in err.splitlines() if " WARNING billots.dispensing:" not in line]


# -- starts that are refused -----------------------------------------------------------------------


def bmint(*words, before=""):
    script = (
        f"{before}\nimport sys\nfrom billots.cli.bmint import main\nsys.argv[0] = 'bmint'\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_port_in_use_is_said(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0]) as faucet:
        place = urlsplit(faucet.url).netloc
        with Faucet(tmp_path / "other", mesh[0], place=place) as second:
            status, out, err = second.end(0)
    assert (status, out) == (2, "")
    assert err.startswith(
        f"bmint: error: can't listen on {place}: address already in use\nhint: try"
    )


def test_two_faucets_with_one_book_are_said(tmp_path, mesh):
    with Faucet(tmp_path, mesh[0]), Faucet(tmp_path, mesh[0]) as second:
        status, _, err = second.end(0)
    assert status == 2
    assert "bmint: error: another faucet has" in err


def test_without_the_extra_it_says_what_to_install(tmp_path):
    words = ("faucet", "0", "--network", "test", "--trusted", "127.0.0.1:1")
    status, out, err = bmint(*words, before="import sys; sys.modules['starlette'] = None")
    assert (status, out) == (2, "")
    assert err == (
        "bmint: error: bmint faucet needs the extra: starlette not installed\n"
        "hint: pip install 'billots[web]', or '.[web]' in a clone\n"
    )


def currency(name="mine", faucet="faucet = true"):
    issuer = USER1.owner
    return (
        f'name = "{name}"\nissuer = "{issuer}"\n{faucet}\n'
        '[[denominations]]\nprefix = "a-"\nvalue = "0.5"\ncirculation = 100\n'
    )


def main_with_a_faucet():
    from importlib import resources

    text = resources.files("billots").joinpath("networks/main.toml").read_text("utf-8")
    return "faucet = true\n" + text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (currency(faucet=""), "the file of network mine does not allow a faucet"),
        (currency(faucet="faucet = false"), "the file of network mine does not allow a faucet"),
        (currency(name="main"), "there is no faucet for the network main"),
        (main_with_a_faucet(), "there is no faucet for the network main"),
    ],
)
def test_attack_a_faucet_for_money_that_is_no_play_does_not_start(tmp_path, text, message):
    (tmp_path / "net.toml").write_text(text)
    words = ("faucet", "0", "--trusted", "127.0.0.1:1", "--keyfile", MOCK / "user1")
    status, out, err = bmint(*words, "--network", tmp_path / "net.toml")
    assert (status, out) == (2, "")
    assert err.startswith(f"bmint: error: {message}")
    status, _, err = bmint(*words, "--network", "main")
    assert (status, "no faucet for the network main" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--gives", "0.3"], 2, "no billots of network mine make 0.3"),
        (["--gives", "x"], 2, "an amount is written"),
        (["--gives", "2", "--per-hour", "1"], 2, "--per-hour is less than what is given at once"),
        (["--gives", "0.5", "--per-hour", "9999"], 2, "more than 4,000 payments in an hour"),
        (["--per-owner", "0"], 2, "--per-owner"),
        (["--explorer", "javascript:alert(1)"], 2, "takes http://HOST or https://HOST"),
        (["--explorer", 'http://x/"onclick='], 2, "takes http://HOST or https://HOST"),
        (["--behind-proxy", "proxy.example"], 2, "not an address"),
        (["--keyfile", "missing"], 2, "no key file missing"),
        ([], 3, "can't reach 127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(tmp_path, words, status, message):
    (tmp_path / "net.toml").write_text(currency())
    base = ["faucet", "0", "--network", tmp_path / "net.toml", "--trusted", "127.0.0.1:1"]
    base += ["--keyfile", MOCK / "user1", "--data-dir", tmp_path / "data"]
    ended, out, err = bmint(*base, *words)
    assert (ended, out) == (status, "")
    assert message in err


def test_attack_servers_that_say_nothing_do_not_keep_it_from_ending(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        faucet = Faucet(tmp_path, [f"127.0.0.1:{silent.getsockname()[1]}"], "--timeout", "600")
        command = [sys.executable, "-m", "billots.cli.bmint", *faucet.words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        connection, _ = silent.accept()
        with connection, process:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "Stopped.\n", "")


def test_what_has_to_be_named(tmp_path):
    assert "no network is named" in bmint("faucet", "0", "--trusted", "127.0.0.1:1")[2]
    assert "no server is named" in bmint("faucet", "0", "--network", "test")[2]
    for place in ("x", "70000", "::1:80"):
        words = ("faucet", place, "--network", "test", "--trusted", "127.0.0.1:1")
        assert "for bmint faucet" in bmint(*words)[2]


def test_servers_of_another_network_are_said(tmp_path, mesh):
    (tmp_path / "net.toml").write_text(currency())
    words = ("faucet", "0", "--network", tmp_path / "net.toml", "--keyfile", MOCK / "user1")
    words += ("--data-dir", tmp_path / "data")
    status, out, err = bmint(*words, "--trusted", ", ".join(mesh[0]))
    assert (status, out) == (2, "")
    assert "does not serve network mine" in err
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    status, _, err = bmint(*words, "--trusted", f"{nobody}, {mesh[0][0]}")
    assert (status, "does not serve network mine" in err) == (2, True)
