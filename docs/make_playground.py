"""Take the screenshot of docs/playground.md: `python docs/make_playground.py`.

docs/playground.png shows an RNN that was trained on hello -> ohlol, with a weight changed by hand. Needs a Chromium:
`apt-get install chromium`.
"""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from ohlol.display.playground import render_page

PICTURE = Path(__file__).with_name("playground.png")
WIDTH, EPOCHS = 1160, 14
WEIGHT, VALUE = "weight W_hh[h2, 1]", "-1.5"


def main() -> None:
    """Train in the page, one epoch after the other, change a weight, and save the page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        path = Path(folder) / "page.html"
        path.write_text(render_page(lang="en"), encoding="utf-8")
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(f"file://{path}")
        for _ in range(EPOCHS):
            page.locator("#one-epoch").click()
        page.locator(f"td[aria-label='{WEIGHT}']").click()
        page.locator("#weight-A").fill(VALUE)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.screenshot(path=PICTURE, full_page=True)
        browser.close()
    print(f"wrote {PICTURE.name}")


if __name__ == "__main__":
    main()
