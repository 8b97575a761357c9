"""Words a second of `ohlol.fit` tagging words spelled by characters, and of the same model written with torch.nn.

    python benchmarks/tagging_speed.py FILE [--steps N] [--rounds N] [--quick]

FILE has a word and its label a line, as CoNLL files do. Both train the default model of `ohlol.fit`: the embedding of a
word beside the last states of a bidirectional LSTM over its characters, a recurrent layer over the words, a linear
layer, Adam, gradients clipped at 1. torch.nn trains in the usual loop on the batches that `fit` prepares, whose
preparation counts for ohlol alone. They take turns, and the medians are compared. No speed is shown unless the losses
agree without dropout.
"""

import argparse
from pathlib import Path

import torch
from timing import parse_arguments
from torch import Tensor
from torch.nn.functional import cross_entropy, dropout
from torch.nn.utils.rnn import PackedSequence
from train_speed import CHECKED, Finished, Times, take_step

import ohlol
from ohlol.models.inputs import PackedInputs
from ohlol.training.callbacks import Callback, Training
from ohlol.training.loader import BatchLoader, DeviceBatch

TOLERANCE = 1e-3
"""Largest difference of two losses."""


class TorchTagger(torch.nn.Module):
    """The model of a training, with layers of torch.nn and the same weights."""

    def __init__(self, trainer: Training):
        super().__init__()
        encoder, layers, head = trainer.model.encoder, trainer.model.layers, trainer.model.head
        self.words, self.chars = (
            torch.nn.Embedding.from_pretrained(part.weight.detach().clone(), freeze=False)
            for part in (encoder.embedding, encoder.chars)
        )
        settings = trainer.config.model
        self.speller = torch.nn.LSTM(encoder.speller.input_size, encoder.speller.hidden_size, bidirectional=True)
        self.speller.load_state_dict(encoder.speller.state_dict())
        self.layers = getattr(torch.nn, settings.cell.upper())(
            encoder.size, settings.hidden_size, settings.num_layers, bidirectional=settings.bidirectional
        )
        self.layers.load_state_dict(layers.state_dict())
        self.head = torch.nn.Linear(head.width, head.outputs)
        self.head.load_state_dict(head.state_dict())
        self.embedding_dropout, self.dropout = settings.embedding_dropout, settings.dropout

    def forward(self, packed: PackedInputs) -> Tensor:
        """The logits of all words, (S, K)."""
        words = packed.word_chars
        assert words is not None
        chars = dropout(self.chars(words.chars), self.embedding_dropout)
        _, (h, _) = self.speller(PackedSequence(chars, words.batch_sizes))
        vectors = torch.cat([self.words(packed.inputs), torch.cat([h[0], h[1]], dim=1)[words.word_ids]], dim=1)
        outputs, _ = self.layers(PackedSequence(dropout(vectors, self.embedding_dropout), packed.batch_sizes))
        return self.head(dropout(outputs.data, self.dropout))


class TurnTaking(Callback):
    """After some steps of `fit`, takes as many steps with torch.nn, and measures both."""

    def __init__(self, steps: int, rounds: int):
        self.steps, self.rounds = steps, rounds
        self.ohlol: list[Times] = []
        self.pytorch: list[Times] = []
        self.words: list[tuple[int, int]] = []
        self.taken, self.read, self.times = 0, 0, Times(0.0, 0.0)

    def on_train_begin(self, trainer: Training) -> None:
        """Copy the weights."""
        self.trainer, self.model = trainer, TorchTagger(trainer)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=trainer.settings.lr)
        self.started = Times.now()

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Measure; the first step of an epoch follows an evaluation."""
        passed = self.started.passed()
        if done > 1:
            self.taken, self.read = self.taken + 1, self.read + symbols
            self.times = Times(*map(sum, zip(self.times, passed, strict=True)))
            if self.taken == self.steps:
                self._measure_torch(epoch)
        self.started = Times.now()

    def _measure_torch(self, epoch: int) -> None:
        trainer = self.trainer
        batches = trainer.batches(epoch)  # pyright: ignore[reportAttributeAccessIssue]
        loader = BatchLoader(batches, trainer.codec, None, (0, epoch), torch.device("cpu"))
        prepared = [loader[index] for index in range(1, min(self.steps + 1, len(loader)))]
        started = Times.now()
        for batch in prepared:
            self._step(batch)
        passed, read = started.passed(), sum(batch.batch.total for batch in prepared)
        self.ohlol.append(Times(*(seconds / self.read for seconds in self.times)))
        self.pytorch.append(Times(*(seconds / read for seconds in passed)))
        self.taken, self.read, self.times = 0, 0, Times(0.0, 0.0)
        if len(self.pytorch) == self.rounds:
            raise Finished

    def _step(self, batch: DeviceBatch) -> float:
        return take_step(self.model, self.optimizer, cross_entropy(self.model(batch.packed), batch.targets))


class LossCheck(Callback):
    """Compares the losses of the first steps."""

    def on_train_begin(self, trainer: Training) -> None:
        """Copy the weights."""
        self.turns = TurnTaking(1, 1)
        self.turns.on_train_begin(trainer)
        batches = trainer.batches(0)  # pyright: ignore[reportAttributeAccessIssue]
        self.loader = BatchLoader(batches, trainer.codec, None, (0, 0), torch.device("cpu"))

    def on_batch_end(self, epoch: int, done: int, total: int, loss: float, symbols: int) -> None:
        """Take the same step."""
        other = self.turns._step(self.loader[done - 1])
        if abs(loss - other) > TOLERANCE:
            raise SystemExit(f"the losses differ, {loss} and {other}: no speed is shown")
        if done == min(CHECKED, total):
            raise Finished


def train(path: Path, callback: Callback, **settings: object) -> None:
    """Train until a callback has seen enough."""
    try:
        ohlol.fit(
            path, task="label", head="softmax", optimizer="adam", lr_schedule="constant", weight_decay=0.0,
            max_grad_norm=1.0, unk_probability=0.0, label_smoothing=0.0, dev_fraction=0.0, epochs=1000, patience=0,
            callbacks=[callback], device="cpu", **settings,
        )  # fmt: skip
    except Finished:
        return


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    options = parse_arguments(parser, steps=1, rounds=1)
    train(options.file, LossCheck(), dropout=0.0, embedding_dropout=0.0)
    turns = TurnTaking(options.steps, options.rounds)
    train(options.file, turns)
    own, pytorch = Times.medians(turns.ohlol), Times.medians(turns.pytorch)
    ratios = f"{pytorch.wall / own.wall:.2f}x, of processor time {pytorch.processor / own.processor:.2f}x"
    print(f"ohlol {1 / own.wall:,.0f} words/s   torch.nn {1 / pytorch.wall:,.0f}   {ratios}")


if __name__ == "__main__":
    main()
