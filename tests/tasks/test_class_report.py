"""The report of classes: the same figures as scikit-learn, and the calibration by its definition."""

import json

import numpy as np
import pytest
from counting import count
from hypothesis import given
from hypothesis import strategies as st

from ohlol.tasks.class_report import BINS, ClassReport, confidence_bins

LABELS = ("a", "b", "c", "d", "never")


def random_rows(seed: int, length: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    targets, predictions = rng.choice(LABELS[:3], length), rng.choice(LABELS[:4], length)
    return targets.tolist(), np.where(rng.random(length) < 0.5, targets, predictions).tolist()


@pytest.mark.parametrize(("seed", "length"), [(0, 1), (1, 7), (2, 40), (3, 500)])
def test_the_figures_are_those_of_scikit_learn(seed: int, length: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    targets, predictions = random_rows(seed, length)
    report = count("classify", [(targets, predictions)], LABELS).report()
    expected = metrics.classification_report(targets, predictions, output_dict=True, zero_division=0)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(targets, predictions))
    assert {scores.label for scores in report.classes} == set(targets) | set(predictions)
    rows = {scores.label: (scores, scores.support) for scores in report.classes}
    rows |= {"macro avg": (report.macro, length), "weighted avg": (report.weighted, length)}
    for name, (scores, support) in rows.items():
        row = expected[name]
        assert (scores.precision, scores.recall, scores.f1) == pytest.approx(
            (row["precision"], row["recall"], row["f1-score"])
        )
        assert support == row["support"]


def test_the_most_frequent_target_is_first_and_classes_that_do_not_occur_are_left_out() -> None:
    report = count("classify", [(list("abbcbb"), list("abbabd"))], LABELS).report()
    assert [(scores.label, scores.support) for scores in report.classes] == [("b", 4), ("a", 1), ("c", 1), ("d", 0)]
    b, a, c, d = report.classes
    assert (b.precision, b.recall, b.f1) == (1.0, 0.75, pytest.approx(6 / 7))
    assert (a.precision, a.recall) == (0.5, 1.0)
    assert (c.precision, c.recall, c.f1) == (d.precision, d.recall, d.f1) == (0.0, 0.0, 0.0)
    assert report.support == 6


def test_a_prediction_for_a_label_that_training_did_not_see_is_wrong() -> None:
    matrix, unseen = np.diag([3, 1]), np.array([1, 0])
    report = ClassReport.of(("a", "b"), matrix, unseen)
    assert (report.accuracy, report.support) == (0.8, 5)
    assert [(s.label, s.precision, s.recall, s.support) for s in report.classes] == [("a", 0.75, 1, 3), ("b", 1, 1, 1)]


def test_the_calibration_error_by_hand() -> None:
    confidences, correct = np.array([0.1, 0.15, 0.2, 0.95, 1.0, 1.0]), np.array([False, True, False, True, True, False])
    counts = confidence_bins(confidences, correct)
    assert counts[0].tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 3]  # (0, 0.1], (0.1, 0.2] and (0.9, 1]
    report = ClassReport.of(("a", "b"), np.diag([2, 4]), np.zeros(2, int), counts)
    assert report.calibration_error == pytest.approx((1 * 0.1 + 2 * (0.5 - 0.175) + 3 * (2.95 / 3 - 2 / 3)) / 6)
    assert (report.bins[9].low, report.bins[9].high, report.bins[9].count) == (0.9, 1.0, 3)
    assert json.loads(json.dumps(report.to_json()))["calibration_error"] == report.calibration_error


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_every_prediction_is_in_the_bin_of_its_confidence(pairs: list[tuple[float, bool]]) -> None:
    confidences, correct = np.array([p for p, _ in pairs]), np.array([hit for _, hit in pairs])
    counts = confidence_bins(confidences, correct)
    assert counts[0].sum() == len(pairs)
    assert counts[1].sum() == pytest.approx(confidences.sum())
    assert counts[2].sum() == correct.sum()
    means = counts[1][counts[0] > 0] / counts[0][counts[0] > 0]
    edges = np.flatnonzero(counts[0]) / BINS
    assert ((means >= edges - 1e-9) & (means <= edges + 1 / BINS + 1e-9)).all()


def test_without_confidences_there_is_no_calibration() -> None:
    report = count("label", [(list("ab"), list("aa"))], ("a", "b")).report()
    assert (report.bins, report.calibration_error) == ((), None)
