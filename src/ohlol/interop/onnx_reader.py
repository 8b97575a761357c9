"""The weights of a recurrent model in an ONNX graph; knows nothing of what is done with them. Never runs the graph.

A graph of ohlol is read by the names of its tensors. Of any other, the recurrent operators are taken in the order of
the graph, and from them the way is followed back to an embedding and forward to a linear layer. What the operators can
say and torch cannot is refused: another activation, clipping, peepholes, the reset gate before the product.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol.cells import CELLS, CellSpec
from ohlol.cells.lstm import LSTM
from ohlol.interop import onnx_gates
from ohlol.interop.torch import Plain, checked
from ohlol.utils.errors import InputError, short
from ohlol.utils.files import read_bytes

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import TensorProto, external_data_helper, helper, numpy_helper
except ModuleNotFoundError:
    raise InputError("reading ONNX needs two more packages: pip install 'ohlol[onnx]'") from None

LARGEST = 1 << 31
"""Bytes of an ONNX file; protobuf holds no more."""
MOST_NODES = 100_000
"""Of a graph: more than any recurrent model has, unless it was unrolled."""
OPERATORS = {spec.onnx.name: spec for spec in CELLS.values() if spec.onnx is not None and spec.onnx.default_activations}
"""The cell of each recurrent operator."""
PASSING = {"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Dropout", "Cast", "Slice", "Gather",
           "Concat", "Split"}  # fmt: skip
"""Operators that move numbers and do not change them."""
ENDING = {"Softmax", "LogSoftmax", "ArgMax"}
"""What may follow the head: none of it changes which label is best."""


class Graph:
    """The nodes and constants of an ONNX file from anywhere, read with care.

    Raises:
        InputError: the file is missing, damaged, or no ONNX graph.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = onnx.load_model_from_string(read_bytes(path, LARGEST))
        except (DecodeError, ValueError, RuntimeError) as error:
            raise self.fault(f"is no ONNX file: {short(error)}") from None
        self.graph = self.file.graph
        if not self.graph.node or len(self.graph.node) > MOST_NODES:
            raise self.fault(f"is no ONNX graph that can be read: it has {len(self.graph.node)} nodes")
        self.metadata = {p.key: p.value for p in self.file.metadata_props}
        self.tensors: dict[str, TensorProto] = {t.name: t for t in self.graph.initializer}
        self.makers: dict[str, Any] = {}
        self.users: dict[str, list[Any]] = {}
        for node in self.graph.node:
            if not node.output:
                raise self.fault(f"{node.op_type[:40]!r} {node.name[:60]!r} gives nothing")
            for name in node.output:
                self.makers[name] = node
            for name in node.input:
                self.users.setdefault(name, []).append(node)
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.tensors[node.output[0]] = attribute.t

    def fault(self, what: str) -> InputError:
        """An error that names the file."""
        return InputError(f"{self.path}: {what}")

    def constant(self, name: str) -> Tensor:
        """A constant of the graph as a tensor; raises InputError where there is none of floats."""
        proto = self.tensors.get(name)
        if proto is None:
            raise self.fault(f"{name[:60]!r} is computed, not stored: only stored weights are read")
        kinds = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
        if proto.data_type not in kinds:
            raise self.fault(f"{name[:60]!r} holds no floats, but weights are: a quantized graph is not read")
        if any(d < 0 for d in proto.dims):
            raise self.fault(f"{name[:60]!r} has a negative size")
        try:
            if external_data_helper.uses_external_data(proto):
                external_data_helper.load_external_data_for_tensor(proto, str(self.path.parent))
            array = numpy_helper.to_array(proto)
            return torch.from_numpy(np.array(array, np.float32))
        except (ValueError, TypeError, OSError, OverflowError, onnx.checker.ValidationError) as error:
            raise self.fault(f"{name[:60]!r} cannot be read: {short(error)}") from None

    def told(self, node: Any) -> dict[str, Any]:
        """A node's attributes."""
        try:
            return {a.name: helper.get_attribute_value(a) for a in node.attribute}
        except ValueError as error:
            raise self.fault(f"the attributes of {node.name[:60]!r} cannot be read: {short(error)}") from None


def plain(graph: Graph) -> Plain:
    """Find the parts of a model in a graph that another program wrote.

    Raises:
        InputError: it is not a chain of embedding, recurrent layers and linear layer, or an operator of it says what
        torch cannot.
    """
    nodes = [n for n in graph.graph.node if n.op_type in OPERATORS and n.domain in ("", "ai.onnx")]
    if not nodes:
        ops = {n.op_type for n in graph.graph.node}
        why = "an exporter may have unrolled it, as torch's does with nn.RNN: import its state_dict instead"
        if any("Quant" in op or op.startswith("QLinear") for op in ops):
            why = "it is quantized: import the graph that it was made from"
        raise graph.fault(f"has no RNN, GRU or LSTM operator; {why}")
    if len({n.op_type for n in nodes}) > 1:
        raise graph.fault(f"mixes {' and '.join(sorted({n.op_type for n in nodes}))}; layers of one kind are read")
    spec = OPERATORS[nodes[0].op_type]
    layers = [_weights(graph, node, spec) for node in nodes]
    try:
        found = [_source(graph, node.input[0], {}) for node in nodes]
        if any(found[0] is node for node in nodes):
            raise graph.fault("its first recurrent operator reads one after it")
        for before, source in zip(nodes, found[1:], strict=False):
            if source is not before:
                raise graph.fault(f"its {len(nodes)} recurrent operators are no chain, each reading the one before")
        head = _head(graph, nodes[-1])
    except RecursionError:
        raise graph.fault("is nested too deeply to be read") from None
    embedding = found[0] if isinstance(found[0], Tensor) else None
    return checked(Plain(spec.name, layers, embedding, head), str(graph.path))


def _weights(graph: Graph, node: Any, spec: CellSpec) -> list[Any]:
    """The weights of one operator, which must say nothing that torch's layers cannot."""
    assert spec.onnx is not None
    told, name = graph.told(node), f"the {node.op_type} {node.name[:60]!r}"
    way = told.get("direction", b"forward")
    D = 2 if way == b"bidirectional" else 1
    given = told.get("activations", [])
    given = given if isinstance(given, list) else [given]
    activations = [str(a, "utf-8", "replace") if isinstance(a, bytes) else str(a) for a in given]
    for wrong, what in (
        (way not in (b"forward", b"bidirectional"), "runs backwards only"),
        (
            activations and activations != D * [*spec.onnx.activations],
            f"has the activations {', '.join(activations)[:60]}",
        ),
        ("clip" in told, "clips its sums"),
        (told.get("input_forget", 0), "couples input and forget gate"),
        (len(node.input) > 7 and node.input[7], "has peepholes"),
        (
            "linear_before_reset" in spec.onnx.attributes and not told.get("linear_before_reset", 0),
            "applies the reset gate before the matrix product (linear_before_reset 0); torch's GRU does it after",
        ),
    ):
        if wrong:
            raise graph.fault(f"{name} {what}: a plain layer of torch.nn is read")
    if len(node.input) < 3 or not node.output:
        raise graph.fault(f"{name} lacks its weights")
    W, R = graph.constant(node.input[1]), graph.constant(node.input[2])
    B = graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    try:
        return onnx_gates.from_onnx(spec, W, R, B)
    except ValueError as error:
        raise graph.fault(f"{name}: {error}") from None


def _source(graph: Graph, name: str, seen: dict[str, Any]) -> Any:
    """What a value comes from, past operators that only move it: a recurrent node, an embedding, or a graph's input."""
    if name in seen:
        return seen[name]
    seen[name] = None  # a value that comes from itself comes from nothing
    node = graph.makers.get(name)
    if node is None:
        if name not in {i.name for i in graph.graph.input}:
            raise graph.fault(f"{name[:60]!r} is read and made nowhere")
        found: Any = name
    elif node.op_type in OPERATORS:
        found = node
    elif node.op_type == "OneHot":
        found = name
    elif node.op_type == "Gather" and node.input and node.input[0] in graph.tensors:
        found = graph.constant(node.input[0])
    elif node.op_type in PASSING and node.input:
        found = _source(graph, node.input[0], seen)
        for other in node.input[1:] if node.op_type == "Concat" else ():
            if _source(graph, other, seen) is not found:
                raise graph.fault("the recurrent layers read several things side by side; one embedding is read")
    else:
        raise graph.fault(f"{node.op_type[:40]} stands before a recurrent layer; only an embedding is read there")
    seen[name] = found
    return found


def _head(graph: Graph, top: Any) -> tuple[Tensor, Tensor | None] | None:
    """The linear layer after the top layer; None where its states go out as they are."""
    heads: dict[str, tuple[Tensor, Tensor | None]] = {}
    waiting, seen = [(name, False) for name in top.output if name], set[str]()
    while waiting:
        name, behind = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in graph.users.get(name, []):
            op = node.op_type
            if op in OPERATORS and node is not top:
                raise graph.fault("a recurrent layer follows the top one")  # a chain has been seen, so it is no layer
            if op in ("MatMul", "Gemm") and not behind and node.input[0] == name:
                heads[node.output[0]], ends = _linear(graph, node)
                waiting += [(end, True) for end in ends]
            elif op in PASSING or (op in ENDING and behind):
                if not node.input or node.input[0] == name or op == "Concat":
                    waiting += [(out, behind) for out in node.output]
            elif op != "Shape":
                raise graph.fault(f"{op[:40]} follows the recurrent layers; only one linear layer is read there")
    if len(heads) > 1:
        raise graph.fault(f"{len(heads)} linear layers follow the recurrent ones; one is read")
    return next(iter(heads.values()), None)


def _linear(graph: Graph, node: Any) -> tuple[tuple[Tensor, Tensor | None], list[str]]:
    """W (K, D*H) and b of a product and the addition after it, and where its results go."""
    told = graph.told(node)
    if told.get("alpha", 1.0) != 1 or told.get("beta", 1.0) != 1 or told.get("transA", 0) or len(node.input) < 2:
        raise graph.fault("the product after the recurrent layers is no plain linear layer")
    W = graph.constant(node.input[1])
    if W.dim() != 2:
        raise graph.fault(f"the weight of the linear layer is {tuple(W.shape)}; it must have two axes")
    W = W if told.get("transB", 0) else W.t()
    if len(node.input) > 2 and node.input[2]:
        return (W, graph.constant(node.input[2])), list(node.output)
    adds = [n for n in graph.users.get(node.output[0], []) if n.op_type == "Add"]
    if len(adds) != 1:
        return (W, None), list(node.output)
    other = [name for name in adds[0].input if name != node.output[0]]
    if len(other) != 1:
        raise graph.fault("the addition after the linear layer adds no bias")
    return (W, graph.constant(other[0])), list(adds[0].output)


def ours(graph: Graph, expected: dict[str, Tensor], cell: str, layers: int, looped: bool) -> dict[str, Tensor]:
    """The weights of a graph that ohlol wrote, by their names; `expected` are those of the model it tells of.

    Raises:
        InputError: one is missing, or not of the shape that the file itself promises.
    """
    found: dict[str, Tensor] = {}
    stacks = [("layers.", f"layers.{{}}{n}", CELLS[cell], "" if looped else f"_l{n}") for n in range(layers)]
    if "encoder.speller.weight_ih_l0" in expected:
        stacks.append(("encoder.speller.", "encoder.speller.{}", LSTM, "_l0"))
    for prefix, name, spec, suffix in stacks:
        owner = f"{prefix}cell." if looped and prefix == "layers." else prefix
        W, R, B = (graph.constant(name.format(part)) for part in "WRB")
        try:
            sides = onnx_gates.from_onnx(spec, W, R, B)
        except ValueError as error:
            raise graph.fault(f"{prefix}: {error}") from None
        for way, weights in zip(("", "_reverse"), sides, strict=False):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            found |= {f"{owner}{n}{suffix}{way}": t for n, t in zip(names, weights, strict=True) if t is not None}
    for name in expected:
        if name not in found:
            value = graph.constant(name)
            found[name] = value.t().contiguous() if name == "head.weight" else value
    return found
