"""Generate text: the symbol that follows is drawn from the model's logits and read as the next input."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ohlol.config import DataSettings
from ohlol.data.codec import Codec
from ohlol.data.symbols import split_text
from ohlol.data.vocab import UnknownSymbol
from ohlol.models.inputs import PackedInputs
from ohlol.models.sequence_model import SequenceModel
from ohlol.ops import SequenceStepper
from ohlol.ops.stepping import sample, skip, uniform
from ohlol.utils.devices import disable_tf32, to_device
from ohlol.utils.errors import InputError

KERNEL_CHUNK = 32
"""Symbols that the kernel draws per call: enough to make the cost of the call small, few enough to show progress."""
LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Sampling:
    """How the next symbol is drawn from the logits.

    Raises:
        InputError: a value is out of its range.
    """

    temperature: float = 1.0
    """Divides the logits; 0 always takes the most probable symbol."""
    top_k: int = 0
    """Draw among the k most probable symbols; 0 means all."""
    top_p: float = 1.0
    """Draw among the most probable symbols that together have this probability, in (0, 1]."""
    seed: int | None = None
    """Makes the text repeatable; None draws a seed."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(
                "`temperature` is {temperature}; it must be at least 0 and finite", temperature=self.temperature
            )
        if self.top_k < 0:
            raise InputError("`top_k` is {top_k}; it must be at least 0", top_k=self.top_k)
        if not 0 < self.top_p <= 1:
            raise InputError("`top_p` is {top_p}; it must be in (0, 1]", top_p=self.top_p)
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(
                "`seed` is {seed}; it must be from 0 to {largest_seed}", seed=self.seed, largest_seed=LARGEST_SEED
            )


@torch.no_grad()
def generate(
    network: SequenceModel,
    codec: Codec,
    settings: DataSettings,
    prompt: str | Sequence[str],
    length: int,
    sampling: Sampling,
) -> Iterator[str]:
    """Continue a text, one symbol at a time; the prompt is not repeated.

    Args:
        network: a model of the symbol that follows, in evaluation mode.
        codec: the codec of the model.
        settings: how text is split into symbols.
        prompt: the text to continue; empty starts after a line end, if the vocabulary has one.
        length: how many symbols to generate.
        sampling: how each is drawn.

    Raises:
        InputError: a symbol of the prompt was not seen by a model without <unk>.
    """
    vocab = codec.symbols
    assert vocab is not None
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    if not prompt:
        prompt = ["\n"] if "\n" in vocab else [vocab.symbols[-1]]
    symbols = split_text(prompt, settings) if isinstance(prompt, str) else list(prompt)
    try:
        ids = codec.encode_symbols(symbols)
    except UnknownSymbol as unknown:
        raise InputError("`prompt`: symbol {symbol!r} was not seen in training", symbol=unknown.symbol) from None
    kernel = network.make_sequence_stepper(vocab.unk) if network.head.decodes_by_argmax else None
    if kernel is None:
        drawn = _generate_in_python(network, ids, length, sampling, seed, exclude=vocab.unk)
    else:
        drawn = _generate_in_kernel(kernel, ids.tolist(), length, sampling, seed)
    for id in drawn:
        yield vocab.symbols[id]


def _generate_in_python(
    network: SequenceModel, ids: NDArray[np.int64], length: int, sampling: Sampling, seed: int, exclude: int | None
) -> Iterator[int]:
    """Ids drawn one by one from the model's own forward pass."""
    state = None
    for number in range(length):
        packed = PackedInputs(to_device(ids, network.device), torch.ones(len(ids), dtype=torch.int64))
        with disable_tf32(network.device):
            output, state = network(packed, state)
        if not network.head.decodes_by_argmax:  # logits of the probabilities that the head defines
            output = network.head.probabilities(output[-1:]).log()
        logits = output[-1].cpu()  # drawn on the CPU, so that a seed gives the same text on every device
        if exclude is not None:
            logits[exclude] = -torch.inf
        drawn = sample(logits, uniform(seed, number), sampling.temperature, sampling.top_k, sampling.top_p)
        ids = np.array([drawn], np.int64)
        yield drawn


def _generate_in_kernel(
    kernel: SequenceStepper, ids: list[int], length: int, sampling: Sampling, seed: int
) -> Iterator[int]:
    """The same ids as in Python, `KERNEL_CHUNK` per call."""
    for id in ids[:-1]:
        kernel.step(id)
    last, count = ids[-1], 0
    while count < length:
        size = min(KERNEL_CHUNK, length - count)
        chunk = kernel.generate(last, size, sampling.temperature, sampling.top_k, sampling.top_p, skip(seed, count))
        yield from chunk
        last, count = chunk[-1], count + size
