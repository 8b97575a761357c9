"""Every number of a trained model over one sequence, as plain data; knows nothing of how it is shown.

The equations of `cells.py` are run in float64 with the model's own weights, one step after the other, and everything
on the way is kept: each term, each gate, each state, the scores, the loss and the gradient of the loss to each state.
The model's own forward is run too, and how far the two are apart is part of the result.

Shapes: T steps, I input size, H hidden size, D directions, K scores, N answers (T, or 1 for `classify`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from ohlol import cells
from ohlol.data.batches import gather
from ohlol.data.codec import Codec
from ohlol.data.targets import TARGETS
from ohlol.data.vocab import UnknownSymbol
from ohlol.display import notebook
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.reference import Level, unrolled
from ohlol.models.sequence_model import Steps
from ohlol.utils.errors import InputError

Numbers = NDArray[np.float64]
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate of one layer and direction at every step; `h` of the simple RNN counts as its only gate."""

    name: str
    W_ih_x: Numbers
    """(T, H), the input's term."""
    b_ih: Numbers
    """(H,)."""
    W_hh_h: Numbers
    """(T, H), the term of the state before."""
    b_hh: Numbers
    """(H,)."""
    total: Numbers
    """(T, H), their sum; W_hh h + b_hh is first multiplied by the gate `reset_by`, if there is one."""
    value: Numbers
    """(T, H), the sum after the activation."""
    activation: str
    """"sigmoid", "tanh" or "relu"."""
    reset_by: str | None
    """The gate that multiplies the hidden term W_hh h + b_hh."""


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer in one direction; row t of everything belongs to symbol t, also where it is read from the end."""

    layer: int
    direction: str
    cell: str
    """The name of a registered cell."""
    W_ih: Numbers
    """(G*H, I)."""
    W_hh: Numbers
    """(G*H, H)."""
    inputs: Numbers
    """(T, I)."""
    gates: tuple[Gate, ...]
    before: dict[str, Numbers]
    """Each state before the step, (T, H)."""
    after: dict[str, Numbers]
    """Each state after the step, (T, H)."""
    gradients: dict[str, Numbers] | None
    """The gradient of the loss to each state after the step, (T, H); None without a target."""

    def step(self, t: int) -> dict[str, Any]:
        """Everything of step t, as JSON."""
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
            "after": {name: rows[t].tolist() for name, rows in self.after.items()},
            "gradient": None
            if self.gradients is None
            else {name: rows[t].tolist() for name, rows in self.gradients.items()},
        }


@dataclass(frozen=True, eq=False)
class Trace:
    """What a model worked out over one sequence."""

    task: str
    symbols: tuple[str, ...]
    """What it read, T of them."""
    labels: tuple[str, ...]
    """What it can answer, K of them."""
    layers: tuple[LayerTrace, ...]
    """The first layer first, forward before backward."""
    head: tuple[Numbers, Numbers] | None
    """Weight (K, D*H) and bias (K,) of the head; None where the hidden state is the scores."""
    logits: Numbers
    """(N, K)."""
    probabilities: Numbers
    """(N, K)."""
    chosen: tuple[str, ...]
    """The likeliest label of each answer."""
    targets: tuple[str | None, ...] | None
    """What should have come out; None at the end of a text, whose next symbol nobody knows."""
    losses: tuple[float | None, ...] | None
    """Of each answer."""
    loss: float | None
    """Their mean or sum, as the run was trained."""
    reduction: str
    """"mean" or "sum"."""
    difference: float
    """The largest difference to the model's own forward, over scores, outputs and last states."""

    @property
    def per_sequence(self) -> bool:
        """Whether there is one answer for the whole sequence, N = 1, instead of one at each step."""
        return TARGETS[self.task].per_sequence

    def best(self, n: int, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest labels of answer n with their probabilities, best first."""
        order = np.argsort(-self.probabilities[n], kind="stable")[:count]
        return [(self.labels[k], float(self.probabilities[n, k])) for k in order.tolist()]

    def _repr_html_(self) -> str:
        return notebook.trace_html(self)

    def to_json(self) -> dict[str, Any]:
        """Plain data, every step by itself."""
        return {
            "task": self.task,
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
                    "W_ih": layer.W_ih.tolist(),
                    "W_hh": layer.W_hh.tolist(),
                    "steps": [layer.step(t) for t in range(len(self.symbols))],
                }
                for layer in self.layers
            ],
            "head": None if self.head is None else {"weight": self.head[0].tolist(), "bias": self.head[1].tolist()},
            "answers": [
                {
                    "logits": self.logits[n].tolist(),
                    "probabilities": self.probabilities[n].tolist(),
                    "chosen": self.chosen[n],
                    "target": None if self.targets is None else self.targets[n],
                    "loss": None if self.losses is None else self.losses[n],
                }
                for n in range(len(self.chosen))
            ],
        }


def steps_of(model: TrainedModel, sequence: str | Sequence[str]) -> tuple[list[str], Steps]:
    """One sequence as symbols, and as what the model reads.

    Raises:
        InputError: empty, a symbol that was not seen by a model without <unk>, or a model of numbers.
    """
    if model.targets.numeric:
        raise InputError("this model's task is forecast; what is explained is a model of symbols")
    corpus = model.corpus([sequence])
    return [str(s) for s in corpus.inputs[0]], Steps.of(gather(model.codec.encode(corpus), np.arange(1)))


def trace(model: TrainedModel, sequence: str | Sequence[str], *, target: str | Sequence[str] | None = None) -> Trace:
    """Run the equations with a model's weights over one sequence and keep every number.

    Args:
        model: of task label, next or classify.
        sequence: a string, or a list of symbols.
        target: what should come out: a label for each step, as a string of characters or words or as a list; for
            `classify` one label. For `next` it is the sequence itself. Without it a pair the run was trained on
            gives its own target; otherwise there is no loss and no gradient.

    Raises:
        InputError: the sequence or the target does not fit the model.

    >>> import ohlol
    >>> found = trace(ohlol.fit([("hello", "ohlol")], seed=1), "hello", target="ohlol")
    >>> "".join(found.chosen), found.layers[0].after["h"].shape, found.difference < 1e-5
    ('ohlol', (5, 4), True)
    """
    symbols, steps = steps_of(model, sequence)
    model = model.on_cpu
    network, labels = model.network, model.codec.labels
    assert labels is not None
    was_training = network.training
    network.eval()
    with torch.no_grad():
        vectors = network.encoder(steps)
        output, last = network(steps)
        outputs, _ = network.hidden(vectors, steps.batch_sizes, None)
    network.train(was_training)
    wanted = _targets(model, symbols, target)
    logits, levels = unrolled(network, vectors.double().requires_grad_())
    losses = total = None
    answer_sizes = network.answer_sizes(steps.batch_sizes)
    reduction = model.config.training.loss_reduction
    if wanted is not None:
        ids = torch.from_numpy(wanted)
        losses = network.head.loss(logits, ids.clamp(min=0), answer_sizes, reduction="none")
        total = losses[ids >= 0].sum() / (1 if reduction == "sum" else max(int((ids >= 0).sum()), 1))
    layers = tuple(_layer(level, network.settings.cell, total) for level in levels)
    mine = [torch.cat([level.after[0 if level.direction else -1][k] for level in levels]) for k in range(len(last))]
    top = [torch.cat([s[0] for s in level.after]) for level in levels if level.layer == network.settings.num_layers - 1]
    pairs = [
        (output, logits),
        (outputs, torch.cat(top, dim=1)),
        *((a[:, 0], b) for a, b in zip(last, mine, strict=True)),
    ]
    names, projection = labels.symbols, network.head.projection
    return Trace(
        task=model.task,
        symbols=tuple(symbols),
        labels=names,
        layers=layers,
        head=None if projection is None else (_numpy(projection[0]), _numpy(projection[1])),
        logits=_numpy(logits),
        probabilities=_numpy(network.head.probabilities(logits, answer_sizes)),
        chosen=tuple(names[k] for k in network.head.decode(logits, answer_sizes).tolist()),
        targets=None if wanted is None else tuple(names[k] if k >= 0 else None for k in wanted.tolist()),
        losses=None
        if losses is None or wanted is None
        else tuple(v if k >= 0 else None for v, k in zip(losses.tolist(), wanted.tolist(), strict=True)),
        loss=None if total is None else float(total.detach()),
        reduction=reduction,
        difference=max(float((a.double() - b).detach().abs().max()) for a, b in pairs),
    )


def _targets(model: TrainedModel, symbols: list[str], target: str | Sequence[str] | None) -> NDArray[np.int64] | None:
    """The ids of what should come out, one an answer, -1 where it is not known."""
    vocab = model.codec.labels
    assert vocab is not None
    if model.targets.shifted:
        if target is not None:
            raise InputError("--target is for labels; a text is its own target, one symbol later")
        return np.append(vocab.encode(symbols)[1:].astype(np.int64), -1)
    if target is None:
        target = {tuple(given): wanted for given, wanted in model.config.pairs}.get(tuple(symbols))
        if target is None:
            return None
    per_sequence = model.targets.per_sequence
    wanted = [target] if per_sequence and isinstance(target, str) else _split(model.codec, symbols, target)
    answers = 1 if per_sequence else len(symbols)
    if len(wanted) != answers:
        raise InputError(f"--target has {len(wanted)} labels; there must be {answers}, one for each answer")
    try:
        return vocab.encode(list(wanted)).astype(np.int64)
    except UnknownSymbol as unknown:
        known = " ".join(map(repr, vocab.symbols[:12])) + " ..." * (len(vocab) > 12)
        raise InputError(f"--target: the model has no label {unknown.symbol!r}; it has {known}") from None


def _split(codec: Codec, symbols: list[str], target: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(target, str):
        return target
    assert codec.labels is not None
    letters = all(len(label) == 1 for label in codec.labels.symbols)
    return list(target) if letters and len(target.split()) != len(symbols) else target.split()


def _numpy(tensor: Tensor) -> Numbers:
    return tensor.detach().double().numpy()


def _layer(level: Level, cell: str, loss: Tensor | None) -> LayerTrace:
    spec = cells.CELLS[cell]
    gradients = None
    if loss is not None:
        flat = [s for state in level.after for s in state]
        found = torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True)
        given: list[Tensor | None] = list(found)
        rows = [torch.zeros_like(s) if g is None else g for s, g in zip(flat, given, strict=True)]
        gradients = {
            name: _numpy(torch.cat(rows[k :: len(spec.states)])) for k, name in enumerate(spec.states)
        }  # T times (1, H) -> (T, H)
    before, after = (
        {name: _numpy(torch.cat([s[k] for s in states])) for k, name in enumerate(spec.states)}
        for states in (level.before, level.after)
    )
    W_ih, W_hh, b_ih, b_hh = level.weights
    h = before["h"] @ _numpy(W_hh).T  # (T, H) -> (T, G*H)
    assert b_ih is not None
    assert b_hh is not None
    return LayerTrace(
        layer=level.layer,
        direction=DIRECTIONS[level.direction],
        cell=cell,
        W_ih=_numpy(W_ih),
        W_hh=_numpy(W_hh),
        inputs=_numpy(level.inputs),
        gates=_gates(cell, x=_numpy(linear(level.inputs, W_ih)), b_ih=_numpy(b_ih), h=h, b_hh=_numpy(b_hh)),
        before=before,
        after=after,
        gradients=gradients,
    )


ACTIVATIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "sigmoid": lambda total: 1 / (1 + np.exp(-total)),
    "tanh": np.tanh,
    "relu": lambda total: np.maximum(total, 0),
}


def _gates(cell: str, *, x: Numbers, b_ih: Numbers, h: Numbers, b_hh: Numbers) -> tuple[Gate, ...]:
    """The gates of all steps from their terms, (T, G*H) and (G*H,) each."""
    specs = cells.CELLS[cell].gates
    terms = [np.split(a, len(specs), axis=-1) for a in (x, b_ih, h, b_hh)]
    values: dict[str, Numbers] = {}
    gates: list[Gate] = []
    for k, spec in enumerate(specs):
        W_ih_x, b_i, W_hh_h, b_h = (term[k] for term in terms)
        hidden_term = W_hh_h + b_h
        if spec.reset_by is not None:
            hidden_term = values[spec.reset_by] * hidden_term
        total = W_ih_x + b_i + hidden_term
        value = values[spec.symbol] = ACTIVATIONS[spec.activation](total)
        gates.append(Gate(spec.symbol, W_ih_x, b_i, W_hh_h, b_h, total, value, spec.activation, spec.reset_by))
    return tuple(gates)
