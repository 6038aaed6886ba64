"""Headless Chromium, driven by selenium: pages as people get them, and pictures of them.

Nothing here waits for time to pass: what has to show up is asked for again and again, within a
deadline that only a failing test reaches.
"""

import contextlib
import shutil
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MISSING = CHROMIUM is None or DRIVER is None
DESKTOP, PHONE = (1280, 900), (390, 844)
DEADLINE_S = 30


class Browser:
    """One browser with a profile of its own in `folder`; a context manager.

    `size` is the viewport's (CSS pixels); `dark` is what the person prefers; without `script`
    pages can't run any.
    """

    def __init__(self, folder, size=DESKTOP, *, dark=False, script=True):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            "headless=new",
            "no-sandbox",  # it runs as root in containers
            "disable-dev-shm-usage",
            "disable-gpu",
            "hide-scrollbars",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            f"user-data-dir={Path(folder) / 'profile'}",
        ):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if not script:
            content = {"profile.managed_default_content_settings.javascript": 2}
            options.add_experimental_option("prefs", content)
        self._options = options
        self._size = size
        self._dark = dark

    def __enter__(self):
        self.driver = webdriver.Chrome(self._options, Service(DRIVER))
        self.driver.set_page_load_timeout(DEADLINE_S)
        self.resize(*self._size)
        self.prefer(dark=self._dark)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.driver.quit()
        # urllib3 leaves the last connection to the driver for the collector to complain about
        self.driver.command_executor.close()
        self.driver.service.stop()

    def resize(self, width, height):
        """Give pages a viewport of this size."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def prefer(self, *, dark):
        """Prefer dark pages, or light ones."""
        value = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url):
        """Load a page; returns the text that it shows."""
        self.driver.get(url)
        return self.text

    @property
    def text(self):
        """What the page shows."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def all(self, selector):
        """All elements of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        """The only element of a CSS selector."""
        (found,) = self.all(selector)
        return found

    def run(self, script, *arguments):
        """What a script returns that runs in the page."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self):
        """What the browser's console has had to say since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def overflow(self):
        """How many pixels of the page stick out at the right, and what does."""
        return self.run(
            "const wide = document.documentElement.clientWidth;"
            "return [document.documentElement.scrollWidth - wide,"
            " [...document.querySelectorAll('body *')]"
            "  .filter(e => e.getBoundingClientRect().right > wide + 1)"
            "  .map(e => e.outerHTML.slice(0, 120))]"
        )

    def until(self, holds):
        """Ask until it is so; returns what was found."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
        raise AssertionError(f"never: {self.text}")

    def picture(self, path, *, whole=True):
        """Write what is seen to a PNG; the whole page, not only what fits the viewport."""
        if whole:
            height = self.run("return document.documentElement.scrollHeight")
            width = self.run("return document.documentElement.clientWidth")
            self.resize(width, height)
        self.driver.save_screenshot(str(path))
        if whole:
            self.resize(*self._size)
