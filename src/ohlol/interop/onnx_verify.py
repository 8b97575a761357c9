"""An exported graph in onnxruntime, as a network over packed steps: held against ours, made smaller, timed and scored.

Knows nothing of how the graph was written, or of the command line. B sequences, T steps of the longest, S steps in all.
"""

import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ohlol.cells import CELLS
from ohlol.data.batches import Dataset, Ragged, gather, spell
from ohlol.evaluation.evaluate import evaluate
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import Steps, WordChars
from ohlol.models.sequence_model import State
from ohlol.utils.devices import CPU
from ohlol.utils.errors import InputError

try:
    import onnxruntime
except ModuleNotFoundError:
    raise InputError(
        "checking an ONNX graph needs onnxruntime: pip install 'ohlol[onnx]', or give `verify=False`"
    ) from None

TOLERANCE = 1e-5
"""Largest difference allowed between onnxruntime and ours, as a share of the largest number of the tensor (at least 1).

The bound of the kernels in float32 (tests/parity/tolerances.py), for the same reason: the same terms are added in
another order.
"""
SHAPES = ((1, 1), (1, 9), (3, 14), (7, 5), (5, 40))
"""Batches that are compared, (B, T); the sequences of a batch have lengths from 1 to T."""
PIECES = 3
"""Each batch is also read in so many pieces, the state carried from one to the next."""
LONGEST_WORD = 9
"""Letters of a word that is made up for a model that spells."""
TURNS = 15
"""Timings of each of two graphs, taken in turns after one that is not counted."""

Array = NDArray[Any]


class Runtime(torch.nn.Module):
    """An exported graph in place of a `SequenceModel`: the same call on the same packed steps gives the same results.

    Args:
        model: the model that was exported, for its scales and its sizes.
        graph: the file's bytes.
    """

    device = CPU

    def __init__(self, model: TrainedModel, graph: bytes):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.model = model
        self.sizes, self.head, self.answer_sizes = model.network.sizes, model.network.head, model.network.answer_sizes
        self.states = [i.name for i in self.session.get_inputs() if i.name in ("h_0", "c_0")]
        self.step = "lengths" not in {i.name for i in self.session.get_inputs()}

    def start(self, B: int) -> State:
        """A state of zeros."""
        settings = self.model.network.settings
        rows = settings.num_layers * (2 if settings.bidirectional else 1)
        return tuple(torch.zeros(rows, B, settings.hidden_size) for _ in self.states)

    def forward(self, steps: Steps, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (S, K), or (B, K) for `classify`, and the state; as `SequenceModel.forward`."""
        where = _Padded(steps.batch_sizes.numpy())
        B = len(where.lengths)
        state = self.start(B) if state is None else state
        feed = {n: s.contiguous().numpy() for n, s in zip(self.states, state, strict=True)}
        feed |= {name: where.pad(value) for name, value in self._inputs(steps).items()}
        if self.step:
            feed |= {name: value[:, 0] for name, value in feed.items() if name not in self.states}
        else:
            feed["lengths"] = where.lengths
        found: Any = self.session.run(None, feed)
        logits, *after = found
        if self.model.codec.target_scale is not None:
            logits = self.model.codec.target_scale.apply(logits)
        if not self.sizes.per_sequence and not self.step:
            logits = where.packed(logits)
        return torch.from_numpy(logits), tuple(torch.from_numpy(s) for s in after)

    def _inputs(self, steps: Steps) -> dict[str, Array]:
        """What the graph reads at each packed step, (S, ...)."""
        if self.model.codec.scale is not None:
            return {"rows": self.model.codec.scale.undo(steps.inputs.numpy())}
        made: dict[str, Array] = {"ids": steps.inputs.numpy()}
        if steps.bigrams is not None and self.model.network.encoder.reads_bigrams:
            made["pairs"] = steps.bigrams.numpy()
        if steps.word_chars is not None:
            words = _Padded(steps.word_chars.batch_sizes.numpy())
            forms = steps.word_chars.forms.numpy()
            made |= {"characters": words.pad(steps.word_chars.chars.numpy())[forms], "letters": words.lengths[forms]}
        return made


class _Padded:
    """Where each step of a packed batch stands when sequences lie side by side, (B, T), filled up at their ends."""

    def __init__(self, batch_sizes: NDArray[np.int64]):
        rows = np.arange(batch_sizes[0])
        self.filled = rows[:, None] < batch_sizes[None, :]
        first = np.cumsum(batch_sizes) - batch_sizes
        self.at = np.where(self.filled, first[None, :] + rows[:, None], 0)
        self.lengths = self.filled.sum(axis=1)

    def pad(self, values: Array) -> Array:
        """(S, ...) -> (B, T, ...); what stands past an end is the first step's, and must not matter."""
        return values[self.at]

    def packed(self, values: Array) -> Array:
        """(B, T, ...) -> (S, ...)."""
        return np.swapaxes(values, 0, 1)[self.filled.T]


@dataclass(frozen=True)
class Verified:
    """How far a graph in onnxruntime is from the network it was written from."""

    largest: float
    """Difference of scores or states, as a share of the tensor's largest number (at least 1)."""
    where: str
    """The batch and tensor of that difference."""
    compared: int
    """How many tensors were held together."""

    @property
    def right(self) -> bool:
        """Whether it is within `TOLERANCE`."""
        return self.largest <= TOLERANCE  # False for NaN


@torch.no_grad()
def verify(model: TrainedModel, graph: bytes, seed: int = 0) -> Verified:
    """Run a graph and the network on the same batches: whole, from a state of chance, and in pieces.

    The graph of one step is run step by step over the same batches.
    """
    network, runtime = model.on_cpu.network, Runtime(model, graph)
    random = np.random.default_rng(seed)
    found: list[tuple[float, str]] = []

    def compare(name: str, ours: tuple[Tensor, State], theirs: tuple[Tensor, State]) -> None:
        for tensor, a, b in zip(("logits", "h_n", "c_n"), (ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=False):
            off = float((a - b).abs().max()) / max(1.0, float(a.abs().max())) if a.shape == b.shape else np.inf
            found.append((np.inf if np.isnan(off) else off, f"{tensor} of {name}"))

    for B, T in SHAPES:
        lengths = np.sort(random.integers(1, T + 1, B))[::-1].copy()
        lengths[0] = T
        batch = _made_up(model, lengths, random)
        start = tuple(torch.from_numpy(random.uniform(-0.9, 0.9, s.shape)).float() for s in runtime.start(B))
        name = f"a batch of {B} with up to {T} steps"
        if not runtime.step:
            compare(name, network(batch, start), runtime(batch, start))
            compare(f"{name} from zeros", network(batch), runtime(batch))
        if network.settings.bidirectional:
            continue
        cuts = range(1, T) if runtime.step else sorted(set(random.integers(1, T, PIECES - 1))) if T > 1 else []
        ours, theirs = start, start
        for piece in _cut(batch, [0, *cuts, T]):
            live = int(piece.batch_sizes[0])
            a, b = (
                run(piece, tuple(s[:, :live] for s in state)) for run, state in ((network, ours), (runtime, theirs))
            )
            compare(f"{name} in pieces", a, b)
            ours, theirs = a[1], b[1]
    largest, where = max(found)
    return Verified(largest, where, len(found))


def _cut(batch: Steps, cuts: Sequence[int]) -> list[Steps]:
    """A packed batch in pieces of time; sequences that have ended are not in the pieces after."""
    bounds = torch.cat([torch.zeros(1).long(), batch.batch_sizes.cumsum(0)]).tolist()
    pieces: list[Steps] = []
    for start, end in pairwise(cuts):
        rows = slice(bounds[start], bounds[end])
        spelled = batch.word_chars and batch.word_chars._replace(forms=batch.word_chars.forms[rows])
        bigrams = None if batch.bigrams is None else batch.bigrams[rows]
        pieces.append(Steps(batch.inputs[rows], batch.batch_sizes[start:end], spelled, bigrams))
    return pieces


def _made_up(model: TrainedModel, lengths: NDArray[np.int64], random: np.random.Generator) -> Steps:
    """A packed batch of chance: any symbol, spelling or row."""
    sizes, encoder, N = model.network.sizes, model.network.encoder, int(lengths.sum())
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    if sizes.numeric:
        inputs = random.standard_normal((N, sizes.inputs)).astype(np.float32)
        return Steps.of(gather(Dataset(Ragged(inputs, offsets)), np.arange(len(lengths))))
    steps = Steps.of(gather(Dataset(Ragged(random.integers(0, sizes.inputs, N), offsets)), np.arange(len(lengths))))
    if encoder.reads_bigrams:
        steps = steps._replace(bigrams=torch.from_numpy(random.integers(0, sizes.bigrams, (N, 2))))
    if encoder.reads_chars:
        letters = random.integers(1, LONGEST_WORD + 1, N)
        words = Ragged(random.integers(0, sizes.chars, letters.sum()), np.cumsum([0, *letters], dtype=np.int64))
        made = spell(np.arange(N), words)
        spelled = WordChars(*(torch.from_numpy(a) for a in (made.chars, made.batch_sizes, made.forms)))
        steps = steps._replace(word_chars=spelled)
    return steps


EIGHT_BIT = ("LSTM",)
"""The recurrent operators whose weights onnxruntime stores in 8 bits."""


def quantized(model: TrainedModel, graph: bytes) -> bytes:
    """The graph with the weights of its LSTMs and products as 8-bit integers, by onnxruntime's dynamic quantizer.

    Raises:
        InputError: onnxruntime has no 8-bit operator of the cell.
    """
    spec = CELLS[model.network.settings.cell]
    operator = spec.name if spec.onnx is None else spec.onnx.name
    if operator not in EIGHT_BIT:
        raise InputError(
            f"`quantize` is int8: onnxruntime has an 8-bit LSTM (DynamicQuantizeLSTM) and none of the {operator}, "
            "whose weights would stay as they are; export without it"
        )
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # advice to run a pass that is for other quantizers
        try:
            quantize_dynamic(onnx.load_model_from_string(graph), path, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        return path.read_bytes()


@dataclass(frozen=True)
class Measured:
    """A graph's size, speed and scores."""

    size: int
    """Bytes of the file."""
    speed: float
    """Symbols, or rows, a second."""
    scores: dict[str, float]
    """On the data it was measured with; empty where there were none."""


@torch.no_grad()
def compared(model: TrainedModel, graphs: Sequence[bytes], data: Dataset | None) -> list[Measured]:
    """Graphs of one model beside each other: timed in turns, the medians taken, and scored on encoded data."""
    runtimes = [Runtime(model, graph) for graph in graphs]
    batch = _made_up(model, np.full(16, 64), np.random.default_rng(0))
    times: list[list[float]] = [[] for _ in runtimes]
    for turn in range(1 + TURNS):
        for runtime, kept in zip(runtimes, times, strict=True):
            started = time.perf_counter()
            runtime(batch)
            if turn:
                kept.append(time.perf_counter() - started)
    return [
        Measured(len(graph), len(batch.inputs) / median(kept), {} if data is None else _scores(runtime, model, data))
        for graph, runtime, kept in zip(graphs, runtimes, times, strict=True)
    ]


def _scores(network: Any, model: TrainedModel, data: Dataset) -> dict[str, float]:
    return evaluate(network, model.codec, data).metrics()


def agreement(model: TrainedModel, graph: bytes, seed: int = 0) -> float:
    """The share of made-up steps on which a graph and the network choose the same label."""
    batch = _made_up(model, np.full(16, 64), np.random.default_rng(seed))
    with torch.no_grad():
        ours, theirs = model.on_cpu.network(batch)[0], Runtime(model, graph)(batch)[0]
    decode = model.network.head.decode
    return float((decode(ours) == decode(theirs)).float().mean())


def version() -> str:
    """Of onnxruntime."""
    return onnxruntime.__version__
