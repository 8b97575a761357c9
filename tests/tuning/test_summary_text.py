"""A study on a terminal shows every trial within the width of the terminal."""

import re
from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console

from ohlol.tuning.summary import StudySummary
from ohlol.tuning.summary_text import HISTORY_HEIGHT, best_to_text, summary_to_text
from ohlol.utils.translation import LANGUAGES
from tuning.studies import RANGES, SUMMARY


def text_of(summary: StudySummary, *, width: int = 80, encoding: str = "utf-8", lang: str = "en") -> str:
    raw = BytesIO()
    out = TextIOWrapper(raw, encoding=encoding)
    summary_to_text(summary, Console(file=out, width=width), lang=lang)
    out.flush()
    return raw.getvalue().decode(encoding)


def test_the_table_lists_the_best_trials_and_the_defaults() -> None:
    raw = TextIOWrapper(BytesIO(), encoding="utf-8")
    best_to_text(SUMMARY, Console(file=raw, width=80), most=2)
    raw.seek(0)
    rows = [re.split(r"\s{2,}", line.strip()) for line in raw.read().splitlines()]
    assert rows[-4:-1] == [
        ["2", "60.00 %", "lstm", "48", "0.000316"],
        ["5", "60.00 %", "gru", "72", "0.00178"],
        ["0*", "50.00 %", "gru", "32", "0.0001"],
    ]
    assert rows[-1] == ["* default settings, or the nearest to them in the search space"]


@pytest.mark.parametrize("width", [72, 80, 200])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_trial_is_printed(width: int, lang: str) -> None:
    text = text_of(SUMMARY, width=width, lang=lang)
    assert all(len(line) <= min(width, 80) for line in text.splitlines())
    history = text.splitlines()[1 : 1 + HISTORY_HEIGHT]
    assert sum(row.split("|")[1].count("o") for row in history) == 5
    assert sum(row.split("|")[1].count("x") for row in history) == 1
    top = [k for k, row in enumerate(history) if row.split("|")[1].count("o") == 2]
    assert top
    assert top[0] <= 2  # the two best are above all others
    assert re.search(r"^lr +70%  █{28}$", text, re.MULTILINE)
    assert {"en": "5 complete, 1 pruned, 1 failed, 1 running", "zh": "完成 5 次"}[lang] in text
    assert {"en": "lstm    2 complete   best 60.00 %   median 30.50 %", "zh": "最好 60.00 %   中位数 30.50 %"}[
        lang
    ] in text


def test_an_ascii_terminal_and_few_trials() -> None:
    assert text_of(SUMMARY, encoding="ascii").isascii()
    few = text_of(StudySummary("names", "accuracy", RANGES, SUMMARY.trials[:1]))
    assert "1 complete trials are too few to estimate the importance." in few
