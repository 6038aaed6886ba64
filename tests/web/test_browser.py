"""The explorer in a real browser: Chromium, headless. Skipped, and said so, where it is missing.

The browser's console is where it complains of what a page's policy forbids, so an empty console
is part of every look.
"""

import contextlib
import http.server
import threading
from urllib.parse import quote

import pytest
from browser import DESKTOP, MISSING, PHONE, Browser
from explored import EXTRA
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.keys import Keys
from servers import MINT, OTHERS, fresh, run, signed, submit

from billots.web.guard import SECURITY_HEADERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING, reason="no Chromium here: apt install chromium chromium-driver"),
]

HOSTILE = "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1>"
PAGES = [
    "/",
    "/disputes",
    "/search",
    "/billot/a-1",
    "/billot/b-1",
    "/billot/k-1",
    f"/owner/{EXTRA.owner}",
    f"/owner/{MINT.owner}",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def afresh(request):
    """Each test finds a light desktop, and an empty console."""
    if "browser" in request.fixturenames:
        opened = request.getfixturevalue("browser")
        opened.open("about:blank")
        opened.resize(*DESKTOP)
        opened.prefer(dark=False)
        opened.complaints()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_the_browser_has_no_complaint(seen, browser, path):
    browser.open(seen.url + path)
    assert browser.complaints() == []
    assert len(browser.all("h1")) == 1
    assert browser.one("html").get_attribute("lang") == "en"
    assert all(image.get_property("naturalWidth") > 0 for image in browser.all("img"))
    for field in browser.all("input"):
        assert browser.all(f"label[for={field.get_attribute('id')}]")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_sticks_out_of_the_screen(seen, browser, size, dark):
    browser.resize(*size)
    browser.prefer(dark=dark)
    for path in [*PAGES, f"/transfer/{seen.history.paid.id}", "/nothing"]:
        browser.open(seen.url + path)
        assert browser.run("return innerWidth") == size[0]
        assert browser.overflow() == [0, []], path


def luminance(color):
    """Relative luminance of ``rgb(…)`` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in color.strip("rgba()").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


CONTRASTS = """
const seen = [];
function behind(e) {
  for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent') return c;
  }
}
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest('.unseen, .skip')) continue;
  const s = getComputedStyle(e);
  seen.push([e.outerHTML.slice(0, 100), s.color, behind(e), parseFloat(s.fontSize)]);
}
return seen;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_written_can_be_read(seen, browser, dark):
    """Contrast of at least 4.5 to 1, 3 to 1 for large letters (WCAG 2.2, 1.4.3), day and night."""
    browser.prefer(dark=dark)
    for path in ("/", "/billot/b-1", f"/owner/{EXTRA.owner}", "/nothing"):
        browser.open(seen.url + path)
        found = browser.run(CONTRASTS)
        assert len(found) > 5
        ground = luminance(browser.run("return getComputedStyle(document.body).backgroundColor"))
        assert (ground < 0.2) == dark
        faint = []
        for element, color, background, size in found:
            low, high = sorted((luminance(color), luminance(background)))
            contrast = (high + 0.05) / (low + 0.05)
            if contrast < (3 if size >= 24 else 4.5):
                faint.append((round(contrast, 2), color, background, element))
        assert faint == []


def test_a_transfer_shows_up_without_a_reload(seen, browser):
    browser.open(f"{seen.url}/")
    browser.until(lambda: browser.one("[data-live-status]").text == "Live")
    browser.run("window.here = 1")
    (billot,) = fresh()
    paid = signed(MINT, OTHERS[3], (billot, 1))
    run(submit(seen.hosts[2], paid))
    row = browser.until(lambda: browser.all(f'tr[data-key="{paid.id}"]'))[0]
    assert billot in row.text
    link = row.find_element("css selector", "a[data-field=to]").get_attribute("href")
    assert link == f"{seen.url}/owner/{OTHERS[3].owner}"
    assert browser.run("return window.here") == 1
    keys = [each.get_attribute("data-key") for each in browser.all("[data-live-list] tr")]
    assert len(keys) == len(set(keys)) <= 12
    assert seen.history.two[0].id in keys or len(keys) == 12
    assert browser.complaints() == []


def test_what_comes_in_for_an_owner_shows_up(seen, browser):
    browser.open(f"{seen.url}/owner/{OTHERS[4].owner}")
    assert "show up here as they come" in browser.text
    billots = fresh(60)

    def paid():
        run(submit(seen.hosts[0], signed(MINT, OTHERS[4], (billots.pop(), 1))))
        return browser.all("[data-live-list] tr")

    browser.until(paid)
    assert "show up here as they come" not in browser.text


def test_all_that_is_not_live_works_without_scripts(seen, tmp_path):
    with Browser(tmp_path, script=False) as browser:
        browser.open(f"{seen.url}/")
        assert browser.one("[data-live-status]").text == "Reload the page for what is new"
        assert len(browser.all("[data-live-list] tr")) > 1
        field = browser.one("#q")
        field.send_keys("b-1", Keys.ENTER)
        browser.until(lambda: "/billot/b-1" in browser.driver.current_url)
        assert "Signed over twice" in browser.text
        browser.open(f"{seen.url}/owner/{EXTRA.owner}")
        browser.one("a[rel=next]").click()
        browser.until(lambda: "after=" in browser.driver.current_url)


def test_a_keyboard_gets_everywhere(seen, browser):
    browser.open(f"{seen.url}/")
    browser.run("document.body.focus()")
    body = browser.one("body")
    body.send_keys(Keys.TAB)
    focused = browser.driver.switch_to.active_element
    assert focused.text == "Skip to content"
    assert focused.value_of_css_property("outline-style") == "solid"
    focused.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"


# -- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/billot/{}", "/owner/{}", "/search?q={}", "/{}", "/static/{}"])
def test_attack_markup_in_a_link_runs_nothing(seen, browser, path):
    browser.open(seen.url + path.format(quote(HOSTILE, safe="")))
    assert browser.run("return window.pwned || 0") == 0
    assert browser.all("main img, main script") == []
    unexpected = [each for each in browser.complaints() if "status of 404" not in each]
    assert unexpected == []


@contextlib.contextmanager
def another_site(body, headers=()):
    """A site that isn't ours, with one page; gives its URL."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in [("Content-Type", "text/html"), *dict(headers).items()]:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


SLIPPED_IN = b"""<!doctype html><title>What if</title><link rel=icon href=data:,>
<script>window.pwned = 1</script>
<script src="data:text/javascript,window.pwned=2"></script>
<img src="data:," onerror="window.pwned = 3">
<a id="link" href="javascript:void(window.pwned = 4)">a link</a>
<form action="https://evil.example/"><button>a form</button></form>
<iframe srcdoc="<script>parent.pwned = 5</script>"></iframe>
<base href="https://evil.example/">"""


@pytest.mark.parametrize("guarded", [False, True])
def test_attack_markup_that_got_in_all_the_same_would_run_nothing(browser, guarded):
    """What if a page did have somebody's markup in it: the policy forbids each way to run it."""
    with another_site(SLIPPED_IN, SECURITY_HEADERS if guarded else ()) as url:
        browser.open(url)
        browser.one("#link").click()
        ran = browser.run("return window.pwned || 0")
        assert (ran == 0) == guarded
        complaints = " ".join(browser.complaints())
        assert ("Content Security Policy" in complaints) == guarded
        browser.open("about:blank")


@pytest.mark.parametrize(
    "script",
    [
        "document.body.innerHTML = '<b>markup</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>markup</b>')",
        "document.createElement('script').text = 'window.pwned = 1'",
        "document.createElement('script').src = '/static/live.js'",
        "setTimeout('window.pwned = 1')",
    ],
)
def test_attack_text_never_becomes_markup_or_script(seen, browser, script):
    browser.open(f"{seen.url}/")
    with pytest.raises(JavascriptException, match="Trusted"):
        browser.run(script)


def test_attack_a_page_in_a_frame_of_another_site_stays_empty(seen, browser):
    with another_site(f'<iframe src="{seen.url}/"></iframe>'.encode()) as url:
        browser.open(url)
        complaints = browser.until(browser.complaints)
        assert any("frame" in each.lower() for each in complaints)
        browser.driver.switch_to.frame(0)
        try:
            assert browser.all("main") == []
        finally:
            browser.driver.switch_to.default_content()
            browser.open("about:blank")


def test_attack_another_site_reads_nothing(seen, browser):
    """No page of another origin may read what is here, whatever name it comes by."""
    browser.open(f"{seen.url.replace('127.0.0.1', 'localhost')}/")
    read = browser.driver.execute_async_script(
        "const [url, done] = arguments; fetch(url).then(() => done('read'), () => done('refused'))",
        f"{seen.url}/metrics",
    )
    assert read == "refused"
    assert SECURITY_HEADERS["Cross-Origin-Resource-Policy"] == "same-origin"
