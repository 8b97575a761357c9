"""The form of labels that mark spans."""

import pytest

from ohlol.data.span_labels import SPAN_LABEL, are_span_labels


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["B-PER", "I-PER", "O"], True),
        (["B-PER", "L-PER", "U-LOC", "O"], True),
        (["B", "I", "O"], False),
        (["I-PER", "O"], False),
        (["B-PER", "NOUN"], False),
        (["B_PER", "O"], False),
        ([], False),
    ],
)
def test_labels_of_spans_have_a_type_and_a_beginning(labels: list[str], expected: bool) -> None:
    assert are_span_labels(labels) == expected


def test_a_label_is_matched_whole() -> None:
    assert SPAN_LABEL.fullmatch("S-new york") is None
    assert SPAN_LABEL.fullmatch("S-new-york") is not None
