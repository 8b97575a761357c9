"""Whether the kernels can read the tensors of a call: plain tensors on the CPU, of one dtype, whose shapes agree.

The kernels take addresses and check nothing, so every tensor passes one of these functions before its address is taken,
in the forward pass and, since a saved tensor may have changed, in the backward pass.

Shapes: T time steps, B batch, S rows (T*B, or the sum of the lengths), I input size, H hidden size, G gates,
V vocabulary, D directions, L layers.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn.parameter import Parameter

from ohlol.cells import CELLS
from ohlol.config import FULL_PRECISION, INFERENCE_PRECISIONS
from ohlol.ops.backend import KERNEL
from ohlol.ops.torch_path import LayerSpec

TENSOR_TYPES = (Tensor, Parameter)
DTYPES = (torch.float32, torch.float64)


def find_unreadable(tensor: object, dtype: torch.dtype) -> str:
    """Why the kernels cannot read a tensor, or an empty string."""
    if type(tensor) not in TENSOR_TYPES:
        return f"a tensor is a {type(tensor).__name__}, not a plain torch.Tensor"
    assert isinstance(tensor, Tensor)
    if not tensor.is_cpu:
        return f"a tensor is on {tensor.device}, the kernels run on the CPU"
    if tensor.dtype is not dtype:
        return f"a tensor has dtype {tensor.dtype}, another has {dtype}"
    if tensor.layout is not torch.strided:
        return f"a tensor has layout {tensor.layout}"
    return ""


def is_materialized(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor stand in memory as its shape says.

    Neither are those of a tensor with a lazy negation, nor of a zero tensor, nor of one whose storage was freed.
    """
    return tensor.is_contiguous() and not tensor.is_neg() and bool(tensor.data_ptr())


def materialize(tensor: Tensor) -> Tensor:
    """The same numbers in contiguous memory.

    Raises:
        RuntimeError: the storage was freed; torch's layers raise this, too, but a copy would read from address 0.
    """
    if is_materialized(tensor):
        return tensor
    if tensor.numel() and not tensor.untyped_storage().nbytes() and not tensor._is_zerotensor():  # pyright: ignore[reportPrivateUsage]
        raise RuntimeError(f"the storage of a tensor of shape {tuple(tensor.shape)} was freed")
    return tensor.resolve_neg().clone(memory_format=torch.contiguous_format)


def are_readable(grads: Iterable[Tensor | None], dtype: torch.dtype) -> bool:
    """Whether the kernels can read the gradients that a backward pass receives, which torch may batch by `vmap`."""
    for grad in grads:
        if grad is not None and (
            type(grad) is not Tensor
            or not grad.is_cpu
            or grad.dtype is not dtype
            or not torch._C._has_storage(grad)  # neither batched nor sparse
            or not grad.data_ptr()  # a zero tensor of torch, or one whose storage was freed
        ):
            return False
    return True


def are_unchanged(
    tensors: Sequence[Tensor | None], shapes: Sequence[tuple[int, ...] | None], dtype: torch.dtype
) -> bool:
    """Whether saved tensors are as the forward pass saw them: neither `Tensor.data` nor a hook has replaced them."""
    for tensor in tensors:
        if tensor is not None and (tensor.dtype is not dtype or not tensor.is_cpu or not tensor.data_ptr()):
            return False
    return [None if tensor is None else tensor.shape for tensor in tensors] == shapes


@cache
def weight_shapes(cell: str, I: int, H: int, num_layers: int, directions: int, bias: bool) -> list[tuple[int, ...]]:
    """The shapes of a stack's weights, in the order of `torch.nn`."""
    GH = len(CELLS[cell].gates) * H
    shapes: list[tuple[int, ...]] = []
    for layer in range(num_layers):
        inputs = directions * H if layer else I
        shapes += directions * [(GH, inputs), (GH, H), *(2 * [(GH,)] if bias else [])]
    return shapes


def packed_batch(batch_sizes: object, S: int) -> int:
    """The batch B of batch sizes (T,); 0 unless they are readable, positive, descending and S in total."""
    if (
        type(batch_sizes) is not Tensor
        or batch_sizes.dtype is not torch.int64
        or not batch_sizes.is_cpu
        or batch_sizes.dim() != 1
        or not batch_sizes.is_contiguous()
        or batch_sizes.is_neg()
        or KERNEL is None
    ):
        return 0
    return KERNEL.packed_batch(batch_sizes.data_ptr(), batch_sizes.size(0), S)


def check_call(
    spec: LayerSpec,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    batch_sizes: Tensor | None,
) -> None:
    """Refuse a call whose tensors the kernels would read outside of their memory; arguments as `recurrence` has them.

    Raises:
        IndexError: an id has no row in a table.
        TypeError: ids are not int64.
        ValueError: anything else that does not fit.
    """
    by_id = not x.is_floating_point()
    L, D = spec.num_layers, spec.directions
    if L < 1 or D not in (1, 2):
        raise ValueError(f"num_layers is {L} and directions is {D}; expected at least 1, and 1 or 2")
    if by_id and x.dtype is not torch.int64:
        raise TypeError(f"ids have dtype {x.dtype}; they must be int64")
    check_weights(spec, weights, table=by_id)
    dtype, H = weights[1].dtype, weights[1].size(1)
    for name, tensor in (("x", None if by_id else x), ("h_0", h_0), ("c_0", c_0)):
        if tensor is not None and (reason := find_unreadable(tensor, dtype)):
            raise ValueError(f"{name}: {reason}")
    axes = (3 if batch_sizes is None else 2) - by_id
    if x.dim() != axes or not x.numel():
        raise ValueError(f"x has shape {tuple(x.shape)}; expected {axes} axes, none of them empty")
    if not by_id and x.size(-1) != weights[0].size(1):
        raise ValueError(f"x has {x.size(-1)} features; the weights expect {weights[0].size(1)}")
    if batch_sizes is None:
        B = x.size(0 if spec.batch_first else 1)
    elif not (B := packed_batch(batch_sizes, x.size(0))):
        raise ValueError(
            f"batch_sizes must be int64, positive, in descending order and add up to the {x.size(0)} rows of x"
        )
    if c_0 is not None and len(CELLS[spec.cell].states) == 1:
        raise ValueError(f"c_0: the cell {spec.cell} has no cell state")
    for name, state in (("h_0", h_0), ("c_0", c_0)):
        if state is not None and state.shape != (L * D, B, H):
            raise ValueError(f"{name} has shape {tuple(state.shape)}; expected {(L * D, B, H)}")
    if by_id:
        check_ids(x, [weights[d * (4 if spec.bias else 2)] for d in range(D)])


def check_weights(spec: LayerSpec, weights: Sequence[Tensor], table: bool) -> None:
    """Refuse weights that are not those of the spec; with `table`, each direction's first is a table (V, G*H).

    Raises:
        ValueError: their number, a dtype or a shape.
    """
    per = 4 if spec.bias else 2
    count = spec.num_layers * spec.directions * per
    if len(weights) != count:
        raise ValueError(f"there are {len(weights)} weights; expected {count}")
    dtype = weights[1].dtype
    if dtype not in DTYPES:
        raise ValueError(f"the weights have dtype {dtype}; the kernels support float32 and float64")
    for weight in weights:
        if reason := find_unreadable(weight, dtype):
            raise ValueError(f"weights: {reason}")
    if weights[0].dim() != 2 or weights[1].dim() != 2 or not weights[1].numel():
        raise ValueError(f"weights: W_ih has shape {tuple(weights[0].shape)}, W_hh {tuple(weights[1].shape)}")
    I, H = weights[0].size(1), weights[1].size(1)
    shapes = list(weight_shapes(spec.cell, I, H, spec.num_layers, spec.directions, spec.bias))
    if table:
        for d in range(spec.directions):
            shapes[d * per] = (weights[d * per].size(0), shapes[1][0])
    for weight, shape in zip(weights, shapes, strict=True):
        if weight.shape != shape:
            raise ValueError(f"a weight has shape {tuple(weight.shape)}; expected {shape}")


MOST_COLUMNS = 1 << 17
"""Columns of a weight up to which the sum of as many products of two numbers from -127 to 127 fits 32 bits."""


def check_precision(precision: str, weights: Sequence[Tensor]) -> None:
    """Refuse a precision that is none of `INFERENCE_PRECISIONS`, or one that these weights cannot have.

    Raises:
        ValueError: there is no such precision, the weights are not float32, or a sum of products may overflow.
    """
    if precision not in INFERENCE_PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(INFERENCE_PRECISIONS)}")
    if precision == FULL_PRECISION:
        return
    for weight in weights:
        if weight.dtype is not torch.float32:
            raise ValueError(f"{precision} is for weights of float32, and a weight has dtype {weight.dtype}")
        if weight.dim() == 2 and weight.size(1) > MOST_COLUMNS:
            raise ValueError(f"{precision} is for weights of at most {MOST_COLUMNS} columns, not {weight.size(1)}")


def check_ids(ids: Tensor, tables: Sequence[Tensor]) -> None:
    """Refuse ids that would be read outside of the tables (V, G*H).

    Raises:
        IndexError: an id has no row in a table.
        TypeError: ids are not int64.
        ValueError: the kernels cannot read the ids.
    """
    if ids.dtype is not torch.int64:
        raise TypeError(f"ids have dtype {ids.dtype}; they must be int64")
    if reason := find_unreadable(ids, torch.int64):
        raise ValueError(f"ids: {reason}")
    size = min(table.size(0) for table in tables)
    lowest, highest = torch.aminmax(ids)
    if lowest < 0 or highest >= size:
        raise IndexError(f"id {int(lowest) if lowest < 0 else int(highest)} has no row in a table of {size} symbols")
