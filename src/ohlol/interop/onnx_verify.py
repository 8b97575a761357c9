"""Run an exported graph in onnxruntime: verify it against the model, quantize it, and compare speed and metrics.

Shapes: B sequences, T steps of the longest, S steps of all sequences, K outputs.
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
from ohlol.data.batches import Dataset, Ragged, gather, pack_words
from ohlol.evaluation.evaluate import evaluate
from ohlol.inference.trained_model import TrainedModel
from ohlol.models.inputs import PackedInputs, WordChars
from ohlol.models.sequence_model import LayerStates
from ohlol.tasks.metrics import Metrics
from ohlol.utils.devices import CPU
from ohlol.utils.errors import InputError
from ohlol.utils.translation import join_list, translate

try:
    import onnxruntime
except ModuleNotFoundError:
    raise InputError(
        "verifying an ONNX graph needs onnxruntime: pip install 'ohlol[onnx]', or give `verify=False`"
    ) from None

TOLERANCE = 1e-5
"""Largest difference allowed between onnxruntime and ohlol, relative to the tensor's largest value (at least 1).

It is that of the kernels in float32 (tests/parity/tolerances.py), for the same reason: the terms are added in another
order.
"""
NUMERIC_AGREEMENT = 0.1
"""Largest difference of two numbers that count as equal predictions: a tenth of the standard deviation of the data."""
SHAPES = ((1, 1), (1, 9), (3, 14), (7, 5), (5, 40))
"""Batches that are compared, (B, T); the sequences of a batch have lengths from 1 to T."""
PIECES = 3
"""Number of pieces in which each batch is also read, with the state carried over."""
LONGEST_WORD = 9
"""Most letters of a random word, for a model with a character RNN."""
TIMINGS = 15
"""Timings of each graph, taken in turns after one that is not counted."""
QUANTIZED_OPERATORS = ("LSTM",)
"""Recurrent operators that onnxruntime has with 8-bit weights."""
TIMED_SHAPE = (16, 64)
"""B and T of the batch that is timed."""

Array = NDArray[Any]


class OnnxModel(torch.nn.Module):
    """An exported graph with the interface of `SequenceModel`: it reads packed steps and returns logits and state.

    Args:
        model: the model that was exported, for its scales, its sizes and its head.
        graph: the bytes of the file.
    """

    device = CPU
    has_head_inputs = False
    """A graph returns logits alone."""

    def __init__(self, model: TrainedModel, graph: bytes):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.model = model
        self.sizes, self.head, self.prediction_sizes = (
            model.network.sizes,
            model.network.head,
            model.network.prediction_sizes,
        )
        self.states = [f"{name}_0" for name in model.network.state_names]
        self.step = "lengths" not in {i.name for i in self.session.get_inputs()}

    def initial_state(self, B: int) -> LayerStates:
        """The state at the beginning of B sequences: zeros."""
        network = self.model.network
        rows = network.settings.num_layers * network.directions
        return tuple(torch.zeros(rows, B, size) for size in network.state_sizes)

    def forward(self, packed: PackedInputs, state: LayerStates | None = None) -> tuple[Tensor, LayerStates]:
        """The logits (N, K) of the predicted steps, or (B, K), and the state, as `SequenceModel.forward`."""
        padding = _Padding(packed.batch_sizes.numpy())
        B = len(padding.lengths)
        state = self.initial_state(B) if state is None else state
        feed = {n: s.contiguous().numpy() for n, s in zip(self.states, state, strict=True)}
        feed |= {name: padding.pad(value) for name, value in self._inputs(packed).items()}
        if self.step:
            feed |= {name: value[:, 0] for name, value in feed.items() if name not in self.states}
        else:
            feed["lengths"] = padding.lengths
        if packed.statics is not None:
            feed["static"] = packed.statics.numpy()
        outputs: Any = self.session.run(None, feed)
        logits, *final = outputs[: 1 + len(self.states)]
        if self.model.codec.panel is not None:
            logits = logits.reshape(*logits.shape[:-2], -1)  # (..., F*h, Q) -> (..., F*h*Q)
        if self.model.codec.target_scale is not None:
            logits = self.model.codec.target_scale.apply(logits)
        if not self.sizes.per_sequence and not self.step:
            logits = padding.pack(logits)
        if packed.predicted is not None:
            logits = logits[packed.predicted.numpy()]
        return torch.from_numpy(logits), tuple(torch.from_numpy(s) for s in final)

    def _inputs(self, packed: PackedInputs) -> dict[str, Array]:
        """The inputs of the graph at each packed step, (S, ...)."""
        if self.model.codec.panel is not None:
            return {"features": packed.inputs.numpy()}
        if self.model.codec.scale is not None:
            return {"rows": self.model.codec.scale.undo(packed.inputs.numpy())}
        inputs: dict[str, Array] = {"ids": packed.inputs.numpy()}
        if packed.bigrams is not None and self.model.network.encoder.reads_bigrams:
            inputs["pairs"] = packed.bigrams.numpy()
        if packed.word_chars is not None:
            words = _Padding(packed.word_chars.batch_sizes.numpy())
            word_ids = packed.word_chars.word_ids.numpy()
            inputs |= {
                "characters": words.pad(packed.word_chars.chars.numpy())[word_ids],
                "letters": words.lengths[word_ids],
            }
        return inputs


class _Padding:
    """Conversion of a packed batch to rows padded at their ends, and back."""

    def __init__(self, batch_sizes: NDArray[np.int64]):
        rows = np.arange(batch_sizes[0])
        self.is_step = rows[:, None] < batch_sizes[None, :]
        first = np.cumsum(batch_sizes) - batch_sizes
        self.indices = np.where(self.is_step, first[None, :] + rows[:, None], 0)
        self.lengths = self.is_step.sum(axis=1)

    def pad(self, values: Array) -> Array:
        """(S, ...) -> (B, T, ...); the padding is the value of the first step."""
        return values[self.indices]

    def pack(self, values: Array) -> Array:
        """(B, T, ...) -> (S, ...)."""
        return np.swapaxes(values, 0, 1)[self.is_step.T]


@dataclass(frozen=True)
class Verification:
    """The difference between a graph in onnxruntime and the model it was exported from."""

    largest: float
    """Largest difference of logits or states, relative to the tensor's largest value (at least 1)."""
    location: str
    """The tensor and the batch of this difference."""
    compared: int
    """Number of tensors that were compared."""

    @property
    def passed(self) -> bool:
        """Whether the difference is within `TOLERANCE`."""
        return self.largest <= TOLERANCE  # False for NaN


@torch.no_grad()
def verify(model: TrainedModel, graph: bytes, seed: int = 0) -> Verification:
    """Run a graph and the model on the same random batches: whole, from another state, and in pieces.

    The graph of one step is run step by step over the same batches.
    """
    network, runtime = model.on_cpu.network, OnnxModel(model, graph)
    random = np.random.default_rng(seed)
    differences: list[tuple[float, str]] = []
    names = ("logits", *(f"{name}_n" for name in network.state_names))

    def compare(batch_name: str, expected: tuple[Tensor, LayerStates], actual: tuple[Tensor, LayerStates]) -> None:
        pairs = zip(names, (expected[0], *expected[1]), (actual[0], *actual[1]), strict=True)
        differences.extend((_relative_difference(a, b), f"{name} of {batch_name}") for name, a, b in pairs)

    for B, T in SHAPES:
        lengths = np.sort(random.integers(1, T + 1, B))[::-1].copy()
        lengths[0] = T
        batch = _random_batch(model, lengths, random)
        if CELLS[network.settings.cell].module is None:
            zeros = runtime.initial_state(B)
            initial = tuple(torch.from_numpy(random.uniform(-0.9, 0.9, s.shape)).float() for s in zeros)
        else:  # a state that it reaches: in others, small differences of a module may grow
            _, initial = network(_random_batch(model, lengths, random))
        name = translate("a batch of {B} with up to {T} steps", B=B, T=T)
        if not runtime.step:
            compare(name, network(batch, initial), runtime(batch, initial))
            compare(translate("{name} from zeros", name=name), network(batch), runtime(batch))
        if network.settings.bidirectional:
            continue
        cuts = range(1, T) if runtime.step else sorted(set(random.integers(1, T, PIECES - 1))) if T > 1 else []
        states = [initial, initial]
        for piece in _split(batch, [0, *cuts, T]):
            rows = int(piece.batch_sizes[0])
            expected, actual = (
                run(piece, tuple(s[:, :rows] for s in state))
                for run, state in zip((network, runtime), states, strict=True)
            )
            compare(translate("{name} in pieces", name=name), expected, actual)
            states = [expected[1], actual[1]]
    largest, location = max(differences)
    return Verification(largest, location, len(differences))


def _relative_difference(expected: Tensor, actual: Tensor) -> float:
    """The largest difference, relative to the largest expected value (at least 1); infinite for NaN or other shapes."""
    if expected.shape != actual.shape:
        return np.inf
    difference = float((expected - actual).abs().max()) / max(1.0, float(expected.abs().max()))
    return np.inf if np.isnan(difference) else difference


def _split(batch: PackedInputs, cuts: Sequence[int]) -> list[PackedInputs]:
    """A packed batch cut into pieces of time; a piece holds the sequences that have not ended before it."""
    bounds = torch.cat([torch.zeros(1).long(), batch.batch_sizes.cumsum(0)]).tolist()
    pieces: list[PackedInputs] = []
    for start, end in pairwise(cuts):
        rows = slice(bounds[start], bounds[end])
        word_chars = batch.word_chars and batch.word_chars._replace(word_ids=batch.word_chars.word_ids[rows])
        bigrams = None if batch.bigrams is None else batch.bigrams[rows]
        sizes = batch.batch_sizes[start:end]
        statics = None if batch.statics is None else batch.statics[: int(sizes[0])]
        pieces.append(PackedInputs(batch.inputs[rows], sizes, word_chars, bigrams, statics=statics))
    return pieces


def _random_batch(model: TrainedModel, lengths: NDArray[np.int64], random: np.random.Generator) -> PackedInputs:
    """A packed batch of random symbols, characters of words or rows."""
    sizes, encoder, N = model.network.sizes, model.network.encoder, int(lengths.sum())
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    if sizes.numeric:
        inputs = random.standard_normal((N, sizes.inputs)).astype(np.float32)
        return PackedInputs.of(gather(Dataset(Ragged(inputs, offsets)), np.arange(len(lengths))))
    packed = PackedInputs.of(
        gather(Dataset(Ragged(random.integers(0, sizes.ids, N), offsets)), np.arange(len(lengths)))
    )
    if encoder.static_size:
        statics = random.standard_normal((len(lengths), encoder.static_size)).astype(np.float32)
        packed = packed._replace(statics=torch.from_numpy(statics))
    if encoder.reads_bigrams:
        packed = packed._replace(bigrams=torch.from_numpy(random.integers(0, sizes.bigrams, (N, 2))))
    if encoder.reads_chars:
        letters = random.integers(1, LONGEST_WORD + 1, N)
        words = Ragged(random.integers(0, sizes.chars, letters.sum()), np.cumsum([0, *letters], dtype=np.int64))
        word_batch = pack_words(np.arange(N), words)
        arrays = (word_batch.chars, word_batch.batch_sizes, word_batch.word_ids)
        packed = packed._replace(word_chars=WordChars(*(torch.from_numpy(array) for array in arrays)))
    return packed


def quantize(model: TrainedModel, graph: bytes) -> bytes:
    """The graph with 8-bit integers as the weights of its LSTMs and products, by onnxruntime's dynamic quantizer.

    Raises:
        InputError: onnxruntime has no 8-bit operator of the cell.
    """
    cell = model.network.settings.cell
    operator = CELLS[cell].onnx
    if operator is None or operator.name not in QUANTIZED_OPERATORS:
        supported = join_list(QUANTIZED_OPERATORS)
        raise InputError(
            "`quantize` needs an 8-bit operator of onnxruntime, available for {supported} only; `cell` is {cell}",
            supported=supported,
            cell=cell,
        )
    import onnx
    from google.protobuf.message import DecodeError
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # the quantizer advises a pass that only others need
        try:
            # Weights of 7 bits: without VNNI onnxruntime adds pairs of products in 16 bits, which those of 8 overflow.
            quantize_dynamic(onnx.load_model_from_string(graph), path, weight_type=QuantType.QInt8, reduce_range=True)
        except DecodeError:  # it reads back a temporary file that was cut off
            raise InputError(
                "{folder} is full: quantizing writes temporary files there", folder=tempfile.gettempdir()
            ) from None
        finally:
            logging.disable(logging.NOTSET)
        return path.read_bytes()


@dataclass(frozen=True)
class GraphReport:
    """Size, speed and metrics of a graph."""

    size: int
    """Bytes of the file."""
    speed: float
    """Symbols, or rows, per second."""
    metrics: Metrics
    """On the data it was evaluated on; empty without data."""


@torch.no_grad()
def compare_graphs(model: TrainedModel, graphs: Sequence[bytes], data: Dataset | None) -> list[GraphReport]:
    """Time graphs of one model in turns, taking the median, and evaluate them on encoded data."""
    runtimes = [OnnxModel(model, graph) for graph in graphs]
    batch = _random_batch(model, np.full(*TIMED_SHAPE), np.random.default_rng(0))
    seconds: list[list[float]] = [[] for _ in runtimes]
    for turn in range(1 + TIMINGS):
        for runtime, timings in zip(runtimes, seconds, strict=True):
            started = time.perf_counter()
            runtime(batch)
            if turn:
                timings.append(time.perf_counter() - started)
    return [
        GraphReport(len(graph), len(batch.inputs) / median(timings), {} if data is None else _evaluate(runtime, data))
        for graph, runtime, timings in zip(graphs, runtimes, seconds, strict=True)
    ]


def _evaluate(runtime: Any, data: Dataset) -> Metrics:
    return evaluate(runtime, runtime.model.codec, data).metrics()


@torch.no_grad()
def measure_agreement(model: TrainedModel, graph: bytes, seed: int = 0) -> float:
    """The share of random steps at which a graph and the model predict the same label, or nearly the same numbers."""
    batch, head = _random_batch(model, np.full(*TIMED_SHAPE), np.random.default_rng(seed)), model.on_cpu.network.head
    sizes = model.network.prediction_sizes(batch.batch_sizes)
    expected, actual = (head.decode(run(batch)[0], sizes) for run in (model.on_cpu.network, OnnxModel(model, graph)))
    is_equal = (expected - actual).abs() <= NUMERIC_AGREEMENT if head.numeric else expected == actual
    return float(is_equal.float().mean())


def runtime_version() -> str:
    """The version of onnxruntime."""
    return onnxruntime.__version__
