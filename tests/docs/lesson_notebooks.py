"""The lessons as notebooks: their text, their Python and their commands as cells, run once and stored with the outputs.

`python tests/docs/lesson_notebooks.py FOLDER` writes FOLDER/en/NAME.ipynb and FOLDER/zh/NAME.ipynb for each lesson. A
Chinese lesson has the blocks of the English one, and takes their outputs.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebooks import ROOT, execute_in
from transcripts import BLOCK, Session, entries

LESSONS = ROOT / "docs/lessons"
SETUP = "import os; os.environ |= {'TERM': 'dumb', 'COLUMNS': '80'}"
"""What a cell of its own does first while a notebook is made: commands then print lines instead of a progress bar."""
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\([^()\s:]+\)")
"""A link to another file of the repository, which a notebook of its own does not have."""
SITE_LINKS = re.compile(r"^\[(?:中文|English)\][^\n]*\n+|^```\{.*?^```\n*", re.DOTALL | re.MULTILINE)


def lessons() -> list[str]:
    """The names of the lessons, in order."""
    return sorted(path.stem for path in LESSONS.glob("[0-9]*.md") if not path.name.endswith(".zh.md"))


def convert(markdown: str) -> Any:
    """A lesson as a notebook that has not been run; blocks that start a server stay text."""
    cells: list[Any] = []
    position = 0
    for match in BLOCK.finditer(markdown):
        code = _code(match)
        if code is None:
            continue
        _add_text(cells, markdown[position : match.start()])
        cells.append(new_code_cell(code))
        position = match.end()
    _add_text(cells, markdown[position:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def _code(match: re.Match[str]) -> str | None:
    """The source of the cell for a block, or None where it is only shown."""
    if match[1] == "python":
        return match[2].strip("\n")
    commands = [entry.code for entry in entries(match[0] + "\n")]
    if any(command.endswith("&") for command in commands):
        return None
    return "\n".join(f"!{command}" for command in commands)


def _add_text(cells: list[Any], text: str) -> None:
    text = LINK.sub(r"\1", SITE_LINKS.sub("", text)).strip("\n")
    if text:
        cells.append(new_markdown_cell(text))


def build(name: str) -> dict[str, Any]:
    """The notebook of a lesson in each language, with the outputs of a run."""
    english, chinese = (convert((LESSONS / f"{name}{suffix}.md").read_text("utf-8")) for suffix in ("", ".zh"))
    with tempfile.TemporaryDirectory() as folder, Session(Path(folder)):  # which has the files that the lessons read
        english.cells.insert(0, new_code_cell(SETUP))
        execute_in(english, folder)
        del english.cells[0]
    for number, cell in enumerate((cell for cell in english.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = number
    outputs = iter([cell for cell in english.cells if cell.cell_type == "code"])
    for cell in chinese.cells:
        if cell.cell_type == "code":
            original = next(outputs)
            assert cell.source == original.source
            cell.outputs, cell.execution_count = original.outputs, original.execution_count
    return {"en": english, "zh": chinese}


def main() -> None:
    """Write the notebooks of all lessons."""
    folder = Path(sys.argv[1])
    for name in lessons():
        for language, notebook in build(name).items():
            path = folder / language / f"{name}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, path)
        print(f"wrote {name}.ipynb in both languages", file=sys.stderr)


if __name__ == "__main__":
    main()
