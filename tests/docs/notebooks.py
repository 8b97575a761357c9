"""Run the notebooks of examples/ in a copy of that folder.

`python tests/docs/notebooks.py examples/*.ipynb` writes their new outputs into them.
"""

import os
import re
import shutil
import sys
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300
"""The time limit of one cell; a busy machine may need many times what a quiet one does."""
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}
"""One thread, as in the other tests: the computations are small, and several kernels may run at once. `!ohlol` is the
command of this environment."""


def execute(path: Path) -> Any:
    """Run a notebook and return it with new outputs; raises nbclient's error where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples", folder, dirs_exist_ok=True)
        execute_in(notebook, folder)
    return notebook


def execute_in(notebook: Any, folder: str) -> None:
    """Run the cells of a notebook in a folder, and replace their outputs."""
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=SECONDS, startup_timeout=SECONDS, resources=resources).execute(env=ENVIRONMENT)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of day


def output_text(cell: Any) -> str:
    """The output of a cell as text: what it printed, its tables without markup, and a word in place of a picture."""
    parts: list[str] = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if output.output_type == "stream":
            parts.append(output.text)
        elif "image/png" in data:
            parts.append("(picture)")
        elif "text/html" in data:
            parts.append(unescape(re.sub("<[^>]*>", " ", data["text/html"])))
        else:
            parts.append(data.get("text/plain", ""))
    return " ".join(" ".join(parts).split())


def main() -> None:
    """Run the notebooks that are named."""
    for name in sys.argv[1:]:
        nbformat.write(execute(Path(name)), name)


if __name__ == "__main__":
    main()
