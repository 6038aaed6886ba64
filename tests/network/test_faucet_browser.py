"""The faucet as people see it: a real browser, a real faucet, real servers."""

import signal

import pytest
from faucets import Faucet, chromium, four_servers, is_clean, photograph, resize
from servers import OTHERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZES = [(1280, False), (1280, True), (390, False), (390, True)]
HOSTILE = (
    "<script>document.title='owned'</script>\"'><img src=x onerror=\"document.title='owned'\">"
)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with four_servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="module")
def window():
    with chromium() as found:
        yield found


def by_css(window, selector):
    return window.find_element("css selector", selector)


def text_of(window, selector):
    return by_css(window, selector).text


def wait_for(window, holds):
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    moving = (NoSuchElementException, StaleElementReferenceException)
    wait = WebDriverWait(window, 30, poll_frequency=0.02, ignored_exceptions=moving)
    return wait.until(lambda _: holds())


def fill_in(window, owner):
    field = by_css(window, "#owner")
    field.clear()
    field.send_keys(owner)
    before = by_css(window, "html")
    by_css(window, "form.claim button:not([type])").click()

    from selenium.webdriver.support.expected_conditions import staleness_of

    wait_for(window, lambda: staleness_of(before)(window))
    wait_for(window, lambda: window.execute_script("return document.readyState") == "complete")


def test_from_the_form_to_final(tmp_path, mesh, window):
    hosts, _ = mesh
    with Faucet(
        tmp_path, hosts, "--explorer", "http://127.0.0.1:9/", "--per-address", 50
    ) as faucet:
        for (width, dark), key in zip(SIZES, OTHERS, strict=False):
            resize(window, width, dark=dark)
            mark = f"{width}{'-dark' if dark else ''}"
            window.get(faucet.url)
            is_clean(window)
            photograph(window, f"faucet-{mark}")
            assert not by_css(window, "#scan").is_displayed() or "BarcodeDetector" in (
                window.execute_script("return Object.getOwnPropertyNames(window)")
            )
            fill_in(window, "not an owner id")
            assert by_css(window, "#owner").get_attribute("value") == "not an owner id"
            assert by_css(window, "#owner").get_attribute("aria-invalid") == "true"
            assert "Not an owner id" in text_of(window, "#owner-error")
            is_clean(window, statuses=[400])
            photograph(window, f"faucet-wrong-{mark}")
            fill_in(window, key.owner)
            wait_for(window, lambda: text_of(window, "#state") == "final")
            assert text_of(window, "tfoot td") == "1"
            assert "after" in text_of(window, "#took")
            wait_for(window, lambda: text_of(window, "#servers").count("settled") == 4)
            is_clean(window)
            photograph(window, f"claim-{mark}")
            links = [a.get_attribute("href") for a in window.find_elements("css selector", "td a")]
            assert len(links) == 13
            assert all(link.startswith("http://127.0.0.1:9/billot/") for link in links)
            owner_link = by_css(window, "a.button").get_attribute("href")
            assert owner_link == f"http://127.0.0.1:9/owner/{key.owner}"
            window.get(faucet.url)
            fill_in(window, key.owner)
            assert "has been given" in text_of(window, "#refused")
            assert "in 24 hours" in text_of(window, "#refused")
            is_clean(window, statuses=[429])
            photograph(window, f"faucet-limit-{mark}")


def test_it_is_seen_to_become_final(tmp_path, mesh, window):
    """Two of four servers stand still: no quorum, and the page says so until one goes on."""
    hosts, processes = mesh
    resize(window, 1280)
    with Faucet(tmp_path, hosts, "--timeout", 2, "--server", hosts[0]) as faucet:
        window.get(faucet.url)
        for process in processes[2:]:
            process.signal(signal.SIGSTOP)
        try:
            # The purse was looked at before; what is signed now gets two votes of three needed.
            fill_in(window, OTHERS[4].owner)
            wait_for(window, lambda: window.find_elements("css selector", "#state"))
            assert text_of(window, "#state") == "on its way"
            wait_for(window, lambda: "held" in text_of(window, "#servers"))
            photograph(window, "claim-on-its-way")
        finally:
            for process in processes[2:]:
                process.signal(signal.SIGCONT)
        wait_for(window, lambda: text_of(window, "#state") == "final")
        wait_for(window, lambda: text_of(window, "#servers").count("settled") == 4)
        is_clean(window)


def test_without_javascript(tmp_path, mesh):
    hosts, processes = mesh
    with Faucet(tmp_path, hosts, "--timeout", 2) as faucet, chromium(javascript=False) as window:
        window.get(faucet.url)
        assert not by_css(window, "#scan").is_displayed()
        for process in processes[2:]:
            process.signal(signal.SIGSTOP)
        try:
            fill_in(window, OTHERS[5].owner)
            wait_for(window, lambda: window.find_elements("css selector", "#state"))
            assert by_css(window, "noscript a").text == "Look again"
        finally:
            for process in processes[2:]:
                process.signal(signal.SIGCONT)
        wait_for(window, lambda: "final" in by_css(window, "#state").text.split()[0])
        assert text_of(window, "tfoot td") == "1"


def test_attack_markup_in_the_field_stays_text(tmp_path, mesh, window):
    hosts, _ = mesh
    resize(window, 390)
    with Faucet(tmp_path, hosts) as faucet:
        window.get(faucet.url)
        fill_in(window, HOSTILE)
        assert by_css(window, "#owner").get_attribute("value") == HOSTILE
        assert "owned" not in window.title
        is_clean(window, statuses=[400])
        from urllib.parse import quote

        window.get(f"{faucet.url}?owner={quote(HOSTILE)}")
        assert by_css(window, "#owner").get_attribute("value") == HOSTILE
        assert not window.find_elements("css selector", "main img")
        is_clean(window)


def test_a_form_works_where_browsers_say_less_of_where_it_came_from(tmp_path, mesh, window):
    """Over plain HTTP from an address that isn't this machine's own there is no Sec-Fetch-Site."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its own")
        address = sock.getsockname()[0]
    hosts, _ = mesh
    with Faucet(tmp_path, hosts, place=f"{address}:0") as faucet:
        window.get(faucet.url)
        fill_in(window, OTHERS[6].owner)
        wait_for(window, lambda: text_of(window, "#state") == "final")
        # Chromium tells of one header that it takes over HTTPS only.
        is_clean(window, but="Cross-Origin-Opener-Policy header has been ignored")


SCANNER = """
window.BarcodeDetector = class {
  async detect(picture) { return picture.width === 3 ? [{ rawValue: "scanned" }] : []; }
};
"""


def test_a_code_is_read_where_the_browser_can(tmp_path, mesh, window):
    """No Chromium on Linux can read codes, so that this one stands in for one that can."""
    import struct
    import zlib

    def picture(name, width):
        def chunk(kind, data):
            return (
                struct.pack(">I", len(data))
                + kind
                + data
                + struct.pack(">I", zlib.crc32(kind + data))
            )

        head = struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0)
        body = zlib.compress(bytes(width + 1))
        path = tmp_path / name
        chunks = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
        return str(path)

    hosts, _ = mesh
    added = window.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SCANNER})
    try:
        with Faucet(tmp_path, hosts) as faucet:
            resize(window, 390)
            window.get(faucet.url)
            assert by_css(window, "#scan").is_displayed()
            photograph(window, "faucet-scan-390")
            by_css(window, "#scan-file").send_keys(picture("none.png", 4))
            wait_for(window, lambda: "no code" in text_of(window, "#scan-says"))
            by_css(window, "#scan-file").send_keys(picture("code.png", 3))
            wait_for(window, lambda: by_css(window, "#owner").get_attribute("value") == "scanned")
            is_clean(window)
    finally:
        window.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
