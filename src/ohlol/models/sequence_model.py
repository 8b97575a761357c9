"""SequenceModel: encoder, layers and head in a row; knows nothing of symbols, files, losses or training.

Everything runs on packed steps, so a batch of ragged sequences holds no padding. Shapes: B sequences, T steps of the
longest, S steps in all, I input size, H hidden size, D directions, V vocabulary, K outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import PackedSequence

from ohlol import nn
from ohlol.cells import CELLS
from ohlol.config import ModelSettings
from ohlol.data.batches import Batch
from ohlol.models.heads import HEADS, Head, LinearHead
from ohlol.nn import CellLoop
from ohlol.ops import BatchStepper, LayerSpec, SequenceStepper, available, embedding_table, one_hot_table
from ohlol.utils.devices import CPU, to_device
from ohlol.utils.errors import InputError

State = tuple[Tensor, ...]
"""The state of all layers, a tensor (L*D, B, H) for each of the cell's states."""

SPELLING_EMBEDDING = 32
"""Size of a character's vector in the character RNN; a spelling has few different symbols."""


LARGEST_TABLE = 1 << 24
"""Numbers in the largest table of projected symbols that a stream makes: 64 MiB of float32."""


class Spelled(NamedTuple):
    """The different words of a batch as packed characters, and which of them stands at each step."""

    chars: Int[Tensor, " Sc"]
    batch_sizes: Int[Tensor, " Tc"]
    forms: Int[Tensor, " S"]


class Steps(NamedTuple):
    """The packed input of a model: ids or rows of numbers, step by step, longest sequence first."""

    inputs: Tensor
    """(S,) ids, or (S, I) numbers."""
    batch_sizes: Int[Tensor, " T"]
    spelled: Spelled | None = None
    bigrams: Int[Tensor, "S 2"] | None = None

    @staticmethod
    def of(batch: Batch, device: torch.device = CPU) -> "Steps":
        """The tensors of a batch on a device; its sizes stay on the CPU, as torch wants them."""
        spelled = None
        if batch.spelling is not None:
            s = batch.spelling
            spelled = Spelled(to_device(s.chars, device), torch.from_numpy(s.batch_sizes), to_device(s.forms, device))
        bigrams = to_device(batch.bigrams, device) if batch.bigrams is not None else None
        inputs = to_device(batch.inputs, device)
        inputs = inputs.to(torch.get_default_dtype()) if inputs.is_floating_point() else inputs
        return Steps(inputs, torch.from_numpy(batch.batch_sizes), spelled, bigrams)


@dataclass(frozen=True)
class Sizes:
    """What the data say about a model's shape."""

    inputs: int
    """V, the input vocabulary; for numbers I, their columns."""
    outputs: int
    """K: labels, symbols, or columns to forecast."""
    chars: int = 0
    """Different characters in the words; 0 where words are not spelled."""
    bigrams: int = 0
    """Different pairs of neighbouring characters; 0 where they are not read."""
    numeric: bool = False
    """Whether the inputs are numbers."""
    per_sequence: bool = False
    """Whether a sequence has one answer, instead of one at each step."""


class Encoder(torch.nn.Module):
    """Ids become vectors, one-hot or an embedding with or without a spelling beside it; numbers stay what they are.

    The spelling of a word is the last state, forward and backward, of a character LSTM: Ling et al., "Finding
    function in form" (2015).
    """

    def __init__(self, settings: ModelSettings, sizes: Sizes):
        super().__init__()
        self.size = sizes.inputs
        self.onehot = not sizes.numeric and not settings.embedding_size
        self.numeric = sizes.numeric
        if not self.numeric and settings.embedding_size:
            self.embedding = torch.nn.Embedding(sizes.inputs, settings.embedding_size)
            torch.nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
            self.size = settings.embedding_size
        self.spelled = bool(sizes.chars and settings.char_rnn_size)
        if self.spelled:
            self.chars = torch.nn.Embedding(sizes.chars, SPELLING_EMBEDDING)
            torch.nn.init.normal_(self.chars.weight, std=EMBEDDING_STD)
            self.speller = nn.LSTM(SPELLING_EMBEDDING, settings.char_rnn_size, bidirectional=True)
            self.size += 2 * settings.char_rnn_size
        self.paired = bool(sizes.bigrams and settings.bigram_size)
        if self.paired:
            self.bigrams = torch.nn.Embedding(sizes.bigrams, settings.bigram_size)
            torch.nn.init.normal_(self.bigrams.weight, std=EMBEDDING_STD)
            self.size += 2 * settings.bigram_size
        self.dropout = torch.nn.Dropout(settings.embedding_dropout)

    @property
    def is_lookup(self) -> bool:
        """Whether the vector of a step is that of its symbol and nothing else."""
        dropped = self.training and self.dropout.p > 0
        return not (self.numeric or self.spelled or self.paired or dropped)

    def forward(self, steps: Steps) -> Float[Tensor, "S I"]:
        """The vector of each step."""
        if self.numeric:
            vectors = steps.inputs
        elif self.onehot:
            vectors = one_hot(steps.inputs, self.size).to(torch.get_default_dtype())
        else:
            vectors = self.embedding(steps.inputs)
        if self.spelled:
            vectors = torch.cat([vectors, self.spell(steps.spelled)], dim=1)
        if self.paired:
            if steps.bigrams is None:
                raise ValueError("this model reads pairs of neighbours; give Steps with `bigrams`")
            pairs = self.bigrams(steps.bigrams).flatten(1)  # (S, 2, N) -> (S, 2N)
            vectors = torch.cat([vectors, pairs], dim=1)
        return self.dropout(vectors)

    def spell(self, spelled: Spelled | None) -> Float[Tensor, "S H2"]:
        """The last state, forward and backward, of the character RNN over the word at each step."""
        if spelled is None:
            raise ValueError("this model reads words by their characters; give Steps with `spelled`")
        chars = self.dropout(self.chars(spelled.chars))
        _, (h, _) = self.speller(PackedSequence(chars, spelled.batch_sizes))
        words = torch.cat([h[0], h[1]], dim=1)  # (2, W, H) -> (W, 2H)
        return words[spelled.forms]


EMBEDDING_STD = 0.3
"""Of an embedding's first values: with 1, torch's own, rare words drown their spelling."""


class SequenceModel(torch.nn.Module):
    """A recurrent network over packed sequences of symbols or numbers.

    Raises:
        InputError: settings that do not fit together (a cell in a loop has one layer and one direction; a model without
            head needs as many units as labels; tied weights need an embedding of size D*H).
    """

    def __init__(self, settings: ModelSettings, sizes: Sizes):
        super().__init__()
        self.settings, self.sizes = settings, sizes
        directions = 2 if settings.bidirectional else 1
        width = directions * settings.hidden_size
        _check(settings, sizes, width)
        self.encoder = Encoder(settings, sizes)
        spec = CELLS[settings.cell]
        self.looped = runs_in_loop(settings)
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
        self.head: Head = HEADS.select(settings.head)(width, sizes.outputs)
        self._tie()

    def _tie(self) -> None:
        if self.settings.tie_weights:
            self.head.weight = self.encoder.embedding.weight

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self._weights()[0].device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SequenceModel":
        """As torch has it, for `to` and the like; on some devices torch makes new parameters, each by itself."""
        super()._apply(fn, recurse)
        self._tie()
        return self

    def forward(self, steps: Steps, state: State | None = None) -> tuple[Tensor, State]:
        """The logits of every step, (S, K), or of every sequence, (B, K); and the state after the last step.

        Args:
            steps: the packed input.
            state: the state to start from, each (L*D, B, H); zeros without it.
        """
        found = self._over_symbols(steps, state)
        hidden, state = self.hidden(self.encoder(steps), steps.batch_sizes, state) if found is None else found
        return self.head(self.dropout(self.answer_states(hidden, state))), state

    def answer_states(self, hidden: Tensor, state: State) -> Tensor:
        """What the head reads: the hidden states of all steps (S, D*H), or the last ones of each sequence (B, D*H)."""
        if not self.sizes.per_sequence:
            return hidden
        directions = 2 if self.settings.bidirectional else 1
        return torch.cat(state[0][-directions:].unbind(), dim=1)  # (D, B, H) -> (B, D*H)

    def answer_sizes(self, batch_sizes: Int[Tensor, " T"]) -> Int[Tensor, " T"] | None:
        """The batch sizes that the head takes: those of the steps, or None where each sequence has one answer."""
        return None if self.sizes.per_sequence else batch_sizes

    def _over_symbols(self, steps: Steps, state: State | None) -> tuple[Tensor, State] | None:
        """The layers over a plain lookup, without a matrix product over its rows; None where that does not serve."""
        encoder = self.encoder
        if isinstance(self.layers, CellLoop) or not encoder.is_lookup:
            return None
        T, B = len(steps.batch_sizes), int(steps.batch_sizes[0])
        ids = steps.inputs.view(T, B) if len(steps.inputs) == T * B else steps.inputs
        vectors = None if encoder.onehot else encoder.embedding.weight
        hx = state if state is None or len(state) == 2 else state[0]
        found = nn.over_symbols(self.layers, ids, vectors, steps.batch_sizes, hx)
        if found is None:
            return None
        return found[0].reshape(len(steps.inputs), -1), found[1] if isinstance(found[1], tuple) else (found[1],)

    def writer(self, never: int | None = None) -> SequenceStepper | None:
        """A stream in the kernels that reads symbols and draws the ones that follow; None where they do not serve.

        Args:
            never: a symbol that is never to be drawn, such as <unk>.
        """
        if self.looped or self.settings.bidirectional or not self.encoder.is_lookup or not self._served:
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
        if never is not None:
            b[never] = -torch.inf
        return SequenceStepper(self._weights(), self._layer_spec(), self._table(), (W, b))

    def stepper(self) -> BatchStepper | None:
        """One step of many sequences in the kernels; None where they do not serve.

        It reads ids where the encoder is a lookup and the table of its products with the weights is not too large, and
        otherwise the encoder's vectors. It returns the logits or, where these are not a linear layer, hidden states.
        """
        if self.settings.bidirectional or not self._served:
            return None
        weights, table = self._weights(), None
        if self.encoder.is_lookup and self.sizes.inputs * len(weights[0]) <= max(LARGEST_TABLE, weights[0].numel()):
            table = self._table()
        projection = self.head.projection
        head = None if projection is None else (projection[0].detach(), projection[1].detach())
        return BatchStepper(weights, self._layer_spec(), table, head)

    @property
    def _served(self) -> bool:
        """Whether there is a kernel of the cell where the weights are."""
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
        self, x: Float[Tensor, "S I"], batch_sizes: Int[Tensor, " T"], state: State | None
    ) -> tuple[Float[Tensor, "S DH"], State]:
        """The layers alone: hidden states of the last layer at every step, and the state of all layers at the end."""
        T, B = len(batch_sizes), int(batch_sizes[0])
        if self.looped:
            return self.layers(PackedSequence(x, batch_sizes), state)
        hx = state if state is None or len(state) == 2 else state[0]
        if len(x) == T * B:  # every sequence has T steps: the dense layout is the packed one
            output, final = self.layers(x.view(T, B, -1), hx)
            output = output.reshape(T * B, -1)
        else:
            packed, final = self.layers(PackedSequence(x, batch_sizes), hx)
            output = packed.data
        return output, final if isinstance(final, tuple) else (final,)


def runs_in_loop(settings: ModelSettings) -> bool:
    """Whether the cell runs in a Python loop: on request, and where torch has no layer of it.

    Raises:
        InputError: no such cell.
    """
    return settings.loop or CELLS.select(settings.cell).torch_layer is None


def _check(settings: ModelSettings, sizes: Sizes, width: int) -> None:
    if runs_in_loop(settings) and (settings.num_layers > 1 or settings.bidirectional):
        reason = "with `loop`" if settings.loop else "which torch has no layer of,"
        raise InputError(f"`cell` {settings.cell} {reason} runs one layer in one direction")
    head = HEADS.select(settings.head)
    if head.numeric != sizes.numeric:
        fitting = ", ".join(name for name, other in HEADS.items() if other.numeric == sizes.numeric)
        raise InputError(f"`head` {settings.head} does not fit this task; it must be one of {fitting}")
    if settings.tie_weights and (not issubclass(head, LinearHead) or settings.embedding_size != width or sizes.numeric):
        raise InputError(
            f"`tie_weights` shares the embedding with the head, so `embedding_size` must be {width} (hidden size times "
            f"directions) and `head` a linear one; `embedding_size` is {settings.embedding_size}"
        )
    if (
        (settings.char_rnn_size and sizes.chars) or (settings.bigram_size and sizes.bigrams)
    ) and not settings.embedding_size:
        raise InputError(
            "`char_rnn_size` and `bigram_size` stand beside an embedding: give `embedding_size` N with them"
        )
    if settings.bigram_size and sizes.bigrams and not settings.bidirectional:
        raise InputError("`bigram_size` looks at the symbol that follows: give `bidirectional=True` with it")
