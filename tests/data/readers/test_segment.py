"""Segmented text: labels say where words begin and end."""

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from data.reading import CONLLU, Write, read_error, slow_disk
from ohlol.config import DataSettings
from ohlol.data.readers.segment import join_words, label_words
from ohlol.data.sequences import read


def test_spaces_of_plain_text_become_boundary_labels(write: Write):
    corpus = read(write("a.txt", "我们 是\u3000一个大家庭\n\nok\n"), DataSettings(format="segment"))
    assert corpus.inputs == ["我们是一个大家庭", "ok"]
    assert corpus.targets == ["BESBMMME", "BE"]
    assert [place.line for place in corpus.places] == [1, 3]
    assert (corpus.settings.task, corpus.settings.level) == ("label", "char")


def test_the_forms_of_conll_become_boundary_labels(write: Write):
    path = write("a.conllu", CONLLU)
    corpus = read(path, DataSettings(format="segment"))
    assert corpus.inputs == ["don't1 000", "#1.5"]
    assert corpus.targets == ["BEBMEBMMME", "SBME"]
    assert read(path, DataSettings(format="segment"), with_targets=False).inputs == corpus.inputs


def test_lines_without_targets_are_read_unchanged(write: Write):
    corpus = read(write("a.txt", "ab c\n"), DataSettings(format="segment"), with_targets=False)
    assert corpus.inputs == ["ab c"]
    assert corpus.targets is None


@given(words=st.lists(st.text("abc你", min_size=1), min_size=1))
@slow_disk
def test_words_are_restored_from_labels(tmp_path: Path, words: list[str]):
    (tmp_path / "a.txt").write_text(" ".join(words), encoding="utf-8")
    corpus = read(tmp_path / "a.txt", DataSettings(format="segment"))
    assert corpus.targets is not None
    starts = [i for i, label in enumerate(corpus.targets[0]) if label in "BS"] + [None]
    assert [str(corpus.inputs[0])[a:b] for a, b in itertools.pairwise(starts)] == words


@given(st.lists(st.text("中文字符", min_size=1, max_size=5), min_size=1, max_size=6))
def test_words_are_joined_from_their_labels(words: list[str]):
    assert join_words("".join(words), list(label_words(words))) == words


@given(st.lists(st.sampled_from("BMES"), min_size=1, max_size=12))
def test_words_of_any_labels_lose_no_character(labels: list[str]):
    text = "abcdefghijkl"[: len(labels)]
    assert "".join(join_words(text, labels)) == text


def test_lines_without_spaces_teach_no_words(write: Write):
    message = read_error(write("a.txt", "我们是学生\n你们是老师\n"), DataSettings(format="segment"))
    assert message == "a.txt: no line has a space, and spaces separate the words to learn"
    assert read(write("b.txt", "我们\n"), DataSettings(format="segment")).targets == ["BE"]


def test_columns_are_those_of_conll_alone(write: Write):
    settings = DataSettings(format="segment", target="2")
    message = read_error(write("a.txt", "我们 是 学生\n"), settings)
    assert message == "a.txt: `target` chooses columns, and a file of the format segment has none: leave it out"
    assert read(write("a.conllu", CONLLU), DataSettings(format="segment", input="FORM")).inputs
