"""Train a model: from files, pairs or an encoded corpus to a finished run."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from ohlol.cells import import_cell
from ohlol.checkpoint import resume_state, run_config, run_directory
from ohlol.checkpoint.model_card import format_model_card
from ohlol.checkpoint.run_config import RunConfig
from ohlol.config import (
    FINE_TUNING,
    TUTORIAL_MODEL,
    TUTORIAL_TRAIN,
    DataSettings,
    ModelSettings,
    TrainSettings,
    check_bounds,
    check_types,
)
from ohlol.data.codec import Codec
from ohlol.data.data_preparer import DataPreparer
from ohlol.data.frames import read_records
from ohlol.data.prepared_data import PreparedData
from ohlol.data.source import Data, Source, is_tutorial
from ohlol.data.spans import is_span_scheme
from ohlol.data.vector_files import IN_MEMORY
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.heads import HEADS
from ohlol.tasks import TASKS
from ohlol.training.callbacks import Callback
from ohlol.training.defaults import choose_dropout, choose_length
from ohlol.training.memory_check import check_memory
from ohlol.training.optimizer import frozen_parts
from ohlol.training.start import Start
from ohlol.training.trainer import Trainer
from ohlol.utils import devices, distributed
from ohlol.utils.devices import CPU
from ohlol.utils.distributed import SINGLE_PROCESS, Processes
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.files import write_json, write_utf8
from ohlol.utils.locks import lock_run
from ohlol.utils.processors import within_quota
from ohlol.utils.translation import message_id, translate


@dataclass(frozen=True)
class ChosenSettings:
    """The settings that the caller chose, by kind; all others have their defaults."""

    data: dict[str, Any]
    model: dict[str, Any]
    training: dict[str, Any]

    @staticmethod
    def parse(settings: dict[str, Any]) -> "ChosenSettings":
        """Sort settings by the dataclass that has them; None stands for the default.

        Raises:
            TypeError: there is no such setting.
            InputError: a value has another type than its setting.
        """
        for name in ("checkpoint_every", "freeze"):  # a number of steps, or of parts
            if type(settings.get(name)) is int:
                settings = {**settings, name: str(settings[name])}
        kinds = [{f.name: f for f in fields(kind)} for kind in (DataSettings, ModelSettings, TrainSettings)]
        known = kinds[0] | kinds[1] | kinds[2]
        unknown = set(settings) - set(known)
        if unknown:
            raise TypeError(f"there is no setting {sorted(unknown)[0]!r}; there are {', '.join(sorted(known))}")
        chosen = {name: _to_python(value) for name, value in settings.items() if value is not None}
        check_types(chosen, known)
        return ChosenSettings(*({k: v for k, v in chosen.items() if k in kind} for kind in kinds))


def _to_python(value: Any) -> Any:
    """A number of numpy or a tensor of one number as Python's; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def check_data(data: object) -> None:
    """Check that training data are files, pairs or a table; raises InputError."""
    if data is None or isinstance(data, str | Path) or read_records(data) is not None:
        return
    if isinstance(data, list | tuple) and all(
        isinstance(entry, str | Path | list | tuple) for entry in cast("list[object]", data)
    ):
        return
    raise InputError(
        "the data are of type {type}; give the name of a file, a list of names, a data frame, a list of "
        'dicts, or a list of pairs such as [("hello", "ohlol")]',
        type=type(data).__name__,
    )


def fit(
    data: Data = None,
    *,
    dev: Any = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    device: str = "auto",
    vectors: Any = None,
    start_from: str | Path | None = None,
    **settings: Any,
) -> TrainedModel:
    """Train a model and return it, its best weights loaded, on the CPU.

    Args:
        data: one file or several of one kind; or a table in memory: a data frame of pandas, polars or pyarrow, a list
            of dicts, or a dataset of Hugging Face; or pairs, as `[("hello", "ohlol")]`, with the tutorial's settings
            where they are fewer than 20; without it the tutorial's pair.
        dev: a file or a table to evaluate on after each epoch; otherwise a part of the data (`dev_fraction`).
        out: the run directory to write; without it nothing is written.
        overwrite: replace an existing run.
        resume: continue the run in `out` from its last saved state, with its settings and files.
        callbacks: called as the run trains.
        device: cpu, cuda, cuda:1 and so on; auto is a GPU where there is one.
        vectors: pretrained word vectors: the name of a file, gensim's `KeyedVectors`, a dict of words and arrays, or a
            data frame with the words as its index.
        start_from: a run from whose weights the model starts. Its architecture is that of this run; the vocabulary has
            the symbols of both, and the head is new where task or labels differ.
        settings: any field of `DataSettings`, `ModelSettings` and `TrainSettings`, by name. A cell named as
            package.module:Class is imported.

    Raises:
        InputError: a setting, a file or the run directory is wrong; nothing was overwritten.
        TypeError: there is no such setting.

    >>> model = fit([("hello", "ohlol")], seed=1)
    >>> "".join(model.predict("hello").labels)
    'ohlol'
    """
    check_data(data)
    if vectors is not None:
        settings["vectors"] = str(vectors) if isinstance(vectors, str | Path) else IN_MEMORY
    chosen = ChosenSettings.parse(settings)
    if "cell" in chosen.model:
        import_cell(chosen.model["cell"])
    run = Path(out) if out is not None else None
    with (
        within_quota(),
        distributed.join_processes(devices.select_device(device)) as processes,
        ExitStack() as resources,
    ):
        if processes.restarted and run is not None:  # by torchrun, with the arguments of the first start
            overwrite, resume = (
                True,
                processes.sum_values([float(processes.is_main and resume_state.has_state(run))])[0] > 0,
            )

        def prepare() -> tuple[RunConfig, PreparedData, Start | None]:
            if resume:
                return *_prepare_resumed(data, dev, run, processes.device, chosen, resources, start_from), None
            in_memory = None if isinstance(vectors, str | Path) else vectors
            start = None if start_from is None else Start.load(Path(start_from), chosen.model.get("cell"))
            prepared = _prepare_new(data, dev, run, processes.device, overwrite, chosen, resources, in_memory, start)
            return *prepared, start

        result = prepare() if run is None else processes.run_on_main(prepare)
        config, prepared, start = result or (*_load_prepared(Path(out or "")), None)
        return train_prepared(config, prepared, run, callbacks, resume=resume, processes=processes, start=start)


def train_prepared(
    config: RunConfig,
    prepared: PreparedData,
    run: Path | None,
    callbacks: Sequence[Callback] = (),
    *,
    resume: bool = False,
    processes: Processes = SINGLE_PROCESS,
    start: Start | None = None,
) -> TrainedModel:
    """Train on prepared data, from the first step or from the saved state, and write metrics and model card.

    The main process gives the run that the model starts from, if there is one.

    Raises:
        Interrupted: the run was stopped; its state is saved.
        InputError: the loss is not finite, or memory is exhausted; the last saved state is unchanged.
    """
    if processes.is_main and processes.device.type == "cpu" and config.training.precision != "fp32":
        warnings.warn(translate(SLOW_PRECISION, precision=config.training.precision), InputWarning, 2)
    trainer = Trainer(config, prepared, run, callbacks, processes, start)
    if resume:
        trainer.restore()
    else:
        trainer.save_state()
    trainer.fit()
    trainer.finish()
    if run is not None and processes.is_main:
        device = devices.describe_device(processes.device)
        card = format_model_card(
            trainer.config,
            trainer.codec,
            trainer.parameters,
            run,
            has_validation_data=trainer.dev is not None,
            device=device,
        )
        write_utf8(run / "README.md", card)
        _check_readable(run)
    return TrainedModel(trainer.config, trainer.codec, trainer.model.cpu(), run)


def _check_readable(run: Path) -> None:
    """Read the files of a finished run: something else may have removed or changed them during training.

    Raises:
        InputError: the run cannot be loaded.
    """
    try:
        config, _ = run_directory.read_description(run)
        run_directory.read_weights(run, run_config.build_meta_model(config))
    except InputError as error:
        raise InputError("the training has ended, but its run cannot be loaded: {error}", error=error) from None


def _prepare_new(
    data: Data,
    dev: str | Path | None,
    run: Path | None,
    device: torch.device,
    overwrite: bool,
    chosen: ChosenSettings,
    resources: ExitStack,
    vectors: Any,
    start: Start | None,
) -> tuple[RunConfig, PreparedData]:
    """The configuration and the data of a new run; its directory is created, with everything but a state in it."""
    if run is not None and run.exists() and not overwrite:
        run_directory.create(run, overwrite=False)  # refuses before anything is read
    if start is not None and run is not None and run.resolve() == start.run.resolve():
        raise InputError("{run} cannot be replaced by a run that starts from it: give another `out`", run=run)
    source = Source.parse(data, dev)
    source.check_split(chosen.training)
    char_lms = run_directory.open_char_lms(chosen.model.get("char_lm")) if start is None else ()
    preparer = DataPreparer(source, chosen.data, vectors, None if start is None else start.codec, char_lms)
    if start is not None:
        chosen = replace(chosen, model=start.complete(chosen.model, preparer.settings))
    model, training = resolve_settings(preparer.settings, source.pairs, chosen)
    if training.snapshots and run is None:
        raise InputError("`snapshots` needs `out`, the run directory they are written to")
    prepared = preparer.prepare(model, training)
    config, prepared = configure(prepared, model, training, chosen, dev, source.pairs, device, start)
    if run is None:
        return config, prepared
    if source.records is not None:
        config = replace(config, train_files=(str(run / run_directory.DATA_FOLDER),))
    return config, create_run(run, config, prepared, overwrite=overwrite, resources=resources)


def resolve_settings(
    data: DataSettings, pairs: Sequence[Any], chosen: ChosenSettings
) -> tuple[ModelSettings, TrainSettings]:
    """The chosen settings and the defaults for data of this kind; `configure` adds what depends on their amount.

    Raises:
        InputError: a setting is out of its range.
    """
    tutorial = is_tutorial(pairs)
    model, training = (
        (TUTORIAL_MODEL, TUTORIAL_TRAIN) if tutorial else TASKS.select(data.task or "").defaults(data.level or "")
    )
    if tutorial and chosen.model.get("loop"):  # as in the tutorial's program
        training = replace(training, loss_reduction="sum")
    model, training = _apply_model_settings(model, chosen.model), replace(training, **chosen.training)
    for name in ("vectors_training", "vectors_limit"):
        if model.vectors is None and name in chosen.model:
            raise InputError(
                "`{name}` is a setting of `vectors`, a file of word vectors, which is not given", name=name
            )
    if "ema_decay" in chosen.training and training.weight_averaging != "ema":
        raise InputError("`ema_decay` is a setting of `weight_averaging=ema`, which is not given")
    check_bounds(model, training)
    return model, training


def configure(
    prepared: PreparedData,
    model: ModelSettings,
    training: TrainSettings,
    chosen: ChosenSettings,
    dev: str | Path | None,
    pairs: tuple[Any, ...],
    device: torch.device = CPU,
    start: Start | None = None,
) -> tuple[RunConfig, PreparedData]:
    """The configuration of a run from what `resolve_settings` returned and the data, and the data it is trained on.

    With a run to start from, `model` has its architecture.

    Raises:
        InputError: settings do not fit together.
        TooLarge: the model or its batches do not fit into the memory of the device.
    """
    task, labels, tutorial = TASKS[prepared.codec.task], prepared.codec.labels, is_tutorial(pairs)
    if start is not None and start.has_targets_of(prepared.codec):
        model = replace(model, head=chosen.model.get("head", start.config.model.head))
    elif task.span_head is not None and labels is not None and is_span_scheme(labels.symbols) and not tutorial:
        model = replace(model, head=chosen.model.get("head", task.span_head))
    if HEADS.select(model.head).structured:
        _check_structured(model, training, prepared.codec)
        prepared = prepared.as_bioes()
    sizes = run_config.sizes_from_codec(prepared.codec)
    if tutorial and HEADS.select(model.head).is_identity and "hidden_size" not in chosen.model:
        model = replace(model, hidden_size=sizes.outputs)
    dev_file = prepared.source.dev if prepared.source.records is None else None  # that of a table is saved with it
    config = RunConfig(prepared.codec.task, prepared.settings, model, sizes, training, prepared.files, dev_file, pairs)
    if not tutorial or training.minutes:
        has_dev = prepared.dev is not None
        training = choose_length(config, prepared.train, chosen.training, has_validation_data=has_dev)
        model = choose_dropout(config, prepared.train, chosen.model)
        config = replace(config, model=model, training=training)
    if start is not None:
        config = replace(config, start=start.record(config, prepared.codec))
        frozen_parts(training.freeze, list(run_config.build_meta_model(config).parts))
    for name in FINE_TUNING:
        if start is None and name in chosen.training:
            raise InputError("`{name}` is a setting of `start_from`, the run that a model starts from", name=name)
    _check_effect(chosen, config)
    check_memory(config, prepared.train, device)
    return config, prepared


def _check_effect(chosen: ChosenSettings, config: RunConfig) -> None:
    """Refuse what would add nothing to the model or the loss, so that nobody takes a run without it for one with it."""
    kind, sizes = TASKS[config.task].targets, config.sizes
    if sizes.numeric:
        message = message_id("`{name}` has no effect on task {task} with sequences of numbers: leave it out")
    elif config.data.level == "char":
        message = message_id("`{name}` has no effect on task {task} with sequences of characters: leave it out")
    else:
        message = message_id("`{name}` has no effect on task {task} with sequences of words: leave it out")
    effects = {
        "char_rnn_size": bool(sizes.chars),
        "bigram_size": bool(sizes.bigrams),
        "class_weights": kind.has_labels,
        "label_smoothing": not kind.has_numbers,
    }
    for name, has_effect in effects.items():
        value = chosen.model.get(name, chosen.training.get(name))
        if value and value != "none" and not has_effect:
            raise InputError(message, name=name, task=config.task)


def _check_structured(model: ModelSettings, training: TrainSettings, codec: Codec) -> None:
    """Check that a head that labels whole sequences fits the task and the loss."""
    kind = codec.kind
    if not kind.has_labels or kind.per_sequence:
        raise InputError(
            "`head` {head} labels each step of a whole sequence, and `task` {task} has no such labels: leave it out",
            head=model.head,
            task=codec.task,
        )
    for name, value, default in (
        ("class_weights", training.class_weights, TrainSettings.class_weights),
        ("label_smoothing", training.label_smoothing, TrainSettings.label_smoothing),
    ):
        if value != default:
            raise InputError(
                "`head` {head} has a loss of whole sequences, and `{name}` weighs single labels: leave it "
                "out, or set `head` to {default}",
                head=model.head,
                name=name,
                default=ModelSettings.head,
            )


def create_run(
    run: Path, config: RunConfig, prepared: PreparedData, *, overwrite: bool, resources: ExitStack
) -> PreparedData:
    """Create a run's directory with everything but a state in it, and lock it; returns the data to train on.

    Raises:
        InputError: it exists and is not to be overwritten, or cannot be written.
    """
    run_directory.create(run, overwrite=overwrite, resources=resources)
    codec = run_directory.write_codec(run, prepared.codec)
    prepared = replace(prepared.save(run / run_directory.DATA_FOLDER), codec=codec)
    write_json(run / "config.json", config.to_json())
    return prepared


def _prepare_resumed(
    data: Data,
    dev: str | Path | None,
    run: Path | None,
    device: torch.device,
    chosen: ChosenSettings,
    resources: ExitStack,
    start_from: str | Path | None,
) -> tuple[RunConfig, PreparedData]:
    """The configuration and the data of a run that is resumed; the run that it started from is not needed."""
    if run is None:
        raise InputError("`resume` needs `out`, the run directory to continue")
    stored = run_directory.read_config(run)  # nothing is written where there is no run
    if not stored.train_files and not stored.pairs:
        raise InputError(
            "{run} was imported (`ohlol import`) and has no state of an optimizer to resume from; train a "
            "new run in another `out`",
            run=run,
        )
    if dev is not None and read_records(dev) is None and str(dev) != stored.dev_file:
        raise InputError(
            "{run} was started with `dev` {dev_file}, not {dev}; `resume` keeps it",
            run=run,
            dev_file=stored.dev_file,
            dev=dev,
        )
    started_from = None if stored.start is None else stored.start.run
    if start_from is not None and str(start_from) != started_from:
        raise InputError(
            "{run} was started with `start_from` {started_from}, not {start_from}; `resume` keeps it",
            run=run,
            started_from=started_from,
            start_from=start_from,
        )
    for kind, values in ((stored.data, chosen.data), (stored.model, chosen.model), (stored.training, chosen.training)):
        for name, value in values.items():
            if getattr(kind, name) != value:
                raise InputError(
                    "{run} was started with `{name}` {kind}, not {value}; `resume` keeps it",
                    run=run,
                    name=name,
                    kind=getattr(kind, name),
                    value=value,
                )
    resources.enter_context(lock_run(run))
    config, codec = run_directory.read_description(run)
    prepared = _load_again(data, run, config, codec)
    check_memory(config, prepared.train, device)
    if prepared.files and not prepared.mapped:
        resume_state.check_saved_data(run, prepared.data_sha256, config.files)  # before it replaces the cached data
    return config, replace(prepared.save(run / run_directory.DATA_FOLDER), codec=prepared.codec)


def _load_prepared(run: Path) -> tuple[RunConfig, PreparedData]:
    """The configuration and the data that the main process prepared and wrote."""
    config = run_directory.read_config(run)
    return config, _load_again(None, run, config, run_directory.read_codec(run), verify=False)


def _load_again(data: Data, run: Path, config: RunConfig, codec: Codec, *, verify: bool = True) -> PreparedData:
    """The data of an existing run: those in its directory if they are of the same files, or the files read again."""
    source = Source.parse(data if data is not None else list(config.pairs or config.train_files), config.dev_file)
    codec = run_directory.map_pretrained(run, codec)
    start = codec if config.start is not None else None  # it has the symbols of the run that this one started from
    preparer = DataPreparer(source, asdict(config.data) if source.corpus is None else {}, start=start)
    prepared = preparer.prepare(
        config.model, config.training, cache=run / run_directory.DATA_FOLDER, codec=codec, verify=verify
    )
    if prepared.codec != codec:
        raise InputError("{run} was started with other data; `resume` needs the same files or pairs", run=run)
    return replace(prepared, codec=codec)


def _apply_model_settings(model: ModelSettings, chosen: dict[str, Any]) -> ModelSettings:
    """The chosen settings, and the defaults that are compatible with them."""
    if chosen.get("loop", model.loop):
        model = replace(model, num_layers=1, bidirectional=False)
    if not chosen.get("bidirectional", model.bidirectional):
        model = replace(model, bigram_size=0)
    if not (chosen.get("embedding_size", model.embedding_size) or "vectors" in chosen or "char_lm" in chosen):
        model = replace(model, char_rnn_size=0, bigram_size=0)
    return replace(model, **chosen)


SLOW_PRECISION = message_id(
    "`precision` {precision} on the CPU runs torch's own layers instead of ohlol's kernels, and is "
    "rarely faster than fp32"
)
