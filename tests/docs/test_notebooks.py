"""The notebooks run, and running them reproduces their stored outputs."""

from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install '.[dev]'")

from notebooks import ROOT, execute, output_text
from transcripts import Entry, differs

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that run a notebook, in their own code
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_its_output(path: Path) -> None:
    import nbformat

    stored, again = nbformat.read(path, as_version=4), execute(path)
    assert len(stored.cells) == len(again.cells) > 5
    for number, (old, new) in enumerate(zip(stored.cells, again.cells, strict=True)):
        if old.cell_type == "code":
            assert output_text(old), f"cell {number} of {path.name} was not run"
            if "varies" in old.metadata.get("tags", ()):  # what the last bits of a training can change
                assert output_text(new), f"cell {number} of {path.name} shows nothing"
                continue
            difference = differs(Entry("console", old.source, output_text(old), number), output_text(new))
            assert difference is None, f"{path.name}: {difference}; `make docs` runs the notebooks anew"


def test_both_notebooks_are_tested() -> None:
    assert [path.name for path in NOTEBOOKS] == ["hello.ipynb", "sonnets.ipynb"]
