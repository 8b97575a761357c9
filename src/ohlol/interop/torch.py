"""A plain recurrent model, embedding, layers and a linear head, found among named tensors and made into one of ours.

Knows nothing of ONNX, of files or of run directories. Shapes: V symbols, I input size, H hidden size, D directions,
G gates, K scores.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ohlol.cells import CELLS, Weights, torch_cells
from ohlol.checkpoint.weights import get_weights, load_weights
from ohlol.config import MAX_LAYERS, DataSettings, ModelSettings
from ohlol.data.codec import Codec, Scale
from ohlol.data.readers.base import default_reader
from ohlol.data.vocab import UNK, Vocab
from ohlol.models.inputs import Sizes
from ohlol.models.sequence_model import SequenceModel
from ohlol.tasks import TASKS
from ohlol.utils.errors import SAID, InputError

KINDS = {len(spec.gates): spec.name for spec in torch_cells()}
"""The cell of a weight with so many times H rows."""
RECURRENT = re.compile(
    r"(?P<owner>.*?)(?P<part>weight|bias)_(?P<side>ih|hh|hr)(?:_l(?P<layer>\d{1,4}))?(?P<way>_reverse)?$"
)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Plain:
    """The parts of a model, as they were found."""

    kind: str
    """The name of the cell."""
    layers: list[list[Weights]]
    """For each layer the weights of each direction."""
    embedding: Tensor | None = None
    """(V, I)."""
    head: tuple[Tensor, Tensor | None] | None = None
    """W (K, D*H) and b (K,)."""

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
        sides = ", both directions" if self.directions == 2 else ""
        read = "" if self.embedding is None else f"embedding of {len(self.embedding)} symbols, "
        head = "no head" if self.head is None else f"a linear head of {self.outputs}"
        return f"{read}{self.kind} of {len(self.layers)} x {self.hidden} from {self.inputs}{sides}, {head}"


def checked(plain: Plain, where: str) -> Plain:
    """The same in float32, its sizes and numbers seen to fit together.

    Raises:
        InputError: they do not.
    """
    D, H, G = plain.directions, plain.hidden, len(CELLS[plain.kind].gates)
    width, layers = plain.inputs, list[list[Weights]]()
    for number, sides in enumerate(plain.layers):
        shapes = [(G * H, width), (G * H, H), (G * H,), (G * H,)]
        for side in sides:
            for tensor, name, shape in zip(side, Weights._fields, shapes, strict=True):
                if tensor is not None and tensor.shape != shape:
                    raise InputError(
                        f"{where}: {name} of layer {number} is {tuple(tensor.shape)}; the layers before make it {shape}"
                    )
        if len(sides) != D:
            raise InputError(f"{where}: layer {number} has {len(sides)} directions, the first has {D}")
        floats = [[None if t is None else _float(t, where) for t in side] for side in sides]
        layers.append([Weights(*side) for side in floats])  # pyright: ignore[reportArgumentType]
        width = D * H
    embedding, head = plain.embedding, plain.head
    if embedding is not None:
        if embedding.dim() != 2 or embedding.size(1) != plain.inputs:
            raise InputError(
                f"{where}: the embedding is {tuple(embedding.shape)}; the first layer reads {plain.inputs} numbers"
            )
        embedding = _float(embedding, where)
    if head is not None:
        W, b = head
        if W.dim() != 2 or W.size(1) != D * H or not len(W) or (b is not None and b.shape != (len(W),)):
            raise InputError(f"{where}: the linear layer is {tuple(W.shape)}; the layers end in {D * H} numbers")
        head = _float(W, where), None if b is None else _float(b, where)
    return replace(plain, layers=layers, embedding=embedding, head=head)


def _float(tensor: Tensor, where: str) -> Tensor:
    if tensor.dtype not in FLOATS:
        raise InputError(f"{where}: a weight has dtype {tensor.dtype}; a float is expected")
    made = tensor.detach().to(torch.float32).contiguous()
    if not torch.isfinite(made).all():
        raise InputError(f"{where}: a weight holds values that are no numbers")
    return made


def from_state(tensors: Mapping[str, Tensor], where: str) -> Plain:
    """Find the parts of a model among the tensors of its `state_dict`.

    Raises:
        InputError: there is no recurrent layer, more than one stack of them, or a tensor that is of none of the parts.
    """
    found: dict[tuple[int, int], dict[str, Tensor]] = {}
    owners: dict[str, None] = {}
    rest = dict(tensors)
    for name in tensors:
        match = RECURRENT.match(name)
        if match is None:
            continue
        if match["side"] == "hr":
            raise InputError(f"{where}: {name[:SAID]} is of an LSTM with proj_size, which is not read")
        owners[match["owner"]] = None
        key = int(match["layer"] or 0), int(match["way"] is not None)
        found.setdefault(key, {})[f"{match['part']}_{match['side']}"] = rest.pop(name)
    if not owners:
        raise InputError(
            f"{where}: has no weights named as a recurrent layer of torch.nn names them (weight_ih_l0 and so on)"
        )
    if len(owners) > 1:
        names = ", ".join(repr(o.removesuffix(".")[:40]) for o in list(owners)[:4])
        raise InputError(f"{where}: has {len(owners)} recurrent layers of their own, {names}; one stack is read")
    kind, layers = _stack(found, where)
    D, H = len(layers[0]), layers[0][0].W_hh.size(1)
    embedding, head = _ends(rest, layers[0][0].W_ih.size(1), D * H, where)
    return checked(Plain(kind, layers, embedding, head), where)


def _stack(found: dict[tuple[int, int], dict[str, Tensor]], where: str) -> tuple[str, list[list[Weights]]]:
    L, D = max(layer for layer, _ in found) + 1, max(way for _, way in found) + 1
    if L > MAX_LAYERS or set(found) != {(layer, way) for layer in range(L) for way in range(D)}:
        raise InputError(f"{where}: of the {L} layers of {D} directions that are named some are missing")
    layers: list[list[Weights]] = []
    kinds: set[str | None] = set()
    for layer in range(L):
        sides: list[Weights] = []
        for way in range(D):
            parts = found[layer, way]
            if not {"weight_ih", "weight_hh"} <= set(parts) or ("bias_ih" in parts) != ("bias_hh" in parts):
                raise InputError(f"{where}: layer {layer} has {', '.join(sorted(parts))} only")
            W_hh = parts["weight_hh"]
            if W_hh.dim() != 2 or not W_hh.numel() or parts["weight_ih"].dim() != 2:
                raise InputError(f"{where}: weight_hh of layer {layer} is {tuple(W_hh.shape)}, not (G*H, H)")
            kinds.add(KINDS.get(len(W_hh) // W_hh.size(1)) if not len(W_hh) % W_hh.size(1) else None)
            sides.append(Weights(parts["weight_ih"], W_hh, parts.get("bias_ih"), parts.get("bias_hh")))
        layers.append(sides)
    kind = kinds.pop()
    if kinds or kind is None:
        raise InputError(f"{where}: the weights are not those of one RNN, GRU or LSTM: 1, 3 or 4 times H rows in each")
    return kind, layers


def _ends(rest: dict[str, Tensor], inputs: int, width: int, where: str) -> tuple[Any, Any]:
    """The embedding and the head among the tensors that are no recurrent layer's."""
    weights = {n.removesuffix("weight"): t for n, t in rest.items() if n.endswith("weight") and t.dim() == 2}
    biases = {n.removesuffix("bias"): t for n, t in rest.items() if n.endswith("bias") and t.dim() == 1}
    odd = [n for n in rest if n.removesuffix("weight") not in weights and n.removesuffix("bias") not in biases]
    odd += [f"{owner}bias" for owner in biases if owner not in weights]
    if odd:
        raise InputError(
            f"{where}: {odd[0][:SAID]!r} is of no embedding, recurrent layer or linear head, which is all that is read"
        )
    # a linear layer has a bias; one that has none is told from an embedding by its size or, last, by its name
    heads = [o for o in weights if o in biases]
    bare = [o for o in weights if o not in biases]
    if not heads:
        heads = [o for o in bare if weights[o].size(1) == width and (width != inputs or "emb" not in o.lower())]
        heads = heads if len(bare) > 1 or width != inputs else []
    embeddings = [o for o in bare if o not in heads]
    if len(heads) > 1 or len(embeddings) > 1:
        names = ", ".join(f"{o}weight"[:SAID] for o in (heads if len(heads) > 1 else embeddings)[:4])
        raise InputError(f"{where}: {names}: one embedding and one linear head at most are read")
    embedding = weights[embeddings[0]] if embeddings else None
    head = (weights[heads[0]], biases.get(heads[0])) if heads else None
    return embedding, head


def built(
    plain: Plain, task: str | None, symbols: Sequence[str], labels: Sequence[str], where: str
) -> tuple[DataSettings, ModelSettings, Codec, SequenceModel]:
    """A model of ours with these weights, and the vocabulary it reads and answers in.

    Args:
        plain: what was found.
        task: one of `settings.TASKS`.
        symbols: in the order of their ids, or the names of the columns; without any they are numbers from 0.
        labels: in the order of the scores, or the columns that are forecast; likewise.
        where: what an InputError calls the file.

    Raises:
        InputError: no task, or names that do not fit the weights.
    """
    if task is None:
        reads = "one-hot symbols or numbers" if plain.embedding is None else "for"
        raise InputError(
            f"{where}: weights do not say what they are {reads}: give `task` label, next or classify"
            + (f" for one-hot symbols, forecast for rows of {plain.inputs} numbers" if plain.embedding is None else "")
        )
    targets = TASKS.select(task).targets
    numeric = targets.numeric
    if numeric and plain.embedding is not None:
        raise InputError(f"{where}: has an embedding, so it reads symbols, and the task forecast reads numbers")
    if numeric and plain.directions == 2:
        raise InputError(f"{where}: reads from both ends, and a forecast must not see what it forecasts")
    V = plain.inputs if plain.embedding is None else len(plain.embedding)
    names = _named(symbols, V, "symbols", [f"x{i + 1}" for i in range(V)] if numeric else None, where)
    default = names if plain.outputs == V and targets.shifted else None
    answers = _named(labels, plain.outputs, "labels", default, where)
    if targets.continue_text and answers != names:
        raise InputError(
            f"{where}: has {V} symbols and {plain.outputs} outputs; the task next gives a logit to each symbol"
        )
    if numeric:
        ones = Scale((0.0,) * V, (1.0,) * V), Scale((0.0,) * plain.outputs, (1.0,) * plain.outputs)
        codec = Codec(task, columns=names, target_columns=answers, scale=ones[0], target_scale=ones[1])
    else:
        vocab = _vocab(names, where)
        codec = Codec(task, vocab, vocab if targets.continue_text else _vocab(answers, where))
    letters = bool(symbols) and all(len(n) == 1 for n in names if n != UNK)  # numbers from 0 are words, few or many
    level = None if numeric else "char" if letters else "word"
    settings = ModelSettings(
        cell=plain.kind,
        hidden_size=plain.hidden,
        num_layers=len(plain.layers),
        bidirectional=plain.directions == 2,
        embedding_size=0 if plain.embedding is None else plain.inputs,
        head="identity" if plain.head is None else TASKS[task].head,
    )
    model = SequenceModel(settings, Sizes(V, plain.outputs, numeric=numeric, per_sequence=targets.per_sequence)).eval()
    load_weights(model, {n: t.contiguous() for n, t in _by_name(plain).items()}, where)
    assert set(get_weights(model)) == set(_by_name(plain))
    return DataSettings(task, default_reader(task).name, level), settings, codec, model


def _by_name(plain: Plain) -> dict[str, Tensor]:
    """The weights as `SequenceModel` names them; a bias that was left out is zero."""
    made: dict[str, Tensor] = {}
    for layer, sides in enumerate(plain.layers):
        for way, weights in zip(("", "_reverse"), sides, strict=False):
            zero = weights.W_ih.new_zeros(len(weights.W_ih))
            for name, tensor in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), weights, strict=True):
                made[f"layers.{name}_l{layer}{way}"] = zero if tensor is None else tensor
    if plain.embedding is not None:
        made["encoder.embedding.weight"] = plain.embedding
    if plain.head is not None:
        W, b = plain.head
        made |= {"head.weight": W, "head.bias": W.new_zeros(len(W)) if b is None else b}
    return made


def _named(given: Sequence[str], size: int, setting: str, default: Sequence[str] | None, where: str) -> tuple[str, ...]:
    if given and len(given) != size:
        raise InputError(f"`{setting}` has {len(given)} names; {where} has {size}")
    return tuple(given or default or map(str, range(size)))


def _vocab(names: tuple[str, ...], where: str) -> Vocab:
    try:
        return Vocab(names, (1,) * len(names))
    except ValueError as error:
        raise InputError(f"{where}: the names given: {error}") from None
