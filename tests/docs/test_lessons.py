"""The lessons: programs and commands have equal losses, both languages have the same blocks, and the index has all."""

import json
import re
from pathlib import Path

import pytest
from transcripts import ROOT, TRANSLATIONS, Session, entries

FOLDER = ROOT / "docs/lessons"
LESSONS = sorted(path for path in FOLDER.glob("[0-9]*.md") if not path.name.endswith(".zh.md"))
TOLERANCE = 1e-5


def trained(path: Path) -> list[str]:
    """The run directories of a lesson whose command is held against its program."""
    return sorted(set(re.findall(r"--out (runs/lesson-\d+)", path.read_text(encoding="utf-8"))))


QUICK = ("03-hello-cell", "04-hello-layer")
"""The lessons of which `make test` trains both models, too."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem in QUICK else [pytest.mark.slow], id=path.stem)
        for path in LESSONS
        if trained(path)
    ],
)
def test_the_losses_of_program_and_command_are_equal(path: Path, tmp_path: Path) -> None:
    (run,) = trained(path)
    with Session(tmp_path) as session:
        for entry in entries(path.read_text(encoding="utf-8")):
            session.run(entry)
            if entry.code.endswith(f"--out {run}"):
                break
        losses = session.names["losses"]
        lines = (tmp_path / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert isinstance(losses, list)
    assert len(losses) > 5
    assert [json.loads(line)["train_loss"] for line in lines] == pytest.approx(losses, rel=0, abs=TOLERANCE)


def test_the_lessons_that_train_are_held_against_a_command() -> None:
    assert {path.stem for path in LESSONS if trained(path)} >= {
        "03-hello-cell", "04-hello-layer", "05-embedding", "06-names",
    }  # fmt: skip


@pytest.mark.parametrize("translation", TRANSLATIONS)
def test_a_translation_has_the_blocks_of_its_page(translation: str) -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (translation, TRANSLATIONS[translation])]
    chinese, english = (entries(text) for text in texts)
    assert [(e.kind, e.code, e.shown) for e in chinese] == [(e.kind, e.code, e.shown) for e in english]


@pytest.mark.parametrize("suffix", ["", ".zh"])
def test_the_index_lists_every_lesson_in_its_language(suffix: str) -> None:
    linked = re.findall(
        r"^\| \[\d+\]\((.+)\)", (FOLDER / f"index{suffix}.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert linked == [f"{path.stem}{suffix}.md" for path in LESSONS]
