"""Write a trained model as an ONNX graph of standard operators.

The graph is built node by node. Its operators RNN, GRU and LSTM keep batch and time dynamic, where an exporter that
traces the model would fix or unroll them; so does `Scan`, whose body is one step of a cell that is a module. The state
is an input and an output. B is the axis "batch", T "time".

    ids         (B, T) int64        symbols; for a task on numbers rows (B, T, I) float64 in their own units
    lengths     (B,) int64          the number of steps of each sequence; the rest of its row is ignored
    h_0, c_0    (L*D, B, H) float   the initial state, zeros at the beginning of a sequence; c_0 for the LSTM
    logits      (B, T, K) float     the output of the head; (B, K) where a sequence has one label
    forecast    (B, T, F) float64   instead of logits, for a task on numbers: rows in their own units
    h_n, c_n    (L*D, B, H) float   the state after the last step of each sequence
    transitions (K, K) float        with the head `crf`: the scores that decoding adds to the logits, with `start` (K,)
                                    and `end` (K,)

A cell that is a module has an input NAME_0 and an output NAME_n, (L*D, B, W), for each of its states.
A model that forecasts a horizon reads `features` (B, T, I) float and gives `quantiles` (B, T, F*h, Q) float, both
encoded relative to each series; the forecasts in the first columns of the features are added in the graph.
A model with a character RNN also reads `characters` (B, T, C) and their number `letters` (B, T); a model with bigrams
reads `pairs` (B, T, 2). The graph of one step has no axis T and no lengths. In a model with word vectors, `symbols` in
the metadata lists the symbols of training and then the words of the vectors; the id of a word is its first position.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ohlol.cells import CELLS, PARAMETER_NAMES, Weights
from ohlol.cells.lstm import LSTM
from ohlol.config import FULL_PRECISION
from ohlol.data.codec_json import codec_to_json
from ohlol.inference.trained_model import TrainedModel
from ohlol.interop.onnx_weights import to_onnx
from ohlol.models.encoder import Encoder
from ohlol.models.heads import Head
from ohlol.models.pooling import MaxPooling, MeanPooling, Pooling
from ohlol.models.reference import weights_of
from ohlol.nn import Recurrent
from ohlol.utils.errors import InputError
from ohlol.utils.translation import translate
from ohlol.utils.version import __version__

try:
    import onnx
    from onnx import TensorProto, helper

    from ohlol.interop.onnx_graph import GraphBuilder
    from ohlol.interop.onnx_scan import add_recurrent
except ModuleNotFoundError:
    raise InputError("ONNX export needs the packages onnx and onnxruntime: pip install 'ohlol[onnx]'") from None

OPSET = 17
"""The opset of the graphs: no operator in them has changed since, and runtimes since 2022 support it."""
IR_VERSION = 8
"""The version of the file format that came with the opset."""
VECTORS = "encoder.vectors"
"""The name of the table of word vectors in a graph."""
WEIGHTS_LIMIT = (1 << 31) - (1 << 20)
"""Largest size of the weights in bytes: protobuf is limited to 2 GiB."""


def build_graph(model: TrainedModel, *, step: bool = False) -> bytes:
    """An ONNX file with the graph of a model, and its vocabulary and labels in the metadata.

    Args:
        model: any trained model.
        step: build the graph of one step of each sequence, for streams, instead of whole sequences.

    Raises:
        InputError: ONNX cannot express the model: an operation of the cell has no operator, `step` is set and the
            model is bidirectional or pools over the steps, the head is not linear, the model reads words by language
            models, or the weights are too large.
    """
    model = model.on_cpu
    network = model.network
    spec, layers = CELLS[network.settings.cell], network.layers
    if spec.onnx is None and not isinstance(layers, Recurrent):
        raise InputError("`cell` {name} cannot be exported: ONNX has no operator that computes it", name=spec.name)
    if network.precision != FULL_PRECISION:
        raise InputError(
            "a graph holds float32 weights, and this model was loaded with `precision` {precision}: load it with fp32",
            precision=network.precision,
        )
    if step and network.settings.bidirectional:
        raise InputError(
            "this model is bidirectional, so it cannot be computed step by step: `step` needs a model that "
            "was trained with `bidirectional=False`"
        )
    if step and network.pooling is not None:
        raise InputError(
            "this model predicts from all steps of a sequence (`pooling` {pooling}), so it cannot be "
            "computed step by step: `step` needs a model that was trained with `pooling=last`",
            pooling=network.settings.pooling,
        )
    if network.head.projection is None and not network.head.is_identity:
        raise InputError(
            "`head` {head} cannot be exported: its output is not that of a linear layer", head=network.settings.head
        )
    if model.codec.target_scale is not None and len(network.head.levels) > 1:
        raise InputError(
            "`head` {head} cannot be exported for task {task}, whose graph gives one number",
            head=network.settings.head,
            task=model.task,
        )
    if network.encoder.reads_text:
        raise InputError(
            "this model reads words by language models (`char_lm`), which a graph does not hold: export one "
            "that was trained without them"
        )
    vectors = network.encoder.vectors.nbytes if network.encoder.reads_vectors else 0
    if vectors + sum(p.nbytes for p in network.parameters()) > WEIGHTS_LIMIT:
        raise InputError(
            "the weights have more than {weights_limit} bytes, the limit of an ONNX file", weights_limit=WEIGHTS_LIMIT
        )
    g = GraphBuilder()
    x = _encoder(g, model, step)
    if network.encoder.static_size:
        x = _with_statics(g, network.encoder.static_size, x)
    lengths = "" if step else g.input("lengths", TensorProto.INT64, ["batch"])
    starts = [
        g.input(f"{name}_0", TensorProto.FLOAT, shape)
        for name, shape in zip(network.state_names, _state_shapes(model), strict=True)
    ]
    if spec.onnx is None and isinstance(layers, Recurrent):
        hidden, state = add_recurrent(g, layers, x, starts, lengths)
        last = _last_outputs(g, model, hidden, lengths)
    else:
        hidden, state = _layers(g, model, x, starts, lengths)
        last = state[0][-1]
    pooled = "" if network.pooling is None else _pooled(g, network.pooling, hidden, lengths)
    _head(g, model, x, hidden, last, pooled, step)
    for name, shape, parts in zip(network.state_names, _state_shapes(model), state, strict=True):
        joined = g.add(f"{name}_n.layers", "Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        g.output(f"{name}_n", TensorProto.FLOAT, shape, joined)
    _decoder(g, network.head)
    graph = helper.make_graph(
        g.nodes, "ohlol", g.inputs, g.outputs, list(g.initializers.values()), doc_string=_description(model, step)
    )
    file = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ohlol",
        producer_version=__version__,
    )
    helper.set_model_props(file, graph_metadata(model, step))
    onnx.checker.check_model(file, full_check=True)
    return file.SerializeToString()


def describe_graph(graph: bytes) -> tuple[str, list[str], list[str]]:
    """The size and opset of a graph, its inputs and its outputs, each with its axes and its type."""
    file = onnx.load_model_from_string(graph)
    inputs, outputs = ([_describe_value(value) for value in side] for side in (file.graph.input, file.graph.output))
    return (
        translate("{count:,} bytes, opset {opset}", count=len(graph), opset=file.opset_import[0].version),
        inputs,
        outputs,
    )


def _describe_value(value: Any) -> str:
    tensor = value.type.tensor_type
    axes = ", ".join(d.dim_param or str(d.dim_value) for d in tensor.shape.dim)
    return f"{value.name} ({axes}) {TensorProto.DataType.Name(tensor.elem_type).lower()}"


def graph_metadata(model: TrainedModel, step: bool = False) -> dict[str, str]:
    """The metadata of the file; lists and objects are JSON."""
    codec, config = model.codec, model.config
    return {
        "ohlol": __version__,
        "task": model.task,
        "opset": str(OPSET),
        "graph": "step" if step else "sequence",
        "identity": model.identity,
        "vocabulary": json.dumps(codec_to_json(codec), ensure_ascii=False),
        "symbols": _to_json(codec.decode_symbols(range(len(codec.vector_rows))) if codec.symbols else codec.columns),
        "labels": _to_json(codec.labels.symbols if codec.labels else codec.target_columns),
        "settings": json.dumps(
            {"data": config.data.to_json(), "model": asdict(config.model), "bptt": config.training.bptt}
        ),
    }


def _to_json(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)


def _description(model: TrainedModel, step: bool) -> str:
    scope = "one step of each sequence" if step else "whole sequences, or pieces of them with the state carried over"
    return f"ohlol model, cell {model.network.settings.cell}, task {model.task}: {scope}."


def _state_shapes(model: TrainedModel) -> list[list[int | str]]:
    network = model.network
    rows = network.settings.num_layers * network.directions
    return [[rows, "batch", size] for size in network.state_sizes]


def _encoder(g: GraphBuilder, model: TrainedModel, step: bool) -> str:
    """The vectors of all steps, (T, B, I), from inputs with the batch first."""
    encoder, codec = model.network.encoder, model.codec
    time: list[int | str] = [] if step else ["time"]
    axes = ["batch", *time]
    first = (lambda name, of: g.add(name, "Unsqueeze", of, g.ints(0))) if step else _time_first(g)
    if codec.panel is not None:
        return first("vectors", g.input("features", TensorProto.FLOAT, [*axes, encoder.size]))
    if encoder.numeric:
        assert codec.scale is not None
        rows = first("rows.by_time", g.input("rows", TensorProto.DOUBLE, [*axes, len(codec.columns)]))
        centred = g.add("rows.centred", "Sub", rows, g.constant("scale.mean", np.array(codec.scale.mean)))
        scaled = g.add("rows.scaled", "Div", centred, g.constant("scale.std", np.array(codec.scale.std)))
        return g.add("vectors", "Cast", scaled, to=TensorProto.FLOAT)
    ids = first("ids.by_time", g.input("ids", TensorProto.INT64, axes))
    if encoder.onehot:
        values = g.constant("one_hot.values", np.array([0, 1], np.float32))
        size = g.constant("one_hot.size", np.array([encoder.symbol_size]))
        return g.add("vectors", "OneHot", ids, size, values, axis=-1)
    parts = _embedded(g, encoder, ids)
    if encoder.reads_chars:
        chars = first("characters.by_time", g.input("characters", TensorProto.INT64, [*axes, "letters"]))
        letters = first("letters.by_time", g.input("letters", TensorProto.INT64, axes))
        parts.append(_spelling(g, encoder, chars, letters))
    if encoder.reads_bigrams:
        pairs = first("pairs.by_time", g.input("pairs", TensorProto.INT64, [*axes, 2]))
        weight = _weight(g, "encoder.bigrams.weight", encoder.bigrams.weight)
        embedded = g.add("pairs.embedded", "Gather", weight, pairs)
        parts.append(g.add("pairs.joined", "Reshape", embedded, g.ints(0, 0, -1)))  # (T, B, 2, N) -> (T, B, 2N)
    return g.add("vectors", "Concat", *parts, axis=2) if len(parts) > 1 else parts[0]


def _with_statics(g: GraphBuilder, size: int, vectors: str) -> str:
    """The vectors of all steps with the static columns of each sequence, (T, B, I) and (B, A) to (T, B, I + A)."""
    statics = g.add("static.by_time", "Unsqueeze", g.input("static", TensorProto.FLOAT, ["batch", size]), g.ints(0))
    T = g.add("static.T", "Slice", g.add("static.shape", "Shape", vectors), g.ints(0), g.ints(1))
    shape = g.add("static.steps", "Concat", T, g.ints(1, 1), axis=0)
    return g.add("vectors.static", "Concat", vectors, g.add("static.repeated", "Expand", statics, shape), axis=2)


def _embedded(g: GraphBuilder, encoder: Encoder, ids: str) -> list[str]:
    """The embedding of each symbol and its pretrained vector, those of them that the model reads, (T, B, N) each."""
    if not encoder.reads_vectors:
        return [g.add("embedded", "Gather", _weight(g, "encoder.embedding.weight", encoder.embedding.weight), ids)]
    V, rows, table = encoder.vocabulary, encoder.vector_rows, _weight(g, VECTORS, encoder.vectors)
    parts: list[str] = []
    if encoder.has_embedding:
        seen = g.constant("encoder.symbols", torch.where(torch.arange(len(rows)) < V, torch.arange(len(rows)), 0))
        weight = _weight(g, "encoder.embedding.weight", encoder.embedding.weight)
        parts.append(g.add("embedded", "Gather", weight, g.add("ids.seen", "Gather", seen, ids)))
    if encoder.tunes_vectors:  # the tuned vectors of the V symbols come before those of the file
        tuned = _weight(g, "encoder.tuned_vectors", encoder.tuned_vectors)
        table = g.add("vectors.all", "Concat", tuned, table, axis=0)
        rows = torch.cat([torch.arange(V), V + rows[V:]])
    row = g.add("vectors.row", "Gather", g.constant("encoder.vector_rows", rows), ids)
    return [*parts, g.add("vectors.pretrained", "Gather", table, row)]


def _time_first(g: GraphBuilder) -> Any:
    def transpose(name: str, of: str) -> str:
        axes = len(g.inputs[-1].type.tensor_type.shape.dim)
        return g.add(name, "Transpose", of, perm=[1, 0, *range(2, axes)])

    return transpose


def _spelling(g: GraphBuilder, encoder: Any, chars: str, letters: str) -> str:
    """The last state, forward and backward, of the character LSTM over the word at each step, (T, B, 2H)."""
    shape = g.add("characters.shape", "Shape", chars)
    C = g.add("characters.C", "Slice", shape, g.ints(2), g.ints(3))
    words = g.add("characters.words", "Reshape", chars, g.add("words.shape", "Concat", g.ints(-1), C, axis=0))
    by_letter = g.add("characters.by_letter", "Transpose", words, perm=[1, 0])  # (T*B, C) -> (C, T*B)
    x = g.add("characters.embedded", "Gather", _weight(g, "encoder.chars.weight", encoder.chars.weight), by_letter)
    # A step past the end of a sequence has no word. It gets one letter, since not every runtime accepts a length of 0.
    flat = g.add("letters.flat", "Reshape", letters, g.ints(-1))
    positive = g.add("letters.positive", "Max", flat, g.ints(1))
    lengths = g.add("letters.int32", "Cast", positive, to=TensorProto.INT32)
    suffixes = [f"_l0{direction}" for direction in ("", "_reverse")]
    weights = [
        Weights(*(getattr(encoder.speller, name + suffix).detach() for name in PARAMETER_NAMES)) for suffix in suffixes
    ]
    W, R, B = (g.constant(f"encoder.speller.{n}", t) for n, t in zip("WRB", to_onnx(LSTM, weights), strict=True))
    _, h, _ = g.add(
        "speller", "LSTM", x, W, R, B, lengths, outputs=3, hidden_size=encoder.speller.hidden_size,
        direction="bidirectional",
    )  # fmt: skip
    by_word = g.add("speller.by_word", "Transpose", h, perm=[1, 0, 2])  # (2, T*B, H) -> (T*B, 2, H)
    T_B = g.add("characters.T_B", "Slice", shape, g.ints(0), g.ints(2))
    return g.add("spelled", "Reshape", by_word, g.add("spelled.shape", "Concat", T_B, g.ints(-1), axis=0))


def _layers(
    g: GraphBuilder, model: TrainedModel, x: str, states: Sequence[str], lengths: str
) -> tuple[str, list[list[str]]]:
    """The hidden states of the last layer (T, B, D*H), and of each state the last value of each layer, (D, B, H)."""
    network, settings = model.network, model.network.settings
    spec = CELLS[settings.cell]
    operator = spec.onnx
    assert operator is not None
    D = network.directions
    if lengths:
        lengths = g.add("lengths.int32", "Cast", lengths, to=TensorProto.INT32)
    starts: list[list[str]] = []
    for name in states:
        sizes = g.ints(*[D] * settings.num_layers)
        many = settings.num_layers > 1
        starts.append(g.add(name, "Split", name, sizes, outputs=settings.num_layers, axis=0) if many else [name])
    ends: list[list[str]] = [[] for _ in starts]
    attributes: dict[str, Any] = dict(operator.attributes)
    if not operator.default_activations:
        attributes["activations"] = [*operator.activations] * D
    for layer in range(settings.num_layers):
        weights = [weights_of(network, layer, d, torch.float32) for d in range(D)]
        W, R, B = (g.constant(f"layers.{n}{layer}", t) for n, t in zip("WRB", to_onnx(spec, weights), strict=True))
        out, *last = g.add(
            f"layer{layer}", operator.name, x, W, R, B, lengths, *(s[layer] for s in starts), outputs=1 + len(starts),
            hidden_size=settings.hidden_size, direction="bidirectional" if D == 2 else "forward", **attributes,
        )  # fmt: skip
        for states, state in zip(ends, last, strict=True):
            states.append(state)
        if D == 2:
            out = g.add(f"layer{layer}.by_step", "Transpose", out, perm=[0, 2, 1, 3])  # (T, D, B, H) -> (T, B, D, H)
            x = g.add(f"layer{layer}.joined", "Reshape", out, g.ints(0, 0, -1))
        else:
            x = g.add(f"layer{layer}.joined", "Squeeze", out, g.ints(1))
    return x, ends


def _last_outputs(g: GraphBuilder, model: TrainedModel, hidden: str, lengths: str) -> str:
    """The outputs (D, B, O) of the last step of each direction, from those of all steps (T, B, D*O)."""
    if not model.network.sizes.per_sequence or model.network.pooling is not None:
        return ""
    if not lengths:
        return hidden  # one step in one direction
    by_row = g.add("last.by_sequence", "Transpose", hidden, perm=[1, 0, 2])  # (T, B, D*O) -> (B, T, D*O)
    index = g.add("last.index", "Unsqueeze", g.add("last.step", "Sub", lengths, g.ints(1)), g.ints(1))
    last = g.add("last.forward", "Unsqueeze", g.add("last.output", "GatherND", by_row, index, batch_dims=1), g.ints(0))
    if model.network.directions == 1:
        return last
    O = model.network.output_size
    forward = g.add("last.columns", "Slice", last, g.ints(0), g.ints(O), g.ints(2))
    first = g.add("last.reverse", "Slice", hidden, g.ints(0, O), g.ints(1, 2 * O), g.ints(0, 2))  # (1, B, O)
    return g.add("last.directions", "Concat", forward, first, axis=0)


def _pooled(g: GraphBuilder, pooling: Pooling, hidden: str, lengths: str) -> str:
    """The pooled outputs of each sequence (B, W), from those of all steps (T, B, W)."""
    T = g.add("pooling.T", "Slice", g.add("pooling.shape", "Shape", hidden), g.ints(0), g.ints(1))
    zero, one = (g.constant(f"pooling.{n}", np.array(n)) for n in (0, 1))
    steps = g.add("pooling.steps", "Range", zero, g.add("pooling.count", "Squeeze", T), one)
    is_step = g.add(
        "pooling.is_step", "Less", g.add("pooling.column", "Unsqueeze", steps, g.ints(1)), lengths
    )  # (T, B)
    nothing = g.constant("pooling.nothing", np.array(-np.inf, np.float32))
    if isinstance(pooling, MaxPooling):
        mask = g.add("pooling.mask", "Unsqueeze", is_step, g.ints(2))
        values = g.add("pooling.values", "Where", mask, hidden, nothing)
        return g.add("pooled", "ReduceMax", values, axes=[0], keepdims=0)
    assert isinstance(pooling, MeanPooling)
    scores = g.constant("pooling.zeros", np.zeros((), np.float32))
    if pooling.query is not None:
        query = g.constant("pooling.query", pooling.query.detach())
        scores = g.add("pooling.scores", "MatMul", g.add("pooling.tanh", "Tanh", hidden), query)  # (T, B)
    weights = g.add("pooling.softmax", "Softmax", g.add("pooling.own", "Where", is_step, scores, nothing), axis=0)
    terms = g.add("pooling.terms", "Mul", hidden, g.add("pooling.weights", "Unsqueeze", weights, g.ints(2)))
    return g.add("pooled", "ReduceSum", terms, g.ints(0), keepdims=0)


def _head(g: GraphBuilder, model: TrainedModel, vectors: str, hidden: str, last: str, pooled: str, step: bool) -> None:
    """Add the output: logits with the batch first, rows of numbers in their own units, or quantiles.

    Args:
        g: the graph.
        model: the model.
        vectors: the name of the vectors of all steps, (T, B, I).
        hidden: the name of the outputs of all steps, (T, B, D*O).
        last: that of the last output of each direction, (D, B, O).
        pooled: that of the pooled outputs, (B, D*O); empty for a model that takes the last ones.
        step: whether the graph is that of one step.
    """
    network, codec, sizes = model.network, model.codec, model.network.sizes
    axes: list[int | str] = ["batch"] if step or sizes.per_sequence else ["batch", "time"]
    if pooled:
        x = pooled
    elif sizes.per_sequence:
        by_row = g.add("last.by_row", "Transpose", last, perm=[1, 0, 2])  # (D, B, O) -> (B, D, O)
        x = g.add("last", "Reshape", by_row, g.ints(0, -1))
    elif step:
        x = g.add("last", "Squeeze", hidden, g.ints(0))
    else:
        x = g.add("hidden", "Transpose", hidden, perm=[1, 0, 2])
    if network.head.projection is not None:
        weight, bias = (parameter.detach() for parameter in network.head.projection)
        if network.settings.tie_weights:  # the embedding is stored once
            transposed = g.add("head.transposed", "Transpose", "encoder.embedding.weight", perm=[1, 0])
        else:
            transposed = g.constant("head.weight", weight.t().contiguous())
        x = g.add("head.product", "MatMul", x, transposed)
        x = g.add("head", "Add", x, g.constant("head.bias", bias))
    if codec.panel is not None:
        _quantiles(g, model, vectors, x, step)
        return
    if codec.target_scale is None:
        g.output("logits", TensorProto.FLOAT, [*axes, sizes.outputs], x)
        return
    double = g.add("rows.double", "Cast", x, to=TensorProto.DOUBLE)
    product = g.add("rows.product", "Mul", double, g.constant("target_scale.std", np.array(codec.target_scale.std)))
    rows = g.add("rows.unscaled", "Add", product, g.constant("target_scale.mean", np.array(codec.target_scale.mean)))
    g.output("forecast", TensorProto.DOUBLE, [*axes, sizes.outputs], rows)


def _decoder(g: GraphBuilder, head: Head) -> None:
    """Add the scores as outputs that decoding adds to the logits; impossible ones are minus infinity."""
    impossible = g.constant("impossible", np.array(-np.inf, np.float32)) if head.decoder else ""
    for name in head.decoder:
        score = head.get_parameter(name).detach()
        possible = g.constant(f"head.possible_{name}", head.get_buffer(f"possible_{name}"))
        is_possible = g.add(f"{name}.possible", "Cast", possible, to=TensorProto.BOOL)
        scores = g.add(f"{name}.scores", "Where", is_possible, g.constant(f"head.{name}", score), impossible)
        g.output(name, TensorProto.FLOAT, list(score.shape), scores)


def _quantiles(g: GraphBuilder, model: TrainedModel, vectors: str, logits: str, step: bool) -> None:
    """Add the output of forecasts: the quantiles of the head, plus the forecasts that the input begins with."""
    sizes, levels = model.network.sizes, len(model.network.head.levels)
    axes: list[int | str] = ["batch"] if step else ["batch", "time"]
    base = g.add("base.by_time", "Slice", vectors, g.ints(0), g.ints(sizes.base), g.ints(2))  # (T, B, base)
    by_row = g.add("base", "Squeeze", base, g.ints(0)) if step else g.add("base", "Transpose", base, perm=[1, 0, 2])
    corrections = g.add("corrections", "Reshape", logits, g.ints(*[0] * len(axes), sizes.outputs, levels))
    sums = g.add("sums", "Add", corrections, g.add("base.levels", "Unsqueeze", by_row, g.ints(-1)))
    g.output("quantiles", TensorProto.FLOAT, [*axes, sizes.outputs, levels], sums)


def _weight(g: GraphBuilder, name: str, value: torch.Tensor) -> str:
    return g.constant(name, value.detach())
