"""The validation data: the part of the data that is set apart for evaluation."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ohlol.data.raw_data import RawData

MIN_SEQUENCES_TO_SPLIT = 20
"""With fewer sequences none is set apart, since metrics on one or two of them mean little."""

CONTEXT_ROWS = 1
"""Training rows with which the validation part of a series begins: the row that predicts its first row."""


def split_dev(data: RawData, fraction: float, seed: int, *, unknowns: bool) -> tuple[RawData, RawData | None]:
    """Split data into training and validation data; the latter are None where there is too little to set apart.

    A sequence that was drawn for the validation data goes back to the training data if it has a label that these lack
    or, without `unknowns`, a symbol that they lack. The validation data may therefore be less than `fraction`.

    Args:
        data: all data.
        fraction: of the data that is set apart, in [0, 0.5].
        seed: of the random choice.
        unknowns: whether the vocabulary has an <unk> for symbols that only the validation data hold.
    """
    if not fraction:
        return data, None
    if data.kind.shifted:
        return split_in_time(data, fraction)
    n = len(data.inputs)
    if n < MIN_SEQUENCES_TO_SPLIT:
        return data, None
    order = np.random.default_rng((seed, n)).permutation(n).tolist()
    cut = max(1, round(n * fraction))
    known = _vocabulary(data, order[cut:], unknowns)
    dev = {row for row in order[:cut] if _vocabulary(data, [row], unknowns) <= known}
    if not dev:
        return data, None
    return _take(data, (row for row in range(n) if row not in dev)), _take(data, sorted(dev))


def _vocabulary(data: RawData, rows: Iterable[int], unknowns: bool) -> set[tuple[str, str]]:
    """What training must hold for some sequences to be evaluated: their labels and, without <unk>, their symbols."""
    vocabulary: set[tuple[str, str]] = set()
    targets: Any = data.targets
    for row in rows:
        labels = () if data.kind.quantity else data.kind.labels_of(targets[row])
        vocabulary.update(("label", label) for label in labels)
        if not unknowns and not data.kind.rows:
            vocabulary.update(("symbol", str(symbol)) for symbol in data.inputs[row])
    return vocabulary


def _take(data: RawData, rows: Iterable[int]) -> RawData:
    rows = list(rows)
    targets: Any = data.targets
    return replace(
        data,
        inputs=[data.inputs[i] for i in rows],
        targets=[targets[i] for i in rows] if targets is not None else None,
        places=[data.places[i] for i in rows],
        names=tuple(data.names[i] for i in rows if data.names),
        statics=[data.statics[i] for i in rows if data.statics],
    )


def split_in_time(data: RawData, fraction: float) -> tuple[RawData, RawData | None]:
    """Set apart the end of each text or series, so that no training data come after the validation data.

    The validation part of a series begins with its last training row, which predicts the first row that is set apart. A
    series of which no row would be set apart, or fewer than two rows left, is all training data.
    """
    early, late = (
        replace(data, inputs=[], targets=None, places=[]),
        replace(data, inputs=[], targets=None, places=[]),
    )
    targets: Any = data.targets
    parts: tuple[list[Any], list[Any]] = ([], [])
    for index, sequence in enumerate(data.inputs):
        cut = first = cut_in_time(len(sequence), fraction)
        if data.kind.numeric:
            cut, first = (cut, cut - CONTEXT_ROWS) if 2 <= cut < len(sequence) else (len(sequence), len(sequence))
        for half, steps, side in ((early, slice(None, cut), 0), (late, slice(first, None), 1)):
            if len(sequence[steps]) < 2:
                continue
            half.inputs.append(sequence[steps])  # pyright: ignore[reportArgumentType]
            half.places.append(data.places[index])
            if targets is not None:
                parts[side].append(targets[index][steps])
    if targets is not None:
        early, late = replace(early, targets=parts[0]), replace(late, targets=parts[1])
    if not late.inputs or not early.inputs:
        return data, None
    return early, late


def cut_in_time(length: int, fraction: float) -> int:
    """The number of steps of a text or series that are not set apart."""
    return length - round(length * fraction)
