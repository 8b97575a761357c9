"""CoNLL: comments, ranges, columns by name and number, treebanks."""

import pytest

from data.reading import CONLLU, DATA, Write, needs_data, read_error
from ohlol.config import DataSettings
from ohlol.data.sequences import read
from ohlol.utils.errors import InputWarning


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


NUMBERED = "1 Anna NNP X B-PER\n2 sees VB X O\n\n1 Rome NNP X B-LOC\n"


@pytest.mark.parametrize("mark", [" ", "\t"])
def test_token_numbers_are_no_words(write: Write, mark: str):
    corpus = read(write("a.conll", NUMBERED.replace(" ", mark)))
    assert corpus.inputs == [["Anna", "sees"], ["Rome"]]
    assert corpus.targets == [["B-PER", "O"], ["B-LOC"]]
    assert (corpus.settings.input, corpus.settings.target) == ("FORM", "5")
    assert read(write("b.conll", NUMBERED.replace(" ", mark)), corpus.settings).inputs == corpus.inputs


def test_eleven_columns_ask_for_the_target(write: Write):
    path = write("a.conll", "1\tAnna\ta\tNNP\t_\t_\t0\troot\t_\t_\tB-PER\n2\tran\tr\tVB\t_\t_\t1\tx\t_\t_\tO\n")
    message = read_error(path)
    assert message.startswith("a.conll:1: 11 columns, one of which holds the labels; choose it with `target`")
    assert read(path, DataSettings(target="11")).inputs == [["Anna", "ran"]]
    assert read(path, DataSettings(target="11")).targets == [["B-PER", "O"]]


def test_numbers_that_count_nothing_are_words(write: Write):
    assert read(write("a.conll", "12 CD O\n7 CD O\n\nx NN O\n")).inputs == [["12", "7"], ["x"]]
    assert read(write("b.conll", "1 O\n2 O\n")).inputs == [["1", "2"]]


@pytest.mark.parametrize("comment", ["# text = a\tb", "# a\tb\tc", "#tag\tx\ty\tz\tw\tv\tu\tt\ts\tr"])
def test_a_comment_with_a_tab_is_a_comment(write: Write, comment: str):
    corpus = read(write("a.conllu", f"# newdoc\tid\n{CONLLU.replace('# sent_id = 1', comment)}{comment}\n"))
    assert corpus.inputs == [["do", "n't", "1 000"], ["#", "1.5"]]
    assert read(write("b.conll", f"{comment[:11]}\nx\tB\n#\tO\n{comment[:11]}\n".replace("#tag", "# tag"))).inputs == [
        ["x", "#"]
    ]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("02", "column 'ID' is '02'; it is the number of a token, a range such as 3-4, or a node such as 5.1"),
        ("a", "column 'ID' is 'a'; it is"),
        ("2-1", "column 'ID' is '2-1'; it is"),
        ("3-3", "column 'ID' is '3-3'; it is"),
        ("2.0", "column 'ID' is '2.0'; it is"),
        ("_", "column 'ID' is '_'; it is"),
        ("1", "column 'ID' is 1 after 1; tokens are counted from 1, and a blank line ends a sentence"),
        ("4", "column 'ID' is 4 after 1; tokens"),
    ],
)
def test_a_wrong_token_number_is_refused(write: Write, number: str, message: str):
    lines = CONLLU.splitlines()
    assert lines[3].startswith("2\t")
    lines[3] = number + lines[3][1:]
    assert read_error(write("a.conllu", "\n".join(lines))).startswith(f"a.conllu:4: {message}")
    five = NUMBERED.replace("2 sees", f"{number} sees") + NUMBERED
    assert read_error(write("b.conll", five)).startswith(f"b.conll:2: {message}")


@pytest.mark.parametrize("first", ["a", "01", "_"])
def test_a_wrong_first_number_is_refused(write: Write, first: str):
    assert read_error(write("a.conllu", CONLLU.replace("1-2", first))).startswith(
        f"a.conllu:2: column 'ID' is '{first}'"
    )


NAMES = "Anna B-PER\nsees O\nRome B-LOC\n\nBob B-PER\nsleeps O\n"
CHUNKS = "EU NNP I-NP I-ORG\nrejects VBZ I-VP O\n. . O O\n\nPeter NNP I-NP I-PER\nran VBD I-VP O\n"
TAGS = "The DT\ndog NN\nran VBD\n. .\n\nA DT\ncat NN\n. .\n"
LOWER = "the det\nold adj\ndog noun\n\na det\nnew adj\ncat noun\n\n" * 6


@pytest.mark.parametrize("name", ["a.txt", "a.ner", "a", "a.tsv", "a.bio"])
@pytest.mark.parametrize("content", [NAMES, CHUNKS, TAGS, LOWER])
@pytest.mark.parametrize("mark", [" ", "\t"])
def test_words_with_labels_are_recognized_by_their_form(write: Write, name: str, content: str, mark: str):
    corpus = read(write(name, content.replace(" ", mark)))
    assert (corpus.settings.format, corpus.task) == ("conll", "label")
    assert corpus.inputs[0][0] == content.split()[0]
    assert corpus.interpretation is not None
    assert corpus.interpretation.reason == "its lines are words with labels"


@pytest.mark.parametrize("settings", [{"format": "text"}, {"task": "next"}, {"format": "text", "level": "word"}])
def test_words_with_labels_are_a_text_on_request(write: Write, settings: dict[str, str]):
    assert read(write("a.txt", NAMES), DataSettings(**settings)).task == "next"  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "text",
    [
        "To be\nor not\nto be\n\nthat is\nthe question\n",
        "O Romeo\nO night\nO day\nO grim\n\nO wall\n",
        "HELLO WORLD\nGOOD MORNING\nBRAVE HEART\n\nNEW DAWN\n",
        "one word\n\ntwo words here\n\nthree\n\nfour\n",
        "a b\nc d\n",
    ],
)
def test_a_text_is_no_words_with_labels(write: Write, text: str):
    assert read(write("a.txt", text)).task == "next"


def test_a_mark_of_a_document_alone_does_not_say_the_columns(write: Write):
    data = read(write("a.conll", "-DOCSTART-\n\nAnna\tB-PER\nruns\tO\n"))
    assert (data.inputs, data.targets) == ([["Anna", "runs"]], [["B-PER", "O"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Anna\nruns\n", "a.conll:1: one column; a row has a word and its label, separated by a tab or a space"),
        (
            "word pos ner\nAnna NNP B-PER\n",
            "a.conll:1: the first row, 'word pos ner', names the columns; remove it, or write it as # global.columns "
            "= word",
        ),
        (
            "1\t_\t_\tVERB\t_\t_\t_\t_\t_\t_\n",
            "a.conll: column 'FORM' holds only _, as where a treebank is published without its text; choose another",
        ),
    ],
)
def test_files_without_words_or_labels_are_refused(write: Write, content: str, message: str):
    assert read_error(write("a.conll", content)).startswith(message)


@pytest.mark.parametrize(
    ("begin", "inside", "outside", "named"),
    [
        ("B_PER", "I_PER", "O", "B_PER"),
        ("PER-B", "PER-I", "O", "PER-B"),
        ("b-per", "i-per", "o", "b-per"),
        ("B-PER", "I-PER", "0", "0"),
        ("B-PER", "W-PER", "O", "W-PER"),
    ],
)
@pytest.mark.parametrize("name", ["a.conll", "a.txt"])
def test_labels_that_do_not_mark_spans_are_a_warning(
    write: Write, name: str, begin: str, inside: str, outside: str, named: str
):
    path = write(name, f"Anna {begin}\nMay {inside}\nsings {outside}\n\nBob {begin}\nruns {outside}\n")
    with pytest.warns(InputWarning, match=f"labels such as '{named}' do not mark spans, as B-PER, I-PER and O do"):
        assert read(path).targets == [[begin, inside, outside], [begin, outside]]


@pytest.mark.parametrize(
    "labels", ["B-PER I-PER O", "B-PER L-PER U-LOC O", "B-PER E-PER S-LOC O", "I-PER I-LOC O", "PER LOC O"]
)
def test_labels_of_other_schemes_are_read_as_they_are(write: Write, labels: str, recwarn: pytest.WarningsRecorder):
    rows = [f"word {label}" for label in labels.split()]
    assert read(write("a.conll", "\n".join(rows) + "\n")).targets == [labels.split()]
    assert not recwarn.list
