"""The site: every page is in the lists of pages, links lead somewhere in both languages, and both builds succeed."""

import importlib.util
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markdown_it import MarkdownIt
from transcripts import ROOT

DOCS = ROOT / "docs"
LANGUAGES = ("en", "zh")
HIDDEN = {"log"}
"""The notebook of experiments is built, and is in no list of pages."""


def site_sources() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_sources", DOCS / "site_sources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOURCES: Any = site_sources()
PAGES = sorted(
    path.relative_to(DOCS).as_posix().removesuffix(".md")
    for path in DOCS.rglob("*.md")
    if not path.name.endswith(".zh.md")
)
TRANSLATED = [page for page in PAGES if (DOCS / f"{page}.zh.md").exists()]


def listed(page: str, language: str) -> list[str]:
    """The pages in the toctrees of a page, and in those of these pages."""
    text = SOURCES.read_page(page, language)
    result: list[str] = []
    for body in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in body.splitlines():
            if line and not line.startswith(":"):
                name = (re.search(r"<(.+)>", line) or re.search(r"(.+)", line))[1]  # pyright: ignore
                name = (Path(page).parent / name).as_posix()
                result += [name, *listed(name, language)]
    return result


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_listed_once(language: str) -> None:
    assert sorted([*listed("index", language), "index", *HIDDEN]) == PAGES


def test_both_languages_list_the_pages_in_the_same_order() -> None:
    assert listed("index", "en") == listed("index", "zh")


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_translation_has_the_headings_of_its_page(page: str) -> None:
    levels = [[level for level, _ in SOURCES.headings(SOURCES.source_path(page, lang))] for lang in LANGUAGES]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_files_of_the_site(page: str, language: str) -> None:
    for part, is_prose in SOURCES.outside_fences(SOURCES.read_page(page, language)):
        for link in SOURCES.LINK.finditer(part) if is_prose else ():
            target, _, anchor = link["target"].partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            shown = page if not target else SOURCES.page_of((DOCS / page).parent.joinpath(target).resolve())
            if shown is None:
                assert (DOCS / page).parent.joinpath(target).is_file(), f"{link['target']} leads nowhere"
                continue
            path = SOURCES.source_path(shown, language)
            assert path.exists(), f"{link['target']} leads nowhere"
            if anchor:
                assert anchor in [SOURCES.slug(text) for _, text in SOURCES.headings(path)], link["target"]


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_chinese_page_links_to_chinese_pages(page: str) -> None:
    path = DOCS / f"{page}.zh.md"
    for part, is_prose in SOURCES.outside_fences(path.read_text(encoding="utf-8")):
        for link in SOURCES.LINK.finditer(part) if is_prose else ():
            target = link["target"].partition("#")[0]
            if target.endswith(".md") and not target.endswith(".zh.md") and link["text"] != "English":
                other = path.parent / target.replace(".md", ".zh.md")
                assert not other.exists(), f"{target} has a Chinese page"


@pytest.mark.parametrize("page", TRANSLATED)
def test_bold_text_of_a_chinese_page_is_bold(page: str) -> None:
    """`**` after Chinese punctuation and before a Chinese character does not end bold text: it needs a space."""
    tokens = MarkdownIt("commonmark").enable("table").parse((DOCS / f"{page}.zh.md").read_text(encoding="utf-8"))
    texts = [child.content for token in tokens for child in token.children or [] if child.type == "text"]
    assert [text for text in texts if re.search(r"\*\*\S|\S\*\*", text)] == []


@pytest.mark.parametrize("name", [*(f"docs/{page}.zh.md" for page in TRANSLATED), "README.zh-CN.md"])
def test_lines_of_a_chinese_page_end_between_words(name: str) -> None:
    """Where a page is shown without the site, a line end is a space."""
    for part, is_prose in SOURCES.outside_fences((ROOT / name).read_text(encoding="utf-8")):
        for line, after in pairwise(part.splitlines()) if is_prose else ():
            is_text = not line.startswith(("#", "|"))
            assert not (is_text and re.search(r"[\u4e00-\u9fff]$", line) and re.match(r" *[\u4e00-\u9fff]", after)), (
                line
            )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_start_page_has_the_questions(language: str) -> None:
    start = SOURCES.read_page("index", language)
    asked = re.findall(r"^\d+\. \[(.+)\]\(questions\.md#(.+)\)$", start, re.MULTILINE)
    answers = SOURCES.read_page("questions", language).split("\n## ")[1:]
    assert len(asked) == 12
    assert [anchor for _, anchor in asked] == [SOURCES.slug(answer.splitlines()[0]) for answer in answers]
    for answer in answers:
        assert re.search(r"\]\((lessons/\d|data\.md#)", answer), f"{answer.splitlines()[0]}: no lesson"
        assert "```" in answer, f"{answer.splitlines()[0]}: no command"


@pytest.mark.parametrize("page", PAGES)
def test_only_a_page_without_a_translation_says_so(page: str) -> None:
    assert (SOURCES.NOT_TRANSLATED in SOURCES.read_page(page, "zh")) == (page not in TRANSLATED)
    assert SOURCES.NOT_TRANSLATED not in SOURCES.read_page(page, "en")


@pytest.fixture(scope="module", params=LANGUAGES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The language and the folder of a site; a warning fails."""
    for package in ("furo", "myst_parser", "sphinx", "sphinx_copybutton"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("needs the packages of the site: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    options = ("-q", "-W", "--keep-going", "-n", "-d", str(folder / "doctrees"))
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")]
    environment = {**os.environ, "OHLOL_SITE_LANGUAGE": request.param}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return request.param, folder / "html"


@pytest.mark.slow
def test_every_page_leads_to_its_other_language(built: tuple[str, Path]) -> None:
    language, folder = built
    (other,) = (name for name in LANGUAGES if name != language)
    for page in PAGES:
        html = (folder / f"{page}.html").read_text(encoding="utf-8")
        assert re.search(rf'href="(\.\./)+{other}/{page}\.html"', html), f"{page} does not lead to its other language"


SEARCHED = {
    "en": {"hidden state": "questions", "forget gate": "lessons/07-gates"},
    "zh": {"隐藏状态": "questions", "遗忘门": "lessons/07-gates", "pack_padded_sequence": "questions"},
}
"""Words, and a page that the search must find."""


@pytest.mark.slow
def test_the_search_finds_words_in_the_language_of_the_site(built: tuple[str, Path], browser: Any) -> None:
    language, folder = built
    page = browser.new_page()
    for words, expected in SEARCHED[language].items():
        page.goto(f"file://{folder}/search.html?q={words}")
        page.wait_for_function("document.querySelector('.search-summary')?.innerText", timeout=300_000)
        links = [link.get_attribute("href") for link in page.locator("ul.search li a").all()]
        assert any(link.startswith(f"{expected}.html") for link in links), words
    page.close()


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(built: tuple[str, Path], browser: Any) -> None:
    _, folder = built
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for name in PAGES:
        page.goto(f"file://{folder}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    page.close()
