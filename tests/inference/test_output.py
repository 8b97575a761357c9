"""Predictions as lines of text, for every task and format."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import TINY, names_file, upper_pairs
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import ohlol
from ohlol.data.readers.segment import join_words, label_words
from ohlol.inference.output import FORMATS, print_mistakes, writer
from ohlol.inference.trained_model import Prediction, TrainedModel
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


def test_characters(letters: TrainedModel) -> None:
    assert writer(letters, "plain")(CHARS) == "AB"
    assert writer(letters, "tsv")(CHARS) == "ab\tAB"
    assert writer(letters, "conll")(CHARS) == "a\tA\t0.7500\tB\t0.2500\nb\tB\t0.5000\tA\t0.5000\n"
    record = json.loads(writer(letters, "jsonl")(CHARS))
    assert record == {
        "input": "ab",
        "labels": ["A", "B"],
        "probability": [0.75, 0.5],
        "best": [[["A", 0.75], ["B", 0.25]], [["B", 0.5], ["A", 0.5]]],
    }


def test_join_words(tags: TrainedModel) -> None:
    assert writer(tags, "plain")(WORDS) == "PART VERB"
    assert writer(tags, "tsv")(WORDS) == "to be\tPART VERB"
    assert writer(tags, "conll")(WORDS) == "to\tPART\t0.7500\nbe\tVERB\t0.5000\n"
    record = json.loads(writer(tags, "jsonl")(WORDS))
    assert record["input"] == ["to", "be"]
    assert record["unknown"] == ["be"]


def test_classes(classes: TrainedModel) -> None:
    assert writer(classes, "plain")(CLASS) == "first"
    assert writer(classes, "tsv")(CLASS) == "ada\tfirst\t0.9000\tsecond\t0.1000"
    record = json.loads(writer(classes, "jsonl")(CLASS))
    assert record["label"] == "first"
    assert record["probability"] == 0.9
    with pytest.raises(InputError, match="has one label a sequence"):
        writer(classes, "conll")


def test_an_unknown_format_is_refused(letters: TrainedModel) -> None:
    with pytest.raises(InputError, match="must be one of plain, tsv, conll, jsonl"):
        writer(letters, "xml")


def test_a_tab_in_the_text_makes_no_column(letters: TrainedModel) -> None:
    line = writer(letters, "tsv")(Prediction("a\tb", ["A", "B", "C"], [1.0] * 3))
    assert line.count("\t") == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_real_predictions_are_written(letters: TrainedModel, kind: str) -> None:
    line = writer(letters, kind)(letters.predict("abba", n_best=2))
    rows = line.splitlines()
    assert len(rows) == (4 if kind == "conll" else 1)
    if kind == "conll":
        assert [row.split("\t")[0] for row in rows] == list("abba")
        assert all(len(row.split("\t")) == 5 for row in rows)


def test_non_ascii_stays_as_it_is(letters: TrainedModel) -> None:
    line = writer(letters, "jsonl")(Prediction("😀é", ["你", "ộ"], [1.0, 1.0], unknown=["😀"]))
    assert "😀é" in line
    assert "你" in line


@given(st.lists(st.text("中文字符", min_size=1, max_size=5), min_size=1, max_size=6))
def test_words_undo_their_labels(given_words: list[str]) -> None:
    assert join_words("".join(given_words), list(label_words(given_words))) == given_words


@given(st.lists(st.sampled_from("BMES"), min_size=1, max_size=12))
def test_any_labels_give_words_that_lose_nothing(labels: list[str]) -> None:
    text = "abcdefghijkl"[: len(labels)]
    assert "".join(join_words(text, labels)) == text


def test_segmented_text_is_written_as_words(letters: TrainedModel) -> None:
    data = replace(letters.config.data, format="segment")
    model = TrainedModel(replace(letters.config, data=data), letters.codec, letters.network)
    assert writer(model, "plain")(Prediction("看似简单", list("BEBE"), [1.0] * 4)) == "看似 简单"


def test_mistakes_are_a_table() -> None:
    out = io.StringIO()
    print_mistakes([("NOUN", "VERB", 12, 0.5), ("\n", " ", 3, 0.125)], Console(file=out, width=80))
    lines = [line.split() for line in out.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["wanted", "chosen", "times", "of", "the", "wanted"]
    assert ["NOUN", "VERB", "12", "50.0", "%"] in lines
    assert ["\\n", "3", "12.5", "%"] in lines
