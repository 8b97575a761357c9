"""CoNLL: comments, ranges, columns by name and number, treebanks."""

import pytest

from data.reading import CONLLU, DATA, Write, needs_data, read_error
from ohlol.config import DataSettings
from ohlol.data.sequences import read


def test_ranges_empty_nodes_and_comments_are_skipped(write: Write):
    corpus = read(write("a.conllu", CONLLU))
    assert corpus.inputs == [["do", "n't", "1 000"], ["#", "1.5"]]
    assert corpus.targets == [["AUX", "PART", "NUM"], ["SYM", "NUM"]]
    assert [place.line for place in corpus.places] == [3, 9]
    assert corpus.settings == DataSettings("label", "conll", "word", "FORM", "UPOS")
    assert read(write("a.unknown", CONLLU)).inputs == corpus.inputs


def test_columns_by_name_and_number(write: Write):
    path = write("a.conllu", CONLLU.replace("\n", "\r\n"))
    assert read(path, DataSettings(target="XPOS")).targets == [["VB", "RB", "CD"], ["NN", "CD"]]
    assert read(path, DataSettings(input="3", target="5")).inputs[0] == ["do", "not", "1 000"]


def test_first_and_last_column_of_a_plain_file(write: Write):
    corpus = read(write("a.conll", "EU NNP  B-ORG\n# SYM O\n3-4 CD O\n\n-X- . O\n"))
    assert corpus.inputs == [["EU", "#", "3-4"], ["-X-"]]
    assert corpus.targets == [["B-ORG", "O", "O"], ["O"]]
    assert (corpus.settings.input, corpus.settings.target) == ("1", "3")


def test_a_number_sign_as_the_first_of_tabbed_columns(write: Write):
    assert read(write("a.conll", "# a comment\n#\tO\nx\tB\n")).inputs == [["#", "x"]]


def test_global_columns_name_the_input_and_the_target(write: Write):
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
def test_invalid_lines_are_refused(write: Write, content: str, given: DataSettings | None, message: str):
    assert read_error(write("a.conllu", content), given).startswith(message)


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
def test_treebanks_have_the_known_numbers_of_words_and_sentences(name: str, sentences: int | None, words: int):
    corpus = read(DATA / name)
    assert sum(map(len, corpus.inputs)) == words
    assert sentences in (None, len(corpus.inputs))
    segmented = read(DATA / name, DataSettings(format="segment"))
    assert sum(label in "BS" for labels in segmented.targets or () for label in labels) == words
