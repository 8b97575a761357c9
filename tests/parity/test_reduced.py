"""Layers with bf16 and int8 weights compared with `ohlol.ops.reduced_equations`, in plain PyTorch, and with float32.

In int8 a rounding of float32 may move a hidden state to the next integer, after which two right results differ by more
than roundings. So each step of the plain statement reads the hidden states of the kernel: then all differ by roundings
alone, which `tolerances.RELATIVE` bounds.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ohlol import nn, ops
from ohlol.ops.reduced_equations import quantize_rows, run_equations

from .helpers import CELLS, VARIANTS_AND_THREADS, Case, call
from .tolerances import REDUCED, assert_same

PRECISIONS = ("bf16", "int8")
SIZES = ((1, 1, 1, 1), (2, 2, 3, 3), (5, 7, 17, 17), (50, 3, 5, 64), (2, 32, 100, 100), (3, 2, 257, 257),
         (1, 1, 64, 257), (50, 1, 33, 65))  # fmt: skip
"""T, B, I and H."""


def _layer(case: Case, precision: str) -> Any:
    return nn.quantize(case.layers()[1], precision)


def _run(case: Case, layer: Any, tensors: Sequence[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return call(case, layer, list(tensors))


def _check_plain(case: Case, layer: Any, tensors: Sequence[Tensor], results: list[Tensor], precision: str) -> None:
    """Compare the results of one layer over a dense batch with the plain statement."""
    x, *states = tensors
    start = tuple(s[0] for s in states) or (torch.zeros(case.B, case.H),) * (len(results) - 1)
    weights = [p.detach() for p in layer.parameters()]
    outputs, final = run_equations(case.cell, x, start, weights, precision, results[0])
    for place, (ours, theirs) in enumerate(zip(results, [outputs, *(s[None] for s in final)], strict=True)):
        assert_same(f"{case} {place}", ours, theirs, torch.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_layers_are_those_of_the_plain_statement(
    every_variant: str, precision: str, cell: str, size: tuple[int, int, int, int]
) -> None:
    for state in (True, False):
        case = Case(cell, *size, state=state, bias=state, dtype=torch.float32)
        layer, tensors = _layer(case, precision), case.tensors()
        _check_plain(case, layer, tensors, _run(case, layer, tensors), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("variant", "threads"), VARIANTS_AND_THREADS, indirect=["variant"])
def test_layouts_and_threads_give_the_results_of_single_sequences(
    variant: str, threads: int, precision: str, cell: str, threaded: None
) -> None:
    """Dense, packed and batch-first calls on several threads; in int8 the bits are the same."""
    for H, lengths in ((17, (5, 3, 3, 1)), (130, (4, 4)), (257, (7, 6, 2, 2, 1)), (130, (70, 50, 49))):
        case = Case(cell, lengths[0], len(lengths), 19, H, dtype=torch.float32)
        packed, alone = replace(case, lengths=lengths), replace(case, unbatched=True)
        layer = _layer(case, precision)
        x, *states = case.tensors()
        torch.set_num_threads(1)
        expected = [_run(alone, layer, [x[:n, b], *(s[:, b] for s in states)]) for b, n in enumerate(lengths)]
        torch.set_num_threads(threads)
        dense, ragged = _run(case, layer, [x, *states]), _run(packed, layer, [x, *states])
        layer.batch_first = True
        by_batch = _run(replace(case, batch_first=True), layer, [x.transpose(0, 1).contiguous(), *states])
        layer.batch_first = False
        sizes = [sum(n > t for n in lengths) for t in range(case.T)]
        for b, (out, *final) in enumerate(expected):
            rows = [sum(sizes[:t]) + b for t in range(lengths[b])]
            pairs = [(ragged[0][rows], out), *((r[:, b], f) for r, f in zip(ragged[1:], final, strict=True))]
            if lengths[b] == lengths[0]:
                pairs += [(dense[0][:, b], out), (by_batch[0][b], out)]
                pairs += [(r[:, b], f) for r, f in zip(dense[1:], final, strict=True)]
            for ours, theirs in pairs:
                assert_same(f"{H} {b}", ours, theirs, torch.float32)
                assert precision != "int8" or torch.equal(ours, theirs)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_in_both_directions_is_its_layers_one_by_one(precision: str, cell: str) -> None:
    case = Case(cell, 6, 3, 9, 20, num_layers=2, bidirectional=True, dtype=torch.float32)
    stack, (x, *states) = _layer(case, precision), case.tensors()
    results = _run(case, stack, [x, *states])
    one, finals = replace(case, num_layers=1, bidirectional=False), list[list[Tensor]]()
    for k in range(2):
        outputs: list[Tensor] = []
        for d, suffix in enumerate(("", "_reverse")):
            single = _layer(replace(one, inputs=x.size(2)), precision)
            single.load_state_dict({f"{name}_l0": getattr(stack, f"{name}_l{k}{suffix}")
                                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})  # fmt: skip
            at = slice(2 * k + d, 2 * k + d + 1)
            out, *final = _run(one, single, [x.flip(0) if d else x, *(s[at] for s in states)])
            outputs.append(out.flip(0) if d else out)
            finals.append(final)
        x = torch.cat(outputs, 2)
    for ours, theirs in zip(results, [x, *(torch.cat(parts) for parts in zip(*finals, strict=True))], strict=True):
        assert_same("stack", ours, theirs, torch.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_every_instruction_set_adds_the_same_integers(cell: str) -> None:
    """Products of int8 are exact, so that one step of two instruction sets differs by the roundings of its gates."""
    case = Case(cell, 1, 5, 301, 63, dtype=torch.float32)
    layer, tensors = _layer(case, "int8"), case.tensors()
    before, results = ops.selected(), list[list[Tensor]]()
    try:
        for variant in ops.available():
            ops.select(variant)
            results.append(_run(case, layer, tensors))
    finally:
        ops.select(before)
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            assert (ours - theirs).abs().max() <= 1e-6 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_distance_from_float32_is_bounded(precision: str, cell: str) -> None:
    for T, B, H in ((50, 7, 64), (2, 32, 256), (2, 1, 512)):
        case = Case(cell, T, B, H, H, dtype=torch.float32)
        layer, tensors = case.layers()[1], case.tensors()
        exact = _run(case, layer, tensors)
        for ours, theirs in zip(_run(case, nn.quantize(layer, precision), tensors), exact, strict=True):  # type: ignore[arg-type]
            size = max(1.0, float(theirs.abs().max()))
            assert float((ours - theirs).abs().max()) <= REDUCED[precision] * size
            assert not torch.equal(ours, theirs)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("cell", CELLS)
def test_numbers_that_are_not_finite_make_their_row_nan(every_variant: str, cell: str) -> None:
    case = Case(cell, 3, 4, 5, 9, dtype=torch.float32)
    for value in (NAN, INF, -INF):
        layer, (x, *states) = _layer(case, "int8"), case.tensors()
        clean = _run(case, layer, [x, *states])[0]
        x[1, 2, 3] = value
        out = _run(case, layer, [x, *states])[0]
        assert out[1:, 2].isnan().all()
        assert torch.equal(out[:, [0, 1, 3]], clean[:, [0, 1, 3]])
        assert torch.equal(out[0], clean[0])
        with torch.no_grad():
            layer.weight_ih_l0[0, 0] = value
        out = _run(case, layer, case.tensors())[0]
        assert out[0, :, 0].isnan().all()
        assert out[0, :, 1:].isfinite().all()


@pytest.mark.parametrize("cell", CELLS)
def test_zeros_and_denormal_numbers_are_zero(every_variant: str, cell: str) -> None:
    case = Case(cell, 3, 4, 5, 9, state=False, dtype=torch.float32)
    layer, (x,) = _layer(case, "int8"), case.tensors()
    zeros = _run(case, layer, [torch.zeros_like(x)])[0]
    assert zeros.isfinite().all()
    for tiny in (1e-45, 1e-38, 9e-31):
        assert torch.equal(_run(case, layer, [torch.full_like(x, tiny)])[0], zeros)
    x[1, 0] = torch.tensor([1e-45, 3e38, -3e38, 0.0, 1.0])
    _check_plain(case, layer, [x], _run(case, layer, [x]), "int8")
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l0[::2] = 1e-40
    _check_plain(case, layer, [x], _run(case, layer, [x]), "int8")


def test_a_row_is_its_integers_times_its_scale() -> None:
    x = torch.randn(200, 77) * torch.logspace(-20, 20, 200)[:, None]
    q, scale = quantize_rows(x)
    assert torch.equal(q, q.round())
    assert (q.abs().amax(1) == 127).all()
    assert ((q * scale - x).abs() <= 0.5001 * scale).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_are_those_of_a_whole_sequence(every_variant: str, precision: str, cell: str) -> None:
    """Streams of one sequence and of many, over vectors and over a table of symbols, in int8 with the same bits."""
    case = Case(cell, 6, 3, 11, 21, num_layers=2, state=False, dtype=torch.float32)
    layer, (x,) = _layer(case, precision), case.tensors()
    expected = _run(case, layer, [x])[0]
    weights, spec = [p.detach() for p in layer.parameters()], ops.LayerSpec(cell, 2)
    one = ops.SequenceStepper(weights, spec, precision=precision)
    many = ops.BatchStepper(weights, spec, precision=precision)
    h = torch.zeros(3, 2, 21)
    c = torch.zeros(3, 2, 21) if cell == "lstm" else None
    for t in range(case.T):
        assert_same("one", one.step(x[t, 0]), expected[t, 0], torch.float32)
        assert_same("many", many.step([2, 0, 1], x[t, [2, 0, 1]], h, c)[0], expected[t, [2, 0, 1]], torch.float32)
    vectors, ids = torch.randn(8, 11), torch.randint(8, (6, 3))
    looked_up = nn.over_symbols(layer, ids, vectors, None)
    assert looked_up is not None
    table = ops.embedding_table(vectors, weights[0], precision)
    reader = ops.SequenceStepper(weights, spec, table, precision=precision)
    out = _run(case, layer, [vectors[ids]])[0]
    for t in range(case.T):
        assert_same("table", reader.step(int(ids[t, 0])), looked_up[0][t, 0], torch.float32)
    assert_same("lookup", looked_up[0], out, torch.float32)
