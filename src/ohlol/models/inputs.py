"""What a sequence model reads: packed steps as tensors, and the sizes that follow from the data.

Shapes: B sequences, T steps of the longest, S steps in all, I input size, C size of the states of language models; Sc
characters and Tc longest length of the distinct words of a batch; A numbers of the static columns.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ohlol.data.batches import Batch
from ohlol.utils.devices import CPU, to_device


class WordChars(NamedTuple):
    """The distinct words of a batch as packed characters, and the word of each step."""

    chars: Int[Tensor, " Sc"]
    batch_sizes: Int[Tensor, " Tc"]
    word_ids: Int[Tensor, " S"]
    """The row of each step's word, the longest word first."""


class PackedInputs(NamedTuple):
    """The packed input of a model: ids or rows of numbers, step by step, longest sequence first."""

    inputs: Tensor
    """(S,) ids, or (S, I) numbers."""
    batch_sizes: Int[Tensor, " T"]
    word_chars: WordChars | None = None
    bigrams: Int[Tensor, "S 2"] | None = None
    contexts: Float[Tensor, "S C"] | None = None
    """The states of language models at each step; None where the encoder has to compute them from the characters."""
    predicted: Int[Tensor, " N"] | None = None
    """The steps whose predictions are computed; None for all."""
    statics: Float[Tensor, "B A"] | None = None
    """The static columns of each sequence, the longest first."""

    @staticmethod
    def of(batch: Batch, device: torch.device = CPU) -> "PackedInputs":
        """The tensors of a batch on a device; batch sizes stay on the CPU, as torch requires."""
        word_chars = None
        if batch.word_chars is not None:
            words = batch.word_chars
            word_chars = WordChars(
                to_device(words.chars, device), torch.from_numpy(words.batch_sizes), to_device(words.word_ids, device)
            )
        bigrams = to_device(batch.bigrams, device) if batch.bigrams is not None else None
        inputs = to_device(batch.inputs, device)
        inputs = inputs.to(torch.get_default_dtype()) if inputs.is_floating_point() else inputs
        contexts = to_device(batch.contexts, device) if batch.contexts is not None else None
        predicted = to_device(batch.predicted, device) if batch.predicted is not None else None
        statics = to_device(batch.statics, device) if batch.statics is not None else None
        batch_sizes = torch.from_numpy(batch.batch_sizes)
        return PackedInputs(inputs, batch_sizes, word_chars, bigrams, contexts, predicted, statics)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model that follow from the data."""

    inputs: int
    """V, the input vocabulary; for numbers I, their columns."""
    outputs: int
    """K: labels, symbols, or columns of numbers."""
    chars: int = 0
    """Distinct characters in the words; 0 where words are not read by their characters."""
    bigrams: int = 0
    """Distinct pairs of neighbouring characters; 0 where they are not read."""
    numeric: bool = False
    """Whether the inputs are numbers."""
    per_sequence: bool = False
    """Whether a sequence has one prediction, instead of one at each step."""
    base: int = 0
    """The first columns of the input that are forecasts, which the head's numbers are added to."""
    counts: bool = False
    """Whether the numbers to predict are counts, and the forecasts logarithms of their means."""
    quantity: bool = False
    """Whether the prediction for a sequence is a number."""
    multiple: bool = False
    """Whether the prediction for a sequence is a set of labels."""
    vector_size: int = 0
    """E, the size of pretrained word vectors; 0 where there are none."""
    vector_words: int = 0
    """R, the words that have one; their ids follow those of the vocabulary."""

    context_size: int = 0
    """C, the size of the states of language models; 0 where there are none."""
    static_size: int = 0
    """A, the numbers of the static columns beside a sequence of symbols; 0 where there are none."""

    @property
    def ids(self) -> int:
        """V + R, the ids of inputs that are symbols."""
        return self.inputs + self.vector_words
