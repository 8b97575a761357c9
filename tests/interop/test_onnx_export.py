"""Exported graphs: inputs, outputs and metadata; onnxruntime computes the labels from the file alone."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forecasts import panel_of, seasonal
from helpers import TINY, upper_pairs
from untrained import untrained

import ohlol
from ohlol.cli import main
from ohlol.config import TrainSettings
from ohlol.models.inputs import PackedInputs
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from interop.damaged_graphs import damage, read_metadata  # noqa: E402 - they need onnx
from ohlol.interop import import_run, onnx_export  # noqa: E402


def axes(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_inputs_and_outputs_have_the_documented_axes() -> None:
    model = untrained("label", cell="lstm", num_layers=2)
    file = onnx.load_model_from_string(onnx_export.build_graph(model))
    assert {i.name: axes(i) for i in file.graph.input} == {
        "ids": ["batch", "time"],
        "lengths": ["batch"],
        "h_0": [2, "batch", 11],
        "c_0": [2, "batch", 11],
    }
    assert {o.name: axes(o) for o in file.graph.output} == {
        "logits": ["batch", "time", 8],
        "h_n": [2, "batch", 11],
        "c_n": [2, "batch", 11],
    }
    assert [(o.domain, o.version) for o in file.opset_import] == [("", 17)]
    step = onnx.load_model_from_string(onnx_export.build_graph(model, step=True))
    assert [i.name for i in step.graph.input] == ["ids", "h_0", "c_0"]
    assert axes(step.graph.output[0]) == ["batch", 8]
    assert onnx_export.build_graph(model) == onnx_export.build_graph(
        untrained("label", cell="lstm", num_layers=2)
    )  # deterministic


def test_the_metadata_describe_the_model() -> None:
    model = untrained("label")
    metadata = read_metadata(onnx_export.build_graph(model))
    assert (metadata["task"], metadata["opset"], metadata["graph"]) == ("label", "17", "sequence")
    assert json.loads(metadata["symbols"]) == ["<unk>", *"abcdefgé"]
    assert json.loads(metadata["labels"]) == list("abcdefgé")
    assert metadata["identity"] == model.identity
    assert read_metadata(onnx_export.build_graph(model, step=True))["graph"] == "step"
    forecast = read_metadata(onnx_export.build_graph(untrained("next_row")))
    assert json.loads(forecast["symbols"]) == ["height", "slope", "day"]
    assert json.loads(forecast["labels"]) == ["height", "slope"]


def test_the_graph_of_a_forecast_gives_quantiles_and_is_read_back(tmp_path: Path) -> None:
    trained = untrained("forecast", cell="lstm")
    model = replace(trained, config=replace(trained.config, training=TrainSettings(bptt=9)))
    graph = onnx_export.build_graph(model)
    file = onnx.load_model_from_string(graph)
    inputs, levels = model.config.sizes.inputs, len(model.network.head.levels)
    assert {i.name: axes(i) for i in file.graph.input}["features"] == ["batch", "time", inputs]
    assert {o.name: axes(o) for o in file.graph.output}["quantiles"] == ["batch", "time", 2 * 3, levels]
    features = np.random.default_rng(0).normal(size=(1, 12, inputs)).astype(np.float32)
    state = np.zeros((1, 1, 11), np.float32)
    feed = {"features": features, "lengths": np.array([12]), "h_0": state, "c_0": state}
    (quantiles,) = ort.InferenceSession(graph).run(["quantiles"], feed)
    packed = PackedInputs(torch.from_numpy(features[0]), torch.ones(12, dtype=torch.int64))
    expected = model.network.head.quantiles(model.network(packed)[0])
    np.testing.assert_allclose(quantiles[0], expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    (tmp_path / "model.onnx").write_bytes(graph)
    imported, _ = import_run.import_model(tmp_path / "model.onnx")
    assert imported.identity == model.identity
    rows = {"a": seasonal(40)[:, None] * [1.0, 0.1]}
    panel = panel_of(rows, 7, targets=("height", "slope"))
    np.testing.assert_array_equal(imported.forecast(panel)[0].quantiles, model.forecast(panel)[0].quantiles)


def predict_with_onnxruntime(graph: bytes, texts: list[list[str]]) -> list[list[str]]:
    """The labels of some texts, from the file and onnxruntime alone; the padding is random."""
    session, metadata = ort.InferenceSession(graph), read_metadata(graph)
    vocabulary = json.loads(metadata["vocabulary"])
    T, random = max(map(len, texts)), np.random.default_rng(0)

    def ids(vocab: list[str], symbols: list[str]) -> list[int]:
        return [vocab.index(s) if s in vocab else 0 for s in symbols]

    def pad(rows: list[Any], shape: tuple[int, ...], limit: int) -> Any:
        out = random.integers(0, limit, (len(texts), T, *shape))
        for b, row in enumerate(rows):
            for t, value in enumerate(row):
                out[b, t] = value
        return out

    symbols, names = json.loads(metadata["symbols"]), {i.name for i in session.get_inputs()}
    feed: dict[str, Any] = {"ids": pad([ids(symbols, t) for t in texts], (), len(symbols))}
    feed["lengths"] = np.array([len(t) for t in texts])
    if "characters" in names:
        chars, C = vocabulary["chars"]["symbols"], max(len(w) for t in texts for w in t)
        spelled = [[ids(chars, list(w)) for w in t] for t in texts]
        feed["letters"] = pad([[len(w) for w in t] for t in texts], (), 3)
        rows = [[w + list(random.integers(0, len(chars), C - len(w))) for w in t] for t in spelled]
        feed["characters"] = pad(rows, (C,), len(chars))
    if "pairs" in names:
        known = vocabulary["bigrams"]["symbols"]
        both = [[*zip(["\n", *t], t, strict=False), (t[-1], "\n")] for t in texts]
        rows = [ids(known, [a + b for a, b in pairs]) for pairs in both]
        feed["pairs"] = pad([list(itertools.pairwise(row)) for row in rows], (2,), len(known))
    for state in ("h_0", "c_0"):
        if state in names:
            shape = next(i.shape for i in session.get_inputs() if i.name == state)
            feed[state] = np.zeros((shape[0], len(texts), shape[2]), np.float32)
    logits, labels = session.run(["logits"], feed)[0], json.loads(metadata["labels"])
    if logits.ndim == 2:
        return [[labels[i]] for i in logits.argmax(axis=1)]
    return [[labels[i] for i in row[: len(t)].argmax(axis=1)] for row, t in zip(logits, texts, strict=True)]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("label", {}),
        ("label", {"bidirectional": True, "bigram_size": 6}),
        ("words", {"char_rnn_size": 5, "bidirectional": True}),
        ("classify", {"cell": "gru", "bidirectional": True, "num_layers": 2}),
    ],
)
def test_onnxruntime_predicts_the_same_labels(kind: str, settings: dict[str, Any]) -> None:
    model = untrained(kind, seed=4, **settings)
    if kind == "words":
        texts = [["the", "cat", "unheard"], ["mat"], ["on", "a", "mat", "xyz", "sat"]]
    else:
        texts = [list("abcé"), list("z"), list("gfedzcba")]
    expected = [prediction.labels for prediction in model.predict_many(texts)]
    assert predict_with_onnxruntime(onnx_export.build_graph(model), texts) == expected


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unidirectional models of two cells, and a bidirectional one."""
    folder = tmp_path_factory.mktemp("export")
    for cell in ("gru", "lstm"):
        ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=folder / cell, cell=cell, bidirectional=False, **TINY)
    ohlol.fit(upper_pairs(folder / "pairs.tsv"), out=folder / "both", dev=folder / "pairs.tsv", **TINY)
    return folder


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def test_the_export_command_prints_a_summary_of_ten_lines(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("export", runs / "gru", tmp_path / "m.onnx", "--step") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all(len(line) <= 80 or str(tmp_path) in line for line in lines)
    assert lines[0].startswith(f"{tmp_path / 'm.onnx'}: ")
    assert lines[0].endswith(" bytes, opset 17")
    assert lines[1].strip() == "inputs ids (batch, time) int64, lengths (batch) int64, h_0 (1, batch, 6) float"
    assert "agrees" in lines[3]
    assert lines[4].endswith("allowed 1e-05")
    assert lines[6].strip() == "inputs ids (batch) int64, h_0 (1, batch, 6) float"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.step.onnx"]
    model = ohlol.load(runs / "gru")
    assert (tmp_path / "m.onnx").read_bytes() == onnx_export.build_graph(model)
    assert (tmp_path / "m.step.onnx").read_bytes() == onnx_export.build_graph(model, step=True)


def test_command_quantizes_and_evaluates(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("export", runs / "both", tmp_path / "m.onnx", "--quantize", "int8") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].strip() == f"evaluated on {runs / 'pairs.tsv'}"
    sizes = [line.split()[:3] for line in (lines[-5], lines[-3])]
    assert [s[0] for s in sizes] == ["float32", "int8"]
    assert int(sizes[1][1].replace(",", "")) == (tmp_path / "m.onnx").stat().st_size
    assert all("steps/s" in line for line in (lines[-5], lines[-3]))
    assert all(line.strip().startswith("accuracy") for line in (lines[-4], lines[-2]))
    assert run_command("export", runs / "lstm", tmp_path / "m.onnx", "--quantize", "int8") == 0
    assert "no data to evaluate on (--data FILE)" in capsys.readouterr().out
    assert (
        run_command("export", runs / "lstm", tmp_path / "m.onnx", "--quantize", "int8", "--data", runs / "pairs.tsv")
        == 0
    )
    assert "evaluated on" in capsys.readouterr().out


def test_no_file_is_written_if_the_runtime_differs(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_graph = onnx_export.build_graph
    monkeypatch.setattr(
        onnx_export, "build_graph", lambda model, step=False: damage(build_graph(model, step=step), "one number off")
    )
    assert run_command("export", runs / "lstm", tmp_path / "m.onnx", "--step") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "and ohlol differ by " in error
    assert error.endswith("1e-05 is allowed; nothing was written\n")
    assert not list(tmp_path.iterdir())
    assert run_command("export", runs / "lstm", tmp_path / "m.onnx", "--no-verify") == 0
    assert "agrees" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gru", "m.onnx", "--quantize", "int8"], "available for LSTM only; --cell is gru"),
        (["gru", "m.onnx", "--quantize", "int4"], "--quantize is 'int4'; it must be int8"),
        (["gru", "m.onnx", "--data", "x.tsv"], "--data is used with --quantize int8 only"),
        (["gru", "nowhere/m.onnx"], "its directory does not exist"),
        (["gru", "."], "is a directory"),
        (["both", "m.onnx", "--step"], "is bidirectional, so it cannot be computed step by step"),
        (["absent", "m.onnx"], "there is no such run directory"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_command("export", runs / arguments[0], tmp_path / arguments[1], *arguments[2:]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("missing", "module"), [("onnx", "onnx_export"), ("onnxruntime", "onnx_verify")])
def test_missing_packages_are_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str, module: str
) -> None:
    import ohlol.interop

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, missing, None)
        patch.delitem(sys.modules, f"ohlol.interop.{module}")
        patch.delattr(ohlol.interop, module)
        assert run_command("export", runs / "gru", tmp_path / "m.onnx") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install 'ohlol[onnx]'" in error


def test_large_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "WEIGHTS_LIMIT", 1000)
    with pytest.raises(InputError, match="more than 1000 bytes"):
        onnx_export.build_graph(untrained("label"))


def test_quantiles_of_the_next_row_are_refused() -> None:
    rows = [{"y": float(i % 7)} for i in range(60)]
    model = ohlol.fit(rows, task="next_row", input="y", target="y", head="quantile", epochs=1, hidden_size=4)
    with pytest.raises(InputError, match="`head` quantile cannot be exported for task next_row"):
        onnx_export.build_graph(model)
