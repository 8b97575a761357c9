"""Files `.ts` of the archives of time series classification and regression (UCR, UEA, TSER).

Lines that begin with "@" describe the data, and each line below "@data" is a series: its dimensions, separated by
colons, with their values separated by commas, and then its class or its number.

Source: Bagnall et al., "The UEA multivariate time series classification archive, 2018" (2018).
"""

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from ohlol.config import DataSettings
from ohlol.data.lines import Line, Lines, error_at, nfc, quote
from ohlol.data.readers.base import CERTAIN, Confidence, Contents, Reader, default_task
from ohlol.data.readers.class_doubts import spelling
from ohlol.data.readers.column_names import list_names
from ohlol.data.readers.tables import check_size, number
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate

if TYPE_CHECKING:
    from ohlol.data.readers.labelled import LabelledSeries  # numpy, which `ohlol --help` does without

CLASS, QUANTITY = TargetKind(per_sequence=True), TargetKind(per_sequence=True, quantity=True)
KINDS = {"@classlabel": CLASS, "@targetlabel": QUANTITY}
"""The kind of targets by the line that announces them."""


class TsReader(Reader):
    """Series of one or several dimensions, of equal or unequal lengths, with a class or a number each."""

    name = "ts"
    targets = (CLASS, QUANTITY)

    def recognize(self, start: Lines, settings: DataSettings) -> Confidence | None:
        """By the name, and a first line that begins with "@"."""
        first = start.first(_is_content)
        is_ts = start.suffix == ".ts" and first is not None and first.text.lstrip().startswith("@")
        return Confidence(CERTAIN, translate("its name ends in .ts")) if is_ts else None

    def resolve(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> DataSettings:
        """The task, by the line that announces the targets."""
        return self._resolve(_header(lines.until(_is_data)), lines.file, settings, with_targets=with_targets)

    def open(self, lines: Lines, settings: DataSettings, *, with_targets: bool) -> Contents:
        """As in `Reader`."""
        header = _header(lines.until(_is_data))
        settings = self._resolve(header, lines.file, settings, with_targets=with_targets)
        has_target = any(header.get(name, "false").startswith("true") for name in KINDS)
        return Contents(settings, labelled=_series(lines, settings, has_target, with_targets))

    def _resolve(
        self, header: dict[str, str], file: str, settings: DataSettings, *, with_targets: bool
    ) -> DataSettings:
        if header.get("@timestamps", "false") == "true":
            raise InputError(
                "{file}: values with time stamps are not read; write the values of regular steps alone", file=file
            )
        if with_targets:
            self.refuse_columns(file, settings)
        kinds = [kind for name, kind in KINDS.items() if header.get(name, "false").startswith("true")]
        if with_targets and not kinds:
            raise InputError(
                "{file}: no line @classLabel true or @targetlabel true, so its series have no targets", file=file
            )
        return replace(settings, task=settings.task or default_task(next(iter(kinds), CLASS)))


def _is_content(text: str) -> bool:
    return bool(text.strip()) and not text.lstrip().startswith("#")


def _is_data(text: str) -> bool:
    return text.strip().lower() == "@data"


def _header(lines: list[Line]) -> dict[str, str]:
    """The lines that begin with "@", by their first word, in lower case."""
    words = (line.text.strip().lower().partition(" ") for line in lines if line.text.lstrip().startswith("@"))
    return {name: value.strip() for name, _, value in words}


def _classes(lines: Lines) -> dict[object, str]:
    """The classes that the header names, by what their spellings have in common; none where it names none."""
    words = (line.text.split() for line in lines.until(_is_data))
    names = next((names[2:] for names in words if names and names[0].lower() == "@classlabel"), [])
    return {spelling(nfc(name)): nfc(name) for name in names}


def _series(lines: Lines, settings: DataSettings, has_target: bool, with_targets: bool) -> "Iterator[LabelledSeries]":
    import numpy as np

    from ohlol.data.readers.labelled import LabelledSeries

    dimensions = count = 0
    classes = _classes(lines) if with_targets else {}
    is_quantity = TARGET_KINDS[settings.task or ""].quantity
    is_below = False
    for line in lines:
        if not is_below or not _is_content(line.text):
            is_below = is_below or _is_data(line.text)
            continue
        parts = line.text.split(":")
        if has_target and len(parts) == 1:
            raise error_at(line.place, translate("the series has no target after its last colon"))
        target = nfc(parts.pop().strip()) if has_target else None
        target = classes.get(spelling(target or ""), target)
        if classes and target and target not in classes.values():
            raise error_at(
                line.place,
                translate(
                    "the class {target} is not among those of @classLabel, {classes}",
                    target=quote(target),
                    classes=list_names(tuple(classes.values())),
                ),
            )
        columns = [[_value(cell, line) for cell in part.split(",")] for part in parts]
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise error_at(
                line.place,
                translate(
                    "dimensions of {lengths} values in one series", lengths=" and ".join(map(str, sorted(lengths)))
                ),
            )
        dimensions = dimensions or len(columns)
        if len(columns) != dimensions:
            raise error_at(
                line.place,
                translate(
                    "{count} dimensions, where the first series has {dimensions}",
                    count=len(columns),
                    dimensions=dimensions,
                ),
            )
        value = _target(target, line, is_quantity) if with_targets else None
        count += 1
        yield LabelledSeries(np.array(columns).T, value, line.place, str(count))
    if not is_below:
        raise InputError("{file}: has no line @data, below which a .ts file has its series", file=lines.file)


def _value(cell: str, line: Line) -> float:
    value = number(cell)
    if value is None or not isfinite(value):
        raise error_at(
            line.place,
            translate("{cell} is not a finite number; missing values are not read", cell=quote(cell.strip())),
        )
    return check_size(value, cell.strip(), line.place)


def _target(text: str | None, line: Line, is_quantity: bool) -> str | float:
    if not text:
        raise error_at(line.place, translate("the series has no target after its last colon"))
    value = number(text) if is_quantity else None
    if is_quantity and (value is None or not isfinite(value)):
        raise error_at(line.place, translate("the target {text} is not a finite number", text=quote(text)))
    return text if value is None else check_size(value, text, line.place)
