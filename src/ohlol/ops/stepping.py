"""Single time steps with weights that are packed once: of one sequence, or of many sequences in one call.

`sample` and `uniform` draw a symbol as `generate` does in the kernel, with the same arithmetic in the same order: a
loop over `step` and `sample` gives the same text as `generate`.

Shapes: n sequences in a step, L layers, I input size, H hidden size, G gates, V symbols, K logits.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ohlol.config import FULL_PRECISION
from ohlol.ops.backend import empty, kernel_cell, packed_layers
from ohlol.ops.torch_path import LayerSpec
from ohlol.ops.validation import check_precision, check_weights, find_unreadable, is_materialized, materialize

_UINT64 = (1 << 64) - 1


def _is_readable(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a step can read and write a tensor in its place."""
    return tensor.dtype is dtype and tensor.is_cpu and is_materialized(tensor)


class _Stepper:
    """A stack of layers in one direction, an optional table and head, packed for steps."""

    def __init__(
        self,
        weights: Sequence[Tensor],
        spec: LayerSpec,
        table: Tensor | None = None,
        head: tuple[Tensor, Tensor | None] | None = None,
        precision: str = FULL_PRECISION,
    ) -> None:
        if spec.directions != 1 or spec.dropout:
            raise ValueError(f"steps need one direction and no dropout, got {spec}")
        check_weights(spec, weights, table=False)
        check_precision(precision, weights)
        _check_table_and_head(weights[1], table, head)
        dtype = weights[1].dtype
        weights = [materialize(w.detach()) for w in weights]
        H, per = weights[1].size(1), 4 if spec.bias else 2
        self._packed = packed_layers(spec.cell, dtype, H, precision)
        self._table = (
            None if table is None else table.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
        )
        for layer in range(spec.num_layers):
            W_ih, W_hh, *biases = weights[layer * per : (layer + 1) * per]
            b_ih, b_hh = (b.data_ptr() for b in biases) if biases else (0, 0)
            self._packed.add_layer(
                I=W_ih.size(1),
                W_ih=W_ih.data_ptr(),
                W_hh=W_hh.data_ptr(),
                b_ih=b_ih,
                b_hh=b_hh,
                table=self._table.data_ptr() if self._table is not None and layer == 0 else 0,
            )
        self._logits = 0
        if head is not None:
            W, b = (
                None if t is None else t.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
                for t in head
            )
            assert W is not None
            self._packed.set_head(K=W.size(0), W=W.data_ptr(), bias=0 if b is None else b.data_ptr())
            self._head_bias, self._logits = b, W.size(0)
        self._symbols = 0 if self._table is None else self._table.size(0)
        self._like = torch.empty(0, dtype=dtype)
        self._num_layers, self._has_cell_state = spec.num_layers, kernel_cell(spec.cell).has_cell_state
        self._hidden_size, self._inputs = H, 0 if self._table is not None else weights[0].size(1)

    def _check_ids(self, ids: Sequence[int]) -> None:
        """Refuse ids that are not in the table, and those of a stepper without one."""
        if self._table is None:
            raise ValueError(f"there is no table: a step reads {self._inputs} numbers, not an id")
        _check_indices("id", ids, self._symbols)


def _check_indices(name: str, indices: Sequence[int], size: int) -> None:
    """Refuse what is not a whole number, such as a bool, and a number that is not from 0 to size - 1."""
    if set(map(type, indices)) != {int}:
        raise TypeError(f"each {name} must be an int, got {', '.join(sorted({type(i).__name__ for i in indices}))}")
    if min(indices) < 0 or max(indices) >= size:
        wrong = next(i for i in indices if not 0 <= i < size)
        raise IndexError(f"{name} {wrong} is out of range: there are {size}")


def _check_table_and_head(W_hh: Tensor, table: Tensor | None, head: tuple[Tensor, Tensor | None] | None) -> None:
    """Refuse a table that is not (V, G*H) and a head that is not (K, H) and (K,)."""
    GH, H = W_hh.shape
    W, bias = head or (None, None)
    for name, tensor, axes, width in (("table", table, 2, GH), ("head", W, 2, H), ("head bias", bias, 1, None)):
        if tensor is None:
            continue
        if reason := find_unreadable(tensor, W_hh.dtype):
            raise ValueError(f"{name}: {reason}")
        if tensor.dim() != axes or not len(tensor) or (width is not None and tensor.size(1) != width):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; expected {axes} axes, the last of {width or 'K'}"
            )
    if W is not None and bias is not None and len(bias) != len(W):
        raise ValueError(f"the head has {len(W)} logits and {len(bias)} biases")


class BatchStepper(_Stepper):
    """Steps of many sequences whose states the caller keeps.

    The object does not change, so several threads may step different states at the same time. The weights are copied:
    after training on, create another one.

    Args:
        weights: as `recurrence` takes them.
        spec: the cell and the number of layers; one direction, no dropout.
        table: (V, G*H), the first layer's input projection of every symbol; a step then takes an id, not a vector.
        head: W (K, H) and b (K,) or None, a linear layer to logits.
        precision: one of `INFERENCE_PRECISIONS`, of the recurrent layers; a table has that of the caller.

    Raises:
        RuntimeError: there is no compiled module.
        ValueError: the spec has two directions or dropout, or a tensor is not float32 or float64 on the CPU, or not
            float32 where the precision is reduced, or has another shape.
    """

    @property
    def by_id(self) -> bool:
        """Whether a step reads ids, not vectors."""
        return self._table is not None

    def step(
        self, slots: list[int], inputs: Tensor | list[int], h: Tensor, c: Tensor | None = None
    ) -> tuple[Tensor, list[int]]:
        """Read one vector or symbol into each of n sequences; their states are replaced.

        Args:
            slots: the n different rows of the sequences in h and c.
            inputs: vectors (n, I), or n ids where there is a table.
            h: (slots, L, H), contiguous.
            c: the cell state of a cell that has one, likewise.

        Returns:
            Logits (n, K), without a head the top layer's states (n, H); and the index of the highest in each row.

        Raises:
            IndexError: an id or a slot that does not exist.
            TypeError: an id or a slot that is not an int.
            ValueError: a slot occurs twice, or tensors of another shape or dtype.
        """
        n, K = len(slots), self._logits or self._hidden_size
        if not n:
            raise ValueError("there are no slots: a step reads one sequence at least")
        _check_indices("slot", slots, len(h))
        if len(set(slots)) < n:
            raise ValueError("a slot occurs twice: a step reads one symbol into each sequence")
        shape = (len(h), self._num_layers, self._hidden_size)
        for s in (h,) if c is None else (h, c):
            if s.shape != shape or not _is_readable(s, self._like.dtype):
                raise ValueError(f"states are {shape} of {self._like.dtype}, got {s.dtype} {tuple(s.shape)}")
        if (c is None) is self._has_cell_state:
            raise ValueError(f"this cell has {'a' if self._has_cell_state else 'no'} cell state c")
        logits = empty(self._like, n, K)
        vectors, ids = 0, list[int]()
        if isinstance(inputs, list):
            ids = inputs
            if len(ids) != n:
                raise ValueError(f"{len(ids)} ids for {n} sequences")
            self._check_ids(ids)
        elif inputs.shape != (n, self._inputs) or not _is_readable(inputs, self._like.dtype) or self._table is not None:
            raise ValueError(f"a step reads ({n}, {self._inputs}) numbers of {self._like.dtype}")
        else:
            vectors = inputs.data_ptr()
        best = self._packed.step_batch(
            threads=torch.get_num_threads(),
            slots=slots,
            x=vectors,
            ids=ids,
            h=h.data_ptr(),
            c=0 if c is None else c.data_ptr(),
            logits=logits.data_ptr(),
        )
        return logits, best


class SequenceStepper(_Stepper):
    """Steps of one sequence, whose state the object keeps.

    The weights are copied; arguments and errors are those of `BatchStepper`. Only `generate` needs a head, which gives
    the logits of the next symbol.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        spec: LayerSpec,
        table: Tensor | None = None,
        head: tuple[Tensor, Tensor | None] | None = None,
        precision: str = FULL_PRECISION,
    ) -> None:
        super().__init__(weights, spec, table, head, precision)
        h = torch.zeros(spec.num_layers, self._hidden_size, dtype=self._like.dtype)
        self._states = (h, torch.zeros_like(h) if self._has_cell_state else None)
        # The steps write to the memory of these tensors, so no attribute may replace them.
        self._h, self._c = h.data_ptr(), 0 if self._states[1] is None else self._states[1].data_ptr()

    @property
    def h(self) -> Tensor:
        """The hidden state of every layer, (L, H); replaced in place by every step."""
        return self._states[0]

    @property
    def c(self) -> Tensor | None:
        """The cell state of a cell that has one, (L, H)."""
        return self._states[1]

    def reset(self) -> None:
        """Set the state to zeros."""
        self.h.zero_()
        if self.c is not None:
            self.c.zero_()

    def step(self, x: Tensor | int) -> Tensor:
        """Read one vector (I,), or one id where there is a table; the top layer's new state (H,)."""
        out = empty(self._like, self._hidden_size)
        vector, id = 0, 0
        if isinstance(x, int):
            if type(x) is not int or not 0 <= x < self._symbols:  # True is an int, too
                self._check_ids((x,))
            id = x
        elif x.shape != (self._inputs,) or not _is_readable(x, self._like.dtype) or self._table is not None:
            raise ValueError(
                f"a step reads {self._inputs} numbers of {self._like.dtype}, got {x.dtype} {tuple(x.shape)}"
            )
        else:
            vector = x.data_ptr()
        threads = torch.get_num_threads()
        self._packed.step(threads=threads, x=vector, id=id, h=self._h, c=self._c, out=out.data_ptr())
        return out

    def generate(
        self, first: int, count: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0
    ) -> list[int]:
        """Read `first`, draw a symbol from the head's logits, read that one, and so on; the ids drawn.

        Args:
            first: the id to start from; `step` has read what comes before it.
            count: how many to draw.
            temperature: 0 takes the highest logit.
            top_k: draw among the k highest; 0 for all.
            top_p: draw among the fewest that hold this share of the probability.
            seed: the same seed and state give the same ids.

        Raises:
            IndexError: there is no such id.
            ValueError: there is no table or no head, or another argument is out of range.
        """
        if self._table is None or not self._logits:
            raise ValueError("generate needs a table and a head")
        if self._logits > self._table.size(0):
            raise ValueError(f"the head has {self._logits} symbols, the table only {self._table.size(0)}")
        if not temperature >= 0 or top_k < 0 or not 0 < top_p <= 1 or count < 0:
            raise ValueError(f"out of range: {temperature=}, {top_k=}, {top_p=}, {count=}")
        self._check_ids((first,))
        ids = torch.empty(count, dtype=torch.int64)
        self._packed.generate(
            threads=torch.get_num_threads(),
            id=first,
            h=self._h,
            c=self._c,
            count=count,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed & _UINT64,
            ids=ids.data_ptr(),
        )
        return [int(i) for i in ids]


def uniform(seed: int, n: int) -> float:
    """The n-th number in [0, 1) of a seed (splitmix64).

    >>> 0 <= uniform(0, 0) < 1 and uniform(0, 0) != uniform(0, 1)
    True
    """
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & _UINT64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _UINT64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _UINT64
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def skip(seed: int, n: int) -> int:
    """The seed whose numbers are those of `seed` from the n-th on.

    >>> uniform(skip(5, 3), 2) == uniform(5, 5)
    True
    """
    return (seed + n * 0x9E3779B97F4A7C15) & _UINT64


def sample(logits: Tensor, draw: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> int:
    """Draw an index from softmax(logits / temperature), (V,), by a number `draw` in [0, 1).

    >>> sample(torch.tensor([0.0, 3.0, 1.0]), 0.99, temperature=0)
    1
    """
    values = [float(v) for v in logits]
    if temperature <= 0:
        return max(range(len(values)), key=values.__getitem__)
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[: top_k or len(values)]
    weights = [math.exp((values[i] - values[order[0]]) / temperature) for i in order]
    total = sum(weights)
    if top_p < 1:
        kept, cumulative = 0, 0.0
        while kept < len(weights) and cumulative < top_p * total:
            cumulative += weights[kept]
            kept += 1
        weights = weights[: max(kept, 1)]
        total = sum(weights)
    cumulative = 0.0
    for i, weight in zip(order, weights, strict=False):
        cumulative += weight
        if draw * total < cumulative:
            return i
    return order[len(weights) - 1]
