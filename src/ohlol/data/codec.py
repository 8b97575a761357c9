"""Codec: encodes data as arrays of ids or scaled numbers.

It is fitted to the training data and saved as a run's `vocab.json`, which every command that uses the run reads.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.char_lm import CharLM
from ohlol.data.counts import Counts, as_column, as_numbers, as_symbols, concatenate, with_edges
from ohlol.data.file_labels import FileLabels
from ohlol.data.layout import ArrayLayout
from ohlol.data.lines import Place, quote
from ohlol.data.panel_codec import PanelCodec
from ohlol.data.panel_dataset import encode_panel
from ohlol.data.scale import Scale
from ohlol.data.sequences import RawData
from ohlol.data.spans import is_iob
from ohlol.data.statics import Statics
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.data.vocab import UNK, UnknownSymbol, Vocab
from ohlol.data.word_vectors import WordVectors
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import join_list, message_id, translate

WORD_MIN_COUNT = 2
"""Where the target is the next word, words that occur once become <unk>: a smaller softmax, and <unk> is trained."""

BIGRAM_MIN_COUNT = 2
"""Pairs of neighbours that occur once become <unk>; most never occur again."""

NO_STATICS = Statics()
"""Of sequences without further columns."""
SYMBOL, LABEL = message_id("symbol"), message_id("label")
WRONG = message_id("every prediction for them counts as wrong")
MISSED = message_id("each of them counts as missed")
"""What becomes of labels that training did not see; of a set, no prediction is for one of them."""

LISTED_LABELS = 10
"""Labels that a warning lists."""


def supports_chars(kind: TargetKind, level: str | None) -> bool:
    """Whether a model for such data can read the characters of each word in addition to the word."""
    return kind.is_supervised and level == "word"


def supports_bigrams(kind: TargetKind, level: str | None) -> bool:
    """Whether a model for such data can read each character in pairs with its neighbours."""
    return kind.is_supervised and level == "char"


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

    @staticmethod
    def fit(
        data: RawData,
        *,
        unknowns: bool,
        with_chars: bool = False,
        with_bigrams: bool = False,
        joint_vocabulary: bool = False,
    ) -> "Codec":
        """Build the codec from training data.

        Args:
            data: the training data.
            unknowns: whether the vocabulary has an <unk> for symbols that were not seen.
            with_chars: whether the characters of words are encoded too.
            with_bigrams: whether pairs of neighbouring characters are encoded too.
            joint_vocabulary: whether inputs and labels are the same symbols, as in the tutorial, where e is a label of
                hello -> ohlol.
        """
        codec = Codec.from_counts(
            data.task,
            data.settings.level,
            Counts.of(data, with_bigrams=with_bigrams),
            unknowns=unknowns,
            with_chars=with_chars,
            with_bigrams=with_bigrams,
            joint_vocabulary=joint_vocabulary,
        )
        return replace(codec, statics=Statics.fit(data.static_columns, data.statics)) if data.statics else codec

    @staticmethod
    def from_counts(
        task: str,
        level: str | None,
        counts: Counts,
        *,
        unknowns: bool,
        with_chars: bool = False,
        with_bigrams: bool = False,
        joint_vocabulary: bool = False,
    ) -> "Codec":
        """Build the codec from statistics; arguments are those of `fit`."""
        kind = TARGET_KINDS[task]
        if kind.numeric:
            assert counts.inputs is not None
            assert counts.targets is not None
            return Codec(
                task,
                columns=counts.columns,
                target_columns=counts.target_columns,
                scale=Scale.of(counts.inputs),
                target_scale=Scale.of(counts.targets),
            )
        if counts.inputs is not None:
            return Codec(
                task,
                labels=None if kind.quantity else Vocab.from_counts(counts.labels, unk=False),
                columns=counts.columns,
                target_columns=counts.target_columns,
                scale=Scale.of(counts.inputs),
                target_scale=None if counts.targets is None else Scale.of(counts.targets),
            )
        min_count = WORD_MIN_COUNT if unknowns and kind.continues_text and level == "word" else 1
        symbols = Vocab.from_counts(counts.symbols, unk=unknowns, min_count=min_count)
        if kind.continues_text:
            return Codec(task, symbols, symbols)
        if kind.quantity:
            assert counts.targets is not None
            chars = Vocab.build(symbols.symbols[unknowns:], unk=True) if with_chars else None
            scale = Scale.of(counts.targets)
            return Codec(task, symbols, chars=chars, target_columns=counts.target_columns, target_scale=scale)
        labels = Vocab.from_counts(counts.labels, unk=False)
        if kind.multiple and not len(labels):
            raise InputError("every set of labels is empty; choose another `target`, or give sequences with labels")
        if joint_vocabulary:
            symbols, labels = _joined(symbols, labels), _joined(labels, symbols)
        words = symbols.symbols[symbols.unk is not None :]
        chars = Vocab.build(words, unk=True) if with_chars else None
        bigrams = Vocab.from_counts(counts.bigrams, unk=True, min_count=BIGRAM_MIN_COUNT) if with_bigrams else None
        return Codec(task, symbols, labels, chars, bigrams)

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

    def encode(self, data: RawData, *, unseen_labels: bool = False) -> Dataset:
        """The arrays of data, with their targets where they have them.

        Args:
            data: the data.
            unseen_labels: whether labels that were not seen in training are encoded as K, the number of labels, with a
                warning; evaluation counts them as wrong.

        Raises:
            InputError: a symbol without <unk>, or a label, was not seen in training, with file and line; the columns
                are not those of training.
        """
        if self.panel is not None:
            assert data.panel is not None
            self.panel.check_panel(data.panel, str(data.places[0].file))
            return encode_panel(self.panel, data.panel)
        if self.kind.numeric:
            return self._encode_numbers(data)
        if self.file_labels is not None:
            return self.convert(self.of_files.encode(data, unseen_labels=unseen_labels))
        sequences = as_symbols(data.inputs)
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        ends = np.cumsum(lengths)
        if self.scale is not None:
            self.check_columns(data.columns, data.places[0].file)
            steps = self.scale.apply(np.concatenate(as_numbers(data.inputs)))
        else:
            assert self.symbols is not None
            steps = self._ids(self.symbols, concatenate(sequences), data.places, ends, SYMBOL)
        inputs = Ragged(steps, np.concatenate([np.zeros(1, np.int64), ends]))
        if self.kind.continues_text and len(inputs.values) < 2:
            raise InputError(
                "{places}: a text of one symbol; the target is the next symbol, so it needs two",
                places=data.places[0][0],
            )
        targets = None
        if data.targets is not None and self.target_scale is not None:
            targets = self.target_scale.apply(as_column(data.targets))
        elif data.targets is not None and self.kind.has_labels:
            assert self.labels is not None
            raw: Any = data.targets
            labels = list(raw) if self.kind.has_one_label else concatenate(raw)
            label_ends = np.arange(1, len(raw) + 1) if self.kind.has_one_label else ends
            if self.kind.multiple:
                label_ends = np.cumsum([len(labels_of_row) for labels_of_row in raw])
            if unseen_labels and (unseen := self.labels.unknown(labels)):
                targets = self._with_unseen(self.labels, labels, unseen, data.places[0].file)
            else:
                targets = self._ids(self.labels, labels, data.places, label_ends, LABEL)
            if self.kind.multiple:
                targets = _multi_hot(targets, label_ends, len(self.labels))
        word_ids, word_chars = self._encode_words(sequences) if self.chars is not None else (None, None)
        bigrams = None
        if self.bigrams is not None:
            pairs = self.bigrams.encode_pairs(with_edges(sequences)).astype(np.int64)
            first_pairs = np.arange(len(steps)) + np.repeat(np.arange(len(lengths)), lengths)
            bigrams = np.stack([pairs[first_pairs], pairs[first_pairs + 1]], axis=1)
        statics = self.statics.encode(data.statics, data.places) if self.statics.size else None
        return Dataset(inputs, targets, self.kind.per_sequence, word_ids, word_chars, bigrams, statics=statics)

    def ids(self, symbols: Sequence[str], file: str, line: int) -> NDArray[np.int64]:
        """The ids of input symbols; raises InputError, with file and line, for one that was not seen in training."""
        assert self.symbols is not None
        return self._ids(self.symbols, symbols, [Place(file, line)], np.array([len(symbols)]), SYMBOL)

    def _ids(
        self, vocab: Vocab, symbols: Sequence[str], places: Sequence[Place], ends: NDArray[np.int64], kind: str
    ) -> NDArray[np.int64]:
        """The ids of the symbols of all sequences in order; the sequence from `places[i]` ends at `ends[i]`."""
        try:
            return self.encode_symbols(symbols) if kind == SYMBOL else vocab.encode(symbols).astype(np.int64)
        except UnknownSymbol as unknown:
            raise InputError(
                "{place}: {kind} {symbol!r} was not seen in training; {vocab}",
                place=places[int(np.searchsorted(ends, unknown.position, side="right"))],
                kind=kind,
                symbol=unknown.symbol,
                vocab=list_symbols(vocab),
            ) from None

    def _with_unseen(self, vocab: Vocab, labels: Sequence[str], unseen: list[str], file: str) -> NDArray[np.int64]:
        """The ids of labels, some of which were not seen in training; raises InputError where none was."""
        ids = np.fromiter((vocab.find(label) if label in vocab else len(vocab) for label in labels), np.int64)
        count = int((ids == len(vocab)).sum())
        if count == len(ids):
            raise InputError(
                "{file}: no label of it was seen in training; {vocab}; choose its `target`",
                file=file,
                vocab=list_symbols(vocab),
            )
        more = translate(" and {count} more", count=len(unseen) - LISTED_LABELS) * (len(unseen) > LISTED_LABELS)
        listed = join_list(map(quote, unseen[:LISTED_LABELS])) + more
        warnings.warn(
            translate(
                "{file}: {count:,} of {total:,} labels were not seen in training, and {missed}: {listed}",
                file=file,
                count=count,
                total=len(ids),
                missed=translate(MISSED if self.kind.multiple else WRONG),
                listed=listed,
            ),
            InputWarning,
            2,
        )
        return ids

    def _encode_words(self, sequences: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], Ragged]:
        assert self.chars is not None
        table: dict[str, int] = {}
        word_ids = np.fromiter((table.setdefault(w, len(table)) for s in sequences for w in s), np.int64)
        return word_ids, _ragged([self.chars.encode(word or "\0") for word in table])  # an empty word has no character

    def _encode_numbers(self, data: RawData) -> Dataset:
        assert self.scale is not None
        assert self.target_scale is not None
        self.check_columns(data.columns, data.places[0].file)
        for rows, (file, _) in zip(data.inputs, data.places, strict=True):
            if len(rows) < 2:
                raise InputError(
                    "{file}: a series of one row; the target is the next row, so it needs two at least", file=file
                )
        rows = [self.scale.apply(r)[:-1] for r in as_numbers(data.inputs)]
        inputs = Ragged(np.concatenate(rows), np.cumsum([0, *map(len, rows)], dtype=np.int64))
        targets = None
        if data.targets is not None:
            targets = np.concatenate([self.target_scale.apply(r)[1:] for r in as_numbers(data.targets)])
        return Dataset(inputs, targets)

    def check_columns(self, columns: tuple[str, ...], file: str) -> None:
        """Raise InputError where the columns of a series differ from those of training."""
        if columns != self.columns:
            raise InputError(
                "{file}: the input columns are {columns}; the model was trained on {expected}",
                file=file,
                columns=join_list(columns),
                expected=join_list(self.columns),
            )


def list_symbols(vocab: Vocab) -> str:
    """The first symbols of a vocabulary, for a message."""
    return translate(
        "the {count} seen are {symbols}", count=len(vocab), symbols=" ".join(map(repr, vocab.symbols[:12]))
    ) + " ..." * (len(vocab) > 12)


def _multi_hot(ids: NDArray[np.int64], ends: NDArray[np.int64], K: int) -> NDArray[np.uint8]:
    """Sets of labels as rows of 0 and 1, (n, K + 1); the last column counts labels that training did not see.

    Args:
        ids: of the labels of all sets in order; K for one that training did not see.
        ends: set i ends at `ends[i]`.
        K: the number of labels.
    """
    hot = np.zeros((len(ends), K + 1), np.uint8)
    rows = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    hot[rows, ids] = 1
    hot[:, K] = np.minimum(np.bincount(rows[ids == K], minlength=len(ends)), 255)
    return hot


def _ragged(rows: Sequence[NDArray[Any]]) -> Ragged:
    values = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return Ragged(values, np.cumsum([0, *map(len, rows)], dtype=np.int64))


def _joined(vocab: Vocab, other: Vocab) -> Vocab:
    """A vocabulary with the symbols of another one added, each with a count of 0."""
    symbols = tuple(symbol for symbol in other.symbols if symbol != UNK)
    return vocab.union(Vocab(symbols, (0,) * len(symbols)))
