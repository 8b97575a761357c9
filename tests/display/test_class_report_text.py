"""The scores of classes as a table for a terminal."""

import io

import numpy as np
from rich.console import Console

from ohlol.display.class_report_text import print_class_report
from ohlol.tasks.class_report import ClassReport, confidence_bins


def printed(labels: tuple[str, ...], matrix: np.ndarray, limit: int) -> list[str]:
    counts = confidence_bins(np.full(int(matrix.sum()), 0.8), np.ones(int(matrix.sum()), bool))
    out = io.StringIO()
    report = ClassReport.of(labels, matrix, np.zeros(len(labels), np.int64), counts)
    print_class_report(report, Console(file=out, width=80), limit=limit)
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def test_the_table_has_the_scores_the_means_and_the_calibration() -> None:
    lines = printed(("NOUN", "VERB"), np.array([[3, 1], [0, 2]]), 10)
    assert lines[0].split() == ["class", "precision", "recall", "f1", "support"]
    rows = [line.split() for line in lines]
    assert ["NOUN", "100.00", "%", "75.00", "%", "85.71", "%", "4"] in rows
    assert ["macro", "mean", "of", "2", "83.33", "%", "87.50", "%", "82.86", "%", "6"] in rows
    assert ["weighted", "mean", "of", "2", "88.89", "%", "83.33", "%", "83.81", "%", "6"] in rows
    assert lines[-1] == "expected calibration error 20.00 % (10 bins of confidence)"


def test_a_report_is_printed_as_its_table() -> None:
    report = ClassReport.of(tuple("abcdefghijklm"), np.diag(np.arange(1, 14)), np.zeros(13, np.int64))
    lines = str(report).splitlines()
    assert lines[0].split() == ["class", "precision", "recall", "f1", "support"]
    assert [line.split()[0] for line in lines[2:15]] == list("mlkjihgfedcba")
    assert lines[-1].startswith(" weighted mean of 13")


def test_of_many_classes_the_most_frequent_are_shown_in_80_columns() -> None:
    labels = tuple(f"a class with a long name, number {i}, of several words and signs" for i in range(30))
    lines = printed(labels, np.diag(np.arange(1, 31) * 1000), 3)
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(" 29, of several words") for line in lines)
    assert not any(line.startswith(" 26, of several words") for line in lines)
    assert "not shown: 27 less frequent classes" in lines
    assert "not shown: 1 less frequent class" in printed(("a", "b"), np.diag([1, 2]), 1)


def test_labels_are_not_markup() -> None:
    lines = printed(("[/b]", "\n"), np.diag([2, 1]), 10)
    assert any(line.split()[0] == "[/b]" for line in lines)
    assert any(line.split()[0] == "\\n" for line in lines)
