"""The Markdown that the site is built from: pages in one of two languages, with links that hold in the site.

A page NAME.md may have a Chinese translation NAME.zh.md beside it. Both are read on their own in the repository; in the
site they are one page in two builds, so that each build has a page at every address.
"""

import re
from itertools import pairwise
from pathlib import Path, PurePosixPath

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NOTEBOOKS = ROOT / "build/notebooks"
"""Where `make notebooks` writes the lessons, in a folder for each language."""
SHOWN = {"examples": ROOT / "examples/README.md", "changelog": ROOT / "CHANGELOG.md"}
"""Pages of the site that show a file which is not in docs/."""
LANGUAGES = {"en": "English", "zh": "中文"}
NOT_TRANSLATED = "```{note}\n本页尚无中文版，以下为英文原文。\n```"

PLAYGROUND = {
    "en": '<p><a href="../playground.html">Open the playground</a></p>',
    "zh": '<p><a href="../playground.html">打开演练场</a></p>',
}
"""A link to the page of `ohlol playground`, which `make site` puts beside the languages."""

FENCE = re.compile(r"^(`{3,}).*?^\1`*[ ]*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")
CHINESE_BREAK = re.compile(
    r"(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])\n(?=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])"
)
"""A line end between two Chinese characters, which would be shown as a space."""
FILE_NAME = re.compile(r"[\w/-]+(\.zh)?\.md")
"""The text of a link that names the file; the site shows the title of the page instead."""
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub and the site give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def outside_fences(text: str) -> list[tuple[str, bool]]:
    """The parts of a page in order, and whether each is prose instead of a fenced block."""
    bounds = [0, *(place for match in FENCE.finditer(text) for place in match.span()), len(text)]
    return [(text[a:b], number % 2 == 0) for number, (a, b) in enumerate(pairwise(bounds))]


def headings(path: Path) -> list[tuple[int, str]]:
    """Level and text of each heading of a page."""
    prose = "\n".join(part for part, is_prose in outside_fences(path.read_text(encoding="utf-8")) if is_prose)
    return [(len(marks), text) for marks, text in HEADING.findall(prose)]


def source_path(page: str, language: str) -> Path:
    """The file with the text of a page: its translation where there is one."""
    translation = DOCS / f"{page}.zh.md"
    if language == "zh" and translation.exists():
        return translation
    return SHOWN.get(page, DOCS / f"{page}.md")


def page_of(file: Path) -> str | None:
    """The page that shows a file, or None if no page does."""
    for page, shown in SHOWN.items():
        if file == shown:
            return page
    if file in (ROOT / "README.md", ROOT / "README.zh-CN.md"):
        return "index"
    if file.suffix != ".md" or not file.is_relative_to(DOCS):
        return None
    return file.relative_to(DOCS).as_posix().removesuffix(".md").removesuffix(".zh")


def translated_anchor(page: str, anchor: str, language: str) -> str:
    """The anchor in the language of the build for an anchor of the page in any language."""
    english, shown = headings(source_path(page, "en")), headings(source_path(page, language))
    anchors = [slug(text) for _, text in shown]
    if anchor in anchors:
        return anchor
    place = [slug(text) for _, text in english].index(anchor)
    return anchors[place]


def read_page(page: str, language: str) -> str:
    """The text of a page, with links for the site."""
    path = source_path(page, language)
    text = "".join(
        CHINESE_BREAK.sub("", LINK.sub(lambda link: _link(link, page, path, language), part)) if is_prose else part
        for part, is_prose in outside_fences(path.read_text(encoding="utf-8"))
    )
    text = _without_language_link(text)
    if page == "playground":
        title, _, rest = text.partition("\n\n")
        text = f"{title}\n\n{PLAYGROUND[language]}\n\n{rest}"
    notebook = NOTEBOOKS / language / f"{PurePosixPath(page).name}.ipynb"
    if page.startswith("lessons/") and notebook.exists():
        title, _, rest = text.partition("\n\n")
        text = f"{title}\n\n[Notebook]({_relative(notebook, (DOCS / page).parent)}) · {rest}"
    if language == "zh" and path.suffixes != [".zh", ".md"]:
        title, _, rest = text.partition("\n")
        text = f"{title}\n\n{NOT_TRANSLATED}\n{rest}"
    return text


def _link(link: re.Match[str], page: str, path: Path, language: str) -> str:
    """A link of a page as the site needs it."""
    target, _, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    file = (path.parent / target).resolve()
    shown = page_of(file)
    base = (DOCS / page).parent
    if shown is not None:
        anchor = translated_anchor(shown, anchor, language) if anchor else ""
        text = headings(source_path(shown, language))[0][1] if FILE_NAME.fullmatch(link["text"]) else link["text"]
        return f"[{text}]({_relative(DOCS / f'{shown}.md', base)}{'#' * bool(anchor)}{anchor})"
    if file.is_dir():
        return link["text"]
    return f"{link['image']}[{link['text']}]({_relative(file, base)})"


def _relative(file: Path, base: Path) -> str:
    """The path of a file from a folder."""
    up = 0
    while not file.is_relative_to(base):
        base, up = base.parent, up + 1
    return str(PurePosixPath(*[".."] * up, file.relative_to(base)))


def _without_language_link(text: str) -> str:
    """A page without the link to its translation, which every page of the site has in a fixed place."""
    return re.sub(r"^\[(?:中文|English)\]\([^)]+\)(?: · )?", "", text, count=1, flags=re.MULTILINE)
