"""Every check finds its mistake in programs as people write them, and nothing in the same programs without it."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from ohlol.explain.review.check import CHECKS
from ohlol.explain.review.findings import PAGES, Finding, review, review_program
from ohlol.explain.review.program import Program
from ohlol.utils.errors import InputError
from ohlol.utils.translation import LANGUAGES, translate

ROOT = Path(__file__).parents[3]
RIGHT = "right"
PROGRAMS = [
    tuple(part.split("\n", 1)) for part in Path(__file__).with_name("programs.txt").read_text("utf-8").split("=== ")[1:]
]
"""The name of a check, or `RIGHT`, and a program with this mistake alone."""
WATCHED = {"wrong-shape", "batch-read-as-time", "single-steps", "loss-broadcast"}
"""The checks that need a run."""


def findings_of(source: str) -> list[Finding]:
    return review_program(Program(source))


@pytest.mark.parametrize(("name", "source"), [p for p in PROGRAMS if p[0] != RIGHT], ids=lambda text: text[:30])
def test_a_mistake_is_found_and_no_other(name: str, source: str) -> None:
    assert {finding.check for finding in findings_of(source)} == {name}


@pytest.mark.parametrize("source", [source for name, source in PROGRAMS if name == RIGHT], ids=lambda text: text[:30])
def test_a_right_program_has_no_finding(source: str) -> None:
    assert findings_of(source) == []


def test_every_check_has_three_programs() -> None:
    counts = Counter(name for name, _ in PROGRAMS)
    assert {name for name, count in counts.items() if count >= 3} - {RIGHT} == set(CHECKS) - WATCHED
    assert counts[RIGHT] >= 2 * (len(counts) - 1)


@pytest.mark.parametrize(("name", "source"), [p for p in PROGRAMS if p[0] != RIGHT], ids=lambda text: text[:30])
def test_the_line_that_mends_is_python(name: str, source: str) -> None:
    for finding in findings_of(source):
        text = finding.instead
        if text.startswith(("@", "with ", "for ", "while ", "if ", "def ")):
            text += "\ndef f(): pass" if text.startswith("@") else " pass" if text.endswith(":") else ""
        ast.parse(text)
        assert finding.code != finding.instead


MENDED = [
    ("h = torch.cat([h[-1], h[-1]], dim=1)", "h = torch.cat([h[-2], h[-1]], dim=1)"),
    ("y = fc(out[:, -1])  # 最后", "y = fc(torch.cat([h[-2], h[-1]], dim=1))  # 最后"),
    ("z = h.view(-1, 10)", "z = torch.cat([h[-2], h[-1]], dim=1)"),
]


@pytest.mark.parametrize(("line", "mended"), MENDED)
def test_the_mended_line_is_the_users_own(line: str, mended: str) -> None:
    start = "rnn = nn.GRU(3, 5, batch_first=True, bidirectional=True)\nout, h = rnn(torch.randn(2, 7, 3))\n"
    (finding,) = findings_of(start + line)
    assert (finding.line, finding.code, finding.instead) == (3, line, mended)


def test_programs_are_mended_by_the_lines() -> None:
    """After the line is replaced by the one that mends it, the finding is gone."""
    replaced = ("same-direction-twice", "softmax-before-loss", "class-axis", "unsorted-lengths", "one-hot-long")
    mended = 0
    for name, source in PROGRAMS:
        if name not in replaced:
            continue
        (finding,) = findings_of(source)
        lines = source.splitlines()
        lines[finding.line - 1] = lines[finding.line - 1].replace(finding.code, finding.instead)
        left = [f.check for f in findings_of("\n".join(lines))]
        assert left == [], (source, finding.instead)
        mended += 1
    assert mended >= 15


def test_columns_count_characters() -> None:
    (finding,) = findings_of("名 = '数据'; loss = F.cross_entropy(torch.softmax(名, 1), y)\n")
    assert (finding.line, finding.column) == (1, 34)


def test_findings_are_sorted_and_a_line_has_a_check_once(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import torch.nn.functional as F\nfor x, y in data:\n    F.cross_entropy(F.softmax(x, 1), y).backward()\n"
        "    optimizer.step()\n    F.cross_entropy(F.softmax(x, 1), F.softmax(x, 1))\n"
    )
    found = review(path)
    assert [(f.line, f.check) for f in found] == [
        (3, "softmax-before-loss"), (4, "no-zero-grad"), (5, "softmax-before-loss"),
    ]  # fmt: skip
    assert found[0].file == str(path)


@pytest.mark.parametrize("lang", PAGES)
def test_every_check_has_a_section_in_the_pages(lang: str) -> None:
    page = (ROOT / PAGES[lang]).read_text(encoding="utf-8")
    assert re.findall(r"^### (\S+)$", page, re.MULTILINE) == list(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_messages_are_in_both_languages(name: str) -> None:
    english, chinese = (translate(CHECKS[name].why, lang=lang) for lang in LANGUAGES)
    assert not re.search("[\u4e00-\u9fff]", english)
    assert re.search("[\u4e00-\u9fff]", chinese)
    assert english.endswith(".")
    assert chinese.endswith("。")
    codes = re.findall(r"`[^`]+`", english)
    assert sorted(codes) == sorted(re.findall(r"`[^`]+`", chinese))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"def f(:\n", r"broken\.py:1: not a Python program"),
        (b"x = 1\nprint 'x'\n", r"broken\.py:2: not a Python program"),
        (b"x = '\x00'\n", r"broken\.py:1: not a Python program"),
        (b"x = '\xff'\n", r"broken\.py: not UTF-8 at byte 5"),
        (b"x = " + b"-" * 200_000 + b"1\n", r"broken\.py.*: "),
    ],
)
def test_a_file_that_is_no_program_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        review(path)


def test_a_byte_order_mark_is_no_part_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert review(path) == []


def test_programs_of_this_repository_have_no_findings() -> None:
    paths = {*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("*.py"), ROOT / "tests/test_tutorial.py"}
    paths -= {ROOT / "examples/mistakes.py"}
    assert {str(path): [f.check for f in review(path)] for path in paths if review(path)} == {}
