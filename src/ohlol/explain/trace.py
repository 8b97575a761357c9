"""Every number of a trained model over one sequence, as plain data.

The equations of `ohlol.cells` run in float64 with the weights of the model, one time step after the other. The trace
keeps every intermediate value: each term, each gate, each state, the logits, the loss, and the gradient of the loss
with respect to each state. Of a cell that is a module it keeps, in the place of terms and gates, what each line of the
cell computes. The model's own forward pass runs too; the largest difference between the two is part of the trace.

Shapes: T time steps, I input size, H hidden size, W width of a state, O output size of a cell, D directions, K labels,
N predictions (T, or 1 where the model makes one prediction for the whole sequence). W and O are H except for modules.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol import cells
from ohlol.data.batches import gather
from ohlol.data.codec import Codec
from ohlol.data.codec_encoding import encode_data
from ohlol.data.readers.label_sets import split_labels
from ohlol.data.vocab import UnknownSymbol
from ohlol.explain.source_lines import SourceLine, record_lines
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.heads import LossOptions
from ohlol.models.inputs import PackedInputs
from ohlol.models.reference import UnrolledLayer, unroll_model
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError
from ohlol.utils.rendering import to_html

Numbers = NDArray[np.float64]
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, eq=False)
class GateTrace:
    """One gate of one layer and direction at every time step; the only gate of the simple RNN is `h`."""

    name: str
    W_ih_x: Numbers
    """(T, H), the term of the input."""
    b_ih: Numbers
    """(H,)."""
    W_hh_h: Numbers
    """(T, H), the term of the previous hidden state."""
    b_hh: Numbers
    """(H,)."""
    total: Numbers
    """(T, H), their sum, with W_hh h + b_hh first multiplied by the gate `reset_by`, if there is one."""
    value: Numbers
    """(T, H), the activation function of the sum."""
    activation: str
    """"sigmoid", "tanh" or "relu"."""
    reset_by: str | None
    """The gate that multiplies the hidden term W_hh h + b_hh."""


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer in one direction; row t of every array belongs to symbol t, in both directions."""

    layer: int
    direction: str
    cell: str
    """The name of a registered cell."""
    W_ih: Numbers | None
    """(G*H, I); None for a cell that is a module."""
    W_hh: Numbers | None
    """(G*H, H); None for a cell that is a module."""
    inputs: Numbers
    """(T, I)."""
    gates: tuple[GateTrace, ...]
    """None for a cell that is a module."""
    lines: tuple[tuple[SourceLine, ...], ...]
    """For a cell that is a module the source lines that ran at each time step; otherwise empty."""
    output: Numbers
    """(T, O), the first state unless the cell returns another output."""
    before: dict[str, Numbers]
    """Each state before the time step, (T, W)."""
    after: dict[str, Numbers]
    """Each state after the time step, (T, W)."""
    gradients: dict[str, Numbers] | None
    """The gradient of the loss with respect to each state after the time step, (T, W); None without a target."""

    @property
    def hidden_size(self) -> int:
        """The width of the first state."""
        return next(iter(self.after.values())).shape[1]

    def lines_over_time(self) -> list[tuple[SourceLine, str, Numbers]]:
        """Each tensor that a line assigns, with that line at step 0, its name and its values at all time steps (T, W).

        Empty where not all steps run the same lines, because a condition depends on the numbers.
        """
        if not self.lines or any(places_of(lines) != places_of(self.lines[0]) for lines in self.lines):
            return []
        return [
            (line, name, np.stack([lines[k].values[name] for lines in self.lines]))
            for k, line in enumerate(self.lines[0])
            for name in line.values
            if not line.is_return(name)
        ]

    def step(self, t: int) -> dict[str, Any]:
        """Return every number of time step t as JSON data."""
        gates = {
            g.name: {
                "W_ih_x": g.W_ih_x[t].tolist(),
                "b_ih": g.b_ih.tolist(),
                "W_hh_h": g.W_hh_h[t].tolist(),
                "b_hh": g.b_hh.tolist(),
                "sum": g.total[t].tolist(),
                "value": g.value[t].tolist(),
            }
            for g in self.gates
        }
        return {
            "t": t,
            "x": self.inputs[t].tolist(),
            "before": {name: rows[t].tolist() for name, rows in self.before.items()},
            "gates": gates,
            "lines": [line.to_json() for line in self.lines[t]] if self.lines else [],
            "output": self.output[t].tolist(),
            "after": {name: rows[t].tolist() for name, rows in self.after.items()},
            "gradient": None
            if self.gradients is None
            else {name: rows[t].tolist() for name, rows in self.gradients.items()},
        }


def places_of(lines: tuple[SourceLine, ...]) -> tuple[Any, ...]:
    """Return what two time steps that run the same lines have in common."""
    return tuple((line.file, line.line, *((name, len(row)) for name, row in line.values.items())) for line in lines)


@dataclass(frozen=True, eq=False)
class Trace:
    """What a model computes over one sequence."""

    task: str
    per_sequence: bool
    """Whether the model makes one prediction for the whole sequence, after its last symbol, not one per symbol."""
    symbols: tuple[str, ...]
    """The input, T symbols."""
    labels: tuple[str, ...]
    """The labels that the model can predict, K of them."""
    layers: tuple[LayerTrace, ...]
    """The first layer first, forward before backward."""
    head: tuple[Numbers, Numbers] | None
    """Weight (K, D*H) and bias (K,) of the head's `projection`; None where the head has none, such as `identity`."""
    is_identity: bool
    """Whether the logits are the hidden states themselves, as in the head `identity`."""
    logits: Numbers
    """(N, K)."""
    probabilities: Numbers
    """(N, K)."""
    predicted: tuple[str, ...]
    """The label of each prediction; the labels of a set are joined by ", "."""
    targets: tuple[str | None, ...] | None
    """The correct label of each prediction; None at the end of a text, where the next symbol is unknown."""
    losses: tuple[float | None, ...] | None
    """The loss of each prediction."""
    loss: float | None
    """The mean or the sum of the losses, as the model was trained."""
    reduction: str
    """"mean" or "sum"."""
    difference: float
    """The largest difference from the model's own forward pass, over logits, outputs and last states."""
    pooling: str = ""
    """The equation of the pooling; empty where the head reads the last outputs, or those of each step."""
    weights: Numbers | None = None
    """(T,), the share of each step in what the head reads: the weights of attention; None without pooling."""

    def prediction_at(self, t: int) -> int | None:
        """Return the index of the prediction made at time step t; None where there is none."""
        if not self.per_sequence:
            return t
        return 0 if t == len(self.symbols) - 1 else None

    def best(self, n: int, count: int = 5) -> list[tuple[str, float]]:
        """Return the most probable labels of prediction n with their probabilities, best first."""
        order = np.argsort(-self.probabilities[n], kind="stable")[:count]
        return [(self.labels[k], float(self.probabilities[n, k])) for k in order.tolist()]

    def _repr_html_(self) -> str:
        return to_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, one entry per time step."""
        return {
            "task": self.task,
            "per_sequence": self.per_sequence,
            "symbols": list(self.symbols),
            "labels": list(self.labels),
            "loss": self.loss,
            "reduction": self.reduction,
            "difference": self.difference,
            "layers": [
                {
                    "layer": layer.layer,
                    "direction": layer.direction,
                    "cell": layer.cell,
                    "equation": list(cells.CELLS[layer.cell].equation),
                    "W_ih": None if layer.W_ih is None else layer.W_ih.tolist(),
                    "W_hh": None if layer.W_hh is None else layer.W_hh.tolist(),
                    "steps": [layer.step(t) for t in range(len(self.symbols))],
                }
                for layer in self.layers
            ],
            "pooling": None if self.weights is None else {"equation": self.pooling, "weights": self.weights.tolist()},
            "head": None if self.head is None else {"weight": self.head[0].tolist(), "bias": self.head[1].tolist()},
            "predictions": [
                {
                    "logits": self.logits[n].tolist(),
                    "probabilities": self.probabilities[n].tolist(),
                    "predicted": self.predicted[n],
                    "target": None if self.targets is None else self.targets[n],
                    "loss": None if self.losses is None else self.losses[n],
                }
                for n in range(len(self.predicted))
            ],
        }


def encode_sequence(model: TrainedModel, sequence: Any) -> tuple[list[str], PackedInputs]:
    """Return one sequence as symbols and as the input of the network.

    The symbols of a series of numbers are its values or, where it has several columns, the numbers of its time steps.

    Raises:
        InputError: the sequence is empty, it has an unknown symbol and the model has no <unk>, or the model
            predicts numbers.
    """
    if model.codec.labels is None:
        raise InputError(
            "the task of this model is {task}; only models that predict labels can be explained", task=model.task
        )
    raw = model.raw_data([sequence])
    steps: Any = raw.inputs[0]
    if raw.columns:
        steps = [f"{row[0]:.3g}" if len(row) == 1 else t for t, row in enumerate(steps)]
    return [str(s) for s in steps], PackedInputs.of(gather(encode_data(model.codec, raw), np.arange(1)))


def trace(model: TrainedModel, sequence: Any, *, target: str | Sequence[str] | None = None) -> Trace:
    """Run the equations with the weights of a model over one sequence and keep every number.

    Args:
        model: a model of a task with labels.
        sequence: a string, a list of symbols, or a series of numbers (T, I).
        target: the correct labels: one per time step, as a string of characters or words or as a list; one label for
            `classify`; for `multilabel` a list, or labels joined as in the training data, or with "|". For `next` the
            target is the sequence itself. The default is the target of the sequence in the training pairs; without one
            there is no loss and no gradient.

    Raises:
        InputError: the sequence or the target does not fit the model.

    >>> import ohlol
    >>> hello = trace(ohlol.fit([("hello", "ohlol")], seed=1), "hello", target="ohlol")
    >>> "".join(hello.predicted), hello.layers[0].after["h"].shape, hello.difference < 1e-5
    ('ohlol', (5, 4), True)
    """
    symbols, packed = encode_sequence(model, sequence)
    model = model.on_cpu
    network, labels = model.network, model.codec.labels
    assert labels is not None
    was_training = network.training
    network.eval()
    with torch.no_grad():
        vectors = network.encoder(packed)
        model_logits, model_states = network(packed)
        model_outputs, _ = network.hidden(vectors, packed.batch_sizes, None)
    network.train(was_training)
    prediction_sizes = network.prediction_sizes(packed.batch_sizes)
    target_ids = _targets(model, symbols, target)
    calls: list[tuple[SourceLine, ...]] = []

    def call(cell: torch.nn.Module, x: Tensor, state: Any) -> Any:
        result, lines = record_lines(cell, x, state)
        calls.append(lines)
        return result

    logits, unrolled_layers = unroll_model(network, vectors.double().requires_grad_(), call)
    losses = total = is_known = None
    reduction = model.config.training.loss_reduction
    if target_ids is not None:
        ids = torch.from_numpy(target_ids)
        losses = network.head.loss(logits, ids.clamp(min=0), prediction_sizes, LossOptions(reduction="none"))
        is_known = torch.ones(1, dtype=torch.bool) if network.head.multiple else ids >= 0
        total = losses[is_known].sum() / (1 if reduction == "sum" else max(int(is_known.sum()), 1))
    T, layers = len(symbols), list[LayerTrace]()
    for k, unrolled in enumerate(unrolled_layers):
        lines = calls[k * T : (k + 1) * T]
        layers.append(_layer(unrolled, network, lines[::-1] if unrolled.direction else lines, total))
    last_states = [
        torch.cat([unrolled.after[0 if unrolled.direction else -1][k] for unrolled in unrolled_layers])
        for k in range(len(model_states))
    ]
    top = [
        torch.cat(unrolled.outputs) for unrolled in unrolled_layers if unrolled.layer == network.settings.num_layers - 1
    ]
    outputs, pooling = torch.cat(top, dim=1), network.pooling
    weights = None if pooling is None else deepcopy(pooling).double().pool(outputs)[1]
    pairs = [
        (model_logits, logits),
        (model_outputs, outputs),
        *((a[:, 0], b) for a, b in zip(model_states, last_states, strict=True)),
    ]
    names, projection = labels.symbols, network.head.projection
    return Trace(
        task=model.task,
        per_sequence=model.targets.per_sequence,
        symbols=tuple(symbols),
        labels=names,
        layers=tuple(layers),
        head=None if projection is None else (_numpy(projection[0]), _numpy(projection[1])),
        is_identity=network.head.is_identity,
        logits=_numpy(logits),
        probabilities=_numpy(network.head.probabilities(logits, prediction_sizes)),
        predicted=tuple(_name(names, k) or "" for k in network.head.decode(logits, prediction_sizes).tolist()),
        targets=None if target_ids is None else tuple(_name(names, k) for k in target_ids.tolist()),
        losses=None
        if losses is None or is_known is None
        else tuple(v if known else None for v, known in zip(losses.tolist(), is_known.tolist(), strict=True)),
        loss=None if total is None else float(total.detach()),
        reduction=reduction,
        difference=max(float((a.double() - b).detach().abs().max()) for a, b in pairs),
        pooling="" if pooling is None else pooling.equation,
        weights=None if weights is None else _numpy(weights),
    )


def _targets(model: TrainedModel, symbols: list[str], target: str | Sequence[str] | None) -> NDArray[np.int64] | None:
    """Return the id of the correct label of each prediction, -1 where it is unknown, or a set as `Dataset` has it."""
    vocab = model.codec.labels
    assert vocab is not None
    if model.targets.shifted:
        if target is not None:
            raise InputError("`target` is for labels; the target of a text is the text itself, one symbol later")
        return np.append(vocab.encode(symbols)[1:].astype(np.int64), -1)
    if target is None:
        target = {tuple(inputs): targets for inputs, targets in model.config.pairs}.get(tuple(symbols))
        if target is None:
            return None
    per_sequence = model.targets.per_sequence
    if model.targets.multiple:
        raw = model.raw_data([symbols])
        separator = model.config.data.label_separator or "|"
        sets = [split_labels(target, separator) if isinstance(target, str) else list(target)]
        encoded = encode_data(model.codec, replace(raw, targets=sets)).targets
        return None if encoded is None else np.asarray(encoded, np.int64)
    targets = [target] if per_sequence and isinstance(target, str) else _split(model.codec, symbols, target)
    count = 1 if per_sequence else len(symbols)
    if len(targets) != count:
        raise InputError(
            "`target` has {count} labels; it must have {expected}, one for each prediction",
            count=len(targets),
            expected=count,
        )
    try:
        file_labels = model.codec.file_labels
        trained = targets if file_labels is None else file_labels.to_trained(targets)
        return vocab.encode(list(trained)).astype(np.int64)
    except UnknownSymbol as unknown:
        known = " ".join(map(repr, vocab.symbols[:12])) + " ..." * (len(vocab) > 12)
        raise InputError(
            "`target`: the model has no label {symbol!r}; its labels are {known}", symbol=unknown.symbol, known=known
        ) from None


def _name(names: tuple[str, ...], prediction: int | list[int]) -> str | None:
    """Return the name of a label, None for -1, or the names of the labels of a set."""
    if isinstance(prediction, list):
        return ", ".join(name for name, is_member in zip(names, prediction, strict=False) if is_member)
    return names[prediction] if prediction >= 0 else None


def _split(codec: Codec, symbols: list[str], target: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(target, str):
        return target
    assert codec.labels is not None
    single_characters = all(len(label) == 1 for label in codec.labels.symbols)
    return list(target) if single_characters and len(target.split()) != len(symbols) else target.split()


def _numpy(tensor: Tensor) -> Numbers:
    return tensor.detach().double().numpy()


def _layer(
    unrolled: UnrolledLayer, network: SequenceModel, lines: list[tuple[SourceLine, ...]], loss: Tensor | None
) -> LayerTrace:
    names, cell = network.state_names, network.settings.cell
    gradients = None
    if loss is not None:
        flat = [s for state in unrolled.after for s in state]
        differentiable = [s for s in flat if s.requires_grad]  # a state may depend on no input
        found = iter(torch.autograd.grad(loss, differentiable, retain_graph=True, allow_unused=True))
        of_states: list[Tensor | None] = [next(found) if s.requires_grad else None for s in flat]
        rows = [torch.zeros_like(s) if g is None else g for s, g in zip(flat, of_states, strict=True)]
        gradients = {
            name: _numpy(torch.cat(rows[k :: len(names)])) for k, name in enumerate(names)
        }  # T times (1, W) -> (T, W)
    before, after = (
        {name: _numpy(torch.cat([s[k] for s in states])) for k, name in enumerate(names)}
        for states in (unrolled.before, unrolled.after)
    )
    W_ih = W_hh = None
    gates: tuple[GateTrace, ...] = ()
    if unrolled.weights is not None:
        W_ih, W_hh, b_ih, b_hh = (None if w is None else _numpy(w) for w in unrolled.weights)
        assert W_ih is not None
        assert W_hh is not None
        assert b_ih is not None
        assert b_hh is not None
        x, h = _numpy(unrolled.inputs) @ W_ih.T, before["h"] @ W_hh.T  # (T, I) and (T, H) -> (T, G*H)
        gates = _gates(cell, x=x, b_ih=b_ih, h=h, b_hh=b_hh)
    return LayerTrace(
        layer=unrolled.layer,
        direction=DIRECTIONS[unrolled.direction],
        cell=cell,
        W_ih=W_ih,
        W_hh=W_hh,
        inputs=_numpy(unrolled.inputs),
        gates=gates,
        lines=tuple(lines),
        output=_numpy(torch.cat(unrolled.outputs)),
        before=before,
        after=after,
        gradients=gradients,
    )


ACTIVATIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "sigmoid": lambda total: 1 / (1 + np.exp(-total)),
    "tanh": np.tanh,
    "relu": lambda total: np.maximum(total, 0),
}


def _gates(cell: str, *, x: Numbers, b_ih: Numbers, h: Numbers, b_hh: Numbers) -> tuple[GateTrace, ...]:
    """Return the gates at all time steps from their terms, (T, G*H) and (G*H,) each."""
    specs = cells.CELLS[cell].gates
    terms = [np.split(a, len(specs), axis=-1) for a in (x, b_ih, h, b_hh)]
    values: dict[str, Numbers] = {}
    gates: list[GateTrace] = []
    for k, spec in enumerate(specs):
        W_ih_x, b_i, W_hh_h, b_h = (term[k] for term in terms)
        hidden_term = W_hh_h + b_h
        if spec.reset_by is not None:
            hidden_term = values[spec.reset_by] * hidden_term
        total = W_ih_x + b_i + hidden_term
        value = values[spec.symbol] = ACTIVATIONS[spec.activation](total)
        gates.append(GateTrace(spec.symbol, W_ih_x, b_i, W_hh_h, b_h, total, value, spec.activation, spec.reset_by))
    return tuple(gates)
