"""Models with weights of chance, of every task, cell and shape, without the time that training takes."""

from typing import Any

import numpy as np
import torch

from ohlol.checkpoint.run_config import RunConfig, sizes_from_codec
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.lines import Place
from ohlol.data.sequences import Corpus
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS

KINDS = ("label", "words", "next", "next words", "classify", "forecast")
"""Tasks, with a level where both are worth a test; "words" labels them."""
WORDS = ["the", "cat", "sat", "on", "a", "mat", "mat", "the", "sat", "cat", "a", "on"]
LETTERS = "abcdefgé"


def untrained(kind: str, *, seed: int = 0, unknowns: bool = True, **model: Any) -> TrainedModel:
    """A model of one of `KINDS` that was taught nothing; `model` are fields of `ModelSettings`."""
    task, _, level = ("label", "", "words") if kind == "words" else kind.partition(" ")
    word = level == "words"
    form = {"label": "conll" if word else "pairs", "next": "text"}.get(task, "columns")
    settings = DataSettings(task, form, None if task == "forecast" else "word" if word else "char")
    corpus = _corpus(task, word, settings)
    made = ModelSettings(**{"hidden_size": 11, "embedding_size": 5, "head": TASKS[task].head, **model})
    codec = Codec.learn(
        corpus, unknowns=unknowns, spelled=bool(made.char_rnn_size) and word, paired=bool(made.bigram_size)
    )
    torch.manual_seed(seed)
    network = SequenceModel(made, sizes_from_codec(codec)).eval()
    return TrainedModel(RunConfig(task, settings, made, sizes_from_codec(codec), TrainSettings()), codec, network)


def _corpus(task: str, word: bool, settings: DataSettings) -> Corpus:
    if task == "forecast":
        rows = np.stack([50 + 20 * np.sin(np.arange(40)), 3 * np.cos(np.arange(40)), np.arange(40.0)], axis=1)
        names = ("height", "slope", "day")
        return Corpus(task, settings, [rows], [rows[:, :2]], [Place("made", 1)], names, names[:2])
    inputs: Any = [WORDS, WORDS[::-1]] if word else [LETTERS, LETTERS[::-1]]
    targets: Any = {"label": inputs, "classify": ["first", "second"], "next": None}[task]
    return Corpus(task, settings, inputs, targets, [Place("made", i + 1) for i in range(2)])


def sequence(model: TrainedModel, length: int, seed: int = 0) -> list[Any]:
    """Symbols, some of them unknown, or rows of numbers, as a stream of the model reads them."""
    random = np.random.default_rng(seed)
    if model.task == "forecast":
        return [list(row) for row in random.normal(size=(length, 3)) * 20 + 30]
    symbols = model.codec.symbols
    assert symbols is not None
    known = [s for s in symbols.symbols if s != "<unk>"] + ["z"] * (symbols.unk is not None)
    return [str(s) for s in random.choice(known, size=length)]
