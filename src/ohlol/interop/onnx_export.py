"""A trained model as an ONNX graph of the standard operators; knows nothing of runtimes, files or the command line.

The graph is written node by node: RNN, GRU and LSTM keep batch and time dynamic, where an exporter that traces bakes
them in or unrolls them. State goes in and out by name. Names and axes: B "batch", T "time", L*D "layers".

    ids         (B, T) int64        symbols; or rows (B, T, I) float64 in their own units, for forecast
    lengths     (B,) int64          how many steps of each sequence there are; the rest of its row is not read
    h_0, c_0    (L*D, B, H) float   the state to start from, zeros for a beginning; c_0 for the LSTM
    logits      (B, T, K) float     before the softmax; (B, K) for classify; forecast (B, T, F) float64 in own units
    h_n, c_n    (L*D, B, H) float   the state after each sequence's last step

Beside ids, models that spell words read `characters` (B, T, C) and `letters` (B, T), their lengths; models of pairs
`pairs` (B, T, 2). The graph of one step has no T and no lengths.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.cells import CELLS, Weights
from ohlol.cells.lstm import LSTM
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop import onnx_gates
from ohlol.models.reference import weights_of
from ohlol.utils.errors import InputError
from ohlol.utils.version import __version__

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ModuleNotFoundError:
    raise InputError("ONNX needs two more packages: pip install 'ohlol[onnx]'") from None

OPSET = 17
"""Of the graphs: every operator in them has had its meaning since, and runtimes of 2022 read it."""
IR_VERSION = 8
"""Of the file: what came with the opset."""
LARGEST = (1 << 31) - (1 << 20)
"""Bytes of a graph's numbers: protobuf holds no more than 2 GiB."""

Array = NDArray[Any]


class _Graph:
    """Nodes, initializers, inputs and outputs as they are added; every name is given once."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: Sequence[int | str], source: str) -> None:
        self.nodes.append(helper.make_node("Identity", [source], [name], name=f"{name}.out"))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, name: str, value: Array | torch.Tensor | list[int]) -> str:
        if name not in self.initializers:
            array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(str(v).replace("-", "m") for v in values), list(values))

    def add(self, name: str, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or of each."""
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{name}.{op}", **attributes))
        return names[0] if outputs == 1 else names


def graph(model: TrainedModel, *, step: bool = False) -> bytes:
    """An ONNX file with a model's graph, its vocabulary and labels in the metadata.

    Args:
        model: any trained model.
        step: one step of each sequence, as a stream takes it, instead of whole sequences.

    Raises:
        InputError: ONNX has no operator of the cell; a step of a model that reads from both ends; or a model larger
            than an ONNX file can be.
    """
    model = model.on_cpu
    network = model.network
    spec = CELLS[network.settings.cell]
    if spec.onnx is None:
        raise InputError(f"ONNX has no operator of the cell {spec.name}, so this model cannot be exported")
    if step and network.settings.bidirectional:
        raise InputError(
            "this model reads a sequence from both its ends, so it has no single step: "
            "`step` needs one that was trained with `bidirectional=False`"
        )
    if sum(p.nbytes for p in network.parameters()) > LARGEST:
        raise InputError(f"the weights have more than {LARGEST} bytes, which is more than an ONNX file can hold")
    g = _Graph()
    x = _encoder(g, model, step)
    lengths = ""
    if not step:
        given = g.input("lengths", TensorProto.INT64, ["batch"])
        lengths = g.add("lengths.int32", "Cast", given, to=TensorProto.INT32)
    hidden, state = _layers(g, model, x, lengths)
    _head(g, model, hidden, state[0], step)
    for symbol, parts in zip(spec.states, state, strict=True):
        name = f"{symbol}_n"
        joined = g.add(f"{name}.layers", "Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        g.output(name, TensorProto.FLOAT, _state_shape(model), joined)
    made = helper.make_graph(
        g.nodes, "ohlol", g.inputs, g.outputs, list(g.initializers.values()), doc_string=_description(model, step)
    )
    file = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ohlol",
        producer_version=__version__,
    )
    helper.set_model_props(file, metadata(model, step))
    onnx.checker.check_model(file, full_check=True)
    return file.SerializeToString()


def signature(graph: bytes) -> tuple[str, list[str], list[str]]:
    """A graph's size and opset, what it reads and what it gives, each with its axes."""
    file = onnx.load_model_from_string(graph)
    reads, gives = ([_told(value) for value in side] for side in (file.graph.input, file.graph.output))
    return f"{len(graph):,} bytes, opset {file.opset_import[0].version}", reads, gives


def _told(value: Any) -> str:
    kind = value.type.tensor_type
    axes = ", ".join(d.dim_param or str(d.dim_value) for d in kind.shape.dim)
    return f"{value.name} ({axes}) {TensorProto.DataType.Name(kind.elem_type).lower()}"


def metadata(model: TrainedModel, step: bool = False) -> dict[str, str]:
    """What the file says of itself beside the graph; lists and objects are JSON."""
    codec, config = model.codec, model.config
    return {
        "ohlol": __version__,
        "task": model.task,
        "opset": str(OPSET),
        "graph": "step" if step else "sequence",
        "identity": model.identity,
        "vocabulary": json.dumps(codec.to_json(), ensure_ascii=False),
        "symbols": _list(codec.symbols.symbols if codec.symbols else codec.columns),
        "labels": _list(codec.labels.symbols if codec.labels else codec.target_columns),
        "settings": json.dumps({"data": asdict(config.data), "model": asdict(config.model)}),
    }


def _list(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)


def _description(model: TrainedModel, step: bool) -> str:
    what = "one step of each sequence" if step else "whole sequences or any pieces of them, the state carried"
    return f"A {model.network.settings.cell} of ohlol for the task {model.task}: {what}."


def _state_shape(model: TrainedModel) -> list[int | str]:
    settings = model.network.settings
    return [settings.num_layers * (2 if settings.bidirectional else 1), "batch", settings.hidden_size]


def _encoder(g: _Graph, model: TrainedModel, step: bool) -> str:
    """The vectors of all steps, (T, B, I), from inputs that have the batch first."""
    encoder, codec = model.network.encoder, model.codec
    time: list[int | str] = [] if step else ["time"]
    axes = ["batch", *time]
    first = (lambda name, of: g.add(name, "Unsqueeze", of, g.ints(0))) if step else _time_first(g)
    if encoder.numeric:
        assert codec.scale is not None
        rows = first("rows.by_time", g.input("rows", TensorProto.DOUBLE, [*axes, len(codec.columns)]))
        centred = g.add("rows.centred", "Sub", rows, g.constant("scale.mean", np.array(codec.scale.mean)))
        scaled = g.add("rows.scaled", "Div", centred, g.constant("scale.std", np.array(codec.scale.std)))
        return g.add("vectors", "Cast", scaled, to=TensorProto.FLOAT)
    ids = first("ids.by_time", g.input("ids", TensorProto.INT64, axes))
    if encoder.onehot:
        values = g.constant("one_hot.values", np.array([0, 1], np.float32))
        return g.add("vectors", "OneHot", ids, g.constant("one_hot.size", np.array(encoder.size)), values, axis=-1)
    parts = [g.add("embedded", "Gather", _weight(g, "encoder.embedding.weight", encoder.embedding.weight), ids)]
    if encoder.reads_chars:
        chars = first("characters.by_time", g.input("characters", TensorProto.INT64, [*axes, "letters"]))
        letters = first("letters.by_time", g.input("letters", TensorProto.INT64, axes))
        parts.append(_spelling(g, encoder, chars, letters))
    if encoder.reads_bigrams:
        pairs = first("pairs.by_time", g.input("pairs", TensorProto.INT64, [*axes, 2]))
        found = g.add("pairs.embedded", "Gather", _weight(g, "encoder.bigrams.weight", encoder.bigrams.weight), pairs)
        parts.append(g.add("pairs.joined", "Reshape", found, g.ints(0, 0, -1)))  # (T, B, 2, N) -> (T, B, 2N)
    return g.add("vectors", "Concat", *parts, axis=2) if len(parts) > 1 else parts[0]


def _time_first(g: _Graph) -> Any:
    def turned(name: str, of: str) -> str:
        axes = len(g.inputs[-1].type.tensor_type.shape.dim)
        return g.add(name, "Transpose", of, perm=[1, 0, *range(2, axes)])

    return turned


def _spelling(g: _Graph, encoder: Any, chars: str, letters: str) -> str:
    """The last state, forward and backward, of the character LSTM over the word at each step, (T, B, 2H)."""
    shape = g.add("characters.shape", "Shape", chars)
    C = g.add("characters.C", "Slice", shape, g.ints(2), g.ints(3))
    words = g.add("characters.words", "Reshape", chars, g.add("words.shape", "Concat", g.ints(-1), C, axis=0))
    by_letter = g.add("characters.by_letter", "Transpose", words, perm=[1, 0])  # (T*B, C) -> (C, T*B)
    x = g.add("characters.embedded", "Gather", _weight(g, "encoder.chars.weight", encoder.chars.weight), by_letter)
    # a step past a sequence's end has no word; one letter stands for it, since not every runtime takes a length of 0
    flat = g.add("letters.flat", "Reshape", letters, g.ints(-1))
    some = g.add("letters.some", "Max", flat, g.ints(1))
    lengths = g.add("letters.int32", "Cast", some, to=TensorProto.INT32)
    weights = [Weights(*(getattr(encoder.speller, f"{n}_l0{way}").detach() for n in NAMES)) for way in ("", "_reverse")]
    W, R, B = (
        g.constant(f"encoder.speller.{n}", t) for n, t in zip("WRB", onnx_gates.to_onnx(LSTM, weights), strict=True)
    )
    _, h, _ = g.add(
        "speller", "LSTM", x, W, R, B, lengths, outputs=3, hidden_size=encoder.speller.hidden_size,
        direction="bidirectional",
    )  # fmt: skip
    by_word = g.add("speller.by_word", "Transpose", h, perm=[1, 0, 2])  # (2, T*B, H) -> (T*B, 2, H)
    T_B = g.add("characters.T_B", "Slice", shape, g.ints(0), g.ints(2))
    return g.add("spelled", "Reshape", by_word, g.add("spelled.shape", "Concat", T_B, g.ints(-1), axis=0))


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _layers(g: _Graph, model: TrainedModel, x: str, lengths: str) -> tuple[str, list[list[str]]]:
    """The top layer's states (T, B, D*H), and for h and c the last state of each layer, (D, B, H)."""
    network, settings = model.network, model.network.settings
    spec = CELLS[settings.cell]
    assert spec.onnx is not None
    D = 2 if settings.bidirectional else 1
    starts: list[list[str]] = []
    for state in spec.states:
        name = f"{state}_0"
        whole = g.input(name, TensorProto.FLOAT, _state_shape(model))
        sizes = g.ints(*[D] * settings.num_layers)
        many = settings.num_layers > 1
        starts.append(g.add(name, "Split", whole, sizes, outputs=settings.num_layers, axis=0) if many else [whole])
    ends: list[list[str]] = [[] for _ in starts]
    for layer in range(settings.num_layers):
        weights = [weights_of(network, layer, d, torch.float32) for d in range(D)]
        W, R, B = (
            g.constant(f"layers.{n}{layer}", t) for n, t in zip("WRB", onnx_gates.to_onnx(spec, weights), strict=True)
        )
        more: dict[str, Any] = dict(spec.onnx.attributes)
        if not spec.onnx.default_activations:
            more["activations"] = [*spec.onnx.activations] * D
        out, *last = g.add(
            f"layer{layer}", spec.onnx.name, x, W, R, B, lengths, *(s[layer] for s in starts), outputs=1 + len(starts),
            hidden_size=settings.hidden_size, direction="bidirectional" if D == 2 else "forward", **more,
        )  # fmt: skip
        for kept, state in zip(ends, last, strict=True):
            kept.append(state)
        if D == 2:
            out = g.add(f"layer{layer}.by_step", "Transpose", out, perm=[0, 2, 1, 3])  # (T, D, B, H) -> (T, B, D, H)
            x = g.add(f"layer{layer}.joined", "Reshape", out, g.ints(0, 0, -1))
        else:
            x = g.add(f"layer{layer}.joined", "Squeeze", out, g.ints(1))
    return x, ends


def _head(g: _Graph, model: TrainedModel, hidden: str, last: list[str], step: bool) -> None:
    """Logits with the batch first, or the forecast in its own units."""
    network, codec, sizes = model.network, model.codec, model.network.sizes
    axes: list[int | str] = ["batch"] if step or sizes.per_sequence else ["batch", "time"]
    if sizes.per_sequence:
        by_row = g.add("last.by_row", "Transpose", last[-1], perm=[1, 0, 2])  # (D, B, H) -> (B, D, H)
        x = g.add("last", "Reshape", by_row, g.ints(0, -1))
    elif step:
        x = g.add("last", "Squeeze", hidden, g.ints(0))
    else:
        x = g.add("hidden", "Transpose", hidden, perm=[1, 0, 2])
    if network.head.projection is not None:
        weight, bias = (parameter.detach() for parameter in network.head.projection)
        if network.settings.tie_weights:  # the embedding lies in the file once
            turned = g.add("head.turned", "Transpose", "encoder.embedding.weight", perm=[1, 0])
        else:
            turned = g.constant("head.weight", weight.t().contiguous())
        x = g.add("head.product", "MatMul", x, turned)
        x = g.add("head", "Add", x, g.constant("head.bias", bias))
    if codec.target_scale is None:
        g.output("logits", TensorProto.FLOAT, [*axes, sizes.outputs], x)
        return
    wide = g.add("forecast.double", "Cast", x, to=TensorProto.DOUBLE)
    spread = g.add("forecast.spread", "Mul", wide, g.constant("target_scale.std", np.array(codec.target_scale.std)))
    moved = g.add("forecast.moved", "Add", spread, g.constant("target_scale.mean", np.array(codec.target_scale.mean)))
    g.output("forecast", TensorProto.DOUBLE, [*axes, sizes.outputs], moved)


def _weight(g: _Graph, name: str, value: torch.Tensor) -> str:
    return g.constant(name, value.detach())
