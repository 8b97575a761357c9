"""Take screenshots of the page of `ohlol explain` for docs/explaining.md: `python docs/make_explaining.py`.

docs/explaining.png shows hello -> ohlol with its training history. docs/explaining-shakespeare.png shows a small LSTM
on the first 500,000 letters of Shakespeare, if the data is available (`OHLOL_DATA`, as for the tests); it takes a
minute or two.
Needs a Chromium: `apt-get install chromium`.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from ohlol import fit
from ohlol.display.page import render_page
from ohlol.explain.history import trace_epochs
from ohlol.explain.saliency import compute_saliency
from ohlol.explain.trace import trace

DOCS = Path(__file__).parent
DATA = Path(os.environ.get("OHLOL_DATA", DOCS.parents[1] / "shared/data"))
LETTERS, PASSAGE, WIDTH = 500_000, slice(300), 1160


def hello(folder: Path, browser: Any) -> None:
    """The whole page, in the middle of the word."""
    model = fit([("hello", "ohlol")], seed=1, snapshots=True, out=folder / "hello")
    html = render_page(
        trace(model, "hello"), saliency=compute_saliency(model, "hello"), frames=trace_epochs(model, "hello")
    )
    save_screenshot(browser, html, folder, DOCS / "explaining.png", theme="light", keys=["ArrowRight"] * 2, whole=True)


def shakespeare(folder: Path, browser: Any) -> None:
    """The top of the page of a passage, in the dark theme."""
    text = (DATA / "tinyshakespeare/input.txt").read_text(encoding="utf-8")[:LETTERS]
    (folder / "shakespeare.txt").write_text(text, encoding="utf-8")
    model = fit(folder / "shakespeare.txt", hidden_size=96, embedding_size=32, epochs=4, batch_size=16)
    passage = text[PASSAGE]
    html = render_page(trace(model, passage), saliency=compute_saliency(model, passage))
    to = DOCS / "explaining-shakespeare.png"
    save_screenshot(browser, html, folder, to, theme="dark", keys=["ArrowRight"] * 60, whole=False)


def save_screenshot(
    browser: Any, html: str, folder: Path, to: Path, *, theme: str, keys: list[str], whole: bool
) -> None:
    """Open a page, press keys, and save a screenshot."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    shown = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=theme)
    shown.goto(f"file://{file}")
    for key in keys:
        shown.keyboard.press(key)
    shown.screenshot(path=to, full_page=whole)
    shown.close()
    print(f"wrote {to.name}")


def main() -> None:
    """Take both screenshots, or only the first without the data."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        hello(Path(folder), browser)
        if DATA.is_dir():
            shakespeare(Path(folder), browser)
        else:
            print(f"explaining-shakespeare.png was not updated: no data at {DATA}")
        browser.close()


if __name__ == "__main__":
    main()
