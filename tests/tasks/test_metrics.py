"""Which metrics are better, how they are shown, and counts of several processes taken together."""

import math
from typing import Any

import numpy as np
import pytest
from counting import codec_of, count

from ohlol.tasks import TASKS
from ohlol.tasks.metrics import format_metrics, is_better


def test_the_most_frequent_confusions_come_first() -> None:
    accumulator = count("label", [(list("aaaabbc"), list("abbcbab"))], ("a", "b", "c"))
    assert accumulator.confusions() == [
        ("a", "b", 2, 0.5),
        ("a", "c", 1, 0.25),
        ("b", "a", 1, 0.5),
        ("c", "b", 1, 1.0),
    ]
    assert len(accumulator.confusions(2)) == 2
    assert count("label", [(list("ab"), list("ab"))], ("a", "b")).confusions() == []


def test_is_better_compares_the_main_metric_and_then_the_loss() -> None:
    nan = math.nan
    assert is_better({"accuracy": 0.5, "loss": 1.0}, None, "accuracy")
    assert is_better({"accuracy": 0.6, "loss": 9.0}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert not is_better({"accuracy": 0.4, "loss": 0.1}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert is_better({"accuracy": 0.5, "loss": 0.9}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert not is_better({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert is_better({"bits": 1.0, "loss": 0.7}, {"bits": 2.0, "loss": 1.4}, "bits")
    assert not is_better({"rmse": 3.0, "loss": 0.7}, {"rmse": 2.0, "loss": 1.4}, "rmse")
    assert not is_better({"accuracy": 1.0, "loss": nan}, None, "accuracy")
    assert not is_better({"bits": nan, "loss": 1.0}, None, "bits")


def test_metrics_are_formatted_with_their_units() -> None:
    metrics = {"span_f1": 0.5, "rmse": 12345.678, "bits": 2.25}
    assert format_metrics(metrics) == "span f1 50.00 %  rmse 12345.7  bits 2.2500"


def _add_random(accumulators: list[Any], rng: np.random.Generator, task: str) -> None:
    if task == "next_row":
        targets, predictions = rng.normal(size=(2, 5, 2)).astype(np.float32)
    elif task == "forecast":
        targets, predictions = rng.normal(size=(2, 5, 6)).astype(np.float32)
        targets[rng.random(targets.shape) < 0.2] = np.nan
    elif task == "regress":
        targets, predictions = rng.normal(size=(2, 2, 1)).astype(np.float32)
    elif task == "multilabel":
        targets, predictions = rng.integers(0, 2, (2, 4)), rng.integers(0, 2, (2, 3))
    else:
        targets, predictions = rng.integers(0, 3, (2, 5))
    for accumulator in accumulators:
        steps = [np.arange(1), np.arange(1, 2)] if len(targets) == 2 else [np.arange(2), np.arange(2, 5)]
        accumulator.add(targets, predictions, steps)
        accumulator.add_loss(0.25, len(targets))


@pytest.mark.parametrize("task", TASKS)
def test_merged_counts_equal_those_of_one_process(task: str) -> None:
    rng, codec = np.random.default_rng(0), codec_of(task, ("B-A", "I-A", "O"))
    if TASKS[task].targets.has_numbers:
        from ohlol.data.codec import Codec
        from ohlol.data.scale import Scale

        scale = Scale((0.0, 1.0), (1.0, 3.0))
        codec = Codec(task, columns=("x", "y"), target_columns=("x", "y"), scale=scale, target_scale=scale)
    whole, parts = TASKS[task].metrics(codec), [TASKS[task].metrics(codec) for _ in range(3)]
    for number in range(30):
        _add_random([whole, parts[number % 3]], rng, task)
    values = [[np.asarray(getattr(part, name)) for name in part.summed] for part in parts]
    for part in parts:
        sums = iter([sum(column) for column in zip(*values, strict=True)])
        part.merge(lambda _, sums=sums: np.asarray(next(sums)))
    for part in parts:
        assert part.metrics() == pytest.approx(whole.metrics(), rel=1e-12)
        assert part.sequences == whole.sequences == 60
        if whole.confusion is not None:
            assert (part.confusion == whole.confusion).all()
