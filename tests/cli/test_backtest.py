"""`ohlol backtest` and the forecasts of `ohlol predict`, with a model whose forecasts are known."""

import csv
import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from forecasts import FakeModel, fake_forecasts, panel_of, seasonal
from helpers import TINY, sine_file

import ohlol
from ohlol import cli
from ohlol.config import DataSettings
from ohlol.data.panel import Panel

__all__ = ["fake_forecasts"]
PANEL = panel_of({"a": seasonal(60), "b": seasonal(50, seed=1)}, 7)
SETTINGS = DataSettings("forecast", "columns", target="y", header=True, time="date", series="shop")
Command = Callable[..., tuple[int, str, str]]


def write_panel(panel: Panel, path: str) -> None:
    lines = ["shop,date,y"]
    for series in panel.series:
        assert series.start is not None
        times = panel.step.after(series.start, np.arange(len(series.values)))
        lines += [
            f"{series.name},{str(t)[:10]},{y!r}" for t, y in zip(times, series.values[:, 0].tolist(), strict=True)
        ]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(*arguments: object) -> str:
    """The standard output of a command that succeeds."""
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    return out.getvalue()


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(error=0.5, settings=SETTINGS, horizon=7)


@pytest.fixture
def run(
    model: FakeModel,
    fake_forecasts: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Run the command line, in a directory with `data.csv`, with the model in place of that of a run."""
    monkeypatch.chdir(tmp_path)
    write_panel(PANEL, "data.csv")
    monkeypatch.setattr("ohlol.inference.trained_model.load", lambda *_, **__: model)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def test_a_backtest_prints_its_report(run: Command) -> None:
    status, out, err = run("backtest", "r", "data.csv", "--origins", 2)
    assert (status, err) == (0, "")
    assert out.startswith("series: 2   origins: 2   steps: 7   season: 7   values: 28\n")
    assert out.endswith("\n")
    assert "The model beats the seasonal naive forecast: MASE " in out
    assert "模型优于季节朴素法" in run("backtest", "r", "data.csv", "--lang", "zh")[1]


def test_the_options_of_a_backtest(run: Command) -> None:
    status, out, _ = run("backtest", "r", "data.csv", "--origins", 3, "--stride", 2, "--steps", 4, "--json")
    report = json.loads(out)
    assert status == 0
    assert (report["origins"], report["steps"]) == ([8, 6, 4], 4)
    assert report["beats_seasonal_naive"] is True
    status, _, err = run("backtest", "r", "data.csv", "--origins", 50)
    assert status == 2
    assert err.startswith("ohlol: the longest series has 60 rows")
    assert "give fewer --origins or --steps, or a smaller --stride" in err


def test_a_backtest_is_drawn(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, _, err = run("backtest", "r", "data.csv", "--png", "errors.png")
    assert (status, err) == (0, "written: errors.png\n")
    assert (tmp_path / "errors.png").stat().st_size > 10_000


def test_forecasts_are_written_as_csv(run: Command, model: FakeModel) -> None:
    status, out, err = run("predict", "r", "data.csv", "--steps", 2, "--intervals", "80", "--future", "f.csv")
    assert (status, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["series"], row["time"]) for row in rows] == [
        ("a", "2024-03-01"), ("a", "2024-03-02"), ("b", "2024-02-20"), ("b", "2024-02-21")
    ]  # fmt: skip
    assert float(rows[0]["upper_80"]) == pytest.approx(float(rows[0]["y"]) + 1, abs=1e-3)
    ((panel, *options),) = model.calls
    assert options == [2, "f.csv", None]
    assert [series.name for series in panel.series] == ["a", "b"]


@pytest.mark.parametrize("form", ["plain", "csv", "tsv", "jsonl"])
def test_forecasts_are_written_in_every_format(run: Command, form: str) -> None:
    lines = run("predict", "r", "data.csv", "--output-format", form)[1].splitlines()
    assert len(lines) == 2 * 7 + (form != "jsonl")
    assert lines[0].startswith({"jsonl": "{", "tsv": "series\ttime\ty\t"}.get(form, "series,time,y,lower_80,"))


def test_wrong_intervals_and_formats_are_refused_in_one_line(run: Command) -> None:
    for arguments, said in (
        (("--intervals", "80,120"), "--intervals is '80,120'; give per cents between 0 and 100"),
        (("--intervals", "99"), "the model gives intervals up to 95 %"),
        (("--output-format", "conll"), "--output-format is 'conll'; a forecast is written as csv, tsv, jsonl"),
    ):
        status, out, err = run("predict", "r", "data.csv", *arguments)
        assert (status, out) == (2, "")
        assert err.startswith(f"ohlol: {said}")
        assert err.count("\n") == 1


def test_forecasts_are_plotted_and_drawn(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, out, err = run("predict", "r", "data.csv", "--plot", "--png", "forecast.png")
    assert (status, err) == (0, "written: forecast.png\n")
    assert out.startswith("a\n")
    assert "i 95 % interval   h history   f forecast" in out
    assert max(map(len, out.splitlines())) <= 80
    assert (tmp_path / "forecast.png").exists()


def test_a_page_has_the_plots_and_all_rows(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = run("predict", "r", "data.csv")[1].splitlines()
    status, _, err = run("predict", "r", "data.csv", "--html", "forecast.html", "--lang", "zh")
    assert (status, err) == (0, "已写入：forecast.html\n")
    page = (tmp_path / "forecast.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert not re.search(r"__[A-Z]+__|<script", page)
    table = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", line) for line in re.findall(r"<tr>.*</tr>", page)]
    assert [",".join(cells) for cells in table] == rows
    status, _, err = run("predict", "r", "data.csv", "--html", "forecast.png")
    assert status == 2
    assert "forecast.png" in err


def test_names_in_a_page_cannot_become_markup(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_panel(panel_of({"<b>&__FIGURE__": seasonal(20)}, 7), "names.csv")
    assert run("predict", "r", "names.csv", "--html", "forecast.html")[0] == 0
    page = (tmp_path / "forecast.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;__FIGURE__" in page
    assert "<b>" not in page
    assert page.count("<svg") == 1


def test_of_many_series_some_are_drawn(run: Command) -> None:
    write_panel(panel_of({name: seasonal(20) for name in "abcdefgh"}, 7), "many.csv")
    _, out, err = run("predict", "r", "many.csv", "--plot")
    assert err == "not drawn: 2 more series or columns\n"
    assert out.count("f forecast") == 6


@pytest.mark.parametrize(
    "flag", ["--steps=3", "--intervals=80", "--future=f.csv", "--plot", "--png=a.png", "--html=a.html"]
)
def test_options_of_forecasts_are_refused_for_other_tasks(
    run: Command, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr("ohlol.inference.trained_model.load", lambda *_, **__: FakeModel(task="label"))
    status, _, err = run("predict", "r", "text", flag)
    assert status == 2
    assert err == f"ohlol: {flag.partition('=')[0]} is for forecasts, and this model's task is label\n"
    assert "it does not forecast series" in run("backtest", "r", "data.csv")[2]


@pytest.mark.usefixtures("in_folder")
def test_a_trained_model_is_backtested_and_forecasts() -> None:
    ohlol.fit(sine_file(Path("sine.csv")), task="forecast", season=12, horizon=6, out="r", **{**TINY, "cell": "gru"})
    report = json.loads(command("backtest", "r", "sine.csv", "--origins", 2, "--json"))
    assert (report["season"], report["steps"], report["origins"]) == (12, 6, [12, 6])
    assert report["columns"]["slope"]["values"] == 12
    rows = list(csv.DictReader(io.StringIO(command("predict", "r", "sine.csv", "--steps", 8, "--intervals", "50"))))
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 9)]
    assert all(float(row["height_lower_50"]) <= float(row["height"]) <= float(row["height_upper_50"]) for row in rows)


@pytest.mark.usefixtures("in_folder")
def test_next_rows_have_no_intervals() -> None:
    ohlol.fit(sine_file(Path("sine.csv")), task="next_row", out="r", **{**TINY, "cell": "gru"})
    lines = command("predict", "r", "sine.csv", "--steps", 3).splitlines()
    assert lines[0] == "step,height,slope"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]
    assert len(command("predict", "r", "sine.csv").splitlines()) == 11
    with pytest.raises(SystemExit):
        cli.main(["predict", "r", "sine.csv", "--intervals", "80"])
