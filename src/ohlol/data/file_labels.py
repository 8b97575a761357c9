"""The labels of files in IOB1 or IOB2, where a model is trained on those of the same spans in BIOES.

Shapes: N steps of all sequences, n sequences.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from ohlol.data.mapped import Values, in_memory
from ohlol.data.spans import UNSEEN, bioes_labels, from_bioes, infer_iob, to_bioes, to_iob_label
from ohlol.data.vocab import Vocab


@dataclass(frozen=True)
class FileLabels:
    """The labels of the files, and their scheme."""

    labels: Vocab
    scheme: str
    """IOB1 or IOB2."""

    @staticmethod
    def fit(labels: Vocab, targets: Values, offsets: Values) -> tuple[Vocab, "FileLabels"]:
        """The labels of BIOES, with how frequent each is, and those of the files.

        Args:
            labels: those of the files.
            targets: the ids of the labels in the training data, (N,).
            offsets: sequence i has the steps from `offsets[i]` to `offsets[i + 1]`, (n + 1,).
        """
        sequences = list(_decode(labels, targets, offsets))
        counts = dict.fromkeys(bioes_labels(labels.symbols), 0)
        counts |= Counter(chain.from_iterable(map(to_bioes, sequences)))
        return Vocab.from_counts(counts, unk=False), FileLabels(labels, infer_iob(sequences))

    def convert(self, targets: Values, offsets: Values, trained: Vocab) -> NDArray[np.int64]:
        """The ids of the labels of the model for those of the files, (N,); arguments are those of `fit`.

        A label that training did not see has the number of labels as its id.
        """
        ids = {label: i for i, label in enumerate(trained.symbols)}
        converted = map(to_bioes, _decode(self.labels, targets, offsets))
        return np.fromiter((ids.get(label, len(ids)) for label in chain.from_iterable(converted)), np.int64)

    def to_trained(self, labels: Sequence[str]) -> Sequence[str]:
        """Labels of the files as those of the model; others as they are."""
        return to_bioes(labels) if all(label in self.labels for label in labels) else labels

    def from_trained(self, labels: Sequence[str]) -> list[str]:
        """Labels of the model as those of the files."""
        return from_bioes(labels, self.scheme)

    def add_probabilities(self, best: Iterable[tuple[str, float]], label: str) -> list[tuple[str, float]]:
        """The probabilities of labels of the model as those of labels of the files, best first.

        Several labels of the model may stand for one of the files, and their probabilities are added.

        Args:
            best: the labels of a step and their probabilities.
            label: the label of the files that was predicted for the step.
        """
        total: dict[str, float] = {}
        for name, probability in best:
            converted = to_iob_label(name, self.scheme, label)
            total[converted] = total.get(converted, 0.0) + probability
        return sorted(total.items(), key=lambda pair: -pair[1])


def _decode(labels: Vocab, targets: Values, offsets: Values) -> Iterator[list[str]]:
    """The labels of each sequence, and a span of its own for one that training did not see."""
    names = np.array([*labels.symbols, UNSEEN], dtype=object)
    ids = in_memory(targets)
    for first, last in pairwise(in_memory(offsets).tolist()):
        yield names[ids[first:last]].tolist()
