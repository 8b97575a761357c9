"""`ohlol backtest` and the forecasts of `ohlol predict`, with a model whose forecasts are known."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from forecasts import FakeModel, fake_forecasts, panel_of, seasonal

from ohlol import cli
from ohlol.data.panel import Panel

__all__ = ["fake_forecasts"]
PANEL = panel_of({"a": seasonal(60), "b": seasonal(50, seed=1)}, 7)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(PANEL, error=0.5)


@pytest.fixture
def run(
    model: FakeModel,
    fake_forecasts: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Run the command line with the model in place of that of a run, and the panel in place of that of a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ohlol.inference.trained_model.load", lambda *_, **__: model)

    def read_panel(*_: object) -> SimpleNamespace:
        return SimpleNamespace(panel=model.panel)

    monkeypatch.setattr("ohlol.data.sequences.read_panel", read_panel, raising=False)

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
    assert model.calls == [(PANEL, 2, "f.csv", None)]


@pytest.mark.parametrize("form", ["plain", "csv", "tsv", "jsonl"])
def test_forecasts_are_written_in_every_format(run: Command, form: str) -> None:
    lines = run("predict", "r", "data.csv", "--output-format", form)[1].splitlines()
    assert len(lines) == 2 * 3 + (form != "jsonl")
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


def test_of_many_series_some_are_drawn(run: Command, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    many: Panel = panel_of({name: seasonal(20) for name in "abcdefgh"}, 7)
    monkeypatch.setattr("ohlol.data.sequences.read_panel", lambda *_: SimpleNamespace(panel=many), raising=False)
    _, out, err = run("predict", "r", "data.csv", "--plot")
    assert err == "not drawn: 2 more series or columns\n"
    assert out.count("f forecast") == 6


@pytest.mark.parametrize("flag", ["--steps=3", "--intervals=80", "--future=f.csv", "--plot", "--png=a.png"])
def test_options_of_forecasts_are_refused_for_other_tasks(
    run: Command, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr("ohlol.inference.trained_model.load", lambda *_, **__: FakeModel(PANEL, task="label"))
    status, _, err = run("predict", "r", "text", flag)
    assert status == 2
    assert err == f"ohlol: {flag.partition('=')[0]} is for forecasts, and this model's task is label\n"
    assert "only forecasts have a backtest" in run("backtest", "r", "data.csv")[2]
