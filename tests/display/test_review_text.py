"""Findings on a terminal of 80 columns, in both languages."""

import pytest
from rich.cells import cell_len

from ohlol.display.review_text import WIDTH, findings_to_text
from ohlol.explain.review.check import CHECKS
from ohlol.explain.review.findings import Finding
from ohlol.explain.review.watch import Call, Watched
from ohlol.utils.terminal import capture, wrap
from ohlol.utils.translation import translate


def findings() -> list[Finding]:
    return [Finding("a.py", 7, 5, check.name, "x = y", check.why, "x = z") for check in CHECKS.values()]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_line_of_a_message_is_longer_than_the_terminal(lang: str) -> None:
    text = capture(lambda console: findings_to_text("a.py", findings(), console, lang=lang))
    assert max(map(cell_len, text.splitlines())) <= WIDTH
    assert not any(line.lstrip().startswith(tuple("，。：；、）")) for line in text.splitlines())


def test_a_finding_in_both_languages() -> None:
    finding = Finding("a.py", 7, 5, "no-eval", "net(x)", "gate", "net.eval()")
    assert capture(lambda console: findings_to_text("a.py", [finding], console)).splitlines() == [
        "a.py:7:5  no-eval",
        "    net(x)",
        "  gate",
        "  instead net.eval()",
        "  read    docs/review.md#no-eval",
        "",
        "a.py: 1 finding",
    ]
    assert capture(lambda console: findings_to_text("a.py", [finding], console, lang="zh")).splitlines() == [
        "a.py:7:5  no-eval",
        "    net(x)",
        "  门",
        "  改为 net.eval()",
        "  说明 docs/review.zh.md#no-eval",
        "",
        "a.py: 发现 1 处",
    ]


def test_a_run_and_no_finding() -> None:
    watched = Watched([], [Call(3, "GRU", "(T=5, B=2, I=3)")], "ValueError: x\x1b[2J", is_stopped=True)
    text = capture(lambda console: findings_to_text("a.py", [], console, watched=watched))
    assert text.splitlines() == [
        "line 3: GRU reads (T=5, B=2, I=3)",
        "The program was stopped at the time limit.",
        "The program ended with an error: ValueError: x\\x1b[2J",
        "a.py: none of the known mistakes",
    ]


@pytest.mark.parametrize("width", [10, 20, 78])
def test_chinese_text_loses_no_character(width: int) -> None:
    for check in CHECKS.values():
        text = translate(check.why, lang="zh")
        assert "".join("".join(wrap(text, width)).split()) == "".join(text.split())
