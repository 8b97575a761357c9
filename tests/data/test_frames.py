"""Tables in memory are read as a CSV file of the same rows, with the same questions."""

import csv
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import TINY, bytes_of
from hypothesis import given
from hypothesis import strategies as st

import ohlol
from data.reading import slow_disk
from ohlol.config import DataSettings
from ohlol.data.frames import read_records
from ohlol.data.raw_data import RawData
from ohlol.data.sequences import read
from ohlol.utils.errors import InputError

Rows = list[dict[str, Any]]


class Dataset:
    """A dataset as that of Hugging Face behaves: columns by name, and rows as dicts."""

    features = None

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    @property
    def column_names(self) -> list[str]:
        return list(self.rows[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


Dataset.__module__ = "datasets.arrow_dataset"


def make(package: str, name: str) -> Callable[[Rows], Any]:
    return getattr(pytest.importorskip(package), name)


FRAMES: dict[str, Callable[[Rows], Any]] = {
    "dicts": lambda rows: rows,
    "dataset": Dataset,
    "pandas": lambda rows: make("pandas", "DataFrame")(rows),
    "polars": lambda rows: make("polars", "DataFrame")(rows),
    "polars lazy": lambda rows: make("polars", "LazyFrame")(rows),
    "pyarrow": lambda rows: pytest.importorskip("pyarrow").Table.from_pylist(rows),
}
frames = pytest.mark.parametrize("frame", FRAMES)
CLASSES: Rows = [{"text": f"a{n % 7}好", "label": "xy"[n % 2], "n": n} for n in range(40)]
START = datetime.datetime(2024, 1, 1)
SERIES: Rows = [{"date": START + datetime.timedelta(days=n), "y": float(np.sin(n)), "k": n % 5} for n in range(60)]


def write_csv(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_frame(frame: Any, **settings: Any) -> RawData:
    records = read_records(frame)
    assert records is not None
    return read(records, DataSettings(**settings))


@frames
def test_a_frame_is_read_as_its_csv_file(tmp_path: Path, frame: str) -> None:
    for rows, settings in ((CLASSES, {"input": "text", "target": "label"}), (SERIES, {"target": "y", "known": "k"})):
        expected = read(write_csv(tmp_path / "a.csv", rows), DataSettings(**settings))
        found = read_frame(FRAMES[frame](rows), **settings)
        assert found.settings == expected.settings
        np.testing.assert_array_equal(found.inputs, expected.inputs)
        np.testing.assert_array_equal(found.targets or (), expected.targets or ())
    assert str(ohlol.interpret(FRAMES[frame](CLASSES), input="text", target="label")) == (
        "data frame: columns (it has rows and columns), task classify, input 'text', target 'label', by character; "
        "not read: 'n'"
    )


@frames
@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([*CLASSES[:16], {"text": None, "label": "x", "n": 1}], CLASSES, "data frame, row 17: column 'text' is empty"),
        ([{"y": "1,037"}] * 5, {}, "data frame, row 1: column 'y' holds '1,037', which is 1037"),
        (SERIES[::-1], {"task": "forecast"}, "data frame, row 2: column 'date' runs backward"),
        (CLASSES, {}, "data frame: the columns are 'text', 'label', 'n'; choose two by name"),
        (CLASSES, {"input": "word", "target": "label"}, "no column 'word'; there are 'text', 'label', 'n'"),
        ([*SERIES[:9], {"date": SERIES[9]["date"], "y": None, "k": 1}], {"task": "next_row"}, "row 10: column 'y' is"),
    ],
)
def test_the_questions_of_a_csv_file(frame: str, rows: Rows, settings: Any, message: str) -> None:
    chosen = {"input": "text", "target": "label"} if settings is CLASSES else settings
    with pytest.raises(InputError) as refused:
        read_frame(FRAMES[frame](rows), **chosen)
    assert message in str(refused.value)


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from("ab")), min_size=1, max_size=8))
@slow_disk
def test_texts_are_read_as_they_are(rows: list[tuple[str, str]]) -> None:
    dicts = [{"text": text, "label": label} for text, label in rows]
    expected: Any = None
    for frame in FRAMES.values():
        try:
            found = read_frame(frame(dicts), input="text", target="label", task="classify")
            result: Any = (found.inputs, found.targets)
        except InputError as error:  # a text of white space
            result = str(error)
        expected = expected or result
        assert result == expected


@frames
def test_train_evaluate_and_predict(tmp_path: Path, frame: str) -> None:
    data = FRAMES[frame](CLASSES)
    model = ohlol.fit(data, input="text", target="label", seed=1, **TINY)
    path = write_csv(tmp_path / "a.csv", CLASSES)
    expected = ohlol.fit(path, input="text", target="label", seed=1, **TINY)
    assert model.identity == expected.identity
    assert model.evaluate(data).metrics() == expected.evaluate(path).metrics()
    texts = [row["text"] for row in CLASSES]
    assert list(model.predict_many(data)) == list(expected.predict_many(texts))
    with pytest.raises(InputError, match="a table holds many sequences"):
        model.predict(data)


def test_a_run_of_a_frame_is_resumed_without_it(tmp_path: Path) -> None:
    rows, dev = CLASSES[:30], CLASSES[30:]
    settings = {"input": "text", "target": "label", "seed": 1, **TINY}
    whole = ohlol.fit(rows, dev=dev, out=tmp_path / "whole", **settings)
    from_files = ohlol.fit(
        write_csv(tmp_path / "a.csv", rows), dev=write_csv(tmp_path / "b.csv", dev), out=tmp_path / "files", **settings
    )
    assert whole.identity == from_files.identity
    before = bytes_of(tmp_path / "whole")
    assert ohlol.fit(out=tmp_path / "whole", resume=True).identity == whole.identity
    assert bytes_of(tmp_path / "whole") == before


def test_a_series_with_dates_as_its_index() -> None:
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range("2024-01-01", periods=30, name="day")
    frame = pandas.DataFrame({"y": np.sin(np.arange(30.0))}, index=index)
    found = read_frame(frame, task="forecast")
    assert found.columns == ("y",)
    with pytest.raises(InputError, match="row 2: column 'day' runs backward"):
        read_frame(frame[::-1], task="forecast")
    model = ohlol.fit(frame, task="forecast", epochs=1)
    assert len(model.forecast(frame, 3).to_rows()) == 3


@pytest.mark.parametrize("index", ["texts", "dates", "periods", "quarters"])
def test_dates_of_any_type_are_found_in_the_index(index: str) -> None:
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=12)
    indices = {
        "texts": [str(day.date()) for day in days],
        "dates": [day.date() for day in days],
        "periods": pandas.period_range("2024-01-01", periods=12, freq="D"),
        "quarters": pandas.period_range("2020Q1", periods=12, freq="Q"),
    }
    values = np.arange(12.0) % 5
    for frame in (
        pandas.DataFrame({"y": values}, index=indices[index]),
        pandas.DataFrame({"when": indices[index], "y": values}),
    ):
        found = read_frame(frame, task="forecast")
        assert (found.settings.time is None, found.columns) == (False, ("y",))
        assert found.panel is not None
        assert str(found.panel.step) == ("quarterly" if index == "quarters" else "daily")


def test_an_index_of_names_is_a_column() -> None:
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-01-01", periods=12)
    index = pandas.MultiIndex.from_product([["a", "b"], days], names=["shop", "day"])
    frame = pandas.DataFrame({"y": np.arange(24.0) % 5}, index=index)
    with pytest.raises(InputError, match="column 'shop' has 2 values that repeat"):
        read_frame(frame, task="forecast")
    assert len(read_frame(frame, task="forecast", series="shop").inputs) == 2
    same = frame.reset_index().set_index("shop", drop=False)
    assert len(read_frame(same, task="forecast", series="shop").inputs) == 2
    with pytest.raises(InputError, match="column 'index' has 2 values that repeat"):
        read_frame(pandas.DataFrame({"y": np.arange(24.0) % 5}, index=["a", "b"] * 12), task="forecast")


def test_numbers_of_an_index_are_no_column() -> None:
    pandas = pytest.importorskip("pandas")
    for name in (None, "id"):
        frame = pandas.DataFrame({"y": np.arange(12.0) % 5}, index=pandas.Index(np.arange(12) * 7, name=name))
        assert read_frame(frame, task="forecast").columns == ("y",)


@pytest.mark.parametrize("task", ["forecast", "next_row"])
def test_rows_that_are_not_in_the_order_of_their_index_are_a_question(task: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"y": np.arange(12.0) % 5, "z": np.arange(12.0) % 7})
    shuffled = frame.sample(frac=1, random_state=0)
    for other in (shuffled, frame[::-1], pandas.concat([frame, frame])):
        message = r"data frame, row \d+: the index \d+ is below \d+, that .* use sort_index\(\), .* `time` ''"
        with pytest.raises(InputError, match=message):
            read_frame(other, task=task)
    for other in (shuffled.sort_index(), shuffled.reset_index(drop=True)):
        assert read_frame(other, task=task).columns == ("y", "z")
    assert read_frame(shuffled, task=task, time="").columns == ("y", "z")
    dated = frame.assign(day=pandas.date_range("2024-01-01", periods=12)).set_index("z").sort_values("day")
    assert read_frame(dated, task=task).columns == ("y",)


def test_the_order_of_an_index_is_that_of_the_rows_of_one_series() -> None:
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame({"shop": name, "y": np.arange(12.0) % 5}) for name in "ab"]
    joined = pandas.concat(frames)
    assert len(read_frame(joined, task="forecast", series="shop").inputs) == 2
    with pytest.raises(InputError, match="data frame, row 14: the index 22 is below 23"):
        read_frame(
            pandas.concat([*frames, frames[0][::-1].set_axis(range(23, 11, -1))])[12:], task="forecast", series="shop"
        )


def test_two_columns_of_one_name_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, 2], [3, 4]], columns=["y", "y"])
    with pytest.raises(InputError, match="data frame: 2 columns are named 'y'; rename one"):
        read_frame(frame, task="forecast")


def test_durations_are_a_question() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"d": pandas.to_timedelta(np.arange(12), unit="h"), "y": np.arange(12.0) % 5})
    with pytest.raises(InputError, match="column 'd' holds '0 days 00:00:00', which is not read as a date"):
        read_frame(frame, task="forecast")


@pytest.mark.parametrize("data", [np.arange(9.0), {"y": [1, 2, 3]}, [1, 2, 3]])
def test_other_data_are_refused(data: object) -> None:
    with pytest.raises(
        InputError, match=r"the data are of type (ndarray|dict|list); give the name of a file, a data frame"
    ):
        ohlol.interpret(data, task="forecast")


def test_missing_values_of_pandas_are_empty() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": pandas.array(["a", None], "string"), "label": ["x", "y"]})
    with pytest.raises(InputError, match="data frame, row 2: column 'text' is"):
        read_frame(frame, input="text", target="label")


@pytest.mark.parametrize("data", ["a.csv", Path("a.csv"), [], ["a.csv"], [("a", "b")], None, 5, np.zeros(2)])
def test_what_is_no_table(data: object) -> None:
    assert read_records(data) is None


def test_tables_that_cannot_be_read() -> None:
    for data, message in (
        ([{}], "it has no columns"),
        (
            type("DatasetDict", (dict,), {"__module__": "datasets"})(train=1, test=2),
            r"several datasets \(train, test\)",
        ),
        (pytest.importorskip("pandas").Series([1.0]), "of type Series; give a table with named columns"),
    ):
        with pytest.raises(InputError, match=message):
            read_records(data)


TAGGED: Rows = [
    {
        "tokens": ["Anna", "lives", "in", place][: 2 + n % 3],
        "tags": ["PER", "O", "O", "LOC"][: 2 + n % 3],
        "sort": "ab"[n % 2],
    }
    for n in range(8)
    for place in ("Rome", "Oslo", "Bern")
]
"""Sentences with a label for each word, and one for the sentence."""


def save_dataset(folder: Path) -> Any:
    """The sentences as a dataset of Hugging Face whose labels are numbers with names, read from disk."""
    datasets = pytest.importorskip("datasets")
    names = ["O", "PER", "LOC"]
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "tags": datasets.Sequence(datasets.ClassLabel(names=names)),
            "sort": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    rows = [
        {**row, "tags": [names.index(tag) for tag in row["tags"]], "sort": "ab".index(row["sort"])} for row in TAGGED
    ]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(folder))
    return datasets.load_from_disk(str(folder))


@pytest.mark.parametrize("frame", [name for name in FRAMES if name != "dataset"])
def test_a_label_for_each_word(frame: str) -> None:
    data = FRAMES[frame](TAGGED)
    found = read_frame(data, task="label", input="tokens", target="tags")
    assert found.inputs == [row["tokens"] for row in TAGGED]
    assert found.targets == [row["tags"] for row in TAGGED]
    assert found.settings.level == "word"
    model = ohlol.fit(data, task="label", input="tokens", target="tags", seed=1, **TINY)
    assert set(model.codec.labels.symbols if model.codec.labels else ()) == {"O", "PER", "LOC"}
    predictions = list(model.predict_many(data))
    assert [len(prediction.labels) for prediction in predictions] == [len(row["tokens"]) for row in TAGGED]
    assert predictions == list(model.predict_many([row["tokens"] for row in TAGGED]))


def test_a_label_for_each_character() -> None:
    rows = [{"input": "hello", "target": "ohlol"}, {"input": "he\u0301", "target": "ab"}]
    found = read_frame(rows, task="label")
    assert found.inputs == ["hello", "h\u00e9"]
    assert found.settings.level == "char"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ["O"]}, "data frame, row 25: input has 2 words, target 1"),
        ({"tags": [0, 1]}, 'data frame, row 25: "tags" must be a string or a list of strings'),
        ({"tokens": None}, 'data frame, row 25: "tokens" must be a string or a list of strings'),
    ],
)
def test_labels_of_words_that_cannot_be_read(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_frame([*TAGGED, {**TAGGED[0], **change}], task="label", input="tokens", target="tags")
    assert message in str(refused.value)


def test_what_a_table_of_words_and_labels_is_for_is_asked() -> None:
    with pytest.raises(InputError, match="choose `task` label, for a set `task` multilabel"):
        read_frame(TAGGED, input="tokens", target="tags")


def test_a_dataset_of_hugging_face_from_disk_has_the_names_of_its_labels(tmp_path: Path) -> None:
    dataset = save_dataset(tmp_path / "dataset")
    assert isinstance(dataset[0]["tags"][0], int)
    for settings in ({"task": "label", "target": "tags"}, {"task": "classify", "target": "sort"}):
        settings = {"input": "tokens", "level": "word", "seed": 1, **settings}
        expected = ohlol.fit(TAGGED, **settings, **TINY)
        model = ohlol.fit(dataset, **settings, **TINY)
        assert model.identity == expected.identity
        assert model.evaluate(dataset).metrics() == expected.evaluate(TAGGED).metrics()
        assert list(model.predict_many(dataset)) == list(expected.predict_many(TAGGED))


def test_a_dataset_in_the_format_of_numpy_and_a_part_of_one(tmp_path: Path) -> None:
    dataset = save_dataset(tmp_path / "dataset")
    for part in (dataset.with_format("numpy"), dataset.to_iterable_dataset()):
        found = read_frame(part, task="label", input="tokens", target="tags")
        assert found.targets == [row["tags"] for row in TAGGED]
    found = read_frame(dataset.select([3, 1]), task="classify", input="tokens", target="sort")
    assert found.targets == [TAGGED[3]["sort"], TAGGED[1]["sort"]]


def test_rows_of_a_dataset_without_a_label(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["x", "y"])})
    dataset = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, None, -1]}, features=features)
    for row in (1, 2):
        with pytest.raises(InputError, match="row 2: column 'label' is empty"):
            read_frame(dataset.select([0, row]), task="classify", input="text", target="label")


def test_a_stream_whose_columns_are_not_known() -> None:
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset().map(lambda row: row)
    with pytest.raises(InputError, match="load the dataset without `streaming`"):
        read_records(stream)


@pytest.mark.parametrize("kind", ["Index", "Categorical", "DatetimeIndex", "Timestamp"])
def test_what_is_no_table_is_named(kind: str) -> None:
    data = getattr(pytest.importorskip("pandas"), kind)("2020-01-01" if kind == "Timestamp" else ["2020-01-01"])
    with pytest.raises(InputError, match=f"the data are of type {kind}; give a table"):
        ohlol.interpret(data)
