"""How good a model is, by task: accuracy, span F1, bits, macro F1, errors of a forecast; knows no model and no file.

A `Tally` takes batches one by one and keeps counts only, so memory does not grow with the data.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = dict[str, float]

BETTER_LOW = ("bits", "rmse", "loss")
"""Main scores of which less is better."""


def main_score(task: str, labels: Sequence[str] = ()) -> str:
    """The score that decides which weights are best.

    >>> main_score("label", ["B-PER", "I-PER", "O"]), main_score("next")
    ('span_f1', 'bits')
    """
    if task == "label":
        return "span_f1" if is_span_scheme(labels) else "accuracy"
    return {"next": "bits", "classify": "accuracy", "forecast": "rmse"}[task]


def is_span_scheme(labels: Sequence[str]) -> bool:
    """Whether labels mark spans: O, or one of B I M E S L U before a hyphen or alone, and B is among them."""
    prefixes = [label.split("-", 1)[0] for label in labels]
    return "B" in prefixes and len(labels) > 1 and all(p in {"O", "B", "I", "M", "E", "S", "L", "U"} for p in prefixes)


def spans(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans of a labelled sequence: (type, first step, last step).

    The definition is seqeval's default, which is that of the CoNLL evaluation script: a span begins at B, S or U, at a
    change of type, and at I, E or L after O, E, S, L or U; bad sequences still give spans. M (word segmentation) is I.

    Source: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 shared task" (2003), script conlleval.

    >>> spans(["B-PER", "I-PER", "O", "S-LOC"])
    [('PER', 0, 1), ('LOC', 3, 3)]
    """
    found: list[tuple[str, int, int]] = []
    start, before, kind_before = 0, "O", ""
    for step, label in enumerate([*labels, "O"]):
        prefix, _, kind = label.partition("-")
        prefix = _PREFIX.get(prefix, prefix)
        inside = before != "O"
        ends = inside and (before in "ES" or prefix in "BSO" or kind != kind_before)
        if ends:
            found.append((kind_before, start, step - 1))
        if prefix != "O" and (prefix in "BS" or ends or not inside):
            start = step
        before, kind_before = prefix, kind
    return found


SPAN_COUNTS = ("wanted", "chosen", "right")
_PREFIX = {"M": "I", "L": "E", "U": "S"}


@dataclass
class Tally:
    """Counts from which the scores of a task follow."""

    task: str
    labels: tuple[str, ...] = ()
    loss: float = 0.0
    steps: int = 0
    sequences: int = 0
    right_sequences: int = 0
    span_counts: Counter[str] = field(default_factory=Counter[str])
    confusion: NDArray[np.int64] | None = None
    absolute: NDArray[np.float64] | None = None
    squared: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        self.with_spans = self.task == "label" and is_span_scheme(self.labels)
        if self.task in ("label", "classify"):
            self.confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        self.right_steps = 0

    def add_loss(self, loss: float, steps: int) -> None:
        """Sum of the losses of some steps, in nats."""
        self.loss += loss
        self.steps += steps

    def add_labels(self, wanted: NDArray[np.integer], chosen: NDArray[np.integer]) -> None:
        """One sequence: the labels that were wanted and those that were chosen, as ids."""
        right = wanted == chosen
        self.right_steps += int(right.sum())
        self.sequences += 1
        self.right_sequences += bool(right.all())
        if self.confusion is not None:
            np.add.at(self.confusion, (wanted, chosen), 1)
        if self.with_spans:
            want = set(spans([self.labels[i] for i in wanted]))
            have = set(spans([self.labels[i] for i in chosen]))
            self.span_counts.update(wanted=len(want), chosen=len(have), right=len(want & have))

    def add_numbers(self, wanted: NDArray[np.float64], forecast: NDArray[np.float64]) -> None:
        """Rows (T, F) in their own units."""
        off = forecast - wanted
        absolute, squared = np.abs(off).sum(axis=0), (off**2).sum(axis=0)
        self.absolute = absolute if self.absolute is None else self.absolute + absolute
        self.squared = squared if self.squared is None else self.squared + squared
        self.sequences += 1

    def put_together(self, total: Callable[[NDArray[Any]], NDArray[Any]], columns: int) -> None:
        """Take the counts of several tallies together: `total` sums an array over all of them.

        For `forecast` there are `columns` of numbers, also where this tally saw no row.
        """
        spans = [self.span_counts[name] for name in SPAN_COUNTS]
        counts = [self.steps, self.sequences, self.right_sequences, self.right_steps, *spans]
        self.steps, self.sequences, self.right_sequences, self.right_steps, *spans = total(np.array(counts)).tolist()
        self.span_counts = Counter(dict(zip(SPAN_COUNTS, spans, strict=True)))
        self.loss = float(total(np.array([self.loss]))[0])
        if self.confusion is not None:
            self.confusion = total(self.confusion)
        if self.task == "forecast":
            self.absolute, self.squared = (
                total(np.zeros(columns) if values is None else values) for values in (self.absolute, self.squared)
            )

    def scores(self) -> Scores:
        """The scores of what was added, in plain numbers: rates in 0..1, bits in bits, errors in the data's units."""
        mean = self.loss / max(self.steps, 1)
        if self.task == "forecast":
            assert self.absolute is not None
            assert self.squared is not None
            return {
                "rmse": float(np.sqrt(self.squared / self.steps).mean()),
                "mae": float((self.absolute / self.steps).mean()),
                "loss": mean,
            }
        if self.task == "next":
            rate = self.right_steps / max(self.steps, 1)
            return {"bits": mean / math.log(2), "perplexity": _exp(mean), "accuracy": rate, "loss": mean}
        accuracy = self.right_steps / max(self.steps, 1)
        if self.task == "classify":
            return {"accuracy": accuracy, "macro_f1": self.macro_f1(), "loss": mean}
        scores = {
            "accuracy": accuracy,
            "sequence_accuracy": self.right_sequences / max(self.sequences, 1),
            "loss": mean,
        }
        if self.with_spans:
            n = self.span_counts
            precision, recall = _ratio(n["right"], n["chosen"]), _ratio(n["right"], n["wanted"])
            f1 = _ratio(2 * n["right"], n["chosen"] + n["wanted"])
            scores = {"span_f1": f1, "span_precision": precision, "span_recall": recall, **scores}
        return scores

    def macro_f1(self) -> float:
        """The mean of the F1 of each label that was wanted or chosen at least once."""
        assert self.confusion is not None
        right = self.confusion.diagonal()
        total = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        seen = total > 0
        return float((2 * right[seen] / total[seen]).mean()) if seen.any() else 0.0

    def worst_pairs(self, most: int = 10) -> list[tuple[str, str, int, float]]:
        """The commonest mistakes: (wanted, chosen, how often, share of the wanted label's steps)."""
        assert self.confusion is not None
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs: list[tuple[str, str, int, float]] = []
        for flat in order.tolist():
            i, j = divmod(flat, len(self.labels))
            if wrong[i, j]:
                share = float(wrong[i, j] / self.confusion[i].sum())
                pairs.append((self.labels[i], self.labels[j], int(wrong[i, j]), share))
        return pairs


def better(scores: Scores, best: Scores | None, name: str) -> bool:
    """Whether scores beat the best so far by the main score `name`, or equal it with less loss; NaN never does."""
    score = scores[name]
    if math.isnan(score) or math.isnan(scores["loss"]):
        return False
    if best is None or score == best[name]:
        return best is None or scores["loss"] < best["loss"]
    return score < best[name] if name in BETTER_LOW else score > best[name]


def text_of(scores: Scores) -> str:
    """Scores on one line, rates in per cent.

    >>> text_of({"accuracy": 0.93456, "loss": 0.25})
    'accuracy 93.46 %  loss 0.2500'
    """
    return "  ".join(_text(name, value) for name, value in scores.items())


RATES = ("accuracy", "sequence_accuracy", "span_f1", "span_precision", "span_recall", "macro_f1")


def _text(name: str, value: float) -> str:
    shown = f"{100 * value:.2f} %" if name in RATES else number(value)
    return f"{name.replace('_', ' ')} {shown}"


def number(value: float) -> str:
    """A loss or an error with as many decimals as its size leaves room for."""
    return f"{value:.4f}" if abs(value) < 1e3 else f"{value:.1f}" if abs(value) < 1e6 else f"{value:.4g}"


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))  # beyond it JSON has no number


def persistence(series: Iterable[NDArray[np.float64]]) -> Scores:
    """The errors of the simplest forecast, that the next row equals this one, in the data's units."""
    off = np.concatenate([np.diff(rows, axis=0) for rows in series])
    return {"rmse": float(np.sqrt((off**2).mean(axis=0)).mean()), "mae": float(np.abs(off).mean(axis=0).mean())}
