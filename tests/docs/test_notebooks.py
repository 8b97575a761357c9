"""The notebooks run, and show what they show when they are run again."""

from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install '.[dev]'")

from notebooks import ROOT, executed, said
from transcripts import Entry, differs

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that run a notebook, in their own code
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_gives(path: Path) -> None:
    import nbformat

    kept, again = nbformat.read(path, as_version=4), executed(path)
    assert len(kept.cells) == len(again.cells) > 5
    for number, (old, new) in enumerate(zip(kept.cells, again.cells, strict=True)):
        if old.cell_type == "code":
            assert said(old), f"cell {number} of {path.name} was not run"
            if "varies" in old.metadata.get("tags", ()):  # what the last bits of a training can change
                assert said(new), f"cell {number} of {path.name} shows nothing"
                continue
            wrong = differs(Entry("console", old.source, said(old), number), said(new))
            assert wrong is None, f"{path.name}: {wrong}; `make docs` runs the notebooks anew"


def test_there_are_two() -> None:
    assert [path.name for path in NOTEBOOKS] == ["hello.ipynb", "sonnets.ipynb"]
