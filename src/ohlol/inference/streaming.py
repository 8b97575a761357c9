"""A trained model that reads as symbols come, one sequence or many, each with a state that can be saved and restored.

Knows nothing of files, of HTTP, or of how a step is computed: `ops.stepping` does that, or the model's own forward pass
where there are no kernels. Shapes: n sequences in a step, L layers, H hidden size, K outputs, F columns to forecast.
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
from ohlol.data import sequences
from ohlol.data.batches import gather
from ohlol.data.codec import Codec, list_symbols
from ohlol.data.lines import Place
from ohlol.data.sequences import Corpus
from ohlol.inference.step import Logits, Step, decode, excluded_label
from ohlol.models.inputs import Steps
from ohlol.models.sequence_model import SequenceModel
from ohlol.utils.errors import InputError

FORMAT = "ohlol stream 1"
"""What the metadata of a saved state say it is."""
HEADER = 4096
"""Bytes of a saved state beside its tensors, at most."""

DIGITS = 18
"""Of the number of steps in a saved state: no sequence is longer."""
SHOWN = 20
"""Characters of a symbol that an error repeats."""

Symbol = str | Sequence[float] | Mapping[str, float]
"""What a step reads: a symbol, or for `forecast` a row of numbers, in the order of the columns or by their names."""


class Streams:
    """Many sequences that one model reads, each at its own pace; `model.streams(n)` makes one.

    Sequences have numbers, which are never used twice. They join and leave at any step, and any of them advance
    together in one call. Where anything in a call is refused, no sequence has moved.

    The weights are those of the moment it is made: train on, and make another. One thread at a time may use it; other
    threads may use other streams of the same model.

    Raises:
        InputError: the model reads from both ends.
    """

    def __init__(
        self,
        network: SequenceModel,
        codec: Codec,
        settings: DataSettings,
        identity: Callable[[], str],
        count: int = 0,
    ) -> None:
        if network.settings.bidirectional:
            pairs = " and `bigram_size=0`" if network.sizes.bigrams and network.settings.bigram_size else ""
            raise InputError(
                "this model reads a sequence from both its ends, so it has no answer before the last symbol: "
                f"a stream needs one that was trained with `bidirectional=False`{pairs}"
            )
        self._network, self._codec, self._settings, self._identity = network, codec, settings, identity
        self._kernel = network.make_batch_stepper()
        self._dtype = next(network.layers.parameters()).dtype
        self._tensors = len(CELLS[network.settings.cell].states)
        self._state = self._zeros(max(count, 1))
        self._free = list(range(max(count, 1)))[::-1]
        self._slots: dict[int, int] = {}
        self._lengths: dict[int, int] = {}
        self._next = 0
        for _ in range(count):
            self.join()

    def _zeros(self, slots: int) -> tuple[Tensor, ...]:
        shape = (slots, self._network.settings.num_layers, self._network.settings.hidden_size)
        return tuple(torch.zeros(shape, dtype=self._dtype) for _ in range(self._tensors))

    def join(self, state: bytes | None = None) -> int:
        """Begin a sequence, from nothing or from a state that `state` gave; its number."""
        values = None if state is None else self._read_state(state)
        if not self._free:
            have = len(self._slots)
            self._state = tuple(
                torch.cat([old, more]) for old, more in zip(self._state, self._zeros(have), strict=True)
            )
            self._free = list(range(have, 2 * have))[::-1]
        key, self._next = self._next, self._next + 1
        self._slots[key] = self._free.pop()
        self._put(key, values)
        return key

    def leave(self, key: int) -> None:
        """End a sequence."""
        self._free.append(self._slot(key))
        del self._slots[key], self._lengths[key]

    def reset(self, key: int) -> None:
        """Begin a sequence anew, from the state of zeros."""
        self._slot(key)
        self._put(key, None)

    def steps(self, key: int) -> int:
        """How many symbols a sequence has read."""
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

    def check(self, symbol: Symbol) -> None:
        """Refuse what a step would refuse, with the same InputError."""
        self._encode(symbol)

    @torch.no_grad()
    def step(self, symbols: Mapping[int, Symbol]) -> dict[int, Step]:
        """Read one symbol into each of some sequences, all in one batched call.

        Args:
            symbols: what each reads, by the sequence's number; the others stay where they are.

        Returns:
            What the model says of each.

        Raises:
            InputError: no such sequence, not one symbol, or one that was not seen by a model without <unk>; for
            `forecast`, columns other than those of training or a value that is no finite number.
        """
        at = [self._slot(key) for key in symbols]
        found = [self._encode(symbol) for symbol in symbols.values()]
        if not at:
            return {}
        logits, best = self._advance(at, [value for value, _ in found])
        for key in symbols:
            self._lengths[key] += 1
        of, unk = Logits(logits, self._network.head), excluded_label(self._codec)
        if unk in best:
            best = decode(self._network.head, logits, unk)
        return {
            key: Step(self._codec, of, i, b, unknown)
            for i, (key, b, (_, unknown)) in enumerate(zip(symbols, best, found, strict=True))
        }

    @torch.no_grad()
    def read(self, key: int, text: str | Sequence[Symbol]) -> list[Step]:
        """Read many symbols into one sequence, as `step` one after the other would, but faster.

        Args:
            key: the sequence's number.
            text: a string, split as in training into characters or words; or a list of symbols, or of rows.

        Returns:
            What the model says after each.

        Raises:
            InputError: as `step`; or there is nothing to read.
        """
        slot = self._slot(key)
        symbols = sequences.symbols_of(text, self._settings) if isinstance(text, str) else text
        found = [self._encode(symbol) for symbol in symbols]
        if not found:
            raise InputError("there is nothing to read: give one symbol at least")
        steps = self._steps([value for value, _ in found])._replace(batch_sizes=torch.ones(len(found)).long())
        state = tuple(s[slot].unsqueeze(1) for s in self._state)  # (L, H) -> (L, 1, H)
        hidden, state = self._network.hidden(self._network.encoder(steps), steps.batch_sizes, state)
        logits = self._network.head(hidden)
        for kept, new in zip(self._state, state, strict=True):
            kept[slot] = new[:, 0]
        self._lengths[key] += len(found)
        head = self._network.head
        of, best = Logits(logits, head), decode(head, logits, excluded_label(self._codec))
        return [Step(self._codec, of, i, best[i], unknown) for i, (_, unknown) in enumerate(found)]

    def state(self, key: int) -> bytes:
        """A sequence's state, to go on from with `restore` or `join`, in another process too.

        A safetensors file: `h` (L, H) and for the LSTM `c`, and in its metadata which model it belongs to, how many
        symbols were read and a checksum. It holds no symbols.
        """
        slot = self._slot(key)
        tensors = {name: s[slot].clone() for name, s in zip("hc", self._state, strict=False)}
        about = {"format": FORMAT, "model": self._identity(), "steps": str(self._lengths[key])}
        return bytes(serialize_tensors(tensors, about))

    def restore(self, key: int, state: bytes) -> None:
        """Put a sequence into a state that `state` gave.

        Raises:
            InputError: damaged, of another model, or no such state; the sequence is where it was.
        """
        self._slot(key)
        self._put(key, self._read_state(state))

    def _slot(self, key: int) -> int:
        if key not in self._slots:
            raise InputError(f"there is no stream {key}: it has left, or never joined")
        return self._slots[key]

    def _put(self, key: int, values: tuple[tuple[Tensor, ...], int] | None) -> None:
        slot = self._slots[key]
        for i, kept in enumerate(self._state):
            kept[slot] = 0 if values is None else values[0][i]
        self._lengths[key] = 0 if values is None else values[1]

    def _read_state(self, data: bytes) -> tuple[tuple[Tensor, ...], int]:
        """The tensors of a saved state and its number of steps, after every check."""
        where, names = "the state", "hc"[: self._tensors]
        most = sum(s[0].nbytes for s in self._state) + HEADER
        if len(data) > most:
            raise InputError(f"{where} has {len(data)} bytes; one of this model has at most {most}")
        tensors, about = parse_tensors(data, where)
        steps = about.get("steps", "")
        counted = steps.isascii() and steps.isdecimal() and len(steps) <= DIGITS
        if about.get("format") != FORMAT or "sha256" not in about or not counted:
            raise InputError(f"{where} is not one that a stream of this version of ohlol gave")
        if about.get("model") != self._identity():
            raise InputError(f"{where} belongs to another model, or to other weights of this one")
        check_weights(tensors, {n: s[0] for n, s in zip(names, self._state, strict=True)}, where, "this model has")
        # Every cell keeps |h| <= 1, and the LSTM adds at most 1 to |c| in a step: larger ones could overflow.
        count = int(steps)
        largest = [tensors["h"].abs().max(), tensors["c"].abs().max() / 2 / max(count, 1) if "c" in tensors else 0]
        if max(map(float, largest)) > 1 + 1e-5:
            raise InputError(f"{where} holds values that no sequence of {count} steps leads to")
        return tuple(tensors[name] for name in names), count

    def _encode(self, symbol: Symbol) -> tuple[Any, bool]:
        """A symbol as the encoder takes it, (id, word) or a row (I,), and whether it was read as <unk>."""
        if self._codec.scale is not None:
            return self._encode_row(symbol), False
        vocab = self._codec.symbols
        assert vocab is not None
        if not isinstance(symbol, str):
            raise InputError(f"a step reads one symbol, not {type(symbol).__name__}: give it as a string")
        if (id := vocab.find(symbol)) is not None:
            return (id, symbol), False
        found: Any = symbol
        if self._settings.level != "word" or not symbol:
            found = sequences.symbols_of(symbol, self._settings)
            if len(found) != 1:
                shown = found if len(found) <= SHOWN else found[: SHOWN - 1] + "…"
                raise InputError(f"a step reads one symbol, and {shown!r} is {len(found)}: read() takes many")
        if (id := vocab.find(found)) is not None:
            return (id, found), False
        if vocab.unk is None:
            raise InputError(f"symbol {found[:SHOWN]!r} was not seen in training; {list_symbols(vocab)}")
        return (vocab.unk, found), True

    def _encode_row(self, row: Any) -> NDArray[np.float32]:
        scale, columns = self._codec.scale, self._codec.columns
        assert scale is not None
        if isinstance(row, Mapping):
            given: Mapping[str, Any] = row
            if set(given) != set(columns):
                raise InputError(f"a row has the columns {', '.join(columns)}, not {', '.join(map(str, given))[:200]}")
            row = [given[name] for name in columns]
        try:
            values = np.asarray(row, np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.empty(0)
        if isinstance(row, str) or values.shape != (len(columns),):
            raise InputError(f"a step reads a row of {len(columns)} numbers: {', '.join(columns)}")
        with np.errstate(over="ignore"):
            scaled = scale.apply(values)
        wrong = np.flatnonzero(~np.isfinite(scaled))
        if len(wrong):
            raise InputError(f"column {columns[wrong[0]]} is {values[wrong[0]]}, not a finite number in range")
        return scaled

    def _steps(self, values: list[Any]) -> Steps:
        """What one step of n sequences hands to the encoder."""
        ones = torch.tensor([len(values)])
        if self._codec.scale is not None:
            return Steps(torch.from_numpy(np.stack(values)), ones)
        if not self._network.encoder.reads_chars:
            return Steps(torch.tensor([id for id, _ in values]), ones)
        words: Any = [[word] for _, word in values]
        places = [Place("stream", i) for i in range(len(values))]
        data = self._codec.encode(Corpus(self._codec.task, self._settings, words, None, places))
        return Steps.of(gather(data, np.arange(len(data))))

    def _advance(self, at: list[int], values: list[Any]) -> tuple[Tensor, list[int]]:
        """The logits (n, K) after one step of the sequences in these slots, and the best label of each."""
        kernel = self._kernel
        if kernel is not None:
            inputs: Any = [id for id, _ in values] if kernel.by_id else None
            if inputs is None:
                inputs = self._network.encoder(self._steps(values)).contiguous()
            logits, best = kernel.step(at, inputs, *self._state)
            return logits, best if self._network.head.decodes_by_argmax else decode(self._network.head, logits, None)
        steps = self._steps(values)
        state = tuple(s[at].transpose(0, 1).contiguous() for s in self._state)  # (n, L, H) -> (L, n, H)
        logits, state = self._network(steps, state)
        for kept, new in zip(self._state, state, strict=True):
            kept[at] = new.transpose(0, 1)
        return logits, decode(self._network.head, logits, None)


class Stream:
    """One sequence that a model reads as it comes; `model.stream()` makes one.

    >>> import ohlol
    >>> model = ohlol.fit([("hello", "ohlol")], seed=1)
    >>> stream = model.stream()
    >>> "".join(stream.step(symbol).label for symbol in "hello")
    'ohlol'
    """

    def __init__(self, streams: Streams, key: int) -> None:
        self._streams, self._key = streams, key

    def step(self, symbol: Symbol) -> Step:
        """Read one symbol; see `Streams.step`."""
        return self._streams.step({self._key: symbol})[self._key]

    def read(self, text: str | Sequence[Symbol]) -> list[Step]:
        """Read many symbols; see `Streams.read`."""
        return self._streams.read(self._key, text)

    def state(self) -> bytes:
        """The state as safetensors bytes; see `Streams.state`."""
        return self._streams.state(self._key)

    def restore(self, state: bytes) -> None:
        """Go on from a state that `state` gave; see `Streams.restore`."""
        self._streams.restore(self._key, state)

    def reset(self) -> None:
        """Begin anew."""
        self._streams.reset(self._key)

    @property
    def steps(self) -> int:
        """How many symbols have been read."""
        return self._streams.steps(self._key)
