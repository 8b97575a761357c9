"""Characters a second of `generate`, and the time of one streaming step, against torch.nn, side by side.

    python benchmarks/generate_speed.py [--layers L] [--hidden H] [--symbols V] [--count N] [--rounds N]

Both write from the same weights: ours through `SequenceModel.writer`, theirs in the loop that one writes by hand
(embedding, torch.nn.LSTM, linear, softmax, torch.multinomial). They take turns, A B A B, and the medians are compared.
Before a speed is shown, both must write the same text at temperature 0, and a step must give the state that
torch.nn.LSTMCell gives.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from ohlol.config import ModelSettings
from ohlol.models.sequence_model import SequenceModel, Sizes
from ohlol.ops import LayerSpec, SequenceStepper


def theirs(model: SequenceModel, count: int, temperature: float) -> list[int]:
    """The plain loop."""
    embedding, head = model.encoder.embedding, model.head
    layer = torch.nn.LSTM(model.layers.input_size, model.layers.hidden_size, model.layers.num_layers)
    layer.load_state_dict(model.layers.state_dict())
    ids, state, symbol = [], None, torch.zeros(1, dtype=torch.long)
    for _ in range(count):
        output, state = layer(embedding(symbol)[None], state)
        scores = head(output[0, 0])
        if temperature == 0:
            symbol = scores.argmax()[None]
        else:
            symbol = torch.multinomial(torch.softmax(scores / temperature, dim=0), 1)
        ids.append(int(symbol))
    return ids


def in_turns(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """The median seconds of each, taken in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(rounds):
        for run, kept in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            kept.append(time.perf_counter() - started)
    return [statistics.median(kept) for kept in times]


def step_times(hidden: int, rounds: int) -> list[float]:
    """Seconds of 1,000 streaming steps of an LSTM and of 1,000 calls of torch.nn.LSTMCell with the same weights."""
    cell = torch.nn.LSTMCell(hidden, hidden)
    stream = SequenceStepper([p.detach() for p in cell.parameters()], LayerSpec("lstm"))
    x = torch.randn(hidden)
    h = stream.step(x)
    wanted, _ = cell(x)
    torch.testing.assert_close(h, wanted, rtol=0, atol=1e-6)

    def ours() -> None:
        for _ in range(1000):
            stream.step(x)

    def torchs() -> None:
        state = None
        for _ in range(1000):
            state = cell(x, state)

    return in_turns(rounds, ours, torchs)


@torch.no_grad()
def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--symbols", type=int, default=65)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    o = parser.parse_args()
    torch.manual_seed(0)
    settings = ModelSettings(cell="lstm", hidden_size=o.hidden, num_layers=o.layers, embedding_size=64)
    model = SequenceModel(settings, Sizes(o.symbols, o.symbols)).eval()
    writer = model.writer()
    assert writer is not None, "the compiled kernels are not installed"
    if writer.generate(0, 50, 0.0) != theirs(model, 50, 0.0):
        raise SystemExit("the texts differ at temperature 0: no speed is shown")
    a, b = in_turns(o.rounds, lambda: writer.generate(0, o.count, 0.8), lambda: theirs(model, o.count, 0.8))
    name = f"generate, LSTM {o.layers} x {o.hidden}"
    print(f"{name}: ohlol {o.count / a:,.0f} characters/s, torch {o.count / b:,.0f}, {b / a:.1f}x")
    a, b = step_times(o.hidden, o.rounds)
    print(f"one step, LSTM {o.hidden}: ohlol {1e3 * a:.1f} us, torch.nn.LSTMCell {1e3 * b:.1f} us, {b / a:.1f}x")


if __name__ == "__main__":
    main()
