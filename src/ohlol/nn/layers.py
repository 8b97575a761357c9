"""RNNCell, GRUCell, LSTMCell, RNN, GRU and LSTM as subclasses of torch's own.

Each is a `torch.nn` module in every respect: the same constructor, parameters, `state_dict`, initial values from the
same seed, and errors. Change an import, or pass an existing model to `accelerate`. A layer uses the compiled kernels
where they apply and torch's own path everywhere else; `explain_backend` says which, and why.
"""

# pyright: reportPrivateUsage=false
# Torch's layers and modes have no public interface for some of their state; it is read where torch itself reads it.
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.jit import _trace
from torch.nn.utils.rnn import PackedSequence

from ohlol.cells import CELLS
from ohlol.config import FULL_PRECISION
from ohlol.nn.reduced import find_reduced_obstacle, refuse_call, refuse_gradients_of, tensors_of
from ohlol.nn.regularization import Regularization, SequenceDropout, as_constant, check_probability
from ohlol.nn.regularized_layers import drop_recurrent_weights, run_regularized
from ohlol.nn.shape_errors import add_shape_advice
from ohlol.nn.tracing import find_tracing, takes_operators
from ohlol.ops import LayerSpec, embedding_table, one_hot_table, selected
from ohlol.ops.backend import ABSENT
from ohlol.ops.operators import run_operator
from ohlol.ops.recurrence import run_checked
from ohlol.ops.reduced import ReducedWeights, run_reduced
from ohlol.ops.validation import TENSOR_TYPES, check_ids, find_unreadable, packed_batch, weight_shapes

ONE_STEP = 1 << 16
"""Recurrent weights from which one step of a cell with one state takes less time than packing them."""
_CELL_NAMES = {spec.torch_mode: name for name, spec in CELLS.items() if spec.torch_mode is not None}
"""The cell of a torch layer with this `mode`."""
_PAIR_MODES = frozenset(spec.torch_mode for spec in CELLS.values() if len(spec.states) > 1)
"""The modes of layers whose state is a pair (h, c)."""

_STRIDED = torch.strided
_SCRIPT_ADVICE = (
    "TorchScript compiles torch's layers only; script a copy with them: "
    "torch.jit.script(ohlol.restore(copy.deepcopy(model)))"
)
UNFIT_WEIGHTS = "the weights do not fit"


class _NoAttributes(list[str]):
    """No attributes that TorchScript leaves out of a module: it reads their names before it compiles the module."""

    def __iter__(self) -> Iterator[str]:
        if _trace._trace_module_map is None:  # a trace reads them, too, and compiles nothing
            raise RuntimeError(_SCRIPT_ADVICE)
        return super().__iter__()


class _Converted:
    """What every class of this module says to tools that know torch's exact classes only."""

    __jit_ignored_attributes__ = _NoAttributes()
    """It refuses a `torch.jit.ScriptModule` with this layer, which does not call `__prepare_scriptable__`."""

    def __prepare_scriptable__(self) -> None:
        """Refuse TorchScript, which would put torch's layer in the place of this one in the user's model."""
        raise RuntimeError(_SCRIPT_ADVICE)

    def __setattr__(self, name: str, value: Any) -> None:
        """Warn where `torch.ao.quantization` passes the layer by."""
        if name == "qconfig":
            kind = type(self).__name__
            warnings.warn(
                f"torch.ao.quantization leaves this ohlol.nn.{kind} as it is; it quantizes torch.nn.{kind}, which "
                "ohlol.restore(model) puts back",
                stacklevel=2,
            )
        super().__setattr__(name, value)


@add_shape_advice
class RNNCell(_Converted, torch.nn.RNNCell):
    """One step of the cell rnn or rnn_relu: (B, I), (B, H) -> (B, H). See `torch.nn.RNNCell`."""


@add_shape_advice
class GRUCell(_Converted, torch.nn.GRUCell):
    """One step of the cell gru: (B, I), (B, H) -> (B, H). See `torch.nn.GRUCell`."""


@add_shape_advice
class LSTMCell(_Converted, torch.nn.LSTMCell):
    """One step of the cell lstm: (B, I), ((B, H), (B, H)) -> ((B, H), (B, H)). See `torch.nn.LSTMCell`."""


def _flat_weights(layer: torch.nn.RNNBase) -> list[Any]:
    """The layer's weights as torch sees them, after functional_call, parametrize and the like."""
    own = layer._parameters
    for name, weight in zip(layer._flat_weights_names, layer._flat_weights, strict=False):
        if own.get(name) is not weight:
            layer._update_flat_weights()
            break
    return layer._flat_weights


def _current_weights(layer: torch.nn.RNNBase) -> list[Any]:
    """The same as `_flat_weights`, changing nothing, so that a trace can follow it."""
    return [getattr(layer, name) for name in layer._flat_weights_names]


def _fallback_reason(layer: torch.nn.RNNBase, input: Any, state: Any) -> str:
    """Why this call uses torch's path, or an empty string for the kernels."""
    if ABSENT:
        return ABSENT
    if tracing := find_tracing():
        return tracing
    if layer.proj_size:
        return "proj_size is set"
    weights = _flat_weights(layer)
    packed = isinstance(input, PackedSequence)
    x = input.data if packed else input
    if type(x) not in TENSOR_TYPES:
        return f"the input is a {type(x).__name__}, not a plain torch.Tensor"
    dtype = x.dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        return f"the input has dtype {dtype}, the kernels support float32 and float64"
    is_pair = layer.mode in _PAIR_MODES
    if state is None:
        states: tuple[Any, ...] = ()
    elif is_pair:
        if not isinstance(state, tuple) or len(state) != 2:
            return "the state is not a pair (h_0, c_0)"
        states = state
    else:
        states = (state,)
    for tensor in (x, *states, *weights):
        # The conditions of find_unreadable: a call would take as long as they do.
        if (
            type(tensor) not in TENSOR_TYPES
            or not tensor.is_cpu
            or tensor.dtype is not dtype
            or tensor.layout is not _STRIDED
        ):
            return _find_unreadable(x, states, weights, dtype)
    shapes = weight_shapes(
        _CELL_NAMES[layer.mode],
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        2 if layer.bidirectional else 1,
        layer.bias,
    )
    if [weight.shape for weight in weights] != shapes:
        return f"{UNFIT_WEIGHTS}: their shapes are not those of the layer"
    shape_problem = _shape_problem(layer, x, input if packed else None, states)
    takes_one_step = not is_pair and x.numel() == layer.input_size and weights[1].numel() >= ONE_STEP
    if not shape_problem and takes_one_step and layer.precision == FULL_PRECISION:  # pyright: ignore[reportUnnecessaryComparison, reportAttributeAccessIssue, reportUnknownMemberType]
        return "one step of one sequence: torch's product with a vector needs no packed weights and is faster"
    return shape_problem


def _find_unreadable(x: Tensor, states: tuple[Any, ...], weights: list[Any], dtype: torch.dtype) -> str:
    """Find the first tensor that the kernels cannot read, and return why they cannot."""
    for tensor in (x, *states):
        if unreadable := find_unreadable(tensor, dtype):
            return unreadable
    unreadable = next(filter(None, (find_unreadable(weight, dtype) for weight in weights)))
    return f"{UNFIT_WEIGHTS}: {unreadable}" if all(type(w) in TENSOR_TYPES for w in weights) else unreadable


def _shape_problem(
    layer: torch.nn.RNNBase, x: Tensor, packed: PackedSequence | None, states: tuple[Tensor, ...]
) -> str:
    """Why torch must handle these shapes: they are wrong or empty, or an empty string; torch raises the errors."""
    dim = x.dim()
    if packed is not None:
        _, batch_sizes, sorted_indices, _ = packed
        B: int | None = packed_batch(batch_sizes, x.size(0)) if dim == 2 else 0
        if not B:
            return "the packed batch is not one of (S, I) and (T,) on the CPU, in descending order and S in total"
        if sorted_indices is not None and sorted_indices.shape != (B,):
            return f"the packed batch has sorted_indices of shape {tuple(sorted_indices.shape)}, expected {(B,)}"
    elif dim == 3:
        B = x.size(0 if layer.batch_first else 1)
    elif dim == 2:
        B = None
    else:
        return f"the input has {dim} axes"
    if x.size(-1) != layer.input_size:
        return f"the input has {x.size(-1)} features, the layer expects {layer.input_size}"
    if not x.numel():
        return "the input is empty"
    L = layer.num_layers * (2 if layer.bidirectional else 1)
    expected = (L, layer.hidden_size) if B is None else (L, B, layer.hidden_size)
    for tensor in states:
        if tensor.shape != expected:
            return f"a state has shape {tuple(tensor.shape)}, expected {expected}"
    return ""


def _operator_obstacle(layer: torch.nn.RNNBase, input: Any, state: Any, weights: list[Any]) -> str:
    """Why a traced call uses torch's path, or an empty string for the registered operator.

    The sizes of the tensors may be symbols and they may have no memory, so that the operator itself checks the rest.
    """
    if ABSENT:
        return ABSENT
    if layer.proj_size:
        return "proj_size is set"
    x = input.data if isinstance(input, PackedSequence) else input
    states: tuple[Any, ...] = () if state is None else tuple(state) if layer.mode in _PAIR_MODES else (state,)
    if layer.mode in _PAIR_MODES and len(states) == 1:
        return "the state is not a pair (h_0, c_0)"
    for tensor in (x, *states, *weights):
        if not isinstance(tensor, Tensor):
            return "an argument is not a tensor"
        if not tensor.is_cpu or tensor.layout is not _STRIDED or tensor.dtype is not x.dtype:
            return "the tensors are not on the CPU, dense and of one dtype"
    if x.dtype is not torch.float32 and x.dtype is not torch.float64:
        return f"the input has dtype {x.dtype}, the kernels support float32 and float64"
    if x.dim() < 2 or x.size(-1) != layer.input_size or any(w.size(0) != weights[0].size(0) for w in weights):
        return "the shapes are not those of the layer"
    return "" if isinstance(input, PackedSequence) else _shape_problem(layer, x, None, states)


def _layer_spec(layer: torch.nn.RNNBase) -> LayerSpec:
    return LayerSpec(
        _CELL_NAMES[layer.mode],
        layer.num_layers,
        2 if layer.bidirectional else 1,
        layer.bias,
        layer.batch_first,
        # 0.0 itself, and read only where it is used: a trace makes a symbol of a number.
        layer.dropout if layer.num_layers > 1 and layer.training and layer.dropout > 0 else 0.0,
    )


def _run(layer: torch.nn.RNNBase, input: Any, state: Any, weights: Any, run: Callable[..., Any] = run_checked) -> Any:
    """The forward pass by the kernels, for a call without a `_fallback_reason`; `run` is `run_checked` or the like."""
    spec = _layer_spec(layer)
    is_pair = layer.mode in _PAIR_MODES
    h_0, c_0 = (None, None) if state is None else state if is_pair else (state, None)
    if isinstance(input, PackedSequence):
        x, batch_sizes, sorted_indices, unsorted_indices = input
        if sorted_indices is not None:
            h_0 = None if h_0 is None else h_0.index_select(1, sorted_indices)
            c_0 = None if c_0 is None else c_0.index_select(1, sorted_indices)
        out, *final = run(x, h_0, c_0, weights, spec._replace(batch_first=False), batch_sizes)
        out = PackedSequence(out, batch_sizes, sorted_indices, unsorted_indices)
        if unsorted_indices is not None:
            final = [s.index_select(1, unsorted_indices) for s in final]
    elif input.dim() == 2:
        h_0 = None if h_0 is None else h_0.unsqueeze(1)
        c_0 = None if c_0 is None else c_0.unsqueeze(1)
        spec = spec._replace(batch_first=False)
        out, *final = run(input.unsqueeze(1), h_0, c_0, weights, spec)
        out, final = out.squeeze(1), [s.squeeze(1) for s in final]
    else:
        out, *final = run(input, h_0, c_0, weights, spec)
    return out, (tuple(final) if is_pair else final[0])


def _run_reduced(layer: Any, input: Any, state: Any) -> Any:
    """The forward pass with a reduced precision; raises RuntimeError where that cannot be."""
    if reason := _reduced_obstacle(layer, input, state):
        if not (layer.training or ABSENT or torch.compiler.is_compiling() or find_tracing()):
            torch_class = next(c for c in type(layer).__mro__ if c in LAYER_CLASSES)
            results = torch_class.forward(layer, input, state)  # raises torch's error where the arguments do not fit
            if not tensors_of(input, None)[0].numel():
                return results
        raise refuse_call(layer, reason)
    weights = layer._flat_weights
    reduced = _reduced_weights(layer, weights)
    out, final = _run(layer, input, state, weights, partial(run_reduced, reduced=reduced))
    return refuse_gradients_of(layer, input, state, out, final)


def _reduced_obstacle(layer: Any, input: Any, state: Any) -> str:
    """Why this call cannot run with a reduced precision, or an empty string."""
    if reason := find_reduced_obstacle(layer) or _fallback_reason(layer, input, state):
        return reason
    dtype = layer._flat_weights[0].dtype
    return "" if dtype is torch.float32 else f"the weights have dtype {dtype}"


def _reduced_weights(layer: Any, weights: list[Any]) -> ReducedWeights:
    """The packed weights of a layer, packed again where they have changed."""
    reduced: ReducedWeights | None = layer.__dict__.get("_reduced")
    if reduced is None or not reduced.is_current(weights, layer.precision):
        reduced = layer.__dict__["_reduced"] = ReducedWeights(_layer_spec(layer), weights, layer.precision)
    return reduced


def _run_one_by_one(layer: torch.nn.RNNBase, input: Any, hx: Any) -> Any:
    """The forward pass in training with locked dropout: layer by layer, with one mask for each sequence in between."""
    is_pair = layer.mode in _PAIR_MODES
    D = 2 if layer.bidirectional else 1
    states = () if hx is None else hx if is_pair else (hx,)
    ends: list[tuple[Tensor, ...]] = []
    for k, single in enumerate(_split_layers(layer)):
        parts = tuple(state[k * D : (k + 1) * D] for state in states)
        input, end = single(input, (parts if is_pair else parts[0]) if parts else None)
        ends.append(end if is_pair else (end,))
        if k < layer.num_layers - 1:
            input = _drop_locked(input, layer.dropout, layer.batch_first)
    final = tuple(torch.cat(parts) for parts in zip(*ends, strict=True))
    return input, final if is_pair else final[0]


def _split_layers(layer: torch.nn.RNNBase) -> list[torch.nn.RNNBase]:
    """Each layer of a stack as a layer of its own with the same parameters, which may have changed since."""
    singles: list[torch.nn.RNNBase] = layer.__dict__.setdefault("_singles", [])
    spec, D = CELLS[_CELL_NAMES[layer.mode]], 2 if layer.bidirectional else 1
    assert spec.torch_layer is not None
    for k in range(len(singles), layer.num_layers):
        options: Any = dict(spec.torch_options, bias=layer.bias, batch_first=layer.batch_first)
        options |= {"bidirectional": layer.bidirectional, "device": "meta"}
        options |= {"proj_size": layer.proj_size} if layer.proj_size else {}
        size = (layer.proj_size or layer.hidden_size) * D if k else layer.input_size
        make: Any = LAYER_CLASSES[spec.torch_layer]
        singles.append(make(size, layer.hidden_size, **options))
    for k, single in enumerate(singles):
        for name in single._flat_weights_names:
            own, _, reverse = name.partition("_l0")
            single._parameters[name] = getattr(layer, f"{own}_l{k}{reverse}")
    return singles


def _drop_locked(output: Any, p: float, batch_first: bool) -> Any:
    """The output of a layer, packed or not, after dropout with the same mask at all steps."""
    if isinstance(output, PackedSequence):
        return output._replace(data=SequenceDropout(p, locked=True)(output.data, output.batch_sizes))
    mask = output.new_ones(output.shape).narrow(1 if batch_first and output.dim() == 3 else 0, 0, 1)
    return output * torch.nn.functional.dropout(mask, p)


def _run_operator(layer: torch.nn.RNNBase, input: Any, state: Any, weights: list[Any]) -> Any:
    """The forward pass by the registered operator, for a call without an `_operator_obstacle`."""
    if isinstance(input, PackedSequence) and state is None and input.sorted_indices is not None:
        # The operator finds the batch in the states: it is a number in batch_sizes, which a trace does not have.
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        zeros = input.data.new_zeros(count, input.sorted_indices.size(0), layer.hidden_size)
        state = (zeros, zeros) if layer.mode in _PAIR_MODES else zeros
    needs = torch.is_grad_enabled() and any(w.requires_grad for w in (*weights, *tensors_of(input, state)))
    # An exported program is most often run without gradients; if it is not, the operator runs the forward pass again.
    save = needs and not torch.compiler.is_exporting()
    return _run(layer, input, state, weights, partial(run_operator, save=save))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Tensors of another dtype: one, those of a packed sequence or a tuple; anything else as it is."""
    if isinstance(value, (Tensor, PackedSequence)):
        return value.to(dtype)
    return tuple(_cast(v, dtype) for v in value) if isinstance(value, tuple) else value


def _uses_cudnn_dropout(layer: torch.nn.RNNBase) -> bool:
    """Whether cuDNN would draw the dropout between layers, though deterministic algorithms are asked for.

    cuDNN has a generator of its own, which `torch.manual_seed` does not restart and whose state cannot be saved.
    """
    return bool(
        layer.dropout
        and layer.training
        and layer.num_layers > 1
        and torch.are_deterministic_algorithms_enabled()
        and next(layer.parameters()).is_cuda
    )


DERIVED = ("_recurrent", "_singles", "_reduced")
"""Attributes of a layer that are made again from its weights."""


class Accelerated(_Converted):
    """What RNN, GRU and LSTM add to torch's layers: a forward that chooses its path, and regularization of the step.

    Args:
        zoneout: the probability that a number of a state keeps its value in a step; one for all states or one for each.
        recurrent_dropout: the probability that a number of the hidden state is zero wherever the next step reads it;
            the numbers are the same in all steps of a sequence.
        weight_dropout: the probability that a number of the recurrent weights is zero in a call.
        locked_dropout: whether the dropout between layers has the same mask at all steps of a sequence.
    """

    regularization = Regularization()
    weight_dropout: float = as_constant(0.0)
    locked_dropout = False
    precision = FULL_PRECISION
    """Of the weights; `ohlol.nn.quantize` sets it."""

    def __init__(
        self: Any,
        *args: Any,
        zoneout: float | Sequence[float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        locked_dropout: bool = False,
        **options: Any,
    ):
        super().__init__(*args, **options)
        check_probability("weight_dropout", weight_dropout)
        self.regularization = Regularization(zoneout, recurrent_dropout)
        self.weight_dropout = as_constant(weight_dropout)
        self.locked_dropout = locked_dropout
        if self.proj_size and self.regularization != Regularization():
            raise ValueError("zoneout and recurrent_dropout need proj_size=0")
        count = len(CELLS[_CELL_NAMES[self.mode]].states)
        if isinstance(zoneout, Sequence) and len(zoneout) != count:
            raise ValueError(f"zoneout has {len(zoneout)} probabilities, and the cell {count} states")

    def __getstate__(self: Any) -> dict[str, Any]:
        """Without the modules that run the layer with its own weights, of which some may be results of a dropout."""
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name not in DERIVED}

    @property
    def is_regularized(self: Any) -> bool:
        """Whether a call in this mode has zoneout, recurrent dropout, locked dropout or weight drop."""
        drops = self.training and (self.regularization.recurrent_dropout or self.weight_dropout or self._locks)
        return bool(drops or self.regularization.zoneout)

    @property
    def _locks(self: Any) -> bool:
        """Whether dropout between layers in training has the same mask at all steps."""
        return bool(self.locked_dropout and self.dropout and self.num_layers > 1)

    def extra_repr(self: Any) -> str:
        """Torch's, and the options of regularization that are set."""
        options = {"zoneout": self.regularization.zoneout, "recurrent_dropout": self.regularization.recurrent_dropout}
        options |= {"weight_dropout": self.weight_dropout, "locked_dropout": self.locked_dropout}
        options["precision"] = self.precision if self.precision != FULL_PRECISION else ""
        return super().extra_repr() + "".join(f", {name}={value}" for name, value in options.items() if value)  # type: ignore[misc]

    def forward(self: Any, input: Any, hx: Any = None) -> Any:
        """As torch's layer: output and final state."""
        if not self.weight_dropout or not self.training:
            return self._forward(input, hx)
        with drop_recurrent_weights(self, self.weight_dropout):
            return self._forward(input, hx)

    def _forward(self: Any, input: Any, hx: Any) -> Any:
        if self.precision != FULL_PRECISION:
            return _run_reduced(self, input, hx)
        regularization = self.regularization
        if regularization.zoneout or (regularization.recurrent_dropout and self.training):
            return run_regularized(self, regularization, _CELL_NAMES[self.mode], self.locked_dropout, input, hx)
        if self._locks and self.training:
            return _run_one_by_one(self, input, hx)
        is_compiling = torch.compiler.is_compiling()
        if takes_operators(is_compiling):
            weights = _current_weights(self)
            # Under autocast the kernels compute in float32, and the results have the dtype that autocast chooses.
            casts = torch.is_autocast_enabled("cpu") and weights[0].dtype is torch.float32
            x, state = (_cast(input, torch.float32), _cast(hx, torch.float32)) if casts else (input, hx)
            if not _operator_obstacle(self, x, state, weights):
                results = _run_operator(self, x, state, weights)
                return _cast(results, torch.get_autocast_dtype("cpu")) if casts else results
        if is_compiling:
            return super().forward(input, hx)  # type: ignore[misc]
        reason = _fallback_reason(self, input, hx)
        if not reason:
            return _run(self, input, hx, self._flat_weights)
        # With weights of the wrong shape, torch's oneDNN LSTM reads out of bounds; its other path checks the shapes.
        avoids_onednn = reason.startswith(UNFIT_WEIGHTS) and self.mode in _PAIR_MODES
        avoids_cudnn = _uses_cudnn_dropout(self)
        if not avoids_onednn and not avoids_cudnn:
            return super().forward(input, hx)  # type: ignore[misc]
        # Not torch.backends.mkldnn.flags, which sets options of other devices, too, and warns about them; nor
        # cudnn.enabled, which torch.backends.disable_global_flags forbids to set.
        onednn_enabled, cudnn_enabled = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
        try:
            torch._C._set_mkldnn_enabled(onednn_enabled and not avoids_onednn)
            torch._C._set_cudnn_enabled(cudnn_enabled and not avoids_cudnn)
            return super().forward(input, hx)  # type: ignore[misc]
        finally:
            torch._C._set_mkldnn_enabled(onednn_enabled)
            torch._C._set_cudnn_enabled(cudnn_enabled)


@add_shape_advice
class RNN(Accelerated, torch.nn.RNN):
    """The cell rnn or rnn_relu over a sequence: (T, B, I) -> (T, B, D*H), (L*D, B, H). See `torch.nn.RNN`."""


@add_shape_advice
class GRU(Accelerated, torch.nn.GRU):
    """The cell gru over a sequence: (T, B, I) -> (T, B, D*H), (L*D, B, H). See `torch.nn.GRU`."""


@add_shape_advice
class LSTM(Accelerated, torch.nn.LSTM):
    """The cell lstm over a sequence: (T, B, I) -> (T, B, D*H), ((L*D, B, H), (L*D, B, H)). See `torch.nn.LSTM`."""


def over_symbols(
    layer: torch.nn.RNNBase, ids: Tensor, vectors: Tensor | None, batch_sizes: Tensor | None, state: Any = None
) -> tuple[Tensor, Any] | None:
    """Run a layer over symbols without a matrix product over their vectors: the kernels look up projected symbols.

    Args:
        layer: a layer of `ohlol.nn`.
        ids: packed symbols (S,), or (T, B), or (B, T) with `batch_first`.
        vectors: a vector for each symbol, (V, I); None means one-hot, I = V.
        batch_sizes: (T,), for packed symbols.
        state: as the layer takes it, in the order of the batch.

    Returns:
        What `layer` returns for the vectors of the symbols, the output (S, D*H) or (T, B, D*H); or None where the
        kernels do not apply or the table is larger than what it would save.

    Raises:
        IndexError: an id is not the id of a symbol.
        TypeError: the ids are not int64.
        ValueError: packed ids without batch_sizes, or vectors that are not (V, I).
    """
    if ids.dim() == 1 and batch_sizes is None:
        raise ValueError("ids of one axis are packed: they need batch_sizes")
    weights = _flat_weights(layer)
    size = layer.input_size if vectors is None else len(vectors)
    if size > ids.numel() or not isinstance(layer, Accelerated) or layer.is_regularized:
        return None
    x = weights[0].new_empty(()).expand(*ids.shape, layer.input_size)
    packed = batch_sizes if ids.dim() == 1 else None
    if _fallback_reason(layer, x if packed is None else PackedSequence(x, packed), state):
        return None
    spec, precision = _layer_spec(layer), layer.precision
    run: Callable[..., tuple[Tensor, ...]] = run_checked
    if precision != FULL_PRECISION:
        if _reduced_obstacle(layer, x if packed is None else PackedSequence(x, packed), state):
            return None  # the layer itself says why
        run = partial(run_reduced, reduced=_reduced_weights(layer, weights))
    tables: list[Tensor] = []
    for d in range(spec.directions):
        at = d * (4 if layer.bias else 2)
        W_ih = weights[at]
        table = one_hot_table(W_ih, precision) if vectors is None else embedding_table(vectors, W_ih, precision)
        weights = [*weights[:at], table, *weights[at + 1 :]]
        tables.append(table)
    check_ids(ids, tables)
    if packed is not None:
        spec = spec._replace(batch_first=False)
    h_0, c_0 = (None, None) if state is None else state if layer.mode in _PAIR_MODES else (state, None)
    out, *states = run(ids, h_0, c_0, weights, spec, packed)
    final = tuple(states) if layer.mode in _PAIR_MODES else states[0]
    return (out, final) if precision == FULL_PRECISION else refuse_gradients_of(layer, out, state, out, final)


LAYER_CLASSES: dict[type[torch.nn.RNNBase], type[torch.nn.RNNBase]] = {
    torch.nn.RNN: RNN,
    torch.nn.GRU: GRU,
    torch.nn.LSTM: LSTM,
}
"""The layer of this package for each of torch's."""
CELL_CLASSES: dict[type[torch.nn.RNNCellBase], type[torch.nn.RNNCellBase]] = {
    torch.nn.RNNCell: RNNCell,
    torch.nn.GRUCell: GRUCell,
    torch.nn.LSTMCell: LSTMCell,
}
"""The cell of this package for each of torch's."""


def explain_backend(layer: torch.nn.Module, x: Tensor | PackedSequence, state: Any = None) -> str:
    """Say which path a call `layer(x, state)` takes, and why.

    Args:
        layer: any module.
        x: the input of the call.
        state: the state of the call, if it has one.

    Returns:
        "kernel (avx512)" and the like, or "torch: " and the reason. With a reduced precision "kernel (avx512, int8)",
        or "error: " and the reason, since there is no other path and the call raises an error.

    >>> explain_backend(torch.nn.LSTM(3, 5), torch.ones(7, 2, 3))
    'torch: the layer is a torch.nn.LSTM; call ohlol.accelerate to change it'
    """
    explain = getattr(layer, "explain_backend", None)
    if callable(explain):
        return str(explain(x, state))
    if not isinstance(layer, Accelerated):
        if type(layer) in LAYER_CLASSES or type(layer) in CELL_CLASSES:
            return f"torch: the layer is a torch.nn.{type(layer).__name__}; call ohlol.accelerate to change it"
        return f"torch: a {type(layer).__name__} has no kernel"
    if layer.precision != FULL_PRECISION:
        reason = _reduced_obstacle(layer, x, state)
        return f"error: {reason}" if reason else f"kernel ({selected()}, {layer.precision})"
    if takes_operators(torch.compiler.is_compiling()):
        reason = _operator_obstacle(layer, x, state, _current_weights(layer))  # type: ignore[arg-type]
    else:
        reason = _fallback_reason(layer, x, state)  # type: ignore[arg-type]
    return f"torch: {reason}" if reason else f"kernel ({selected()})"
