"""A codec encodes a corpus as arrays, and is unchanged by a JSON round trip."""

import json

import numpy as np
import pytest

from ohlol.config import DataSettings
from ohlol.data.codec import Codec
from ohlol.data.lines import Place
from ohlol.data.sequences import RawData, data_from_pairs
from ohlol.data.vocab import UNK
from ohlol.utils.errors import InputError

PAIRS = [("hello", "ohlol"), ("hole", "oleh")]


def texts(*inputs: str, level: str = "char") -> RawData:
    sequences = [text.split() if level == "word" else text for text in inputs]
    places = [Place("text", i + 1) for i in range(len(inputs))]
    return RawData("next", DataSettings("next", "text", level), list(sequences), None, places)


def numbers(*series: np.ndarray, columns: tuple[str, ...] = ("a", "b")) -> RawData:
    places = [Place(f"part{i}.csv", 1) for i in range(len(series))]
    rows = [np.asarray(s, np.float64) for s in series]
    return RawData("next_row", DataSettings("next_row", "columns"), rows, rows, places, columns, columns)


def classes(rows: list[tuple[str, str]]) -> RawData:
    places = [Place("names.csv", i + 2) for i in range(len(rows))]
    settings = DataSettings("classify", "columns", "char")
    return RawData("classify", settings, [name for name, _ in rows], [kind for _, kind in rows], places)


CORPORA = {
    "label": data_from_pairs(PAIRS),
    "words": data_from_pairs([(["to", "be"], ["P", "V"]), (["or"], ["C"])]),
    "next": texts("abracadabra"),
    "classify": classes([("ada", "x"), ("bob", "y")]),
    "next_row": numbers(np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])),
}


@pytest.mark.parametrize("unknowns", [False, True])
@pytest.mark.parametrize("name", CORPORA)
def test_json_round_trip(name: str, unknowns: bool) -> None:
    corpus = CORPORA[name]
    codec = Codec.fit(corpus, unknowns=unknowns, with_chars=name == "words", with_bigrams=name == "label")
    again = Codec.from_json(json.loads(json.dumps(codec.to_json())))
    assert again == codec
    one, two = codec.encode(corpus), again.encode(corpus)
    assert np.array_equal(one.inputs.values, two.inputs.values)
    assert (one.word_ids is not None) == (name == "words")
    assert (one.bigrams is not None) == (name == "label")


def test_ids_and_labels_round_trip() -> None:
    corpus = data_from_pairs(PAIRS)
    codec = Codec.fit(corpus, unknowns=True)
    data = codec.encode(corpus)
    assert codec.symbols is not None
    assert codec.labels is not None
    assert data.targets is not None
    assert "".join(codec.symbols.decode(data.inputs.values)) == "hellohole"
    assert "".join(codec.labels.decode(data.targets)) == "ohlololeh"
    assert data.inputs.offsets.tolist() == [0, 5, 9]
    assert UNK in codec.symbols
    assert UNK not in codec.labels


def test_one_vocabulary_for_the_tutorial() -> None:
    codec = Codec.fit(data_from_pairs([("hello", "ohlol")]), unknowns=False, joint_vocabulary=True)
    assert codec.symbols is not None
    assert codec.labels is not None
    assert codec.symbols.symbols == codec.labels.symbols == ("e", "h", "l", "o")
    assert codec.labels.counts == (0, 1, 2, 2)


def test_an_unseen_symbol_is_unk_or_an_error_with_its_place() -> None:
    other = data_from_pairs([("hello", "ohlol"), ("hx", "oh")])
    learned = data_from_pairs(PAIRS)
    data = Codec.fit(learned, unknowns=True).encode(other)
    assert data.inputs.values[-1] == 0
    with pytest.raises(InputError, match=r"^pair:2: symbol 'x' was not seen in training; the 4 seen are 'e' 'h'"):
        Codec.fit(learned, unknowns=False).encode(other)


def test_an_unseen_label_is_an_error_with_its_place() -> None:
    codec = Codec.fit(CORPORA["classify"], unknowns=True)
    with pytest.raises(InputError, match=r"^names.csv:3: label 'z' was not seen in training; the 2 seen are 'x' 'y'$"):
        codec.encode(classes([("ada", "x"), ("eve", "z")]))


def test_repeated_words_share_a_row_of_characters() -> None:
    corpus = data_from_pairs([(["to", "be", "to"], ["P", "V", "P"]), (["be", "x"], ["V", "X"])])
    codec = Codec.fit(corpus, unknowns=True, with_chars=True)
    data = codec.encode(corpus)
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
    data = Codec.fit(corpus, unknowns=True, with_chars=True).encode(corpus)
    assert data.word_chars is not None
    assert data.word_chars.lengths.min() == 1


def test_each_step_has_its_bigrams() -> None:
    corpus = data_from_pairs([("abab", "xyxy"), ("abab", "xyxy")])
    codec = Codec.fit(corpus, unknowns=True, with_bigrams=True)
    data = codec.encode(corpus)
    assert data.bigrams is not None
    assert data.bigrams.shape == (8, 2)
    assert (data.bigrams[1:4, 0] == data.bigrams[0:3, 1]).all()  # the pair after a step is that before the next
    assert data.bigrams[:4].tolist() == data.bigrams[4:].tolist()


def test_words_seen_once_become_unk_for_next() -> None:
    codec = Codec.fit(texts("a b a b c", level="word"), unknowns=True)
    assert codec.symbols is not None
    assert codec.symbols.symbols == (UNK, "a", "b")
    whole = Codec.fit(texts("a b a b c", level="word"), unknowns=False)
    assert whole.symbols is not None
    assert whole.symbols.symbols == ("a", "b", "c")


def test_sequences_too_short_to_predict_are_refused() -> None:
    codec = Codec.fit(texts("ab"), unknowns=True)
    with pytest.raises(InputError, match=r"^text: a text of one symbol"):
        codec.encode(texts("a"))
    forecaster = Codec.fit(numbers(np.eye(2)), unknowns=True)
    with pytest.raises(InputError, match=r"^part1.csv: a series of one row"):
        forecaster.encode(numbers(np.eye(2), np.ones((1, 2))))


def test_numbers_are_scaled_and_the_target_is_the_next_row() -> None:
    corpus = CORPORA["next_row"]
    codec = Codec.fit(corpus, unknowns=True)
    data = codec.encode(corpus)
    assert codec.target_scale is not None
    assert data.targets is not None
    assert data.inputs.values.dtype == np.float32
    assert data.inputs.offsets.tolist() == [0, 2]
    np.testing.assert_allclose(codec.target_scale.undo(data.targets), [[2, 5], [4, 5]], rtol=1e-6)
    with pytest.raises(InputError, match="the input columns are a, c; the model was trained on a, b"):
        codec.encode(numbers(np.eye(2), columns=("a", "c")))


BAD = [
    None,
    [],
    "text",
    {},
    {"task": "label"},
    {"task": "label", "symbols": {"symbols": ["a"], "counts": [1]}},
    {"task": "label", "symbols": {"symbols": ["a"], "counts": []}, "labels": {"symbols": ["a"], "counts": [1]}},
    {"task": "next", "symbols": {"symbols": ["a", "a"], "counts": [1, 1]}},
    {"task": "next", "symbols": {"symbols": [1], "counts": [1]}},
    {"task": "next_row", "columns": [{"name": "a", "mean": 0, "std": 0}], "target_columns": []},
    {"task": "next_row", "columns": [{"name": "a"}], "target_columns": []},
    {"task": "next_row", "columns": 3, "target_columns": []},
]


@pytest.mark.parametrize("data", BAD)
def test_invalid_codecs_are_refused(data: object) -> None:
    with pytest.raises(InputError) as refused:
        Codec.from_json(data)
    assert "\n" not in str(refused.value)
