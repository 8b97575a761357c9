"""fit: from files or pairs to a finished run; puts the rooms below together and knows nothing of flags or terminals."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ohlol import checkpoint, machine
from ohlol.card import model_card
from ohlol.checkpoint import Config
from ohlol.data import readers
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.data.readers import Corpus
from ohlol.errors import InputError
from ohlol.files import write_bytes, write_json
from ohlol.infer import TrainedModel
from ohlol.lock import locked
from ohlol.settings import (
    TUTORIAL_MODEL,
    TUTORIAL_TRAIN,
    DataSettings,
    ModelSettings,
    TrainSettings,
    check,
    defaults,
)
from ohlol.train import Trainer
from ohlol.watch import Reporter

HELLO = (("hello", "ohlol"),)
"""The built-in pair: the tutorial's."""
FEW = 20
"""Sequences under which none is set apart for measuring, as the score would rest on one or two.

Fewer pairs than these, given as values, get the tutorial's model.
"""

Source = str | Path | Sequence[str | Path] | Sequence[tuple[str | Sequence[str], str | Sequence[str]]] | None


@dataclass(frozen=True)
class Given:
    """What the caller chose, by kind of setting; everything else is a default."""

    data: dict[str, Any]
    model: dict[str, Any]
    training: dict[str, Any]

    @staticmethod
    def of(settings: dict[str, Any]) -> "Given":
        """Sort settings by the dataclass that has them; None means not given.

        Raises:
            TypeError: there is no such setting.
        """
        if type(settings.get("checkpoint_every")) is int:  # steps, where it is not text
            settings = {**settings, "checkpoint_every": str(settings["checkpoint_every"])}
        kinds = [{f.name for f in fields(kind)} for kind in (DataSettings, ModelSettings, TrainSettings)]
        unknown = set(settings) - set().union(*kinds)
        if unknown:
            raise TypeError(
                f"there is no setting {sorted(unknown)[0]!r}; there are {', '.join(sorted(set().union(*kinds)))}"
            )
        return Given(*({k: v for k, v in settings.items() if k in kind and v is not None} for kind in kinds))


def fit(
    data: Source = None,
    *,
    dev: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    reporter: Reporter | None = None,
    **settings: Any,
) -> TrainedModel:
    """Train a model and return it, its best weights loaded.

    Args:
        data: one file or several of one kind; or pairs, as `[("hello", "ohlol")]`, with the tutorial's settings where
            they are fewer than 20; without it the tutorial's pair.
        dev: a file to measure on after each epoch; otherwise a share of the data (`dev_fraction`).
        out: the run directory to write; without it nothing is written.
        overwrite: replace a run that is there.
        resume: go on with the run in `out` from its last saved state, with the settings and files it has.
        reporter: is told of the progress.
        settings: any field of `DataSettings`, `ModelSettings` and `TrainSettings`, by name.

    Raises:
        InputError: something given is wrong; nothing was overwritten.
        TypeError: there is no such setting.

    >>> model = fit([("hello", "ohlol")], seed=1)
    >>> "".join(model.predict("hello").labels)
    'ohlol'
    """
    given = Given.of(settings)
    run = Path(out) if out is not None else None
    with ExitStack() as held:
        if resume:
            trainer = _resumed(data, dev, run, given, reporter, held)
        else:
            trainer = _started(data, dev, run, overwrite, given, reporter, held)
        trainer.fit()
        trainer.finish()
        if run is not None:
            card = model_card(trainer.config, trainer.parameters, run, apart=trainer.dev is not None)
            write_bytes(run / "README.md", card.encode())
    return TrainedModel(trainer.config, trainer.codec, trainer.model, run)


def _started(
    data: Source,
    dev: str | Path | None,
    run: Path | None,
    overwrite: bool,
    given: Given,
    reporter: Reporter | None,
    held: ExitStack,
) -> Trainer:
    if run is not None and run.exists() and not overwrite:
        checkpoint.create(run, overwrite=False)  # refuses before anything is read
    corpus = _read(data, DataSettings(**given.data))
    pairs = _pairs(data)
    tutorial = 0 < len(pairs) < FEW
    model, training = (
        (TUTORIAL_MODEL, TUTORIAL_TRAIN) if tutorial else defaults(corpus.task, corpus.settings.level or "char")
    )
    if tutorial and "cell" in given.model and given.model["cell"].endswith("cell"):
        training = replace(training, loss="sum")
    model, training = _chosen(model, given.model), replace(training, **given.training)
    check(model, training)
    if training.snapshots and run is None:
        raise InputError("--snapshots needs --out: the run directory they are kept in")
    train, measured = _split(corpus, dev, training)
    codec = _learned(train, model, training, shared=tutorial)
    sizes = checkpoint.sizes_of(codec)
    if tutorial and not model.head and "hidden_size" not in given.model:
        model = replace(model, hidden_size=sizes.scores)
    files = () if pairs else tuple(dict.fromkeys(str(file) for file, _ in corpus.places))
    encoded, encoded_dev = codec.encode(train), codec.encode(measured) if measured is not None else None
    if not tutorial and "epochs" not in given.training:
        training = _enough_epochs(training, corpus.task, len(encoded), encoded.steps)
    config = Config(
        corpus.task, corpus.settings, model, sizes, training, files, str(dev) if dev is not None else None, pairs
    )
    _refuse_giants(config, encoded)
    trainer = Trainer(config, codec, encoded, encoded_dev, run, reporter)
    if run is not None:
        checkpoint.create(run, overwrite=overwrite, held=held)
        write_json(run / "vocab.json", codec.to_json())
        write_json(run / "config.json", config.to_json())
        trainer.save_state()
    return trainer


def _resumed(
    data: Source, dev: str | Path | None, run: Path | None, given: Given, reporter: Reporter | None, held: ExitStack
) -> Trainer:
    if run is None:
        raise InputError("--resume needs --out: the run directory to go on with")
    checkpoint.read_config(run)  # nothing is written where there is no run
    held.enter_context(locked(run))
    config, codec = checkpoint.read_described(run)
    if dev is not None and str(dev) != config.dev_file:
        raise InputError(f"{run} was started with --dev {config.dev_file}, not {dev}; --resume keeps it")
    for kind, mine in ((config.data, given.data), (config.model, given.model), (config.training, given.training)):
        for name, value in mine.items():
            if getattr(kind, name) != value:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"{run} was started with {flag} {getattr(kind, name)}, not {value}; --resume keeps it")
    corpus = _read(data if data is not None else list(config.pairs or config.train_files), config.data)
    train, measured = _split(corpus, config.dev_file, config.training)
    if _learned(train, config.model, config.training, shared=0 < len(config.pairs) < FEW) != codec:
        raise InputError(f"{run} was started with other data; --resume goes on with the same files or pairs only")
    encoded, encoded_dev = codec.encode(train), codec.encode(measured) if measured is not None else None
    _refuse_giants(config, encoded)
    trainer = Trainer(config, codec, encoded, encoded_dev, run, reporter)
    trainer.restore()
    return trainer


def _refuse_giants(config: Config, data: Dataset) -> None:
    """Refuse what cannot fit into memory before any of it is made; the system would end the process instead."""
    free = machine.free_memory()
    if free is None:
        return
    model, training = config.model, config.training
    numbers = sum(p.numel() for p in checkpoint.planned(config).parameters())
    needed = numbers * BYTES_A_PARAMETER
    if needed > free:
        raise InputError(
            f"the model would have {numbers:,} parameters and take {_gib(needed)} to train, and {_gib(free)} are free: "
            f"a smaller --hidden-size (here {model.hidden_size}), --layers or --embedding helps"
        )
    cut = config.task in ("next", "forecast")
    steps = min(data.steps, training.batch_size * training.bptt)
    if not cut:
        steps = int(np.sort(data.inputs.lengths)[-training.batch_size :].sum())
    held = model.layers * (1 + model.bidirectional) * model.hidden_size * (1 + GATES[model.cell.removesuffix("cell")])
    kept = steps * (held + 2 * config.sizes.scores * (config.task != "classify")) * 4
    if needed + kept > free:
        raise InputError(
            f"the largest batch has {steps:,} steps and takes {_gib(kept)} beside the model's {_gib(needed)}, and "
            f"{_gib(free)} are free: a smaller --batch-size (here {training.batch_size})"
            f"{f' or --bptt (here {training.bptt})' if cut else ''} helps most, then --hidden-size"
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


BYTES_A_PARAMETER = 16
"""A weight, its gradient and an optimizer's two moments, four bytes each."""
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
"""What a layer keeps of each step for the backward pass, beside its output, in units of its hidden size; at least."""


def _chosen(model: ModelSettings, given: dict[str, Any]) -> ModelSettings:
    """The settings given, and the defaults where they do not exclude each other."""
    if str(given.get("cell", "")).endswith("cell"):
        model = replace(model, layers=1, bidirectional=False)
    if not given.get("bidirectional", model.bidirectional):
        model = replace(model, bigrams=0)
    if not given.get("embedding", model.embedding):
        model = replace(model, spelling=0, bigrams=0)
    return replace(model, **given)


def _learned(train: Corpus, model: ModelSettings, training: TrainSettings, *, shared: bool) -> Codec:
    by_word = train.task in ("label", "classify") and train.settings.level == "word"
    by_character = train.task == "label" and train.settings.level == "char"
    return Codec.learn(
        train,
        unknowns=bool(training.unknown),
        spelled=bool(model.spelling) and by_word,
        paired=bool(model.bigrams) and by_character,
        shared=shared and by_character,
    )


def _pairs(data: Any) -> tuple[Any, ...]:
    """The pairs that data are, the tutorial's where there are none; empty where they are files."""
    if data is None:
        return HELLO
    return tuple(data) if not isinstance(data, str | Path) and len(data) > 0 and isinstance(data[0], tuple) else ()


def _read(data: Source, settings: DataSettings) -> Corpus:
    pairs = _pairs(data)
    return readers.sequences_from_pairs(pairs) if pairs else readers.read(data, settings)  # pyright: ignore[reportArgumentType]


def _split(corpus: Corpus, dev: str | Path | None, training: TrainSettings) -> tuple[Corpus, Corpus | None]:
    """The training data, and what is measured after each epoch; None where too little is there to set apart."""
    if dev is not None:
        return corpus, readers.read(dev, corpus.settings)
    if not training.dev_fraction:
        return corpus, None
    if corpus.task in ("next", "forecast"):
        return _split_in_time(corpus, training.dev_fraction)
    n = len(corpus.inputs)
    if n < FEW:
        return corpus, None
    order = np.random.default_rng((training.seed, n)).permutation(n).tolist()
    cut = max(1, round(n * training.dev_fraction))
    known = _to_learn(corpus, order[cut:], training)
    apart = {row for row in order[:cut] if _to_learn(corpus, [row], training) <= known}
    if not apart:
        return corpus, None
    return _take(corpus, (row for row in range(n) if row not in apart)), _take(corpus, sorted(apart))


def _to_learn(corpus: Corpus, rows: Iterable[int], training: TrainSettings) -> set[tuple[str, str]]:
    """The labels of some sequences, and where there is no <unk> their symbols: what must be seen in training."""
    found: set[tuple[str, str]] = set()
    targets: Any = corpus.targets
    for row in rows:
        found.update(("label", label) for label in ([targets[row]] if corpus.task == "classify" else targets[row]))
        if not training.unknown:
            found.update(("symbol", str(symbol)) for symbol in corpus.inputs[row])
    return found


def _take(corpus: Corpus, rows: Iterable[int]) -> Corpus:
    rows = list(rows)
    targets: Any = corpus.targets
    return replace(
        corpus,
        inputs=[corpus.inputs[i] for i in rows],
        targets=[targets[i] for i in rows] if targets is not None else None,
        places=[corpus.places[i] for i in rows],
    )


def _split_in_time(corpus: Corpus, share: float) -> tuple[Corpus, Corpus | None]:
    """The end of each text or series is measured: what comes later must not help to learn what came before."""
    early, late = (
        replace(corpus, inputs=[], targets=None, places=[]),
        replace(corpus, inputs=[], targets=None, places=[]),
    )
    targets: Any = corpus.targets
    parts: tuple[list[Any], list[Any]] = ([], [])
    for index, sequence in enumerate(corpus.inputs):
        cut = len(sequence) - round(len(sequence) * share)
        for half, keep, side in ((early, slice(None, cut), 0), (late, slice(cut, None), 1)):
            if len(sequence[keep]) < 2:
                continue
            half.inputs.append(sequence[keep])  # pyright: ignore[reportArgumentType]
            half.places.append(corpus.places[index])
            if targets is not None:
                parts[side].append(targets[index][keep])
    if targets is not None:
        early, late = replace(early, targets=parts[0]), replace(late, targets=parts[1])
    if not late.inputs or not early.inputs:
        return corpus, None
    return early, late


def _enough_epochs(training: TrainSettings, task: str, sequences: int, steps: int) -> TrainSettings:
    """More passes over few data: `MIN_STEPS` of the optimizer at least, `MAX_EPOCHS` at most."""
    a_step = training.batch_size * training.bptt if task in ("next", "forecast") else training.batch_size
    per_epoch = max(1, -(-(steps if task in ("next", "forecast") else sequences) // a_step))
    return replace(training, epochs=min(max(training.epochs, -(-MIN_STEPS // per_epoch)), MAX_EPOCHS))


MIN_STEPS, MAX_EPOCHS = 1500, 100
