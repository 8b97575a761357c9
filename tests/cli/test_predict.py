"""`ohlol predict --paths`: sample paths as rows."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import TINY, upper_pairs

import ohlol
from ohlol import cli

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two series, and a model of it in `run`."""
    folder = tmp_path_factory.mktemp("predict")
    rows = [f"{name},2024-01-{day:02},{day % 7 + size}" for name, size in (("a", 5), ("b", 9)) for day in range(1, 32)]
    (folder / "data.csv").write_text("\n".join(["shop,date,sales", *rows]) + "\n")
    columns = {"time": "date", "series": "shop", "target": "sales"}
    ohlol.fit(folder / "data.csv", task="forecast", horizon=3, **columns, **TINY, out=folder / "run")
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(folder)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


def test_paths_are_rows_with_their_number(run: Command) -> None:
    status, out, err = run("predict", "run", "data.csv", "--paths", 4, "--steps", 2)
    assert (status, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["series", "path", "time", "sales"]
    assert [(row["series"], row["path"], row["time"]) for row in rows] == [
        (name, str(path), f"2024-02-0{step}") for name in "ab" for path in range(1, 5) for step in (1, 2)
    ]
    sampled = ohlol.load("run").sample("data.csv", steps=2, paths=4)
    assert float(rows[9]["sales"]) == pytest.approx(sampled[1].values[0, 1, 0], rel=1e-4)
    lines = run("predict", "run", "data.csv", "--paths", 4, "--output-format", "jsonl")[1].splitlines()
    assert json.loads(lines[-1])["path"] == 4


@pytest.mark.parametrize(("options", "message"), [
    (["--plot"], "--plot is for forecasts, and --paths writes sample paths instead of one"),
    (["--intervals", 80], "--intervals is for forecasts, and --paths writes sample paths instead of one"),
    (["--steps", 4], "--steps is 4; paths have 1 to 3 steps, the horizon of the model"),
])  # fmt: skip
def test_what_does_not_go_with_paths_is_refused(run: Command, options: list[object], message: str) -> None:
    status, out, err = run("predict", "run", "data.csv", "--paths", 4, *options)
    assert (status, out) == (2, "")
    assert err == f"ohlol: {message}\n"


def test_other_models_have_no_paths(run: Command, folder: Path) -> None:
    ohlol.fit(upper_pairs(folder / "pairs.tsv"), **TINY, out=folder / "labels")
    status, _, err = run("predict", "labels", "abc", "--paths", 2)
    assert status == 2
    assert err == "ohlol: --paths is for forecasts, and this model's task is label\n"
