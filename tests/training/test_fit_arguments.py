"""Arguments of `fit` of the wrong kind: an error that states the cause and the fix."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ohlol.training.fit import fit
from ohlol.utils.errors import InputError


class MyCell(torch.nn.Module):
    """A cell that is not registered."""


@pytest.mark.parametrize("cell", [MyCell, MyCell(), torch.nn.LSTMCell])
def test_a_cell_is_chosen_by_its_name(cell: object) -> None:
    with pytest.raises(InputError, match=r"`cell` is .*; it must be a string: .* chosen by its name"):
        fit(cell=cell)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", "3", "an integer"),
        ("epochs", 2.0, "an integer"),
        ("hidden_size", True, "an integer"),
        ("lr", "0.1", "a number"),
        ("bidirectional", "yes", "True or False"),
        ("bidirectional", 1, "True or False"),
        ("head", 3, "a string"),
        ("task", ["label"], "a string"),
        ("header", "no", "True or False"),
    ],
)
def test_a_setting_has_its_type(name: str, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` is .*; it must be {expected}"):
        fit(**{name: value})  # pyright: ignore[reportArgumentType]


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    model = fit(hidden_size=np.int64(4), lr=torch.tensor(0.1), epochs=np.uint8(1), loop=np.False_)
    assert model.config.model.hidden_size == 4
    assert type(model.config.model.hidden_size) is int
    assert type(model.config.training.lr) is float
    assert model.config.model.loop is False


@pytest.mark.parametrize("pairs", [[(1, 2)], [("a", None)], [("ab", "AB"), ("c", 3)]])
def test_the_sides_of_pairs_are_texts(pairs: list[tuple[object, object]]) -> None:
    with pytest.raises(InputError, match=r"pair \d: a side of type \w+; give a string or a list of strings"):
        fit(pairs)  # pyright: ignore[reportArgumentType]


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="the name of a file is empty"):
        fit("")


class DataFrame:
    """Stands for a table of another package."""


@pytest.mark.parametrize("data", [DataFrame(), np.zeros((2, 2)), torch.zeros(2), {"a": "b"}, 5, [1, 2], iter("ab")])
def test_data_of_another_type(data: object) -> None:
    with pytest.raises(InputError, match=r"the data are of type .*; give the name of a file, .* a data frame"):
        fit(data)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        ("a.zip", b"PK\x03\x04\x14\x00\xff", "a zip archive, such as a spreadsheet"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old spreadsheet"),
        ("a.txt.gz", b"\x1f\x8b\x08\x00\xff", "a.txt.gz: is damaged: "),
        ("a.tsv", b"\xfd7zXZ\x00\xff", "compressed with xz, which is unpacked where the name ends in .xz"),
    ],
)
def test_a_file_that_is_not_text(tmp_path: Path, name: str, start: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(start + b"\xff\xfe")
    with pytest.raises(InputError, match=message) as refused:
        fit(tmp_path / name)
    assert "iconv" not in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "data", "message"),
    [
        ({"char_rnn_size": 4}, {"task": "classify"}, "task classify with sequences of characters"),
        ({"bigram_size": 4}, {"task": "classify", "level": "word"}, "task classify with sequences of words"),
        ({"class_weights": "balanced"}, {"task": "regress"}, "has no effect on task regress"),
        ({"label_smoothing": 0.1}, {"task": "regress"}, "has no effect on task regress"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    setting: dict[str, object], data: dict[str, str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,value\n" + "".join(f"a{n} b{n % 3},{n % 7}\n" for n in range(30)))
    settings = {"hidden_size": 2, "epochs": 1, **data, **setting}
    with pytest.raises(InputError, match=f"`{next(iter(setting))}` .*{message}"):
        fit(file, input="text", target="value", **settings)


def test_classes_can_be_predicted_from_pairs_of_characters(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("text,value\n" + "".join(f"a{n} b{n % 3},{n % 2}\n" for n in range(30)))
    model = fit(file, input="text", target="value", task="classify", bigram_size=3, hidden_size=2, epochs=1)
    assert model.network.encoder.bigrams.weight.shape == (model.config.sizes.bigrams, 3)
    assert model.predict("a1 b1").labels[0] in "01"
