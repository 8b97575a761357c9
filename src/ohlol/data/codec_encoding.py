"""Encoding data with a codec: sequences and their targets become arrays of ids or scaled numbers."""

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.codec import Codec
from ohlol.data.counts import as_column, as_numbers, as_symbols, concatenate, with_edges
from ohlol.data.lines import Place, quote
from ohlol.data.panel_dataset import encode_panel
from ohlol.data.raw_data import RawData
from ohlol.data.vocab import UnknownSymbol, Vocab, list_symbols
from ohlol.utils.errors import InputError, InputWarning
from ohlol.utils.translation import join_list, message_id, translate

SYMBOL, LABEL = message_id("symbol"), message_id("label")
WRONG = message_id("every prediction for them counts as wrong")
MISSED = message_id("each of them counts as missed")
"""What becomes of labels that training did not see; of a set, no prediction is for one of them."""

LISTED_LABELS = 10
"""Labels that a warning lists."""


def encode_data(codec: Codec, data: RawData, *, unseen_labels: bool = False) -> Dataset:
    """The arrays of data, with their targets where they have them.

    Args:
        codec: of the model.
        data: the data.
        unseen_labels: whether labels that were not seen in training are encoded as K, the number of labels, with a
            warning; evaluation counts them as wrong.

    Raises:
        InputError: a symbol without <unk>, or a label, was not seen in training, with file and line; the columns
            are not those of training.
    """
    if codec.panel is not None:
        assert data.panel is not None
        codec.panel.check_panel(data.panel, str(data.places[0].file))
        return encode_panel(codec.panel, data.panel)
    if codec.kind.numeric:
        return _encode_numbers(codec, data)
    if codec.file_labels is not None:
        return codec.convert(encode_data(codec.of_files, data, unseen_labels=unseen_labels))
    inputs = _encode_inputs(codec, data)
    if codec.kind.continues_text and len(inputs.values) < 2:
        raise InputError(
            "{places}: a text of one symbol; the target is the next symbol, so it needs two",
            places=data.places[0][0],
        )
    targets = None
    if data.targets is not None and codec.target_scale is not None:
        targets = codec.target_scale.apply(as_column(data.targets))
    elif data.targets is not None and codec.kind.has_labels:
        targets = _encode_labels(codec, data, unseen_labels=unseen_labels)
    word_ids, word_chars = (None, None) if codec.chars is None else _encode_words(codec.chars, as_symbols(data.inputs))
    bigrams = None if codec.bigrams is None else _encode_bigrams(codec.bigrams, as_symbols(data.inputs), inputs.lengths)
    statics = codec.statics.encode(data.statics, data.places) if codec.statics.size else None
    return Dataset(inputs, targets, codec.kind.per_sequence, word_ids, word_chars, bigrams, statics=statics)


def encode_text(codec: Codec, symbols: Sequence[str], place: Place) -> NDArray[np.int64]:
    """The ids of the symbols of a text or of a part of it, (T,).

    Args:
        codec: of the model.
        symbols: of the text.
        place: where they are, for an error.

    Raises:
        InputError: a symbol was not seen in training by a codec without <unk>.
    """
    return _find_ids(codec, symbols, [place], np.array([len(symbols)]), SYMBOL)


def _find_ids(
    codec: Codec, symbols: Sequence[str], places: Sequence[Place], ends: NDArray[np.int64], kind: str
) -> NDArray[np.int64]:
    """The ids of the symbols or labels of all sequences in order; the sequence from `places[i]` ends at `ends[i]`."""
    vocab = codec.symbols if kind == SYMBOL else codec.labels
    assert vocab is not None
    try:
        return codec.encode_symbols(symbols) if kind == SYMBOL else vocab.encode(symbols).astype(np.int64)
    except UnknownSymbol as unknown:
        raise InputError(
            "{place}: {kind} {symbol!r} was not seen in training; {vocab}",
            place=places[int(np.searchsorted(ends, unknown.position, side="right"))],
            kind=kind,
            symbol=unknown.symbol,
            vocab=list_symbols(vocab),
        ) from None


def _encode_inputs(codec: Codec, data: RawData) -> Ragged:
    """The ids of symbols, or the scaled rows of numbers, of all sequences."""
    offsets = np.cumsum([0, *map(len, data.inputs)], dtype=np.int64)
    if codec.scale is None:
        return Ragged(_find_ids(codec, concatenate(as_symbols(data.inputs)), data.places, offsets[1:], SYMBOL), offsets)
    codec.check_columns(data.columns, data.places[0].file)
    return Ragged(codec.scale.apply(np.concatenate(as_numbers(data.inputs))), offsets)


def _encode_labels(codec: Codec, data: RawData, *, unseen_labels: bool) -> NDArray[np.int64] | NDArray[np.uint8]:
    """The ids of labels, or sets of labels as rows of 0 and 1."""
    assert codec.labels is not None
    raw = cast("Sequence[Any]", data.targets)
    if codec.kind.has_one_label:
        labels, ends = list(raw), np.arange(1, len(raw) + 1)
    else:
        labels, ends = concatenate(raw), np.cumsum([*map(len, raw)], dtype=np.int64)
    if unseen_labels and (unseen := codec.labels.unknown(labels)):
        ids = _encode_with_unseen(codec, labels, unseen, data.places[0].file)
    else:
        ids = _find_ids(codec, labels, data.places, ends, LABEL)
    return _multi_hot(ids, ends, len(codec.labels)) if codec.kind.multiple else ids


def _encode_with_unseen(codec: Codec, labels: Sequence[str], unseen: list[str], file: str) -> NDArray[np.int64]:
    """The ids of labels, some of which were not seen in training; raises InputError where none was."""
    vocab = codec.labels
    assert vocab is not None
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
            missed=translate(MISSED if codec.kind.multiple else WRONG),
            listed=listed,
        ),
        InputWarning,
        2,
    )
    return ids


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


def _encode_words(chars: Vocab, sequences: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], Ragged]:
    """The row of each word in the table of distinct words, (N,), and the characters of these."""
    table: dict[str, int] = {}
    word_ids = np.fromiter((table.setdefault(w, len(table)) for s in sequences for w in s), np.int64)
    rows = [chars.encode(word or "\0") for word in table]  # an empty word has no character
    values = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return word_ids, Ragged(values, np.cumsum([0, *map(len, rows)], dtype=np.int64))


def _encode_bigrams(
    bigrams: Vocab, sequences: Sequence[Sequence[str]], lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The ids of the pairs that each character forms with those before and after it, (N, 2)."""
    pairs = bigrams.encode_pairs(with_edges(sequences)).astype(np.int64)
    first = np.arange(lengths.sum()) + np.repeat(np.arange(len(lengths)), lengths)
    return np.stack([pairs[first], pairs[first + 1]], axis=1)


def _encode_numbers(codec: Codec, data: RawData) -> Dataset:
    """Series of numbers: inputs are all rows but the last, targets all but the first."""
    assert codec.scale is not None
    assert codec.target_scale is not None
    codec.check_columns(data.columns, data.places[0].file)
    for rows, (file, _) in zip(data.inputs, data.places, strict=True):
        if len(rows) < 2:
            raise InputError(
                "{file}: a series of one row; the target is the next row, so it needs two at least", file=file
            )
    rows = [codec.scale.apply(r)[:-1] for r in as_numbers(data.inputs)]
    inputs = Ragged(np.concatenate(rows), np.cumsum([0, *map(len, rows)], dtype=np.int64))
    targets = None
    if data.targets is not None:
        targets = np.concatenate([codec.target_scale.apply(r)[1:] for r in as_numbers(data.targets)])
    return Dataset(inputs, targets)
