"""Characters a second of `generate`, and the time of one streaming step, for ohlol and torch.nn.

    python benchmarks/generate_speed.py [--layers L] [--hidden H] [--symbols V] [--count N] [--rounds N] [--quick]

Both generate text from the same weights: ohlol with `SequenceModel.make_sequence_stepper`, torch.nn with the usual
loop (embedding, torch.nn.LSTM, linear, softmax, torch.multinomial). They run in turns, and the medians are compared.
No speed is shown unless both generate the same text at temperature 0, and a step gives the state that
torch.nn.LSTMCell gives.
"""

import argparse

import torch
from timing import parse_arguments, time_in_turns

from ohlol.config import ModelSettings
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.ops import LayerSpec, SequenceStepper

CHECKED = 50
"""Characters whose equality is checked."""


def generate_with_torch(model: SequenceModel, count: int, temperature: float) -> list[int]:
    """Generate text with the layers of torch.nn."""
    embedding, head = model.encoder.embedding, model.head
    layer = torch.nn.LSTM(model.layers.input_size, model.layers.hidden_size, model.layers.num_layers)
    layer.load_state_dict(model.layers.state_dict())
    ids, state, symbol = [], None, torch.zeros(1, dtype=torch.long)
    for _ in range(count):
        output, state = layer(embedding(symbol)[None], state)
        logits = head(output[0, 0])
        if temperature == 0:
            symbol = logits.argmax()[None]
        else:
            symbol = torch.multinomial(torch.softmax(logits / temperature, dim=0), 1)
        ids.append(int(symbol))
    return ids


def time_steps(hidden: int, steps: int, rounds: int) -> list[float]:
    """Seconds of a streaming step of an LSTM and of a call of torch.nn.LSTMCell with the same weights."""
    cell = torch.nn.LSTMCell(hidden, hidden)
    stream = SequenceStepper([p.detach() for p in cell.parameters()], LayerSpec("lstm"))
    x = torch.randn(hidden)
    torch.testing.assert_close(stream.step(x), cell(x)[0], rtol=0, atol=1e-6)

    def step_ohlol() -> None:
        for _ in range(steps):
            stream.step(x)

    def step_torch() -> None:
        state = None
        for _ in range(steps):
            state = cell(x, state)

    return [seconds / steps for seconds in time_in_turns(rounds, step_ohlol, step_torch)]


@torch.no_grad()
def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--symbols", type=int, default=65)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parse_arguments(parser, hidden=16, count=60, steps=50, rounds=1)
    torch.manual_seed(0)
    settings = ModelSettings(cell="lstm", hidden_size=options.hidden, num_layers=options.layers, embedding_size=64)
    model = SequenceModel(settings, Sizes(options.symbols, options.symbols)).eval()
    stepper = model.make_sequence_stepper()
    if stepper is None:
        raise SystemExit("the compiled kernels are not installed")
    if stepper.generate(0, CHECKED, 0.0) != generate_with_torch(model, CHECKED, 0.0):
        raise SystemExit("the texts differ at temperature 0: no speed is shown")
    ohlol, pytorch = time_in_turns(
        options.rounds,
        lambda: stepper.generate(0, options.count, 0.8),
        lambda: generate_with_torch(model, options.count, 0.8),
    )
    count = options.count
    name = f"generate, LSTM {options.layers} x {options.hidden}"
    print(
        f"{name}: ohlol {count / ohlol:,.0f} characters/s, torch {count / pytorch:,.0f} characters/s, "
        f"{pytorch / ohlol:.1f}x"
    )
    ohlol, pytorch = time_steps(options.hidden, options.steps, options.rounds)
    print(
        f"one step, LSTM {options.hidden}: ohlol {1e6 * ohlol:.1f} us, torch.nn.LSTMCell {1e6 * pytorch:.1f} us, "
        f"{pytorch / ohlol:.1f}x"
    )


if __name__ == "__main__":
    main()
