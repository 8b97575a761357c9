"""Doubts about texts with a class each."""

from pathlib import Path

import pytest

import ohlol
from data.reading import TEXTS, WAVE, Write, read_error, table_of
from ohlol.config import DataSettings
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError

FORECAST = DataSettings(task="next_row")


def test_a_target_of_many_numbers_is_a_question(write: Write):
    path = write("a.csv", table_of("text,score", TEXTS, [n % 74 for n in range(100)]))
    message = read_error(path, DataSettings(input="text", target="score"))
    assert message.startswith("a.csv: the target 'score' holds 74 different numbers, such as '0', '1', '2', more than")
    assert message.endswith(
        "if they are quantities, predict them with `task` regress; if they are classes, say so with `task` classify"
    )
    as_numbers = read(path, DataSettings(task="regress", input="text", target="score"))
    assert as_numbers.targets == [float(n % 74) for n in range(100)]
    as_classes = read(path, DataSettings(task="classify", input="text", target="score"))
    assert len(set(map(str, as_classes.targets or ()))) == 74


@pytest.mark.parametrize("scores", [[f"{n / 7:.3f}" for n in range(100)], [f'"{n},5"' for n in range(100)]])
def test_a_target_of_fractions_is_a_question(write: Write, scores: list[str]):
    path = write("a.csv", table_of("text,score", TEXTS, scores))
    message = read_error(path, DataSettings(input="text", target="score"))
    assert message.startswith("a.csv: the target 'score' holds 100 different numbers")


@pytest.mark.parametrize("classes", [[n % 2 for n in range(100)], [f"{n % 10 / 2}" for n in range(100)]])
def test_a_few_numbers_are_classes(write: Write, classes: list[str]):
    path = write("a.csv", table_of("text,mark", TEXTS, classes))
    assert read(path, DataSettings(input="text", target="mark")).task == "classify"


def test_a_target_that_hardly_repeats_is_a_question(write: Write):
    path = write("a.csv", table_of("text,label", TEXTS, [n % 2 for n in range(100)]))
    message = read_error(path, DataSettings(input="label", target="text"))
    assert message.startswith("a.csv: the target 'text' has 100 values in 100 rows, such as 'text 0', 'text 41'")


def test_numbers_are_not_read_as_texts_in_silence(write: Write):
    labels = ["up", "down"] * 6
    path = write("a.csv", table_of("value,label", WAVE, labels))
    assert "their digits would be read as a text" in read_error(path, DataSettings(input="value", target="label"))
    assert read(path, DataSettings(task="classify", input="value", target="label")).task == "classify"


def test_many_different_texts_do_not_repeat(write: Write):
    count = 10_000
    names = [f"text {n}" for n in range(count)]
    numbers = [n * 7919 % 10_007 for n in range(count)]
    path = write("a.csv", table_of("name,y", names, numbers))
    assert read(path, FORECAST).columns == ("y",)
    swapped = DataSettings(input="label", target="name")
    path = write("b.csv", table_of("name,label", names, ["ab"[n % 2] for n in range(count)]))
    assert read_error(path, swapped).startswith("b.csv: the target 'name' has 4096 values in 4096 rows")


@pytest.mark.parametrize(("cells", "is_numeric"), [(["18+", "65+", "30+"], False), (["18", "65+", "30"], True)])
def test_numbers_with_a_mark_may_be_classes(tmp_path: Path, cells: list[str], is_numeric: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "age,label\n" + "".join(f"{cell},{'ab'[i % 2]}\n" for i, cell in enumerate(cells * 4)), encoding="utf-8"
    )
    if is_numeric:
        with pytest.raises(InputError, match="hold"):
            ohlol.interpret(path, input="age", target="label")
    else:
        assert ohlol.interpret(path, input="age", target="label").settings.task == "classify"
