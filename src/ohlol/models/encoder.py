"""The encoder: symbols become vectors, one-hot or embedded; rows of numbers are passed on.

Shapes: S steps of a packed batch, I size of the vectors, H units of the character RNN, H2 = 2 * H in both directions,
W distinct words, N size of a bigram's embedding, V symbols, R pretrained word vectors of size E, C size of the states
of language models.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import dropout, embedding, one_hot
from torch.nn.utils.rnn import PackedSequence

from ohlol import nn
from ohlol.config import ModelSettings
from ohlol.models.contextual import ContextualVectors
from ohlol.models.inputs import PackedInputs, Sizes, WordChars
from ohlol.nn.regularization import SequenceDropout
from ohlol.utils.errors import InputError

CHAR_EMBEDDING_SIZE = 32
"""Size of a character's embedding in the character RNN: an alphabet is small."""
EMBEDDING_STD = 0.3
"""Standard deviation of initial embeddings; with 1, torch's own, a rare word's embedding outweighs its characters."""


class Encoder(torch.nn.Module):
    """The vector of each step: the numbers, or one-hot, or an embedding with all that is read beside it.

    That is, in this order, the pretrained word vector, the character RNN, the states of language models
    (`models.contextual`) and the bigrams. The character RNN is a
    bidirectional LSTM over the characters of a word, whose last states are concatenated: Ling et al., "Finding function
    in form" (2015). An embedding that is trained beside word vectors that are not is the two-channel model of Kim,
    "Convolutional neural networks for sentence classification" (2014).

    Word vectors are not parameters. They are zeros until `attach_vectors`, and not in the state_dict; those of the V
    symbols that are tuned are the parameter `tuned_vectors`. Nor are language models, which are missing until
    `attach_char_lms`.

    Raises:
        InputError: `char_rnn_size`, `bigram_size` or `word_dropout` without an embedding, or `bigram_size` in one
            direction.
    """

    def __init__(self, settings: ModelSettings, sizes: Sizes):
        super().__init__()
        self.size = sizes.inputs
        self.numeric = sizes.numeric
        self.vocabulary, self.ids, self.reads_vectors = sizes.inputs, sizes.ids, bool(sizes.vector_size)
        self.has_embedding = not sizes.numeric and bool(settings.embedding_size)
        self.context_size, self.reads_text = sizes.context_size, bool(sizes.context_size)
        self.contextual: ContextualVectors | None = None
        self.has_symbols = self.has_embedding or self.reads_vectors
        self.onehot = not (sizes.numeric or self.has_symbols or self.reads_text)
        self.reads_chars = bool(sizes.chars and settings.char_rnn_size)
        self.reads_bigrams = bool(sizes.bigrams and settings.bigram_size)
        if (self.reads_chars or self.reads_bigrams) and self.onehot:
            raise InputError("`char_rnn_size` and `bigram_size` need an embedding: set `embedding_size`")
        if settings.word_dropout and not self.has_symbols:
            raise InputError("`word_dropout` drops symbols from an embedding, and this model has none: leave it out")
        if self.reads_bigrams and not settings.bidirectional:
            raise InputError("`bigram_size` reads the symbol that follows: set `bidirectional=True` with it")
        if self.has_embedding:
            self.embedding = _embedding(sizes.inputs, settings.embedding_size)
        if not (sizes.numeric or self.onehot):
            self.size = settings.embedding_size + sizes.vector_size
        self.tunes_vectors = self.reads_vectors and settings.vectors_training != "frozen"
        if self.reads_vectors:
            # no buffers: training in several processes would send them before each step
            self.vector_rows = torch.zeros(sizes.ids, dtype=torch.int64)
            self.vectors = torch.zeros(1 + sizes.vector_words, sizes.vector_size)
        if self.tunes_vectors:
            self.tuned_vectors = torch.nn.Parameter(torch.zeros(sizes.inputs, sizes.vector_size))
        if self.reads_chars:
            self.chars = _embedding(sizes.chars, CHAR_EMBEDDING_SIZE)
            self.speller = nn.LSTM(CHAR_EMBEDDING_SIZE, settings.char_rnn_size, bidirectional=True)
            self.size += 2 * settings.char_rnn_size
        self.size += sizes.context_size
        if self.reads_bigrams:
            self.bigrams = _embedding(sizes.bigrams, settings.bigram_size)
            self.size += 2 * settings.bigram_size
        self.static_size = sizes.static_size
        self.symbol_size = self.size
        self.size += sizes.static_size
        self.dropout = SequenceDropout(settings.embedding_dropout, settings.locked_dropout)
        self.word_dropout = settings.word_dropout

    @property
    def is_lookup(self) -> bool:
        """Whether the vector of a step depends on its symbol alone, so that the kernels can look up its projection."""
        drops = self.training and self.dropout.p > 0
        reads_more = (
            self.reads_vectors or self.reads_chars or self.reads_text or self.reads_bigrams or self.static_size > 0
        )
        return not (self.numeric or reads_more or drops)

    def attach_vectors(self, rows: Int[Tensor, " VR"], vectors: Float[Tensor, "R1 E"]) -> None:
        """Set the pretrained word vectors; those that are tuned start from them.

        Args:
            rows: for each id, V + R of them, its row in `vectors`.
            vectors: 1 + R of them; row 0 is that of words without one.
        """
        self.vector_rows, self.vectors = rows, vectors.to(self.vectors.dtype)
        if self.tunes_vectors:
            with torch.no_grad():
                self.tuned_vectors.copy_(vectors[rows[: self.vocabulary]])

    def attach_char_lms(self, contextual: ContextualVectors) -> None:
        """Set the language models; they are not trained."""
        self.contextual = contextual

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Encoder":
        """Like `torch.nn.Module._apply`; includes the word vectors and the language models."""
        super()._apply(fn, recurse)
        if self.reads_vectors:
            self.vector_rows, self.vectors = fn(self.vector_rows), fn(self.vectors)
        if self.contextual is not None:
            self.contextual = self.contextual.apply(fn)
        return self

    def forward(self, packed: PackedInputs) -> Float[Tensor, "S I"]:
        """The vector of each step."""
        parts: list[Tensor] = []
        if self.numeric:
            parts.append(packed.inputs)
        elif self.onehot:
            parts.append(one_hot(packed.inputs, self.symbol_size).to(torch.get_default_dtype()))
        elif self.has_symbols:
            parts.append(self.embed_symbols(packed.inputs))
        if self.reads_chars:
            parts.append(self.encode_words(packed.word_chars))
        if self.reads_text:
            parts.append(self.encode_text(packed))
        if self.reads_bigrams:
            if packed.bigrams is None:
                raise ValueError("this model reads bigrams; give PackedInputs with `bigrams`")
            parts.append(self.bigrams(packed.bigrams).flatten(1))  # (S, 2, N) -> (S, 2N)
        vectors = self.dropout(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0], packed.batch_sizes)
        return torch.cat([vectors, self.repeat_statics(packed).to(vectors)], dim=1) if self.static_size else vectors

    def repeat_statics(self, packed: PackedInputs) -> Float[Tensor, "S A"]:
        """The static columns of the sequence of each step."""
        if packed.statics is None:
            raise ValueError("this model reads static columns beside the text; give PackedInputs with `statics`")
        sizes = packed.batch_sizes.to(packed.statics.device)
        first = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        return packed.statics[torch.arange(len(first), device=first.device) - first]

    @property
    def symbol_table(self) -> Tensor | None:
        """The vector of each symbol where the encoder is a lookup, (V, I), as in this batch; None for one-hot ones."""
        if self.onehot:
            return None
        table = self.embedding.weight
        return table * self._draw_symbols(self.vocabulary) if self._drops_symbols else table

    @property
    def _drops_symbols(self) -> bool:
        return self.training and self.word_dropout > 0

    def _draw_symbols(self, count: int) -> Tensor:
        """A factor for each symbol, (count, 1): 0, or 1 / (1 - p).

        Source: Gal and Ghahramani (2016), in the form of Merity, Keskar and Socher, "Regularizing and optimizing LSTM
        language models" (2018).
        """
        owner = self.embedding.weight if self.has_embedding else self.vectors
        return dropout(owner.new_ones(count, 1), self.word_dropout)

    def embed_symbols(self, ids: Int[Tensor, " S"]) -> Float[Tensor, "S I"]:
        """The embedding of each id followed by its pretrained vector, in training without those that are dropped.

        An id from V on has the embedding of <unk>.
        """
        vectors = self._look_up(ids)
        return vectors * self._draw_symbols(self.ids)[ids] if self._drops_symbols else vectors

    def _look_up(self, ids: Tensor) -> Tensor:
        if not self.reads_vectors:
            return self.embedding(ids)
        vectors, seen = embedding(self.vector_rows[ids], self.vectors), ids < self.vocabulary
        ids = ids * seen  # <unk> is the symbol 0
        if self.tunes_vectors:
            vectors = torch.where(seen[:, None], embedding(ids, self.tuned_vectors), vectors)
        return torch.cat([self.embedding(ids), vectors], dim=1) if self.has_embedding else vectors

    def encode_words(self, words: WordChars | None) -> Float[Tensor, "S H2"]:
        """The last states, forward and backward, of the character RNN over the word of each step."""
        if words is None:
            raise ValueError("this model reads words by their characters; give PackedInputs with `word_chars`")
        chars = self.dropout(self.chars(words.chars), words.batch_sizes)
        _, (h, _) = self.speller(PackedSequence(chars, words.batch_sizes))
        vectors = torch.cat([h[0], h[1]], dim=1)  # (2, W, H) -> (W, 2H)
        return vectors[words.word_ids]

    def encode_text(self, packed: PackedInputs) -> Float[Tensor, "S C"]:
        """The states of the language models at the word of each step, from the input or computed from its words."""
        if packed.contexts is not None:
            return packed.contexts
        if packed.word_chars is None or self.contextual is None:
            raise ValueError("this model reads words by language models; give PackedInputs with `word_chars`")
        return self.contextual(packed.word_chars, packed.batch_sizes)


def _embedding(count: int, size: int) -> torch.nn.Embedding:
    embedding = torch.nn.Embedding(count, size)
    torch.nn.init.normal_(embedding.weight, std=EMBEDDING_STD)
    return embedding
