"""Files of every format as sequences, with and without targets; settings that are refused."""

import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reading import CONLLU, Write, read_error, slow_disk
from ohlol.config import DataSettings
from ohlol.data.iteration import iterate_inputs
from ohlol.data.readers.base import READERS
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError


class TestPrediction:
    """The same files with their targets absent, or plain text with a sequence a line."""

    pairs = DataSettings("label", "pairs", "char")
    conll = DataSettings("label", "conll", "word", "FORM", "UPOS")
    numbered = DataSettings("classify", "columns", "char", "1", "2", False)
    named = DataSettings("classify", "columns", "char", "name", "lang", True)

    @pytest.mark.parametrize(
        ("trained", "name", "content", "inputs"),
        [
            (pairs, "a.tsv", "hello\tohlo\n\nab\n", ["hello", "ab"]),
            (pairs, "a.txt", " hello\n# ab\n", [" hello", "# ab"]),
            (pairs, "a.jsonl", '{"input": "ab"}\n', ["ab"]),
            (conll, "a.conllu", CONLLU, [["do", "n't", "1 000"], ["#", "1.5"]]),
            (conll, "a.conllu", "1\tdo\n2\tit\n", [["do", "it"]]),
            (conll, "a.conll", "do\nit\n\nnow\n", [["do", "it"], ["now"]]),
            (conll, "a.txt", "# do it\nnow\n", [["#", "do", "it"], ["now"]]),
            (conll, "a.jsonl", '{"input": ["do", "it"]}\n', [["do", "it"]]),
            (numbered, "a.csv", '"Abl"\n"Xi, Yi"\n', ["Abl", "Xi, Yi"]),
            (numbered, "a.txt", "Abl\nXi, Yi\n", ["Abl", "Xi, Yi"]),
            (named, "a.csv", "x,name\n1,Abl\n", ["Abl"]),
            (named, "a.txt", "Abl\nXi\n", ["Abl", "Xi"]),
            (named, "a", "x,name\n1,Abl\n", ["Abl"]),
            (named, "a.jsonl", '{"name": "Abl"}\n', ["Abl"]),
        ],
    )
    def test_inputs(self, write: Write, trained: DataSettings, name: str, content: str, inputs: list):
        path = write(name, content)
        corpus = read(path, trained, with_targets=False)
        assert corpus.inputs == inputs
        assert corpus.targets is None
        assert list(iterate_inputs(path, trained)) == list(zip(inputs, corpus.places, strict=True))

    def test_standard_input_as_a_file(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"input": "ab", "target": "cd"}\n')))
        assert read("-").targets == ["cd"]


class TestFiles:
    def test_missing_and_empty_files_are_refused(self, write: Write, tmp_path: Path):
        assert read_error(tmp_path / "a.tsv") == "a.tsv: no such file"
        assert "is a directory; give the files in it" in read_error(tmp_path)
        for name in ("a.txt", "a.tsv", "a.csv", "a.conllu", "a.jsonl"):
            for content in ("", "\ufeff"):
                assert "empty" in read_error(write(name, content))
        with pytest.raises(InputError, match="no file to read"):
            read([])

    def test_invalid_utf8_is_refused(self, write: Write):
        message = read_error(write("a.txt", "gut\nschön\n".encode("latin-1")))
        assert message == (
            "a.txt:2: byte 0xf6 at column 4 is not UTF-8; it reads as cp1252: 'schön', or as cp1251: 'schцn'; "
            "give `encoding=cp1252` or `encoding=cp1251`"
        )
        assert ":1: byte 0xff at column 3 " in read_error(write("c.txt", "é ".encode() + b"\xff"))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (DataSettings(format="xml"), "`format` is 'xml'; it must be one of pairs, conll, segment, text, columns"),
            (
                DataSettings(task="tag"),
                "`task` is 'tag'; it must be one of classify, forecast, label, multilabel, next_row, regress, next",
            ),
            (DataSettings(level="byte"), "`level` is 'byte'; it must be one of char, word"),
            (
                DataSettings(task="label", format="text"),
                "format text does not serve task label; use pairs, conll, seg",
            ),
            (DataSettings(format="conll", level="char"), "format conll has the level word; for level char use segment"),
            (
                DataSettings(format="segment", level="word"),
                "format segment has the level char; for level word use conll",
            ),
        ],
    )
    def test_invalid_settings_are_refused(self, write: Write, given: DataSettings, message: str):
        assert read_error(write("a.txt", "x\ty\n"), given).startswith(message)

    def test_a_second_file_is_read_like_the_first(self, write: Write):
        assert ":1: columns in this line: 1" in read_errors(write("a.tsv", "a\tb\n"), write("b.txt", "ab\n"))


def read_errors(*paths: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(paths)
    return str(caught.value)


snippets = st.sampled_from(
    [
        b"\t",
        b"\n",
        b"\r\n",
        b",",
        b'"',
        b"# ",
        b"1",
        b"1-2",
        b"_",
        b"nan",
        b"\xef\xbb\xbf",
        b'{"input": ',
        b'["a"]',
        b"}",
        b'"target": ',
        b'"a"',
        b" ",
        b"\xff",
        b"\x00",
        b"\r",
        b"a\tb\n",
        b"1,2\n",
        b"# global.columns = A B\n",
    ]
)


@given(
    st.lists(snippets | st.binary(max_size=4)).map(b"".join),
    st.sampled_from([".tsv", ".csv", ".txt", ".conllu", ".jsonl", ".parquet", ""]),
    st.sampled_from([None, *READERS]),
    st.sampled_from([None, "char", "word"]),
    st.sampled_from([(None, None), ("1", "2"), ("FORM", "UPOS"), ("", ","), ("input", "target")]),
    st.booleans(),
)
@settings(parent=slow_disk, max_examples=300)
def test_any_bytes_are_read_or_read_error(tmp_path, content, suffix, format, level, columns, targets):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    corpus, refusal = None, ""
    try:
        corpus = read(path, DataSettings(None, format, level, *columns), with_targets=targets)
    except InputError as error:
        refusal = str(error)
    if corpus is None:
        assert re.fullmatch(r"(.*a(\.\w+)?:|format|`)[^\n]*", refusal)
        return
    assert len(corpus.inputs) == len(corpus.places) > 0
    assert all(len(sequence) > 0 for sequence in corpus.inputs)
    if corpus.task == "label" and targets:
        assert [len(a) for a in corpus.inputs] == [len(b) for b in corpus.targets or ()]
