"""Models with random weights, of every task, cell and shape."""

from typing import Any

import numpy as np
import torch
from forecasts import panel_of
from helpers import cell_settings

from ohlol.checkpoint.run_config import RunConfig, sizes_from_codec
from ohlol.config import DataSettings, ModelSettings, TrainSettings
from ohlol.data.codec import Codec
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.lines import Place
from ohlol.data.panel_codec import PanelCodec
from ohlol.data.raw_data import RawData
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS

KINDS = ("label", "words", "next", "next words", "classify", "classify rows", "next_row")
"""Tasks, by word or of rows of numbers where that makes a difference; "words" is task label by word."""
WORDS = ["the", "cat", "sat", "on", "a", "mat", "mat", "the", "sat", "cat", "a", "on"]
LETTERS = "abcdefgé"


def untrained(kind: str, *, seed: int = 0, unknowns: bool = True, **model: Any) -> TrainedModel:
    """A model with random weights.

    Args:
        kind: one of `KINDS`, or "forecast".
        seed: of the weights.
        unknowns: whether its vocabulary has <unk>.
        model: fields of `ModelSettings`; `cell` is a name in `helpers.CELLS`.
    """
    task, _, level = ("label", "", "words") if kind == "words" else kind.partition(" ")
    by_word = level == "words"
    form = {"label": "conll" if by_word else "pairs", "next": "text"}.get(task, "columns")
    reads_numbers = TASKS[task].targets.numeric or level == "rows"
    data = DataSettings(task, form, None if reads_numbers else "word" if by_word else "char")
    if "cell" in model:
        model = {**cell_settings(model["cell"]), **{k: v for k, v in model.items() if k != "cell"}}
    settings = ModelSettings(**{"hidden_size": 11, "embedding_size": 5, "head": TASKS[task].head, **model})
    with_chars, with_bigrams = bool(settings.char_rnn_size) and by_word, bool(settings.bigram_size)
    codec = (
        _panel_codec()
        if TASKS[task].targets.horizon
        else fit_codec(_corpus(task, level, data), unknowns=unknowns, with_chars=with_chars, with_bigrams=with_bigrams)
    )
    sizes = sizes_from_codec(codec)
    torch.manual_seed(seed)
    network = SequenceModel(settings, sizes).eval()
    return TrainedModel(RunConfig(task, data, settings, sizes, TrainSettings()), codec, network)


def _panel_codec() -> Codec:
    rows = np.stack([50 + 20 * np.sin(np.arange(40)), 3 * np.cos(np.arange(40))], axis=1)
    panel = panel_of({"a": rows, "b": rows[5:]}, 7, targets=("height", "slope"))
    return Codec.of_panel("forecast", PanelCodec.fit(panel, 3, [0, 0]))


def _corpus(task: str, level: str, data: DataSettings) -> RawData:
    if task == "next_row":
        rows = np.stack([50 + 20 * np.sin(np.arange(40)), 3 * np.cos(np.arange(40)), np.arange(40.0)], axis=1)
        names = ("height", "slope", "day")
        return RawData(task, data, [rows], [rows[:, :2]], [Place("rows", 1)], names, names[:2])
    if level == "rows":
        series = [np.stack([sign * np.arange(9.0), np.cos(np.arange(9))], axis=1) for sign in (1, -1)]
        places = [Place("series", i + 1) for i in range(2)]
        return RawData(task, data, series, ["first", "second"], places, ("height", "slope"), names=("a", "b"))
    inputs: Any = [WORDS, WORDS[::-1]] if level == "words" else [LETTERS, LETTERS[::-1]]
    targets: Any = {"label": inputs, "classify": ["first", "second"], "next": None}[task]
    return RawData(task, data, inputs, targets, [Place("texts", i + 1) for i in range(2)])


def sequence(model: TrainedModel, length: int, seed: int = 0) -> list[Any]:
    """Random symbols, some of them unknown, or rows of numbers, as a stream of the model reads them."""
    random = np.random.default_rng(seed)
    if model.targets.reads_numbers:
        return [list(row) for row in random.normal(size=(length, len(model.codec.columns))) * 20 + 30]
    symbols = model.codec.symbols
    assert symbols is not None
    known = [s for s in symbols.symbols if s != "<unk>"] + ["z"] * (symbols.unk is not None)
    return [str(s) for s in random.choice(known, size=length)]
