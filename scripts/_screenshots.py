"""The pictures in ``docs/pictures``: pages of a network that lives while they are taken."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("web", "network")]

from browser import DESKTOP, MISSING, PHONE, Browser  # noqa: E402
from explored import EXTRA, Explored, history  # noqa: E402
from faucets import Faucet  # noqa: E402
from servers import OTHERS  # noqa: E402


@dataclass(frozen=True)
class Page:
    """A page to take: its name, where it is, and what must show before it is taken."""

    name: str
    url: str
    shows: str
    act: Callable[[Browser], None] | None = None


def ask(browser: Browser) -> None:
    """Fill in the faucet's form, and send it."""
    browser.one("#owner").send_keys(OTHERS[int(browser.run("return innerWidth") < 600)].owner)
    browser.one("form.claim button:not([type])").click()


def take(folder: Path, pages: list[Page]) -> None:
    """Each page on a desktop and on a phone, and the first at night as well."""
    for size, mark in ((DESKTOP, ""), (PHONE, "-phone")):
        with tempfile.TemporaryDirectory() as profile, Browser(profile, size) as browser:
            for page in pages:
                browser.open(page.url)
                if page.act is not None:
                    page.act(browser)
                browser.until(lambda page=page: page.shows in browser.text)
                sticking, _ = browser.overflow()
                assert sticking <= 0, page.name
                browser.picture(folder / f"{page.name}{mark}.png")
                click.echo(f"{page.name}{mark}.png")
            browser.prefer(dark=True)
            browser.open(pages[0].url)
            browser.until(lambda: pages[0].shows in browser.text)
            browser.picture(folder / f"{pages[0].name}-night{mark}.png")
            click.echo(f"{pages[0].name}-night{mark}.png")


@click.command()
@click.argument("folder", default=ROOT / "docs" / "pictures", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Take the pictures of the documents, into FOLDER."""
    if MISSING:
        raise click.ClickException("chromium and chromedriver are not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, Explored(Path(home), 4) as explored:
        asyncio.run(history(explored.hosts))
        explored.until("/disputes", lambda text: "a-1" in text and ">disputed<" in text)
        words = ("--explorer", explored.url, "--per-address", "50")
        with Faucet(Path(home), explored.hosts, *words) as faucet:
            pages = [
                Page("overview", explored.url, "agrees"),
                Page("billot", f"{explored.url}/billot/a-1", "4 of 4"),
                Page("owner", f"{explored.url}/owner/{EXTRA.owner}", "h-1000"),
                Page("disputes", f"{explored.url}/disputes", "disputed"),
                Page("disputed-billot", f"{explored.url}/billot/b-1", "isputed"),
                Page("faucet", faucet.url, "owner id"),
                Page("claim", faucet.url, "final", ask),
            ]
            take(folder, pages)


if __name__ == "__main__":
    main()
