"""A codec: the ids of symbols, with and without word vectors, and the arrays that it can read."""

from dataclasses import replace

import numpy as np
import pytest
from corpora import CORPORA, texts

from ohlol.data.batches import Dataset, Ragged
from ohlol.data.char_lm import CharLM
from ohlol.data.codec import Codec
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.layout import ArrayLayout
from ohlol.data.vocab import UNK, Vocab
from ohlol.data.word_vectors import WordVectors
from ohlol.utils.errors import InputError

PLAIN = Codec("label", Vocab((UNK, "cat", "dog"), (0, 2, 1)), Vocab(("N", "V"), (2, 1)))
VECTORS = WordVectors.of(("dog", "emu"), np.zeros((3, 2), np.float32))


def test_words_of_the_vectors_have_ids_beyond_those_of_training() -> None:
    codec = replace(PLAIN, vectors=VECTORS)
    assert codec.encode_symbols(["cat", "dog", "emu", "fox"]).tolist() == [1, 2, 4, 0]
    assert codec.decode_symbols([0, 2, 3, 4]) == [UNK, "dog", "dog", "emu"]
    assert [codec.find(word) for word in ("cat", "emu", "fox")] == [1, 4, None]
    assert codec.unknown(["fox", "emu", "fox"]) == ["fox"]
    assert codec.vector_rows.tolist() == [0, 0, 1, 1, 2]
    assert codec.unknown_ids.tolist() == [0, 0, 3, 3, 4]


def test_without_vectors_a_word_that_training_did_not_hold_is_unk() -> None:
    assert PLAIN.encode_symbols(["cat", "emu"]).tolist() == [1, 0]
    assert PLAIN.find("emu") is None
    assert PLAIN.unknown(["emu", "cat"]) == ["emu"]
    assert PLAIN.vector_rows.tolist() == [0, 0, 0]


def test_arrays_encoded_without_vectors_and_language_models_can_be_read() -> None:
    codec = replace(PLAIN, vectors=VECTORS, char_lms=(CharLM(False, 4, "0" * 64),))
    assert codec.can_read(codec)
    assert codec.can_read(PLAIN)
    assert not PLAIN.can_read(codec)
    assert not codec.can_read(replace(PLAIN, symbols=PLAIN.labels))


def test_labels_of_iob_become_those_of_bioes() -> None:
    files = replace(PLAIN, labels=Vocab(("B-X", "I-X", "O"), (2, 1, 2)))
    data = Dataset(Ragged(np.zeros(5, np.int64), np.array([0, 5])), np.array([0, 1, 2, 0, 2]))
    codec = files.with_bioes(data)
    assert codec.labels is not None
    converted = codec.convert(data).targets
    assert converted is not None
    assert codec.labels.decode(converted) == ["B-X", "E-X", "O", "S-X", "O"]
    assert codec.of_files == files
    assert codec.can_read(files)
    assert PLAIN.with_bioes(data) is PLAIN


def test_the_layout_has_the_arrays_of_the_task() -> None:
    assert PLAIN.layout() == ArrayLayout(inputs=3, targets=2)
    assert PLAIN.layout(with_targets=False) == ArrayLayout(inputs=3)
    assert replace(PLAIN, vectors=VECTORS).layout().inputs == 5
    assert fit_codec(texts("abab"), unknowns=True).layout() == ArrayLayout(inputs=3)
    assert fit_codec(CORPORA["classify"], unknowns=True).layout() == ArrayLayout(inputs=5, targets=2, per_sequence=True)
    assert fit_codec(CORPORA["next_row"], unknowns=True).layout() == ArrayLayout(columns=2, target_columns=2)


def test_other_columns_are_refused() -> None:
    codec = replace(PLAIN, columns=("a", "b"))
    codec.check_columns(("a", "b"), "x.csv")
    with pytest.raises(InputError, match=r"^x.csv: the input columns are b, a; the model was trained on a, b$"):
        codec.check_columns(("b", "a"), "x.csv")
