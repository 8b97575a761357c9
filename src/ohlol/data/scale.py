"""The scale of columns of numbers: they are encoded with mean 0 and standard deviation 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.data.counts import Moments


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each column."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(moments: Moments) -> "Scale":
        """The scale of some rows; a constant column has std 1."""
        std = np.sqrt(moments.variance)
        return Scale(tuple(moments.mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist()))

    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """The columns, scaled to mean 0 and standard deviation 1."""
        return ((rows - np.array(self.mean)) / np.array(self.std)).astype(np.float32)

    def undo(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The columns in their own units again."""
        return rows.astype(np.float64) * np.array(self.std) + np.array(self.mean)

    def to_json(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """The columns with these names, as JSON data."""
        return [{"name": n, "mean": m, "std": s} for n, m, s in zip(names, self.mean, self.std, strict=True)]

    @staticmethod
    def from_json(columns: Any) -> "Scale":
        """The inverse of `to_json`, without the names.

        Raises:
            KeyError, TypeError, ValueError: not what `to_json` writes.
        """
        scale = Scale(tuple(float(c["mean"]) for c in columns), tuple(float(c["std"]) for c in columns))
        if not np.isfinite([*scale.mean, *scale.std]).all() or min(scale.std) <= 0:
            raise ValueError("a column's mean or deviation is out of range")
        return scale
