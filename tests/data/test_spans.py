"""Spans compared with seqeval, and computed by hand."""

import pytest
from helpers import BIOES_LABELS as LABELS
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from ohlol.data.spans import is_span_scheme, spans_of


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=12))
@settings(max_examples=500)
def test_spans_equal_seqeval(labels: list[str]) -> None:
    assert spans_of(labels) == [tuple(entity) for entity in get_entities(labels)]


@pytest.mark.parametrize(
    ("labels", "spans"),
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
def test_spans_equal_those_found_by_hand(labels: str, spans: list[tuple[str, int, int]]) -> None:
    assert spans_of(labels.split()) == spans


def test_span_schemes_are_recognized() -> None:
    assert is_span_scheme(["B", "M", "E", "S"])
    assert is_span_scheme(["B-PER", "I-PER", "O"])
    assert not is_span_scheme(["B"])
    assert not is_span_scheme(["O", "I-PER"])
    assert not is_span_scheme(["NOUN", "B", "O"])
