"""Every command and piece of Python in a markdown page is run and prints the output that the page shows."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from transcripts import ROOT, Entry, Session, differs, entries, pages

LONGEST_README = 200
"""Lines: a README is read in five minutes."""


def read(name: str) -> list[Entry]:
    return entries((ROOT / name).read_text(encoding="utf-8"))


def imports(shown: list[Entry]) -> list[str]:
    """The packages that the Python code of a page imports."""
    code = "\n".join(entry.code for entry in shown if entry.kind == "python")
    return sorted(set(re.findall(r"^(?:from|import) (\w+)", code, re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.parametrize("name", pages())
def test_shown_output_equals_the_real_output(name: str, tmp_path: Path) -> None:
    shown = read(name)
    for package in imports(shown):
        if find_spec(package) is None:
            pytest.skip(f"{name} needs the package {package}")
    differences: list[str] = []
    with Session(tmp_path) as session:
        for entry in shown:
            real = session.run(entry)
            if real is not None and (difference := differs(entry, real)):
                differences.append(difference)
    message = f"\n\npython tests/docs/transcripts.py {name} writes the real output"
    assert not differences, "\n\n".join(differences) + message


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_a_readme_is_short_and_names_the_two_commands(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= LONGEST_README
    codes = [entry.code for entry in read(name)]
    assert "make hello" in codes
    assert "make test" in codes


def test_examples_hello(tmp_path: Path) -> None:
    code = (ROOT / "examples/hello.py").read_text(encoding="utf-8")
    entry = Entry(
        "python", code, "".join(line.split("  # ")[1] + "\n" for line in code.splitlines() if "  # " in line), 1
    )
    assert differs(entry, Session(tmp_path).run(entry) or "") is None
