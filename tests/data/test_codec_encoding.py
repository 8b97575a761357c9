"""A codec encodes data as arrays."""

import numpy as np
import pytest
from corpora import CORPORA, PAIRS, classes, numbers, texts

from ohlol.data.codec_encoding import encode_data, encode_text
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.lines import Place
from ohlol.data.pairs import data_from_pairs
from ohlol.data.vocab import UNK
from ohlol.utils.errors import InputError, InputWarning


def test_ids_and_labels_round_trip() -> None:
    corpus = data_from_pairs(PAIRS)
    codec = fit_codec(corpus, unknowns=True)
    data = encode_data(codec, corpus)
    assert codec.symbols is not None
    assert codec.labels is not None
    assert data.targets is not None
    assert "".join(codec.symbols.decode(data.inputs.values)) == "hellohole"
    assert "".join(codec.labels.decode(data.targets)) == "ohlololeh"
    assert data.inputs.offsets.tolist() == [0, 5, 9]
    assert UNK in codec.symbols
    assert UNK not in codec.labels


def test_an_unseen_symbol_is_unk_or_an_error_with_its_place() -> None:
    other = data_from_pairs([("hello", "ohlol"), ("hx", "oh")])
    learned = data_from_pairs(PAIRS)
    data = encode_data(fit_codec(learned, unknowns=True), other)
    assert data.inputs.values[-1] == 0
    with pytest.raises(InputError, match=r"^pair:2: symbol 'x' was not seen in training; the 4 seen are 'e' 'h'"):
        encode_data(fit_codec(learned, unknowns=False), other)


def test_an_unseen_label_is_an_error_with_its_place() -> None:
    codec = fit_codec(CORPORA["classify"], unknowns=True)
    with pytest.raises(InputError, match=r"^names.csv:3: label 'z' was not seen in training; the 2 seen are 'x' 'y'$"):
        encode_data(codec, classes([("ada", "x"), ("eve", "z")]))


def test_repeated_words_share_a_row_of_characters() -> None:
    corpus = data_from_pairs([(["to", "be", "to"], ["P", "V", "P"]), (["be", "x"], ["V", "X"])])
    codec = fit_codec(corpus, unknowns=True, with_chars=True)
    data = encode_data(codec, corpus)
    assert codec.chars is not None
    assert data.word_ids is not None
    assert data.word_chars is not None
    assert data.word_ids.tolist() == [0, 1, 0, 1, 2]
    spelled = [
        "".join(codec.chars.decode(data.word_chars.values[a:b]))
        for a, b in zip(data.word_chars.offsets[:-1], data.word_chars.offsets[1:], strict=True)
    ]
    assert spelled == ["to", "be", "x"]


def test_an_empty_word_has_one_character() -> None:
    corpus = data_from_pairs([(["to", ""], ["P", "V"])])
    data = encode_data(fit_codec(corpus, unknowns=True, with_chars=True), corpus)
    assert data.word_chars is not None
    assert data.word_chars.lengths.min() == 1


def test_each_step_has_its_bigrams() -> None:
    corpus = data_from_pairs([("abab", "xyxy"), ("abab", "xyxy")])
    codec = fit_codec(corpus, unknowns=True, with_bigrams=True)
    data = encode_data(codec, corpus)
    assert data.bigrams is not None
    assert data.bigrams.shape == (8, 2)
    assert (data.bigrams[1:4, 0] == data.bigrams[0:3, 1]).all()  # the pair after a step is that before the next
    assert data.bigrams[:4].tolist() == data.bigrams[4:].tolist()


def test_sequences_too_short_to_predict_are_refused() -> None:
    codec = fit_codec(texts("ab"), unknowns=True)
    with pytest.raises(InputError, match=r"^text: a text of one symbol"):
        encode_data(codec, texts("a"))
    forecaster = fit_codec(numbers(np.eye(2)), unknowns=True)
    with pytest.raises(InputError, match=r"^part1.csv: a series of one row"):
        encode_data(forecaster, numbers(np.eye(2), np.ones((1, 2))))


def test_numbers_are_scaled_and_the_target_is_the_next_row() -> None:
    corpus = CORPORA["next_row"]
    codec = fit_codec(corpus, unknowns=True)
    data = encode_data(codec, corpus)
    assert codec.target_scale is not None
    assert data.targets is not None
    assert data.inputs.values.dtype == np.float32
    assert data.inputs.offsets.tolist() == [0, 2]
    np.testing.assert_allclose(codec.target_scale.undo(data.targets), [[2, 5], [4, 5]], rtol=1e-6)
    with pytest.raises(InputError, match="the input columns are a, c; the model was trained on a, b"):
        encode_data(codec, numbers(np.eye(2), columns=("a", "c")))


def test_labels_that_training_did_not_see_are_counted_or_refused() -> None:
    codec = fit_codec(CORPORA["classify"], unknowns=True)
    with pytest.warns(InputWarning, match=r"^names.csv: 1 of 2 labels were not seen in training, and every prediction"):
        data = encode_data(codec, classes([("ada", "y"), ("eve", "z")]), unseen_labels=True)
    assert data.targets is not None
    assert data.targets.tolist() == [1, 2]
    with pytest.raises(InputError, match=r"^names.csv: no label of it was seen in training; the 2 seen are 'x' 'y'"):
        encode_data(codec, classes([("eve", "z")]), unseen_labels=True)


def test_a_part_of_a_text_is_encoded_with_its_place() -> None:
    codec = fit_codec(texts("abab"), unknowns=False)
    assert encode_text(codec, "ba", Place("a.txt", 3)).tolist() == [1, 0]
    with pytest.raises(InputError, match=r"^a.txt:3: symbol 'c' was not seen in training; the 2 seen are 'a' 'b'$"):
        encode_text(codec, "bc", Place("a.txt", 3))
