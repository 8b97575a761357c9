"""Characters a second of `ohlol train` against the same model written with torch.nn over one-hot input, side by side.

    python benchmarks/train_speed.py FILE [--steps N] [--rounds N]

Both train a next-character model of one layer with 128 hidden units, B = 32 streams, T = 64 steps, Adam, gradients
clipped at 1. Ours is the package's own trainer with a one-hot encoder; theirs is the loop that one writes by hand. They
take turns, A B A B, and the medians are compared. Before a speed is shown, both must come to the same loss from the
same weights.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot

from ohlol.checkpoint.run_config import RunConfig, sizes_from_codec
from ohlol.config import ModelSettings, TrainSettings
from ohlol.data.loading import Loader, Source
from ohlol.training.trainer import Trainer

B, T, H = 32, 64, 128


class Plain(torch.nn.Module):
    """The model as one writes it: one-hot, a torch.nn layer, a linear head."""

    def __init__(self, cell: str, symbols: int):
        super().__init__()
        self.symbols = symbols
        self.layer = getattr(torch.nn, cell.upper())(symbols, H)
        self.head = torch.nn.Linear(H, symbols)

    def forward(self, ids, state):
        """Scores (T, B, V) and the state."""
        output, state = self.layer(one_hot(ids, self.symbols).float(), state)
        return self.head(output), state


def ours(cell: str, path: Path) -> Trainer:
    """A trainer of the package on the text."""
    model = ModelSettings(cell=cell, hidden_size=H, embedding_size=0)
    settings = TrainSettings(
        batch_size=B, bptt=T, lr=2e-3, lr_schedule="constant", unk_probability=0.0, dev_fraction=0.0
    )
    data = Loader(Source.parse(path), {}).load(model, settings)
    return Trainer(RunConfig("next", data.settings, model, sizes_from_codec(data.codec), settings), data)


def measure(cell: str, path: Path, steps: int, rounds: int) -> tuple[float, float]:
    """Median characters a second: ours, theirs."""
    trainer = ours(cell, path)
    batches = trainer.batches(0)
    plain = Plain(cell, trainer.config.sizes.inputs)
    plain.layer.load_state_dict(trainer.model.layers.state_dict())
    plain.head.load_state_dict(trainer.model.head.state_dict())
    optimizer = torch.optim.Adam(plain.parameters(), lr=2e-3)
    ids = trainer.train.inputs.values
    stretch = (len(ids) - 1) // B
    text = torch.from_numpy(np.stack([ids[i * stretch : (i + 1) * stretch + 1] for i in range(B)], axis=1))
    state, at = None, 0

    def theirs() -> float:
        nonlocal state, at
        x, y = text[at : at + T], text[at + 1 : at + T + 1]
        at += T
        scores, state = plain(x, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = cross_entropy(scores.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    def mine() -> float:
        loss, _ = trainer._step(batches[trainer.progress.batch], 2e-3)
        trainer.progress.batch += 1
        trainer.progress.step += 1
        return loss

    trainer.model.train()
    a, b = [mine() for _ in range(3)], [theirs() for _ in range(3)]
    # the streams begin at other places where the text does not divide, so the losses are near and not equal
    if max(abs(x - y) for x, y in zip(a, b, strict=True)) > 0.05:
        raise SystemExit(f"{cell}: the losses differ, {a} against {b}: no speed is shown")
    times: dict[str, list[float]] = {"mine": [], "theirs": []}
    for _ in range(rounds):
        for name, step in (("mine", mine), ("theirs", theirs)):
            started = time.perf_counter()
            for _ in range(steps):
                step()
            times[name].append(steps * B * T / (time.perf_counter() - started))
    return statistics.median(times["mine"]), statistics.median(times["theirs"])


def main() -> None:
    """Print a line a cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for cell in ("lstm", "gru", "rnn"):
        mine, theirs = measure(cell, options.file, options.steps, options.rounds)
        print(f"{cell:>4}  ohlol {mine:>10,.0f} characters/s   torch.nn {theirs:>10,.0f}   {mine / theirs:.2f}x")


if __name__ == "__main__":
    main()
