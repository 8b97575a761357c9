"""Symbols as input: a lookup in a table of projected symbols instead of a product of one-hot rows and a matrix.

The table (V, G*H) holds the input projection of every symbol. Its gradient is, for every symbol, the sum of the
gradients of the rows that used it, added in the order of the rows: the same bits for any number of threads.
"""

import torch
from torch import Tensor

from ohlol.config import FULL_PRECISION
from ohlol.ops.backend import KERNEL, empty, typed_kernel
from ohlol.ops.reduced_equations import reduced_linear
from ohlol.ops.validation import DTYPES, find_unreadable, is_materialized, materialize


def one_hot_table(W_ih: Tensor, precision: str = FULL_PRECISION) -> Tensor:
    """The table of one-hot inputs: (G*H, V) -> (V, G*H)."""
    if precision == FULL_PRECISION:
        return W_ih.t()
    return reduced_linear(torch.eye(W_ih.size(1), dtype=W_ih.dtype), W_ih, precision)


def embedding_table(vectors: Tensor, W_ih: Tensor, precision: str = FULL_PRECISION) -> Tensor:
    """The table of embedded inputs: vectors (V, I), weights (G*H, I) -> (V, G*H)."""
    return reduced_linear(vectors, W_ih, precision)


def scatter_rows(grad: Tensor, ids: Tensor, size: int) -> Tensor:
    """Sum the rows of grad (S, N) by their id: (size, N); the rows of an id are added in their order, on the CPU.

    Raises:
        IndexError: an id is not below `size`.
    """
    dtype, ids = grad.dtype, materialize(ids.reshape(-1))
    is_readable = dtype in DTYPES and is_materialized(grad) and not find_unreadable(grad, dtype)
    if KERNEL is None or not is_readable or find_unreadable(ids, torch.int64) or not len(ids):
        return grad.new_zeros(size, grad.size(1)).index_add_(0, ids, grad)
    sums = empty(grad, size, grad.size(1))
    typed_kernel("scatter_rows", dtype)(
        threads=torch.get_num_threads(),
        shape=(*grad.shape, size),
        values=grad.data_ptr(),
        ids=ids.data_ptr(),
        sums=sums.data_ptr(),
    )
    return sums
