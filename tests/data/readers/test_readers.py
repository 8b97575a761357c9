import io
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohlol.config import DataSettings
from ohlol.data.readers.base import READERS
from ohlol.data.sequences import read, sequences_from_pairs, stream, symbols_of
from ohlol.utils.errors import InputError

DATA = Path(os.environ.get("OHLOL_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; set OHLOL_DATA")
slow_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


def refused(path: Path, given: DataSettings | None = None, *, targets: bool = True) -> str:
    """The one line a reader refuses a file with, the folder left out."""
    with pytest.raises(InputError) as caught:
        read(path, given, targets=targets)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}{os.sep}", "")


class TestPairs:
    def test_two_columns_of_equal_length(self, write: Write):
        corpus = read(write("a.tsv", "hello\tohlol\n\n  \nab \t cd\n"))
        assert corpus.task == "label"
        assert corpus.inputs == ["hello", "ab "]
        assert corpus.targets == ["ohlol", " cd"]
        assert [place.line for place in corpus.places] == [1, 4]
        assert corpus.settings == DataSettings(task="label", format="pairs", level="char")

    def test_mark_crlf_and_composition(self, write: Write):
        corpus = read(write("a.tsv", b"\xef\xbb\xbfe\xcc\x81t\tab\r\nx\ty"))
        assert corpus.inputs == ["ét", "x"]
        assert corpus.targets == ["ab", "y"]

    def test_vietnamese_without_and_with_diacritics(self, write: Write):
        decomposed = normalize("NFD", "Tiếng Việt")
        corpus = read(write("a.txt", f"Tieng Viet\t{decomposed}\n"))
        assert corpus.targets == ["Tiếng Việt"]

    def test_odd_separators_do_not_split_lines(self, write: Write):
        odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh🙂你"
        corpus = read(write("a.tsv", f"{odd}\t{odd}\n"))
        assert corpus.inputs == [odd]

    def test_words(self, write: Write):
        corpus = read(write("a.tsv", "the cat\tDET NOUN\n"), DataSettings(format="pairs", level="word"))
        assert (corpus.inputs, corpus.targets) == ([["the", "cat"]], [["DET", "NOUN"]])

    def test_json_lists_are_words_and_strings_characters(self, write: Write):
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
    def test_faults(self, write: Write, name: str, content: str, message: str):
        assert refused(write(name, content), DataSettings(format="pairs")).startswith(message)

    def test_values_instead_of_files(self):
        corpus = sequences_from_pairs([("hello", "ohlol"), ("e\u0301", "a")])
        assert (corpus.inputs, corpus.targets) == (["hello", "é"], ["ohlol", "a"])
        assert corpus.settings.level == "char"
        assert sequences_from_pairs([(["a", "b"], ("X", "Y"))]).targets == [["X", "Y"]]

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ([], "no pairs"),
            ([("ab", "cd"), ("abc", "de")], "pair 2: input has 3 characters, target 2"),
            ([("", "")], "pair 1: the sequence is empty"),
            ([("ab", ["c", "d"])], "pair 1: strings and lists do not mix"),
            ([(["c", "d"], "ab")], "pair 1: strings and lists do not mix"),
            ([(["c", 1], ["d", "e"])], "pair 1: a list must hold strings"),
            ([("a", "b", "c")], "pair 1: 3 sides"),
        ],
    )
    def test_values_at_fault(self, pairs: list, message: str):
        with pytest.raises(InputError, match=message):
            sequences_from_pairs(pairs)


CONLLU = """\
# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVB\t_\t_\t_\t_\t_
2\tn't\tnot\tPART\tRB\t_\t_\t_\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
3\t1 000\t1 000\tNUM\tCD\t_\t_\t_\t_\t_

# text = # 1.5
1\t#\t#\tSYM\tNN\t_\t_\t_\t_\t_
2\t1.5\t1.5\tNUM\tCD\t_\t_\t_\t_\t_
"""


class TestConll:
    def test_ranges_empty_nodes_and_comments_are_skipped(self, write: Write):
        corpus = read(write("a.conllu", CONLLU))
        assert corpus.inputs == [["do", "n't", "1 000"], ["#", "1.5"]]
        assert corpus.targets == [["AUX", "PART", "NUM"], ["SYM", "NUM"]]
        assert [place.line for place in corpus.places] == [3, 9]
        assert corpus.settings == DataSettings("label", "conll", "word", "FORM", "UPOS")
        assert read(write("a.unknown", CONLLU)).inputs == corpus.inputs

    def test_columns_by_name_and_number(self, write: Write):
        path = write("a.conllu", CONLLU.replace("\n", "\r\n"))
        assert read(path, DataSettings(target="XPOS")).targets == [["VB", "RB", "CD"], ["NN", "CD"]]
        assert read(path, DataSettings(input="3", target="5")).inputs[0] == ["do", "not", "1 000"]

    def test_first_and_last_column_of_a_plain_file(self, write: Write):
        corpus = read(write("a.conll", "EU NNP  B-ORG\n# SYM O\n3-4 CD O\n\n-X- . O\n"))
        assert corpus.inputs == [["EU", "#", "3-4"], ["-X-"]]
        assert corpus.targets == [["B-ORG", "O", "O"], ["O"]]
        assert (corpus.settings.input, corpus.settings.target) == ("1", "3")

    def test_a_number_sign_as_the_first_of_tabbed_columns(self, write: Write):
        assert read(write("a.conll", "# a comment\n#\tO\nx\tB\n")).inputs == [["#", "x"]]

    def test_global_columns(self, write: Write):
        corpus = read(write("a.conllu", "# global.columns = ID FORM NER\n1\tParis\tS\n1.1\t_\tO\n"))
        assert (corpus.inputs, corpus.targets) == ([["Paris"]], [["S"]])
        assert (corpus.settings.input, corpus.settings.target) == ("FORM", "NER")

    @pytest.mark.parametrize(
        ("content", "given", "message"),
        [
            (CONLLU, DataSettings(target="POS"), "a.conllu:2: no column 'POS'; there are 'ID', 'FORM', 'LEMMA'"),
            (CONLLU, DataSettings(target="11"), "a.conllu:2: no column '11'; there are"),
            (CONLLU, DataSettings(target="0"), "a.conllu:2: no column '0'; there are"),
            (CONLLU, DataSettings(target="FEATS"), "a.conllu: column 'FEATS' holds only _"),
            (CONLLU + "3\tx\n", None, "a.conllu:11: 2 columns, where the first row has 10"),
            ("a\tX\n\tY\n", None, "a.conllu:2: column '1' is empty"),
            ("# only = comments\n\n", None, "a.conllu: no rows; the file is empty"),
            ("# global.columns = A B\na\tb\tc\n", None, "a.conllu:2: 3 columns, where global.columns names 2"),
            ("# global.columns = A A\na\tb\n", None, "a.conllu:2: 2 columns are named 'A'; give the column's number"),
        ],
    )
    def test_faults(self, write: Write, content: str, given: DataSettings | None, message: str):
        assert refused(write("a.conllu", content), given).startswith(message)

    @needs_data
    @pytest.mark.parametrize(
        ("name", "sentences", "words"),
        [
            ("ewt/en_ewt-ud-train.conllu", 12544, 204577),
            ("ewt/en_ewt-ud-dev.conllu", 2001, 25147),
            ("ewt/en_ewt-ud-test.conllu", 2077, 25094),
            ("udc/train.conll", None, 98608),
            ("udc/dev.conll", None, 12663),
            ("udc/test.conll", None, 12012),
        ],
    )
    def test_counts_of_the_treebanks(self, name: str, sentences: int | None, words: int):
        corpus = read(DATA / name)
        assert sum(map(len, corpus.inputs)) == words
        assert sentences in (None, len(corpus.inputs))
        segmented = read(DATA / name, DataSettings(format="segment"))
        assert sum(label in "BS" for labels in segmented.targets or () for label in labels) == words


class TestSegment:
    def test_plain_text(self, write: Write):
        corpus = read(write("a.txt", "我们 是\u3000一个大家庭\n\nok\n"), DataSettings(format="segment"))
        assert corpus.inputs == ["我们是一个大家庭", "ok"]
        assert corpus.targets == ["BESBMMME", "BE"]
        assert [place.line for place in corpus.places] == [1, 3]
        assert (corpus.settings.task, corpus.settings.level) == ("label", "char")

    def test_forms_of_conll(self, write: Write):
        path = write("a.conllu", CONLLU)
        corpus = read(path, DataSettings(format="segment"))
        assert corpus.inputs == ["don't1 000", "#1.5"]
        assert corpus.targets == ["BEBMEBMMME", "SBME"]
        assert read(path, DataSettings(format="segment"), targets=False).inputs == corpus.inputs

    def test_raw_lines_when_no_targets_are_wanted(self, write: Write):
        corpus = read(write("a.txt", "ab c\n"), DataSettings(format="segment"), targets=False)
        assert corpus.inputs == ["ab c"]
        assert corpus.targets is None

    @given(words=st.lists(st.text("abc你", min_size=1), min_size=1))
    @slow_disk
    def test_labels_give_the_words_back(self, tmp_path: Path, words: list[str]):
        (tmp_path / "a.txt").write_text(" ".join(words), encoding="utf-8")
        corpus = read(tmp_path / "a.txt", DataSettings(format="segment"))
        assert corpus.targets is not None
        starts = [i for i, label in enumerate(corpus.targets[0]) if label in "BS"] + [None]
        assert [str(corpus.inputs[0])[a:b] for a, b in itertools.pairwise(starts)] == words


class TestText:
    def test_a_file_is_a_sequence(self, write: Write):
        corpus = read([write("a.txt", "\ufeffe\u0301 b\r\nc"), write("b.txt", "d\n")])
        assert corpus.inputs == ["é b\nc", "d\n"]
        assert corpus.targets is None
        assert corpus.settings == DataSettings("next", "text", "char")

    def test_line_ends_are_words(self, write: Write):
        corpus = read(write("a.txt", "to be\n\nor  not\n"), DataSettings(level="word"))
        assert corpus.inputs == [["to", "be", "\n", "\n", "or", "not", "\n"]]

    @needs_data
    def test_shakespeare(self):
        corpus = read(DATA / "tinyshakespeare" / "input.txt")
        assert len(corpus.inputs[0]) == 1_115_394
        assert len(set(corpus.inputs[0])) == 65

    def test_a_text_on_the_command_line(self):
        assert symbols_of("e\u0301a", DataSettings(level="char")) == "éa"
        assert symbols_of("to be\n", DataSettings(level="word")) == ["to", "be"]
        assert symbols_of("to\nbe", DataSettings(task="next", level="word")) == ["to", "\n", "be"]
        with pytest.raises(InputError, match="character 2 of the text is not UTF-8"):
            symbols_of("a\udcff", DataSettings())
        with pytest.raises(InputError, match="the text is empty"):
            symbols_of("", DataSettings())


class TestClassify:
    def test_columns_by_number_have_no_header(self, write: Write):
        path = write("a.csv", '"Müller","German"\r\n"O""Neil, J","Irish"\r\n\r\n')
        corpus = read(path, DataSettings(input="1", target="2"))
        assert corpus.task == "classify"
        assert corpus.inputs == ["Müller", 'O"Neil, J']
        assert corpus.targets == ["German", "Irish"]
        assert corpus.settings == DataSettings("classify", "columns", "char", "1", "2", False)

    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    def test_columns_by_name(self, write: Write, mark: str):
        content = "\n".join(mark.join(row) for row in (["id", "lang", "name"], ["1", "cs", "Adsit"], ["2", "7", "Abl"]))
        corpus = read(write("a.csv", content), DataSettings(input="name", target="lang"))
        assert (corpus.inputs, corpus.targets) == (["Adsit", "Abl"], ["cs", "7"])
        assert [place.line for place in corpus.places] == [2, 3]
        assert corpus.settings.header is True

    def test_words_and_cells_of_many_lines(self, write: Write):
        path = write("a.csv", 'text,class\n"good\nfilm",pos\nbad film,neg\n')
        corpus = read(path, DataSettings(input="text", target="class", level="word"))
        assert corpus.inputs == [["good", "film"], ["bad", "film"]]
        assert [place.line for place in corpus.places] == [2, 4]

    def test_long_cells(self, write: Write):
        path = write("a.csv", "text,class\n" + "x" * 200_000 + ",pos\n")
        assert len(read(path, DataSettings(input="text", target="class")).inputs[0]) == 200_000

    def test_numbers_are_texts_where_the_task_says_so(self, write: Write):
        path = write("a.csv", "digits,class\n123,1\n45,0\n")
        corpus = read(path, DataSettings(task="classify", input="digits", target="class"))
        assert (corpus.inputs, corpus.targets) == (["123", "45"], ["1", "0"])

    def test_json_objects(self, write: Write):
        path = write("a.jsonl", '{"name": "Abl", "n": 1}\n{"n": 2, "name": "e\\u0301"}\n')
        corpus = read(path, DataSettings(input="name", target="n"))
        assert (corpus.inputs, corpus.targets) == (["Abl", "é"], ["1", "2"])
        lists = read(write("b.jsonl", '{"w": ["a b", "c"], "n": "x"}\n'), DataSettings(input="w", target="n"))
        assert (lists.inputs, lists.settings.level) == ([["a b", "c"]], "word")

    def test_parquet(self, tmp_path: Path):
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        path = tmp_path / "a.parquet"
        assert refused(path) == "a.parquet: no such file"
        parquet.write_table(arrow.table({"name": ["Abl", "Xi"], "lang": ["cs", None]}), path)
        corpus = read(path, DataSettings(input="name", target="lang"), targets=False)
        assert corpus.inputs == ["Abl", "Xi"]
        assert refused(path, DataSettings(input="name", target="lang")).startswith(
            "a.parquet:2: column 'lang' is empty"
        )
        assert "no column 'x'; there are 'name', 'lang'" in refused(path, DataSettings(input="x", target="lang"))
        (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
        assert "b.parquet: not a Parquet file" in refused(tmp_path / "b.parquet")

    def test_parquet_without_pyarrow(self, write: Write, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert "pip install 'ohlol[arrow]'" in refused(write("a.parquet", "x"))

    @pytest.mark.parametrize(
        ("content", "given", "message"),
        [
            ("a,b\nx,y\n", None, "a.csv: the columns are '1', '2' (the first row: 'a', 'b'); say which to read"),
            ("d,v\nx,1\ny,2\n", None, "a.csv: the columns are 'd', 'v'; say which to read with --input NAME --target"),
            ("a,b\nx,y\n", DataSettings(input="c", target="b"), "a.csv:1: no column 'c'; there are 'a', 'b'"),
            ("a,b\nx,y\nz\n", DataSettings(input="a", target="b"), "a.csv:3: 1 columns, where the first row has 2"),
            ("a,b\nx,y\n,z\n", DataSettings(input="a", target="b"), "a.csv:3: column 'a' is empty"),
            ("a,b\nx,y\nz, \n", DataSettings(input="a", target="b"), "a.csv:3: column 'b' is empty"),
            ("a,b\n", DataSettings(input="a", target="b"), "a.csv: no rows below the header"),
            ('a,b\nx,"y\n', DataSettings(input="a", target="b"), "a.csv:2: not CSV (unexpected end of data)"),
            ("a,b\nx,y\n", DataSettings(input="a,b", target="b"), "a.csv: --input 'a,b' names several columns"),
            ("a,b\nx,y\n", DataSettings(input="a", target="a,b"), "a.csv: --target 'a,b' names several columns"),
        ],
    )
    def test_faults(self, write: Write, content: str, given: DataSettings | None, message: str):
        assert refused(write("a.csv", content), given).startswith(message)

    @needs_data
    def test_names(self):
        by_number = DataSettings(input="1", target="2")
        assert len(read(DATA / "names" / "names_train.csv", by_number).inputs) == 13_374
        test = read(DATA / "names" / "names_test.csv", by_number)
        assert len(test.inputs) == 6_700
        assert len(set(map(str, test.targets or ()))) == 18


class TestForecast:
    def test_all_numbers_with_and_without_a_header(self, write: Write):
        corpus = read([write("a.csv", "x,y\n1,2.5\n3,-4e1\n"), write("b.csv", "x,y\n5,6\n")])
        assert corpus.task == "forecast"
        assert [rows.tolist() for rows in corpus.inputs] == [[[1, 2.5], [3, -40]], [[5, 6]]]
        assert corpus.targets is not None
        assert np.array_equal(corpus.targets[0], corpus.inputs[0])
        assert corpus.columns == corpus.target_columns == ("x", "y")
        assert corpus.settings == DataSettings("forecast", "columns", None, "x,y", "x,y", True)
        assert read(write("c.csv", "1,2\n3,4\n")).columns == ("1", "2")

    def test_a_date_is_left_out(self, write: Write):
        path = write("a.csv", "date,x,y\n2020-01-01,1,2\n2020-01-02,3,4\n")
        corpus = read(path, DataSettings(task="forecast", target="y"))
        assert (corpus.columns, corpus.target_columns) == (("x", "y"), ("y",))
        assert corpus.targets is not None
        assert corpus.targets[0].tolist() == [[2], [4]]
        assert read(path, DataSettings(input="x")).target_columns == ("x",)

    def test_names_with_commas_are_read_again(self, write: Write):
        path = write("a.csv", '"a,b","c ""d"""\n1,2\n')
        corpus = read(path)
        assert corpus.columns == ("a,b", 'c "d"')
        assert read(path, corpus.settings).columns == corpus.columns

    def test_json_and_parquet(self, write: Write, tmp_path: Path):
        assert read(write("a.jsonl", '{"x": 1, "y": 2.5}\n')).inputs[0].tolist() == [[1, 2.5]]
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table({"x": [1, 2], "y": [0.5, 1.5]}), tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet").inputs[0].tolist() == [[1, 0.5], [2, 1.5]]

    def test_a_target_is_not_needed_to_predict(self, write: Write):
        trained = read(write("a.csv", "x,y\n1,2\n3,4\n"), DataSettings(input="x", target="y")).settings
        corpus = read(write("b.csv", "x\n1\n"), trained, targets=False)
        assert corpus.inputs[0].tolist() == [[1]]
        assert corpus.targets is None

    @pytest.mark.parametrize(
        ("content", "given", "message"),
        [
            ("x,y\n1,2\n3,\n", None, "a.csv:3: column 'y' is empty; "),
            ("x,y\n1,2\n3,nan\n", None, "a.csv:3: column 'y' is 'nan', which is not a finite number"),
            ("x,y\n1,2\n3,1e999\n", None, "a.csv:3: column 'y' is '1e999', which is not a finite number"),
            ("x\n1\n2\nn/a\n", DataSettings(task="forecast"), "a.csv:4: column 'x' is 'n/a', which is not a finite"),
            ("x,y\na,b\n", DataSettings(task="forecast"), "a.csv: no column of numbers to forecast; there are"),
        ],
    )
    def test_faults(self, write: Write, content: str, given: DataSettings | None, message: str):
        assert refused(write("a.csv", content), given).startswith(message)


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
        corpus = read(path, trained, targets=False)
        assert corpus.inputs == inputs
        assert corpus.targets is None
        assert list(stream(path, trained)) == list(zip(inputs, corpus.places, strict=True))

    def test_text_is_one_sequence(self, write: Write):
        assert next(stream(write("a.txt", "a\nb\n"), DataSettings("next", "text", "char")))[0] == "a\nb\n"

    def test_standard_input_is_read_a_line_at_a_time(self, monkeypatch: pytest.MonkeyPatch):
        read_so_far = []

        def typed() -> Iterator[bytes]:
            for raw in (b"\xef\xbb\xbfab\n", b"cd\r\n", b"\xff\n"):
                read_so_far.append(raw)
                yield raw

        class Typed:
            lines = typed()

            def readline(self, limit: int) -> bytes:
                return next(self.lines, b"")

        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Typed()}))
        given = stream("-", self.pairs)
        assert next(given) == ("ab", ("stdin", 1))
        assert len(read_so_far) == 1
        assert next(given) == ("cd", ("stdin", 2))
        with pytest.raises(InputError, match="stdin:3: byte 0xff at column 1 is not UTF-8"):
            next(given)

    def test_standard_input_as_a_file(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"input": "ab", "target": "cd"}\n')))
        assert read("-").targets == ["cd"]


class TestFiles:
    def test_what_is_missing_or_empty(self, write: Write, tmp_path: Path):
        assert refused(tmp_path / "a.tsv") == "a.tsv: no such file"
        assert "a directory; give the files in it" in refused(tmp_path)
        for name in ("a.txt", "a.tsv", "a.csv", "a.conllu", "a.jsonl"):
            for content in ("", "\ufeff"):
                assert "empty" in refused(write(name, content))
        with pytest.raises(InputError, match="no file to read"):
            read([])

    def test_bytes_that_are_no_text(self, write: Write):
        message = refused(write("a.txt", "gut\nschön\n".encode("latin-1")))
        assert (
            message == "a.txt:2: byte 0xf6 at column 4 is not UTF-8; convert the file with iconv -f ENCODING -t UTF-8"
        )
        assert "iconv -f UTF-16 " in refused(write("b.txt", "gut".encode("utf-16")))
        assert ":1: byte 0xff at column 3 " in refused(write("c.txt", "é ".encode() + b"\xff"))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (DataSettings(format="xml"), "--format 'xml' is none of pairs, conll, segment, text, columns"),
            (DataSettings(task="tag"), "--task 'tag' is none of label, next, classify, forecast"),
            (DataSettings(level="byte"), "--level 'byte' is none of char, word"),
            (
                DataSettings(task="label", format="text"),
                "format text does not serve task label; take pairs, conll, seg",
            ),
            (DataSettings(format="conll", level="char"), "format conll has the level word; for char take segment"),
            (DataSettings(format="segment", level="word"), "format segment has the level char; for word take conll"),
        ],
    )
    def test_settings_at_fault(self, write: Write, given: DataSettings, message: str):
        assert refused(write("a.txt", "x\ty\n"), given).startswith(message)

    @pytest.mark.parametrize(
        ("name", "content", "task", "format"),
        [
            ("a.tsv", "ab\tcd\n", "label", "pairs"),
            ("a.tsv", "1\t22\n3\t44\n", "forecast", "columns"),
            ("a.txt", "ab\tcd\n", "label", "pairs"),
            ("a.txt", "ab\tcde\n", "next", "text"),
            ("a", CONLLU, "label", "conll"),
            ("a.conll", "a\tb\n", "label", "conll"),
            ("a.jsonl", '{"input": "ab", "target": "cd"}', "label", "pairs"),
            ("a.jsonl", '{"input": 1, "target": 2}', "forecast", "columns"),
            ("a.csv", "1,2\n", "forecast", "columns"),
            ("a.md", "# Title\n", "next", "text"),
        ],
    )
    def test_format_told_from_the_file(self, write: Write, name: str, content: str, task: str, format: str):
        corpus = read(write(name, content))
        assert (corpus.task, corpus.settings.format) == (task, format)
        again = read(write(name, content), corpus.settings)
        assert str(again) == str(corpus)

    def test_a_second_file_is_read_like_the_first(self, write: Write):
        assert ":1: columns in this line: 1" in refused_both(write("a.tsv", "a\tb\n"), write("b.txt", "ab\n"))


def refused_both(*paths: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(paths)
    return str(caught.value)


symbol = st.characters(exclude_categories=("Cs",), exclude_characters="\t\n\r")
equal_pairs = st.lists(st.tuples(symbol, symbol), min_size=1).map(
    lambda steps: ("".join(a for a, _ in steps), "".join(b for _, b in steps))
)


@given(st.lists(equal_pairs, min_size=1))
@slow_disk
def test_pairs_come_back_from_a_file(tmp_path: Path, pairs: list[tuple[str, str]]):
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
def test_any_bytes_are_read_or_refused(tmp_path, content, suffix, format, level, columns, targets):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    corpus, refusal = None, ""
    try:
        corpus = read(path, DataSettings(None, format, level, *columns), targets=targets)
    except InputError as error:
        refusal = str(error)
    if corpus is None:
        assert re.fullmatch(r"(.*a(\.\w+)?:|format|--)[^\n]*", refusal)
        return
    assert len(corpus.inputs) == len(corpus.places) > 0
    assert all(len(sequence) > 0 for sequence in corpus.inputs)
    if corpus.task == "label" and targets:
        assert [len(a) for a in corpus.inputs] == [len(b) for b in corpus.targets or ()]
