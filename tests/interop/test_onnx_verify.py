"""Verification in onnxruntime: exported graphs compute what the model computes, and wrong ones are detected."""

import itertools
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from helpers import (
    LOOP,
    SALES,
    TINY,
    lengths_file,
    names_file,
    pairs_of,
    sales_file,
    sets_file,
    sine_file,
    text_file,
    upper_pairs,
)
from parity.tolerances import RELATIVE
from untrained import KINDS, untrained

import ohlol
from ohlol.data import sequences
from ohlol.data.codec_encoding import encode_data
from ohlol.evaluation.evaluate import evaluate
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from interop.damaged_graphs import ERRORS, damage, read_metadata  # noqa: E402 - they need onnx
from ohlol.interop import import_run, onnx_export, onnx_verify  # noqa: E402


def configurations() -> list[Any]:
    """Every task, cell, direction and two depths, with the rarer encoders distributed among them."""
    parameters: list[Any] = []
    axes = KINDS, ("rnn", "gru", "lstm"), (1, 3), (False, True)
    quick = pairs_of(*axes)
    for kind, cell, layers, bidirectional in itertools.product(*axes):
        options: dict[str, Any] = {"char_rnn_size": 4} if kind == "words" and layers < 3 else {}
        options |= {"bigram_size": 3} if kind == "label" and bidirectional else {}
        options |= {"embedding_size": 0} if kind in ("label", "classify") and layers == 1 and not bidirectional else {}
        options |= (
            {"embedding_size": 11, "tie_weights": True} if kind == "next" and layers == 3 and not bidirectional else {}
        )
        settings = {"cell": cell, "num_layers": layers, "bidirectional": bidirectional, **options}
        is_quick = options or (kind, cell, layers, bidirectional) in quick
        parameters.append(pytest.param(kind, settings, marks=[] if is_quick else [pytest.mark.slow]))
    parameters += [pytest.param(kind, {"cell": cell + LOOP}) for kind in KINDS for cell in ("rnn", "gru", "lstm")]
    parameters += [pytest.param(kind, {"cell": "rnn_relu", "bidirectional": kind == "words"}) for kind in KINDS]
    forecasts = ({"cell": "gru"}, {"cell": "lstm", "num_layers": 2}, {"cell": "gru", "bidirectional": True})
    parameters += [pytest.param("forecast", settings) for settings in forecasts]
    return [*parameters, pytest.param("classify", {"cell": "gru", "head": "identity", "hidden_size": 2})]


@pytest.mark.parametrize(("kind", "settings"), configurations())
def test_onnxruntime_computes_the_same(kind: str, settings: dict[str, Any]) -> None:
    model = untrained(kind, **settings)
    graph = onnx_export.build_graph(model)
    verification = onnx_verify.verify(model, graph)
    assert verification.passed, verification
    assert RELATIVE[torch.float32] == onnx_verify.TOLERANCE
    assert verification.compared >= 10
    file = onnx.load_model_from_string(graph)
    ops = [node.op_type for node in file.graph.node]
    name = settings["cell"].removesuffix(LOOP).removesuffix("_relu").upper()
    assert ops.count(name) == settings.get("num_layers", 1) + (bool(settings.get("char_rnn_size")) and name == "LSTM")
    assert not {"Loop", "Scan", "If"} & set(ops)
    if settings.get("bidirectional"):
        with pytest.raises(
            InputError, match=r"is bidirectional, .* step by step: `step` needs .* `bidirectional=False`"
        ):
            onnx_export.build_graph(model, step=True)
    else:
        assert onnx_verify.verify(model, onnx_export.build_graph(model, step=True)).passed


@pytest.mark.parametrize("name", ["mean", "max", "attention"])
@pytest.mark.parametrize(
    "settings", [{"cell": "lstm"}, {"cell": "gru", "bidirectional": True}, {"cell": "mgu"}, {"cell": "rnn" + LOOP}]
)
def test_a_graph_pools_the_steps_of_each_sequence(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = untrained("classify rows", pooling=name, **settings)
    assert model.network.pooling is not None
    for query in model.network.pooling.parameters():
        torch.nn.init.normal_(query)
    graph = onnx_export.build_graph(model)
    assert onnx_verify.verify(model, graph).passed
    if not settings.get("bidirectional"):
        with pytest.raises(InputError, match=rf"\(`pooling` {name}\), so it cannot be computed step by step: `step`"):
            onnx_export.build_graph(model, step=True)
    if settings["cell"] != "mgu":  # a graph with a Scan is not read back
        (tmp_path / "model.onnx").write_bytes(graph)
        assert import_run.import_model(tmp_path / "model.onnx")[0].identity == model.identity
    for query in model.network.pooling.parameters():
        torch.nn.init.normal_(query)
        assert not onnx_verify.verify(model, graph).passed


@pytest.mark.parametrize(
    ("cell", "error"), [*itertools.product(("lstm", "gru"), ERRORS), ("gru", "reset before the product")]
)
def test_a_wrong_graph_is_detected(cell: str, error: str) -> None:
    model = untrained("next", cell=cell)
    graph = onnx_export.build_graph(model)
    assert onnx_verify.verify(model, graph).passed
    verification = onnx_verify.verify(model, damage(graph, error))
    assert not verification.passed
    assert verification.largest > 3 * onnx_verify.TOLERANCE


def test_nan_is_detected() -> None:
    model = untrained("next", cell="gru")
    graph = onnx_export.build_graph(model)
    with torch.no_grad():
        model.network.head.bias[2] = torch.nan
    assert not onnx_verify.verify(model, graph).passed


@pytest.mark.parametrize("kind", ["label", "next", "classify", "multilabel", "regress", "next_row", "forecast"])
def test_metrics_of_the_graph_equal_those_of_the_model(kind: str, tmp_path: Path) -> None:
    maker = {
        "label": upper_pairs,
        "next": text_file,
        "classify": names_file,
        "next_row": sine_file,
        "forecast": sales_file,
        "regress": lengths_file,
        "multilabel": sets_file,
    }[kind]
    suffix = {"label": "tsv", "next": "txt", "multilabel": "jsonl"}.get(kind, "csv")
    path = maker(tmp_path / f"{kind}.{suffix}")
    columns = {"input": "name", "target": "kind"} if kind == "classify" else {}
    columns = {"task": "regress", "input": "name", "target": "size"} if kind == "regress" else columns
    columns = {"task": "multilabel", "input": "name", "target": "letters"} if kind == "multilabel" else columns
    columns |= {"next_row": {"task": "next_row"}, "forecast": SALES}.get(kind, {})
    model = ohlol.fit(path, **TINY, **columns)
    data = encode_data(model.codec, sequences.read(path, model.config.data))
    runtime: Any = onnx_verify.OnnxModel(model, onnx_export.build_graph(model))
    assert evaluate(runtime, model.codec, data).metrics() == pytest.approx(
        evaluate(model.network, model.codec, data).metrics(), rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("kind", ["next", "words", "next_row"])
def test_a_quantized_graph_is_smaller_and_agrees(kind: str) -> None:
    model = untrained(kind, cell="lstm", hidden_size=64, **({"char_rnn_size": 8} if kind == "words" else {}))
    graph = onnx_export.build_graph(model)
    quantized = onnx_verify.quantize(model, graph)
    assert len(quantized) < 0.6 * len(graph)
    assert "DynamicQuantizeLSTM" in {node.op_type for node in onnx.load_model_from_string(quantized).graph.node}
    verification = onnx_verify.verify(model, quantized)
    assert onnx_verify.TOLERANCE < verification.largest < 0.05
    assert onnx_verify.measure_agreement(model, graph) == 1
    assert onnx_verify.measure_agreement(model, quantized) > 0.9
    before, after = onnx_verify.compare_graphs(model, [graph, quantized], None)
    assert (before.size, after.size) == (len(graph), len(quantized))
    assert min(before.speed, after.speed) > 0
    assert read_metadata(graph).items() <= read_metadata(quantized).items()


def test_a_full_temporary_directory_is_reported_in_one_line() -> None:
    """The quantizer reads back a temporary file that was cut off."""
    model = untrained("next", cell="lstm")
    from google.protobuf.message import DecodeError

    with (
        mock.patch("onnxruntime.quantization.quantize_dynamic", side_effect=DecodeError("Error parsing message")),
        pytest.raises(InputError, match="is full: quantizing writes temporary files there"),
    ):
        onnx_verify.quantize(model, onnx_export.build_graph(model))
