"""Spans against seqeval, accuracy and macro F1 against scikit-learn, the rest by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import accuracy_score
from sklearn.metrics import f1_score as f1_of_labels

from ohlol.evaluation.metrics import Tally, better, is_span_scheme, main_score, persistence, spans, text_of

LABELS = ("O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC")
sequences = st.lists(st.sampled_from(LABELS), min_size=1, max_size=12)
documents = st.lists(
    st.lists(st.tuples(*[st.sampled_from(LABELS)] * 2), min_size=1, max_size=9), min_size=1, max_size=5
)


@given(sequences)
@settings(max_examples=500)
def test_spans_are_seqevals(labels: list[str]) -> None:
    assert spans(labels) == [tuple(entity) for entity in get_entities(labels)]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("O O", []),
        ("I-PER I-PER", [("PER", 0, 1)]),
        ("B-PER I-LOC", [("PER", 0, 0), ("LOC", 1, 1)]),
        ("B-PER B-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("B-PER E-PER E-PER", [("PER", 0, 1), ("PER", 2, 2)]),
        ("S-PER I-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("B-PER L-PER U-LOC", [("PER", 0, 1), ("LOC", 2, 2)]),
        ("B M M E S B E", [("", 0, 3), ("", 4, 4), ("", 5, 6)]),
        ("O B-A-B I-A-B", [("A-B", 1, 2)]),
    ],
)
def test_spans_by_hand(labels: str, wanted: list[tuple[str, int, int]]) -> None:
    assert spans(labels.split()) == wanted


def tally_of(rows: list[tuple[list[str], list[str]]], labels: tuple[str, ...], task: str = "label") -> Tally:
    tally = Tally(task, labels)
    for wanted, chosen in rows:
        tally.add_labels(*(np.array([labels.index(name) for name in side]) for side in (wanted, chosen)))
        tally.add_loss(0.5 * len(wanted), len(wanted))
    return tally


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@given(documents)
def test_span_f1_is_seqevals(rows: list[list[tuple[str, str]]]) -> None:
    wanted, chosen = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    scores = tally_of(list(zip(wanted, chosen, strict=True)), LABELS).scores()
    assert scores["span_f1"] == pytest.approx(f1_score(wanted, chosen, zero_division=0), abs=1e-12)
    assert scores["span_precision"] == pytest.approx(precision_score(wanted, chosen, zero_division=0), abs=1e-12)
    assert scores["span_recall"] == pytest.approx(recall_score(wanted, chosen, zero_division=0), abs=1e-12)
    flat = [[name for row in side for name in row] for side in (wanted, chosen)]
    assert scores["accuracy"] == pytest.approx(accuracy_score(*flat))
    assert scores["sequence_accuracy"] == pytest.approx(np.mean([w == c for w, c in zip(wanted, chosen, strict=True)]))
    assert scores["loss"] == pytest.approx(0.5)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_classes_are_sklearns(pairs: list[tuple[str, str]]) -> None:
    wanted, chosen = ([pair[side] for pair in pairs] for side in (0, 1))
    scores = tally_of([(wanted, chosen)], tuple("abcdef"), "classify").scores()
    assert scores["accuracy"] == pytest.approx(accuracy_score(wanted, chosen))
    assert scores["macro_f1"] == pytest.approx(f1_of_labels(wanted, chosen, average="macro", zero_division=0))


def test_bits_and_perplexity() -> None:
    tally = Tally("next")
    tally.add_loss(3 * math.log(8), 3)
    tally.add_labels(np.array([1, 2, 3]), np.array([1, 0, 3]))
    scores = tally.scores()
    assert scores["bits"] == pytest.approx(3)
    assert scores["perplexity"] == pytest.approx(8)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    tally.add_loss(1e9, 1)
    assert math.isfinite(tally.scores()["perplexity"])  # JSON has no infinity


def test_errors_of_a_forecast_are_in_the_datas_units() -> None:
    tally = Tally("forecast")
    tally.add_numbers(np.array([[0.0, 10.0], [0.0, 10.0]]), np.array([[3.0, 10.0], [4.0, 12.0]]))
    tally.add_loss(1.0, 2)
    scores = tally.scores()
    assert scores["rmse"] == pytest.approx((math.sqrt(12.5) + math.sqrt(2)) / 2)
    assert scores["mae"] == pytest.approx((3.5 + 1) / 2)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_persistence_repeats_the_last_row(values: list[float]) -> None:
    off = [b - a for a, b in pairwise(values)]
    scores = persistence([np.array(values)[:, None]])
    assert scores["rmse"] == pytest.approx(math.sqrt(sum(d * d for d in off) / len(off)), abs=1e-12)
    assert scores["mae"] == pytest.approx(sum(map(abs, off)) / len(off), abs=1e-12)


def test_persistence_does_not_reach_over_series() -> None:
    assert persistence([np.zeros((3, 1)), np.full((3, 1), 100.0)]) == {"rmse": 0.0, "mae": 0.0}


def test_worst_pairs_come_commonest_first() -> None:
    tally = tally_of([(list("aaaabbc"), list("abbcbab"))], ("a", "b", "c"))
    assert tally.worst_pairs() == [
        ("a", "b", 2, 0.5),
        ("a", "c", 1, 0.25),
        ("b", "a", 1, 0.5),
        ("c", "b", 1, 1.0),
    ]
    assert len(tally.worst_pairs(2)) == 2
    assert tally_of([(list("ab"), list("ab"))], ("a", "b")).worst_pairs() == []


def test_which_score_decides() -> None:
    assert main_score("label", ["NOUN", "B", "O"]) == "accuracy"
    assert main_score("label", ["B", "M", "E", "S"]) == "span_f1"
    assert [main_score(task) for task in ("next", "classify", "forecast")] == ["bits", "accuracy", "rmse"]
    assert not is_span_scheme(["B"])
    assert not is_span_scheme(["O", "I-PER"])


def test_better() -> None:
    nan = math.nan
    assert better({"accuracy": 0.5, "loss": 1.0}, None, "accuracy")
    assert better({"accuracy": 0.6, "loss": 9.0}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert not better({"accuracy": 0.4, "loss": 0.1}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert better({"accuracy": 0.5, "loss": 0.9}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert not better({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": 1.0}, "accuracy")
    assert better({"bits": 1.0, "loss": 0.7}, {"bits": 2.0, "loss": 1.4}, "bits")
    assert not better({"rmse": 3.0, "loss": 0.7}, {"rmse": 2.0, "loss": 1.4}, "rmse")
    assert not better({"accuracy": 1.0, "loss": nan}, None, "accuracy")
    assert not better({"bits": nan, "loss": 1.0}, None, "bits")


def test_text_of() -> None:
    assert text_of({"span_f1": 0.5, "rmse": 12345.678, "bits": 2.25}) == "span f1 50.00 %  rmse 12345.7  bits 2.2500"
