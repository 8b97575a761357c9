"""Sequences a step at a time: weights packed once, one state or many, and a loop that writes text in the kernel.

`sample` and `uniform` are the loop's way to draw a symbol, in Python: the kernel does the same arithmetic in the same
order, so a loop over `step` and `sample` writes the text that `generate` writes.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ohlol.ops.backend import ABSENT, CELL_CODES, KERNEL, empty
from ohlol.ops.torch_path import Spec

_WORD = (1 << 64) - 1


class _Packed:
    """A stack of layers in one direction, table and head, packed once for steps.

    The weights are copied when it is made: train on, and make another.

    Args:
        weights: as `recurrence` takes them.
        spec: the cell and the number of layers; one direction, no dropout.
        table: (V, G*H), the first layer's input projection of every symbol; then a step takes an id, not a vector.
        head: W (K, H) and b (K,) or None, the scores.

    Raises:
        RuntimeError: there is no compiled module.
        ValueError: the spec has two directions or dropout, or a tensor is not float32 or float64 on the CPU.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        spec: Spec,
        table: Tensor | None = None,
        head: tuple[Tensor, Tensor | None] | None = None,
    ) -> None:
        if KERNEL is None:
            raise RuntimeError(f"a stream needs the compiled kernels: {ABSENT}")
        if spec.directions != 1 or spec.dropout:
            raise ValueError(f"a stream has one direction and no dropout, got {spec}")
        dtype = weights[1].dtype
        given = [*weights, *(t for t in (table, *(head or ())) if t is not None)]
        for tensor in given:
            if tensor.dtype is not dtype or dtype not in (torch.float32, torch.float64) or not tensor.is_cpu:
                raise ValueError(f"a stream needs one of float32 and float64 on the CPU, got {tensor.dtype}")
        own = [w.detach().resolve_neg().contiguous() for w in weights]
        H, per = own[1].size(1), 4 if spec.bias else 2
        make = KERNEL.Stream_float32 if dtype is torch.float32 else KERNEL.Stream_float64
        self._stream = make(CELL_CODES[spec.cell], H)
        self._table = None if table is None else table.detach().clone(memory_format=torch.contiguous_format)
        for layer in range(spec.num_layers):
            W_ih, W_hh, *biases = own[layer * per : (layer + 1) * per]
            b_ih, b_hh = (b.data_ptr() for b in biases) if biases else (0, 0)
            looked_up = self._table.data_ptr() if self._table is not None and layer == 0 else 0
            self._stream.add_layer(W_ih.size(1), W_ih.data_ptr(), W_hh.data_ptr(), b_ih, b_hh, looked_up)
        self._scores = 0
        if head is not None:
            W, b = (None if t is None else t.detach().clone(memory_format=torch.contiguous_format) for t in head)
            assert W is not None
            self._stream.set_head(W.size(0), W.data_ptr(), 0 if b is None else b.data_ptr())
            self._head_bias, self._scores = b, W.size(0)
        self._like = torch.empty(0, dtype=dtype)
        self._layers, self._has_cell = spec.num_layers, spec.cell == "lstm"
        self._size, self._inputs = H, 0 if self._table is not None else own[0].size(1)

    def _check_id(self, id: int) -> None:
        size = 0 if self._table is None else self._table.size(0)
        if not 0 <= id < size:
            raise ValueError(f"id {id} is not in the table of {size} symbols")


class StepMany(_Packed):
    """One step of many sequences whose states the caller keeps; arguments as for `Stream`.

    Threads may step different states at one time: nothing of the object changes.
    """

    @property
    def by_id(self) -> bool:
        """Whether a step reads ids, not vectors."""
        return self._table is not None

    def step(
        self, at: list[int], inputs: Tensor | list[int], h: Tensor, c: Tensor | None = None
    ) -> tuple[Tensor, list[int]]:
        """Read one vector or symbol into each of n sequences; their states are replaced.

        Args:
            at: the n different places of the sequences in h and c.
            inputs: vectors (n, I), or n ids where there is a table.
            h: (slots, L, H), contiguous.
            c: the LSTM's cell state, likewise.

        Returns:
            Scores (n, K), without a head the top layer's states (n, H); and the place of the highest in each row.

        Raises:
            ValueError: an id or a place that is not there, or tensors of another shape or dtype.
        """
        n, K = len(at), self._scores or self._size
        if not n or not 0 <= min(at) <= max(at) < len(h):
            raise ValueError(f"places {at} are not all among the {len(h)}")
        shape = (len(h), self._layers, self._size)
        for s in (h,) if c is None else (h, c):
            if s.shape != shape or s.dtype is not self._like.dtype or not s.is_contiguous():
                raise ValueError(f"states are {shape} of {self._like.dtype}, got {s.dtype} {tuple(s.shape)}")
        if (c is None) is self._has_cell:
            raise ValueError("the LSTM has a cell state c, the other cells have none")
        scores = empty(self._like, n, K)
        where, ids = 0, list[int]()
        if isinstance(inputs, list):
            ids = inputs
            if len(ids) != n:
                raise ValueError(f"{len(ids)} ids for {n} sequences")
            self._check_id(min(ids))
            self._check_id(max(ids))
        elif (
            inputs.shape != (n, self._inputs)
            or inputs.dtype is not self._like.dtype
            or not inputs.is_contiguous()
            or self._table is not None
        ):
            raise ValueError(f"a step reads ({n}, {self._inputs}) numbers of {self._like.dtype}")
        else:
            where = inputs.data_ptr()
        at_c = 0 if c is None else c.data_ptr()
        best = self._stream.step_many(torch.get_num_threads(), at, where, ids, h.data_ptr(), at_c, scores.data_ptr())
        return scores, best


class Stream(_Packed):
    """A stack of layers in one direction that reads one sequence, step by step.

    The weights are copied when the stream is made: train on, and make another.

    Args:
        weights: as `recurrence` takes them.
        spec: the cell and the number of layers; one direction, no dropout.
        table: (V, G*H), the first layer's input projection of every symbol; then a step takes an id, not a vector.
        head: W (V, H) and b (V,) or None, the scores of the next symbol; only `generate` needs it.

    Raises:
        RuntimeError: there is no compiled module.
        ValueError: the spec has two directions or dropout, or a tensor is not float32 or float64 on the CPU.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        spec: Spec,
        table: Tensor | None = None,
        head: tuple[Tensor, Tensor | None] | None = None,
    ) -> None:
        super().__init__(weights, spec, table, head)
        self.h = torch.zeros(spec.num_layers, self._size, dtype=self._like.dtype)
        """The hidden state of every layer, (L, H); replaced in place by every step."""
        self.c = torch.zeros_like(self.h) if spec.cell == "lstm" else None
        """The LSTM's cell state, (L, H)."""
        self._at = (self.h.data_ptr(), 0 if self.c is None else self.c.data_ptr())

    def reset(self) -> None:
        """Go back to the state of zeros."""
        self.h.zero_()
        if self.c is not None:
            self.c.zero_()

    def step(self, x: Tensor | int) -> Tensor:
        """Read one vector (I,), or one id where there is a table; the top layer's new state (H,)."""
        out = empty(self._like, self._size)
        if isinstance(x, int):
            self._check_id(x)
            self._stream.step(torch.get_num_threads(), 0, x, *self._at, out.data_ptr())
            return out
        if x.shape != (self._inputs,) or x.dtype is not self._like.dtype or not x.is_contiguous():
            raise ValueError(
                f"a step reads {self._inputs} numbers of {self._like.dtype}, got {x.dtype} {tuple(x.shape)}"
            )
        self._stream.step(torch.get_num_threads(), x.data_ptr(), 0, *self._at, out.data_ptr())
        return out

    def generate(
        self, first: int, count: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0
    ) -> list[int]:
        """Read `first`, draw a symbol from the head's scores, read that one, and so on; the ids drawn.

        Args:
            first: the id to start from; what came before it has been read by `step`.
            count: how many to draw.
            temperature: 0 takes the highest score.
            top_k: draw among that many of the highest; 0 for all.
            top_p: draw among the fewest that hold this share of the probability.
            seed: the same seed and state give the same ids.

        Raises:
            ValueError: the stream has no table or no head, or an argument is out of its range.
        """
        if self._table is None or not self._scores:
            raise ValueError("generate needs a stream with a table and a head")
        if self._scores > self._table.size(0):
            raise ValueError(f"the head has {self._scores} symbols, the table only {self._table.size(0)}")
        if temperature < 0 or top_k < 0 or not 0 < top_p <= 1 or count < 0:
            raise ValueError(f"out of range: {temperature=}, {top_k=}, {top_p=}, {count=}")
        self._check_id(first)
        ids = torch.empty(count, dtype=torch.int64)
        threads = torch.get_num_threads()
        at = ids.data_ptr()
        self._stream.generate(threads, first, *self._at, count, temperature, top_k, top_p, seed & _WORD, at)
        return [int(i) for i in ids]


def uniform(seed: int, n: int) -> float:
    """The n-th number in [0, 1) of a seed (splitmix64).

    >>> 0 <= uniform(0, 0) < 1 and uniform(0, 0) != uniform(0, 1)
    True
    """
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def skip(seed: int, n: int) -> int:
    """The seed whose numbers are those of `seed` from the n-th on.

    >>> uniform(skip(5, 3), 2) == uniform(5, 5)
    True
    """
    return (seed + n * 0x9E3779B97F4A7C15) & _WORD


def sample(scores: Tensor, mark: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> int:
    """Draw from softmax(scores / temperature), (V,), by a number `mark` in [0, 1).

    >>> sample(torch.tensor([0.0, 3.0, 1.0]), 0.99, temperature=0)
    1
    """
    s = [float(v) for v in scores]
    if temperature <= 0:
        return max(range(len(s)), key=s.__getitem__)
    order = sorted(range(len(s)), key=lambda i: (-s[i], i))[: top_k or len(s)]
    p = [math.exp((s[i] - s[order[0]]) / temperature) for i in order]
    total = sum(p)
    if top_p < 1:
        share, held = 0, 0.0
        while share < len(p) and held < top_p * total:
            held += p[share]
            share += 1
        p = p[: max(share, 1)]
        total = sum(p)
    held = 0.0
    for i, q in zip(order, p, strict=False):
        held += q
        if mark * total < held:
            return i
    return order[len(p) - 1]
