"""A study as plain data, as a table, on a terminal and as a picture."""

import re
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from helpers import upper_pairs
from rich.console import Console

import ohlol
from ohlol.cli import main
from ohlol.display.figures import save_figure
from ohlol.display.translations import LANGUAGES
from ohlol.tuning.figures import draw_study
from ohlol.tuning.summary import Board, Trial
from ohlol.tuning.summary_text import HEIGHT, best_to_text, board_to_text
from ohlol.utils.errors import InputError

SPACE = {"cell": "cell=gru,lstm", "hidden_size": "hidden_size=32:256:8", "lr": "lr=1e-4:1e-2:log"}


def trial(number: int, score: float | None, state: str = "complete", cell: str = "gru", **more: Any) -> Trial:
    scores = {"accuracy": score, "loss": 1.0} if state == "complete" and score is not None else {}
    settings = {"cell": cell, "hidden_size": 32 + 8 * number, "lr": float(f"{1e-4 * 10 ** (number / 4):.3g}")}
    return Trial(number, state, settings, score, scores, **more)


BOARD = Board(
    "names",
    "accuracy",
    SPACE,
    (
        trial(0, 0.5, is_default=True),
        trial(1, 0.4),
        trial(2, 0.6, cell="lstm"),
        trial(3, 0.45, "pruned"),
        trial(4, None, "failed", why="too large"),
        trial(5, 0.6),
        trial(6, 0.01, cell="lstm"),
        trial(7, 0.2, "running"),
    ),
    {"lr": 0.7, "cell": 0.3},
)


def text_of(board: Board, *, width: int = 80, encoding: str = "utf-8", lang: str = "en") -> str:
    raw = BytesIO()
    out = TextIOWrapper(raw, encoding=encoding)
    board_to_text(board, Console(file=out, width=width), lang=lang)
    out.flush()
    return raw.getvalue().decode(encoding)


def test_which_is_best() -> None:
    assert [t.number for t in BOARD.ranked] == [2, 5, 0, 1, 6]  # of equal ones the earlier
    assert BOARD.best == BOARD.trials[2]
    assert BOARD.so_far == [(0, 0.5), (1, 0.5), (2, 0.6), (5, 0.6), (6, 0.6)]
    low, high = BOARD.limits
    assert 0.01 < low < 0.4  # the worst is far off
    assert 0.6 < high <= 1.0
    less = Board(
        "x", "bits", {}, tuple(Trial(n, "complete", {}, v, {"bits": v, "loss": v}) for n, v in enumerate((3.0, 2.0)))
    )
    assert less.low
    assert less.best == less.trials[1]
    assert less.so_far == [(0, 3.0), (1, 2.0)]
    assert Board("x", "bits", {}, ()).best is None
    assert Board("x", "bits", {}, ()).limits == (0.0, 1.0)


def test_the_table() -> None:
    raw = TextIOWrapper(BytesIO(), encoding="utf-8")
    best_to_text(BOARD, Console(file=raw, width=80), most=2)
    raw.seek(0)
    rows = [re.split(r"\s{2,}", line.strip()) for line in raw.read().splitlines()]
    assert rows[-4:-1] == [
        ["2", "60.00 %", "lstm", "48", "0.000316"],
        ["5", "60.00 %", "gru", "72", "0.00178"],
        ["0*", "50.00 %", "gru", "32", "0.0001"],
    ]
    assert rows[-1] == ["* the defaults of ohlol train, or the nearest that are searched"]


@pytest.mark.parametrize("width", [72, 80, 200])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_trial_is_on_the_terminal(width: int, lang: str) -> None:
    text = text_of(BOARD, width=width, lang=lang)
    assert all(len(line) <= min(width, 80) for line in text.splitlines())
    history = text.splitlines()[1 : 1 + HEIGHT]
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


def test_a_terminal_of_ascii_and_few_trials() -> None:
    assert text_of(BOARD, encoding="ascii").isascii()
    few = text_of(Board("names", "accuracy", SPACE, BOARD.trials[:1]))
    assert "1 complete trials are too few to estimate the importance." in few


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    data = upper_pairs(tmp_path / "data.tsv")
    study = tmp_path / "study"
    board = ohlol.tune(data, trials=6, out=study, search=["lr"], pruner="none", hidden_size=6, epochs=2)

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main(["plot", *arguments])
        assert end.value.code == status
        found = capsys.readouterr()
        return found.err if status else found.out

    shown = run(str(study), "--lang", "en")
    assert shown.startswith("accuracy of each trial\n")
    assert "6 complete, 0 pruned" in shown
    assert re.search(r"^lr +100%  █{40}$", shown, re.MULTILINE)  # nothing else was searched
    assert run(str(study), "--lang", "zh").startswith("各次试验的指标：accuracy\n")
    assert run(str(study), "--out", str(tmp_path / "study.svg")) == f"written: {tmp_path / 'study.svg'}\n"
    assert (tmp_path / "study.svg").read_text().count("<svg") == 1
    assert "is a study, and drawn alone" in run(str(study), str(study / "best"), status=2)
    assert run(str(study / "best"), "--lang", "en").startswith("loss, nats\n")  # an ordinary run
    ohlol.tune(data, trials=1, out=tmp_path / "none", search=["lr"], timeout=0, hidden_size=6, epochs=2)
    assert "no trial is over yet" in run(str(tmp_path / "none"), status=2)
    assert board.best is not None
    with pytest.raises(InputError, match="the name of a figure must end in"):
        save_figure(draw_study(board), tmp_path / "study.bmp")
