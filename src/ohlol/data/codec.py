"""Codec: what turns a corpus into arrays of ids and scores back into labels; knows nothing of files or models.

It is learned from the training data, written to a run's `vocab.json`, and the same for every command that reads the
run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.corpus.store import Layout
from ohlol.data.counts import Counts, Moments, chained, edged, numbers_of, symbols_of
from ohlol.data.lines import Place
from ohlol.data.sequences import Corpus
from ohlol.data.vocab import UNK, UnknownSymbol, Vocab
from ohlol.utils.errors import InputError, short

WORD_MIN_COUNT = 2
"""Task `next` over words: words seen once become <unk>, which keeps the softmax small and trains <unk>."""

BIGRAM_MIN_COUNT = 2
"""Pairs of neighbours seen once become <unk>: most would be never seen again."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each column, for numbers."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(moments: Moments) -> "Scale":
        """That of some rows; a constant column keeps its unit."""
        std = np.sqrt(moments.variance)
        return Scale(tuple(moments.mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist()))

    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Columns of mean 0 and deviation 1."""
        return ((rows - np.array(self.mean)) / np.array(self.std)).astype(np.float32)

    def undo(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The columns in their own units again."""
        return rows.astype(np.float64) * np.array(self.std) + np.array(self.mean)


@dataclass(frozen=True)
class Codec:
    """Vocabularies of inputs, labels and characters, or scales of numbers; which are None depends on the task."""

    task: str
    symbols: Vocab | None = None
    labels: Vocab | None = None
    chars: Vocab | None = None
    bigrams: Vocab | None = None
    columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    scale: Scale | None = None
    target_scale: Scale | None = None

    @staticmethod
    def learn(
        corpus: Corpus, *, unknowns: bool, spelled: bool = False, paired: bool = False, shared: bool = False
    ) -> "Codec":
        """Learn it from training data.

        Args:
            corpus: the training data.
            unknowns: whether there is an <unk> for symbols that were not seen.
            spelled: whether words are read through their characters too.
            paired: whether characters are read together with their neighbours too.
            shared: whether inputs and labels are the same symbols, as in the tutorial: hello -> ohlol has the label e.
        """
        return Codec.counted(
            corpus.task,
            corpus.settings.level,
            Counts.of(corpus, paired=paired),
            unknowns=unknowns,
            spelled=spelled,
            paired=paired,
            shared=shared,
        )

    @staticmethod
    def counted(
        task: str,
        level: str | None,
        counts: Counts,
        *,
        unknowns: bool,
        spelled: bool = False,
        paired: bool = False,
        shared: bool = False,
    ) -> "Codec":
        """The same from what was counted."""
        if task == "forecast":
            assert counts.inputs is not None
            assert counts.targets is not None
            return Codec(
                task,
                columns=counts.columns,
                target_columns=counts.target_columns,
                scale=Scale.of(counts.inputs),
                target_scale=Scale.of(counts.targets),
            )
        rare = WORD_MIN_COUNT if unknowns and task == "next" and level == "word" else 1
        symbols = Vocab.counted(counts.symbols, unk=unknowns, min_count=rare)
        if task == "next":
            return Codec(task, symbols, symbols)
        labels = Vocab.counted(counts.labels, unk=False)
        if shared:
            symbols, labels = _joined(symbols, labels), _joined(labels, symbols)
        words = symbols.symbols[symbols.unk is not None :]
        chars = Vocab.build(words, unk=True) if spelled else None
        bigrams = Vocab.counted(counts.bigrams, unk=True, min_count=BIGRAM_MIN_COUNT) if paired else None
        return Codec(task, symbols, labels, chars, bigrams)

    def layout(self, *, targets: bool = True) -> Layout:
        """The arrays of a corpus that this encodes, with or without its targets."""
        if self.task == "forecast":
            return Layout(columns=len(self.columns), target_columns=len(self.target_columns) if targets else 0)
        assert self.symbols is not None
        return Layout(
            inputs=len(self.symbols),
            targets=len(self.labels) if targets and self.labels is not None and self.task != "next" else 0,
            chars=len(self.chars) if self.chars is not None else 0,
            bigrams=len(self.bigrams) if self.bigrams is not None else 0,
            whole=self.task == "classify",
        )

    def encode(self, corpus: Corpus) -> Dataset:
        """Arrays of a corpus; its targets too, where it has them.

        Raises:
            InputError: a symbol that was not seen in training where there is no <unk>, a label that was not seen, with
                file and line; columns other than those of training.
        """
        if self.task == "forecast":
            return self._encode_numbers(corpus)
        assert self.symbols is not None
        sequences = symbols_of(corpus.inputs)
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        ends = np.cumsum(lengths)
        ids = self._ids(self.symbols, chained(sequences), corpus.places, ends, "symbol")
        inputs = Ragged(ids, np.concatenate([np.zeros(1, np.int64), ends]))
        if self.task == "next" and len(inputs.values) < 2:
            raise InputError(
                f"{corpus.places[0][0]}: a text of one symbol; the next one is the target, so it takes two"
            )
        targets = None
        if corpus.targets is not None and self.task != "next":
            assert self.labels is not None
            wanted: Any = corpus.targets
            whole = self.task == "classify"
            given = list(wanted) if whole else chained(wanted)
            targets = self._ids(
                self.labels, given, corpus.places, np.arange(1, len(wanted) + 1) if whole else ends, "label"
            )
        forms, spellings = self._spell(sequences) if self.chars is not None else (None, None)
        bigrams = None
        if self.bigrams is not None:
            found = self.bigrams.encode_pairs(edged(sequences)).astype(np.int64)
            left = np.arange(len(ids)) + np.repeat(np.arange(len(lengths)), lengths)
            bigrams = np.stack([found[left], found[left + 1]], axis=1)
        return Dataset(inputs, targets, self.task == "classify", forms, spellings, bigrams)

    def ids(self, symbols: Sequence[str], file: str, line: int) -> NDArray[np.int64]:
        """The ids of input symbols; raises InputError, with file and line, for one that was not seen in training."""
        assert self.symbols is not None
        return self._ids(self.symbols, symbols, [Place(file, line)], np.array([len(symbols)]), "symbol")

    def _ids(
        self, vocab: Vocab, symbols: Sequence[str], places: Sequence[Place], ends: NDArray[np.int64], kind: str
    ) -> NDArray[np.int64]:
        """The ids of the symbols of sequences, one after the other; where each ends leads to its place."""
        try:
            return vocab.encode(symbols).astype(np.int64)
        except UnknownSymbol as unknown:
            file, line = places[int(np.searchsorted(ends, unknown.position, side="right"))]
            said = f"{file}:{line}: {kind} {unknown.symbol!r} was not seen in training; {seen(vocab)}"
            raise InputError(said) from None

    def _spell(self, sequences: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], Ragged]:
        assert self.chars is not None
        table: dict[str, int] = {}
        forms = np.fromiter((table.setdefault(w, len(table)) for s in sequences for w in s), np.int64)
        return forms, _ragged([self.chars.encode(word or "\0") for word in table])  # an empty word has no letter

    def _encode_numbers(self, corpus: Corpus) -> Dataset:
        assert self.scale is not None
        assert self.target_scale is not None
        self.refuse_others(corpus.columns, corpus.places[0].file)
        for rows, (file, _) in zip(corpus.inputs, corpus.places, strict=True):
            if len(rows) < 2:
                raise InputError(f"{file}: a series of one row; the next row is the target, so it takes two at least")
        rows = [self.scale.apply(r)[:-1] for r in numbers_of(corpus.inputs)]
        inputs = Ragged(np.concatenate(rows), np.cumsum([0, *map(len, rows)], dtype=np.int64))
        targets = None
        if corpus.targets is not None:
            targets = np.concatenate([self.target_scale.apply(r)[1:] for r in numbers_of(corpus.targets)])
        return Dataset(inputs, targets)

    def refuse_others(self, columns: tuple[str, ...], file: str) -> None:
        """Raise InputError where the columns of a series are not those of training."""
        if columns != self.columns:
            raise InputError(
                f"{file}: the input columns are {', '.join(columns)}; "
                f"the model was trained on {', '.join(self.columns)}"
            )

    def to_json(self) -> dict[str, Any]:
        """What `vocab.json` holds."""
        if self.task == "forecast":
            assert self.scale is not None
            assert self.target_scale is not None
            return {
                "task": self.task,
                "columns": [
                    {"name": n, "mean": m, "std": s}
                    for n, m, s in zip(self.columns, self.scale.mean, self.scale.std, strict=True)
                ],
                "target_columns": [
                    {"name": n, "mean": m, "std": s}
                    for n, m, s in zip(self.target_columns, self.target_scale.mean, self.target_scale.std, strict=True)
                ],
            }
        labels = self.labels if self.task != "next" else None
        named = {"symbols": self.symbols, "labels": labels, "chars": self.chars, "bigrams": self.bigrams}
        return {"task": self.task, **{k: v.to_json() for k, v in named.items() if v is not None}}

    @staticmethod
    def from_json(data: Any) -> "Codec":
        """The reverse of `to_json`.

        Raises:
            InputError: not what `to_json` writes.
        """
        try:
            task = data["task"]
            if task == "forecast":
                inputs, targets = data["columns"], data["target_columns"]
                names, scale = tuple(str(c["name"]) for c in inputs), _scale(inputs)
                return Codec(
                    task,
                    columns=names,
                    target_columns=tuple(str(c["name"]) for c in targets),
                    scale=scale,
                    target_scale=_scale(targets),
                )
            symbols = Vocab.from_json(data["symbols"])
            labels = symbols if task == "next" else Vocab.from_json(data["labels"])
            chars, bigrams = (Vocab.from_json(data[k]) if k in data else None for k in ("chars", "bigrams"))
            return Codec(task, symbols, labels, chars, bigrams)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"vocab.json is not a vocabulary of ohlol: {short(error)}") from None


def seen(vocab: Vocab) -> str:
    """The first symbols of a vocabulary, for a message."""
    return f"the {len(vocab)} seen are {' '.join(map(repr, vocab.symbols[:12]))}" + " ..." * (len(vocab) > 12)


def _scale(columns: Any) -> Scale:
    scale = Scale(tuple(float(c["mean"]) for c in columns), tuple(float(c["std"]) for c in columns))
    if not np.isfinite([*scale.mean, *scale.std]).all() or min(scale.std) <= 0:
        raise ValueError("a column's mean or deviation is out of range")
    return scale


def _ragged(rows: Sequence[NDArray[Any]]) -> Ragged:
    values = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return Ragged(values, np.cumsum([0, *map(len, rows)], dtype=np.int64))


def _joined(vocab: Vocab, other: Vocab) -> Vocab:
    """A vocabulary that holds the symbols of another one too, as never seen."""
    counts = {symbol: 0 for symbol in other.symbols if symbol != UNK} | dict(
        zip(vocab.symbols, vocab.counts, strict=True)
    )
    symbols = sorted(counts, key=lambda symbol: (symbol != UNK, symbol))
    return Vocab(tuple(symbols), tuple(counts[symbol] for symbol in symbols))
