"""The time of one streaming step, and characters a second of `generate`: ohlol, onnxruntime and torch.nn, in turns.

    python benchmarks/stream_speed.py [--cell lstm] [--layers L] [--hidden H] [--streams N] [--threads N] [--quick]

All three run the same weights: ohlol with `model.stream().step`, `model.streams(n).step` and `model.generate`;
onnxruntime with the graph of one step that `ohlol export --step` writes; torch.nn with the usual loop over its cells.
They take turns, and the medians are compared. No time is shown unless the logits of all three are equal within the
tolerance of an export, and the texts at temperature 0 are equal. Reading a symbol's label is part of a step.
"""

import argparse
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from timing import parse_arguments, time_in_turns

from ohlol.cells import CELLS
from ohlol.checkpoint.run_config import RunConfig, sizes_from_codec
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.vocab import Vocab
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.onnx_export import build_graph
from ohlol.interop.onnx_verify import TOLERANCE, OnnxModel
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel

CHECKED = 50
"""Characters whose equality is checked."""


class TorchLoop:
    """Embedding, cells and head of torch.nn, one step at a time."""

    def __init__(self, network: SequenceModel):
        layers, cell = network.layers, CELLS[network.settings.cell].torch_cell
        self.embedding, self.head, self.cells = network.encoder.embedding, network.head, []
        for layer in range(network.settings.num_layers):
            module = cell(layers.input_size if layer == 0 else layers.hidden_size, layers.hidden_size)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            module.load_state_dict({name: getattr(layers, f"{name}_l{layer}") for name in names})
            self.cells.append(module)

    def step(self, ids: torch.Tensor, states: list) -> tuple[torch.Tensor, list]:
        """Logits (n, V) and the states after reading ids (n,)."""
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
        """Logits (n, V) and the states after reading ids (n,)."""
        logits, *after = self.runtime.session.run(None, {"ids": ids, **dict(zip(self.names, states, strict=True))})
        return logits, after


def build_model(options: argparse.Namespace) -> TrainedModel:
    """A model for the next of V characters with random weights, on which the time of a step does not depend."""
    torch.manual_seed(0)
    vocab = Vocab(tuple(chr(0x4E00 + i) for i in range(options.symbols)), (1,) * options.symbols)
    settings = ModelSettings(
        cell=options.cell, hidden_size=options.hidden, num_layers=options.layers, embedding_size=64
    )
    codec, data = Codec("next", vocab, vocab), DataSettings("next", "text", "char")
    network = SequenceModel(settings, sizes_from_codec(codec)).eval()
    network.head.weight.data.mul_(4)  # so that the text is not all one character
    return TrainedModel(RunConfig("next", data, settings, sizes_from_codec(codec), TrainSettings()), codec, network)


def check_logits(model: TrainedModel, text: list[int], onnx: OnnxLoop, loop: TorchLoop) -> None:
    """Exit where one of the three does not give the logits of the model for a text."""
    expected = model.network(PackedInputs(torch.tensor(text), torch.ones(len(text)).long()))[0]
    stream = model.stream()
    onnx_state, torch_state = onnx.start(1), [None] * len(loop.cells)
    for id, row in zip(text, expected, strict=True):
        onnx_logits, onnx_state = onnx.step(np.array([id]), onnx_state)
        torch_logits, torch_state = loop.step(torch.tensor([id]), torch_state)
        symbol = model.codec.symbols.symbols[id]
        by_name = {
            "stream": stream.step(symbol).logits,
            "onnxruntime": torch.from_numpy(onnx_logits[0]),
            "torch": torch_logits[0],
        }
        for name, logits in by_name.items():
            error = float((logits - row).abs().max()) / max(1.0, float(row.abs().max()))
            if not error <= TOLERANCE:
                raise SystemExit(f"{name} is off by {error:.1e}: no time is shown")


def generate(step: Callable, state: object, first: int, count: int, temperature: float) -> Iterator[int]:
    """Generate text with a function that gives the logits of the next symbol as an array."""
    random, id = np.random.default_rng(0), first
    for _ in range(count):
        logits, state = step(id, state)
        if temperature == 0:
            id = int(logits.argmax())
        else:
            p = np.exp((logits - logits.max()) / temperature)
            id = int(np.searchsorted(np.cumsum(p), random.random() * p.sum(), side="right"))
        yield id


def time_steps(
    model: TrainedModel, onnx: OnnxLoop, loop: TorchLoop, n: int, options: argparse.Namespace
) -> list[float]:
    """Seconds of a step of n sequences with each of the three, labels included."""
    random = np.random.default_rng(1)
    ids = random.integers(0, len(model.codec.symbols), (options.steps, n))
    labels = model.codec.symbols.symbols
    names = [[labels[i] for i in row] for row in ids]
    streams = model.streams(n)
    stream = streams[0]

    def step_ohlol() -> None:
        if n == 1:
            for row in names:
                _ = stream.step(row[0]).label
            return
        for row in names:
            for step in streams.step(dict(enumerate(row))).values():
                _ = step.label

    def step_onnx() -> None:
        state = onnx.start(n)
        for row in ids:
            logits, state = onnx.step(row, state)
            _ = [labels[i] for i in logits.argmax(axis=1)]

    tensors = torch.from_numpy(ids)

    def step_torch() -> None:
        state = [None] * len(loop.cells)
        for row in tensors:
            logits, state = loop.step(row, state)
            _ = [labels[i] for i in logits.argmax(dim=1).tolist()]

    return [seconds / options.steps for seconds in time_in_turns(options.rounds, step_ohlol, step_onnx, step_torch)]


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", default="lstm", choices=list(CELLS))
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--symbols", type=int, default=65)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    options = parse_arguments(parser, hidden=16, streams=4, threads=1, count=60, steps=20, rounds=1)
    torch.set_num_threads(options.threads)
    model = build_model(options)
    onnx, loop = OnnxLoop(model), TorchLoop(model.network)
    symbols, first, count = model.codec.symbols.symbols, 1, options.count

    def generate_onnx(temperature: float) -> list[int]:
        def step(id: int, state: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
            logits, state = onnx.step(np.array([id]), state)
            return logits[0], state

        return list(generate(step, onnx.start(1), first, count, temperature))

    def generate_torch(temperature: float) -> list[int]:
        def step(id: int, state: list) -> tuple[np.ndarray, list]:
            logits, state = loop.step(torch.tensor([id]), state)
            return logits[0].numpy(), state

        return list(generate(step, [None] * options.layers, first, count, temperature))

    def generate_ohlol(temperature: float) -> list[int]:
        text = model.generate(symbols[first], length=count, temperature=temperature, seed=0)
        return [symbols.index(symbol) for symbol in text]

    check_logits(model, [first, *generate_ohlol(0.8)[:CHECKED]], onnx, loop)
    texts = [generate_text(0)[:CHECKED] for generate_text in (generate_ohlol, generate_onnx, generate_torch)]
    if not texts[0] == texts[1] == texts[2]:
        raise SystemExit("the texts differ at temperature 0: no speed is shown")
    sizes = f"{options.cell} {options.layers} x {options.hidden}, {options.symbols} symbols, {options.threads} threads"
    print(f"{sizes}, load {os.getloadavg()[0]:.1f}; same logits, same text")
    print(f"{'':<34}{'ohlol':>12}{'onnxruntime':>14}{'torch.nn':>12}")
    for n in (1, options.streams):
        times = time_steps(model, onnx, loop, n, options)
        name = "one step, us" if n == 1 else f"one step of {n} sequences, us"
        print_row(name, [f"{1e6 * t:,.1f}" for t in times], times)
    times = time_in_turns(
        options.rounds, lambda: generate_ohlol(0.8), lambda: generate_onnx(0.8), lambda: generate_torch(0.8)
    )
    print_row("generate, characters/s", [f"{count / t:,.0f}" for t in times], times)


def print_row(name: str, cells: list[str], times: list[float]) -> None:
    """Print a row of the table, and how many times faster ohlol is than the others."""
    ratios = ", ".join(f"{t / times[0]:.1f}x" for t in times[1:])
    columns = "".join(f"{cell:>{width}}" for cell, width in zip(cells, (12, 14, 12), strict=True))
    print(f"{name:<34}{columns}   {ratios}")


if __name__ == "__main__":
    main()
