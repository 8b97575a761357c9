"""Models with a cell that is a module: the exported graph, its verification, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from helpers import pairs_of
from module_cells import MODULE_CELLS, imported
from untrained import KINDS, untrained

import ohlol
from ohlol.cli import main
from ohlol.interop import onnx_export, onnx_verify
from ohlol.interop.import_run import import_model
from ohlol.utils.errors import InputError

pytestmark = pytest.mark.slow  # make test-all


@pytest.fixture(scope="module", autouse=True)
def _imported() -> Iterator[None]:
    with imported():
        yield


@pytest.mark.parametrize(
    ("cell", "kind", "depth"),
    pairs_of(("lstm", "two_widths", "one_tensor"), KINDS, ((1, False), (2, False), (2, True))),
)
def test_onnxruntime_computes_the_same(cell: str, kind: str, depth: tuple[int, bool]) -> None:
    layers, bidirectional = depth
    model = untrained(kind, cell=MODULE_CELLS[cell], num_layers=layers, bidirectional=bidirectional)
    for step in (False, True) if not bidirectional else (False,):
        verification = onnx_verify.verify(model, onnx_export.build_graph(model, step=step))
        assert verification.passed, verification
        assert verification.compared >= 10


@pytest.mark.parametrize("cell", MODULE_CELLS)
def test_all_cells(cell: str) -> None:
    model = untrained("label", cell=MODULE_CELLS[cell], num_layers=3, bidirectional=True, bigram_size=3)
    verification = onnx_verify.verify(model, onnx_export.build_graph(model))
    assert verification.passed, verification


def test_each_state_has_its_name_and_width() -> None:
    model = untrained("classify", cell=MODULE_CELLS["two_widths"], num_layers=2, bidirectional=True)
    size, inputs, outputs = onnx_export.describe_graph(onnx_export.build_graph(model))
    assert size.endswith("opset 17")
    assert inputs[1:] == ["lengths (batch) int64", "h_0 (4, batch, 11) float", "c_0 (4, batch, 3) float"]
    assert outputs[1:] == ["h_n (4, batch, 11) float", "c_n (4, batch, 3) float"]


def test_a_wrong_number_is_detected() -> None:
    model = untrained("label", cell=MODULE_CELLS["lstm"])
    file = onnx.load_model_from_string(onnx_export.build_graph(model))
    name = next(t.name for t in file.graph.initializer if "matrix" in t.name)
    (tensor,) = [t for t in file.graph.initializer if t.name == name]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 0] += 1e-2
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    assert not onnx_verify.verify(model, file.SerializeToString()).passed


def test_a_cell_in_a_loop_is_refused_with_its_operation() -> None:
    model = untrained("label", cell="module_cells:Cumulative")
    with pytest.raises(InputError, match=r"^the cell cannot be exported: .*aten.cumsum at .*module_cells.py:\d+$"):
        onnx_export.build_graph(model)


def test_quantization_is_refused() -> None:
    model = untrained("label", cell=MODULE_CELLS["lstm"])
    with pytest.raises(InputError, match="available for LSTM only; `cell` is user_cells:PlainLSTM"):
        onnx_verify.quantize(model, onnx_export.build_graph(model))


def test_a_scan_is_not_imported(tmp_path: Path) -> None:
    graph = onnx.load_model_from_string(onnx_export.build_graph(untrained("label", cell=MODULE_CELLS["gru"])))
    file = tmp_path / "m.onnx"
    onnx.save(graph, file)
    for _ in range(2):
        with pytest.raises(InputError, match=r"m\.onnx: computes its cell in a Scan, which cannot be read back"):
            import_model(file)
        del graph.metadata_props[:]  # as if another program had exported it
        onnx.save(graph, file)


def test_the_command_exports_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell, out = MODULE_CELLS["stabilized"], tmp_path / "m.onnx"
    ohlol.fit([("hello", "ohlol")], cell=cell, head="softmax", epochs=2, out=tmp_path / "run")
    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path / "run"), str(out), "--step", "--cell", cell])
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    assert sum("agrees" in line for line in lines) == 2
    assert out.read_bytes() == onnx_export.build_graph(ohlol.load(tmp_path / "run"))
    assert all(len(line) <= 80 or str(tmp_path) in line for line in lines)


def test_training_mode_does_not_change_the_graph() -> None:
    options: dict[str, Any] = {"cell": MODULE_CELLS["gru"], "num_layers": 2, "dropout": 0.5}
    model = untrained("label", **options)
    graph = onnx_export.build_graph(model)
    model.network.train()
    assert onnx_export.build_graph(model) == graph
    assert model.network.training
    assert all(isinstance(p, torch.nn.Parameter) for p in model.network.parameters())
