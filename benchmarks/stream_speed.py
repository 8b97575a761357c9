"""The time of one streaming step, and characters a second of `generate`: ohlol, onnxruntime and torch.nn, in turns.

    python benchmarks/stream_speed.py [--cell lstm] [--layers L] [--hidden H] [--streams N] [--threads N] [--rounds N]

All three run the same weights: ours by `model.stream().step`, `model.streams(n).step` and `model.generate`;
onnxruntime by the graph of one step that `ohlol export --step` writes; torch by a loop over its cells, as one writes
it by hand. They take turns, A B C A B C, and the medians are compared. Before a time is shown the scores of all three
must be the same within the tolerance of an export, and so must the text at temperature 0. Reading a symbol's label is
part of a step.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from ohlol.cells import CELLS
from ohlol.checkpoint.run_config import RunConfig, sizes_from_codec
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.vocab import Vocab
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.onnx_export import build_graph
from ohlol.interop.onnx_verify import TOLERANCE, OnnxModel
from ohlol.models.sequence_model import SequenceModel, Steps

STEPS = 200
"""Steps of one timing."""


class TorchLoop:
    """Embedding, cells and head of torch.nn, one step at a time."""

    def __init__(self, network: SequenceModel):
        layers, cell = network.layers, CELLS[network.settings.cell].torch_cell
        self.embedding, self.head, self.cells = network.encoder.embedding, network.head, []
        for layer in range(network.settings.num_layers):
            made = cell(layers.input_size if layer == 0 else layers.hidden_size, layers.hidden_size)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            made.load_state_dict({name: getattr(layers, f"{name}_l{layer}") for name in names})
            self.cells.append(made)

    def step(self, ids: torch.Tensor, states: list) -> tuple[torch.Tensor, list]:
        """Scores (n, V) and the states after reading ids (n,)."""
        x, after = self.embedding(ids), []
        for cell, state in zip(self.cells, states, strict=True):
            state = cell(x, state)
            x = state[0] if isinstance(state, tuple) else state
            after.append(state)
        return self.head(x), after


class OnnxLoop:
    """The exported graph of one step in onnxruntime."""

    def __init__(self, model: TrainedModel):
        self.runtime = OnnxModel(model, build_graph(model, step=True))
        self.names = self.runtime.states

    def start(self, n: int) -> list[np.ndarray]:
        """States of zeros."""
        return [s.numpy() for s in self.runtime.initial_state(n)]

    def step(self, ids: np.ndarray, states: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scores (n, V) and the states after reading ids (n,)."""
        scores, *after = self.runtime.session.run(None, {"ids": ids, **dict(zip(self.names, states, strict=True))})
        return scores, after


def in_turns(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """The median seconds of each, taken in turns after one round that is not counted."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for run, kept in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            if turn:
                kept.append(time.perf_counter() - started)
    return [statistics.median(kept) for kept in times]


def made(o: argparse.Namespace) -> TrainedModel:
    """A model for the next of V characters, with weights of chance: how long a step takes does not hang on them."""
    torch.manual_seed(0)
    vocab = Vocab(tuple(chr(0x4E00 + i) for i in range(o.symbols)), (1,) * o.symbols)
    settings = ModelSettings(cell=o.cell, hidden_size=o.hidden, num_layers=o.layers, embedding_size=64)
    codec, data = Codec("next", vocab, vocab), DataSettings("next", "text", "char")
    network = SequenceModel(settings, sizes_from_codec(codec)).eval()
    network.head.weight.data.mul_(4)  # so that the text is not all one character
    return TrainedModel(RunConfig("next", data, settings, sizes_from_codec(codec), TrainSettings()), codec, network)


def check(model: TrainedModel, ours: list[int], onnx: OnnxLoop, loop: TorchLoop) -> None:
    """Stop where the three do not give the same scores."""
    wanted = model.network(Steps(torch.tensor(ours), torch.ones(len(ours)).long()))[0]
    stream = model.stream()
    a_state, b_state = onnx.start(1), [None] * len(loop.cells)
    for id, row in zip(ours, wanted, strict=True):
        a, a_state = onnx.step(np.array([id]), a_state)
        b, b_state = loop.step(torch.tensor([id]), b_state)
        symbol = model.codec.symbols.symbols[id]
        found = {"stream": stream.step(symbol).logits, "onnxruntime": torch.from_numpy(a[0]), "torch": b[0]}
        for name, scores in found.items():
            off = float((scores - row).abs().max()) / max(1.0, float(row.abs().max()))
            if not off <= TOLERANCE:
                raise SystemExit(f"{name} is off by {off:.1e}: no time is shown")


def text_of(step: Callable, state: object, first: int, count: int, temperature: float) -> Iterator[int]:
    """The loop that writes text, over a step that gives scores as numpy."""
    random, id = np.random.default_rng(0), first
    for _ in range(count):
        scores, state = step(id, state)
        if temperature == 0:
            id = int(scores.argmax())
        else:
            p = np.exp((scores - scores.max()) / temperature)
            id = int(np.searchsorted(np.cumsum(p), random.random() * p.sum(), side="right"))
        yield id


def steps_in_turns(model: TrainedModel, onnx: OnnxLoop, loop: TorchLoop, n: int, rounds: int) -> list[float]:
    """Seconds a step of n sequences by each of the three, labels included."""
    random = np.random.default_rng(1)
    ids = random.integers(0, len(model.codec.symbols), (STEPS, n))
    names = [[model.codec.symbols.symbols[i] for i in row] for row in ids]
    streams = model.streams(n)
    stream = streams[0]

    def ours() -> None:
        if n == 1:
            for row in names:
                _ = stream.step(row[0]).label
            return
        for row in names:
            for step in streams.step(dict(enumerate(row))).values():
                _ = step.label

    labels = model.codec.symbols.symbols

    def by_onnx() -> None:
        state = onnx.start(n)
        for row in ids:
            scores, state = onnx.step(row, state)
            _ = [labels[i] for i in scores.argmax(axis=1)]

    tensors = torch.from_numpy(ids)

    def by_torch() -> None:
        state = [None] * len(loop.cells)
        for row in tensors:
            scores, state = loop.step(row, state)
            _ = [labels[i] for i in scores.argmax(dim=1).tolist()]

    return [seconds / STEPS for seconds in in_turns(rounds, ours, by_onnx, by_torch)]


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="lstm", choices=list(CELLS))
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--symbols", type=int, default=65)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    model = made(o)
    onnx, loop = OnnxLoop(model), TorchLoop(model.network)
    symbols, first = model.codec.symbols.symbols, 1

    def by_onnx(temperature: float) -> list[int]:
        def step(id: int, state: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
            scores, state = onnx.step(np.array([id]), state)
            return scores[0], state

        return list(text_of(step, onnx.start(1), first, o.count, temperature))

    def by_torch(temperature: float) -> list[int]:
        def step(id: int, state: list) -> tuple[np.ndarray, list]:
            scores, state = loop.step(torch.tensor([id]), state)
            return scores[0].numpy(), state

        return list(text_of(step, [None] * o.layers, first, o.count, temperature))

    def ours(temperature: float) -> list[int]:
        made = model.generate(symbols[first], length=o.count, temperature=temperature, seed=0)
        return [symbols.index(symbol) for symbol in made]

    check(model, [first, *ours(0.8)[:50]], onnx, loop)
    if not ours(0)[:50] == by_onnx(0)[:50] == by_torch(0)[:50]:
        raise SystemExit("the texts differ at temperature 0: no speed is shown")
    sizes = f"{o.cell} {o.layers} x {o.hidden}, {o.symbols} symbols, {o.threads} threads"
    print(f"{sizes}, load {os.getloadavg()[0]:.1f}; same scores, same text")
    print(f"{'':<34}{'ohlol':>12}{'onnxruntime':>14}{'torch.nn':>12}")
    for n in (1, o.streams):
        times = steps_in_turns(model, onnx, loop, n, o.rounds)
        name = "one step, us" if n == 1 else f"one step of {n} sequences, us"
        print(
            f"{name:<34}"
            + "".join(f"{1e6 * t:>{w},.1f}" for t, w in zip(times, (12, 14, 12), strict=True))
            + ratios(times)
        )
    times = in_turns(o.rounds, lambda: ours(0.8), lambda: by_onnx(0.8), lambda: by_torch(0.8))
    print(
        f"{'generate, characters/s':<34}"
        + "".join(f"{o.count / t:>{w},.0f}" for t, w in zip(times, (12, 14, 12), strict=True))
        + ratios(times)
    )


def ratios(times: list[float]) -> str:
    """How many times faster ours is than the others."""
    return "   " + ", ".join(f"{t / times[0]:.1f}x" for t in times[1:])


if __name__ == "__main__":
    main()
