"""Estimators of scikit-learn: sequences in `X`, `fit` by `ohlol.fit`, `predict` by the trained model.

Shapes: N sequences, T time steps of a sequence, I columns of numbers, K classes, F targets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from inspect import Parameter, Signature
from math import isnan
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.config import COLUMN_SETTINGS, ModelSettings, TrainSettings
from ohlol.data.frames import Records, read_records
from ohlol.data.lines import StaticCell, nfc, quote
from ohlol.data.panel import Panel, PanelColumns, TimeSeries, format_time, offset_after
from ohlol.data.readers.base import default_task
from ohlol.data.readers.column_names import join_names, split_names
from ohlol.data.readers.column_stats import static_cell
from ohlol.data.readers.columns import CLASS, PANEL, QUANTITY
from ohlol.data.readers.panels import read_rows
from ohlol.data.readers.tables import records_table
from ohlol.data.sequences import read_panel
from ohlol.data.statics import StaticText
from ohlol.data.targets import TargetKind
from ohlol.inference.forecast import forecast_panel
from ohlol.inference.trained_model import TrainedModel
from ohlol.training.fit import fit
from ohlol.utils.errors import InputError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError:
    raise InputError("ohlol.sklearn needs scikit-learn: pip install 'ohlol[sklearn]'") from None

INPUT, TARGET, SERIES = "input", "target", "series"
"""The columns of the tables that `ohlol.fit` is given."""
WORD = "word"
"""The level of lists of symbols."""
NETWORK_SETTINGS = tuple(field.name for kind in (ModelSettings, TrainSettings) for field in fields(kind))
ARGUMENTS = ("callbacks", "device")
"""Those arguments of `ohlol.fit` that are parameters, too."""
PANEL_SETTINGS = ("target", "time", "series", "known", "observed", "static", "season", "horizon")


class _Estimator(BaseEstimator):
    """What all estimators have: the settings of `ohlol.fit` as parameters, and the trained model as `model_`."""

    data_settings: ClassVar[tuple[str, ...]] = ("level",)
    """Those fields of `DataSettings` that are parameters."""
    targets: ClassVar[TargetKind]
    """The kind of targets, which names the task."""
    model_: TrainedModel
    """The trained model, once `fit` was called."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            cls.__init__ = _constructor((*cls.data_settings, *NETWORK_SETTINGS, *ARGUMENTS))

    def _train(self, records: Records, **chosen: Any) -> Self:
        """Train on a table; settings that are chosen here are not parameters, or are inferred from the data."""
        settings: dict[str, Any] = {name: value for name, value in self.get_params().items() if value is not None}
        arguments: Any = {**settings, "task": default_task(self.targets), **chosen}
        self.model_ = fit(records, **arguments)
        return self


def _constructor(names: Sequence[str]) -> Callable[..., None]:
    """An `__init__` with keywords of these names, which scikit-learn finds in its signature."""

    def __init__(self: Any, **settings: Any) -> None:  # noqa: N807 - it becomes one
        for name in settings.keys() - set(names):
            raise TypeError(f"there is no setting {name!r}; there are {', '.join(sorted(names))}")
        for name in names:
            setattr(self, name, settings.get(name))

    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in names]
    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    setattr(__init__, "__signature__", Signature([own, *parameters]))  # noqa: B010 - a function has no such attribute
    return __init__


class _SequenceEstimator(_Estimator):
    """An estimator of one target for each sequence of symbols or numbers."""

    data_settings = ("level", "static")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.three_d_array = True
        return tags

    def _fit_sequences(self, X: Any, y: Any) -> Self:
        """Train on sequences and one target each."""
        sequences = self._read_sequences(X, reset=True)
        check_consistent_length(sequences, y)
        if isinstance(sequences[0], StaticText):
            texts, names = cast("list[StaticText]", sequences), split_names(self.get_params()["static"])
            rows = [
                [text.symbols, target, *map(_cell_value, text.cells)] for text, target in zip(texts, y, strict=True)
            ]
            return self._train(Records((INPUT, TARGET, *names), lambda: iter(rows)), input=INPUT, target=TARGET)
        if isinstance(sequences[0], np.ndarray):
            rows = cast("list[NDArray[np.float64]]", sequences)
            names = tuple(f"x{column + 1}" for column in range(rows[0].shape[1]))
            records = Records((SERIES, TARGET, *names), lambda: _number_rows(rows, y))
            return self._train(records, input=join_names(names), target=TARGET, series=SERIES, time="", level=None)
        records = Records((INPUT, TARGET), lambda: ([x, label] for x, label in zip(sequences, y, strict=True)))
        return self._train(records, input=INPUT, target=TARGET)

    def _read_sequences(self, X: Any, *, reset: bool) -> list[Any]:
        """Sequences as `predict_many` reads them: strings, lists of symbols, arrays (T, I), or texts with static cells.

        Raises:
            ValueError: they are something else, or a table has other columns than in training.
        """
        if static := self.get_params()["static"]:
            return _static_texts(X, split_names(static))
        if isinstance(X, list | tuple) and not X:
            raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required: there is no sequence")
        if isinstance(X, str):
            raise ValueError("X is one string; give a list of sequences, such as [X]")
        cells = _symbol_cells(X)
        if cells is None and _is_ragged(X):
            cells = [_rows(x) for x in X]
        if cells is None:
            table: Any = validate_data(self, cast("Any", X), reset=reset, dtype=np.float64)
            cells = [row[:, None] for row in table]
        return cells


def _static_texts(X: Any, static: Sequence[str]) -> list[StaticText]:
    """The texts of a data frame with the cells of its static columns; raises ValueError."""
    records = read_records(X) if hasattr(X, "columns") else None
    names = () if records is None else records.names
    texts = [i for i, name in enumerate(names) if name not in static]
    if records is None or len(texts) != 1 or not set(static) <= set(names):
        raise ValueError(f"with static columns X must be a data frame of {', '.join(static)} and one column of texts")
    columns = [names.index(name) for name in static]
    return [StaticText(row[texts[0]], tuple(static_cell(row[i]) for i in columns)) for row in records.rows()]


def _cell_value(cell: StaticCell) -> str | float:
    return cell.text if isnan(cell.number) else cell.number


def _symbol_cells(X: Any) -> list[Any] | None:
    """The strings, or lists of symbols, of a list, a series, an array or a table of one column; None for numbers."""
    records = None if isinstance(X, list | tuple) else read_records(X if hasattr(X, "columns") else None)
    if records is not None:
        if len(records.names) != 1:
            return None
        cells = [row[0] for row in records.rows()]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        cells = cast("list[Any]", X[:, 0].tolist())
    elif isinstance(X, list | tuple) or getattr(X, "ndim", None) == 1:
        cells = list(X)
    else:
        return None
    cells = [cell.tolist() if _has_strings(cell) and hasattr(cell, "tolist") else cell for cell in cells]
    missing = list(map(_is_missing, cells))
    if all(missing) or not _is_text(cells[missing.index(False)]):
        return None
    if any(missing):
        raise ValueError(f"Input X contains NaN or None: sequence {missing.index(True)} is missing; leave it out")
    return [list(cell) if isinstance(cell, tuple) else cell for cell in cells]


def _is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, NaT or pandas.NA; the last three are not equal to themselves."""
    if cell is None or isinstance(cell, str | list | tuple) or np.ndim(cell):
        return cell is None
    is_equal: Any = cell == cell
    return not (isinstance(is_equal, bool | np.bool_) and is_equal)


def _has_strings(cell: Any) -> bool:
    return getattr(getattr(cell, "dtype", None), "kind", "") in ("U", "O", "T")


def _is_text(cell: Any) -> bool:
    """Whether a sequence is a string or a list of strings."""
    return isinstance(cell, str) or (isinstance(cell, list | tuple) and len(cell) > 0 and isinstance(cell[0], str))


def _is_ragged(X: Any) -> bool:
    """Whether series of numbers are arrays of two axes each, or differ in length."""
    if getattr(X, "ndim", None) == 3:
        return True
    if not (isinstance(X, list | tuple) or (_has_strings(X) and X.ndim == 1)) or not len(X):
        return False
    shapes = {np.shape(x) for x in X}
    return () not in shapes and (len(shapes) > 1 or len(next(iter(shapes))) == 2)


def _rows(series: Any) -> NDArray[np.float64]:
    """A series as rows (T, I); one of a single axis has one column."""
    rows = np.asarray(series, np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise ValueError(f"a series must be an array (T, I) of finite numbers; one of them has the shape {rows.shape}")
    return rows


def _number_rows(sequences: Sequence[NDArray[np.float64]], targets: Sequence[Any]) -> Iterator[list[Any]]:
    """A row for each time step: the number of its series, the target, and its numbers."""
    for number, (rows, target) in enumerate(zip(sequences, targets, strict=True)):
        for row in rows.tolist():
            yield [number, target, *row]


class _Classes:
    """The classes of an estimator and the labels of its model, which are texts."""

    def __init__(self, classes: NDArray[Any]) -> None:
        self.values = classes
        self.index = {nfc(str(value)): i for i, value in enumerate(classes.tolist())}
        if len(self.index) < len(classes):
            raise ValueError("two classes are the same text, and cannot be told apart")

    def probabilities(self, steps: Sequence[Sequence[tuple[str, float]]]) -> NDArray[np.float64]:
        """The probabilities (number of steps, K) of labels, in the order of the classes."""
        values = np.zeros((len(steps), len(self.values)))
        for row, pairs in zip(values, steps, strict=True):
            row[[self.index[label] for label, _ in pairs]] = [p for _, p in pairs]
        return values


class SequenceClassifier(ClassifierMixin, _SequenceEstimator):
    """One class for each sequence: `X` holds strings, lists of symbols, series of numbers, or a table.

    The parameters are the settings of `ohlol.fit`, by name: `level`, `static`, the fields of `ModelSettings` and
    `TrainSettings`, `callbacks` and `device`; None stands for the default of `ohlol.fit`.

    Attributes after `fit`: `classes_` (K,), and `model_`, the `TrainedModel`.
    """

    targets = CLASS
    classes_: NDArray[Any]

    def fit(self, X: Any, y: Any) -> Self:
        """Train.

        Args:
            X: N sequences: strings, of characters or, with `level="word"`, of words; lists of symbols; arrays (T, I) or
                (T,) of any lengths; an array (N, T, I), or (N, T) for one column; a data frame with one column of
                texts, or with T columns of numbers; with `static` a data frame of these columns and one of texts.
            y: N classes.

        Raises:
            ValueError: the sequences cannot be read, or their number is not that of the classes.
            InputError: a setting is wrong.
        """
        y = _check_targets(y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        _Classes(self.classes_)
        return self._fit_sequences(X, list(map(str, y.tolist())))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probabilities (N, K) of the classes, in the order of `classes_`; arguments are those of `fit`."""
        check_is_fitted(self)
        predictions = self.model_.predict_many(self._read_sequences(X, reset=False), n_best=len(self.classes_))
        return _Classes(self.classes_).probabilities([prediction.best[0] for prediction in predictions])

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each sequence, (N,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]


class SequenceRegressor(RegressorMixin, _SequenceEstimator):
    """One number for each sequence; sequences and parameters are those of `SequenceClassifier`."""

    targets = QUANTITY

    def fit(self, X: Any, y: Any) -> Self:
        """Train on N sequences and N numbers; arguments and errors are those of `SequenceClassifier.fit`."""
        return self._fit_sequences(X, _check_targets(y, is_numeric=True).tolist())

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The number of each sequence, (N,)."""
        check_is_fitted(self)
        predictions = self.model_.predict_many(self._read_sequences(X, reset=False))
        return np.array([prediction.number for prediction in predictions], np.float64)


def _check_targets(y: Any, *, is_numeric: bool = False) -> NDArray[Any]:
    """One target for each sequence, (N,); raises ValueError where they are missing, or not of one axis."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    targets: NDArray[Any] = column_or_1d(y, dtype=np.float64 if is_numeric else None, warn=True)
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise ValueError("Input y contains NaN or infinity.")
    if targets.dtype.kind == "O" and any(map(_is_missing, targets.tolist())):
        raise ValueError("Input y contains NaN or None; leave out the sequences that have no target")
    return targets


class SequenceTagger(_Estimator):
    """A class for each symbol of a sequence, such as a part of speech or the label of a span.

    The parameters are those of `SequenceClassifier`. Attributes after `fit`: `classes_` (K,), and `model_`.
    """

    targets = TargetKind()
    classes_: NDArray[Any]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string, tags.target_tags.required = False, True, True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train.

        Args:
            X: N sequences: strings of characters, or lists of words; or a data frame with one column of them.
            y: as many labels for each of them: a string of characters, or a list.

        Raises:
            InputError: a sequence has another number of labels than symbols, or a setting is wrong.
        """
        labels = _tagged(y)
        self.classes_ = np.unique(np.concatenate([np.array(list(of_one)) for of_one in labels]))
        _Classes(self.classes_)
        reads_characters = all(isinstance(of_one, str) for of_one in labels)
        return self._train(self._pairs(X, labels, as_lists=not reads_characters), input=INPUT, target=TARGET)

    def predict(self, X: Any) -> list[NDArray[Any]]:
        """The class of each symbol, (T,) for each sequence."""
        check_is_fitted(self)
        index = _Classes(self.classes_).index
        predictions = self.model_.predict_many(self._sequences(X, as_lists=self._has_lists))
        return [self.classes_[[index[label] for label in prediction.labels]] for prediction in predictions]

    def predict_proba(self, X: Any) -> list[NDArray[np.float64]]:
        """The probabilities (T, K) of the classes at each symbol of each sequence, in the order of `classes_`."""
        check_is_fitted(self)
        sequences = self._sequences(X, as_lists=self._has_lists)
        predictions = self.model_.predict_many(sequences, n_best=len(self.classes_))
        return [_Classes(self.classes_).probabilities(prediction.best) for prediction in predictions]

    def score(self, X: Any, y: Any) -> float:
        """The main metric of the model: F1 of spans where the labels mark spans, otherwise the accuracy of labels."""
        check_is_fitted(self)
        result = self.model_.evaluate(self._pairs(X, _tagged(y), as_lists=self._has_lists))
        return result.metrics()[result.main_metric]

    @property
    def _has_lists(self) -> bool:
        """Whether the model reads lists of symbols."""
        return self.model_.config.data.level == WORD

    def _sequences(self, X: Any, *, as_lists: bool) -> list[Any]:
        """Sequences as the model reads them; one whose labels are in a list is read as a list of its characters."""
        is_split = as_lists and self.get_params()["level"] != WORD
        return [list(one) if is_split and isinstance(one, str) else one for one in _tagged(X)]

    def _pairs(self, X: Any, labels: Sequence[Any], *, as_lists: bool) -> Records:
        """Sequences and their labels as a table, in which labels of a list are texts."""
        sequences = self._sequences(X, as_lists=as_lists)
        if len(sequences) != len(labels):
            raise ValueError(f"X has {len(sequences)} sequences, and y has {len(labels)}")
        texts = [list(map(str, of_one)) if as_lists else of_one for of_one in labels]
        return Records((INPUT, TARGET), lambda: ([x, y] for x, y in zip(sequences, texts, strict=True)))


def _tagged(X: Any) -> list[Any]:
    """Strings, or lists of symbols or labels; raises ValueError."""
    cells = _symbol_cells(X) or [cell.tolist() if hasattr(cell, "tolist") else cell for cell in X]
    if not cells:
        raise ValueError("there is no sequence")
    return cells


class Forecaster(RegressorMixin, _Estimator):
    """Forecasts of the rows that follow the training data; rows are time steps, of one series or of several.

    The parameters are the settings of `ohlol.fit`, by name: `target`, `time`, `series`, `known`, `observed`, `static`,
    `season`, `horizon`, the fields of `ModelSettings` and `TrainSettings`, `callbacks` and `device`.

    Attributes after `fit`: `model_`, and `history_`, the series of the training data.
    """

    data_settings = PANEL_SETTINGS
    targets = PANEL
    history_: Panel

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.target_tags.required, tags.target_tags.multi_output = False, True
        tags.regressor_tags.poor_score = True  # rows that follow are predicted, not those of training
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows in the order of time.

        Args:
            X: a data frame, or an array (T, I) whose columns are `x1`, `x2` and so on.
            y: the values to forecast, (T,) or (T, F); then the columns of numbers of `X` that no setting names are
                `known`. Without it they are columns of `X`: `target`, or those of numbers.

        Raises:
            InputError: the table, or a setting, is wrong.
        """
        records, chosen = self._read_table(X, reset=True, is_known=y is not None), dict[str, Any]()
        if y is not None:
            targets = _read_targets(y)
            chosen = {"target": join_names(targets.names), "known": self._known_columns(records)}
            records = _side_by_side(records, targets)
        self._train(records, layout="long", **chosen)
        self.history_ = read_panel(records, self.model_.config.data).panel
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The medians for rows that follow the training data, (N,), or (N, F) of several targets.

        Args:
            X: the rows, with their dates, series and known values, if training had any; without dates they are the rows
                that follow immediately. A row is there for each step, up to the last.

        Raises:
            InputError: the rows do not follow the training data, or are not complete.
        """
        check_is_fitted(self)
        history = self.history_
        records = self._read_table(X, reset=False, is_known=bool(history.columns.known))
        settings = replace(self.model_.config.data, target=None, observed=None, static=None)
        future = read_panel(records, settings, with_targets=False, step=history.step).panel
        table = records_table(records)
        groups = read_rows([table], [table.keep_rows()], PanelColumns(()), settings).groups()
        places = {series.name: number for number, series in enumerate(history.series)}
        offsets: dict[str, int] = {}
        for series in future.series:
            if series.name not in places:
                raise InputError("series {series_name} is not in the training data", series_name=quote(series.name))
            if len(series.values) > len(groups[series.name]):
                raise InputError("rows to predict are missing: give a row for each time step")
            offsets[series.name] = self._offset(history.series[places[series.name]], series)
        read = replace(history, series=tuple(history.series[places[name]] for name in offsets))
        steps = max(offset + len(groups[name]) for name, offset in offsets.items())
        known = future if history.columns.known else None
        forecasts = forecast_panel(self.model_, read, steps, known)
        medians = np.empty((sum(map(len, groups.values())), len(history.columns.targets)))
        for forecast, (name, offset) in zip(forecasts, offsets.items(), strict=True):
            medians[groups[name]] = forecast.point[offset : offset + len(groups[name])]
        return medians[:, 0] if medians.shape[1] == 1 else medians

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The coefficient of determination R² of the medians; without `y`, of the targets in `X`."""
        check_is_fitted(self)
        if y is None:
            table, names = self._read_table(X, reset=False, is_known=False), self.history_.columns.targets
            at = [table.names.index(name) for name in names]
            y = np.array([[row[i] for i in at] for row in table.rows()], np.float64)
        return super().score(X, y, sample_weight)

    def _read_table(self, X: Any, *, reset: bool, is_known: bool) -> Records:
        """A data frame, or an array (T, I) whose columns are named `x1`, `x2` and so on.

        Raises:
            ValueError: an array has another number of axes or of columns, or misses values that must be known.
        """
        records = read_records(X) if hasattr(X, "columns") or isinstance(X, list) else None
        if records is not None:
            return records
        finite: Any = is_known or "allow-nan"
        values: Any = validate_data(self, cast("Any", X), reset=reset, dtype=np.float64, ensure_all_finite=finite)
        return Records(tuple(f"x{i + 1}" for i in range(values.shape[1])), lambda: iter(values.tolist()))

    def _known_columns(self, records: Records) -> str | None:
        """The setting `known`: as it is chosen, or the columns of numbers that no setting names."""
        parameters = self.get_params()
        if parameters["known"] is not None:
            return parameters["known"]
        chosen = {column for name in COLUMN_SETTINGS for column in split_names(parameters.get(name) or "")}
        rows = list(records.rows())
        filled = [next((row[i] for row in rows if row[i] is not None), None) for i in range(len(records.names))]
        cells = zip(records.names, filled, strict=True)
        return join_names(name for name, cell in cells if name not in chosen and isinstance(cell, int | float)) or None

    def _offset(self, series: TimeSeries, rows: TimeSeries) -> int:
        """Steps from the end of a series of the training data to its first row to predict; raises InputError."""
        offset, step = offset_after(series, rows, self.history_.step), self.history_.step
        if offset < 0 or offset != int(offset):
            first = format_time(rows.start, step) if rows.start is not None else rows.first
            raise InputError(
                "the rows to predict begin at {first}, which is not a step after the training data; split rows "
                "of time with `TimeSeriesSplit`",
                first=first,
            )
        return int(offset)


def _read_targets(y: Any) -> Records:
    """The columns to forecast: a data frame, a series of pandas by its name, or an array (T,) or (T, F)."""
    if getattr(y, "ndim", None) == 1 and hasattr(y, "to_frame"):
        y = y.to_frame(TARGET if y.name is None else y.name)
    records = read_records(y) if hasattr(y, "columns") else None
    if records is not None:
        return records
    checks: Any = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
    values: Any = check_array(y, ensure_2d=False, input_name="y", **checks)
    values = values[:, None] if values.ndim == 1 else values
    names = tuple(f"{TARGET}{i + 1}" for i in range(values.shape[1])) if values.shape[1] > 1 else (TARGET,)
    return Records(names, lambda: iter(values.tolist()))


def _side_by_side(left: Records, right: Records) -> Records:
    """The columns of two tables; raises ValueError where their rows differ in number or a name is in both."""
    shared = set(left.names) & set(right.names)
    if shared:
        raise ValueError(f"the column {min(shared)!r} is in X and in y: leave it out of X, or give y another name")
    return Records(
        (*left.names, *right.names),
        lambda: ([*a, *b] for a, b in zip(left.rows(), right.rows(), strict=True)),
    )
