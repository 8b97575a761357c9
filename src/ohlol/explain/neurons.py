"""What single units of a trained model track in a text; knows nothing of how it is shown.

A unit tracks a feature where its state and the feature go up and down together. The unit is chosen on the first half
of the text, and how well it agrees is told from the second, so that the best of many is no accident.

Shapes: T steps, U units: every state of every layer and direction, H each.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol import cells
from ohlol.explain.trace import DIRECTIONS, steps_of
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import unrolled
from ohlol.utils.errors import InputError

LONGEST = 20_000
"""Symbols of a text that are looked at, its first ones."""
SHORTEST = 20
SEEN = 5
"""How often a feature must be there, and not be there, in each half."""
AROUND = 24
"""Symbols shown on either side of a passage."""
OPENING, CLOSING = "([{“‘（【「《", ")]}”’）】」》"

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Unit:
    """Which number of the network it is."""

    layer: int
    direction: str
    state: str
    """"h", or "c" of the LSTM."""
    index: int


@dataclass(frozen=True)
class Passage:
    """A place in the text and how active the unit is there."""

    position: int
    value: float
    before: str
    symbol: str
    after: str


SURE = 0.5
"""The |r| from which a unit is said to track a feature."""


@dataclass(frozen=True)
class Finding:
    """A unit that tracks a feature."""

    unit: Unit
    feature: str
    r: float
    """Correlation on the second half of the text, where it was not looked for."""
    r_found: float
    """Correlation on the first half, where it is the largest of all units'."""
    passages: tuple[Passage, ...]
    """Where the unit is most active, on the side that goes with the feature."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Match:
    """Another place where the units that are on over a range are on too."""

    position: int
    share: float
    """Of those units, how many are on over the whole place, 0..1."""
    text: str


@dataclass(frozen=True, eq=False)
class States:
    """Every unit's state at every step of a text."""

    symbols: tuple[str, ...]
    units: tuple[Unit, ...]
    values: Rows
    """(T, U)."""


@torch.no_grad()
def states(model: TrainedModel, text: str | Sequence[str]) -> States:
    """Read a text and keep every unit's state.

    Raises:
        InputError: the text does not fit the model, or is too short to see anything.
    """
    symbols, steps = steps_of(model, text)
    if len(symbols) < SHORTEST:
        raise InputError(
            f"the text has {len(symbols)} symbols; --units needs {SHORTEST}, and shows more over thousands"
        )
    symbols = symbols[:LONGEST]
    model = model.on_cpu
    network, was_training = model.network, model.network.training
    network.eval()
    _, levels = unrolled(network, network.encoder(steps)[:LONGEST])
    network.train(was_training)
    names, units, rows = cells.CELLS[network.settings.cell].states, list[Unit](), list[Rows]()
    for level in levels:
        for k, name in enumerate(names):
            rows.append(torch.cat([state[k] for state in level.after]).numpy())  # T times (1, H) -> (T, H)
            direction = DIRECTIONS[level.direction]
            units += [Unit(level.layer, direction, name, j) for j in range(rows[-1].shape[1])]
    return States(tuple(symbols), tuple(units), np.concatenate(rows, axis=1))


def features(symbols: Sequence[str]) -> dict[str, Rows]:
    """What may be tracked, each (T,); a feature of step t knows the symbols up to t only.

    >>> {name: row.tolist() for name, row in features("a (b").items() if name in ("after a space", "inside brackets")}
    {'inside brackets': [0.0, 0.0, 1.0, 1.0], 'after a space': [0.0, 0.0, 1.0, 0.0]}
    """
    column = word = depth = 0
    quoted = False
    rows: dict[str, list[float]] = {
        name: [] for name in ("position in the line", "position in the word", "inside quotes", "inside brackets")
    }
    for s in symbols:
        column, word = (0, 0) if s == "\n" else (column + 1, 0 if s.isspace() else word + 1)
        quoted ^= s == '"'
        depth = max(0, depth + (s != "" and s in OPENING) - (s != "" and s in CLOSING))
        for name, value in zip(rows, (column, word, quoted, depth > 0), strict=True):
            rows[name].append(float(value))
    before = ["", *symbols[:-1]]
    rows |= {
        "after a space": [float(s == " ") for s in before],
        "after a line end": [float(s == "\n") for s in before],
        "a space": [float(s == " ") for s in symbols],
        "a line end": [float(s == "\n") for s in symbols],
        "upper case": [float(s[:1].isupper()) for s in symbols],
        "a digit": [float(s[:1].isdigit()) for s in symbols],
        "a vowel": [float(s.lower() in tuple("aeiou")) for s in symbols],
        "punctuation": [float(s != "" and not s.isspace() and not any(c.isalnum() for c in s)) for s in symbols],
    }
    return {name: np.array(row, np.float32) for name, row in rows.items()}


def find(read: States, *, passages: int = 3) -> tuple[Finding, ...]:
    """For each feature the unit that tracks it best, the surest first.

    Args:
        read: what `states` gives.
        passages: how many places where the unit is most active.
    """
    half = len(read.symbols) // 2
    found: list[Finding] = []
    for name, row in features(read.symbols).items():
        if any(min(np.count_nonzero(part), np.count_nonzero(part == 0)) < SEEN for part in (row[:half], row[half:])):
            continue
        first = _correlation(read.values[:half], row[:half])
        k = int(np.abs(first).argmax())
        second = float(_correlation(read.values[half:, k : k + 1], row[half:])[0])
        found.append(
            Finding(read.units[k], name, second, float(first[k]), most_active(read, k, passages, sign=first[k]))
        )
    return tuple(sorted(found, key=lambda f: -abs(f.r)))


def most_active(read: States, k: int, count: int, *, sign: float = 0.0) -> tuple[Passage, ...]:
    """The places, apart from each other, where unit k is farthest from 0; with a sign, only on that side."""
    made: list[Passage] = []
    activity = read.values[:, k] * np.sign(sign) if sign else np.abs(read.values[:, k])
    for t in np.argsort(-activity, kind="stable").tolist():
        if len(made) == count:
            break
        if all(abs(t - p.position) > AROUND for p in made):
            before, after = read.symbols[max(0, t - AROUND) : t], read.symbols[t + 1 : t + 1 + AROUND]
            made.append(Passage(t, float(read.values[t, k]), _text(before), read.symbols[t], _text(after)))
    return tuple(made)


def match(read: States, start: int, stop: int, *, threshold: float = 0.3, count: int = 5) -> tuple[Match, ...]:
    """Other places where the units are on that are on over steps start to stop - 1 and not beside them, likest first.

    Source: Strobelt et al., "LSTMVis: a tool for visual analysis of hidden state dynamics" (2018).

    Args:
        read: what `states` gives.
        start, stop: the range.
        threshold: a unit is on where its `h` is above it.
        count: how many places.

    Raises:
        InputError: no such range, or no unit is on over all of it.
    """
    T, size = len(read.symbols), stop - start
    if not 0 <= start < stop <= T:
        raise InputError(f"--match is {start}:{stop}; it must be a range within 0:{T}")
    on = read.values[:, [u.state == "h" for u in read.units]] > threshold
    beside = [on[t] for t in (start - 1, stop) if 0 <= t < T]
    chosen = on[start:stop].all(axis=0) & ~np.logical_and.reduce(beside or [~on[start]])
    if not chosen.any():
        raise InputError(
            f"--match {start}:{stop}: no unit is above --threshold {threshold} over all of it and not beside it"
        )
    sums = np.concatenate([np.zeros((1, int(chosen.sum())), np.int64), on[:, chosen].cumsum(axis=0)])
    share = (sums[size:] - sums[:-size] == size).mean(axis=1)  # (T - size + 1,)
    made: list[Match] = []
    for t in np.argsort(-share, kind="stable").tolist():
        if len(made) == count or share[t] == 0:
            break
        if abs(t - start) >= size and all(abs(t - m.position) >= size for m in made):
            made.append(Match(t, float(share[t]), _text(read.symbols[t : t + size])))
    return tuple(made)


def _correlation(values: Rows, row: Rows) -> NDArray[np.float64]:
    """Pearson's r of each column of (T, U) with (T,); 0 where a unit never moves."""
    v, f = values.astype(np.float64), row.astype(np.float64)
    v, f = v - v.mean(axis=0), f - f.mean()
    scale = np.sqrt((v * v).sum(axis=0) * (f * f).sum())
    return np.divide(f @ v, scale, out=np.zeros(v.shape[1]), where=scale > 1e-12)


def _text(symbols: Sequence[str]) -> str:
    return ("" if all(len(s) == 1 for s in symbols) else " ").join(symbols)
