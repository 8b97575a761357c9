"""The command line: train, evaluate and predict a file; every error is one line."""

import csv
import gzip
import inspect
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
import pytest
import typer
from helpers import (
    MOVES,
    TINY_FLAGS,
    Recorder,
    bytes_of,
    conll_file,
    lengths_file,
    moves_file,
    names_file,
    sales_file,
    sine_file,
    text_file,
    ts_file,
    upper_pairs,
)

import ohlol
from ohlol import cli
from ohlol.checkpoint import resume_state
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data import sequences
from ohlol.display import progress

PATIENCE = 120
"""Time limit of a process in seconds."""


class Ran(NamedTuple):
    """The exit status and the output of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, *capsys.readouterr())

    return call


def refused(ran: Ran) -> str:
    """The one line on stderr of a command that fails with invalid input."""
    assert ran.code == 2, ran
    assert ran.err.startswith("ohlol: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err + ran.out
    return ran.err.removeprefix("ohlol: ").rstrip("\n")


def done(ran: Ran) -> str:
    assert ran.code == 0, ran
    return ran.out


def process(*arguments: object, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "ohlol", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(Path(ohlol.__file__).parents[1])},  # wherever the process runs
        **options,  # pyright: ignore
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small run of each task; tests only read it."""
    folder = tmp_path_factory.mktemp("trained")
    upper_pairs(folder / "pairs.tsv")
    text_file(folder / "text.txt")
    settings = {"hidden_size": 6, "num_layers": 1, "embedding_size": 5, "epochs": 2}
    ohlol.fit(folder / "pairs.tsv", out=folder / "label", **settings)
    ohlol.fit(folder / "text.txt", out=folder / "next", bptt=10, **settings)
    return folder


def test_the_tutorial(run: Run, tmp_path: Path) -> None:
    out = done(run("train", "--seed", 1))
    lines = out.splitlines()
    assert len(lines) == 20 + 7
    assert lines[-2:] == ["saved: runs/hello-1", "hello -> ohlol"]
    assert "runs/hello-2" in done(run("train", "--seed", 1))
    assert done(run("predict", "runs/hello-1", "hello")) == "ohlol\n"


def test_the_profile_of_a_file(run: Run, tmp_path: Path) -> None:
    names = names_file(tmp_path / "names.csv")
    asked = run("data", names)
    assert "rows:" in asked.out
    assert refused(asked) == refused(run("train", names))
    out = done(run("data", names, "--input", "name", "--target", "kind"))
    assert out.splitlines()[-1] == f"next: ohlol train {names} --input name --target kind"
    found = json.loads(done(run("data", names, "--input", "name", "--target", "kind", "--json")))
    assert found["command"] == f"ohlol train {names} --input name --target kind"
    assert [column["role"] for column in found["columns"]] == ["input", "target"]
    assert not Path("runs").exists()


def test_options_say_how_dates_and_missing_values_are_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("date,y\n" + "".join(f"0{n}/01/2020,{-999 if n == 4 else n % 4}\n" for n in range(1, 10)))
    assert refused(run("data", path)).endswith("say which with --date-order dmy or --date-order mdy")
    out = done(run("data", path, "--date-order", "mdy"))
    assert "monthly, 9 rows, season of 12, dates with the month first" in out
    assert out.splitlines()[-2].endswith("if it stands for a missing value, say so with --missing -999")
    out = done(run("data", path, "--date-order", "dmy", "--missing", "-999"))
    assert "daily, 9 rows, season of 7, missing values: 1, dates with the day first" in out
    assert "far from all other values" not in out


def test_compressed_files_and_encodings(run: Run, trained: Path) -> None:
    plain = trained / "pairs.tsv"
    other = Path("other.tsv.gz")
    other.write_bytes(gzip.compress(("\ufeff" + plain.read_text()).encode("utf-16-le")))
    Path("chinese.tsv").write_bytes("这个产品很好\t正面评价很多\n".encode("gb18030"))
    label = trained / "label"
    assert done(run("predict", label, other)) == done(run("predict", label, plain))
    assert done(run("evaluate", label, other)) == done(run("evaluate", label, plain))
    assert "give --encoding gb18030" in refused(run("evaluate", label, "chinese.tsv"))
    assert "known" not in done(run("predict", label, "chinese.tsv", "--encoding", "gb18030"))
    assert "is UTF-8, and would be read" not in done(run("encode", other, "--out", "corpus", "--vocab", label))
    assert done(run("train", other, "--epochs", 1, "--encoding", "utf-16-le")).startswith(
        "other.tsv.gz: pairs (its first row has two columns of equal length), task label, by character, encoding utf-16"
    )
    assert Path("runs/other-1/config.json").exists()
    assert "--encoding is 'klingon'" in refused(run("train", other, "--encoding", "klingon"))
    assert refused(run("predict", label, "none.tsv.gz")) == "none.tsv.gz: no such file"


def test_a_class_for_each_series(run: Run, tmp_path: Path) -> None:
    table, ts = moves_file(tmp_path / "moves.csv"), ts_file(tmp_path / "moves.ts")
    columns = [f"--{name}={column}" for name, column in MOVES.items()]
    head = done(run("train", table, *columns, "--unidirectional", *TINY_FLAGS, "--epochs", 20, "--out", "r"))
    assert "27 sequences (" in head
    assert "ohlol predict r FILE" in (tmp_path / "r" / "README.md").read_text()
    lines = table.read_text().splitlines()
    plain = write(tmp_path / "plain.csv", "\n".join(line.rpartition(",")[0] for line in lines))  # without classes
    labels = done(run("predict", "r", plain)).split()
    assert labels.count("up") == 15
    tsv = [row.split("\t") for row in done(run("predict", "r", table, "--output-format", "tsv")).splitlines()]
    assert [row[:2] for row in tsv] == [[f"move{i}", label] for i, label in enumerate(labels)]
    last = json.loads(done(run("predict", "r", table, "--output-format", "jsonl")).splitlines()[-1])
    assert (last["series"], last["label"]) == ("move29", labels[-1])
    report = json.loads(done(run("evaluate", "r", table, "--json")))
    assert report["metrics"]["accuracy"] == 1.0
    assert report["report"]["support"] == 30
    done(run("train", ts, *TINY_FLAGS, "--epochs", 20, "--out", "ts"))
    assert done(run("predict", "ts", ts)).split() == labels
    assert done(run("predict", "ts", ts, "--output-format", "tsv")).startswith("1\tup\t")
    explained = json.loads(done(run("explain", "r", table, "--series", "move3", "--json")))
    assert (explained["predictions"][0]["predicted"], explained["symbols"][0]) == ("down", "0")
    assert len(explained["saliency"]["gradient"][0]) == len(explained["symbols"])
    for arguments, said in (
        (("predict", "r", "hello"), "this model reads a series of numbers, rows of 2: x, y; give a file"),
        (("predict", "r", table, "--output-format", "conll"), "which has a line for each step"),
        (("predict", "r", table, "--steps", 2), "--steps is for forecasts"),
        (("explain", "r", table), "one series is explained; choose it with --series: 'move0', "),
        (("explain", "r", table, "--series", "x"), "one series is explained"),
        (("explain", "r", table, "--series", "move1", "--neurons"), "neurons are compared with features of a text"),
        (("generate", "r"), "this model's task is classify"),
        (("encode", table, *columns, "--out", "corpus"), "are not encoded as a corpus; train on the file"),
        (("train", table, *columns, "--level", "word", "--out", "x"), "--level is for symbols"),
        (("train", table, *columns, "--head", "regression", "--out", "x"), "--head regression does not fit this task"),
        (("predict", "ts", table), "moves.csv: has no line @data"),
    ):
        assert said in refused(run(*arguments)), arguments


def test_a_number_for_each_series(run: Run, tmp_path: Path) -> None:
    table = moves_file(tmp_path / "slopes.csv", quantity=True)
    columns = [f"--{name}={column}" for name, column in MOVES.items()]
    done(run("train", table, "--task", "regress", *columns, *TINY_FLAGS, "--epochs", 60, "--lr", 0.02, "--out", "r"))
    numbers = done(run("predict", "r", table)).split()
    assert [float(number) > 0 for number in numbers] == [i % 2 == 0 for i in range(30)]
    report = json.loads(done(run("evaluate", "r", table, "--json")))
    assert report["metrics"]["rmse"] < report["mean"]["rmse"] / 2
    said = refused(run("explain", "r", table, "--series", "move1"))
    assert "only models that predict labels can be explained" in said


def test_models_of_series_are_exported_resumed_and_tuned(run: Run, tmp_path: Path) -> None:
    table = moves_file(tmp_path / "moves.csv")
    columns = [f"--{name}={column}" for name, column in MOVES.items()]
    done(run("train", table, *columns, *TINY_FLAGS, "--out", "whole"))
    labels = done(run("predict", "whole", table))
    assert "agrees" in done(run("export", "whole", "m.onnx"))
    done(run("import", "m.onnx", "--out", "imported"))
    assert done(run("predict", "imported", table)) == labels
    weights = (tmp_path / "whole" / "model.safetensors").read_bytes()
    done(run("train", "--out", "whole", "--resume"))
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == weights
    assert "best: trial" in done(run("tune", table, *columns, "--trials", 2, "--epochs", 1, "--out", "study"))


def test_pairs_from_a_file(run: Run) -> None:
    out = done(
        run("train", "--pair", "abc", "cab", "--pair", "ba", "cc", "--epochs", 60, "--out", "r", "--head", "softmax")
    )
    assert out.splitlines()[-2:] == ["abc -> cab", "ba -> cc"]
    assert "Predicted string: cab cc, Epoch [60/60]" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pair"], "--pair"),
        (["--pair", "hello"], "--pair has only 'hello'"),
        (["--pair", "hello", "--seed", "1"], "--pair has only 'hello'"),
        (["--pair", "hello", "ohl"], "input has 5 characters, target 3"),
        (["--pair", "", ""], "empty"),
        (["--pair", "ab", "ba", "some.tsv"], "--pair and FILE exclude each other"),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--overwrite", "--out", "x"], "exclude each other"),
        (["--resume", "--out", "nowhere"], "there is no such run directory"),
        (["--embedding-size", "big"], "--embedding-size is 'big'; give a size, such as 64, or onehot"),
        (["--embedding-size", "0"], "--embedding-size is '0'"),
        (["--cell", "elman"], "--cell is 'elman'; it must be one of"),
        (["--epochs", "many"], "--epochs"),
        (["--lr", "0"], "--lr is 0.0"),
        (["--bogus"], "--bogus"),
        (["missing.tsv"], "missing.tsv: no such file"),
        (["--format", "xml", "missing.tsv"], "--format is 'xml'; it must be one of"),
        (["--num-layers", "2", "--loop"], "runs one layer in one direction"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in refused(run("train", *arguments))
    assert list(tmp_path.iterdir()) == []


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("empty.tsv", "", "", "empty.tsv"),
        ("empty.conllu", "\n\n", "", "empty.conllu"),
        ("empty.txt", "", "--task next", "empty.txt"),
        ("bad.tsv", "ab\tAB\nabc\tAB\n", "", "bad.tsv:2: input has 3 characters, target 2"),
        ("bad.jsonl", '{"input": ["a"], "target": []}\n', "--format pairs", "bad.jsonl:1:"),
        ("bad.txt", b"fine\n\xff\xfe\n", "--task next", "bad.txt:2: byte 0xff at column 1 is not UTF-8"),
        ("bad.csv", "name,kind\nada,x\n", "--input name --target colour", "bad.csv:1: no column 'colour'"),
        ("bad.conll", "a B\nb O\n", "--target UPOS", "bad.conll:1: no column 'UPOS'"),
        ("ragged.csv", "a,b\n1,2\n3\n", "", "ragged.csv:3: 1 columns, where the first row has 2"),
        ("one.txt", "a", "", "one.txt: a text of one symbol"),
        ("one.csv", "a,b\n1,2\n", "", "one.csv:2: the series has 1 value of 'a'; it must have at least 3"),
    ],
)
def test_bad_files_are_reported_in_one_line(
    run: Run, tmp_path: Path, name: str, content: str | bytes, options: str, said: str
) -> None:
    write(tmp_path / name, content)
    assert said in refused(run("train", name, *options.split(), *TINY_FLAGS, "--out", "r"))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_label_unseen_in_training_is_reported_in_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    write(tmp_path / "new.tsv", "ab\tAB\nab\tAZ\n")
    upper_pairs(tmp_path / "train.tsv")
    said = "new.tsv: 1 of 4 labels were not seen in training, and every prediction for them counts as wrong: 'Z'\n"
    for command in (
        ("evaluate", trained / "label", "new.tsv"),
        ("train", "train.tsv", "--dev", "new.tsv", *TINY_FLAGS, "--out", "r"),
    ):
        status, out, error = run(*command)
        assert (status, error) == (0, f"ohlol: warning: {said}")
        assert "accuracy" in out
    status, out, error = run("train", "--resume", "--out", "r")
    assert status == 0
    write(tmp_path / "other.tsv", "ab\tXY\n")
    refusal = refused(run("evaluate", trained / "label", "other.tsv"))
    assert refusal.startswith("other.tsv: no label of it was seen in training; the 5 seen are 'A' 'B'")


def test_dynamic_evaluation_stands_beside_that_of_the_run(run: Run, trained: Path) -> None:
    text, before = trained / "text.txt", bytes_of(trained / "next")
    static = done(run("evaluate", trained / "next", text))
    out = done(run("evaluate", trained / "next", text, "--dynamic", "--dynamic-lr", "0.01", "--dynamic-steps", 10))
    first, second = out.splitlines()
    assert [first] == static.splitlines()
    assert second.startswith("dynamic evaluation (rms, lr 0.01, decay 0.001, 10 steps): bits ")
    report = json.loads(done(run("evaluate", trained / "next", text, "--dynamic", "--json")))
    assert report["dynamic"].keys() == {
        "dynamic_optimizer", "dynamic_lr", "dynamic_decay", "dynamic_steps", "metrics",
    }  # fmt: skip
    assert report["dynamic"]["metrics"]["bits"] != report["metrics"]["bits"]
    assert bytes_of(trained / "next") == before
    refusal = refused(run("evaluate", trained / "next", text, "--dynamic-decay", "0.1"))
    assert refusal == "--dynamic-decay is a setting of --dynamic, which is not given"
    assert "--dynamic-lr is -1.0; it must be greater than 0" in refused(
        run("evaluate", trained / "next", text, "--dynamic", "--dynamic-lr", "-1")
    )
    refusal = refused(run("evaluate", trained / "label", trained / "pairs.tsv", "--dynamic"))
    assert "this model's task is label: leave it out" in refusal


def test_a_run_of_another_version_is_reported_in_one_line(run: Run, tmp_path: Path) -> None:
    done(run("train", "--epochs", 1, "--out", "r"))
    config = json.loads((tmp_path / "r/config.json").read_text())
    del config["sha256"]
    write(tmp_path / "r/config.json", json.dumps({**config, "format": 99}))
    before = bytes_of(tmp_path)
    for command in (
        ["predict", "r", "hello"],
        ["evaluate", "r", "x"],
        ["generate", "r"],
        ["train", "--resume", "--out", "r"],
    ):
        assert "r: config.json has format 99; this version of ohlol" in refused(run(*command))
    assert bytes_of(tmp_path) == before


def test_a_nan_loss_is_reported_in_one_line(run: Run, tmp_path: Path) -> None:
    said = refused(run("train", "--lr", "1e38", "--head", "softmax", "--epochs", 9, "--out", "r"))
    assert re.match(
        r"epoch \d, step \d: the loss (on the (training|validation) data )?is nan; training stopped and", said
    )
    assert "try a lower --lr than 1e+38 or --max-grad-norm 1" in said
    assert not (tmp_path / "r" / "model.safetensors").exists()


def test_an_existing_output_directory_is_reported_in_one_line(run: Run, tmp_path: Path) -> None:
    done(run("train", "--epochs", 1, "--out", "r"))
    before = bytes_of(tmp_path)
    assert "r exists: give --overwrite to replace it, --resume to go on" in refused(run("train", "--out", "r"))
    assert bytes_of(tmp_path) == before
    done(run("train", "--epochs", 2, "--out", "r", "--overwrite"))
    assert len((tmp_path / "r/metrics.jsonl").read_text().splitlines()) == 2


def test_a_command_of_another_task_is_reported_in_one_line(run: Run, trained: Path) -> None:
    assert "only a model that predicts the next symbol generates text" in refused(run("generate", trained / "label"))
    assert "generate" in refused(run("predict", trained / "next", "abc"))
    assert "--output-format is 'xml'" in refused(run("predict", trained / "label", "abc", "--output-format", "xml"))
    assert "empty" in refused(run("predict", trained / "label", ""))
    assert "gone.tsv: no such file" in refused(run("predict", trained / "label", "gone.tsv"))
    assert "--top-p" in refused(run("generate", trained / "next", "--top-p", "0"))


def test_every_setting_has_a_flag_and_every_flag_a_setting() -> None:
    settings = {f.name for kind in (DataSettings, ModelSettings, TrainSettings) for f in fields(kind)}
    given = set(inspect.signature(cli.train.train).parameters)
    assert given - {"files", "pair", "out", "overwrite", "resume", "device", "dev", "start_from"} == settings
    command = typer.main.get_command(cli.app).commands["train"]  # pyright: ignore
    flags = {parameter.name: parameter.opts for parameter in command.params}
    for name in settings:
        assert "--" + name.replace("_", "-") in flags[name]


def test_version_and_help_are_printed(run: Run) -> None:
    assert done(run("--version")) == f"ohlol {ohlol.__version__}\n"
    assert all(name in done(run("--help")) for name in ("shapes", "train", "evaluate", "predict", "generate"))
    assert "--hidden-size" in done(run("train", "--help"))


def test_no_command_prints_the_help(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "Usage" in ran.out + ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from ohlol.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    loaded = sorted({{"torch", "numpy", "safetensors"}} & set(sys.modules))
    sys.exit(f"loaded {{loaded}}" if loaded or ended.code else 0)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr


KINDS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    # writer, file, flags of train, a metric that evaluate prints
    "pairs": (upper_pairs, "d.tsv", "", "accuracy"),
    "json pairs": (
        lambda p: write(p, '{"input": ["to", "be"], "target": ["P", "V"]}\n{"input": ["or"], "target": ["C"]}\n' * 15),
        "d.jsonl",
        "--char-rnn-size 3",
        "sequence accuracy",
    ),
    "conll": (conll_file, "d.conll", "--char-rnn-size 3", "span f1"),
    "segment": (lambda p: write(p, "看似 简单 的 话\n简单 的\n" * 12), "d.txt", "--format segment", "span f1"),
    "words": (text_file, "d.txt", "--level word --bptt 5", "bits"),
    "classify": (names_file, "d.csv", "--input name --target kind", "macro f1"),
    "regress": (lengths_file, "d.csv", "--task regress --input name --target size", "rmse"),
    "forecast": (sales_file, "d.csv", "--series shop --target sales --horizon 4", "scaled mae"),
    "next_row": (sine_file, "d.csv", "--task next_row --bptt 20", "rmse"),
}


UNUSED = {
    "fastapi",
    "matplotlib",
    "narwhals",
    "numpy.testing",
    "onnx",
    "onnxruntime",
    "optuna",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "sympy",
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
    "triton",
}
"""Modules that a training on a pair does not need, each of which takes a tenth of a second or more to import."""


def test_a_training_on_a_pair_imports_only_what_it_needs(tmp_path: Path) -> None:
    code = (
        f"import sys; from ohlol.cli import main\ntry: main(['train', '--out', {str(tmp_path / 'run')!r}])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    assert "hello -> ohlol" in ended.stdout
    assert not UNUSED & set(ended.stderr.split())


@pytest.mark.parametrize("kind", KINDS)
def test_train_evaluate_and_predict_a_file(run: Run, tmp_path: Path, kind: str) -> None:
    maker, name, flags, score = KINDS[kind]
    maker(tmp_path / name)
    out = done(run("train", name, *TINY_FLAGS, *flags.split(), "--out", "r"))
    assert re.search(r"^epoch 3/3  loss \d", out, re.MULTILINE)
    assert out.splitlines()[-1] == "saved: r"
    assert score in done(run("evaluate", "r", name))
    report = json.loads(done(run("evaluate", "r", name, "--json")))
    assert score.replace(" ", "_") in report["metrics"]
    assert ("persistence" in report) == (kind == "next_row")
    assert ("mean" in report) == (kind == "regress")
    assert ("report" in report) == (kind not in ("words", "next_row", "forecast", "regress"))
    if "report" in report:
        accuracy = report["metrics"]["accuracy"]
        assert report["report"]["accuracy"] == pytest.approx(accuracy)
        assert 0 <= report["report"]["calibration_error"] <= 1
    if kind == "words":
        made = done(run("generate", "r", "--prompt", "the cat", "--length", 9, "--seed", 1))
        assert made.startswith("the cat ")
        assert made == done(run("generate", "r", "--prompt", "the cat", "--length", 9, "--seed", 1))
        return
    if kind == "segment":  # text to segment has no spaces
        write(tmp_path / name, "看似简单的话\n简单的\n")
    lines = done(run("predict", "r", name)).splitlines()
    if kind == "next_row":
        expected = ohlol.load("r").next_rows(name, 10)
        assert lines[0] == "step,height,slope"
        rows = [list(map(float, line.split(","))) for line in lines[1:]]
        assert [row[0] for row in rows] == list(range(1, 11))
        assert np.array(rows)[:, 1:] == pytest.approx(expected, rel=1e-4)
        assert refused(run("predict", "r", name, "--plot")).startswith("--plot is for forecasts, and")
        return
    if kind == "forecast":
        assert "`ohlol backtest` measures in the units of the data" in run("evaluate", "r", name)[2]
        assert "the task of this model is forecast; only models that predict labels" in refused(
            run("explain", "r", "a")
        )
        rows = list(csv.DictReader(lines))
        assert len(rows) == 2 * 4
        assert {"series", "time", "sales", "lower_80", "upper_95"} <= set(rows[0])
        records = map(json.loads, done(run("predict", "r", name, "--output-format", "jsonl")).splitlines())
        assert [{key: str(row[key]) for key in row} for row in rows] == [
            {key: value if isinstance(value, str) else f"{value:.15g}" for key, value in record.items()}
            for record in records
        ]
        return
    model = ohlol.load("r")
    corpus = sequences.read(name, model.config.data, with_targets=kind != "segment")
    assert len(lines) == len(corpus.inputs)
    records = [json.loads(line) for line in done(run("predict", "r", name, "--output-format", "jsonl")).splitlines()]
    wanted = [model.predict(sequence) for sequence in corpus.inputs]
    if kind == "regress":
        assert [record["number"] for record in records] == pytest.approx([p.number for p in wanted], rel=1e-4)
        assert [float(line) for line in lines] == pytest.approx([p.number for p in wanted], rel=1e-4)
        return
    for record, prediction in zip(records, wanted, strict=True):
        labels = record["label"] if kind == "classify" else record["labels"]
        assert labels == (prediction.labels[0] if kind == "classify" else list(prediction.labels))
    if kind == "segment":
        assert [line.replace(" ", "") for line in lines] == ["看似简单的话", "简单的"]


def test_evaluate_prints_the_scores_of_classes_and_draws_the_confusions(run: Run, tmp_path: Path) -> None:
    names_file(tmp_path / "names.csv")
    done(run("train", "names.csv", "--input", "name", "--target", "kind", *TINY_FLAGS, "--out", "r"))
    ran = run("evaluate", "r", "names.csv", "--classes", 1)
    out = done(ran)
    assert "names.csv: r was trained on a file with this content" in ran[2]
    assert re.search(r"^ class +precision +recall +f1 +support", out, re.MULTILINE)
    assert "less frequent class" in out
    assert "expected calibration error" in out
    assert "precision" not in done(run("evaluate", "r", "names.csv", "--classes", 0))
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'ohlol[plot]'")
    done(run("evaluate", "r", "names.csv", "--png", "c.svg"))
    assert "target" in (tmp_path / "c.svg").read_text(encoding="utf-8")
    sine_file(tmp_path / "sine.csv")
    done(run("train", "sine.csv", "--task", "next_row", *TINY_FLAGS, "--out", "s"))
    refusal = refused(run("evaluate", "s", "sine.csv", "--png", "d.png"))
    assert refusal.strip() == "--png draws the confusions of classes, and the task next_row has none"


WORDS = {"toi": "tôi", "yeu": "yêu", "tieng": "tiếng", "viet": "việt", "nguoi": "người", "com": "cơm", "xanh": "xanh"}


@pytest.mark.slow
def test_diacritics_train_and_predict_with_the_defaults(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sentences = [[str(w) for w in random.choice(list(WORDS), size=2)] for _ in range(28)]
    rows = [(" ".join(s), " ".join(WORDS[w] for w in s)) for s in sentences]
    # half of the targets are decomposed; the reader normalizes them
    rows = [(a, normalize("NFD", b) if i % 2 else b) for i, (a, b) in enumerate(rows)]
    write(tmp_path / "dau.tsv", "".join(f"{a}\t{b}\n" for a, b in rows))
    out = done(run("train", "dau.tsv"))
    assert "saved: runs/dau-1" in out
    assert done(run("predict", "runs/dau-1", "toi yeu tieng viet")) == "tôi yêu tiếng việt\n"
    report = json.loads(done(run("evaluate", "runs/dau-1", "dau.tsv", "--json")))
    assert report["metrics"]["accuracy"] > 0.97


def test_unknown_symbols_are_reported_on_stderr(run: Run, trained: Path) -> None:
    ran = run("predict", trained / "label", "abz😀")
    assert len(done(ran).strip()) == 4
    assert ran.err == "not in the training data, read as <unk>: 'z' '😀'\n"


def test_the_log_in_a_pipe_is_plain_text(run: Run, tmp_path: Path) -> None:
    upper_pairs(tmp_path / "p.tsv")
    out = done(run("train", "p.tsv", *TINY_FLAGS, "--out", "r"))
    assert "\x1b" not in out
    assert "\r" not in out
    first, second = out.splitlines()[:2]
    assert first.endswith(": pairs (its first row has two columns of equal length), task label, by character")
    assert second.startswith("label (pairs, by character), lstm 1 x 6, bidirectional, embedding 5")


class Signals(Recorder):
    """Sends this process a signal after an epoch."""

    def __init__(self, number: signal.Signals, after: int):
        super().__init__()
        self.number, self.at = number, after

    def on_batch_end(self, *arguments: object) -> None:
        super().on_batch_end(*arguments)  # pyright: ignore
        if self.steps == self.at:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [[], ["--pair", "abc", "cab"]])
def test_an_interrupt_saves_and_prints_how_to_resume(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, arguments: Sequence[str]
) -> None:
    done(run("train", *arguments, "--out", "whole"))
    handler = signal.getsignal(number)
    with monkeypatch.context() as patched:
        patched.setattr(progress, "make_progress_callback", lambda *_: Signals(number, 7))
        ran = run("train", *arguments, "--out", "a run")
    assert ran.code == 130
    assert signal.getsignal(number) is handler
    said = re.fullmatch(r"interrupted, and saved: ohlol (.+)\n", ran.err)
    assert said
    done(run(*shlex.split(said[1])))
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "a run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def read_line(pipe: "subprocess.Popen[str]") -> str:
    assert pipe.stdout is not None
    ready, _, _ = select.select([pipe.stdout], [], [], PATIENCE)
    assert ready, "nothing came"
    return pipe.stdout.readline()


@pytest.mark.slow
def test_an_interrupted_process_saves_and_exits_with_130(tmp_path: Path) -> None:
    with process("train", "--epochs", 3000, "--out", "r", cwd=tmp_path) as training:
        assert read_line(training).startswith("Predicted string: ")
        training.send_signal(signal.SIGINT)
        _, err = training.communicate(timeout=PATIENCE)
    assert training.returncode == 130
    assert err == "interrupted, and saved: ohlol train --resume --out r\n"
    state = resume_state.load_state(tmp_path / "r")[1]
    assert 1 <= state["step"] < 3000


@pytest.mark.slow
def test_errors_of_a_process_are_reported_in_one_line(tmp_path: Path) -> None:
    for arguments in (["train", "gone.tsv"], ["predict", "gone", "text"]):
        with process(*arguments, cwd=tmp_path) as failed:
            out, err = failed.communicate(timeout=PATIENCE)
        assert failed.returncode == 2
        assert (out, err.count("\n")) == ("", 1)
        assert "gone" in err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes break in another way there")
def test_a_broken_pipe_is_not_an_error(trained: Path, tmp_path: Path) -> None:
    many = write(tmp_path / "many.tsv", "abcdeabcde\tABCD_ABCD_\n" * 8000)
    for arguments in (
        ["generate", trained / "next", "--length", 1_000_000],
        ["predict", trained / "label", many, "--output-format", "tsv"],
    ):
        with process(*arguments) as broken:
            assert broken.stdout is not None
            assert broken.stderr is not None
            broken.stdout.read(1)
            broken.stdout.close()
            err = broken.stderr.read()
            assert broken.wait(PATIENCE) == 0
        assert err == ""


def test_standard_input_is_predicted_line_by_line(trained: Path) -> None:
    model = ohlol.load(trained / "label")
    with process("predict", trained / "label", "-") as talk:
        assert talk.stdin is not None
        for line in ("abc", "e", "deadbead"):
            talk.stdin.write(line + "\n")
            talk.stdin.flush()
            assert read_line(talk) == "".join(model.predict(line).labels) + "\n"
        talk.stdin.close()
        assert talk.wait(PATIENCE) == 0
