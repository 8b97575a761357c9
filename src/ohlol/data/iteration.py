"""The sequences of one file or of standard input, one at a time, each as soon as its lines arrive."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.formats import FilePath, open_file, open_lines
from ohlol.data.lines import Example, FileRange, Lines, Place, name_of
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.readers.series import Series, join_series
from ohlol.data.settings import check_settings
from ohlol.data.statics import StaticText
from ohlol.data.symbols import Symbols, in_reading_order
from ohlol.utils.errors import InputError


def iterate_inputs(
    path: FilePath, settings: DataSettings
) -> Iterator[tuple[Symbols | StaticText | NDArray[np.float64] | LabelledSeries, Place]]:
    """The inputs of one file with their places, each as soon as its lines arrive; series of several with their names.

    Texts have the cells of their static columns with them, where the settings name some.

    Raises:
        InputError: as `sequences.read` does, once the line is reached.
    """
    settings = check_settings(settings)
    contents, _ = open_file(open_lines(path, settings), settings, with_targets=False)
    if contents.series is not None:
        yield join_series(contents.series).inputs, Place(name_of(path), 1)
        return
    for one in contents.labelled or ():
        yield one, one.place
    for example in contents.examples or ():
        symbols = in_reading_order(example.input, settings)
        yield StaticText(symbols, example.statics) if example.statics else symbols, example.place


def iterate_examples(
    span: str | Path | FileRange, settings: DataSettings, *, with_targets: bool = True
) -> Iterator[Example]:
    """The sequences of symbols of a file or of a part of it, one at a time; settings are complete.

    Raises:
        InputError: as `sequences.read` does, once the line is reached.
    """
    contents, _ = open_file(Lines(span, settings.encoding), settings, with_targets=with_targets)
    if contents.labelled is not None:
        raise InputError(
            "{file}: series of numbers with a target each are not encoded as a corpus; train on the file",
            file=name_of(span.file if isinstance(span, FileRange) else span),
        )
    assert contents.examples is not None
    return contents.examples


def iterate_series(path: FilePath, settings: DataSettings, *, with_targets: bool = True) -> Iterator[Series]:
    """The series of one file, some rows at a time; settings are complete.

    Raises:
        InputError: as `sequences.read` does, once the row is reached.
    """
    contents, _ = open_file(open_lines(path, settings), settings, with_targets=with_targets)
    assert contents.series is not None
    return contents.series
