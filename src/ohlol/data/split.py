"""What is set apart from the training data for measuring; knows nothing of ids or of training."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ohlol.data.sequences import Corpus

FEW = 20
"""Sequences under which none is set apart for measuring, as the score would rest on one or two."""


def set_apart(corpus: Corpus, share: float, seed: int, *, unknowns: bool) -> tuple[Corpus, Corpus | None]:
    """The training data, and what is measured after each epoch; None where too little is there to set apart.

    Args:
        corpus: all that there is.
        share: of it to set apart, in [0, 0.5].
        seed: of the choice.
        unknowns: whether there will be an <unk> for symbols that stand in what is set apart alone.
    """
    if not share:
        return corpus, None
    if corpus.task in ("next", "forecast"):
        return in_time(corpus, share)
    n = len(corpus.inputs)
    if n < FEW:
        return corpus, None
    order = np.random.default_rng((seed, n)).permutation(n).tolist()
    cut = max(1, round(n * share))
    known = _to_learn(corpus, order[cut:], unknowns)
    apart = {row for row in order[:cut] if _to_learn(corpus, [row], unknowns) <= known}
    if not apart:
        return corpus, None
    return _take(corpus, (row for row in range(n) if row not in apart)), _take(corpus, sorted(apart))


def _to_learn(corpus: Corpus, rows: Iterable[int], unknowns: bool) -> set[tuple[str, str]]:
    """The labels of some sequences, and where there is no <unk> their symbols: what must be seen in training."""
    found: set[tuple[str, str]] = set()
    targets: Any = corpus.targets
    for row in rows:
        found.update(("label", label) for label in ([targets[row]] if corpus.task == "classify" else targets[row]))
        if not unknowns:
            found.update(("symbol", str(symbol)) for symbol in corpus.inputs[row])
    return found


def _take(corpus: Corpus, rows: Iterable[int]) -> Corpus:
    rows = list(rows)
    targets: Any = corpus.targets
    return replace(
        corpus,
        inputs=[corpus.inputs[i] for i in rows],
        targets=[targets[i] for i in rows] if targets is not None else None,
        places=[corpus.places[i] for i in rows],
    )


def in_time(corpus: Corpus, share: float) -> tuple[Corpus, Corpus | None]:
    """The end of each text or series is measured: what comes later must not help to learn what came before."""
    early, late = (
        replace(corpus, inputs=[], targets=None, places=[]),
        replace(corpus, inputs=[], targets=None, places=[]),
    )
    targets: Any = corpus.targets
    parts: tuple[list[Any], list[Any]] = ([], [])
    for index, sequence in enumerate(corpus.inputs):
        cut = len(sequence) - round(len(sequence) * share)
        for half, keep, side in ((early, slice(None, cut), 0), (late, slice(cut, None), 1)):
            if len(sequence[keep]) < 2:
                continue
            half.inputs.append(sequence[keep])  # pyright: ignore[reportArgumentType]
            half.places.append(corpus.places[index])
            if targets is not None:
                parts[side].append(targets[index][keep])
    if targets is not None:
        early, late = replace(early, targets=parts[0]), replace(late, targets=parts[1])
    if not late.inputs or not early.inputs:
        return corpus, None
    return early, late
