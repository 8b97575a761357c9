"""The arrays that an encoded corpus has, by what its codec encodes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ArrayLayout:
    """Which arrays an encoded corpus has, and the limits of their values."""

    inputs: int = 0
    """Number of input symbols; 0 where inputs are rows of numbers."""
    columns: int = 0
    """Columns of the inputs where they are rows of numbers."""
    targets: int = 0
    """Number of labels; 0 where there are no targets or they are rows of numbers."""
    target_columns: int = 0
    chars: int = 0
    """Number of distinct characters in words; 0 where the characters of words are not encoded."""
    bigrams: int = 0
    """Number of distinct bigrams; 0 where they are not encoded."""
    per_sequence: bool = False
    """Whether a sequence has one target, instead of one at each step."""
    multiple: bool = False
    """Whether the target of a sequence is a set of labels, a row of 0 and 1."""
    statics: int = 0
    """Numbers that the static columns of a sequence are encoded as; 0 where there are none."""

    def arrays(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """For each array its type and its shape without the first axis."""
        arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {"offsets": (np.dtype("<i8"), ())}
        number = np.dtype("<f4")
        arrays["inputs"] = (number, (self.columns,)) if self.columns else (smallest_type(self.inputs), ())
        if self.target_columns:
            arrays["targets"] = (number, (self.target_columns,))
        elif self.targets and self.multiple:
            arrays["targets"] = (np.dtype("u1"), (self.targets + 1,))
        elif self.targets:
            arrays["targets"] = (smallest_type(self.targets), ())
        if self.chars:
            arrays |= {"forms": (np.dtype("<u4"), ()), "spellings": (smallest_type(self.chars), ())}
            arrays["spelling_offsets"] = (np.dtype("<i8"), ())
        if self.bigrams:
            arrays["bigrams"] = (smallest_type(self.bigrams), (2,))
        if self.statics:
            arrays["statics"] = (number, (self.statics,))
        return arrays

    def with_unseen(self) -> "ArrayLayout":
        """The arrays of data with labels that were not seen in training, which are encoded as the number of labels."""
        return replace(self, targets=self.targets + 1) if self.targets and not self.multiple else self


def smallest_type(count: int) -> np.dtype[Any]:
    """The smallest integer type that holds the ids 0 to count - 1, little-endian.

    >>> smallest_type(256).str, smallest_type(257).str
    ('|u1', '<u2')
    """
    return np.dtype("u1" if count <= 1 << 8 else "<u2" if count <= 1 << 16 else "<u4")
