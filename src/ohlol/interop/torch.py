"""Read a recurrent model from the `state_dict` of a torch module, and build a model of ohlol with its weights.

The parts that are read are an embedding or none, one stack of RNN, GRU or LSTM layers, and a linear head or none.

Shapes: V symbols, I input size, H hidden size, L layers, D directions, G gates, K outputs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ohlol.cells import CELLS, PARAMETER_NAMES, Weights, torch_cells
from ohlol.checkpoint.weights import get_weights, load_weights
from ohlol.config import MAX_LAYERS, DataSettings, ModelSettings
from ohlol.data.codec import Codec
from ohlol.data.readers.base import default_reader
from ohlol.data.scale import Scale
from ohlol.data.targets import TargetKind
from ohlol.data.vocab import UNK, Vocab
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS
from ohlol.utils.errors import MAX_QUOTED, InputError
from ohlol.utils.translation import join_list, translate

CELLS_BY_GATES = {len(spec.gates): spec.name for spec in torch_cells()}
"""The cell with G gates, whose weights have G*H rows."""
PARAMETER = re.compile(
    r"(?P<module>.*?)(?P<kind>weight|bias)_(?P<side>ih|hh|hr)(?:_l(?P<layer>\d{1,4}))?(?P<reverse>_reverse)?$"
)
"""The name of a parameter of a recurrent layer or cell of torch."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Linear = tuple[Tensor, Tensor | None]
"""W (K, D*H) and b (K,) of a linear layer."""


@dataclass(frozen=True)
class ModelParts:
    """The parts of a recurrent model."""

    cell: str
    """The name of the cell."""
    layers: list[list[Weights]]
    """The weights of each direction of each layer."""
    embedding: Tensor | None = None
    """(V, I)."""
    head: Linear | None = None
    peepholes: list[list[Tensor]] = field(default_factory=list[list[Tensor]])
    """(3*H,) of each direction of each layer, as in ONNX; read for a cell that has them."""

    @property
    def inputs(self) -> int:
        """I."""
        return self.layers[0][0].W_ih.size(1)

    @property
    def hidden(self) -> int:
        """H."""
        return self.layers[0][0].W_hh.size(1)

    @property
    def directions(self) -> int:
        """D."""
        return len(self.layers[0])

    @property
    def outputs(self) -> int:
        """K."""
        return self.directions * self.hidden if self.head is None else len(self.head[0])

    def __str__(self) -> str:
        directions = translate(", both directions") if self.directions == 2 else ""
        embedding = (
            "" if self.embedding is None else translate("embedding of {count} symbols, ", count=len(self.embedding))
        )
        head = (
            translate("no head") if self.head is None else translate("a linear head of {outputs}", outputs=self.outputs)
        )
        return translate(
            "{embedding}{cell} of {count} x {hidden} from {inputs}{directions}, {head}",
            embedding=embedding,
            cell=self.cell,
            count=len(self.layers),
            hidden=self.hidden,
            inputs=self.inputs,
            directions=directions,
            head=head,
        )


def check_parts(parts: ModelParts, source: str) -> ModelParts:
    """Check that the shapes of the parts fit together and that their values are finite, and return them in float32.

    Args:
        parts: the parts.
        source: the name of the file, for messages.

    Raises:
        InputError: they do not fit together, or a value is not a finite float.
    """
    variant = CELLS[parts.cell].onnx_variant
    G = len((CELLS[parts.cell] if variant is None else variant.of).gates)
    D, H = parts.directions, parts.hidden
    width, layers = parts.inputs, list[list[Weights]]()
    for number, directions in enumerate(parts.layers):
        shapes = [(G * H, width), (G * H, H), (G * H,), (G * H,)]
        for weights in directions:
            for tensor, name, shape in zip(weights, Weights._fields, shapes, strict=True):
                if tensor is not None and tensor.shape != shape:
                    raise InputError(
                        "{source}: {name} of layer {number} is {found}; after the layers before it, it must be {shape}",
                        source=source,
                        name=name,
                        number=number,
                        found=tuple(tensor.shape),
                        shape=shape,
                    )
        if len(directions) != D:
            raise InputError(
                "{source}: layer {number} has {count} directions, the first has {D}",
                source=source,
                number=number,
                count=len(directions),
                D=D,
            )
        floats = [[None if t is None else _to_float32(t, source) for t in weights] for weights in directions]
        layers.append([Weights(*weights) for weights in floats])  # pyright: ignore[reportArgumentType]
        width = D * H
    embedding, head = parts.embedding, parts.head
    if embedding is not None:
        if embedding.dim() != 2 or embedding.size(1) != parts.inputs:
            raise InputError(
                "{source}: the embedding is {shape}; the first layer reads {inputs} numbers",
                source=source,
                shape=tuple(embedding.shape),
                inputs=parts.inputs,
            )
        embedding = _to_float32(embedding, source)
    if head is not None:
        W, b = head
        if W.dim() != 2 or W.size(1) != D * H or not len(W) or (b is not None and b.shape != (len(W),)):
            raise InputError(
                "{source}: the linear layer is {shape}; the recurrent layers have {D} outputs",
                source=source,
                shape=tuple(W.shape),
                D=D * H,
            )
        head = _to_float32(W, source), None if b is None else _to_float32(b, source)
    peepholes = [[_to_float32(tensor, source) for tensor in directions] for directions in parts.peepholes]
    return replace(parts, layers=layers, embedding=embedding, head=head, peepholes=peepholes)


def _to_float32(tensor: Tensor, source: str) -> Tensor:
    if tensor.dtype not in FLOATS:
        raise InputError("{source}: a weight has dtype {dtype}; a float is expected", source=source, dtype=tensor.dtype)
    values = tensor.detach().to(torch.float32).contiguous()
    if not torch.isfinite(values).all():
        raise InputError("{source}: a weight holds NaN or infinity", source=source)
    return values


def parse_state_dict(tensors: Mapping[str, Tensor], source: str) -> ModelParts:
    """The parts of a model from the tensors of its `state_dict`.

    Args:
        tensors: by their names.
        source: the name of the file, for messages.

    Raises:
        InputError: there is no recurrent layer, more than one stack of them, or a tensor that belongs to no part.
    """
    recurrent: dict[tuple[int, int], dict[str, Tensor]] = {}
    modules: dict[str, None] = {}
    others = {name: tensors[name] for name in sorted(tensors)}
    for name in sorted(tensors):
        match = PARAMETER.match(name)
        if match is None:
            continue
        if match["side"] == "hr":
            raise InputError(
                "{source}: {name} belongs to an LSTM with proj_size, which is not supported",
                source=source,
                name=name[:MAX_QUOTED],
            )
        modules[match["module"]] = None
        key = int(match["layer"] or 0), int(match["reverse"] is not None)
        recurrent.setdefault(key, {})[f"{match['kind']}_{match['side']}"] = others.pop(name)
    if not modules:
        raise InputError(
            "{source}: has no weights with the names of a recurrent layer of torch.nn, such as weight_ih_l0",
            source=source,
        )
    if len(modules) > 1:
        names = ", ".join(repr(module.removesuffix(".")[:40]) for module in list(modules)[:4])
        raise InputError(
            "{source}: has {count} recurrent modules, {names}; only one can be read",
            source=source,
            count=len(modules),
            names=names,
        )
    cell, layers = _parse_layers(recurrent, source)
    D, H = len(layers[0]), layers[0][0].W_hh.size(1)
    embedding, head = _parse_ends(others, layers[0][0].W_ih.size(1), D * H, source)
    return check_parts(ModelParts(cell, layers, embedding, head), source)


def _parse_layers(recurrent: dict[tuple[int, int], dict[str, Tensor]], source: str) -> tuple[str, list[list[Weights]]]:
    """The cell, and the weights by layer and direction."""
    L, D = max(layer for layer, _ in recurrent) + 1, max(direction for _, direction in recurrent) + 1
    expected = {(layer, direction) for layer in range(L) for direction in range(D)} if L <= MAX_LAYERS else set()
    if set(recurrent) != expected:
        raise InputError(
            "{source}: the names are of {L} layers with {D} directions, of which some are missing",
            source=source,
            L=L,
            D=D,
        )
    layers: list[list[Weights]] = []
    cells: set[str | None] = set()
    for layer in range(L):
        directions: list[Weights] = []
        for direction in range(D):
            parameters = recurrent[layer, direction]
            names = set(parameters)
            if not {"weight_ih", "weight_hh"} <= names or ("bias_ih" in names) != ("bias_hh" in names):
                raise InputError(
                    "{source}: layer {layer} has {names} only",
                    source=source,
                    layer=layer,
                    names=join_list(sorted(names)),
                )
            W_ih, W_hh = parameters["weight_ih"], parameters["weight_hh"]
            if W_hh.dim() != 2 or not W_hh.numel() or W_ih.dim() != 2:
                raise InputError(
                    "{source}: weight_hh of layer {layer} is {shape}, not (G*H, H)",
                    source=source,
                    layer=layer,
                    shape=tuple(W_hh.shape),
                )
            gates, remainder = divmod(len(W_hh), W_hh.size(1))
            cells.add(CELLS_BY_GATES.get(gates) if not remainder else None)
            directions.append(Weights(W_ih, W_hh, parameters.get("bias_ih"), parameters.get("bias_hh")))
        layers.append(directions)
    cell = cells.pop()
    if cells or cell is None:
        raise InputError(
            "{source}: the weights are not those of one RNN, GRU or LSTM, with 1, 3 or 4 times H rows in each layer",
            source=source,
        )
    return cell, layers


def _parse_ends(others: dict[str, Tensor], inputs: int, width: int, source: str) -> tuple[Tensor | None, Linear | None]:
    """The embedding and the head, from the tensors that belong to no recurrent layer."""
    weights = {n.removesuffix("weight"): t for n, t in others.items() if n.endswith("weight") and t.dim() == 2}
    biases = {n.removesuffix("bias"): t for n, t in others.items() if n.endswith("bias") and t.dim() == 1}
    unknown = [n for n in others if n.removesuffix("weight") not in weights and n.removesuffix("bias") not in biases]
    unknown += [f"{module}bias" for module in biases if module not in weights]
    if unknown:
        raise InputError(
            "{source}: {unknown!r} belongs to no embedding, recurrent layer or linear head; nothing else is supported",
            source=source,
            unknown=unknown[0][:MAX_QUOTED],
        )
    # A linear layer has a bias. One without is distinguished from an embedding by its size or, last, by its name.
    heads = [module for module in weights if module in biases]
    without_bias = [module for module in weights if module not in biases]
    if not heads:
        heads = [
            module
            for module in without_bias
            if weights[module].size(1) == width and (width != inputs or "emb" not in module.lower())
        ]
        heads = heads if len(without_bias) > 1 or width != inputs else []
    embeddings = [module for module in without_bias if module not in heads]
    if len(heads) > 1 or len(embeddings) > 1:
        names = ", ".join(f"{module}weight"[:MAX_QUOTED] for module in (heads if len(heads) > 1 else embeddings)[:4])
        raise InputError(
            "{source}: {names}: at most one embedding and one linear head are supported", source=source, names=names
        )
    embedding = weights[embeddings[0]] if embeddings else None
    head = (weights[heads[0]], biases.get(heads[0])) if heads else None
    return embedding, head


def _needs_codec(targets: TargetKind) -> bool:
    """Whether weights mean nothing without the scales of the data they were trained on."""
    return targets.quantity or targets.horizon


def build_model(
    parts: ModelParts, task: str | None, symbols: Sequence[str], labels: Sequence[str], source: str
) -> tuple[DataSettings, ModelSettings, Codec, SequenceModel]:
    """A model with these weights, its settings and its codec.

    Args:
        parts: the parts of the model.
        task: the name of a task.
        symbols: the symbols in the order of their ids, or the names of the input columns; empty means numbers from 0.
        labels: the labels in the order of the logits, or the names of the target columns; empty means numbers from 0.
        source: the name of the file, for messages.

    Raises:
        InputError: there is no task, or the names do not fit the weights.
    """
    if task is None:
        kinds = {name: task.targets for name, task in TASKS.items() if not _needs_codec(task.targets)}
        fitting = [name for name, kind in kinds.items() if parts.embedding is None or not kind.numeric]
        raise InputError(
            "{source}: the weights do not determine the task: give `task`, one of {fitting}",
            source=source,
            fitting=join_list(fitting),
        )
    targets = TASKS.select(task).targets
    if _needs_codec(targets):
        raise InputError(
            "{source}: has no scale of its numbers, so it cannot be imported for the task {task}",
            source=source,
            task=task,
        )
    if targets.numeric and parts.embedding is not None:
        raise InputError(
            "{source}: has an embedding, so it reads symbols, and the task {task} reads numbers",
            source=source,
            task=task,
        )
    if targets.numeric and parts.directions == 2:
        raise InputError(
            "{source}: is bidirectional, so it reads the rows that the task {task} predicts", source=source, task=task
        )
    if targets.numeric and parts.head is None:  # hidden states that are numbers: a linear layer that changes nothing
        parts = replace(parts, head=(torch.eye(parts.outputs), None))
    V = parts.inputs if parts.embedding is None else len(parts.embedding)
    inputs = _check_names(symbols, V, "symbols", [f"x{i + 1}" for i in range(V)] if targets.numeric else None, source)
    default = inputs if parts.outputs == V and targets.shifted else None
    outputs = _check_names(labels, parts.outputs, "labels", default, source)
    if targets.continues_text and outputs != inputs:
        raise InputError(
            "{source}: has {V} symbols and {outputs} outputs; the task {task} has a logit for each symbol",
            source=source,
            V=V,
            outputs=parts.outputs,
            task=task,
        )
    if targets.numeric:
        scale, target_scale = (Scale((0.0,) * size, (1.0,) * size) for size in (V, parts.outputs))
        codec = Codec(task, columns=inputs, target_columns=outputs, scale=scale, target_scale=target_scale)
    else:
        vocab = _build_vocab(inputs, source)
        codec = Codec(task, vocab, vocab if targets.continues_text else _build_vocab(outputs, source))
    by_character = bool(symbols) and all(len(name) == 1 for name in inputs if name != UNK)  # numbers from 0 are words
    level = None if targets.numeric else "char" if by_character else "word"
    settings = ModelSettings(
        cell=parts.cell,
        hidden_size=parts.hidden,
        num_layers=len(parts.layers),
        bidirectional=parts.directions == 2,
        embedding_size=0 if parts.embedding is None else parts.inputs,
        head="identity" if parts.head is None else TASKS[task].head,
    )
    sizes = Sizes(
        V, parts.outputs, numeric=targets.numeric, per_sequence=targets.per_sequence, multiple=targets.multiple
    )
    model = SequenceModel(settings, sizes).eval()
    weights = {name: tensor.contiguous() for name, tensor in _name_weights(parts).items()}
    load_weights(model, weights, source)
    assert set(get_weights(model)) == set(weights)
    return DataSettings(task, default_reader(task).name, level), settings, codec, model


def _name_weights(parts: ModelParts) -> dict[str, Tensor]:
    """The weights by their names in `SequenceModel`; a missing bias is zero."""
    weights: dict[str, Tensor] = {}
    variant = CELLS[parts.cell].onnx_variant
    for layer, directions in enumerate(parts.layers):
        if variant is not None:
            for d, tensors in enumerate(directions):
                parameters = variant.parameters(tensors, parts.peepholes[layer][d])
                prefix = f"layers.cells.{layer * parts.directions + d}"
                weights |= {f"{prefix}.{name}": tensor for name, tensor in parameters.items()}
            continue
        for suffix, tensors in zip(("", "_reverse"), directions, strict=False):
            zero = tensors.W_ih.new_zeros(len(tensors.W_ih))
            for name, tensor in zip(PARAMETER_NAMES, tensors, strict=True):
                weights[f"layers.{name}_l{layer}{suffix}"] = zero if tensor is None else tensor
    if parts.embedding is not None:
        weights["encoder.embedding.weight"] = parts.embedding
    if parts.head is not None:
        W, b = parts.head
        weights |= {"head.weight": W, "head.bias": W.new_zeros(len(W)) if b is None else b}
    return weights


def _check_names(
    names: Sequence[str], size: int, setting: str, default: Sequence[str] | None, source: str
) -> tuple[str, ...]:
    if names and len(names) != size:
        raise InputError(
            "`{setting}` has {count} names; {source} has {size}",
            setting=setting,
            count=len(names),
            source=source,
            size=size,
        )
    return tuple(names or default or map(str, range(size)))


def _build_vocab(names: tuple[str, ...], source: str) -> Vocab:
    try:
        return Vocab(names, (1,) * len(names))
    except ValueError as error:
        raise InputError("{source}: the names: {error}", source=source, error=error) from None
