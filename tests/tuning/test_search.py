"""`ohlol.tune`: trials are runs, bad ones are pruned, killed ones are resumed, and processes share a study."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import bytes_of, names_file, prepared, upper_pairs

import ohlol
from ohlol.cli import main
from ohlol.data import sequences
from ohlol.explain.curves import load_curves
from ohlol.inference.trained_model import load
from ohlol.training.trainer import Interrupted, Trainer
from ohlol.tuning.search import TuneCallback
from ohlol.tuning.summary import StudySummary
from ohlol.utils.errors import InputError

SEARCH = ["cell=gru,lstm", "hidden_size=4:12:2", "lr=5e-3:5e-2:log"]
SETTINGS: dict[str, Any] = {"embedding_size": 5, "epochs": 4, "batch_size": 4}
FLAGS = ["--embedding-size", "5", "--epochs", "4", "--batch-size", "4", *(f"--search={one}" for one in SEARCH)]


def settings_of(summary: StudySummary) -> list[tuple[Any, ...]]:
    return [(t.number, t.state, tuple(t.settings.items()), t.value) for t in summary.trials]


def tuned(data: Path, out: Path, trials: int = 6, **more: Any) -> StudySummary:
    return ohlol.tune(data, trials=trials, out=out, **{"search": SEARCH, **SETTINGS, **more})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return upper_pairs(folder / "data.tsv")


@pytest.fixture(scope="module")
def whole(folder: Path, data: Path) -> tuple[StudySummary, Path]:
    """An uninterrupted study."""
    return tuned(data, folder / "whole", keep=2), folder / "whole"


def test_trials_are_runs_and_the_best_is_linked(whole: tuple[StudySummary, Path], data: Path) -> None:
    summary, out = whole
    assert [t.number for t in summary.trials] == list(range(6))
    assert {t.state for t in summary.trials} <= {"complete", "pruned"}
    assert len({tuple(t.settings.items()) for t in summary.trials}) == 6
    best = summary.best
    assert best is not None
    assert best.value == max(t.value for t in summary.trials if t.state == "complete" and t.value is not None)
    assert (out / "best").resolve() == best.run.resolve()
    assert load(out / "best").config.metrics == best.metrics
    assert load(out / "best").evaluate(data).metrics()["accuracy"] > 0
    kept = {path.parent.name for path in out.glob("trials/*/model.safetensors")}
    assert kept == {t.run.name for t in summary.ranked[:2]}  # keep=2
    assert not list(out.glob("trials/*/resume"))
    for t in summary.trials:
        assert load_curves([t.run])  # every trial has curves
    with pytest.raises(InputError, match="keeps those of better trials only"):
        load(next(t.run for t in summary.trials if t.run.name not in kept))


def test_the_first_trial_is_the_defaults(whole: tuple[StudySummary, Path], data: Path, tmp_path: Path) -> None:
    summary, _ = whole
    first = summary.trials[0]
    assert [t.is_default for t in summary.trials] == [True] + [False] * 5
    assert first.state == "complete"
    assert first.settings == {"cell": "lstm", "hidden_size": 12, "lr": 0.005}  # the nearest that are searched
    other = ohlol.tune(data, trials=1, out=tmp_path / "one", search=["lr", "cell"], hidden_size=6, **SETTINGS)
    plain = ohlol.fit(data, out=tmp_path / "plain", hidden_size=6, **SETTINGS)
    assert other.trials[0].metrics == plain.config.metrics
    assert same(tmp_path / "one/best", tmp_path / "plain")


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same bytes, except for the name in the card."""
    names = ("model.safetensors", "metrics.jsonl", "vocab.json", "config.json")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_repeating_the_command_with_more_trials_extends_the_study(
    whole: tuple[StudySummary, Path], data: Path, folder: Path
) -> None:
    summary, out = whole
    before = bytes_of(out / "trials")
    assert settings_of(tuned(data, out, keep=2)) == settings_of(summary)  # the study has enough trials
    assert bytes_of(out / "trials") == before
    tuned(data, folder / "parts", 2)
    parts = tuned(data, folder / "parts", 6)
    assert settings_of(parts) == settings_of(summary)  # proposals depend on the history, not on the process
    assert (folder / "parts/best/model.safetensors").read_bytes() == (out / "best/model.safetensors").read_bytes()


def test_the_printed_command_trains_the_best_run_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main(["tune", str(data), "--out", str(tmp_path / "study"), "--trials", "3", *FLAGS])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("3 trials of 4 epochs, task label, pruner median; metric: accuracy (higher is better)\n")
    assert all(f"  {one}\n" in printed.replace("0.005:0.05", "5e-3:5e-2") for one in SEARCH)
    (command,) = re.findall(r"^train it again: ohlol (.*)$", printed, re.MULTILINE)
    with pytest.raises(SystemExit):
        main([*shlex.split(command), "--out", str(tmp_path / "again")])
    assert same(tmp_path / "again", tmp_path / "study/best")


@pytest.mark.slow
def test_bad_trials_are_pruned(data: Path, tmp_path: Path) -> None:
    summary = ohlol.tune(
        data, trials=14, out=tmp_path / "study", search=["lr=1e-7:0.03:log"], hidden_size=8, embedding_size=5, epochs=8,
        batch_size=4, seed=3,
    )  # fmt: skip
    pruned = [t for t in summary.trials if t.state == "pruned"]
    assert pruned
    assert len([t for t in summary.trials if t.state == "complete"]) >= 5
    complete = sorted(t.value for t in summary.trials if t.state == "complete" and t.value is not None)
    for t in pruned:
        lines = [json.loads(line) for line in (t.run / "metrics.jsonl").read_text().splitlines()]
        assert 1 <= len(lines) == t.epochs < 8
        assert max(line["accuracy"] for line in lines) == t.value
        assert t.value is not None
        assert t.value < complete[-1]
        assert not (t.run / "model.safetensors").exists()
    brackets = ohlol.tune(
        data, trials=16, out=tmp_path / "hyperband", search=["lr=1e-7:0.03:log"], pruner="hyperband", hidden_size=8,
        embedding_size=5, epochs=9, batch_size=8,
    )  # fmt: skip
    assert {t.epochs for t in brackets.trials if t.state == "pruned"} & {1, 3}  # the epochs at which Hyperband prunes
    none = ohlol.tune(data, trials=7, out=tmp_path / "none", search=["lr=1e-7:1e-6"], pruner="none", **SETTINGS)
    assert {t.state for t in none.trials} == {"complete"}


@pytest.mark.parametrize(
    ("kind", "score"), [("next", "bits"), ("classify", "accuracy"), ("next_row", "rmse"), ("forecast", "scaled_mae")]
)
def test_every_task_and_the_direction_of_its_metric(kind: str, score: str, tmp_path: Path) -> None:
    file, options = prepared(kind, tmp_path)
    options = {k: v for k, v in options.items() if k != "cell"}
    summary = ohlol.tune(file, trials=3, out=tmp_path / "study", search=["lr=1e-5,0.003,0.03"], **options)
    assert summary.metric == score
    assert sorted(t.settings["lr"] for t in summary.trials) == [1e-5, 0.003, 0.03]  # every choice once
    assert summary.best is not None
    if kind != "forecast":  # which begins with a good one
        assert summary.best.settings["lr"] > 1e-5
    pick = min if score != "accuracy" else max
    assert summary.best.value == pick(t.value for t in summary.trials if t.value is not None)
    assert len(ohlol.tune(file, trials=9, out=tmp_path / "study", search=["lr=1e-5,0.003,0.03"], **options).trials) == 3


def test_words_are_encoded_with_and_without_their_characters(tmp_path: Path) -> None:
    file = names_file(tmp_path / "data.csv")
    summary = ohlol.tune(
        file, trials=2, out=tmp_path / "study", search=["char_rnn_size=0,4"], level="word", input="name", target="kind",
        hidden_size=6, **SETTINGS,
    )  # fmt: skip
    assert sorted(t.settings["char_rnn_size"] for t in summary.trials) == [0, 4]
    assert {load(t.run).config.sizes.chars > 0 for t in summary.trials} == {True, False}
    assert len(list(tmp_path.glob("study/data/*/*"))) == 2


def test_pairs_and_an_encoded_corpus(data: Path, tmp_path: Path) -> None:
    summary = ohlol.tune([("hello", "ohlol")], trials=2, out=tmp_path / "pairs", search=["lr=0.05:0.2"], epochs=5)
    assert summary.trials[0].settings == {"lr": 0.1}  # the tutorial's
    with pytest.raises(SystemExit):
        main(["encode", str(data), "--out", str(tmp_path / "corpus")])
    found = tuned(tmp_path / "corpus", tmp_path / "study", 2)
    assert len(found.trials) == 2
    assert not (tmp_path / "study/data").exists()
    with pytest.raises(InputError, match="`dev_fraction` is chosen when a corpus is encoded"):
        tuned(tmp_path / "corpus", tmp_path / "other", 2, dev_fraction=0.2)


def test_failed_trials_do_not_end_the_study(data: Path, tmp_path: Path) -> None:
    search = ["lr=0.01,1e38", "hidden_size=6,1048576"]
    summary = ohlol.tune(data, trials=4, out=tmp_path / "study", search=search, max_grad_norm=0.0, **SETTINGS)
    why = {(t.settings["lr"], t.settings["hidden_size"]): t.reason for t in summary.trials if t.state == "failed"}
    assert set(why) == {(1e38, 6), (0.01, 1048576), (1e38, 1048576)}
    assert "try a lower `lr`" in why[1e38, 6]
    assert "parameters and take" in why[0.01, 1048576]
    assert summary.best is not None
    assert (tmp_path / "study/best").resolve() == summary.best.run.resolve()
    loops = ohlol.tune(
        data, trials=2, out=tmp_path / "loops", search=["num_layers=1,2"], cell="rnn", loop=True, **SETTINGS
    )
    assert [t.state for t in sorted(loops.trials, key=lambda t: t.settings["num_layers"])] == ["complete", "failed"]
    assert "runs one layer in one direction" in next(t.reason for t in loops.trials if t.state == "failed")
    with pytest.raises(InputError, match="no trial succeeded; the last one: epoch 1, step"):
        ohlol.tune(data, trials=1, out=tmp_path / "none", search=["lr=1e38,2e38"], max_grad_norm=0.0, **SETTINGS)


class Stopper(TuneCallback):
    """Sends a signal or raises an error in place of a kill, after some steps of a trial."""

    def __init__(self, trial: int, after: int):
        self.trial, self.after, self.number, self.steps = trial, after, -1, 0

    def start_trial(self, number: int, settings: dict[str, Any], *, is_continued: bool) -> None:
        self.number = number

    def on_train_begin(self, trainer: Trainer) -> None:
        self.steps = 0

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        self.steps += 1
        if (self.number, self.steps) == (self.trial, self.after):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_the_same_command_resumes_after_a_signal(whole: tuple[StudySummary, Path], data: Path, tmp_path: Path) -> None:
    summary, out = whole
    with pytest.raises(Interrupted):
        tuned(data, tmp_path / "study", callback=Stopper(2, 9))
    assert (tmp_path / "study/trials/0002/resume/last.safetensors").exists()
    found = tuned(data, tmp_path / "study", callback=Stopper(2, 10**9))
    assert settings_of(found) == settings_of(summary)
    assert same(tmp_path / "study/best", out / "best")


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "ohlol", "tune", str(data), "--out", str(out), "--trials", "6", *FLAGS, *more]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def killed(data: Path, out: Path, there: Path, wait: float) -> None:
    """Start the search and kill it `wait` seconds after a file was created."""
    with subprocess.Popen(command(data, out), env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while not there.exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(wait)
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "wait"), [("trials/0001/resume/last.safetensors", 0.02), ("trials/0003", 0.0), ("study.db", 0.0)]
)
def test_the_same_command_resumes_after_a_kill(
    whole: tuple[StudySummary, Path], data: Path, tmp_path: Path, file: str, wait: float
) -> None:
    summary, out = whole
    study = tmp_path / "study"
    killed(data, study, study / file, wait)
    subprocess.run(command(data, study), env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    found = tuned(data, study)
    assert settings_of(found) == settings_of(summary)
    assert same(study / "best", out / "best")
    assert not list(study.glob("trials/*/resume"))


@pytest.mark.slow
def test_two_processes_share_a_study(data: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    both = [
        subprocess.Popen(command(data, study), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    trials = [set(re.findall(r"^trial (\d+): ", text, re.MULTILINE)) for text in printed]
    assert not trials[0] & trials[1]
    assert trials[0] | trials[1] == {str(n) for n in range(6)}
    summary = tuned(data, study)
    assert len(summary.trials) == 6
    assert all(t.state in ("complete", "pruned") for t in summary.trials)
    assert len({tuple(t.settings.items()) for t in summary.trials}) == 6
    assert summary.best is not None
    assert (study / "best").resolve() == summary.best.run.resolve()
    assert not list((study / "workers").iterdir())


def test_the_data_are_read_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    read = sequences.read
    monkeypatch.setattr(sequences, "read", lambda *a: calls.append(a) or read(*a))
    tuned(data, tmp_path / "study", 3)
    tuned(data, tmp_path / "study", 4)
    assert len(calls) == 1


def test_invalid_arguments_are_refused(
    whole: tuple[StudySummary, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = whole
    with pytest.raises(InputError, match=r"was created with search .*, not lr=0.0005:0.01:log: give another `out`"):
        tuned(data, out, search=["lr"])
    with pytest.raises(InputError, match=r"was created with settings .*epochs 4.*, not .*epochs 5.*"):
        tuned(data, out, epochs=5)
    with pytest.raises(InputError, match="was created with `pruner` median, not none"):
        tuned(data, out, pruner="none")
    with pytest.raises(InputError, match="is the directory of the study whole: give another `out`"):
        tuned(data, out, study="other")
    with pytest.raises(InputError, match="was created for other data"):
        tuned(upper_pairs(tmp_path / "other.tsv", seed=4), out)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not the directory of a study: give another `out`"):
        tuned(data, tmp_path / "there")
    for more, said in (
        ({"trials": 0}, "`trials` is 0; it must be at least 1"),
        ({"keep": 0}, "`keep` is 0; it must be at least 1"),
        ({"pruner": "best"}, "`pruner` is 'best'; it must be one of auto, median, hyperband, none"),
        ({"lr": 0.1}, "`lr` is 0.1 in all trials"),
        ({"hidden_size": 0, "search": ["lr"]}, "`hidden_size` is 0; it must be at least 1"),
    ):
        with pytest.raises(InputError, match=said):
            tuned(data, tmp_path / "refused", **more)
    with pytest.raises(InputError, match="stdin: can be read only once"):
        tuned(Path("-"), tmp_path / "refused")
    with pytest.raises(TypeError, match="there is no setting 'colour'"):
        tuned(data, tmp_path / "refused", colour="red")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="tune does not run under torchrun"):
        tuned(data, tmp_path / "refused")


def test_no_trial_starts_after_a_timeout(data: Path, tmp_path: Path) -> None:
    assert tuned(data, tmp_path / "study", timeout=0).trials == ()
    assert 1 <= len(tuned(data, tmp_path / "study", timeout=0.01).trials) < 6
