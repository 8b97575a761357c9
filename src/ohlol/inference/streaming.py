"""Streams: read sequences symbol by symbol and keep their states, which can be saved and restored.

A step is computed by the kernels or, where they do not support the model, by its forward pass.

Shapes: n sequences in a step, L layers, W width of a state, K outputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.cells import CELLS
from ohlol.checkpoint.weights import check_weights, parse_tensors, serialize_tensors
from ohlol.config import DataSettings
from ohlol.data.batches import gather
from ohlol.data.codec import Codec
from ohlol.data.codec_encoding import encode_data
from ohlol.data.lines import Place
from ohlol.data.raw_data import RawData
from ohlol.data.symbols import split_text
from ohlol.data.vocab import list_symbols
from ohlol.inference.step import StepLogits, StreamOutput, decode, excluded_label
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.digits import parse_digits
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

FORMAT = "ohlol stream 1"
"""The value of `format` in the metadata of a saved state."""
HEADER_LIMIT = 4096
"""Largest size of a saved state in bytes, without its tensors."""
STEP_DIGITS = 18
"""Most digits of the number of steps in a saved state."""
SHOWN_CHARACTERS = 20
"""Characters of a symbol that are shown in an error."""
STATE_TOLERANCE = 1e-5
"""Rounding by which a state may exceed its bound."""

StepInput = str | Sequence[float] | Mapping[str, float]
"""The input of a step: a symbol, or a row of numbers in the order of the columns or by their names."""


class StreamBatch:
    """Many sequences that one model reads, each at its own pace; `model.streams(n)` returns one.

    A sequence is named by a key, a number that is never used twice. Sequences join and leave at any step, and any of
    them can advance together in one call. A call that raises an error advances none.

    The weights are read when the batch is created; after further training, create another. One thread at a time may
    use it; other threads may use other batches of the same model.

    Args:
        network: the model, on the CPU.
        codec: the codec of the model.
        settings: how text is split into symbols.
        identity: returns the model's identity, which a saved state contains.
        count: how many sequences to begin with.

    Raises:
        InputError: the model is bidirectional, forecasts whole series, pools over the steps, reads text by language
            models or columns beside it, or has a head that labels whole sequences.
    """

    def __init__(
        self,
        network: SequenceModel,
        codec: Codec,
        settings: DataSettings,
        identity: Callable[[], str],
        count: int = 0,
    ) -> None:
        if network.head.structured:
            raise InputError(
                "this model has the `head` {head}, which labels a sequence as a whole, so it has no output "
                "before the last symbol: a stream needs a model that was trained with another head and "
                "`bidirectional=False`",
                head=network.settings.head,
            )
        if network.pooling is not None:
            raise InputError(
                "this model predicts from all steps of a sequence (`pooling` {pooling}), so it has no output "
                "before the last symbol: a stream needs a model that was trained with `pooling=last` and "
                "`bidirectional=False`",
                pooling=network.settings.pooling,
            )
        if network.encoder.reads_text:
            raise InputError(
                "this model reads the text around each word by language models (`char_lm`), so it has no "
                "stream: a stream needs a model that was trained without them"
            )
        if network.encoder.static_size:
            raise InputError(
                "this model reads columns beside the text (`static`), so it has no stream: a stream needs a model that "
                "was trained without them"
            )
        if codec.panel is not None:
            raise InputError(
                "this model's task is {task}, which reads whole series, so it has no stream", task=codec.task
            )
        if network.settings.bidirectional:
            pairs = " and `bigram_size=0`" if network.sizes.bigrams and network.settings.bigram_size else ""
            raise InputError(
                "this model is bidirectional, so it has no output before the last symbol: a stream needs a "
                "model that was trained with `bidirectional=False`{pairs}",
                pairs=pairs,
            )
        self._network, self._codec, self._settings, self._identity = network, codec, settings, identity
        self._kernel = network.make_batch_stepper()
        self._head, self._excluded = network.head, excluded_label(codec)
        self._projects = network.head.projection is not None
        self._dtype = network.dtype
        self._is_bounded = CELLS[network.settings.cell].bounded
        self._state = self._zeros(max(count, 1))
        self._free = list(range(max(count, 1)))[::-1]
        self._slots: dict[int, int] = {}
        self._lengths: dict[int, int] = {}
        self._next = 0
        for _ in range(count):
            self.join()

    def _zeros(self, slots: int) -> tuple[Tensor, ...]:
        L, sizes = self._network.settings.num_layers, self._network.state_sizes
        return tuple(torch.zeros(slots, L, size, dtype=self._dtype) for size in sizes)

    def join(self, state: bytes | None = None) -> int:
        """Begin a sequence, from zeros or from a saved state, and return its key.

        Raises:
            InputError: as `restore`.
        """
        values = None if state is None else self._read_state(state)
        if not self._free:
            count = len(self._slots)
            self._state = tuple(torch.cat([old, new]) for old, new in zip(self._state, self._zeros(count), strict=True))
            self._free = list(range(count, 2 * count))[::-1]
        key, self._next = self._next, self._next + 1
        self._slots[key] = self._free.pop()
        self._put(key, values)
        return key

    def leave(self, key: int) -> None:
        """End a sequence."""
        self._free.append(self._slot(key))
        del self._slots[key], self._lengths[key]

    def reset(self, key: int) -> None:
        """Set the state of a sequence to zeros."""
        self._slot(key)
        self._put(key, None)

    def steps(self, key: int) -> int:
        """The number of symbols that a sequence has read."""
        self._slot(key)
        return self._lengths[key]

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._slots))

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def __getitem__(self, key: int) -> "Stream":
        self._slot(key)
        return Stream(self, key)

    def check(self, symbol: StepInput) -> None:
        """Raise the InputError that `step` would raise for this symbol."""
        self._encode(symbol)

    @torch.no_grad()
    def step(self, symbols: Mapping[int, StepInput]) -> dict[int, StreamOutput]:
        """Read one symbol into each of some sequences, in one batched call.

        Args:
            symbols: the input of each sequence by its key; the other sequences do not advance.

        Returns:
            The output of each of them.

        Raises:
            InputError: there is no such sequence; the input is not one symbol, or one that was not seen by a model
                without <unk>; for a task on numbers, it has other columns than those of training or a value that is
                not finite.
        """
        slots = [self._slot(key) for key in symbols]
        encoded = [self._encode(symbol) for symbol in symbols.values()]
        if not slots:
            return {}
        logits, best = self._advance(slots, [value for value, _ in encoded])
        for key in symbols:
            self._lengths[key] += 1
        shared = StepLogits(logits, self._head)
        if self._excluded in best:
            best = decode(self._head, logits, self._excluded)
        return {
            key: StreamOutput(self._codec, shared, i, label, unknown)
            for i, (key, label, (_, unknown)) in enumerate(zip(symbols, best, encoded, strict=True))
        }

    @torch.no_grad()
    def read(self, key: int, text: str | Sequence[StepInput]) -> list[StreamOutput]:
        """Read many symbols into one sequence; the output is that of one `step` per symbol, computed faster.

        Args:
            key: the key of the sequence.
            text: a string, split into symbols as in training; or a list of symbols, or of rows.

        Returns:
            The output after each symbol.

        Raises:
            InputError: as `step`; or the text is empty.
        """
        slot = self._slot(key)
        symbols = split_text(text, self._settings) if isinstance(text, str) else text
        encoded = [self._encode(symbol) for symbol in symbols]
        if not encoded:
            raise InputError("there is nothing to read: give one symbol at least")
        packed = self._pack([value for value, _ in encoded])._replace(batch_sizes=torch.ones(len(encoded)).long())
        state = tuple(s[slot].unsqueeze(1) for s in self._state)  # (L, W) -> (L, 1, W)
        hidden, state = self._network.hidden(self._network.encoder(packed), packed.batch_sizes, state)
        head = self._head
        logits = head(hidden)
        for kept, new in zip(self._state, state, strict=True):
            kept[slot] = new[:, 0]
        self._lengths[key] += len(encoded)
        shared, best = StepLogits(logits, head), decode(head, logits, self._excluded)
        return [StreamOutput(self._codec, shared, i, best[i], unknown) for i, (_, unknown) in enumerate(encoded)]

    def state(self, key: int) -> bytes:
        """The state of a sequence as a safetensors file, for `restore` or `join`, also in another process.

        It holds the states (L, W) by their names, such as `h` and `c`, and in its metadata the identity of the model,
        the number of symbols that were read and a checksum. It holds no symbols.
        """
        slot = self._slot(key)
        tensors = {name: s[slot].clone() for name, s in zip(self._network.state_names, self._state, strict=True)}
        metadata = {"format": FORMAT, "model": self._identity(), "steps": str(self._lengths[key])}
        return bytes(serialize_tensors(tensors, metadata))

    def restore(self, key: int, state: bytes) -> None:
        """Put a sequence into a saved state.

        Raises:
            InputError: the state is damaged, or belongs to another model; the sequence is unchanged.
        """
        self._slot(key)
        self._put(key, self._read_state(state))

    def _slot(self, key: int) -> int:
        if key not in self._slots or isinstance(key, bool):
            raise InputError("there is no stream {key}: it left, or never joined", key=key)
        return self._slots[key]

    def _put(self, key: int, values: tuple[tuple[Tensor, ...], int] | None) -> None:
        slot = self._slots[key]
        for i, kept in enumerate(self._state):
            kept[slot] = 0 if values is None else values[0][i]
        self._lengths[key] = 0 if values is None else values[1]

    def _read_state(self, data: bytes) -> tuple[tuple[Tensor, ...], int]:
        """The tensors of a saved state and its number of steps, after every check."""
        where, names = translate("the state"), self._network.state_names
        limit = sum(s[0].nbytes for s in self._state) + HEADER_LIMIT
        if len(data) > limit:
            raise InputError(
                "{where} has {count} bytes; one of this model has at most {limit}",
                where=where,
                count=len(data),
                limit=limit,
            )
        tensors, metadata = parse_tensors(data, where)
        count = parse_digits(metadata.get("steps", ""), STEP_DIGITS)
        if metadata.get("format") != FORMAT or "sha256" not in metadata or count is None:
            raise InputError("{where} was not written by a stream of this version of ohlol", where=where)
        if metadata.get("model") != self._identity():
            raise InputError("{where} belongs to another model, or to other weights of this one", where=where)
        check_weights(
            tensors, {n: s[0] for n, s in zip(names, self._state, strict=True)}, where, translate("this model has")
        )
        if self._is_bounded:
            # |h| is at most 1, and every other state grows by at most 1 in a step: larger values could overflow.
            limits = [1.0, *[2.0 * max(count, 1)] * (len(names) - 1)]
            if any(
                float(tensors[n].abs().max()) > m * (1 + STATE_TOLERANCE) for n, m in zip(names, limits, strict=True)
            ):
                raise InputError(
                    "{where} holds values that no sequence of {count} steps leads to", where=where, count=count
                )
        return tuple(tensors[name] for name in names), count

    def _encode(self, symbol: StepInput) -> tuple[Any, bool]:
        """A symbol as the encoder takes it, (id, word) or a row (I,), and whether it is read as <unk>."""
        if self._codec.scale is not None:
            return self._encode_row(symbol), False
        vocab = self._codec.symbols
        assert vocab is not None
        if not isinstance(symbol, str):
            raise InputError("a step reads one symbol, not {type}: give it as a string", type=type(symbol).__name__)
        if (id := self._codec.find(symbol)) is not None:
            return (id, symbol), False
        symbol = self._normalize(symbol)
        if (id := self._codec.find(symbol)) is not None:
            return (id, symbol), False
        if vocab.unk is None:
            raise InputError(
                "symbol {symbol!r} was not seen in training; {vocab}",
                symbol=symbol[:SHOWN_CHARACTERS],
                vocab=list_symbols(vocab),
            )
        return (vocab.unk, symbol), True

    def _normalize(self, text: str) -> str:
        """A text of one symbol as training reads it: characters are composed, a word is taken as it is.

        Raises:
            InputError: it has several symbols, or none.
        """
        if self._settings.level == "word" and text:
            return text
        symbols: Any = split_text(text, self._settings)
        if len(symbols) != 1:
            shown = symbols if len(symbols) <= SHOWN_CHARACTERS else symbols[: SHOWN_CHARACTERS - 1] + "…"
            raise InputError(
                "a step reads one symbol, and {shown!r} is {count}: `read` takes many", shown=shown, count=len(symbols)
            )
        return symbols

    def _encode_row(self, row: Any) -> NDArray[np.float32]:
        scale, columns = self._codec.scale, self._codec.columns
        assert scale is not None
        if isinstance(row, Mapping):
            named: Mapping[str, Any] = row
            if set(named) != set(columns):
                raise InputError(
                    "a row has the columns {columns}, not {named}",
                    columns=join_list(columns),
                    named=join_list(map(str, named))[:200],
                )
            row = [named[name] for name in columns]
        try:
            values = np.asarray(row, np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.empty(0)
        if isinstance(row, str) or values.shape != (len(columns),):
            raise InputError(
                "a step reads a row of {count} numbers: {columns}", count=len(columns), columns=join_list(columns)
            )
        with np.errstate(over="ignore"):
            scaled = scale.apply(values)
        wrong = np.flatnonzero(~np.isfinite(scaled))
        if len(wrong):
            raise InputError(
                "column {columns} is {values}, not a finite number in range",
                columns=columns[wrong[0]],
                values=values[wrong[0]],
            )
        return scaled

    def _pack(self, values: list[Any]) -> PackedInputs:
        """One step of n sequences, as the encoder takes it."""
        ones = torch.tensor([len(values)])
        if self._codec.scale is not None:
            return PackedInputs(torch.from_numpy(np.stack(values)), ones)
        if not self._network.encoder.reads_chars:
            return PackedInputs(torch.tensor([id for id, _ in values]), ones)
        words: Any = [[word] for _, word in values]
        places = [Place("stream", i) for i in range(len(values))]
        data = encode_data(self._codec, RawData(self._codec.task, self._settings, words, None, places))
        return PackedInputs.of(gather(data, np.arange(len(data))))

    def _advance(self, slots: list[int], values: list[Any]) -> tuple[Tensor, list[int]]:
        """The logits (n, K) after one step of the sequences in these slots, and the best label of each."""
        kernel = self._kernel
        if kernel is not None:
            inputs: Any = [id for id, _ in values] if kernel.by_id else None
            if inputs is None:
                inputs = self._network.encoder(self._pack(values)).contiguous()
            logits, best = kernel.step(slots, inputs, *self._state)
            if not self._projects:  # the kernel returned the hidden states
                logits = self._head(logits)
            elif self._head.decodes_by_argmax:
                return logits, best
            return logits, decode(self._head, logits, None)
        state = tuple(s[slots].transpose(0, 1).contiguous() for s in self._state)  # (n, L, W) -> (L, n, W)
        logits, state = self._network(self._pack(values), state)
        for kept, new in zip(self._state, state, strict=True):
            kept[slots] = new.transpose(0, 1)
        return logits, decode(self._head, logits, None)


class Stream:
    """One sequence that a model reads symbol by symbol; `model.stream()` returns one.

    >>> import ohlol
    >>> model = ohlol.fit([("hello", "ohlol")], seed=1)
    >>> stream = model.stream()
    >>> "".join(stream.step(symbol).label for symbol in "hello")
    'ohlol'
    """

    def __init__(self, batch: StreamBatch, key: int) -> None:
        self._batch, self._key = batch, key

    def step(self, symbol: StepInput) -> StreamOutput:
        """Read one symbol; see `StreamBatch.step`."""
        return self._batch.step({self._key: symbol})[self._key]

    def read(self, text: str | Sequence[StepInput]) -> list[StreamOutput]:
        """Read many symbols; see `StreamBatch.read`."""
        return self._batch.read(self._key, text)

    def state(self) -> bytes:
        """The state as safetensors bytes; see `StreamBatch.state`."""
        return self._batch.state(self._key)

    def restore(self, state: bytes) -> None:
        """Put the stream into a saved state; see `StreamBatch.restore`."""
        self._batch.restore(self._key, state)

    def reset(self) -> None:
        """Set the state to zeros."""
        self._batch.reset(self._key)

    @property
    def steps(self) -> int:
        """The number of symbols that have been read."""
        return self._batch.steps(self._key)
