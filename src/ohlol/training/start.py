"""Starting from the weights of another run: what must agree with it, and which of its weights go where.

The encoder and the layers have the weights of that run, and so has the head where task and labels are the same. Rows of
a vocabulary, such as those of the embedding, are found by their symbols.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ohlol.checkpoint import run_directory
from ohlol.checkpoint.run_config import RunConfig, StartRecord, build_meta_model
from ohlol.checkpoint.weights import get_weights
from ohlol.config import ARCHITECTURE, DataSettings
from ohlol.data.codec import Codec
from ohlol.data.codec_growth import has_same_targets
from ohlol.data.vocab import Vocab
from ohlol.models.heads import HEADS
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError, shorten
from ohlol.utils.translation import message_id, translate

VECTOR_SETTINGS = ("vectors_training", "vectors_limit")
HEAD = ("pooling.", "head.")
"""How the names of the weights of a head, and of the pooling before it, begin."""
READS = {
    "reads_chars": message_id("the characters of words"),
    "reads_bigrams": message_id("pairs of neighbouring characters"),
    "reads_vectors": message_id("word vectors"),
    "reads_text": message_id("the states of language models"),
}
"""What an encoder reads beside symbols, by its attribute."""


@dataclass(frozen=True)
class Start:
    """The run that a model starts from."""

    run: Path
    config: RunConfig
    codec: Codec
    weights: dict[str, Tensor]
    sha256: str
    """Of its model.safetensors."""

    @staticmethod
    def load(run: Path, cell: str | None = None) -> "Start":
        """Read a run; arguments and errors are those of `run_directory.load_model`."""
        config, codec, model = run_directory.load_model(run, cell)
        digest = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
        return Start(run, config, codec, get_weights(model), digest)

    def complete(self, chosen: dict[str, Any], data: DataSettings) -> dict[str, Any]:
        """The settings of a model: those that were chosen and, where none was, those of the run.

        They are the architecture and, for the same task, all but the head, which depends on the labels.

        Raises:
            InputError: another architecture was chosen, or the data are read by character and by word.
        """
        if None not in (data.level, self._level) and data.level != self._level:
            read, own = (
                translate("by word") if level == "word" else translate("by character")
                for level in (data.level, self._level)
            )
            raise InputError(
                "`start_from` {run} reads {own}, and the data are read {read}: set `level` to {level}",
                run=self.run,
                own=own,
                read=read,
                level=self._level,
            )
        if bool(data.reversed) != bool(self.config.data.reversed):
            raise InputError(
                "`start_from` {run} and the data differ in `reversed`, the direction of reading", run=self.run
            )
        settings = asdict(self.config.model)
        names = [*ARCHITECTURE, *(VECTOR_SETTINGS if settings["vectors"] is not None else ())]
        for name in names:
            if chosen.get(name, settings[name]) != settings[name]:
                raise InputError(
                    "`start_from` {run} has `{name}` {settings}, not {chosen}: leave it out, or start from another run",
                    run=self.run,
                    name=name,
                    settings=settings[name],
                    chosen=shorten(str(chosen[name])),
                )
        if data.task == self.config.task:
            names += [name for name in settings if name not in (*names, *VECTOR_SETTINGS, "head")]
        return {name: settings[name] for name in names if settings[name] is not None} | chosen

    @property
    def _level(self) -> str | None:
        return self.config.data.level

    def has_targets_of(self, codec: Codec) -> bool:
        """Whether the task and the labels, or the columns of numbers, are those of the run."""
        return has_same_targets(codec, self.codec)

    def record(self, config: RunConfig, codec: Codec) -> StartRecord:
        """What the new run keeps of where it started, after a check that the weights fit.

        Raises:
            InputError: the encoder or the layers of the two differ.
        """
        own, start = config.model, self.config.model
        heads = [(settings.pooling, settings.head, settings.tie_weights) for settings in (own, start)]
        keeps_head = heads[0] == heads[1] and self.has_targets_of(codec)
        symbols = () if codec.symbols is None else codec.symbols.symbols
        new = sum(self.codec.symbols is not None and symbol not in self.codec.symbols for symbol in symbols)
        record = StartRecord(str(self.run), self.sha256, self.config.metrics, keeps_head, new)
        self._check(replace(config, start=record), codec)
        return record

    def _check(self, config: RunConfig, codec: Codec) -> None:
        mine, other = (build_meta_model(one).encoder for one in (config, self.config))
        for attribute, what in READS.items():
            if getattr(mine, attribute) != getattr(other, attribute):
                has, lacks = (
                    (translate("the run"), translate("this one"))
                    if getattr(other, attribute)
                    else (translate("this one"), translate("the run"))
                )
                raise InputError(
                    "`start_from` {run}: {has} reads {what}, and {lacks} does not: a model of `task` {task} "
                    "cannot start from it",
                    run=self.run,
                    has=has,
                    what=what,
                    lacks=lacks,
                    task=config.task,
                )
        axes, transferred = _vocabulary_axes(config, codec), _transferred(config)
        for name, weight in transferred.items():
            fixed = [axis for axis in range(weight.dim()) if axis not in axes.get(name, {})]
            old = self.weights.get(name)
            if old is None or old.dim() != weight.dim() or any(old.shape[a] != weight.shape[a] for a in fixed):
                shape = "missing" if old is None else str(tuple(old.shape))
                raise InputError(
                    "`start_from` {run} does not fit: its weight {name} is {shape}, and this model has {weight_shape}",
                    run=self.run,
                    name=name,
                    shape=shape,
                    weight_shape=tuple(weight.shape),
                )

    @torch.no_grad()
    def transfer(self, model: SequenceModel, config: RunConfig, codec: Codec) -> None:
        """Copy the weights of the run into a model, row by row of known symbols; other rows stay as they are."""
        axes, weights = _vocabulary_axes(config, codec), model.state_dict()
        for name in _transferred(config):
            target, value = weights[name], self.weights[name]
            index = [torch.arange(size) for size in target.shape]
            for axis, vocabulary in axes.get(name, {}).items():
                index[axis], old = _shared_ids(_vocabularies(codec)[vocabulary], _vocabularies(self.codec)[vocabulary])
                value = value.index_select(axis, old)
            shapes = [[-1 if axis == other else 1 for other in range(target.dim())] for axis in range(target.dim())]
            target[tuple(one.view(shape) for one, shape in zip(index, shapes, strict=True))] = value.to(target)


def _transferred(config: RunConfig) -> dict[str, Tensor]:
    """The weights that a model takes from another run, on the meta device."""
    weights = get_weights(build_meta_model(config))
    return {name: weight for name, weight in weights.items() if config.keeps_head or not name.startswith(HEAD)}


def _vocabularies(codec: Codec) -> dict[str, Vocab | None]:
    """The vocabularies by the sizes of a model that depend on them."""
    return {"inputs": codec.symbols, "outputs": codec.labels, "chars": codec.chars, "bigrams": codec.bigrams}


def _vocabulary_axes(config: RunConfig, codec: Codec) -> dict[str, dict[int, str]]:
    """The axes of weights that are as long as a vocabulary, with its name: those that grow with its size.

    They are found from the shapes of a model with one more symbol, so that no weight is known here by its name.
    """
    groups: list[Sequence[str]] = [(name,) for name, vocab in _vocabularies(codec).items() if vocab is not None]
    if codec.kind.continues_text and not HEADS[config.model.head].is_identity:  # the labels are the symbols
        groups = [("inputs", "outputs")]
    elif HEADS[config.model.head].is_identity:  # its labels are hidden units
        groups = [names for names in groups if names != ("outputs",)]
    before = get_weights(build_meta_model(config))
    axes: dict[str, dict[int, str]] = {}
    for names in groups:
        sizes = replace(config.sizes, **{name: getattr(config.sizes, name) + 1 for name in names})
        for name, weight in get_weights(build_meta_model(replace(config, sizes=sizes))).items():
            grown = [axis for axis, size in enumerate(weight.shape) if size != before[name].shape[axis]]
            axes.setdefault(name, {}).update(dict.fromkeys(grown, names[0]))
    return axes


def _shared_ids(vocab: Vocab | None, start: Vocab | None) -> tuple[Tensor, Tensor]:
    """The ids of the symbols of both vocabularies, in each of them."""
    assert vocab is not None
    assert start is not None
    shared = [(i, known) for i, symbol in enumerate(vocab.symbols) if (known := start.find(symbol)) is not None]
    ids = torch.tensor(shared, dtype=torch.int64).view(-1, 2)
    return ids[:, 0], ids[:, 1]
