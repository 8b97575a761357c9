"""The builder of graphs: names, shapes of constants, bodies."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnxruntime

from ohlol.interop.onnx_graph import GraphBuilder


def test_a_graph_computes_its_nodes() -> None:
    g = GraphBuilder()
    x = g.input("x", TensorProto.FLOAT, ["n"])
    doubled = g.add("doubled", "Mul", x, g.constant("two", np.array(2, np.float32)))
    first, second = g.add("parts", "Split", doubled, g.ints(1, 1), outputs=2, axis=0)
    g.output("first", TensorProto.FLOAT, [1], first)
    g.output("second", TensorProto.FLOAT, [1], second)
    graph = helper.make_graph(g.nodes, "test", g.inputs, g.outputs, list(g.initializers.values()))
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [a.tolist() for a in session.run(None, {"x": np.array([1, 3], np.float32)})] == [[2.0], [6.0]]


def test_constants_keep_their_shape_and_are_stored_once() -> None:
    g = GraphBuilder()
    assert g.constant("scalar", np.array(3)) == g.constant("scalar", np.array(4)) == "scalar"
    assert g.ints(0, -1) == "ints_0_m1"
    strided = g.constant("strided", np.arange(6).reshape(2, 3).T)
    arrays = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in g.initializers.items()}
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"] == 3
    assert arrays["ints_0_m1"].tolist() == [0, -1]
    assert arrays[strided].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_body_has_the_constants_of_its_graph_and_its_own_nodes() -> None:
    g = GraphBuilder()
    body = g.make_body()
    body.add("sum", "Add", body.constant("a", [1]), g.constant("b", [2]))
    assert set(g.initializers) == {"a", "b"}
    assert (len(body.nodes), len(g.nodes)) == (1, 0)
