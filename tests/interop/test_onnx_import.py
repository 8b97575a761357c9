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

from interop.torch_models import TorchModel, export_onnx, logits_of
from ohlol.inference.trained_model import load as load_model
from ohlol.interop import import_run
from ohlol.utils.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from interop.onnx_cases import node_cases  # noqa: E402 - they need onnx
from ohlol.interop import onnx_export  # noqa: E402


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


WRB = {"W": np.ones((1, 24, 5)), "R": np.ones((1, 24, 6)), "B": np.ones((1, 48)), "P": np.ones((1, 18)),
       "V": np.ones((1, 24, 6)), "L": np.ones(2)}  # fmt: skip
PEEPHOLES = ["", "", "", "P"]
ONE = onnx.numpy_helper.from_array(np.ones(1, np.float32))
GRU = {
    "W": np.ones((1, 18, 5)),
    "R": np.ones((1, 18, 6)),
    "V": np.ones((1, 18, 6)),
    "H": np.ones((6, 3)),
    "I": np.ones((3, 3)),
}
LSTM = node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=6)

AFTER = {"linear_before_reset": 1}
BEFORE = {**AFTER, "hidden_size": 6}


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("LSTM", ["x", "W", "R", "B", *PEEPHOLES], ["y"], input_forget=1)], WRB, "input_forget 1, peepholes: no"),
        ([node("LSTM", ["x", "W", "R", "B", "", "", "", "W"], ["y"])], WRB, r"P is \(1, 24, 5\); it must be \(1, 18\)"),
        ([node("LSTM", ["x", "W", "R"], ["y"], clip=1.0)], WRB, "LSTM that computes 'y' clips its sums: no cell"),
        ([node("LSTM", ["x", "W", "R"], ["y"], clip=1.0, name="n")], WRB, "LSTM 'n' clips its sums"),
        ([node("LSTM", ["x", "W", "R"], ["y"], direction="bidirectional")], WRB, "has the weights of 1 directions"),
        ([node("LSTM", ["x", "W", "R"], ["y"], direction="up")], WRB, "has the direction 'up'"),
        ([node("LSTM", ["x", "W", "R"], ["y"], activations=["Relu", "Tanh", "Tanh"])], WRB, "has Relu, Tanh, Tanh: no"),
        ([node("GRU", ["x", "W", "R"], ["y"], activations=["Relu", "Tanh"])], GRU, "has Relu, Tanh: no"),
        ([node("LSTM", ["x", "W", "R", "", "L"], ["y"])], WRB, "has stored lengths of sequences"),
        ([node("LSTM", ["x", "W", "R", "", "", "B"], ["y"])], WRB, "starts from a stored state other than zero"),
        ([node("Expand", ["B", "s"], ["h"]), node("LSTM", ["x", "W", "R", "", "", "h"], ["y"])], WRB, "than zero"),
        ([node("ConstantOfShape", ["L"], ["h"], value=ONE), node("LSTM", ["x", "W", "R", "", "", "h"], ["y"])], WRB,
         "starts from a stored state other than zero"),
        ([node("LSTM", ["x", "W", "R"], ["z", "h"]), node("LSTM", ["z", "V", "R", "", "", "h"], ["y"])], WRB,
         "the LSTM that computes 'y' starts from a state that the LSTM that computes 'z' computes"),
        ([node("GRU", ["x", "W", "R"], ["z"]), node("GRU", ["z", "V", "R"], ["y"], **BEFORE)], GRU, "mixes reset_gru"),
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
def test_node_tests_are_imported(case: Any, tmp_path: Path) -> None:
    """With their weights stored in the graph: the layers of the imported model compute the expected outputs."""
    file = onnx.ModelProto()
    file.CopyFrom(case.model)
    (layer,) = file.graph.node
    inputs = dict(zip([i.name for i in file.graph.input], case.data_sets[0][0], strict=True))
    stored = {name: inputs[name] for name in [*layer.input[1:4], *layer.input[7:]] if name}
    for name, value in stored.items():
        file.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        file.graph.input.remove(next(i for i in file.graph.input if i.name == name))
    (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
    model, _ = import_run.import_model(tmp_path / "m.onnx", task="classify")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in layer.attribute}
    batch_first, D = attributes.get("layout", 0), 2 if attributes.get("direction") == b"bidirectional" else 1
    x, H = torch.from_numpy(inputs["X"]), attributes["hidden_size"]
    with torch.no_grad():
        y, state = model.network.layers(x.transpose(0, 1) if batch_first else x)
    states = state if isinstance(state, tuple) else (state,)
    computed = {"Y": y.unflatten(-1, (-1, H)).transpose(1, 2)[:, -D:]}  # (T, D, B, H)
    computed |= {f"Y_{name}": s[-D:] for name, s in zip("hc", states, strict=False)}  # (D, B, H)
    if batch_first:
        computed = {name: t.permute(2, 0, 1, 3) if t.dim() == 4 else t.transpose(0, 1) for name, t in computed.items()}
    for output, expected in zip(file.graph.output, case.data_sets[0][1], strict=True):
        torch.testing.assert_close(computed[output.name], torch.from_numpy(expected), rtol=0, atol=1e-6)
    if attributes.get("direction") == b"reverse":
        assert torch.equal(model.network.head.weight, torch.eye(2 * H)[H:])


def random_graph(path: Path, layers: list[tuple[str, str, dict[str, Any]]], *, peepholes: bool = False) -> Any:
    """A graph of an embedding, an operator (name, direction, attributes) for each layer and a linear layer."""
    random = np.random.default_rng(0)
    V, size, H, K = 7, 5, 4, 3
    constants = {"E": random.normal(size=(V, size))}
    nodes, x = [node("Gather", ["E", "ids"], ["embedded"])], "embedded"
    for k, (operator, direction, attributes) in enumerate(layers):
        D, G = 2 if direction == "bidirectional" else 1, {"RNN": 1, "GRU": 3, "LSTM": 4}[operator]
        shapes = {"W": (D, G * H, size), "R": (D, G * H, H), "B": (D, 2 * G * H), "P": (D, 3 * H)}
        constants |= {f"{n}{k}": random.normal(size=shape) for n, shape in shapes.items() if n != "P" or peepholes}
        names = [x, f"W{k}", f"R{k}", f"B{k}", *(["", "", "", f"P{k}"] if peepholes else [])]
        nodes.append(node(operator, names, [f"y{k}"], direction=direction, hidden_size=H, **attributes))
        nodes.append(node("Transpose", [f"y{k}"], [f"t{k}"], perm=[0, 2, 1, 3]))
        nodes.append(node("Reshape", [f"t{k}", "join"], [f"j{k}"]))
        x, size = f"j{k}", D * H
    constants |= {"H": random.normal(size=(size, K))}
    nodes.append(node("MatMul", [x, "H"], ["y"]))
    value = onnx.helper.make_tensor_value_info
    tensors = [onnx.numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in constants.items()]
    tensors.append(onnx.numpy_helper.from_array(np.array([0, 0, -1], np.int64), "join"))
    graph = onnx.helper.make_graph(nodes, "g", [value("ids", 7, ["T", "B"])], [value("y", 1, None)], tensors)
    opset = onnx.helper.make_opsetid("", 17)
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
    return pytest.importorskip("onnxruntime").InferenceSession(path)


@pytest.mark.parametrize(
    ("layers", "peepholes", "cell"),
    [
        ([("RNN", "reverse", {})], False, "rnn"),
        ([("RNN", "bidirectional", {"activations": ["Relu", "Relu"]})], False, "rnn_relu"),
        ([("GRU", "forward", {})], False, "reset_gru"),
        ([("GRU", "forward", {}), ("GRU", "reverse", {}), ("GRU", "bidirectional", {})], False, "reset_gru"),
        ([("GRU", "reverse", AFTER), ("GRU", "forward", AFTER)], False, "gru"),
        ([("LSTM", "bidirectional", {}), ("LSTM", "reverse", {})], False, "lstm"),
        ([("LSTM", "bidirectional", {}), ("LSTM", "bidirectional", {})], True, "peephole_lstm"),
        ([("LSTM", "reverse", {})], True, "peephole_lstm"),
        ([("LSTM", "bidirectional", {"input_forget": 1}), ("LSTM", "forward", {"input_forget": 1})], False,
         "coupled_lstm"),
    ],
)  # fmt: skip
def test_an_imported_model_computes_what_onnxruntime_computes(
    layers: Any, peepholes: bool, cell: str, tmp_path: Path
) -> None:
    session = random_graph(tmp_path / "m.onnx", layers, peepholes=peepholes)
    model, description = import_run.import_model(tmp_path / "m.onnx", task="label")
    assert cell in description
    assert model.config.model.cell == cell
    ids = [3, 1, 6, 0, 2, 2, 5]
    (expected,) = session.run(None, {"ids": np.array(ids)[:, None]})
    torch.testing.assert_close(logits_of(model, ids), torch.from_numpy(expected[:, 0]), rtol=0, atol=1e-5)
    import_run.save_run(model, tmp_path / "run")
    assert torch.equal(logits_of(load_model(tmp_path / "run"), ids), logits_of(model, ids))


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
