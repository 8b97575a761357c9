"""Word vectors are read from every format, of the words that are kept; what is odd in a file is refused or counted."""

import gzip
import pickle
import re
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file
from word_vector_files import (
    WRITERS,
    make_vectors,
    write_glove,
    write_safetensors,
    write_word2vec_binary,
    write_word2vec_text,
)

from ohlol.data.vector_files import LINE_LIMIT, WORD_LIMIT, read_vectors
from ohlol.data.vocab import Vocab
from ohlol.data.word_vectors import WordVectors
from ohlol.utils.errors import InputError, InputWarning

VECTORS = make_vectors("the of , cat dog Berlin naïve 猫 zebra quagga")


def vocab(words: str) -> Vocab:
    return Vocab.from_counts(Counter(words.split()), unk=True)


def as_dict(vectors: WordVectors) -> dict[str, NDArray[np.float32]]:
    assert vectors.table is not None
    return dict(zip(vectors.words, vectors.table[1:], strict=True))


def assert_equal(one: dict[str, NDArray[np.float32]], two: dict[str, NDArray[np.float32]]) -> None:
    assert list(one) == list(two)
    assert all((one[word] == two[word]).all() for word in one)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, VECTORS)
    assert_equal(as_dict(read_vectors(path, vocab("cat"), 100)), VECTORS)


@pytest.mark.parametrize("name", WRITERS)
def test_only_words_of_the_vocabulary_and_the_first_ones_are_kept(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, VECTORS)
    kept = as_dict(read_vectors(path, vocab("quagga BERLIN CAT unicorn"), 2))
    assert_equal(kept, {word: VECTORS[word] for word in ("the", "of", "cat", "Berlin", "quagga")})


def test_case_is_ignored_where_no_word_is_equal(tmp_path: Path) -> None:
    path = write_glove(tmp_path / "v.txt", make_vectors("us US Berlin"))
    vectors = read_vectors(path, vocab("Us berlin"), 0)
    assert vectors.words == ("us", "US", "Berlin")
    assert [vectors.find(word) for word in ("us", "US", "Us", "BERLIN", "Rome")] == [1, 2, 1, 3, 0]


def test_the_vector_of_unk_is_that_of_words_without_one(tmp_path: Path) -> None:
    made = make_vectors("cat <unk> dog")
    vectors = read_vectors(write_glove(tmp_path / "v.txt", made), vocab("cat"), 0)
    assert vectors.table is not None
    assert vectors.words == ("cat",)
    assert (vectors.table[0] == made["<unk>"]).all()
    plain = read_vectors(write_glove(tmp_path / "v.txt", make_vectors("cat")), vocab("cat"), 0)
    assert plain.table is not None
    assert not plain.table[0].any()


def test_compressed_files_are_read(tmp_path: Path) -> None:
    for name, write in (("v.txt", write_glove), ("v.bin", write_word2vec_binary)):
        path = write(tmp_path / name, VECTORS)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        assert_equal(as_dict(read_vectors(tmp_path / f"{name}.gz", vocab("cat"), 100)), VECTORS)


def test_words_with_spaces_are_read(tmp_path: Path) -> None:
    """As in GloVe 840B."""
    path = tmp_path / "v.txt"
    path.write_text("cat 1 2 3\n. . . 4 5 6\nat name@domain.com 7 8 9\n")
    vectors = as_dict(read_vectors(path, vocab("cat"), 10))
    assert list(vectors) == ["cat", ". . .", "at name@domain.com"]
    assert vectors[". . ."].tolist() == [4, 5, 6]


def test_words_are_composed(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("nai\u0308ve 1 2\n", encoding="utf-8")
    assert read_vectors(path, vocab("naïve"), 0).words == ("naïve",)


def test_a_byte_order_mark_and_line_ends_of_windows_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"\xef\xbb\xbfcat 1 2\r\ndog 3 4\r\n\r\n")
    assert read_vectors(path, vocab("cat"), 9).words == ("cat", "dog")
    path.write_bytes(b"\xef\xbb\xbf2 2\r\ncat 1 2\r\ndog 3 4\r\n")
    assert read_vectors(path, vocab("cat"), 9).words == ("cat", "dog")


def test_half_precision_is_read(tmp_path: Path) -> None:
    words = np.frombuffer(b"cat\ndog\n", np.uint8)
    save_file({"vectors": np.array([[1, 2], [3, 4]], np.float16), "words": words}, tmp_path / "v.safetensors")
    vectors = as_dict(read_vectors(tmp_path / "v.safetensors", vocab("cat"), 9))
    assert vectors["dog"].tolist() == [3, 4]
    assert vectors["dog"].dtype == np.float32


class KeyedVectors:
    """What `read_vectors` uses of gensim's class."""

    def __init__(self, vectors: dict[str, NDArray[np.float32]]):
        self.index_to_key, self.vectors = list(vectors), np.stack(list(vectors.values()))


def test_objects_in_memory_are_read() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(np.stack(list(VECTORS.values())), index=list(VECTORS))
    keyed = KeyedVectors(VECTORS)
    for one in (VECTORS, frame, keyed, SimpleNamespace(wv=keyed), {w: v.tolist() for w, v in VECTORS.items()}):
        assert_equal(as_dict(read_vectors(one, vocab("cat"), 100)), VECTORS)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([1, 2], "is of type list; give a file, gensim's KeyedVectors"),
        ({}, "has 0 words, and 0 vectors"),
        ({1: [1.0]}, "has the word '1', which is not a string"),
        ({"cat": 1.0}, "has no array of numbers for the word 'cat'"),
        ({"cat": [1.0, 2.0], "dog": [1.0]}, r"vectors in memory: word 2: a vector of shape \(1,\), and not of 2"),
        ({"cat": ["a", "b"]}, "vectors in memory: word 1: is not a vector of numbers"),
        ({"cat": [[1.0], [2.0]]}, r"vectors in memory: word 1: a vector of shape \(2, 1\), and not of 2"),
    ],
)
def test_other_objects_are_refused(given: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_vectors(given, vocab("cat"), 100)


TEXTS = {
    "too few": ("cat 1 2 3\ndog 1 2\n", "v.txt:2: 2 numbers, and the vectors of this file have 3"),
    "too many": ("cat 1 2 3\ndog 1 2 3 4\n", "v.txt:2: more than 3 numbers"),
    "no number": ("cat 1 2 3\ndog 1 x 3\n", "v.txt:2: is not a vector of numbers"),
    "a word alone": ("cat\n", "v.txt:1: is not a word with a vector; the formats are word2vec"),
    "prose": ("It was a dark night.\n", "v.txt:1: is not a word with a vector"),
    "empty": ("", "v.txt:1: is not a word with a vector"),
    "truncated": ("3 2\ncat 1 2\ndog 3 4\n", "v.txt: has 2 words, and its header says 3: it is truncated"),
    "more": ("1 2\ncat 1 2\ndog 3 4\n", "v.txt: has 2 words, and its header says 1: its header is wrong"),
    "header of another size": ("2 3\ncat 1 2\ndog 3 4\n", "v.txt:2: 2 numbers, and the vectors of this file have 3"),
    "size 0": ("2 0\ncat\n", "v.txt:1: '2 0' is not a count of words"),
    "a large size": (f"2 {1 << 40}\ncat 1\n", "v.txt:1: '2 1099511627776' is not a count of words"),
    "a long number": (f"2 {'9' * 5000}\ncat 1\n", "v.txt:1: '2 999"),
    "other words": ("dog 1 2\n", "v.txt: has a vector for none of the 3 words of the training data"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_damaged_text_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    content, problem = TEXTS[name]
    (tmp_path / "v.txt").write_text(content)
    with pytest.raises(InputError, match=re.escape(problem)) as caught:
        read_vectors(tmp_path / "v.txt", vocab("cat sees"), 100)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "v.txt").open("wb") as file:
        file.write(b"cat 1 2\n")
        file.truncate(LINE_LIMIT + 100)
    with pytest.raises(InputError, match=r"v\.txt:2: a line of more than 33,554,432 bytes"):
        read_vectors(tmp_path / "v.txt", vocab("cat"), 100)


def test_a_truncated_binary_file_is_refused(tmp_path: Path) -> None:
    path = write_word2vec_binary(tmp_path / "v.bin", VECTORS)
    content = path.read_bytes()
    for size in (len(content) - 2, len(content) - 20, len(content) - 23, len(content) // 2, 20):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"v\.bin: ends within word \d+ of 10: it is truncated"):
            read_vectors(path, vocab("cat"), 100)
    path.write_bytes(content.replace(b"10 5", b"99 5"))
    with pytest.raises(InputError, match=r"ends within word 11 of 99"):
        read_vectors(path, vocab("cat"), 100)
    path.write_bytes(content.replace(b"10 5", b"9 5"))
    with pytest.raises(InputError, match="has more than the 9 words that its header says"):
        read_vectors(path, vocab("cat"), 100)
    path.write_bytes(b"3 2\n" + b"\x01" * (WORD_LIMIT + 2))
    with pytest.raises(InputError, match="word 1: no space within 4,096 bytes"):
        read_vectors(path, vocab("cat"), 100)


def test_a_binary_file_of_several_blocks_is_read(tmp_path: Path) -> None:
    vectors = make_vectors(" ".join(f"w{i}" for i in range(3000)), size=30)
    path = write_word2vec_binary(tmp_path / "v.bin", vectors)
    assert path.stat().st_size > 5 * (1 << 16)
    assert_equal(as_dict(read_vectors(path, vocab("w7"), 3000)), vectors)


def test_odd_words_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"cat 1 2\n\xff\xfe 3 4\ncat 5 6\ndog nan 1\nowl 1 inf\n 7 8\nelk 9 9\n")
    expected = (
        r"v\.txt:2: skipped as the first of 5 words: 1 with a word that is not UTF-8, 1 with a word that occurs "
        r"before, 2 with a number that is not finite, 1 with an empty word$"
    )
    with pytest.warns(InputWarning, match=expected):
        vectors = as_dict(read_vectors(path, vocab("cat"), 100))
    assert list(vectors) == ["cat", "elk"]
    assert vectors["cat"].tolist() == [1, 2]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded(protocol: int, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (tmp_path / "exploded").touch, ()

    for name in ("vectors.kv", "vectors.bin", "vectors.txt"):
        (tmp_path / name).write_bytes(pickle.dumps({"a": Bomb()}, protocol))
        with pytest.raises(InputError, match=r"is a pickle, which can run code.*save_word2vec_format\("):
            read_vectors(tmp_path / name, vocab("cat"), 100)
    assert not (tmp_path / "exploded").exists()


def test_other_files_are_refused_by_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "vectors.bin"
    for start, problem in (
        (b"\xba\x16\x4f\x2f\x0c\0\0\0", "is a model of fastText; give its file of vectors, which ends in .vec"),
        (b"PK\x03\x04", "is a zip archive; unpack it first"),
        (b"\x1f\x8b\x08", "is compressed with gzip, which is unpacked where the name ends in .gz"),
        (b"\x89HDF\r\n\x1a\n\0\0", "is not a word with a vector"),
    ):
        path.write_bytes(start + bytes(40))
        with pytest.raises(InputError, match=re.escape(problem)):
            read_vectors(path, vocab("cat"), 100)
    for name, problem in (
        ("-", "standard input"),
        ("missing.txt", "cannot be read"),
        (str(tmp_path), "cannot be read"),
    ):
        with pytest.raises(InputError, match=problem):
            read_vectors(name, vocab("cat"), 100)


def test_other_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    words = np.frombuffer(b"cat\ndog", np.uint8)
    for tensors, problem in (
        ({"weight": np.zeros((2, 3), np.float32)}, "has the tensors weight; it must have `vectors`"),
        ({"vectors": np.zeros((3, 3), np.float32), "words": words}, r"has 2 words, and vectors of shape \(3, 3\)"),
        ({"vectors": np.zeros(2, np.float32), "words": words}, r"has 2 words, and vectors of shape \(2,\)"),
        ({"vectors": np.zeros((2, 3), np.float32), "words": np.zeros(7, np.int64)}, "has 0 words"),
    ):
        save_file(tensors, path)
        with pytest.raises(InputError, match=problem):
            read_vectors(path, vocab("cat"), 100)
    write_safetensors(path, VECTORS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read"):
        read_vectors(path, vocab("cat"), 100)


def test_memory_is_that_of_the_rows_kept(tmp_path: Path) -> None:
    import tracemalloc

    path = write_word2vec_text(tmp_path / "v.txt", make_vectors(" ".join(f"w{i}" for i in range(4000)), size=50))
    tracemalloc.start()
    read_vectors(path, vocab("w3999"), 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    path = WRITERS[name](tmp_path / name, VECTORS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        change = data.draw(st.sampled_from(["cut", "insert", "replace", "remove"]))
        piece = data.draw(st.binary(min_size=1, max_size=12))
        if change == "cut":
            del content[at:]
        elif change == "insert":
            content[at:at] = piece
        elif change == "replace":
            content[at : at + len(piece)] = piece
        else:
            del content[at : at + len(piece)]
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        try:
            vectors = read_vectors(path, vocab("cat the"), 100)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017 - any other error fails the test
            return
    assert vectors.table is not None
    assert np.isfinite(vectors.table).all()
    assert vectors.table.shape == (1 + len(vectors.words), vectors.size)
