"""Characters a second of `ohlol.fit`, and of the same model written with torch.nn over one-hot input.

    python benchmarks/train_speed.py FILE [--steps N] [--rounds N] [--quick]

Both train a next-character model of one layer with 128 hidden units, B = 32 streams, T = 64 steps, Adam, gradients
clipped at 1. ohlol trains with `fit` and a one-hot encoder; torch.nn trains in the usual loop, which the callback of
`fit` runs. They take turns, and the medians are compared, also of the processor time, which other processes change
less. No speed is shown unless both have the same losses from the same weights.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from timing import parse_arguments
from torch.nn.functional import cross_entropy, one_hot

import ohlol
from ohlol.training.callbacks import Callback, Training

B, T, H = 32, 64, 128
LR = 2e-3
CHECKED = 3
"""Steps whose losses are compared."""
TOLERANCE = 0.05
"""Largest difference of two losses: where B does not divide the text, the streams of the two begin at other places."""


class Finished(Exception):  # noqa: N818 - it ends `fit` once everything is measured
    """All rounds are measured."""


class Times(NamedTuple):
    """Seconds on the clock, and of the processor in all threads."""

    wall: float
    processor: float

    @staticmethod
    def now() -> "Times":
        """The times at present."""
        return Times(time.perf_counter(), time.process_time())

    def passed(self) -> "Times":
        """The times since these."""
        return Times(*(now - before for now, before in zip(Times.now(), self, strict=True)))

    @staticmethod
    def medians(times: Sequence["Times"]) -> "Times":
        """The median of each."""
        return Times(*map(statistics.median, zip(*times, strict=True)))


class TorchModel(torch.nn.Module):
    """One-hot input, a layer of torch.nn, and a linear head."""

    def __init__(self, cell: str, symbols: int):
        super().__init__()
        self.symbols = symbols
        self.layer = getattr(torch.nn, cell.upper())(symbols, H)
        self.head = torch.nn.Linear(H, symbols)

    def forward(self, ids, state):
        """Logits (T, B, V) and the state after T steps."""
        output, state = self.layer(one_hot(ids, self.symbols).float(), state)
        return self.head(output), state


class TorchTraining:
    """The usual training loop, a step at a time, from the weights of a trainer."""

    def __init__(self, cell: str, trainer: Training):
        self.model = TorchModel(cell, trainer.config.sizes.inputs)
        self.model.layer.load_state_dict(trainer.model.layers.state_dict())
        self.model.head.load_state_dict(trainer.model.head.state_dict())
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR)
        ids = trainer.train.inputs.values
        length = (len(ids) - 1) // B
        self.text = torch.from_numpy(np.stack([ids[i * length : (i + 1) * length + 1] for i in range(B)], axis=1))
        self.state, self.position = None, 0

    def step(self) -> float:
        """Train on the next T characters of each stream; the loss."""
        if self.position + T >= len(self.text):
            self.state, self.position = None, 0
        x, y = self.text[self.position : self.position + T], self.text[self.position + 1 : self.position + T + 1]
        self.position += T
        logits, state = self.model(x, self.state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        return take_step(self.model, self.optimizer, loss)


def take_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    """Clip the gradients of a loss and take a step of torch's optimizer; the loss."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


class TurnTaking(Callback):
    """After some steps of `fit`, takes as many steps with torch.nn, and measures both."""

    def __init__(self, cell: str, steps: int, rounds: int):
        self.cell, self.steps, self.rounds = cell, steps, rounds
        self.ohlol: list[Times] = []
        self.pytorch: list[Times] = []
        self.losses: list[tuple[float, float]] = []
        self.taken, self.times = 0, Times(0.0, 0.0)

    def on_train_begin(self, trainer: Training) -> None:
        """Copy the weights."""
        self.training = TorchTraining(self.cell, trainer)
        self.started = Times.now()

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Compare the losses of the first steps; then measure."""
        passed = self.started.passed()
        if len(self.losses) < CHECKED:
            self.losses.append((loss, self.training.step()))
            if abs(self.losses[-1][0] - self.losses[-1][1]) > TOLERANCE:
                raise SystemExit(f"{self.cell}: the losses differ, {self.losses}: no speed is shown")
        elif done > 1 and symbols == B * T:  # the first step of an epoch follows an evaluation
            self.taken, self.times = self.taken + 1, Times(*map(sum, zip(self.times, passed, strict=True)))
            if self.taken == self.steps:
                self._measure_torch()
        self.started = Times.now()

    def _measure_torch(self) -> None:
        self.ohlol.append(self.times)
        self.taken, self.times = 0, Times(0.0, 0.0)
        started = Times.now()
        for _ in range(self.steps):
            self.training.step()
        self.pytorch.append(started.passed())
        if len(self.pytorch) == self.rounds:
            raise Finished


def measure(cell: str, path: Path, steps: int, rounds: int) -> tuple[Times, Times]:
    """Median times of the steps of a round, of ohlol and torch.nn."""
    turns = TurnTaking(cell, steps, rounds)
    try:
        ohlol.fit(
            path, task="next", level="char", cell=cell, hidden_size=H, num_layers=1, embedding_size=0, dropout=0.0,
            embedding_dropout=0.0, tie_weights=False, batch_size=B, bptt=T, optimizer="adam", lr=LR,
            lr_schedule="constant", weight_decay=0.0, label_smoothing=0.0, max_grad_norm=1.0, unk_probability=0.0,
            dev_fraction=0.0, epochs=1000, patience=0, callbacks=[turns], device="cpu",
        )  # fmt: skip
    except Finished:
        return Times.medians(turns.ohlol), Times.medians(turns.pytorch)
    raise SystemExit(f"{path} is too short for {rounds} rounds of {steps} steps")


def main() -> None:
    """Print a line for each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=7)
    options = parse_arguments(parser, steps=2, rounds=1)
    for cell in ("lstm", "gru", "rnn"):
        own, pytorch = measure(cell, options.file, options.steps, options.rounds)
        speeds = [f"{options.steps * B * T / times.wall:>10,.0f}" for times in (own, pytorch)]
        ratios = f"{pytorch.wall / own.wall:.2f}x, of processor time {pytorch.processor / own.processor:.2f}x"
        print(f"{cell:>4}  ohlol {speeds[0]} characters/s   torch.nn {speeds[1]}   {ratios}", flush=True)


if __name__ == "__main__":
    main()
