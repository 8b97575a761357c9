"""Which features of a text single neurons of a trained model track.

A neuron tracks a feature where its state correlates with the feature. The neuron with the highest correlation is
selected on the first half of the text, and its correlation is measured on the second half, so that the best of many
neurons is not a result of chance.

Shapes: T time steps, W width of a state, U neurons: every state of every layer and direction, W each.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.explain.trace import DIRECTIONS, encode_sequence
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import unroll_model
from ohlol.utils.errors import InputError

MAX_SYMBOLS = 20_000
"""The first symbols of a longer text are used."""
MIN_SYMBOLS = 20
MIN_COUNT = 5
"""How often a feature must be present, and absent, in each half."""
CONTEXT = 24
"""Symbols shown on either side of a passage."""
TRACKING_R = 0.5
"""The |r| from which a neuron counts as tracking a feature."""
OPENING, CLOSING = "([{“‘（【「《", ")]}”’）】」》"

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Neuron:
    """The place of one neuron in the network."""

    layer: int
    direction: str
    state: str
    """"h", or another state such as "c" of the LSTM."""
    index: int


@dataclass(frozen=True)
class Passage:
    """A place in the text and the state of a neuron there."""

    position: int
    value: float
    before: str
    symbol: str
    after: str


@dataclass(frozen=True)
class Finding:
    """The neuron that tracks a feature best."""

    neuron: Neuron
    feature: str
    r: float
    """Correlation on the second half of the text."""
    r_selection: float
    """Correlation on the first half, where it is the largest of all neurons."""
    passages: tuple[Passage, ...]
    """Where the neuron is most active, on the side that goes with the feature."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Match:
    """Another place where the neurons that are on over a range are on too."""

    position: int
    share: float
    """The share of those neurons that are on over the whole place, 0 to 1."""
    text: str


@dataclass(frozen=True, eq=False)
class NeuronStates:
    """The state of every neuron at every time step of a text."""

    symbols: tuple[str, ...]
    neurons: tuple[Neuron, ...]
    values: Rows
    """(T, U)."""


@torch.no_grad()
def record_states(model: TrainedModel, text: str | Sequence[str]) -> NeuronStates:
    """Run a model over a text and keep the state of every neuron.

    Raises:
        InputError: the text does not fit the model, or is shorter than `MIN_SYMBOLS`.
    """
    if model.targets.reads_numbers:
        raise InputError("neurons are compared with features of a text, and this model reads series of numbers")
    symbols, packed = encode_sequence(model, text)
    if len(symbols) < MIN_SYMBOLS:
        raise InputError(
            "the text has {count} symbols; at least {min_symbols} are needed to find what neurons track, and "
            "thousands give better results",
            count=len(symbols),
            min_symbols=MIN_SYMBOLS,
        )
    symbols = symbols[:MAX_SYMBOLS]
    model = model.on_cpu
    network, was_training = model.network, model.network.training
    network.eval()
    _, unrolled_layers = unroll_model(network, network.encoder(packed)[:MAX_SYMBOLS])
    network.train(was_training)
    names, neurons, rows = network.state_names, list[Neuron](), list[Rows]()
    for unrolled in unrolled_layers:
        for k, name in enumerate(names):
            rows.append(torch.cat([state[k] for state in unrolled.after]).numpy())  # T times (1, W) -> (T, W)
            direction = DIRECTIONS[unrolled.direction]
            neurons += [Neuron(unrolled.layer, direction, name, j) for j in range(rows[-1].shape[1])]
    return NeuronStates(tuple(symbols), tuple(neurons), np.concatenate(rows, axis=1))


def features(symbols: Sequence[str]) -> dict[str, Rows]:
    """Return the features that are tested, each (T,); at time step t a feature depends on the symbols up to t only.

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


def find_neurons(states: NeuronStates, *, passages: int = 3) -> tuple[Finding, ...]:
    """Find the neuron that tracks each feature best; the highest correlation first.

    Args:
        states: what `record_states` returns.
        passages: how many passages to show where the neuron is most active.
    """
    half = len(states.symbols) // 2
    findings: list[Finding] = []
    for name, row in features(states.symbols).items():
        counts = [min(np.count_nonzero(part), np.count_nonzero(part == 0)) for part in (row[:half], row[half:])]
        if min(counts) < MIN_COUNT:
            continue
        first = _correlation(states.values[:half], row[:half])
        k = int(np.abs(first).argmax())
        second = float(_correlation(states.values[half:, k : k + 1], row[half:])[0])
        most_active = find_passages(states, k, passages, sign=first[k])
        findings.append(Finding(states.neurons[k], name, second, float(first[k]), most_active))
    return tuple(sorted(findings, key=lambda finding: -abs(finding.r)))


def find_passages(states: NeuronStates, k: int, count: int, *, sign: float = 0.0) -> tuple[Passage, ...]:
    """Find the places, not overlapping, where neuron k is farthest from 0; with a sign, only on that side."""
    passages: list[Passage] = []
    activity = states.values[:, k] * np.sign(sign) if sign else np.abs(states.values[:, k])
    for t in np.argsort(-activity, kind="stable").tolist():
        if len(passages) == count:
            break
        if all(abs(t - passage.position) > CONTEXT for passage in passages):
            before, after = states.symbols[max(0, t - CONTEXT) : t], states.symbols[t + 1 : t + 1 + CONTEXT]
            passages.append(Passage(t, float(states.values[t, k]), _text(before), states.symbols[t], _text(after)))
    return tuple(passages)


def match_range(
    states: NeuronStates, start: int, stop: int, *, threshold: float = 0.3, count: int = 5
) -> tuple[Match, ...]:
    """Find other places where the neurons that are on over a range are on too, the best match first.

    The neurons are those that are on at every step from start to stop - 1 and off at both steps beside the range.

    Source: Strobelt et al., "LSTMVis: a tool for visual analysis of hidden state dynamics" (2018).

    Args:
        states: what `record_states` returns.
        start, stop: the range.
        threshold: a neuron is on where its `h` is above it.
        count: how many places to return.

    Raises:
        InputError: the range is not within the text, or no neuron is on over all of it.
    """
    T, size = len(states.symbols), stop - start
    if not 0 <= start < stop <= T:
        raise InputError("`match` is {start}:{stop}; it must be a range within 0:{T}", start=start, stop=stop, T=T)
    on = states.values[:, [neuron.state == "h" for neuron in states.neurons]] > threshold
    beside = [on[t] for t in (start - 1, stop) if 0 <= t < T]
    selected = on[start:stop].all(axis=0) & ~np.logical_and.reduce(beside or [~on[start]])
    if not selected.any():
        raise InputError(
            "`match` is {start}:{stop}: no neuron is above `threshold` {threshold} over all of it and not beside it",
            start=start,
            stop=stop,
            threshold=threshold,
        )
    sums = np.concatenate([np.zeros((1, int(selected.sum())), np.int64), on[:, selected].cumsum(axis=0)])
    share = (sums[size:] - sums[:-size] == size).mean(axis=1)  # (T - size + 1,)
    matches: list[Match] = []
    for t in np.argsort(-share, kind="stable").tolist():
        if len(matches) == count or share[t] == 0:
            break
        if abs(t - start) >= size and all(abs(t - match.position) >= size for match in matches):
            matches.append(Match(t, float(share[t]), _text(states.symbols[t : t + size])))
    return tuple(matches)


def _correlation(values: Rows, row: Rows) -> NDArray[np.float64]:
    """Return Pearson's r of each column of (T, U) with (T,); 0 where a neuron is constant."""
    v, f = values.astype(np.float64), row.astype(np.float64)
    v, f = v - v.mean(axis=0), f - f.mean()
    scale = np.sqrt((v * v).sum(axis=0) * (f * f).sum())
    return np.divide(f @ v, scale, out=np.zeros(v.shape[1]), where=scale > 1e-12)


def _text(symbols: Sequence[str]) -> str:
    return ("" if all(len(s) == 1 for s in symbols) else " ").join(symbols)
