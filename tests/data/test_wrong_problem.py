"""Files as people give them: each is read as it is meant, or ends with an error or a warning that says what settles it.

Most cases were found in the issue threads of other packages, whose numbers are given. `data/readers/test_doubts.py` has
those of numbers and series.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from helpers import TINY

import ohlol
from data.reading import Write, read_error
from ohlol.config import DataSettings
from ohlol.data.profile import profile
from ohlol.data.raw_data import RawData
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError, InputWarning

TEXTS = [f"some words {number}" for number in range(12)]
LABELS = ["pos", "neg"] * 6
COLUMNS = DataSettings(input="text", target="label")
CLASSIFY = DataSettings(task="classify", input="text", target="label")
NONE = DataSettings()


def table(*columns: Sequence[object], header: str = "text,label", mark: str = ",") -> str:
    """A table of some columns, whose header has commas."""
    lines = [header.replace(",", mark)] if header else []
    return "\n".join(lines + [mark.join(map(str, row)) for row in zip(*columns, strict=True)]) + "\n"


PLAIN = table(TEXTS, LABELS)
OBJECTS: list[dict[str, Any]] = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


def json_lines(objects: Sequence[object], end: str = "\n") -> str:
    """Objects as JSON, one a line."""
    return end.join(map(json.dumps, objects)) + "\n"


def is_as_meant(data: RawData, texts: Sequence[Any] = TEXTS, labels: Sequence[Any] = LABELS) -> bool:
    """Whether data hold these texts and labels."""
    return list(data.inputs) == list(texts) and list(data.targets or ()) == list(labels)


READ: dict[str, tuple[str, str | bytes]] = {
    "a delimiter line of Excel": ("a.csv", "sep=;\n" + table(TEXTS, LABELS, mark=";")),
    "tabs in a file named .csv": ("a.csv", table(TEXTS, LABELS, mark="\t")),
    "a byte order mark": ("a.csv", "\ufeff" + PLAIN),
    "a byte order mark where files were joined": ("a.csv", PLAIN.replace("some words 6", "\ufeffsome words 6")),
    "UTF-16 with a mark": ("a.csv", PLAIN.encode("utf-16")),
    "mixed line ends": ("a.csv", PLAIN.replace("\n", "\r\n", 5)),
    "no last line end": ("a.csv", PLAIN.rstrip("\n")),
    "rows of commas at the end, as spreadsheets write them": ("a.csv", PLAIN + ",\n,,,\n"),
    "line ends in quotes": (
        "a.csv",
        "text,label\r\n" + "".join(f'"{t}",{c}\r\n' for t, c in zip(TEXTS, LABELS, strict=True)),
    ),
    "blank lines": ("a.csv", PLAIN.replace("\n", "\n\n")),
    "an empty column at the end of all rows": ("a.csv", PLAIN.replace("\n", ",\n")),
    "the index of a data frame": ("a.csv", table(range(12), TEXTS, LABELS, header=",text,label")),
    "the class first": ("a.csv", table(LABELS, TEXTS, header="label,text")),
    "columns between": ("a.csv", table(LABELS, TEXTS, LABELS[::-1], header="label,text,other")),
    "a quoted header": ("a.csv", table(TEXTS, LABELS, header='"text","label"')),
    "JSON lines named .json": ("a.json", json_lines(OBJECTS)),
    "further keys in JSON": ("a.jsonl", json_lines([{"meta": {"n": [1]}, **entry} for entry in OBJECTS])),
    "a table named .txt": ("a.txt", PLAIN),
    "spaces around JSON": ("a.jsonl", " " + json_lines(OBJECTS, " \n ")),
}


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_it_is_meant(write: Write, name: str, recwarn: pytest.WarningsRecorder):
    file, content = READ[name]
    data = read(write(file, content), COLUMNS)
    assert data.task == "classify"
    assert is_as_meant(data)
    assert not recwarn.list


def test_texts_of_any_form_are_texts(write: Write, recwarn: pytest.WarningsRecorder):
    texts = ['{"a": [1]}', "<p>bold</p>", "a\tb", 'he said "hi"', "two\nlines", "=SUM(A1)", "  in  ", "#1", "a;b|c"] * 2
    texts = [f"{text}{number}" for number, text in enumerate(texts)]
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    labels = [*LABELS, *LABELS[:6]]
    assert is_as_meant(read(write("a.csv", table(quoted, labels)), COLUMNS), texts, labels)
    assert not recwarn.list


REFUSED: dict[str, tuple[str, str | bytes, DataSettings, str]] = {
    "UTF-16 without a mark": (
        "a.csv", PLAIN.encode("utf-16-le"), COLUMNS,
        "a.csv:1: a zero byte; the file may be UTF-16; give `encoding=utf-16-le`",
    ),
    "a zero byte": (
        "a.csv", PLAIN.replace("words 3", "words\0 3"), COLUMNS, "a.csv:5: a zero byte; this is not a text file",
    ),
    "a header alone": ("a.csv", "text,label\n", COLUMNS, "a.csv: no rows below the header"),
    "two columns of one name": (
        "a.csv", table(TEXTS, TEXTS, LABELS, header="text,text,label"), COLUMNS,
        "a.csv:1: 2 columns are named 'text'; give the column's number",
    ),
    "a repeated header": (
        "a.csv", PLAIN + PLAIN, COLUMNS, "a.csv:14: this row repeats the header, as where files were joined; remove it",
    ),
    "comments above the header": (
        "a.csv", f"# exported\n# by hand\n{PLAIN}", COLUMNS,
        "a.csv:3: the header is in this line, and the file begins with '# exported'; remove all above it",
    ),
    "a title above the header": (
        "a.csv", f"Tickets 2020,\n,\n{PLAIN}", COLUMNS,
        "a.csv:3: the header is in this line, and the file begins with 'Tickets 2020'; remove all above it",
    ),
    "bars between columns": (
        "a.csv", table(TEXTS, LABELS, mark="|"), COLUMNS,
        "a.csv:1: the first row, 'text|label', is one column; columns are separated by a comma, a semicolon or a tab",
    ),
    "a delimiter after all rows but the header, pandas 14124": (
        "a.csv", PLAIN.replace("\n", ",\n").replace("label,\n", "label\n"), COLUMNS,
        "a.csv:2: 3 columns, where the first row has 2",
    ),
    "a delimiter after one row, pandas 9295": (
        "a.csv", PLAIN.replace("pos\n", "pos,\n", 1), COLUMNS, "a.csv:2: 3 columns, where the first row has 2",
    ),
    "an index without a name, pandas 41304": (
        "a.csv", table(range(12), TEXTS, LABELS), COLUMNS, "a.csv:2: 3 columns, where the first row has 2",
    ),
    "commas in texts without quotes": (
        "a.csv", PLAIN.replace("words 1", "words, 1", 1), COLUMNS, "a.csv:3: 3 columns, where the first row has 2",
    ),
    "quotes with backslashes": (
        "a.csv", 'text,label\n"say \\"hi\\", now",pos\n', COLUMNS,
        "a.csv:2: not CSV (',' expected after '\"'); quotes in a cell are doubled, and the cell is quoted",
    ),
    "line ends of old Macs": (
        "a.csv", PLAIN.replace("\n", "\r"), COLUMNS, "a.csv:1: not CSV (a carriage return within a line); end lines",
    ),
    "names in another case": (
        "a.csv", PLAIN.replace("text,label", "Text,Label"), COLUMNS, "a.csv:1: no column 'text'; there are 'Text', 'La",
    ),
    "names with spaces": (
        "a.csv", PLAIN.replace("text,label", "text , label"), COLUMNS, "a.csv:1: no column 'text'; there are 'text '",
    ),
    "an empty class": (
        "a.csv", PLAIN.replace("neg", "", 1), COLUMNS, "a.csv:3: column 'label' is empty; a class is a text",
    ),
    "a text of spaces": (
        "a.csv", PLAIN.replace("some words 4", "   "), COLUMNS, "a.csv:6: column 'text' is empty; a sequence has one",
    ),
    "columns that are swapped": (
        "a.csv", PLAIN, DataSettings(input="label", target="text"),
        "a.csv: the target 'text' has 12 values in 12 rows, such as 'some words 0', 'some words 1'; classes repeat: "
        "choose another `target`",
    ),
    "a class for each row": (
        "a.csv", table(TEXTS, [f"class {n}" for n in range(12)]), COLUMNS,
        "a.csv: the target 'label' has 12 values in 12 rows, such as 'class 0', 'class 1'; classes repeat",
    ),
    "the input as its own target": (
        "a.csv", PLAIN, DataSettings(input="text", target="text"),
        "a.csv: `input` and `target` are both 'text'; they must differ",
    ),
    "identifiers as input": (
        "a.csv", table([f"T-{n:04}" for n in range(12)], LABELS, header="id,label"),
        DataSettings(input="id", target="label"),
        "a.csv: the input 'id' holds identifiers such as 'T-0000', all different and of one form; choose another",
    ),
    "prices as input": (
        "a.csv", table([f'"1,{n:03}"' for n in range(12)], LABELS, header="price,label"),
        DataSettings(input="price", target="label"),
        "a.csv: the input 'price' holds numbers, and their digits would be read as a text",
    ),
    "thousands as a quantity": (
        "a.csv", table(TEXTS, [f'"1,{n:03}"' for n in range(12)]),
        DataSettings(task="regress", input="text", target="label"),
        "a.csv:2: column 'label' holds '1,000', which is 1000 (a thousands separator) or 1.000 (a decimal comma)",
    ),
    "a quantity that is missing": (
        "a.csv", table(TEXTS, [*range(11), "N/A"]), DataSettings(task="regress", input="text", target="label"),
        "a.csv:13: column 'label' is 'N/A', which is not a finite number",
    ),
    "a word and its label in each row of a table": (
        "a.csv", table(["Anna", "sings", "."] * 4, ["B-PER", "O", "O"] * 4, header="Word,Tag"),
        DataSettings(input="Word", target="Tag"),
        "a.csv: the target 'Tag' holds labels of words within sentences, such as 'B-PER', 'O', and each row would be a",
    ),
    "an array in JSON without an end": (
        "a.json", json.dumps(OBJECTS)[:-1], COLUMNS, "a.json:1: not JSON (the array has no end), in an array of object",
    ),
    "an array of texts in JSON": (
        "a.json", json.dumps(TEXTS, indent=1), COLUMNS, "a.json:2: '\"some words 0\"' is not a JSON object",
    ),
    "columns in JSON": (
        "a.json", json.dumps({"text": TEXTS, "label": LABELS}), COLUMNS,
        "a.json: the lists of 'text' and 'label' are equally long in every row; for a label of each word choose",
    ),
    "a data frame in JSON": (
        "a.json", json.dumps({"text": dict(enumerate(TEXTS)), "label": dict(enumerate(LABELS))}), COLUMNS,
        "a.json:1: column 'text' is not a text",
    ),
    "rows below a key": ("a.json", json.dumps({"data": OBJECTS}), COLUMNS, "a.json:1: no column 'text'; there are 'da"),
    "categories of spaCy": (
        "a.jsonl", json_lines([{"text": text, "label": {"cats": {"POS": 1}}} for text in TEXTS]), COLUMNS,
        "a.jsonl:1: column 'label' is not a text; a class is a text or a number",
    ),
    "a key that one object lacks": (
        "a.jsonl", json_lines([OBJECTS[0], {"text": "x"}, *OBJECTS[2:]]), COLUMNS, "a.jsonl:2: column 'label' is empty",
    ),
    "commas after objects": (
        "a.jsonl", json_lines(OBJECTS, ",\n"), COLUMNS, "a.jsonl:1: not JSON (Extra data); every line must be one JSON",
    ),
    "dicts as Python prints them": (
        "a.jsonl", "\n".join(map(str, OBJECTS)), COLUMNS, "a.jsonl:1: not JSON (Expecting property name enclosed in",
    ),
    "a file of fastText, flair 1644": (
        "a.txt", table([f"__label__{label}" for label in LABELS], TEXTS, header="", mark=" "), NONE,
        "a.txt: its lines begin with __label__, as files of fastText; write a tab after the labels and choose `task`",
    ),
    "a file of fastText with the labels at the end": (
        "a.txt", table(TEXTS, [f"__label__{label}" for label in LABELS], header="", mark=" "), NONE,
        "a.txt: its lines hold __label__, as files of fastText; write a tab before the labels and choose `task` "
        "classify",
    ),
    "two header rows, of names and units": (
        "a.csv", "date,temp\n,°C\n2020-01-01,5\n2020-01-02,7\n", NONE,
        "a.csv:3: this is the first row with numbers or dates, and there are several above it; keep one row with the "
        "names",
    ),
    "a title above a series": (
        "a.csv", "Sales report\n\ndate,sales\n2020-01-01,5\n2020-01-02,7\n", NONE,
        "a.csv:4: this is the first row with numbers or dates, and there are several above it; keep one row with the "
        "names",
    ),
    "bars between the columns of a series": (
        "a.csv", "date|y\n2020-01-01|5\n2020-01-02|7\n", NONE,
        "a.csv:1: the first row, 'date|y', is one column; columns are separated by a comma, a semicolon or a tab, "
        "and not",
    ),
    "a table that is taken for a text": (
        "a.txt", PLAIN, NONE, "a.txt: its lines have 2 columns separated by ','; for a table, choose its columns with",
    ),
    "a table of Markdown": (
        "a.md", "| a | b |\n|---|---|\n| x | 1 |\n| y | 2 |\n", NONE,
        "a.md: its lines have 4 columns separated by '|'; for a table, choose its columns with `input`",
    ),
    "pairs that are texts with classes": (
        "a.tsv", table(["abc", "defg"], ["pos", "neg"], header="", mark="\t"), NONE,
        "a.tsv:2: input has 4 characters, target 3; every step of a pair needs its own label; for one",
    ),
    "labels of spans before the words": (
        "a.conll", "B-PER Anna\nO sings\n\nB-PER Bob\nO sings\nO .\n", NONE,
        "a.conll:1: column 1 holds labels of spans, such as 'B-PER', and the last, column 2, holds others; choose the",
    ),
    "labels of spans before other tags": (
        "a.conll", "Anna B-PER NNP\nsings O VB\n\nBob B-PER NNP\nsings O VB\n", NONE,
        "a.conll:1: column 2 holds labels of spans, such as 'B-PER', and the last, column 3, holds others; choose the",
    ),
    "tabs and spaces between columns, flair 3034": (
        "a.conll", "Anna\tB-PER\nsings O\n\nBob\tB-PER\n", NONE,
        "a.conll:2: 1 columns, where the first row has 2, separated by tabs",
    ),
    "a page of an error": (
        "a.csv", "<html>\n<head><title>404, not found</title></head>\n</html>\n", CLASSIFY, "a.csv:2: 2 columns",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_what_settles_it(write: Write, name: str):
    file, content, settings, message = REFUSED[name]
    path = write(file, content)
    assert read_error(path, settings).startswith(message)
    try:  # `ohlol data` says the same
        refusal = profile(str(path), settings).refusal
    except InputError as error:
        refusal = str(error)
    assert refusal is not None
    assert message in refusal.replace(f"{path.parent}/", "")


WARNED: dict[str, tuple[str, DataSettings, str]] = {
    "classes of two spellings": (
        table(TEXTS, ["Positive", "positive ", "negative"] * 4), COLUMNS,
        "column 'label': 'Positive', 'positive ' are different classes, which differ in their spelling only",
    ),
    "classes of two spellings that look alike": (
        table(TEXTS, ["pos\u200b", "pos", "neg"] * 4), COLUMNS,
        "are different classes, which differ in their spelling only",
    ),
    "classes of letters of two widths": (
        table(TEXTS, ["\uff21", "A", "B"] * 4), COLUMNS, "are different classes, which differ in their spelling only",
    ),
    "texts that are missing": (
        PLAIN.replace("some words 3", "nan").replace("some words 4", "nan"), COLUMNS,
        r"the text 'nan' may stand for a missing value \(2 rows\)",
    ),
    "a quote that merges rows": (
        PLAIN.replace("some words 3", '"quoted').replace("some words 5", 'end"'), COLUMNS,
        "has several lines, one of which ends with ',' and a class: a quote that is not doubled may merge rows into "
        "one",
    ),
    "numbers of two spellings": (
        table(TEXTS, ["0", "1", "1.0"] * 4), COLUMNS, "column 'label': '1', '1.0' are different classes",
    ),
    "one class": (
        table(TEXTS, ["pos"] * 12), COLUMNS, "all 12 rows have the class 'pos', so there is nothing to learn",
    ),
    "one text": (table(["text"] * 12, LABELS), COLUMNS, "all 12 rows have the same text, 'text'"),
    "a word for a missing class": (
        table(TEXTS, ["nan" if n in (3, 7) else f"class {n % 2}" for n in range(12)]), COLUMNS,
        r"the class 'nan' may stand for a missing value \(2 rows\)",
    ),
    "a second header of types": (
        "text,label\nstring,category\n" + PLAIN.partition("\n")[2], COLUMNS, "1 of 3 classes occur once: 'category'",
    ),
    "a last row of totals": (PLAIN + "Total,12\n", CLASSIFY, "1 of 3 classes occur once: '12'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_it_is_read_with_a_warning(write: Write, name: str):
    content, settings, message = WARNED[name]
    path = write("a.csv", content)
    with pytest.warns(InputWarning, match=message):
        data = read(path, settings)
    assert data.task == "classify"
    assert message.replace("\\", "") in " ".join(profile(str(path), settings).warnings)
    complete = data.settings
    assert len(read(path, complete).inputs) == len(data.inputs)  # the same settings, as of a dev file: no warning again


def test_pages_of_html_are_read_with_a_warning(write: Write):
    with pytest.warns(InputWarning, match="a.html: is a page of HTML, and its tags are read as text"):
        assert read(write("a.html", "<!DOCTYPE html>\n<html><body>Hi</body></html>\n")).task == "next"


CONLL = "EU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP B-PER\nsings VB I-VP O\n"


@pytest.mark.parametrize("name", ["a.conll", "a.txt"])
def test_marks_of_documents_are_no_sentences(write: Write, name: str):
    data = read(write(name, f"-DOCSTART- -X- O O\n\n{CONLL}\n-DOCSTART- -X- O O\n\n{CONLL}"))
    assert data.inputs == [["EU", "rejects"], ["Peter", "sings"]] * 2
    assert data.targets == [["B-ORG", "O"], ["B-PER", "O"]] * 2


def test_a_column_of_spans_that_is_chosen_is_read(write: Write):
    data = read(write("a.conll", "B-PER Anna\nO sings\n\nB-PER Bob\nO .\n"), DataSettings(input="2", target="1"))
    assert data.targets == [["B-PER", "O"], ["B-PER", "O"]]


def test_a_file_without_blank_lines_is_one_sentence_with_a_warning(write: Write):
    with pytest.warns(
        InputWarning, match=r"a.conll:1: a sentence of 1,000 words or more; a blank line ends a sentence"
    ):
        assert len(read(write("a.conll", "Anna B-PER\nsings O\n" * 5000)).inputs[0]) == 10_000


def test_blank_lines_after_all_words_are_a_warning_flair_3306(write: Write):
    with pytest.warns(InputWarning, match=r"all 60 sentences have one word; a blank line ends a sentence, not a word"):
        assert len(read(write("a.conll", "Anna B-PER\n\nsings O\n\n. O\n\n" * 20)).inputs) == 60


@pytest.mark.parametrize("text", ["Roses, red and blue\n" * 9, "one\ttwo\n" * 3, "a, b\nc, d\ne, f\ng, h\n"])
def test_texts_with_commas_are_texts(write: Write, text: str):
    data = read(write("a.txt", text))
    assert data.task in ("next", "label")


def test_a_text_may_look_like_a_table(write: Write):
    path = write("a.txt", PLAIN)
    assert read(path, DataSettings(task="next")).settings.format == "text"
    assert read(write("b.txt", "__label__a b\n" * 9), DataSettings(task="next")).task == "next"


DEV: dict[str, tuple[str, str]] = {
    "other names": (PLAIN.replace("text,label", "sentence,class"), "no column 'text'; there are 'sentence', 'class'"),
    "no header": (PLAIN.partition("\n")[2], "no column 'text'; there are 'some words 0', 'pos'"),
    "other classes": (PLAIN.replace("neg", "bad").replace("pos", "good"), "no label of it was seen in training"),
}


@pytest.mark.parametrize("name", DEV)
def test_a_dev_file_of_another_form_is_refused(write: Write, name: str):
    content, message = DEV[name]
    train, dev = write("a.csv", PLAIN * 1), write("dev.csv", content)
    with pytest.raises(InputError, match=f"dev.csv.*: {message}"):
        ohlol.fit(train, dev=dev, input="text", target="label", **TINY)


def test_a_dev_file_with_columns_in_another_order_is_read(write: Write):
    train, dev = write("a.csv", PLAIN), write("dev.csv", table(LABELS, TEXTS, header="label,text"))
    model = ohlol.fit(train, dev=dev, input="text", target="label", **TINY)
    assert model.evaluate(dev).metrics() == pytest.approx(model.evaluate(train).metrics())


def test_a_dev_file_without_header_whose_columns_are_swapped_is_refused(write: Write):
    train = write("a.csv", PLAIN.partition("\n")[2])
    dev = write("dev.csv", table(LABELS, TEXTS, header=""))
    with pytest.raises(InputError, match="no label of it was seen in training"):
        ohlol.fit(train, dev=dev, input="1", target="2", **TINY)
