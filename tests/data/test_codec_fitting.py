"""A codec is fitted to training data: vocabularies, scales and which symbols become <unk>."""

import pytest
from corpora import CORPORA, PAIRS, texts

from ohlol.data.codec_fitting import fit_codec, fit_to_counts, supports_bigrams, supports_chars
from ohlol.data.counts import Counts
from ohlol.data.pairs import data_from_pairs
from ohlol.data.targets import TARGET_KINDS
from ohlol.data.vocab import UNK
from ohlol.utils.errors import InputError


def test_one_vocabulary_for_the_tutorial() -> None:
    codec = fit_codec(data_from_pairs([("hello", "ohlol")]), unknowns=False, joint_vocabulary=True)
    assert codec.symbols is not None
    assert codec.labels is not None
    assert codec.symbols.symbols == codec.labels.symbols == ("e", "h", "l", "o")
    assert codec.labels.counts == (0, 1, 2, 2)


def test_words_seen_once_become_unk_for_next() -> None:
    codec = fit_codec(texts("a b a b c", level="word"), unknowns=True)
    assert codec.symbols is not None
    assert codec.symbols.symbols == (UNK, "a", "b")
    whole = fit_codec(texts("a b a b c", level="word"), unknowns=False)
    assert whole.symbols is not None
    assert whole.symbols.symbols == ("a", "b", "c")


def test_pairs_of_neighbours_that_occur_once_become_unk() -> None:
    codec = fit_codec(data_from_pairs([("abab", "xyxy"), ("ac", "xy")]), unknowns=True, with_bigrams=True)
    assert codec.bigrams is not None
    assert codec.bigrams.symbols == (UNK, "\na", "ab")
    assert codec.bigrams.counts == (4, 2, 2)  # b and a line end, ba, ac, c and a line end


def test_the_characters_of_words_are_those_of_the_vocabulary() -> None:
    codec = fit_codec(CORPORA["words"], unknowns=True, with_chars=True)
    assert codec.chars is not None
    assert codec.chars.symbols == (UNK, *"beort")
    assert codec.chars.counts == (0, 1, 1, 2, 1, 1)


def test_numbers_have_the_mean_and_the_deviation_of_training() -> None:
    codec = fit_codec(CORPORA["next_row"], unknowns=True)
    assert codec.scale is not None
    assert codec.columns == codec.target_columns == ("a", "b")
    assert [round(value, 6) for value in codec.scale.mean] == [2.333333, 5]
    assert codec.scale == codec.target_scale


def test_counts_of_parts_give_the_codec_of_the_whole() -> None:
    counts = Counts()
    for pair in PAIRS:
        counts.join(Counts.of(data_from_pairs([pair]), with_bigrams=True))
    parts = fit_to_counts("label", "char", counts, unknowns=True, with_bigrams=True)
    assert parts == fit_codec(data_from_pairs(PAIRS), unknowns=True, with_bigrams=True)


def test_sets_without_a_label_are_refused() -> None:
    with pytest.raises(InputError, match="every set of labels is empty; choose another `target`"):
        fit_to_counts("multilabel", "char", Counts(), unknowns=True)


def test_words_have_characters_and_characters_have_bigrams() -> None:
    supported = {
        (task, level): (supports_chars(TARGET_KINDS[task], level), supports_bigrams(TARGET_KINDS[task], level))
        for task in ("label", "next", "next_row")
        for level in ("char", "word", None)
    }
    assert {pair for pair, (chars, _) in supported.items() if chars} == {("label", "word")}
    assert {pair for pair, (_, bigrams) in supported.items() if bigrams} == {("label", "char")}
