"""Pairs: a label for each step, as two columns or as JSON objects."""

import json
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import Write, read_error, slow_disk
from ohlol.config import DataSettings
from ohlol.data.sequences import read


def test_two_columns_of_equal_length(write: Write):
    corpus = read(write("a.tsv", "hello\tohlol\n\n  \nab \t cd\n"))
    assert corpus.task == "label"
    assert corpus.inputs == ["hello", "ab "]
    assert corpus.targets == ["ohlol", " cd"]
    assert [place.line for place in corpus.places] == [1, 4]
    assert corpus.settings == DataSettings(task="label", format="pairs", level="char")


def test_byte_order_mark_crlf_and_normalization(write: Write):
    corpus = read(write("a.tsv", b"\xef\xbb\xbfe\xcc\x81t\tab\r\nx\ty"))
    assert corpus.inputs == ["ét", "x"]
    assert corpus.targets == ["ab", "y"]


def test_vietnamese_without_and_with_diacritics(write: Write):
    decomposed = normalize("NFD", "Tiếng Việt")
    corpus = read(write("a.txt", f"Tieng Viet\t{decomposed}\n"))
    assert corpus.targets == ["Tiếng Việt"]


def test_other_separators_do_not_split_lines(write: Write):
    odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh🙂你"
    corpus = read(write("a.tsv", f"{odd}\t{odd}\n"))
    assert corpus.inputs == [odd]


def test_pairs_of_words_are_split_at_spaces(write: Write):
    corpus = read(write("a.tsv", "the cat\tDET NOUN\n"), DataSettings(format="pairs", level="word"))
    assert (corpus.inputs, corpus.targets) == ([["the", "cat"]], [["DET", "NOUN"]])


def test_json_lists_are_words_and_strings_characters(write: Write):
    words = read(write("a.jsonl", '{"input": ["e\\u0301", "b c"], "target": ["X", "Y"]}\n\n'))
    assert (words.inputs, words.targets, words.settings.level) == ([["é", "b c"]], [["X", "Y"]], "word")
    chars = read(write("b.ndjson", '{"input": "ab", "target": "cd"}'))
    assert (chars.inputs, chars.targets, chars.settings.level) == (["ab"], ["cd"], "char")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "a\tb\nhello\tohlo\n", "a.tsv:2: input has 5 characters, target 4; "),
        ("a.tsv", "a\tb\nhello\n", "a.tsv:2: columns in this line: 1; "),
        ("a.tsv", "a\tb\na\tb\tc\n", "a.tsv:2: columns in this line: 3; "),
        ("a.tsv", "a\tb\n\t\n", "a.tsv:2: the sequence is empty; "),
        ("a.jsonl", '{"input": ["a"], "target": ["b", "c"]}', "a.jsonl:1: input has 1 words, target 2; "),
        ("a.jsonl", '{"input": "a", "target": "b"}\n{"input": "a"}', "a.jsonl:2: no \"target\"; there are 'input'"),
        ("a.jsonl", '{"input": "a", "target": "b"}\n{oops', "a.jsonl:2: not JSON (Expecting property name"),
        ("a.jsonl", '{"input": "a", "target": "b"}\n[1]', "a.jsonl:2: '[1]' is not a JSON object"),
        ("a.jsonl", '{"input": "a", "target": "b"}\n' + "[" * 10**5, "a.jsonl:2: not JSON (a value out of bounds)"),
        (
            "a.jsonl",
            '{"input": "a", "target": "b"}\n{"input": ["a"], "target": "b"}',
            'a.jsonl:2: "input" is a list',
        ),
        ("a.jsonl", '{"input": "a", "target": "b"}\n{"input": 1, "target": 2}', 'a.jsonl:2: "input" must be a str'),
        ("a.jsonl", '{"input": "\\ud800", "target": "b"}', "a.jsonl:1: '\\ud800' holds half a surrogate pair"),
    ],
)
def test_invalid_pairs_are_refused(write: Write, name: str, content: str, message: str):
    assert read_error(write(name, content), DataSettings(format="pairs")).startswith(message)


symbol = st.characters(exclude_categories=("Cs",), exclude_characters="\0\t\n\r")
equal_pairs = st.lists(st.tuples(symbol, symbol), min_size=1).map(
    lambda steps: ("".join(a for a, _ in steps), "".join(b for _, b in steps))
)


@given(st.lists(equal_pairs, min_size=1))
@slow_disk
def test_written_pairs_are_read_back(tmp_path: Path, pairs: list[tuple[str, str]]):
    composed = [(normalize("NFC", a), normalize("NFC", b)) for a, b in pairs]
    composed = [(a, b) for a, b in composed if len(a) == len(b)]
    if not composed:
        return
    path = tmp_path / "a.tsv"
    marked = "\ufeff" + "".join(f"{a}\t{b}\n" for a, b in composed)
    path.write_bytes(marked.encode())
    corpus = read(path, DataSettings(format="pairs"))
    assert list(zip(corpus.inputs, corpus.targets or (), strict=True)) == composed
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"input": list(a), "target": list(b)}) + "\n" for a, b in composed))
    corpus = read(path)
    assert [("".join(a), "".join(b)) for a, b in zip(corpus.inputs, corpus.targets or (), strict=True)] == composed
