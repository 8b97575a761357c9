"""A headless browser for the tests of pages, which are skipped without one."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run")  # fmt: skip


def opened() -> Iterator[Any]:
    """Open a headless Chromium and close it at the end."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Shown:
    """A page in the browser; records its requests and fails on an error in it.

    Args:
        browser: what the fixture `browser` gives.
        where: a file, or an address.
        options: of the browser's page, such as `viewport` and `color_scheme`.
    """

    def __init__(self, browser: Any, where: Path | str, **options: Any):
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(**{"viewport": {"width": 1200, "height": 900}, **options})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.set_default_timeout(300_000)  # a busy machine may stop a browser for a minute
        self.page.goto(f"file://{where}" if isinstance(where, Path) else where)

    def close(self, *, alone: bool = True) -> None:
        """Close it; `alone` says that it must have asked for nothing but itself."""
        assert not self.errors
        assert not alone or len(self.asked) == 1
        self.page.close()

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def exact(self, selector: str) -> list[float]:
        """The numbers with all digits, from the titles."""
        return [float(e.get_attribute("title")) for e in self.page.locator(selector).all()]
