"""Labels of files in IOB1 and IOB2 become those of BIOES, and predictions become those of the files again."""

import numpy as np
import pytest

from ohlol.data.file_labels import FileLabels
from ohlol.data.spans import IOB1, IOB2
from ohlol.data.vocab import Vocab

SEQUENCES = [["B-PER", "I-PER", "O"], ["O", "B-LOC"], ["B-PER"]]
LABELS = Vocab.from_counts({"O": 2, "B-PER": 2, "I-PER": 1, "B-LOC": 1, "I-LOC": 0}, unk=False)
OFFSETS = np.array([0, 3, 5, 6])
TARGETS = LABELS.encode([label for labels in SEQUENCES for label in labels]).astype(np.int64)


def test_labels_of_bioes_are_counted() -> None:
    trained, file_labels = FileLabels.fit(LABELS, TARGETS, OFFSETS)
    assert file_labels == FileLabels(LABELS, IOB2)
    counts = dict(zip(trained.symbols, trained.counts, strict=True))
    assert counts == {
        "O": 2, "B-PER": 1, "E-PER": 1, "I-PER": 0, "S-PER": 1, "B-LOC": 0, "I-LOC": 0, "E-LOC": 0, "S-LOC": 1,
    }  # fmt: skip


def test_ids_are_converted_and_unseen_labels_stay_unseen() -> None:
    trained, file_labels = FileLabels.fit(LABELS, TARGETS, OFFSETS)
    converted = file_labels.convert(TARGETS, OFFSETS, trained)
    assert [trained.symbols[i] for i in converted] == ["B-PER", "E-PER", "O", "O", "S-LOC", "S-PER"]
    unseen = TARGETS.copy()
    unseen[1] = len(LABELS)  # the span before it is one step then
    converted = file_labels.convert(unseen, OFFSETS, trained)
    assert trained.symbols[converted[0]] == "S-PER"
    assert converted[1] == len(trained)


def test_labels_are_written_in_the_scheme_of_the_file() -> None:
    assert FileLabels(LABELS, IOB2).from_trained(["S-PER", "S-PER", "O"]) == ["B-PER", "B-PER", "O"]
    assert FileLabels(LABELS, IOB1).from_trained(["S-PER", "S-PER", "O"]) == ["I-PER", "B-PER", "O"]
    assert FileLabels(LABELS, IOB2).to_trained(["B-PER", "I-PER"]) == ["B-PER", "E-PER"]
    assert FileLabels(LABELS, IOB2).to_trained(["B-ORG", "X"]) == ["B-ORG", "X"]


def test_probabilities_of_one_label_of_the_file_are_added() -> None:
    best = [("S-PER", 0.4), ("O", 0.35), ("B-PER", 0.2), ("E-PER", 0.05)]
    added = FileLabels(LABELS, IOB2).add_probabilities(best, "B-PER")
    assert [label for label, _ in added] == ["B-PER", "O", "I-PER"]
    assert [p for _, p in added] == pytest.approx([0.6, 0.35, 0.05])
