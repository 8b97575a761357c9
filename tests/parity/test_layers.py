"""RNN, GRU and LSTM against torch.nn and against the equations: outputs, states and every gradient."""

import itertools

import pytest
import torch

from .helpers import CELLS, VARIANTS_AND_THREADS, Case, check, check_equations

F32, F64 = torch.float32, torch.float64
SIZES = (1, 3, 4, 15, 16, 17, 31, 33, 64, 100, 257)
RAGGED = ((5, 3, 3, 1), (1, 5, 2, 5, 4), (4,), (1, 1, 1), (2, 7, 7, 1, 6, 3))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_layers_of_any_size_equal_those_of_torch(variant: str, cell: str, H: int, dtype: torch.dtype) -> None:
    check(Case(cell, T=3, B=3, inputs=SIZES[-1 - SIZES.index(H)], H=H, dtype=dtype))


@pytest.mark.parametrize("B", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("T", [1, 2, 5, 50])
@pytest.mark.parametrize("cell", CELLS)
def test_batches_of_any_size_and_length_equal_those_of_torch(variant: str, cell: str, T: int, B: int) -> None:
    check(Case(cell, T=T, B=B, inputs=6, H=20, dtype=F32))


@pytest.mark.parametrize(
    ("layers", "both", "bias", "batch_first"), list(itertools.product((1, 2, 3), *[(False, True)] * 3))
)
@pytest.mark.parametrize("cell", CELLS)
def test_stacked_layers_equal_those_of_torch(
    variant: str, cell: str, layers: int, both: bool, bias: bool, batch_first: bool
) -> None:
    check(Case(cell, num_layers=layers, bidirectional=both, bias=bias, batch_first=batch_first))


@pytest.mark.parametrize("lengths", RAGGED)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_batches_equal_those_of_torch(variant: str, cell: str, both: bool, lengths: tuple[int, ...]) -> None:
    case = Case(cell, T=max(lengths), B=len(lengths), bidirectional=both, num_layers=2, lengths=lengths)
    check(case)
    if list(lengths) == sorted(lengths, reverse=True):
        check(Case(**{**vars(case), "enforce_sorted": True, "batch_first": True, "dtype": F32}))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_unbatched_and_without_state(cell: str, both: bool) -> None:
    for batch_first, state in itertools.product((False, True), repeat=2):
        check(Case(cell, unbatched=True, bidirectional=both, batch_first=batch_first, state=state, num_layers=2))
        check(Case(cell, bidirectional=both, batch_first=batch_first, state=state))


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_equal_the_equations(every_variant: str, cell: str, dtype: torch.dtype) -> None:
    check_equations(Case(cell, num_layers=2, bidirectional=True, dtype=dtype))
    check_equations(Case(cell, T=7, B=6, lengths=RAGGED[-1], bidirectional=True, num_layers=2, dtype=dtype))
    check_equations(Case(cell, T=4, B=2, H=33, bias=False, batch_first=True, state=False, dtype=dtype))


@pytest.mark.parametrize(("variant", "threads"), VARIANTS_AND_THREADS, indirect=["variant"])
@pytest.mark.parametrize("cell", CELLS)
def test_more_steps_than_one_block(variant: str, threaded: None, cell: str, threads: int) -> None:
    """Forward projects blocks of 64 input rows; backward computes its products every 256 rows."""
    torch.set_num_threads(threads)
    for batch_first in (False, True):
        check(Case(cell, T=70, B=3, batch_first=batch_first, bidirectional=True, num_layers=2))
        check(Case(cell, T=20, B=32, inputs=70, H=66, batch_first=batch_first, bidirectional=True, dtype=F32))
    check(Case(cell, T=131, B=1, inputs=3, H=9))
    check(Case(cell, T=90, B=5, lengths=(90, 31, 90, 2, 64), bidirectional=True, num_layers=2))
    check(Case(cell, T=90, B=2, H=130, lengths=(90, 40), bidirectional=True))
    check(Case(cell, T=66, B=2, lengths=(66, 66), bidirectional=True))


@pytest.mark.parametrize(("variant", "threads"), VARIANTS_AND_THREADS, indirect=["variant"])
def test_products_larger_than_one_block(variant: str, threaded: None, threads: int) -> None:
    """Products go by blocks of 256 steps, some 200 rows and 512 columns, and fewer in float64."""
    torch.set_num_threads(threads)
    for dtype in (F32, F64):
        check(Case("gru", T=2, B=300, inputs=600, H=70, dtype=dtype))
        check(Case("rnn", T=3, B=9, inputs=40, H=550, bidirectional=True, num_layers=2, dtype=dtype))


def test_weights_larger_than_the_caches(variant: str, threaded: None) -> None:
    """Above 8 MiB of recurrent weights the threads split the hidden units for any batch size."""
    torch.set_num_threads(2)
    for batch_first in (False, True):
        check(Case("rnn", T=3, B=9, inputs=1500, H=1500, batch_first=batch_first, dtype=F32))
    check(Case("rnn", T=3, B=9, inputs=1500, H=1500, lengths=(3, 1, 2, 3, 3, 1, 2, 2, 1), dtype=F32))
