"""Contextual string embeddings: the states of character language models before and after each word of a sentence.

Source: Akbik, Blythe and Vollgraf, "Contextual string embeddings for sequence labeling" (2018). A sentence is read as a
line of text, a line end and the words with a space between them. The forward model's state of a word is that after its
last character; the model that reads backward has read the line end and all characters down to the word's first one.

Shapes: B sentences, T words of the longest, S words in all, W distinct words of a batch, N characters of all sentences,
C size of the states of all language models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ohlol.data.batches import pack
from ohlol.data.vocab import Vocab
from ohlol.models.inputs import PackedInputs, WordChars
from ohlol.utils.devices import to_device, to_numpy

LINE_END, SPACE = -1, -2
"""The ids of what stands before the first word that is read, and before each other one: the last rows of a table."""
TIME_CHUNK = 1024
"""Characters of a sentence that are read at once, which limits memory only."""


@dataclass(frozen=True)
class LanguageModel:
    """A language model over characters, in evaluation mode."""

    network: Any
    """A `SequenceModel` in one direction."""
    reversed: bool
    ids: Int[Tensor, " K"]
    """Its symbol for each character of the codec that reads the words, then for a space and for a line end."""

    @staticmethod
    def of(network: Any, reversed: bool, chars: Vocab, symbols: Vocab) -> "LanguageModel":
        """A language model with the vocabulary `symbols` that reads the characters `chars`.

        A character that it does not have is its <unk>.
        """
        known = [symbols.find(char) for char in (*chars.symbols, " ", "\n")]
        unknown = symbols.unk or 0
        return LanguageModel(network, reversed, torch.tensor([unknown if id is None else id for id in known]))


class ContextualVectors:
    """Language models over characters, whose states at each word a model reads; they are not trained."""

    def __init__(self, models: Sequence[LanguageModel]):
        self.models = tuple(models)

    def apply(self, fn: Callable[[Tensor], Tensor]) -> "ContextualVectors":
        """The same with each tensor replaced, as `torch.nn.Module._apply` does."""
        return ContextualVectors([replace(lm, network=lm.network._apply(fn), ids=fn(lm.ids)) for lm in self.models])

    @torch.no_grad()
    def __call__(self, words: WordChars, batch_sizes: Int[Tensor, " T"]) -> Float[Tensor, "S C"]:
        """The states of all language models at each word of packed sentences, one beside the other."""
        with torch.autocast(words.chars.device.type, enabled=False):
            parts = [self._read(lm, arrange_text(words, batch_sizes, reversed=lm.reversed)) for lm in self.models]
        return torch.cat(parts, dim=1)

    def _read(self, lm: LanguageModel, text: "PackedText") -> Tensor:
        """The output of a language model at the end of each word, (S, H)."""
        device = lm.ids.device
        ids, ends = lm.ids[to_device(text.chars, device)], to_device(text.ends, device)
        states = torch.empty(len(ends), lm.network.output_size, device=device, dtype=lm.network.dtype)
        carried: tuple[Tensor, ...] | None = None
        first = 0
        for start in range(0, len(text.batch_sizes), TIME_CHUNK):
            sizes = text.batch_sizes[start : start + TIME_CHUNK]
            count, B = int(sizes.sum()), int(sizes[0])
            carried = None if carried is None else tuple(state[:, :B].contiguous() for state in carried)
            packed = PackedInputs(ids[first : first + count], torch.from_numpy(sizes))
            outputs, carried = lm.network.outputs(packed, carried)
            is_here = (ends >= first) & (ends < first + count)
            states[is_here] = outputs[ends[is_here] - first]
            first += count
        return states


class PackedText(NamedTuple):
    """Sentences as packed characters, the longest first."""

    chars: NDArray[np.int64]
    """(N,)."""
    batch_sizes: NDArray[np.int64]
    ends: NDArray[np.int64]
    """The position of the last character that is read of each word, (S,), in the order of the words of the batch."""


def arrange_text(words: WordChars, batch_sizes: Int[Tensor, " T"], *, reversed: bool) -> PackedText:
    """The characters of packed sentences in the order of reading, with `LINE_END` or `SPACE` before each word."""
    chars, word_sizes, word_ids = (to_numpy(part) for part in words)
    word_lengths, first_char = _lengths(word_sizes), np.cumsum(word_sizes) - word_sizes
    sizes = to_numpy(batch_sizes)
    lengths, first_step = _lengths(sizes), np.cumsum(sizes) - sizes
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    number = np.arange(len(sentence)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = lengths[sentence] - 1 - number if reversed else number
    step = first_step[place] + sentence  # of each word, sentence by sentence in the order of reading
    word = word_ids[step]
    size = word_lengths[word]
    start = np.cumsum(size + 1) - (size + 1)
    owner = np.repeat(np.arange(len(word)), size + 1)
    letter = np.arange(len(owner)) - start[owner] - 1  # -1 for what stands before a word
    is_letter = letter >= 0
    at = size[owner] - 1 - letter if reversed else letter
    text = np.where(number[owner] == 0, LINE_END, SPACE)
    text[is_letter] = chars[first_char[at[is_letter]] + word[owner[is_letter]]]
    text_lengths = np.bincount(sentence, size + 1).astype(np.int64)
    order = np.argsort(-text_lengths, kind="stable")
    positions, text_sizes = pack((np.cumsum(text_lengths) - text_lengths)[order], text_lengths[order])
    packed_at = np.empty(len(text), np.int64)
    packed_at[positions] = np.arange(len(text))
    ends = np.empty(len(word), np.int64)
    ends[step] = packed_at[start + size]
    return PackedText(text[positions], text_sizes, ends)


def _lengths(batch_sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The length of each sequence of a packed batch."""
    return len(batch_sizes) - np.searchsorted(batch_sizes[::-1], np.arange(batch_sizes[0]), side="right")
