"""Read the weights of a recurrent model from an ONNX graph, without running it.

The weights of a graph that ohlol exported are found by their names. In other graphs, the recurrent operators are taken
in the order of the nodes; the graph is followed from them back to an embedding and forward to a linear layer. A form of
an operator is that of a cell (`CellSpec.onnx`, `CellSpec.onnx_variant`), or it is refused, such as clipping. Layers
of different directions, or that run backwards only, become layers of both directions.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ohlol.cells import CELLS, PARAMETER_NAMES, CellSpec, Weights
from ohlol.cells.lstm import LSTM
from ohlol.config import ModelSettings
from ohlol.interop.onnx_weights import from_onnx
from ohlol.interop.torch import Linear, ModelParts, check_parts
from ohlol.utils.errors import InputError, describe_error
from ohlol.utils.files import read_bytes
from ohlol.utils.translation import join_list, translate

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import TensorProto, external_data_helper, helper, numpy_helper
except ModuleNotFoundError:
    raise InputError("reading ONNX needs the package onnx: pip install 'ohlol[onnx]'") from None

FILE_LIMIT = 1 << 31
"""Largest size of an ONNX file in bytes: protobuf is limited to it."""
NODES_LIMIT = 100_000
"""Most nodes of a graph; a recurrent model has fewer, unless it was unrolled."""
NAME_LENGTH = 60
"""Characters of a name in the graph that are shown in an error."""
OPERATORS = frozenset(spec.onnx.name for spec in CELLS.values() if spec.onnx is not None)
"""The recurrent operators."""
DEFAULT_ATTRIBUTES = {"linear_before_reset": 0, "input_forget": 0}
"""The attributes that select a form of an operator."""
FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
MOVING = {"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Dropout", "Cast", "Slice", "Gather",
          "Concat", "Split"}  # fmt: skip
"""Operators that move values without changing them."""
SPREADING = {"Expand", "Tile"}
"""Operators that repeat values."""
FINAL = {"Softmax", "LogSoftmax", "ArgMax"}
"""Operators that may follow the head, since they do not change which label is best."""


class OnnxGraph:
    """The nodes and constants of an ONNX file, which is not trusted.

    Raises:
        InputError: the file is missing, damaged, or no ONNX graph.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = onnx.load_model_from_string(read_bytes(path, FILE_LIMIT))
        except (DecodeError, ValueError, RuntimeError) as error:
            raise self.error(translate("is not an ONNX file: {error}", error=describe_error(error))) from None
        self.graph = self.file.graph
        if not self.graph.node or len(self.graph.node) > NODES_LIMIT:
            raise self.error(translate("cannot be read: it has {count} nodes", count=len(self.graph.node)))
        self.metadata = {p.key: p.value for p in self.file.metadata_props}
        self.tensors: dict[str, TensorProto] = {t.name: t for t in self.graph.initializer}
        self.producers: dict[str, Any] = {}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            if not node.output:
                raise self.error(
                    translate(
                        "{op_type!r} {name!r} has no output",
                        op_type=node.op_type[:40],
                        name=node.name[:NAME_LENGTH],
                    )
                )
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
            for name in node.output:
                if name and name in self.consumers:  # an empty name is that of an input left out
                    raise self.error(
                        translate(
                            "{name!r} is read before it is computed; ONNX forbids such cycles", name=name[:NAME_LENGTH]
                        )
                    )
                self.producers[name] = node
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.tensors[node.output[0]] = attribute.t

    def error(self, reason: str) -> InputError:
        """An InputError that names the file."""
        return InputError("{path}: {reason}", path=self.path, reason=reason)

    def constant(self, name: str) -> Tensor:
        """A constant of the graph as a tensor.

        Raises:
            InputError: there is no constant of floats with this name, or it is damaged.
        """
        proto = self.tensors.get(name)
        if proto is None:
            raise self.error(
                translate("{name!r} is computed, not stored: only stored weights can be read", name=name[:NAME_LENGTH])
            )
        return self.read_tensor(name, proto)

    def read_tensor(self, name: str, proto: TensorProto) -> Tensor:
        """A stored tensor of floats; raises InputError with its name."""
        if proto.data_type not in FLOAT_TYPES:
            raise self.error(
                translate("{name!r} does not hold floats: a quantized graph cannot be read", name=name[:NAME_LENGTH])
            )
        if any(d < 0 for d in proto.dims):
            raise self.error(translate("{name!r} has a negative size", name=name[:NAME_LENGTH]))
        try:
            if external_data_helper.uses_external_data(proto):
                external_data_helper.load_external_data_for_tensor(proto, str(self.path.parent))
            array = numpy_helper.to_array(proto)
            return torch.from_numpy(np.array(array, np.float32))
        except (ValueError, TypeError, OSError, OverflowError, RuntimeError, onnx.checker.ValidationError) as error:
            raise self.error(
                translate("{name!r} cannot be read: {error}", name=name[:NAME_LENGTH], error=describe_error(error))
            ) from None

    def attributes(self, node: Any) -> dict[str, Any]:
        """The attributes of a node by their names."""
        try:
            return {a.name: helper.get_attribute_value(a) for a in node.attribute}
        except ValueError as error:
            raise self.error(
                translate(
                    "the attributes of {node} cannot be read: {error}",
                    node=_describe(node),
                    error=describe_error(error),
                )
            ) from None


def parse_graph(graph: OnnxGraph) -> ModelParts:
    """The parts of a model in a graph that another program exported.

    Raises:
        InputError: it is not a chain of embedding, recurrent layers and linear layer, or an operator of it computes
            something else than a cell.
    """
    nodes = [n for n in graph.graph.node if n.op_type in OPERATORS and n.domain in ("", "ai.onnx")]
    if not nodes:
        operators = {n.op_type for n in graph.graph.node}
        reason = translate(
            "an exporter may have unrolled it, as that of torch does with nn.RNN: import its state_dict instead"
        )
        if any("Quant" in operator or operator.startswith("QLinear") for operator in operators):
            reason = translate("it is quantized: import the graph that was quantized")
        raise graph.error(translate("has no RNN, GRU or LSTM operator; {reason}", reason=reason))
    if len({n.op_type for n in nodes}) > 1:
        operators = " and ".join(sorted({n.op_type for n in nodes}))
        raise graph.error(translate("mixes {operators}; all recurrent layers must be of one kind", operators=operators))
    layers = [_read_layer(graph, node) for node in nodes]
    cells = list(dict.fromkeys(layer.spec.name for layer in layers))
    if len(cells) > 1:
        raise graph.error(
            translate("mixes {operators}; all recurrent layers must be of one kind", operators=" and ".join(cells))
        )
    try:
        for node in nodes:
            _check_start(graph, node)
        sources = [_find_source(graph, node.input[0], {}) for node in nodes]
        for previous, source in zip(nodes, sources[1:], strict=False):
            if source is not previous:
                raise graph.error(
                    translate(
                        "its {count} recurrent operators are not a chain, each reading the one before", count=len(nodes)
                    )
                )
        head = _find_head(graph, nodes[-1])
    except RecursionError:
        raise graph.error(translate("is nested too deeply to be read")) from None
    embedding = sources[0] if isinstance(sources[0], Tensor) else None
    if {layer.direction for layer in layers} not in ({"forward"}, {"bidirectional"}):
        layers, head = _add_directions(layers, head)
    directions, peepholes = [layer.weights for layer in layers], [layer.peepholes for layer in layers]
    return check_parts(ModelParts(cells[0], directions, embedding, head, peepholes), str(graph.path))


@dataclass(frozen=True)
class _Layer:
    """A recurrent operator."""

    spec: CellSpec
    weights: list[Weights]
    """Of each direction, with torch's order of gates."""
    peepholes: list[Tensor]
    """(3*H,) of each direction, zeros for a cell without them."""
    direction: str
    """`forward`, `reverse` or `bidirectional`."""


def _describe(node: Any) -> str:
    """The name of a node in messages; one without a name is found by its first output."""
    if node.name:
        return f"{node.op_type[:NAME_LENGTH]} {node.name[:NAME_LENGTH]!r}"
    output = next(filter(None, node.output), "")[:NAME_LENGTH]
    return translate("the {operator} that computes {output!r}", operator=node.op_type[:NAME_LENGTH], output=output)


def _read_layer(graph: OnnxGraph, node: Any) -> _Layer:
    """The cell and the weights of an operator, which must compute a cell that is registered."""
    attributes, name = graph.attributes(node), _describe(node)
    direction = attributes.get("direction", b"forward")
    direction = str(direction, "utf-8", "replace") if isinstance(direction, bytes) else str(direction)
    if direction not in ("forward", "reverse", "bidirectional"):
        raise graph.error(
            translate("{name} has the direction {direction!r}", name=name, direction=direction[:NAME_LENGTH])
        )
    D = 2 if direction == "bidirectional" else 1
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    if "clip" in attributes:
        raise graph.error(translate("{name} clips its sums: no cell does", name=name))
    if inputs[4] in graph.tensors:
        raise graph.error(
            translate("{name} has stored lengths of sequences; a model reads sequences of any length", name=name)
        )
    spec = _select_cell(graph, node, attributes, has_peepholes=bool(inputs[7]))
    if not inputs[1] or not inputs[2] or not node.output:
        raise graph.error(translate("{name} lacks its weights", name=name))
    W, R = graph.constant(inputs[1]), graph.constant(inputs[2])
    if "hidden_size" in attributes and attributes["hidden_size"] != R.size(-1):
        raise graph.error(
            translate(
                "{name} has hidden_size {hidden_size}, but its weights have {size}",
                name=name,
                hidden_size=attributes["hidden_size"],
                size=R.size(-1),
            )
        )
    B = graph.constant(inputs[3]) if inputs[3] else None
    variant = spec.onnx_variant
    try:
        weights = from_onnx(spec if variant is None else variant.of, W, R, B)
    except ValueError as error:
        raise graph.error(f"{name}: {error}") from None
    if len(weights) != D:
        raise graph.error(
            translate(
                "{name} has the weights of {count} directions; its direction is {direction}",
                name=name,
                count=len(weights),
                direction=direction,
            )
        )
    P = graph.constant(inputs[7]) if inputs[7] else W.new_zeros(D, 3 * R.size(-1))
    if P.shape != (D, 3 * R.size(-1)):
        raise graph.error(
            translate(
                "{name}: P is {shape}; it must be {expected}",
                name=name,
                shape=tuple(P.shape),
                expected=(D, 3 * R.size(-1)),
            )
        )
    return _Layer(spec, weights, list(P), direction)


def _select_cell(graph: OnnxGraph, node: Any, attributes: dict[str, Any], *, has_peepholes: bool) -> CellSpec:
    """The cell that computes this form of an operator; raises InputError where there is none."""
    D = 2 if attributes.get("direction") == b"bidirectional" else 1
    values = attributes.get("activations", [])
    values = values if isinstance(values, list) else [values]
    activations = [str(a, "utf-8", "replace") if isinstance(a, bytes) else str(a) for a in values]
    form = {name: attributes.get(name, value) for name, value in DEFAULT_ATTRIBUTES.items()}
    same_activations: list[CellSpec] = []
    for spec in CELLS.values():
        variant = spec.onnx_variant
        operator = spec.onnx if variant is None else variant.of.onnx
        if operator is None or operator.name != node.op_type:
            continue
        if activations != D * list(operator.activations) and (activations or not operator.default_activations):
            continue
        same_activations.append(spec)
        wanted = DEFAULT_ATTRIBUTES | dict(operator.attributes) | ({} if variant is None else dict(variant.attributes))
        if form == wanted and has_peepholes == (variant is not None and variant.has_peepholes):
            return spec
    if same_activations:
        options = [f"{name} {form[name]}" for name, value in DEFAULT_ATTRIBUTES.items() if form[name] != value]
        options += [translate("peepholes")] if has_peepholes else []
    else:
        options = [", ".join(activations)[:NAME_LENGTH]]
    raise graph.error(
        translate("{name} has {options}: no cell computes that", name=_describe(node), options=join_list(options))
    )


def _check_start(graph: OnnxGraph, node: Any) -> None:
    """Check that an operator starts from zeros, or from a state that the caller gives; raises InputError."""
    waiting = [name for name in node.input[5:7] if name]
    visited: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        producer, start = graph.producers.get(name), None
        if name in graph.tensors:
            start = graph.constant(name)
        elif producer is None:
            continue  # an input of the graph
        elif producer.op_type == "ConstantOfShape":
            value = graph.attributes(producer).get("value")
            start = graph.read_tensor(name, value) if isinstance(value, TensorProto) else None
        elif producer.op_type in MOVING or producer.op_type in SPREADING:
            waiting += producer.input if producer.op_type == "Concat" else producer.input[:1]
        else:
            raise graph.error(
                translate(
                    "{name} starts from a state that {producer} computes",
                    name=_describe(node),
                    producer=_describe(producer),
                )
            )
        if start is not None and start.any():
            name = _describe(node)
            raise graph.error(
                translate("{name} starts from a stored state other than zero; a run starts from zeros", name=name)
            )


def _add_directions(layers: list[_Layer], head: Linear | None) -> tuple[list[_Layer], Linear]:
    """The same model with both directions in every layer: weights of zeros where there was none, which nothing reads.

    The columns of a layer's input, and of the head, that read the direction that was added are zero.
    """
    both: list[_Layer] = []
    previous = "bidirectional"
    for layer in layers:
        weights = [w._replace(W_ih=_widen(w.W_ih, previous)) for w in layer.weights]
        peepholes = layer.peepholes
        if layer.direction != "bidirectional":
            at = 1 if layer.direction == "forward" else 0
            weights.insert(at, Weights(*(None if t is None else torch.zeros_like(t) for t in weights[0])))  # pyright: ignore[reportArgumentType]
            peepholes = [*peepholes]
            peepholes.insert(at, torch.zeros_like(peepholes[0]))
        both.append(_Layer(layer.spec, weights, peepholes, "bidirectional"))
        previous = layer.direction
    H = layers[-1].weights[0].W_hh.size(1)
    W, b = (torch.eye(len(layers[-1].weights) * H), None) if head is None else head
    return both, (_widen(W, previous), b)


def _widen(W: Tensor, direction: str) -> Tensor:
    """A matrix that reads the outputs of both directions, with zeros for the one that was added: (K, H) -> (K, 2*H)."""
    if direction == "bidirectional":
        return W
    zeros = torch.zeros_like(W)
    return torch.cat([W, zeros] if direction == "forward" else [zeros, W], dim=1)


def _find_source(graph: OnnxGraph, name: str, visited: dict[str, Any]) -> Any:
    """The source of a value, before the operators that only move it.

    Returns:
        The node of a recurrent operator, the weight of an embedding, or the name of an input of the graph.
    """
    if name in visited:
        return visited[name]
    node = graph.producers.get(name)
    if node is None:
        if name not in {i.name for i in graph.graph.input}:
            raise graph.error(translate("{name!r} is read, but neither an input nor computed", name=name[:NAME_LENGTH]))
        source: Any = name
    elif node.op_type in OPERATORS:
        source = node
    elif node.op_type == "OneHot":
        source = name
    elif node.op_type == "Gather" and node.input and node.input[0] in graph.tensors:
        source = graph.constant(node.input[0])
    elif node.op_type in MOVING and node.input:
        source = _find_source(graph, node.input[0], visited)
        for other in node.input[1:] if node.op_type == "Concat" else ():
            if _find_source(graph, other, visited) is not source:
                raise graph.error(translate("the recurrent layers read several inputs; only one embedding can be read"))
    else:
        raise graph.error(
            translate("{op_type} precedes a recurrent layer; only an embedding may", op_type=node.op_type[:NAME_LENGTH])
        )
    visited[name] = source
    return source


def _find_head(graph: OnnxGraph, last: Any) -> Linear | None:
    """The linear layer after the last recurrent operator; None where its hidden states are the output."""
    heads: dict[str, Linear] = {}
    waiting, visited = [(name, False) for name in last.output if name], set[str]()
    while waiting:
        name, after_head = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        for node in graph.consumers.get(name, []):
            operator = node.op_type
            if operator in OPERATORS and node is not last:
                raise graph.error(translate("a recurrent layer follows the last one"))
            if operator in ("MatMul", "Gemm") and not after_head and node.input[0] == name:
                heads[node.output[0]], outputs = _read_linear(graph, node)
                waiting += [(output, True) for output in outputs]
            elif operator in MOVING or (operator in FINAL and after_head):
                if not node.input or node.input[0] == name or operator == "Concat":
                    waiting += [(output, after_head) for output in node.output]
            elif operator != "Shape":
                raise graph.error(
                    translate(
                        "{operator} follows the recurrent layers; only one linear layer may",
                        operator=operator[:NAME_LENGTH],
                    )
                )
    if len(heads) > 1:
        raise graph.error(
            translate("{count} linear layers follow the recurrent layers; only one may", count=len(heads))
        )
    return next(iter(heads.values()), None)


def _read_linear(graph: OnnxGraph, node: Any) -> tuple[Linear, list[str]]:
    """W (K, D*H) and b of a product and the addition after it, and the names of the results."""
    attributes = graph.attributes(node)
    scaled = attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1
    if scaled or attributes.get("transA", 0) or len(node.input) < 2:
        raise graph.error(translate("the product after the recurrent layers is not a linear layer"))
    W = graph.constant(node.input[1])
    if W.dim() != 2:
        raise graph.error(
            translate("the weight of the linear layer is {shape}; it must have two axes", shape=tuple(W.shape))
        )
    W = W if attributes.get("transB", 0) else W.t()
    if len(node.input) > 2 and node.input[2]:
        return (W, graph.constant(node.input[2])), list(node.output)
    additions = [n for n in graph.consumers.get(node.output[0], []) if n.op_type == "Add"]
    if len(additions) != 1:
        return (W, None), list(node.output)
    biases = [name for name in additions[0].input if name != node.output[0]]
    if len(biases) != 1:
        raise graph.error(translate("the addition after the linear layer has no bias"))
    return (W, graph.constant(biases[0])), list(additions[0].output)


def read_exported_weights(graph: OnnxGraph, expected: dict[str, Tensor], settings: ModelSettings) -> dict[str, Tensor]:
    """The weights of a graph that ohlol exported, by their names.

    Args:
        graph: the graph.
        expected: the weights of the model that the metadata describe, for their names.
        settings: of this model.

    Raises:
        InputError: a weight is missing, or has not the shape of a recurrent layer.
    """
    weights: dict[str, Tensor] = {}
    prefix, spec = "layers.cell." if settings.loop else "layers.", CELLS[settings.cell]
    stacks = [(prefix, f"layers.{{}}{n}", spec, n) for n in range(settings.num_layers)]
    if "encoder.speller.weight_ih_l0" in expected:
        stacks.append(("encoder.speller.", "encoder.speller.{}", LSTM, 0))
    for module, constant, spec, layer in stacks:
        W, R, B = (graph.constant(constant.format(part)) for part in "WRB")
        try:
            directions = from_onnx(spec, W, R, B)
        except ValueError as error:
            raise graph.error(f"{module}: {error}") from None
        suffix = "" if module == "layers.cell." else f"_l{layer}"
        for reverse, tensors in zip(("", "_reverse"), directions, strict=False):
            weights |= {
                f"{module}{name}{suffix}{reverse}": tensor
                for name, tensor in zip(PARAMETER_NAMES, tensors, strict=True)
                if tensor is not None
            }
    for name in expected:
        if name not in weights:
            value = graph.constant(name)
            weights[name] = value.t().contiguous() if name == "head.weight" else value
    return weights
