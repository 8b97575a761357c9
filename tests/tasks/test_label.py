"""The metrics of labelled steps equal those of seqeval and scikit-learn."""

import numpy as np
import pytest
from counting import codec_of, count
from helpers import BIOES_LABELS as LABELS
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from sklearn.metrics import accuracy_score

from ohlol.tasks import TASKS

documents = st.lists(
    st.lists(st.tuples(*[st.sampled_from(LABELS)] * 2), min_size=1, max_size=9), min_size=1, max_size=5
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@given(documents)
def test_span_metrics_equal_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    targets, predictions = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    metrics = count("label", list(zip(targets, predictions, strict=True)), LABELS).metrics()
    assert metrics["span_f1"] == pytest.approx(f1_score(targets, predictions, zero_division=0), abs=1e-12)
    assert metrics["span_precision"] == pytest.approx(precision_score(targets, predictions, zero_division=0), abs=1e-12)
    assert metrics["span_recall"] == pytest.approx(recall_score(targets, predictions, zero_division=0), abs=1e-12)
    flat = [[name for row in side for name in row] for side in (targets, predictions)]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(*flat))
    right = [target == prediction for target, prediction in zip(targets, predictions, strict=True)]
    assert metrics["sequence_accuracy"] == pytest.approx(np.mean(right))
    assert metrics["loss"] == pytest.approx(0.5)


def test_span_f1_is_the_main_metric_of_span_labels() -> None:
    assert TASKS["label"].metrics(codec_of("label", ["NOUN", "B", "O"])).main_metric == "accuracy"
    assert TASKS["label"].metrics(codec_of("label", ["B", "M", "E", "S"])).main_metric == "span_f1"
