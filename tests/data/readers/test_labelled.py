"""Series of numbers with a class, or a number, each: from tables and from `.ts` files."""

# ruff: noqa: E501 - messages and rows of parameters
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import Write, read_error, slow_disk
from ohlol.config import DataSettings
from ohlol.data.codec_encoding import encode_data
from ohlol.data.codec_fitting import fit_codec
from ohlol.data.codec_json import codec_from_json, codec_to_json
from ohlol.data.formats import resolve
from ohlol.data.iteration import iterate_examples, iterate_inputs
from ohlol.data.profile import profile
from ohlol.data.raw_data import RawData
from ohlol.data.readers.labelled import LabelledSeries
from ohlol.data.sequences import interpret, read
from ohlol.data.split import split_dev
from ohlol.data.targets import TargetKind
from ohlol.utils.errors import InputError

ROWS = "id,t,x,y,label\n" + "".join(
    f"s{n},{t},{n * t % 7},{n * n % 5 + t * t % 3},{'up' if n % 2 else 'down'}\n"
    for t in range(6)
    for n in range(5)
    if t < 3 + n
)
"""Five series of 3 to 6 rows, which alternate."""
TS = """\
# a comment
@problemName Steps
@timeStamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
1,2,3:4,5,6:up
7,8:9,10.5:down
"""


def data_of(path: Path, **chosen: Any) -> RawData:
    return read(path, DataSettings(**chosen))


def error_of(path: Path, **chosen: Any) -> str:
    with pytest.raises(InputError) as caught:
        data_of(path, **chosen)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_series_of_a_table(write: Write) -> None:
    path = write("a.csv", ROWS)
    data = data_of(path, series="id", target="label", time="t")
    assert (data.task, data.columns, data.target_columns) == ("classify", ("x", "y"), ())
    assert data.kind == TargetKind(per_sequence=True, rows=True)
    assert data.targets == ["down", "up", "down", "up", "down"]
    assert [len(rows) for rows in data.inputs] == [3, 4, 5, 6, 6]
    assert np.array_equal(data.inputs[2], [[2 * t % 7, 4 + t * t % 3] for t in range(5)])
    assert [place.line for place in data.places] == [2, 3, 4, 5, 6]
    assert str(data.interpretation).endswith("task classify, input 'x', 'y', target 'label', time 't', series 'id'")
    again = read(path, data.settings)
    assert (again.settings, again.targets) == (data.settings, data.targets)
    assert [one.rows.shape for one, _ in iterate_inputs(path, data.settings) if isinstance(one, LabelledSeries)] == [
        (n, 2) for n in (3, 4, 5, 6, 6)
    ]  # type: ignore
    assert data_of(path, series="id", target="label", input="y").columns == ("y",)
    assert str(interpret(path, series="id", target="label", time="t")) == str(data.interpretation)


def test_a_number_for_each_series(write: Write) -> None:
    path = write("a.csv", ROWS.replace("up", "1.5").replace("down", "2"))
    data = data_of(path, task="regress", series="id", target="label", time="t")
    assert data.targets == [2, 1.5, 2, 1.5, 2]
    assert data.target_columns == ("label",)
    assert data_of(path, task="classify", series="id", target="label", time="t").targets == [
        "2",
        "1.5",
        "2",
        "1.5",
        "2",
    ]


def test_ts_files(write: Write) -> None:
    data = data_of(write("a.ts", TS))
    assert (data.task, data.settings.format, data.columns) == ("classify", "ts", ("1", "2"))
    assert [rows.tolist() for rows in data.inputs] == [[[1, 4], [2, 5], [3, 6]], [[7, 9], [8, 10.5]]]
    assert (data.targets, [place.line for place in data.places]) == (["up", "down"], [9, 10])
    numbers = data_of(
        write(
            "b.ts",
            TS.replace("@classLabel true up down", "@targetlabel true").replace("up", "3").replace("down", "-1.5"),
        )
    )
    assert (numbers.task, numbers.targets, numbers.target_columns) == ("regress", [3, -1.5], ("target",))
    unlabelled = read(write("c.ts", TS), data.settings, with_targets=False)
    assert (unlabelled.targets, len(unlabelled.inputs)) == (None, 2)
    plain = read(write("d.ts", "@data\n1,2\n3\n"), with_targets=False)
    assert (plain.task, [rows.tolist() for rows in plain.inputs]) == ("classify", [[[1], [2]], [[3]]])


def test_a_codec_scales_inputs_and_keeps_labels(write: Write) -> None:
    data = data_of(write("a.csv", ROWS), series="id", target="label", time="t")
    numbers = data_of(
        write("b.csv", ROWS.replace("up", "1").replace("down", "2")),
        task="regress",
        series="id",
        target="label",
        time="t",
    )
    for one in (data, numbers):
        codec = fit_codec(one, unknowns=True)
        assert codec_from_json(codec_to_json(codec)) == codec
        encoded = encode_data(codec, one)
        assert encoded.per_sequence
        assert encoded.inputs.values.shape == (24, 2)
        assert np.allclose(encoded.inputs.values.mean(axis=0), 0, atol=1e-6)
        assert encoded.inputs.offsets.tolist() == [0, 3, 7, 12, 18, 24]
        arrays = codec.layout().arrays()
        assert arrays["inputs"] == (np.dtype("<f4"), (2,))
        assert encoded.targets is not None
        assert encoded.targets.shape == ((5,) if one is data else (5, 1))
        assert arrays["targets"][1] == encoded.targets.shape[1:]
        with pytest.raises(InputError, match="the input columns are y; the model was trained on x, y"):
            encode_data(codec, data_of(write("a.csv", ROWS), series="id", target="label", input="y"))
    many = write(
        "c.csv", "id,x,label\n" + "".join(f"s{n},{n * t % 7},{'ab'[n % 2]}\n" for n in range(40) for t in range(3))
    )
    train, dev = split_dev(data_of(many, series="id", target="label"), 0.2, 0, unknowns=False)
    assert dev is not None
    assert (len(train.inputs), len(dev.inputs)) == (32, 8)


def test_the_profile(write: Write) -> None:
    found = profile(str(write("a.csv", ROWS)), DataSettings(series="id", target="label", time="t"))
    assert (found.sequences, found.lengths, found.labels) == (5, (3, 5, 6), (("down", 3), ("up", 2)))
    found = profile(str(write("a.ts", TS)), DataSettings())
    assert (found.sequences, found.lengths, found.label_count, found.refusal) == (2, (2, 2.5, 3), 2, None)


@pytest.mark.parametrize(
    ("content", "chosen", "message"),
    [
        (ROWS, {"series": "id", "target": "x,y", "task": "classify"}, "a.csv: a series has one target with `target`; the"),
        (ROWS, {"series": "id", "task": "classify"}, "a.csv: choose the column of the class or number of each series with"),
        (
            ROWS.replace("s1,2,2", "s1,2,"),
            {"series": "id", "target": "label", "input": "x,y"},
            "a.csv:13: column 'x' has no value; a series with a target has none missing: fill it in, leave",
        ),
        (
            ROWS.replace("s0,2,0,1,down", "s0,2,0,1,up"),
            {"series": "id", "target": "label"},
            "a.csv:12: column 'label' changes within series 's0', from 'down' to 'up'; a series has one target",
        ),
        (
            ROWS.replace("s0,2,", "s0,0,"),
            {"series": "id", "target": "label", "time": "t"},
            "a.csv:12: column 't' runs backward in series 's0': '0' is before the row above, '1'",
        ),
        (ROWS, {"series": "id", "target": "label", "task": "regress"}, "a.csv:2: column 'label' is 'down', which is not"),
        (
            ROWS.replace("up", "1").replace("down", "0"),
            {"series": "id", "target": "label"},
            "a.csv: the target 'label' has one value in each series; choose `task` classify for classes of series, `task` "
            "regress for numbers, or `task` forecast",
        ),
        (
            ROWS,
            {"input": "x", "target": "label"},
            "a.csv: the rows are series of numbers with a class each: column 'id' names the series of 'x'; read them with",
        ),
        (
            ROWS,
            {"input": "x", "target": "label", "time": "t"},
            "a.csv: `time` is for series of numbers; name those of the rows with `series`",
        ),
    ],
)  # fmt: skip
def test_tables_that_are_refused(write: Write, content: str, chosen: dict[str, Any], message: str) -> None:
    assert error_of(write("a.csv", content), **chosen)[: len(message)] == message


@pytest.mark.parametrize(
    ("content", "chosen", "message"),
    [
        (TS.replace("7,8:", "7,8,9:"), {}, "a.ts:10: dimensions of 2 and 3 values in one series"),
        (TS.replace("7,8:", ""), {}, "a.ts:10: 1 dimensions, where the first series has 2"),
        (TS.replace("8:", "?:"), {}, "a.ts:10: '?' is not a finite number; missing values are not read"),
        (TS.replace("down\n", "\n"), {}, "a.ts:10: the series has no target after its last colon"),
        (TS.replace("Stamps false", "Stamps true"), {}, "a.ts: values with time stamps are not read; write the values"),
        (
            TS.replace("true up down", "true up flat"),
            {},
            "a.ts:10: the class 'down' is not among those of @classLabel, 'up', 'flat'",
        ),
        (TS.replace("Label true up", "Label false"), {}, "a.ts: no line @classLabel true or @targetlabel true"),
        (TS, {"task": "regress"}, "a.ts:9: the target 'up' is not a finite number"),
        (TS[: TS.index("1,2,3")], {}, "a.ts: no sequences; the file is empty"),
        (TS, {"task": "forecast", "format": "ts"}, "format ts does not serve task forecast; use columns"),
    ],
)
def test_ts_files_that_are_refused(write: Write, content: str, chosen: dict[str, Any], message: str) -> None:
    assert error_of(write("a.ts", content), **chosen)[: len(message)] == message


def test_several_files_have_the_same_dimensions(write: Write) -> None:
    a, b = write("a.ts", TS), write("b.ts", TS.replace("1,2,3:", "").replace("7,8:", ""))
    assert len(read([a, a]).inputs) == 4
    with pytest.raises(InputError, match=r"a.ts:10: 2 columns, .*b.ts:10: 1 columns; all must agree"):
        read([a, b])


def test_they_are_not_encoded_as_a_corpus(write: Write) -> None:
    path = write("a.ts", TS)
    table = write("a.csv", ROWS)
    chosen = DataSettings(series="id", target="label", time="t")
    assert resolve(table, chosen) == read(table, chosen).settings
    with pytest.raises(InputError, match=r"a.ts: series of numbers with a target each are not encoded as a corpus"):
        list(iterate_examples(path, read(path).settings))


NUMBERS = st.floats(-1e9, 1e9)


@given(st.integers(1, 3), st.data())
@slow_disk
def test_ts_files_are_read_as_they_were_written(tmp_path: Path, dimensions: int, data: st.DataObject) -> None:
    column = st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(NUMBERS, min_size=dimensions, max_size=dimensions), min_size=n, max_size=n)
    )
    series = data.draw(st.lists(st.tuples(column, st.sampled_from(["a", "b c", "天", "1"])), min_size=1, max_size=5))
    lines = [
        ":".join([*(",".join(map(repr, dimension)) for dimension in zip(*rows, strict=True)), label])
        for rows, label in series
    ]
    path = tmp_path / "a.ts"
    path.write_text("@problemName p\n@classLabel true\n@data\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = read(path)
    assert [rows.tolist() for rows in found.inputs] == [rows for rows, _ in series]  # type: ignore
    assert found.targets == [label for _, label in series]


def test_classes_of_ts_files_have_the_spelling_of_the_header(write: Write) -> None:
    content = TS.replace("true up down", "true 1.0 2.0").replace(":up", ":1").replace(":down", ":2.0")
    assert data_of(write("a.ts", content)).targets == ["1.0", "2.0"]
    assert error_of(write("b.ts", TS.replace(":up", "").replace(":4,5,6", ""))) == (
        "b.ts:9: the series has no target after its last colon"
    )


def test_the_order_of_dates_is_kept(tmp_path: Path) -> None:
    def rows(days: range) -> str:
        return "".join(f"{name},{day:02}/01/2020,{day},{name}\n" for name in ("a", "b") for day in days)

    long, short = tmp_path / "long.csv", tmp_path / "short.csv"
    long.write_text("s,t,x,y\n" + rows(range(1, 29)), encoding="utf-8")
    short.write_text("s,t,x,y\n" + rows(range(1, 5)), encoding="utf-8")
    chosen = DataSettings(task="classify", series="s", time="t", target="y")
    settings = read(long, chosen).settings
    assert settings.date_order == "dmy"
    assert read(short, settings).settings == settings


def test_a_ts_file_has_no_columns_to_choose(write: Write) -> None:
    message = read_error(write("a.ts", TS), DataSettings(series="1"))
    assert message == "a.ts: `series` chooses columns, and a file of the format ts has none: leave it out"
