"""The reference values of a loss, compared with values computed by hand."""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY, Recorder, names_file, sine_file, text_file, upper_pairs
from hypothesis import given
from hypothesis import strategies as st

import ohlol
from ohlol.cli import main
from ohlol.evaluation.baselines import Baselines, compute_baselines, cross_entropy, evaluate_persistence
from ohlol.tasks.metrics import MetricAccumulator
from ohlol.training.trainer import Trainer


class BaselineRecorder(Recorder):
    """Computes the reference values at the end of the training."""

    baselines: Baselines

    def on_train_end(self, trainer: Trainer, accumulator: MetricAccumulator) -> None:
        self.baselines = compute_baselines(trainer.config, trainer.codec, accumulator)


def fit_with_baselines(data: Any = None, **settings: Any) -> tuple[Baselines, dict[str, float]]:
    recorder = BaselineRecorder()
    model = ohlol.fit(data, callbacks=[recorder], **settings)
    return recorder.baselines, model.config.metrics


def entropy(text: str) -> float:
    return -sum(n / len(text) * math.log(n / len(text)) for n in Counter(text).values())


def test_baselines_of_the_tutorial_are_as_computed_by_hand() -> None:
    baselines, metrics = fit_with_baselines(seed=1)
    assert baselines.loss == metrics["loss"]
    assert baselines.count == 5
    assert baselines.uniform == pytest.approx(math.log(4))
    assert baselines.frequencies == pytest.approx(entropy("ohlol"))
    assert baselines.lower_bound == pytest.approx(-math.log(math.e / (math.e + 3 / math.e)))
    assert baselines.lower_bound == pytest.approx(0.341, abs=5e-4)
    assert baselines.summed is None
    assert baselines.learned
    assert fit_with_baselines(seed=1, head="softmax", epochs=60)[0].lower_bound is None
    assert fit_with_baselines(seed=1, head="softmax", epochs=60)[0].loss < baselines.lower_bound


def test_the_minimum_without_a_head_is_a_lower_bound() -> None:
    baselines, _ = fit_with_baselines([("ab", "ba")], epochs=400, lr=0.3)
    assert baselines.lower_bound == pytest.approx(math.log(1 + math.exp(-2)))
    assert baselines.lower_bound < baselines.loss < baselines.lower_bound + 1e-2


def test_a_summed_loss_is_per_sequence() -> None:
    baselines, _ = fit_with_baselines([("hello", "ohlol"), ("hel", "loh")], cell="rnn", loop=True, epochs=2)
    assert baselines.summed == pytest.approx(baselines.loss * 4)  # 8 steps in 2 sequences
    assert baselines.frequencies == pytest.approx(entropy("ohlolloh"))


def test_baselines_of_every_task_equal_the_entropy_of_the_data(tmp_path: Path) -> None:
    data = upper_pairs(tmp_path / "data.tsv")
    baselines, _ = fit_with_baselines(data, dev=data, **TINY)
    labels = "".join(line.split("\t")[1] for line in data.read_text().splitlines())
    assert baselines.labels == len(set(labels))
    assert baselines.count == len(labels)
    assert baselines.frequencies == pytest.approx(entropy(labels))
    text = text_file(tmp_path / "text.txt")
    baselines, _ = fit_with_baselines(text, dev=text, **TINY)
    assert baselines.frequencies == pytest.approx(entropy(text.read_text()))
    names = names_file(tmp_path / "names.csv")
    baselines, _ = fit_with_baselines(names, dev=names, input="name", target="kind", **TINY)
    assert (baselines.count, baselines.labels) == (30, 2)
    assert baselines.frequencies == pytest.approx(math.log(2))
    baselines, metrics = fit_with_baselines(
        sine_file(tmp_path / "sine.csv"), task="next_row", hidden_size=4, num_layers=1, epochs=1
    )
    assert (baselines.loss, baselines.uniform, baselines.frequencies) == (metrics["loss"], 1.0, None)
    baselines, _ = fit_with_baselines(
        tmp_path / "sine.csv", task="next_row", head="absolute", hidden_size=4, num_layers=1, epochs=1
    )
    assert baselines.uniform is None
    assert baselines.learned


def test_a_label_missing_from_the_training_data() -> None:
    loss = cross_entropy(np.array([1, 1]), np.array([3, 0]))
    assert loss == pytest.approx(-(math.log(4 / 5) + math.log(1 / 5)) / 2)
    assert cross_entropy(np.array([0, 0]), np.array([0, 0])) == 0


@pytest.mark.parametrize(
    ("language", "phrase"), [("C", "all labels equally probable"), ("zh_CN.UTF-8", "所有标签等概率")]
)
def test_train_prints_the_baseline_after_the_best_weights(
    language: str, phrase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", language)
    with pytest.raises(SystemExit) as end:
        main(["train", "--epochs", "2", "--out", str(tmp_path / "run")])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    best = next(i for i, line in enumerate(lines) if line.startswith(("best weights: ", "最佳权重：")))
    assert phrase in lines[best + 2]
    assert lines[-2] in (f"saved: {tmp_path / 'run'}", f"已保存：{tmp_path / 'run'}")


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_persistence_repeats_the_last_row(values: list[float]) -> None:
    errors = [b - a for a, b in pairwise(values)]
    metrics = evaluate_persistence([np.array(values)[:, None]])
    assert metrics["rmse"] == pytest.approx(math.sqrt(sum(e * e for e in errors) / len(errors)), abs=1e-12)
    assert metrics["mae"] == pytest.approx(sum(map(abs, errors)) / len(errors), abs=1e-12)


def test_persistence_does_not_cross_series() -> None:
    assert evaluate_persistence([np.zeros((3, 1)), np.full((3, 1), 100.0)]) == {"rmse": 0.0, "mae": 0.0}
