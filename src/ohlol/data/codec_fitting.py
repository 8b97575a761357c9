"""Fitting a codec to training data: vocabularies from the counts of symbols, scales from the moments of numbers."""

from dataclasses import replace

from ohlol.data.codec import Codec
from ohlol.data.counts import Counts
from ohlol.data.raw_data import RawData
from ohlol.data.scale import Scale
from ohlol.data.statics import Statics
from ohlol.data.targets import TARGET_KINDS, TargetKind
from ohlol.data.vocab import UNK, Vocab
from ohlol.utils.errors import InputError

WORD_MIN_COUNT = 2
"""Where the target is the next word, words that occur once become <unk>: a smaller softmax, and <unk> is trained."""

BIGRAM_MIN_COUNT = 2
"""Pairs of neighbours that occur once become <unk>; most never occur again."""


def supports_chars(kind: TargetKind, level: str | None) -> bool:
    """Whether a model for such data can read the characters of each word in addition to the word."""
    return kind.is_supervised and level == "word"


def supports_bigrams(kind: TargetKind, level: str | None) -> bool:
    """Whether a model for such data can read each character in pairs with its neighbours."""
    return kind.is_supervised and level == "char"


def fit_codec(
    data: RawData,
    *,
    unknowns: bool,
    with_chars: bool = False,
    with_bigrams: bool = False,
    joint_vocabulary: bool = False,
) -> Codec:
    """Build the codec from training data.

    Args:
        data: the training data.
        unknowns: whether the vocabulary has an <unk> for symbols that were not seen.
        with_chars: whether the characters of words are encoded too.
        with_bigrams: whether pairs of neighbouring characters are encoded too.
        joint_vocabulary: whether inputs and labels are the same symbols, as in the tutorial, where e is a label of
            hello -> ohlol.
    """
    codec = fit_to_counts(
        data.task,
        data.settings.level,
        Counts.of(data, with_bigrams=with_bigrams),
        unknowns=unknowns,
        with_chars=with_chars,
        with_bigrams=with_bigrams,
        joint_vocabulary=joint_vocabulary,
    )
    return replace(codec, statics=Statics.fit(data.static_columns, data.statics)) if data.statics else codec


def fit_to_counts(
    task: str,
    level: str | None,
    counts: Counts,
    *,
    unknowns: bool,
    with_chars: bool = False,
    with_bigrams: bool = False,
    joint_vocabulary: bool = False,
) -> Codec:
    """Build the codec from statistics; arguments are those of `fit_codec`."""
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


def _joined(vocab: Vocab, other: Vocab) -> Vocab:
    """A vocabulary with the symbols of another one added, each with a count of 0."""
    symbols = tuple(symbol for symbol in other.symbols if symbol != UNK)
    return vocab.union(Vocab(symbols, (0,) * len(symbols)))
