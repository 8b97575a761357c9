"""Columns beside a sequence that do not change within it, such as the country of a ticket, as a vector of numbers.

A category has a number for each category of the training data, 1 for its own; one that these do not hold has none. An
empty cell is a category of its own where training has some. A number is scaled to mean 0 and standard deviation 1, and
beside it stands 1 where it is missing.

Shapes: n sequences, C numbers of the vector of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ohlol.data.lines import Place, StaticCell, error_at, quote
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

MAX_CATEGORIES = 1000
"""Categories of all static columns together, each of which is a number of the vector."""
LIMIT = 20.0
"""Standard deviations at which a number is cut off, so that an outlier cannot dominate."""


class StaticText(NamedTuple):
    """A sequence of symbols with the cells of the static columns beside it."""

    symbols: list[str] | str
    cells: tuple[StaticCell, ...]


def check_categories(categories: Sequence[Sequence[str]]) -> None:
    """Raise InputError where static columns have too many categories."""
    count = sum(map(len, categories))
    if count > MAX_CATEGORIES:
        raise InputError(
            "`static` has {count:,} categories; at most {max_categories:,} are read, such as regions, and "
            "not a name of each series",
            count=count,
            max_categories=MAX_CATEGORIES,
        )


def one_hot(value: str, categories: Sequence[str]) -> list[float]:
    """1 for the category, 0 for the others; a category that is new has none.

    >>> one_hot("b", ("a", "b")), one_hot("c", ("a", "b"))
    ([0.0, 1.0], [0.0, 0.0])
    """
    return [float(value == category) for category in categories]


@dataclass(frozen=True)
class StaticColumn:
    """How the cells of one column are encoded; fitted to the training data."""

    name: str
    categories: tuple[str, ...] = ()
    """In the order of their code points; none of a column of numbers."""
    mean: float = 0.0
    std: float = 1.0

    @staticmethod
    def fit(name: str, cells: Sequence[StaticCell]) -> "StaticColumn":
        """The encoding of some cells: of numbers where each that is not missing holds one, and else of categories.

        Raises:
            InputError: all are missing.
        """
        there = [cell for cell in cells if cell.text]
        if not there:
            raise InputError("column {name}, which is `static`, holds no value: leave it out", name=quote(name))
        if any(isnan(cell.number) for cell in there):
            return StaticColumn(name, tuple(sorted({cell.text for cell in cells})))
        numbers = np.array([cell.number for cell in there])
        return StaticColumn(name, mean=float(numbers.mean()), std=float(numbers.std()) or 1.0)

    @property
    def size(self) -> int:
        """Its numbers in the vector."""
        return len(self.categories) or 2

    def encode(self, cell: StaticCell, place: Place) -> list[float]:
        """The numbers of a cell; raises InputError where a column of numbers holds something else."""
        if self.categories:
            return one_hot(cell.text, self.categories)
        if not cell.text:
            return [0.0, 1.0]
        if isnan(cell.number):
            raise error_at(
                place,
                translate(
                    "column {name} is {text}, and the model reads numbers there; leave a missing cell empty",
                    name=quote(self.name),
                    text=quote(cell.text),
                ),
            )
        return [float(np.clip((cell.number - self.mean) / self.std, -LIMIT, LIMIT)), 0.0]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        scale = {"mean": self.mean, "std": self.std}
        return {"name": self.name, **({"categories": list(self.categories)} if self.categories else scale)}

    @staticmethod
    def from_json(data: Any) -> "StaticColumn":
        """The reverse of `to_json`; raises KeyError, TypeError or ValueError where the data are damaged."""
        categories = tuple(data.get("categories", ()))
        if not all(isinstance(value, str) for value in (data["name"], *categories)):
            raise ValueError("the names and categories of static columns must be strings")
        if categories:
            return StaticColumn(data["name"], categories)
        mean, std = float(data["mean"]), float(data["std"])
        if not (isfinite(mean) and isfinite(std) and std > 0):
            raise ValueError("the mean or deviation of a static column is out of range")
        return StaticColumn(data["name"], mean=mean, std=std)


@dataclass(frozen=True)
class Statics:
    """How the static columns of sequences are encoded."""

    columns: tuple[StaticColumn, ...] = ()

    @staticmethod
    def fit(names: Sequence[str], rows: Sequence[tuple[StaticCell, ...]]) -> "Statics":
        """The encoding of the cells of n sequences.

        Raises:
            InputError: a column is empty, or there are too many categories.
        """
        cells = list(zip(*rows, strict=True))
        columns = tuple(StaticColumn.fit(name, own) for name, own in zip(names, cells, strict=True))
        check_categories([column.categories for column in columns])
        return Statics(columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def size(self) -> int:
        """C."""
        return sum(column.size for column in self.columns)

    def encode(self, rows: Sequence[tuple[StaticCell, ...]], places: Sequence[Place]) -> NDArray[np.float32]:
        """The vectors of n sequences, (n, C).

        Raises:
            InputError: a sequence has no cells, or a column of numbers holds something else.
        """
        if len(rows) != len(places):
            raise error_at(
                places[0],
                translate(
                    "the model reads the columns {names} beside the text, which are not given here: give a "
                    "file or a data frame that has them",
                    names=join_list(map(quote, self.names)),
                ),
            )
        vectors = [
            [value for column, cell in zip(self.columns, row, strict=True) for value in column.encode(cell, place)]
            for row, place in zip(rows, places, strict=True)
        ]
        return np.array(vectors, np.float32).reshape(len(rows), self.size)

    def to_json(self) -> list[dict[str, Any]]:
        """As JSON data."""
        return [column.to_json() for column in self.columns]

    @staticmethod
    def from_json(data: Any) -> "Statics":
        """The reverse of `to_json`; raises KeyError, TypeError or ValueError where the data are damaged."""
        return Statics(tuple(map(StaticColumn.from_json, data)))
