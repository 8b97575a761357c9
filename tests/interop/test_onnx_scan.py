"""Cells as `Scan` operators: onnxruntime computes what torch computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from peer_cells import PEER_CELLS, peer_layer
from random_steps import I, RandomCell, trees
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from user_cells import KERNEL_CELLS

from ohlol import nn
from ohlol.interop.onnx_export import IR_VERSION, OPSET
from ohlol.interop.onnx_graph import GraphBuilder
from ohlol.interop.onnx_scan import add_recurrent
from ohlol.utils.errors import InputError

pytestmark = pytest.mark.slow  # make test-all

TOLERANCE = 1e-5


def export(layers: nn.Recurrent, input_size: int, *, with_lengths: bool = True) -> bytes:
    """A graph of the layers alone: x (T, B, I), lengths (B,) and states to output (T, B, D*O) and final states."""
    g = GraphBuilder()
    rows = len(layers.cells)
    x = g.input("x", TensorProto.FLOAT, ["time", "batch", input_size])
    lengths = g.input("lengths", TensorProto.INT64, ["batch"]) if with_lengths else ""
    sizes = layers.interface.state_sizes
    states = [g.input(f"s{k}", TensorProto.FLOAT, [rows, "batch", size]) for k, size in enumerate(sizes)]
    out, ends = add_recurrent(g, layers, x, states, lengths)
    g.output("out", TensorProto.FLOAT, ["time", "batch", "width"], out)
    for k, (parts, size) in enumerate(zip(ends, sizes, strict=True)):
        joined = g.add(f"joined{k}", "Concat", *parts, axis=0)
        g.output(f"n{k}", TensorProto.FLOAT, [rows, "batch", size], joined)
    graph = helper.make_graph(g.nodes, "test", g.inputs, g.outputs, list(g.initializers.values()))
    opset = helper.make_opsetid("", OPSET)
    file = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(file, full_check=True)
    return file.SerializeToString()


def run(graph: bytes, x: Tensor, states: list[Tensor], lengths: list[int]) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy(), **{f"s{k}": s.numpy() for k, s in enumerate(states)}}
    if "lengths" in {i.name for i in session.get_inputs()}:
        feed["lengths"] = np.array(lengths)
    return [torch.from_numpy(a) for a in session.run(None, feed)]


@torch.no_grad()
def check(layers: nn.Recurrent, input_size: int, lengths: list[int], *, tolerance: float = TOLERANCE) -> None:
    """Compare onnxruntime with torch from a random state, at every step of each sequence."""
    graph = export(layers.eval(), input_size)
    T, B = max(lengths), len(lengths)
    generator = torch.Generator().manual_seed(1)
    interface = layers.interface
    x = torch.randn(T, B, input_size, generator=generator)
    states = [torch.rand(len(layers.cells), B, size, generator=generator) - 0.5 for size in interface.state_sizes]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    out, final = layers(packed, interface.pack(states))
    expected = [pad_packed_sequence(out)[0], *(final if interface.has_tuple else [final])]
    x[torch.arange(T)[:, None] >= torch.tensor(lengths)] = 99.0  # padding is not read
    actual = run(graph, x, states, lengths)
    actual[0][torch.arange(T)[:, None] >= torch.tensor(lengths)] = 0
    for name, a, b in zip(("output", *(f"state {k}" for k in range(len(states)))), actual, expected, strict=True):
        assert a.shape == b.shape, name
        size = max(1.0, float(b.abs().max()))
        assert torch.isfinite(b).all(), name
        assert float((a - b).abs().max()) <= tolerance * size, name


RAGGED = [3, 7, 1, 5, 7]


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (3, True)])
@pytest.mark.parametrize("name", KERNEL_CELLS)
def test_cells_of_users(name: str, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(3)
    make, sizes = KERNEL_CELLS[name]
    dropout = 0.5 if layers > 1 else 0.0
    stack = nn.Recurrent(lambda size: make(size, 5), layers, bidirectional, dropout, input_size=4, state_sizes=sizes(5))
    check(stack, 4, RAGGED)
    check(stack, 4, [1])


@pytest.mark.parametrize("name", PEER_CELLS)
def test_peer_cells(name: str) -> None:
    torch.manual_seed(2)
    check(peer_layer(name, 6, torch.float32), 6, RAGGED)


@settings(max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree_h=trees, tree_c=trees, H=st.sampled_from([1, 2, 5, 8]), bidirectional=st.booleans())
def test_steps_drawn_at_random(tree_h: Any, tree_c: Any, H: int, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layers = nn.Recurrent(
        lambda size: RandomCell(tree_h, tree_c, H), 1, bidirectional, input_size=I, state_sizes=(H, H)
    )
    assume(layers.read_graph(0).out)
    check(layers, I, RAGGED, tolerance=1e-4)  # errors of single operations grow in the next ones


class OneOperation(torch.nn.Module):
    """An operation on a sum of input and state."""

    def __init__(self, operation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.operation, self.linear = operation, torch.nn.Linear(I, 4)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.operation(torch.tanh(self.linear(x) + h))


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sign": torch.sign,
    "expm1": torch.expm1,
    "log": lambda a: torch.log(a + 2),
    "log1p": lambda a: torch.log1p(a * a),
    "rsqrt": lambda a: torch.rsqrt(a + 2),
    "sqrt": lambda a: torch.sqrt(a + 1),
    "reciprocal": lambda a: torch.reciprocal(a + 3),
    "pow": lambda a: torch.pow(a + 2, 1.7),
    "isnan": lambda a: torch.where(torch.isnan(torch.log(a)), -a, a),
    "not": lambda a: torch.where(~(a > 0), 0.5 * a, a),
    "and": lambda a: torch.where((a > -0.5) & (a < 0.5), a, -a),
    "or": lambda a: torch.where((a < -0.5) | (a != a.abs()), 2 * a, a),
    "ge": lambda a: torch.where(a >= 0.1, a, a - 1),
    "masked_fill": lambda a: a.masked_fill(a < 0, 0.25),
    "constant": lambda a: torch.cat([torch.full_like(a[:, :2], 0.5), a[:, 2:]], 1),
    "zeros": torch.zeros_like,
    "repeated": lambda a: a + torch.arange(4.0).expand(len(a), -1),
    "log_softmax": lambda a: torch.log_softmax(a, -1),
    "norm": lambda a: torch.nn.functional.normalize(a + 1, dim=-1),
    "selu": torch.nn.functional.selu,
    "mish": torch.nn.functional.mish,
    "gelu": torch.nn.functional.gelu,
    "glu": lambda a: torch.nn.functional.glu(torch.cat([a, a], 1)),
    "hardswish": torch.nn.functional.hardswish,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_single_operations(name: str) -> None:
    torch.manual_seed(5)
    check(nn.Recurrent(OneOperation(OPERATIONS[name]), input_size=I, state_sizes=4), I, RAGGED)


def test_expm1_of_small_numbers_is_exact() -> None:
    cell = OneOperation(lambda a: torch.expm1(a * 1e-6))
    layers = nn.Recurrent(cell, input_size=I, state_sizes=4)
    x, h = torch.randn(1, 1, I), torch.zeros(1, 1, 4)
    (out, _), (expected, _) = run(export(layers, I, with_lengths=False), x, [h], []), layers(x, h)
    torch.testing.assert_close(out, expected.detach(), rtol=1e-5, atol=0)


def test_what_depends_on_the_input_alone_is_computed_before_the_loop() -> None:
    torch.manual_seed(0)
    make, _ = KERNEL_CELLS["lstm"]
    file = onnx.load_model_from_string(export(nn.Recurrent(make(3, 5)), 3))
    (scan,) = [node for node in file.graph.node if node.op_type == "Scan"]
    body = next(attribute.g for attribute in scan.attribute if attribute.name == "body")
    assert [node.op_type for node in file.graph.node].count("MatMul") == 4
    assert [node.op_type for node in body.node].count("MatMul") == 4


def test_a_step_without_lengths() -> None:
    torch.manual_seed(0)
    make, _ = KERNEL_CELLS["gru"]
    layers = nn.Recurrent(make(3, 5))
    x, h = torch.randn(1, 2, 3), torch.randn(1, 2, 5)
    for actual, expected in zip(run(export(layers, 3, with_lengths=False), x, [h], []), layers(x, h), strict=True):
        torch.testing.assert_close(actual, expected.detach(), rtol=0, atol=TOLERANCE)


class SortsInput(torch.nn.Module):
    hidden_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(I, 4)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.linear(x.cumsum(1)) + h)


class ForgetsState(SortsInput):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


class SortsState(SortsInput):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.linear(x) + h.cumsum(1))


@pytest.mark.parametrize("cell", [SortsInput, SortsState])
def test_operations_without_an_operator_are_named(cell: type[torch.nn.Module]) -> None:
    with pytest.raises(InputError, match=r"the cell cannot be exported: .*aten.cumsum at .*test_onnx_scan.py:\d+$"):
        export(nn.Recurrent(cell(), input_size=I), I)


def test_an_output_that_does_not_depend_on_the_state_is_refused() -> None:
    with pytest.raises(InputError, match="the cell cannot be exported: its output does not depend on its state"):
        export(nn.Recurrent(ForgetsState(), input_size=I), I)
