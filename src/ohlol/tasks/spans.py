"""Spans that labels mark: BIO, BIOES, BMES and their relatives."""

from collections.abc import Sequence

PREFIXES = {"O", "B", "I", "M", "E", "S", "L", "U"}
_SYNONYMS = {"M": "I", "L": "E", "U": "S"}


def is_span_scheme(labels: Sequence[str]) -> bool:
    """Whether labels mark spans: O, or one of B I M E S L U before a hyphen or alone, and B is among them."""
    prefixes = [label.split("-", 1)[0] for label in labels]
    return "B" in prefixes and len(labels) > 1 and all(prefix in PREFIXES for prefix in prefixes)


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
        prefix, _, span_type = label.partition("-")
        prefix = _SYNONYMS.get(prefix, prefix)
        inside = previous != "O"
        ends = inside and (previous in "ES" or prefix in "BSO" or span_type != previous_type)
        if ends:
            spans.append((previous_type, start, step - 1))
        if prefix != "O" and (prefix in "BS" or ends or not inside):
            start = step
        previous, previous_type = prefix, span_type
    return spans
