"""Static columns: their encoding, and texts with columns beside them from the file to the prediction."""

import json
import random
from math import nan
from pathlib import Path

import numpy as np
import pytest
from helpers import TINY

import ohlol
from ohlol.data.batches import gather
from ohlol.data.codec_encoding import encode_data
from ohlol.data.lines import Place, StaticCell
from ohlol.data.statics import MAX_CATEGORIES, StaticColumn, Statics
from ohlol.explain.trace import trace
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs
from ohlol.utils.errors import InputError

PLACE = Place("data.csv", 2)
WORDS = ("refund", "late", "broken", "size", "colour", "parcel")
COLUMNS = {"input": "text", "target": "label", "level": "word"}
LEARNED = {**COLUMNS, "hidden_size": 24, "embedding_size": 12, "epochs": 12, "lr": 0.02, "seed": 0}


def cells(*values: str) -> list[tuple[StaticCell, ...]]:
    """A row of one column for each text."""
    return [(StaticCell(value, float(value) if value.replace(".", "").isdigit() else nan),) for value in values]


def test_a_column_of_numbers_is_scaled_and_says_what_is_missing() -> None:
    rows = cells("2", "4", "", "6")
    statics = Statics.fit(["price"], rows)
    assert statics.size == 2
    deviation = np.std([2, 4, 6])
    expected = [[-2 / deviation, 0], [0, 0], [0, 1], [2 / deviation, 0]]
    np.testing.assert_allclose(statics.encode(rows, [PLACE] * 4), expected, rtol=1e-6)
    np.testing.assert_allclose(statics.encode(cells("1" + "0" * 30), [PLACE]), [[20, 0]])
    with pytest.raises(InputError, match=r"data.csv:2: column 'price' is 'dear', and the model reads numbers there"):
        statics.encode(cells("dear"), [PLACE])
    assert Statics.fit(["price"], cells("3", "3")).encode(cells("3"), [PLACE]).tolist() == [[0, 0]]


def test_categories_have_a_number_each_and_a_new_one_has_none() -> None:
    statics = Statics.fit(["country"], cells("FR", "", "DE", "7"))
    assert statics.columns[0].categories == ("", "7", "DE", "FR")
    rows = statics.encode(cells("DE", "", "7", "US"), [PLACE] * 4)
    assert rows.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    without = Statics.fit(["country"], cells("FR", "DE"))
    assert without.encode(cells(""), [PLACE]).tolist() == [[0, 0]]


def test_columns_stand_beside_each_other_and_are_read_again() -> None:
    rows = [(StaticCell("DE"), StaticCell("1", 1.0)), (StaticCell("FR"), StaticCell("3", 3.0))]
    statics = Statics.fit(["country", "price"], rows)
    assert statics.names == ("country", "price")
    assert statics.encode(rows, [PLACE] * 2).tolist() == [[1, 0, -1, 0], [0, 1, 1, 0]]
    assert Statics.from_json(json.loads(json.dumps(statics.to_json()))) == statics


@pytest.mark.parametrize("damaged", [
    {"name": 1, "categories": ["a"]},
    {"name": "a", "categories": [1]},
    {"name": "a", "mean": 0},
    {"name": "a", "mean": "x", "std": 1},
    {"name": "a", "mean": nan, "std": 1},
    {"name": "a", "mean": 0, "std": 0},
    [],
])  # fmt: skip
def test_damaged_descriptions_are_refused(damaged: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        StaticColumn.from_json(damaged)


def test_empty_columns_and_too_many_categories_are_refused() -> None:
    with pytest.raises(InputError, match="column 'country', which is `static`, holds no value: leave it out"):
        Statics.fit(["country"], cells("", ""))
    with pytest.raises(InputError, match="`static` has 1,001 categories; at most 1,000 are read"):
        Statics.fit(["name"], cells(*(f"n{i}" for i in range(MAX_CATEGORIES + 1))))


def tickets(count: int = 300) -> list[dict[str, object]]:
    """Texts with columns; the label says whether the text has "refund", and whether the country is DE."""
    draw = random.Random(0)
    rows: list[dict[str, object]] = []
    for _ in range(count):
        text, country = " ".join(draw.choices(WORDS, k=4)), draw.choice(["DE", "FR", "US"])
        price = round(draw.uniform(1, 100), 2) if draw.random() > 0.1 else ""
        rows.append({"text": text, "country": country, "price": price, "label": label_of(text, country)})
    return rows


def label_of(text: str, country: str) -> str:
    return f"q{2 * ('refund' in text) + (country == 'DE')}"


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("statics") / "tickets.csv", tickets())


@pytest.fixture(scope="module")
def run(file: Path) -> Path:
    ohlol.fit(file, static="country,price", out=file.parent / "run", **LEARNED)
    return file.parent / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> TrainedModel:
    return ohlol.load(run)


@pytest.mark.slow
def test_text_and_column_together_are_better_than_either_alone(model: TrainedModel, file: Path, tmp_path: Path) -> None:
    """The label depends on both; the column alone stands beside the same text in each row."""
    assert model.config.metrics["accuracy"] > 0.95
    text_alone = ohlol.fit(file, **LEARNED)
    same_text = write(tmp_path / "same.csv", [row | {"text": "same words"} for row in tickets()])
    with pytest.warns(match="text"):
        column_alone = ohlol.fit(same_text, static="country", **LEARNED)
    for alone in (text_alone, column_alone):
        assert alone.config.metrics["accuracy"] < 0.85


def test_a_label_that_depends_on_the_column_alone_is_learned(tmp_path: Path) -> None:
    rows = [row | {"label": "home" if row["country"] == "DE" else "abroad"} for row in tickets()]
    fitted = ohlol.fit(write(tmp_path / "home.csv", rows), static="country", **LEARNED)
    assert fitted.config.metrics["accuracy"] == 1


@pytest.mark.slow
def test_a_number_beside_a_text_is_learned_by_regress(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "price": 1 + i % 50, "label": 3 * (1 + i % 50)} for i, row in enumerate(tickets())]
    path = write(tmp_path / "cost.csv", rows)
    fitted = ohlol.fit(path, task="regress", static="price", **(LEARNED | {"epochs": 30}))
    assert fitted.config.metrics["rmse"] < 8  # the deviation of the labels is 43
    low, high = (fitted.predict("late parcel", static={"price": price}).number for price in (5, 45))
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(120, abs=40)


def test_predictions_of_files_frames_and_texts_agree(model: TrainedModel, file: Path) -> None:
    rows = tickets()[:40]
    from_rows = [prediction.labels[0] for prediction in model.predict_many(rows)]
    one_by_one = [
        model.predict(str(row["text"]), static={"country": row["country"], "price": row["price"]}).labels[0]
        for row in rows
    ]
    assert from_rows == one_by_one == [row["label"] for row in rows]
    assert model.evaluate(file).metrics()["accuracy"] > 0.95
    unseen = model.predict("late refund", static={"country": "BR", "price": None})
    assert unseen.labels[0] in ("q2", "q3")  # the text has its part in it


def test_missing_columns_are_named(model: TrainedModel) -> None:
    with pytest.raises(
        InputError, match="the model reads the columns 'country', 'price' beside the text, which are not"
    ):
        model.predict("late refund")
    with pytest.raises(InputError, match="`static` has 'country'; the model reads 'country', 'price' beside the text"):
        model.predict("late refund", static={"country": "DE"})
    with pytest.raises(InputError, match="no column 'price'; there are 'text', 'country'"):
        next(model.predict_many([{"text": "late", "country": "DE"}]))
    with pytest.raises(InputError, match=r"this model reads columns beside the text \(`static`\), so it has no stream"):
        model.stream()
    with pytest.raises(InputError, match="the model reads the columns 'country', 'price'"):
        trace(model, "late refund")


def test_explain_with_columns(model: TrainedModel) -> None:
    result = trace(model, model.with_static("late refund", {"country": "DE", "price": 3}))
    assert result.difference < 1e-5
    assert result.predicted == ("q3",)


def test_resume_and_start_from(run: Path, file: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    ohlol.fit(file, static="country,price", out=run, resume=True, **LEARNED)
    assert (run / "model.safetensors").read_bytes() == before
    again = ohlol.fit(file, start_from=run, static="country,price", **COLUMNS, epochs=1)
    assert again.config.keeps_head
    assert again.config.metrics["accuracy"] > 0.95
    with pytest.raises(
        InputError, match="whose `static` columns are country, price, and those of the data are country"
    ):
        ohlol.fit(file, start_from=run, static="country", **COLUMNS, epochs=1)
    with pytest.raises(InputError, match="whose `static` columns are country, price, and those of the data are none"):
        ohlol.fit(file, start_from=run, **COLUMNS, epochs=1)
    card = (run / "README.md").read_text()
    assert "| static country | 3: DE, FR, US |" in card
    assert "| static price | mean" in card


def test_export(model: TrainedModel) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import onnx_export, onnx_verify

    graph = onnx_export.build_graph(model)
    assert onnx_verify.verify(model, graph).passed
    assert "static" in {value.name for value in onnx_verify.OnnxModel(model, graph).session.get_inputs()}


@pytest.mark.slow
def test_the_graph_of_one_step_and_one_hot_symbols(file: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from ohlol.interop import onnx_export, onnx_verify

    settings = {"bidirectional": False, "embedding_size": 0, "char_rnn_size": 0, "bigram_size": 0}
    fitted = ohlol.fit(file, static="country,price", **COLUMNS, **(TINY | settings))
    for step in (False, True):
        assert onnx_verify.verify(fitted, onnx_export.build_graph(fitted, step=step)).passed


def test_each_step_reads_the_columns_of_its_sequence(model: TrainedModel) -> None:
    rows = [model.with_static(text, {"country": "DE", "price": price}) for text, price in (("late", 1), ("a b c", 99))]
    data = encode_data(model.codec, model.raw_data(rows))
    packed = PackedInputs.of(gather(data, np.arange(2)))
    assert data.statics is not None
    expected = np.array([data.statics[i] for i in (1, 0, 1, 1)])  # the longest first, step by step
    np.testing.assert_array_equal(model.network.encoder.repeat_statics(packed).numpy(), expected)


@pytest.mark.parametrize(("settings", "message"), [
    ({"static": "label"}, "column 'label' is chosen with `target` and with `static`; a column has one part"),
    ({"static": "none"}, "no column 'none'"),
    ({"static": "country", "task": "next"}, "`static` is for task forecast, and the task is next"),
])  # fmt: skip
def test_wrong_columns_are_refused(settings: dict[str, str], message: str, file: Path) -> None:
    with pytest.raises(InputError, match=message):
        ohlol.fit(file, **({"input": "text", "target": "label"} if "task" not in settings else {}), **settings)


def test_a_file_with_further_columns_is_a_question_that_names_the_setting(file: Path) -> None:
    with pytest.raises(
        InputError, match=r"choose two by name .*; further columns are read beside the text with `static`"
    ):
        ohlol.fit(file)
