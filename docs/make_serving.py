"""Take the screenshot docs/serving.png of a server's page that trains hello -> ohlol: `python docs/make_serving.py`.

Needs playwright and a Chromium, as make_explaining.py.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from ohlol import fit

PICTURE = Path(__file__).with_name("serving.png")
WIDTH, HEIGHT, EPOCH = 1160, 1040, 9


def main() -> None:
    """Serve a run, train in the page, go back to an epoch in the middle."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        run = Path(folder) / "hello"
        fit([("hello", "ohlol")], seed=1, out=run)
        command = [sys.executable, "-m", "ohlol", "serve", str(run), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = re.search(r"http://\S+", server.stdout.readline())
        assert address is not None
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        shown = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", locale="en-US")
        shown.goto(address[0])
        shown.locator("#tab-train").click()
        shown.locator("#pace").select_option("0")
        shown.locator("#start").click()
        shown.wait_for_selector("#open-training:not([hidden])")
        shown.locator("#pace").select_option("0.15")
        shown.locator("#epoch-slider").fill(str(EPOCH))
        shown.screenshot(path=PICTURE, full_page=True)
        browser.close()
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
