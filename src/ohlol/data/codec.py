"""Codec: what data are encoded with, as arrays of ids or scaled numbers.

`codec_fitting` fits it to the training data, and `codec_encoding` encodes data with it. It is saved as the `vocab.json`
of a run, which every command that uses the run reads.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset
from ohlol.data.char_lm import CharLM
from ohlol.data.file_labels import FileLabels
from ohlol.data.layout import ArrayLayout
from ohlol.data.panel_codec import PanelCodec
from ohlol.data.scale import Scale
from ohlol.data.spans import is_iob
from ohlol.data.statics import Statics
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.data.vocab import Vocab
from ohlol.data.word_vectors import WordVectors
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list

NO_STATICS = Statics()
"""Of sequences without further columns."""


@dataclass(frozen=True)
class Codec:
    """Vocabularies of inputs, labels and characters, or the scales of columns, as the task's kind of targets needs.

    With word vectors, of which there are R, the ids of inputs go beyond the V symbols of training: V + i is the word i
    of the vectors, read as <unk> with a vector. A word that training did not hold has such an id.
    """

    task: str
    symbols: Vocab | None = None
    labels: Vocab | None = None
    chars: Vocab | None = None
    bigrams: Vocab | None = None
    columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    scale: Scale | None = None
    target_scale: Scale | None = None
    panel: PanelCodec | None = None
    vectors: WordVectors | None = None
    char_lms: tuple[CharLM, ...] = ()
    """Language models that read the text of the words; `chars` has their characters, too."""
    file_labels: FileLabels | None = None
    """The labels in the files, where they are IOB1 or IOB2 and `labels` are those of BIOES."""
    statics: Statics = NO_STATICS
    """The columns beside sequences of symbols."""

    @property
    def of_files(self) -> "Codec":
        """The codec that has the labels of the files; the same, where these are the labels of the model."""
        return self if self.file_labels is None else replace(self, labels=self.file_labels.labels, file_labels=None)

    def with_bioes(self, data: Dataset) -> "Codec":
        """The codec whose labels are those of BIOES; the same, where labels are not in IOB1 or IOB2.

        Args:
            data: encoded training data, which show the scheme and how frequent each label is.
        """
        if data.targets is None or self.labels is None or self.file_labels is not None or not self.marks_iob:
            return self
        labels, file_labels = FileLabels.fit(self.labels, data.targets, data.inputs.offsets)
        return replace(self, labels=labels, file_labels=file_labels)

    @property
    def marks_iob(self) -> bool:
        """Whether the labels of steps mark spans by B, I and O only."""
        has_steps = self.kind.has_labels and not self.kind.per_sequence
        return has_steps and self.labels is not None and is_iob(self.labels.symbols)

    def convert(self, data: Dataset) -> Dataset:
        """Data that `of_files` encoded, with the labels of the model as targets."""
        if self.file_labels is None or self.labels is None or data.targets is None:
            return data
        return replace(data, targets=self.file_labels.convert(data.targets, data.inputs.offsets, self.labels))

    @property
    def kind(self) -> TargetKind:
        """The kind of the targets."""
        return TARGET_KINDS[self.task].of_rows(self.scale is not None)

    @property
    def horizon(self) -> int:
        """Steps that are forecast from each row of a panel; 0 for other data."""
        return 0 if self.panel is None else self.panel.horizon

    @staticmethod
    def of_panel(task: str, panel: PanelCodec) -> "Codec":
        """The codec of a panel."""
        return Codec(task, columns=panel.columns.numeric, target_columns=panel.columns.targets, panel=panel)

    def layout(self, *, with_targets: bool = True) -> ArrayLayout:
        """The arrays of data that this codec encoded, with or without their targets."""
        if self.panel is not None:
            return ArrayLayout(columns=self.panel.inputs, target_columns=self.panel.outputs if with_targets else 0)
        if self.kind.numeric:
            return ArrayLayout(
                columns=len(self.columns), target_columns=len(self.target_columns) if with_targets else 0
            )
        return ArrayLayout(
            inputs=len(self.vector_rows) if self.symbols is not None else 0,
            columns=len(self.columns),
            targets=len(self.labels) if with_targets and self.labels is not None and self.kind.has_labels else 0,
            target_columns=len(self.target_columns) if with_targets else 0,
            chars=len(self.chars) if self.chars is not None else 0,
            bigrams=len(self.bigrams) if self.bigrams is not None else 0,
            per_sequence=self.kind.per_sequence,
            multiple=self.kind.multiple,
            statics=self.statics.size,
        )

    def can_read(self, other: "Codec") -> bool:
        """Whether arrays that another codec encoded hold ids of this one.

        It is the same, perhaps without vectors and language models.
        """
        alike = [
            replace(self, vectors=vectors, char_lms=lms)
            for vectors in (self.vectors, None)
            for lms in (self.char_lms, ())
        ]
        return other in [*alike, *(codec.of_files for codec in alike)]

    @cached_property
    def vector_rows(self) -> NDArray[np.int64]:
        """The row in the table of vectors of each id of an input, (V + R,); 0 for an id without a vector."""
        assert self.symbols is not None
        if self.vectors is None:
            return np.zeros(len(self.symbols), np.int64)
        return np.concatenate([self.vectors.rows_of(self.symbols.symbols), np.arange(1, len(self.vectors.words) + 1)])

    @cached_property
    def unknown_ids(self) -> NDArray[np.int64]:
        """For each id of an input, (V + R,), that of the same word if training did not hold it: <unk> or V + i."""
        assert self.symbols is not None
        assert self.symbols.unk is not None
        rows = self.vector_rows
        return np.where(rows > 0, len(self.symbols) - 1 + rows, self.symbols.unk)

    def encode_symbols(self, symbols: Sequence[str]) -> NDArray[np.int64]:
        """The ids of input symbols, (T,).

        Raises:
            UnknownSymbol: a symbol was not seen by a codec without <unk>.
        """
        assert self.symbols is not None
        ids = self.symbols.encode(symbols).astype(np.int64)
        if self.vectors is not None:
            unknown = np.flatnonzero(ids == self.symbols.unk)
            rows = self.vectors.rows_of(symbols[position] for position in unknown.tolist())
            ids[unknown] = np.where(rows > 0, len(self.symbols) - 1 + rows, ids[unknown])
        return ids

    def decode_symbols(self, ids: Iterable[int]) -> list[str]:
        """The symbols of input ids: those of training, and the words of the vectors."""
        assert self.symbols is not None
        symbols, words = self.symbols.symbols, () if self.vectors is None else self.vectors.words
        return [symbols[i] if i < len(symbols) else words[i - len(symbols)] for i in ids]

    def find(self, symbol: str) -> int | None:
        """The id of an input symbol; None where it is read as <unk> without a vector."""
        assert self.symbols is not None
        if self.vectors is None or symbol in self.symbols:
            return self.symbols.find(symbol)
        row = self.vectors.find(symbol)
        return len(self.symbols) - 1 + row if row else None

    def unknown(self, symbols: Sequence[str]) -> list[str]:
        """The input symbols of a sequence that are read as <unk> without a vector, each once, in order."""
        assert self.symbols is not None
        unknown = self.symbols.unknown(symbols)
        return unknown if self.vectors is None else [symbol for symbol in unknown if not self.vectors.find(symbol)]

    def check_columns(self, columns: tuple[str, ...], file: str) -> None:
        """Raise InputError where the columns of a series differ from those of training."""
        if columns != self.columns:
            raise InputError(
                "{file}: the input columns are {columns}; the model was trained on {expected}",
                file=file,
                columns=join_list(columns),
                expected=join_list(self.columns),
            )
