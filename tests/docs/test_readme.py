"""Every command and every piece of Python that a markdown file shows is run, and prints what the file says."""

from pathlib import Path

import pytest
from transcripts import ROOT, Entry, Place, differs, entries

RUN = (
    "README.md",
    "docs/cli.md",
    "docs/corpus.md",
    "docs/data.md",
    "docs/seeing.md",
    "docs/shipping.md",
    "docs/tuning.md",
    "examples/README.md",
)


def read(name: str) -> list[Entry]:
    return entries((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUN)
def test_everything_shown_is_what_happens(name: str, tmp_path: Path) -> None:
    shown = read(name)
    with Place(tmp_path) as place:
        wrong = [found for entry in shown if (real := place.run(entry)) is not None and (found := differs(entry, real))]
    assert not wrong, "\n\n".join(wrong) + f"\n\npython tests/docs/transcripts.py {name} writes the real output"


def test_both_languages_show_the_same() -> None:
    english, chinese = read("README.md"), read("README.zh-CN.md")
    assert [(e.kind, e.code) for e in chinese] == [(e.kind, e.code) for e in english]
    assert [e.shown for e in chinese] == [e.shown for e in english]


def test_the_readme_names_the_two_commands() -> None:
    codes = [entry.code for entry in read("README.md")]
    assert "make hello" in codes
    assert "make test" in codes


def test_examples_hello(tmp_path: Path) -> None:
    code = (ROOT / "examples/hello.py").read_text(encoding="utf-8")
    entry = Entry(
        "python", code, "".join(line.split("  # ")[1] + "\n" for line in code.splitlines() if "  # " in line), 1
    )
    assert differs(entry, Place(tmp_path).run(entry) or "") is None
