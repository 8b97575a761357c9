"""Photograph docs/seeing.png, the page of hello -> ohlol, from a real run: `python docs/make_seeing.py`.

Needs a Chromium: `apt-get install chromium`.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from ohlol import fit
from ohlol.memory import memory
from ohlol.page import page
from ohlol.trace import trace

PICTURE = Path(__file__).with_name("seeing.png")
WIDTH, STEP = 1160, 2


def main() -> None:
    """Train, write the page, open it at a step in the middle."""
    model = fit([("hello", "ohlol")], seed=1)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        file = Path(folder) / "hello.html"
        file.write_text(page(trace(model, "hello"), memory=memory(model, "hello")), encoding="utf-8")
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        shown = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        shown.goto(f"file://{file}")
        for _ in range(STEP):
            shown.keyboard.press("ArrowRight")
        shown.screenshot(path=PICTURE, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
