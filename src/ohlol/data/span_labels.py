"""The form of labels that mark spans, apart from `spans`, so that reading a file needs no numpy."""

import re
from collections.abc import Iterable

SPAN_LABEL = re.compile(r"O|[BIESLUM]-\S+")
"""A label of a word that marks spans, with the type of the span."""


def are_span_labels(labels: Iterable[str]) -> bool:
    """Whether labels are O, or a prefix with the type of the span, and some begin a span.

    >>> are_span_labels(["B-PER", "O"]), are_span_labels(["B", "O"]), are_span_labels(["I-PER", "O"])
    (True, False, False)
    """
    distinct = set(labels)
    return any(label.startswith("B-") for label in distinct) and all(map(SPAN_LABEL.fullmatch, distinct))
