import copy
import json
from dataclasses import FrozenInstanceError
from itertools import pairwise
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlol.data.counts import EDGE, with_edges
from ohlol.data.vocab import UNK, UnknownSymbol, Vocab, list_symbols
from ohlol.utils.errors import InputError

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates too
words = st.lists(st.text(min_size=1) | st.just(UNK))


def test_the_tutorial_has_four_symbols_in_order_of_code_points():
    vocab = Vocab.build(["hello", "ohlol"], unk=False)
    assert vocab.symbols == ("e", "h", "l", "o")
    assert vocab.counts == (1, 2, 4, 3)
    assert vocab.unk is None
    assert vocab.encode("hello").tolist() == [1, 0, 2, 2, 3]
    assert vocab.encode("hello").dtype == np.int32
    assert vocab.decode([3, 1]) == ["o", "h"]


def test_unk_is_first_and_replaces_rare_and_unseen_symbols():
    vocab = Vocab.build([["b", "a", "b", "!"], ["b"]], unk=True, min_count=2)
    assert vocab.symbols == (UNK, "b")
    assert vocab.counts == (2, 3)
    assert vocab.unk == 0
    assert vocab.encode(["b", "z", "a"]).tolist() == [1, 0, 0]
    assert vocab.encode("bzb").tolist() == [1, 0, 1]
    assert vocab.unknown(["z", "b", "a", "z"]) == ["z", "a"]
    assert vocab.unknown("zbaz") == ["z", "a"]
    assert "b" in vocab
    assert "a" not in vocab


def test_a_literal_unk_in_the_data_is_the_symbol():
    vocab = Vocab.build([["!", UNK, UNK, "x"]], unk=True, min_count=2)
    assert (vocab.symbols, vocab.counts) == ((UNK,), (4,))
    assert Vocab.build([["!", UNK]], unk=False).symbols == (UNK, "!")


def test_without_unk_an_unknown_symbol_is_named_with_its_place():
    vocab = Vocab.build(["abc"], unk=False)
    for sequence in ("abz", ["a", "b", "z"]):
        with pytest.raises(UnknownSymbol, match="'z' at step 2") as caught:
            vocab.encode(sequence)
        assert (caught.value.symbol, caught.value.position) == ("z", 2)
        assert isinstance(caught.value, KeyError)


def test_min_count_needs_an_unk():
    with pytest.raises(ValueError, match="needs unk=True"):
        Vocab.build(["abc"], unk=False, min_count=2)


def test_a_vocabulary_is_immutable():
    vocab = Vocab.build(["abc"], unk=True)
    with pytest.raises(FrozenInstanceError):
        vocab.symbols = ()  # type: ignore[misc]
    assert vocab == copy.deepcopy(vocab)
    assert hash(vocab) == hash(copy.deepcopy(vocab))
    assert repr(vocab) == "Vocab(4 symbols)"


def test_ids_out_of_range_are_refused():
    vocab = Vocab.build(["abc"], unk=False)
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=r"outside 0\.\.2"):
            vocab.decode(np.array([0, wrong]))


def test_empty_vocabularies_and_sequences():
    empty = Vocab.build([], unk=False)
    assert len(empty) == 0
    assert empty.encode("").tolist() == []
    with pytest.raises(UnknownSymbol):
        empty.encode("a")
    assert Vocab.build([], unk=True).encode("ab").tolist() == [0, 0]


def test_words_and_characters_share_a_vocabulary():
    vocab = Vocab.build([["ab", "c", "a"]], unk=True)
    assert vocab.encode("cab").tolist() == vocab.encode(["c", "a", "?"]).tolist()


def test_a_million_characters_are_encoded_within_a_second():
    text = "hello wörld, 你好 🙂\n" * 60_000
    vocab = Vocab.build([text], unk=True)
    start = perf_counter()
    ids = vocab.encode(text)
    assert perf_counter() - start < 1
    assert "".join(vocab.decode(ids)) == text


@given(st.lists(any_text), st.booleans())
def test_encoding_round_trip(texts: list[str], unk: bool):
    vocab = Vocab.build(texts, unk=unk)
    assert sum(vocab.counts) == sum(map(len, texts))
    for text in texts:
        assert "".join(vocab.decode(vocab.encode(text))) == text
        assert vocab.encode(list(text)).tolist() == vocab.encode(text).tolist()


@given(st.lists(words), st.integers(1, 3), any_text)
def test_sorted_symbols_and_json_round_trip(sequences: list[list[str]], min_count: int, other: str):
    vocab = Vocab.build(sequences, unk=True, min_count=min_count)
    assert vocab.symbols[0] == UNK
    assert list(vocab.symbols[1:]) == sorted(vocab.symbols[1:])
    again = Vocab.from_json(json.loads(json.dumps(vocab.to_json())))
    assert again == vocab
    assert again.encode(other).tolist() == vocab.encode(list(other)).tolist()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"symbols": "abc", "counts": [1, 1, 1]},
        {"symbols": ["a", 1], "counts": [1, 1]},
        {"symbols": ["a"], "counts": [True]},
        {"symbols": ["a"], "counts": [-1]},
        {"symbols": ["a"], "counts": [1.0]},
        {"symbols": ["a"], "counts": []},
        {"symbols": ["a", "a"], "counts": [1, 1]},
        {"symbols": ["a", UNK], "counts": [1, 1]},
    ],
)
def test_invalid_json_is_refused(data: object):
    with pytest.raises(InputError, match="vocabulary"):
        Vocab.from_json(data)


@given(st.lists(st.text("ab中𝄞\n", max_size=6)), st.lists(st.text("ab中𝄞\n", min_size=1, max_size=3)))
def test_bigrams_of_many_sequences(sequences: list[str], known: list[str]) -> None:
    """Encoding all bigrams at once gives the ids of each sequence encoded alone."""
    vocab = Vocab.build([known], unk=True)
    pairs = [a + b for sequence in sequences for a, b in pairwise([EDGE, *sequence, EDGE])]
    assert vocab.encode_pairs(with_edges(sequences)).tolist() == vocab.encode(pairs).tolist()
    assert with_edges([list(sequence) for sequence in sequences]) == with_edges(sequences)
    odd = vocab.encode_pairs(with_edges([["a", "ab", "", "b"]])).tolist()
    assert odd == [*vocab.encode(["\na"]).tolist(), vocab.unk, vocab.unk, vocab.unk, *vocab.encode(["b\n"]).tolist()]


def test_the_first_symbols_are_listed() -> None:
    assert list_symbols(Vocab.build(["ba"], unk=False)) == "the 2 seen are 'a' 'b'"
    assert list_symbols(Vocab.build(["abcdefghijklm"], unk=False)).endswith(
        "the 13 seen are 'a' 'b' 'c' 'd' 'e' 'f' 'g' 'h' 'i' 'j' 'k' 'l' ..."
    )
