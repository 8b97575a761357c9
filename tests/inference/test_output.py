"""Predictions as text, for tasks with labels and every output format."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import TINY, names_file, upper_pairs
from hypothesis import given
from hypothesis import strategies as st

import ohlol
from ohlol.inference.output import (
    FORMATS,
    OutputLayout,
    escape_cell,
    format_conll,
    format_plain,
    format_tsv,
    make_writer,
    unescape_cell,
)
from ohlol.inference.prediction import Prediction
from ohlol.inference.trained_model import TrainedModel
from ohlol.utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def letters(folder: Path) -> TrainedModel:
    return ohlol.fit(upper_pairs(folder / "pairs.tsv"), **{**TINY, "epochs": 1})


@pytest.fixture(scope="module")
def tags(folder: Path) -> TrainedModel:
    path = folder / "tags.jsonl"
    path.write_text('{"input": ["to", "be"], "target": ["PART", "VERB"]}\n' * 3)
    return ohlol.fit(path, **{**TINY, "epochs": 1, "char_rnn_size": 3})


@pytest.fixture(scope="module")
def classes(folder: Path) -> TrainedModel:
    return ohlol.fit(names_file(folder / "names.csv"), input="name", target="kind", **{**TINY, "epochs": 1})


CHARS = Prediction("ab", ["A", "B"], [0.75, 0.5], [[("A", 0.75), ("B", 0.25)], [("B", 0.5), ("A", 0.5)]])
WORDS = Prediction(["to", "be"], ["PART", "VERB"], [0.75, 0.5], [[("PART", 0.75)], [("VERB", 0.5)]], ["be"])
CLASS = Prediction("ada", ["first"], [0.9], [[("first", 0.9), ("second", 0.1)]])


def test_characters_are_written_in_every_format(letters: TrainedModel) -> None:
    assert make_writer(letters, "plain")(CHARS) == "AB"
    assert make_writer(letters, "tsv")(CHARS) == "ab\tAB"
    assert make_writer(letters, "conll")(CHARS) == "a\tA\t0.7500\tB\t0.2500\nb\tB\t0.5000\tA\t0.5000\n"
    record = json.loads(make_writer(letters, "jsonl")(CHARS))
    assert record == {
        "input": "ab",
        "labels": ["A", "B"],
        "probability": [0.75, 0.5],
        "best": [[["A", 0.75], ["B", 0.25]], [["B", 0.5], ["A", 0.5]]],
    }


def test_words_are_written_in_every_format(tags: TrainedModel) -> None:
    assert make_writer(tags, "plain")(WORDS) == "PART VERB"
    assert make_writer(tags, "tsv")(WORDS) == "to be\tPART VERB"
    assert make_writer(tags, "conll")(WORDS) == "to\tPART\t0.7500\nbe\tVERB\t0.5000\n"
    record = json.loads(make_writer(tags, "jsonl")(WORDS))
    assert record["input"] == ["to", "be"]
    assert record["unknown"] == ["be"]


def test_classes_are_written_in_every_format_but_conll(classes: TrainedModel) -> None:
    assert make_writer(classes, "plain")(CLASS) == "first"
    assert make_writer(classes, "tsv")(CLASS) == "ada\tfirst\t0.9000\tsecond\t0.1000"
    record = json.loads(make_writer(classes, "jsonl")(CLASS))
    assert record["label"] == "first"
    assert record["probability"] == 0.9
    with pytest.raises(InputError, match="has one label for each sequence"):
        make_writer(classes, "conll")


def test_an_unknown_format_is_refused(letters: TrainedModel) -> None:
    with pytest.raises(InputError, match="must be one of plain, tsv, conll, jsonl"):
        make_writer(letters, "xml")


def test_a_tab_in_the_text_adds_no_column(letters: TrainedModel) -> None:
    line = make_writer(letters, "tsv")(Prediction("a\tb", ["A", "B", "C"], [1.0] * 3))
    assert line.count("\t") == 1


@pytest.mark.parametrize("output_format", FORMATS)
def test_real_predictions_are_written(letters: TrainedModel, output_format: str) -> None:
    line = make_writer(letters, output_format)(letters.predict("abba", n_best=2))
    rows = line.splitlines()
    assert len(rows) == (4 if output_format == "conll" else 1)
    if output_format == "conll":
        assert [row.split("\t")[0] for row in rows] == list("abba")
        assert all(len(row.split("\t")) == 5 for row in rows)


def test_non_ascii_is_not_escaped(letters: TrainedModel) -> None:
    line = make_writer(letters, "jsonl")(Prediction("😀é", ["你", "ộ"], [1.0, 1.0], unknown=["😀"]))
    assert "😀é" in line
    assert "你" in line


def test_segmented_text_is_written_as_words(letters: TrainedModel) -> None:
    data = replace(letters.config.data, format="segment")
    model = TrainedModel(replace(letters.config, data=data), letters.codec, letters.network)
    assert make_writer(model, "plain")(Prediction("看似简单", list("BEBE"), [1.0] * 4)) == "看似 简单"


TEXT = st.text(st.sampled_from("a\\\t\n\r\x0b\x0c\x1c\x85\u2028\u2029 tnru0") | st.characters(codec="utf-8"))


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_a_record_is_written_in_one_line_and_read_back_equal(text: str, labels: list[str]) -> None:
    best = [(label, 0.5) for label in labels]
    whole = Prediction(text, labels[:1], [0.5], [best])
    layout = OutputLayout(per_sequence=True, symbol_separator="", label_separator="", reader=None)
    line = format_tsv(whole, layout)
    assert line.splitlines() in ([line], [])
    cells = [unescape_cell(cell) for cell in line.split("\t")]
    assert (cells[0], cells[1::2]) == (text, labels)
    line = format_plain(whole, layout)
    assert line.splitlines() == [line] * bool(line)
    assert unescape_cell(line) == labels[0]
    steps = Prediction([text], labels[:1], [0.5], [best])
    line, end = format_conll(steps, layout).split("\n", 1)
    assert end == ""
    cells = [unescape_cell(cell) for cell in line.split("\t")]
    assert (cells[0], cells[1::2]) == (text, labels)


@given(TEXT)
def test_a_cell_is_read_back_equal(text: str) -> None:
    assert unescape_cell(escape_cell(text)) == text
