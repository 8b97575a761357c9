"""Graphs of other exporters and damaged graphs: unsupported ones are refused in one line."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from untrained import untrained

from interop.torch_models import TorchModel, export_onnx
from ohlol.cells import CELLS
from ohlol.interop import import_run
from ohlol.interop.onnx_weights import from_onnx
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from interop.onnx_cases import VARIANTS, node_cases  # noqa: E402 - they need onnx
from ohlol.interop import onnx_export, onnx_import  # noqa: E402


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(op, inputs, outputs, **attributes)


def write_graph(path: Path, nodes: list[Any], constants: dict[str, Any]) -> Path:
    """A graph from "x" (T, B, 5) to "y", with these constants."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [value("x", 1, ["T", "B", 5])], [value("y", 1, None)],
        [onnx.numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in constants.items()],
    )  # fmt: skip
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


WRB = {"W": np.ones((1, 24, 5)), "R": np.ones((1, 24, 6)), "B": np.ones((1, 48)), "P": np.ones((1, 18))}
GRU = {"W": np.ones((1, 18, 5)), "R": np.ones((1, 18, 6)), "H": np.ones((6, 3)), "I": np.ones((3, 3))}
LSTM = node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=6)
BEFORE = {"linear_before_reset": 1, "hidden_size": 6}


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("LSTM", ["x", "W", "R", "B", "", "", "", "P"], ["y"])], WRB, "has peepholes: it is not a layer of"),
        ([node("LSTM", ["x", "W", "R"], ["y"], clip=1.0)], WRB, "clips its sums"),
        ([node("LSTM", ["x", "W", "R"], ["y"], input_forget=1)], WRB, "couples input and forget gate"),
        ([node("LSTM", ["x", "W", "R"], ["y"], direction="reverse")], WRB, "runs backwards only"),
        ([node("LSTM", ["x", "W", "R"], ["y"], activations=["Relu", "Tanh", "Tanh"])], WRB, "the activations Relu, T"),
        ([node("GRU", ["x", "W", "R"], ["y"])], GRU, "has linear_before_reset 0, not 1"),
        ([node("RNN", ["x", "W", "R"], ["y"], activations=["Relu"])], WRB, "has the activations Relu"),
        ([node("LSTM", ["x", "W"], ["y"])], WRB, "lacks its weights"),
        ([node("LSTM", ["x", "W", "R", "W"], ["y"])], WRB, r"B is \(1, 24, 5\)"),
        ([node("LSTM", ["x", "P", "R"], ["y"])], WRB, r"W is \(1, 18\)"),
        ([node("Relu", ["W"], ["Q"]), node("LSTM", ["x", "Q", "R"], ["y"])], WRB, "'Q' is computed, not stored"),
        ([node("LSTM", ["x", "nowhere", "R"], ["y"])], WRB, "'nowhere' is computed, not stored"),
        ([node("Identity", ["x"], ["y"])], WRB, "has no RNN, GRU or LSTM operator; an exporter may have unrolled it"),
        ([node("QLinearMatMul", ["x"], ["y"])], WRB, "it is quantized"),
        ([node("Relu", ["x"], ["z"]), node("LSTM", ["z", "W", "R"], ["y"])], WRB, "Relu precedes a recurrent"),
        ([node("LSTM", ["y", "W", "R"], ["y"])], WRB, "'y' is read before it is computed"),
        ([node("Identity", ["b"], ["a"]), node("Identity", ["a"], ["b"]), LSTM], WRB, "'b' is read before"),
        ([node("LSTM", ["x", "W", "R"], ["y"], hidden_size=7)], WRB, "has hidden_size 7, but its weights have 6"),
        ([node("LSTM", ["z", "W", "R"], ["y"])], WRB, "'z' is read, but neither an input nor computed"),
        ([node("LSTM", ["x", "W", "R"], ["z"]), node("Relu", ["z"], ["y"])], WRB, "Relu follows the recurrent layers"),
        ([node("LSTM", ["x", "W", "R"], ["z"]), LSTM], WRB, "are not a chain, each reading the one before"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("MatMul", ["z", "H"], ["w"]),
          node("MatMul", ["w", "I"], ["y"])], GRU, "MatMul follows the recurrent layers; only one linear"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("MatMul", ["z", "H"], ["w"]),
          node("MatMul", ["z", "H"], ["y"])], GRU, "2 linear layers follow"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("MatMul", ["z", "z"], ["y"])], GRU, "'z' is computed"),
        ([node("GRU", ["x", "W", "R"], ["z"], **BEFORE), node("Gemm", ["z", "H"], ["y"], alpha=0.5)], GRU, "not a lin"),
        ([LSTM, node("GRU", ["x", "W", "R"], ["z"])], WRB, "mixes GRU and LSTM"),
    ],
)  # fmt: skip
def test_unsupported_graphs_are_refused(nodes: Any, constants: Any, message: str, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m.onnx", nodes, constants)
    with pytest.raises(InputError, match=message) as caught:
        import_run.import_model(path, task="label")
    assert "\n" not in str(caught.value)


def test_a_long_location_of_weights_is_shortened_in_the_message(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m.onnx", [LSTM], WRB)
    file = onnx.load(path, load_external_data=False)
    onnx.external_data_helper.set_external_data(file.graph.initializer[0], "a" * 5000)
    file.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(file.SerializeToString())
    with pytest.raises(InputError, match="'W' cannot be read") as caught:
        import_run.import_model(path, task="label")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("case", node_cases(), ids=lambda case: case.name)
def test_node_tests_of_torch_layers_are_read(case: Any, tmp_path: Path) -> None:
    """With their weights stored in the graph. No node test of the GRU has the reset gate of torch."""
    file = onnx.ModelProto()
    file.CopyFrom(case.model)
    (layer,) = file.graph.node
    inputs = dict(zip([i.name for i in file.graph.input], case.data_sets[0][0], strict=True))
    stored = {name: inputs[name] for name in [*layer.input[1:4], *layer.input[7:]] if name}
    for name, value in stored.items():
        file.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        file.graph.input.remove(next(i for i in file.graph.input if i.name == name))
    (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in layer.attribute}
    if case.name in VARIANTS or layer.op_type == "GRU" or attributes.get("direction") == b"reverse":
        with pytest.raises(InputError, match=r"linear_before_reset|peepholes|backwards only"):
            import_run.import_model(tmp_path / "m.onnx", task="label")
        return
    parts = onnx_import.parse_graph(onnx_import.OnnxGraph(tmp_path / "m.onnx"))
    expected = from_onnx(CELLS[parts.cell], *(torch.from_numpy(stored[n]) for n in ("W", "R")), None)
    assert torch.equal(parts.layers[0][0].W_hh, expected[0].W_hh)
    assert parts.directions == (2 if attributes.get("direction") == b"bidirectional" else 1)
    import_run.import_model(tmp_path / "m.onnx", task="classify")


def test_a_graph_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    chain = [node("Identity", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(5000)]
    path = write_graph(tmp_path / "m.onnx", [*chain, node("LSTM", ["v5000", "W", "R"], ["y"])], WRB)
    with pytest.raises(InputError, match="nested too deeply"):
        import_run.import_model(path, task="label")


def test_weights_in_a_file_beside_the_graph_are_read(tmp_path: Path) -> None:
    """Weights in a file beside the graph are read; no file outside its directory is."""
    module = TorchModel("lstm")
    path = export_onnx(module, tmp_path / "m.onnx", torch.zeros(1, 9).long())
    inside, _ = import_run.import_model(path, task="label")
    onnx.save(onnx.load(path), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").stat().st_size > 500
    assert import_run.import_model(path, task="label")[0].identity == inside.identity
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    folder = tmp_path / "folder"
    folder.mkdir()
    os.symlink(tmp_path / "secret", folder / "link")
    for location in ("../secret", str(tmp_path / "secret"), "link", "nowhere"):
        file = onnx.load(path, load_external_data=False)
        for tensor in file.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        (folder / "m.onnx").write_bytes(file.SerializeToString())
        with pytest.raises(InputError, match="cannot be read"):
            import_run.import_model(folder / "m.onnx", task="label")


GOOD = onnx_export.build_graph(untrained("label", cell="gru", hidden_size=3, embedding_size=2))


@given(st.data())
def test_damaged_graphs_are_reported_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Random bytes, a truncated graph, or one with some bytes changed."""
    how = data.draw(st.sampled_from(["random", "truncated", "changed"]))
    if how == "random":
        raw = data.draw(st.binary(max_size=300))
    elif how == "truncated":
        raw = GOOD[: data.draw(st.integers(0, len(GOOD) - 1))]
    else:
        changed = bytearray(GOOD)
        for at in data.draw(st.lists(st.integers(0, len(GOOD) - 1), min_size=1, max_size=4)):
            changed[at] = data.draw(st.integers(0, 255))
        raw = bytes(changed)
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(raw)
    message = ""
    try:
        model, _ = import_run.import_model(path)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    if message:
        assert message.startswith(str(path))
    else:
        assert model.identity == untrained("label", cell="gru", hidden_size=3, embedding_size=2).identity


def damage(file: Any, random: np.random.Generator) -> None:
    """Change a random part of a graph, which stays a valid protobuf."""
    graph = file.graph
    nodes, constants = graph.node, graph.initializer
    names = [output for n in nodes for output in n.output] + [t.name for t in constants] + ["", "x"]
    ops = ["LSTM", "GRU", "RNN", "MatMul", "Gemm", "Add", "Concat", "Gather", "Constant", "Identity", "Softmax", "Odd"]
    node, tensor = nodes[random.integers(len(nodes))], constants[random.integers(len(constants))]
    action = random.integers(9)
    if action == 0 and node.input:
        node.input[random.integers(len(node.input))] = names[random.integers(len(names))]
    elif action == 1:
        del node.input[random.integers(len(node.input) + 1) :]
    elif action == 2:
        del node.output[random.integers(len(node.output) + 1) :]
    elif action == 3:
        node.op_type = ops[random.integers(len(ops))]
    elif action == 4 and tensor.dims:
        tensor.dims[random.integers(len(tensor.dims))] = [0, -1, 1, 2, 5, 1 << 40, (1 << 63) - 1][random.integers(7)]
    elif action == 5:
        tensor.data_type = int(random.integers(24))
    elif action == 6:
        attributes = node.attribute or [node.attribute.add(name="direction")]
        attributes[random.integers(len(attributes))].type = int(random.integers(12))
    elif action == 7:
        tensor.raw_data = tensor.raw_data[: random.integers(len(tensor.raw_data) + 1)]
    elif action == 8 and len(nodes) > 1:
        del nodes[random.integers(len(nodes))]


def test_changed_graphs_are_reported_in_one_line(tmp_path: Path) -> None:
    random, refused, path = np.random.default_rng(0), 0, tmp_path / "m.onnx"
    exported = export_onnx(TorchModel("lstm", num_layers=2), path, torch.zeros(1, 9).long()).read_bytes()
    for turn in range(int(os.environ.get("OHLOL_MUTATIONS", "200"))):
        file = onnx.load_model_from_string(exported if turn % 2 else GOOD)
        for _ in range(random.integers(1, 5)):
            damage(file, random)
        path.write_bytes(file.SerializeToString())
        message = ""
        try:
            import_run.import_model(path, task="label" if turn % 2 else None)
        except InputError as error:
            message = str(error)
            refused += 1
        assert not message or (message.startswith(str(path)) and "\n" not in message)
    assert refused > turn / 4


def test_tensors_with_a_wrong_declared_size(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "m.onnx", [LSTM], WRB)
    for dims in ([1, 24, 1 << 40], [1 << 62, 4, 4], [-1, 24, 5], [0]):
        file = onnx.load(path)
        file.graph.initializer[0].dims[:] = dims
        path.write_bytes(file.SerializeToString())
        with pytest.raises(InputError, match=r"cannot be read|W is|negative"):
            import_run.import_model(path, task="label")
    file = onnx.load(write_graph(tmp_path / "m.onnx", [LSTM], WRB))
    file.graph.initializer[0].data_type = onnx.TensorProto.STRING
    path.write_bytes(file.SerializeToString())
    with pytest.raises(InputError, match="does not hold floats"):
        import_run.import_model(path, task="label")
