"""TrainedModel: predict, evaluate, generate, forecast and stream with the weights of a run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.checkpoint import run_config, run_directory
from ohlol.config import FULL_PRECISION, DataSettings, DynamicSettings
from ohlol.data import sequences
from ohlol.data.batches import Dataset
from ohlol.data.codec import Codec
from ohlol.data.codec_encoding import encode_data
from ohlol.data.corpus import encoded
from ohlol.data.frames import Records, read_records
from ohlol.data.iteration import iterate_inputs
from ohlol.data.lines import SERIES_ARGUMENT, TEXT_ARGUMENT, Argument, Place, error_at, quote
from ohlol.data.panel import Panel
from ohlol.data.prepared_data import PreparedData, prepared_from
from ohlol.data.raw_data import RawData
from ohlol.data.readers.column_stats import static_cell
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.source import Source, corpus_folder
from ohlol.data.statics import StaticText
from ohlol.data.symbols import Symbols, split_text
from ohlol.data.targets import TargetKind
from ohlol.evaluation.dynamic import evaluate_dynamic
from ohlol.evaluation.evaluate import EVAL_BATCH, evaluate
from ohlol.evaluation.forecast import Forecasts
from ohlol.evaluation.sample_paths import SamplePaths
from ohlol.inference.forecast import forecast_panel, panel_codec
from ohlol.inference.generate import Sampling, generate
from ohlol.inference.next_rows import check_steps, next_rows
from ohlol.inference.prediction import Prediction, predict_batch
from ohlol.inference.sample_paths import sample_paths
from ohlol.inference.streaming import Stream, StreamBatch
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks.metrics import MetricAccumulator
from ohlol.utils import devices
from ohlol.utils.errors import InputError
from ohlol.utils.files import write_bytes
from ohlol.utils.translation import join_list, translate


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with its configuration and its codec: `model = ohlol.load("runs/hello-1")`.

    It is pickled and copied as the files of a run directory, of which the pickle holds the bytes.
    """

    config: run_config.RunConfig
    codec: Codec
    network: SequenceModel
    run: Path | None = None

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.config.task

    @property
    def targets(self) -> TargetKind:
        """The kind of its targets, and of its inputs."""
        return self.codec.kind

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.network.device

    @cached_property
    def on_cpu(self) -> "TrainedModel":
        """The same model on the CPU, where streams, traces and exports run; itself if it is there."""
        return self if self.device.type == "cpu" else replace(self, network=deepcopy(self.network).cpu())

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of the weights, the vocabulary and the settings that determine the output, in hexadecimal.

        Two models with the same identity give the same output; a saved state of a stream names the one it belongs to.
        """
        return run_directory.compute_identity(self.config, self.codec, self.network)

    def __reduce__(self) -> tuple[Callable[[dict[str, bytes], str], "TrainedModel"], tuple[dict[str, bytes], str]]:
        with TemporaryDirectory() as folder:
            root = Path(folder)
            run_directory.write_model(root, self.config, self.codec, self.network)
            paths = sorted(path for path in root.rglob("*") if path.is_file())
            files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        return _read_files, (files, self.network.precision)

    def raw_data(self, texts: Iterable[Any]) -> RawData:
        """Strings, lists of symbols, or series of numbers, as data of the kind that the model reads.

        Raises:
            InputError: one is empty, or is no series with the columns of training.
        """
        if self.targets.rows:
            series = [self._check_series(text, Argument(SERIES_ARGUMENT, i)) for i, text in enumerate(texts, 1)]
            rows, places, names = [one.rows for one in series], [one.place for one in series], [s.name for s in series]
            columns = self.codec.columns
            return RawData(self.task, self.config.data, rows, None, places, columns, names=tuple(names))
        texts = list(texts)
        statics = [text.cells for text in texts if isinstance(text, StaticText)]
        texts = [text.symbols if isinstance(text, StaticText) else text for text in texts]
        inputs: list[Symbols] = [split_text(t, self.config.data) if isinstance(t, str) else list(t) for t in texts]
        places: list[Place] = [Argument(TEXT_ARGUMENT, i + 1) for i in range(len(inputs))]
        for place, sequence in zip(places, inputs, strict=True):
            if not len(sequence):
                raise InputError("{place}: is empty; give at least one symbol", place=place)
        return RawData(self.task, self.config.data, inputs, None, places, statics=statics)

    def with_static(self, text: Any, values: Mapping[str, Any] | None) -> Any:
        """A text with the values of the columns that the model reads beside it; None is a missing value.

        Raises:
            InputError: a column is missing, or the model does not read one.
        """
        names, values = self.codec.statics.names, values if isinstance(values, Mapping) else {}
        if set(values) != set(names):
            given, expected = (join_list(map(quote, columns)) or translate("none") for columns in (values, names))
            raise InputError(
                "`static` has {columns}; the model reads {expected} beside the text", columns=given, expected=expected
            )
        return StaticText(text, tuple(static_cell(values[name]) for name in names))

    def _check_series(self, series: Any, place: Place) -> LabelledSeries:
        """The rows (T, I) of a series, an array of one axis where it has one column; raises InputError."""
        name, columns, scale = "", self.codec.columns, self.codec.scale
        assert scale is not None
        if isinstance(series, LabelledSeries):
            series, name, place = series.rows, series.name, series.place
        try:
            rows = np.asarray(series, np.float64)
        except (TypeError, ValueError, OverflowError):
            rows = np.empty(0)
        rows = rows[:, None] if rows.ndim == 1 and len(columns) == 1 else rows
        if isinstance(series, str) or not rows.size or rows.shape[1:] != (len(columns),):
            raise error_at(
                place,
                translate(
                    "this model reads a series of numbers, rows of {count}: {columns}; give a file, or an "
                    "array (T, {count})",
                    count=len(columns),
                    columns=join_list(columns),
                ),
            )
        with np.errstate(over="ignore"):
            wrong = np.argwhere(~np.isfinite(scale.apply(rows)))
        if len(wrong):
            row, column = wrong[0]
            raise error_at(
                place,
                translate(
                    "column {columns} is {values}, not a finite number in range",
                    columns=columns[column],
                    values=rows[row, column],
                ),
            )
        return LabelledSeries(rows, None, place, name)

    def stream(self) -> Stream:
        """Read one sequence incrementally: `step(symbol)` returns logits and label, and the state is kept.

        The output does not depend on how the sequence is split into pieces.

        Raises:
            InputError: the model is bidirectional, or forecasts whole series.
        """
        return self.streams(1)[0]

    def streams(self, n: int = 0) -> StreamBatch:
        """Read many sequences incrementally, n at first: `step({0: "h", 3: "e"})` advances several in one call.

        Raises:
            InputError: the model is bidirectional, or forecasts whole series.
        """
        return StreamBatch(self.on_cpu.network, self.codec, self.config.data, lambda: self.identity, n)

    def data_settings(self, encoding: str | None = None) -> DataSettings:
        """How files are read: as those of the training, but for the encoding, which each file has for itself."""
        return replace(self.config.data, encoding=encoding)

    def evaluate(self, data: Any, *, encoding: str | None = None) -> MetricAccumulator:
        """Evaluate on files of the format the model was trained on, or on an encoded corpus.

        A label that was not seen in training counts as wrong, with a warning. Of an encoded corpus the dev part is
        read, or all of it where it has none.

        Args:
            data: files, an encoded corpus, a table in memory as `ohlol.fit` takes it, or data that were read.
            encoding: of the files; None for UTF-8, or for that of a byte order mark.

        Returns:
            The counts: `.metrics()`, `.confusion` and, of classes, `.report()`, which a notebook shows as a table.

        Raises:
            InputError: a file cannot be read, or no label of it was seen in training; an encoded corpus has another
                vocabulary or no targets.
        """
        dataset, history = self._encode(data, encoding)
        return evaluate(self.network, self.codec, dataset, history=history, with_confidences=True)

    def evaluate_dynamic(
        self, data: Any, settings: DynamicSettings | None = None, *, encoding: str | None = None
    ) -> MetricAccumulator:
        """Evaluate a language model that adapts to the text as it reads it; this model and its run do not change.

        Args:
            data: as in `evaluate`.
            settings: how it adapts; None for the defaults.
            encoding: as in `evaluate`.

        Raises:
            InputError: as `evaluate`; or the model does not predict the next symbol of a text, or the learning rate is
                too high.
        """
        dataset, _ = self._encode(data, encoding)
        return evaluate_dynamic(self.network, self.codec, dataset, settings or DynamicSettings())

    def _encode(self, data: Any, encoding: str | None) -> tuple[Dataset, Dataset | None]:
        """The encoded data of `evaluate`, and the sequences that they continue, if there are any."""
        data = read_records(data) or data
        folder = None if isinstance(data, RawData | Records) else corpus_folder(data)
        if folder is not None:
            prepared = self._read_encoded(folder)
            return prepared.dev or prepared.train, prepared.history
        raw = data if isinstance(data, RawData) else sequences.read(data, self.data_settings(encoding))
        return encode_data(self.codec, raw, unseen_labels=True), None

    def _read_encoded(self, folder: Path) -> PreparedData:
        corpus = encoded.read(folder)
        if self.config.data.reversed:
            raise InputError(
                "{folder} holds texts from their beginning, and this model reads them from their end", folder=folder
            )
        if not self.codec.can_read(corpus.codec):
            raise InputError(
                "{folder} was encoded with another vocabulary; encode it again with `vocab` {run}",
                folder=folder,
                run=self.run,
            )
        if (corpus.dev or corpus.train).targets is None and not self.targets.continues_text:
            raise InputError("{folder} was encoded without targets; encode it again with its targets", folder=folder)
        prepared = prepared_from(corpus, Source(corpus=folder))
        if corpus.codec == self.codec:
            return prepared
        dev = None if prepared.dev is None else self.codec.convert(prepared.dev)
        return replace(prepared, train=self.codec.convert(prepared.train), dev=dev)

    def predict(self, text: Any, *, n_best: int = 1, static: Mapping[str, Any] | None = None) -> Prediction:
        """Predict the label of each step of a sequence, or one label for the whole sequence, depending on the task.

        Args:
            text: a string, or a list of symbols; for a model of series of numbers an array (T, I).
            n_best: how many labels `Prediction.best` holds at each step.
            static: the values of the columns that the model reads beside the text, by name; None for a missing one.

        Raises:
            InputError: the text is empty, or has a symbol that was not seen by a model without <unk>; the task has no
                labels and no number for a sequence; a static column is missing.
        """
        if read_records(text) is not None:
            raise InputError("a table holds many sequences, and `predict` reads one; use `predict_many`")
        text = text if static is None else self.with_static(text, static)
        return next(iter(self.predict_many([text], n_best=n_best)))

    def predict_many(self, texts: Any, *, n_best: int | Sequence[int] = 1) -> Iterator[Prediction]:
        """Predict many sequences in batches, in their order; only one batch is held in memory.

        Args:
            texts: strings, lists of symbols, data that were read, or a table in memory with the columns of training;
                for a model of series of numbers arrays (T, I), or the name of a file.
            n_best: how many labels `Prediction.best` holds at each step, for all sequences or for each.
        """
        if not self.targets.is_supervised:
            numeric = self.forecast if self.targets.horizon else self.next_rows
            method = self.generate if self.targets.continues_text else numeric
            raise InputError(
                "this model's task is {task}, which has no labels; use `{name}`", task=self.task, name=method.__name__
            )
        inputs = texts
        is_file = self.targets.rows and isinstance(texts, str | Path)
        if isinstance(texts, RawData):
            inputs = texts.series() if texts.names else texts.texts()
        elif (source := texts if is_file else read_records(texts)) is not None:
            inputs = (sequence for sequence, _ in iterate_inputs(source, self.data_settings()))
        batch: list[tuple[Any, int]] = []
        counts = repeat(n_best) if isinstance(n_best, int) else n_best
        for pair in zip(inputs, counts):  # noqa: B905 - repeat() is endless
            batch.append(pair)
            if len(batch) == EVAL_BATCH:
                yield from self._predict_texts(batch)
                batch = []
        if batch:
            yield from self._predict_texts(batch)

    def _predict_texts(self, batch: Sequence[tuple[Any, int]]) -> list[Prediction]:
        raw = self.raw_data([text for text, _ in batch])
        data, symbols = encode_data(self.codec, raw), raw.inputs
        return predict_batch(
            self.network,
            self.codec,
            data,
            np.arange(len(batch)),
            None if raw.columns else symbols,  # pyright: ignore[reportArgumentType] - symbols, since there are no columns
            names=raw.names,
            n_best=[n for _, n in batch],
        )

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        *,
        length: int = 500,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Continue a text, one symbol at a time; the prompt is not repeated.

        Args:
            prompt: the text to continue; empty starts after a line end, if the vocabulary has one.
            length: how many symbols to generate.
            temperature: divides the logits; 0 always takes the most probable symbol.
            top_k: draw among the k most probable symbols; 0 means all.
            top_p: draw among the most probable symbols that together have this probability, in (0, 1].
            seed: makes the text repeatable.

        Raises:
            InputError: the model does not predict the symbol that follows, or an argument is out of its range.
        """
        if not self.targets.continues_text:
            raise InputError(
                "this model's task is {task}; only a model that predicts the next symbol generates text", task=self.task
            )
        if self.config.data.reversed:
            raise InputError("this model was trained with `reversed`: it reads a text from its end and writes none")
        if length < 0:
            raise InputError("`length` is {length}; it must be at least 0", length=length)
        sampling = Sampling(temperature, top_k, top_p, seed)
        return generate(self.network, self.codec, self.config.data, prompt, length, sampling)

    def forecast(
        self, data: Any, steps: int | None = None, *, future: Any = None, encoding: str | None = None
    ) -> Forecasts:
        """Forecast the steps that follow every series, with intervals.

        Args:
            data: a file, a table in memory, or a panel that was read, with the columns of training.
            steps: how many; None for the horizon of training. More are forecast from the medians of those before.
            future: a file, a table or a panel with the known covariates of these steps, where the model reads some.
            encoding: of the files, as in `evaluate`.

        Raises:
            InputError: the model does not forecast, the columns are others, or known values are missing.
        """
        codec = panel_codec(self)
        panel, known = self._read_panels(data, future, encoding)
        return forecast_panel(self, panel, codec.horizon if steps is None else steps, known)

    def sample(
        self,
        data: Any,
        steps: int | None = None,
        paths: int = 100,
        seed: int = 0,
        *,
        future: Any = None,
        encoding: str | None = None,
    ) -> SamplePaths:
        """Draw possible courses of the steps that follow every series, such as for the sum over these steps.

        At each step they have the distribution of the forecast. Steps depend on each other as the errors of past
        forecasts do; series do not depend on each other.

        Args:
            data: as in `forecast`.
            steps: how many, at most the horizon of training; None for this horizon.
            paths: how many of each series.
            seed: of the draws.
            future: as in `forecast`.
            encoding: of the files, as in `evaluate`.

        Returns:
            The paths of each series, whose `values` are (paths, steps, F).

        Raises:
            InputError: the model does not forecast, or without intervals; a number is out of its range; the columns are
                others, or known values are missing.
        """
        codec = panel_codec(self)
        panel, known = self._read_panels(data, future, encoding)
        return sample_paths(self, panel, codec.horizon if steps is None else steps, paths, seed, known)

    def _read_panels(self, data: Any, future: Any, encoding: str | None) -> tuple[Panel, Panel | None]:
        """The series of `forecast`, and the known covariates of the steps that follow them."""
        settings = self.data_settings(encoding)
        panel = data if isinstance(data, Panel) else sequences.read_panel(read_records(data) or data, settings).panel
        if future is not None and not isinstance(future, Panel):
            source = read_records(future) or future
            future = sequences.read_panel(source, settings, with_targets=False, step=panel.step).panel
        return panel, future

    def next_rows(self, data: Any, steps: int = 10, *, encoding: str | None = None) -> NDArray[np.float64]:
        """The next rows of a series; each predicted row is read as the next input.

        Args:
            data: a file, a table in memory, or the data of one series, with the columns of training.
            steps: how many rows, at least 1; more than one needs targets that are the inputs.
            encoding: of the file, as in `evaluate`.

        Returns:
            (steps, F) rows of the target columns in their own units.

        Raises:
            InputError: the model does not predict numbers, the columns are others, or `steps` is out of its range.
        """
        if self.codec.scale is None or self.targets.rows:
            raise InputError("this model's task is {task}; it does not predict the next row", task=self.task)
        check_steps(self.codec, steps)
        if not isinstance(data, RawData):
            data = sequences.read(read_records(data) or data, self.data_settings(encoding), with_targets=False)
        return next_rows(self.network, self.codec, data, steps)


def _read_files(files: dict[str, bytes], precision: str = FULL_PRECISION) -> TrainedModel:
    """The model in the files of a run directory, on the CPU; its cell is imported, if it has to be."""
    folder = Path(mkdtemp(prefix="ohlol-"))
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        cell = run_directory.read_config(folder).model.cell
        model = replace(load(folder, cell=cell, precision=precision), run=None)
    except BaseException:
        rmtree(folder)
        raise
    if model.codec.char_lms:
        finalize(model.codec, rmtree, folder)  # a copy of the model is made from their files
    else:
        rmtree(folder)  # word vectors stay mapped
    return model


def load(
    run: str | Path, device: str = "cpu", *, cell: str | None = None, precision: str = FULL_PRECISION
) -> TrainedModel:
    """Load the best weights of a run directory, ready to predict, evaluate, generate or forecast.

    Args:
        run: the directory.
        device: cpu, cuda, cuda:1 and so on, or auto for a GPU where there is one.
        cell: the cell of the run. One that is named as package.module:Class is imported only if it is given here, or if
            `ohlol.cells.import_cell` imported it before.
        precision: of the recurrent weights, fp32, bf16 or int8; the last two are faster, on the CPU, and not exact: see
            `ohlol.nn.quantize`.

    Raises:
        InputError: the directory does not exist, is damaged, or has another version or cell; the cell has to be
            imported and is not given; the device does not exist; the model cannot have the precision.
    """
    selected = devices.select_device(device)
    config, codec, network = run_directory.load_model(Path(run), cell)
    return TrainedModel(config, codec, network.to(selected).quantize(precision), Path(run))
