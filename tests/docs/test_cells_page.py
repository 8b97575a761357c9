"""The gallery of cells in both languages: equations, sources, numbers of parameters, pictures and the included file."""

import inspect
import re
from pathlib import Path

import pytest
from test_docs import ROOT, read
from transcripts import with_included_files

from ohlol.cells import CELLS, CellSpec
from ohlol.nn import make_cell

PAGES = ("docs/cells.md", "docs/cells.zh.md")
SIZE = 64
MAX_PICTURE = 40_000
BUILT_IN = {name: spec for name, spec in CELLS.items() if ":" not in name}


def section(page: str, name: str) -> str:
    """The text below the heading of a cell."""
    _, heading, rest = read(page).partition(f"\n### {name}\n")
    assert heading, f"{page} has no section {name}"
    return re.split(r"\n##+ ", rest)[0]


def parameters_of(spec: CellSpec) -> int:
    return sum(p.numel() for p in make_cell(spec, SIZE, SIZE).parameters())


@pytest.mark.parametrize("page", PAGES)
def test_the_sections_are_the_cells(page: str) -> None:
    assert re.findall(r"^### (\w+)$", read(page), re.MULTILINE) == list(BUILT_IN)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_section_agrees_with_the_cell(name: str, page: str) -> None:
    text, spec = section(page, name), BUILT_IN[name]
    assert "```text\n" + "\n".join(spec.equation) + "\n```" in text
    found = re.search(r"(?:Parameters: |参数：)(.+) = ([\d,]+)[.。]", text)
    assert found is not None
    formula, number = found.groups()
    assert re.fullmatch(r"[HI0-9 +()]+", formula)
    product = re.sub(r"(?<=[\dH])(?=[H(])", "*", formula)
    assert eval(product, {"H": SIZE, "I": SIZE}) == int(number.replace(",", "")) == parameters_of(spec)
    picture = ROOT / "docs" / f"cells/{name}.png"
    assert f"](cells/{name}.png)" in text
    assert picture.stat().st_size <= MAX_PICTURE


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", [name for name, spec in BUILT_IN.items() if spec.module is not None])
def test_a_source_is_that_of_the_class(name: str, page: str) -> None:
    source = re.search(r"(?:Source: |来源：)(.+?)[.。]$", section(page, name), re.MULTILINE)
    assert source is not None
    module = BUILT_IN[name].module
    assert module is not None
    assert source[1] in " ".join((inspect.getdoc(module) or "").split())


def test_no_picture_is_left_over() -> None:
    assert {path.stem for path in (ROOT / "docs/cells").glob("*")} == set(BUILT_IN)


@pytest.mark.parametrize("page", PAGES)
def test_the_included_file_is_current(page: str) -> None:
    assert read(page) == with_included_files(read(page)), (
        f"python tests/docs/transcripts.py {page} shows the new content"
    )


def test_both_languages_have_the_same_tables() -> None:
    tables = [re.findall(r"^\| `.*$", read(page), re.MULTILINE) for page in (*PAGES, "docs/results.md")]
    assert tables[0] == tables[1]
    scores = {row for row in tables[0] if "%" in row}
    assert scores
    assert scores <= set(tables[2])


def test_the_cell_of_the_page_has_ten_lines() -> None:
    source = (ROOT / "examples/my_cell.py").read_text(encoding="utf-8")
    body = re.sub(r'""".*?"""', "", source.partition("class ")[2], flags=re.DOTALL)
    assert len([line for line in body.splitlines() if line.strip()]) == 10
    assert Path(ROOT / "examples/my_cell.py").name in read("examples/README.md")
