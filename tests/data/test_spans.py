"""Spans compared with seqeval, and computed by hand."""

import itertools
from collections.abc import Sequence

import pytest
from helpers import BIOES_LABELS as LABELS
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from ohlol.data.spans import (
    IOB1,
    IOB2,
    bioes_labels,
    from_bioes,
    infer_iob,
    is_iob,
    is_span_scheme,
    possible_neighbours,
    spans_of,
    to_bioes,
    to_iob_label,
)


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


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=12))
def test_conversions_keep_the_spans(labels: list[str]) -> None:
    spans = spans_of(labels)
    for converted in (bioes := to_bioes(labels), from_bioes(bioes, IOB1), from_bioes(bioes, IOB2)):
        assert spans_of(converted) == spans
    for scheme in (IOB1, IOB2):
        written = from_bioes(bioes, scheme)
        assert set(written) <= {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}
        assert to_bioes(written) == bioes
        assert from_bioes(to_bioes(written), scheme) == written


def test_valid_labels_of_bioes_are_themselves() -> None:
    labels = ["B-PER", "I-PER", "E-PER", "S-PER", "O", "B-LOC", "E-LOC", "S-LOC", "S-LOC"]
    assert to_bioes(labels) == labels
    assert from_bioes(labels, IOB2) == ["B-PER", "I-PER", "I-PER", "B-PER", "O", "B-LOC", "I-LOC", "B-LOC", "B-LOC"]
    assert from_bioes(labels, IOB1) == ["I-PER", "I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-LOC", "B-LOC", "B-LOC"]
    assert to_bioes(["B", "I", "I", "B", "O"]) == ["B", "I", "E", "S", "O"]


def test_the_scheme_is_inferred_from_where_spans_begin() -> None:
    sequences = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER", "B-PER"]]
    assert infer_iob(sequences) == IOB2
    assert infer_iob(from_bioes(to_bioes(labels), IOB1) for labels in sequences) == IOB1
    assert infer_iob([*sequences, ["O", "I-PER"]]) == IOB2  # one mistake
    assert is_iob(["O", "B-PER", "I-PER"])
    assert not is_iob(["O", "B-PER", "I-PER", "S-PER"])
    assert not is_iob(["O", "I-PER"])


def test_all_labels_of_bioes() -> None:
    assert set(bioes_labels(["B-PER", "I-PER", "O", "B-LOC"])) == set(LABELS)
    assert bioes_labels(["B", "I", "O"]) == ["O", "B", "I", "E", "S"]


def test_probabilities_of_single_labels() -> None:
    names = ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    assert [to_iob_label(name, IOB2, "O") for name in names] == ["O", "B-PER", "I-PER", "I-PER", "B-PER"]
    assert [to_iob_label(name, IOB1, "O") for name in names] == ["O", "I-PER", "I-PER", "I-PER", "I-PER"]
    assert [to_iob_label(name, IOB1, "B-PER") for name in names] == ["O", "B-PER", "I-PER", "I-PER", "B-PER"]
    assert to_iob_label("S-LOC", IOB1, "B-PER") == "I-LOC"


def valid(labels: Sequence[str], scheme: Sequence[str]) -> bool:
    transitions, start, end = possible_neighbours(scheme)
    ids = [scheme.index(label) for label in labels]
    pairs = all(transitions[i, j] for i, j in itertools.pairwise(ids))
    return bool(pairs and start[ids[0]] and end[ids[-1]])


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=6))
def test_a_sequence_is_possible_if_it_is_that_of_its_spans(labels: list[str]) -> None:
    assert valid(labels, LABELS) == (to_bioes(labels) == labels)
    iob = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    as_iob = [name.replace("E-", "I-").replace("S-", "B-") for name in labels]
    assert valid(as_iob, iob) == (from_bioes(to_bioes(as_iob), IOB2) == as_iob)


@pytest.mark.parametrize(
    ("scheme", "possible", "impossible"),
    [
        ("B M E S", "S|B E|B M M E S", "B|B S|M E|E|S E|B M"),
        ("B E", "B|B E|B B E", "E|B E E"),
        ("O B-X L-X U-X", "U-X|B-X L-X", "B-X|L-X|B-X O|B-X U-X"),
        ("O B-X I-Y", "I-Y|O I-Y I-Y|B-X I-Y", ""),  # without B-Y a span of Y begins with I
        ("O B-X I-X S-X", "B-X|B-X I-X|S-X B-X O", "I-X|S-X I-X"),
        ("NOUN VERB B", "B|VERB B NOUN", ""),
    ],
)
def test_possible_neighbours(scheme: str, possible: str, impossible: str) -> None:
    names = scheme.split()
    for labels in possible.split("|"):
        assert valid(labels.split(), names), labels
    for labels in filter(None, impossible.split("|")):
        assert not valid(labels.split(), names), labels


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=9, unique=True), st.integers(1, 5))
def test_some_sequence_of_every_length_is_possible(scheme: list[str], length: int) -> None:
    transitions, start, end = possible_neighbours(scheme)
    reached = start.copy()
    for _ in range(length - 1):
        reached = transitions[reached].any(axis=0)
    assert (reached & end).any()
