"""Spans that labels mark: IOB1, IOB2, BIOES, BMES and their relatives.

A label is a prefix, or a prefix, a hyphen and the type of the span: B begins a span, I or M is inside of it, E or L
ends it, S or U is a span of one step, and O is outside of all. IOB1 and IOB2 have B, I and O only: IOB2 begins every
span with B, and IOB1 only one that follows another of the same type.

Shapes: K labels.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PREFIXES = {"O", "B", "I", "M", "E", "S", "L", "U"}
_SYNONYMS = {"M": "I", "L": "E", "U": "S"}
UNSEEN = "S-<unseen>"
"""A label that training did not see, as a span of its own."""


def is_span_scheme(labels: Sequence[str]) -> bool:
    """Whether labels mark spans: O, or one of B I M E S L U before a hyphen or alone, and B is among them."""
    prefixes = [label.partition("-")[0] for label in labels]
    return "B" in prefixes and len(labels) > 1 and all(prefix in PREFIXES for prefix in prefixes)


def split_label(label: str) -> tuple[str, str]:
    """The prefix of a label, one of O B I E S where it marks spans, and the type of its span.

    >>> split_label("L-PER"), split_label("O")
    (('E', 'PER'), ('O', ''))
    """
    prefix, _, span_type = label.partition("-")
    return _SYNONYMS.get(prefix, prefix), span_type


def spans_of(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans of a labelled sequence: (type, first step, last step).

    The definition is seqeval's default, which is that of the CoNLL evaluation script: a span begins at B, S or U, at a
    change of type, and at I, E or L after O, E, S, L or U; invalid sequences still give spans. M (word segmentation) is
    read as I.

    Source: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 shared task" (2003), script conlleval.

    >>> spans_of(["B-PER", "I-PER", "O", "S-LOC"])
    [('PER', 0, 1), ('LOC', 3, 3)]
    """
    spans: list[tuple[str, int, int]] = []
    start, previous, previous_type = 0, "O", ""
    for step, label in enumerate([*labels, "O"]):
        prefix, span_type = split_label(label)
        inside = previous != "O"
        ends = inside and (previous in "ES" or prefix in "BSO" or span_type != previous_type)
        if ends:
            spans.append((previous_type, start, step - 1))
        if prefix != "O" and (prefix in "BS" or ends or not inside):
            start = step
        previous, previous_type = prefix, span_type
    return spans


def is_iob(labels: Sequence[str]) -> bool:
    """Whether labels mark spans by B, I and O only."""
    return is_span_scheme(labels) and all(split_label(label)[0] in "BIO" for label in labels)


IOB1, IOB2 = "IOB1", "IOB2"


def infer_iob(sequences: Iterable[Sequence[str]]) -> str:
    """The scheme of sequences of labels with B, I and O: IOB1 where most spans begin with I, otherwise IOB2."""
    begins = {"B": 0, "I": 0}
    for labels in sequences:
        for _, first, _ in spans_of(labels):
            begins[split_label(labels[first])[0]] += 1
    return IOB1 if begins["I"] > begins["B"] else IOB2


def to_bioes(labels: Sequence[str]) -> list[str]:
    """The labels of the same spans in BIOES.

    >>> to_bioes(["B-PER", "I-PER", "O", "I-LOC"])
    ['B-PER', 'E-PER', 'O', 'S-LOC']
    """
    return _write_spans(spans_of(labels), len(labels), "BIES")


def from_bioes(labels: Sequence[str], scheme: str) -> list[str]:
    """The labels of the same spans in IOB1 or IOB2.

    >>> from_bioes(["S-PER", "S-PER", "B-LOC", "E-LOC"], "IOB1")
    ['I-PER', 'B-PER', 'I-LOC', 'I-LOC']
    """
    spans = spans_of(labels)
    converted = _write_spans(spans, len(labels), "BIIB")
    if scheme == IOB1:
        follows = {(span_type, last + 1) for span_type, _, last in spans}
        for span_type, first, _ in spans:
            if (span_type, first) not in follows:
                converted[first] = _join("I", span_type)
    return converted


def to_iob_label(label: str, scheme: str, predicted: str) -> str:
    """A label of BIOES in IOB1 or IOB2, without its sequence.

    In IOB1 a label that begins a span is B or I, depending on the step before; `predicted` is the label that was
    predicted for the step, and shows which.

    >>> to_iob_label("S-PER", "IOB2", "O"), to_iob_label("S-PER", "IOB1", "O"), to_iob_label("S-PER", "IOB1", "B-PER")
    ('B-PER', 'I-PER', 'B-PER')
    """
    prefix, span_type = split_label(label)
    if prefix == "O":
        return label
    begins = prefix in "BS" and (scheme == IOB2 or split_label(predicted) == ("B", span_type))
    return _join("B" if begins else "I", span_type)


def bioes_labels(labels: Iterable[str]) -> list[str]:
    """All labels of BIOES with the types of some labels, and O.

    >>> bioes_labels(["B-PER", "O"])
    ['O', 'B-PER', 'I-PER', 'E-PER', 'S-PER']
    """
    types = dict.fromkeys(split_label(label)[1] for label in labels if split_label(label)[0] != "O")
    return ["O", *(_join(prefix, span_type) for span_type in types for prefix in "BIES")]


def _write_spans(spans: Iterable[tuple[str, int, int]], steps: int, prefixes: str) -> list[str]:
    """Labels of spans, given the prefixes of the first, an inner, the last and a single step."""
    first_prefix, inner, last_prefix, single = prefixes
    labels = ["O"] * steps
    for span_type, first, last in spans:
        labels[first : last + 1] = [_join(inner, span_type)] * (last + 1 - first)
        labels[last] = _join(last_prefix, span_type)
        labels[first] = _join(single if first == last else first_prefix, span_type)
    return labels


def _join(prefix: str, span_type: str) -> str:
    return f"{prefix}-{span_type}" if span_type else prefix


class Neighbours(NamedTuple):
    """Which labels can follow each other."""

    transitions: NDArray[np.bool_]
    """Whether the label of a row can precede that of a column, (K, K)."""
    start: NDArray[np.bool_]
    """Whether a label can be the first, (K,)."""
    end: NDArray[np.bool_]
    """Whether it can be the last, (K,)."""


def possible_neighbours(labels: Sequence[str]) -> Neighbours:
    """Which labels can follow each other in the scheme of their names; all where they do not mark spans.

    I and E continue a span of their type, so they follow B or I. In a scheme that ends spans, B and I have to be
    continued. A type that lacks the labels for that is free: its I begins a span where it has no B, its I ends one
    where it has no E, and its B is a span where it has no S.
    """
    K = len(labels)
    if not is_span_scheme(labels):
        return Neighbours(np.ones((K, K), bool), np.ones(K, bool), np.ones(K, bool))
    names = [split_label(label) for label in labels]
    known = set(names)

    def continues(prefix: str, span_type: str) -> bool:
        """Whether a label has to follow one of the same span."""
        return prefix in "IE" and ("B", span_type) in known

    def is_open(prefix: str, span_type: str) -> bool:
        """Whether a label has to precede one of the same span."""
        ends = ("E", span_type) in known
        return ends and (prefix == "I" or (prefix == "B" and ("S", span_type) in known))

    transitions = np.zeros((K, K), bool)
    for i, (before, type_before) in enumerate(names):
        for j, (after, type_after) in enumerate(names):
            joins = before in "BI" and after in "IE" and type_before == type_after
            transitions[i, j] = joins or not (is_open(before, type_before) or continues(after, type_after))
    start = np.array([not continues(*name) for name in names])
    end = np.array([not is_open(*name) for name in names])
    return Neighbours(transitions, start, end)
