"""The sequence model: encoder, recurrent layers and head in a row, over packed steps, which hold no padding.

Shapes: B sequences, T steps of the longest, S steps in all, L layers, D directions, I input size, H hidden size, W
width of a state, O output of the top layer in one direction, G gates, V vocabulary, K outputs. W and O are H, except in
cells that are modules of their own.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol import nn
from ohlol.cells import CELLS, CellSpec, name_states, select_cell
from ohlol.config import FULL_PRECISION, INFERENCE_PRECISIONS, ModelSettings
from ohlol.models.encoder import Encoder
from ohlol.models.heads import HEADS, Head
from ohlol.models.inputs import PackedInputs, Sizes
from ohlol.models.pooling import POOLINGS, Pooling
from ohlol.nn import CellLoop, Recurrent, make_cell
from ohlol.nn.regularization import SequenceDropout
from ohlol.ops import BatchStepper, LayerSpec, SequenceStepper, available, embedding_table, one_hot_table
from ohlol.ops.crf_equations import last_rows
from ohlol.utils.errors import InputError, shorten_message
from ohlol.utils.translation import join_list

LayerStates = tuple[Tensor, ...]
"""The state of all layers, a tensor (L*D, B, W) for each of the cell's states."""

MAX_TABLE_NUMBERS = 1 << 24
"""Numbers in the largest table of projected symbols of a stepper: 64 MiB of float32."""


class SequenceModel(torch.nn.Module):
    """A recurrent network over packed sequences of symbols or numbers.

    Raises:
        InputError: settings that do not fit together: a cell in a loop has one layer and one direction, head and
            pooling must fit the task, tied weights need a linear head and an embedding of size D*O; or a cell cannot be
            made.

    Attributes:
        state_names: the symbols of the cell's states.
        state_sizes: W, the width of each state.
        output_size: O.
    """

    def __init__(self, settings: ModelSettings, sizes: Sizes):
        super().__init__()
        self.settings, self.sizes = settings, sizes
        self.directions = 2 if settings.bidirectional else 1
        self.looped = settings.loop
        spec = select_cell(settings.cell)
        _check_loop(settings, spec)
        _check_head(settings, sizes)
        _check_pooling(settings, sizes)
        self.encoder = Encoder(settings, sizes)
        self.layers = _make_layers(settings, spec, self.encoder.size)
        self.state_names, self.state_sizes = spec.states, (settings.hidden_size,) * len(spec.states)
        self.output_size = settings.hidden_size
        if isinstance(self.layers, Recurrent):
            self.state_sizes, self.output_size = self.layers.interface.state_sizes, self.layers.output_size
            self.state_names = _name_states(spec, len(self.state_sizes))
        self.dropout = SequenceDropout(settings.dropout, settings.locked_dropout)
        width = self.directions * self.output_size
        self.head: Head = HEADS[settings.head](width, sizes.outputs)
        pooling = POOLINGS.get(settings.pooling)
        self.pooling: Pooling | None = None if pooling is None else pooling(width)
        if settings.tie_weights:
            self._tie_weights()
        if not any(p.requires_grad for p in self.parameters()):
            raise InputError(
                "`cell` {name} and `head` {head} have no parameters, so nothing is trained",
                name=spec.name,
                head=settings.head,
            )

    def _tie_weights(self) -> None:
        """Make the embedding's weight the head's."""
        projection, weight = self.head.projection, self.encoder.embedding.weight if self.encoder.has_embedding else None
        if projection is None or weight is None or projection[0].shape != weight.shape:
            width = self.directions * self.output_size
            raise InputError(
                "`tie_weights` shares the embedding with the head, so `embedding_size` must be {width} "
                "(output size times directions) and `head` a linear one; `embedding_size` is {embedding_size}",
                width=width,
                embedding_size=self.settings.embedding_size,
            )
        self.head.weight = weight

    @property
    def parts(self) -> dict[str, list[torch.nn.Parameter]]:
        """The parameters of each part that has some, from the input to the output: encoder, layer1 and so on, head."""
        layers, D = self.layers, self.directions
        if isinstance(layers, torch.nn.RNNBase):
            by_direction = layers.all_weights
        elif isinstance(layers, Recurrent):
            by_direction = [list(cell.parameters()) for cell in layers.cells]
        else:
            by_direction = [list(layers.parameters())]
        numbers = range(0, len(by_direction), D)
        parts: dict[str, list[torch.nn.Parameter]] = {"encoder": list(self.encoder.parameters())}
        parts |= {f"layer{k // D + 1}": [p for own in by_direction[k : k + D] for p in own] for k in numbers}
        known = {id(p) for p in parts["encoder"]}  # a tied weight is part of the encoder
        pooling = [] if self.pooling is None else list(self.pooling.parameters())
        parts["head"] = [p for p in [*pooling, *self.head.parameters()] if id(p) not in known]
        return {name: own for name, own in parts.items() if own}

    @property
    def has_head_inputs(self) -> bool:
        """Whether the logits are the head's of `predicted_inputs`; otherwise they are added to the setting `base`."""
        return not self.sizes.base

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def precision(self) -> str:
        """That of the recurrent weights in inference, one of `INFERENCE_PRECISIONS`."""
        return self.layers.precision if isinstance(self.layers, (nn.Accelerated, Recurrent)) else FULL_PRECISION

    def quantize(self, precision: str) -> "SequenceModel":
        """Set `precision`, in place; see `ohlol.nn.quantize`.

        Raises:
            InputError: there is no such precision, or no kernel that computes the model with it.
        """
        if precision not in INFERENCE_PRECISIONS:
            raise InputError(
                "`precision` is {precision!r}; it must be one of {precisions}",
                precision=precision,
                precisions=join_list(INFERENCE_PRECISIONS),
            )
        if precision != FULL_PRECISION and (self.looped or not available() or self.device.type != "cpu"):
            raise InputError(
                "`precision` {precision} needs the compiled kernels, the CPU and a model without `loop`, and "
                "this model has the cell {cell} on {device}",
                precision=precision,
                cell=self.settings.cell,
                device=self.device,
            )
        if not self.looped:
            try:
                nn.quantize(self, precision)
            except ValueError as error:
                raise InputError(
                    "`precision` {precision}, `cell` {cell}: {error}",
                    precision=precision,
                    cell=self.settings.cell,
                    error=shorten_message(str(error)),
                ) from error
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SequenceModel":
        """Like `torch.nn.Module._apply`; ties the weights again."""
        super()._apply(fn, recurse)
        if self.settings.tie_weights:
            self._tie_weights()
        return self

    def forward(
        self,
        packed: PackedInputs,
        state: LayerStates | None = None,
        observe: Callable[[Tensor, Tensor], None] | None = None,
    ) -> tuple[Tensor, LayerStates]:
        """The logits of every predicted step, (N, K), or of every sequence, (B, K); and the state after the last step.

        Args:
            packed: the packed input.
            state: the state to start from, each (L*D, B, W); zeros without it.
            observe: is called with the outputs of the layers (S, D*O) and the inputs of the head after dropout, N or B
                rows of them.
        """
        inputs, state = self.predicted_inputs(packed, state, observe)
        return self.add_base(self.head(inputs), packed), state

    def predicted_inputs(
        self,
        packed: PackedInputs,
        state: LayerStates | None = None,
        observe: Callable[[Tensor, Tensor], None] | None = None,
    ) -> tuple[Float[Tensor, "N DO"], LayerStates]:
        """The inputs of the head at every predicted step or of every sequence, after dropout; otherwise as `forward`.

        The logits are the head's of these inputs where `has_head_inputs` says so.
        """
        hidden, state = self.outputs(packed, state)
        inputs = self.head_inputs(hidden, state, packed.batch_sizes)
        inputs = inputs if packed.predicted is None else inputs.index_select(0, packed.predicted)
        inputs = self.dropout(inputs, self.prediction_sizes(packed.batch_sizes), packed.predicted)
        if observe is not None:
            observe(hidden, inputs)
        return inputs, state

    def outputs(
        self, packed: PackedInputs, state: LayerStates | None = None
    ) -> tuple[Float[Tensor, "S DO"], LayerStates]:
        """Encoder and layers: the outputs of the last layer at every step, and the final state of all layers."""
        looked_up = self._run_lookup(packed, state)
        return looked_up or self.hidden(self.encoder(packed), packed.batch_sizes, state)

    def add_base(self, logits: Tensor, packed: PackedInputs) -> Tensor:
        """The logits, added to the forecasts in the first columns of the input, where it has some."""
        if not self.sizes.base:
            return logits
        base = packed.inputs[:, : self.sizes.base]
        return self.head.add(logits, base if packed.predicted is None else base.index_select(0, packed.predicted))

    def head_inputs(self, hidden: Tensor, state: LayerStates, batch_sizes: Int[Tensor, " T"]) -> Tensor:
        """The inputs of the head: the outputs of all steps (S, D*O), or one row a sequence (B, D*O), last or pooled."""
        if not self.sizes.per_sequence:
            return hidden
        if self.pooling is not None:
            return self.pooling(hidden, batch_sizes)
        if not isinstance(self.layers, Recurrent):
            return torch.cat(state[0][-self.directions :].unbind(), dim=1)  # (D, B, H) -> (B, D*H)
        last = hidden[last_rows(batch_sizes).to(hidden.device)]
        if self.directions == 1:
            return last
        first = hidden[: len(last)]  # where the reverse direction ends
        return torch.cat([last[:, : self.output_size], first[:, self.output_size :]], dim=1)

    def prediction_sizes(self, batch_sizes: Int[Tensor, " T"]) -> Int[Tensor, " T"] | None:
        """The batch sizes that the head takes: those of the steps, or None where each sequence has one prediction."""
        return None if self.sizes.per_sequence else batch_sizes

    def _run_lookup(self, packed: PackedInputs, state: LayerStates | None) -> tuple[Tensor, LayerStates] | None:
        """The layers over symbols that are looked up in a table of projections; None where that is not possible."""
        encoder = self.encoder
        if not isinstance(self.layers, torch.nn.RNNBase) or not encoder.is_lookup:
            return None
        dense = _dense_shape(packed.batch_sizes, len(packed.inputs))
        ids = packed.inputs if dense is None else packed.inputs.view(dense)
        result = nn.over_symbols(self.layers, ids, encoder.symbol_table, packed.batch_sizes, self._pack(state))
        if result is None:
            return None
        output, final = result
        return output.reshape(len(packed.inputs), -1), final if isinstance(final, tuple) else (final,)

    def make_sequence_stepper(self, exclude: int | None = None) -> SequenceStepper | None:
        """A stepper that reads symbols and draws the next ones in the kernels; None where these cannot run the model.

        Args:
            exclude: a symbol that is never drawn, such as <unk>.
        """
        if self.looped or self.settings.bidirectional or not self.encoder.is_lookup or not self._has_kernel:
            return None
        if self.head.is_identity:
            W = torch.eye(self.sizes.outputs, dtype=self._weights()[0].dtype)
            b = W.new_zeros(self.sizes.outputs)
        else:
            projection = self.head.projection
            if projection is None:
                return None
            W, b = (parameter.detach() for parameter in projection)
            b = b.clone()
        if exclude is not None:
            b[exclude] = -torch.inf
        return SequenceStepper(self._weights(), self._layer_spec(), self._table(), (W, b), self.precision)

    def make_batch_stepper(self) -> BatchStepper | None:
        """A stepper that advances many sequences by one step in the kernels; None where these cannot run the model.

        It reads ids where the encoder is a lookup and the table of its products with the weights is not too large, and
        otherwise the encoder's vectors. It returns the logits or, where these are not a linear layer, hidden states.
        """
        if self.settings.bidirectional or not self._has_kernel:
            return None
        weights, table = self._weights(), None
        if self.encoder.is_lookup and self.sizes.inputs * len(weights[0]) <= max(MAX_TABLE_NUMBERS, weights[0].numel()):
            table = self._table()
        projection = self.head.projection
        head = None if projection is None else (projection[0].detach(), projection[1].detach())
        return BatchStepper(weights, self._layer_spec(), table, head, self.precision)

    @property
    def _has_kernel(self) -> bool:
        """Whether there is a kernel of the cell on the device of the weights."""
        spec = CELLS[self.settings.cell]
        has_kernel = spec.kernel is not None and spec.torch_layer is not None
        return bool(available()) and has_kernel and self.device.type == "cpu"

    def _weights(self) -> list[Tensor]:
        return [p.detach() for p in self.layers.parameters()]

    def _layer_spec(self) -> LayerSpec:
        return LayerSpec(self.settings.cell, self.settings.num_layers)

    def _table(self) -> Tensor:
        """The input projection of every symbol in the first layer, (V, G*H)."""
        W_ih = self._weights()[0]
        if self.encoder.onehot:
            return one_hot_table(W_ih, self.precision)
        return embedding_table(self.encoder.embedding.weight.detach(), W_ih, self.precision)

    def hidden(
        self, x: Float[Tensor, "S I"], batch_sizes: Int[Tensor, " T"], state: LayerStates | None
    ) -> tuple[Float[Tensor, "S DO"], LayerStates]:
        """The layers alone: the outputs of the last layer at every step, and the final state of all layers."""
        if isinstance(self.layers, CellLoop):
            return self.layers(PackedSequence(x, batch_sizes), state)
        hx = self._pack(state)
        dense = _dense_shape(batch_sizes, len(x))
        if dense is not None:  # packed and dense layout are the same
            output, final = self.layers(x.view(*dense, x.size(1)), hx)
            output = output.reshape(len(x), -1)
        else:
            packed, final = self.layers(PackedSequence(x, batch_sizes), hx)
            output = packed.data
        return output, final if isinstance(final, tuple) else (final,)

    def _pack(self, state: LayerStates | None) -> Any:
        """The state as the layers take it."""
        if state is None:
            return None
        if isinstance(self.layers, Recurrent):
            return self.layers.interface.pack(state)
        return state if len(state) == 2 else state[0]


def _dense_shape(batch_sizes: Tensor, S: int) -> tuple[int, int] | None:
    """(T, B) where all sequences have T steps, so that the S rows are a dense batch."""
    sizes = batch_sizes.tolist()
    T, B = len(sizes), sizes[0]
    return (T, B) if sizes.count(B) == T and S == T * B else None


def _make_layers(settings: ModelSettings, spec: CellSpec, input_size: int) -> torch.nn.Module:
    """The recurrent layers of a cell: torch's class, `Recurrent`, or a loop.

    Raises:
        InputError: the cell cannot be made, or cannot be read.
    """
    if settings.loop:
        return CellLoop(spec, input_size, settings.hidden_size)
    options: dict[str, Any] = {
        "num_layers": settings.num_layers,
        "bidirectional": settings.bidirectional,
        "dropout": settings.dropout if settings.num_layers > 1 else 0.0,
        "locked_dropout": settings.locked_dropout,
    }
    if spec.torch_layer is not None:
        options |= {**spec.torch_options, "weight_dropout": settings.weight_dropout}
        return nn.LAYER_CLASSES[spec.torch_layer](input_size, settings.hidden_size, **options)  # pyright: ignore[reportArgumentType]
    if settings.weight_dropout:
        options["weight_dropout"] = dict.fromkeys(_recurrent_weights(spec), settings.weight_dropout)
    if spec.module is None:  # the interface of a StepCell
        options |= {"state_sizes": (settings.hidden_size,) * len(spec.states), "returns_output": False}
    try:
        layers = Recurrent(lambda size: make_cell(spec, size, settings.hidden_size), input_size=input_size, **options)
    except ValueError as error:
        raise InputError(
            "`cell` {name} cannot run: {error}", name=spec.name, error=shorten_message(str(error))
        ) from error
    _check_weights(layers, spec)
    return layers


def _recurrent_weights(spec: CellSpec) -> tuple[str, ...]:
    """The parameters of a cell's module that `weight_dropout` drops; raises InputError where there are none."""
    names = spec.recurrent_weights or (("weight_hh",) if spec.module is None else ())
    if not names:
        raise InputError(
            "`weight_dropout` drops weights of products with the hidden state, and `cell` {name} names none: "
            "leave it out",
            name=spec.name,
        )
    return names


def _check_weights(layers: Recurrent, spec: CellSpec) -> None:
    """Check that the weights of a cell can be trained with the rest of the model and saved; raises InputError."""
    dtype = torch.get_default_dtype()
    for name, weight in layers.state_dict(keep_vars=True).items():
        if not isinstance(weight, Tensor):
            raise InputError(
                "`cell` {name} has the state {state}, a {type}, which is not saved",
                name=spec.name,
                state=name,
                type=type(weight).__name__,
            )
        if weight.dtype != dtype and (weight.is_floating_point() or weight.is_complex()):
            raise InputError(
                "`cell` {name} has the weight {weight} of {dtype}; weights of a model are {expected}",
                name=spec.name,
                weight=name,
                dtype=weight.dtype,
                expected=dtype,
            )


def _name_states(spec: CellSpec, count: int) -> tuple[str, ...]:
    names = spec.states or name_states(count)
    if len(names) != count:
        raise InputError(
            "`cell` {name} names the states {names}, and its module has {count}",
            name=spec.name,
            names=join_list(names),
            count=count,
        )
    return names


def _check_loop(settings: ModelSettings, spec: CellSpec) -> None:
    if not settings.loop:
        return
    if settings.weight_dropout:
        raise InputError("`weight_dropout` drops weights of a layer, and `loop` calls a cell: leave one of them out")
    if spec.torch_cell is None:
        raise InputError(
            "`loop` calls a cell of torch at each step, and torch has none of `cell` {name}", name=spec.name
        )
    if settings.num_layers > 1 or settings.bidirectional:
        raise InputError("`cell` {cell} with `loop` runs one layer in one direction", cell=settings.cell)


def _check_pooling(settings: ModelSettings, sizes: Sizes) -> None:
    if settings.pooling in POOLINGS and not sizes.per_sequence:
        raise InputError(
            "`pooling` {pooling} is for tasks with one prediction for a whole sequence, and this task has "
            "one at each step: leave it out",
            pooling=settings.pooling,
        )


def _check_head(settings: ModelSettings, sizes: Sizes) -> None:
    kind = (sizes.quantity or (sizes.numeric and not sizes.per_sequence), sizes.multiple, sizes.counts)
    chosen = HEADS.select(settings.head)
    if (chosen.numeric, chosen.multiple, chosen.counts) != kind:
        fitting = join_list(name for name, head in HEADS.items() if (head.numeric, head.multiple, head.counts) == kind)
        raise InputError(
            "`head` {head} does not fit this task; it must be one of {fitting}", head=settings.head, fitting=fitting
        )
