"""The sequences of files or of pairs and their targets, in memory and not encoded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.interpretation import Interpretation
from ohlol.data.lines import Example, Place, StaticCell
from ohlol.data.panel import Panel
from ohlol.data.readers.column_names import split_names
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.readers.series import Series
from ohlol.data.statics import StaticText
from ohlol.data.symbols import Symbols, in_reading_order
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate


@dataclass(frozen=True)
class RawData:
    """Sequences and their targets, in memory and not encoded."""

    task: str
    """A name in `TARGET_KINDS`."""
    settings: DataSettings
    """Complete, so that a file of the same kind is read in the same way."""
    inputs: list[Symbols] | list[NDArray[np.float64]]
    """Symbols, or rows of numbers (T, I)."""
    targets: list[Symbols] | list[str] | list[float] | list[NDArray[np.float64]] | None
    """A label for each step, a label, a set of labels or a number for each sequence, or rows of numbers (T, F).

    None where targets are not read or the inputs are their own targets."""
    places: list[Place]
    """The file and line where each sequence starts."""
    columns: tuple[str, ...] = ()
    """Of numbers: the names of the I input columns."""
    target_columns: tuple[str, ...] = ()
    """Of numbers: the names of the F target columns; one for a number for each sequence."""
    interpretation: Interpretation | None = field(default=None, repr=False, compare=False)
    """How the first file was read, and why; None for data that came from no file."""
    names: tuple[str, ...] = ()
    """The names of the series, where the sequences are series of numbers with a target each."""
    statics: list[tuple[StaticCell, ...]] = field(default_factory=list[tuple[StaticCell, ...]])
    """The cells of the static columns of each sequence; empty where there are none."""
    panel: Panel | None = None
    """The series, whose values `inputs` are, where the targets are a horizon."""

    @property
    def kind(self) -> TargetKind:
        """The kind of the targets."""
        return TARGET_KINDS[self.task].of_rows(bool(self.columns))

    @property
    def static_columns(self) -> tuple[str, ...]:
        """The names of the static columns beside sequences of symbols."""
        return tuple(split_names(self.settings.static)) if self.settings.static and not self.kind.horizon else ()

    def texts(self) -> list[Any]:
        """The sequences of symbols, with their static cells where they have some."""
        return list(starmap(StaticText, zip(self.inputs, self.statics, strict=True))) if self.statics else self.inputs

    def series(self) -> list[LabelledSeries]:
        """The series of numbers with a target each, with their names but without their targets."""
        parts = zip(self.inputs, self.places, self.names, strict=True)
        return [LabelledSeries(cast("NDArray[np.float64]", rows), None, place, name) for rows, place, name in parts]


def data_from_examples(examples: Sequence[Example], settings: DataSettings, *, with_targets: bool) -> RawData:
    """The data of some sequences of symbols; settings are complete."""
    labels: Any = [example.target for example in examples] if with_targets else None
    inputs = [in_reading_order(example.input, settings) for example in examples]
    columns = (settings.target or "",) if TARGET_KINDS[settings.task or ""].quantity else ()
    places = [example.place for example in examples]
    statics = [example.statics for example in examples if example.statics]
    return RawData(settings.task or "", settings, inputs, labels, places, target_columns=columns, statics=statics)


def data_from_panel(panel: Panel, settings: DataSettings, interpretation: Interpretation) -> RawData:
    """The data of a panel; settings are complete."""
    return RawData(
        settings.task or "",
        settings,
        [series.values for series in panel.series],
        None,
        [series.place for series in panel.series],
        panel.columns.numeric,
        panel.columns.targets,
        interpretation,
        panel=panel,
    )


def data_from_series(
    series: Sequence[Series], places: list[Place], settings: DataSettings, *, with_targets: bool
) -> RawData:
    """The data of series that are their own targets, with the place where each starts; settings are complete."""
    rows = [file_series.targets for file_series in series if file_series.targets is not None]
    return RawData(
        settings.task or "",
        settings,
        [file_series.inputs for file_series in series],
        rows if with_targets else None,
        places,
        series[0].input_names,
        series[0].target_names,
    )


def data_from_labelled(series: Sequence[LabelledSeries], settings: DataSettings, *, with_targets: bool) -> RawData:
    """The data of series with a target each; settings are complete.

    Raises:
        InputError: the series differ in their number of columns, or the settings are those of symbols.
    """
    widths = {one.rows.shape[1]: one.place for one in series}
    if len(widths) > 1:
        raise InputError(
            "{listed}; all must agree",
            listed=join_list(
                translate("{place}: {width} columns", place=place, width=width) for width, place in widths.items()
            ),
        )
    names = tuple(split_names(settings.input)) if settings.input else tuple(str(n + 1) for n in range(*widths))
    if settings.level is not None:
        raise InputError("`level` is for symbols, and {file} holds series of numbers", file=series[0].place.file)
    targets: Any = [one.target for one in series] if with_targets else None
    target_columns = (settings.target or "target",) if TARGET_KINDS[settings.task or ""].quantity else ()
    places = [one.place for one in series]
    inputs = [one.rows for one in series]
    series_names = tuple(one.name for one in series)
    return RawData(settings.task or "", settings, inputs, targets, places, names, target_columns, names=series_names)
