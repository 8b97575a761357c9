"""The lessons as notebooks: every block is a cell in both languages, and a notebook runs."""

import re

import pytest

pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install '.[dev]'")

from lesson_notebooks import LESSONS, build, convert, lessons
from notebooks import output_text
from transcripts import blocks


def sources(name: str, suffix: str, kind: str) -> list[str]:
    notebook = convert((LESSONS / f"{name}{suffix}.md").read_text("utf-8"))
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


@pytest.mark.parametrize("name", lessons())
def test_every_block_is_a_cell_in_both_languages(name: str) -> None:
    code = sources(name, "", "code")
    shown = [body for _, body, _ in blocks((LESSONS / f"{name}.md").read_text("utf-8"))]
    servers = [body for body in shown if "&\n" in body]
    assert len(code) == len(shown) - len(servers) >= 3
    assert code == sources(name, ".zh", "code")
    assert all(line.startswith("!ohlol ") for cell in code if cell.startswith("!") for line in cell.splitlines())


@pytest.mark.parametrize("suffix", ["", ".zh"])
@pytest.mark.parametrize("name", lessons())
def test_the_text_is_whole_without_links_between_files(name: str, suffix: str) -> None:
    text = "\n".join(sources(name, suffix, "markdown"))
    page = (LESSONS / f"{name}{suffix}.md").read_text("utf-8")
    assert text.startswith(page.splitlines()[0])
    assert not re.search(r"\]\([^:)]+\)", text)
    for heading in [line for line in page.splitlines() if line.startswith("## ")]:
        assert heading in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that run a notebook, in their own code
def test_a_notebook_has_the_outputs_of_a_run() -> None:
    notebooks = build("03-hello-cell")
    code = [[cell for cell in notebooks[language].cells if cell.cell_type == "code"] for language in ("en", "zh")]
    shown = [[output_text(cell) for cell in cells] for cells in code]
    assert shown[0] == shown[1]
    assert shown[0][0] == "ohlol 9.4709 2.5792"
    assert "hello -> ohlol" in shown[0][1]
    assert shown[0][-1] == "True"
