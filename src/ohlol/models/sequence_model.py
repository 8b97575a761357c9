"""The sequence model: encoder, recurrent layers and head in a row, over packed steps, which hold no padding.

Shapes: B sequences, T steps of the longest, S steps in all, L layers, D directions, I input size, H hidden size, G
gates, V vocabulary, K outputs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ohlol import nn
from ohlol.cells import CELLS
from ohlol.config import ModelSettings
from ohlol.models.encoder import Encoder
from ohlol.models.heads import HEADS, Head
from ohlol.models.inputs import PackedInputs, Sizes
from ohlol.nn import CellLoop
from ohlol.ops import BatchStepper, LayerSpec, SequenceStepper, available, embedding_table, one_hot_table
from ohlol.utils.errors import InputError

LayerStates = tuple[Tensor, ...]
"""The state of all layers, a tensor (L*D, B, H) for each of the cell's states."""

MAX_TABLE_NUMBERS = 1 << 24
"""Numbers in the largest table of projected symbols of a stepper: 64 MiB of float32."""


class SequenceModel(torch.nn.Module):
    """A recurrent network over packed sequences of symbols or numbers.

    Raises:
        InputError: settings that do not fit together: a cell in a loop has one layer and one direction, the head must
            fit the task, tied weights need a linear head and an embedding of size D*H.
    """

    def __init__(self, settings: ModelSettings, sizes: Sizes):
        super().__init__()
        self.settings, self.sizes = settings, sizes
        self.directions = 2 if settings.bidirectional else 1
        self.looped = runs_in_loop(settings)
        _check_loop(settings, self.looped)
        _check_head(settings, sizes)
        self.encoder = Encoder(settings, sizes)
        spec = CELLS[settings.cell]
        if self.looped or spec.torch_layer is None:
            self.layers = CellLoop(spec, self.encoder.size, settings.hidden_size)
        else:
            self.layers = nn.LAYER_CLASSES[spec.torch_layer](
                self.encoder.size,  # pyright: ignore[reportArgumentType]
                settings.hidden_size,
                settings.num_layers,
                bidirectional=settings.bidirectional,
                dropout=settings.dropout if settings.num_layers > 1 else 0.0,
                **spec.torch_options,  # pyright: ignore[reportArgumentType]
            )
        self.dropout = torch.nn.Dropout(settings.dropout)
        self.head: Head = HEADS[settings.head](self.directions * settings.hidden_size, sizes.outputs)
        if settings.tie_weights:
            self._tie_weights()

    def _tie_weights(self) -> None:
        """Make the embedding's weight the head's."""
        projection, weight = self.head.projection, self.encoder.embedding.weight if not self._reads_vectors else None
        if projection is None or weight is None or projection[0].shape != weight.shape:
            width = self.directions * self.settings.hidden_size
            raise InputError(
                f"`tie_weights` shares the embedding with the head, so `embedding_size` must be {width} (hidden size "
                f"times directions) and `head` a linear one; `embedding_size` is {self.settings.embedding_size}"
            )
        self.head.weight = weight

    @property
    def _reads_vectors(self) -> bool:
        """Whether the encoder has no embedding."""
        return self.encoder.numeric or self.encoder.onehot

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._weights()[0].device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SequenceModel":
        """Like `torch.nn.Module._apply`; ties the weights again."""
        super()._apply(fn, recurse)
        if self.settings.tie_weights:
            self._tie_weights()
        return self

    def forward(self, packed: PackedInputs, state: LayerStates | None = None) -> tuple[Tensor, LayerStates]:
        """The logits of every step, (S, K), or of every sequence, (B, K); and the state after the last step.

        Args:
            packed: the packed input.
            state: the state to start from, each (L*D, B, H); zeros without it.
        """
        looked_up = self._run_lookup(packed, state)
        hidden, state = looked_up or self.hidden(self.encoder(packed), packed.batch_sizes, state)
        return self.head(self.dropout(self.head_inputs(hidden, state))), state

    def head_inputs(self, hidden: Tensor, state: LayerStates) -> Tensor:
        """The inputs of the head: the hidden states of all steps (S, D*H) or the last of each sequence (B, D*H)."""
        if not self.sizes.per_sequence:
            return hidden
        return torch.cat(state[0][-self.directions :].unbind(), dim=1)  # (D, B, H) -> (B, D*H)

    def prediction_sizes(self, batch_sizes: Int[Tensor, " T"]) -> Int[Tensor, " T"] | None:
        """The batch sizes that the head takes: those of the steps, or None where each sequence has one prediction."""
        return None if self.sizes.per_sequence else batch_sizes

    def _run_lookup(self, packed: PackedInputs, state: LayerStates | None) -> tuple[Tensor, LayerStates] | None:
        """The layers over symbols that are looked up in a table of projections; None where that is not possible."""
        encoder = self.encoder
        if isinstance(self.layers, CellLoop) or not encoder.is_lookup:
            return None
        dense = _dense_shape(packed.batch_sizes, len(packed.inputs))
        ids = packed.inputs if dense is None else packed.inputs.view(dense)
        vectors = None if encoder.onehot else encoder.embedding.weight
        hx = state if state is None or len(state) == 2 else state[0]
        result = nn.over_symbols(self.layers, ids, vectors, packed.batch_sizes, hx)
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
        return SequenceStepper(self._weights(), self._layer_spec(), self._table(), (W, b))

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
        return BatchStepper(weights, self._layer_spec(), table, head)

    @property
    def _has_kernel(self) -> bool:
        """Whether there is a kernel of the cell on the device of the weights."""
        return bool(available()) and CELLS[self.settings.cell].kernel is not None and self._weights()[0].is_cpu

    def _weights(self) -> list[Tensor]:
        return [p.detach() for p in self.layers.parameters()]

    def _layer_spec(self) -> LayerSpec:
        return LayerSpec(self.settings.cell, self.settings.num_layers)

    def _table(self) -> Tensor:
        """The input projection of every symbol in the first layer, (V, G*H)."""
        W_ih = self._weights()[0]
        encoder = self.encoder
        return one_hot_table(W_ih) if encoder.onehot else embedding_table(encoder.embedding.weight.detach(), W_ih)

    def hidden(
        self, x: Float[Tensor, "S I"], batch_sizes: Int[Tensor, " T"], state: LayerStates | None
    ) -> tuple[Float[Tensor, "S DH"], LayerStates]:
        """The layers alone: the hidden states of the last layer at every step, and the final state of all layers."""
        if self.looped:
            return self.layers(PackedSequence(x, batch_sizes), state)
        hx = state if state is None or len(state) == 2 else state[0]
        dense = _dense_shape(batch_sizes, len(x))
        if dense is not None:  # packed and dense layout are the same
            output, final = self.layers(x.view(*dense, x.size(1)), hx)
            output = output.reshape(len(x), -1)
        else:
            packed, final = self.layers(PackedSequence(x, batch_sizes), hx)
            output = packed.data
        return output, final if isinstance(final, tuple) else (final,)


def _dense_shape(batch_sizes: Tensor, S: int) -> tuple[int, int] | None:
    """(T, B) where all sequences have T steps, so that the S rows are a dense batch."""
    sizes = batch_sizes.tolist()
    T, B = len(sizes), sizes[0]
    return (T, B) if sizes.count(B) == T and S == T * B else None


def runs_in_loop(settings: ModelSettings) -> bool:
    """Whether the cell runs in a Python loop: on request, and where torch has no layer of it.

    Raises:
        InputError: no such cell.
    """
    return bool(settings.loop) or CELLS.select(settings.cell).torch_layer is None


def _check_loop(settings: ModelSettings, looped: bool) -> None:
    if looped and (settings.num_layers > 1 or settings.bidirectional):
        reason = "with `loop`" if settings.loop else "which torch has no layer of,"
        raise InputError(f"`cell` {settings.cell} {reason} runs one layer in one direction")


def _check_head(settings: ModelSettings, sizes: Sizes) -> None:
    if HEADS.select(settings.head).numeric != sizes.numeric:
        fitting = ", ".join(name for name, head in HEADS.items() if head.numeric == sizes.numeric)
        raise InputError(f"`head` {settings.head} does not fit this task; it must be one of {fitting}")
